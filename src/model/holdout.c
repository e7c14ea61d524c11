/*
 * holdout.c
 *		Rows that are held out by choice, and copies of datasets with some of their rows.
 */
#include "model/internal.h"
#include "model/selection.h"

#define TILE 256 /* rows that are copied at a time */

static pe_status
grow_marks(pe_dataset *dataset, uint64_t words, pe_error *err)
{
	uint64_t *held;

	if (dataset->held != NULL && words <= dataset->held_words)
		return PE_OK;
	if (words < dataset->held_words * 2)
		words = dataset->held_words * 2;
	if ((held = pe_realloc(dataset->env, dataset->held, words * sizeof(*held))) == NULL)
		return pe_fail_memory(err);
	memset(held + dataset->held_words, 0, (words - dataset->held_words) * sizeof(*held));
	dataset->bytes += (words - dataset->held_words) * sizeof(*held);
	dataset->held = held;
	dataset->held_words = words;
	return PE_OK;
}

pe_status
pe_dataset_hold_out(pe_dataset *dataset, uint64_t row, pe_error *err)
{
	if (row >= dataset->rows)
		return pe_fail(err, PE_INTERNAL, "there is no row %llu to hold out", (unsigned long long) row);
	if (grow_marks(dataset, (row >> 6) + 1, err) != PE_OK)
		return PE_OUT_OF_MEMORY;
	dataset->held[row >> 6] |= UINT64_C(1) << (row & 63);
	return PE_OK;
}

pe_status
pe_dataset_hold_out_none(pe_dataset *dataset, pe_error *err)
{
	if (grow_marks(dataset, 1, err) != PE_OK)
		return PE_OUT_OF_MEMORY;
	memset(dataset->held, 0, dataset->held_words * sizeof(*dataset->held));
	return PE_OK;
}

/* ---- copies ----------------------------------------------------------------------------- */

/* The texts in the order of their codes get the same codes again. */
static pe_status
copy_texts(const pe_dictionary *from, pe_dataset *to, int feature, pe_error *err)
{
	pe_status status = PE_OK;

	for (uint32_t code = 0; code < from->count && status == PE_OK; code++)
	{
		const char *text = from->arena + from->starts[code];
		size_t length = from->starts[code + 1] - from->starts[code];
		int32_t same = -1;

		status = feature < 0 ? pe_dataset_class(to, text, length, &same, err)
		                     : pe_dataset_level(to, feature, text, length, &same, err);
		if (status == PE_OK && same != (int32_t) code)
			return pe_fail(err, PE_INTERNAL, "a copied level has another code");
	}
	if (status == PE_OK && feature >= 0)
		to->features[feature].levels.overflowed = from->overflowed;
	return status;
}

static pe_status
make_alike(const pe_env *env, const pe_dataset *from, pe_dataset **out, pe_error *err)
{
	pe_feature_spec *specs = pe_calloc(env, from->n_features, sizeof(*specs));
	pe_status status;

	*out = NULL;
	if (specs == NULL)
		return pe_fail_memory(err);
	for (int i = 0; i < from->n_features; i++)
		specs[i] =
		    (pe_feature_spec){from->features[i].name, from->features[i].source_type, from->features[i].kind};
	status = pe_dataset_create(env, from->algorithm, specs, from->n_features, from->with_weights, out, err);
	pe_free(env, specs);
	if (status != PE_OK)
		return status;
	for (int i = 0; i < from->n_features && status == PE_OK; i++)
		if (from->features[i].kind == PE_FEATURE_CATEGORICAL)
			status = copy_texts(&from->features[i].levels, *out, i, err);
	if (status == PE_OK)
		status = copy_texts(&from->classes, *out, -1, err);
	return status;
}

/* Rows on their way from one dataset to the other. */
typedef struct tile
{
	double *values; /* [TILE][n_features] */
	double targets[TILE];
	double weights[TILE];
	uint64_t hashes[TILE];
	uint64_t rows[TILE]; /* numbers in the original */
	size_t filled;
} tile;

static pe_status
flush(const pe_dataset *from, const uint8_t *uses, tile *t, pe_dataset *to, pe_error *err)
{
	uint64_t first = to->rows;
	pe_status status;

	/* Column by column, as they lie. */
	for (int feature = 0; feature < from->n_features; feature++)
		for (size_t i = 0; i < t->filled; i++)
			t->values[i * from->n_features + feature] = pe_dataset_value(from, feature, t->rows[i]);
	status = pe_dataset_append_rows(to, t->values, (size_t) from->n_features, t->targets,
	                                from->with_weights ? t->weights : NULL, t->hashes, t->filled, err);
	for (size_t i = 0; i < t->filled && status == PE_OK; i++)
		if (uses[t->rows[i]] == PE_ROW_HELD_OUT)
			status = pe_dataset_hold_out(to, first + i, err);
	t->filled = 0;
	return status;
}

static pe_status
copy_rows(const pe_env *env, const pe_dataset *from, const uint8_t *uses, const double *targets, tile *t,
          pe_dataset *to, pe_error *err)
{
	pe_status status = PE_OK;

	for (uint64_t row = 0; row < from->rows && status == PE_OK; row++)
	{
		if ((row & 4095) == 0 && pe_stopped(env, "copy", row, from->rows))
			return pe_fail(err, PE_CANCELLED, "training was cancelled");
		if (uses[row] == PE_ROW_LEFT_OUT)
			continue;
		t->rows[t->filled] = row;
		t->targets[t->filled] = targets != NULL ? targets[row] : pe_dataset_target(from, row);
		t->weights[t->filled] = pe_dataset_weight(from, row);
		t->hashes[t->filled++] = pe_dataset_hash(from, row);
		if (t->filled == TILE)
			status = flush(from, uses, t, to, err);
	}
	return status == PE_OK && t->filled > 0 ? flush(from, uses, t, to, err) : status;
}

pe_status
pe_dataset_copy(const pe_env *env, const pe_dataset *from, const uint8_t *uses, const double *targets,
                pe_dataset **out, pe_error *err)
{
	tile *t = NULL;
	pe_dataset *copy = NULL;
	pe_status status;

	*out = NULL;
	if (from->used_up)
		return pe_fail(err, PE_INTERNAL, "the dataset is used up and cannot be copied");
	status = make_alike(env, from, &copy, err);
	/* What is not held out by name must not be drawn by the option. */
	if (status == PE_OK)
		status = pe_dataset_hold_out_none(copy, err);
	if (status == PE_OK && (t = pe_calloc(env, 1, sizeof(*t))) == NULL)
		status = pe_fail_memory(err);
	if (status == PE_OK &&
	    (t->values = pe_alloc(env, (size_t) TILE * from->n_features * sizeof(double))) == NULL)
		status = pe_fail_memory(err);
	if (status == PE_OK)
		status = copy_rows(env, from, uses, targets, t, copy, err);
	if (t != NULL)
		pe_free(env, t->values);
	pe_free(env, t);
	if (status == PE_OK)
		*out = copy;
	else
		pe_dataset_free(copy);
	return status;
}
