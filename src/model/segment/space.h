/*
 * space.h
 *		The space in which rows are compared: which features, how scaled, and the rows as
 *		points of it.
 */
#ifndef PE_SEGMENT_SPACE_H
#define PE_SEGMENT_SPACE_H

#include "model/internal.h"
#include "model/segment/segment.h"

/*
 * One feature. A centre has one cell for a number, the mean of its scaled values, and
 * one for each slot of a category, the share of its rows that have it.
 */
typedef struct pe_axis
{
	bool used; /* has two different values */
	bool categorical;
	uint32_t cells;   /* 1, or the slots: n_levels + 2 */
	uint32_t at;      /* the first of them in a centre; used ones only */
	double middle;    /* number: what becomes 0 */
	double scale;     /* a number's distance from it, or an indicator, times this */
	double limit;     /* scaled numbers are cut off there */
	double mean;      /* number: of the values that are there, */
	double deviation; /* and their standard deviation; both 0 without values */
} pe_axis;

typedef struct pe_space
{
	int n_features;
	pe_axis *axes;
	int n_numbers; /* used ones, and which */
	int *numbers;
	int n_categories;
	int *categories;
	uint32_t width; /* cells of a centre */
} pe_space;

/* Rows: the used numbers, scaled, and the slots of the used categories, row by row. */
typedef struct pe_points
{
	const pe_space *space;
	uint32_t rows;
	float *values;   /* [rows][n_numbers] */
	uint8_t *slots;  /* [rows][n_categories] */
	double *weights; /* NULL: all 1 */
} pe_points;

/*
 * Centres laid out for measuring: for each number and for each slot of a category a
 * line with one float for each centre. A squared distance is the sum of the squared
 * differences of the numbers and of the slots' entries.
 */
typedef struct pe_search
{
	int centres;
	int lanes; /* centres rounded up to a multiple of PE_LANES: the length of a line */
	float *lines;
	uint32_t *starts; /* of each category: the line of its slot 0 */
} pe_search;

#define PE_LANES 8

/* axes, numbers, categories; zeroed. false: out of memory. */
extern bool pe_space_alloc(const pe_env *env, int n_features, pe_space *space);
extern void pe_space_free(const pe_env *env, pe_space *space);
/* Fills numbers, categories, at and width from the axes. */
extern void pe_space_index(pe_space *space);

/*
 * The axes of the rows in rows->train: with robust, by median and quartiles of a
 * sample and cut off at 5 of them, else by mean and standard deviation.
 */
extern pe_status pe_space_measure(const pe_env *env, const pe_dataset *dataset, const pe_model *model,
                                  const pe_split_rows *rows, const pe_slot_map *map, bool robust,
                                  pe_team *team, pe_space *space, pe_error *err);
/* A number as the space has it; a missing one is in the middle. */
static inline float
pe_axis_scale(const pe_axis *axis, double value)
{
	double scaled;

	if (isnan(value))
		return 0;
	scaled = (value - axis->middle) * axis->scale;
	scaled = scaled < axis->limit ? scaled : axis->limit;
	return (float) (scaled > -axis->limit ? scaled : -axis->limit);
}

extern pe_status pe_points_make(const pe_env *env, const pe_dataset *dataset, const pe_split_rows *rows,
                                const pe_slot_map *map, const pe_space *space, pe_team *team,
                                pe_points *points, pe_error *err);
/* most of the points, one from each of as many equal parts, drawn by seed; all when there are fewer. */
extern pe_status pe_points_sample(const pe_env *env, const pe_points *from, uint32_t most, uint64_t seed,
                                  pe_points *points, uint32_t *rows, pe_error *err);
extern void pe_points_free(const pe_env *env, pe_points *points);

static inline double
pe_points_weight(const pe_points *points, uint32_t row)
{
	return points->weights != NULL ? points->weights[row] : 1.0;
}

/* A row as a centre. */
extern void pe_points_centre(const pe_points *points, uint32_t row, double *centre);

/* Room for as many centres. false: out of memory; pe_search_free is to be called all the same. */
extern bool pe_search_alloc(const pe_env *env, const pe_space *space, int centres, pe_search *search);
extern void pe_search_free(const pe_env *env, pe_search *search);
/* Lay out centres[count][width]; count may be below what there is room for. */
extern void pe_search_set(pe_search *search, const pe_space *space, const double *centres, int count);

/* Squared distances of rows points to all centres: out[rows][lanes], of which centres are filled. */
extern void pe_search_measure(const pe_search *search, const pe_space *space, const float *values,
                              const uint8_t *slots, uint32_t rows, float *out);
/* The same for one row of model inputs, to the bit: out[lanes]. */
extern void pe_search_measure_inputs(const pe_search *search, const pe_space *space,
                                     const pe_feature *features, const double *values, float *out);

#endif /* PE_SEGMENT_SPACE_H */
