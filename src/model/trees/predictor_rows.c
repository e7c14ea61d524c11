/*
 * predictor_rows.c
 *		Predictions of many rows: the programs of predictor.c on blocks of rows, by several
 *		threads, with AVX2 where the CPU has it.
 *
 * Sums are made in double, tree after tree, as for a single row: the same bits.
 */
#include "model/trees/predictor.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_AVX2 1
#include <immintrin.h>
#endif

#define ALONE_VISITS 400000 /* rows x trees below which waking others costs more */
#define LINE         64     /* bytes, of a cache */

typedef int8_t half_vector __attribute__((vector_size(16), aligned(1), may_alias));

/* A block of rows being predicted. */
typedef struct predict_job
{
	const pe_predictor *predictor;
	pe_team *team;
	pe_prediction_block block;
	int n_margins;  /* of a row: the classes, or 1 */
	uint8_t *desks; /* one for each thread: the places, then the margins; */
	size_t desk_bytes;
	void *memory; /* what they are in, not from a line's start */
	void (*encode)(const pe_code_list *list, const float *values, uint8_t *codes);
	void (*test_sets)(const pe_predictor *predictor, const pe_program *program, uint8_t *desk, int groups);
	void (*find_ways)(const pe_blend *blends, uint32_t n_blends, uint8_t *desk, int groups);
} predict_job;

static void
encode_plain(const pe_code_list *list, const float *values, uint8_t *codes)
{
	uint32_t below[PE_GROUP] = {0};

	for (uint32_t step = (1u << list->steps) >> 1; step > 0; step >>= 1)
		for (int row = 0; row < PE_GROUP; row++)
			below[row] += step & -(uint32_t) (list->cuts[below[row] + step - 1] < values[row]);
	for (int row = 0; row < PE_GROUP; row++)
	{
		codes[list->left + row] = (uint8_t) PE_CODE(below[row]); /* nothing is below a NaN */
		codes[list->right + row] = (uint8_t) (isnan(values[row]) ? PE_CODE(255) : PE_CODE(below[row]));
	}
}

#ifdef HAVE_AVX2
/*
 * The same, eight rows in a register: comparing with every 16th cut costs less than the
 * first steps of the search, whose reads go to eight places.
 */
#define FINE_STEPS 4
#define FINE_CUTS  (1 << FINE_STEPS)

__attribute__((target("avx2"))) static void
encode_avx2(const pe_code_list *list, const float *values, uint8_t *codes)
{
	const __m256i turn = _mm256_set1_epi8((char) 0x80), one = _mm256_set1_epi32(1);
	__m256i below[PE_GROUP / 8], missing[PE_GROUP / 8];
	__m256i packed, gaps;
	/* Packing works on halves of registers: fours of bytes come out in this order. */
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);

	for (int i = 0; i < PE_GROUP / 8; i++)
	{
		__m256 value = _mm256_loadu_ps(values + 8 * i);
		__m256i at = _mm256_setzero_si256();

		for (int cut = FINE_CUTS - 1; cut < list->n_cuts; cut += FINE_CUTS)
			at = _mm256_sub_epi32(
			    at, _mm256_castps_si256(_mm256_cmp_ps(_mm256_set1_ps(list->cuts[cut]), value, _CMP_LT_OQ)));
		at = _mm256_slli_epi32(at, FINE_STEPS);
		for (int step = (1 << (list->steps < FINE_STEPS ? list->steps : FINE_STEPS)) >> 1; step > 0;
		     step >>= 1)
		{
			__m256i next = _mm256_add_epi32(at, _mm256_set1_epi32(step));
			__m256 cut = _mm256_i32gather_ps(list->cuts, _mm256_sub_epi32(next, one), 4);
			__m256i above = _mm256_castps_si256(_mm256_cmp_ps(cut, value, _CMP_LT_OQ));

			at = _mm256_blendv_epi8(at, next, above);
		}
		below[i] = at;
		missing[i] = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
	}
	packed =
	    _mm256_packus_epi16(_mm256_packs_epi32(below[0], below[1]), _mm256_packs_epi32(below[2], below[3]));
	gaps = _mm256_packs_epi16(_mm256_packs_epi32(missing[0], missing[1]),
	                          _mm256_packs_epi32(missing[2], missing[3]));
	packed = _mm256_xor_si256(_mm256_permutevar8x32_epi32(packed, order), turn);
	gaps = _mm256_permutevar8x32_epi32(gaps, order);
	_mm256_storeu_si256((__m256i *) (codes + list->left), packed); /* nothing is below a NaN */
	_mm256_storeu_si256((__m256i *) (codes + list->right),
	                    _mm256_blendv_epi8(packed, _mm256_set1_epi8((char) PE_CODE(255)), gaps));
}
#endif

/*
 * Codes of the item's group of up to PE_GROUP rows; what is beyond count is of no meaning.
 * Row after row: their values are read once, as they lie in memory.
 */
static void
encode_group(const predict_job *job, const double *values, size_t count, uint8_t *desk, int group)
{
	const pe_predictor *predictor = job->predictor;
	const pe_feature *features = predictor->model->features;
	uint8_t *codes = desk + (size_t) group * PE_GROUP;
	float *numbers = (float *) (desk + predictor->numbers);

	for (size_t row = 0; row < count; row++, values += job->block.stride)
		for (int i = 0; i < predictor->n_lists; i++)
		{
			const pe_code_list *list = &predictor->lists[i];
			double value = values[list->feature];

			if (list->categorical)
				codes[list->left + row] = (uint8_t) pe_feature_slot(&features[list->feature], value);
			else /* Trained on floats: the same rounding as everywhere. */
				numbers[i * PE_GROUP + (int) row] = (float) value;
		}
	for (int i = 0; i < predictor->n_lists; i++)
		if (!predictor->lists[i].categorical)
			job->encode(&predictor->lists[i], numbers + (size_t) i * PE_GROUP, codes);
}

static void
test_sets_plain(const pe_predictor *predictor, const pe_program *program, uint8_t *desk, int groups)
{
	for (uint32_t i = 0; i < program->n_sets; i++)
	{
		const pe_set_test *test = &predictor->sets[program->first_set + i];
		const uint32_t *bits = predictor->model->sets[test->set].bits;
		const uint8_t *slots = desk + test->slots;
		uint8_t *answers = desk + predictor->set_places + (size_t) i * PE_ITEM_ROWS;

		for (int row = 0; row < groups * PE_GROUP; row++)
			answers[row] = (uint8_t) PE_CODE(!((bits[slots[row] >> 5] >> (slots[row] & 31)) & 1));
	}
}

#ifdef HAVE_AVX2
/* The set's 256 bits are 32 bytes in two registers; a row picks its byte, then its bit. */
__attribute__((target("avx2"))) static void
test_sets_avx2(const pe_predictor *predictor, const pe_program *program, uint8_t *desk, int groups)
{
	const __m256i bit_of = _mm256_set1_epi64x((int64_t) UINT64_C(0x8040201008040201));

	for (uint32_t i = 0; i < program->n_sets; i++)
	{
		const pe_set_test *test = &predictor->sets[program->first_set + i];
		const __m128i *set = (const __m128i *) predictor->model->sets[test->set].bits;
		__m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128(set));
		__m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128(set + 1));
		const __m256i *places = (const __m256i *) (desk + test->slots);
		__m256i *answers = (__m256i *) (desk + predictor->set_places + (size_t) i * PE_ITEM_ROWS);

		for (int group = 0; group < groups; group++)
		{
			__m256i slots = _mm256_loadu_si256(places + group);
			__m256i byte = _mm256_and_si256(_mm256_srli_epi16(slots, 3), _mm256_set1_epi8(15));
			__m256i bit = _mm256_shuffle_epi8(bit_of, _mm256_and_si256(slots, _mm256_set1_epi8(7)));
			__m256i bits =
			    _mm256_blendv_epi8(_mm256_shuffle_epi8(low, byte), _mm256_shuffle_epi8(high, byte), slots);
			__m256i left = _mm256_cmpeq_epi8(_mm256_and_si256(bits, bit), bit);
			__m256i right = _mm256_andnot_si256(left, _mm256_set1_epi8(1));

			_mm256_storeu_si256(answers + group, _mm256_xor_si256(right, _mm256_set1_epi8((char) 0x80)));
		}
	}
}
#endif

static void
find_ways_plain(const pe_blend *blends, uint32_t n_blends, uint8_t *desk, int groups)
{
	for (const pe_blend *blend = blends; blend < blends + n_blends; blend++)
	{
		const half_vector *codes = (const half_vector *) (desk + blend->codes);
		const half_vector *left = (const half_vector *) (desk + blend->left);
		const half_vector *right = (const half_vector *) (desk + blend->right);
		half_vector *out = (half_vector *) (desk + blend->out);

		for (int half = 0; half < 2 * groups; half++)
		{
			half_vector answer = codes[half] > (half_vector){0} + blend->threshold;

			out[half] = (left[half] & ~answer) | (right[half] & answer);
		}
	}
}

#ifdef HAVE_AVX2
/* What the step's rows of one group take. */
#define CHOOSE(group)                                                                                        \
	_mm256_blendv_epi8(_mm256_load_si256(left + (group)), _mm256_load_si256(right + (group)),                \
	                   _mm256_cmpgt_epi8(_mm256_load_si256(codes + (group)), threshold))

__attribute__((target("avx2"))) static void
find_ways_avx2(const pe_blend *blends, uint32_t n_blends, uint8_t *desk, int groups)
{
	for (const pe_blend *blend = blends; blend < blends + n_blends; blend++)
	{
		const __m256i *codes = (const __m256i *) (desk + blend->codes);
		const __m256i *left = (const __m256i *) (desk + blend->left);
		const __m256i *right = (const __m256i *) (desk + blend->right);
		__m256i *out = (__m256i *) (desk + blend->out), threshold = _mm256_set1_epi8(blend->threshold);

		if (groups == PE_GROUPS)
		{
			__m256i a = CHOOSE(0), b = CHOOSE(1), c = CHOOSE(2), d = CHOOSE(3);

			_mm256_store_si256(out, a);
			_mm256_store_si256(out + 1, b);
			_mm256_store_si256(out + 2, c);
			_mm256_store_si256(out + 3, d);
			continue;
		}
		for (int group = 0; group < groups; group++)
			_mm256_store_si256(out + group, CHOOSE(group));
	}
}
#endif

/* Adds what PE_TOGETHER trees say of all rows of an item, in the trees' order. */
static void
add_exits(const pe_predictor *predictor, const pe_program *programs, const uint8_t *ways, double *sums)
{
	const double *values[PE_TOGETHER];

	for (int i = 0; i < PE_TOGETHER; i++)
		values[i] = predictor->values + programs[i].first_exit;
	for (int row = 0; row < PE_ITEM_ROWS; row++)
		sums[row] = (((sums[row] + values[0][ways[row]]) + values[1][ways[PE_ITEM_ROWS + row]]) +
		             values[2][ways[2 * PE_ITEM_ROWS + row]]) +
		            values[3][ways[3 * PE_ITEM_ROWS + row]];
}

/* Adds what the tree says of count rows to their sums. */
static void
add_values(const predict_job *job, const pe_program *program, const uint8_t *ways, const double *rows,
           size_t count, double *sums)
{
	const pe_predictor *predictor = job->predictor;
	const pe_model *model = predictor->model;
	const double *values = predictor->values + program->first_exit;
	size_t stride = job->block.stride;

	for (size_t row = 0; !program->deeper && row < count; row++)
		sums[row] += values[ways[row]];
	for (size_t row = 0; program->deeper && row < count; row++)
	{
		uint32_t at = predictor->exits[program->first_exit + ways[row]];

		while (model->nodes[at].left != 0)
			at = model->nodes[at].left + !pe_goes_left(model, &model->nodes[at], rows + row * stride);
		sums[row] += model->values[at];
	}
}

/*
 * Margins of the rows first .. first + count - 1, count <= PE_ITEM_ROWS, of a class side
 * by side, PE_ITEM_ROWS apart. Tree t belongs to class t % n_margins.
 */
static void
add_trees(const predict_job *job, size_t first, size_t count, int thread, double *margins, uint8_t *desk)
{
	const pe_predictor *predictor = job->predictor;
	const pe_program *programs = predictor->programs;
	uint32_t n_trees = predictor->model->n_trees;
	const double *rows = job->block.values + first * job->block.stride;
	const uint8_t *ways = desk + predictor->results;
	int groups = (int) (count + PE_GROUP - 1) / PE_GROUP, class = 0;

	for (int group = 0; group < groups; group++)
	{
		size_t row = (size_t) group * PE_GROUP;

		encode_group(job, rows + row * job->block.stride, count - row < PE_GROUP ? count - row : PE_GROUP,
		             desk, group);
	}
	for (uint32_t tree = 0; tree < n_trees; tree += PE_TOGETHER)
	{
		uint32_t together = n_trees - tree < PE_TOGETHER ? n_trees - tree : PE_TOGETHER;
		bool deeper = false;

		for (uint32_t i = tree; i < tree + together; i++)
		{
			if (programs[i].n_sets > 0)
				job->test_sets(predictor, &programs[i], desk, groups);
			job->find_ways(predictor->blends + programs[i].first_blend, programs[i].n_blends, desk, groups);
			deeper |= programs[i].deeper;
		}
		if (job->n_margins == 1 && together == PE_TOGETHER && !deeper)
			add_exits(predictor, programs + tree, ways, margins); /* beyond count too: of no meaning */
		else
			for (uint32_t i = 0; i < together; i++)
			{
				add_values(job, &programs[tree + i], ways + (size_t) i * PE_ITEM_ROWS, rows, count,
				           margins + (size_t) class * PE_ITEM_ROWS);
				if (++class == job->n_margins)
					class = 0;
			}
		if (tree % 64 == 0 && pe_team_poll(job->team, thread))
			return;
	}
}

/* From a row's margins, PE_ITEM_ROWS apart, to its prediction and outputs. */
static double
predict_classes(const pe_model *model, const double *margins, double *outputs)
{
	double own[PE_MAX_CLASSES], largest;

	if (outputs == NULL)
		outputs = own;
	for (int i = 0; i < model->n_classes; i++)
		outputs[i] = margins[(size_t) i * PE_ITEM_ROWS];
	pe_softmax(outputs, model->n_classes);
	largest = outputs[0];
	for (int i = 1; i < model->n_classes; i++)
		largest = outputs[i] > largest ? outputs[i] : largest;
	return largest;
}

static void
predict_trees(const predict_job *job, size_t first, size_t count, int thread)
{
	const pe_model *model = job->predictor->model;
	const pe_prediction_block *block = &job->block;
	uint8_t *desk = job->desks + (size_t) thread * job->desk_bytes;
	double *margins = (double *) (desk + job->predictor->desk_bytes);

	for (int class = 0; class < job->n_margins; class ++)
		for (size_t row = 0; row < PE_ITEM_ROWS; row++)
			margins[(size_t) class * PE_ITEM_ROWS + row] =
			    model->class_margins != NULL ? model->class_margins[class] : model->base_margin;
	add_trees(job, first, count, thread, margins, desk);
	for (size_t row = 0; row < count; row++)
		block->predictions[first + row] =
		    model->n_classes == 0
		        ? pe_model_link(model, margins[row])
		        : predict_classes(model, margins + row,
		                          block->outputs == NULL ? NULL
		                                                 : block->outputs + (first + row) * model->n_classes);
}

/* Models that are no trees, or too large for codes of a byte. */
static void
predict_singly(const predict_job *job, size_t first, size_t count, int thread)
{
	const pe_model *model = job->predictor->model;
	const pe_prediction_block *block = &job->block;
	int n_outputs = pe_model_output_count(model);

	for (size_t row = first; row < first + count; row++)
	{
		const double *values = block->values + row * block->stride;

		block->predictions[row] = pe_model_predict(model, values);
		if (block->outputs != NULL)
			pe_model_outputs(model, values, block->outputs + row * n_outputs);
		if (row % 8 == 7 && pe_team_poll(job->team, thread))
			return;
	}
}

static void
predict_item(void *ctx, uint32_t item, int thread)
{
	const predict_job *job = ctx;
	const pe_prediction_block *block = &job->block;
	size_t first = (size_t) item * PE_ITEM_ROWS;
	size_t count = block->rows - first < PE_ITEM_ROWS ? block->rows - first : PE_ITEM_ROWS;

	if (job->predictor->programs != NULL)
		predict_trees(job, first, count, thread);
	else
		predict_singly(job, first, count, thread);
	for (size_t row = first; block->scores != NULL && row < first + count; row++)
		block->scores[row] = pe_model_score(job->predictor->model, block->predictions[row]);
}

/* The threads' desks, each from a line's start, with the exits' numbers. */
static bool
make_desks(predict_job *job)
{
	const pe_predictor *predictor = job->predictor;
	size_t threads = (size_t) pe_team_threads(job->team), bytes = job->desk_bytes * threads;

	/* Zeroed: programs look at whole groups, of which some rows may not be there. */
	job->memory = pe_calloc(predictor->env, bytes + LINE, 1);
	if (job->memory == NULL)
		return false;
	job->desks = (uint8_t *) (((uintptr_t) job->memory + LINE - 1) / LINE * LINE);
	for (size_t thread = 0; thread < threads; thread++)
		for (uint32_t i = 0; i < predictor->n_exit_places; i++)
			memset(job->desks + thread * job->desk_bytes + predictor->exit_places + i * PE_ITEM_ROWS, (int) i,
			       PE_ITEM_ROWS);
	return true;
}

/* A team of that many threads and their desks. The job is to be freed also when it fails. */
static pe_status
make_job(predict_job *job, const pe_predictor *predictor, int threads, pe_error *err)
{
	job->predictor = predictor;
	job->n_margins = pe_model_margin_count(predictor->model);
	job->encode = encode_plain;
	job->test_sets = test_sets_plain;
	job->find_ways = find_ways_plain;
#ifdef HAVE_AVX2
	if (!predictor->plain && __builtin_cpu_supports("avx2"))
	{
		job->encode = encode_avx2;
		job->test_sets = test_sets_avx2;
		job->find_ways = find_ways_avx2;
	}
#endif
	job->desk_bytes =
	    predictor->desk_bytes + (size_t) job->n_margins * PE_ITEM_ROWS * sizeof(double); /* of whole lines */
	if ((job->team = pe_team_create(predictor->env, threads)) == NULL)
		return pe_fail_memory(err);
	pe_team_phase(job->team, "predict", 0, 0);
	return make_desks(job) ? PE_OK : pe_fail_memory(err);
}

static void
free_job(predict_job *job)
{
	pe_team_free(job->team); /* first: its threads may still be at the rest */
	pe_free(job->predictor->env, job->memory);
}

static uint32_t
item_count(size_t rows)
{
	return (uint32_t) ((rows + PE_ITEM_ROWS - 1) / PE_ITEM_ROWS);
}

pe_status
pe_predictor_predict(const pe_predictor *predictor, const double *values, size_t stride, size_t rows,
                     int threads, double *predictions, pe_error *err)
{
	predict_job job = {
	    .block = {.values = values, .stride = stride, .rows = rows, .predictions = predictions}};
	uint32_t items = item_count(rows);
	pe_status status;

	if ((double) rows * predictor->model->n_trees < ALONE_VISITS)
		threads = 1;
	status = make_job(&job, predictor, threads < (int) items ? threads : (int) items, err);
	if (status == PE_OK && !pe_team_run(job.team, predict_item, &job, items))
		status = pe_fail(err, PE_CANCELLED, "cancelled");
	free_job(&job);
	return status;
}

pe_status
pe_predictor_start(pe_predictor *predictor, int threads, pe_error *err)
{
	predictor->job = pe_calloc(predictor->env, 1, sizeof(*predictor->job));
	if (predictor->job == NULL)
		return pe_fail_memory(err);
	return make_job(predictor->job, predictor, threads, err);
}

void
pe_predictor_stop(pe_predictor *predictor)
{
	if (predictor->job != NULL)
		free_job(predictor->job);
	pe_free(predictor->env, predictor->job);
	predictor->job = NULL;
}

void
pe_predictor_begin(pe_predictor *predictor, const pe_prediction_block *block)
{
	predict_job *job = predictor->job;

	job->block = *block;
	pe_team_begin(job->team, predict_item, job, item_count(block->rows));
}

pe_status
pe_predictor_finish(pe_predictor *predictor, pe_error *err)
{
	return pe_team_end(predictor->job->team) ? PE_OK : pe_fail(err, PE_CANCELLED, "cancelled");
}
