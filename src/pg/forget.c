/*
 * forget.c
 *		forget(): everything of a person that this database holds goes, the platform is told
 *		to clear the attributes, and the person is kept out from now on.
 *
 * One transaction: it is done as a whole or not at all. Snapshot tables belong to users, who
 * may have put triggers on them: rows are deleted as the table's owner, who can do nothing else
 * meanwhile. Our own tables are changed as the extension's owner.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "model/recommend/recommend.h"
#include "platform/identity_rules.h"
#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/enrichment_define.h"
#include "pg/load_event_table.h"
#include "pg/models.h"
#include "pg/owner.h"
#include "pg/refresh.h"
#include "pg/resend.h"
#include "pg/rows.h"
#include "pg/snapshot_identity.h"
#include "pg/snapshot_table.h"
#include "pg/suppression.h"
#include "pg/wire_value.h"
#include "pg/worker.h"

/* Ids of one namespace that are being forgotten. */
typedef struct Forget
{
	const char *namespace_code;
	List *ids;     /* of char * */
	Datum keys;    /* the same as text[] */
	List *known;   /* of char *: the namespaces that something here is in; one may be there twice */
	int64 deleted; /* rows of loaded tables */
	PeRow *row;
} Forget;

static void
tell(const Forget *forget, const char *object, int64 rows, const char *action)
{
	pe_row_add(forget->row, CStringGetTextDatum(object));
	pe_row_add_int64(forget->row, rows);
	pe_row_add(forget->row, CStringGetTextDatum(action));
	pe_row_put(forget->row);
}

/* ---- loaded tables -------------------------------------------------------------------------- */

/* Those of snapshots, of events, and of what a destination delivered. */
static List *
loaded_tables(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List *tables = NIL;

	pe_owner_execute(
	    "SELECT DISTINCT i.inhparent FROM profenrich.snapshot_load s"
	    " JOIN pg_namespace n ON n.nspname = s.schema_name"
	    " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.partition_name"
	    " JOIN pg_inherits i ON i.inhrelid = c.oid"
	    " UNION SELECT k.store FROM profenrich.snapshot_compacted k JOIN pg_class c ON c.oid = k.store"
	    " UNION SELECT e.into_table FROM profenrich.event_load e JOIN pg_class c ON c.oid = e.into_table"
	    " UNION SELECT d.into_table FROM profenrich.destination_table d"
	    " JOIN pg_class c ON c.oid = d.into_table ORDER BY 1",
	    0, NULL, NULL, NULL, false, 0);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;

		tables = lappend_oid(tables, DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
		                                                            SPI_tuptable->tupdesc, 1, &isnull)));
	}
	return tables;
}

/* The keys of records of ours are ids of the namespace too, even where the identity map was not loaded. */
static char *
identities_sql(const PeSnapshotTable *table, const char *namespace_code)
{
	Oid types[1] = {TEXTOID};
	Datum values[1] = {CStringGetTextDatum(namespace_code)};
	char *ids = pe_snapshot_identities(table, namespace_code);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, ids != NULL ? ids : "");
	pe_owner_execute("SELECT format('_%s.%s." PE_KEY_ATTRIBUTE
	                 "', t.tenant, e.name) FROM profenrich.enrichment e"
	                 " JOIN profenrich.enrichment_target t USING (enrichment_id)"
	                 " WHERE lower(e.namespace) = lower($1)",
	                 1, types, values, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		const PeSnapshotColumn *exact;
		char *path = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		char *own = pe_snapshot_json(table, path, &exact);

		if (own != NULL)
			appendStringInfo(&sql, "%sARRAY[(%s) #>> '{}']", sql.len > 0 ? " || " : "", own);
	}
	/* Rows that were put under the key of their profile, whatever ids they came with. */
	if (get_attnum(table->relid, EVENT_NAMESPACE_COLUMN) != InvalidAttrNumber &&
	    get_attnum(table->relid, EVENT_KEY_COLUMN) != InvalidAttrNumber)
		appendStringInfo(&sql,
		                 "%sCASE WHEN pg_catalog.upper(t." EVENT_NAMESPACE_COLUMN
		                 ") OPERATOR(pg_catalog.=) pg_catalog.upper(%s) THEN ARRAY[t." EVENT_KEY_COLUMN
		                 "] END",
		                 sql.len > 0 ? " || " : "", quote_literal_cstr(namespace_code));
	return sql.len > 0 ? sql.data : NULL;
}

static Oid
owner_of(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static int64
delete_as_owner(const PeSnapshotTable *table, const char *ids_sql, Datum keys)
{
	PeOwnerSwitch before = pe_enrichment_enter_owner(owner_of(table->relid));
	Oid types[1] = {TEXTARRAYOID};
	Datum values[1] = {keys};
	int result;

	set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
	                  0, false);
	result = SPI_execute_with_args(psprintf("DELETE FROM %s t WHERE (%s) && $1", table->label, ids_sql), 1,
	                               types, values, NULL, false, 0);
	if (result != SPI_OK_DELETE)
		elog(ERROR, "could not delete from a loaded table: %s", SPI_result_code_string(result));
	pe_enrichment_leave_owner(&before);
	return (int64) SPI_processed;
}

static void
forget_in_snapshots(Forget *forget)
{
	ListCell *cell;

	foreach (cell, loaded_tables())
	{
		Oid relid = lfirst_oid(cell);
		PeSnapshotTable *table;
		char *ids_sql;

		CHECK_FOR_INTERRUPTS();
		LockRelationOid(relid, RowExclusiveLock);
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
			continue;
		table = pe_snapshot_table_load(relid);
		forget->known = list_concat(forget->known, pe_snapshot_namespaces(table));
		ids_sql = identities_sql(table, forget->namespace_code);
		if (ids_sql == NULL)
			tell(forget, psprintf("table %s", table->label), 0,
			     "not searched: none of its columns holds ids of this namespace");
		else
		{
			int64 rows = delete_as_owner(table, ids_sql, forget->keys);

			forget->deleted += rows;
			tell(forget, psprintf("table %s", table->label), rows, "deleted");
		}
	}
}

/* ---- enrichments ----------------------------------------------------------------------------- */

typedef struct Affected
{
	int32 enrichment_id;
	char *name;
	bool provisioned;
} Affected;

static List *
affected_enrichments(const char *namespace_code)
{
	Oid types[1] = {TEXTOID};
	Datum values[1] = {CStringGetTextDatum(namespace_code)};
	MemoryContext caller = CurrentMemoryContext;
	List *list = NIL;

	pe_owner_execute(
	    "SELECT e.enrichment_id, e.name, t.enrichment_id IS NOT NULL FROM profenrich.enrichment e"
	    " LEFT JOIN profenrich.enrichment_target t USING (enrichment_id)"
	    " WHERE lower(e.namespace) = lower($1) ORDER BY e.enrichment_id",
	    1, types, values, NULL, false, 0);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Affected *affected = palloc(sizeof(Affected));
		HeapTuple row = SPI_tuptable->vals[i];
		bool isnull;

		affected->enrichment_id = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		affected->name = SPI_getvalue(row, SPI_tuptable->tupdesc, 2);
		affected->provisioned = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
		list = lappend(list, affected);
	}
	return list;
}

/* Runs a statement with the enrichment's id as $1 and the keys as $2; the rows it touched. */
static int64
change(const Forget *forget, int32 enrichment_id, const char *sql)
{
	Oid types[2] = {INT4OID, TEXTARRAYOID};
	Datum values[2] = {Int32GetDatum(enrichment_id), forget->keys};

	pe_owner_execute(sql, 2, types, values, NULL, false, 0);
	return (int64) SPI_processed;
}

#define SHARDS_OF_KEYS "shard IN (SELECT (hashtext(k COLLATE \"C\") & 15)::int2 FROM unnest($2) k)"

/*
 * Whatever waits to be sent of these keys, or failed to be. Chunks that a batch has taken
 * are counted through by it, and go with it.
 */
static int64
forget_in_queue(const Forget *forget, int32 id)
{
	return change(forget, id,
	              "UPDATE profenrich.outbox SET profile_keys = ARRAY(SELECT k FROM unnest(profile_keys)"
	              " WITH ORDINALITY u(k, n) WHERE k <> ALL ($2) ORDER BY n) WHERE enrichment_id = $1"
	              " AND " SHARDS_OF_KEYS
	              " AND job_id IS NULL AND profile_keys && $2 AND NOT profile_keys <@ $2") +
	       change(forget, id,
	              "DELETE FROM profenrich.outbox WHERE enrichment_id = $1 AND " SHARDS_OF_KEYS
	              " AND job_id IS NULL AND profile_keys <@ $2") +
	       change(forget, id,
	              "DELETE FROM profenrich.retry WHERE enrichment_id = $1 AND profile_key = ANY ($2)") +
	       change(forget, id,
	              "DELETE FROM profenrich.dead_letter WHERE enrichment_id = $1 AND profile_key = ANY ($2)");
}

/*
 * The values go at once, or become marks that the record which clears the attributes is
 * made from; the mark goes when the platform has accepted that.
 */
static void
forget_in_enrichment(const Forget *forget, const Affected *affected)
{
	int32 id = affected->enrichment_id;
	int64 queue, values, cleared = 0;

	pe_refresh_lock(id, affected->name);
	queue = forget_in_queue(forget, id);
	values = change(forget, id,
	                psprintf("DELETE FROM profenrich.profile_score WHERE enrichment_id = $1"
	                         " AND profile_key = ANY ($2)%s",
	                         affected->provisioned
	                             ? psprintf(" AND retracted AND hash = " INT64_FORMAT, PE_TOMBSTONE_ACCEPTED)
	                             : ""));
	if (change(forget, id,
	           "SELECT FROM profenrich.profile_score WHERE enrichment_id = $1 AND profile_key = ANY ($2)") >
	    0)
		cleared = pe_queue_again(id, "forget",
		                         psprintf("value = NULL, retracted = true, hash = " INT64_FORMAT
		                                  ", changed_at = $3",
		                                  PE_TOMBSTONE_FORGOTTEN),
		                         " AND s.profile_key = ANY ($5)", forget->keys);
	tell(forget, psprintf("queue of enrichment %s", affected->name), queue, "deleted");
	tell(forget, psprintf("values of enrichment %s", affected->name), values + cleared, "deleted");
	if (affected->provisioned)
		tell(forget, psprintf("attributes of enrichment %s", affected->name), cleared,
		     "records that clear them on the platform are queued");
}

/* ---- models ------------------------------------------------------------------------------------ */

/* A recommendation holds its users' histories, and a version never changes. */
static void
tell_models(const Forget *forget)
{
	SPITupleTable *versions;

	pe_owner_execute("SELECT model, version FROM profenrich.model_version WHERE task = 'recommendation'"
	                 " ORDER BY model, version",
	                 0, NULL, NULL, NULL, false, 0);
	versions = SPI_tuptable;
	for (uint64 i = 0; i < versions->numvals; i++)
	{
		MemoryContext holder =
		    AllocSetContextCreate(CurrentMemoryContext, "profenrich forget", ALLOCSET_DEFAULT_SIZES);
		char *name = SPI_getvalue(versions->vals[i], versions->tupdesc, 1);
		bool isnull;
		int version = DatumGetInt32(SPI_getbinval(versions->vals[i], versions->tupdesc, 2, &isnull));
		const PeModel *model = pe_recommender_open(name, version, holder);
		int64 known = 0;
		ListCell *cell;

		foreach (cell, forget->ids)
			known += pe_recommender_find_user(model->recommender, lfirst(cell), strlen(lfirst(cell))) >= 0;
		if (known > 0)
			tell(forget, psprintf("model %s, version %d", name, version), known,
			     "kept: train it again, then drop_model() this version");
		MemoryContextDelete(holder);
		CHECK_FOR_INTERRUPTS();
	}
}

/* ---- a namespace that nothing here is in --------------------------------------------------------- */

static void
add_namespaces_of_enrichments(Forget *forget)
{
	MemoryContext caller = CurrentMemoryContext;

	pe_owner_execute("SELECT namespace FROM profenrich.enrichment", 0, NULL, NULL, NULL, false, 0);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
		forget->known = lappend(forget->known, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return pg_strcasecmp(lfirst(a), lfirst(b));
}

/* Each once, in order; NULL when there are none. */
static char *
list_of_names(List *names)
{
	StringInfoData text;
	const char *before = NULL;
	ListCell *cell;

	if (names == NIL)
		return NULL;
	initStringInfo(&text);
	list_sort(names, compare_names);
	foreach (cell, names)
	{
		const char *name = lfirst(cell);

		if (before == NULL || pg_strcasecmp(before, name) != 0)
			appendStringInfo(&text, "%s%s", before != NULL ? ", " : "", name);
		before = name;
	}
	return text.data;
}

/* A mistyped one would leave the person where they are; but data of it may come yet, so it is no error. */
static void
warn_of_unknown_namespace(Forget *forget)
{
	ListCell *cell;
	char *known;

	add_namespaces_of_enrichments(forget);
	foreach (cell, forget->known)
		if (pg_strcasecmp(lfirst(cell), forget->namespace_code) == 0)
			return;
	if (forget->deleted > 0)
		return;
	known = list_of_names(forget->known);
	ereport(WARNING,
	        (errmsg("no enrichment and no loaded table here is of namespace \"%s\"", forget->namespace_code),
	         errdetail("Nothing was deleted; its ids are kept out of later loads and refreshes."),
	         known != NULL
	             ? errhint("If it is mistyped, forget the ids under their own: known here are %s.", known)
	             : errhint("No namespace is known here.")));
}

/* ---- the SQL functions --------------------------------------------------------------------------- */

static void
check_id(const char *namespace_code, const char *id)
{
	if (id[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("an id of namespace \"%s\" is empty", namespace_code)));
}

static void
forget_namespace(Forget *forget)
{
	int64 added = 0;
	Datum *ids = palloc(sizeof(Datum) * list_length(forget->ids));
	ListCell *cell;

	pe_enrichment_check_namespace(forget->namespace_code);
	foreach (cell, forget->ids)
	{
		check_id(forget->namespace_code, lfirst(cell));
		ids[foreach_current_index(cell)] = CStringGetTextDatum(lfirst(cell));
	}
	forget->known = NIL;
	forget->deleted = 0;
	forget->keys =
	    PointerGetDatum(construct_array(ids, list_length(forget->ids), TEXTOID, -1, false, TYPALIGN_INT));
	forget_in_snapshots(forget);
	foreach (cell, affected_enrichments(forget->namespace_code))
		forget_in_enrichment(forget, lfirst(cell));
	tell_models(forget);
	warn_of_unknown_namespace(forget);
	foreach (cell, forget->ids)
		added += pe_suppression_add(forget->namespace_code, lfirst(cell));
	tell(forget, "list of the forgotten", added, "added, as hashes");
	pe_audit("forget", forget->namespace_code, "{\"ids\": %d}", list_length(forget->ids));
}

static void
begin_forgetting(void)
{
	PreventCommandIfReadOnly("profenrich.forget()");
	pe_suppression_need_admin("forget profiles");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
		                errmsg("forget() cannot run in a transaction with isolation level repeatable read or "
		                       "serializable"),
		                errdetail("Its snapshot may be older than what was loaded since."),
		                errhint("Run it under read committed.")));
	pe_suppression_take();
}

static void
end_forgetting(const Forget *forget)
{
	tell(forget, "Experience Platform", 0,
	     "not reached: its own copy goes by its Data Hygiene or Privacy Service API");
	pe_wake_worker_at_commit();
}

PG_FUNCTION_INFO_V1(pe_forget);

/* forget(namespace, id) -> (object, rows, action) */
Datum
pe_forget(PG_FUNCTION_ARGS)
{
	PeRow row;
	Forget forget = {.namespace_code = pe_text_argument(fcinfo, 0, "namespace"),
	                 .ids = list_make1(pe_text_argument(fcinfo, 1, "id")),
	                 .row = &row};

	begin_forgetting();
	pe_rows_begin(fcinfo, &row);
	SPI_connect();
	forget_namespace(&forget);
	SPI_finish();
	end_forgetting(&forget);
	return (Datum) 0;
}

static void
refuse_identities(void)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("identities are not understood"),
	                errhint("Give an object of namespace to id or list of ids, such as "
	                        "{\"CRMID\": \"C-1\", \"Email\": [\"a@example.com\"]}.")));
}

/* An id, or a list of them. */
static List *
ids_of(const JsonbValue *value)
{
	List *ids = NIL;
	JsonbContainer *list;

	if (value->type == jbvString)
		return list_make1(pnstrdup(value->val.string.val, value->val.string.len));
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		refuse_identities();
	list = value->val.binary.data;
	for (uint32 i = 0; i < JsonContainerSize(list); i++)
	{
		JsonbValue *id = getIthJsonbValueFromContainer(list, i);

		if (id->type != jbvString)
			refuse_identities();
		ids = lappend(ids, pnstrdup(id->val.string.val, id->val.string.len));
	}
	return ids;
}

PG_FUNCTION_INFO_V1(pe_forget_identities);

/* forget(identities) -> (object, rows, action): several ids, in one transaction */
Datum
pe_forget_identities(PG_FUNCTION_ARGS)
{
	Jsonb *identities;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue key, value;
	PeRow row;
	Forget forget = {.row = &row};

	pe_need_argument(fcinfo, 0, "identities");
	identities = PG_GETARG_JSONB_P(0);
	begin_forgetting();
	if (!JB_ROOT_IS_OBJECT(identities) || JB_ROOT_COUNT(identities) == 0)
		refuse_identities();
	pe_rows_begin(fcinfo, &row);
	SPI_connect();
	iterator = JsonbIteratorInit(&identities->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		forget.namespace_code = pnstrdup(key.val.string.val, key.val.string.len);
		forget.ids = ids_of(&value);
		if (forget.ids != NIL)
			forget_namespace(&forget);
	}
	SPI_finish();
	end_forgetting(&forget);
	return (Datum) 0;
}
