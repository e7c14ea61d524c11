/*
 * quantiles.c
 *		How the numbers of a column are spread: mean, deviation, quantiles.
 *
 * Numbers lie in levels; one in level l stands for 2^l of those offered. A full level
 * is sorted and every second number of it moves one level up, those at even or at odd
 * places as a coin decides, so that errors cancel out. Levels below the top are smaller
 * by a third each (the sketch of Karnin, Lang and Liberty). The coin is our own
 * generator: results can be repeated.
 */
#include "model/internal.h"
#include "model/sketch/sketch.h"

#include <math.h>
#include <stdlib.h>

#define MAX_LEVELS    60
#define LEAST_NUMBERS 8

typedef struct level
{
	double *numbers;
	size_t count;
	size_t size;
	size_t room; /* once it has so many it is full */
} level;

struct pe_quantiles
{
	pe_env env;
	level levels[MAX_LEVELS];
	int nlevels;
	uint64_t coins;
	int64_t count;
	double mean;
	double rest;    /* what the mean is above mean: too little for its digits */
	double squares; /* sum of squared differences from the mean */
	double least;
	double most;
	/* When settled: distinct numbers, ascending, and how many of those offered are at most each. */
	double *sorted;
	double *upto;
	size_t nsorted;
};

static void
set_levels(pe_quantiles *q, int nlevels)
{
	q->nlevels = nlevels;
	for (int i = 0; i < nlevels; i++)
	{
		double room = PE_QUANTILES_NUMBERS * pow(2.0 / 3, nlevels - 1 - i);

		q->levels[i].room = room < LEAST_NUMBERS ? LEAST_NUMBERS : (size_t) room;
	}
}

pe_status
pe_quantiles_open(const pe_env *env, pe_quantiles **q, pe_error *err)
{
	*q = pe_calloc(env, 1, sizeof(pe_quantiles));
	if (*q == NULL)
		return pe_fail_memory(err);
	(*q)->env = *env;
	set_levels(*q, 1);
	return PE_OK;
}

void
pe_quantiles_free(pe_quantiles *q)
{
	if (q == NULL)
		return;
	for (int i = 0; i < q->nlevels; i++)
		pe_free(&q->env, q->levels[i].numbers);
	pe_free(&q->env, q->sorted);
	pe_free(&q->env, q->upto);
	pe_free(&q->env, q);
}

static int
compare_numbers(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return (a > b) - (a < b);
}

static pe_status
reserve(pe_quantiles *q, level *at, size_t size, pe_error *err)
{
	double *numbers = pe_realloc(&q->env, at->numbers, sizeof(double) * size);

	if (numbers == NULL)
		return pe_fail_memory(err);
	at->numbers = numbers;
	at->size = size;
	return PE_OK;
}

/* Moves half of a level's numbers up; one that is left over by an odd count stays. */
static pe_status
promote(pe_quantiles *q, int from, pe_error *err)
{
	level *low = &q->levels[from];
	level *high = &q->levels[from + 1];
	size_t pairs = low->count / 2;
	size_t odd;
	pe_status status;

	if (high->count + pairs > high->size)
	{
		status = reserve(q, high, high->count + pairs + PE_QUANTILES_NUMBERS / 4, err);
		if (status != PE_OK)
			return status;
	}
	qsort(low->numbers, low->count, sizeof(double), compare_numbers);
	q->coins = pe_mix64(q->coins + UINT64_C(0x9e3779b97f4a7c15));
	odd = q->coins >> 63;
	for (size_t i = 0; i < pairs; i++)
		high->numbers[high->count++] = low->numbers[2 * i + odd];
	if (low->count % 2 == 1)
		low->numbers[0] = low->numbers[low->count - 1];
	low->count %= 2;
	return PE_OK;
}

/* Until every level is below its capacity, which shrinks where a level comes on top. */
static pe_status
make_room(pe_quantiles *q, pe_error *err)
{
	pe_status status = PE_OK;

	for (int i = 0; i < q->nlevels && status == PE_OK; i++)
	{
		if (q->levels[i].count < q->levels[i].room)
			continue;
		if (i + 1 == q->nlevels)
		{
			if (q->nlevels == MAX_LEVELS)
				return pe_fail(err, PE_LIMIT, "too many numbers");
			set_levels(q, q->nlevels + 1);
		}
		status = promote(q, i, err);
		if (status == PE_OK && q->levels[i].size > 2 * q->levels[i].room)
			status = reserve(q, &q->levels[i], 2 * q->levels[i].room, err);
	}
	return status;
}

/*
 * Welford's way. The mean moves by less and less, down to the last digit of a mean that is large to its
 * deviation: what each addition rounds off (Knuth) is kept.
 */
static void
add_to_moments(pe_quantiles *q, double number)
{
	double difference = number - q->mean - q->rest;
	double step = difference / (double) q->count;
	double sum = q->mean + step;
	double added = sum - q->mean;

	q->rest += (q->mean - (sum - added)) + (step - added);
	q->mean = sum;
	q->squares += difference * (number - q->mean - q->rest);
}

pe_status
pe_quantiles_offer(pe_quantiles *q, double number, pe_error *err)
{
	level *lowest = &q->levels[0];
	pe_status status = PE_OK;

	if (lowest->count >= lowest->room)
		status = make_room(q, err);
	if (status == PE_OK && lowest->count == lowest->size)
		status = reserve(q, lowest, lowest->size < 32 ? 32 : lowest->size * 2, err);
	if (status != PE_OK)
		return status;
	lowest->numbers[lowest->count++] = number;
	if (q->count == 0 || number < q->least)
		q->least = number;
	if (q->count == 0 || number > q->most)
		q->most = number;
	q->count++;
	add_to_moments(q, number);
	return PE_OK;
}

int64_t
pe_quantiles_count(const pe_quantiles *q)
{
	return q->count;
}

double
pe_quantiles_mean(const pe_quantiles *q)
{
	return q->mean + q->rest;
}

double
pe_quantiles_deviation(const pe_quantiles *q)
{
	return q->count < 2 ? NAN : sqrt(q->squares / (double) (q->count - 1));
}

typedef struct weighted
{
	double number;
	double weight;
} weighted;

static size_t
collect(const pe_quantiles *q, weighted *all)
{
	size_t count = 0;

	for (int i = 0; i < q->nlevels; i++)
		for (size_t j = 0; j < q->levels[i].count; j++)
			all[count++] = (weighted){q->levels[i].numbers[j], ldexp(1, i)};
	return count;
}

pe_status
pe_quantiles_settle(pe_quantiles *q, pe_error *err)
{
	size_t total = 0;
	weighted *all;
	double upto = 0;

	for (int i = 0; i < q->nlevels; i++)
		total += q->levels[i].count;
	pe_free(&q->env, q->sorted);
	pe_free(&q->env, q->upto);
	all = pe_calloc(&q->env, total, sizeof(weighted));
	q->sorted = pe_calloc(&q->env, total, sizeof(double));
	q->upto = pe_calloc(&q->env, total, sizeof(double));
	if (all == NULL || q->sorted == NULL || q->upto == NULL)
	{
		pe_free(&q->env, all);
		return pe_fail_memory(err);
	}
	total = collect(q, all);
	qsort(all, total, sizeof(weighted), compare_numbers); /* a weighted begins with its number */
	q->nsorted = 0;
	for (size_t i = 0; i < total; i++)
	{
		if (i == 0 || all[i].number != all[i - 1].number)
			q->sorted[q->nsorted++] = all[i].number;
		upto += all[i].weight;
		q->upto[q->nsorted - 1] = upto;
	}
	pe_free(&q->env, all);
	return PE_OK;
}

/* How many of the sorted numbers are below limit, or at most limit. */
static size_t
numbers_below(const pe_quantiles *q, double limit, bool or_equal)
{
	size_t low = 0, high = q->nsorted;

	while (low < high)
	{
		size_t middle = low + (high - low) / 2;

		if (q->sorted[middle] < limit || (or_equal && q->sorted[middle] == limit))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

double
pe_quantiles_below(const pe_quantiles *q, double limit, bool or_equal)
{
	size_t below = numbers_below(q, limit, or_equal);

	return below > 0 ? q->upto[below - 1] : 0;
}

/* The number at a place among those offered, counted from 0. */
static double
number_at(const pe_quantiles *q, double place)
{
	size_t low = 0, high = q->nsorted - 1;

	while (low < high)
	{
		size_t middle = low + (high - low) / 2;

		if (q->upto[middle] > place)
			high = middle;
		else
			low = middle + 1;
	}
	return q->sorted[low];
}

double
pe_quantiles_at(const pe_quantiles *q, double share)
{
	double place = share * (double) (q->count - 1);
	double below;

	if (q->count == 0)
		return NAN;
	if (share <= 0)
		return q->least;
	if (share >= 1)
		return q->most;
	below = number_at(q, floor(place));
	if (q->nlevels > 1)
		return below;
	return below + (place - floor(place)) * (number_at(q, ceil(place)) - below);
}
