/*
 * delivery_load.c
 *		Which keys the next request of a slot is about: chunks of the queue, or retries that
 *		are due; and those of a batch.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/delivery.h"
#include "pg/sent.h"

typedef struct LoadArg
{
	MemoryContext context;
	const pe_slot *slot;
	bool chunks;
	int64 after_chunk;
	PeLoad *load;
	pe_work_kind kind;
	pe_key_past *past;
} LoadArg;

/* An empty load with room for so many keys, and as many chunks. */
static PeLoad *
make_load(MemoryContext parent, int keys, int chunks)
{
	MemoryContext context = AllocSetContextCreate(parent, "profenrich load", ALLOCSET_SMALL_SIZES);
	PeLoad *load = MemoryContextAllocZero(context, sizeof(PeLoad));

	load->context = context;
	load->chunks = MemoryContextAllocZero(context, Max(chunks, 1) * sizeof(PeLoadedChunk));
	load->keys = MemoryContextAllocZero(context, keys * sizeof(char *));
	load->versions = MemoryContextAllocZero(context, keys * sizeof(int64));
	load->retracted = MemoryContextAllocZero(context, keys * sizeof(bool));
	return load;
}

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/*
 * Adds a chunk from a row of chunk_id, version, profile_keys, not_before; its keys in order, which is how
 * their values are read: a batch counts how many of them it has taken.
 */
static void
add_chunk(PeLoad *load, HeapTuple row, TupleDesc desc)
{
	PeLoadedChunk *chunk = &load->chunks[load->chunk_count++];
	MemoryContext caller;
	Datum *keys;
	int64 version = pe_statement_int64(row, desc, 2, 0);
	TimestampTz not_before = pe_statement_int64(row, desc, 4, 0);
	bool isnull;

	if (not_before != 0 && (load->waited == 0 || not_before < load->waited))
		load->waited = not_before;
	chunk->chunk_id = pe_statement_int64(row, desc, 1, 0);
	chunk->first = load->count;
	deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(row, desc, 3, &isnull)), TEXTOID, -1, false,
	                  TYPALIGN_INT, &keys, NULL, &chunk->count);
	caller = MemoryContextSwitchTo(load->context);
	for (int i = 0; i < chunk->count; i++)
	{
		load->keys[load->count] = TextDatumGetCString(keys[i]);
		load->versions[load->count++] = version;
	}
	MemoryContextSwitchTo(caller);
	qsort(load->keys + chunk->first, chunk->count, sizeof(char *), compare_texts);
}

/* Which keys a load has, by their hashes; 0 is an empty place. */
typedef struct KeyTable
{
	uint16 places[2 * 512]; /* index + 1 */
} KeyTable;

/* False when the load has the key at another index. */
static bool
note_key(KeyTable *table, const PeLoad *load, int index)
{
	const char *key = load->keys[index];
	uint32 place = hash_bytes((const unsigned char *) key, (int) strlen(key));

	for (;; place++)
	{
		uint16 *other = &table->places[place % lengthof(table->places)];

		if (*other == 0)
		{
			*other = (uint16) (index + 1);
			return true;
		}
		if (strcmp(load->keys[*other - 1], key) == 0)
			return false;
	}
}

/* Notes the keys of the last chunk; where one of them was there before, the chunk is taken out again. */
static bool
keep_chunk(KeyTable *table, PeLoad *load)
{
	const PeLoadedChunk *chunk = &load->chunks[load->chunk_count - 1];

	for (int i = chunk->first; i < chunk->first + chunk->count; i++)
		if (!note_key(table, load, i))
		{
			load->count = chunk->first;
			load->chunk_count--;
			return false;
		}
	return true;
}

/*
 * Chunks of one shard that follow, while they have room and other keys: of two values of a profile the later
 * one is for a later request.
 */
static void
merge_chunks(PeLoad *load)
{
	KeyTable table = {0};

	(void) keep_chunk(&table, load);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;
		int keys = DatumGetInt32(SPI_getbinval(row, desc, 5, &isnull));

		if (load->count + keys > PE_CHUNK_KEYS)
			return;
		add_chunk(load, row, desc);
		if (!keep_chunk(&table, load))
			return;
	}
}

/* At most so many of the chunks that are due after a place. */
static void
find_chunks(const pe_slot *slot, int64 after, int most)
{
	static PeStatement next = {
	    .sql = "SELECT chunk_id, version, profile_keys, not_before, key_count FROM profenrich.outbox"
	           " WHERE enrichment_id = $1 AND shard = $2 AND chunk_id > $3 AND job_id IS NULL"
	           " AND (not_before IS NULL OR not_before <= now()) ORDER BY chunk_id LIMIT " CppAsString2(
	               PE_MERGED_CHUNKS),
	    .nargs = 3,
	    .types = {INT4OID, INT2OID, INT8OID}};
	Datum values[3] = {Int32GetDatum(slot->enrichment), Int16GetDatum((int16) slot->shard),
	                   Int64GetDatum(after)};

	pe_statement_run(&next, values, NULL, true, most);
}

/* First from where the slot was, which passes over what is deleted but not yet vacuumed; then from the start.
 */
static bool
load_chunks(LoadArg *arg)
{
	PeLoad *load;

	if (!arg->chunks)
		return false;
	find_chunks(arg->slot, arg->after_chunk, 1);
	if (SPI_processed == 0 && arg->after_chunk > 0)
		find_chunks(arg->slot, 0, 1);
	if (SPI_processed == 0)
		return false;
	load = arg->load = make_load(arg->context, PE_CHUNK_KEYS, PE_MERGED_CHUNKS);
	add_chunk(load, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	if (load->count <= PE_CHUNK_KEYS / 2)
	{
		find_chunks(arg->slot, load->chunks[0].chunk_id, PE_MERGED_CHUNKS - 1);
		merge_chunks(load);
	}
	arg->kind = PE_WORK_CHUNK;
	pe_sent_waits(arg->slot, load, arg->past);
	return true;
}

static pe_outcome
outcome_of_name(const char *name)
{
	for (pe_outcome outcome = PE_OUTCOME_ACCEPTED; name != NULL && outcome <= PE_OUTCOME_RATE; outcome++)
		if (strcmp(name, pe_outcome_name(outcome)) == 0)
			return outcome;
	return PE_OUTCOME_UNKNOWN;
}

static bool
load_retries(LoadArg *arg)
{
	static PeStatement due = {.sql = "SELECT profile_key, version, attempts, class FROM profenrich.retry"
	                                 " WHERE enrichment_id = $1 AND shard = $2 AND " PE_RETRY_DUE(
	                                     "next_at") " ORDER BY next_at LIMIT 500",
	                          .nargs = 2,
	                          .types = {INT4OID, INT2OID}};
	Datum values[2] = {Int32GetDatum(arg->slot->enrichment), Int16GetDatum((int16) arg->slot->shard)};
	bool isnull;

	pe_statement_run(&due, values, NULL, true, PE_CHUNK_KEYS);
	if (SPI_processed == 0)
		return false;
	arg->load = make_load(arg->context, (int) SPI_processed, 0);
	arg->load->count = (int) SPI_processed;
	for (int i = 0; i < arg->load->count; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;

		arg->load->keys[i] = MemoryContextStrdup(arg->load->context, SPI_getvalue(row, desc, 1));
		arg->load->versions[i] = pe_statement_int64(row, desc, 2, 0);
		arg->past[i].attempts = DatumGetInt32(SPI_getbinval(row, desc, 3, &isnull));
		arg->past[i].outcome = outcome_of_name(SPI_getvalue(row, desc, 4));
	}
	arg->kind = PE_WORK_RETRY;
	return true;
}

static void
load_task(void *arg)
{
	LoadArg *load = arg;

	if (load->slot->prefer_retry)
		(void) (load_retries(load) || load_chunks(load));
	else
		(void) (load_chunks(load) || load_retries(load));
}

bool
pe_delivery_load(MemoryContext context, const pe_slot *slot, bool chunks, int64 after_chunk, PeLoad **load,
                 pe_work_kind *kind, pe_key_past *past)
{
	LoadArg arg = {
	    .context = context, .slot = slot, .chunks = chunks, .after_chunk = after_chunk, .past = past};
	bool done = pe_delivery_step("loading", load_task, &arg);

	if (!done && arg.load != NULL)
	{
		MemoryContextDelete(arg.load->context);
		arg.load = NULL;
	}
	*load = arg.load;
	*kind = arg.kind;
	return done;
}

typedef struct JobLoadArg
{
	MemoryContext context;
	int32 enrichment_id;
	int64 job_id;
	int64 after_chunk;
	PeLoad *load;
} JobLoadArg;

static void
load_of_job_task(void *data)
{
	static PeStatement next = {
	    .sql = "SELECT chunk_id, version, profile_keys, not_before FROM profenrich.outbox"
	           " WHERE enrichment_id = $1 AND job_id = $2 AND chunk_id > $3 ORDER BY chunk_id LIMIT 1",
	    .nargs = 3,
	    .types = {INT4OID, INT8OID, INT8OID}};
	JobLoadArg *arg = data;
	Datum values[3] = {Int32GetDatum(arg->enrichment_id), Int64GetDatum(arg->job_id),
	                   Int64GetDatum(arg->after_chunk)};

	pe_statement_run(&next, values, NULL, true, 1);
	if (SPI_processed == 0)
		return;
	arg->load = make_load(arg->context, PE_CHUNK_KEYS, 1);
	add_chunk(arg->load, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
}

bool
pe_delivery_load_of_job(MemoryContext context, int32 enrichment_id, int64 job_id, int64 after_chunk,
                        PeLoad **load)
{
	JobLoadArg arg = {context, enrichment_id, job_id, after_chunk, NULL};
	bool done = pe_delivery_step("loading", load_of_job_task, &arg);

	if (!done && arg.load != NULL)
	{
		MemoryContextDelete(arg.load->context);
		arg.load = NULL;
	}
	*load = arg.load;
	return done;
}
