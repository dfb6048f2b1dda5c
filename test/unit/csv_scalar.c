/*
 * csv_scalar.c: test/unit/csv.c for machines without SSE2.
 */
#undef __SSE2__
#include "csv.c"
