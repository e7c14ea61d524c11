/*
 * tap.h
 *		The unit tests' few lines of harness: TAP output, an allocator that counts
 *		and can fail at its n-th call, and a pe_env that uses it.
 */
#ifndef TAP_H
#define TAP_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "pe_base.h"

static int tap_count = 0;
static int tap_failures = 0;

#define OK(condition, ...) tap_ok((condition), __FILE__, __LINE__, __VA_ARGS__)
#define IS_INT(got, want, ...)                                                                               \
	tap_is_int((long long) (got), (long long) (want), __FILE__, __LINE__, __VA_ARGS__)
#define IS_STR(got, want, ...) tap_is_str((got), (want), __FILE__, __LINE__, __VA_ARGS__)
#define IS_NEAR(got, want, tolerance, ...)                                                                   \
	tap_is_near((got), (want), (tolerance), __FILE__, __LINE__, __VA_ARGS__)

static inline bool __attribute__((format(printf, 4, 5)))
tap_ok(bool condition, const char *file, int line, const char *format, ...)
{
	va_list args;

	printf("%sok %d - ", condition ? "" : "not ", ++tap_count);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	if (!condition)
	{
		tap_failures++;
		printf("#   at %s line %d\n", file, line);
	}
	fflush(stdout);
	return condition;
}

static inline bool __attribute__((format(printf, 5, 6)))
tap_is_int(long long got, long long want, const char *file, int line, const char *format, ...)
{
	char name[512];
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	if (tap_ok(got == want, file, line, "%s", name))
		return true;
	printf("#   got %lld, want %lld\n", got, want);
	return false;
}

static inline bool __attribute__((format(printf, 5, 6)))
tap_is_str(const char *got, const char *want, const char *file, int line, const char *format, ...)
{
	char name[512];
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	if (tap_ok(got != NULL && want != NULL && strcmp(got, want) == 0, file, line, "%s", name))
		return true;
	printf("#   got '%s'\n#   want '%s'\n", got ? got : "(null)", want ? want : "(null)");
	return false;
}

static inline bool __attribute__((format(printf, 6, 7)))
tap_is_near(double got, double want, double tolerance, const char *file, int line, const char *format, ...)
{
	char name[512];
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	if (tap_ok(fabs(got - want) <= tolerance, file, line, "%s", name))
		return true;
	printf("#   got %.17g, want %.17g within %g\n", got, want, tolerance);
	return false;
}

/* Call at the end of main: "return tap_done();". */
static inline int
tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failures == 0 ? 0 : 1;
}

/*
 * The counting allocator. fail_at = n makes the n-th call to alloc or realloc
 * (1-based) and all later ones return NULL; 0 never fails. live counts blocks
 * not yet freed, so that a test can assert that a failed call leaked nothing.
 */
typedef struct tap_memory
{
	long calls;
	long fail_at;
	long live;
} tap_memory;

static inline void *
tap_alloc(void *ctx, size_t size)
{
	tap_memory *memory = ctx;
	void *ptr;

	if (++memory->calls >= memory->fail_at && memory->fail_at > 0)
		return NULL;
	ptr = malloc(size);
	if (ptr != NULL)
		memory->live++;
	return ptr;
}

static inline void *
tap_realloc(void *ctx, void *ptr, size_t size)
{
	tap_memory *memory = ctx;
	void *result;

	if (++memory->calls >= memory->fail_at && memory->fail_at > 0)
		return NULL;
	result = realloc(ptr, size);
	if (result != NULL && ptr == NULL)
		memory->live++;
	return result;
}

static inline void
tap_free(void *ctx, void *ptr)
{
	tap_memory *memory = ctx;

	if (ptr != NULL)
		memory->live--;
	free(ptr);
}

static inline pe_env
tap_env(tap_memory *memory)
{
	pe_env env = {.allocator = {tap_alloc, tap_realloc, tap_free, memory}, .tick = NULL, .tick_ctx = NULL};

	return env;
}

#endif /* TAP_H */
