/*
 * segment.h
 *		Segments: rows that are alike, found by k-means.
 *
 * All features weigh the same: a number is moved and scaled to mean 0 and variance 1
 * (or by median and quartiles), a category becomes one indicator for each level,
 * scaled so that together they have variance 1. A missing number counts as the mean;
 * a missing category is a level of its own. Clusters are numbered by size, the largest
 * is 1.
 */
#ifndef PE_SEGMENT_H
#define PE_SEGMENT_H

#include "model/model.h"

#define PE_MAX_CLUSTERS PE_MAX_MODEL_CLUSTERS

/*
 * Learn the clusters of all rows; the dataset's targets are not looked at. Rows of
 * weight 0 are left out. Ticks with the phases "bin", "fit", "evaluate".
 * options->algorithm must be PE_ALGORITHM_KMEANS and the dataset's. The dataset may
 * only be freed afterwards. *model is NULL unless PE_OK.
 *
 * PE_INVALID_DATA: fewer than 2 rows, no feature with two different values, a feature
 * whose values are too large to be squared.
 */
extern pe_status pe_segment_train(const pe_env *env, pe_dataset *dataset, const pe_options *options,
                                  pe_model **model, pe_error *err);

/* What was found, of a model of PE_TASK_SEGMENT. */
typedef struct pe_segment_summary
{
	int clusters;
	double inertia;    /* weighted sum of squared distances to the centres, in scaled units */
	double explained;  /* share of the rows' variance that lies between the clusters */
	double silhouette; /* mean, on a sample of at most 2,048 rows; NaN for a single cluster */
} pe_segment_summary;

extern pe_segment_summary pe_model_segment_summary(const pe_model *model);
extern int64_t pe_model_segment_rows(const pe_model *model, int cluster); /* cluster from 1 on */
extern double pe_model_segment_share(const pe_model *model, int cluster); /* of the weight */

/*
 * How one cluster differs from all rows in one feature. Of a number the mean of the
 * values that are there, NaN where there are none; of a category the share of the level
 * that the cluster has most above the overall share.
 */
typedef struct pe_segment_profile
{
	const char *level; /* category: its text, "(missing)" or "(other)"; number: NULL */
	double cluster;    /* mean, or the level's share */
	double overall;
	double difference; /* cluster - overall, in standard deviations of all rows */
	double missing;    /* share of the cluster without a value */
} pe_segment_profile;

extern pe_segment_profile pe_model_segment_profile(const pe_model *model, int cluster, int feature);

#endif /* PE_SEGMENT_H */
