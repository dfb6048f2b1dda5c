/*
 * row_ops.c: equality and hashing of column values, by the rules of their types.
 *
 * Invariants:
 * 1. Equality is the type's own `=` (the equality of its default btree or hash operator class). A type without one is
 *    compared by its binary form.
 * 2. Values that are equal give the same digest bytes, so rows that are equal give the same hash. The reverse need not
 *    hold: whoever finds equal hashes compares the values.
 * 3. Digest bytes of a row tell columns, NULLs and lengths apart: each value has a tag byte and variable-length ones
 *    carry their length, so ('a','bc') and ('ab','c'), or NULL and '', do not meet.
 * 4. The hash is the same on every machine and server version. Integers, floats, dates, times, uuid, text and bytea are
 *    written here in little-endian form and hashed with XXH3-128, whose output is fixed since xxHash 0.8. Other types
 *    go through their extended hash function, which PostgreSQL keeps stable for the sake of hash partitioning (but not
 *    between byte orders).
 */
#include "postgres.h"

#include <math.h>
#include <xxhash.h>

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "rows/row_ops.h"

#define TAG_NULL 0
#define TAG_VALUE 1

static void column_ops_init(DmColumnOps *ops, Form_pg_attribute attribute);
static bool collation_is_bytewise(Oid collation);

/* Makes the operations of each attribute of desc, in the current memory context. */
DmRowOps *
dm_row_ops_make(TupleDesc desc)
{
	DmRowOps *ops = palloc0(sizeof(DmRowOps));

	ops->natts = desc->natts;
	ops->columns = palloc0(sizeof(DmColumnOps) * Max(desc->natts, 1));
	initStringInfo(&ops->bytes);
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			column_ops_init(&ops->columns[i], TupleDescAttr(desc, i));
	}
	return ops;
}

/*
 * Writes the 128-bit hash of the given columns (indexes from 0, in that order) of a row to hash[16], in canonical
 * (big-endian) byte order. NULLs at the end count for nothing, so that a column added to a table changes no row's hash.
 */
void
dm_row_hash(DmRowOps *ops, const Datum *values, const bool *nulls, const int *columns, int ncolumns, uint8 *hash)
{
	StringInfo bytes = &ops->bytes;
	XXH128_canonical_t canonical;
	int used = 0;

	resetStringInfo(bytes);
	for (int i = 0; i < ncolumns; i++)
	{
		DmColumnOps *column = &ops->columns[columns[i]];
		Datum value = values[columns[i]];

		/* room for the tag and any value of fixed length known here */
		if (unlikely(bytes->maxlen - bytes->len <= 1 + UUID_LEN))
			enlargeStringInfo(bytes, 1 + UUID_LEN);
		if (nulls[columns[i]])
		{
			bytes->data[bytes->len++] = TAG_NULL;
			continue;
		}
		bytes->data[bytes->len++] = TAG_VALUE;
		if (column->digest_bytes == UUID_LEN)
			memcpy(bytes->data + bytes->len, DatumGetPointer(value), UUID_LEN);
		else if (column->digest_bytes == sizeof(value))
			memcpy(bytes->data + bytes->len, &value, sizeof(value));
		else
			column->digest(column, value, bytes);
		bytes->len += column->digest_bytes;
		used = bytes->len;
	}
	XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes->data, used));
	memcpy(hash, canonical.digest, DM_HASH_BYTES);
}

/* Appends a 64-bit integer in little-endian order. */
static inline void
append_int64(StringInfo out, uint64 value)
{
#ifdef WORDS_BIGENDIAN
	value = __builtin_bswap64(value);
#endif
	enlargeStringInfo(out, sizeof(value));
	memcpy(out->data + out->len, &value, sizeof(value));
	out->len += sizeof(value);
}

/* Appends a length and that many bytes. */
static inline void
append_sized(StringInfo out, const char *data, Size len)
{
	append_int64(out, len);
	appendBinaryStringInfo(out, data, len);
}

/* A boolean, as 0 or 1. */
static void
digest_bool(DmColumnOps *ops, Datum value, StringInfo out)
{
	append_int64(out, DatumGetBool(value) ? 1 : 0);
}

/* smallint, by its value. */
static void
digest_int16(DmColumnOps *ops, Datum value, StringInfo out)
{
	append_int64(out, (uint64) (int64) DatumGetInt16(value));
}

/* integer and date, by their value. */
static void
digest_int32(DmColumnOps *ops, Datum value, StringInfo out)
{
	append_int64(out, (uint64) (int64) DatumGetInt32(value));
}

/* bigint, timestamps and time, by their value. */
static void
digest_int64(DmColumnOps *ops, Datum value, StringInfo out)
{
	append_int64(out, (uint64) DatumGetInt64(value));
}

/* Appends a float so that -0 meets 0 and every NaN meets every other, as float8eq has it. */
static void
append_float(StringInfo out, double value)
{
	uint64 bits;

	if (isnan(value))
		bits = UINT64CONST(0x7ff8000000000000);
	else
	{
		value += 0.0; /* -0 + 0 is 0 */
		memcpy(&bits, &value, sizeof(bits));
	}
	append_int64(out, bits);
}

/* real. */
static void
digest_float4(DmColumnOps *ops, Datum value, StringInfo out)
{
	append_float(out, DatumGetFloat4(value));
}

/* double precision. */
static void
digest_float8(DmColumnOps *ops, Datum value, StringInfo out)
{
	append_float(out, DatumGetFloat8(value));
}

/* The 16 bytes of a uuid. */
static void
digest_uuid(DmColumnOps *ops, Datum value, StringInfo out)
{
	appendBinaryStringInfo(out, (const char *) DatumGetUUIDP(value)->data, UUID_LEN);
}

/* The bytes of a varlena, detoasted: text and varchar under a bytewise collation, bytea, and types without `=`. */
static void
digest_varlena(DmColumnOps *ops, Datum value, StringInfo out)
{
	struct varlena *plain = PG_DETOAST_DATUM_PACKED(value);

	append_sized(out, VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));
	if ((Pointer) plain != DatumGetPointer(value))
		pfree(plain);
}

/* As digest_varlena without trailing blanks, which char(n) does not compare. */
static void
digest_bpchar(DmColumnOps *ops, Datum value, StringInfo out)
{
	struct varlena *plain = PG_DETOAST_DATUM_PACKED(value);
	Size len = VARSIZE_ANY_EXHDR(plain);

	while (len > 0 && VARDATA_ANY(plain)[len - 1] == ' ')
		len--;
	append_sized(out, VARDATA_ANY(plain), len);
	if ((Pointer) plain != DatumGetPointer(value))
		pfree(plain);
}

/* The type's extended hash with two seeds, for 128 bits. */
static void
digest_by_hash(DmColumnOps *ops, Datum value, StringInfo out)
{
	append_int64(out, DatumGetUInt64(FunctionCall2Coll(&ops->hash, ops->collation, value, UInt64GetDatum(0))));
	append_int64(out,
				 DatumGetUInt64(FunctionCall2Coll(
					 &ops->hash, ops->collation, value, UInt64GetDatum(UINT64CONST(0x9e3779b97f4a7c15)))));
}

/* The binary form of a fixed-length value without `=`. */
static void
digest_fixed(DmColumnOps *ops, Datum value, StringInfo out)
{
	if (ops->typbyval)
		append_int64(out, (uint64) value);
	else if (ops->typlen > 0)
		appendBinaryStringInfo(out, DatumGetPointer(value), ops->typlen);
	else
		append_sized(out, DatumGetCString(value), strlen(DatumGetCString(value)));
}

/* Nothing: for a type with `=` but no hash function all values share one digest, and comparison decides. */
static void
digest_nothing(DmColumnOps *ops, Datum value, StringInfo out)
{
}

/* For types by value whose `=` is equality of their bits. */
static bool
equal_byval(DmColumnOps *ops, Datum a, Datum b)
{
	return a == b;
}

/* uuid, by its bytes. */
static bool
equal_uuid(DmColumnOps *ops, Datum a, Datum b)
{
	return memcmp(DatumGetPointer(a), DatumGetPointer(b), UUID_LEN) == 0;
}

/* Text under a bytewise collation, and bytea: in line where both are plain, else by the type's function. */
static bool
equal_varlena(DmColumnOps *ops, Datum a, Datum b)
{
	struct varlena *left = (struct varlena *) DatumGetPointer(a);
	struct varlena *right = (struct varlena *) DatumGetPointer(b);

	if (VARATT_IS_EXTERNAL(left) || VARATT_IS_COMPRESSED(left) || VARATT_IS_EXTERNAL(right) ||
		VARATT_IS_COMPRESSED(right))
		return DatumGetBool(FunctionCall2Coll(&ops->eq, ops->collation, a, b));
	return VARSIZE_ANY_EXHDR(left) == VARSIZE_ANY_EXHDR(right) &&
		   memcmp(VARDATA_ANY(left), VARDATA_ANY(right), VARSIZE_ANY_EXHDR(left)) == 0;
}

/* By the type's own `=`, under the column's collation. */
static bool
equal_by_operator(DmColumnOps *ops, Datum a, Datum b)
{
	return DatumGetBool(FunctionCall2Coll(&ops->eq, ops->collation, a, b));
}

/* By the binary form: for types without `=`. */
static bool
equal_by_image(DmColumnOps *ops, Datum a, Datum b)
{
	return datum_image_eq(a, b, ops->typbyval, ops->typlen);
}

/* Fills ops with what the type offers, and with faster equivalents where its rules are known here. */
static void
column_ops_init(DmColumnOps *ops, Form_pg_attribute attribute)
{
	Oid base = getBaseType(attribute->atttypid);
	TypeCacheEntry *type =
		lookup_type_cache(attribute->atttypid, TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_EXTENDED_PROC_FINFO);

	ops->typbyval = attribute->attbyval;
	ops->typlen = attribute->attlen;
	ops->collation = attribute->attcollation;
	ops->eq.fn_oid = InvalidOid;
	if (OidIsValid(type->eq_opr_finfo.fn_oid))
		fmgr_info_cxt(type->eq_opr_finfo.fn_oid, &ops->eq, CurrentMemoryContext);
	if (OidIsValid(type->hash_extended_proc_finfo.fn_oid))
		fmgr_info_cxt(type->hash_extended_proc_finfo.fn_oid, &ops->hash, CurrentMemoryContext);

	if (!OidIsValid(ops->eq.fn_oid))
	{
		ops->equal = equal_by_image;
		ops->digest = ops->typlen == -1 ? digest_varlena : digest_fixed;
		return;
	}
	ops->equal = equal_by_operator;
	ops->digest = OidIsValid(ops->hash.fn_oid) ? digest_by_hash : digest_nothing;
	switch (base)
	{
		case BOOLOID:
			ops->digest = digest_bool;
			ops->equal = equal_byval;
			break;
		case INT2OID:
			ops->digest = digest_int16;
			ops->equal = equal_byval;
			break;
		case INT4OID:
		case DATEOID:
			ops->digest = digest_int32;
			ops->equal = equal_byval;
			break;
		case INT8OID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			ops->digest = digest_int64;
			ops->equal = ops->typbyval ? equal_byval : equal_by_operator;
#ifndef WORDS_BIGENDIAN
			ops->digest_bytes = ops->typbyval ? sizeof(Datum) : 0;
#endif
			break;
		case FLOAT4OID: ops->digest = digest_float4; break;
		case FLOAT8OID: ops->digest = digest_float8; break;
		case UUIDOID:
			ops->digest = digest_uuid;
			ops->digest_bytes = UUID_LEN;
			ops->equal = equal_uuid;
			break;
		case BYTEAOID:
			ops->digest = digest_varlena;
			ops->equal = equal_varlena;
			break;
		case TEXTOID:
		case VARCHAROID:
			if (collation_is_bytewise(ops->collation))
			{
				ops->digest = digest_varlena;
				ops->equal = equal_varlena;
			}
			break;
		case BPCHAROID:
			if (collation_is_bytewise(ops->collation))
				ops->digest = digest_bpchar;
			break;
		default: break;
	}
}

/* True when equality under the collation is equality of bytes: every deterministic one. */
static bool
collation_is_bytewise(Oid collation)
{
	return collation == DEFAULT_COLLATION_OID ||
		   (OidIsValid(collation) && get_collation_isdeterministic(collation));
}
