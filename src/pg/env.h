/*
 * env.h
 *		The server's side of pe_env: memory from a MemoryContext, and a tick that
 *		stops when an interrupt is pending.
 */
#ifndef PE_ENV_H
#define PE_ENV_H

#include "postgres.h"

#include "pe_base.h"

/*
 * An env whose memory comes from context. Allocation failure is NULL, never a
 * jump, and sizes past 1 GB are allowed. The tick reads InterruptPending and, when
 * pe_progress_publish is given a slot (progress.c), publishes phase, done and total.
 */
extern pe_env pe_server_env(MemoryContext context);

/* The same, but its tick leaves the progress to the caller, who knows more of it. */
extern pe_env pe_quiet_env(MemoryContext context);

#endif /* PE_ENV_H */
