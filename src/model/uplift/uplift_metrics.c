/*
 * uplift_metrics.c
 *		How well uplifts order rows: Qini and uplift curves and their areas.
 */
#include "model/internal.h"
#include "model/uplift/uplift.h"

#define BOOTSTRAP_WORK 20000000.0 /* rows times samples, beyond which there are fewer samples */

/* What lies above some place of an order. */
typedef struct counts
{
	double rows;
	double treated;
	double treated_conversions;
	double control_conversions;
} counts;

static void
count_row(counts *c, double outcome, bool treated)
{
	c->rows++;
	c->treated += treated;
	if (treated)
		c->treated_conversions += outcome;
	else
		c->control_conversions += outcome;
}

/* Conversions more than without treatment, over the treated rows (Radcliffe 2007). */
static double
qini_value(const counts *c)
{
	double control = c->rows - c->treated;

	return c->treated_conversions - (control > 0 ? c->control_conversions * c->treated / control : 0);
}

/* The difference of the rates, over all rows. */
static double
uplift_value(const counts *c)
{
	double control = c->rows - c->treated;

	return ((c->treated > 0 ? c->treated_conversions / c->treated : 0) -
	        (control > 0 ? c->control_conversions / control : 0)) *
	       c->rows;
}

/* Areas under both curves, rows in an order of falling keys; equal keys are one step. */
static void
areas(const double *keys, const uint32_t *order, const double *outcomes, const uint8_t *treated, size_t rows,
      double *qini, double *auuc)
{
	counts c = {0};
	double last_rows = 0, last_qini = 0, last_uplift = 0;

	*qini = *auuc = 0;
	for (size_t i = 0; i < rows; i++)
	{
		uint32_t row = order[i];

		count_row(&c, outcomes[row], treated[row] != 0);
		if (i + 1 < rows && keys[order[i + 1]] == keys[row])
			continue;
		*qini += (c.rows - last_rows) * (last_qini + qini_value(&c)) / 2;
		*auuc += (c.rows - last_rows) * (last_uplift + uplift_value(&c)) / 2;
		last_rows = c.rows;
		last_qini = qini_value(&c);
		last_uplift = uplift_value(&c);
	}
}

/*
 * order[rows] by falling keys. Equal ones are shuffled: in the order they come in, a
 * source sorted by treatment would put one group into one tenth.
 */
static pe_status
order_by(const pe_env *env, const double *keys, size_t rows, uint32_t *order, pe_error *err)
{
	double *sorted = pe_alloc(env, rows * sizeof(double)), *scratch = pe_alloc(env, rows * sizeof(double));
	uint32_t *carried = pe_alloc(env, rows * sizeof(uint32_t));
	pe_status status = PE_OK;

	if (sorted == NULL || scratch == NULL || carried == NULL)
		status = pe_fail_memory(err);
	for (size_t i = 0; i < rows && status == PE_OK; i++)
		order[i] = (uint32_t) i;
	for (size_t i = rows; i-- > 1 && status == PE_OK;)
	{
		size_t other = (size_t) (pe_mix64(i) % (i + 1));
		uint32_t row = order[i];

		order[i] = order[other];
		order[other] = row;
	}
	for (size_t i = 0; i < rows && status == PE_OK; i++)
		sorted[i] = -keys[order[i]];
	if (status == PE_OK && !pe_sort_doubles(env, sorted, order, scratch, carried, rows))
		status = pe_fail(err, PE_CANCELLED, "the evaluation was cancelled");
	pe_free(env, sorted);
	pe_free(env, scratch);
	pe_free(env, carried);
	return status;
}

/*
 * The best orders there could be. Of the Qini curve: treated conversions first, control
 * conversions last. Of the uplift curve also what lies between, as scikit-uplift has it.
 */
static void
perfect_keys(const double *outcomes, const uint8_t *treated, size_t rows, double *qini, double *auuc)
{
	size_t control_conversions = 0, treated_others = 0;

	for (size_t i = 0; i < rows; i++)
	{
		control_conversions += outcomes[i] == 1 && !treated[i];
		treated_others += outcomes[i] == 0 && treated[i];
	}
	for (size_t i = 0; i < rows; i++)
	{
		qini[i] = treated[i] ? outcomes[i] : -outcomes[i];
		auuc[i] = 2 * (outcomes[i] == (treated[i] != 0)) +
		          (control_conversions > treated_others ? outcomes[i] : treated[i]);
	}
}

static double
rate(double conversions, double rows)
{
	return rows > 0 ? conversions / rows : NAN;
}

static counts
count_part(const uint32_t *order, const double *outcomes, const uint8_t *treated, size_t from, size_t to)
{
	counts c = {0};

	for (size_t i = from; i < to; i++)
		count_row(&c, outcomes[order[i]], treated[order[i]] != 0);
	return c;
}

static double
effect_of(const counts *c)
{
	return rate(c->treated_conversions, c->treated) - rate(c->control_conversions, c->rows - c->treated);
}

/* Variance of the effect: of two independent shares. */
static double
effect_variance(const counts *c)
{
	double control = c->rows - c->treated;
	double p = rate(c->treated_conversions, c->treated), q = rate(c->control_conversions, control);

	return p * (1 - p) / c->treated + q * (1 - q) / control;
}

static void
fill_deciles(const double *uplifts, const uint32_t *order, const double *outcomes, const uint8_t *treated,
             size_t rows, pe_uplift_evaluation *e)
{
	e->n_deciles = rows < 10 ? (int) rows : 10;
	for (int d = 0; d < e->n_deciles; d++)
	{
		size_t from = rows * d / e->n_deciles, to = rows * (d + 1) / e->n_deciles;
		counts c = count_part(order, outcomes, treated, from, to);
		pe_uplift_decile *decile = &e->deciles[d];

		decile->rows = (int64_t) c.rows;
		decile->treated = (int64_t) c.treated;
		decile->treated_rate = rate(c.treated_conversions, c.treated);
		decile->control_rate = rate(c.control_conversions, c.rows - c.treated);
		decile->uplift = effect_of(&c);
		decile->predicted = 0;
		for (size_t i = from; i < to; i++)
			decile->predicted += uplifts[order[i]] / (double) (to - from);
	}
}

static void
fill_curve(const uint32_t *order, const double *outcomes, const uint8_t *treated, size_t rows,
           pe_uplift_evaluation *e)
{
	counts c = {0};
	size_t at = 0;

	e->n_points = rows < PE_UPLIFT_CURVE - 1 ? (int) rows + 1 : PE_UPLIFT_CURVE;
	for (int point = 0; point < e->n_points; point++)
	{
		size_t to = rows * point / (e->n_points - 1);

		for (; at < to; at++)
			count_row(&c, outcomes[order[at]], treated[order[at]] != 0);
		e->curve[point].share = (double) to / (double) rows;
		e->curve[point].gain = qini_value(&c);
	}
	for (int point = 0; point < e->n_points; point++)
		e->curve[point].random = e->curve[point].share * e->curve[e->n_points - 1].gain;
}

/* ---- how far chance moves the coefficient ------------------------------------------------------ */

/* How often a row is in a sample, from 32 random bits: Poisson of mean 1. */
static inline int
poisson(uint32_t bits)
{
	static const uint32_t below[] = {1580030169u, 3160060337u, 3950075422u, 4213413783u,
	                                 4279248374u, 4292415292u, 4294609778u, 4294923276u};
	int times = 0;

	while (times < 8 && bits >= below[times])
		times++;
	return times;
}

/*
 * The area of the best Qini curve beyond the random one, of a sample with so many rows:
 * treated conversions, then rows that did not convert, then control conversions.
 */
static double
perfect_area(const counts *c)
{
	double first = c->treated_conversions, second = c->rows - c->control_conversions - first;
	double end = qini_value(c);

	return first * first / 2 + second * first + c->control_conversions * (first + end) / 2 -
	       c->rows * end / 2;
}

/* The Qini coefficient of one sample, rows in the order of their keys; NaN when stopped. */
static double
sample_qini(const pe_env *env, const double *keys, const uint32_t *order, const double *outcomes,
            const uint8_t *treated, size_t rows, uint64_t sample, bool *stopped)
{
	counts c = {0};
	double last_rows = 0, last = 0, area = 0;

	for (size_t i = 0; i < rows; i++)
	{
		uint32_t row = order[i];
		int times = poisson(
		    (uint32_t) (pe_mix64(sample * UINT64_C(0x9e3779b97f4a7c15) + i * UINT64_C(0xbf58476d1ce4e5b9)) >>
		                32));

		if ((i & 65535) == 0 && pe_stopped(env, "evaluate", i, rows))
			*stopped = true;
		if (*stopped)
			return NAN;
		for (; times > 0; times--)
			count_row(&c, outcomes[row], treated[row] != 0);
		if (i + 1 < rows && keys[order[i + 1]] == keys[row])
			continue;
		area += (c.rows - last_rows) * (last + qini_value(&c)) / 2;
		last_rows = c.rows;
		last = qini_value(&c);
	}
	return (area - c.rows * qini_value(&c) / 2) / perfect_area(&c);
}

/* The deviation of the coefficient over samples of the rows, in an order by falling keys. */
static pe_status
estimate_error(const pe_env *env, const double *keys, const uint32_t *order, const double *outcomes,
               const uint8_t *treated, size_t rows, pe_uplift_evaluation *e, pe_error *err)
{
	double most = BOOTSTRAP_WORK / (double) rows, mean = 0, squares = 0;
	int samples = most > 200 ? 200 : most < 40 ? 40 : (int) most, used = 0;
	bool stopped = false;

	for (int sample = 1; sample <= samples && !isnan(e->qini) && !stopped; sample++)
	{
		double qini = sample_qini(env, keys, order, outcomes, treated, rows, (uint64_t) sample, &stopped);
		double distance = qini - mean;

		/* A small sample may lack one kind of rows altogether. */
		if (!isfinite(qini))
			continue;
		mean += distance / ++used;
		squares += distance * (qini - mean);
	}
	if (used > 1)
		e->qini_error = sqrt(squares / (used - 1));
	return stopped ? pe_fail(err, PE_CANCELLED, "the evaluation was cancelled") : PE_OK;
}

/* The normalised areas, from the actual order and the perfect ones. */
static pe_status
fill_areas(const pe_env *env, const double *uplifts, uint32_t *order, const double *outcomes,
           const uint8_t *treated, size_t rows, const counts *all, pe_uplift_evaluation *e, pe_error *err)
{
	double *best_qini = pe_alloc(env, rows * sizeof(double)),
	       *best_auuc = pe_alloc(env, rows * sizeof(double));
	uint32_t *best_order = pe_alloc(env, rows * sizeof(uint32_t));
	double actual[2], perfect[2], ignored, random[2];
	pe_status status = PE_OK;

	if (best_qini == NULL || best_auuc == NULL || best_order == NULL)
		status = pe_fail_memory(err);
	if (status == PE_OK)
	{
		areas(uplifts, order, outcomes, treated, rows, &actual[0], &actual[1]);
		perfect_keys(outcomes, treated, rows, best_qini, best_auuc);
		status = order_by(env, best_qini, rows, best_order, err);
	}
	if (status == PE_OK)
	{
		areas(best_qini, best_order, outcomes, treated, rows, &perfect[0], &ignored);
		status = order_by(env, best_auuc, rows, best_order, err);
	}
	if (status == PE_OK)
	{
		areas(best_auuc, best_order, outcomes, treated, rows, &ignored, &perfect[1]);
		random[0] = qini_value(all) * (double) rows / 2;
		random[1] = uplift_value(all) * (double) rows / 2;
		e->qini = perfect[0] > random[0] ? (actual[0] - random[0]) / (perfect[0] - random[0]) : NAN;
		e->auuc = perfect[1] > random[1] ? (actual[1] - random[1]) / (perfect[1] - random[1]) : NAN;
	}
	pe_free(env, best_qini);
	pe_free(env, best_auuc);
	pe_free(env, best_order);
	return status;
}

pe_status
pe_uplift_evaluate(const pe_env *env, const double *uplifts, const double *outcomes, const uint8_t *treated,
                   size_t rows, pe_uplift_evaluation *e, pe_error *err)
{
	uint32_t *order = pe_alloc(env, rows * sizeof(uint32_t));
	counts all, upper, lower, part;
	pe_status status = PE_OK;

	memset(e, 0, sizeof(*e));
	e->qini = e->qini_error = e->auuc = e->at_10 = e->at_20 = e->at_30 = e->separation = NAN;
	e->treated_rate = e->control_rate = e->effect = NAN;
	if (rows == 0)
	{
		pe_free(env, order);
		return PE_OK;
	}
	status = order == NULL ? pe_fail_memory(err) : order_by(env, uplifts, rows, order, err);
	if (status == PE_OK)
	{
		all = count_part(order, outcomes, treated, 0, rows);
		status = fill_areas(env, uplifts, order, outcomes, treated, rows, &all, e, err);
		if (status == PE_OK)
			status = estimate_error(env, uplifts, order, outcomes, treated, rows, e, err);
	}
	if (status == PE_OK)
	{
		e->rows = (int64_t) rows;
		e->treated = (int64_t) all.treated;
		e->conversions = (int64_t) (all.treated_conversions + all.control_conversions);
		e->treated_rate = rate(all.treated_conversions, all.treated);
		e->control_rate = rate(all.control_conversions, all.rows - all.treated);
		e->effect = effect_of(&all);
		part = count_part(order, outcomes, treated, 0, rows / 10);
		e->at_10 = effect_of(&part);
		part = count_part(order, outcomes, treated, 0, rows / 5);
		e->at_20 = effect_of(&part);
		part = count_part(order, outcomes, treated, 0, rows * 3 / 10);
		e->at_30 = effect_of(&part);
		upper = count_part(order, outcomes, treated, 0, rows / 2);
		lower = count_part(order, outcomes, treated, rows / 2, rows);
		e->separation =
		    (effect_of(&upper) - effect_of(&lower)) / sqrt(effect_variance(&upper) + effect_variance(&lower));
		fill_deciles(uplifts, order, outcomes, treated, rows, e);
		fill_curve(order, outcomes, treated, rows, e);
	}
	pe_free(env, order);
	return status;
}
