/*
 * shmem.c
 *		Attaching to shared memory that may not be there.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "pg/shmem.h"

void *
pe_shmem_attach(const char *name, Size size, void (*init)(void *))
{
	MemoryContext caller = CurrentMemoryContext;
	uint32 holdoff = InterruptHoldoffCount;
	void *volatile area = NULL;
	bool found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	PG_TRY();
	{
		area = ShmemInitStruct(name, size, &found);
		if (!found)
			init(area);
	}
	PG_CATCH();
	{
		/*
		 * The error has left us in ErrorContext and has forgotten that the lock holds
		 * interrupts off: releasing it would count below zero, and nothing could
		 * cancel this session any more.
		 */
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		InterruptHoldoffCount = holdoff + 1;
		area = NULL;
	}
	PG_END_TRY();
	LWLockRelease(AddinShmemInitLock);
	return area;
}
