/*
 * classes.c
 *		Which classes a model of affinity tells apart: those with enough training rows,
 *		in the order of their names.
 */
#include "model/internal.h"

/* Fewer training rows teach nothing about a class but its rarity. */
#define LEAST_ROWS 10
#define NAMED_MOST 3 /* classes left out that a note names */

typedef struct class_choice
{
	uint32_t counts[PE_MAX_CLASSES]; /* training rows by the dataset's code */
	int codes[PE_MAX_CLASSES];       /* of those kept, in the model's order */
	int16_t places[PE_MAX_CLASSES];  /* code to place, -1: left out */
	int kept;
} class_choice;

static const char *
class_text(const pe_dataset *dataset, int code, size_t *length)
{
	const pe_dictionary *classes = &dataset->classes;

	*length = classes->starts[code + 1] - classes->starts[code];
	return classes->arena + classes->starts[code];
}

static int
compare_classes(const pe_dataset *dataset, int a, int b)
{
	size_t length_a, length_b;
	const char *text_a = class_text(dataset, a, &length_a), *text_b = class_text(dataset, b, &length_b);
	int order = memcmp(text_a, text_b, length_a < length_b ? length_a : length_b);

	return order != 0 ? order : (length_a > length_b) - (length_a < length_b);
}

/* Insertion sort: there are at most 256. */
static void
sort_kept(class_choice *choice, const pe_dataset *dataset)
{
	for (int i = 1; i < choice->kept; i++)
		for (int k = i; k > 0 && compare_classes(dataset, choice->codes[k - 1], choice->codes[k]) > 0; k--)
		{
			int code = choice->codes[k];

			choice->codes[k] = choice->codes[k - 1];
			choice->codes[k - 1] = code;
		}
	for (int i = 0; i < choice->kept; i++)
		choice->places[choice->codes[i]] = (int16_t) i;
}

static pe_status
check_kept(const class_choice *choice, const pe_dataset *dataset, uint32_t n_train, pe_error *err)
{
	int most = 0;
	size_t length;
	const char *text;

	if (choice->kept >= 2)
		return PE_OK;
	for (int code = 1; code < (int) dataset->classes.count; code++)
		if (choice->counts[code] > choice->counts[most])
			most = code;
	text = class_text(dataset, most, &length);
	pe_fail(err, PE_INVALID_DATA,
	        "the target has fewer than two classes of at least %d training rows: \"%.*s\" has %u of %u",
	        LEAST_ROWS, (int) (length < 100 ? length : 100), text, choice->counts[most], n_train);
	pe_error_hint(err,
	              "Choose a target that differs between profiles, group rare classes, or use more rows.");
	return PE_INVALID_DATA;
}

/* Say which classes were left out, the first few by name. */
static pe_status
note_rare(pe_model *model, const class_choice *choice, const pe_dataset *dataset, pe_error *err)
{
	char names[256] = "";
	size_t used = 0;
	int left_out = 0;
	uint64_t rows = 0;

	for (int code = 0; code < (int) dataset->classes.count; code++)
	{
		size_t length;
		const char *text = class_text(dataset, code, &length);

		if (choice->places[code] >= 0)
			continue;
		rows += choice->counts[code];
		if (left_out++ < NAMED_MOST)
			used += snprintf(names + used, sizeof(names) - used, "%s\"%.*s\"", used > 0 ? ", " : "",
			                 (int) (length < 60 ? length : 60), text);
	}
	if (left_out == 0)
		return PE_OK;
	return pe_model_add_note(
	    model, err, "classes left out, each with fewer than %d training rows: %s%s (%llu rows in all)",
	    LEAST_ROWS, names, left_out > NAMED_MOST ? ", ..." : "", (unsigned long long) rows);
}

/* Targets of the list become places; what has none leaves it. */
static uint32_t
rename_targets(const class_choice *choice, pe_dataset *dataset, uint32_t *list, uint32_t count)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count; i++)
	{
		pe_block *block = &dataset->blocks[list[i] >> dataset->block_shift];
		double *target = &block->targets[list[i] & ((1u << dataset->block_shift) - 1)];
		int place = choice->places[(int) *target];

		if (place < 0)
			continue;
		*target = place;
		list[kept++] = list[i];
	}
	return kept;
}

static pe_status
store_classes(pe_model *model, const class_choice *choice, const pe_dataset *dataset, pe_error *err)
{
	if ((model->classes = pe_calloc(&model->env, choice->kept, sizeof(char *))) == NULL)
		return pe_fail_memory(err);
	for (int i = 0; i < choice->kept; i++)
	{
		size_t length;
		const char *text = class_text(dataset, choice->codes[i], &length);

		if ((model->classes[i] = pe_strndup(&model->env, text, length)) == NULL)
			return pe_fail_memory(err);
		model->n_classes++;
	}
	return PE_OK;
}

pe_status
pe_choose_classes(pe_model *model, pe_dataset *dataset, pe_split_rows *rows, pe_error *err)
{
	class_choice choice = {.kept = 0};
	pe_status status;

	for (uint32_t i = 0; i < rows->n_train; i++)
		choice.counts[(int) pe_dataset_target(dataset, rows->train[i])]++;
	for (int code = 0; code < PE_MAX_CLASSES; code++)
	{
		choice.places[code] = -1;
		if (choice.counts[code] >= LEAST_ROWS)
			choice.codes[choice.kept++] = code;
	}
	sort_kept(&choice, dataset);
	if ((status = check_kept(&choice, dataset, rows->n_train, err)) != PE_OK ||
	    (status = store_classes(model, &choice, dataset, err)) != PE_OK ||
	    (status = note_rare(model, &choice, dataset, err)) != PE_OK)
		return status;
	rows->n_train = rename_targets(&choice, dataset, rows->train, rows->n_train);
	rows->n_holdout = rename_targets(&choice, dataset, rows->holdout, rows->n_holdout);
	rows->train_weight = rows->largest_weight = 0;
	for (uint32_t i = 0; i < rows->n_train; i++)
	{
		double weight = pe_dataset_weight(dataset, rows->train[i]);

		rows->train_weight += weight;
		rows->largest_weight = weight > rows->largest_weight ? weight : rows->largest_weight;
		rows->class_weights[(int) pe_dataset_target(dataset, rows->train[i])] += weight;
	}
	return PE_OK;
}
