/*
 * artifact_io.h
 *		The bytes of artifacts: a frame, and within it values one after another.
 *
 * Everything is little-endian: integers of 1, 2, 4 or 8 bytes, doubles as their IEEE
 * bits, texts as a 4-byte length and their bytes. The frame: 8 bytes magic, 4 bytes
 * format version, 8 bytes length of what follows, 4 bytes CRC-32C of it.
 *
 * Reading trusts nothing, since bytes may come from a restored or tampered table: a
 * count is checked against the bytes that are left before anything is allocated for
 * it. Who reads checks every index before the model is handed out, so that predict
 * needs no checks.
 */
#ifndef PE_MODEL_ARTIFACT_IO_H
#define PE_MODEL_ARTIFACT_IO_H

#include "model/internal.h"

#define PE_ARTIFACT_MAGIC  8 /* bytes */
#define PE_ARTIFACT_HEADER 24

/* Counts with at == NULL, writes otherwise. */
typedef struct pe_writer
{
	uint8_t *at;
	size_t length;
} pe_writer;

extern void pe_write_int(pe_writer *w, uint64_t value, int bytes);
extern void pe_write_double(pe_writer *w, double value);
extern void pe_write_doubles(pe_writer *w, const double *values, size_t count);
extern void pe_write_text(pe_writer *w, const char *text);

/* Once bad, everything read is 0 and nothing more is allocated. */
typedef struct pe_reader
{
	const pe_env *env;
	const uint8_t *at;
	size_t left;
	uint32_t version;  /* the frame's format version */
	const char *wrong; /* NULL: all is well */
	bool no_memory;
} pe_reader;

/* what, as in "the model is damaged: <what>"; the first one stays. */
extern void pe_reader_fail(pe_reader *r, const char *what);
extern bool pe_reader_bad(const pe_reader *r);
extern uint64_t pe_read_int(pe_reader *r, int bytes);
extern double pe_read_double(pe_reader *r);
extern double pe_read_finite(pe_reader *r, const char *what);
extern bool pe_read_bool(pe_reader *r);
/* A count of at most most things that take at least least bytes each, so that it can be believed. */
extern uint32_t pe_read_count(pe_reader *r, size_t least, uint32_t most);
/* Zeroed memory of the reader's env, NULL once bad. The caller's to free, also when reading fails later. */
extern void *pe_read_array(pe_reader *r, size_t count, size_t size);
extern char *pe_read_text(pe_reader *r, size_t most);
extern double *pe_read_doubles(pe_reader *r, size_t count, const char *what);

/* Called twice: to count, and to write. */
typedef void (*pe_write_body)(pe_writer *w, const void *what);

/* magic has PE_ARTIFACT_MAGIC bytes. *bytes is env's and the caller's to free. */
extern pe_status pe_artifact_write(const pe_env *env, const char *magic, uint32_t version,
                                   pe_write_body write, const void *what, uint8_t **bytes, size_t *length,
                                   pe_error *err);
/* Checks the frame: PE_CORRUPT, or PE_UNSUPPORTED for a version beyond newest. */
extern pe_status pe_artifact_open(pe_reader *r, const pe_env *env, const uint8_t *bytes, size_t size,
                                  const char *magic, uint32_t newest, pe_error *err);
/* PE_OK when all was read and well, else PE_CORRUPT or PE_OUT_OF_MEMORY. */
extern pe_status pe_artifact_close(pe_reader *r, pe_error *err);

#endif /* PE_MODEL_ARTIFACT_IO_H */
