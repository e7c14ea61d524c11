/*
 * load_platform.c
 *		load_snapshot: the day's profile snapshot from the platform's Data Access, by
 *		way of temporary files.
 *
 * Every merge policy has a data set of its own, with one batch a day. The parts are
 * downloaded whole before any is read: a load is all or nothing, and the columns
 * depend on every part. Lists of the platform live in the session, which outlives
 * the call, so they are copied and freed on every path.
 */
#include "postgres.h"

#include <unistd.h>

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "pg/connection.h"
#include "pg/load.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "platform/catalog.h"
#include "platform/export.h"

#define DAY_MS      INT64CONST(86400000)
#define MAX_BATCHES 1000
#define MAX_LISTED  20 /* merge policies in an error */

/* Which batch of which data set is loaded. */
typedef struct Choice
{
	const char *server;
	char *dataset_id;
	char *dataset_name;
	char *batch_id;
	DateADT date;
	TimestampTz exported_at;
	List *files; /* of LoadFile */
} Choice;

static DateADT
day_of_ms(int64 ms)
{
	int64 day = ms >= 0 ? ms / DAY_MS : (ms - DAY_MS + 1) / DAY_MS;

	return (DateADT) (day - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE));
}

static int64
ms_of_day(DateADT date)
{
	return ((int64) date + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * DAY_MS;
}

static bool
matches(const pe_dataset *dataset, const char *wanted, const char *merge_policy)
{
	if (wanted != NULL && strcmp(dataset->id, wanted) != 0 && strcmp(dataset->name, wanted) != 0)
		return false;
	return merge_policy == NULL || strcmp(dataset->merge_policy_id, merge_policy) == 0;
}

/* "policy (data set), ..." for an error. */
static char *
list_policies(const pe_dataset_list *list)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < list->count && i < MAX_LISTED; i++)
		appendStringInfo(&text, "%s%s (%s)", i > 0 ? ", " : "",
		                 list->items[i].merge_policy_id[0] != '\0' ? list->items[i].merge_policy_id
		                                                           : "unknown",
		                 list->items[i].name);
	if (list->count > MAX_LISTED)
		appendStringInfo(&text, " and %d more", list->count - MAX_LISTED);
	return text.data;
}

/* The newest of the list that matches; raises when those are of several merge policies. */
static const pe_dataset *
newest_match(const Choice *choice, const pe_dataset_list *list, const char *wanted, const char *merge_policy)
{
	const pe_dataset *newest = NULL;

	for (int i = 0; i < list->count; i++)
	{
		const pe_dataset *item = &list->items[i];

		if (!matches(item, wanted, merge_policy))
			continue;
		if (newest != NULL && wanted == NULL && strcmp(newest->merge_policy_id, item->merge_policy_id) != 0)
			ereport(ERROR,
			        (errcode(ERRCODE_AMBIGUOUS_PARAMETER),
			         errmsg("server \"%s\" has profile snapshots of several merge policies", choice->server),
			         errdetail("Merge policies (and data sets): %s.", list_policies(list)),
			         errhint("Name one: merge_policy => '%s'.", item->merge_policy_id)));
		if (newest == NULL || item->created_ms > newest->created_ms)
			newest = item;
	}
	return newest;
}

static void
no_dataset(const Choice *choice, const pe_dataset_list *list, const char *wanted, const char *merge_policy)
{
	if (wanted != NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
		                errmsg("server \"%s\" has no data set \"%s\"%s%s", choice->server, wanted,
		                       merge_policy != NULL ? " of merge policy " : "",
		                       merge_policy != NULL ? merge_policy : ""),
		                errhint("profenrich.datasets('%s') lists them.", choice->server)));
	if (list->count == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
		                errmsg("server \"%s\" has no profile snapshot", choice->server),
		                errhint("The platform makes one a day for each active merge policy. "
		                        "To load from another data set name it: dataset => '...'.")));
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
	                errmsg("server \"%s\" has no profile snapshot of merge policy \"%s\"", choice->server,
	                       merge_policy),
	                errdetail("Merge policies (and data sets): %s.", list_policies(list))));
}

static void
copy_match(Choice *choice, const pe_dataset_list *list, const char *wanted, const char *merge_policy,
           bool required)
{
	const pe_dataset *dataset = newest_match(choice, list, wanted, merge_policy);

	choice->dataset_id = NULL;
	if (dataset == NULL && required)
		no_dataset(choice, list, wanted, merge_policy);
	if (dataset == NULL)
		return;
	choice->dataset_id = pstrdup(dataset->id);
	choice->dataset_name = pstrdup(dataset->name);
}

/* Takes the match of a list; frees the list, also when it raises. False: none matches. */
static bool
take_dataset(Choice *choice, pe_dataset_list *list, const char *wanted, const char *merge_policy,
             bool required)
{
	PG_TRY();
	{
		copy_match(choice, list, wanted, merge_policy, required);
	}
	PG_CATCH();
	{
		pe_dataset_list_free(list);
		PG_RE_THROW();
	}
	PG_END_TRY();
	pe_dataset_list_free(list);
	return choice->dataset_id != NULL;
}

/* A snapshot's data set; or any that is named, by id or by name. */
static void
choose_dataset(Choice *choice, pe_platform *platform, const char *wanted, const char *merge_policy)
{
	pe_dataset_list list = {0};
	pe_error err = {0};
	pe_status status;

	pe_check(pe_catalog_snapshots(platform, &list, &err), &err);
	if (take_dataset(choice, &list, wanted, merge_policy, wanted == NULL))
		return;
	status = pe_catalog_get_dataset(platform, wanted, &list, &err);
	if (status == PE_OK && take_dataset(choice, &list, wanted, merge_policy, false))
		return;
	if (status != PE_OK && status != PE_NOT_FOUND)
		pe_raise(&err);
	pe_check(pe_catalog_find_dataset(platform, wanted, &list, &err), &err);
	(void) take_dataset(choice, &list, wanted, merge_policy, true);
}

/* The newest good batch of the list, of that day if one is wanted. */
static const pe_batch_info *
newest_batch(const pe_batch_list *list, const DateADT *wanted)
{
	for (int i = 0; i < list->count; i++)
	{
		if (list->items[i].state == PE_BATCH_GOOD &&
		    (wanted == NULL || day_of_ms(list->items[i].created_ms) == *wanted))
			return &list->items[i];
	}
	return NULL;
}

static void
choose_batch(Choice *choice, pe_platform *platform, const DateADT *wanted)
{
	pe_batch_list list = {0};
	pe_error err = {0};

	if (wanted == NULL)
		pe_check(pe_catalog_newest_batch(platform, choice->dataset_id, &list, &err), &err);
	else
		pe_check(pe_catalog_batches(platform, choice->dataset_id, "success", ms_of_day(*wanted) - 1,
		                            MAX_BATCHES, &list, &err),
		         &err);
	PG_TRY();
	{
		const pe_batch_info *batch = newest_batch(&list, wanted);

		if (batch == NULL)
			ereport(ERROR,
			        (errcode(ERRCODE_UNDEFINED_OBJECT),
			         wanted != NULL ? errmsg("data set \"%s\" has no successful batch of %s",
			                                 choice->dataset_name, load_date_text(*wanted))
			                        : errmsg("data set \"%s\" has no successful batch", choice->dataset_name),
			         errhint("The platform keeps snapshots for some days only, and a day may be missing. "
			                 "Leave snapshot_date out to load the newest.")));
		choice->batch_id = pstrdup(batch->id);
		choice->date = day_of_ms(batch->created_ms);
		choice->exported_at =
		    (batch->created_ms - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (int64) DAY_MS) * 1000;
	}
	PG_FINALLY();
	{
		pe_batch_list_free(&list);
	}
	PG_END_TRY();
}

/* ---- downloading ---- */

typedef struct Download
{
	int fd;
	int64 written; /* of all parts */
	int64 total;
	int64 limit; /* -1: none */
	int error;
} Download;

/* Called under libcurl: system calls only. */
static bool
write_bytes(void *ctx, const void *data, size_t length)
{
	Download *download = ctx;
	const char *from = data;

	download->written += (int64) length;
	if (download->limit >= 0 && download->written > download->limit)
	{
		download->error = EDQUOT;
		return false;
	}
	while (length > 0)
	{
		ssize_t put = write(download->fd, from, length);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
		{
			download->error = put < 0 ? errno : ENOSPC;
			return false;
		}
		from += put;
		length -= (size_t) put;
	}
	pe_progress_publish("downloading bytes", (uint64) download->written, (uint64) download->total);
	return true;
}

static void
download_failed(const Download *download, const pe_error *err)
{
	if (download->error == EDQUOT)
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
		                errmsg("the snapshot exceeds temp_file_limit (%dkB)", temp_file_limit),
		                errhint("Its parts are kept in temporary files while they are loaded.")));
	if (download->error != 0)
	{
		errno = download->error;
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not write a part of the snapshot to a temporary file: %m")));
	}
	pe_raise(err);
}

/*
 * One part into a temporary file of the server's, which is removed with the
 * transaction. The descriptor is duplicated for the transfer, because fd.c may close
 * and reopen its own; nothing between dup and close can raise.
 */
static LoadFile *
download_part(pe_platform *platform, const pe_part *part, Download *download)
{
	File temporary = OpenTemporaryFile(false);
	int64 bytes = 0;
	pe_error err = {0};
	pe_status status;

	download->fd = dup(FileGetRawDesc(temporary));
	if (download->fd < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open a temporary file: %m")));
	status = pe_export_download(platform, part, write_bytes, download, &bytes, &err);
	close(download->fd);
	if (status != PE_OK)
		download_failed(download, &err);
	CHECK_FOR_INTERRUPTS();
	return load_temporary_file(part->name, temporary, (uint64) bytes);
}

static void
download_parts(Choice *choice, pe_platform *platform)
{
	Download download = {.limit = temp_file_limit >= 0 ? (int64) temp_file_limit * 1024 : -1};
	pe_part_list list = {0};
	pe_error err = {0};

	pe_check(pe_export_parts(platform, choice->batch_id, &list, &err), &err);
	PG_TRY();
	{
		download.total = list.bytes;
		if (list.count == 0)
			ereport(ERROR,
			        (errcode(ERRCODE_DATA_EXCEPTION), errmsg("batch %s of data set \"%s\" has no files",
			                                                 choice->batch_id, choice->dataset_name)));
		if (download.limit >= 0 && list.bytes > download.limit)
		{
			download.error = EDQUOT;
			download_failed(&download, &err);
		}
		for (int i = 0; i < list.count; i++)
			choice->files = lappend(choice->files, download_part(platform, &list.items[i], &download));
	}
	PG_FINALLY();
	{
		pe_part_list_free(&list);
	}
	PG_END_TRY();
}

static char *
optional_text(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

PG_FUNCTION_INFO_V1(pe_load_snapshot);

/*
 * load_snapshot(server, into_table, dataset, merge_policy, columns, snapshot_date)
 *		-> (snapshot_date, rows, files, bytes)
 */
Datum
pe_load_snapshot(PG_FUNCTION_ARGS)
{
	char *server = optional_text(fcinfo, 0);
	char *into_table = optional_text(fcinfo, 1);
	DateADT wanted = PG_ARGISNULL(5) ? 0 : PG_GETARG_DATEADT(5);
	LoadOrigin origin = {0};
	Choice choice = {0};
	PeConnection *connection;

	load_check_session("load_snapshot()");
	if (server == NULL || into_table == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		                errmsg("%s must not be NULL", server == NULL ? "server" : "into_table")));
	if (!PG_ARGISNULL(5))
		load_check_date(wanted);
	SPI_connect();
	/* What is wrong with the table is said before anything is downloaded. */
	pe_progress_begin(PE_PROGRESS_LOAD, load_target_open(into_table, wanted)->name);
	if (!PG_ARGISNULL(4))
		(void) load_parse_mapping(PG_GETARG_DATUM(4));

	choice.server = server;
	connection = pe_connection_open(server, GetUserId(), CurrentMemoryContext);
	choose_dataset(&choice, connection->platform, optional_text(fcinfo, 2), optional_text(fcinfo, 3));
	choose_batch(&choice, connection->platform, PG_ARGISNULL(5) ? NULL : &wanted);
	download_parts(&choice, connection->platform);
	pe_connection_close(connection);

	origin.source = choice.dataset_name;
	origin.server = server;
	origin.dataset = choice.dataset_id;
	origin.batch = choice.batch_id;
	origin.exported_at = choice.exported_at;
	load_files(choice.files, into_table, PG_ARGISNULL(4) ? (Datum) 0 : PG_GETARG_DATUM(4), !PG_ARGISNULL(4),
	           choice.date, &origin);
	SPI_finish();
	return load_result(fcinfo, choice.date, &origin);
}
