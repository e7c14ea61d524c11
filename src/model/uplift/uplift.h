/*
 * uplift.h
 *		Uplift: how much likelier a row is to convert when it is treated. Learnt from rows
 *		of which some were treated and some, by chance, were not.
 */
#ifndef PE_UPLIFT_H
#define PE_UPLIFT_H

#include "model/model.h"

#define PE_UPLIFT_CURVE 101

/* A tenth of the rows, from the largest predicted uplift (decile 1) down. */
typedef struct pe_uplift_decile
{
	int64_t rows;
	int64_t treated;
	double treated_rate; /* of conversions; NaN without treated rows */
	double control_rate;
	double uplift;    /* treated_rate - control_rate */
	double predicted; /* mean */
} pe_uplift_decile;

typedef struct pe_uplift_point
{
	double share;  /* of the rows, those of the largest predictions */
	double gain;   /* conversions that treating them made more: y_t - y_c n_t / n_c, over the treated rows */
	double random; /* the same for rows drawn at random */
} pe_uplift_point;

/*
 * On rows of known outcome. The areas are those of scikit-uplift: between the curve and
 * the one of a random order, over the same of the best possible order; ties are one step.
 */
typedef struct pe_uplift_evaluation
{
	int64_t rows; /* 0: not evaluated */
	int64_t treated;
	int64_t conversions;
	double treated_rate;
	double control_rate;
	double effect;     /* treated_rate - control_rate, of all rows */
	double qini;       /* NaN where the best order is no better than any */
	double qini_error; /* standard error, from up to 200 Poisson bootstrap samples of the rows */
	double auuc;
	double at_10; /* uplift among the tenth of the largest predictions, ... */
	double at_20;
	double at_30;
	/* Of the better half of the predictions less that of the other half, in standard errors. */
	double separation;
	int n_deciles;
	pe_uplift_decile deciles[10];
	int n_points;
	pe_uplift_point curve[PE_UPLIFT_CURVE];
} pe_uplift_evaluation;

/* outcomes[rows] and treated[rows] are 0 or 1. Allocates about 40 bytes a row while it runs. */
extern pe_status pe_uplift_evaluate(const pe_env *env, const double *uplifts, const double *outcomes,
                                    const uint8_t *treated, size_t rows, pe_uplift_evaluation *evaluation,
                                    pe_error *err);

/*
 * The dataset is of boosted trees, as the options are, and keeps weights; its targets
 * are 0 or 1. treated[rows] is 0 or 1.
 *
 * PE_ALGORITHM_TWO_MODELS: the probability to convert as learnt from the treated rows,
 * less the one learnt from the others; outputs p_treated and p_control beside it.
 *
 * PE_ALGORITHM_CLASS_TRANSFORMATION (Jaskowski and Jaroszewicz 2012): one model of
 * "treated and converted, or neither"; with rows weighed so that both groups weigh the
 * same, uplift = 2 p - 1.
 *
 * PE_INVALID_DATA: fewer than 10 treated or control rows, and what pe_train says. The
 * dataset is used up.
 */
extern pe_status pe_uplift_train(const pe_env *env, pe_dataset *dataset, const uint8_t *treated,
                                 pe_algorithm algorithm, const pe_options *options, pe_model **model,
                                 pe_uplift_evaluation *evaluation, pe_error *err);

#endif /* PE_UPLIFT_H */
