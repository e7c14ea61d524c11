/*
 * guc.h
 *		The settings of profenrich.*. Each is documented where it is defined, in
 *		guc.c, and in the README's table.
 */
#ifndef PE_GUC_H
#define PE_GUC_H

#include "postgres.h"

extern int pe_threads;               /* profenrich.threads */
extern int pe_training_memory_limit; /* profenrich.training_memory, in MB */
extern int pe_parallel_downloads;    /* profenrich.parallel_downloads */
extern int pe_model_cache_size;      /* profenrich.model_cache_size, in MB */

/* Connecting (connection.c, secret.c): all of them the superuser's. */
extern char *pe_secret_directory;        /* profenrich.secret_directory; "" when unset */
extern bool pe_allow_secret_option;      /* profenrich.allow_secret_option */
extern bool pe_allow_insecure_loopback;  /* profenrich.allow_insecure_loopback */
extern bool pe_allow_private_addresses;  /* profenrich.allow_private_addresses */
extern char *pe_sender_identity_setting; /* profenrich.sender_identity; "" when unset */
extern int pe_ready_after;               /* profenrich.ready_after, in s; -1: by what provisioning changed */
extern int pe_resend_gap;                /* profenrich.resend_gap, in seconds */

/* The workers (launcher.c, worker.c). */
extern char *pe_databases;     /* profenrich.databases; "" for all that have the extension */
extern int pe_poll_interval;   /* profenrich.poll_interval, in s */
extern int pe_audit_retention; /* profenrich.audit_retention, in days; 0: for ever */
extern int pe_log_retention;   /* profenrich.log_retention, in days */

/* Delivery by batch (batch_delivery.c). */
extern int pe_batch_min_keys;      /* profenrich.batch_min_keys */
extern int pe_batch_max_streaming; /* profenrich.batch_max_streaming, in s */
extern int pe_batch_budget;        /* profenrich.batch_budget, batches a day */
extern int pe_batch_file_size;     /* profenrich.batch_file_size, in kB */

extern int
    pe_late_check_interval; /* profenrich.late_check_interval, in s; 0: only when asked (late_check.c) */

/* What becomes of a snapshot that fails its validation (validate.c). */
typedef enum PeSnapshotGate
{
	PE_GATE_REFUSE,
	PE_GATE_FORCE,
	PE_GATE_OFF
} PeSnapshotGate;

extern int pe_snapshot_gate; /* profenrich.snapshot_gate */

extern void pe_define_settings(void);

#endif /* PE_GUC_H */
