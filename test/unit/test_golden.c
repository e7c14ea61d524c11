/*
 * test_golden.c
 *		Models as earlier versions stored them still load, and say what they said then.
 */
#include <dirent.h>
#include <math.h>

#include "model/model.h"
#include "tap.h"

#define DIRECTORY "test/unit/golden"

static tap_memory memory;
static pe_env env;
static pe_error err;

/* exp and log may differ in their last digit between C libraries. */
static bool
same(double value, double want)
{
	return (isnan(value) && isnan(want)) || value == want || fabs(value - want) <= 1e-12 * fabs(want);
}

/* The next number of the line; false at its end. */
static bool
next_number(char **line, double *number)
{
	char *end;

	*number = strtod(*line, &end);
	if (end == *line)
		return false;
	*line = end;
	return true;
}

/* How many numbers of the rows differ from what the model says. */
static int
differences(const pe_model *model, FILE *rows, int *checked)
{
	int n = pe_model_feature_count(model), wrong = 0;
	double *values = malloc((size_t) n * sizeof(double)), outputs[PE_MAX_CLASSES], want;
	static char text[1 << 16];

	while (fgets(text, sizeof(text), rows) != NULL)
	{
		char *line = text;

		for (int i = 0; i < n; i++)
			wrong += !next_number(&line, &values[i]);
		wrong += !next_number(&line, &want) || !same(pe_model_predict(model, values), want);
		pe_model_outputs(model, values, outputs);
		for (int i = 0; i < pe_model_output_count(model); i++)
			wrong += !next_number(&line, &want) || !same(outputs[i], want);
		wrong += next_number(&line, &want); /* more numbers than the model has outputs */
		++*checked;
	}
	free(values);
	return wrong;
}

static void
check(const char *name)
{
	static uint8_t bytes[1 << 20];
	char path[512];
	pe_model *model;
	size_t length;
	int wrong, checked = 0;
	FILE *file;

	snprintf(path, sizeof(path), DIRECTORY "/%s", name);
	if ((file = fopen(path, "rb")) == NULL)
	{
		OK(false, "%s opens", path);
		return;
	}
	length = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	IS_INT(pe_model_deserialize(&env, bytes, length, &model, &err), PE_OK, "%s loads", name);
	if (model == NULL)
		return;
	strcpy(strrchr(path, '.'), ".rows");
	file = fopen(path, "r");
	OK(file != NULL, "%s has rows", name);
	if (file != NULL)
	{
		wrong = differences(model, file, &checked);
		OK(checked >= 20 && wrong == 0, "%s: %d rows as then (%d numbers differ)", name, checked, wrong);
		fclose(file);
	}
	pe_model_free(model);
}

int
main(void)
{
	DIR *directory = opendir(DIRECTORY);
	struct dirent *entry;
	int models = 0;

	env = tap_env(&memory);
	while (directory != NULL && (entry = readdir(directory)) != NULL)
		if (strstr(entry->d_name, ".model") != NULL)
		{
			check(entry->d_name);
			models++;
		}
	OK(models >= 4, "%d models of earlier versions", models);
	if (directory != NULL)
		closedir(directory);
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
