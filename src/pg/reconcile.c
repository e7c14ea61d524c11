/*
 * reconcile.c
 *		reconcile(), reconcile_rows(): does a later snapshot show what was sent?
 *
 * One query joins the newest values with a loaded day by identity, as the caller, who
 * must be allowed to read both; each joined row is judged as it streams by, so memory is
 * bounded by the join's work_mem whatever the number of profiles.
 *
 * Of the two values that may stand in the place of the newest, an older one of ours is
 * told from a stranger's by scoredAt, which every record of ours carries.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/enrichment_define.h"
#include "pg/history.h"
#include "pg/owner.h"
#include "pg/queue_control.h"
#include "pg/rows.h"
#include "pg/same_value.h"
#include "pg/snapshot_table.h"
#include "pg/source.h"

typedef enum Status
{
	LANDED,
	STALE,
	MISSING,
	OVERWRITTEN,
	DIFFERENT,
	UNKNOWN_IDENTITY,
	TOO_RECENT,
	PENDING,
	REFUSED,
	UNEXPECTED,
	STATUSES
} Status;

static const char *const status_names[STATUSES] = {
    "landed",           "stale",      "missing", "overwritten", "different",
    "identity unknown", "too recent", "pending", "refused",     "unexpected",
};

/* Columns of the joined rows; the attributes follow. */
enum
{
	JOINED_KEY,
	JOINED_VERSION,
	JOINED_CHANGED_AT,
	JOINED_DUE_AT,
	JOINED_RETRACTED,
	JOINED_VALUE,
	JOINED_PENDING,
	JOINED_REFUSED,
	JOINED_PRESENT,
	JOINED_OWN,
	JOINED_SCORED_AT,
	JOINED_ATTRIBUTES
};

typedef struct Compared
{
	char *name;
	char *sql; /* the jsonb that a row t of the snapshot has */
	PeTolerance tolerance;
} Compared;

typedef struct Reconcile
{
	/* what is compared */
	const char *name;
	int32 enrichment_id;
	char *tenant;
	char *namespace_code;
	PeSnapshotTable *table;
	PeSnapshotDay day;
	TimestampTz taken_at;
	TimestampTz settled_before; /* what was due later need not be in the snapshot */
	int nattributes;
	Compared *attributes;
	int not_loaded; /* attributes that the table does not hold */
	const char *key_sql;
	const char *scored_at_sql; /* NULL: not loaded */
	const char *ids_sql;

	/* what comes of it */
	int64 counts[STATUSES];
	PeRow *rows; /* NULL: counts only */
	bool wanted[STATUSES];
} Reconcile;

/* ---- one joined row --------------------------------------------------------------------- */

typedef struct Judged
{
	Status status;
	int attribute; /* the first that differs, or -1 */
	JsonbValue *sent;
	Datum found; /* of that attribute, 0: nothing */
} Judged;

static bool
flag(TupleTableSlot *slot, int column)
{
	return !slot->tts_isnull[column] && DatumGetBool(slot->tts_values[column]);
}

static JsonbValue *
found_value(TupleTableSlot *slot, int column, JsonbValue *value)
{
	if (slot->tts_isnull[column])
		return NULL;
	*value = pe_value_of_jsonb(DatumGetJsonbP(slot->tts_values[column]));
	return value;
}

/* Compares the attributes one by one; sets the first that differs. Returns whether the snapshot has any. */
static bool
compare_attributes(const Reconcile *reconcile, TupleTableSlot *slot, Judged *judged)
{
	Jsonb *sent = slot->tts_isnull[JOINED_VALUE] ? NULL : DatumGetJsonbP(slot->tts_values[JOINED_VALUE]);
	bool any = false;

	judged->attribute = -1;
	for (int i = 0; i < reconcile->nattributes; i++)
	{
		const Compared *attribute = &reconcile->attributes[i];
		int column = JOINED_ATTRIBUTES + i;
		JsonbValue buffer;
		JsonbValue *found = found_value(slot, column, &buffer);
		JsonbValue *wanted = NULL;

		if (sent != NULL && JB_ROOT_IS_OBJECT(sent))
			wanted = getKeyJsonValueFromContainer(&sent->root, attribute->name, (int) strlen(attribute->name),
			                                      NULL);
		any = any || !pe_value_is_absent(found);
		if (judged->attribute < 0 && !pe_same_value(wanted, found, &attribute->tolerance))
		{
			judged->attribute = i;
			judged->sent = wanted;
			judged->found = slot->tts_values[column];
		}
	}
	return any;
}

/* When the value that the snapshot holds was scored; false when it does not say. */
static bool
found_scored_at(TupleTableSlot *slot, TimestampTz *scored_at)
{
	JsonbValue buffer;
	JsonbValue *value = found_value(slot, JOINED_SCORED_AT, &buffer);
	bool date_only;

	return value != NULL && value->type == jbvString &&
	       pe_parse_instant(value->val.string.val, value->val.string.len, scored_at, &date_only);
}

/* The snapshot shows something else than the newest value, which should be there by now. */
static Status
judge_difference(const Reconcile *reconcile, TupleTableSlot *slot, bool any)
{
	TimestampTz changed_at = DatumGetTimestampTz(slot->tts_values[JOINED_CHANGED_AT]);
	TimestampTz scored_at;

	if (reconcile->scored_at_sql == NULL)
		return any ? DIFFERENT : MISSING;
	if (!found_scored_at(slot, &scored_at))
		return any ? OVERWRITTEN : MISSING;
	/* It is sent to the millisecond. */
	return scored_at < changed_at - 1000 ? STALE : OVERWRITTEN;
}

static Status
judge_sent(const Reconcile *reconcile, TupleTableSlot *slot, Judged *judged)
{
	bool present = flag(slot, JOINED_PRESENT);
	bool any = compare_attributes(reconcile, slot, judged);

	if (judged->attribute < 0 && (present || flag(slot, JOINED_RETRACTED)))
		return LANDED;
	if (flag(slot, JOINED_REFUSED))
		return REFUSED;
	if (flag(slot, JOINED_PENDING))
		return PENDING;
	if (DatumGetTimestampTz(slot->tts_values[JOINED_DUE_AT]) > reconcile->settled_before)
		return TOO_RECENT;
	if (!present)
		return UNKNOWN_IDENTITY;
	return judge_difference(reconcile, slot, any);
}

static void
put_row(const Reconcile *reconcile, TupleTableSlot *slot, const Judged *judged)
{
	PeRow *row = reconcile->rows;
	bool differs = judged->attribute >= 0 && judged->status != LANDED;
	TimestampTz scored_at;

	pe_row_add(row, slot->tts_values[JOINED_KEY]);
	pe_row_add(row, CStringGetTextDatum(status_names[judged->status]));
	if (differs)
		pe_row_add(row, CStringGetTextDatum(reconcile->attributes[judged->attribute].name));
	else
		pe_row_add_null(row);
	if (differs && judged->sent != NULL)
		pe_row_add(row, JsonbPGetDatum(JsonbValueToJsonb(judged->sent)));
	else
		pe_row_add_null(row);
	if (differs && !slot->tts_isnull[JOINED_ATTRIBUTES + judged->attribute])
		pe_row_add(row, judged->found);
	else
		pe_row_add_null(row);
	for (int column = JOINED_VERSION; column <= JOINED_CHANGED_AT; column++)
	{
		pe_row_add(row, slot->tts_values[column]);
		row->nulls[row->filled - 1] = slot->tts_isnull[column];
	}
	if (found_scored_at(slot, &scored_at))
		pe_row_add(row, TimestampTzGetDatum(scored_at));
	else
		pe_row_add_null(row);
	pe_row_put(row);
}

static bool
judge_row(void *arg, TupleTableSlot *slot)
{
	Reconcile *reconcile = arg;
	Judged judged = {.attribute = -1};

	if (!slot->tts_isnull[JOINED_VERSION])
		judged.status = judge_sent(reconcile, slot, &judged);
	/* Of a profile that we have no value of, only what bears our mark can be said to be ours. */
	else if (flag(slot, JOINED_OWN) && compare_attributes(reconcile, slot, &judged))
		judged.status = UNEXPECTED;
	else
		return true;
	reconcile->counts[judged.status]++;
	if (reconcile->rows != NULL && reconcile->wanted[judged.status])
		put_row(reconcile, slot, &judged);
	return true;
}

/* ---- the query --------------------------------------------------------------------------- */

/* One row for each identity, that of its own record first when several rows have it. */
static void
append_snapshot_side(StringInfo sql, const Reconcile *reconcile)
{
	appendStringInfoString(sql, "SELECT DISTINCT ON (i.id COLLATE \"C\") i.id COLLATE \"C\" AS id,"
	                            " i.id = i.own AS own, i.scored_at");
	for (int i = 0; i < reconcile->nattributes; i++)
		appendStringInfo(sql, ", i.a%d", i);
	appendStringInfoString(sql, " FROM (SELECT unnest(CASE WHEN t.own = ANY (t.ids) THEN t.ids"
	                            " ELSE t.ids || t.own END) AS id, t.*");
	appendStringInfo(sql, " FROM (SELECT %s AS own, %s AS scored_at, %s AS ids",
	                 reconcile->key_sql != NULL ? reconcile->key_sql : "NULL::text",
	                 reconcile->scored_at_sql != NULL ? reconcile->scored_at_sql : "NULL::jsonb",
	                 reconcile->ids_sql != NULL ? reconcile->ids_sql : "NULL::text[]");
	for (int i = 0; i < reconcile->nattributes; i++)
		appendStringInfo(sql, ", %s AS a%d", reconcile->attributes[i].sql, i);
	appendStringInfo(sql,
	                 " FROM %s t WHERE t.snapshot_date = %s) t) i WHERE i.id IS NOT NULL"
	                 " ORDER BY i.id COLLATE \"C\", (i.id = i.own) DESC NULLS LAST",
	                 reconcile->table->label,
	                 quote_literal_cstr(DatumGetCString(
	                     DirectFunctionCall1(date_out, DateADTGetDatum(reconcile->day.date)))));
}

static char *
join_query(const Reconcile *reconcile)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql,
	                 "SELECT coalesce(s.profile_key, x.id), s.version, s.changed_at, s.due_at, s.retracted,"
	                 " s.value, s.pending, s.refused, x.id IS NOT NULL, x.own, x.scored_at");
	for (int i = 0; i < reconcile->nattributes; i++)
		appendStringInfo(&sql, ", x.a%d", i);
	appendStringInfo(
	    &sql,
	    " FROM (SELECT p.profile_key, p.version, p.changed_at, greatest(p.changed_at, p.not_before) AS "
	    "due_at,"
	    " p.retracted, p.value, q.profile_key IS NOT NULL AS pending, d.profile_key IS NOT NULL AS refused"
	    " FROM profenrich.profile_score p LEFT JOIN (SELECT k.profile_key COLLATE \"C\" AS profile_key, "
	    "o.version"
	    " FROM profenrich.outbox o, unnest(o.profile_keys) k(profile_key) WHERE o.enrichment_id = %1$d"
	    " UNION SELECT profile_key, version FROM profenrich.retry WHERE enrichment_id = %1$d) q"
	    " ON q.profile_key = p.profile_key AND q.version = p.version"
	    " LEFT JOIN profenrich.dead_letter d ON d.enrichment_id = %1$d AND d.profile_key = p.profile_key"
	    " AND d.version >= p.version WHERE p.enrichment_id = %1$d) s FULL JOIN (",
	    reconcile->enrichment_id);
	append_snapshot_side(&sql, reconcile);
	appendStringInfoString(&sql, ") x ON x.id = s.profile_key");
	return sql.data;
}

static void
run_join(Reconcile *reconcile)
{
	int guc_level = NewGUCNestLevel();
	PeSource *source;

	set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
	                  0, false);
	/* What becomes text below is read back as ISO. */
	set_config_option("datestyle", "ISO, YMD", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	set_config_option("timezone", "UTC", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	source = pe_source_open(join_query(reconcile), "snapshot");
	pe_source_read(source, NULL, 0, 0, judge_row, reconcile);
	AtEOXact_GUC(true, guc_level);
}

/* ---- what is compared -------------------------------------------------------------------- */

static PeTolerance
tolerance_of(const PeSnapshotColumn *column)
{
	PeTolerance tolerance = {0};

	if (column == NULL)
		return tolerance;
	switch (getBaseType(column->type))
	{
		case FLOAT4OID:
			tolerance.inexact = true;
			break;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			tolerance.absolute = 0.5;
			break;
		case NUMERICOID:
			/* The scale is in the lower bits, as numeric.c keeps it; negative ones round whole numbers. */
			if (column->typmod >= (int32) VARHDRSZ)
			{
				int scale = (((column->typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;

				tolerance.absolute = 0.5000001 * pow(10, -scale);
				tolerance.inexact = scale < 0;
			}
			break;
	}
	return tolerance;
}

static char *
attribute_path(const Reconcile *reconcile, const char *attribute)
{
	return psprintf("_%s.%s.%s", reconcile->tenant, reconcile->name, attribute);
}

/* An attribute of the enrichment: where the snapshot has it. */
static void
add_attribute(Reconcile *reconcile, const char *name)
{
	Compared *attribute = &reconcile->attributes[reconcile->nattributes];
	const PeSnapshotColumn *column;

	attribute->name = pstrdup(name);
	attribute->sql = pe_snapshot_json(reconcile->table, attribute_path(reconcile, name), &column);
	attribute->tolerance = tolerance_of(column);
	if (attribute->sql == NULL && reconcile->day.complete)
		attribute->sql = "NULL::jsonb";
	if (attribute->sql == NULL)
		reconcile->not_loaded++;
	else
		reconcile->nattributes++;
}

static void
find_attributes(Reconcile *reconcile)
{
	Oid types[1] = {INT4OID};
	Datum values[1] = {Int32GetDatum(reconcile->enrichment_id)};
	MemoryContext caller = CurrentMemoryContext;
	SPITupleTable *found;

	pe_owner_execute("SELECT t.tenant, e.namespace, k.name FROM profenrich.enrichment e"
	                 " JOIN profenrich.enrichment_target t USING (enrichment_id)"
	                 " LEFT JOIN LATERAL jsonb_object_keys(t.attributes) k(name) ON true"
	                 " WHERE e.enrichment_id = $1 ORDER BY k.name",
	                 1, types, values, NULL, true, 0);
	found = SPI_tuptable;
	MemoryContextSwitchTo(caller);
	if (found->numvals == 0 || SPI_getvalue(found->vals[0], found->tupdesc, 3) == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("enrichment \"%s\" is not provisioned: it has no attributes on the platform",
		                       reconcile->name),
		                errhint("Run SELECT * FROM profenrich.provision(%s).",
		                        quote_literal_cstr(reconcile->name))));
	reconcile->tenant = SPI_getvalue(found->vals[0], found->tupdesc, 1);
	reconcile->namespace_code = SPI_getvalue(found->vals[0], found->tupdesc, 2);
	reconcile->attributes = palloc0(sizeof(Compared) * found->numvals);
	for (uint64 i = 0; i < found->numvals; i++)
		add_attribute(reconcile, SPI_getvalue(found->vals[i], found->tupdesc, 3));
	if (reconcile->nattributes == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
		                errmsg("%s holds no attribute of enrichment \"%s\"", reconcile->table->label,
		                       reconcile->name),
		                errhint("Load the snapshot without a mapping, or map a column to %s.",
		                        attribute_path(reconcile, SPI_getvalue(found->vals[0], found->tupdesc, 3)))));
}

static void
find_identities(Reconcile *reconcile)
{
	const PeSnapshotColumn *column;
	char *own = pe_snapshot_json(reconcile->table, attribute_path(reconcile, PE_KEY_ATTRIBUTE), &column);

	if (own != NULL)
		reconcile->key_sql = psprintf("(%s) #>> '{}'", own);
	reconcile->scored_at_sql =
	    pe_snapshot_json(reconcile->table, attribute_path(reconcile, PE_SCORED_AT_ATTRIBUTE), &column);
	if (reconcile->scored_at_sql == NULL && reconcile->day.complete)
		reconcile->scored_at_sql = "NULL::jsonb";
	reconcile->ids_sql = pe_snapshot_identities(reconcile->table, reconcile->namespace_code);
	if (reconcile->key_sql == NULL && reconcile->ids_sql == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
		                errmsg("%s holds no identity of namespace \"%s\"", reconcile->table->label,
		                       reconcile->namespace_code),
		                errhint("Load the snapshot without a mapping, or map a column to identityMap.%s.id.",
		                        reconcile->namespace_code)));
}

static void
tell_not_compared(const Reconcile *reconcile)
{
	if (reconcile->not_loaded > 0)
		ereport(NOTICE, (errmsg("%d attributes of enrichment \"%s\" are not compared", reconcile->not_loaded,
		                        reconcile->name),
		                 errdetail("The snapshot was loaded with a mapping that leaves them out.")));
	if (reconcile->scored_at_sql == NULL)
		ereport(
		    NOTICE,
		    (errmsg("older values of enrichment \"%s\" cannot be told from those of others", reconcile->name),
		     errhint("Map a column to %s as well.", attribute_path(reconcile, PE_SCORED_AT_ATTRIBUTE))));
}

/* Everything but the result; arguments are those of the SQL functions. SPI is connected. */
static void
reconcile_snapshot(FunctionCallInfo fcinfo, Reconcile *reconcile)
{
	DateADT date = PG_ARGISNULL(2) ? 0 : PG_GETARG_DATEADT(2);
	char *snapshot;

	reconcile->name = pe_text_argument(fcinfo, 0, "enrichment");
	snapshot = pe_text_argument(fcinfo, 1, "snapshot");
	pe_need_argument(fcinfo, 4, "settle");
	reconcile->enrichment_id = pe_queue_find(reconcile->name).enrichment_id;
	reconcile->table = pe_snapshot_table_open(snapshot);
	pe_push_snapshot_of_now();
	reconcile->day = pe_snapshot_day(reconcile->table, PG_ARGISNULL(2) ? NULL : &date);
	PopActiveSnapshot();
	if (reconcile->day.compacted)
		reconcile->table->label = pe_history_relation(reconcile->table);
	reconcile->taken_at = PG_ARGISNULL(3) ? reconcile->day.exported_at : PG_GETARG_TIMESTAMPTZ(3);
	reconcile->settled_before = DatumGetTimestampTz(DirectFunctionCall2(
	    timestamptz_mi_interval, TimestampTzGetDatum(reconcile->taken_at), PG_GETARG_DATUM(4)));
	if (reconcile->settled_before > reconcile->taken_at)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("settle must not be negative"),
		                errhint("It is the time that a value needs to land, such as '1 hour'.")));
	find_attributes(reconcile);
	find_identities(reconcile);
	tell_not_compared(reconcile);
	run_join(reconcile);
}

/* ---- the SQL functions -------------------------------------------------------------------- */

static void
store_counts(const Reconcile *reconcile)
{
	Oid types[6 + STATUSES] = {INT4OID, OIDOID, TEXTOID, DATEOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum values[6 + STATUSES] = {
	    Int32GetDatum(reconcile->enrichment_id),      ObjectIdGetDatum(GetUserId()),
	    CStringGetTextDatum(reconcile->table->label), DateADTGetDatum(reconcile->day.date),
	    TimestampTzGetDatum(reconcile->taken_at),     TimestampTzGetDatum(reconcile->settled_before),
	};

	for (int i = 0; i < STATUSES; i++)
	{
		types[6 + i] = INT8OID;
		values[6 + i] = Int64GetDatum(reconcile->counts[i]);
	}
	pe_owner_execute("INSERT INTO profenrich.reconciliation (enrichment_id, run_by, snapshot, snapshot_date,"
	                 " taken_at, settled_before, landed, stale, missing, overwritten, different,"
	                 " identity_unknown, too_recent, pending, refused, unexpected)"
	                 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
	                 lengthof(types), types, values, NULL, false, 0);
}

PG_FUNCTION_INFO_V1(pe_reconcile);

/* reconcile(enrichment, snapshot, snapshot_date, taken_at, settle) -> (status, profiles, share) */
Datum
pe_reconcile(PG_FUNCTION_ARGS)
{
	Reconcile reconcile = {0};
	double sent = 0;
	PeRow row;

	PreventCommandIfReadOnly("profenrich.reconcile()");
	pe_rows_begin(fcinfo, &row);
	SPI_connect();
	reconcile_snapshot(fcinfo, &reconcile);
	store_counts(&reconcile);
	pe_audit("reconcile", reconcile.name, "{\"landed\": " INT64_FORMAT "}", reconcile.counts[LANDED]);
	SPI_finish();
	for (int i = 0; i < UNEXPECTED; i++)
		sent += (double) reconcile.counts[i];
	for (int i = 0; i < STATUSES; i++)
	{
		pe_row_add(&row, CStringGetTextDatum(status_names[i]));
		pe_row_add_int64(&row, reconcile.counts[i]);
		if (sent > 0 && i != UNEXPECTED)
			pe_row_add(&row, Float8GetDatum((double) reconcile.counts[i] / sent));
		else
			pe_row_add_null(&row);
		pe_row_put(&row);
	}
	return (Datum) 0;
}

static Status
status_by_name(const char *name)
{
	for (int i = 0; i < STATUSES; i++)
		if (strcmp(status_names[i], name) == 0)
			return (Status) i;
	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no status \"%s\"", name),
	         errhint("The statuses are landed, stale, missing, overwritten, different, identity unknown, "
	                 "too recent, pending, refused and unexpected.")));
}

/* NULL: what should be looked at. */
static void
choose_statuses(FunctionCallInfo fcinfo, int argument, bool wanted[STATUSES])
{
	Datum *names;
	bool *nulls;
	int count;

	if (PG_ARGISNULL(argument))
	{
		for (int i = STALE; i < STATUSES; i++)
			wanted[i] = i != TOO_RECENT && i != PENDING;
		return;
	}
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls,
	                  &count);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			wanted[status_by_name(TextDatumGetCString(names[i]))] = true;
}

PG_FUNCTION_INFO_V1(pe_reconcile_rows);

/*
 * reconcile_rows(enrichment, snapshot, snapshot_date, taken_at, settle, statuses)
 *		-> (profile_key, status, attribute, sent, found, run_id, changed_at, found_scored_at)
 */
Datum
pe_reconcile_rows(PG_FUNCTION_ARGS)
{
	Reconcile reconcile = {0};
	PeRow row;

	pe_rows_begin(fcinfo, &row);
	choose_statuses(fcinfo, 5, reconcile.wanted);
	reconcile.rows = &row;
	SPI_connect();
	reconcile_snapshot(fcinfo, &reconcile);
	SPI_finish();
	return (Datum) 0;
}
