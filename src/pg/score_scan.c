/*
 * score_scan.c
 *		The rows of some keys of profile_score, in the keys' order.
 *
 * By the primary key's index, without the executor: a look-up of 500 keys by
 * "= ANY" goes down the tree 500 times, which was a third of the worker's time. A chunk
 * holds every sixteenth profile of a stretch of keys when all of them have changed, so here
 * the entries of that stretch are walked once, and those that were not asked for are
 * passed over without looking at their rows. Where they turn out to be too many, the
 * rest of the keys is looked up one by one after all.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/itup.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/compat.h"
#include "pg/score_scan.h"

/* Passing over an entry costs about a fiftieth of going down the tree. */
#define MOST_PASSED 50

/* The index's columns. */
#define INDEX_ENRICHMENT 1
#define INDEX_KEY        2

typedef struct ScoreScan
{
	Relation table;
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *row;
	AttrNumber version;
	AttrNumber changed_at;
	AttrNumber not_before;
	AttrNumber retracted;
	AttrNumber value;
	int32 enrichment_id;
	const char *const *keys;
	int count;
	int place;    /* the key that is looked for */
	int last;     /* the last key of the stretch that is walked */
	int64 passed; /* entries that nobody asked for, until one_by_one */
	bool one_by_one;
	bool ended; /* the visitor has had enough */
	MemoryContext scratch;
	PeScoreVisit visit;
	void *arg;
} ScoreScan;

static AttrNumber
column(Relation table, const char *name)
{
	int number = SPI_fnumber(RelationGetDescr(table), name);

	if (number <= 0)
		elog(ERROR, "profenrich.profile_score has no column \"%s\"", name);
	return (AttrNumber) number;
}

static void
open_scan(ScoreScan *s)
{
	Oid namespace = get_namespace_oid("profenrich", false);
	Oid index;

	s->table = table_open(get_relname_relid("profile_score", namespace), AccessShareLock);
	index = pe_primary_key_index(s->table);
	if (!OidIsValid(index))
		elog(ERROR, "profenrich.profile_score has no primary key");
	s->index = index_open(index, AccessShareLock);
	s->version = column(s->table, "version");
	s->changed_at = column(s->table, "changed_at");
	s->not_before = column(s->table, "not_before");
	s->retracted = column(s->table, "retracted");
	s->value = column(s->table, "value");
	s->row = table_slot_create(s->table, NULL);
	s->scan = pe_index_beginscan(s->table, s->index, GetActiveSnapshot(), 2);
	s->scan->xs_want_itup = true;
	s->scratch = AllocSetContextCreate(CurrentMemoryContext, "profenrich score", ALLOCSET_SMALL_SIZES);
}

static void
close_scan(ScoreScan *s)
{
	index_endscan(s->scan);
	ExecDropSingleTupleTableSlot(s->row);
	index_close(s->index, AccessShareLock);
	table_close(s->table, AccessShareLock);
	MemoryContextDelete(s->scratch);
}

/* Begins a stretch: from the present key on, or this key alone. */
static void
seek(ScoreScan *s)
{
	ScanKeyData start[2];

	s->last = s->one_by_one ? s->place : s->count - 1;
	ScanKeyInit(&start[0], INDEX_ENRICHMENT, BTEqualStrategyNumber, F_INT4EQ,
	            Int32GetDatum(s->enrichment_id));
	ScanKeyEntryInitialize(&start[1], 0, INDEX_KEY,
	                       s->one_by_one ? BTEqualStrategyNumber : BTGreaterEqualStrategyNumber, InvalidOid,
	                       C_COLLATION_OID, s->one_by_one ? F_TEXTEQ : F_TEXT_GE,
	                       CStringGetTextDatum(s->keys[s->place]));
	index_rescan(s->scan, start, lengthof(start), NULL, 0);
}

static bool
is_done(const ScoreScan *s)
{
	return s->ended || s->place > s->last;
}

/* How the index entry that the scan is at compares with the key that is looked for. */
static int
compare_entry(const ScoreScan *s)
{
	bool isnull;
	Datum datum = index_getattr(s->scan->xs_itup, INDEX_KEY, s->scan->xs_itupdesc, &isnull);
	text *entry = DatumGetTextPP(datum);
	const char *key = s->keys[s->place];
	size_t entry_length = VARSIZE_ANY_EXHDR(entry);
	size_t key_length = strlen(key);
	int order = memcmp(VARDATA_ANY(entry), key, Min(entry_length, key_length));

	if (order == 0)
		order = (entry_length > key_length) - (entry_length < key_length);
	if ((Pointer) entry != DatumGetPointer(datum))
		pfree(entry);
	return order;
}

static void
visit(ScoreScan *s, const PeScoreRow *row)
{
	MemoryContext caller = MemoryContextSwitchTo(s->scratch);

	s->ended = !s->visit(s->arg, s->place, row);
	s->place++;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(s->scratch);
}

/* Of an entry the row, unless the snapshot does not see it: another entry of the key may follow. */
static void
visit_entry(ScoreScan *s)
{
	PeScoreRow row;
	Datum not_before;
	bool isnull;

	if (!index_fetch_heap(s->scan, s->row))
		return;
	row.version = DatumGetInt64(slot_getattr(s->row, s->version, &isnull));
	row.changed_at = DatumGetTimestampTz(slot_getattr(s->row, s->changed_at, &isnull));
	not_before = slot_getattr(s->row, s->not_before, &isnull);
	row.not_before = isnull ? 0 : DatumGetTimestampTz(not_before);
	row.retracted = DatumGetBool(slot_getattr(s->row, s->retracted, &isnull));
	row.value = slot_getattr(s->row, s->value, &row.isnull);
	visit(s, &row);
}

/* An entry that nobody asked for. True when the stretch is not worth walking any further. */
static bool
pass_over(ScoreScan *s)
{
	s->passed++;
	s->one_by_one = s->passed > MOST_PASSED * ((int64) s->place + 1);
	return s->one_by_one;
}

/* Walks from the present key to the end of its stretch. */
static void
walk(ScoreScan *s)
{
	while (!is_done(s) && index_getnext_tid(s->scan, ForwardScanDirection) != NULL)
	{
		int order;

		CHECK_FOR_INTERRUPTS();
		while ((order = compare_entry(s)) > 0)
		{
			visit(s, NULL);
			if (is_done(s))
				return;
		}
		if (order == 0)
			visit_entry(s);
		else if (pass_over(s))
			return;
	}
	while (!is_done(s))
		visit(s, NULL);
}

void
pe_score_scan(int32 enrichment_id, const char *const *keys, int count, PeScoreVisit visit, void *arg)
{
	ScoreScan s = {.enrichment_id = enrichment_id, .keys = keys, .count = count, .visit = visit, .arg = arg};

	open_scan(&s);
	while (!s.ended && s.place < count)
	{
		seek(&s);
		walk(&s);
	}
	close_scan(&s);
}
