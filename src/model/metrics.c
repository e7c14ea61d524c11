/*
 * metrics.c
 *		How good predictions are, against what happened. Everything that depends on the
 *		order comes from one sweep over the rows from the highest prediction down, ties
 *		taken together.
 */
#include "model/internal.h"

#define POLL_ROWS 65536

typedef struct sweep
{
	const pe_env *env;
	const double *targets;
	const double *weights;
	size_t rows;
	double *predictions; /* sorted rising */
	uint32_t *order;     /* and whose they are */
	double total_weight;
	double total_target; /* weighted */
} sweep;

static inline double
weight_of(const sweep *s, uint32_t row)
{
	return s->weights != NULL ? s->weights[row] : 1.0;
}

/* ---- deciles -------------------------------------------------------------------------- */

/*
 * Tenths of the rows from the top. Rows of one tie may fall into two deciles, and then
 * each gets the tie's mean target, so that the order of equal predictions does not matter.
 */
static void
compute_deciles(const sweep *s, pe_evaluation *e)
{
	int n = s->rows < 10 ? (int) s->rows : 10;
	double cumulative_target = 0, cumulative_weight = 0;
	double mean = s->total_target / s->total_weight;
	size_t tie_end = s->rows; /* the tie at hand: sorted positions tie_begin .. tie_end - 1 */
	size_t tie_begin = s->rows;
	double tie_mean = 0;

	e->n_deciles = n;
	for (int d = 0; d < n; d++)
	{
		pe_decile *decile = &e->deciles[d];
		size_t end = s->rows - s->rows * d / n, begin = s->rows - s->rows * (d + 1) / n;
		double predictions = 0;

		for (size_t i = end; i-- > begin;)
		{
			double weight = weight_of(s, s->order[i]);

			if (i < tie_begin)
			{
				double sum = 0, weights = 0;

				tie_end = i + 1;
				for (tie_begin = tie_end;
				     tie_begin > 0 && s->predictions[tie_begin - 1] == s->predictions[i];)
				{
					uint32_t row = s->order[--tie_begin];

					sum += weight_of(s, row) * s->targets[row];
					weights += weight_of(s, row);
				}
				tie_mean = weights > 0 ? sum / weights : 0;
			}
			decile->weight += weight;
			decile->sum_target += weight * tie_mean;
			predictions += weight * s->predictions[i];
		}
		cumulative_target += decile->sum_target;
		cumulative_weight += decile->weight;
		decile->rows = (int64_t) (end - begin);
		decile->mean_target = decile->sum_target / decile->weight;
		decile->mean_prediction = predictions / decile->weight;
		decile->lift = decile->mean_target / mean;
		decile->cumulative_lift = cumulative_target / cumulative_weight / mean;
		decile->cumulative_gain = cumulative_target / s->total_target;
		decile->lowest_prediction = s->predictions[begin];
	}
}

/* ---- classification ------------------------------------------------------------------- */

static void
compute_losses(const sweep *s, pe_evaluation *e)
{
	double log_loss = 0, brier = 0;

	for (size_t i = 0; i < s->rows; i++)
	{
		double p = s->predictions[i], target = s->targets[s->order[i]], weight = weight_of(s, s->order[i]);
		double clipped = p < 1e-15 ? 1e-15 : p > 1 - 1e-15 ? 1 - 1e-15 : p;

		log_loss -= weight * (target > 0.5 ? log(clipped) : log1p(-clipped));
		brier += weight * (p - target) * (p - target);
	}
	e->log_loss = log_loss / s->total_weight;
	e->brier = brier / s->total_weight;
}

/* Bins of equal counts; a tie belongs whole to the bin that its first row is in. */
static void
compute_calibration(const sweep *s, pe_evaluation *e)
{
	size_t begin = 0;

	e->ece = 0;
	for (int b = 0; b < 10 && begin < s->rows; b++)
	{
		pe_calibration_bin *bin = &e->bins[e->n_bins];
		size_t end = s->rows * (b + 1) / 10;
		double predictions = 0, targets = 0;

		while (end > 0 && end < s->rows && s->predictions[end] == s->predictions[end - 1])
			end++;
		if (end <= begin)
			continue;
		for (size_t i = begin; i < end; i++)
		{
			double weight = weight_of(s, s->order[i]);

			bin->weight += weight;
			predictions += weight * s->predictions[i];
			targets += weight * s->targets[s->order[i]];
		}
		bin->rows = (int64_t) (end - begin);
		bin->lowest = s->predictions[begin];
		bin->highest = s->predictions[end - 1];
		bin->mean_prediction = predictions / bin->weight;
		bin->mean_target = targets / bin->weight;
		e->ece += bin->weight / s->total_weight * fabs(bin->mean_prediction - bin->mean_target);
		e->n_bins++;
		begin = end;
	}
}

/* Up to PE_MAX_ROC_POINTS corners, evenly spread along the curve, the last one always in. */
static void
add_roc(pe_evaluation *e, double threshold, double fpr, double tpr, bool last)
{
	double travelled = fpr + tpr;

	if (last && e->n_roc == PE_MAX_ROC_POINTS)
		e->n_roc--;
	else if (!last && travelled < 2.0 * e->n_roc / (PE_MAX_ROC_POINTS - 1))
		return;
	e->roc[e->n_roc++] = (pe_roc_point){threshold, fpr, tpr};
}

static bool
compute_ranking(const sweep *s, pe_evaluation *e)
{
	double positives = s->total_target, negatives = s->total_weight - s->total_target;
	double true_positives = 0, false_positives = 0, area = 0, precision = 0, ks = 0;

	e->auc = e->ks = e->average_precision = NAN;
	if (!(positives > 0) || !(negatives > 0))
		return true;
	e->roc[e->n_roc++] = (pe_roc_point){INFINITY, 0, 0};
	for (size_t i = s->rows; i > 0;)
	{
		double prediction = s->predictions[i - 1], tie_positive = 0, tie_weight = 0, tie_negative, gap;
		size_t from = i;

		while (i > 0 && s->predictions[i - 1] == prediction)
		{
			uint32_t row = s->order[--i];

			tie_positive += weight_of(s, row) * s->targets[row];
			tie_weight += weight_of(s, row);
		}
		tie_negative = tie_weight - tie_positive;
		area += tie_negative * (true_positives + tie_positive / 2);
		true_positives += tie_positive;
		false_positives += tie_negative;
		if (true_positives + false_positives > 0)
			precision += tie_positive / positives * (true_positives / (true_positives + false_positives));
		gap = fabs(true_positives / positives - false_positives / negatives);
		ks = gap > ks ? gap : ks;
		add_roc(e, prediction, false_positives / negatives, true_positives / positives, i == 0);
		if (from / POLL_ROWS != i / POLL_ROWS && pe_stopped(s->env, "evaluate", s->rows - i, s->rows))
			return false;
	}
	e->auc = area / (positives * negatives);
	e->average_precision = precision;
	e->ks = ks;
	return true;
}

/* ---- regression ----------------------------------------------------------------------- */

static void
compute_errors(const sweep *s, pe_evaluation *e)
{
	double squared = 0, absolute = 0, variance = 0, mean = s->total_target / s->total_weight;

	for (size_t i = 0; i < s->rows; i++)
	{
		double target = s->targets[s->order[i]], weight = weight_of(s, s->order[i]);
		double off = s->predictions[i] - target;

		squared += weight * off * off;
		absolute += weight * fabs(off);
		variance += weight * (target - mean) * (target - mean);
	}
	e->rmse = sqrt(squared / s->total_weight);
	e->mae = absolute / s->total_weight;
	e->r2 = variance > 0 ? 1 - squared / variance : NAN;
}

/*
 * The Gini of targets in the order of keys, highest first, over positions by weight:
 * the area between the curve of cumulative targets and the diagonal. Ties share evenly.
 */
static double
gini_of(const sweep *s, const double *keys, const uint32_t *order)
{
	double area = 0, gained = 0, passed = 0;

	for (size_t i = s->rows; i > 0;)
	{
		double key = keys[i - 1], target = 0, weight = 0;

		while (i > 0 && keys[i - 1] == key)
		{
			uint32_t row = order[--i];

			target += weight_of(s, row) * s->targets[row];
			weight += weight_of(s, row);
		}
		area += weight * (gained + target / 2);
		gained += target;
		passed += weight;
	}
	return area / (passed * gained) - 0.5;
}

static pe_status
compute_gini(const sweep *s, pe_evaluation *e, double *keys, double *scratch, uint32_t *order,
             uint32_t *order_scratch, pe_error *err)
{
	double ours = gini_of(s, s->predictions, s->order), perfect;

	for (size_t i = 0; i < s->rows; i++)
	{
		keys[i] = s->targets[i];
		order[i] = (uint32_t) i;
	}
	if (!pe_sort_doubles(s->env, keys, order, scratch, order_scratch, s->rows))
		return pe_fail(err, PE_CANCELLED, "evaluation was cancelled");
	perfect = gini_of(s, keys, order);
	/* Targets that sum to nothing, or to less, have no such curve. */
	e->gini = s->total_target > 0 && perfect > 0 ? ours / perfect : NAN;
	return PE_OK;
}

/* ---- the whole ------------------------------------------------------------------------ */

static pe_status
check_rows(pe_task task, const double *predictions, const double *targets, const double *weights, size_t rows,
           pe_evaluation *e, pe_error *err)
{
	if (rows == 0 || rows > PE_MAX_ROWS)
		return pe_fail(err, PE_INVALID_DATA, "there are no rows to evaluate");
	for (size_t i = 0; i < rows; i++)
	{
		const char *what = NULL;

		if (!isfinite(predictions[i]))
			what = "the prediction is not finite";
		else if (!isfinite(targets[i]))
			what = "the target is missing or infinite";
		else if (task == PE_TASK_PROPENSITY && targets[i] != 0 && targets[i] != 1)
			what = "the target is neither 0 nor 1";
		else if (weights != NULL && !(weights[i] >= 0 && isfinite(weights[i])))
			what = "the weight is negative, missing or infinite";
		if (what != NULL)
		{
			pe_fail(err, PE_INVALID_DATA, "row %zu: %s", i + 1, what);
			if (err != NULL)
				err->row = (int64_t) i + 1;
			return PE_INVALID_DATA;
		}
		e->positives += task == PE_TASK_PROPENSITY && targets[i] == 1;
	}
	return PE_OK;
}

void
pe_evaluation_clear(pe_evaluation *e, pe_task task)
{
	memset(e, 0, sizeof(*e));
	e->task = task;
	e->auc = e->log_loss = e->brier = e->ks = e->average_precision = e->ece = NAN;
	e->rmse = e->mae = e->r2 = e->gini = e->base_rate = e->strongest_auc = NAN;
	e->deviance = e->deviance_explained = e->coverage = NAN;
	e->accuracy = e->top3_accuracy = e->macro_auc = e->null_log_loss = NAN;
}

static pe_status
evaluate_sorted(sweep *s, pe_evaluation *e, double *key_scratch, uint32_t *order_scratch, pe_error *err)
{
	for (size_t i = 0; i < s->rows; i++)
	{
		s->order[i] = (uint32_t) i;
		s->total_weight += weight_of(s, (uint32_t) i);
		s->total_target += weight_of(s, (uint32_t) i) * s->targets[i];
	}
	if (!(s->total_weight > 0))
		return pe_fail(err, PE_INVALID_DATA, "the weights of the rows to evaluate are all 0");
	if (!pe_sort_doubles(s->env, s->predictions, s->order, key_scratch, order_scratch, s->rows))
		return pe_fail(err, PE_CANCELLED, "evaluation was cancelled");
	e->evaluated = true;
	e->base_rate = s->total_target / s->total_weight;
	compute_deciles(s, e);
	if (e->task == PE_TASK_PROPENSITY)
	{
		compute_losses(s, e);
		compute_calibration(s, e);
		if (!compute_ranking(s, e))
			return pe_fail(err, PE_CANCELLED, "evaluation was cancelled");
		return PE_OK;
	}
	compute_errors(s, e);
	return PE_OK;
}

pe_status
pe_evaluate(const pe_env *env, pe_task task, const double *predictions, const double *targets,
            const double *weights, size_t rows, pe_evaluation *evaluation, pe_error *err)
{
	sweep s = {.env = env, .targets = targets, .weights = weights, .rows = rows};
	double *key_scratch = NULL, *keys = NULL;
	uint32_t *order_scratch = NULL, *order = NULL;
	pe_status status;

	pe_evaluation_clear(evaluation, task);
	evaluation->rows = (int64_t) rows;
	status = check_rows(task, predictions, targets, weights, rows, evaluation, err);
	if (status != PE_OK)
		return status;
	s.predictions = pe_alloc(env, rows * sizeof(double));
	s.order = pe_alloc(env, rows * sizeof(uint32_t));
	key_scratch = pe_alloc(env, rows * sizeof(double));
	order_scratch = pe_alloc(env, rows * sizeof(uint32_t));
	if (task == PE_TASK_VALUE)
	{
		keys = pe_alloc(env, rows * sizeof(double));
		order = pe_alloc(env, rows * sizeof(uint32_t));
	}
	if (s.predictions == NULL || s.order == NULL || key_scratch == NULL || order_scratch == NULL ||
	    (task == PE_TASK_VALUE && (keys == NULL || order == NULL)))
		status = pe_fail_memory(err);
	else
	{
		memcpy(s.predictions, predictions, rows * sizeof(double));
		status = evaluate_sorted(&s, evaluation, key_scratch, order_scratch, err);
	}
	if (status == PE_OK && task == PE_TASK_VALUE)
		status = compute_gini(&s, evaluation, keys, key_scratch, order, order_scratch, err);
	pe_free(env, s.predictions);
	pe_free(env, s.order);
	pe_free(env, key_scratch);
	pe_free(env, order_scratch);
	pe_free(env, keys);
	pe_free(env, order);
	if (status == PE_OK)
		pe_judge(evaluation, NAN, NULL);
	return status;
}
