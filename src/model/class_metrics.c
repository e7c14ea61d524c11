/*
 * class_metrics.c
 *		How good the probabilities of several classes are, against what happened: over all
 *		classes, one by one, and which are taken for which.
 */
#include "model/internal.h"

typedef struct class_sweep
{
	const pe_env *env;
	int n_classes;
	const double *probabilities; /* [rows][n_classes] */
	const double *targets;
	const double *weights;
	size_t rows;
	double total_weight;
	double class_weight[PE_MAX_CLASSES];
	double hits[PE_MAX_CLASSES];   /* rows of the class that are predicted to be */
	double claims[PE_MAX_CLASSES]; /* rows that are predicted to be of the class */
	double masses[PE_MAX_CLASSES]; /* sums of its probability */
	uint8_t place[PE_MAX_CLASSES]; /* in the confusion table */
	double *keys;                  /* one class's probabilities, sorted rising */
	double *key_scratch;
	uint32_t *order;
	uint32_t *order_scratch;
} class_sweep;

static inline double
weight_of(const class_sweep *s, size_t row)
{
	return s->weights != NULL ? s->weights[row] : 1.0;
}

static pe_status
check_rows(const class_sweep *s, pe_error *err)
{
	if (s->rows == 0 || s->rows > PE_MAX_ROWS)
		return pe_fail(err, PE_INVALID_DATA, "there are no rows to evaluate");
	for (size_t i = 0; i < s->rows; i++)
	{
		const char *what = NULL;

		if (!(s->targets[i] >= 0 && s->targets[i] < s->n_classes) || s->targets[i] != floor(s->targets[i]))
			what = "the target is none of the classes";
		else if (s->weights != NULL && !(s->weights[i] >= 0 && isfinite(s->weights[i])))
			what = "the weight is negative, missing or infinite";
		for (int c = 0; c < s->n_classes && what == NULL; c++)
			if (!(s->probabilities[i * s->n_classes + c] >= 0 &&
			      s->probabilities[i * s->n_classes + c] <= 1.000001))
				what = "a probability is not between 0 and 1";
		if (what == NULL)
			continue;
		pe_fail(err, PE_INVALID_DATA, "row %zu: %s", i + 1, what);
		if (err != NULL)
			err->row = (int64_t) i + 1;
		return PE_INVALID_DATA;
	}
	return PE_OK;
}

/* The classes by weight; those that get a line of their own in the confusion table. */
static void
choose_confusion(class_sweep *s, pe_evaluation *e)
{
	bool taken[PE_MAX_CLASSES] = {false};

	e->n_confusion = s->n_classes < PE_CONFUSION_CLASSES ? s->n_classes : PE_CONFUSION_CLASSES;
	memset(s->place, e->n_confusion, sizeof(s->place));
	for (int i = 0; i < e->n_confusion; i++)
	{
		int best = -1;

		for (int c = 0; c < s->n_classes; c++)
			if (!taken[c] && (best < 0 || s->class_weight[c] > s->class_weight[best]))
				best = c;
		taken[best] = true;
		e->confusion_class[i] = best;
		s->place[best] = (uint8_t) i;
	}
}

/* The most probable class, of equal ones the first, and how many classes are above the row's own. */
static int
most_probable(const double *p, int n, int own, int *above)
{
	int best = 0;

	*above = 0;
	for (int c = 0; c < n; c++)
	{
		if (p[c] > p[best])
			best = c;
		*above += p[c] > p[own] || (p[c] == p[own] && c < own);
	}
	return best;
}

static void
sum_rows(class_sweep *s, pe_evaluation *e)
{
	double log_loss = 0, brier = 0, right = 0, among_three = 0;
	int n = s->n_classes;

	for (size_t i = 0; i < s->rows; i++)
	{
		const double *p = s->probabilities + i * n;
		double weight = weight_of(s, i), off = 0;
		int own = (int) s->targets[i], above, best = most_probable(p, n, own, &above);

		log_loss -= weight * log(p[own] > 1e-15 ? p[own] : 1e-15);
		for (int c = 0; c < n; c++)
		{
			off += (p[c] - (c == own)) * (p[c] - (c == own));
			s->masses[c] += weight * p[c];
		}
		brier += weight * off;
		right += best == own ? weight : 0;
		among_three += above < 3 ? weight : 0;
		s->hits[own] += best == own ? weight : 0;
		s->claims[best] += weight;
		e->confusion[s->place[own]][s->place[best]] += weight;
		e->classes[own].rows++;
	}
	e->log_loss = log_loss / s->total_weight;
	e->brier = brier / s->total_weight;
	e->accuracy = right / s->total_weight;
	e->top3_accuracy = among_three / s->total_weight;
}

/* The class's probability as a test of it: the area under its curve, ties half. */
static pe_status
class_auc(class_sweep *s, int class, double *auc, pe_error *err)
{
	double inside = s->class_weight[class], outside = s->total_weight - inside, area = 0, below = 0;

	*auc = NAN;
	if (!(inside > 0) || !(outside > 0))
		return PE_OK;
	for (size_t i = 0; i < s->rows; i++)
	{
		s->keys[i] = s->probabilities[i * s->n_classes + class];
		s->order[i] = (uint32_t) i;
	}
	if (!pe_sort_doubles(s->env, s->keys, s->order, s->key_scratch, s->order_scratch, s->rows))
		return pe_fail(err, PE_CANCELLED, "evaluation was cancelled");
	for (size_t i = 0; i < s->rows;)
	{
		double tie_inside = 0, tie_outside = 0;

		for (size_t tie = i; i < s->rows && s->keys[i] == s->keys[tie]; i++)
		{
			uint32_t row = s->order[i];

			if ((int) s->targets[row] == class)
				tie_inside += weight_of(s, row);
			else
				tie_outside += weight_of(s, row);
		}
		area += tie_inside * (below + tie_outside / 2);
		below += tie_outside;
	}
	*auc = area / (inside * outside);
	return PE_OK;
}

static pe_status
describe_classes(class_sweep *s, const char *const *names, pe_evaluation *e, pe_error *err)
{
	double sum = 0;
	int with_auc = 0;

	e->null_log_loss = 0;
	for (int c = 0; c < s->n_classes; c++)
	{
		pe_class_evaluation *class = &e->classes[c];
		pe_status status = class_auc(s, c, &class->auc, err);

		if (status != PE_OK)
			return status;
		snprintf(class->name, sizeof(class->name), "%.*s", pe_clipped(names[c], sizeof(class->name) - 1),
		         names[c]);
		class->share = s->class_weight[c] / s->total_weight;
		class->mean_prediction = s->masses[c] / s->total_weight;
		class->precision = s->claims[c] > 0 ? s->hits[c] / s->claims[c] : NAN;
		class->recall = s->class_weight[c] > 0 ? s->hits[c] / s->class_weight[c] : NAN;
		if (class->share > 0)
			e->null_log_loss -= class->share * log(class->share);
		if (isnan(class->auc))
			continue;
		sum += class->auc;
		with_auc++;
	}
	e->macro_auc = with_auc > 0 ? sum / with_auc : NAN;
	return PE_OK;
}

static pe_status
evaluate(class_sweep *s, const char *const *names, pe_evaluation *e, pe_error *err)
{
	for (size_t i = 0; i < s->rows; i++)
	{
		s->total_weight += weight_of(s, i);
		s->class_weight[(int) s->targets[i]] += weight_of(s, i);
	}
	if (!(s->total_weight > 0))
		return pe_fail(err, PE_INVALID_DATA, "the weights of the rows to evaluate are all 0");
	e->evaluated = true;
	e->n_classes = s->n_classes;
	choose_confusion(s, e);
	sum_rows(s, e);
	e->base_rate = s->class_weight[e->confusion_class[0]] / s->total_weight;
	return describe_classes(s, names, e, err);
}

pe_status
pe_evaluate_classes(const pe_env *env, int n_classes, const char *const *names, const double *probabilities,
                    const double *targets, const double *weights, size_t rows, pe_evaluation *evaluation,
                    pe_error *err)
{
	class_sweep *s;
	pe_status status;

	pe_evaluation_clear(evaluation, PE_TASK_AFFINITY);
	evaluation->rows = (int64_t) rows;
	if (n_classes < 1 || n_classes > PE_MAX_CLASSES)
		return pe_fail(err, PE_INTERNAL, "there are no classes, or too many");
	if ((s = pe_calloc(env, 1, sizeof(*s))) == NULL)
		return pe_fail_memory(err);
	s->env = env;
	s->n_classes = n_classes;
	s->probabilities = probabilities;
	s->targets = targets;
	s->weights = weights;
	s->rows = rows;
	status = check_rows(s, err);
	if (status == PE_OK)
	{
		s->keys = pe_alloc(env, rows * sizeof(double));
		s->key_scratch = pe_alloc(env, rows * sizeof(double));
		s->order = pe_alloc(env, rows * sizeof(uint32_t));
		s->order_scratch = pe_alloc(env, rows * sizeof(uint32_t));
		status = s->keys == NULL || s->key_scratch == NULL || s->order == NULL || s->order_scratch == NULL
		             ? pe_fail_memory(err)
		             : evaluate(s, names, evaluation, err);
	}
	pe_free(env, s->keys);
	pe_free(env, s->key_scratch);
	pe_free(env, s->order);
	pe_free(env, s->order_scratch);
	pe_free(env, s);
	if (status == PE_OK)
		pe_judge(evaluation, NAN, NULL);
	return status;
}
