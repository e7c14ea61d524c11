/*
 * uplift.c
 *		Uplift models: boosted trees within a model, and their training.
 */
#include "model/uplift/uplift.h"
#include "model/family.h"
#include "model/selection.h"

#define LEAST_GROUP     10 /* rows */
#define EXPLAINED_ROWS  2000
#define BLOCK_CELLS     262144
#define EXPLAINER_BYTES ((size_t) 64 * 1024 * 1024)

typedef struct uplift_parts
{
	pe_model *first;  /* of the treated rows, or of the transformed class */
	pe_model *second; /* of the control rows; NULL: class transformation */
} uplift_parts;

/* ---- as a family ---------------------------------------------------------------------------- */

static const char *const output_names[] = {"p_treated", "p_control"};

static double
predict(const pe_model *model, const double *values)
{
	const uplift_parts *own = model->own;
	double first = pe_model_predict(own->first, values);

	return own->second != NULL ? first - pe_model_predict(own->second, values) : 2 * first - 1;
}

static void
margins(const pe_model *model, const double *values, double *margins)
{
	const uplift_parts *own = model->own;

	margins[0] = pe_model_margin(own->first, values);
	if (own->second != NULL)
		margins[0] -= pe_model_margin(own->second, values);
}

static int
parts(const pe_model *model, const pe_model *parts[2])
{
	const uplift_parts *own = model->own;

	parts[0] = own->first;
	parts[1] = own->second;
	return own->second != NULL ? 2 : 1;
}

static int
output_count(const pe_model *model)
{
	return ((const uplift_parts *) model->own)->second != NULL ? 2 : 0;
}

static const char *
output_name(const pe_model *model, int output)
{
	return output_names[output];
}

static void
outputs(const pe_model *model, const double *values, double *out)
{
	const uplift_parts *own = model->own;

	if (own->second == NULL)
		return;
	out[0] = pe_model_predict(own->first, values);
	out[1] = pe_model_predict(own->second, values);
}

static void
write_parts(pe_writer *w, const pe_model *model)
{
	const uplift_parts *own = model->own;

	pe_write_model(w, own->first);
	if (own->second != NULL)
		pe_write_model(w, own->second);
}

/* A part must take the very rows that the whole does. */
static void
check_part(pe_reader *r, const pe_model *model, const pe_model *part)
{
	bool alike = part->task == PE_TASK_PROPENSITY && part->n_features == model->n_features;

	for (int i = 0; i < model->n_features && alike; i++)
		alike = part->features[i].kind == model->features[i].kind &&
		        part->features[i].n_levels == model->features[i].n_levels;
	if (!alike)
		pe_reader_fail(r, "a part is not made for the whole");
}

static void
read_parts(pe_reader *r, pe_model *model)
{
	uplift_parts *own = pe_read_array(r, 1, sizeof(*own));

	if ((model->own = own) == NULL)
		return;
	own->first = pe_read_model(r, PE_ALGORITHM_BOOSTED_TREES);
	if (!pe_reader_bad(r))
		check_part(r, model, own->first);
	if (model->algorithm == PE_ALGORITHM_CLASS_TRANSFORMATION)
		return;
	own->second = pe_read_model(r, PE_ALGORITHM_BOOSTED_TREES);
	if (!pe_reader_bad(r))
		check_part(r, model, own->second);
}

static void
release(pe_model *model)
{
	uplift_parts *own = model->own;

	if (own == NULL)
		return;
	pe_model_free(own->first);
	pe_model_free(own->second);
	pe_free(&model->env, own);
}

static size_t
bytes(const pe_model *model)
{
	const uplift_parts *own = model->own;

	return sizeof(*own) + pe_model_bytes(own->first) +
	       (own->second != NULL ? pe_model_bytes(own->second) : 0);
}

const pe_family pe_uplift_family = {
    .explains = true,
    .margins = margins,
    .predict = predict,
    .parts = parts,
    .output_count = output_count,
    .output_name = output_name,
    .outputs = outputs,
    .write = write_parts,
    .read = read_parts,
    .release = release,
    .bytes = bytes,
};

/* ---- training ------------------------------------------------------------------------------- */

typedef struct training
{
	const pe_env *env;
	pe_dataset *dataset;
	const uint8_t *treated;
	const pe_options *options;
	pe_model *model;
	uplift_parts *own;
	pe_split_rows rows; /* what is learnt from, and what is held out */
	pe_slot_map map;
	uint8_t *uses;
	double *targets;
	pe_evaluation *part; /* of a part */
	double *uplifts;
	double *outcomes;
	uint8_t *groups;
	pe_error *err;
} training;

static pe_status
list_rows(training *t)
{
	uint64_t rows = pe_dataset_rows(t->dataset);
	uint64_t groups[2] = {0, 0};

	t->uses = pe_alloc(t->env, rows);
	t->targets = pe_alloc(t->env, rows * sizeof(double));
	t->rows.train = pe_alloc(t->env, rows * sizeof(uint32_t));
	t->rows.holdout = pe_alloc(t->env, rows * sizeof(uint32_t));
	if (t->uses == NULL || t->targets == NULL || t->rows.train == NULL || t->rows.holdout == NULL)
		return pe_fail_memory(t->err);
	for (uint64_t row = 0; row < rows; row++)
	{
		if (!(pe_dataset_weight(t->dataset, row) > 0))
			continue;
		if (pe_row_is_held_out(t->dataset, row, t->options))
			t->rows.holdout[t->rows.n_holdout++] = (uint32_t) row;
		else
		{
			t->rows.train[t->rows.n_train++] = (uint32_t) row;
			groups[t->treated[row] != 0]++;
		}
	}
	if (groups[0] >= LEAST_GROUP && groups[1] >= LEAST_GROUP)
		return PE_OK;
	pe_fail(t->err, PE_INVALID_DATA, "too few rows to compare: %llu treated, %llu not",
	        (unsigned long long) groups[1], (unsigned long long) groups[0]);
	pe_error_hint(t->err,
	              "Uplift is learnt from rows of which some were treated and some, by chance, were not.");
	return PE_INVALID_DATA;
}

/* The whole, and the levels of its features by all training rows. */
static pe_status
make_whole(training *t, pe_algorithm algorithm)
{
	pe_team *team;
	pe_status status = pe_model_create(t->env, t->dataset, PE_TASK_UPLIFT, &t->model, t->err);

	if (status != PE_OK)
		return status;
	t->model->algorithm = algorithm;
	t->model->family = &pe_uplift_family;
	t->model->training_rows = t->rows.n_train;
	if ((t->model->own = t->own = pe_calloc(t->env, 1, sizeof(*t->own))) == NULL ||
	    (team = pe_team_create(t->env, t->options->threads)) == NULL)
		return pe_fail_memory(t->err);
	pe_team_phase(team, "bin", 0, 0);
	status = pe_choose_levels(t->model, t->dataset, &t->rows, team, &t->map, t->err);
	pe_team_free(team);
	return status;
}

static pe_status
note_part(training *t, const char *what)
{
	double value;
	const char *name = pe_evaluation_headline(t->part, &value);

	if (!t->part->evaluated || name == NULL || isnan(value))
		return PE_OK;
	return pe_model_add_note(t->model, t->err, "%s: %s %.3f on %lld held-out rows", what, name, value,
	                         (long long) t->part->rows);
}

/* One part on a copy of the rows that t->uses says; scale[group] times their weights. */
static pe_status
train_part(training *t, const double *targets, const double *scale, const char *what, pe_model **part)
{
	pe_dataset *copy = NULL;
	pe_status status = pe_dataset_copy(t->env, t->dataset, t->uses, targets, &copy, t->err);

	if (status == PE_OK && scale != NULL)
	{
		uint64_t to = 0;

		for (uint64_t row = 0; row < pe_dataset_rows(t->dataset); row++)
		{
			if (t->uses[row] == PE_ROW_LEFT_OUT)
				continue;
			copy->blocks[to >> copy->block_shift].weights[to & ((1u << copy->block_shift) - 1)] *=
			    scale[t->treated[row] != 0];
			to++;
		}
	}
	if (status == PE_OK)
		status = pe_train(t->env, copy, PE_TASK_PROPENSITY, t->options, part, t->part, t->err);
	pe_dataset_free(copy);
	if (status == PE_INVALID_DATA)
	{
		char message[sizeof(t->err->message)];

		snprintf(message, sizeof(message), "%s", t->err->message);
		snprintf(t->err->message, sizeof(t->err->message), "%s: %.300s", what, message);
	}
	if (status == PE_OK)
		status = note_part(t, what);
	if (status == PE_OK)
		status = pe_adopt_levels(*part, t->model, t->err);
	return status;
}

/* Rows of the wanted groups, learnt from or held out. */
static void
use_rows(training *t, bool treated, bool control)
{
	memset(t->uses, PE_ROW_LEFT_OUT, pe_dataset_rows(t->dataset));
	for (uint32_t i = 0; i < t->rows.n_train; i++)
		if (t->treated[t->rows.train[i]] ? treated : control)
			t->uses[t->rows.train[i]] = PE_ROW_TRAINED;
	for (uint32_t i = 0; i < t->rows.n_holdout; i++)
		if (t->treated[t->rows.holdout[i]] ? treated : control)
			t->uses[t->rows.holdout[i]] = PE_ROW_HELD_OUT;
}

static pe_status
train_two(training *t)
{
	pe_status status;

	use_rows(t, true, false);
	status = train_part(t, NULL, NULL, "treated", &t->own->first);
	if (status != PE_OK)
		return status;
	use_rows(t, false, true);
	return train_part(t, NULL, NULL, "control", &t->own->second);
}

/* Treated and converted, or neither; each group's weights sum to half of all rows' number. */
static pe_status
train_transformed(training *t)
{
	double weights[2] = {0, 0}, scale[2];

	for (uint32_t i = 0; i < t->rows.n_train; i++)
		weights[t->treated[t->rows.train[i]] != 0] += pe_dataset_weight(t->dataset, t->rows.train[i]);
	for (int group = 0; group < 2; group++)
		scale[group] = (weights[0] + weights[1]) / (2 * weights[group]);
	for (uint64_t row = 0; row < pe_dataset_rows(t->dataset); row++)
		t->targets[row] = (pe_dataset_target(t->dataset, row) == 1) == (t->treated[row] != 0);
	use_rows(t, true, true);
	return train_part(t, t->targets, scale, "transformed class", &t->own->first);
}

static void
read_values(const training *t, uint32_t row, double *values)
{
	for (int i = 0; i < t->dataset->n_features; i++)
	{
		double value = pe_dataset_value(t->dataset, i, row);

		values[i] = t->dataset->features[i].kind == PE_FEATURE_CATEGORICAL && !isnan(value)
		                ? t->map.slots[i][(uint32_t) value] - 1
		                : value;
	}
}

/* Mean |contribution| to the margin of the whole, of some rows evenly from a list. */
static pe_status
sum_contributions(training *t, const pe_explainer *explainer, const uint32_t *rows, uint32_t available)
{
	uint32_t n = available < EXPLAINED_ROWS ? available : EXPLAINED_ROWS;
	uint32_t features = (uint32_t) t->model->n_features, most = BLOCK_CELLS / features;
	double *values, *contributions, base;
	pe_status status = PE_OK;

	most = most < 1 ? 1 : most > n ? n : most;
	values = pe_alloc(t->env, (size_t) most * features * sizeof(double));
	contributions = pe_alloc(t->env, (size_t) most * features * sizeof(double));
	if (values == NULL || contributions == NULL)
		status = pe_fail_memory(t->err);
	for (uint32_t begin = 0, count; begin < n && status == PE_OK; begin += count)
	{
		count = n - begin < most ? n - begin : most;
		for (uint32_t i = 0; i < count; i++)
			read_values(t, rows[(uint64_t) (begin + i) * available / n], values + (size_t) i * features);
		status = pe_explainer_explain(explainer, values, features, count, t->options->threads, contributions,
		                              &base, t->err);
		for (uint32_t i = 0; i < count * features && status == PE_OK; i++)
			t->model->features[i % features].mean_contribution += fabs(contributions[i]) / n;
	}
	pe_free(t->env, values);
	pe_free(t->env, contributions);
	return status;
}

/* Importance: of the parts' splits; mean_contribution is that to the difference of their margins. */
static pe_status
describe_features(training *t)
{
	bool held = t->rows.n_holdout > 0;
	pe_explainer *explainer = NULL;
	pe_status status;

	for (int i = 0; i < t->model->n_features; i++)
	{
		const pe_feature *first = &t->own->first->features[i];
		const pe_feature *second = t->own->second != NULL ? &t->own->second->features[i] : first;
		pe_feature *feature = &t->model->features[i];

		feature->used = first->used || second->used;
		feature->gain = (first->gain + second->gain) / 2;
		feature->splits = first->splits + (t->own->second != NULL ? second->splits : 0);
	}
	status = pe_explainer_create(t->env, t->model, EXPLAINER_BYTES, &explainer, t->err);
	if (status == PE_OK)
		status = sum_contributions(t, explainer, held ? t->rows.holdout : t->rows.train,
		                           held ? t->rows.n_holdout : t->rows.n_train);
	pe_explainer_free(explainer);
	return status;
}

/* Uplifts, outcomes and groups of some rows. */
static pe_status
predict_rows(training *t, const uint32_t *rows, uint32_t n, uint32_t at)
{
	double *values = pe_alloc(t->env, t->dataset->n_features * sizeof(double));
	pe_status status = values != NULL ? PE_OK : pe_fail_memory(t->err);

	for (uint32_t i = 0; i < n && status == PE_OK; i++)
	{
		if (i % 256 == 0 && pe_stopped(t->env, "evaluate", i, n))
			status = pe_fail(t->err, PE_CANCELLED, "training was cancelled");
		read_values(t, rows[i], values);
		t->uplifts[at + i] = pe_model_predict(t->model, values);
		t->outcomes[at + i] = pe_dataset_target(t->dataset, rows[i]);
		t->groups[at + i] = t->treated[rows[i]];
	}
	pe_free(t->env, values);
	return status;
}

/* On the held-out rows; the distribution on all where hardly any are held out. */
static pe_status
evaluate(training *t, pe_uplift_evaluation *evaluation)
{
	uint32_t held = t->rows.n_holdout, more = held < 1000 ? t->rows.n_train : 0;
	size_t n = (size_t) held + more;
	pe_status status;

	t->uplifts = pe_alloc(t->env, n * sizeof(double));
	t->outcomes = pe_alloc(t->env, n * sizeof(double));
	t->groups = pe_alloc(t->env, n);
	if (t->uplifts == NULL || t->outcomes == NULL || t->groups == NULL)
		return pe_fail_memory(t->err);
	status = predict_rows(t, t->rows.holdout, held, 0);
	if (status == PE_OK)
		status = predict_rows(t, t->rows.train, more, held);
	if (status == PE_OK)
		status = pe_uplift_evaluate(t->env, t->uplifts, t->outcomes, t->groups, held, evaluation, t->err);
	if (status == PE_OK)
		status = pe_fit_distribution(t->env, t->model, t->uplifts, n, t->err);
	return status;
}

static pe_status
train_whole(training *t, pe_algorithm algorithm, pe_uplift_evaluation *evaluation)
{
	pe_status status;

	if ((t->part = pe_alloc(t->env, sizeof(*t->part))) == NULL)
		return pe_fail_memory(t->err);
	if ((status = list_rows(t)) != PE_OK || (status = make_whole(t, algorithm)) != PE_OK)
		return status;
	status = algorithm == PE_ALGORITHM_TWO_MODELS ? train_two(t) : train_transformed(t);
	if (status != PE_OK)
		return status;
	if ((status = describe_features(t)) != PE_OK)
		return status;
	return evaluate(t, evaluation);
}

pe_status
pe_uplift_train(const pe_env *env, pe_dataset *dataset, const uint8_t *treated, pe_algorithm algorithm,
                const pe_options *options, pe_model **model, pe_uplift_evaluation *evaluation, pe_error *err)
{
	training t = {.env = env, .dataset = dataset, .treated = treated, .options = options, .err = err};
	pe_status status = pe_check_task(PE_TASK_UPLIFT, algorithm, err);

	*model = NULL;
	memset(evaluation, 0, sizeof(*evaluation));
	if (status == PE_OK && (dataset->used_up || dataset->algorithm != PE_ALGORITHM_BOOSTED_TREES ||
	                        !dataset->with_weights || options->algorithm != PE_ALGORITHM_BOOSTED_TREES))
		status = pe_fail(err, PE_INTERNAL, "the dataset is used up, without weights or not of boosted trees");
	if (status == PE_OK)
		status = train_whole(&t, algorithm, evaluation);
	dataset->used_up = true;
	pe_free(env, t.part);
	pe_free(env, t.uses);
	pe_free(env, t.targets);
	pe_free(env, t.rows.train);
	pe_free(env, t.rows.holdout);
	pe_free(env, t.map.slots);
	pe_free(env, t.map.arena);
	pe_free(env, t.uplifts);
	pe_free(env, t.outcomes);
	pe_free(env, t.groups);
	if (status == PE_OK)
		*model = t.model;
	else
		pe_model_free(t.model);
	return status;
}
