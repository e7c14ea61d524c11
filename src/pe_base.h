/*
 * pe_base.h
 *		The seams between the pure layers and whoever calls them: status codes, the
 *		error record, the allocator and the tick.
 *
 * This is the only header that model/, platform/ and snapshot/ share. It depends
 * on libc alone, so that each of the three layers can be built, tested and fuzzed
 * without a server.
 */
#ifndef PE_BASE_H
#define PE_BASE_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The version of the extension, which the Makefile reads from the control file. */
#ifndef PE_VERSION
#define PE_VERSION "dev"
#endif

/*
 * What a call ended with. The glue maps each to one SQLSTATE (pg/report.c), so a
 * code says what the user can do about it, not where in our code it happened.
 */
typedef enum pe_status
{
	PE_OK = 0,
	PE_CANCELLED,      /* the tick asked to stop; everything was released */
	PE_OUT_OF_MEMORY,  /* the allocator returned NULL */
	PE_INVALID_OPTION, /* an option's name or value is wrong */
	PE_INVALID_DATA,   /* the rows cannot be used (one class only, all values missing, ...) */
	PE_NOT_FOUND,      /* a named thing (column, path, dataset, profile) is not there */
	PE_CORRUPT,        /* bytes from outside do not parse, or contradict themselves */
	PE_UNSUPPORTED,    /* well-formed, but a feature we do not read or offer */
	PE_TYPE_MISMATCH,  /* a value does not fit the type it was asked for as */
	PE_LIMIT,          /* beyond a stated bound (memory, size, depth, count) */
	PE_IO,             /* reading a file or a stream failed */
	PE_EXHAUSTED,      /* the system has no descriptor or memory left for it just now: try again later */
	PE_CONFIGURATION,  /* a setting, secret or URL is missing or not allowed */
	PE_UNREACHABLE,    /* no connection: name, route, refused, handshake, timeout */
	PE_UNTRUSTED,      /* the peer's certificate or address is not acceptable */
	PE_UNAUTHORISED,   /* the platform refused the credential or its permissions */
	PE_REFUSED,        /* the platform refused the request for what it says */
	PE_CONFLICT,       /* the platform already has another thing of that name */
	PE_BAD_REPLY,      /* the platform's answer cannot be understood */
	PE_INTERNAL        /* a can't-happen that was checked */
} pe_status;

/*
 * What went wrong, in words. message: lower case, no full stop, names the thing;
 * detail and hint: sentences, or empty. Never holds secrets, tokens or row values.
 * row is 1-based, 0 when there is none; column names a column, feature or path.
 */
typedef struct pe_error
{
	pe_status code;
	int64_t row;
	char column[128];
	char message[384];
	char detail[384];
	char hint[256];
} pe_error;

/* How many bytes of text to print where most fit: it is cut between two characters, not inside of one. */
static inline int
pe_clipped(const char *text, size_t most)
{
	size_t end = strnlen(text, most + 1);

	if (end <= most)
		return (int) end;
	for (end = most; end > 0 && ((unsigned char) text[end] & 0xC0) == 0x80;)
		end--;
	return (int) end;
}

/* Print into a field of an error; what does not fit is cut likewise. */
static inline void
pe_error_print(char *text, size_t size, const char *format, va_list args)
{
	int length = vsnprintf(text, size, format, args);
	size_t end = size - 1;

	if (length < 0 || (size_t) length < size)
		return;
	while (end > 0 && ((unsigned char) text[end - 1] & 0xC0) == 0x80)
		end--;
	if (end > 0 && ((unsigned char) text[end - 1] & 0xC0) == 0xC0)
		end--;
	text[end] = '\0';
}

/* Set code and message, clear the rest, and return the code: "return pe_fail(err, ...)". */
static inline pe_status __attribute__((format(printf, 3, 4)))
pe_fail(pe_error *err, pe_status code, const char *format, ...)
{
	if (err != NULL)
	{
		va_list args;

		memset(err, 0, sizeof(*err));
		err->code = code;
		va_start(args, format);
		pe_error_print(err->message, sizeof(err->message), format, args);
		va_end(args);
	}
	return code;
}

static inline void __attribute__((format(printf, 2, 3))) pe_error_hint(pe_error *err, const char *format, ...)
{
	if (err != NULL)
	{
		va_list args;

		va_start(args, format);
		pe_error_print(err->hint, sizeof(err->hint), format, args);
		va_end(args);
	}
}

static inline void __attribute__((format(printf, 2, 3)))
pe_error_detail(pe_error *err, const char *format, ...)
{
	if (err != NULL)
	{
		va_list args;

		va_start(args, format);
		pe_error_print(err->detail, sizeof(err->detail), format, args);
		va_end(args);
	}
}

/* What a failed system call means: PE_EXHAUSTED when it may succeed later as it is, else what is given. */
static inline pe_status
pe_status_of_errno(int error, pe_status otherwise)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ? PE_EXHAUSTED
	                                                                                 : otherwise;
}

static inline pe_status
pe_fail_memory(pe_error *err)
{
	return pe_fail(err, PE_OUT_OF_MEMORY, "out of memory");
}

/*
 * Where memory comes from. alloc and realloc return NULL on failure and never
 * jump; free and realloc accept NULL. Not thread safe: only the thread that made
 * the call into a layer may allocate. Everything allocated is either freed or
 * owned by an object with a free function, but a caller may also drop the whole
 * arena behind ctx at once.
 */
typedef struct pe_allocator
{
	void *(*alloc)(void *ctx, size_t size);
	void *(*realloc)(void *ctx, void *ptr, size_t size);
	void (*free)(void *ctx, void *ptr);
	void *ctx;
} pe_allocator;

/*
 * Called from long loops on the calling thread, at least every 20 ms of work.
 * phase is a static string; total is 0 when unknown. Non-zero means stop.
 */
typedef int (*pe_tick)(void *ctx, const char *phase, uint64_t done, uint64_t total);

/* What every long-running call of a pure layer is given. tick may be NULL. */
typedef struct pe_env
{
	pe_allocator allocator;
	pe_tick tick;
	void *tick_ctx;
} pe_env;

static inline void *
pe_alloc(const pe_env *env, size_t size)
{
	return env->allocator.alloc(env->allocator.ctx, size > 0 ? size : 1);
}

/* Zeroed array of count items; NULL on overflow or when out of memory. */
static inline void *
pe_calloc(const pe_env *env, size_t count, size_t size)
{
	size_t bytes;
	void *ptr;

	if (__builtin_mul_overflow(count, size, &bytes))
		return NULL;
	ptr = pe_alloc(env, bytes);
	if (ptr != NULL)
		memset(ptr, 0, bytes);
	return ptr;
}

static inline void *
pe_realloc(const pe_env *env, void *ptr, size_t size)
{
	return env->allocator.realloc(env->allocator.ctx, ptr, size > 0 ? size : 1);
}

static inline void
pe_free(const pe_env *env, void *ptr)
{
	if (ptr != NULL)
		env->allocator.free(env->allocator.ctx, ptr);
}

static inline char *
pe_strndup(const pe_env *env, const char *text, size_t length)
{
	char *copy = pe_alloc(env, length + 1);

	if (copy != NULL)
	{
		memcpy(copy, text, length);
		copy[length] = '\0';
	}
	return copy;
}

static inline bool
pe_stopped(const pe_env *env, const char *phase, uint64_t done, uint64_t total)
{
	return env->tick != NULL && env->tick(env->tick_ctx, phase, done, total) != 0;
}

#endif /* PE_BASE_H */
