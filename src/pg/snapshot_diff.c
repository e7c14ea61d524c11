/*
 * snapshot_diff.c
 *		diff_snapshots, diff_snapshot_rows, identity_links, profile_history: profiles from
 *		day to day.
 *
 * Two rows of different days are the same profile when they share an identity and neither
 * shares one with another row. More than one before: they were merged; more than one
 * after: it was split. All of it is one query, run as the caller.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "pg/history.h"
#include "pg/load.h"
#include "pg/owner.h"
#include "pg/snapshot_identity.h"
#include "pg/snapshot_table.h"
#include "pg/source.h"

#define MAX_IDENTITIES 1000 /* of one profile over all days */

PG_FUNCTION_INFO_V1(pe_diff_snapshots);
PG_FUNCTION_INFO_V1(pe_diff_snapshot_rows);
PG_FUNCTION_INFO_V1(pe_identity_links);
PG_FUNCTION_INFO_V1(pe_profile_history);

/* Runs a query that the extension wrote, as the caller, into the result. */
static void
return_query(FunctionCallInfo fcinfo, const char *sql, int nargs, Oid *types, Datum *values)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DestReceiver *receiver = CreateTuplestoreDestReceiver();
	ParamListInfo params = makeParamList(nargs);
	SPIExecuteOptions options = {.read_only = true, .dest = receiver, .params = params};

	for (int i = 0; i < nargs; i++)
		params->params[i] = (ParamExternData){
		    .value = values[i], .isnull = false, .pflags = PARAM_FLAG_CONST, .ptype = types[i]};
	SetTuplestoreDestReceiverParams(receiver, result->setResult, result->econtext->ecxt_per_query_memory,
	                                true, NULL, NULL);
	if (SPI_execute_extended(sql, &options) != SPI_OK_SELECT)
		elog(ERROR, "could not compare snapshots");
}

/* ---- two days --------------------------------------------------------------------------- */

/* Names of the columns in which a and b differ, as SQL of a text[]. */
static char *
changed_columns(const PeSnapshotTable *table)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < table->ncolumns; i++)
	{
		const PeSnapshotColumn *column = &table->columns[i];
		const char *name = quote_identifier(column->name);
		const char *as;

		if (strcmp(column->name, LOAD_DATE_COLUMN) == 0)
			continue;
		as = OidIsValid(lookup_type_cache(column->type, TYPECACHE_EQ_OPR)->eq_opr) ? "" : "::text";
		appendStringInfo(&sql, "%sCASE WHEN (a.t).%s%s IS DISTINCT FROM (b.t).%s%s THEN %s END",
		                 sql.len > 0 ? ", " : "", name, as, name, as, quote_literal_cstr(column->name));
	}
	return psprintf("array_remove(ARRAY[%s]::text[], NULL)", sql.data);
}

/* The rows of a day, one for each key: t, key, identities. A bare t could be a column of the table's. */
static char *
profiles_of_day(const PeSnapshotTable *table, const PeIdentitySql *identity, int parameter)
{
	const char *relation = pe_history_relation(table);

	return psprintf("SELECT DISTINCT ON (key) t, key, identities"
	                " FROM (SELECT (t.*)::%s AS t, %s AS key, %s AS identities"
	                " FROM %s AS t WHERE t." LOAD_DATE_COLUMN " = $%d) AS day"
	                " WHERE key IS NOT NULL ORDER BY key",
	                relation, identity->key, identity->identities, relation, parameter);
}

/* WITH a, b, links: the profiles of both days, and who shares how many identities with whom. */
static char *
with_links(const PeSnapshotTable *table)
{
	PeIdentitySql identity = pe_snapshot_identity_sql(table);

	return psprintf("WITH a AS MATERIALIZED (%s), b AS MATERIALIZED (%s),"
	                " links AS MATERIALIZED (SELECT x.key AS before, y.key AS after, count(*) AS shared"
	                " FROM (SELECT DISTINCT key, unnest(identities) AS id FROM a) AS x"
	                " JOIN (SELECT DISTINCT key, unnest(identities) AS id FROM b) AS y"
	                " ON x.id = y.id GROUP BY x.key, y.key),"
	                " afters AS MATERIALIZED (SELECT before, count(*) AS n FROM links GROUP BY before),"
	                " befores AS MATERIALIZED (SELECT after, count(*) AS n FROM links GROUP BY after)",
	                profiles_of_day(table, &identity, 1), profiles_of_day(table, &identity, 2));
}

/* change, keys_before, keys_after, columns: unchanged ones as well, their columns being none. */
static char *
diff_query(const PeSnapshotTable *table)
{
	return psprintf(
	    "%s, pairs AS (SELECT l.before, l.after, %s AS columns FROM links l"
	    " JOIN afters USING (before) JOIN befores USING (after)"
	    " JOIN a ON a.key = l.before JOIN b ON b.key = l.after"
	    " WHERE afters.n = 1 AND befores.n = 1),"
	    " diff AS (SELECT CASE WHEN cardinality(columns) = 0 THEN 'unchanged'"
	    " ELSE 'changed' END AS change, ARRAY[before] AS keys_before, ARRAY[after] AS keys_after, columns "
	    "FROM pairs"
	    " UNION ALL SELECT 'added', '{}', ARRAY[b.key], '{}' FROM b"
	    " WHERE NOT EXISTS (SELECT FROM befores WHERE befores.after = b.key)"
	    " UNION ALL SELECT 'removed', ARRAY[a.key], '{}', '{}' FROM a"
	    " WHERE NOT EXISTS (SELECT FROM afters WHERE afters.before = a.key)"
	    " UNION ALL SELECT 'merged', array_agg(l.before ORDER BY l.before), ARRAY[l.after], '{}'"
	    " FROM links l JOIN befores USING (after) WHERE befores.n > 1 GROUP BY l.after"
	    " UNION ALL SELECT 'split', ARRAY[l.before], array_agg(l.after ORDER BY l.after), '{}'"
	    " FROM links l JOIN afters USING (before) WHERE afters.n > 1 GROUP BY l.before)",
	    with_links(table), changed_columns(table));
}

static Datum
loaded_day(const PeSnapshotTable *table, DateADT date)
{
	return DateADTGetDatum(pe_snapshot_day(table, &date).date);
}

/* Arguments snapshot_table, before, after; both days must be loaded. */
static Datum
compare_days(FunctionCallInfo fcinfo, char *(*query)(const PeSnapshotTable *), const char *select)
{
	Oid types[] = {DATEOID, DATEOID};
	Datum days[2];
	PeSnapshotTable *table;
	int guc_level;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	table = pe_snapshot_table_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	pe_push_snapshot_of_now();
	for (int i = 0; i < 2; i++)
		days[i] = loaded_day(table, PG_GETARG_DATEADT(1 + i));
	guc_level = pe_server_names_only();
	return_query(fcinfo, psprintf("%s %s", query(table), select), 2, types, days);
	AtEOXact_GUC(true, guc_level);
	PopActiveSnapshot();
	SPI_finish();
	return (Datum) 0;
}

Datum
pe_diff_snapshot_rows(PG_FUNCTION_ARGS)
{
	return compare_days(fcinfo, diff_query,
	                    "SELECT change, keys_before, keys_after, columns FROM diff"
	                    " WHERE change <> 'unchanged' ORDER BY 1, 2, 3");
}

Datum
pe_diff_snapshots(PG_FUNCTION_ARGS)
{
	return compare_days(fcinfo, diff_query,
	                    "SELECT change, NULL::text, count(*) FROM diff GROUP BY change"
	                    " UNION ALL SELECT change, c, count(*) FROM diff, "
	                    "unnest(columns) AS c GROUP BY change, c"
	                    " ORDER BY 1, 2 NULLS FIRST");
}

Datum
pe_identity_links(PG_FUNCTION_ARGS)
{
	return compare_days(
	    fcinfo, with_links,
	    "SELECT l.before, l.after, l.shared FROM links l JOIN afters USING (before) JOIN befores"
	    " USING (after) WHERE l.before <> l.after"
	    " OR afters.n > 1 OR befores.n > 1 ORDER BY 1, 2");
}

/* ---- one profile ------------------------------------------------------------------------ */

/* The identities that rows with one of those known have, over all days; NULL when there is no such row. */
static ArrayType *
widen(const PeSnapshotTable *table, const PeIdentitySql *identity, ArrayType *known)
{
	char *sql = psprintf("SELECT array_agg(DISTINCT u.identity) FROM %s AS t CROSS JOIN LATERAL"
	                     " unnest(%s) AS u(identity) WHERE %s",
	                     pe_history_relation(table), identity->identities,
	                     pe_snapshot_identity_filter(identity, known));
	bool isnull;
	Datum found;

	if (SPI_execute(sql, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not follow the profile");
	found = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? NULL : DatumGetArrayTypePCopy(found);
}

static int
count_of(const ArrayType *array)
{
	return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

/* Until nothing is added: merges lead back to others, splits forward. */
static ArrayType *
all_identities(const PeSnapshotTable *table, const PeIdentitySql *identity, const char *key)
{
	Datum item = CStringGetTextDatum(key);
	ArrayType *known = construct_array(&item, 1, TEXTOID, -1, false, TYPALIGN_INT);

	if (strcmp(pe_snapshot_identity_filter(identity, known), "false") == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("the key is in none of the namespaces of %s", table->label),
		                errhint("Write it as namespace:id, such as %s:4711.",
		                        (char *) linitial(identity->namespaces))));
	for (;;)
	{
		ArrayType *wider = widen(table, identity, known);

		if (wider == NULL || count_of(wider) == count_of(known))
			return wider;
		if (count_of(wider) > MAX_IDENTITIES)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			                errmsg("the profile has had more than %d identities", MAX_IDENTITIES),
			                errhint("One of them is shared by many, such as a device: leave its namespace "
			                        "out with set_identity().")));
		known = wider;
		CHECK_FOR_INTERRUPTS();
	}
}

static char *
history_query(const PeSnapshotTable *table, const PeIdentitySql *identity, ArrayType *identities)
{
	return psprintf(
	    "WITH days AS (SELECT d AS day, lag(d) OVER (ORDER BY d) AS before FROM unnest($1) AS d),"
	    /* all rows of the profile */
	    " found AS MATERIALIZED (SELECT t." LOAD_DATE_COLUMN " AS day, %s AS key, %s AS identities,"
	    " to_jsonb(t.*) - '" LOAD_DATE_COLUMN "' AS profile FROM %s AS t WHERE %s),"
	    /* and where each comes from: rows of the day before; parts: what these have become */
	    " links AS (SELECT n.day, n.key, p.key AS before, p.profile,"
	    " count(*) OVER (PARTITION BY n.day, p.key) AS parts FROM found n JOIN days ON days.day = n.day"
	    " JOIN found p ON p.day = days.before AND p.identities && n.identities),"
	    " origins AS (SELECT day, key, array_agg(before ORDER BY before) AS keys, max(parts) AS parts,"
	    " (array_agg(profile ORDER BY before <> key, before))[1] AS profile FROM links GROUP BY day, key)"
	    " SELECT n.day, n.key, CASE WHEN o.keys IS NULL THEN 'appeared' WHEN cardinality(o.keys) > 1 THEN "
	    "'merged'"
	    " WHEN o.parts > 1 THEN 'split' WHEN o.profile <> n.profile THEN 'changed' ELSE 'unchanged' END,"
	    " coalesce(o.keys, '{}'), ARRAY(SELECT v.key FROM jsonb_each(n.profile) AS v"
	    " WHERE o.profile IS NOT NULL AND v.value IS DISTINCT FROM o.profile -> v.key ORDER BY 1), n.profile"
	    " FROM found n LEFT JOIN origins o USING (day, key) ORDER BY 1, 2",
	    identity->key, identity->identities, pe_history_relation(table),
	    pe_snapshot_identity_filter(identity, identities));
}

/* profile_history(snapshot_table, key) */
Datum
pe_profile_history(PG_FUNCTION_ARGS)
{
	Oid types[] = {DATEARRAYOID};
	PeSnapshotTable *table;
	PeIdentitySql identity;
	ArrayType *identities;
	Datum values[1];
	int guc_level;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	table = pe_snapshot_table_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	pe_push_snapshot_of_now();
	guc_level = pe_server_names_only();
	identity = pe_snapshot_identity_sql(table);
	identities = all_identities(table, &identity, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (identities != NULL)
	{
		values[0] = pe_snapshot_days(table);
		return_query(fcinfo, history_query(table, &identity, identities), 1, types, values);
	}
	AtEOXact_GUC(true, guc_level);
	PopActiveSnapshot();
	SPI_finish();
	return (Datum) 0;
}
