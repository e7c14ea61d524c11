/*
 * guc.h
 *		The settings of profenrich.*. Each is documented where it is defined, in
 *		guc.c, and in the README's table.
 */
#ifndef PE_GUC_H
#define PE_GUC_H

#include "postgres.h"

extern int pe_threads;			/* profenrich.threads */
extern int pe_training_memory;	/* profenrich.training_memory, in MB */
extern int pe_model_cache_size; /* profenrich.model_cache_size, in MB */

extern void pe_define_settings(void);

#endif /* PE_GUC_H */
