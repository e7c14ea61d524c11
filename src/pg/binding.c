/*
 * binding.c
 *		Which columns of a row feed which inputs of a model.
 */
#include "postgres.h"

#include <float.h>

#include "utils/builtins.h"

#include "pg/json_feature.h"
#include "pg/models.h"

static int
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
			return i;
	}
	return -1;
}

static int
need_column(const PeModel *model, TupleDesc desc, const char *name, const char *what)
{
	int column = find_column(desc, name);

	if (column < 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
		                errmsg("%s has no column \"%s\", which version %d of model \"%s\" was trained on",
		                       what, name, model->version, model->name),
		                errhint("Give a row with the columns that the model knows: SELECT column_name FROM "
		                        "profenrich.feature_importance(%s, %d).",
		                        quote_literal_cstr(model->name), model->version)));
	return column;
}

static void
bind_input(const PeModel *model, TupleDesc desc, int column, PeTreatment treatment, const char *what,
           PeInput *input)
{
	Oid type = TupleDescAttr(desc, column)->atttypid;

	if (!pe_input_init(input, type, treatment))
		ereport(ERROR,
		        (errcode(ERRCODE_DATATYPE_MISMATCH),
		         errmsg("column \"%s\" of %s is %s, which cannot be a %s as version %d of model \"%s\" needs",
		                NameStr(TupleDescAttr(desc, column)->attname), what, format_type_be(type),
		                treatment == PE_TREAT_AGE                                    ? "date or time"
		                : treatment == PE_TREAT_LIST || treatment == PE_TREAT_LENGTH ? "list"
		                : pe_treatment_of_part(treatment)                            ? "jsonb object"
		                                                  : pe_treatment_name(treatment),
		                model->version, model->name),
		         errhint("Cast the column, or train a new version on the rows as they are now.")));
}

static int32
code_of_level(void *arg, int feature, const char *text, size_t length)
{
	return pe_model_level(((const PeModel *) arg)->core, feature, text, length);
}

static void
make_reader(PeBinding *binding)
{
	const PeModel *model = binding->model;

	binding->reader =
	    pe_row_reader_create(model->n_features, model->features, binding->inputs, binding->column,
	                         binding->snapshot, &binding->snapshot_input, code_of_level, (void *) model);
}

PeBinding *
pe_bind(const PeModel *model, TupleDesc desc, const char *what)
{
	PeBinding *binding = palloc0(sizeof(PeBinding));

	binding->model = model;
	binding->column = palloc(sizeof(int) * Max(model->n_features, 1));
	binding->inputs = palloc0(sizeof(PeInput) * Max(model->n_features, 1));
	binding->snapshot = -1;
	for (int i = 0; i < model->n_features; i++)
	{
		const PeFeature *feature = &model->features[i];

		binding->column[i] = need_column(model, desc, feature->column, what);
		bind_input(model, desc, binding->column[i], feature->treatment, what, &binding->inputs[i]);
	}
	if (model->uses_snapshot)
	{
		binding->snapshot = need_column(model, desc, PE_SNAPSHOT_COLUMN, what);
		bind_input(model, desc, binding->snapshot, PE_TREAT_AGE, what, &binding->snapshot_input);
	}
	make_reader(binding);
	return binding;
}

/* The slot of a source column, added to those to read if it is not there yet. */
static int
slot_of(int column, int first, int *columns, int *n_columns)
{
	for (int i = first; i < *n_columns; i++)
	{
		if (columns[i] == column)
			return i;
	}
	columns[*n_columns] = column;
	return (*n_columns)++;
}

PeBinding *
pe_bind_source(const PeModel *model, const PeSource *source, const int *extra, int n_extra, int **columns,
               int *n_columns)
{
	PeBinding *binding = pe_bind(model, source->desc, source->name);

	*columns = palloc(sizeof(int) * (n_extra + model->n_features + 1));
	*n_columns = n_extra;
	for (int i = 0; i < n_extra; i++)
		(*columns)[i] = extra[i];
	for (int i = 0; i < model->n_features; i++)
	{
		(void) pe_source_column(source, model->features[i].column); /* raises when two have the name */
		binding->column[i] = slot_of(binding->column[i], n_extra, *columns, n_columns);
	}
	if (binding->snapshot >= 0)
		binding->snapshot = slot_of(binding->snapshot, n_extra, *columns, n_columns);
	make_reader(binding); /* the columns are others now */
	return binding;
}

/* The row's text of a category: the model's own where it knows it. */
static char *
text_of_level(const PeBinding *binding, int feature, Datum value, double code)
{
	const char *text = pe_model_level_text(binding->model->core, feature, (int32) code);
	size_t length;

	if (text != NULL)
		return (char *) text;
	text = pe_feature_level(&binding->model->features[feature], &binding->inputs[feature], value, &length);
	return text != NULL ? pnstrdup(text, length) : NULL;
}

void
pe_bind_values(const PeBinding *binding, const Datum *values, const bool *nulls, double *out, char **texts)
{
	const PeModel *model = binding->model;

	pe_row_read(binding->reader, values, nulls, out);
	/*
	 * Within what a float holds, as trees are trained: an infinite input would make the
	 * margin of a linear model infinite, or none at all, and its contribution no JSON
	 * number. NaN stays.
	 */
	for (int i = 0; i < model->n_features; i++)
	{
		out[i] = out[i] > FLT_MAX ? FLT_MAX : out[i];
		out[i] = out[i] < -FLT_MAX ? -FLT_MAX : out[i];
	}
	for (int i = 0; texts != NULL && i < model->n_features; i++)
	{
		int column = binding->column[i];

		texts[i] = NULL;
		if (pe_feature_is_category(&model->features[i]) && !nulls[column])
			texts[i] = text_of_level(binding, i, values[column], out[i]);
	}
}
