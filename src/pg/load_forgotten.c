/*
 * load_forgotten.c
 *		Finding the identities in a row that is being loaded.
 *
 * Identities are where the plan put them: in columns of single ids, or in a jsonb column
 * that holds the identity map, a namespace's list of it, or everything without a column.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg/enrichment_define.h"
#include "pg/env.h"
#include "pg/load_forgotten.h"
#include "pg/owner.h"
#include "pg/suppression.h"
#include "snapshot/xdm_path.h"

#define IDENTITY_MAP "identityMap"

typedef enum Holds
{
	ONE_ID,
	LIST, /* of a namespace */
	MAP,  /* of namespace to list */
	REST  /* an object that may have the map */
} Holds;

typedef struct IdentityColumn
{
	int attribute; /* attnum - 1 */
	Holds holds;
	const char *namespace_code; /* of ONE_ID and LIST */
	FmgrInfo output;            /* of ONE_ID */
} IdentityColumn;

struct LoadForgotten
{
	PeSuppression *list;
	int count;
	IdentityColumn *columns;
};

static bool
step_is(const pe_xdm_step *step, const char *name)
{
	return step->length == strlen(name) && pg_strncasecmp(step->name, name, step->length) == 0;
}

/* The namespace of a column that holds the keys of an enrichment's records; NULL when it does not. */
static const char *
namespace_of_key(const char *path)
{
	Oid types[1] = {TEXTOID};
	Datum values[1] = {CStringGetTextDatum(path)};
	MemoryContext caller = CurrentMemoryContext;
	char *namespace_code = NULL;

	SPI_connect();
	pe_owner_execute("SELECT e.namespace FROM profenrich.enrichment e JOIN profenrich.enrichment_target t"
	                 " USING (enrichment_id) WHERE $1 = format('_%s.%s." PE_KEY_ATTRIBUTE
	                 "', t.tenant, e.name)",
	                 1, types, values, NULL, false, 1);
	if (SPI_processed > 0)
		namespace_code =
		    MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return namespace_code;
}

/* What a column's path says about identities; false: nothing. */
static bool
describe(const LoadColumn *column, IdentityColumn *identity)
{
	pe_env env = pe_server_env(CurrentMemoryContext);
	pe_xdm_path *path;
	pe_error err;

	if (column->rest)
	{
		identity->holds = REST;
		return true;
	}
	if (column->path == NULL ||
	    pe_xdm_path_parse(&env, column->path, strlen(column->path), &path, &err) != PE_OK)
		return false;
	if (!step_is(&path->steps[0], IDENTITY_MAP))
	{
		identity->holds = ONE_ID;
		identity->namespace_code =
		    step_is(&path->steps[path->count - 1], PE_KEY_ATTRIBUTE) ? namespace_of_key(column->path) : NULL;
		return identity->namespace_code != NULL;
	}
	if (path->count > 1)
		identity->namespace_code = pnstrdup(path->steps[1].name, path->steps[1].length);
	if (path->count <= 2)
	{
		identity->holds = path->count == 1 ? MAP : LIST;
		return column->type == JSONBOID;
	}
	identity->holds = ONE_ID;
	return step_is(&path->steps[path->count - 1], "id");
}

LoadForgotten *
load_forgotten_open(const LoadPlan *plan)
{
	PeSuppression *list = pe_suppression_load();
	LoadForgotten *forgotten;

	if (list == NULL)
		return NULL;
	forgotten = palloc0(sizeof(LoadForgotten));
	forgotten->list = list;
	forgotten->columns = palloc0(sizeof(IdentityColumn) * Max(plan->count, 1));
	for (int i = 0; i < plan->count; i++)
	{
		const LoadColumn *column = &plan->columns[i];
		IdentityColumn *identity = &forgotten->columns[forgotten->count];
		Oid output;
		bool varlena;

		if (!describe(column, identity))
			continue;
		identity->attribute = column->attnum - 1;
		getTypeOutputInfo(column->type, &output, &varlena);
		fmgr_info(output, &identity->output);
		forgotten->count++;
	}
	return forgotten->count > 0 ? forgotten : NULL;
}

/* [{"id": "..."}, ...] */
static bool
list_has_forgotten(const LoadForgotten *forgotten, const char *namespace_code, size_t length,
                   const JsonbValue *value)
{
	JsonbContainer *list;

	if (value == NULL || value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return false;
	list = value->val.binary.data;
	for (uint32 i = 0; i < JsonContainerSize(list); i++)
	{
		JsonbValue *entry = getIthJsonbValueFromContainer(list, i);
		JsonbValue *id = NULL;

		if (entry->type == jbvBinary && JsonContainerIsObject(entry->val.binary.data))
			id = getKeyJsonValueFromContainer(entry->val.binary.data, "id", 2, NULL);
		if (id != NULL && id->type == jbvString &&
		    pe_suppression_has(forgotten->list, namespace_code, length, id->val.string.val,
		                       id->val.string.len))
			return true;
	}
	return false;
}

/* {"CRMID": [{"id": "..."}], ...} */
static bool
map_has_forgotten(const LoadForgotten *forgotten, JsonbContainer *map)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue key, value;

	if (!JsonContainerIsObject(map))
		return false;
	iterator = JsonbIteratorInit(map);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (list_has_forgotten(forgotten, key.val.string.val, key.val.string.len, &value))
			return true;
	}
	return false;
}

static bool
json_has_forgotten(const LoadForgotten *forgotten, const IdentityColumn *column, Jsonb *json)
{
	JsonbValue whole = {.type = jbvBinary, .val.binary = {.data = &json->root}};
	JsonbValue *map;

	if (column->holds == LIST)
		return list_has_forgotten(forgotten, column->namespace_code, strlen(column->namespace_code), &whole);
	if (column->holds == MAP)
		return map_has_forgotten(forgotten, &json->root);
	if (!JB_ROOT_IS_OBJECT(json))
		return false;
	map = getKeyJsonValueFromContainer(&json->root, IDENTITY_MAP, strlen(IDENTITY_MAP), NULL);
	return map != NULL && map->type == jbvBinary && map_has_forgotten(forgotten, map->val.binary.data);
}

bool
load_forgotten_row(const LoadForgotten *forgotten, const TupleTableSlot *slot)
{
	for (int i = 0; i < forgotten->count; i++)
	{
		IdentityColumn *column = &forgotten->columns[i];
		Datum value = slot->tts_values[column->attribute];
		bool found;

		if (slot->tts_isnull[column->attribute])
			continue;
		if (column->holds == ONE_ID)
		{
			const char *id = OutputFunctionCall(&column->output, value);

			found = pe_suppression_has(forgotten->list, column->namespace_code,
			                           strlen(column->namespace_code), id, strlen(id));
		}
		else
			found = json_has_forgotten(forgotten, column, DatumGetJsonbP(value));
		if (found)
			return true;
	}
	return false;
}
