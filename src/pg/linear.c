/*
 * linear.c
 *		What can be asked of a version of the linear family: its coefficients, and the
 *		elastic net's path.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "pg/models.h"
#include "pg/rows.h"

/* The version that the first two arguments name, which must be of the linear family. */
static const PeModel *
open_linear(FunctionCallInfo fcinfo, const char *what)
{
	const PeModel *model = pe_model_open(text_to_cstring(PG_GETARG_TEXT_PP(0)),
	                                     pe_version_argument(fcinfo, 1), CurrentMemoryContext);

	if (pe_model_coefficient_count(model->core) == 0)
	{
		const char *algorithm = pe_algorithm_name(pe_model_algorithm(model->core));

		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("version %d of model \"%s\" is of algorithm %s, which has no %s",
		                       model->version, model->name, algorithm, what),
		                errhint("See profenrich.feature_importance.")));
	}
	return model;
}

static void
add_number(PeRow *row, double value)
{
	if (isnan(value))
		pe_row_add_null(row);
	else
		pe_row_add(row, Float8GetDatum(value));
}

PG_FUNCTION_INFO_V1(pe_coefficients);

/* coefficients(model, version) -> (feature, level, coefficient, std_error, statistic, p_value, aliased,
 * class) */
Datum
pe_coefficients(PG_FUNCTION_ARGS)
{
	PeRow row;
	const PeModel *model;

	pe_rows_begin(fcinfo, &row);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	model = open_linear(fcinfo, "coefficients");
	for (int i = 0; i < pe_model_coefficient_count(model->core); i++)
	{
		pe_coefficient term = pe_model_get_coefficient(model->core, i);

		/* These texts are the server's own: names of columns, levels and classes as training read them. */
		pe_row_add(&row, CStringGetTextDatum(term.name));
		if (term.level != NULL)
			pe_row_add(&row, CStringGetTextDatum(term.level));
		else
			pe_row_add_null(&row);
		add_number(&row, term.estimate);
		add_number(&row, term.standard_error);
		add_number(&row, term.statistic);
		add_number(&row, term.p_value);
		pe_row_add_bool(&row, term.aliased);
		if (term.class != NULL)
			pe_row_add(&row, CStringGetTextDatum(term.class));
		else
			pe_row_add_null(&row);
		pe_row_put(&row);
	}
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(pe_lambda_path);

/*
 * lambda_path(model, version) -> (step, lambda, nonzero, deviance_explained, cv_mean, cv_error, cv_least,
 * cv_one_error, chosen), no rows without an elastic net
 */
Datum
pe_lambda_path(PG_FUNCTION_ARGS)
{
	PeRow row;
	const PeModel *model;

	pe_rows_begin(fcinfo, &row);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	model = open_linear(fcinfo, "lambda path");
	for (int i = 0; i < pe_model_path_count(model->core); i++)
	{
		pe_path_point point = pe_model_get_path_point(model->core, i);

		pe_row_add(&row, Int32GetDatum(i + 1));
		add_number(&row, point.lambda);
		pe_row_add(&row, Int32GetDatum(point.nonzero));
		add_number(&row, point.deviance_explained);
		add_number(&row, point.cv_mean);
		add_number(&row, point.cv_error);
		pe_row_add_bool(&row, point.least);
		pe_row_add_bool(&row, point.one_error);
		pe_row_add_bool(&row, point.chosen);
		pe_row_put(&row);
	}
	return (Datum) 0;
}
