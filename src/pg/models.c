/*
 * models.c
 *		The session's cache of models, and how they are looked up.
 *
 * Two hash tables. Names: (model, version) to version id, dropped whole whenever the
 * table profenrich.model sends a relcache invalidation (its statement trigger does).
 * Loaded: version id to model, which needs no invalidation since versions are
 * immutable; bounded by profenrich.model_cache_size, least recently used out first,
 * never one that is pinned. Writing is in model_store.c.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "model/recommend/recommend.h"
#include "pg/env.h"
#include "pg/guc.h"
#include "pg/models.h"
#include "pg/owner.h"
#include "pg/report.h"

#define MODEL_NAME_BYTES 64
#define CHECKSUM_BYTES   65

typedef struct NameKey
{
	char name[MODEL_NAME_BYTES];
	int32 version; /* 0: the deployed one */
} NameKey;

typedef struct NameEntry
{
	NameKey key;
	int64 version_id;
	char checksum[CHECKSUM_BYTES];
} NameEntry;

typedef struct LoadedEntry
{
	int64 version_id; /* key */
	char checksum[CHECKSUM_BYTES];
	PeModel *model; /* NULL while loading */
	MemoryContext context;
	size_t bytes;
	int pins;
	uint64 used; /* when last opened, on the clock below */
} LoadedEntry;

static HTAB *names = NULL;
static HTAB *loaded = NULL;
static size_t loaded_bytes = 0;
static uint64 clock_now = 0;
static uint64 generation = 1;
static Oid model_relid = InvalidOid; /* profenrich.model, when names were last looked up */
static bool relid_is_stale = true;

uint64
pe_model_generation(void)
{
	return generation;
}

/* ---- names ---------------------------------------------------------------------------- */

static void
forget_names(Datum arg, Oid relid)
{
	if (!OidIsValid(model_relid) || (OidIsValid(relid) && relid != model_relid))
		return;
	generation++;
	relid_is_stale = true;
	if (names != NULL)
	{
		HASH_SEQ_STATUS scan;
		NameEntry *entry;

		hash_seq_init(&scan, names);
		while ((entry = hash_seq_search(&scan)) != NULL)
			hash_search(names, &entry->key, HASH_REMOVE, NULL);
	}
}

PG_FUNCTION_INFO_V1(pe_model_changed);

/* The statement trigger on model and model_version. */
Datum
pe_model_changed(PG_FUNCTION_ARGS)
{
	Relation relation;
	Oid relid;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
		                errmsg("model_changed is a trigger function")));
	relation = ((TriggerData *) fcinfo->context)->tg_relation;
	relid = get_relname_relid("model", RelationGetNamespace(relation));
	if (OidIsValid(relid))
		CacheInvalidateRelcacheByRelid(relid);
	return PointerGetDatum(NULL); /* what a statement trigger gives back */
}

static void
drop_loaded(LoadedEntry *entry)
{
	loaded_bytes -= entry->bytes;
	if (entry->context != NULL)
		MemoryContextDelete(entry->context);
	hash_search(loaded, &entry->version_id, HASH_REMOVE, NULL);
}

/*
 * Another extension is here than before (dropped and made anew): its versions have the
 * same ids, and maybe the same artifacts, but labels and thresholds of their own.
 */
static void
forget_loaded(void)
{
	HASH_SEQ_STATUS scan;
	LoadedEntry *entry;

	hash_seq_init(&scan, loaded);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		entry->checksum[0] = '\0';
		if (entry->pins == 0)
			drop_loaded(entry);
	}
}

static void
prepare_cache(void)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_names, (Datum) 0);
		registered = true;
	}
	if (names == NULL)
	{
		HASHCTL control = {
		    .keysize = sizeof(NameKey), .entrysize = sizeof(NameEntry), .hcxt = CacheMemoryContext};

		names = hash_create("profenrich model names", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	if (loaded == NULL)
	{
		HASHCTL control = {
		    .keysize = sizeof(int64), .entrysize = sizeof(LoadedEntry), .hcxt = CacheMemoryContext};

		loaded = hash_create("profenrich loaded models", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	if (relid_is_stale)
	{
		Oid relid = get_relname_relid("model", get_namespace_oid("profenrich", false));

		if (relid != model_relid)
			forget_loaded();
		model_relid = relid;
		relid_is_stale = false;
	}
}

/* Text of a column of the first result row, NULL when null; in the caller's context. */
static char *
result_text(int column)
{
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);
}

static int64
result_int64(int column)
{
	bool isnull;
	Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static void
pg_attribute_noreturn()
    raise_no_version(const char *name, int version, bool model_exists, const char *versions)
{
	if (!model_exists)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no model \"%s\"", name),
		                errhint("See SELECT * FROM profenrich.models; train() makes a model.")));
	if (version == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("model \"%s\" has no deployed version", name),
		                errhint("Deploy one with profenrich.deploy, or name the version to use.")));
	ereport(ERROR,
	        (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("model \"%s\" has no version %d", name, version),
	         versions != NULL ? errhint("Its versions are %s.", versions) : 0));
}

/*
 * Looks a name up in the tables. Under the latest snapshot, so that what is cached
 * is never older than the invalidations this session has already seen; in parallel
 * mode, where none can be taken, under the query's.
 */
static void
look_up(const char *name, int version, NameEntry *found)
{
	static const Oid types[] = {TEXTOID, INT4OID};
	Datum values[] = {CStringGetTextDatum(name), Int32GetDatum(version)};
	bool latest = !IsInParallelMode();

	if (latest)
		PushActiveSnapshot(GetLatestSnapshot());
	SPI_connect();
	pe_owner_execute(
	    "SELECT v.version_id, v.artifact_checksum,"
	    " (SELECT string_agg(o.version::text, ', ' ORDER BY o.version)"
	    "    FROM profenrich.model_version o WHERE o.model = m.name AND v.version_id IS NULL)"
	    " FROM profenrich.model m LEFT JOIN profenrich.model_version v"
	    " ON v.model = m.name AND v.version = CASE WHEN $2 > 0 THEN $2 ELSE m.deployed_version END"
	    " WHERE m.name = $1",
	    2, types, values, NULL, true, 1);
	if (SPI_processed == 0)
		raise_no_version(name, version, false, NULL);
	found->version_id = result_int64(1);
	if (found->version_id == 0)
		raise_no_version(name, version, true, result_text(3));
	strlcpy(found->checksum, result_text(2), sizeof(found->checksum));
	SPI_finish();
	if (latest)
		PopActiveSnapshot();
}

static NameEntry
resolve(const char *name, int version)
{
	NameEntry found;
	NameEntry *cached;

	memset(&found, 0, sizeof(found));
	if (strlen(name) >= MODEL_NAME_BYTES)
		raise_no_version(name, version, false, NULL);
	strlcpy(found.key.name, name, sizeof(found.key.name));
	found.key.version = version;
	cached = hash_search(names, &found.key, HASH_FIND, NULL);
	if (cached != NULL)
		return *cached;
	for (;;)
	{
		uint64 before = generation;

		look_up(name, version, &found);
		if (IsInParallelMode())
			return found;
		if (before != generation)
			continue; /* changed while we looked */
		cached = hash_search(names, &found.key, HASH_ENTER, NULL);
		*cached = found;
		return found;
	}
}

/* ---- loading -------------------------------------------------------------------------- */

/* The whole artifact, from its parts, in context. */
static uint8 *
read_artifact(int64 version_id, int64 length, MemoryContext context)
{
	static const Oid types[] = {INT8OID, INT4OID};
	uint8 *bytes = MemoryContextAllocHuge(context, Max(length, 1));
	int64 filled = 0;

	for (int part = 0; filled < length; part++)
	{
		Datum values[] = {Int64GetDatum(version_id), Int32GetDatum(part)};
		bool isnull;
		Datum stored;
		struct varlena *chunk;
		int64 size;

		CHECK_FOR_INTERRUPTS();
		pe_owner_execute("SELECT bytes FROM profenrich.model_artifact WHERE version_id = $1 AND part = $2", 2,
		                 types, values, NULL, true, 1);
		if (SPI_processed == 0)
			break;
		stored = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		chunk = PG_DETOAST_DATUM_PACKED(stored);
		size = VARSIZE_ANY_EXHDR(chunk);
		if (size == 0 || size > length - filled)
			break;
		memcpy(bytes + filled, VARDATA_ANY(chunk), size);
		filled += size;
		if ((Pointer) chunk != DatumGetPointer(stored))
			pfree(chunk);
		SPI_freetuptable(SPI_tuptable);
	}
	if (filled != length)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
		                errmsg("the stored artifact of a model version is not whole"),
		                errdetail("Version id %lld: %lld of %lld bytes are there.", (long long) version_id,
		                          (long long) filled, (long long) length),
		                errhint("Train the model again, or restore it from a dump.")));
	return bytes;
}

/* The version's row, into a model allocated in context. Returns its artifact's length. */
static int64
read_row(int64 version_id, PeModel *model, MemoryContext context)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(version_id)};
	char *text;

	pe_owner_execute(
	    "SELECT artifact_bytes, version::bigint, model, task, positive_label, negative_label, threshold::text"
	    " FROM profenrich.model_version WHERE version_id = $1",
	    1, types, values, NULL, true, 1);
	if (SPI_processed == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the model version was dropped meanwhile")));
	model->version_id = version_id;
	model->version = (int) result_int64(2);
	model->name = MemoryContextStrdup(context, result_text(3));
	model->task = pe_task_from_name(result_text(4));
	text = result_text(5);
	model->positive_label = text != NULL ? MemoryContextStrdup(context, text) : NULL;
	text = result_text(6);
	model->negative_label = text != NULL ? MemoryContextStrdup(context, text) : NULL;
	text = result_text(7);
	model->threshold = text != NULL ? strtod(text, NULL) : 0.5;
	return result_int64(1);
}

static void
read_features(PeModel *model)
{
	model->n_features = pe_model_feature_count(model->core);
	model->features = palloc0(sizeof(PeFeature) * Max(model->n_features, 1));
	for (int i = 0; i < model->n_features; i++)
	{
		pe_model_feature feature = pe_model_get_feature(model->core, i);

		model->features[i] = pe_feature_decode(feature.source_type);
		model->features[i].name = feature.name;
		if (pe_feature_is_category(&model->features[i]) != (feature.kind == PE_FEATURE_CATEGORICAL))
			ereport(ERROR,
			        (errcode(ERRCODE_DATA_CORRUPTED),
			         errmsg("feature \"%s\" of the model is of another kind than its source", feature.name)));
		if (model->features[i].by_snapshot)
			model->uses_snapshot = true;
	}
}

/*
 * Loads a version into a context of its own under the cache's. An error on the way
 * leaves nothing: until it is whole, the context belongs to the caller's.
 */
static PeModel *
load(int64 version_id, MemoryContext *owner)
{
	MemoryContext context =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich model", ALLOCSET_SMALL_SIZES);
	MemoryContext scratch =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich model bytes", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	PeModel *model = palloc0(sizeof(PeModel));
	pe_env *env = palloc(sizeof(pe_env));
	pe_model *core = NULL;
	pe_error error;
	int64 length;
	uint8 *artifact;

	*env = pe_server_env(context);
	SPI_connect();
	length = read_row(version_id, model, context);
	artifact = read_artifact(version_id, length, scratch);
	SPI_finish();
	MemoryContextSwitchTo(context);
	if (model->task == PE_TASK_RECOMMENDATION)
	{
		pe_recommender *recommender;

		pe_check(pe_recommender_deserialize(env, artifact, (size_t) length, &recommender, &error), &error);
		model->recommender = recommender;
	}
	else
	{
		pe_check(pe_model_deserialize(env, artifact, (size_t) length, &core, &error), &error);
		model->core = core;
		read_features(model);
	}
	MemoryContextDelete(scratch);
	MemoryContextSwitchTo(caller);
	*owner = context;
	return model;
}

/* Makes room, least recently used first; what is pinned stays, and so does the newest. */
static void
evict(const LoadedEntry *keep)
{
	while (loaded_bytes > (size_t) pe_model_cache_size * 1024 * 1024)
	{
		HASH_SEQ_STATUS scan;
		LoadedEntry *entry;
		LoadedEntry *oldest = NULL;

		hash_seq_init(&scan, loaded);
		while ((entry = hash_seq_search(&scan)) != NULL)
		{
			if (entry != keep && entry->pins == 0 && (oldest == NULL || entry->used < oldest->used))
				oldest = entry;
		}
		if (oldest == NULL)
			return;
		drop_loaded(oldest);
	}
}

static void
unpin(void *arg)
{
	LoadedEntry *entry = (LoadedEntry *) arg;

	entry->pins--;
}

/* The pin goes when holder does, whichever way that is. */
static void
pin(LoadedEntry *entry, MemoryContext holder)
{
	MemoryContextCallback *callback = MemoryContextAlloc(holder, sizeof(MemoryContextCallback));

	callback->func = unpin;
	callback->arg = entry;
	MemoryContextRegisterResetCallback(holder, callback);
	entry->pins++;
	entry->used = ++clock_now;
}

const PeModel *
pe_version_open(const char *name, int version, MemoryContext holder)
{
	NameEntry found;
	LoadedEntry *entry;
	PeModel *model;
	MemoryContext context;
	bool exists;

	prepare_cache();
	found = resolve(name, version);
	entry = hash_search(loaded, &found.version_id, HASH_FIND, NULL);
	if (entry != NULL && strcmp(entry->checksum, found.checksum) == 0)
	{
		pin(entry, holder);
		return entry->model;
	}
	model = load(found.version_id, &context);
	entry = hash_search(loaded, &found.version_id, HASH_FIND, NULL);
	if (entry != NULL && entry->pins == 0)
		drop_loaded(entry); /* the id was given out again: another extension was here before */
	else if (entry != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
		                errmsg("an earlier model of the same id is in use in this session"),
		                errhint("Finish the query that uses it, or reconnect.")));
	entry = hash_search(loaded, &found.version_id, HASH_ENTER, &exists);
	memset((char *) entry + sizeof(entry->version_id), 0, sizeof(*entry) - sizeof(entry->version_id));
	strlcpy(entry->checksum, found.checksum, sizeof(entry->checksum));
	MemoryContextSetParent(context, CacheMemoryContext);
	entry->model = model;
	entry->context = context;
	entry->bytes = MemoryContextMemAllocated(context, true);
	loaded_bytes += entry->bytes;
	pin(entry, holder);
	evict(entry);
	return model;
}

const PeModel *
pe_model_open(const char *name, int version, MemoryContext holder)
{
	const PeModel *model = pe_version_open(name, version, holder);

	if (model->core == NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("model \"%s\" recommends items and predicts nothing of a row", model->name),
		                errhint("Use profenrich.recommend for a user, profenrich.recommend_all for many.")));
	return model;
}

const PeModel *
pe_recommender_open(const char *name, int version, MemoryContext holder)
{
	const PeModel *model = pe_version_open(name, version, holder);

	if (model->recommender == NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("model \"%s\" has the task %s and recommends nothing", model->name,
		                       pe_task_name(model->task)),
		                errhint("A model of the task recommendation is needed; profenrich.predict and "
		                        "profenrich.score use this one.")));
	return model;
}

int
pe_version_argument(FunctionCallInfo fcinfo, int argument)
{
	int version = PG_ARGISNULL(argument) ? 0 : PG_GETARG_INT32(argument);

	if (!PG_ARGISNULL(argument) && version < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("version must be 1 or more, not %d", version),
		                errhint("Leave it out for the deployed version.")));
	return version;
}

PG_FUNCTION_INFO_V1(pe_model_version_id);

/* model_version_id(model, version) -> the version's id; raises when there is none. */
Datum
pe_model_version_id(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	prepare_cache();
	PG_RETURN_INT64(
	    resolve(text_to_cstring(PG_GETARG_TEXT_PP(0)), pe_version_argument(fcinfo, 1)).version_id);
}
