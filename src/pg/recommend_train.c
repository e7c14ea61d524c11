/*
 * recommend_train.c
 *		train() for the task recommendation: rows of who took what become a stored
 *		version, judged by what its users took last.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "model/recommend/recommend.h"
#include "pg/evaluation.h"
#include "pg/guc.h"
#include "pg/json_options.h"
#include "pg/models.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/train.h"

#define OUR_OPTIONS    "user, item, time, weight, consent, deploy"
#define ROWS_PER_CHECK 1024

/* The columns that are read, in this order; -1 in slots for one that is not named. */
typedef enum Role
{
	ROLE_USER,
	ROLE_ITEM,
	ROLE_TIME,
	ROLE_WEIGHT,
	ROLES
} Role;

static const char *const role_names[ROLES] = {"user", "item", "time", "weight"};

typedef struct Training
{
	PeTrainRequest *request;
	pe_recommend_options options;
	bool deploy;
	const char *names[ROLES]; /* NULL: not given */
	int slots[ROLES];
	PeInput inputs[ROLES];
	int columns[ROLES]; /* [n_columns]: indexes in the source */
	int n_columns;
	pe_interactions *interactions;
	uint64 rows;
	uint64 skipped;   /* a NULL user, item, time or weight */
	uint64 worthless; /* weights of 0 or less */
	uint64 fit;       /* rows that fitted when memory was last looked at */
	size_t memory;
} Training;

/* ---- options --------------------------------------------------------------------------- */

static void
set_option(void *arg, const char *name, const JsonbValue *value)
{
	Training *training = arg;
	char *text = pe_scalar_text(value);
	pe_error error;

	if (text == NULL)
		pe_raise_bad_option(name, "a single value");
	for (int role = 0; role < ROLES; role++)
	{
		if (strcmp(role_names[role], name) != 0)
			continue;
		if (value->type != jbvString || text[0] == '\0')
			pe_raise_bad_option(name, "a text, the name of a column");
		training->names[role] = text;
		return;
	}
	if (strcmp(name, "deploy") == 0)
	{
		if (value->type != jbvBool)
			ereport(ERROR,
			        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid value for option \"deploy\""),
			         errhint("It must be true or false.")));
		training->deploy = value->val.boolean;
		return;
	}
	if (!pe_recommend_options_known(training->options.method, name))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("unknown option \"%s\" for algorithm %s", name,
		                       pe_recommend_method_name(training->options.method)),
		                errhint("Valid options are " OUR_OPTIONS ", %s.",
		                        pe_recommend_options_names(training->options.method))));
	pe_check(pe_recommend_options_set(&training->options, name, text, &error), &error);
}

static void
read_options(Training *training, Jsonb *json)
{
	if (json == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a jsonb object"),
		                errhint("For example '{\"user\": \"crm_id\", \"item\": \"sku\"}'.")));
	pe_each_option(&json->root, set_option, training);
}

/* ---- columns --------------------------------------------------------------------------- */

static void
pg_attribute_noreturn() raise_wrong_type(const char *column, Oid type, const char *role, const char *expected)
{
	ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
	                errmsg("column \"%s\" of type %s cannot be the %s", column, format_type_be(type), role),
	                errhint("It must be %s.", expected)));
}

static void
find_column(Training *training, Role role)
{
	const PeSource *source = training->request->source;
	const char *name = training->names[role];
	PeInput *input = &training->inputs[role];
	int column;
	Oid type;

	training->slots[role] = -1;
	if (name == NULL)
		return;
	column = pe_source_need_column(source, name, role_names[role]);
	type = TupleDescAttr(source->desc, column)->atttypid;
	training->slots[role] = training->n_columns;
	training->columns[training->n_columns++] = column;
	if (role == ROLE_USER || role == ROLE_ITEM)
	{
		if (!pe_input_init(input, type, PE_TREAT_CATEGORY))
			raise_wrong_type(name, type, role_names[role], "a text, a number or a uuid");
	}
	else if (role == ROLE_WEIGHT)
	{
		if (!pe_input_init(input, type, PE_TREAT_NUMBER))
			raise_wrong_type(name, type, role_names[role], "a number");
	}
	else if (!pe_input_init(input, type, PE_TREAT_AGE) && !pe_input_init(input, type, PE_TREAT_NUMBER))
		raise_wrong_type(name, type, role_names[role], "a date, a time or a number of days");
}

static void
find_columns(Training *training)
{
	const char *target = training->request->target;

	if (training->names[ROLE_ITEM] == NULL)
		training->names[ROLE_ITEM] = target;
	else if (target != NULL && strcmp(target, training->names[ROLE_ITEM]) != 0)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("target is \"%s\" and option \"item\" is \"%s\"", target, training->names[ROLE_ITEM]),
		         errhint("The target of a recommendation is the item: name one of them.")));
	for (int role = ROLE_USER; role <= ROLE_ITEM; role++)
	{
		if (training->names[role] == NULL)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("option \"%s\" is required", role_names[role]),
			                errhint("Name the columns that say who took what: "
			                        "'{\"user\": \"crm_id\", \"item\": \"sku\"}'.")));
	}
	if (training->options.half_life > 0 && training->names[ROLE_TIME] == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("option \"half_life\" needs to know when each row was"),
		                errhint("Name the column in option \"time\".")));
	for (int role = 0; role < ROLES; role++)
		find_column(training, (Role) role);
}

/* ---- reading --------------------------------------------------------------------------- */

static void
check_memory(Training *training)
{
	training->memory = pe_recommend_memory(training->interactions, &training->options);
	if (training->memory > (size_t) pe_training_memory_limit * 1024 * 1024)
		ereport(ERROR,
		        (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		         errmsg("training on %s needs more memory than profenrich.training_memory allows (%d MB)",
		                training->request->source->name, pe_training_memory_limit),
		         errdetail("%llu rows fit; there are more.", (unsigned long long) training->fit),
		         errhint("Raise profenrich.training_memory, train on later rows only, or keep fewer factors "
		                 "or neighbours.")));
	training->fit = pe_interactions_rows(training->interactions);
}

/* The number in a column, or what stands for it without one; false when it is NULL or not finite. */
static bool
number_of(const Training *training, const TupleTableSlot *slot, Role role, double without, double *number)
{
	int column = training->slots[role];

	*number = without;
	if (column < 0)
		return true;
	if (slot->tts_isnull[column])
		return false;
	*number = pe_input_number(&training->inputs[role], slot->tts_values[column]);
	return isfinite(*number);
}

static bool
read_row(void *arg, TupleTableSlot *slot)
{
	Training *training = (Training *) arg;
	int user_slot = training->slots[ROLE_USER], item_slot = training->slots[ROLE_ITEM];
	size_t user_length, item_length;
	const char *user, *item;
	double time, weight;
	pe_error error;

	training->rows++;
	if (training->rows % ROWS_PER_CHECK == 0)
	{
		pe_progress_publish("read", training->rows, 0);
		check_memory(training);
	}
	if (slot->tts_isnull[user_slot] || slot->tts_isnull[item_slot] ||
	    !number_of(training, slot, ROLE_TIME, 0, &time) ||
	    !number_of(training, slot, ROLE_WEIGHT, 1, &weight))
	{
		training->skipped++;
		return true;
	}
	if (!(weight > 0))
	{
		training->worthless++;
		return true;
	}
	user = pe_input_text(&training->inputs[ROLE_USER], slot->tts_values[user_slot], &user_length);
	item = pe_input_text(&training->inputs[ROLE_ITEM], slot->tts_values[item_slot], &item_length);
	pe_check(pe_interactions_add(training->interactions, user, user_length, item, item_length, time, weight,
	                             &error),
	         &error);
	return true;
}

static void
read_rows(Training *training)
{
	const PeTrainRequest *request = training->request;
	pe_error error;

	pe_check(pe_interactions_create(&request->env, training->slots[ROLE_TIME] >= 0,
	                                training->slots[ROLE_WEIGHT] >= 0, &training->interactions, &error),
	         &error);
	pe_source_read(request->source, training->columns, training->n_columns, PE_SOURCE_ORDERED, read_row,
	               training);
	if (training->rows == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("%s has no rows to train on", request->source->name)));
	if (training->skipped > 0)
		ereport(NOTICE,
		        (errmsg("skipped %llu of %llu rows, in which the user, the item, the time or the weight "
		                "is NULL or no finite number",
		                (unsigned long long) training->skipped, (unsigned long long) training->rows)));
	if (training->worthless > 0)
		ereport(NOTICE, (errmsg("skipped %llu of %llu rows, whose weight \"%s\" is 0 or less",
		                        (unsigned long long) training->worthless, (unsigned long long) training->rows,
		                        training->names[ROLE_WEIGHT])));
	if (pe_interactions_rows(training->interactions) == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_DATA_EXCEPTION),
		         errmsg("%s has no row with a user, an item and a weight above 0", request->source->name)));
	check_memory(training);
	ereport(DEBUG1, (errmsg("training model \"%s\" on %llu rows takes at most %zu MB", request->model,
	                        (unsigned long long) training->fit, training->memory / (1024 * 1024) + 1)));
}

/* ---- the evaluation as it is stored ---------------------------------------------------- */

typedef struct Figure
{
	const char *name;
	size_t offset;
	const char *meaning;
} Figure;

#define AT(field) offsetof(pe_recommend_figures, field)

static const Figure figures[] = {
    {"recall_at_10", AT(recall),
     "share of a user's last items (of 10 at most) among the first 10 recommended"},
    {"ndcg_at_10", AT(ndcg), "the same, a hit on an earlier rank counting more: 1 is perfect"},
    {"precision_at_10", AT(precision), "share of the first 10 recommended that were among the last items"},
    {"map_at_10", AT(map), "mean of the precisions at the hits: 1 is perfect"},
    {"coverage", AT(coverage), "share of all items that were recommended to anybody"},
    {"novelty", AT(novelty), "mean surprise in bits of a recommended item: higher is less popular"},
};

static double
figure_of(const pe_recommend_figures *of, const Figure *figure)
{
	return *(const double *) ((const char *) of + figure->offset);
}

static void
json_number(StringInfo json, const char *name, double value)
{
	appendStringInfo(json, "%s\"%s\": ", json->data[json->len - 1] == '{' ? "" : ", ", name);
	pe_json_number(json, value);
}

static void
json_text(StringInfo json, const char *name, const char *text)
{
	appendStringInfo(json, "%s\"%s\": ", json->data[json->len - 1] == '{' ? "" : ", ", name);
	escape_json(json, text);
}

static void
json_row(StringInfo json, const char *metric, double value, const char *meaning)
{
	appendStringInfoString(json, json->data[json->len - 1] == '[' ? "{" : ", {");
	json_text(json, "metric", metric);
	json_number(json, "value", value);
	json_text(json, "meaning", meaning);
	appendStringInfoChar(json, '}');
}

static void
json_figures(StringInfo json, const pe_recommend_figures *of, const char *prefix)
{
	for (int i = 0; i < lengthof(figures); i++)
		json_number(json, psprintf("%s%s", prefix, figures[i].name), figure_of(of, &figures[i]));
}

static char *
metrics_json(const pe_recommend_evaluation *evaluation)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	if (evaluation->evaluated)
	{
		json_figures(&json, &evaluation->model, "");
		json_figures(&json, &evaluation->popularity, "popularity_");
	}
	json_number(&json, "scored_users", (double) evaluation->scored_users);
	json_number(&json, "users", (double) evaluation->users);
	json_number(&json, "items", (double) evaluation->items);
	json_number(&json, "pairs", (double) evaluation->pairs);
	if (!isnan(evaluation->objective))
		json_number(&json, "objective", evaluation->objective);
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* How a setting was, by name, what does not apply to its algorithm as null. */
static void
json_settings(StringInfo json, pe_recommend_method method, double regularization, int neighbours)
{
	json_text(json, "algorithm", pe_recommend_method_name(method));
	json_number(json, "regularization", method == PE_RECOMMEND_ALS ? regularization : NAN);
	if (method == PE_RECOMMEND_ITEM_ITEM)
		json_text(json, "neighbours", neighbours > 0 ? psprintf("%d", neighbours) : "all");
}

static void
json_rows(StringInfo json, const pe_recommend_evaluation *evaluation)
{
	json_row(json, "verdict", NAN, evaluation->sentence);
	for (int i = 0; i < lengthof(figures) && evaluation->evaluated; i++)
	{
		json_row(json, figures[i].name, figure_of(&evaluation->model, &figures[i]), figures[i].meaning);
		json_row(json, psprintf("popularity_%s", figures[i].name),
		         figure_of(&evaluation->popularity, &figures[i]), "the same of the most popular items");
	}
	if (evaluation->evaluated)
	{
		json_row(json, "scored_users", (double) evaluation->scored_users,
		         "users whose last items were held out");
		if (evaluation->choice_users > 0)
			json_row(json, "choice_users", (double) evaluation->choice_users,
			         "other users, by whose last items the settings were chosen");
		json_row(json, "train_pairs", (double) evaluation->train_pairs,
		         "users and items that the evaluated version learnt from");
		json_row(json, "train_items", (double) evaluation->train_items, "items among them");
		json_row(json, "test_pairs", (double) evaluation->test_pairs, "users and items held out");
	}
	json_row(json, "users", (double) evaluation->users,
	         "users; the stored version has learnt from all they took");
	json_row(json, "items", (double) evaluation->items, "items");
	json_row(json, "pairs", (double) evaluation->pairs, "distinct users and items");
	if (!isnan(evaluation->objective))
		json_row(json, "objective", evaluation->objective, "what ALS minimises, after its last sweep");
}

static char *
evaluation_json(const pe_recommend_evaluation *evaluation, const pe_recommender *recommender)
{
	pe_recommender_settings settings = pe_recommender_get_settings(recommender);
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"rows\": [");
	json_rows(&json, evaluation);
	appendStringInfoString(&json, "], \"settings\": {");
	json_settings(&json, settings.method, settings.regularization, settings.neighbours);
	appendStringInfoString(&json, "}, \"candidates\": [");
	for (int i = 0; i < evaluation->n_candidates; i++)
	{
		const pe_recommend_candidate *candidate = &evaluation->candidates[i];

		appendStringInfoString(&json, i > 0 ? ", {" : "{");
		json_number(&json, "candidate", i + 1);
		json_settings(&json, candidate->method, candidate->regularization, candidate->neighbours);
		appendStringInfo(&json, ", \"chosen\": %s", candidate->chosen ? "true" : "false");
		json_figures(&json, &candidate->figures, "");
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoString(&json, "], \"deciles\": [], \"roc\": [], \"calibration\": []}");
	return json.data;
}

/* ---- training -------------------------------------------------------------------------- */

static const char *
objective_of(const pe_recommender_settings *settings)
{
	if (settings->method == PE_RECOMMEND_ITEM_ITEM)
		return pe_similarity_name(settings->similarity);
	return settings->method == PE_RECOMMEND_ALS ? "weighted_squares" : "count";
}

static int
store(const Training *training, const pe_recommender *recommender, const pe_recommend_evaluation *evaluation)
{
	PeTrainRequest *request = training->request;
	pe_recommender_settings settings = pe_recommender_get_settings(recommender);
	uint8_t *artifact;
	size_t length;
	pe_error error;
	char *checksum;
	PeNewVersion version = {
	    .model = request->model,
	    .task = request->task,
	    .algorithm = (pe_algorithm) settings.method,
	    .objective = objective_of(&settings),
	    .target = training->names[ROLE_ITEM],
	    .key = training->names[ROLE_USER],
	    .source = request->source->text,
	    .consent = request->consent,
	    .without_consent = request->without_consent,
	    .rows = evaluation->rows,
	    .positives = -1,
	    .options_json = request->options != NULL
	                        ? JsonbToCString(NULL, &request->options->root, VARSIZE(request->options))
	                        : "{}",
	    .features_json = "[]",
	    .metrics_json = metrics_json(evaluation),
	    .evaluation_json = evaluation_json(evaluation, recommender),
	    .verdict = evaluation->sentence,
	    .quality = pe_recommend_quality_name(evaluation->quality),
	    .memory = (int64) training->memory,
	    .deploy = training->deploy,
	};

	pe_enter_phase(&request->timing, "store");
	pe_progress_publish("store", 0, 0);
	pe_check(pe_recommender_serialize(&request->env, recommender, &artifact, &length, &error), &error);
	version.artifact = artifact;
	version.artifact_length = length;
	version.seconds_json = pe_seconds_json(&request->timing);
	return pe_model_store(&version, &checksum);
}

PeTrained
pe_train_recommend(PeTrainRequest *request)
{
	Training *training = palloc0(sizeof(Training));
	pe_recommend_evaluation *evaluation = palloc0(sizeof(pe_recommend_evaluation));
	pe_recommender *recommender;
	PeTrained trained = {.headline = NAN};
	pe_error error;

	training->request = request;
	training->deploy = true;
	pe_recommend_options_init(&training->options, (pe_recommend_method) pe_train_algorithm(
	                                                  request, (pe_algorithm) PE_RECOMMEND_AUTO));
	training->options.threads = pe_threads;
	read_options(training, request->options);
	/* One session does not take more threads than the setting allows. */
	training->options.threads = Min(training->options.threads, pe_threads);
	find_columns(training);
	read_rows(training);
	pe_enter_phase(&request->timing, "prepare");
	pe_check(pe_recommend_train(&request->env, training->interactions, &training->options, &recommender,
	                            evaluation, &error),
	         &error);
	trained.version = store(training, recommender, evaluation);
	trained.algorithm = (pe_algorithm) pe_recommender_get_settings(recommender).method;
	trained.rows = evaluation->rows;
	if (evaluation->evaluated)
	{
		trained.metric = figures[0].name;
		trained.headline = evaluation->model.recall;
	}
	trained.quality = pe_recommend_quality_name(evaluation->quality);
	return trained;
}
