/*
 * owner.c
 *		Queries on the extension's own tables, as its owner.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"

#include "pe_base.h"
#include "pg/owner.h"

/* The extension's row: its owner, InvalidOid when it is not installed, and its version. */
static Oid
read_extension(char **version)
{
	Relation catalog = table_open(ExtensionRelationId, AccessShareLock);
	Oid owner = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
	            CStringGetDatum("profenrich"));
	scan = systable_beginscan(catalog, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool is_null;
		Datum value = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(catalog), &is_null);

		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
		if (version != NULL)
			*version = is_null ? pstrdup("") : TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return owner;
}

Oid
pe_extension_owner(void)
{
	Oid owner = read_extension(NULL);

	if (!OidIsValid(owner))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
		                errmsg("extension \"profenrich\" is not installed in this database"),
		                errhint("Run CREATE EXTENSION profenrich.")));
	return owner;
}

char *
pe_extension_version(void)
{
	char *version = NULL;

	(void) read_extension(&version);
	return version;
}

/* Its tables are of the library's version: between installing one and updating the other they are not. */
static Oid
owner_of_current_version(void)
{
	char *version = pe_extension_version();

	if (version != NULL && strcmp(version, PE_VERSION) != 0)
		ereport(ERROR,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		         errmsg("the extension in this database is of another version than the library"),
		         errdetail("The extension is of version %s, the library of version %s.", version, PE_VERSION),
		         errhint("Run ALTER EXTENSION profenrich UPDATE.")));
	return pe_extension_owner();
}

int
pe_server_names_only(void)
{
	int level = NewGUCNestLevel();

	set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
	                  0, false);
	return level;
}

int
pe_owner_execute(const char *sql, int nargs, const Oid *types, const Datum *values, const char *nulls,
                 bool read_only, long limit)
{
	Oid user;
	int context;
	int guc_level;
	int result;

	/* An operator that the caller made must not be found before the server's own. */
	guc_level = pe_server_names_only();
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner_of_current_version(), context | SECURITY_LOCAL_USERID_CHANGE);
	result = SPI_execute_with_args(sql, nargs, (Oid *) types, (Datum *) values, nulls, read_only, limit);
	if (result < 0)
		elog(ERROR, "query on the extension's tables failed: %s", SPI_result_code_string(result));
	SetUserIdAndSecContext(user, context);
	AtEOXact_GUC(true, guc_level);
	return result;
}

bool
pe_is_member(const char *role_name)
{
	Oid role = get_role_oid(role_name, true);

	return OidIsValid(role) ? has_privs_of_role(GetUserId(), role) : superuser();
}
