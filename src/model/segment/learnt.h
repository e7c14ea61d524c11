/*
 * learnt.h
 *		What a segment model is made of: model->own.
 */
#ifndef PE_SEGMENT_LEARNT_H
#define PE_SEGMENT_LEARNT_H

#include "model/segment/space.h"

typedef struct pe_segments
{
	int n_clusters;
	pe_space space;
	double *centres; /* [n_clusters][width] */
	double *weights; /* [n_clusters] */
	double *rows;    /* [n_clusters] */
	double inertia;
	double explained;
	double silhouette; /* NaN: one cluster */
	/*
	 * Of each feature, used or not, by cluster, and last of all rows: the mean of its
	 * values, or the share of a level that the cluster is described by.
	 */
	double *profile;  /* [n_clusters][n_features] */
	double *overall;  /* [n_clusters][n_features] */
	double *missing;  /* [n_clusters][n_features] */
	int32_t *level;   /* [n_clusters][n_features]: its slot; 0 for numbers */
	pe_search search; /* of the centres; made, not stored */
} pe_segments;

/* Everything but the search, for a space that is filled in. false: out of memory. */
extern bool pe_segments_alloc(const pe_env *env, int n_clusters, pe_segments *segments);
extern void pe_segments_free(const pe_env *env, pe_segments *segments);

#endif /* PE_SEGMENT_LEARNT_H */
