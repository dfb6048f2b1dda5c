/*
 * lineage_sql.c: receipts as documents, and where data comes from and goes to, for SQL.
 *
 * What is read here belongs to roles that the caller is a member of; all else is as if it were not there.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/catalog.h"

#define MAX_DEPTH 100
#define EDGE_COLUMNS 9

/* Times as ISO 8601 has them, in UTC. */
#define ISO(time) "to_char(" time " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"

#define READ_RECEIPT                                                                                               \
	"SELECT jsonb_build_object('id', r.id, 'receipt_no', r.receipt_no, 'kind', r.kind, 'definition', "             \
	"r.definition, 'code', r.code, 'arguments', r.arguments, 'inputs', r.inputs, 'outputs', r.outputs, "           \
	"'metadata', r.metadata, 'owner', r.owner::text, 'started_at', " ISO("r.started_at") ", 'finished_at', " ISO(  \
		"r.finished_at") ", 'same', (SELECT count(*) FROM datamill.receipt_log s WHERE s.id = r.id AND "           \
						 "s.owner = r.owner), 'body', (SELECT j.body FROM datamill.job_catalog j WHERE j.job_id "  \
						 "= n.job_id AND "                                                                         \
						 "j.definition = r.code), 'run', CASE WHEN n.run_id IS NOT NULL THEN "                     \
						 "jsonb_build_object('run_id', n.run_id, "                                                 \
						 "'job', n.name, 'scheduled_time', " ISO(                                                  \
							 "n.scheduled_time") ", 'attempt', n.attempt, 'trigger', n.trigger, "                  \
												 "'state', n.state, 'started_at', " ISO(                           \
													 "n.started_at") ", 'finished_at', " ISO("n.finished_at") ", " \
																											  "'c" \
																											  "pu" \
																											  "_s" \
																											  "ec" \
																											  "on" \
																											  "ds" \
																											  "'," \
																											  " n" \
																											  ".c" \
																											  "pu" \
																											  "_s" \
																											  "ec" \
																											  "on" \
																											  "ds" \
																											  ", " \
																											  "'p" \
																											  "ea" \
																											  "k_" \
																											  "me" \
																											  "mo" \
																											  "ry" \
																											  "'," \
																											  " n" \
																											  ".p" \
																											  "ea" \
																											  "k_" \
																											  "me" \
																											  "mo" \
																											  "ry" \
																											  ") " \
																											  "EN" \
																											  "D)" \
																											  " "  \
																											  "FR" \
																											  "OM" \
																											  " d" \
																											  "at" \
																											  "am" \
																											  "il" \
																											  "l." \
																											  "re" \
																											  "ce" \
																											  "ip" \
																											  "t_" \
																											  "lo" \
																											  "g " \
																											  "r " \
																											  "LE" \
																											  "FT" \
																											  " J" \
																											  "OI" \
																											  "N " \
																											  "da" \
																											  "ta" \
																											  "mi" \
																											  "ll" \
																											  ".r" \
																											  "un" \
																											  "_c" \
																											  "at" \
																											  "al" \
																											  "og" \
																											  " n" \
																											  " O" \
																											  "N " \
																											  "n." \
																											  "ru" \
																											  "n_" \
																											  "id" \
																											  " =" \
																											  " r" \
																											  ".r" \
																											  "un" \
																											  "_i" \
																											  "d " \
																											  "WH" \
																											  "ER" \
																											  "E " \
																											  "r." \
																											  "id" \
																											  " =" \
																											  " $" \
																											  "2 " \
																											  "AN" \
																											  "D " \
																											  "r." \
																											  "re" \
																											  "ce" \
																											  "ip" \
																											  "t_" \
																											  "no" \
																											  " =" \
																											  " c" \
																											  "oa" \
																											  "le" \
																											  "sc" \
																											  "e(" \
																											  "$3" \
																											  ", " \
																											  "r." \
																											  "re" \
																											  "ce" \
																											  "ip" \
																											  "t_" \
																											  "no" \
																											  ") " \
																											  "AN" \
																											  "D " \
																											  "EX" \
																											  "IS" \
																											  "TS" \
																											  " (" \
																											  "SE" \
																											  "LE" \
																											  "CT" \
																											  " F" \
																											  "RO" \
																											  "M " \
																											  "pg" \
																											  "_r" \
																											  "ol" \
																											  "es" \
																											  " o" \
																											  " "  \
																											  "WH" \
																											  "ER" \
																											  "E " \
																											  "o." \
																											  "oi" \
																											  "d " \
																											  "= " \
																											  "r." \
																											  "ow" \
																											  "ne" \
																											  "r " \
																											  "AN" \
																											  "D " \
																											  "pg" \
																											  "_h" \
																											  "as" \
																											  "_r" \
																											  "ol" \
																											  "e(" \
																											  "$1" \
																											  ", " \
																											  "o." \
																											  "oi" \
																											  "d," \
																											  " '" \
																											  "US" \
																											  "AG" \
																											  "E'" \
																											  "))" \
																											  " O" \
																											  "RD" \
																											  "ER" \
																											  " B" \
																											  "Y " \
																											  "r." \
																											  "re" \
																											  "ce" \
																											  "ip" \
																											  "t_" \
																											  "no" \
																											  " D" \
																											  "ES" \
																											  "C " \
																											  "LI" \
																											  "MI" \
																											  "T " \
																											  "1"

/* Of edges that many receipts have, the last receipt counts; a circle ends at an edge that was met before, at the latest with the depth. */
#define READ_LINEAGE                                                                                               \
	"WITH RECURSIVE edge AS MATERIALIZED (SELECT DISTINCT ON (l.source, l.target) l.* FROM datamill.lineage l "    \
	"WHERE pg_has_role($1, l.owner, 'USAGE') "                                                                     \
	"ORDER BY l.source, l.target, l.receipt_no DESC), "                                                            \
	"up(source, target, depth) AS (SELECT e.source, e.target, 1 FROM edge e WHERE e.target = $2 AND $3 <> 'down' " \
	"UNION SELECT e.source, e.target, u.depth + 1 FROM up u JOIN edge e ON e.target = u.source "                   \
	"WHERE u.depth < $4), "                                                                                        \
	"down(source, target, depth) AS (SELECT e.source, e.target, 1 FROM edge e WHERE e.source = $2 AND "            \
	"$3 <> 'up' UNION SELECT e.source, e.target, d.depth + 1 FROM down d JOIN edge e ON e.source = d.target "      \
	"WHERE d.depth < $4), "                                                                                        \
	"found AS (SELECT 'up' AS direction, source, target, min(depth) AS depth FROM up GROUP BY source, target "     \
	"UNION ALL SELECT 'down', source, target, min(depth) FROM down GROUP BY source, target) "                      \
	"SELECT f.direction, f.depth, f.source, f.target, e.receipt, e.kind, e.run_id, e.job, e.at "                   \
	"FROM found f JOIN edge e USING (source, target) ORDER BY f.direction DESC, f.depth, f.source, f.target"

PG_FUNCTION_INFO_V1(dm_receipt_json_sql);
PG_FUNCTION_INFO_V1(dm_lineage_sql);

/* receipt_json(id text, receipt_no bigint) returns jsonb. */
PGDLLEXPORT Datum
dm_receipt_json_sql(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	Datum document;
	bool is_null;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	dm_args_oid(&args, GetUserId());
	dm_args_add(&args, TEXTOID, PG_GETARG_DATUM(0), false);
	dm_args_add(&args, INT8OID, PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1), PG_ARGISNULL(1));
	dm_catalog_begin(&scope);
	if (dm_catalog_run(READ_RECEIPT, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("receipt \"%s\" does not exist", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("See datamill.receipts.")));
	document = dm_catalog_value(0, 1, &is_null);
	MemoryContextSwitchTo(caller);
	document = PointerGetDatum(PG_DETOAST_DATUM_COPY(document));
	dm_catalog_end(&scope);
	PG_RETURN_DATUM(document);
}

/* lineage(name text, direction text, depth integer) returns a row an edge. */
PGDLLEXPORT Datum
dm_lineage_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char *direction = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int32 depth = PG_GETARG_INT32(2);
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	uint64 n;

	if (strcmp(direction, "up") != 0 && strcmp(direction, "down") != 0 && strcmp(direction, "both") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("direction of a lineage cannot be \"%s\"", direction),
				 errhint("It is up (where it comes from), down (what is made of it) or both.")));
	if (depth < 1 || depth > MAX_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("depth of a lineage must be between 1 and %d", MAX_DEPTH)));
	InitMaterializedSRF(fcinfo, 0);
	dm_args_oid(&args, GetUserId());
	dm_args_add(&args, TEXTOID, PG_GETARG_DATUM(0), false);
	dm_args_text(&args, direction);
	dm_args_int4(&args, depth);
	dm_catalog_begin(&scope);
	n = dm_catalog_run(READ_LINEAGE, &args);
	for (uint64 i = 0; i < n; i++)
	{
		Datum values[EDGE_COLUMNS];
		bool nulls[EDGE_COLUMNS];

		for (int column = 0; column < EDGE_COLUMNS; column++)
			values[column] = dm_catalog_value(i, column + 1, &nulls[column]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	dm_catalog_end(&scope);
	return (Datum) 0;
}
