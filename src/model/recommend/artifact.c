/*
 * artifact.c
 *		A recommender as bytes and back.
 *
 * Within the frame of artifact_io.h: the settings; users, then items: how many, and each
 * one's text in byte order; who took what, row by row; popularity by item; the neighbours
 * of item_item; the factors of ALS without their padding. Floats are 4 bytes.
 */
#include "model/artifact_io.h"
#include "model/recommend/internal.h"

#define FORMAT_VERSION 1

static const char magic[PE_ARTIFACT_MAGIC + 1] = "PERECOM\n";

/* ---- writing --------------------------------------------------------------------------- */

static void
write_words(pe_writer *w, const void *words, size_t count)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (w->at != NULL)
		memcpy(w->at + w->length, words, count * 4);
	w->length += count * 4;
#else
	for (size_t i = 0; i < count; i++)
		pe_write_int(w, ((const uint32_t *) words)[i], 4);
#endif
}

/* How many, how long together, the length of each, the bytes. */
static void
write_texts(pe_writer *w, const pe_texts *texts)
{
	size_t bytes = texts->starts[texts->count];

	pe_write_int(w, texts->count, 4);
	pe_write_int(w, bytes, 8);
	for (uint32_t i = 0; i < texts->count; i++)
		pe_write_int(w, texts->starts[i + 1] - texts->starts[i], 2);
	if (w->at != NULL)
		memcpy(w->at + w->length, texts->bytes, bytes);
	w->length += bytes;
}

/* Lengths of rows, columns, values. */
static void
write_sparse(pe_writer *w, const pe_sparse *matrix)
{
	pe_write_int(w, pe_sparse_cells(matrix), 4);
	pe_write_int(w, matrix->values != NULL, 1);
	for (uint32_t row = 0; row < matrix->rows; row++)
		pe_write_int(w, matrix->starts[row + 1] - matrix->starts[row], 4);
	write_words(w, matrix->columns, pe_sparse_cells(matrix));
	if (matrix->values != NULL)
		write_words(w, matrix->values, pe_sparse_cells(matrix));
}

static void
write_recommender(pe_writer *w, const void *what)
{
	const pe_recommender *r = what;
	const pe_recommender_settings *settings = &r->settings;

	pe_write_int(w, settings->method, 1);
	pe_write_int(w, (uint32_t) settings->factors, 4);
	pe_write_int(w, (uint32_t) settings->iterations, 4);
	pe_write_double(w, settings->regularization);
	pe_write_double(w, settings->alpha);
	pe_write_double(w, settings->half_life);
	pe_write_int(w, settings->similarity, 1);
	pe_write_int(w, (uint32_t) settings->neighbours, 4);
	pe_write_int(w, (uint32_t) settings->min_support, 4);
	write_texts(w, &r->users);
	write_texts(w, &r->items);
	write_sparse(w, &r->taken);
	if (settings->method == PE_RECOMMEND_ITEM_ITEM)
		write_sparse(w, &r->similarities);
	if (settings->method == PE_RECOMMEND_ALS)
		for (uint32_t item = 0; item < r->taken.columns_count; item++)
			write_words(w, r->factors + (size_t) item * r->width, settings->factors);
}

pe_status
pe_recommender_serialize(const pe_env *env, const pe_recommender *recommender, uint8_t **bytes,
                         size_t *length, pe_error *err)
{
	return pe_artifact_write(env, magic, FORMAT_VERSION, write_recommender, recommender, bytes, length, err);
}

/* ---- reading --------------------------------------------------------------------------- */

static void
read_words(pe_reader *r, void *words, size_t count)
{
	if (pe_reader_bad(r) || count > r->left / 4)
	{
		pe_reader_fail(r, "it ends too early");
		return;
	}
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	memcpy(words, r->at, count * 4);
	r->at += count * 4;
	r->left -= count * 4;
#else
	for (size_t i = 0; i < count; i++)
		((uint32_t *) words)[i] = (uint32_t) pe_read_int(r, 4);
#endif
}

static int
read_range(pe_reader *r, int lowest, int highest, const char *what)
{
	uint64_t value = pe_read_int(r, 4);

	if (!pe_reader_bad(r) && (value < (uint64_t) lowest || value > (uint64_t) highest))
		pe_reader_fail(r, what);
	return pe_reader_bad(r) ? lowest : (int) value;
}

static double
read_positive(pe_reader *r, bool zero, double most, const char *what)
{
	double value = pe_read_finite(r, what);

	if ((!(value > 0) && !(zero && value == 0)) || value > most)
		pe_reader_fail(r, what);
	return value;
}

static void
read_settings(pe_reader *r, pe_recommender_settings *settings)
{
	uint64_t method = pe_read_int(r, 1), similarity;

	if (method != PE_RECOMMEND_ALS && method != PE_RECOMMEND_ITEM_ITEM && method != PE_RECOMMEND_POPULARITY)
		pe_reader_fail(r, "its algorithm is unknown");
	settings->method = (pe_recommend_method) method;
	settings->factors = read_range(r, 1, PE_MAX_FACTORS, "the number of factors is wrong");
	settings->iterations = read_range(r, 1, 1000, "the number of iterations is wrong");
	settings->regularization = read_positive(r, false, 1e9, "the regularization is wrong");
	settings->alpha = read_positive(r, false, 1e6, "alpha is wrong");
	settings->half_life = read_positive(r, true, 1e9, "the half-life is wrong");
	similarity = pe_read_int(r, 1);
	settings->similarity = (pe_similarity) similarity;
	if (pe_similarity_name(settings->similarity) == NULL)
		pe_reader_fail(r, "its similarity is unknown");
	settings->neighbours = read_range(r, 0, 1000000, "the number of neighbours is wrong");
	settings->min_support = read_range(r, 1, 1000000000, "the support is wrong");
}

static bool
rises(const pe_texts *texts, uint32_t place)
{
	size_t middle = texts->starts[place], before = middle - texts->starts[place - 1];
	size_t length = texts->starts[place + 1] - middle;
	int order =
	    memcmp(texts->bytes + middle - before, texts->bytes + middle, before < length ? before : length);

	return order < 0 || (order == 0 && before < length);
}

static void
read_texts(pe_reader *r, pe_texts *texts)
{
	uint32_t count = pe_read_count(r, 2, UINT32_MAX - 1);
	uint64_t bytes = pe_read_int(r, 8), used = 0;

	if (!pe_reader_bad(r) && (count == 0 || bytes > r->left))
		pe_reader_fail(r, "the texts of users or items are missing");
	texts->starts = pe_read_array(r, (size_t) count + 1, sizeof(size_t));
	texts->bytes = pe_read_array(r, bytes, 1);
	if (pe_reader_bad(r))
		return;
	texts->count = count;
	for (uint32_t i = 0; i < count; i++)
	{
		uint64_t length = pe_read_int(r, 2);

		used += length;
		if (length > PE_MAX_ITEM_LENGTH || used > bytes)
			pe_reader_fail(r, "a text is too long");
		texts->starts[i + 1] = used;
	}
	if (!pe_reader_bad(r) && (used != bytes || bytes > r->left))
		pe_reader_fail(r, "texts do not make the whole");
	if (pe_reader_bad(r))
		return;
	memcpy(texts->bytes, r->at, bytes);
	r->at += bytes;
	r->left -= bytes;
	for (uint32_t i = 1; i < count; i++)
		if (!rises(texts, i))
			pe_reader_fail(r, "texts are out of order");
}

/* positive: values must be above 0. */
static void
read_sparse(pe_reader *r, pe_sparse *matrix, uint32_t rows, uint32_t columns, bool positive)
{
	uint32_t cells = pe_read_count(r, 4, UINT32_MAX);
	bool values = pe_read_bool(r);
	uint64_t at = 0;

	matrix->rows = rows;
	matrix->columns_count = columns;
	matrix->starts = pe_read_array(r, (size_t) rows + 1, sizeof(uint32_t));
	for (uint32_t row = 0; row < rows && !pe_reader_bad(r); row++)
	{
		at += pe_read_int(r, 4);
		if (at > cells)
			pe_reader_fail(r, "a row is too long");
		else
			matrix->starts[row + 1] = (uint32_t) at;
	}
	if (!pe_reader_bad(r) && at != cells)
		pe_reader_fail(r, "its rows do not make the whole");
	matrix->columns = pe_read_array(r, cells, sizeof(uint32_t));
	if (values)
		matrix->values = pe_read_array(r, cells, sizeof(float));
	if (pe_reader_bad(r))
		return;
	read_words(r, matrix->columns, cells);
	if (values)
		read_words(r, matrix->values, cells);
	for (uint32_t row = 0; row < rows && !pe_reader_bad(r); row++)
		for (uint32_t cell = matrix->starts[row]; cell < matrix->starts[row + 1]; cell++)
		{
			if (matrix->columns[cell] >= columns ||
			    (cell > matrix->starts[row] && matrix->columns[cell] <= matrix->columns[cell - 1]))
				pe_reader_fail(r, "columns are out of order");
			if (values && (!isfinite(matrix->values[cell]) || (positive && !(matrix->values[cell] > 0))))
				pe_reader_fail(r, "a value is not a number above 0");
		}
}

static void
read_factors(pe_reader *r, pe_recommender *recommender)
{
	uint32_t items = recommender->taken.columns_count;
	int factors = recommender->settings.factors;

	if (!pe_reader_bad(r) && r->left / 4 / (size_t) factors < items)
		pe_reader_fail(r, "it ends too early");
	recommender->factors = pe_read_array(r, (size_t) items * recommender->width, sizeof(float));
	for (uint32_t item = 0; item < items && !pe_reader_bad(r); item++)
	{
		float *row = recommender->factors + (size_t) item * recommender->width;

		read_words(r, row, factors);
		for (int i = 0; i < factors; i++)
			if (!(fabsf(row[i]) < 1e15f))
				pe_reader_fail(r, "a factor is no finite number");
	}
}

static pe_status
finish(const pe_env *env, pe_recommender *recommender, pe_error *err)
{
	pe_team *team = pe_team_create(env, 1);
	pe_status status = team == NULL ? pe_fail_memory(err) : pe_recommender_count(recommender, err);

	if (status == PE_OK)
		status = pe_recommender_finish(recommender, team, err);
	pe_team_free(team);
	return status;
}

pe_status
pe_recommender_deserialize(const pe_env *env, const uint8_t *bytes, size_t length,
                           pe_recommender **recommender, pe_error *err)
{
	pe_reader r;
	pe_status status = pe_artifact_open(&r, env, bytes, length, magic, FORMAT_VERSION, err);
	pe_recommender *made;

	*recommender = NULL;
	if (status != PE_OK)
		return status;
	made = pe_calloc(env, 1, sizeof(*made));
	if (made == NULL)
		return pe_fail_memory(err);
	made->env = *env;
	made->env.tick = NULL;
	made->env.tick_ctx = NULL;
	read_settings(&r, &made->settings);
	made->width = pe_width(made->settings.factors);
	read_texts(&r, &made->users);
	read_texts(&r, &made->items);
	read_sparse(&r, &made->taken, made->users.count, made->items.count, true);
	if (!pe_reader_bad(&r) && made->settings.method == PE_RECOMMEND_ITEM_ITEM)
	{
		read_sparse(&r, &made->similarities, made->items.count, made->items.count, false);
		if (!pe_reader_bad(&r) && made->similarities.values == NULL)
			pe_reader_fail(&r, "similarities are missing");
	}
	if (!pe_reader_bad(&r) && made->settings.method == PE_RECOMMEND_ALS)
		read_factors(&r, made);
	status = pe_artifact_close(&r, err);
	if (status == PE_OK)
		status = finish(env, made, err);
	if (status == PE_OK)
		*recommender = made;
	else
		pe_recommender_free(made);
	return status;
}
