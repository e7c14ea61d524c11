/*
 * column_sketch.c
 *		What the columns of a source hold, learnt in one pass.
 *
 * Glue between the executor's rows and model/sketch: a value is hashed by its type's
 * own function, so that equal is what SQL calls equal, and kept as its bytes.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "pg/column_sketch.h"
#include "pg/env.h"
#include "pg/report.h"

#define ELLIPSIS "..."

static void
open_measure(PeColumnSketch *column, const pe_env *env)
{
	PeTreatment treatment = pe_treatment_of_type(column->base);
	pe_error err;

	column->measured = treatment == PE_TREAT_NUMBER ? PE_AS_NUMBER
	                   : treatment == PE_TREAT_AGE  ? PE_AS_TIME
	                                                : PE_NOT_MEASURED;
	if (column->measured == PE_NOT_MEASURED)
		return;
	(void) pe_input_init(&column->input, column->base, treatment);
	pe_check(pe_quantiles_open(env, &column->quantiles, &err), &err);
}

static bool
is_container(Oid base)
{
	return base == JSONOID || base == JSONBOID || base == BYTEAOID || type_is_array(base) ||
	       type_is_rowtype(base);
}

static bool
is_text(Oid base)
{
	return base == TEXTOID || base == VARCHAROID || base == BPCHAROID;
}

static void
open_column(PeColumnSketch *column, Form_pg_attribute attribute, const pe_env *env)
{
	Oid base = getBaseType(attribute->atttypid);
	TypeCacheEntry *type =
	    lookup_type_cache(base, TYPECACHE_HASH_EXTENDED_PROC_FINFO | TYPECACHE_CMP_PROC_FINFO);
	Oid output;
	bool is_varlena;
	pe_error err;

	column->name = pstrdup(NameStr(attribute->attname));
	column->type = attribute->atttypid;
	column->base = base;
	column->typmod = attribute->atttypmod;
	column->collation = attribute->attcollation;
	column->typlen = attribute->attlen;
	column->typbyval = attribute->attbyval;
	column->shown = !is_container(base);
	column->ranged = column->shown && OidIsValid(type->cmp_proc);
	getTypeOutputInfo(attribute->atttypid, &output, &is_varlena);
	fmgr_info(output, &column->output);
	if (OidIsValid(type->hash_extended_proc))
	{
		fmgr_info(type->hash_extended_proc, &column->hash);
		pe_check(pe_value_tally_open(env, &column->tally, &err), &err);
	}
	if (column->ranged)
		fmgr_info(type->cmp_proc, &column->compare);
	open_measure(column, env);
}

/* ---- one value ---- */

static void
count_value(PeColumnSketch *column, Datum value, bool *fresh)
{
	uint64 hash =
	    DatumGetUInt64(FunctionCall2Coll(&column->hash, column->collation, value, Int64GetDatum(0)));
	char cut[PE_SHOWN_BYTES + sizeof(ELLIPSIS)];
	const char *bytes = (const char *) &value;
	size_t length = sizeof(Datum);
	pe_error err;

	if (!column->shown)
		length = 0;
	else if (is_text(column->base))
	{
		bytes = VARDATA_ANY(DatumGetPointer(value));
		length = VARSIZE_ANY_EXHDR(DatumGetPointer(value));
		if (length > PE_SHOWN_BYTES)
		{
			length = pg_mbcliplen(bytes, (int) length, PE_SHOWN_BYTES);
			memcpy(cut, bytes, length);
			memcpy(cut + length, ELLIPSIS, sizeof(ELLIPSIS) - 1);
			bytes = cut;
			length += sizeof(ELLIPSIS) - 1;
		}
	}
	else if (!column->typbyval)
	{
		bytes = DatumGetPointer(value);
		length = datumGetSize(value, false, column->typlen);
		if (length > PE_SHOWN_BYTES)
			length = 0;
	}
	pe_check(pe_value_tally_offer(column->tally, hash, bytes, length, fresh, &err), &err);
}

static void
keep_value(PeSketch *sketch, PeColumnSketch *column, Datum *kept, Datum value)
{
	MemoryContext caller = MemoryContextSwitchTo(sketch->context);

	if (column->has_range && !column->typbyval)
		pfree(DatumGetPointer(*kept));
	*kept = datumCopy(value, column->typbyval, column->typlen);
	MemoryContextSwitchTo(caller);
}

static void
widen_range(PeSketch *sketch, PeColumnSketch *column, Datum value)
{
	if (!column->has_range)
	{
		keep_value(sketch, column, &column->least, value);
		keep_value(sketch, column, &column->largest, value);
		column->has_range = true;
		return;
	}
	if (DatumGetInt32(FunctionCall2Coll(&column->compare, column->collation, value, column->least)) < 0)
		keep_value(sketch, column, &column->least, value);
	else if (DatumGetInt32(FunctionCall2Coll(&column->compare, column->collation, value, column->largest)) >
	         0)
		keep_value(sketch, column, &column->largest, value);
}

static void
take_value(PeSketch *sketch, PeColumnSketch *column, Datum value)
{
	bool fresh = true;
	pe_error err;

	if (column->typlen == -1)
		value = PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	if (column->tally != NULL)
		count_value(column, value, &fresh);
	/* What came before has widened the range before. */
	if (column->ranged && fresh)
		widen_range(sketch, column, value);
	if (column->quantiles != NULL)
	{
		double number = pe_input_number(&column->input, value);

		if (column->measured == PE_AS_TIME)
			number -= sketch->day;
		if (isfinite(number))
			pe_check(pe_quantiles_offer(column->quantiles, number, &err), &err);
	}
}

static bool
take_row(void *arg, TupleTableSlot *slot)
{
	PeSketch *sketch = arg;

	sketch->rows++;
	for (int i = 0; i < sketch->ncolumns; i++)
	{
		PeColumnSketch *column = &sketch->columns[i];

		column->rows++;
		if (slot->tts_isnull[i])
			column->nulls++;
		else
			take_value(sketch, column, slot->tts_values[i]);
	}
	return true;
}

PeSketch *
pe_sketch_source(const PeSource *source, DateADT day)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "profenrich sketch", ALLOCSET_DEFAULT_SIZES);
	pe_env env = pe_quiet_env(context);
	PeSketch *sketch;
	pe_error err;

	MemoryContextSwitchTo(context);
	sketch = palloc0(sizeof(PeSketch));
	sketch->context = context;
	sketch->day = day;
	sketch->ncolumns = source->desc->natts;
	sketch->columns = palloc0(sizeof(PeColumnSketch) * sketch->ncolumns);
	for (int i = 0; i < sketch->ncolumns; i++)
		open_column(&sketch->columns[i], TupleDescAttr(source->desc, i), &env);
	pe_source_read(source, NULL, 0, 0, take_row, sketch);
	for (int i = 0; i < sketch->ncolumns; i++)
		if (sketch->columns[i].quantiles != NULL)
			pe_check(pe_quantiles_settle(sketch->columns[i].quantiles, &err), &err);
	MemoryContextSwitchTo(caller);
	return sketch;
}

/* ---- what was learnt ---- */

const PeColumnSketch *
pe_sketch_column(const PeSketch *sketch, const char *name)
{
	for (int i = 0; i < sketch->ncolumns; i++)
		if (strcmp(sketch->columns[i].name, name) == 0)
			return &sketch->columns[i];
	return NULL;
}

int64
pe_sketch_distinct(const PeColumnSketch *column, bool *exact)
{
	*exact = true;
	return column->tally != NULL ? pe_value_tally_distinct(column->tally, exact) : -1;
}

char *
pe_sketch_text(PeColumnSketch *column, Datum value)
{
	char *text = OutputFunctionCall(&column->output, value);
	size_t length = strlen(text);

	if (length <= PE_SHOWN_BYTES)
		return text;
	return psprintf("%.*s" ELLIPSIS, pg_mbcliplen(text, (int) length, PE_SHOWN_BYTES), text);
}

char *
pe_sketch_kept_text(PeColumnSketch *column, const pe_tallied *value)
{
	Datum datum;

	if (is_text(column->base))
		return pnstrdup(value->bytes, value->length);
	if (value->length == 0)
		return NULL;
	if (!column->typbyval)
	{
		/* Output functions want it aligned. */
		char *copy = palloc(value->length);

		memcpy(copy, value->bytes, value->length);
		return pe_sketch_text(column, PointerGetDatum(copy));
	}
	memcpy(&datum, value->bytes, sizeof(Datum));
	return pe_sketch_text(column, datum);
}
