/*
 * load_dataset.c
 *		Which data set of the platform is meant, and getting the parts of its batches.
 *
 * Lists of the platform live in the session, which outlives the call, so what is chosen is
 * copied, and they are freed on every path.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "pg/load_dataset.h"
#include "pg/load_download.h"
#include "pg/report.h"
#include "platform/catalog.h"

#define MAX_LISTED 20 /* merge policies in an error */

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
newest_match(const LoadDataset *choice, const pe_dataset_list *list, const char *wanted,
             const char *merge_policy)
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
no_dataset(const LoadDataset *choice, const pe_dataset_list *list, const char *wanted,
           const char *merge_policy)
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
copy_match(LoadDataset *choice, const pe_dataset_list *list, const char *wanted, const char *merge_policy,
           bool required)
{
	const pe_dataset *dataset = newest_match(choice, list, wanted, merge_policy);

	choice->id = NULL;
	if (dataset == NULL && required)
		no_dataset(choice, list, wanted, merge_policy);
	if (dataset == NULL)
		return;
	choice->id = pstrdup(dataset->id);
	choice->name = pstrdup(dataset->name);
}

/* Takes the match of a list; frees the list, also when it raises. False: none matches. */
static bool
take_dataset(LoadDataset *choice, pe_dataset_list *list, const char *wanted, const char *merge_policy,
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
	return choice->id != NULL;
}

/* Any data set, by id or by name. */
static void
find_dataset(LoadDataset *choice, pe_platform *platform, const char *wanted, const char *merge_policy)
{
	pe_dataset_list list = {0};
	pe_error err = {0};
	pe_status status = pe_catalog_get_dataset(platform, wanted, &list, &err);

	if (status == PE_OK && take_dataset(choice, &list, wanted, merge_policy, false))
		return;
	if (status != PE_OK && status != PE_NOT_FOUND)
		pe_raise(&err);
	pe_check(pe_catalog_find_dataset(platform, wanted, &list, &err), &err);
	(void) take_dataset(choice, &list, wanted, merge_policy, true);
}

LoadDataset
load_choose_snapshot(const PeConnection *connection, const char *wanted, const char *merge_policy)
{
	LoadDataset chosen = {.server = connection->server.name};
	pe_dataset_list list = {0};
	pe_error err = {0};

	pe_check(pe_catalog_snapshots(connection->platform, &list, &err), &err);
	if (!take_dataset(&chosen, &list, wanted, merge_policy, wanted == NULL))
		find_dataset(&chosen, connection->platform, wanted, merge_policy);
	return chosen;
}

LoadDataset
load_choose_dataset(const PeConnection *connection, const char *wanted)
{
	LoadDataset chosen = {.server = connection->server.name};

	find_dataset(&chosen, connection->platform, wanted, NULL);
	return chosen;
}

static pe_status
fetch_parts(void *ctx, pe_fetch *items, int count, int parallel, pe_error *err)
{
	return pe_export_fetch(ctx, items, count, parallel, err);
}

List *
load_download_batch(const PeConnection *connection, const pe_part *parts, int count)
{
	LoadSource source = {connection->umid, connection->platform, fetch_parts};

	return load_download(&source, parts, count);
}
