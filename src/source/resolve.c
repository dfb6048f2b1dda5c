/*
 * resolve.c: finds the server that an s3:// URL is read through.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_foreign_server.h"
#include "foreign/foreign.h"
#include "miscadmin.h"

#include "base/compat.h"
#include "base/guc.h"
#include "base/options.h"
#include "source/source.h"

#define DM_WRAPPER "datamill_s3"

/* Raises 42501 unless the user has USAGE on the server. */
void
dm_source_check_usage(Oid server, Oid user)
{
	if (dm_server_aclcheck(server, user, ACL_USAGE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FOREIGN_SERVER, GetForeignServer(server)->servername);
}

/* May the current user use the server? */
static bool
is_usable(Oid server)
{
	return dm_server_aclcheck(server, GetUserId(), ACL_USAGE) == ACLCHECK_OK;
}

/*
 * Returns the names of the wrapper's servers that the current user may use, as "a", "b"; *count is how many, *server
 * the last of them.
 */
static char *
usable_servers(Oid wrapper, int *count, Oid *server)
{
	Relation catalog = table_open(ForeignServerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	StringInfoData names;
	HeapTuple tuple;

	initStringInfo(&names);
	*count = 0;
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_foreign_server form = (Form_pg_foreign_server) GETSTRUCT(tuple);

		if (form->srvfdw != wrapper || !is_usable(form->oid))
			continue;
		appendStringInfo(&names, "%s\"%s\"", names.len ? ", " : "", NameStr(form->srvname));
		*server = form->oid;
		(*count)++;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return names.data;
}

/* Returns a hint that lists the servers the current user may use, or says how to get one. */
static const char *
candidates_hint(Oid wrapper)
{
	int count;
	Oid server;
	char *names = usable_servers(wrapper, &count, &server);

	if (count == 0)
		return "Create a server with CREATE SERVER ... FOREIGN DATA WRAPPER datamill_s3, or have USAGE on "
			   "one granted to you.";
	return psprintf("Servers of datamill_s3 that you may use: %s.", names);
}

/* Returns the server of that name. Raises 42704, 42809 or 42501 unless it is of the wrapper and the user may use it. */
static Oid
named_server(Oid wrapper, const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (!server)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name),
				 errhint("%s", candidates_hint(wrapper))));
	if (server->fdwid != wrapper)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not of foreign-data wrapper %s", name, DM_WRAPPER),
				 errhint("%s", candidates_hint(wrapper))));
	dm_source_check_usage(server->serverid, GetUserId());
	return server->serverid;
}

/*
 * Returns the server that an s3:// URL is read through: the named one, else that of datamill.default_server, else the
 * only one that the current user may use. Checks that the user has USAGE. Raises 42704 with the candidates when that
 * does not give exactly one, and what named_server() raises.
 */
Oid
dm_source_server(const char *name_or_null)
{
	Oid wrapper = GetForeignDataWrapperByName(DM_WRAPPER, false)->fdwid;
	Oid server = InvalidOid;
	int count;

	if (name_or_null)
		return named_server(wrapper, name_or_null);
	if (dm_guc_default_server && dm_guc_default_server[0] != '\0')
		return named_server(wrapper, dm_guc_default_server);
	(void) usable_servers(wrapper, &count, &server);
	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no server to read s3:// URLs through"),
				 errhint("%s", candidates_hint(wrapper))));
	if (count > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
				 errmsg("more than one server can read s3:// URLs"),
				 errdetail("%s", candidates_hint(wrapper)),
				 errhint("Name one with option \"server\" or with SET datamill.default_server.")));
	return server;
}

/* Returns the part of a file:/// URL below a server's endpoint, without a slash in front; NULL if it is not below it. */
static const char *
below_endpoint(Oid server_oid, const char *url)
{
	const char *endpoint = dm_option_get(GetForeignServer(server_oid)->options, "endpoint");
	Size len = endpoint ? strlen(endpoint) : 0;

	while (len > 0 && endpoint[len - 1] == '/')
		len--;
	if (len <= strlen("file://") || strncmp(url, endpoint, len) != 0 || url[len] != '/')
		return NULL;
	return url + len + 1;
}

/*
 * Finds the usable server with the longest endpoint that the URL is below. Returns the part below it, or NULL if there is
 * none; *server is its name, *count how many there are with that endpoint.
 */
static const char *
find_endpoint(Oid wrapper, const char *url, const char **server, int *count)
{
	Relation catalog = table_open(ForeignServerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	const char *shortest = NULL;
	HeapTuple tuple;

	*count = 0;
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_foreign_server form = (Form_pg_foreign_server) GETSTRUCT(tuple);
		const char *below;

		if (form->srvfdw != wrapper || !is_usable(form->oid))
			continue;
		below = below_endpoint(form->oid, url);
		if (!below || (shortest && below < shortest))
			continue;
		*count = below == shortest ? *count + 1 : 1;
		shortest = below;
		*server = pstrdup(NameStr(form->srvname));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return shortest;
}

/* See source.h. Raises 42501 for a URL outside of the servers' folders, 42725 where several servers have the same one. */
const char *
dm_source_url(const char *url, const char **server)
{
	Oid wrapper = GetForeignDataWrapperByName(DM_WRAPPER, false)->fdwid;
	const char *below;
	int count = 1;

	if (strncmp(url, "file://", 7) != 0)
		return url;
	if (*server)
		below = below_endpoint(named_server(wrapper, *server), url);
	else
		below = find_endpoint(wrapper, url, server, &count);
	if (!below)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 *server ? errmsg("\"%s\" is not below the endpoint of server \"%s\"", url, *server)
						 : errmsg("\"%s\" is not below the endpoint of a server that you may use", url),
				 errhint("%s", candidates_hint(wrapper))));
	if (count > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
				 errmsg("\"%s\" is below the endpoint of more than one server", url),
				 errhint("Name one with option \"server\".")));
	return psprintf("s3://%s", below);
}
