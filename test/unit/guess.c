/*
 * guess.c: tests of rows/guess.c: which type a single text, or several, lead to.
 *
 * Expected values follow from the rules in rows/guess.h; that each text is accepted by the type's input function is tested
 * in test/sql/source_infer.sql.
 */
#include "backend.h"

#include "catalog/pg_type.h"
#include "utils/datetime.h"

/* datetime.c's days of the months, which the backend would give. */
const int day_tab[2][13] = {{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0},
							{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0}};

#include "rows/guess.c"

typedef struct Case
{
	const char *text;
	Oid type;
} Case;

static const Case cases[] = {
	{"0", INT8OID},
	{"-0", INT8OID},
	{"-17", INT8OID},
	{"9223372036854775807", INT8OID},
	{"-9223372036854775808", INT8OID},
	{"9223372036854775808", NUMERICOID},
	{"-9223372036854775809", NUMERICOID},
	{"100000000000000000000", NUMERICOID},
	{"0.5", NUMERICOID},
	{".5", NUMERICOID},
	{"-.5", NUMERICOID},
	{"1.50", NUMERICOID},
	{"1e3", NUMERICOID},
	{"1.5E-10", NUMERICOID},
	{"007", TEXTOID},
	{"00.5", TEXTOID},
	{"-01", TEXTOID},
	{"+1", TEXTOID},
	{"1.", TEXTOID},
	{".", TEXTOID},
	{"-", TEXTOID},
	{"e5", TEXTOID},
	{".e5", TEXTOID},
	{"1e", TEXTOID},
	{"1e+", TEXTOID},
	{"1e1000", TEXTOID},
	{"1,5", TEXTOID},
	{" 1", TEXTOID},
	{"1 ", TEXTOID},
	{"1_000", TEXTOID},
	{"0x10", TEXTOID},
	{"NaN", TEXTOID},
	{"Infinity", TEXTOID},
	{"", TEXTOID},
	{"true", BOOLOID},
	{"False", BOOLOID},
	{"t", TEXTOID},
	{"yes", TEXTOID},
	{"T", TEXTOID},
	{"0e38c5a8-3d3c-4d8e-9d3b-0123456789ab", UUIDOID},
	{"0e38c5a83d3c4d8e9d3b0123456789ab", TEXTOID},
	{"0e38c5a8-3d3c-4d8e-9d3b-0123456789ag", TEXTOID},
	{"2024-02-29", DATEOID},
	{"2023-02-29", TEXTOID},
	{"2024-13-01", TEXTOID},
	{"2024-00-01", TEXTOID},
	{"2024-01-00", TEXTOID},
	{"0000-01-01", TEXTOID},
	{"24-01-01", TEXTOID},
	{"2024-1-1", TEXTOID},
	{"20240101", INT8OID},
	{"01/02/2024", TEXTOID},
	{"infinity", TEXTOID},
	{"2024-02-29T10:00", TIMESTAMPOID},
	{"2024-02-29 10:00:00", TIMESTAMPOID},
	{"2024-02-29 10:00:00.123456", TIMESTAMPOID},
	{"2024-02-29 10:00:00.1234567", TEXTOID},
	{"2024-02-29 10:00:00.", TEXTOID},
	{"2024-02-29 24:00:00", TEXTOID},
	{"2024-02-29 10:60", TEXTOID},
	{"2024-02-29 10:00:60", TEXTOID},
	{"2024-02-29 10", TEXTOID},
	{"2024-02-29T10:00:00Z", TIMESTAMPTZOID},
	{"2024-02-29 10:00:00+02", TIMESTAMPTZOID},
	{"2024-02-29 10:00:00-0330", TIMESTAMPTZOID},
	{"2024-02-29 10:00:00.5+05:30", TIMESTAMPTZOID},
	{"2024-02-29 10:00:00+16", TEXTOID},
	{"2024-02-29 10:00:00+02:", TEXTOID},
	{"2024-02-29 10:00:00 Europe/Berlin", TEXTOID},
	{"2024-02-29Z", TEXTOID},
};

/* Columns of up to three values. */
static const struct
{
	const char *values[3];
	Oid type;
} columns[] = {
	{{NULL}, TEXTOID},
	{{"1", "2.5"}, NUMERICOID},
	{{"1", "x"}, TEXTOID},
	{{"1", "true"}, TEXTOID},
	{{"t", "f"}, BOOLOID},
	{{"true", "t"}, TEXTOID},
	{{"true", "t", "f"}, BOOLOID},
	{{"f", "m"}, TEXTOID},
	{{"2024-01-01", "2024-01-01 10:00"}, TIMESTAMPOID},
	{{"2024-01-01", "2024-01-01 10:00Z"}, TEXTOID},
	{{"2024-01-01 10:00", "2024-01-01 10:00Z"}, TEXTOID},
	{{"2024-01-01", "20240101"}, TEXTOID},
	{{"1", "007", "2"}, TEXTOID},
};

/* Returns the type of a column, its values taken from the first to the last or the other way around. */
static Oid
type_of(const char *const *values, int count, bool backwards)
{
	DmGuess guess = {0};

	for (int i = 0; i < count; i++)
	{
		const char *value = values[backwards ? count - 1 - i : i];

		if (value)
			dm_guess_add(&guess, value, strlen(value));
	}
	return dm_guess_type(&guess);
}

int
main(void)
{
	for (int i = 0; i < lengthof(cases); i++)
		ok(type_of(&cases[i].text, 1, false) == cases[i].type, cases[i].text);
	for (int i = 0; i < lengthof(columns); i++)
	{
		Oid forwards = type_of(columns[i].values, 3, false);
		Oid backwards = type_of(columns[i].values, 3, true);

		ok(forwards == columns[i].type && backwards == columns[i].type,
		   columns[i].values[0] ? columns[i].values[0] : "no value");
	}
	return done();
}
