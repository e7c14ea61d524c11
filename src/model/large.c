/*
 * large.c
 *		Memory for the large arrays that training goes through in no order: on large pages
 *		where the kernel has some, since finding a small page's address would cost more than
 *		reading the value. Without them it is ordinary memory.
 */
#include <sys/mman.h>

#include "model/internal.h"

#define LARGE_PAGE ((uintptr_t) 2 << 20)

void *
pe_alloc_large(const pe_env *env, size_t count, size_t size)
{
	size_t bytes;
	void *memory;

	if (__builtin_mul_overflow(count, size, &bytes) || (memory = pe_alloc(env, bytes)) == NULL)
		return NULL;
#ifdef MADV_HUGEPAGE
	{
		uintptr_t begin = ((uintptr_t) memory + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1);
		uintptr_t end = ((uintptr_t) memory + bytes) & ~(LARGE_PAGE - 1);

		/* Advice: a refusal changes nothing. */
		if (end > begin)
			(void) madvise((void *) begin, end - begin, MADV_HUGEPAGE);
	}
#endif
	return memory;
}
