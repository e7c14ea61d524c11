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
int pe_training_memory_limit = 4096;
int pe_model_cache_size = 256;
int pe_resend_gap = 900;
char *pe_secret_directory = NULL;
bool pe_allow_secret_option = false;
bool pe_allow_insecure_loopback = false;
bool pe_allow_private_addresses = false;
char *pe_sender_identity_setting = NULL;
int pe_ready_after = -1;
char *pe_databases = NULL;
int pe_poll_interval = 10;
int pe_log_retention = 30;
int pe_batch_min_keys = 2000000;
int pe_batch_max_streaming = 3600;
int pe_batch_budget = 90;
int pe_batch_file_size = 8192;
int pe_late_check_interval = 900;
int pe_audit_retention = 730;
int pe_parallel_downloads = 4;
int pe_snapshot_gate = PE_GATE_REFUSE;

static const struct config_enum_entry snapshot_gates[] = {
    {"refuse", PE_GATE_REFUSE, false},
    {"force", PE_GATE_FORCE, false},
    {"off", PE_GATE_OFF, false},
    {NULL, 0, false},
};

static bool
check_secret_directory(char **value, void **extra, GucSource source)
{
	if (**value == '\0' || is_absolute_path(*value))
		return true;
	GUC_check_errdetail("The directory must be an absolute path.");
	return false;
}

static void
define_connection_settings(void)
{
	DefineCustomStringVariable("profenrich.secret_directory",
	                           "Directory of the secret files that user mappings name.",
	                           "Owned by the server's user or root, writable by nobody else; each file 0600.",
	                           &pe_secret_directory, "", PGC_SUSET, 0, check_secret_directory, NULL, NULL);
	DefineCustomBoolVariable("profenrich.allow_secret_option",
	                         "Accepts client_secret as an option of a user mapping.",
	                         "Off by default: dumps, logs and statistics show such a secret.",
	                         &pe_allow_secret_option, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("profenrich.allow_insecure_loopback", "Allows plain http to a loopback address.",
	                         NULL, &pe_allow_insecure_loopback, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable(
	    "profenrich.allow_private_addresses",
	    "Allows platform hosts that resolve to private, link-local or loopback addresses.", NULL,
	    &pe_allow_private_addresses, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable(
	    "profenrich.sender_identity", "Name under which this cluster sends.",
	    "Unset: the system identifier, data directory and database. A copied database has the identity of "
	    "the original in its enrichments, and so stays silent until they are adopted.",
	    &pe_sender_identity_setting, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("profenrich.ready_after", "Time after provisioning during which nothing is sent.",
	                        "-1: five minutes after a new flow, fifteen after a schema change.",
	                        &pe_ready_after, -1, -1, 86400, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_worker_settings(void)
{
	DefineCustomStringVariable("profenrich.databases", "Databases that get a worker, separated by commas.",
	                           "Empty: each database that has the extension.", &pe_databases, "", PGC_SIGHUP,
	                           GUC_LIST_INPUT, NULL, NULL, NULL);
	DefineCustomIntVariable("profenrich.poll_interval",
	                        "Time after which an idle worker looks into its queue.",
	                        "A safety net: a worker is woken when something is queued.", &pe_poll_interval,
	                        10, 1, 3600, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("profenrich.audit_retention", "Days for which the audit log is kept.",
	                        "0: for ever. A worker deletes what is older.", &pe_audit_retention, 730, 0,
	                        36500, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("profenrich.log_retention", "Days for which the delivery log is kept.", NULL,
	                        &pe_log_retention, 30, 1, 3650, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_batch_settings(void)
{
	DefineCustomIntVariable("profenrich.batch_min_keys",
	                        "Queued profiles above which an enrichment in auto mode is delivered by batch.",
	                        NULL, &pe_batch_min_keys, 2000000, 1, INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
	    "profenrich.batch_max_streaming",
	    "Time that streaming may take before an enrichment in auto mode is delivered by batch.",
	    "Reckoned from the queued profiles and the server's messages_per_second.", &pe_batch_max_streaming,
	    3600, 1, 86400 * 7, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("profenrich.batch_budget",
	                        "Batches that a sandbox takes in 24 hours, those of all its feeds together.",
	                        "Once it is used up an enrichment in auto mode streams, one in batch mode waits.",
	                        &pe_batch_budget, 90, 0, 100000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("profenrich.batch_file_size", "Size of the files that make up a batch.",
	                        "The worker holds one in memory.", &pe_batch_file_size, 8192, 64, 16384,
	                        PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable(
	    "profenrich.late_check_interval",
	    "How often the worker looks for records that the platform received and refused afterwards.",
	    "0: only when check_late_failures() asks for it.", &pe_late_check_interval, 900, 0, 86400, PGC_SIGHUP,
	    GUC_UNIT_S, NULL, NULL, NULL);
}

void
pe_define_settings(void)
{
	DefineCustomIntVariable("profenrich.threads", "Threads that training and scoring may use in one session.",
	                        "Low by default: every session may use as many.", &pe_threads, 2, 1, 64,
	                        PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
	    "profenrich.training_memory", "Private memory that one training may use.",
	    "A training that would need more stops before it reads rows, and says how many would fit.",
	    &pe_training_memory_limit, 4096, 16, MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("profenrich.model_cache_size", "Memory for models a session keeps loaded.", NULL,
	                        &pe_model_cache_size, 256, 1, MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_MB, NULL, NULL,
	                        NULL);
	DefineCustomIntVariable("profenrich.parallel_downloads",
	                        "Parts of a batch, or exported files, that are downloaded at a time.", NULL,
	                        &pe_parallel_downloads, 4, 1, 16, PGC_USERSET, 0, NULL, NULL, NULL);
	define_connection_settings();
	define_worker_settings();
	define_batch_settings();
	DefineCustomIntVariable("profenrich.resend_gap",
	                        "Least time between two values of one profile on the wire.",
	                        "The platform may apply two values that come close together in either order.",
	                        &pe_resend_gap, 900, 0, 86400, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomEnumVariable(
	    "profenrich.snapshot_gate", "What becomes of a snapshot that fails the validation set for its table.",
	    "refuse: it is not loaded; force: it is, with a warning; off: loads are not validated.",
	    &pe_snapshot_gate, PE_GATE_REFUSE, snapshot_gates, PGC_USERSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("profenrich");
}
