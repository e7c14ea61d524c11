/*
 * row_reader.c
 *		Rows to model inputs, quickly: one step a feature, chosen by type once, and a
 *		small cache of level texts for each text column.
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"

#include "pg/json_feature.h"
#include "pg/row_reader.h"

/* How one feature is read. The first six are a conversion of the datum and nothing else. */
typedef enum StepKind
{
	STEP_INT2,
	STEP_INT4,
	STEP_INT8,
	STEP_FLOAT4,
	STEP_FLOAT8,
	STEP_BOOL,
	STEP_NUMBER, /* by pe_feature_number */
	STEP_TEXT,   /* a category by the bytes of a text */
	STEP_LEVEL,  /* a category by the text of any other type */
	STEP_PART,   /* by pe_feature_number, of a value that is detoasted once for all its parts */
	STEP_PART_TEXT
} StepKind;

#define FIRST_SLOTS    64
#define MOST_SLOTS     8192
#define DIRECT_LENGTH  16  /* texts up to here are known by their ends alone */
#define LONGEST_CACHED 128 /* bytes; longer ones are asked for every time */
#define UNUSED_LENGTH  UINT32_MAX

/* A text and its code. Up to DIRECT_LENGTH bytes, first, last and length say all of it. */
typedef struct LevelSlot
{
	uint64 first;
	uint64 last;
	uint32 length;
	int32 code;
	char *text; /* of longer ones, LONGEST_CACHED bytes */
} LevelSlot;

/* Each text has a pair of places, the one that was used last in front. */
typedef struct LevelCache
{
	LevelSlot *slots;
	uint32 size;      /* a power of two */
	uint32 evictions; /* since it has this size */
} LevelCache;

typedef struct Step
{
	StepKind kind;
	int column;
	const PeFeature *feature;
	const PeInput *input;
	LevelCache cache; /* of the kinds with texts */
} Step;

struct PeRowReader
{
	MemoryContext context;
	pe_level_coder coder;
	void *arg;
	int snapshot;
	const PeInput *snapshot_input;
	int n;
	Step steps[FLEXIBLE_ARRAY_MEMBER];
};

static StepKind
kind_of_step(const PeFeature *feature, const PeInput *input)
{
	if (feature->treatment == PE_TREAT_KEY_TEXT)
		return STEP_PART_TEXT;
	if (pe_treatment_of_part(feature->treatment))
		return STEP_PART;
	if (feature->treatment == PE_TREAT_CATEGORY)
		return input->kind == PE_INPUT_TEXT ? STEP_TEXT : STEP_LEVEL;
	if (feature->treatment != PE_TREAT_NUMBER && feature->treatment != PE_TREAT_BOOLEAN)
		return STEP_NUMBER;
	switch (input->kind)
	{
		case PE_INPUT_INT2:
			return STEP_INT2;
		case PE_INPUT_INT4:
			return STEP_INT4;
		case PE_INPUT_INT8:
			return STEP_INT8;
		case PE_INPUT_FLOAT4:
			return STEP_FLOAT4;
		case PE_INPUT_FLOAT8:
			return STEP_FLOAT8;
		case PE_INPUT_BOOL:
			return STEP_BOOL;
		default:
			return STEP_NUMBER;
	}
}

PeRowReader *
pe_row_reader_create(int n, const PeFeature *features, const PeInput *inputs, const int *columns,
                     int snapshot, const PeInput *snapshot_input, pe_level_coder coder, void *arg)
{
	PeRowReader *reader = palloc0(offsetof(PeRowReader, steps) + sizeof(Step) * Max(n, 1));

	reader->context = CurrentMemoryContext;
	reader->coder = coder;
	reader->arg = arg;
	reader->snapshot = snapshot;
	reader->snapshot_input = snapshot_input;
	reader->n = n;
	for (int i = 0; i < n; i++)
	{
		reader->steps[i].kind = kind_of_step(&features[i], &inputs[i]);
		reader->steps[i].column = columns[i];
		reader->steps[i].feature = &features[i];
		reader->steps[i].input = &inputs[i];
	}
	return reader;
}

/* ---- levels --------------------------------------------------------------------------- */

/* The first and the last eight bytes of a text, overlapping in short ones. */
static inline void
text_ends(const char *text, size_t length, uint64 *first, uint64 *last)
{
	*first = *last = 0;
	if (length >= 8)
	{
		memcpy(first, text, 8);
		memcpy(last, text + length - 8, 8);
	}
	else if (length >= 4)
	{
		memcpy(first, text, 4);
		memcpy(last, text + length - 4, 4);
	}
	else if (length > 0)
		*first = (uint64) (unsigned char) text[0] | (uint64) (unsigned char) text[length / 2] << 8 |
		         (uint64) (unsigned char) text[length - 1] << 16;
}

static void
resize_cache(const PeRowReader *reader, LevelCache *cache)
{
	uint32 size = cache->size == 0 ? FIRST_SLOTS : cache->size * 4;

	for (uint32 i = 0; i < cache->size; i++)
	{
		if (cache->slots[i].text != NULL)
			pfree(cache->slots[i].text);
	}
	if (cache->slots != NULL)
		pfree(cache->slots);
	cache->slots = MemoryContextAllocZero(reader->context, sizeof(LevelSlot) * size);
	for (uint32 i = 0; i < size; i++)
		cache->slots[i].length = UNUSED_LENGTH;
	cache->size = size;
	cache->evictions = 0;
}

static inline bool
is_in(const LevelSlot *slot, uint64 first, uint64 last, const char *text, size_t length)
{
	return slot->first == first && slot->last == last && slot->length == length &&
	       (length <= DIRECT_LENGTH || memcmp(slot->text, text, length) == 0);
}

static inline void
swap_pair(LevelSlot *pair)
{
	LevelSlot front = pair[0];

	pair[0] = pair[1];
	pair[1] = front;
}

static int32
code_of_text(PeRowReader *reader, int feature, const char *text, size_t length)
{
	LevelCache *cache = &reader->steps[feature].cache;
	uint64 first, last;
	LevelSlot *slot;

	if (length > LONGEST_CACHED)
		return reader->coder(reader->arg, feature, text, length);
	if (cache->size == 0 || (cache->evictions > cache->size * 4 && cache->size < MOST_SLOTS))
		resize_cache(reader, cache);
	text_ends(text, length, &first, &last);
	slot = &cache->slots[(((first ^ (last << 23 | last >> 41)) + length) * UINT64CONST(0x9e3779b97f4a7c15) >>
	                      40) &
	                     (cache->size - 2)];
	if (is_in(slot, first, last, text, length))
		return slot->code;
	if (is_in(slot + 1, first, last, text, length))
	{
		swap_pair(slot);
		return slot->code;
	}
	if (slot[1].length != UNUSED_LENGTH)
		cache->evictions++;
	swap_pair(slot);
	slot->length = UNUSED_LENGTH; /* should the coder raise, or memory run out */
	if (length > DIRECT_LENGTH)
	{
		if (slot->text == NULL)
			slot->text = MemoryContextAlloc(reader->context, LONGEST_CACHED);
		memcpy(slot->text, text, length);
	}
	slot->code = reader->coder(reader->arg, feature, text, length);
	slot->first = first;
	slot->last = last;
	slot->length = (uint32) length;
	return slot->code;
}

/*
 * A short text's bytes where they are. A pointer to a text that is kept elsewhere passes
 * for a short text, too, by the server's own macro.
 */
static inline int32
code_of_varlena(PeRowReader *reader, int feature, Datum value)
{
	const char *datum = DatumGetPointer(value);
	size_t length;
	const char *text;

	if (VARATT_IS_SHORT(datum) && !VARATT_IS_EXTERNAL(datum))
		return code_of_text(reader, feature, VARDATA_SHORT(datum), VARSIZE_SHORT(datum) - VARHDRSZ_SHORT);
	text = pe_input_level(reader->steps[feature].input, value, &length);
	return code_of_text(reader, feature, text, length);
}

/* ---- rows ----------------------------------------------------------------------------- */

void
pe_row_read(PeRowReader *reader, const Datum *values, const bool *nulls, double *out)
{
	double snapshot = NAN;
	int whole_column = -1; /* the last value of which parts were read, detoasted */
	Datum whole = (Datum) 0;

	if (reader->snapshot >= 0 && !nulls[reader->snapshot])
		snapshot = pe_input_number(reader->snapshot_input, values[reader->snapshot]);
	for (int i = 0; i < reader->n; i++)
	{
		const Step *step = &reader->steps[i];
		Datum value = values[step->column];
		size_t length;
		const char *text;

		if (nulls[step->column])
		{
			out[i] = NAN;
			continue;
		}
		if (step->kind >= STEP_PART && step->column != whole_column)
		{
			whole = PointerGetDatum(PG_DETOAST_DATUM(value));
			whole_column = step->column;
		}
		switch (step->kind)
		{
			case STEP_INT2:
				out[i] = DatumGetInt16(value);
				break;
			case STEP_INT4:
				out[i] = DatumGetInt32(value);
				break;
			case STEP_INT8:
				out[i] = (double) DatumGetInt64(value);
				break;
			case STEP_FLOAT4:
				out[i] = DatumGetFloat4(value);
				break;
			case STEP_FLOAT8:
				out[i] = DatumGetFloat8(value);
				break;
			case STEP_BOOL:
				out[i] = DatumGetBool(value) ? 1.0 : 0.0;
				break;
			case STEP_NUMBER:
				out[i] = pe_feature_number(step->feature, step->input, value, false, snapshot);
				break;
			case STEP_TEXT:
				out[i] = code_of_varlena(reader, i, value);
				break;
			case STEP_LEVEL:
				text = pe_input_level(step->input, value, &length);
				out[i] = code_of_text(reader, i, text, length);
				break;
			case STEP_PART:
				out[i] = pe_feature_number(step->feature, step->input, whole, false, snapshot);
				break;
			case STEP_PART_TEXT:
				text = pe_feature_level(step->feature, step->input, whole, &length);
				out[i] = text != NULL ? code_of_text(reader, i, text, length) : NAN;
				break;
		}
	}
}
