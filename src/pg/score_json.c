/*
 * score_json.c
 *		The two columns of score() that are JSON: what a model says beside the
 *		prediction, and why it says so.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "pg/score.h"

static void
push_pair(JsonbParseState **state, const char *name, JsonbValue *value)
{
	JsonbValue key = {.type = jbvString};

	key.val.string.val = (char *) name;
	key.val.string.len = (int) strlen(name);
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_VALUE, value);
}

static void
push_text(JsonbParseState **state, const char *name, const char *text)
{
	JsonbValue value = {.type = jbvString};

	value.val.string.val = (char *) text;
	value.val.string.len = (int) strlen(text);
	push_pair(state, name, &value);
}

/* Six decimals: more would make a delivered value change without meaning anything. */
static Datum
six_decimals(double number)
{
	return DirectFunctionCall2(numeric_round, DirectFunctionCall1(float8_numeric, Float8GetDatum(number)),
	                           Int32GetDatum(6));
}

static void
push_contribution(JsonbParseState **state, double contribution)
{
	JsonbValue value = {.type = jbvNumeric};

	value.val.numeric = DatumGetNumeric(six_decimals(contribution));
	push_pair(state, "contribution", &value);
}

/* The feature with the largest contribution not yet taken; -1 when only zeros are left. */
static int
next_reason(const double *contributions, const bool *taken, int n)
{
	int best = -1;

	for (int i = 0; i < n; i++)
	{
		if (!taken[i] && contributions[i] != 0 &&
		    (best < 0 || fabs(contributions[i]) > fabs(contributions[best])))
			best = i;
	}
	return best;
}

Datum
pe_score_reasons(const PeModel *model, int n, const double *values, char **texts, const double *contributions)
{
	bool *taken = palloc0(Max(model->n_features, 1));
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		int feature = next_reason(contributions, taken, model->n_features);
		const char *value;

		if (feature < 0)
			break;
		taken[feature] = true;
		value = pe_feature_is_category(&model->features[feature])
		            ? texts[feature]
		            : pe_feature_display(&model->features[feature], values[feature]);
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		push_text(&state, "feature", model->features[feature].name);
		push_text(&state, "value", value != NULL ? value : "(missing)");
		push_contribution(&state, contributions[feature]);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
}

Datum
pe_score_detail(const PeModel *model, const double *outputs)
{
	int n = pe_model_output_count(model->core);
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
	{
		JsonbValue value = {.type = jbvNull};

		if (isfinite(outputs[i]))
		{
			value.type = jbvNumeric;
			value.val.numeric =
			    DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, six_decimals(outputs[i])));
		}
		push_pair(&state, pe_model_output_name(model->core, i), &value);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}
