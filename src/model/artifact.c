/*
 * artifact.c
 *		A model as bytes and back.
 *
 * Everything is little-endian: integers of 1, 2, 4 or 8 bytes, doubles and floats as
 * their IEEE bits, texts as a 4-byte length and their bytes. The order is the one of
 * write_model. In front: 8 bytes magic, 4 bytes format version, 8 bytes length of what
 * follows, 4 bytes CRC-32C of it.
 *
 * Reading trusts nothing, since bytes may come from a restored or tampered table: every
 * count is checked against the bytes that are left before anything is allocated for
 * it, and every index before the model is handed out, so that predict needs no checks.
 */
#include "model/internal.h"

#define HEADER_BYTES   24
#define FORMAT_VERSION 1

static const uint8_t magic[8] = {'P', 'E', 'M', 'O', 'D', 'E', 'L', '\n'};

/* ---- writing -------------------------------------------------------------------------- */

/* Counts with at == NULL, writes otherwise. */
typedef struct writer
{
	uint8_t *at;
	size_t length;
} writer;

static void
put(writer *w, uint64_t value, int bytes)
{
	for (int i = 0; w->at != NULL && i < bytes; i++)
		w->at[w->length + i] = (uint8_t) (value >> (8 * i));
	w->length += bytes;
}

static void
put_double(writer *w, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	put(w, bits, 8);
}

static void
put_doubles(writer *w, const double *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		put_double(w, values[i]);
}

static void
put_text(writer *w, const char *text)
{
	size_t length = strlen(text);

	put(w, length, 4);
	if (w->at != NULL)
		memcpy(w->at + w->length, text, length);
	w->length += length;
}

static void
write_feature(writer *w, const pe_model *model, const pe_feature *feature)
{
	put_text(w, feature->name);
	put_text(w, feature->source_type);
	put(w, feature->kind, 1);
	put(w, feature->used, 1);
	put(w, feature->pooled, 1);
	put(w, (uint64_t) feature->n_levels, 4);
	for (int i = 0; i < feature->n_levels; i++)
		put_text(w, feature->levels[i]);
	put_double(w, feature->gain);
	put(w, (uint64_t) feature->splits, 8);
	put_double(w, feature->mean_contribution);
	if (model->algorithm == PE_ALGORITHM_BOOSTED_TREES)
		return;
	put_double(w, feature->fill);
	put_double(w, feature->mean);
	put_double(w, feature->slope);
	if (feature->kind == PE_FEATURE_CATEGORICAL)
		put_doubles(w, feature->terms, feature->n_levels + 2);
}

static void
write_trees(writer *w, const pe_model *model)
{
	put_double(w, model->base_margin);
	put(w, model->n_trees, 4);
	put(w, model->n_nodes, 4);
	put(w, model->n_sets, 4);
	for (uint32_t i = 1; i <= model->n_trees; i++)
		put(w, model->roots[i], 4);
	for (uint32_t i = 0; i < model->n_nodes; i++)
	{
		const pe_node *node = &model->nodes[i];

		put(w, node->test.set, 4); /* or the threshold's bits */
		put(w, node->left, 4);
		put(w, node->feature, 2);
		put(w, node->flags, 2);
		put_double(w, model->values[i]);
		put_double(w, model->covers[i]);
	}
	for (uint32_t i = 0; i < model->n_sets; i++)
		for (int word = 0; word < 8; word++)
			put(w, model->sets[i].bits[word], 4);
}

static void
write_terms(writer *w, const pe_model *model)
{
	put_double(w, model->intercept);
	put(w, model->n_terms, 4);
	for (uint32_t i = 0; i < model->n_terms; i++)
	{
		const pe_term *term = &model->terms[i];

		put(w, (uint32_t) term->feature, 4);
		put(w, (uint32_t) term->slot, 4);
		put(w, term->aliased, 1);
		put_double(w, term->estimate);
		put_double(w, term->standard_error);
		put_double(w, term->statistic);
		put_double(w, term->p_value);
	}
	put_double(w, model->log_likelihood);
	put_double(w, model->null_deviance);
	put_double(w, model->deviance);
	put(w, (uint32_t) model->iterations, 4);
}

static void
write_model(writer *w, const pe_model *model)
{
	put(w, model->task, 1);
	put(w, model->algorithm, 1);
	put(w, (uint64_t) model->training_rows, 8);
	put_double(w, model->base_rate);
	put(w, (uint32_t) model->n_features, 4);
	for (int i = 0; i < model->n_features; i++)
		write_feature(w, model, &model->features[i]);
	put(w, (uint32_t) model->n_notes, 4);
	for (int i = 0; i < model->n_notes; i++)
		put_text(w, model->notes[i]);
	if (model->algorithm == PE_ALGORITHM_BOOSTED_TREES)
		write_trees(w, model);
	else
		write_terms(w, model);
	put(w, model->calibration, 1);
	put(w, model->n_calibration, 4);
	put_doubles(w, model->calibration_x, model->n_calibration);
	put_doubles(w, model->calibration_y, model->n_calibration);
	put(w, model->n_distribution, 4);
	put_doubles(w, model->distribution, model->n_distribution);
}

pe_status
pe_model_serialize(const pe_env *env, const pe_model *model, uint8_t **bytes, size_t *length, pe_error *err)
{
	writer count = {NULL, HEADER_BYTES}, body = {NULL, HEADER_BYTES}, head = {NULL, 0};

	*bytes = NULL;
	*length = 0;
	write_model(&count, model);
	body.at = pe_alloc(env, count.length);
	if (body.at == NULL)
		return pe_fail_memory(err);
	write_model(&body, model);
	head.at = body.at;
	memcpy(body.at, magic, sizeof(magic));
	head.length = sizeof(magic);
	put(&head, FORMAT_VERSION, 4);
	put(&head, body.length - HEADER_BYTES, 8);
	put(&head, pe_crc32c(body.at + HEADER_BYTES, body.length - HEADER_BYTES), 4);
	*bytes = body.at;
	*length = body.length;
	return PE_OK;
}

/* ---- reading -------------------------------------------------------------------------- */

/* Once bad, everything read is 0 and nothing more is allocated. */
typedef struct reader
{
	const pe_env *env;
	const uint8_t *at;
	size_t left;
	const char *wrong; /* NULL: all is well */
	bool no_memory;
} reader;

static void
fail(reader *r, const char *what)
{
	if (r->wrong == NULL)
		r->wrong = what;
	r->left = 0;
}

static bool
bad(const reader *r)
{
	return r->wrong != NULL || r->no_memory;
}

static uint64_t
get(reader *r, int bytes)
{
	uint64_t value = 0;

	if (bad(r) || r->left < (size_t) bytes)
	{
		fail(r, "it ends too early");
		return 0;
	}
	for (int i = 0; i < bytes; i++)
		value |= (uint64_t) r->at[i] << (8 * i);
	r->at += bytes;
	r->left -= bytes;
	return value;
}

static double
get_double(reader *r)
{
	uint64_t bits = get(r, 8);
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static double
get_finite(reader *r, const char *what)
{
	double value = get_double(r);

	if (!isfinite(value))
		fail(r, what);
	return value;
}

static bool
get_bool(reader *r)
{
	uint64_t value = get(r, 1);

	if (value > 1)
		fail(r, "a flag is neither 0 nor 1");
	return value == 1;
}

/* A count of things that take at least least bytes each, so that it can be believed. */
static uint32_t
get_count(reader *r, size_t least, uint32_t most)
{
	uint64_t count = get(r, 4);

	if (bad(r) || count > most || count > r->left / least)
	{
		fail(r, "a count is too large");
		return 0;
	}
	return (uint32_t) count;
}

static void *
allocate(reader *r, size_t count, size_t size)
{
	void *ptr;

	if (bad(r))
		return NULL;
	ptr = pe_calloc(r->env, count, size);
	if (ptr == NULL)
		r->no_memory = true;
	return ptr;
}

static char *
get_text(reader *r, size_t most)
{
	uint32_t length = get_count(r, 1, (uint32_t) most);
	char *text;

	if (bad(r) || memchr(r->at, 0, length) != NULL)
	{
		fail(r, "a text holds a zero byte");
		return NULL;
	}
	text = pe_strndup(r->env, (const char *) r->at, length);
	if (text == NULL)
		r->no_memory = true;
	r->at += length;
	r->left -= length;
	return text;
}

static void
read_levels(reader *r, pe_feature *feature)
{
	uint32_t count = get_count(r, 4, PE_MAX_MODEL_LEVELS);

	if (count > 0 && feature->kind != PE_FEATURE_CATEGORICAL)
		fail(r, "a number has levels");
	if (bad(r) || (feature->levels = allocate(r, count, sizeof(char *))) == NULL)
		return;
	for (uint32_t i = 0; i < count; i++)
	{
		feature->levels[i] = get_text(r, PE_MAX_LEVEL_LENGTH);
		if (bad(r))
		{
			pe_free(r->env, feature->levels[i]);
			return;
		}
		feature->n_levels++;
		if (i > 0 && strcmp(feature->levels[i - 1], feature->levels[i]) >= 0)
			fail(r, "levels are out of order");
	}
}

static double *
get_doubles(reader *r, size_t count, const char *what)
{
	double *values = allocate(r, count, sizeof(double));

	for (size_t i = 0; i < count && !bad(r); i++)
		values[i] = get_finite(r, what);
	return values;
}

static void
read_feature(reader *r, const pe_model *model, pe_feature *feature)
{
	uint64_t kind;

	feature->name = get_text(r, PE_MAX_NAME);
	feature->source_type = get_text(r, PE_MAX_NAME);
	kind = get(r, 1);
	if (kind != PE_FEATURE_NUMERIC && kind != PE_FEATURE_CATEGORICAL)
		fail(r, "a feature is of no known kind");
	feature->kind = (pe_feature_kind) kind;
	feature->used = get_bool(r);
	feature->pooled = get_bool(r);
	read_levels(r, feature);
	feature->gain = get_finite(r, "an importance is not finite");
	feature->splits = (int64_t) get(r, 8);
	feature->mean_contribution = get_finite(r, "an importance is not finite");
	if (model->algorithm == PE_ALGORITHM_BOOSTED_TREES)
		return;
	feature->fill = get_finite(r, "a coefficient is not finite");
	feature->mean = get_finite(r, "a coefficient is not finite");
	feature->slope = get_finite(r, "a coefficient is not finite");
	if (feature->kind == PE_FEATURE_CATEGORICAL && !bad(r))
		feature->terms = get_doubles(r, (size_t) feature->n_levels + 2, "a coefficient is not finite");
}

static void
read_features(reader *r, pe_model *model)
{
	uint32_t count = get_count(r, 23, PE_MAX_FEATURES);

	if (count == 0)
		fail(r, "it has no features");
	if (bad(r) || (model->features = allocate(r, count, sizeof(*model->features))) == NULL)
		return;
	for (uint32_t i = 0; i < count && !bad(r); i++)
	{
		model->n_features++; /* so that what was read of it is freed */
		read_feature(r, model, &model->features[i]);
	}
}

static void
read_notes(reader *r, pe_model *model)
{
	uint32_t count = get_count(r, 4, UINT32_MAX / 16);

	if (bad(r) || (model->notes = allocate(r, count, sizeof(char *))) == NULL)
		return;
	for (uint32_t i = 0; i < count; i++)
	{
		model->notes[i] = get_text(r, 4096);
		if (bad(r))
		{
			pe_free(r->env, model->notes[i]);
			return;
		}
		model->n_notes++;
	}
}

static void
read_node(reader *r, pe_model *model, uint32_t at)
{
	pe_node *node = &model->nodes[at];

	node->test.set = (uint32_t) get(r, 4);
	node->left = (uint32_t) get(r, 4);
	node->feature = (uint16_t) get(r, 2);
	node->flags = (uint16_t) get(r, 2);
	model->values[at] = get_finite(r, "a leaf's value is not finite");
	model->covers[at] = get_finite(r, "a node's rows are not finite");
	if (!(model->covers[at] >= 1))
		fail(r, "a node has no rows");
}

/*
 * The nodes begin .. end - 1 are one tree: each but the first is the child of exactly one
 * node before it, no path is too long, and tests can be evaluated. Children come in pairs
 * in the order of their parents' numbers or not, so parents are counted in depths.
 */
static void
check_tree(reader *r, const pe_model *model, uint32_t begin, uint32_t end, uint8_t *depths)
{
	uint32_t children = 0;

	if (begin >= end)
		fail(r, "a tree has no nodes");
	memset(depths + begin, 0xff, end - begin);
	depths[begin] = 0;
	for (uint32_t i = begin; i < end && !bad(r); i++)
	{
		const pe_node *node = &model->nodes[i];
		const pe_feature *feature;

		if (depths[i] == 0xff)
			fail(r, "a node has no parent before it");
		else if (node->left == 0)
			continue;
		else if (node->left <= i || node->left >= end - 1 || depths[node->left] != 0xff ||
		         depths[node->left + 1] != 0xff)
			fail(r, "a node's children are not its own");
		else if (depths[i] >= PE_MAX_TREE_DEPTH || node->feature >= model->n_features || node->flags > 3)
			fail(r, "a node is too deep, or tests nothing that there is");
		if (bad(r))
			return;
		feature = &model->features[node->feature];
		if (((node->flags & PE_NODE_CATEGORICAL) != 0) != (feature->kind == PE_FEATURE_CATEGORICAL))
			fail(r, "a node's test is not for its feature's kind");
		else if ((node->flags & PE_NODE_CATEGORICAL) ? node->test.set >= model->n_sets
		                                             : isnan(node->test.threshold))
			fail(r, "a node's test is out of range");
		depths[node->left] = depths[node->left + 1] = (uint8_t) (depths[i] + 1);
		children += 2;
	}
	if (!bad(r) && children + 1 != end - begin)
		fail(r, "a tree has loose nodes");
}

static void
read_trees(reader *r, pe_model *model)
{
	uint8_t *depths;
	uint32_t n_trees, n_nodes, n_sets;

	model->base_margin = get_finite(r, "the base is not finite");
	n_trees = get_count(r, 4, 1000000);
	n_nodes = get_count(r, 28, UINT32_MAX / 2);
	n_sets = get_count(r, 32, UINT32_MAX / 2);
	model->roots = allocate(r, (size_t) n_trees + 1, sizeof(uint32_t));
	model->nodes = allocate(r, n_nodes, sizeof(pe_node));
	model->values = allocate(r, n_nodes, sizeof(double));
	model->covers = allocate(r, n_nodes, sizeof(double));
	model->sets = allocate(r, n_sets, sizeof(pe_level_set));
	depths = allocate(r, n_nodes, 1);
	if (!bad(r))
	{
		model->n_trees = n_trees;
		model->n_nodes = n_nodes;
		model->n_sets = n_sets;
	}
	for (uint32_t i = 1; i <= n_trees && !bad(r); i++)
	{
		model->roots[i] = (uint32_t) get(r, 4);
		if (model->roots[i] <= model->roots[i - 1] || model->roots[i] > n_nodes)
			fail(r, "the trees are out of order");
	}
	if (!bad(r) && model->roots[n_trees] != n_nodes)
		fail(r, "nodes belong to no tree");
	for (uint32_t i = 0; i < n_nodes && !bad(r); i++)
		read_node(r, model, i);
	for (uint32_t i = 0; i < n_sets && !bad(r); i++)
		for (int word = 0; word < 8; word++)
			model->sets[i].bits[word] = (uint32_t) get(r, 4);
	for (uint32_t tree = 0; tree < n_trees && !bad(r); tree++)
		check_tree(r, model, model->roots[tree], model->roots[tree + 1], depths);
	pe_free(r->env, depths);
	if (!bad(r))
		pe_model_finish_trees(model);
}

static void
read_terms(reader *r, pe_model *model)
{
	uint32_t count;

	model->intercept = get_finite(r, "a coefficient is not finite");
	count = get_count(r, 41, UINT32_MAX / 2);
	if (bad(r) || (model->terms = allocate(r, count, sizeof(pe_term))) == NULL)
		return;
	model->n_terms = count;
	for (uint32_t i = 0; i < count && !bad(r); i++)
	{
		pe_term *term = &model->terms[i];

		term->feature = (int32_t) (uint32_t) get(r, 4);
		term->slot = (int32_t) (uint32_t) get(r, 4);
		term->aliased = get_bool(r);
		term->estimate = get_finite(r, "a coefficient is not finite");
		term->standard_error = get_double(r);
		term->statistic = get_double(r);
		term->p_value = get_double(r);
		if (term->feature < -1 || term->feature >= model->n_features || term->slot < -1 ||
		    (term->feature >= 0 && term->slot > model->features[term->feature].n_levels + 1))
			fail(r, "a coefficient is of no feature");
	}
	model->log_likelihood = get_double(r);
	model->null_deviance = get_double(r);
	model->deviance = get_double(r);
	model->iterations = (int) (get(r, 4) & INT32_MAX);
}

static void
check_rising(reader *r, const double *values, uint32_t count)
{
	for (uint32_t i = 1; i < count && !bad(r); i++)
		if (values[i] < values[i - 1])
			fail(r, "a curve falls");
}

static void
read_tables(reader *r, pe_model *model)
{
	uint64_t kind = get(r, 1);

	model->calibration = (pe_calibration_kind) kind;
	model->n_calibration = get_count(r, 16, UINT32_MAX / 2);
	if (kind > PE_CALIBRATION_ISOTONIC || (kind == PE_CALIBRATION_NONE && model->n_calibration != 0) ||
	    (kind == PE_CALIBRATION_PLATT && model->n_calibration != 1) ||
	    (kind == PE_CALIBRATION_ISOTONIC && model->n_calibration == 0))
		fail(r, "the calibration is of no known kind");
	model->calibration_x = get_doubles(r, model->n_calibration, "the calibration is not finite");
	model->calibration_y = get_doubles(r, model->n_calibration, "the calibration is not finite");
	check_rising(r, model->calibration_x, model->n_calibration);
	check_rising(r, model->calibration_y, model->n_calibration);
	model->n_distribution = get_count(r, 8, UINT32_MAX / 2);
	model->distribution = get_doubles(r, model->n_distribution, "the distribution is not finite");
	check_rising(r, model->distribution, model->n_distribution);
}

static void
read_model(reader *r, pe_model *model)
{
	uint64_t task = get(r, 1), algorithm = get(r, 1);

	if (!bad(r) && pe_check_task((pe_task) task, (pe_algorithm) algorithm, NULL) != PE_OK)
		fail(r, "its task and algorithm are not known");
	model->task = (pe_task) task;
	model->algorithm = (pe_algorithm) algorithm;
	model->log_likelihood = model->null_deviance = model->deviance = NAN;
	model->training_rows = (int64_t) get(r, 8);
	model->base_rate = get_finite(r, "the base rate is not finite");
	read_features(r, model);
	read_notes(r, model);
	if (model->algorithm == PE_ALGORITHM_BOOSTED_TREES)
		read_trees(r, model);
	else
		read_terms(r, model);
	read_tables(r, model);
	if (!bad(r) && r->left > 0)
		fail(r, "it goes on after its end");
}

static pe_status
check_header(reader *r, pe_error *err)
{
	uint64_t version, length, checksum;

	if (r->left < HEADER_BYTES || memcmp(r->at, magic, sizeof(magic)) != 0)
		return pe_fail(err, PE_CORRUPT, "these bytes are not a model");
	r->at += sizeof(magic);
	r->left -= sizeof(magic);
	version = get(r, 4);
	length = get(r, 8);
	checksum = get(r, 4);
	if (version > FORMAT_VERSION)
	{
		pe_fail(err, PE_UNSUPPORTED, "the model has format version %u, and this build reads up to %d",
		        (unsigned) version, FORMAT_VERSION);
		pe_error_hint(err, "Install the newer version of the extension that trained it.");
		return PE_UNSUPPORTED;
	}
	if (version != FORMAT_VERSION || length != r->left)
		return pe_fail(err, PE_CORRUPT, "the model is damaged: its length or version is wrong");
	if (pe_crc32c(r->at, r->left) != checksum)
		return pe_fail(err, PE_CORRUPT, "the model is damaged: its checksum does not match");
	return PE_OK;
}

pe_status
pe_model_deserialize(const pe_env *env, const uint8_t *bytes, size_t length, pe_model **out, pe_error *err)
{
	reader r = {env, bytes, length, NULL, false};
	pe_status status = check_header(&r, err);
	pe_model *model;

	*out = NULL;
	if (status != PE_OK)
		return status;
	if ((model = pe_calloc(env, 1, sizeof(*model))) == NULL)
		return pe_fail_memory(err);
	model->env.allocator = env->allocator;
	read_model(&r, model);
	if (!bad(&r))
	{
		*out = model;
		return PE_OK;
	}
	pe_model_free(model);
	if (r.no_memory)
		return pe_fail_memory(err);
	pe_fail(err, PE_CORRUPT, "the model is damaged: %s", r.wrong);
	pe_error_hint(err, "Train it again, or restore it from a backup.");
	return PE_CORRUPT;
}
