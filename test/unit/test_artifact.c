/* Models as bytes: there and back, cut off anywhere, damaged anywhere, without memory. */
#include "model/internal.h"
#include "model_data.h"

static pe_env env;
static tap_memory memory;
static pe_error err;

/* Put a right checksum on damaged bytes, so that damage gets past it. */
static void
seal(uint8_t *bytes, size_t length)
{
	uint32_t crc = pe_crc32c(bytes + 24, length - 24);
	uint64_t body = length - 24;

	for (int i = 0; i < 8; i++)
		bytes[12 + i] = (uint8_t) (body >> (8 * i));
	for (int i = 0; i < 4; i++)
		bytes[20 + i] = (uint8_t) (crc >> (8 * i));
}

/* Everything that a caller may ask of a model. */
static double
use(const pe_model *model)
{
	int n = pe_model_feature_count(model);
	double *values = malloc(n * sizeof(double)), *contributions = malloc(n * sizeof(double)), base, sum = 0;
	void *scratch = malloc(pe_model_explain_scratch(model) + 1);

	for (int round = 0; round < 4; round++)
	{
		for (int i = 0; i < n; i++)
			values[i] = round == 0 ? NAN : round == 1 ? -1 : round == 2 ? 300 : 1e300;
		sum += pe_model_predict(model, values);
		pe_model_explain(model, values, scratch, contributions, &base);
		sum += pe_model_score(model, 0.3).score;
	}
	for (int i = -1; i <= n; i++)
	{
		pe_model_feature feature = pe_model_get_feature(model, i);

		sum += feature.name != NULL ? strlen(feature.name) : 0;
		sum += pe_model_level(model, i, "gold", 4);
		(void) pe_model_level_text(model, i, 1);
	}
	for (int i = 0; i < pe_model_coefficient_count(model); i++)
		sum += pe_model_get_coefficient(model, i).level != NULL;
	sum += pe_model_bytes(model);
	free(values);
	free(contributions);
	free(scratch);
	return sum;
}

static void
check(pe_algorithm algorithm, pe_task task, const char *first, const char *second)
{
	pe_evaluation e;
	pe_model *model, *again;
	uint8_t *bytes, *twice, *damaged;
	size_t length, length_twice;
	int refused = 0, accepted = 0, wrong = 0;
	double values[DATA_FEATURES];
	uint64_t state = 21;
	pe_status status = PE_OUT_OF_MEMORY;
	long fail_at;

	data_train(&env, algorithm, task, 800, false, SETTINGS(first, second), &model, &e, &err);
	if (!OK(model != NULL, "%s %s", pe_algorithm_name(algorithm), pe_task_name(task)))
		return;
	pe_model_serialize(&env, model, &bytes, &length, &err);
	IS_INT(pe_model_deserialize(&env, bytes, length, &again, &err), PE_OK, "%zu bytes are read", length);
	pe_model_serialize(&env, again, &twice, &length_twice, &err);
	OK(length == length_twice && memcmp(bytes, twice, length) == 0, "and written the same");
	for (int i = 0; i < 200; i++)
	{
		data_row(model, &state, values);
		wrong += pe_model_predict(model, values) != pe_model_predict(again, values);
	}
	IS_INT(wrong, 0, "predictions are the same to the bit");
	pe_model_free(again);
	for (size_t cut = 0; cut < length; cut++)
		refused += pe_model_deserialize(&env, bytes, cut, &again, &err) == PE_CORRUPT;
	IS_INT(refused, length, "cut off anywhere it is refused");
	damaged = malloc(length);
	refused = 0;
	for (size_t cut = 24; cut < length; cut++)
	{
		uint8_t *copy = malloc(cut);

		memcpy(copy, bytes, cut);
		seal(copy, cut);
		refused += pe_model_deserialize(&env, copy, cut, &again, &err) == PE_CORRUPT;
		free(copy);
	}
	IS_INT(refused, length - 24, "also with a right checksum");
	refused = 0;
	for (size_t at = 0; at < length; at++)
	{
		memcpy(damaged, bytes, length);
		damaged[at] ^= (uint8_t) (1 << (at % 8));
		refused += pe_model_deserialize(&env, damaged, length, &again, &err) != PE_OK;
		for (int change = 0; change < 2; change++)
		{
			memcpy(damaged, bytes, length);
			damaged[at] = change == 0 ? 0xff : (uint8_t) (damaged[at] + 1);
			seal(damaged, length);
			if (pe_model_deserialize(&env, damaged, length, &again, &err) == PE_OK)
			{
				accepted++;
				(void) use(again);
				pe_model_free(again);
			}
		}
	}
	IS_INT(refused, length, "each flipped bit is found");
	OK(accepted > 0, "and what gets past the checksum can be used (%d)", accepted);
	for (fail_at = 1; status == PE_OUT_OF_MEMORY; fail_at++)
	{
		long before = memory.live;

		memory.calls = 0;
		memory.fail_at = fail_at;
		status = pe_model_deserialize(&env, bytes, length, &again, &err);
		memory.fail_at = 0;
		if (status == PE_OUT_OF_MEMORY && memory.live != before)
			break;
	}
	OK(status == PE_OK && fail_at > 10, "reading survives each of %ld failing allocations", fail_at - 1);
	pe_model_free(again);
	free(damaged);
	pe_free(&env, bytes);
	pe_free(&env, twice);
	pe_model_free(model);
}

int
main(void)
{
	uint8_t later[24] = "PEMODEL\n\377";
	pe_model *model;

	env = tap_env(&memory);
	check(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, "trees=2", "calibrate=isotonic");
	check(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_VALUE, "trees=1", "max_leaves=9");
	check(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, "calibrate=platt", "l2=0.1");
	check(PE_ALGORITHM_LINEAR, PE_TASK_VALUE, "seed=4", "threads=2");
	IS_INT(pe_model_deserialize(&env, later, sizeof(later), &model, &err), PE_UNSUPPORTED, "%s", err.message);
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
