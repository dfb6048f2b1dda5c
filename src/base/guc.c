/*
 * guc.c: the settings datamill.*.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "base/guc.h"
#include "base/hosts.h"

char *dm_guc_default_server = NULL;
char *dm_guc_allowed_hosts = NULL;
char *dm_guc_archive = NULL;
int dm_guc_prefetch_memory_kb = 64 * 1024;
int dm_guc_hash_bits = 64;
int dm_guc_csv_buffer_bytes = 256 * 1024;
int dm_guc_split_bytes = 0;

bool dm_guc_scheduler = true;
int dm_guc_max_runs = 8;
int dm_guc_max_runs_per_role = 0;
bool dm_guc_superuser_jobs = true;
int dm_guc_cancel_grace_ms = 10000;
int dm_guc_run_retention_days = 90;

static void define_job_settings(void);

/* Refuses a list of hosts that has an entry which cannot be understood. */
static bool
check_hosts(char **value, void **extra, GucSource source)
{
	const char *bad;
	Size len;

	if (!*value || dm_hosts_check(*value, &bad, &len))
		return true;
	GUC_check_errdetail("\"%.*s\" is no host name, pattern of host names, address or network.", (int) len, bad);
	GUC_check_errhint("Write names (s3.example.com, *.example.com), addresses (10.1.2.3) or networks (10.0.0.0/8) "
					  "between commas.");
	return false;
}

/* Defines every setting of the extension. Called once, from _PG_init. */
void
dm_guc_init(void)
{
	DefineCustomStringVariable("datamill.default_server",
							   "Server of an s3:// URL that names none.",
							   "Empty: the only server of datamill_s3 on which the caller has USAGE.",
							   &dm_guc_default_server,
							   "",
							   PGC_USERSET,
							   0,
							   NULL,
							   NULL,
							   NULL);
	DefineCustomStringVariable("datamill.archive",
							   "URL under which runs keep the objects that they read.",
							   "For replays when the source is gone. Empty: nothing is kept.",
							   &dm_guc_archive,
							   "",
							   PGC_USERSET,
							   0,
							   NULL,
							   NULL,
							   NULL);
	DefineCustomStringVariable("datamill.allowed_hosts",
							   "Hosts that servers may be at whose owner is no superuser.",
							   "Names, *.names, addresses and networks between commas. Empty: any host.",
							   &dm_guc_allowed_hosts,
							   "",
							   PGC_SUSET,
							   0,
							   check_hosts,
							   NULL,
							   NULL);
	DefineCustomIntVariable("datamill.prefetch_memory",
							"Bytes that one scan may fetch ahead of its reader.",
							NULL,
							&dm_guc_prefetch_memory_kb,
							64 * 1024,
							1024,
							4 * 1024 * 1024,
							PGC_USERSET,
							GUC_UNIT_KB,
							NULL,
							NULL,
							NULL);
	DefineCustomIntVariable("datamill.hash_bits",
							"Bits of the key hash that cdc_merge uses to find rows; fewer make collisions.",
							"For tests: results are the same with any value, only slower.",
							&dm_guc_hash_bits,
							64,
							1,
							64,
							PGC_USERSET,
							GUC_NOT_IN_SAMPLE,
							NULL,
							NULL,
							NULL);
	DefineCustomIntVariable("datamill.csv_buffer_size",
							"First size of the buffer of a CSV reader; it grows to the longest record.",
							"For tests: results are the same with any value, only slower.",
							&dm_guc_csv_buffer_bytes,
							256 * 1024,
							1,
							16 * 1024 * 1024,
							PGC_USERSET,
							GUC_UNIT_BYTE | GUC_NOT_IN_SAMPLE,
							NULL,
							NULL,
							NULL);
	DefineCustomIntVariable("datamill.split_size",
							"Size of the ranges that a parallel scan cuts large objects into; 0 lets it choose.",
							"For tests: results are the same with any value.",
							&dm_guc_split_bytes,
							0,
							0,
							1024 * 1024 * 1024,
							PGC_USERSET,
							GUC_UNIT_BYTE | GUC_NOT_IN_SAMPLE,
							NULL,
							NULL,
							NULL);
	define_job_settings();
	MarkGUCPrefixReserved("datamill");
}

/* Defines the settings of jobs, which the server's configuration sets for all. */
static void
define_job_settings(void)
{
	DefineCustomBoolVariable("datamill.scheduler",
							 "Starts jobs when they are due; off holds everything back.",
							 NULL,
							 &dm_guc_scheduler,
							 true,
							 PGC_SIGHUP,
							 0,
							 NULL,
							 NULL,
							 NULL);
	DefineCustomIntVariable(
		"datamill.max_runs",
		"Runs of jobs that may go on at once in the cluster; each is one of max_worker_processes.",
		NULL,
		&dm_guc_max_runs,
		8,
		1,
		100000,
		PGC_SIGHUP,
		0,
		NULL,
		NULL,
		NULL);
	DefineCustomIntVariable("datamill.max_runs_per_role",
							"Runs of the jobs of one role that may go on at once in a database; 0 sets no limit.",
							NULL,
							&dm_guc_max_runs_per_role,
							0,
							0,
							100000,
							PGC_SIGHUP,
							0,
							NULL,
							NULL,
							NULL);
	DefineCustomBoolVariable("datamill.superuser_jobs",
							 "Lets jobs run whose owner is a superuser.",
							 NULL,
							 &dm_guc_superuser_jobs,
							 true,
							 PGC_SIGHUP,
							 0,
							 NULL,
							 NULL,
							 NULL);
	DefineCustomIntVariable("datamill.cancel_grace",
							"Time that a run has to end after it was cancelled, before it is terminated.",
							NULL,
							&dm_guc_cancel_grace_ms,
							10000,
							10,
							3600 * 1000,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL,
							NULL,
							NULL);
	DefineCustomIntVariable("datamill.run_retention",
							"Days that finished runs and events are kept; 0 keeps them for ever.",
							NULL,
							&dm_guc_run_retention_days,
							90,
							0,
							36500,
							PGC_SIGHUP,
							0,
							NULL,
							NULL,
							NULL);
}
