/*
 * model_store.c
 *		Writing models: storing a trained version, deploying, dropping, and who may.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/models.h"
#include "pg/owner.h"

/* Parts are far below what a dump or a restore can take in one value. */
#define PART_BYTES (16 * 1024 * 1024)

PeModelRights
pe_model_rights(const char *name, pe_task *task)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	PeModelRights rights = PE_MODEL_NONE;

	SPI_connect();
	pe_owner_execute("SELECT m.owner::oid, m.task FROM profenrich.model m WHERE m.name = $1", 1, types,
	                 values, NULL, true, 1);
	if (SPI_processed > 0)
	{
		bool isnull;
		Oid owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));

		if (task != NULL)
			*task = pe_task_from_name(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
		rights = has_privs_of_role(GetUserId(), owner) || pe_is_member("profenrich_admin") ? PE_MODEL_OURS
		                                                                                   : PE_MODEL_OTHERS;
	}
	SPI_finish();
	return rights;
}

bool
pe_model_check_owner(const char *name, pe_task *task)
{
	PeModelRights rights = pe_model_rights(name, task);

	if (rights == PE_MODEL_OTHERS)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of model \"%s\"", name),
		     errhint(
		         "Its owner, members of that role and of profenrich_admin may train, deploy and drop it.")));
	return rights == PE_MODEL_OURS;
}

/* SHA-256 of the artifact as hexadecimal digits. */
static char *
checksum_of(const uint8 *bytes, size_t length)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	char *text = palloc0(PG_SHA256_DIGEST_LENGTH * 2 + 1);
	bool failed = hash == NULL || pg_cryptohash_init(hash) < 0;

	for (size_t done = 0; done < length && !failed; done += PART_BYTES)
		failed = pg_cryptohash_update(hash, bytes + done, Min(length - done, PART_BYTES)) < 0;
	failed = failed || pg_cryptohash_final(hash, digest, sizeof(digest)) < 0;
	if (hash != NULL)
		pg_cryptohash_free(hash);
	if (failed)
		ereport(ERROR,
		        (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute the artifact's checksum")));
	hex_encode((const char *) digest, sizeof(digest), text);
	return text;
}

/* Makes the model if it is new, locks it, and takes its next version number. */
static int
take_version_number(const PeNewVersion *version, bool *deploy)
{
	static const Oid types[] = {TEXTOID, OIDOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(version->model), ObjectIdGetDatum(GetUserId()),
	                  CStringGetTextDatum(pe_task_name(version->task))};
	bool isnull;
	int number;
	Oid owner;
	char *task;

	pe_owner_execute(
	    "INSERT INTO profenrich.model AS m (name, owner, task, last_version) VALUES ($1, $2::regrole, $3, 1)"
	    " ON CONFLICT (name) DO UPDATE SET last_version = m.last_version + 1"
	    " RETURNING m.last_version, m.owner::oid, m.task, m.deployed_version IS NULL",
	    3, types, values, NULL, false, 0);
	number = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	task = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3);
	*deploy = version->deploy ||
	          DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull));
	/* Somebody else's model may have come up while this one was trained. */
	if (!has_privs_of_role(GetUserId(), owner) && !pe_is_member("profenrich_admin"))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		                errmsg("must be owner of model \"%s\"", version->model)));
	if (pe_task_from_name(task) != version->task)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("model \"%s\" has the task %s", version->model, task)));
	return number;
}

static void
store_artifact(int64 version_id, const uint8 *bytes, size_t length)
{
	static const Oid types[] = {INT8OID, INT4OID, BYTEAOID};
	size_t done = 0;

	for (int part = 0; done < length; part++)
	{
		size_t size = Min(length - done, PART_BYTES);
		bytea *chunk = palloc(VARHDRSZ + size);
		Datum values[] = {Int64GetDatum(version_id), Int32GetDatum(part), PointerGetDatum(chunk)};

		CHECK_FOR_INTERRUPTS();
		SET_VARSIZE(chunk, VARHDRSZ + size);
		memcpy(VARDATA(chunk), bytes + done, size);
		pe_owner_execute(
		    "INSERT INTO profenrich.model_artifact (version_id, part, bytes) VALUES ($1, $2, $3)", 3, types,
		    values, NULL, false, 0);
		pfree(chunk);
		done += size;
	}
}

#define VERSION_COLUMNS 29

/* Inserts the version's row and returns its id. */
static int64
store_row(const PeNewVersion *version, int number, const char *checksum)
{
	const char *texts[] = {pe_algorithm_name(version->algorithm),
	                       pe_task_name(version->task),
	                       version->objective,
	                       version->target,
	                       version->key,
	                       version->source,
	                       version->options_json,
	                       version->features_json,
	                       version->metrics_json,
	                       version->evaluation_json,
	                       version->verdict,
	                       version->quality,
	                       version->positive_label,
	                       version->negative_label,
	                       version->seconds_json,
	                       checksum,
	                       version->model,
	                       version->holdout,
	                       version->consent,
	                       version->goal,
	                       version->learnt_until};
	Oid types[VERSION_COLUMNS];
	Datum values[VERSION_COLUMNS];
	char nulls[VERSION_COLUMNS];
	bool isnull;
	int n = lengthof(texts);

	for (int i = 0; i < n; i++)
	{
		types[i] = TEXTOID;
		nulls[i] = texts[i] == NULL ? 'n' : ' ';
		values[i] = texts[i] != NULL ? CStringGetTextDatum(texts[i]) : (Datum) 0;
	}
	for (int i = n; i < VERSION_COLUMNS; i++)
	{
		types[i] = INT8OID;
		nulls[i] = ' ';
	}
	values[n] = Int64GetDatum(number);
	values[n + 1] = Int64GetDatum(version->rows);
	values[n + 2] = Int64GetDatum(version->positives);
	nulls[n + 2] = version->positives < 0 ? 'n' : ' ';
	values[n + 3] = Int64GetDatum(version->memory);
	values[n + 4] = Int64GetDatum((int64) version->artifact_length);
	types[n + 5] = OIDOID;
	values[n + 5] = ObjectIdGetDatum(GetUserId());
	types[n + 6] = FLOAT8OID;
	values[n + 6] = Float8GetDatum(version->threshold);
	nulls[n + 6] = version->positive_label == NULL ? 'n' : ' ';
	values[n + 7] = Int64GetDatum(version->without_consent);
	nulls[n + 7] = version->consent == NULL ? 'n' : ' ';
	pe_owner_execute(
	    "INSERT INTO profenrich.model_version (algorithm, task, objective, target, key, source, options, "
	    "features,"
	    " metrics, evaluation, verdict, quality, positive_label, negative_label, seconds, artifact_checksum, "
	    "model,"
	    " holdout, consent, goal, learnt_until, version, rows, positives, memory_bytes, artifact_bytes, "
	    "trained_by, threshold, rows_without_consent)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8::jsonb, $9::jsonb, $10::jsonb, $11, $12, $13, $14,"
	    " $15::jsonb, $16, $17, $18, $19, $20, $21::date, $22::integer, $23, $24, $25, $26, $27::regrole, "
	    "$28,"
	    " $29) "
	    "RETURNING "
	    "version_id",
	    VERSION_COLUMNS, types, values, nulls, false, 0);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static void
set_deployed(const char *name, int version)
{
	static const Oid types[] = {TEXTOID, INT4OID};
	Datum values[] = {CStringGetTextDatum(name), Int32GetDatum(version)};

	pe_owner_execute("UPDATE profenrich.model SET deployed_version = $2 WHERE name = $1", 2, types, values,
	                 NULL, false, 0);
}

int
pe_model_store(const PeNewVersion *version, char **checksum)
{
	int number;
	int64 version_id;
	bool deploy;

	*checksum = checksum_of(version->artifact, version->artifact_length);
	SPI_connect();
	number = take_version_number(version, &deploy);
	version_id = store_row(version, number, *checksum);
	store_artifact(version_id, version->artifact, version->artifact_length);
	if (deploy)
		set_deployed(version->model, number);
	pe_audit("train", version->model, "{\"version\": %d, \"task\": \"%s\", \"rows\": " INT64_FORMAT "}",
	         number, pe_task_name(version->task), version->rows);
	SPI_finish();
	return number;
}

static int64
store_recalibrated_row(const PeRecalibrated *version, int number, const char *checksum)
{
	static const Oid types[] = {INT8OID, INT4OID, TEXTOID, TEXTOID, INT8OID, INT8OID, TEXTOID,
	                            TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, OIDOID};
	Datum values[] = {Int64GetDatum(version->model->version_id),
	                  Int32GetDatum(number),
	                  CStringGetTextDatum(version->source),
	                  CStringGetTextDatum(version->target),
	                  Int64GetDatum(version->rows),
	                  Int64GetDatum(version->positives),
	                  CStringGetTextDatum(version->metrics_json),
	                  CStringGetTextDatum(version->evaluation_json),
	                  CStringGetTextDatum(version->verdict),
	                  CStringGetTextDatum(version->quality),
	                  CStringGetTextDatum(version->seconds_json),
	                  CStringGetTextDatum(checksum),
	                  Int64GetDatum((int64) version->artifact_length),
	                  ObjectIdGetDatum(GetUserId())};
	bool isnull;

	pe_owner_execute(
	    "INSERT INTO profenrich.model_version (model, version, algorithm, task, objective, target, key, "
	    "source,"
	    " rows, positives, options, features, metrics, evaluation, verdict, quality, positive_label,"
	    " negative_label, threshold, seconds, memory_bytes, trained_by, artifact_bytes, artifact_checksum,"
	    " holdout, recalibrated_from, consent, rows_without_consent, goal, learnt_until)"
	    " SELECT v.model, $2, v.algorithm, v.task, v.objective, $4, NULL, $3, $5, $6, v.options, v.features,"
	    " $7::jsonb, $8::jsonb, $9, $10, v.positive_label, v.negative_label, v.threshold, $11::jsonb,"
	    " v.memory_bytes, $14::regrole, $13, $12, 'each half, calibrated on the other', v.version,"
	    " v.consent, v.rows_without_consent, v.goal, v.learnt_until"
	    " FROM profenrich.model_version v WHERE v.version_id = $1 RETURNING version_id",
	    lengthof(types), types, values, NULL, false, 0);
	if (SPI_processed == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the model version was dropped meanwhile")));
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

int
pe_model_store_recalibrated(const PeRecalibrated *version)
{
	PeNewVersion as_new = {
	    .model = version->model->name, .task = version->model->task, .deploy = version->deploy};
	char *checksum = checksum_of(version->artifact, version->artifact_length);
	int number;
	int64 version_id;
	bool deploy;

	SPI_connect();
	number = take_version_number(&as_new, &deploy);
	version_id = store_recalibrated_row(version, number, checksum);
	store_artifact(version_id, version->artifact, version->artifact_length);
	if (deploy)
		set_deployed(version->model->name, number);
	pe_audit("recalibrate", version->model->name, "{\"version\": %d, \"from\": %d}", number,
	         version->model->version);
	SPI_finish();
	return number;
}

/* ---- deploy, drop_model ---------------------------------------------------------------- */

static void
pg_attribute_noreturn() raise_no_model(const char *name)
{
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no model \"%s\"", name),
	                errhint("See SELECT * FROM profenrich.models.")));
}

/* Locks the model's row and tells whether it has the version and which one is deployed (0: none). */
static bool
lock_model(const char *name, int version, int *deployed)
{
	static const Oid types[] = {TEXTOID, INT4OID};
	Datum values[] = {CStringGetTextDatum(name), Int32GetDatum(version)};
	bool isnull;

	pe_owner_execute(
	    "SELECT coalesce(m.deployed_version, 0), EXISTS (SELECT FROM profenrich.model_version v"
	    " WHERE v.model = m.name AND v.version = $2) FROM profenrich.model m WHERE m.name = $1 FOR UPDATE",
	    2, types, values, NULL, false, 1);
	if (SPI_processed == 0)
		raise_no_model(name);
	*deployed = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
}

static void
pg_attribute_noreturn() raise_no_such_version(const char *name, int version)
{
	ereport(ERROR,
	        (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("model \"%s\" has no version %d", name, version),
	         errhint("See SELECT version FROM profenrich.model_versions WHERE model = %s.",
	                 quote_literal_cstr(name))));
}

PG_FUNCTION_INFO_V1(pe_deploy);

/* deploy(model, version) -> the version that was deployed before, NULL for none. */
Datum
pe_deploy(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int version = PG_GETARG_INT32(1);
	int before;

	PreventCommandIfReadOnly("deploy()");
	if (!pe_model_check_owner(name, NULL))
		raise_no_model(name);
	SPI_connect();
	if (!lock_model(name, version, &before))
		raise_no_such_version(name, version);
	if (before != version)
		set_deployed(name, version);
	pe_audit("deploy", name, "{\"version\": %d}", version);
	SPI_finish();
	if (before == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(before);
}

PG_FUNCTION_INFO_V1(pe_drop_model);

/*
 * drop_model(model, version), drop_model(model) -> how many versions went; without one the
 * whole model does. A version that is NULL is none: it must not mean all of them.
 */
Datum
pe_drop_model(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {TEXTOID, INT4OID};
	bool all = PG_NARGS() == 1;
	char *name = pe_text_argument(fcinfo, 0, "model");
	int version = 0;
	Datum values[2];
	int deployed;
	bool found;
	uint64 dropped;

	PreventCommandIfReadOnly("drop_model()");
	if (!all)
	{
		pe_need_argument(fcinfo, 1, "version");
		version = pe_version_argument(fcinfo, 1);
	}
	if (!pe_model_check_owner(name, NULL))
		raise_no_model(name);
	values[0] = CStringGetTextDatum(name);
	values[1] = Int32GetDatum(version);
	SPI_connect();
	found = lock_model(name, version, &deployed);
	if (!all && !found)
		raise_no_such_version(name, version);
	if (!all && deployed == version)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
		                errmsg("version %d of model \"%s\" is deployed", version, name),
		                errhint("Deploy another version first, or drop the whole model.")));
	pe_owner_execute("DELETE FROM profenrich.model_version WHERE model = $1 AND ($2 = 0 OR version = $2)", 2,
	                 types, values, NULL, false, 0);
	dropped = SPI_processed;
	if (all)
		pe_owner_execute("DELETE FROM profenrich.model WHERE name = $1", 1, types, values, NULL, false, 0);
	pe_audit("drop_model", name, "{\"versions\": " UINT64_FORMAT ", \"all\": %s}", dropped,
	         all ? "true" : "false");
	SPI_finish();
	PG_RETURN_INT32((int32) dropped);
}
