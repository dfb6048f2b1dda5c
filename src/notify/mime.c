/*
 * mime.c: writes mails.
 *
 * 1. No value can add a header: control characters in one become blanks, and mailboxes are parsed before they are written.
 * 2. What leaves is ASCII: headers as encoded words (RFC 2047), bodies as quoted-printable (RFC 2045 6.7).
 */
#include "postgres.h"

#include "common/base64.h"
#include "mb/pg_wchar.h"

#include "notify/mime.h"

#define MAX_ADDRESS_BYTES 254 /* RFC 5321 4.5.3.1.3, less the angle brackets */
#define MAX_NAME_BYTES 200
#define WORD_BYTES                                                                                                 \
	39 /* of an encoded word: 64 with all around it, and a line that has one must not be longer than 76 (RFC 2047 2) */
#define PLAIN_BYTES 60
#define LINE_BYTES 76					  /* of quoted-printable */
#define BOUNDARY "=_datamill_alternative" /* no quoted-printable line can hold it: "=_" is no escape */

static bool address_is_good(const char *address);
static void write_address(StringInfo out, const char *header, List *mailboxes);
static int line_len(StringInfo out);
static void write_words(StringInfo out, const char *text, const char *special);
static void write_part(StringInfo out, const char *type, const char *text);

/* Takes a mailbox apart; see mime.h. */
bool
dm_mailbox_parse(const char *text, DmMailbox *mailbox)
{
	const char *open = strrchr(text, '<');
	Size len = strlen(text);

	for (const char *p = text; *p; p++)
	{
		if ((uint8) *p < ' ' || *p == 0x7f)
			return false;
	}
	mailbox->name = NULL;
	mailbox->address = pstrdup(text);
	if (open)
	{
		Size name_len = open - text;

		if (text[len - 1] != '>' || name_len > MAX_NAME_BYTES)
			return false;
		mailbox->address = pnstrdup(open + 1, text + len - 1 - (open + 1));
		while (name_len > 0 && (text[name_len - 1] == ' ' || text[name_len - 1] == '"'))
			name_len--;
		while (name_len > 0 && (*text == ' ' || *text == '"'))
		{
			text++;
			name_len--;
		}
		if (name_len > 0)
			mailbox->name = pnstrdup(text, name_len);
	}
	return address_is_good(mailbox->address);
}

/* Writes a mail; see mime.h. */
void
dm_mime_write(const DmMime *mime, StringInfo out)
{
	char date[64];

	pg_strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", pg_gmtime(&mime->date));
	appendStringInfo(out, "Date: %s\r\n", date);
	write_address(out, "From", list_make1(unconstify(char *, mime->from)));
	write_address(out, "To", mime->to);
	if (mime->reply_to)
		write_address(out, "Reply-To", list_make1(unconstify(char *, mime->reply_to)));
	appendStringInfoString(out, "Subject: ");
	write_words(out, mime->subject, "=");
	appendStringInfo(out, "\r\nMessage-ID: <%s>\r\n", mime->message_id);
	if (mime->in_reply_to)
		appendStringInfo(out, "In-Reply-To: <%s>\r\nReferences: <%s>\r\n", mime->in_reply_to, mime->in_reply_to);
	/* RFC 3834: nobody's absence is to answer */
	appendStringInfoString(out,
						   "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
						   "Content-Type: multipart/alternative;\r\n boundary=\"" BOUNDARY "\"\r\n\r\n");
	write_part(out, "text/plain", mime->text);
	write_part(out, "text/html", mime->html);
	appendStringInfoString(out, "--" BOUNDARY "--\r\n");
}

/* Is the text an address: local@domain of ASCII that needs no quotes? */
static bool
address_is_good(const char *address)
{
	const char *at = strchr(address, '@');

	if (!at || at == address || at[1] == '\0' || strchr(at + 1, '@') || strlen(address) > MAX_ADDRESS_BYTES)
		return false;
	for (const char *p = address; *p; p++)
	{
		if ((uint8) *p <= ' ' || IS_HIGHBIT_SET(*p) || strchr("<>()[]\\,;:\"", *p))
			return false;
	}
	return true;
}

/* Writes a header of mailboxes, one a line. */
static void
write_address(StringInfo out, const char *header, List *mailboxes)
{
	const char *before = "";
	ListCell *cell;

	appendStringInfo(out, "%s: ", header);
	foreach (cell, mailboxes)
	{
		DmMailbox mailbox;

		if (!dm_mailbox_parse(lfirst(cell), &mailbox))
			elog(ERROR, "a mailbox that was checked is none");
		appendStringInfoString(out, before);
		if (mailbox.name)
		{
			write_words(out, mailbox.name, "=<>()[]\\,;:@\".");
			appendStringInfo(out,
							 "%s<%s>",
							 line_len(out) + strlen(mailbox.address) > LINE_BYTES - 4 ? "\r\n " : " ",
							 mailbox.address);
		}
		else
			appendStringInfoString(out, mailbox.address);
		before = ",\r\n ";
	}
	appendStringInfoString(out, "\r\n");
}

/* Length of the line that is being written. */
static int
line_len(StringInfo out)
{
	int len = 0;

	while (len < out->len && out->data[out->len - 1 - len] != '\n')
		len++;
	return len;
}

/*
 * Writes text of a header: as it is if it is a few plain words without special characters, else as encoded words, one a line. "=" is special
 * everywhere: "=?" would be read as an encoded word.
 */
static void
write_words(StringInfo out, const char *text, const char *special)
{
	Size len = strlen(text);
	bool plain = len <= PLAIN_BYTES;
	const char *end = text + len;

	for (const char *p = text; *p; p++)
	{
		if ((uint8) *p < ' ' || *p == 0x7f || IS_HIGHBIT_SET(*p) || strchr(special, *p))
			plain = false;
	}
	if (plain)
	{
		appendStringInfoString(out, text);
		return;
	}
	for (const char *p = text; p < end;)
	{
		Size n = 0;
		char word[WORD_BYTES + 1];
		char encoded[2 * WORD_BYTES];
		int encoded_len;

		while (p + n < end && n + pg_utf_mblen((const uint8 *) p + n) <= WORD_BYTES)
			n += pg_utf_mblen((const uint8 *) p + n);
		n = Min(n, (Size) (end - p));
		for (Size i = 0; i < n; i++)
			word[i] = (uint8) p[i] < ' ' || p[i] == 0x7f ? ' ' : p[i];
		encoded_len = pg_b64_encode((const void *) word, (int) n, encoded, sizeof(encoded));
		appendStringInfo(out, "%s=?UTF-8?B?%.*s?=", p == text ? "" : "\r\n ", encoded_len, encoded);
		p += n;
	}
}

/* Writes a part of the body as quoted-printable: lines of LINE_BYTES at most, ended as SMTP wants it. */
static void
write_part(StringInfo out, const char *type, const char *text)
{
	int column = 0;

	appendStringInfo(out,
					 "--" BOUNDARY "\r\nContent-Type: %s; charset=UTF-8\r\n"
					 "Content-Transfer-Encoding: quoted-printable\r\n\r\n",
					 type);
	for (const char *p = text; *p; p++)
	{
		bool ends_line = p[1] == '\0' || p[1] == '\n' || (p[1] == '\r' && p[2] == '\n');
		uint8 c = (uint8) *p;
		char unit[4];
		int len;

		if (c == '\r' && p[1] == '\n')
			continue;
		if (c == '\n')
		{
			appendStringInfoString(out, "\r\n");
			column = 0;
			continue;
		}
		if ((c >= ' ' && c <= '~' && c != '=' && !(c == ' ' && ends_line)) || (c == '\t' && !ends_line))
			len = snprintf(unit, sizeof(unit), "%c", c);
		else
			len = snprintf(unit, sizeof(unit), "=%02X", c);
		if (column + len > LINE_BYTES - (ends_line ? 0 : 1))
		{
			appendStringInfoString(out, "=\r\n");
			column = 0;
		}
		appendBinaryStringInfo(out, unit, len);
		column += len;
	}
	appendStringInfoString(out, "\r\n");
}
