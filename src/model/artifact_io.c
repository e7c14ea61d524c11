/*
 * artifact_io.c
 *		Writing and reading the bytes of artifacts.
 */
#include "model/artifact_io.h"

/* ---- writing -------------------------------------------------------------------------- */

void
pe_write_int(pe_writer *w, uint64_t value, int bytes)
{
	for (int i = 0; w->at != NULL && i < bytes; i++)
		w->at[w->length + i] = (uint8_t) (value >> (8 * i));
	w->length += bytes;
}

void
pe_write_double(pe_writer *w, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	pe_write_int(w, bits, 8);
}

void
pe_write_doubles(pe_writer *w, const double *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pe_write_double(w, values[i]);
}

void
pe_write_text(pe_writer *w, const char *text)
{
	size_t length = strlen(text);

	pe_write_int(w, length, 4);
	if (w->at != NULL)
		memcpy(w->at + w->length, text, length);
	w->length += length;
}

/* ---- reading -------------------------------------------------------------------------- */

void
pe_reader_fail(pe_reader *r, const char *what)
{
	if (r->wrong == NULL)
		r->wrong = what;
	r->left = 0;
}

bool
pe_reader_bad(const pe_reader *r)
{
	return r->wrong != NULL || r->no_memory;
}

uint64_t
pe_read_int(pe_reader *r, int bytes)
{
	uint64_t value = 0;

	if (pe_reader_bad(r) || r->left < (size_t) bytes)
	{
		pe_reader_fail(r, "it ends too early");
		return 0;
	}
	for (int i = 0; i < bytes; i++)
		value |= (uint64_t) r->at[i] << (8 * i);
	r->at += bytes;
	r->left -= bytes;
	return value;
}

double
pe_read_double(pe_reader *r)
{
	uint64_t bits = pe_read_int(r, 8);
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

double
pe_read_finite(pe_reader *r, const char *what)
{
	double value = pe_read_double(r);

	if (!isfinite(value))
		pe_reader_fail(r, what);
	return value;
}

bool
pe_read_bool(pe_reader *r)
{
	uint64_t value = pe_read_int(r, 1);

	if (value > 1)
		pe_reader_fail(r, "a flag is neither 0 nor 1");
	return value == 1;
}

/* A count of things that take at least least bytes each, so that it can be believed. */
uint32_t
pe_read_count(pe_reader *r, size_t least, uint32_t most)
{
	uint64_t count = pe_read_int(r, 4);

	if (pe_reader_bad(r) || count > most || count > r->left / least)
	{
		pe_reader_fail(r, "a count is too large");
		return 0;
	}
	return (uint32_t) count;
}

void *
pe_read_array(pe_reader *r, size_t count, size_t size)
{
	void *ptr;

	if (pe_reader_bad(r))
		return NULL;
	ptr = pe_calloc(r->env, count, size);
	if (ptr == NULL)
		r->no_memory = true;
	return ptr;
}

char *
pe_read_text(pe_reader *r, size_t most)
{
	uint32_t length = pe_read_count(r, 1, (uint32_t) most);
	char *text;

	if (pe_reader_bad(r) || memchr(r->at, 0, length) != NULL)
	{
		pe_reader_fail(r, "a text holds a zero byte");
		return NULL;
	}
	text = pe_strndup(r->env, (const char *) r->at, length);
	if (text == NULL)
		r->no_memory = true;
	r->at += length;
	r->left -= length;
	return text;
}

double *
pe_read_doubles(pe_reader *r, size_t count, const char *what)
{
	double *values = pe_read_array(r, count, sizeof(double));

	for (size_t i = 0; i < count && !pe_reader_bad(r); i++)
		values[i] = pe_read_finite(r, what);
	return values;
}

/* ---- the frame ------------------------------------------------------------------------ */

pe_status
pe_artifact_write(const pe_env *env, const char *magic, uint32_t version, pe_write_body write,
                  const void *what, uint8_t **bytes, size_t *length, pe_error *err)
{
	pe_writer count = {NULL, PE_ARTIFACT_HEADER}, body = {NULL, PE_ARTIFACT_HEADER}, head = {NULL, 0};

	*bytes = NULL;
	*length = 0;
	write(&count, what);
	if ((body.at = pe_alloc(env, count.length)) == NULL)
		return pe_fail_memory(err);
	write(&body, what);
	head.at = body.at;
	memcpy(head.at, magic, PE_ARTIFACT_MAGIC);
	head.length = PE_ARTIFACT_MAGIC;
	pe_write_int(&head, version, 4);
	pe_write_int(&head, body.length - PE_ARTIFACT_HEADER, 8);
	pe_write_int(&head, pe_crc32c(body.at + PE_ARTIFACT_HEADER, body.length - PE_ARTIFACT_HEADER), 4);
	*bytes = body.at;
	*length = body.length;
	return PE_OK;
}

pe_status
pe_artifact_open(pe_reader *r, const pe_env *env, const uint8_t *bytes, size_t size, const char *magic,
                 uint32_t newest, pe_error *err)
{
	uint64_t length, checksum;

	*r = (pe_reader){.env = env, .at = bytes, .left = size};
	if (size < PE_ARTIFACT_HEADER || memcmp(bytes, magic, PE_ARTIFACT_MAGIC) != 0)
		return pe_fail(err, PE_CORRUPT, "these bytes are not a model");
	r->at += PE_ARTIFACT_MAGIC;
	r->left -= PE_ARTIFACT_MAGIC;
	r->version = (uint32_t) pe_read_int(r, 4);
	length = pe_read_int(r, 8);
	checksum = pe_read_int(r, 4);
	if (r->version > newest)
	{
		pe_fail(err, PE_UNSUPPORTED, "the model has format version %u, and this build reads up to %u",
		        r->version, newest);
		pe_error_hint(err, "Install the newer version of the extension that trained it.");
		return PE_UNSUPPORTED;
	}
	if (r->version == 0 || length != r->left)
		return pe_fail(err, PE_CORRUPT, "the model is damaged: its length or version is wrong");
	if (pe_crc32c(r->at, r->left) != checksum)
		return pe_fail(err, PE_CORRUPT, "the model is damaged: its checksum does not match");
	return PE_OK;
}

pe_status
pe_artifact_close(pe_reader *r, pe_error *err)
{
	if (!pe_reader_bad(r) && r->left > 0)
		pe_reader_fail(r, "it goes on after its end");
	if (!pe_reader_bad(r))
		return PE_OK;
	if (r->no_memory)
		return pe_fail_memory(err);
	pe_fail(err, PE_CORRUPT, "the model is damaged: %s", r->wrong);
	pe_error_hint(err, "Train it again, or restore it from a backup.");
	return PE_CORRUPT;
}
