/*
 * page_text.c: the status page's head, its style, and how it spells times, durations and what users wrote.
 */
#include "postgres.h"

#include "pgtime.h"
#include "utils/timestamp.h"

#include "job/page.h"
#include "job/states.h"

/* No script, no font, no picture comes from anywhere. Colours go with signs and shapes, for those who do not see them apart. */
static const char style[] =
	":root{color-scheme:light "
	"dark;--bg:#f5f6f8;--card:#fff;--ink:#17202b;--soft:#586474;--line:#dfe4ea;--edge:#b4bec9;"
	"--ok:#0b7a5b;--okb:#e2f3ed;--bad:#bf3413;--badb:#fdebe5;--warn:#8f5a00;--warnb:#fdf1d8;--off:#65707e;--offb:#"
	"ebeef2}"
	"@media(prefers-color-scheme:dark){:root{--bg:#10141a;--card:#181e27;--ink:#e8ecf1;--soft:#9aa6b5;--line:#"
	"2a323e;"
	"--edge:#47525f;--ok:#3ecb9c;--okb:#12342a;--bad:#ff8463;--badb:#42201a;--warn:#f2b84b;--warnb:#392d13;--off:#"
	"97a3b2;"
	"--offb:#252c37}}"
	"*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}"
	"body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,"
	"'Helvetica Neue',sans-serif}"
	".wrap{max-width:1280px;margin:0 auto;padding:28px 24px 48px}"
	"h1{font-size:26px;line-height:1.2;letter-spacing:-.01em;margin:0 0 4px;overflow-wrap:anywhere}"
	"h2{font-size:13px;font-weight:600;letter-spacing:.06em;text-transform:uppercase;color:var(--soft);margin:30px "
	"0 10px}"
	"p{margin:0}.sub,.meta,.foot{color:var(--soft)}.foot{margin-top:28px;font-size:13px}"
	".meta,.num small,.due small{font-size:13px}.meta{overflow-wrap:anywhere}"
	".filter{position:absolute;opacity:0;pointer-events:none}"
	"nav{display:flex;flex-wrap:wrap;gap:8px;margin-top:18px}"
	"nav label{display:flex;gap:8px;align-items:center;padding:7px 14px;border:1px solid "
	"var(--line);border-radius:99px;"
	"background:var(--card);cursor:pointer;user-select:none}nav b{font-variant-numeric:tabular-nums}"
	".sign{display:inline-flex;flex:none;align-items:center;justify-content:center;width:20px;height:20px;border-"
	"radius:6px;"
	"font-size:13px;font-weight:700;line-height:1}"
	".red .sign,.sign.red{background:var(--bad);color:var(--card)}.amber .sign,.sign.amber{background:var(--warnb);"
	"color:var(--warn);box-shadow:inset 0 0 0 2px var(--warn)}"
	".green .sign,.sign.green{background:var(--okb);color:var(--ok)}.grey "
	".sign,.sign.grey{background:var(--offb);color:var(--off)}"
	".note{margin-top:18px;padding:12px 16px;border-radius:10px;background:var(--badb);border-left:4px solid "
	"var(--bad)}"
	".late{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,360px),1fr));gap:12px}"
	".late a{display:block;padding:12px 16px;border:1px solid var(--line);border-left:4px solid "
	"var(--warn);border-radius:10px;"
	"background:var(--card);color:inherit;text-decoration:none;overflow-wrap:anywhere}.late "
	"em{font-style:normal;float:right;"
	"margin-left:12px;color:var(--warn);font-weight:600}"
	".graph{overflow:auto;max-height:720px;border:1px solid "
	"var(--line);border-radius:12px;background:var(--card);padding:10px}"
	".graph svg{display:block}.graph text{font:13px system-ui,-apple-system,'Segoe "
	"UI',Roboto,sans-serif;fill:var(--ink)}"
	".graph .w{font-size:11.5px;fill:var(--soft)}.graph .e{fill:none;stroke:var(--edge);stroke-width:1.5}"
	".graph .e.red{stroke:var(--bad);stroke-dasharray:5 4}.graph "
	".box{fill:var(--card);stroke:var(--line);stroke-width:1.2}"
	".graph .red .box{fill:var(--badb);stroke:var(--bad)}.graph .amber .box{fill:var(--warnb);stroke:var(--warn);"
	"stroke-dasharray:5 3}"
	".graph .green .box{stroke:var(--ok)}.graph .red .m{fill:var(--bad)}.graph .amber .m{fill:var(--warn)}"
	".graph .green .m{fill:var(--ok)}.graph .grey .m{fill:var(--off)}.graph .s{fill:var(--card);font-weight:700;"
	"text-anchor:middle}"
	".graph a:focus .box,.graph a:hover .box{stroke-width:2.4}"
	".jobs{border:1px solid var(--line);border-radius:12px;background:var(--card);overflow:hidden}"
	".job,.cols{display:grid;grid-template-columns:minmax(0,1fr) 196px 132px 190px;gap:4px 24px;align-items:center;"
	"padding:11px 16px}.job+.job{border-top:1px solid var(--line)}"
	".cols{font-size:12px;color:var(--soft);border-bottom:1px solid var(--line);padding-top:8px;padding-bottom:8px}"
	".job:target{box-shadow:inset 4px 0 0 var(--ink)}.job.red{box-shadow:inset 4px 0 0 var(--bad)}"
	".who{display:flex;gap:12px;min-width:0}.who>div{min-width:0}.name{font-weight:600;overflow-wrap:anywhere}"
	".num,.due{font-variant-numeric:tabular-nums}.num small,.due small{display:block;color:var(--soft)}"
	".why{grid-column:1/-1;margin:2px 0 2px 32px;padding:8px 12px;border-radius:8px;background:var(--offb);"
	"overflow-wrap:anywhere;white-space:pre-line}"
	".red .why{background:var(--badb)}.amber .why{background:var(--warnb)}.why code{font:12.5px/1.4 ui-monospace,"
	"SFMono-Regular,Menlo,Consolas,monospace;opacity:.85}"
	".ticks,.bar{display:block}.ticks .ok{fill:var(--ok)}.ticks .bad{fill:var(--bad)}.ticks "
	".x{stroke:var(--card);stroke-width:1.6}"
	".ticks .off{fill:var(--edge)}.ticks .go{fill:var(--warnb);stroke:var(--warn);stroke-width:1.5}.ticks "
	".base{stroke:var(--line)}"
	".bar{margin:3px 0}.bar .t{fill:var(--line)}.bar .f{fill:var(--off)}.bar .h{fill:var(--warn)}.bar "
	".m{fill:var(--ink)}"
	".none{padding:28px 16px;color:var(--soft)}"
	"#f-red:checked~.wrap .job:not(.red),#f-amber:checked~.wrap .job:not(.amber),#f-green:checked~.wrap "
	".job:not(.green),"
	"#f-grey:checked~.wrap .job:not(.grey){display:none}"
	"#f-all:checked~.wrap [for=f-all],#f-red:checked~.wrap [for=f-red],#f-amber:checked~.wrap [for=f-amber],"
	"#f-green:checked~.wrap [for=f-green],#f-grey:checked~.wrap [for=f-grey]{border-color:var(--ink);"
	"box-shadow:inset 0 0 0 1px var(--ink)}"
	".filter:focus-visible~.wrap nav{outline:2px solid var(--ink);outline-offset:4px;border-radius:99px}"
	"@media(max-width:860px){.wrap{padding:20px 14px 36px}.cols{display:none}.job{grid-template-columns:1fr 1fr}"
	".who{grid-column:1/-1}.ticks-cell{grid-column:1/-1;margin-left:32px}.num{margin-left:32px}.why{margin-left:0}}"
	"@media "
	"print{:root{--bg:#fff}nav,.cols{display:none}.wrap{max-width:none;padding:0}.graph{max-height:none;overflow:"
	"visible}"
	".graph svg{max-width:100%;height:auto}.job,.late a{break-inside:avoid}*{print-color-adjust:exact;"
	"-webkit-print-color-adjust:exact}}";

/* Appends a text for use in HTML and SVG, between tags and in attributes with quotes. Control characters become signs for them. */
void
dm_page_escaped(StringInfo out, const char *text)
{
	for (; text && *text; text++)
	{
		unsigned char c = (unsigned char) *text;

		if (c == '&')
			appendStringInfoString(out, "&amp;");
		else if (c == '<')
			appendStringInfoString(out, "&lt;");
		else if (c == '>')
			appendStringInfoString(out, "&gt;");
		else if (c == '"')
			appendStringInfoString(out, "&quot;");
		else if (c == '\'')
			appendStringInfoString(out, "&#39;");
		else if ((c < 32 && c != '\n' && c != '\t') || c == 127)
			appendStringInfoString(out, "&#xFFFD;");
		else
			appendStringInfoChar(out, (char) c);
	}
}

/* Appends everything up to the body. */
void
dm_page_head(StringInfo out, const char *title)
{
	appendStringInfoString(
		out,
		"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
		"base-uri 'none'; form-action 'none'\">\n"
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
		"<meta name=\"referrer\" content=\"no-referrer\">\n<title>");
	dm_page_escaped(out, title);
	appendStringInfo(out, "</title>\n<style>%s</style>\n</head>\n", style);
}

/* Returns the class of a colour. */
const char *
dm_page_class(DmPageHealth health)
{
	static const char *const classes[] = {"red", "amber", "green", "grey"};

	return classes[health];
}

/* Returns the sign that goes with a colour: a cross, an exclamation mark, a tick, a dash. */
const char *
dm_page_sign(DmPageHealth health)
{
	static const char *const signs[] = {"&#10005;", "!", "&#10003;", "&#8211;"};

	return signs[health];
}

/* Returns a time in a zone, with the year unless it is this one; in UTC, and says so, if the zone is not known here. */
char *
dm_page_time(TimestampTz time, const char *zone)
{
	char text[64];
	pg_time_t now = timestamptz_to_time_t(GetCurrentTimestamp());
	pg_time_t moment;
	pg_tz *tz = pg_tzset(zone);
	struct pg_tm *tm;
	int this_year;

	if (TIMESTAMP_NOT_FINITE(time))
		return pstrdup("never");
	moment = timestamptz_to_time_t(time);
	tm = pg_localtime(&now, tz ? tz : pg_tzset("GMT"));
	this_year = tm ? tm->tm_year : 0;
	tm = pg_localtime(&moment, tz ? tz : pg_tzset("GMT"));
	if (!tm ||
		pg_strftime(text, sizeof(text), tm->tm_year == this_year ? "%a %d %b %H:%M" : "%d %b %Y %H:%M", tm) == 0)
		return pstrdup("never");
	return psprintf("%s%s", text, tz ? "" : " UTC");
}

/* Returns a length of time in words. */
char *
dm_page_duration(int64 us)
{
	int64 seconds = Max(us, 0) / USECS_PER_SEC;

	if (us < USECS_PER_SEC)
		return psprintf("%d ms", (int) (Max(us, 0) / 1000));
	if (seconds < 10)
		return psprintf("%.1f s", (double) us / USECS_PER_SEC);
	if (seconds < 60)
		return psprintf("%d s", (int) seconds);
	if (seconds < SECS_PER_HOUR)
		return psprintf("%d min %d s", (int) (seconds / 60), (int) (seconds % 60));
	if (seconds < 2 * SECS_PER_DAY)
		return psprintf("%d h %d min", (int) (seconds / SECS_PER_HOUR), (int) (seconds / 60 % 60));
	return psprintf(INT64_FORMAT " d", seconds / SECS_PER_DAY);
}

/* Did the run end in a way that it should not have? */
bool
dm_page_run_is_bad(const DmPageRun *run)
{
	return strcmp(run->state, DM_RUN_FAILED) == 0 || strcmp(run->state, DM_RUN_CRASHED) == 0 ||
		   strcmp(run->state, DM_RUN_TIMED_OUT) == 0;
}

/* Returns the state of a run in plain words. */
const char *
dm_page_run_word(const DmPageRun *run)
{
	return strcmp(run->state, DM_RUN_TIMED_OUT) == 0 ? "timed out" : run->state;
}
