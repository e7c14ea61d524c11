/*
 * strength.c
 *		How well each feature alone tells the target, on a sample of the training rows:
 *		what suspicion of leakage rests on. For the linear family, whose values are at hand;
 *		trees read the same from their bins (boost.c).
 */
#include "model/internal.h"

#define STRENGTH_ROWS 20000

typedef struct strength_job
{
	pe_fit *fit;
	pe_env quiet; /* never ticks: threads sort too */
	uint32_t n;
	double *keys; /* by thread: two times n */
	uint32_t *order;
	double *strengths; /* by feature */
} strength_job;

static inline uint32_t
sampled_row(const strength_job *job, uint32_t i)
{
	return job->fit->rows->train[(uint64_t) i * job->fit->rows->n_train / job->n];
}

/*
 * AUC of the values, rising or falling, ties half; the rows without one are a group that stands below
 * or above all others, as they would for a tree. The best of these.
 */
static double
auc_alone(const strength_job *job, const double *keys, const uint32_t *order, uint32_t n,
          double missing_positives, double missing_negatives)
{
	double area = 0, positives = 0, negatives = 0, between, best = 0;
	double missing_ties = missing_positives * missing_negatives / 2;

	for (uint32_t i = 0; i < n;)
	{
		double tie_positives = 0, tie_negatives = 0;

		for (uint32_t tie = i; i < n && keys[i] == keys[tie]; i++)
		{
			if (pe_dataset_target(job->fit->dataset, sampled_row(job, order[i])) > 0.5)
				tie_positives++;
			else
				tie_negatives++;
		}
		area += tie_positives * (negatives + tie_negatives / 2);
		positives += tie_positives;
		negatives += tie_negatives;
	}
	between = (positives + missing_positives) * (negatives + missing_negatives);
	if (!(between > 0))
		return 0.5;
	best = fmax(area, positives * negatives - area) + missing_ties +
	       fmax(positives * missing_negatives, missing_positives * negatives);
	return fmax(best / between, 0.5);
}

static double
correlation_squared(const strength_job *job, int feature)
{
	double n = 0, mean_x = 0, mean_y = 0, xx = 0, xy = 0, yy = 0;

	for (uint32_t i = 0; i < job->n; i++)
	{
		double x = pe_dataset_value(job->fit->dataset, feature, sampled_row(job, i));
		double y = pe_dataset_target(job->fit->dataset, sampled_row(job, i)), dx, dy;

		if (isnan(x))
			continue;
		n++;
		dx = x - mean_x;
		dy = y - mean_y;
		mean_x += dx / n;
		mean_y += dy / n;
		xx += dx * (x - mean_x);
		xy += dx * (y - mean_y);
		yy += dy * (y - mean_y);
	}
	/* A column that is mostly missing cannot restate the target. */
	return xx > 0 && yy > 0 && n * 2 > job->n ? xy * xy / (xx * yy) : 0;
}

/* The share of the variance that the levels' means explain. */
static double
between_levels(const strength_job *job, int feature)
{
	const uint8_t *slots = job->fit->map->slots[feature];
	double counts[256] = {0}, sums[256] = {0}, mean = 0, between = 0, total = 0;

	if ((uint32_t) (job->fit->model->features[feature].n_levels + 2) * 10 > job->n)
		return 0;
	for (uint32_t i = 0; i < job->n; i++)
	{
		double value = pe_dataset_value(job->fit->dataset, feature, sampled_row(job, i));
		double y = pe_dataset_target(job->fit->dataset, sampled_row(job, i)), d = y - mean;
		int slot = isnan(value) ? PE_SLOT_MISSING : slots[(uint32_t) value];

		counts[slot]++;
		sums[slot] += y;
		mean += d / (i + 1);
		total += d * (y - mean);
	}
	for (int i = 0; i < 256; i++)
		if (counts[i] > 0)
			between += counts[i] * (sums[i] / counts[i] - mean) * (sums[i] / counts[i] - mean);
	return total > 0 ? fmin(between / total, 1) : 0;
}

/* Levels in the order of their rate of positives. */
static double
rate_auc(const strength_job *job, int feature)
{
	const uint8_t *slots = job->fit->map->slots[feature];
	double positives[256] = {0}, negatives[256] = {0}, area = 0, all_positives = 0, all_negatives = 0;
	int n = job->fit->model->features[feature].n_levels + 2, filled = 0;

	if ((uint32_t) n * 10 > job->n)
		return 0;
	for (uint32_t i = 0; i < job->n; i++)
	{
		double value = pe_dataset_value(job->fit->dataset, feature, sampled_row(job, i));
		int slot = isnan(value) ? PE_SLOT_MISSING : slots[(uint32_t) value];

		if (pe_dataset_target(job->fit->dataset, sampled_row(job, i)) > 0.5)
			positives[slot]++;
		else
			negatives[slot]++;
	}
	/* Empty slots have no rate. */
	for (int i = 0; i < n; i++)
		if (positives[i] + negatives[i] > 0)
		{
			positives[filled] = positives[i];
			negatives[filled++] = negatives[i];
		}
	n = filled;
	for (int i = 1; i < n; i++)
		for (int k = i; k > 0 && positives[k - 1] * negatives[k] > positives[k] * negatives[k - 1]; k--)
		{
			double p = positives[k], q = negatives[k];

			positives[k] = positives[k - 1];
			negatives[k] = negatives[k - 1];
			positives[k - 1] = p;
			negatives[k - 1] = q;
		}
	for (int i = 0; i < n; i++)
	{
		area += positives[i] * (all_negatives + negatives[i] / 2);
		all_positives += positives[i];
		all_negatives += negatives[i];
	}
	return all_positives > 0 && all_negatives > 0 ? area / (all_positives * all_negatives) : 0;
}

static void
strength_work(void *ctx, uint32_t item, int thread)
{
	strength_job *job = ctx;
	double *keys = job->keys + (size_t) thread * 2 * job->n;
	uint32_t *order = job->order + (size_t) thread * 2 * job->n, n = 0;
	bool binary = job->fit->task == PE_TASK_PROPENSITY;
	double missing[2] = {0};

	job->strengths[item] = 0;
	if (job->fit->model->features[item].kind == PE_FEATURE_CATEGORICAL)
	{
		job->strengths[item] = binary ? rate_auc(job, (int) item) : between_levels(job, (int) item);
		return;
	}
	if (!binary)
	{
		job->strengths[item] = correlation_squared(job, (int) item);
		return;
	}
	for (uint32_t i = 0; i < job->n; i++)
	{
		double value = pe_dataset_value(job->fit->dataset, (int) item, sampled_row(job, i));

		if (isnan(value))
		{
			missing[pe_dataset_target(job->fit->dataset, sampled_row(job, i)) > 0.5]++;
			continue;
		}
		keys[n] = value;
		order[n++] = i;
	}
	(void) pe_sort_doubles(&job->quiet, keys, order, keys + job->n, order + job->n, n);
	job->strengths[item] = auc_alone(job, keys, order, n, missing[1], missing[0]);
}

pe_status
pe_feature_strengths(pe_fit *fit, double *strengths)
{
	strength_job job = {.fit = fit, .quiet = *fit->env, .strengths = strengths};
	size_t threads = pe_team_threads(fit->pool);
	pe_status status = PE_OK;

	job.quiet.tick = NULL;
	job.n = fit->rows->n_train < STRENGTH_ROWS ? fit->rows->n_train : STRENGTH_ROWS;
	job.keys = pe_alloc(fit->env, threads * 2 * job.n * sizeof(double));
	job.order = pe_alloc(fit->env, threads * 2 * job.n * sizeof(uint32_t));
	if (job.keys == NULL || job.order == NULL)
		status = pe_fail_memory(fit->err);
	else if (!pe_team_run(fit->pool, strength_work, &job, (uint32_t) fit->model->n_features))
		status = pe_fail(fit->err, PE_CANCELLED, "training was cancelled");
	pe_free(fit->env, job.keys);
	pe_free(fit->env, job.order);
	return status;
}

pe_status
pe_find_strongest(pe_fit *fit)
{
	double *strengths = pe_calloc(fit->env, fit->model->n_features, sizeof(double));
	pe_status status = strengths == NULL ? pe_fail_memory(fit->err) : pe_feature_strengths(fit, strengths);

	for (int i = 0; i < fit->model->n_features && status == PE_OK; i++)
		if (strengths[i] > fit->strongest.strength)
			fit->strongest = (pe_strongest){strengths[i], i};
	pe_free(fit->env, strengths);
	return status;
}
