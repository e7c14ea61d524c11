/* Engagement: decay, window and cap by formula, against sums made another way; artifact, memory. */
#include "model/engagement/engagement.h"
#include "model/internal.h"
#include "model_data.h"

static tap_memory memory;
static pe_env env;
static pe_error err;
static const pe_feature_spec points_spec = {"points", "points", PE_FEATURE_NUMERIC};

static char *type_names[] = {"open", "click", "purchase"};
static double type_weights[] = {1, 3, 10};
static char *tier_names[] = {"low", "medium", "high"};
static double tier_above[] = {0, 50, 90};

static pe_engagement_rules
standard_rules(void)
{
	pe_engagement_rules rules = {.half_life = 30,
	                             .window = 90,
	                             .daily_cap = 20,
	                             .n_types = 3,
	                             .types = type_names,
	                             .weights = type_weights,
	                             .n_tiers = 3,
	                             .tiers = tier_names,
	                             .tier_above = tier_above,
	                             .columns = {"crm_id", "at", "type", ""}};

	return rules;
}

/* The points of a single event. */
static double
one(const pe_engagement_rules *rules, const char *type, double age, double count)
{
	pe_activity *activity;
	double points = NAN;

	pe_activity_create(&env, rules, 1000, 1 << 20, &activity, &err);
	pe_activity_add(activity, "a", 1, type, type != NULL ? strlen(type) : 0, 1000 - age, count, &err);
	OK(pe_activity_finish(activity, &err) == PE_OK, "added up");
	if (pe_activity_customers(activity) == 1)
		points = pe_activity_customer(activity, 0).points;
	pe_activity_free(activity);
	return points;
}

static void
test_formula(void)
{
	pe_engagement_rules rules = standard_rules();

	IS_NEAR(one(&rules, "open", 0, 1), 1, 0, "now");
	IS_NEAR(one(&rules, "open", 30, 1), 0.5, 0, "a half-life ago");
	IS_NEAR(one(&rules, "open", 60, 1), 0.25, 0, "60 days at a half-life of 30");
	IS_NEAR(one(&rules, "purchase", 15, 1), 10 * sqrt(0.5), 1e-14, "half a half-life, by weight");
	IS_NEAR(one(&rules, "open", 89.999, 1), exp2(-89.999 / 30), 1e-15, "just within the window");
	IS_NEAR(one(&rules, "open", 90, 1), 0, 0, "as old as the window");
	OK(isnan(one(&rules, "open", -0.001, 1)), "still to come");
	IS_NEAR(one(&rules, "unknown", 0, 1), 0, 0, "a type without weight");
	IS_NEAR(one(&rules, NULL, 0, 1), 0, 0, "no type");
	IS_NEAR(one(&rules, "open", 0, 20), 20, 0, "20 a day");
	IS_NEAR(one(&rules, "open", 0, 21), 20, 1e-13, "and no more");
	rules.other_weight = 0.5;
	IS_NEAR(one(&rules, "unknown", 30, 1), 0.25, 0, "another type by the other weight");
	rules.window = 0;
	IS_NEAR(one(&rules, "open", 300, 1), exp2(-10), 1e-15, "without a window");
	rules.daily_cap = 0;
	IS_NEAR(one(&rules, "open", 0, 2100), 2100, 0, "without a cap");
}

#define CUSTOMERS 50
#define DAYS      120
#define TYPES     4

/* Random events in two orders, against a table of all days. */
static void
test_sums(double cap)
{
	static double worth[CUSTOMERS][DAYS][TYPES], counts[CUSTOMERS][DAYS][TYPES];
	static const char *const types[] = {"open", "click", "purchase", "other"};
	pe_engagement_rules rules = standard_rules();
	pe_activity *ways[2];
	struct
	{
		int customer, type;
		double at;
	} events[6000];
	uint64_t state = 11;
	double most = 0, apart = 0;

	memset(worth, 0, sizeof(worth));
	memset(counts, 0, sizeof(counts));
	rules.daily_cap = cap;
	rules.other_weight = 0.25;
	for (int way = 0; way < 2; way++)
		pe_activity_create(&env, &rules, DAYS, 64 << 20, &ways[way], &err);
	for (int i = 0; i < 6000; i++)
	{
		events[i].customer = (int) (data_uniform(&state) * data_uniform(&state) * CUSTOMERS);
		events[i].type = (int) (data_uniform(&state) * TYPES);
		events[i].at = data_uniform(&state) * DAYS;
		counts[events[i].customer][(int) events[i].at][events[i].type] += DAYS - events[i].at < 90;
		worth[events[i].customer][(int) events[i].at][events[i].type] +=
		    DAYS - events[i].at < 90 ? pow(0.5, (DAYS - events[i].at) / 30) : 0;
	}
	for (int i = 0; i < 12000; i++)
	{
		int way = i / 6000, from = way == 0 ? i : 11999 - i;
		char key[16];

		snprintf(key, sizeof(key), "customer %d", events[from].customer);
		pe_activity_add(ways[way], key, strlen(key), types[events[from].type],
		                strlen(types[events[from].type]), events[from].at, 1, &err);
	}
	for (int way = 0; way < 2; way++)
		OK(pe_activity_finish(ways[way], &err) == PE_OK, "added up");
	for (uint32_t i = 0; i < pe_activity_customers(ways[0]); i++)
	{
		pe_customer_activity c = pe_activity_customer(ways[0], i);
		int number = atoi(strstr(c.key, " "));
		double points = 0;

		for (int day = 0; day < DAYS; day++)
			for (int type = 0; type < TYPES; type++)
				points += (type < 3 ? type_weights[type] : 0.25) * worth[number][day][type] *
				          (cap > 0 && counts[number][day][type] > cap ? cap / counts[number][day][type] : 1);
		most = fmax(most, fabs(points - c.points));
		for (uint32_t k = 0; k < pe_activity_customers(ways[1]); k++)
		{
			pe_customer_activity other = pe_activity_customer(ways[1], k);

			if (other.key_length == c.key_length && memcmp(other.key, c.key, c.key_length) == 0)
				apart = fmax(apart, fabs(other.points - c.points) + (other.last != c.last) +
				                        (other.events != c.events));
		}
	}
	IS_INT(pe_activity_customers(ways[0]), pe_activity_customers(ways[1]), "cap %g: everybody is there", cap);
	IS_NEAR(most, 0, 1e-11, "as a table of all days has it");
	IS_NEAR(apart, 0, 1e-11, "in any order");
	pe_activity_free(ways[0]);
	pe_activity_free(ways[1]);
}

static pe_activity *
many(const pe_engagement_rules *rules, int customers, size_t most, pe_status *status)
{
	pe_activity *activity = NULL;

	*status = pe_activity_create(&env, rules, 1000, most, &activity, &err);
	for (int i = 0; i < customers && *status == PE_OK; i++)
		*status = pe_activity_add(activity, (char *) &i, sizeof(i), "open", 4, 1000 - i % 100, 1, &err);
	return activity;
}

static void
test_model(void)
{
	pe_engagement_rules rules = standard_rules();
	pe_status status;
	pe_activity *activity = many(&rules, 2000, 64 << 20, &status);
	pe_model *model, *again;
	uint8_t *bytes, *twice;
	size_t length, length_twice;
	double nothing = NAN, half = 0.5, tier;

	OK(pe_activity_finish(activity, &err) == PE_OK, "added up");
	IS_INT(pe_engagement_train(&env, activity, &points_spec, &model, &err), PE_OK, "trained");
	pe_activity_free(activity);
	IS_NEAR(pe_model_base_rate(model), 0.9, 1e-12, "a tenth is out of the window");
	IS_INT(pe_model_score(model, 0).score, 0, "no points: score 0");
	IS_INT(pe_model_score(model, 2).percentile, 100, "more than anybody: percentile 100");
	IS_INT(pe_model_tier(model, 0), 0, "lowest tier");
	IS_INT(pe_model_tier(model, 0.99), 2, "highest tier");
	IS_NEAR(pe_model_predict(model, &nothing), 0, 0, "missing points are 0");
	pe_model_outputs(model, &half, &tier);
	IS_NEAR(tier, pe_model_tier(model, 0.5) + 1, 0, "the output is the tier's number");
	IS_STR(pe_model_engagement(model)->columns[1], "at", "the columns are kept");
	pe_model_serialize(&env, model, &bytes, &length, &err);
	IS_INT(pe_model_deserialize(&env, bytes, length, &again, &err), PE_OK, "%zu bytes are read", length);
	pe_model_serialize(&env, again, &twice, &length_twice, &err);
	OK(length == length_twice && memcmp(bytes, twice, length) == 0, "and written the same");
	IS_STR(pe_model_engagement(again)->types[2], "purchase", "with the rules");
	pe_model_free(again);
	status = PE_OUT_OF_MEMORY;
	for (long fail_at = 1; status == PE_OUT_OF_MEMORY; fail_at++)
	{
		memory.calls = 0;
		memory.fail_at = fail_at;
		status = pe_model_deserialize(&env, bytes, length, &again, &err);
	}
	memory.fail_at = 0;
	IS_INT(status, PE_OK, "reading survives each failing allocation");
	pe_model_free(again);
	for (size_t at = 24; at < length; at++)
	{
		uint8_t was = bytes[at];
		uint32_t crc;

		bytes[at] ^= (uint8_t) (1 << at % 8);
		crc = pe_crc32c(bytes + 24, length - 24);
		for (int i = 0; i < 4; i++)
			bytes[20 + i] = (uint8_t) (crc >> (8 * i));
		if (pe_model_deserialize(&env, bytes, length, &again, &err) == PE_OK)
		{
			pe_model_outputs(again, &half, &tier);
			pe_model_free(again);
		}
		bytes[at] = was;
	}
	pe_free(&env, bytes);
	pe_free(&env, twice);
	pe_model_free(model);
}

static void
test_limits(void)
{
	pe_engagement_rules rules = standard_rules();
	pe_status status;
	pe_activity *activity = many(&rules, 100000, 1 << 20, &status);
	pe_model *model;
	long fail_at = 0;
	bool leak = false;

	OK(status == PE_LIMIT && pe_activity_bytes(activity) <= 1 << 20, "%s", err.message);
	pe_activity_free(activity);
	activity = many(&rules, 0, 1 << 20, &status);
	OK(pe_activity_finish(activity, &err) == PE_OK, "added up");
	IS_INT(pe_engagement_train(&env, activity, &points_spec, &model, &err), PE_INVALID_DATA, "%s",
	       err.message);
	pe_activity_free(activity);
	for (status = PE_OUT_OF_MEMORY; status == PE_OUT_OF_MEMORY;)
	{
		long live = memory.live;

		memory.calls = 0;
		memory.fail_at = ++fail_at;
		activity = many(&rules, 3000, 64 << 20, &status);
		if (status == PE_OK)
		{
			OK(pe_activity_finish(activity, &err) == PE_OK, "added up");
			status = pe_engagement_train(&env, activity, &points_spec, &model, &err);
		}
		memory.fail_at = 0;
		pe_activity_free(activity);
		leak = leak || (status != PE_OK && memory.live != live);
	}
	OK(status == PE_OK && fail_at > 20 && !leak, "survives each of %ld failing allocations", fail_at);
	pe_model_free(model);
}

int
main(void)
{
	env = tap_env(&memory);
	test_formula();
	test_sums(20);
	test_sums(2);
	test_sums(0);
	test_model();
	test_limits();
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
