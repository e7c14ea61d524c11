/*
 * A recommender's bytes. The target puts the right length and checksum on the input, so
 * that damage reaches the reader; what it accepts must be usable in every way and be
 * written and read again.
 */
#include <stdlib.h>

#include "model/artifact_io.h"
#include "model/recommend/internal.h"
#include "tap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
use(const pe_env *env, const pe_recommender *recommender)
{
	pe_recommendation list[20];
	int64_t users[3] = {-1, 0, pe_recommender_users(recommender) - 1};
	int counts[3];
	size_t length;
	pe_error err;

	for (int i = 0; i < 3; i++)
	{
		if (pe_recommender_recommend(env, recommender, users + i, 1, 20, 1, list, counts, &err) != PE_OK)
			abort();
		for (int j = 0; j < counts[0]; j++)
			if (list[j].item >= pe_recommender_items(recommender))
				abort();
	}
	for (uint32_t item = 0; item < pe_recommender_items(recommender) && item < 50; item++)
	{
		const char *text = pe_recommender_item(recommender, item, &length);

		if (pe_recommender_find_item(recommender, text, length) != item)
			abort();
		(void) pe_recommender_similar(env, recommender, item, 20, list, counts, &err);
		(void) pe_recommender_item_users(recommender, item);
		if (pe_recommender_popular(recommender, item) >= pe_recommender_items(recommender))
			abort();
	}
	for (uint32_t user = 0; user < pe_recommender_users(recommender) && user < 50; user++)
	{
		const char *text = pe_recommender_user(recommender, user, &length);

		if (pe_recommender_find_user(recommender, text, length) != user)
			abort();
	}
	(void) pe_recommender_bytes(recommender);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tap_memory memory = {0, 0, 0};
	pe_env env = tap_env(&memory);
	pe_error err;
	pe_recommender *recommender;
	uint8_t *bytes = malloc(size + 1);

	memcpy(bytes, data, size);
	if (size >= PE_ARTIFACT_HEADER)
	{
		uint32_t crc = pe_crc32c(bytes + PE_ARTIFACT_HEADER, size - PE_ARTIFACT_HEADER);

		for (int i = 0; i < 8; i++)
			bytes[12 + i] = (uint8_t) ((uint64_t) (size - PE_ARTIFACT_HEADER) >> (8 * i));
		for (int i = 0; i < 4; i++)
			bytes[20 + i] = (uint8_t) (crc >> (8 * i));
	}
	if (pe_recommender_deserialize(&env, bytes, size, &recommender, &err) == PE_OK)
	{
		uint8_t *again;
		size_t length;

		use(&env, recommender);
		if (pe_recommender_serialize(&env, recommender, &again, &length, &err) != PE_OK || length != size ||
		    memcmp(again, bytes, size) != 0)
			abort();
		pe_free(&env, again);
		pe_recommender_free(recommender);
	}
	if (memory.live != 0)
		abort();
	free(bytes);
	return 0;
}
