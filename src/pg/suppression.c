/*
 * suppression.c
 *		The list of the forgotten, and unforget().
 *
 * An entry is HMAC-SHA-256 of namespace and id under a key of this database's own, made
 * with the first entry. It recognises an identity that turns up again, and tells none to
 * whoever has the list without the key.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/owner.h"
#include "pg/suppression.h"

#define KEY_BYTES 32

typedef struct IdHash
{
	uint8 bytes[PG_SHA256_DIGEST_LENGTH];
} IdHash;

struct PeSuppression
{
	uint8 key[KEY_BYTES];
	HTAB *hashes;
};

static void
lock_list(LOCKMODE mode)
{
	Oid list = get_relname_relid("forgotten", get_namespace_oid("profenrich", false));

	if (!OidIsValid(list))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("profenrich.forgotten does not exist"),
		                errhint("Run ALTER EXTENSION profenrich UPDATE.")));
	LockRelationOid(list, mode);
}

void
pe_suppression_hold(void)
{
	lock_list(RowShareLock);
}

void
pe_suppression_take(void)
{
	lock_list(ExclusiveLock);
}

/* ---- hashing ------------------------------------------------------------------------------ */

/* Of the namespace in lower case, a byte 0, and the id. */
static IdHash
hash_identity(const uint8 *key, const char *namespace_code, size_t namespace_length, const char *id,
              size_t id_length)
{
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);
	char *name = palloc(namespace_length + 1);
	IdHash hash;

	for (size_t i = 0; i < namespace_length; i++)
		name[i] = (char) pg_ascii_tolower((unsigned char) namespace_code[i]);
	name[namespace_length] = '\0';
	if (context == NULL || pg_hmac_init(context, key, KEY_BYTES) < 0 ||
	    pg_hmac_update(context, (const uint8 *) name, namespace_length + 1) < 0 ||
	    pg_hmac_update(context, (const uint8 *) id, id_length) < 0 ||
	    pg_hmac_final(context, hash.bytes, sizeof(hash.bytes)) < 0)
		elog(ERROR, "could not hash an identity");
	pg_hmac_free(context);
	pfree(name);
	return hash;
}

static Datum
hash_datum(const IdHash *hash)
{
	bytea *result = palloc(VARHDRSZ + sizeof(hash->bytes));

	SET_VARSIZE(result, VARHDRSZ + sizeof(hash->bytes));
	memcpy(VARDATA(result), hash->bytes, sizeof(hash->bytes));
	return PointerGetDatum(result);
}

/* The database's key; false when it has none yet. SPI is connected. */
static bool
read_key(uint8 *key)
{
	bytea *stored;
	bool isnull;

	pe_owner_execute("SELECT key FROM profenrich.forgotten_key", 0, NULL, NULL, NULL, false, 1);
	if (SPI_processed == 0)
		return false;
	stored = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (VARSIZE_ANY_EXHDR(stored) != KEY_BYTES)
		ereport(ERROR,
		        (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the key of profenrich.forgotten is damaged")));
	memcpy(key, VARDATA_ANY(stored), KEY_BYTES);
	return true;
}

static void
make_key(uint8 *key)
{
	Oid types[1] = {BYTEAOID};
	bytea *stored = palloc(VARHDRSZ + KEY_BYTES);
	Datum values[1] = {PointerGetDatum(stored)};

	if (!pg_strong_random(key, KEY_BYTES))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
	SET_VARSIZE(stored, VARHDRSZ + KEY_BYTES);
	memcpy(VARDATA(stored), key, KEY_BYTES);
	pe_owner_execute("INSERT INTO profenrich.forgotten_key (key) VALUES ($1)", 1, types, values, NULL, false,
	                 0);
}

/* ---- the list ----------------------------------------------------------------------------- */

PeSuppression *
pe_suppression_load(void)
{
	MemoryContext caller = CurrentMemoryContext;
	PeSuppression *list = NULL;
	uint8 key[KEY_BYTES];
	SPITupleTable *rows;

	SPI_connect();
	pe_owner_execute("SELECT id_hash FROM profenrich.forgotten", 0, NULL, NULL, NULL, false, 0);
	rows = SPI_tuptable;
	if (rows->numvals > 0 && read_key(key))
	{
		HASHCTL control = {.keysize = sizeof(IdHash), .entrysize = sizeof(IdHash), .hcxt = caller};

		list = MemoryContextAlloc(caller, sizeof(PeSuppression));
		memcpy(list->key, key, KEY_BYTES);
		list->hashes = hash_create("profenrich forgotten", (long) rows->numvals, &control,
		                           HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		for (uint64 i = 0; i < rows->numvals; i++)
		{
			bool isnull;
			bytea *hash = DatumGetByteaPP(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull));

			if (VARSIZE_ANY_EXHDR(hash) == sizeof(IdHash))
				(void) hash_search(list->hashes, VARDATA_ANY(hash), HASH_ENTER, NULL);
		}
	}
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return list;
}

bool
pe_suppression_has(const PeSuppression *list, const char *namespace_code, size_t namespace_length,
                   const char *id, size_t id_length)
{
	IdHash hash;

	if (list == NULL)
		return false;
	hash = hash_identity(list->key, namespace_code, namespace_length, id, id_length);
	return hash_search(list->hashes, &hash, HASH_FIND, NULL) != NULL;
}

/* Runs a statement with the identity's hash as $1 and the user as $2. */
static bool
change_list(const char *sql, const uint8 *key, const char *namespace_code, const char *id)
{
	IdHash hash = hash_identity(key, namespace_code, strlen(namespace_code), id, strlen(id));
	Oid types[2] = {BYTEAOID, OIDOID};
	Datum values[2] = {hash_datum(&hash), ObjectIdGetDatum(GetUserId())};

	pe_owner_execute(sql, 2, types, values, NULL, false, 0);
	return SPI_processed > 0;
}

bool
pe_suppression_add(const char *namespace_code, const char *id)
{
	uint8 key[KEY_BYTES];

	if (!read_key(key))
		make_key(key);
	return change_list(
	    "INSERT INTO profenrich.forgotten (id_hash, forgotten_by) VALUES ($1, $2::oid::regrole)"
	    " ON CONFLICT DO NOTHING",
	    key, namespace_code, id);
}

bool
pe_suppression_remove(const char *namespace_code, const char *id)
{
	uint8 key[KEY_BYTES];

	return read_key(key) &&
	       change_list("DELETE FROM profenrich.forgotten WHERE id_hash = $1 AND $2::oid IS NOT NULL", key,
	                   namespace_code, id);
}

void
pe_suppression_need_admin(const char *what)
{
	if (!pe_is_member("profenrich_admin"))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied to %s", what),
		                errhint("Only members of profenrich_admin may.")));
}

PG_FUNCTION_INFO_V1(pe_unforget);

/* unforget(namespace, id) -> whether it was on the list */
Datum
pe_unforget(PG_FUNCTION_ARGS)
{
	char *namespace_code = pe_text_argument(fcinfo, 0, "namespace");
	char *id = pe_text_argument(fcinfo, 1, "id");
	bool removed;

	PreventCommandIfReadOnly("profenrich.unforget()");
	pe_suppression_need_admin("let forgotten profiles in again");
	pe_suppression_take();
	SPI_connect();
	removed = pe_suppression_remove(namespace_code, id);
	pe_audit("unforget", namespace_code, "{\"removed\": %s}", removed ? "true" : "false");
	SPI_finish();
	PG_RETURN_BOOL(removed);
}
