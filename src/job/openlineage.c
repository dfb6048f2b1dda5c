/*
 * openlineage.c: a run as events of OpenLineage 2-0-2 (https://openlineage.io/spec/2-0-2/OpenLineage.json).
 *
 * 1. Datasets are named as the naming rules of OpenLineage say: a table is database.schema.table in postgres://host:port, an object its key in
 *    s3://bucket. A job is owner.name in postgres://host:port/database. The host is cluster_name where that is set.
 * 2. The id of a run is made from the cluster, the database and its number: the same whenever it is asked for.
 * 3. What is not known is left out. A run that did not begin has no events.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"

#include "base/catalog.h"
#include "base/compat.h"
#include "job/job.h"

#define PRODUCER "'urn:datamill:1.0'"
#define SPEC "https://openlineage.io/spec/"
#define ISO(time) "to_char(" time " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"

/* A facet: what every one has, and its own members. */
#define FACET(url, members)                                                                                        \
	"jsonb_build_object('_producer', " PRODUCER ", '_schemaURL', '" url "') || (" members ")"
#define STANDARD(version, name) SPEC "facets/" version "/" name ".json#/$defs/" name
/* An object without its members that are null. */
#define STRIPPED(members) "jsonb_strip_nulls(jsonb_build_object(" members "))"

/* Inputs and outputs of all receipts of the run, a row for each that is named; what a source query reads stands for the query. */
#define DATASETS                                                                                                   \
	"named AS (SELECT r.receipt_no, false AS is_output, x.value ->> 'uri' AS uri, x.value AS item "                \
	"FROM datamill.receipt_log r CROSS JOIN jsonb_array_elements(r.inputs) x WHERE r.run_id = $1 "                 \
	"AND x.value ->> 'uri' <> 'query' "                                                                            \
	"UNION ALL SELECT r.receipt_no, false, t.value #>> '{}', '{}' FROM datamill.receipt_log r "                    \
	"CROSS JOIN jsonb_path_query(r.inputs, '$[*] ? (@.uri == \"query\").metadata.relations[*]') t(value) "         \
	"WHERE r.run_id = $1 "                                                                                         \
	"UNION ALL SELECT r.receipt_no, true, x.value ->> 'uri', x.value FROM datamill.receipt_log r "                 \
	"CROSS JOIN jsonb_array_elements(r.outputs) x WHERE r.run_id = $1), "                                          \
	"summed AS (SELECT is_output, uri, "                                                                           \
	"(array_agg(coalesce(item ->> 'version', item ->> 'etag', item ->> 'sha256') ORDER BY receipt_no DESC) "       \
	"FILTER (WHERE item ?| ARRAY['version', 'etag', 'sha256']))[1] AS version, "                                   \
	"sum((item ->> 'rows')::numeric)::bigint AS rows, max((item ->> 'size')::numeric)::bigint AS size, "           \
	"sum(coalesce((item #>> '{counts,rows}')::numeric, (item #>> '{counts,inserted}')::numeric + "                 \
	"coalesce((item #>> '{counts,updated}')::numeric, 0)))::bigint AS written "                                    \
	"FROM named GROUP BY is_output, uri), "                                                                        \
	"placed AS (SELECT s.*, c.oid AS table, "                                                                      \
	"CASE WHEN s.uri ~ '^[a-zA-Z][a-zA-Z0-9+.-]*://' THEN regexp_replace(s.uri, '^([^:]+://[^/?#]*).*$', '\\1') "  \
	"ELSE $2 END AS namespace, "                                                                                   \
	"CASE WHEN s.uri ~ '^[a-zA-Z][a-zA-Z0-9+.-]*://' THEN "                                                        \
	"coalesce(nullif(regexp_replace(s.uri, '^[^:]+://[^/?#]*/?', ''), ''), '/') ELSE $3 || '.' || s.uri END AS "   \
	"name "                                                                                                        \
	"FROM summed s LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace) "                          \
	"ON quote_ident(n.nspname) || '.' || quote_ident(c.relname) = s.uri), "

#define DATASET_FACETS                                                                                             \
	"jsonb_strip_nulls(jsonb_build_object('version', CASE WHEN p.version IS NOT NULL THEN " FACET(                 \
		STANDARD("1-0-0", "DatasetVersionDatasetFacet"),                                                           \
		"jsonb_build_object('datasetVersion', p.version)") " END, 'schema', CASE WHEN p.table IS NOT NULL "        \
														   "THEN " FACET(STANDARD("1-0-0", "SchemaDatasetFacet"),  \
																		 "jsonb_build_object('fields', (SELECT "   \
																		 "coalesce(jsonb_agg(jsonb_build_object('" \
																		 "name', a.attname, 'type', "              \
																		 "format_type(a.atttypid, a.atttypmod)) "  \
																		 "ORDER BY a.attnum), '[]') FROM "         \
																		 "pg_attribute a "                         \
																		 "WHERE a.attrelid = p.table AND "         \
																		 "a.attnum > 0 AND NOT a.attisdropped))") " END))"

#define DATASET_LISTS                                                                                              \
	"inputs AS (SELECT coalesce(jsonb_agg(jsonb_build_object('namespace', p.namespace, 'name', p.name, "           \
	"'facets', " DATASET_FACETS ", 'inputFacets', CASE WHEN p.rows IS NULL AND p.size IS NULL THEN '{}' ELSE "     \
	"jsonb_build_object('inputStatistics', " FACET(                                                                \
		STANDARD("1-0-0", "InputStatisticsInputDatasetFacet"),                                                     \
		STRIPPED(                                                                                                  \
			"'rowCount', p.rows, 'size', p.size")) ") END) ORDER BY p.namespace, p.name), '[]') AS list FROM "     \
												   "placed p WHERE NOT p.is_output), "                             \
												   "outputs AS (SELECT "                                           \
												   "coalesce(jsonb_agg(jsonb_build_object('namespace', "           \
												   "p.namespace, 'name', p.name, 'facets', " DATASET_FACETS        \
												   ", 'outputFacets', CASE WHEN p.written IS NULL THEN '{}' ELSE " \
												   "jsonb_build_object('outputStatistics', " FACET(                \
													   STANDARD("1-0-2", "OutputStatisticsOutputDatasetFacet"),    \
													   STRIPPED(                                                   \
														   "'rowCount', p.written, 'size', p.size")) ") END) "     \
																									 "ORDER BY "   \
																									 "p."          \
																									 "namespace, " \
																									 "p.name), "   \
																									 "'[]') AS "   \
																									 "list FROM "  \
																									 "placed p "   \
																									 "WHERE "      \
																									 "p.is_"       \
																									 "output), "

/* The code is told if it is what the run executed, as far as is known. */
#define RUN_AND_JOB                                                                                                                                                                                                                                                                                                      \
	"told AS (SELECT r.*, jsonb_build_object('namespace', $2 || '/' || $3, 'name', r.owner::text || '.' || "                                                                                                                                                                                                             \
	"r.name, 'facets', jsonb_strip_nulls(jsonb_build_object('jobType', " FACET(STANDARD("2-0-2", "JobTypeJobFacet"), "'{\"processingType\": \"BATCH\", \"integration\": \"POSTGRES\", \"jobType\": \"JOB\"}'::jsonb") ", 'sql', (SELECT " FACET(                                                                         \
		STANDARD("1-0-1", "SQLJobFacet"), "jsonb_build_object('query', j.body)") " FROM datamill.job_catalog j "                                                                                                                                                                                                         \
																				 "WHERE j.job_id = r.job_id AND "                                                                                                                                                                                                        \
																				 "NOT EXISTS (SELECT FROM "                                                                                                                                                                                                              \
																				 "datamill.receipt_log c "                                                                                                                                                                                                               \
																				 "WHERE c.run_id = r.run_id AND "                                                                                                                                                                                                        \
																				 "c.code <> j.definition))))) AS "                                                                                                                                                                                                       \
																				 "job, "                                                                                                                                                                                                                                 \
																				 "jsonb_build_object('"                                                                                                                                                                                                                  \
																				 "nominalTime', " FACET(STANDARD("1-0-1", "NominalTimeRunFacet"), "jsonb_build_object('nominalStartTime', " ISO("r.scheduled_time") ")") ", 'processing_engine', " FACET(                                                                \
																					 STANDARD("1-1-1",                                                                                                                                                                                                                   \
																							  "ProcessingEngineRu"                                                                                                                                                                                                       \
																							  "nFacet"),                                                                                                                                                                                                                 \
																					 "jsonb_build_object('name', "                                                                                                                                                                                                       \
																					 "'PostgreSQL', 'version', "                                                                                                                                                                                                         \
																					 "current_setting('server_"                                                                                                                                                                                                          \
																					 "version'), "                                                                                                                                                                                                                       \
																					 "'openlineageAdapterVersion'"                                                                                                                                                                                                       \
																					 ", '1.0')") ", "                                                                                                                                                                                                                    \
																								 "'datamill',"                                                                                                                                                                                                           \
																								 " " FACET("urn:"                                                                                                                                                                                                        \
																										   "datam"                                                                                                                                                                                                       \
																										   "ill:"                                                                                                                                                                                                        \
																										   "1.0:"                                                                                                                                                                                                        \
																										   "run",                                                                                                                                                                                                        \
																										   STRIPPED(                                                                                                                                                                                                     \
																											   "'"                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "u"                                                                                                                                                                                                       \
																											   "n"                                                                                                                                                                                                       \
																											   "_"                                                                                                                                                                                                       \
																											   "i"                                                                                                                                                                                                       \
																											   "d"                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "u"                                                                                                                                                                                                       \
																											   "n"                                                                                                                                                                                                       \
																											   "_"                                                                                                                                                                                                       \
																											   "i"                                                                                                                                                                                                       \
																											   "d"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "m"                                                                                                                                                                                                       \
																											   "p"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "m"                                                                                                                                                                                                       \
																											   "p"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "i"                                                                                                                                                                                                       \
																											   "g"                                                                                                                                                                                                       \
																											   "g"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "i"                                                                                                                                                                                                       \
																											   "g"                                                                                                                                                                                                       \
																											   "g"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   "s"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "s"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "s"                                                                                                                                                                                                       \
																											   "o"                                                                                                                                                                                                       \
																											   "n"                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "s"                                                                                                                                                                                                       \
																											   "o"                                                                                                                                                                                                       \
																											   "n"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "g"                                                                                                                                                                                                       \
																											   "u"                                                                                                                                                                                                       \
																											   "m"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "n"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "s"                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "g"                                                                                                                                                                                                       \
																											   "u"                                                                                                                                                                                                       \
																											   "m"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "n"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "s"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   "c"                                                                                                                                                                                                       \
																											   "p"                                                                                                                                                                                                       \
																											   "u"                                                                                                                                                                                                       \
																											   "_"                                                                                                                                                                                                       \
																											   "s"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "c"                                                                                                                                                                                                       \
																											   "o"                                                                                                                                                                                                       \
																											   "n"                                                                                                                                                                                                       \
																											   "d"                                                                                                                                                                                                       \
																											   "s"                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "c"                                                                                                                                                                                                       \
																											   "p"                                                                                                                                                                                                       \
																											   "u"                                                                                                                                                                                                       \
																											   "_"                                                                                                                                                                                                       \
																											   "s"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "c"                                                                                                                                                                                                       \
																											   "o"                                                                                                                                                                                                       \
																											   "n"                                                                                                                                                                                                       \
																											   "d"                                                                                                                                                                                                       \
																											   "s"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   "p"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "k"                                                                                                                                                                                                       \
																											   "_"                                                                                                                                                                                                       \
																											   "m"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "m"                                                                                                                                                                                                       \
																											   "o"                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "y"                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "p"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "k"                                                                                                                                                                                                       \
																											   "_"                                                                                                                                                                                                       \
																											   "m"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "m"                                                                                                                                                                                                       \
																											   "o"                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "y"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "c"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "i"                                                                                                                                                                                                       \
																											   "p"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "s"                                                                                                                                                                                                       \
																											   "'"                                                                                                                                                                                                       \
																											   ","                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "("                                                                                                                                                                                                       \
																											   "S"                                                                                                                                                                                                       \
																											   "E"                                                                                                                                                                                                       \
																											   "L"                                                                                                                                                                                                       \
																											   "E"                                                                                                                                                                                                       \
																											   "C"                                                                                                                                                                                                       \
																											   "T"                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "j"                                                                                                                                                                                                       \
																											   "s"                                                                                                                                                                                                       \
																											   "o"                                                                                                                                                                                                       \
																											   "n"                                                                                                                                                                                                       \
																											   "b"                                                                                                                                                                                                       \
																											   "_"                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "g"                                                                                                                                                                                                       \
																											   "g"                                                                                                                                                                                                       \
																											   "("                                                                                                                                                                                                       \
																											   "c"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "i"                                                                                                                                                                                                       \
																											   "d"                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "O"                                                                                                                                                                                                       \
																											   "R"                                                                                                                                                                                                       \
																											   "D"                                                                                                                                                                                                       \
																											   "E"                                                                                                                                                                                                       \
																											   "R"                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "B"                                                                                                                                                                                                       \
																											   "Y"                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "c"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "c"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "i"                                                                                                                                                                                                       \
																											   "p"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "_"                                                                                                                                                                                                       \
																											   "n"                                                                                                                                                                                                       \
																											   "o"                                                                                                                                                                                                       \
																											   ")"                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "F"                                                                                                                                                                                                       \
																											   "R"                                                                                                                                                                                                       \
																											   "O"                                                                                                                                                                                                       \
																											   "M"                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "d"                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "a"                                                                                                                                                                                                       \
																											   "m"                                                                                                                                                                                                       \
																											   "i"                                                                                                                                                                                                       \
																											   "l"                                                                                                                                                                                                       \
																											   "l"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "c"                                                                                                                                                                                                       \
																											   "e"                                                                                                                                                                                                       \
																											   "i"                                                                                                                                                                                                       \
																											   "p"                                                                                                                                                                                                       \
																											   "t"                                                                                                                                                                                                       \
																											   "_"                                                                                                                                                                                                       \
																											   "l"                                                                                                                                                                                                       \
																											   "o"                                                                                                                                                                                                       \
																											   "g"                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "c"                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "W"                                                                                                                                                                                                       \
																											   "H"                                                                                                                                                                                                       \
																											   "E"                                                                                                                                                                                                       \
																											   "R"                                                                                                                                                                                                       \
																											   "E"                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "c"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "u"                                                                                                                                                                                                       \
																											   "n"                                                                                                                                                                                                       \
																											   "_"                                                                                                                                                                                                       \
																											   "i"                                                                                                                                                                                                       \
																											   "d"                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "="                                                                                                                                                                                                       \
																											   " "                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "."                                                                                                                                                                                                       \
																											   "r"                                                                                                                                                                                                       \
																											   "u"                                                                                                                                                                                                       \
																											   "n"                                                                                                                                                                                                       \
																											   "_"                                                                                                                                                                                                       \
																											   "i"                                                                                                                                                                                                       \
																											   "d"                                                                                                                                                                                                       \
																											   ")")) ") AS facets, "                                                                                                                                                                                     \
																													 "CASE WHEN r.message IS NOT NULL THEN jsonb_build_object('errorMessage', " FACET(                                                                                                                   \
																														 STANDARD(                                                                                                                                                                                       \
																															 "1-0-0",                                                                                                                                                                                    \
																															 "ErrorMessageRunFacet"),                                                                                                                                                                    \
																														 STRIPPED(                                                                                                                                                                                       \
																															 "'message', r.message, 'programmingLanguage', 'SQL', 'stackTrace', r.detail")) ") ELSE '{}' END AS failure, "                                                                               \
																																																			"overlay(overlay(md5($4::text || ' ' || $5::text || ' ' || r.run_id) PLACING '8' FROM 13) PLACING '8' FROM " \
																																																			"17)::uuid AS id FROM datamill.run_catalog r WHERE r.run_id = $1 AND r.started_at IS NOT NULL), "

#define EVENTS                                                                                                     \
	"events AS (SELECT 1 AS n, 'START' AS type, started_at AS at, '[]'::jsonb AS inputs, '[]'::jsonb AS outputs, " \
	"facets, t.job, t.id FROM told t UNION ALL SELECT 2, CASE t.state WHEN 'succeeded' THEN 'COMPLETE' "           \
	"WHEN 'cancelled' THEN 'ABORT' WHEN 'skipped' THEN 'ABORT' ELSE 'FAIL' END, t.finished_at, i.list, o.list, "   \
	"t.facets || t.failure, t.job, t.id FROM told t CROSS JOIN inputs i CROSS JOIN outputs o "                     \
	"WHERE t.finished_at IS NOT NULL) "                                                                            \
	"SELECT coalesce(jsonb_agg(jsonb_build_object('eventType', type, 'eventTime', " ISO(                           \
		"at") ", 'producer', " PRODUCER ", 'schemaURL', '" SPEC "2-0-2/OpenLineage.json#/$defs/RunEvent', 'run', " \
			  "jsonb_build_object('runId', id, 'facets', facets), 'job', job, 'inputs', inputs, 'outputs', "       \
			  "outputs) "                                                                                          \
			  "ORDER BY n), '[]') FROM events"

PG_FUNCTION_INFO_V1(dm_openlineage_sql);

static const char *server_namespace(void);

/* openlineage(run_id bigint) returns a jsonb array of events. */
PGDLLEXPORT Datum
dm_openlineage_sql(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	int64 run_id = PG_GETARG_INT64(0);
	DmCatalogArgs args = {0};
	DmCatalogScope scope;
	Datum events;
	bool is_null;

	dm_run_check_visible(run_id);
	dm_args_int8(&args, run_id);
	dm_args_text(&args, server_namespace());
	dm_args_text(&args, get_database_name(MyDatabaseId));
	dm_args_int8(&args, dm_system_identifier());
	dm_args_oid(&args, MyDatabaseId);
	dm_catalog_begin(&scope);
	dm_catalog_run("WITH " DATASETS DATASET_LISTS RUN_AND_JOB EVENTS, &args);
	events = dm_catalog_value(0, 1, &is_null);
	MemoryContextSwitchTo(caller);
	events = PointerGetDatum(PG_DETOAST_DATUM_COPY(events));
	dm_catalog_end(&scope);
	PG_RETURN_DATUM(events);
}

/* Returns the namespace of the server's datasets. */
static const char *
server_namespace(void)
{
	const char *cluster = GetConfigOption("cluster_name", true, false);
	const char *port = GetConfigOption("port", true, false);
	char host[256];

	if (cluster && cluster[0] != '\0')
		return psprintf("postgres://%s:%s", cluster, port);
	if (gethostname(host, sizeof(host)) != 0)
		strlcpy(host, "localhost", sizeof(host));
	host[sizeof(host) - 1] = '\0';
	return psprintf("postgres://%s:%s", host, port);
}
