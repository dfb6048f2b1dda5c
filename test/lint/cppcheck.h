/*
 * cppcheck.h: what cppcheck has to know of Postgres, whose headers it does not read.
 */
#define PG_VERSION_NUM 150000
#define PG_MODULE_MAGIC extern int dm_magic
#define PG_FUNCTION_INFO_V1(name) extern int name##_info
#define PGDLLEXPORT
#define FLEXIBLE_ARRAY_MEMBER
#define pg_attribute_noreturn()
#define pg_attribute_printf(format, arguments)
#define PG_USED_FOR_ASSERTS_ONLY
#define pg_attribute_unused()
#define likely(condition) (condition)
#define unlikely(condition) (condition)
#define PG_TRY() {
#define PG_CATCH() } if (dm_caught()) {
#define PG_FINALLY() } {
#define PG_END_TRY() }
#define PG_RE_THROW() abort()
#define foreach(cell, list) for (cell = dm_first(list); cell; cell = dm_next(cell))
#define dlist_foreach_modify(iter, list) for (dm_start(&(iter), list); (iter).cur; dm_step(&(iter)))
#define LOG 15
#define INFO 17
#define NOTICE 18
#define WARNING 19
#define ERROR 21
#define FATAL 22
#define ereport(level, ...) do { dm_report(__VA_ARGS__); if ((level) >= ERROR) abort(); } while (0)
#define elog(level, ...) do { dm_report(__VA_ARGS__); if ((level) >= ERROR) abort(); } while (0)
#define Assert(condition)
