/*
 * two_part.c
 *		A value that is 0 for many: will there be any, times how much if there is. Both parts
 *		are boosted trees; the model holds them as they are, and their product predicts.
 *
 * The second part is made to know the levels of the first, which learnt from all rows,
 * so that both take the same codes: those of the whole.
 */
#include "model/family.h"
#include "model/selection.h"

typedef struct two_parts
{
	pe_model *any;    /* propensity: is the target above 0? */
	pe_model *amount; /* value: how much, where it is */
} two_parts;

/* ---- as a family ---------------------------------------------------------------------------- */

static const char *const output_names[] = {"probability", "amount"};

static double
predict(const pe_model *model, const double *values)
{
	const two_parts *own = model->own;

	return pe_model_predict(own->any, values) * pe_model_predict(own->amount, values);
}

static int
output_count(const pe_model *model)
{
	return 2;
}

static const char *
output_name(const pe_model *model, int output)
{
	return output_names[output];
}

static void
outputs(const pe_model *model, const double *values, double *outputs)
{
	const two_parts *own = model->own;

	outputs[0] = pe_model_predict(own->any, values);
	outputs[1] = pe_model_predict(own->amount, values);
}

static void
write_parts(pe_writer *w, const pe_model *model)
{
	const two_parts *own = model->own;

	pe_write_model(w, own->any);
	pe_write_model(w, own->amount);
}

/* A part must take the very rows that the whole does. */
static void
check_part(pe_reader *r, const pe_model *model, const pe_model *part, pe_task task)
{
	bool alike = part->task == task && part->algorithm == PE_ALGORITHM_BOOSTED_TREES &&
	             part->n_features == model->n_features;

	for (int i = 0; i < model->n_features && alike; i++)
		alike = part->features[i].kind == model->features[i].kind &&
		        part->features[i].n_levels == model->features[i].n_levels;
	if (!alike)
		pe_reader_fail(r, "a part is not made for the whole");
}

static void
read_parts(pe_reader *r, pe_model *model)
{
	two_parts *own = pe_read_array(r, 1, sizeof(*own));

	if ((model->own = own) == NULL)
		return;
	own->any = pe_read_model(r, PE_ALGORITHM_BOOSTED_TREES);
	if (!pe_reader_bad(r))
		check_part(r, model, own->any, PE_TASK_PROPENSITY);
	own->amount = pe_read_model(r, PE_ALGORITHM_BOOSTED_TREES);
	if (!pe_reader_bad(r))
		check_part(r, model, own->amount, PE_TASK_VALUE);
}

static void
release(pe_model *model)
{
	two_parts *own = model->own;

	if (own == NULL)
		return;
	pe_model_free(own->any);
	pe_model_free(own->amount);
	pe_free(&model->env, own);
}

static size_t
bytes(const pe_model *model)
{
	const two_parts *own = model->own;

	return sizeof(*own) + pe_model_bytes(own->any) + pe_model_bytes(own->amount);
}

const pe_family pe_two_part_family = {
    .predict = predict,
    .output_count = output_count,
    .output_name = output_name,
    .outputs = outputs,
    .write = write_parts,
    .read = read_parts,
    .release = release,
    .bytes = bytes,
};

/* ---- the levels of the whole ------------------------------------------------------------------ */

static pe_status
copy_levels(pe_model *model, const pe_model *from, int feature, pe_error *err)
{
	const pe_feature *origin = &from->features[feature];
	pe_feature *to = &model->features[feature];

	if (origin->n_levels == 0)
		return PE_OK;
	if ((to->levels = pe_calloc(&model->env, origin->n_levels, sizeof(char *))) == NULL)
		return pe_fail_memory(err);
	for (int i = 0; i < origin->n_levels; i++)
	{
		to->levels[i] = pe_strndup(&model->env, origin->levels[i], strlen(origin->levels[i]));
		if (to->levels[i] == NULL)
			return pe_fail_memory(err);
		to->n_levels++;
	}
	to->pooled = origin->pooled;
	return PE_OK;
}

/* Slots of levels that this part never saw go where it sends all other levels. */
static void
translate_sets(pe_model *part, const pe_model *whole)
{
	for (uint32_t i = 0; i < part->n_nodes; i++)
	{
		const pe_node *node = &part->nodes[i];
		const pe_feature *own, *wanted;
		pe_level_set set = {{0}};
		pe_level_set *old;

		if (node->left == 0 || (node->flags & PE_NODE_CATEGORICAL) == 0)
			continue;
		own = &part->features[node->feature];
		wanted = &whole->features[node->feature];
		old = &part->sets[node->test.set];
		for (int slot = 0; slot <= wanted->n_levels + 1; slot++)
		{
			int from = slot == PE_SLOT_MISSING ? PE_SLOT_MISSING : own->n_levels + 1;

			if (slot > 0 && slot <= wanted->n_levels)
			{
				const char *text = wanted->levels[slot - 1];
				int32_t code = pe_model_level(part, node->feature, text, strlen(text));

				from = code >= 0 ? code + 1 : from;
			}
			if ((old->bits[from >> 5] >> (from & 31)) & 1)
				set.bits[slot >> 5] |= 1u << (slot & 31);
		}
		*old = set;
	}
}

pe_status
pe_adopt_levels(pe_model *part, const pe_model *whole, pe_error *err)
{
	pe_status status = PE_OK;

	translate_sets(part, whole);
	for (int i = 0; i < part->n_features && status == PE_OK; i++)
	{
		pe_feature *feature = &part->features[i];

		for (int level = 0; level < feature->n_levels; level++)
			pe_free(&part->env, feature->levels[level]);
		pe_free(&part->env, feature->levels);
		feature->levels = NULL;
		feature->n_levels = 0;
		status = copy_levels(part, whole, i, err);
	}
	return status;
}

/* ---- training ---------------------------------------------------------------------------------- */

typedef struct parts_training
{
	const pe_env *env;
	pe_dataset *dataset;
	const pe_options *options;
	uint8_t *uses;
	double *any_targets;
	pe_model *model;
	two_parts *own;
	pe_evaluation *evaluation; /* of the part at hand, then of the whole */
	double *predictions;       /* held-out ones, and what became of them */
	double *targets;
	double *weights;
	size_t held_out;
	pe_error *err;
} parts_training;

static pe_status
read_uses(parts_training *t)
{
	const pe_dataset *dataset = t->dataset;
	uint64_t zeros = 0;

	t->uses = pe_alloc(t->env, dataset->rows);
	t->any_targets = pe_alloc(t->env, dataset->rows * sizeof(double));
	if (t->uses == NULL || t->any_targets == NULL)
		return pe_fail_memory(t->err);
	for (uint64_t row = 0; row < dataset->rows; row++)
	{
		double target = pe_dataset_target(dataset, row);

		if (target < 0)
		{
			pe_fail(t->err, PE_INVALID_DATA,
			        "row %llu: the target is negative, which two_part does not allow",
			        (unsigned long long) row + 1);
			pe_error_hint(t->err, "Count returns as 0 in the source, or use boosted_trees.");
			return PE_INVALID_DATA;
		}
		t->any_targets[row] = target > 0;
		zeros += target == 0;
		t->uses[row] = pe_row_is_held_out(dataset, row, t->options) ? PE_ROW_HELD_OUT : PE_ROW_TRAINED;
		t->held_out += t->uses[row] == PE_ROW_HELD_OUT && pe_dataset_weight(dataset, row) > 0;
	}
	if (zeros > 0)
		return PE_OK;
	pe_fail(t->err, PE_INVALID_DATA, "no row has the target 0, so that there are no two parts");
	pe_error_hint(t->err, "Use boosted_trees.");
	return PE_INVALID_DATA;
}

/* One part on a copy of its rows. */
static pe_status
train_part(parts_training *t, pe_task task, const double *targets, const pe_options *options, pe_model **part)
{
	pe_dataset *copy = NULL;
	pe_status status = pe_dataset_copy(t->env, t->dataset, t->uses, targets, &copy, t->err);

	if (status == PE_OK)
		status = pe_train(t->env, copy, task, options, part, t->evaluation, t->err);
	pe_dataset_free(copy);
	return status;
}

static pe_status
note_part(parts_training *t, const char *what)
{
	double value;
	const char *name = pe_evaluation_headline(t->evaluation, &value);

	if (!t->evaluation->evaluated || name == NULL || isnan(value))
		return PE_OK;
	return pe_model_add_note(t->model, t->err, "%s: %s %.3f on %lld held-out rows", what, name, value,
	                         (long long) t->evaluation->rows);
}

static pe_status
train_parts(parts_training *t)
{
	pe_options any = *t->options, amount = *t->options;
	pe_status status;

	any.objective = PE_OBJECTIVE_DEFAULT;
	any.n_monotone = amount.n_monotone = 0;
	if (amount.objective == PE_OBJECTIVE_DEFAULT)
		amount.objective = PE_OBJECTIVE_GAMMA;
	status = train_part(t, PE_TASK_PROPENSITY, t->any_targets, &any, &t->own->any);
	if (status == PE_OK)
		status = note_part(t, "whether there is any");
	for (uint64_t row = 0; row < t->dataset->rows && status == PE_OK; row++)
		if (t->any_targets[row] == 0)
			t->uses[row] = PE_ROW_LEFT_OUT;
	amount.calibrate = PE_CALIBRATION_NONE;
	if (status == PE_OK)
		status = train_part(t, PE_TASK_VALUE, NULL, &amount, &t->own->amount);
	if (status == PE_OK)
		status = note_part(t, "how much there is");
	return status;
}

/* What the whole says of its features: levels of the first part, and the mean of the importances. */
static pe_status
describe_features(parts_training *t)
{
	pe_status status = PE_OK;

	for (int i = 0; i < t->model->n_features && status == PE_OK; i++)
	{
		const pe_feature *any = &t->own->any->features[i], *amount = &t->own->amount->features[i];
		pe_feature *feature = &t->model->features[i];

		status = copy_levels(t->model, t->own->any, i, t->err);
		feature->used = any->used || amount->used;
		feature->summarised = any->summarised;
		feature->summary = any->summary;
		feature->gain = (any->gain + amount->gain) / 2;
		feature->splits = any->splits + amount->splits;
		feature->mean_contribution = (any->mean_contribution + amount->mean_contribution) / 2;
	}
	if (status == PE_OK)
		status = pe_adopt_levels(t->own->amount, t->model, t->err);
	return status;
}

/* codes[feature][dataset's code] are the model's; one allocation. */
static pe_status
map_codes(const parts_training *t, int32_t ***codes)
{
	const pe_dataset *dataset = t->dataset;
	size_t total = 0;
	int32_t **map, *at;

	for (int i = 0; i < dataset->n_features; i++)
		total += dataset->features[i].levels.count + 1;
	map = pe_alloc(t->env, dataset->n_features * sizeof(*map) + total * sizeof(*at));
	if ((*codes = map) == NULL)
		return pe_fail_memory(t->err);
	at = (int32_t *) (map + dataset->n_features);
	for (int i = 0; i < dataset->n_features; i++)
	{
		const pe_dictionary *levels = &dataset->features[i].levels;

		map[i] = at;
		for (uint32_t code = 0; code < levels->count; code++)
			*at++ = pe_model_level(t->model, i, levels->arena + levels->starts[code],
			                       levels->starts[code + 1] - levels->starts[code]);
		*at++ = PE_UNKNOWN_LEVEL; /* of the levels that the dataset did not tell apart */
	}
	return PE_OK;
}

static void
read_values(const parts_training *t, int32_t **codes, uint64_t row, double *values)
{
	for (int i = 0; i < t->dataset->n_features; i++)
	{
		double value = pe_dataset_value(t->dataset, i, row);

		values[i] = t->dataset->features[i].kind == PE_FEATURE_CATEGORICAL && !isnan(value)
		                ? codes[i][(uint32_t) value]
		                : value;
	}
}

/* The held-out rows' predictions, or every row's when none or hardly any is held out. */
static pe_status
predict_rows(parts_training *t, bool all)
{
	const pe_dataset *dataset = t->dataset;
	double *values = pe_alloc(t->env, dataset->n_features * sizeof(double));
	int32_t **codes = NULL;
	size_t n = 0, most = all ? dataset->rows : t->held_out;
	pe_status status = values == NULL ? pe_fail_memory(t->err) : map_codes(t, &codes);

	t->predictions = pe_alloc(t->env, most * sizeof(double));
	t->targets = pe_alloc(t->env, most * sizeof(double));
	t->weights = pe_alloc(t->env, most * sizeof(double));
	if (status == PE_OK && (t->predictions == NULL || t->targets == NULL || t->weights == NULL))
		status = pe_fail_memory(t->err);
	for (uint64_t row = 0; row < dataset->rows && status == PE_OK; row++)
	{
		if (row % 1024 == 0 && pe_stopped(t->env, "evaluate", row, dataset->rows))
			status = pe_fail(t->err, PE_CANCELLED, "training was cancelled");
		if ((!all && !pe_row_is_held_out(dataset, row, t->options)) || !(pe_dataset_weight(dataset, row) > 0))
			continue;
		read_values(t, codes, row, values);
		t->predictions[n] = pe_model_predict(t->model, values);
		t->targets[n] = pe_dataset_target(dataset, row);
		t->weights[n++] = pe_dataset_weight(dataset, row);
	}
	t->held_out = n;
	pe_free(t->env, values);
	pe_free(t->env, codes);
	return status;
}

static void
forget_rows(parts_training *t)
{
	pe_free(t->env, t->predictions);
	pe_free(t->env, t->targets);
	pe_free(t->env, t->weights);
	t->predictions = t->targets = t->weights = NULL;
}

static pe_status
evaluate_whole(parts_training *t)
{
	pe_evaluation *e = t->evaluation;
	bool few = t->held_out < 1000;
	pe_status status = PE_OK;

	pe_evaluation_clear(e, PE_TASK_VALUE);
	if (t->held_out > 0)
	{
		status = predict_rows(t, false);
		if (status == PE_OK)
			status = pe_evaluate(t->env, PE_TASK_VALUE, t->predictions, t->targets,
			                     t->dataset->with_weights ? t->weights : NULL, t->held_out, e, t->err);
		if (status == PE_OK && !few)
			status = pe_fit_distribution(t->env, t->model, t->predictions, t->held_out, t->err);
		forget_rows(t);
	}
	if (status == PE_OK && few)
	{
		status = predict_rows(t, true);
		if (status == PE_OK)
			status = pe_fit_distribution(t->env, t->model, t->predictions, t->held_out, t->err);
		forget_rows(t);
	}
	e->training_rows = t->own->any->training_rows;
	pe_judge(e, NAN, NULL);
	return status;
}

static pe_status
train_whole(parts_training *t)
{
	pe_status status = read_uses(t);

	if (status == PE_OK)
		status = pe_model_create(t->env, t->dataset, PE_TASK_VALUE, &t->model, t->err);
	if (status != PE_OK)
		return status;
	t->model->algorithm = PE_ALGORITHM_TWO_PART;
	t->model->family = &pe_two_part_family;
	if ((t->model->own = t->own = pe_calloc(t->env, 1, sizeof(*t->own))) == NULL)
		return pe_fail_memory(t->err);
	if ((status = train_parts(t)) != PE_OK || (status = describe_features(t)) != PE_OK)
		return status;
	t->model->objective = t->own->amount->objective;
	t->model->objective_parameter = t->own->amount->objective_parameter;
	t->model->training_rows = t->own->any->training_rows;
	t->model->base_rate = t->own->any->base_rate * t->own->amount->base_rate;
	return evaluate_whole(t);
}

static pe_status
check_call(const pe_options *options, pe_error *err)
{
	switch (options->objective)
	{
		case PE_OBJECTIVE_DEFAULT:
		case PE_OBJECTIVE_SQUARED:
		case PE_OBJECTIVE_POISSON:
		case PE_OBJECTIVE_GAMMA:
		case PE_OBJECTIVE_TWEEDIE:
			return PE_OK;
		default:
			pe_fail(err, PE_INVALID_OPTION, "objective \"%s\" does not serve algorithm two_part",
			        pe_objective_name(options->objective));
			pe_error_hint(err, "Its amounts are means: gamma, squared, poisson or tweedie.");
			return PE_INVALID_OPTION;
	}
}

pe_status
pe_train_two_part(const pe_env *env, pe_dataset *dataset, const pe_options *options, pe_model **model,
                  pe_evaluation *evaluation, pe_error *err)
{
	parts_training t = {
	    .env = env, .dataset = dataset, .options = options, .evaluation = evaluation, .err = err};
	pe_status status = check_call(options, err);

	*model = NULL;
	if (status == PE_OK)
		status = train_whole(&t);
	dataset->used_up = true;
	forget_rows(&t);
	pe_free(env, t.uses);
	pe_free(env, t.any_targets);
	if (status == PE_OK)
		*model = t.model;
	else
		pe_model_free(t.model);
	return status;
}
