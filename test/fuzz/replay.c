/*
 * replay.c
 *		Runs a fuzz target over its committed corpus without libFuzzer, so that CI
 *		replays every input on any compiler. Prints TAP: one line for each input
 *		that came back, so a crash shows which input was in hand.
 *
 *		usage: fuzz_x DIRECTORY
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECONDS_PER_INPUT 10

int
main(int argc, char **argv)
{
	struct dirent **entries;
	int found;
	int count = 0;

	if (argc != 2 || (found = scandir(argv[1], &entries, NULL, alphasort)) < 0)
	{
		fprintf(stderr, "usage: %s corpus-directory\n", argv[0]);
		return 2;
	}
	for (int i = 0; i < found; i++)
	{
		char path[4096];
		FILE *file;
		uint8_t *data;
		size_t size;

		snprintf(path, sizeof(path), "%s/%s", argv[1], entries[i]->d_name);
		file = entries[i]->d_name[0] == '.' ? NULL : fopen(path, "rb");
		if (file == NULL)
		{
			free(entries[i]);
			continue;
		}
		fseek(file, 0, SEEK_END);
		size = (size_t) ftell(file);
		rewind(file);
		data = malloc(size > 0 ? size : 1);
		if (data == NULL || fread(data, 1, size, file) != size)
			return 2;
		fclose(file);
		printf("# %s\n", entries[i]->d_name);
		fflush(stdout);
		alarm(SECONDS_PER_INPUT);
		LLVMFuzzerTestOneInput(data, size);
		alarm(0);
		printf("ok %d - %s\n", ++count, entries[i]->d_name);
		free(data);
		free(entries[i]);
	}
	free(entries);
	printf("1..%d\n", count);
	return count > 0 ? 0 : 1;
}
