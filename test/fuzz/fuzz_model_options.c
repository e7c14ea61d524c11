/*
 * Training options: the input is a name and a value, one a line. Whatever they are, the
 * options stay within their ranges.
 */
#include <stdlib.h>

#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const pe_options *o)
{
	if (!(o->trees >= 1 && o->trees <= 10000) || !(o->max_depth >= 1 && o->max_depth <= 32) ||
	    !(o->learning_rate > 0 && o->learning_rate <= 1) || !(o->max_bins >= 2 && o->max_bins <= 255) ||
	    !(o->holdout >= 0 && o->holdout < 1) || !(o->row_sample > 0 && o->row_sample <= 1) ||
	    !(o->threads >= 1 && o->threads <= 64) || !(o->l2 >= 0) || !(o->tolerance > 0) ||
	    o->n_monotone > PE_MAX_MONOTONE)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const pe_algorithm algorithms[] = {PE_ALGORITHM_LOGISTIC, PE_ALGORITHM_LINEAR,
	                                          PE_ALGORITHM_BOOSTED_TREES};
	char *text = malloc(size + 1), *value;

	memcpy(text, data, size);
	text[size] = '\0';
	value = strchr(text, '\n');
	if (value != NULL)
		*value++ = '\0';
	for (int i = 0; i < 3; i++)
	{
		pe_options options;
		pe_error err;

		pe_options_init(&options, algorithms[i]);
		if (pe_options_set(&options, text, value != NULL ? value : "", &err) != PE_OK &&
		    err.message[0] == '\0')
			abort();
		(void) pe_options_set_monotone(&options, text, value != NULL ? value : "", &err);
		check(&options);
		(void) pe_training_memory(&options, 25, false, size * 1000);
	}
	(void) pe_task_from_name(text);
	(void) pe_algorithm_from_name(text);
	free(text);
	return 0;
}
