/*
 * shmem.h
 *		A piece of shared memory that the server can do without.
 */
#ifndef PE_SHMEM_H
#define PE_SHMEM_H

#include "postgres.h"

/*
 * The named piece of size bytes, made and given to init when nobody has yet; NULL
 * when shared memory has run out. Raises nothing.
 */
extern void *pe_shmem_attach(const char *name, Size size, void (*init)(void *));

#endif /* PE_SHMEM_H */
