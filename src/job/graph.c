/*
 * graph.c: which jobs follow which. There is never a circle: who adds to the graph holds a lock that keeps others from adding to it.
 */
#include "postgres.h"

#include "executor/spi.h"

#include "base/catalog.h"
#include "job/job.h"

static void check_names(const DmJob *job);
static void check_circle(const DmJob *job);

/*
 * Stores what the job follows: the jobs named in its field after, of its owner or of roles whose rights the owner has. Raises 42704 on
 * a name that is none, 42P17 on a circle. Called in a catalog scope.
 */
void
dm_graph_store(const DmJob *job)
{
	DmCatalogArgs args = {0};

	dm_args_int8(&args, job->job_id);
	if (!job->values[DM_JOB_FOLLOWS])
	{
		dm_catalog_run("DELETE FROM datamill.dependency_catalog WHERE job_id = $1", &args);
		return;
	}
	dm_catalog_run("LOCK TABLE datamill.dependency_catalog IN SHARE ROW EXCLUSIVE MODE", NULL);
	dm_catalog_run("DELETE FROM datamill.dependency_catalog WHERE job_id = $1", &args);
	check_names(job);
	check_circle(job);
}

/* Stores the jobs that are named. */
static void
check_names(const DmJob *job)
{
	DmCatalogArgs args = {0};
	char *missing = NULL;

	dm_args_text(&args, job->values[DM_JOB_FOLLOWS]);
	dm_args_oid(&args, job->owner);
	dm_args_int8(&args, job->job_id);
	if (dm_catalog_run(
			"SELECT n FROM unnest($1::text[]) n WHERE n IS NULL OR NOT EXISTS (SELECT FROM datamill.job_catalog j "
			"WHERE j.name = n AND (j.owner = $2 OR pg_has_role($2, j.owner, 'USAGE')) AND $3 IS NOT NULL) LIMIT 1",
			&args) > 0)
	{
		missing = dm_catalog_text(0, 1);
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" of after does not exist", missing ? missing : "NULL"),
				 errdetail("A job follows jobs of its owner, or of roles whose rights its owner has.")));
	}
	dm_catalog_run("INSERT INTO datamill.dependency_catalog (job_id, upstream_id) SELECT DISTINCT $3, u.job_id "
				   "FROM unnest($1::text[]) n CROSS JOIN LATERAL (SELECT j.job_id FROM datamill.job_catalog j "
				   "WHERE j.name = n AND (j.owner = $2 OR pg_has_role($2, j.owner, 'USAGE')) "
				   "ORDER BY j.owner = $2 DESC, j.job_id LIMIT 1) u",
				   &args);
}

/* Raises if the job follows itself, directly or through others. */
static void
check_circle(const DmJob *job)
{
	DmCatalogArgs args = {0};

	dm_args_int8(&args, job->job_id);
	if (dm_catalog_run(
			"WITH RECURSIVE f(job_id) AS (SELECT $1 UNION "
			"SELECT d.job_id FROM datamill.dependency_catalog d JOIN f ON d.upstream_id = f.job_id) "
			"SELECT j.name FROM datamill.dependency_catalog d JOIN f ON f.job_id = d.upstream_id "
			"JOIN datamill.job_catalog j ON j.job_id = d.upstream_id WHERE d.job_id = $1 ORDER BY 1 LIMIT 1",
			&args) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("job \"%s\" would follow itself", job->values[DM_JOB_NAME]),
				 errdetail("It follows \"%s\", which follows it.", dm_catalog_text(0, 1))));
}
