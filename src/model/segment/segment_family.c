/*
 * segment_family.c
 *		Clusters as a model like any other: prediction, named outputs, profile, artifact.
 *		The prediction is the number of the nearest cluster.
 */
#include <float.h>

#include "model/family.h"
#include "model/segment/kmeans.h"
#include "model/segment/learnt.h"

bool
pe_segments_alloc(const pe_env *env, int n_clusters, pe_segments *s)
{
	size_t cells = (size_t) n_clusters * s->space.n_features;

	s->n_clusters = n_clusters;
	s->centres = pe_calloc(env, (size_t) n_clusters * s->space.width, sizeof(double));
	s->weights = pe_calloc(env, n_clusters, sizeof(double));
	s->rows = pe_calloc(env, n_clusters, sizeof(double));
	s->profile = pe_calloc(env, cells, sizeof(double));
	s->overall = pe_calloc(env, cells, sizeof(double));
	s->missing = pe_calloc(env, cells, sizeof(double));
	s->level = pe_calloc(env, cells, sizeof(int32_t));
	return s->centres != NULL && s->weights != NULL && s->rows != NULL && s->profile != NULL &&
	       s->overall != NULL && s->missing != NULL && s->level != NULL;
}

void
pe_segments_free(const pe_env *env, pe_segments *s)
{
	pe_space_free(env, &s->space);
	pe_free(env, s->centres);
	pe_free(env, s->weights);
	pe_free(env, s->rows);
	pe_free(env, s->profile);
	pe_free(env, s->overall);
	pe_free(env, s->missing);
	pe_free(env, s->level);
	pe_search_free(env, &s->search);
	pe_free(env, s);
}

/* ---- predicting --------------------------------------------------------------------------- */

typedef struct found
{
	int nearest;
	int next; /* -1: there is no other cluster */
	float distance;
	float next_distance;
} found;

static found
find_cluster(const pe_model *model, const double *values)
{
	const pe_segments *s = model->own;
	float distances[PE_MAX_CLUSTERS + PE_LANES];
	found f;

	pe_search_measure_inputs(&s->search, &s->space, model->features, values, distances);
	f.nearest = pe_nearest(distances, s->n_clusters, &f.next);
	f.distance = distances[f.nearest];
	f.next_distance = f.next >= 0 ? distances[f.next] : NAN;
	return f;
}

static double
predict(const pe_model *model, const double *values)
{
	return find_cluster(model, values).nearest + 1;
}

static const char *const names[] = {"cluster", "distance", "next_cluster", "next_distance"};

static int
output_count(const pe_model *model)
{
	return ((const pe_segments *) model->own)->n_clusters > 1 ? 4 : 2;
}

static const char *
output_name(const pe_model *model, int output)
{
	return names[output];
}

static void
outputs(const pe_model *model, const double *values, double *out)
{
	found f = find_cluster(model, values);

	out[0] = f.nearest + 1;
	out[1] = sqrt(f.distance);
	if (f.next < 0)
		return;
	out[2] = f.next + 1;
	out[3] = sqrt(f.next_distance);
}

/* ---- what was found ----------------------------------------------------------------------- */

static const pe_segments *
segments_of(const pe_model *model)
{
	return model->family == &pe_segment_family ? model->own : NULL;
}

pe_segment_summary
pe_model_segment_summary(const pe_model *model)
{
	const pe_segments *s = segments_of(model);

	if (s == NULL)
		return (pe_segment_summary){0, NAN, NAN, NAN};
	return (pe_segment_summary){s->n_clusters, s->inertia, s->explained, s->silhouette};
}

int64_t
pe_model_segment_rows(const pe_model *model, int cluster)
{
	const pe_segments *s = segments_of(model);

	return s != NULL && cluster >= 1 && cluster <= s->n_clusters ? (int64_t) s->rows[cluster - 1] : 0;
}

double
pe_model_segment_share(const pe_model *model, int cluster)
{
	const pe_segments *s = segments_of(model);
	double total = 0;

	if (s == NULL || cluster < 1 || cluster > s->n_clusters)
		return 0;
	for (int i = 0; i < s->n_clusters; i++)
		total += s->weights[i];
	return s->weights[cluster - 1] / total;
}

static const char *
slot_text(const pe_feature *feature, int32_t slot)
{
	if (slot == PE_SLOT_MISSING)
		return "(missing)";
	return slot <= feature->n_levels ? feature->levels[slot - 1] : "(other)";
}

pe_segment_profile
pe_model_segment_profile(const pe_model *model, int cluster, int feature)
{
	const pe_segments *s = segments_of(model);
	pe_segment_profile p = {NULL, NAN, NAN, NAN, NAN};
	double deviation;
	size_t at;

	if (s == NULL || cluster < 1 || cluster > s->n_clusters || feature < 0 || feature >= model->n_features)
		return p;
	at = (size_t) (cluster - 1) * model->n_features + feature;
	p.cluster = s->profile[at];
	p.overall = s->overall[at];
	p.missing = s->missing[at];
	deviation = s->space.axes[feature].deviation;
	if (s->space.axes[feature].categorical)
	{
		p.level = slot_text(&model->features[feature], s->level[at]);
		deviation = sqrt(p.overall * (1 - p.overall));
	}
	p.difference = deviation > 0 ? (p.cluster - p.overall) / deviation : 0;
	return p;
}

/* ---- artifact ----------------------------------------------------------------------------- */

static void
write_segments(pe_writer *w, const pe_model *model)
{
	const pe_segments *s = model->own;
	size_t cells = (size_t) s->n_clusters * s->space.n_features;

	pe_write_int(w, (uint64_t) s->n_clusters, 4);
	for (int i = 0; i < s->space.n_features; i++)
	{
		const pe_axis *axis = &s->space.axes[i];

		pe_write_int(w, axis->used, 1);
		pe_write_double(w, axis->middle);
		pe_write_double(w, axis->scale);
		pe_write_double(w, axis->limit);
		pe_write_double(w, axis->mean);
		pe_write_double(w, axis->deviation);
	}
	pe_write_double(w, s->inertia);
	pe_write_double(w, s->explained);
	pe_write_double(w, s->silhouette);
	pe_write_doubles(w, s->centres, (size_t) s->n_clusters * s->space.width);
	pe_write_doubles(w, s->weights, s->n_clusters);
	pe_write_doubles(w, s->rows, s->n_clusters);
	pe_write_doubles(w, s->profile, cells);
	pe_write_doubles(w, s->overall, cells);
	pe_write_doubles(w, s->missing, cells);
	for (size_t i = 0; i < cells; i++)
		pe_write_int(w, (uint32_t) s->level[i], 2);
}

static double
read_between(pe_reader *r, double least, double most, const char *what)
{
	double value = pe_read_double(r);

	if (!(value >= least && value <= most))
		pe_reader_fail(r, what);
	return value;
}

/* Doubles in a range, or NaN where that is allowed. */
static void
read_table(pe_reader *r, double *table, size_t count, double least, double most, bool nan_too,
           const char *what)
{
	for (size_t i = 0; i < count && !pe_reader_bad(r); i++)
	{
		table[i] = pe_read_double(r);
		if (!(table[i] >= least && table[i] <= most) && !(nan_too && isnan(table[i])))
			pe_reader_fail(r, what);
	}
}

static void
read_axes(pe_reader *r, const pe_model *model, pe_space *space)
{
	if (!pe_space_alloc(r->env, model->n_features, space))
	{
		r->no_memory = true;
		return;
	}
	for (int i = 0; i < model->n_features; i++)
	{
		const pe_feature *feature = &model->features[i];
		pe_axis *axis = &space->axes[i];

		axis->categorical = feature->kind == PE_FEATURE_CATEGORICAL;
		axis->cells = axis->categorical ? (uint32_t) feature->n_levels + 2 : 1;
		axis->used = pe_read_bool(r);
		axis->middle = pe_read_finite(r, "a feature's middle is not finite");
		axis->scale = read_between(r, 0, 1e300, "a feature's scale is out of range");
		axis->limit = read_between(r, 0, 1e16, "a feature's limit is out of range");
		axis->mean = pe_read_finite(r, "a feature's mean is not finite");
		axis->deviation = read_between(r, 0, 1e300, "a feature's deviation is out of range");
	}
	pe_space_index(space);
}

/* A NaN has many bit patterns, and what is written again must be the same bytes. */
static double
read_silhouette(pe_reader *r, int clusters)
{
	double value = pe_read_double(r);

	if (clusters > 1 ? !(value >= -1.001 && value <= 1.001) : !isnan(value))
		pe_reader_fail(r, "the silhouette is out of range");
	return value;
}

static void
read_cells(pe_reader *r, const pe_model *model, pe_segments *s)
{
	size_t cells = (size_t) s->n_clusters * s->space.n_features;

	read_table(r, s->centres, (size_t) s->n_clusters * s->space.width, -1e16, 1e16, false,
	           "a centre is out of range");
	read_table(r, s->weights, s->n_clusters, 0, 1e300, false, "a cluster's weight is out of range");
	read_table(r, s->rows, s->n_clusters, 0, PE_MAX_ROWS, false, "a cluster's rows are out of range");
	read_table(r, s->profile, cells, -DBL_MAX, DBL_MAX, true, "a profile is not finite");
	read_table(r, s->overall, cells, -DBL_MAX, DBL_MAX, true, "a profile is not finite");
	read_table(r, s->missing, cells, 0, 1, false, "a share is out of range");
	for (size_t i = 0; i < cells; i++)
	{
		const pe_feature *feature = &model->features[i % s->space.n_features];

		s->level[i] = (int32_t) pe_read_int(r, 2);
		if (s->level[i] > (feature->kind == PE_FEATURE_CATEGORICAL ? feature->n_levels + 1 : 0))
			pe_reader_fail(r, "a level is none of its feature");
	}
}

static void
read_segments(pe_reader *r, pe_model *model)
{
	pe_segments *s = pe_read_array(r, 1, sizeof(*s));
	uint32_t clusters;

	model->own = s;
	if (s == NULL)
		return;
	clusters = pe_read_count(r, 16, PE_MAX_CLUSTERS);
	if (clusters == 0)
		pe_reader_fail(r, "it has no clusters");
	if (pe_reader_bad(r))
		return;
	read_axes(r, model, &s->space);
	s->inertia = read_between(r, 0, 1e300, "the inertia is out of range");
	s->explained = read_between(r, -1, 1.001, "a share is out of range");
	s->silhouette = read_silhouette(r, (int) clusters);
	if (s->space.width == 0 || r->left / 8 < (size_t) clusters * s->space.width)
		pe_reader_fail(r, "centres are missing");
	if (pe_reader_bad(r))
		return;
	if (!pe_segments_alloc(r->env, (int) clusters, s) ||
	    !pe_search_alloc(r->env, &s->space, s->n_clusters, &s->search))
	{
		r->no_memory = true;
		return;
	}
	read_cells(r, model, s);
	if (!pe_reader_bad(r))
		pe_search_set(&s->search, &s->space, s->centres, s->n_clusters);
}

static void
release(pe_model *model)
{
	if (model->own != NULL)
		pe_segments_free(&model->env, model->own);
}

static size_t
bytes(const pe_model *model)
{
	const pe_segments *s = model->own;
	size_t lines = s->space.n_numbers;

	for (int i = 0; i < s->space.n_categories; i++)
		lines += s->space.axes[s->space.categories[i]].cells;
	return sizeof(*s) + s->space.n_features * (sizeof(pe_axis) + 2 * sizeof(int)) +
	       (size_t) s->n_clusters * (s->space.width * 8 + s->space.n_features * 28 + 16) +
	       lines * s->search.lanes * sizeof(float);
}

const pe_family pe_segment_family = {
    .explains = false,
    .predict = predict,
    .output_count = output_count,
    .output_name = output_name,
    .outputs = outputs,
    .write = write_segments,
    .read = read_segments,
    .release = release,
    .bytes = bytes,
};
