/*
 * load_publish.c
 *		The last and brief step of a load: the partition built aside takes its place
 *		under the table's lock, and the view of the newest day moves on.
 *
 * A new day needs a lock on the table that readers do not notice. A day loaded
 * again, and new columns, need the exclusive lock; so do the views. These are
 * polled for, all or none of them, before they are queued for, so that a long reader delays the load and
 * not everybody behind it, and that nobody who holds one of them waits for another of ours.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "commands/defrem.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg/compat.h"
#include "pg/history.h"
#include "pg/load.h"
#include "pg/owner.h"
#include "pg/progress.h"
#include "pg/snapshot_settings.h"

/* Without a lock_timeout of the user's: poll this long, then stand in the queue for a little. */
#define POLL_MS    60000
#define QUEUE_MS   5000
#define POLL_STEP  50
#define LOCK_CLASS 0x70656c64 /* advisory locks of ours: "peld" */

static const char view_mark[] = "kept by profenrich";

#define MAX_LOCKS 3

/* A relation to be locked. */
typedef struct Lock
{
	Oid relid;
	LOCKMODE mode;
} Lock;

typedef struct Publish
{
	LoadTarget *target;
	const LoadPlan *plan;
	Oid parent;
	char *view; /* name */
	Oid view_relid;
	Oid replaced; /* the date's old partition */
	bool new_columns;
	bool may_poll;
	Lock locks[MAX_LOCKS]; /* the views first: readers take them first, too */
	int nlocks;
} Publish;

void
load_lock_name(const LoadTarget *target)
{
	LOCKTAG tag;
	uint32 key = DatumGetUInt32(hash_any((const unsigned char *) target->label, (int) strlen(target->label)));

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, LOCK_CLASS, key, 2);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	AcceptInvalidationMessages();
}

static void
want_lock(Publish *publish, Oid relid, LOCKMODE mode)
{
	if (OidIsValid(relid))
		publish->locks[publish->nlocks++] = (Lock){relid, mode};
}

/* All of them, or none. */
static bool
try_locks(const Publish *publish)
{
	for (int i = 0; i < publish->nlocks; i++)
	{
		if (ConditionalLockRelationOid(publish->locks[i].relid, publish->locks[i].mode))
			continue;
		while (--i >= 0)
			UnlockRelationOid(publish->locks[i].relid, publish->locks[i].mode);
		return false;
	}
	return true;
}

static void
queue_for_locks(const Publish *publish)
{
	for (int i = 0; i < publish->nlocks; i++)
		LockRelationOid(publish->locks[i].relid, publish->locks[i].mode);
}

static void
lock_relations(const Publish *publish)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), POLL_MS);

	while (!try_locks(publish))
	{
		if (!publish->may_poll || GetCurrentTimestamp() >= until)
		{
			queue_for_locks(publish);
			break;
		}
		pe_progress_publish("waiting for lock", 0, 0);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_STEP,
		                 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	AcceptInvalidationMessages();
}

/* The partition that takes the date, or InvalidOid; raises when it takes other dates as well. */
static Oid
partition_of_date(Relation parent, DateADT date, const char *label)
{
	PartitionDesc desc = RelationGetPartitionDesc(parent, true);
	PartitionKey key = RelationGetPartitionKey(parent);
	PartitionBoundInfo bounds = desc->boundinfo;
	bool equal = false;
	int found, index, dates = 0;

	if (desc->nparts == 0)
		return InvalidOid;
	found =
	    partition_list_bsearch(key->partsupfunc, key->partcollation, bounds, DateADTGetDatum(date), &equal);
	if (found < 0 || !equal)
		return InvalidOid;
	index = bounds->indexes[found];
	for (int i = 0; i < bounds->ndatums; i++)
		dates += bounds->indexes[i] == index;
	if (dates > 1 || bounds->null_index == index)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("%s of %s is in partition \"%s\" together with other dates",
		                       load_date_text(date), label, get_rel_name(desc->oids[index])),
		                errhint("Each snapshot date must have a partition of its own.")));
	return desc->oids[index];
}

static bool
has_column(Oid relid, const char *name)
{
	return get_attnum(relid, name) != InvalidAttrNumber;
}

/* What has to be done to the table as it is now. */
static void
look(Publish *publish)
{
	Relation parent = relation_open(publish->parent, AccessShareLock);

	publish->replaced = partition_of_date(parent, publish->target->date, publish->target->label);
	publish->new_columns = false;
	for (int i = 0; i < publish->plan->count; i++)
	{
		if (!has_column(publish->parent, publish->plan->columns[i].name))
			publish->new_columns = true;
	}
	relation_close(parent, AccessShareLock);
}

void
load_comment_path(const char *label, const LoadColumn *column)
{
	if (column->path != NULL)
		load_execute(psprintf("COMMENT ON COLUMN %s.%s IS %s", label, quote_identifier(column->name),
		                      quote_literal_cstr(psprintf("XDM path %s", column->path))));
	else if (column->rest)
		load_execute(psprintf("COMMENT ON COLUMN %s.%s IS 'all fields that have no column of their own'",
		                      label, quote_identifier(column->name)));
}

static void
create_parent(Publish *publish)
{
	LoadTarget *target = publish->target;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (%s pg_catalog.date NOT NULL", target->label, LOAD_DATE_COLUMN);
	for (int i = 0; i < publish->plan->count; i++)
	{
		const LoadColumn *column = &publish->plan->columns[i];

		appendStringInfo(
		    &sql, ", %s",
		    load_column_definition(column->name, column->type, column->typmod, column->collation));
	}
	appendStringInfo(&sql, ") PARTITION BY LIST (%s)", LOAD_DATE_COLUMN);
	load_execute(sql.data);
	load_execute(psprintf("COMMENT ON COLUMN %s.%s IS 'day of the snapshot; one partition for each'",
	                      target->label, LOAD_DATE_COLUMN));
	for (int i = 0; i < publish->plan->count; i++)
		load_comment_path(target->label, &publish->plan->columns[i]);
	publish->parent = get_relname_relid(target->name, target->namespaceid);
}

static void
add_columns(Publish *publish)
{
	for (int i = 0; i < publish->plan->count; i++)
	{
		const LoadColumn *column = &publish->plan->columns[i];

		if (has_column(publish->parent, column->name))
			continue;
		load_execute(
		    psprintf("ALTER TABLE %s ADD COLUMN %s", publish->target->label,
		             load_column_definition(column->name, column->type, column->typmod, column->collation)));
		load_comment_path(publish->target->label, column);
	}
}

/* Columns that another load has added meanwhile. */
static void
follow_parent(Publish *publish)
{
	LoadTarget *target = publish->target;
	Relation parent = relation_open(publish->parent, NoLock);
	TupleDesc desc = RelationGetDescr(parent);
	List *statements = NIL;
	ListCell *cell;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (!attr->attisdropped && !has_column(target->aside_relid, NameStr(attr->attname)))
			statements =
			    lappend(statements,
			            psprintf("ALTER TABLE %s ADD COLUMN %s", load_qualify(target->schema, target->aside),
			                     load_column_definition(NameStr(attr->attname), attr->atttypid,
			                                            attr->atttypmod, attr->attcollation)));
	}
	relation_close(parent, NoLock);
	foreach (cell, statements)
		load_execute(lfirst(cell));
}

static void
drop_partition(const char *label, Oid partition)
{
	char *name = load_qualify(get_namespace_name(get_rel_namespace(partition)), get_rel_name(partition));

	load_execute(psprintf("ALTER TABLE %s DETACH PARTITION %s", label, name));
	load_execute(psprintf("DROP TABLE %s", name));
}

/* Gives the partition its name and its place. Returns the name. */
static char *
attach(Publish *publish)
{
	LoadTarget *target = publish->target;
	char *wanted = load_partition_name(target);
	char *name = wanted;
	char *qualified;

	/* A table of that name that is no partition of ours stays what it is. */
	for (int i = 1; OidIsValid(get_relname_relid(name, target->namespaceid)); i++)
		name = makeObjectName(wanted, NULL, psprintf("%d", i));
	qualified = load_qualify(target->schema, name);
	load_execute(psprintf("ALTER TABLE %s RENAME TO %s", load_qualify(target->schema, target->aside),
	                      quote_identifier(name)));
	load_execute(psprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES IN ('%s')", target->label, qualified,
	                      load_date_text(target->date)));
	load_execute(psprintf("ALTER TABLE %s DROP CONSTRAINT profenrich_load_date", qualified));
	return name;
}

/* ---- the view of the newest day ---- */

static bool
view_is_ours(Oid view)
{
	char *comment = GetComment(view, RelationRelationId, 0);

	return get_rel_relkind(view) == RELKIND_VIEW && comment != NULL && strstr(comment, view_mark) != NULL;
}

/*
 * The columns of the table, in its order. A view keeps the names it has: where the
 * table's column was renamed since, the view's name stays.
 */
static char *
view_query(const Publish *publish, DateADT date)
{
	Relation parent = relation_open(publish->parent, NoLock);
	TupleDesc desc = RelationGetDescr(parent);
	StringInfoData sql;
	int position = 0;

	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		char *known;

		if (attr->attisdropped)
			continue;
		position++;
		known = OidIsValid(publish->view_relid) ? get_attname(publish->view_relid, position, true) : NULL;
		appendStringInfo(&sql, "%s%s", position == 1 ? "SELECT " : ", ",
		                 quote_identifier(NameStr(attr->attname)));
		if (known != NULL && strcmp(known, NameStr(attr->attname)) != 0)
			appendStringInfo(&sql, " AS %s", quote_identifier(known));
	}
	appendStringInfo(&sql, " FROM %s WHERE %s OPERATOR(pg_catalog.=) DATE '%s'", publish->target->label,
	                 LOAD_DATE_COLUMN, load_date_text(date));
	relation_close(parent, NoLock);
	return sql.data;
}

static void
write_view(Publish *publish, DateADT date)
{
	LoadTarget *target = publish->target;
	char *view = load_qualify(target->schema, publish->view);
	bool made = !OidIsValid(publish->view_relid);

	load_execute(psprintf("CREATE OR REPLACE VIEW %s WITH (security_invoker = true) AS %s", view,
	                      view_query(publish, date)));
	if (!made)
		return;
	load_execute(
	    psprintf("COMMENT ON VIEW %s IS %s", view,
	             quote_literal_cstr(psprintf("the newest loaded day of %s, %s", target->label, view_mark))));
	if (target->owner != GetUserId())
		load_execute(psprintf("ALTER VIEW %s OWNER TO %s", view,
		                      quote_identifier(GetUserNameFromId(target->owner, false))));
}

/* Finds <table>_latest; false when there is something of that name that is not ours to change. */
static bool
find_view(Publish *publish)
{
	LoadTarget *target = publish->target;

	publish->view = makeObjectName(target->name, NULL, "latest");
	publish->view_relid = get_relname_relid(publish->view, target->namespaceid);
	return !OidIsValid(publish->view_relid) || view_is_ours(publish->view_relid);
}

Oid
load_latest_view(LoadTarget *target)
{
	Publish publish = {target};

	return find_view(&publish) ? publish.view_relid : InvalidOid;
}

static void
leave_view(const Publish *publish)
{
	ereport(NOTICE, (errmsg("%s is not a view that profenrich made and is left as it is",
	                        load_qualify(publish->target->schema, publish->view)),
	                 errhint("Rename or drop it, and the next load makes the view of the newest day.")));
}

/* ---- the books ---- */

#define LOADED_PARTITIONS                                                                                    \
	" FROM profenrich.snapshot_load s JOIN pg_namespace n ON n.nspname = s.schema_name"                      \
	" JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.partition_name"                            \
	" JOIN pg_inherits i ON i.inhrelid = c.oid WHERE i.inhparent = $1"

/* The newest day that was loaded into parent; false when there is none. */
static bool
newest_date(Oid parent, DateADT *date)
{
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(parent)};
	bool null;
	Datum value;

	/* Also in a transaction whose snapshot is older than the lock. */
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	(void) pe_owner_execute("SELECT max(s.snapshot_date)" LOADED_PARTITIONS, 1, types, values, NULL, true, 1);
	PopActiveSnapshot();
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
	if (!null)
		*date = DatumGetDateADT(value);
	return !null;
}

bool
load_write_latest(LoadTarget *target)
{
	Publish publish = {target};
	DateADT newest;

	publish.parent = target->relid;
	if (!find_view(&publish) || !newest_date(publish.parent, &newest))
		return false;
	write_view(&publish, newest);
	return true;
}

bool
load_previous_mapping(Oid parent, Datum *mapping)
{
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(parent)};
	bool null = true;
	Datum value = 0;

	(void) pe_owner_execute("SELECT s.mapping" LOADED_PARTITIONS
	                        " ORDER BY s.loaded_at DESC, s.snapshot_date DESC",
	                        1, types, values, NULL, false, 1);
	if (SPI_processed == 1)
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
	if (!null)
		*mapping = SPI_datumTransfer(value, false, -1);
	return !null;
}

/* Rows of partitions that are gone are of no use to anybody. */
static void
sweep_books(void)
{
	(void) pe_owner_execute(
	    "DELETE FROM profenrich.snapshot_load s WHERE NOT EXISTS"
	    " (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
	    " WHERE n.nspname = s.schema_name AND c.relname = s.partition_name AND c.relispartition)",
	    0, NULL, NULL, NULL, false, 0);
	(void) pe_owner_execute("DELETE FROM profenrich.snapshot_compacted k WHERE NOT EXISTS"
	                        " (SELECT FROM pg_class c WHERE c.oid = k.store)",
	                        0, NULL, NULL, NULL, false, 0);
	pe_snapshot_settings_sweep();
}

static void
write_books(const LoadTarget *target, const char *partition, const LoadOrigin *origin)
{
	Oid types[] = {TEXTOID, TEXTOID,  DATEOID, TEXTOID, TEXTOID, TEXTOID,       TEXTOID,
	               TEXTOID, JSONBOID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID};
	Datum values[13];
	char nulls[14] = "             ";
	const char *texts[] = {origin->source, origin->server, origin->dataset, origin->batch};

	values[0] = CStringGetTextDatum(target->schema);
	values[1] = CStringGetTextDatum(partition);
	values[2] = DateADTGetDatum(target->date);
	values[3] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
	for (int i = 0; i < lengthof(texts); i++)
	{
		values[4 + i] = texts[i] != NULL ? CStringGetTextDatum(texts[i]) : (Datum) 0;
		nulls[4 + i] = texts[i] != NULL ? ' ' : 'n';
	}
	values[8] = origin->mapping;
	nulls[8] = origin->mapping != 0 ? ' ' : 'n';
	values[9] = Int64GetDatum(origin->rows);
	values[10] = Int64GetDatum(origin->files);
	values[11] = Int64GetDatum(origin->bytes);
	values[12] = TimestampTzGetDatum(origin->exported_at);
	nulls[12] = origin->exported_at != 0 ? ' ' : 'n';
	sweep_books();
	(void) pe_owner_execute(
	    "INSERT INTO profenrich.snapshot_load (schema_name, partition_name, snapshot_date, loaded_by,"
	    " source, server, dataset, batch, mapping, rows, files, bytes, exported_at)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
	    " ON CONFLICT (schema_name, partition_name) DO UPDATE SET snapshot_date = excluded.snapshot_date,"
	    " loaded_by = excluded.loaded_by, loaded_at = excluded.loaded_at, source = excluded.source,"
	    " server = excluded.server, dataset = excluded.dataset, batch = excluded.batch,"
	    " mapping = excluded.mapping, rows = excluded.rows, files = excluded.files, bytes = excluded.bytes,"
	    " exported_at = excluded.exported_at",
	    lengthof(types), types, values, nulls, false, 0);
}

/* ---- the whole step ---- */

/* Locks what will be changed. */
static bool
lock_all(Publish *publish)
{
	LoadTarget *target = publish->target;
	bool view_usable;
	DateADT newest;

	load_lock_name(target);
	publish->parent = get_relname_relid(target->name, target->namespaceid);
	view_usable = find_view(publish);
	if (!OidIsValid(publish->parent))
		return view_usable;
	look(publish);
	if (view_usable &&
	    (publish->new_columns || !newest_date(publish->parent, &newest) || target->date >= newest))
		want_lock(publish, publish->view_relid, AccessExclusiveLock);
	want_lock(publish, pe_history_view_to_change(publish->parent, target->date, publish->new_columns),
	          AccessExclusiveLock);
	want_lock(publish, publish->parent,
	          publish->new_columns || OidIsValid(publish->replaced) ? AccessExclusiveLock
	                                                                : ShareUpdateExclusiveLock);
	lock_relations(publish);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(publish->parent)))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
		                errmsg("table %s was dropped during the load", target->label)));
	look(publish);
	return view_usable;
}

static void
publish_locked(Publish *publish, const LoadOrigin *origin)
{
	LoadTarget *target = publish->target;
	bool made = false;
	bool view_usable = lock_all(publish);
	DateADT newest = target->date;
	char *partition;

	pe_progress_publish("publishing", 0, 0);
	if (!OidIsValid(publish->parent))
	{
		create_parent(publish);
		made = true;
	}
	add_columns(publish);
	follow_parent(publish);
	if (OidIsValid(publish->replaced))
		drop_partition(target->label, publish->replaced);
	partition = attach(publish);
	write_books(target, partition, origin);
	(void) newest_date(publish->parent, &newest);
	if (!view_usable)
		leave_view(publish);
	else if (made || publish->new_columns || !OidIsValid(publish->view_relid) || newest == target->date)
		write_view(publish, newest);
	if (!made)
		pe_history_follow(publish->parent, target->date, publish->new_columns);
	if (newest == target->date)
		pe_history_retain(publish->parent);
}

/* Runs step under a lock_timeout, and says what a timeout means. */
static void
with_lock_timeout(Publish *publish, void (*step)(Publish *, const LoadOrigin *), const LoadOrigin *origin,
                  const char *consequence)
{
	MemoryContext context = CurrentMemoryContext;
	int guc_level = NewGUCNestLevel();

	publish->may_poll = LockTimeout == 0;
	if (LockTimeout == 0)
		set_config_option("lock_timeout", psprintf("%d", QUEUE_MS), PGC_USERSET, PGC_S_SESSION,
		                  GUC_ACTION_SAVE, true, 0, false);
	PG_TRY();
	{
		step(publish, origin);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
		                errmsg("table %s or its view could not be locked in time", publish->target->label),
		                errdetail("Another session is using it. %s", consequence),
		                errhint("Try again when that has ended, or set lock_timeout to wait longer.")));
	}
	PG_END_TRY();
	AtEOXact_GUC(true, guc_level);
}

void
load_publish(LoadTarget *target, const LoadPlan *plan, const LoadOrigin *origin)
{
	Publish publish = {target, plan};

	with_lock_timeout(&publish, publish_locked, origin, "Nothing was loaded.");
}

/* The table and our views of it. False: <table>_latest is not ours, or not there. */
static bool
want_exclusive_locks(Publish *publish)
{
	bool view_usable;

	load_lock_name(publish->target);
	publish->parent = publish->target->relid;
	view_usable = find_view(publish) && OidIsValid(publish->view_relid);
	if (view_usable)
		want_lock(publish, publish->view_relid, AccessExclusiveLock);
	want_lock(publish, pe_history_open(pe_snapshot_table_load(publish->parent), false)->view,
	          AccessExclusiveLock);
	want_lock(publish, publish->parent, AccessExclusiveLock);
	return view_usable;
}

static void
lock_exclusive(Publish *publish, const LoadOrigin *origin)
{
	(void) want_exclusive_locks(publish);
	lock_relations(publish);
}

void
load_lock_exclusive(LoadTarget *target)
{
	Publish publish = {target};

	with_lock_timeout(&publish, lock_exclusive, NULL, "Nothing was changed.");
}

bool
load_try_lock_exclusive(LoadTarget *target)
{
	Publish publish = {target};

	(void) want_exclusive_locks(&publish);
	return try_locks(&publish);
}

static void
unpublish_locked(Publish *publish, const LoadOrigin *origin)
{
	LoadTarget *target = publish->target;
	bool view_usable = want_exclusive_locks(publish);
	DateADT newest;

	lock_relations(publish);
	look(publish);
	if (!OidIsValid(publish->replaced) &&
	    pe_history_drop_day(pe_history_open(pe_snapshot_table_load(publish->parent), false), target->date))
		return;
	if (!OidIsValid(publish->replaced))
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_OBJECT),
		         errmsg("no snapshot of %s is loaded in %s", load_date_text(target->date), target->label),
		         errhint("profenrich.snapshots lists those that are.")));
	drop_partition(target->label, publish->replaced);
	sweep_books();
	if (view_usable && newest_date(publish->parent, &newest))
		write_view(publish, newest);
}

void
load_unpublish(LoadTarget *target)
{
	LoadPlan none = {0};
	Publish publish = {target, &none};

	with_lock_timeout(&publish, unpublish_locked, NULL, "Nothing was unloaded.");
}
