/*
 * distribution.c
 *		How the numbers of a refresh are spread.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "lib/binaryheap.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "pg/distribution.h"
#include "pg/refresh.h"

#define SAMPLE_PROFILES 10000
#define SAMPLE_NUMBERS  2000000 /* 16 MB; beyond 200 attributes there are fewer profiles */
#define DECILES         10

struct PeSample
{
	int nattributes;
	const char **names;
	int capacity;
	int count;
	uint64 *hashes;
	double *numbers;  /* of a profile side by side; NaN: it has no such attribute */
	binaryheap *heap; /* of profiles, the largest hash on top: the next to go */
	MemoryContext scratch;
};

static bool
is_numeric(Oid type)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return true;
		default:
			return false;
	}
}

static int
compare_hashes(Datum left, Datum right, void *arg)
{
	const PeSample *sample = arg;
	uint64 a = sample->hashes[DatumGetInt32(left)];
	uint64 b = sample->hashes[DatumGetInt32(right)];

	return (a > b) - (a < b);
}

PeSample *
pe_sample_open(const PeEnrichment *e)
{
	PeSample *sample = palloc0(sizeof(PeSample));

	sample->names = palloc(sizeof(char *) * e->nattributes);
	for (int i = 0; i < e->nattributes; i++)
		if (is_numeric(e->attributes[i].type))
			sample->names[sample->nattributes++] = e->attributes[i].name;
	if (sample->nattributes == 0)
		return NULL;
	sample->capacity = Min(SAMPLE_PROFILES, SAMPLE_NUMBERS / sample->nattributes);
	sample->hashes = palloc(sizeof(uint64) * sample->capacity);
	sample->numbers = palloc(sizeof(double) * sample->capacity * sample->nattributes);
	sample->heap = binaryheap_allocate(sample->capacity, compare_hashes, sample);
	sample->scratch = AllocSetContextCreate(CurrentMemoryContext, "profenrich sample", ALLOCSET_SMALL_SIZES);
	return sample;
}

/* The numbers of one profile's value, into its place in the sample. */
static void
keep_numbers(PeSample *sample, int place, Datum value)
{
	MemoryContext before = MemoryContextSwitchTo(sample->scratch);
	Jsonb *stored = pe_refresh_stored_value(value);

	for (int i = 0; i < sample->nattributes; i++)
	{
		const char *name = sample->names[i];
		double number = get_float8_nan();
		JsonbValue found;

		if (getKeyJsonValueFromContainer(&stored->root, name, strlen(name), &found) != NULL &&
		    found.type == jbvNumeric)
			number = DatumGetFloat8(
			    DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(found.val.numeric)));
		sample->numbers[(size_t) place * sample->nattributes + i] = number;
	}
	MemoryContextSwitchTo(before);
	MemoryContextReset(sample->scratch);
}

void
pe_sample_offer(PeSample *sample, Datum key, Datum value)
{
	text *bytes = DatumGetTextPP(key);
	uint64 hash = hash_bytes_extended((unsigned char *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), 0);
	int place = sample->count;

	if (place < sample->capacity)
	{
		sample->hashes[place] = hash;
		sample->count++;
		binaryheap_add(sample->heap, Int32GetDatum(place));
	}
	else
	{
		place = DatumGetInt32(binaryheap_first(sample->heap));
		if (hash >= sample->hashes[place])
			return;
		sample->hashes[place] = hash;
		binaryheap_replace_first(sample->heap, Int32GetDatum(place));
	}
	keep_numbers(sample, place, value);
}

int
pe_sample_attributes(const PeSample *sample)
{
	return sample->nattributes;
}

const char *
pe_sample_attribute(const PeSample *sample, int i)
{
	return sample->names[i];
}

static int
compare_doubles(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return (a > b) - (a < b);
}

/* Least, largest and deciles of n sorted numbers, each once. */
static int
choose_edges(const double *sorted, int n, double *edges)
{
	int nedges = 0;

	for (int i = 0; n > 0 && i <= DECILES; i++)
	{
		double edge = sorted[(int64) (n - 1) * i / DECILES];

		if (nedges == 0 || edge > edges[nedges - 1])
			edges[nedges++] = edge;
	}
	return nedges;
}

/* Index among the counts: even between the edges, odd on one. */
static int
bin_of(const PeDistribution *distribution, double number)
{
	int below = 0;

	while (below < distribution->nedges && distribution->edges[below] < number)
		below++;
	return 2 * below + (below < distribution->nedges && distribution->edges[below] == number);
}

PeDistribution *
pe_sample_distribution(const PeSample *sample, int i, const PeDistribution *like)
{
	PeDistribution *distribution = palloc0(sizeof(PeDistribution));
	double *numbers = palloc(sizeof(double) * Max(sample->count, 1));
	int n = 0;

	distribution->attribute = sample->names[i];
	for (int p = 0; p < sample->count; p++)
	{
		double number = sample->numbers[(size_t) p * sample->nattributes + i];

		if (!isnan(number))
			numbers[n++] = number;
	}
	distribution->missing = sample->count - n;
	distribution->edges = palloc(sizeof(double) * Max(DECILES + 1, like != NULL ? like->nedges : 0));
	if (like != NULL)
	{
		distribution->nedges = like->nedges;
		memcpy(distribution->edges, like->edges, sizeof(double) * like->nedges);
	}
	else
	{
		qsort(numbers, n, sizeof(double), compare_doubles);
		distribution->nedges = choose_edges(numbers, n, distribution->edges);
	}
	distribution->counts = palloc0(sizeof(int64) * (2 * distribution->nedges + 1));
	for (int p = 0; p < n; p++)
		distribution->counts[bin_of(distribution, numbers[p])]++;
	pfree(numbers);
	return distribution;
}

int64
pe_distribution_size(const PeDistribution *distribution)
{
	int64 size = distribution->missing;

	for (int i = 0; i < 2 * distribution->nedges + 1; i++)
		size += distribution->counts[i];
	return size;
}

double
pe_distribution_psi(const PeDistribution *before, const PeDistribution *after)
{
	int bins = 2 * before->nedges + 2;
	double before_total = pe_distribution_size(before) + bins / 2.0;
	double after_total = pe_distribution_size(after) + bins / 2.0;
	double psi = 0;

	for (int i = 0; i < bins; i++)
	{
		int64 was = i < bins - 1 ? before->counts[i] : before->missing;
		int64 is = i < bins - 1 ? after->counts[i] : after->missing;
		double old = (was + 0.5) / before_total;
		double new = (is + 0.5) / after_total;

		psi += (new - old) * log(new / old);
	}
	return psi;
}
