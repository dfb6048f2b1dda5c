/*
 * assign.c: gives a query's value the type of a column as INSERT would.
 */
#include "postgres.h"

#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "source/assign.h"

/* Raises 42804 unless the offered type goes to the wanted one by assignment. */
static void
check_assignable(Form_pg_attribute offered, Form_pg_attribute wanted)
{
	const char *name = NameStr(wanted->attname);

	if (can_coerce_type(1, &offered->atttypid, &wanted->atttypid, COERCION_ASSIGNMENT))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" is of type %s but the source gives %s",
					name,
					format_type_with_typemod(wanted->atttypid, wanted->atttypmod),
					format_type_with_typemod(offered->atttypid, offered->atttypmod)),
			 errhint("Cast it in a query as source: SELECT ..., %s::%s FROM ...",
					 quote_identifier(name),
					 format_type_with_typemod(wanted->atttypid, wanted->atttypmod))));
}

/* Prepares the way through text: from the output function of type given to the wanted type's input function. */
static void
init_input(DmAssign *assign, Oid given, Form_pg_attribute wanted)
{
	Oid function;
	bool is_varlena;

	assign->kind = DM_ASSIGN_INPUT;
	getTypeOutputInfo(given, &function, &is_varlena);
	fmgr_info(function, &assign->output);
	getTypeInputInfo(wanted->atttypid, &function, &assign->ioparam);
	fmgr_info(function, &assign->function);
}

/*
 * Prepares the assignment of an offered column to a wanted one, in the current memory context. Returns the cast that
 * the query needs behind the column, "" for none. Raises 42804 when the types do not fit.
 */
char *
dm_assign_init(DmAssign *assign, Form_pg_attribute offered, Form_pg_attribute wanted)
{
	Oid base = getBaseType(wanted->atttypid);
	bool is_domain = base != wanted->atttypid;
	CoercionPathType path;
	Oid function;

	check_assignable(offered, wanted);
	assign->kind = DM_ASSIGN_NONE;
	assign->typmod = wanted->atttypmod;
	if (offered->atttypid == wanted->atttypid && (offered->atttypmod == wanted->atttypmod || wanted->atttypmod < 0))
		return "";
	path = wanted->atttypmod < 0 ? COERCION_PATH_NONE : find_typmod_coercion_function(wanted->atttypid, &function);
	if (is_domain || path == COERCION_PATH_ARRAYCOERCE)
		init_input(assign, base, wanted);
	else if (path == COERCION_PATH_FUNC)
	{
		assign->kind = DM_ASSIGN_LENGTH;
		fmgr_info(function, &assign->function);
	}
	if (offered->atttypid == base)
		return "";
	return psprintf("::%s", format_type_extended(base, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
}

/*
 * Returns the value as the wanted column takes it, palloc'd in the current memory context where it changes. Raises what
 * an INSERT of it would. NULL passes, unless the wanted type is a domain that forbids it.
 */
Datum
dm_assign_apply(DmAssign *assign, Datum value, bool isnull)
{
	if (assign->kind == DM_ASSIGN_INPUT)
		return InputFunctionCall(&assign->function,
								 isnull ? NULL : OutputFunctionCall(&assign->output, value),
								 assign->ioparam,
								 assign->typmod);
	if (assign->kind == DM_ASSIGN_LENGTH && !isnull)
		return FunctionCall3(&assign->function, value, Int32GetDatum(assign->typmod), BoolGetDatum(false));
	return value;
}
