/*
 * A model's bytes. The target puts the right length and checksum on the input, so that
 * damage reaches the reader; what it accepts must be usable in every way and be written
 * and read again.
 */
#include <stdlib.h>

#include "model/internal.h"
#include "model/lifetime/lifetime.h"
#include "tap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER 24

/* What a lifetime model says of any customer is finite. */
static void
use_lifetime(const pe_model *model, const double *values)
{
	double outputs[4], spend;
	pe_customer customer = pe_model_customer(model, values, &spend);

	pe_model_outputs(model, values, outputs);
	for (int i = 0; i < pe_model_output_count(model); i++)
		if (!isfinite(outputs[i]) || outputs[i] < 0)
			abort();
	if (!isfinite(pe_lifetime_log_likelihood(pe_model_lifetime(model), &customer)))
		abort();
	(void) pe_lifetime_count_probability(pe_model_lifetime(model), 30, 3);
}

static void
use(const pe_env *env, const pe_model *model)
{
	int n = pe_model_feature_count(model);
	double *values = malloc(n * sizeof(double)), *contributions = malloc(n * sizeof(double)), base, block,
	       prediction;
	void *scratch = malloc(pe_model_explain_scratch(model) + 1);
	pe_predictor *predictor;
	pe_explainer *explainer = NULL;
	bool explains = pe_model_explains(model);
	double outputs[PE_MAX_CLASSES];
	pe_error err;

	if (pe_predictor_create(env, model, &predictor, &err) != PE_OK ||
	    (explains && pe_explainer_create(env, model, 1 << 20, &explainer, &err) != PE_OK))
		abort();

	for (int round = 0; round < 3; round++)
	{
		for (int i = 0; i < n; i++)
			values[i] = round == 0 ? NAN : round == 1 ? PE_UNKNOWN_LEVEL : (double) (i * 7 % 300) - 3;
		prediction = pe_model_predict(model, values);
		(void) pe_model_score(model, prediction);
		if (pe_model_lifetime(model) != NULL)
			use_lifetime(model, values);
		pe_model_outputs(model, values, outputs);
		if (explains)
			pe_model_explain(model, values, scratch, contributions, &base);
		if ((explains &&
		     pe_explainer_explain(explainer, values, n, 1, 1, contributions, &base, &err) != PE_OK) ||
		    pe_predictor_predict(predictor, values, n, 1, 1, &block, &err) != PE_OK ||
		    memcmp(&block, &prediction, sizeof(block)) != 0)
			abort();
	}
	for (int i = 0; i < n; i++)
	{
		const char *text = pe_model_level_text(model, i, 0);

		(void) pe_model_get_feature(model, i);
		if (text != NULL && pe_model_level(model, i, text, strlen(text)) != 0)
			abort();
	}
	for (int i = 0; i < pe_model_coefficient_count(model); i++)
		(void) pe_model_get_coefficient(model, i);
	for (int i = 0; i < pe_model_note_count(model); i++)
		(void) pe_model_note(model, i);
	(void) pe_model_bytes(model);
	pe_predictor_free(predictor);
	pe_explainer_free(explainer);
	free(values);
	free(contributions);
	free(scratch);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tap_memory memory = {0, 0, 0};
	pe_env env = tap_env(&memory);
	pe_error err;
	pe_model *model;
	uint8_t *bytes = malloc(size + 1);

	memcpy(bytes, data, size);
	if (size >= HEADER)
	{
		uint32_t crc = pe_crc32c(bytes + HEADER, size - HEADER);

		for (int i = 0; i < 8; i++)
			bytes[12 + i] = (uint8_t) ((uint64_t) (size - HEADER) >> (8 * i));
		for (int i = 0; i < 4; i++)
			bytes[20 + i] = (uint8_t) (crc >> (8 * i));
	}
	if (pe_model_deserialize(&env, bytes, size, &model, &err) == PE_OK)
	{
		uint8_t *once, *twice;
		size_t length, length_twice;

		use(&env, model);
		/* What is written is read, and written as it was; of the newest version so is the input. */
		if (pe_model_serialize(&env, model, &once, &length, &err) != PE_OK)
			abort();
		if (bytes[8] == once[8] && (length != size || memcmp(once, bytes, size) != 0))
			abort();
		pe_model_free(model);
		if (pe_model_deserialize(&env, once, length, &model, &err) != PE_OK ||
		    pe_model_serialize(&env, model, &twice, &length_twice, &err) != PE_OK || length != length_twice ||
		    memcmp(once, twice, length) != 0)
			abort();
		pe_free(&env, once);
		pe_free(&env, twice);
		pe_model_free(model);
	}
	if (memory.live != 0)
		abort();
	free(bytes);
	return 0;
}
