/*
 * engagement_family.c
 *		Points as a model like any other: the prediction is the points, the output beside
 *		it the tier, 1 for the lowest.
 */
#include "model/engagement/engagement.h"
#include "model/family.h"

static double
predict(const pe_model *model, const double *values)
{
	return isnan(values[0]) ? 0 : values[0];
}

static int
output_count(const pe_model *model)
{
	return 1;
}

static const char *
output_name(const pe_model *model, int output)
{
	return "tier";
}

static void
outputs(const pe_model *model, const double *values, double *out)
{
	out[0] = pe_model_tier(model, predict(model, values)) + 1;
}

const pe_engagement_rules *
pe_model_engagement(const pe_model *model)
{
	return model->family == &pe_engagement_family ? model->own : NULL;
}

int
pe_model_tier(const pe_model *model, double points)
{
	const pe_engagement_rules *rules = model->own;
	int percentile = points > 0 ? pe_model_score(model, points).percentile : 0, tier = 0;

	while (tier + 1 < rules->n_tiers && percentile > rules->tier_above[tier + 1])
		tier++;
	return tier;
}

double
pe_model_points_at(const pe_model *model, double share)
{
	uint32_t n = model->n_distribution;

	return n > 0 ? model->distribution[(uint32_t) (share * (n - 1))] : NAN;
}

/* ---- rules that are a model's own ------------------------------------------------------- */

static void
free_texts(const pe_env *env, char **texts, int n)
{
	for (int i = 0; texts != NULL && i < n; i++)
		pe_free(env, texts[i]);
	pe_free(env, texts);
}

static void
release(pe_model *model)
{
	pe_engagement_rules *rules = model->own;
	const pe_env *env = &model->env;

	if (rules == NULL)
		return;
	free_texts(env, rules->types, rules->n_types);
	free_texts(env, rules->tiers, rules->n_tiers);
	for (int i = 0; i < PE_ENGAGEMENT_COLUMNS; i++)
		pe_free(env, rules->columns[i]);
	pe_free(env, rules->weights);
	pe_free(env, rules->tier_above);
	pe_free(env, rules);
}

/* NULL when out of memory. */
static char **
copy_texts(const pe_env *env, char *const *texts, int n)
{
	char **copy = pe_calloc(env, n, sizeof(*copy));

	for (int i = 0; copy != NULL && i < n; i++)
		if ((copy[i] = pe_strndup(env, texts[i], strlen(texts[i]))) == NULL)
		{
			free_texts(env, copy, n);
			return NULL;
		}
	return copy;
}

/* Whatever was made before it failed is the model's to release. */
static bool
copy_rules(pe_model *model, const pe_engagement_rules *from)
{
	const pe_env *env = &model->env;
	pe_engagement_rules *rules = pe_calloc(env, 1, sizeof(*rules));

	model->own = rules;
	if (rules == NULL)
		return false;
	rules->half_life = from->half_life;
	rules->window = from->window;
	rules->daily_cap = from->daily_cap;
	rules->other_weight = from->other_weight;
	rules->types = copy_texts(env, from->types, from->n_types);
	rules->n_types = rules->types != NULL ? from->n_types : 0;
	rules->tiers = copy_texts(env, from->tiers, from->n_tiers);
	rules->n_tiers = rules->tiers != NULL ? from->n_tiers : 0;
	rules->weights = pe_alloc(env, from->n_types * sizeof(double));
	rules->tier_above = pe_alloc(env, from->n_tiers * sizeof(double));
	for (int i = 0; i < PE_ENGAGEMENT_COLUMNS; i++)
		if ((rules->columns[i] = pe_strndup(env, from->columns[i], strlen(from->columns[i]))) == NULL)
			return false;
	if (rules->types == NULL || rules->tiers == NULL || rules->weights == NULL || rules->tier_above == NULL)
		return false;
	if (from->n_types > 0)
		memcpy(rules->weights, from->weights, from->n_types * sizeof(double));
	memcpy(rules->tier_above, from->tier_above, from->n_tiers * sizeof(double));
	return true;
}

/* ---- artifact --------------------------------------------------------------------------- */

static void
write_rules(pe_writer *w, const pe_model *model)
{
	const pe_engagement_rules *rules = model->own;

	pe_write_double(w, rules->half_life);
	pe_write_double(w, rules->window);
	pe_write_double(w, rules->daily_cap);
	pe_write_double(w, rules->other_weight);
	pe_write_int(w, (uint64_t) rules->n_types, 4);
	for (int i = 0; i < rules->n_types; i++)
	{
		pe_write_text(w, rules->types[i]);
		pe_write_double(w, rules->weights[i]);
	}
	pe_write_int(w, (uint64_t) rules->n_tiers, 4);
	for (int i = 0; i < rules->n_tiers; i++)
	{
		pe_write_text(w, rules->tiers[i]);
		pe_write_double(w, rules->tier_above[i]);
	}
	for (int i = 0; i < PE_ENGAGEMENT_COLUMNS; i++)
		pe_write_text(w, rules->columns[i]);
}

static double
read_between(pe_reader *r, double least, double most, const char *what)
{
	double value = pe_read_double(r);

	if (!(value >= least && value <= most))
		pe_reader_fail(r, what);
	return value;
}

/* Texts with a number each; *n counts those that are there to be freed. */
static void
read_pairs(pe_reader *r, uint32_t most, size_t most_text, char ***texts, double **numbers, int *n,
           const char *what)
{
	uint32_t count = pe_read_count(r, 12, most);

	*texts = pe_read_array(r, count, sizeof(char *));
	*numbers = pe_read_array(r, count, sizeof(double));
	for (uint32_t i = 0; i < count && !pe_reader_bad(r); i++)
	{
		(*texts)[i] = pe_read_text(r, most_text);
		++*n;
		(*numbers)[i] = read_between(r, -1e12, 1e12, what);
	}
}

static void
read_rules(pe_reader *r, pe_model *model)
{
	pe_engagement_rules *rules = pe_read_array(r, 1, sizeof(*rules));

	model->own = rules;
	if (rules == NULL)
		return;
	rules->half_life = read_between(r, 1e-9, 1e9, "the half-life is out of range");
	rules->window = read_between(r, 0, 1e9, "the window is out of range");
	rules->daily_cap = read_between(r, 0, 1e12, "the daily cap is out of range");
	rules->other_weight = read_between(r, -1e12, 1e12, "a weight is out of range");
	read_pairs(r, PE_MAX_EVENT_TYPES, PE_MAX_LEVEL_LENGTH, &rules->types, &rules->weights, &rules->n_types,
	           "a weight is out of range");
	read_pairs(r, PE_MAX_TIERS, PE_MAX_NAME, &rules->tiers, &rules->tier_above, &rules->n_tiers,
	           "a tier is out of range");
	if (rules->n_tiers < 1)
		pe_reader_fail(r, "it has no tiers");
	for (int i = 1; i < rules->n_tiers; i++)
		if (!(rules->tier_above[i] > rules->tier_above[i - 1]))
			pe_reader_fail(r, "tiers are out of order");
	for (int i = 0; i < PE_ENGAGEMENT_COLUMNS; i++)
		rules->columns[i] = pe_read_text(r, PE_MAX_NAME);
	if (model->n_features != 1 || model->features[0].kind != PE_FEATURE_NUMERIC)
		pe_reader_fail(r, "its feature is not the points");
}

static size_t
rules_bytes(const pe_model *model)
{
	const pe_engagement_rules *rules = model->own;

	return sizeof(*rules) + (rules->n_types + rules->n_tiers) * (sizeof(char *) + sizeof(double) + 32);
}

const pe_family pe_engagement_family = {
    .explains = false,
    .predict = predict,
    .output_count = output_count,
    .output_name = output_name,
    .outputs = outputs,
    .write = write_rules,
    .read = read_rules,
    .release = release,
    .bytes = rules_bytes,
};

/* ---- training --------------------------------------------------------------------------- */

static pe_status
distribute(const pe_env *env, const pe_activity *activity, pe_model *model, pe_error *err)
{
	uint32_t n = pe_activity_customers(activity), active = 0;
	double *points = pe_alloc(env, n * sizeof(double));
	pe_status status;

	if (points == NULL)
		return pe_fail_memory(err);
	for (uint32_t i = 0; i < n; i++)
	{
		double own = pe_activity_customer(activity, i).points;

		if (own > 0)
			points[active++] = own;
	}
	if (active == 0)
	{
		status = pe_fail(err, PE_INVALID_DATA, "no customer has points");
		pe_error_hint(
		    err, "See whether the types of events have weights, and lie within the window before as_of.");
	}
	else
		status = pe_fit_distribution(env, model, points, active, err);
	model->base_rate = n > 0 ? (double) active / n : 0;
	pe_free(env, points);
	return status;
}

pe_status
pe_engagement_train(const pe_env *env, const pe_activity *activity, const pe_feature_spec *feature,
                    pe_model **out, pe_error *err)
{
	pe_dataset *dataset;
	pe_model *model = NULL;
	pe_status status = pe_dataset_create(env, PE_ALGORITHM_DECAYED_POINTS, feature, 1, false, &dataset, err);

	*out = NULL;
	if (status != PE_OK)
		return status;
	status = pe_model_create(env, dataset, PE_TASK_ENGAGEMENT, &model, err);
	pe_dataset_free(dataset);
	if (status == PE_OK && !copy_rules(model, pe_activity_rules(activity)))
		status = pe_fail_memory(err);
	if (status == PE_OK)
	{
		model->training_rows = pe_activity_customers(activity);
		model->features[0].used = true;
		status = distribute(env, activity, model, err);
	}
	if (status == PE_OK)
		*out = model;
	else
		pe_model_free(model);
	return status;
}
