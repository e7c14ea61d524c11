/*
 * tally.c
 *		Different and frequent values of a column.
 *
 * Every value has a counter until there are too many of them. Then all counters are
 * lowered by their median, and those that reach zero make room: a value's counter is
 * too low by the sum of these medians at most. Each time half the counters lose that
 * much, so the sum is at most 2 / PE_TALLY_VALUES of all values offered (Misra and
 * Gries's counters, lowered in batches). How many different values there were is from
 * then on HyperLogLog's business, which is given the hashes of those counted so far.
 */
#include "model/internal.h"
#include "model/sketch/sketch.h"

#include <math.h>
#include <stdlib.h>

#define FIRST_SLOTS     64
#define EMPTY           UINT32_MAX
#define REGISTER_BITS   14
#define REGISTERS       (1 << REGISTER_BITS)
#define RANKS           (64 - REGISTER_BITS + 1) /* a register holds 0 to this */
#define FIRST_ARENA     1024
#define MAX_ARENA_BYTES ((size_t) 1 << 30)

struct pe_value_tally
{
	pe_env env;
	pe_tallied *values; /* bytes is an offset into the arena until sorted */
	size_t count;
	uint32_t *slots; /* by hash: index into values */
	size_t nslots;   /* a power of two, at least twice the values */
	uint8_t *arena;
	size_t arena_used;
	size_t arena_size;
	uint8_t *registers; /* NULL while every value has a counter */
	int64_t missed;
	pe_tallied *sorted;
};

static size_t
slot_of(const pe_value_tally *tally, uint64_t hash)
{
	size_t slot = pe_mix64(hash) & (tally->nslots - 1);

	while (tally->slots[slot] != EMPTY && tally->values[tally->slots[slot]].hash != hash)
		slot = (slot + 1) & (tally->nslots - 1);
	return slot;
}

static void
index_values(pe_value_tally *tally)
{
	memset(tally->slots, 0xff, sizeof(uint32_t) * tally->nslots);
	for (size_t i = 0; i < tally->count; i++)
		tally->slots[slot_of(tally, tally->values[i].hash)] = (uint32_t) i;
}

static pe_status
resize(pe_value_tally *tally, size_t nslots, pe_error *err)
{
	uint32_t *slots = pe_realloc(&tally->env, tally->slots, sizeof(uint32_t) * nslots);
	pe_tallied *values;

	if (slots == NULL)
		return pe_fail_memory(err);
	tally->slots = slots;
	values = pe_realloc(&tally->env, tally->values, sizeof(pe_tallied) * nslots / 2);
	if (values == NULL)
		return pe_fail_memory(err);
	tally->values = values;
	tally->nslots = nslots;
	index_values(tally);
	return PE_OK;
}

pe_status
pe_value_tally_open(const pe_env *env, pe_value_tally **tally, pe_error *err)
{
	pe_status status;

	*tally = pe_calloc(env, 1, sizeof(pe_value_tally));
	if (*tally == NULL)
		return pe_fail_memory(err);
	(*tally)->env = *env;
	status = resize(*tally, FIRST_SLOTS, err);
	if (status != PE_OK)
	{
		pe_value_tally_free(*tally);
		*tally = NULL;
	}
	return status;
}

void
pe_value_tally_free(pe_value_tally *tally)
{
	if (tally == NULL)
		return;
	pe_free(&tally->env, tally->values);
	pe_free(&tally->env, tally->slots);
	pe_free(&tally->env, tally->arena);
	pe_free(&tally->env, tally->registers);
	pe_free(&tally->env, tally->sorted);
	pe_free(&tally->env, tally);
}

/* ---- HyperLogLog ---- */

static void
register_hash(uint8_t *registers, uint64_t hash)
{
	uint64_t mixed = pe_mix64(hash ^ UINT64_C(0x9e3779b97f4a7c15));
	uint64_t rest = mixed << REGISTER_BITS;
	uint8_t rank = rest == 0 ? RANKS : (uint8_t) (__builtin_clzll(rest) + 1);
	uint8_t *at = &registers[mixed >> (64 - REGISTER_BITS)];

	if (rank > *at)
		*at = rank;
}

/* The two series of Ertl's estimator, which needs no correction for small or large counts. */
static double
sigma(double x)
{
	double y = 1, sum = x, before;

	if (x == 1)
		return INFINITY;
	do
	{
		x *= x;
		before = sum;
		sum += x * y;
		y += y;
	} while (sum != before);
	return sum;
}

static double
tau(double x)
{
	double y = 1, sum = 1 - x, before;

	if (x == 0 || x == 1)
		return 0;
	do
	{
		x = sqrt(x);
		before = sum;
		y *= 0.5;
		sum -= (1 - x) * (1 - x) * y;
	} while (sum != before);
	return sum / 3;
}

static double
estimate(const uint8_t *registers)
{
	int64_t of_rank[RANKS + 1] = {0};
	double sum;

	for (int i = 0; i < REGISTERS; i++)
		of_rank[registers[i]]++;
	sum = REGISTERS * tau(1 - (double) of_rank[RANKS] / REGISTERS);
	for (int rank = RANKS - 1; rank >= 1; rank--)
		sum = 0.5 * (sum + (double) of_rank[rank]);
	sum += REGISTERS * sigma((double) of_rank[0] / REGISTERS);
	return (double) REGISTERS * REGISTERS / (2 * M_LN2 * sum);
}

/* ---- making room ---- */

static int
compare_counts(const void *left, const void *right)
{
	int64_t a = *(const int64_t *) left;
	int64_t b = *(const int64_t *) right;

	return (a > b) - (a < b);
}

static int64_t
median_count(const pe_value_tally *tally)
{
	int64_t counts[PE_TALLY_VALUES];

	for (size_t i = 0; i < tally->count; i++)
		counts[i] = tally->values[i].count;
	qsort(counts, tally->count, sizeof(int64_t), compare_counts);
	return counts[tally->count / 2];
}

/* Lowers the counters and moves what is left of values and bytes together. */
static void
lower(pe_value_tally *tally)
{
	int64_t by = median_count(tally);
	size_t kept = 0;

	tally->missed += by;
	tally->arena_used = 0;
	for (size_t i = 0; i < tally->count; i++)
	{
		pe_tallied value = tally->values[i];

		if (value.count <= by)
			continue;
		value.count -= by;
		/* Bytes lie in the order of the values: they only move down. */
		memmove(tally->arena + tally->arena_used, tally->arena + (uintptr_t) value.bytes, value.length);
		value.bytes = (const void *) (uintptr_t) tally->arena_used;
		tally->arena_used += value.length;
		tally->values[kept++] = value;
	}
	tally->count = kept;
	index_values(tally);
}

static pe_status
make_room(pe_value_tally *tally, pe_error *err)
{
	if (tally->count < tally->nslots / 2)
		return PE_OK;
	if (tally->count < PE_TALLY_VALUES)
		return resize(tally, tally->nslots * 2, err);
	if (tally->registers == NULL)
	{
		tally->registers = pe_calloc(&tally->env, REGISTERS, 1);
		if (tally->registers == NULL)
			return pe_fail_memory(err);
		for (size_t i = 0; i < tally->count; i++)
			register_hash(tally->registers, tally->values[i].hash);
	}
	lower(tally);
	return PE_OK;
}

static pe_status
reserve_bytes(pe_value_tally *tally, size_t length, pe_error *err)
{
	size_t size = tally->arena_size > 0 ? tally->arena_size : FIRST_ARENA;
	uint8_t *arena;

	if (tally->arena != NULL && tally->arena_used + length <= tally->arena_size)
		return PE_OK;
	if (length > MAX_ARENA_BYTES || tally->arena_used + length > MAX_ARENA_BYTES)
		return pe_fail(err, PE_LIMIT, "values are too long to be counted");
	while (size < tally->arena_used + length)
		size *= 2;
	arena = pe_realloc(&tally->env, tally->arena, size);
	if (arena == NULL)
		return pe_fail_memory(err);
	tally->arena = arena;
	tally->arena_size = size;
	return PE_OK;
}

/* ---- counting ---- */

pe_status
pe_value_tally_offer(pe_value_tally *tally, uint64_t hash, const void *bytes, size_t length, bool *fresh,
                     pe_error *err)
{
	size_t slot = slot_of(tally, hash);
	pe_tallied *value;
	pe_status status;

	if (tally->registers != NULL)
		register_hash(tally->registers, hash);
	*fresh = tally->slots[slot] == EMPTY;
	if (!*fresh)
	{
		tally->values[tally->slots[slot]].count++;
		return PE_OK;
	}
	status = make_room(tally, err);
	if (status != PE_OK)
		return status;
	status = reserve_bytes(tally, length, err);
	if (status != PE_OK)
		return status;
	if (tally->registers != NULL)
		register_hash(tally->registers, hash);
	tally->slots[slot_of(tally, hash)] = (uint32_t) tally->count;
	value = &tally->values[tally->count++];
	value->hash = hash;
	value->count = 1;
	value->bytes = (const void *) (uintptr_t) tally->arena_used;
	value->length = (uint32_t) length;
	if (length > 0)
		memcpy(tally->arena + tally->arena_used, bytes, length);
	tally->arena_used += length;
	return PE_OK;
}

int64_t
pe_value_tally_distinct(const pe_value_tally *tally, bool *exact)
{
	*exact = tally->registers == NULL;
	return *exact ? (int64_t) tally->count : (int64_t) llround(estimate(tally->registers));
}

int64_t
pe_value_tally_missed(const pe_value_tally *tally)
{
	return tally->missed;
}

int64_t
pe_value_tally_count(const pe_value_tally *tally, uint64_t hash)
{
	uint32_t found = tally->slots[slot_of(tally, hash)];

	return found != EMPTY ? tally->values[found].count : 0;
}

static int
compare_values(const void *left, const void *right)
{
	const pe_tallied *a = left;
	const pe_tallied *b = right;

	if (a->count != b->count)
		return a->count > b->count ? -1 : 1;
	return (a->hash > b->hash) - (a->hash < b->hash);
}

pe_status
pe_value_tally_sorted(pe_value_tally *tally, const pe_tallied **values, size_t *count, pe_error *err)
{
	pe_free(&tally->env, tally->sorted);
	tally->sorted = pe_calloc(&tally->env, tally->count, sizeof(pe_tallied));
	if (tally->sorted == NULL)
		return pe_fail_memory(err);
	for (size_t i = 0; i < tally->count; i++)
	{
		tally->sorted[i] = tally->values[i];
		tally->sorted[i].bytes = tally->arena + (uintptr_t) tally->values[i].bytes;
	}
	qsort(tally->sorted, tally->count, sizeof(pe_tallied), compare_values);
	*values = tally->sorted;
	*count = tally->count;
	return PE_OK;
}
