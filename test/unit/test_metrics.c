/* Metrics against their definitions, pair by pair. */
#include "model_data.h"

static pe_env env;
static tap_memory memory;
static pe_error err;
static pe_evaluation e;

enum
{
	N = 400
};

static void
classification(bool weighted, int distinct)
{
	double p[N], y[N], w[N], area = 0, pairs = 0, loss = 0, brier = 0, total = 0, ks = 0, positives = 0,
	                         ap = 0;
	uint64_t state = 12 + distinct;

	for (int i = 0; i < N; i++)
	{
		p[i] = 0.02 + 0.96 * floor(data_uniform(&state) * distinct) / distinct;
		y[i] = data_uniform(&state) < p[i];
		w[i] = weighted ? floor(data_uniform(&state) * 3) : 1;
		total += w[i];
		positives += w[i] * y[i];
		loss -= w[i] * log(y[i] > 0 ? p[i] : 1 - p[i]);
		brier += w[i] * (p[i] - y[i]) * (p[i] - y[i]);
	}
	for (int i = 0; i < N; i++)
	{
		double tp = 0, fp = 0;

		for (int j = 0; j < N; j++)
		{
			if (y[i] > y[j])
			{
				pairs += w[i] * w[j];
				area += w[i] * w[j] * (p[i] > p[j] ? 1 : p[i] == p[j] ? 0.5 : 0);
			}
			if (p[j] >= p[i])
			{
				tp += w[j] * y[j];
				fp += w[j] * (1 - y[j]);
			}
		}
		ks = fmax(ks, fabs(tp / positives - fp / (total - positives)));
		if (tp + fp > 0)
			ap += w[i] * y[i] / positives * tp / (tp + fp);
	}
	IS_INT(pe_evaluate(&env, PE_TASK_PROPENSITY, p, y, weighted ? w : NULL, N, &e, &err), PE_OK,
	       "%s, %d values", weighted ? "weighted" : "unweighted", distinct);
	IS_NEAR(e.auc, area / pairs, 1e-12, "AUC");
	IS_NEAR(e.log_loss, loss / total, 1e-12, "log-loss");
	IS_NEAR(e.brier, brier / total, 1e-12, "Brier score");
	IS_NEAR(e.ks, ks, 1e-12, "KS");
	IS_NEAR(e.average_precision, ap, 1e-12, "average precision");
	IS_NEAR(e.deciles[9].cumulative_gain, 1, 1e-12, "all gained in the end");
	IS_NEAR(e.deciles[9].cumulative_lift, 1, 1e-12, "no lift in the end");
	OK(e.n_roc >= 3 && e.roc[e.n_roc - 1].true_positive_rate == 1 &&
	       e.roc[e.n_roc - 1].false_positive_rate == 1,
	   "the curve ends at the corner, %d points", e.n_roc);
	if (distinct > 100)
	{
		double curve = 0;

		for (int i = 1; i < e.n_roc; i++)
			curve += (e.roc[i].false_positive_rate - e.roc[i - 1].false_positive_rate) *
			         (e.roc[i].true_positive_rate + e.roc[i - 1].true_positive_rate) / 2;
		IS_NEAR(curve, e.auc, 0.01, "and encloses the AUC");
	}
}

static void
deciles(void)
{
	double p[100], y[100];

	for (int i = 0; i < 100; i++)
	{
		p[i] = i / 100.0;
		y[i] = i >= 80 || i == 3;
	}
	pe_evaluate(&env, PE_TASK_PROPENSITY, p, y, NULL, 100, &e, &err);
	IS_NEAR(e.deciles[0].lift, 1 / 0.21, 1e-12, "lift of the first tenth");
	IS_NEAR(e.deciles[1].cumulative_gain, 20.0 / 21, 1e-12, "gain of the first fifth");
	IS_NEAR(e.deciles[9].mean_target, 0.1, 1e-12, "the last tenth has its one");
	IS_INT(e.deciles[4].rows, 10, "ten rows each");
	IS_INT(e.verdict, PE_VERDICT_TOO_FEW, "%s", e.sentence);
	for (int i = 0; i < 100; i++)
		p[i] = 0.5;
	pe_evaluate(&env, PE_TASK_PROPENSITY, p, y, NULL, 100, &e, &err);
	IS_NEAR(e.auc, 0.5, 0, "equal predictions are no order");
	IS_NEAR(e.deciles[0].lift, 1, 1e-12, "and bring no lift, however rows are ordered");
	IS_INT(e.n_bins, 1, "and are one bin");
	IS_NEAR(e.ece, 0.5 - 0.21, 1e-12, "with its error");
}

static void
regression(void)
{
	double p[N], y[N], squared = 0, absolute = 0, mean = 0, variance = 0, perfect[N];
	uint64_t state = 6;

	for (int i = 0; i < N; i++)
	{
		y[i] = data_uniform(&state) < 0.5 ? 0 : 100 * data_uniform(&state);
		p[i] = y[i] * 0.7 + 20 * data_uniform(&state);
		perfect[i] = y[i] * 3 + 1;
		mean += y[i] / N;
		squared += (p[i] - y[i]) * (p[i] - y[i]);
		absolute += fabs(p[i] - y[i]);
	}
	for (int i = 0; i < N; i++)
		variance += (y[i] - mean) * (y[i] - mean);
	IS_INT(pe_evaluate(&env, PE_TASK_VALUE, p, y, NULL, N, &e, &err), PE_OK, "regression");
	IS_NEAR(e.rmse, sqrt(squared / N), 1e-10, "RMSE");
	IS_NEAR(e.mae, absolute / N, 1e-10, "MAE");
	IS_NEAR(e.r2, 1 - squared / variance, 1e-12, "R squared");
	OK(e.gini > 0.9 && e.gini < 1 && isnan(e.auc), "normalised Gini %g", e.gini);
	pe_evaluate(&env, PE_TASK_VALUE, perfect, y, NULL, N, &e, &err);
	IS_NEAR(e.gini, 1, 1e-12, "the perfect order has 1");
	for (int i = 0; i < N; i++)
		perfect[i] = -y[i];
	pe_evaluate(&env, PE_TASK_VALUE, perfect, y, NULL, N, &e, &err);
	IS_NEAR(e.gini, -1, 1e-12, "the reverse order has -1");
}

static void
refusals(void)
{
	double p[3] = {0.1, 0.2, 0.3}, y[3] = {0, 1, 0.5}, nan[3] = {NAN, 0, 1}, ones[3] = {1, 1, 1},
	       zeros[3] = {0, 0, 0};

	IS_INT(pe_evaluate(&env, PE_TASK_PROPENSITY, p, y, NULL, 3, &e, &err), PE_INVALID_DATA, "%s",
	       err.message);
	IS_INT(err.row, 3, "names the row");
	IS_INT(pe_evaluate(&env, PE_TASK_VALUE, nan, y, NULL, 3, &e, &err), PE_INVALID_DATA, "%s", err.message);
	IS_INT(pe_evaluate(&env, PE_TASK_VALUE, p, y, zeros, 3, &e, &err), PE_INVALID_DATA, "%s", err.message);
	IS_INT(pe_evaluate(&env, PE_TASK_VALUE, p, y, NULL, 0, &e, &err), PE_INVALID_DATA, "%s", err.message);
	IS_INT(pe_evaluate(&env, PE_TASK_PROPENSITY, p, ones, NULL, 3, &e, &err), PE_OK,
	       "one class is evaluated");
	OK(isnan(e.auc) && e.log_loss > 0, "without an AUC");
	IS_INT(e.verdict, PE_VERDICT_TOO_FEW, "%s", e.sentence);
}

static void
out_of_memory(void)
{
	static double p[N], y[N];
	pe_status status = PE_OUT_OF_MEMORY;

	for (int i = 0; i < N; i++)
		p[i] = y[i] = i;
	for (memory.fail_at = 1; status == PE_OUT_OF_MEMORY && memory.live == 0; memory.fail_at++)
	{
		memory.calls = 0;
		status = pe_evaluate(&env, PE_TASK_VALUE, p, y, NULL, N, &e, &err);
	}
	IS_INT(status, PE_OK, "survives %ld failing allocations", memory.fail_at - 2);
	memory.fail_at = 0;
}

int
main(void)
{
	env = tap_env(&memory);
	classification(false, 1000);
	classification(true, 1000);
	classification(true, 7);
	deciles();
	regression();
	refusals();
	out_of_memory();
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
