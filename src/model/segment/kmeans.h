/*
 * kmeans.h
 *		Lloyd's iterations from k-means++ starts.
 */
#ifndef PE_SEGMENT_KMEANS_H
#define PE_SEGMENT_KMEANS_H

#include "model/segment/space.h"

/*
 * The sums of some rows by nearest centre. Always made over the same parts of the rows
 * and added up in their order, whatever the number of threads.
 */
typedef struct pe_tally
{
	double *sums;    /* [centres][width]: weighted numbers, and weights by slot */
	double *weights; /* [centres] */
	int64_t *rows;   /* [centres] */
	double inertia;
	uint64_t moved;  /* rows whose label changed */
	double farthest; /* the largest distance, of a row of weight above 0 */
	uint32_t far_row;
} pe_tally;

extern bool pe_tally_alloc(const pe_env *env, uint32_t width, int centres, pe_tally *tally);
extern void pe_tally_free(const pe_env *env, pe_tally *tally);

/* The nearest centre of one point, the first of equally near ones, and the next; next may be NULL. */
extern int pe_nearest(const float *distances, int centres, int *next);

/*
 * Label rows from..to - 1 and add them up. to - from is what is done between two looks
 * at the team; false when it wants to stop.
 */
extern bool pe_tally_rows(const pe_points *points, const pe_search *search, uint32_t from, uint32_t to,
                          uint8_t *labels, pe_tally *tally, pe_team *team, int thread);

/* One start on a few points: what it needs, made beforehand since threads do not allocate. */
typedef struct pe_start
{
	int clusters; /* wanted; after the run: found, fewer where fewer rows differ */
	uint64_t seed;
	double *centres; /* [clusters][width] */
	double inertia;
} pe_start;

typedef struct pe_start_scratch
{
	pe_search search; /* of the centres */
	pe_search trials; /* of candidates */
	pe_tally tally;
	double *rows;     /* [PE_LANES][width]: candidates as centres */
	double *closest;  /* [points] */
	float *distances; /* [points][PE_LANES] */
	uint8_t *labels;  /* [points] */
} pe_start_scratch;

extern bool pe_start_scratch_alloc(const pe_env *env, const pe_points *points, int clusters,
                                   pe_start_scratch *scratch);
extern void pe_start_scratch_free(const pe_env *env, pe_start_scratch *scratch);

/* Runs the start to its end; false when the team wants to stop. */
extern bool pe_start_run(const pe_points *points, int max_iterations, double tolerance, pe_start *start,
                         pe_start_scratch *scratch, pe_team *team, int thread);

/*
 * Goes on from centres over all points on the team's threads. In the end labels are of
 * the final centres, which are numbered by weight, and tally holds their sums. *clusters
 * falls where centres are without rows.
 */
extern pe_status pe_refine(const pe_env *env, const pe_points *points, int max_iterations, double tolerance,
                           pe_team *team, double *centres, int *clusters, uint8_t *labels, pe_tally *tally,
                           int *iterations, pe_error *err);

/* Mean silhouette of the points under each of several labellings: labels[sets][points]. */
extern pe_status pe_silhouettes(const pe_env *env, const pe_points *points, const uint8_t *labels,
                                const int *clusters, int sets, pe_team *team, double *silhouettes,
                                pe_error *err);

#endif /* PE_SEGMENT_KMEANS_H */
