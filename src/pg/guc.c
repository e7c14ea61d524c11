/*
 * guc.c
 *		The table of settings.
 *
 * A setting that names a file, URL or address is superuser-only (PGC_SUSET) or
 * belongs to the server's configuration (PGC_SIGHUP); sizes of shared memory are
 * PGC_POSTMASTER; all else is the user's.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "pg/guc.h"

int pe_threads = 2;
int pe_training_memory = 4096;
int pe_model_cache_size = 256;

void
pe_define_settings(void)
{
	DefineCustomIntVariable("profenrich.threads", "Threads that training and scoring may use in one session.",
							"Low by default: every session may use as many.", &pe_threads, 2, 1, 64, PGC_USERSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("profenrich.training_memory", "Private memory that one training may use.",
							"A training that would need more stops before it reads rows, and says how many would fit.",
							&pe_training_memory, 4096, 16, MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("profenrich.model_cache_size", "Memory for models a session keeps loaded.", NULL,
							&pe_model_cache_size, 256, 1, MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_MB, NULL, NULL, NULL);
	MarkGUCPrefixReserved("profenrich");
}
