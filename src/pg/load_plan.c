/*
 * load_plan.c
 *		Which column of the table takes which field: the user's mapping, or automatic
 *		flattening.
 *
 * Names must not depend on the order in which files or fields come, nor on how well
 * a field is filled today: two fields whose names would be the same both get a
 * suffix made from their paths, unless one has its column already. A column's
 * comment holds its path, so that a later load finds it again.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg/env.h"
#include "pg/load.h"
#include "pg/report.h"
#include "snapshot/xdm_path.h"

#define SUFFIX_BYTES 9 /* _ and eight hex digits */

/* A field that may become a column, with the name it would like. */
typedef struct Candidate
{
	LoadField *field;
	char *name;
	bool unique;
	bool taken; /* an existing column holds it */
} Candidate;

static void
check_path(const char *path, const char *column)
{
	pe_env env = pe_server_env(CurrentMemoryContext);
	pe_xdm_path *parsed;
	pe_error err;

	if (pe_xdm_path_parse(&env, path, strlen(path), &parsed, &err) != PE_OK)
		ereport(ERROR, (errcode(pe_sqlstate(err.code)), errmsg("column \"%s\": %s", column, err.message),
		                err.hint[0] != '\0' ? errhint("%s", err.hint) : 0));
	pe_xdm_path_free(&env, parsed);
}

static bool
is_reserved(const char *name)
{
	static const char *const reserved[] = {LOAD_DATE_COLUMN, LOAD_REST_COLUMN, "tableoid", "xmin",
	                                       "cmin",           "xmax",           "cmax",     "ctid"};

	for (int i = 0; i < lengthof(reserved); i++)
	{
		if (strcmp(name, reserved[i]) == 0)
			return true;
	}
	return false;
}

static char *
value_text(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* {"path": ..., "type": ...} */
static void
parse_mapped_object(JsonbContainer *object, LoadMapped *mapped)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char *member;

		if (token != WJB_KEY)
			continue;
		member = value_text(&value);
		(void) JsonbIteratorNext(&it, &value, true);
		if (value.type != jbvString || (strcmp(member, "path") != 0 && strcmp(member, "type") != 0))
			ereport(
			    ERROR,
			    (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			     errmsg("columns: member \"%s\" of column \"%s\" is not understood", member, mapped->column),
			     errhint(
			         "Write {\"path\": \"person.name.firstName\", \"type\": \"text\"}; type is optional.")));
		if (strcmp(member, "path") == 0)
			mapped->path = value_text(&value);
		else
			parseTypeString(value_text(&value), &mapped->type, &mapped->typmod, false);
	}
}

static void
parse_mapped(const char *column, const JsonbValue *value, LoadMapped *mapped)
{
	mapped->column = column;
	mapped->type = InvalidOid;
	mapped->typmod = -1;
	if (value->type == jbvString)
		mapped->path = value_text(value);
	else if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data))
		parse_mapped_object(value->val.binary.data, mapped);
	if (mapped->path == NULL || mapped->path[0] == '\0')
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("columns: column \"%s\" has no path", column),
		         errhint("Map each column to an XDM path, such as {\"crm_id\": \"identityMap.CRMID.id\"}.")));
	if (column[0] == '\0' || strlen(column) >= NAMEDATALEN)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
		                errmsg("columns: \"%s\" cannot be the name of a column: it must have 1 to %d bytes",
		                       column, NAMEDATALEN - 1)));
	if (is_reserved(column) && strcmp(column, LOAD_REST_COLUMN) != 0)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_NAME), errmsg("columns: the name \"%s\" is reserved", column)));
	if (OidIsValid(mapped->type) && get_typtype(mapped->type) == TYPTYPE_PSEUDO)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("columns: column \"%s\" cannot be of type %s", column,
		                       format_type_be(mapped->type))));
	check_path(mapped->path, column);
}

LoadMapping *
load_parse_mapping(Datum columns)
{
	Jsonb *jsonb = DatumGetJsonbP(columns);
	LoadMapping *mapping = palloc0(sizeof(LoadMapping));
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue value;

	if (!JB_ROOT_IS_OBJECT(jsonb))
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("columns must be a JSON object"),
		         errhint("Map columns to XDM paths, such as {\"crm_id\": \"identityMap.CRMID.id\"}.")));
	if (JB_ROOT_COUNT(jsonb) > LOAD_MAX_MAPPED)
		ereport(ERROR, (errcode(ERRCODE_TOO_MANY_COLUMNS),
		                errmsg("columns maps %d columns, at most %d can be mapped",
		                       (int) JB_ROOT_COUNT(jsonb), LOAD_MAX_MAPPED)));
	if (JB_ROOT_COUNT(jsonb) == 0)
		return NULL;
	mapping->items = palloc0(sizeof(LoadMapped) * JB_ROOT_COUNT(jsonb));
	it = JsonbIteratorInit(&jsonb->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char *column;

		if (token != WJB_KEY)
			continue;
		column = value_text(&value);
		(void) JsonbIteratorNext(&it, &value, true);
		parse_mapped(column, &value, &mapping->items[mapping->count++]);
	}
	return mapping;
}

Oid
load_type_oid(pe_column_type type)
{
	switch (type)
	{
		case PE_COLUMN_BOOL:
			return BOOLOID;
		case PE_COLUMN_INT32:
			return INT4OID;
		case PE_COLUMN_INT64:
			return INT8OID;
		case PE_COLUMN_DOUBLE:
			return FLOAT8OID;
		case PE_COLUMN_DATE:
			return DATEOID;
		case PE_COLUMN_TIMESTAMP:
			return TIMESTAMPTZOID;
		case PE_COLUMN_NUMERIC:
			return NUMERICOID;
		case PE_COLUMN_BYTES:
			return BYTEAOID;
		case PE_COLUMN_JSON:
			return JSONBOID;
		case PE_COLUMN_TEXT:
		case PE_COLUMN_AUTO:
			break;
	}
	return TEXTOID;
}

/*
 * The form in which a reader should deliver a column: what needs no text between,
 * where the type has such a form, else text for its input function.
 */
static pe_column_type
source_type(Oid type, int32 typmod)
{
	switch (type)
	{
		case BOOLOID:
			return PE_COLUMN_BOOL;
		case INT2OID:
		case INT4OID:
			return PE_COLUMN_INT32;
		case INT8OID:
			return PE_COLUMN_INT64;
		case FLOAT4OID:
		case FLOAT8OID:
			return PE_COLUMN_DOUBLE;
		case DATEOID:
			return PE_COLUMN_DATE;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return typmod == -1 ? PE_COLUMN_TIMESTAMP : PE_COLUMN_TEXT;
		case NUMERICOID:
			return PE_COLUMN_NUMERIC;
		case BYTEAOID:
			return PE_COLUMN_BYTES;
		case JSONOID:
		case JSONBOID:
			return PE_COLUMN_JSON;
		default:
			return PE_COLUMN_TEXT;
	}
}

static void
append_snake(StringInfo name, const pe_xdm_step *step)
{
	for (size_t i = 0; i < step->length; i++)
	{
		unsigned char c = (unsigned char) step->name[i];
		unsigned char before = i > 0 ? (unsigned char) step->name[i - 1] : '_';
		unsigned char after = i + 1 < step->length ? (unsigned char) step->name[i + 1] : '_';
		bool boundary = name->len > 0 && name->data[name->len - 1] != '_';

		if (c >= 'A' && c <= 'Z')
		{
			bool word = (before >= 'a' && before <= 'z') || (before >= '0' && before <= '9') ||
			            (before >= 'A' && before <= 'Z' && after >= 'a' && after <= 'z');

			if (word && boundary)
				appendStringInfoChar(name, '_');
			appendStringInfoChar(name, (char) (c + ('a' - 'A')));
		}
		else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c >= 0x80)
			appendStringInfoChar(name, (char) c);
		else if (boundary)
			appendStringInfoChar(name, '_');
	}
}

/* The name a path would like, of any length. */
static char *
wanted_name(const char *path)
{
	pe_env env = pe_server_env(CurrentMemoryContext);
	pe_xdm_path *parsed;
	pe_error err;
	StringInfoData name;

	pe_check(pe_xdm_path_parse(&env, path, strlen(path), &parsed, &err), &err);
	initStringInfo(&name);
	for (int i = 0; i < parsed->count; i++)
	{
		if (name.len > 0 && name.data[name.len - 1] != '_')
			appendStringInfoChar(&name, '_');
		append_snake(&name, &parsed->steps[i]);
	}
	pe_xdm_path_free(&env, parsed);
	while (name.len > 0 && name.data[name.len - 1] == '_')
		name.data[--name.len] = '\0';
	if (name.len == 0)
		appendStringInfoString(&name, "field");
	if (isdigit((unsigned char) name.data[0]))
		return psprintf("_%s", name.data);
	return name.data;
}

/* The name with a suffix that depends on the path alone (FNV-1a). */
static char *
suffixed_name(const char *name, const char *path)
{
	int room = NAMEDATALEN - 1 - SUFFIX_BYTES;
	int length = (int) strlen(name);
	uint32 hash = 2166136261u;

	for (const char *c = path; *c != '\0'; c++)
		hash = (hash ^ (unsigned char) *c) * 16777619u;
	if (length > room)
		length = pg_mbcliplen(name, length, room);
	return psprintf("%.*s_%08x", length, name, hash);
}

static int
by_name(const void *a, const void *b)
{
	const Candidate *x = *(Candidate *const *) a;
	const Candidate *y = *(Candidate *const *) b;
	int order = strcmp(x->name, y->name);

	return order != 0 ? order : x->field->order - y->field->order;
}

static int
by_fill(const void *a, const void *b)
{
	const Candidate *x = *(Candidate *const *) a;
	const Candidate *y = *(Candidate *const *) b;

	/* The ids of namespaces come first: nothing can be keyed without them. */
	if ((x->field->name != NULL) != (y->field->name != NULL))
		return x->field->name != NULL ? -1 : 1;
	if (x->field->filled != y->field->filled)
		return x->field->filled > y->field->filled ? -1 : 1;
	return x->field->order - y->field->order;
}

static int
by_order(const void *a, const void *b)
{
	const Candidate *x = *(Candidate *const *) a;
	const Candidate *y = *(Candidate *const *) b;

	if ((x->field->name != NULL) != (y->field->name != NULL))
		return x->field->name != NULL ? -1 : 1;
	return x->field->order - y->field->order;
}

/* Every scalar field, sorted by its wanted name; unique says that no other wants it. */
static Candidate **
collect_candidates(LoadFields *fields, int *count)
{
	Candidate **all = palloc(sizeof(Candidate *) * Max(fields->count, 1));
	HASH_SEQ_STATUS scan;
	LoadField *field;
	int n = 0;

	hash_seq_init(&scan, fields->by_path);
	while ((field = hash_seq_search(&scan)) != NULL)
	{
		if (field->seen & LOAD_SEEN_CONTAINER)
			continue;
		all[n] = palloc0(sizeof(Candidate));
		all[n]->field = field;
		all[n]->name = field->name != NULL ? wanted_name(field->name) : wanted_name(field->path);
		n++;
	}
	qsort(all, n, sizeof(Candidate *), by_name);
	for (int i = 0; i < n; i++)
		all[i]->unique = (i == 0 || strcmp(all[i - 1]->name, all[i]->name) != 0) &&
		                 (i + 1 == n || strcmp(all[i + 1]->name, all[i]->name) != 0);
	*count = n;
	return all;
}

static Candidate *
find_candidate(Candidate **all, int count, const char *path, const char *name)
{
	for (int i = 0; i < count; i++)
	{
		if (path != NULL ? strcmp(all[i]->field->path, path) == 0
		                 : all[i]->unique && strcmp(all[i]->name, name) == 0)
			return all[i];
	}
	return NULL;
}

static void
fill_column(LoadColumn *column, const char *name, const char *path, Oid type, int32 typmod, Oid collation)
{
	Oid function;

	column->name = name;
	column->path = path;
	column->type = type;
	column->typmod = typmod;
	column->collation = collation;
	column->source = source_type(type, typmod);
	column->type_name = format_type_with_typemod(type, typmod);
	getTypeInputInfo(type, &function, &column->input_param);
	fmgr_info(function, &column->input);
}

static void
fill_existing(LoadColumn *column, const LoadExisting *existing, const char *path)
{
	fill_column(column, existing->name, path, existing->type, existing->typmod, existing->collation);
	column->existing = true;
}

static const LoadExisting *
find_existing(const LoadExisting *existing, int count, const char *name)
{
	for (int i = 0; i < count; i++)
	{
		if (strcmp(existing[i].name, name) == 0)
			return &existing[i];
	}
	return NULL;
}

void
load_mapping_follow(LoadMapping *mapping, const LoadExisting *existing, int nexisting)
{
	for (int i = 0; mapping != NULL && i < mapping->count; i++)
		if (find_existing(existing, nexisting, mapping->items[i].column) != NULL)
			mapping->items[i].type = InvalidOid;
}

static void
refuse_generated(const LoadExisting *existing)
{
	if (existing->generated)
		ereport(ERROR, (errcode(ERRCODE_GENERATED_ALWAYS),
		                errmsg("column \"%s\" is a generated column and cannot be loaded", existing->name)));
}

/* The columns that are there already and what fills them. */
static void
plan_existing(LoadPlan *plan, const LoadExisting *existing, int nexisting, Candidate **all, int ncandidates)
{
	for (int i = 0; i < nexisting; i++)
	{
		LoadColumn *column = &plan->columns[plan->count];
		Candidate *candidate;

		if (existing[i].generated)
			continue;
		if (strcmp(existing[i].name, LOAD_REST_COLUMN) == 0 && existing[i].path == NULL)
		{
			if (existing[i].type != JSONBOID)
				ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				                errmsg("column \"%s\" is of type %s, not jsonb", LOAD_REST_COLUMN,
				                       format_type_be(existing[i].type)),
				                errhint("Automatic flattening keeps all that has no column of its own there. "
				                        "Rename the column, or map columns explicitly.")));
			fill_existing(column, &existing[i], NULL);
			column->rest = true;
			plan->rest = plan->count++;
			continue;
		}
		candidate = find_candidate(all, ncandidates, existing[i].path, existing[i].name);
		if (candidate != NULL)
			candidate->taken = true;
		else if (existing[i].path == NULL)
			continue;
		fill_existing(column, &existing[i], candidate != NULL ? candidate->field->path : existing[i].path);
		plan->count++;
	}
}

/*
 * What a value may take in its row at worst: all of a fixed one, or what the server
 * does not think worth moving out of the row any more; and the padding before it.
 */
static int
worst_bytes(Oid type)
{
	int16 length;
	bool by_value;
	char align;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	if (length < 0)
		return MAXALIGN(TOAST_POINTER_SIZE) + 3;
	return length + (align == TYPALIGN_DOUBLE  ? 7
	                 : align == TYPALIGN_INT   ? 3
	                 : align == TYPALIGN_SHORT ? 1
	                                           : 0);
}

/*
 * The best filled fields, as many as there is room for: in columns, and in a row that
 * has a value in every one of them. chosen comes in as all that may be taken.
 */
static int
choose_best(Candidate **chosen, int count, const LoadPlan *plan)
{
	int room = LOAD_MAX_COLUMNS - plan->count;
	int bytes = (int) MaxHeapTupleSize -
	            (int) MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(LOAD_MAX_COLUMNS + 2)) -
	            worst_bytes(DATEOID) - worst_bytes(JSONBOID);
	int taken = 0;
	int namespaces = 0;

	for (int i = 0; i < plan->count; i++)
		bytes -= worst_bytes(plan->columns[i].type);
	qsort(chosen, count, sizeof(Candidate *), by_fill);
	for (int i = 0; i < count && taken < room; i++)
	{
		int cost = worst_bytes(load_type_oid(load_field_type(chosen[i]->field)));

		if (cost > bytes || (chosen[i]->field->name != NULL && namespaces++ >= LOAD_NAMESPACES))
			continue;
		bytes -= cost;
		chosen[taken++] = chosen[i];
	}
	qsort(chosen, Max(taken, 0), sizeof(Candidate *), by_order);
	return taken;
}

/* Automatic flattening: the columns there are, the best filled new fields, and "other". */
static void
plan_automatic(LoadPlan *plan, const LoadExisting *existing, int nexisting, LoadFields *fields)
{
	int ncandidates;
	Candidate **all = collect_candidates(fields, &ncandidates);
	Candidate **chosen = palloc(sizeof(Candidate *) * Max(ncandidates, 1));
	int nchosen = 0;

	plan->columns = palloc0(sizeof(LoadColumn) * (nexisting + LOAD_MAX_COLUMNS + 1));
	plan_existing(plan, existing, nexisting, all, ncandidates);
	for (int i = 0; i < ncandidates; i++)
	{
		if (!all[i]->taken && all[i]->field->filled > 0)
			chosen[nchosen++] = all[i];
	}
	nchosen = choose_best(chosen, nchosen, plan);
	for (int i = 0; i < nchosen; i++)
	{
		char *name = chosen[i]->name;
		Oid type = load_type_oid(load_field_type(chosen[i]->field));

		if (!chosen[i]->unique || strlen(name) >= NAMEDATALEN || is_reserved(name) ||
		    find_existing(existing, nexisting, name) != NULL)
			name = suffixed_name(name, chosen[i]->field->path);
		fill_column(&plan->columns[plan->count++], name, chosen[i]->field->path, type, -1,
		            get_typcollation(type));
	}
	if (plan->rest < 0)
	{
		plan->rest = plan->count;
		fill_column(&plan->columns[plan->count], LOAD_REST_COLUMN, NULL, JSONBOID, -1, InvalidOid);
		plan->columns[plan->count++].rest = true;
	}
}

static void
plan_mapped(LoadColumn *column, const LoadMapped *mapped, const LoadExisting *there, LoadFields *fields)
{
	LoadField *field = hash_search(fields->by_path, &mapped->path, HASH_FIND, NULL);
	Oid type = mapped->type;

	if (there != NULL)
	{
		refuse_generated(there);
		if (OidIsValid(type) && (type != there->type || mapped->typmod != there->typmod))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("column \"%s\" is of type %s, not %s as columns says", there->name,
			                       format_type_with_typemod(there->type, there->typmod),
			                       format_type_with_typemod(type, mapped->typmod)),
			                errhint("Leave the type out, or change the column of a table of snapshots first: "
			                        "SELECT profenrich.set_column_type(into_table, %s, %s);",
			                        quote_literal_cstr(there->name),
			                        quote_literal_cstr(format_type_with_typemod(type, mapped->typmod)))));
		fill_existing(column, there, mapped->path);
		return;
	}
	if (field == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
		                errmsg("column \"%s\": no file has a field \"%s\"", mapped->column, mapped->path),
		                errhint("Paths are case-sensitive, such as person.name.firstName. "
		                        "Load without columns to see what the files hold.")));
	if (!OidIsValid(type))
		type = load_type_oid(load_field_type(field));
	fill_column(column, mapped->column, mapped->path, type, mapped->typmod, get_typcollation(type));
}

LoadPlan *
load_make_plan(const LoadExisting *existing, int nexisting, const LoadMapping *mapping, LoadFields *fields)
{
	LoadPlan *plan = palloc0(sizeof(LoadPlan));

	plan->rest = -1;
	plan->rows = fields->rows;
	if (mapping == NULL)
	{
		plan_automatic(plan, existing, nexisting, fields);
		return plan;
	}
	plan->columns = palloc0(sizeof(LoadColumn) * mapping->count);
	for (int i = 0; i < mapping->count; i++)
		plan_mapped(&plan->columns[plan->count++], &mapping->items[i],
		            find_existing(existing, nexisting, mapping->items[i].column), fields);
	return plan;
}

void
load_plan_add(LoadPlan *plan, const LoadExisting *existing, int nexisting, const char *name, const char *path,
              Oid type)
{
	const LoadExisting *there = find_existing(existing, nexisting, name);

	for (int i = 0; i < plan->count; i++)
	{
		if (strcmp(plan->columns[i].name, name) == 0)
			return;
	}
	plan->columns = repalloc(plan->columns, sizeof(LoadColumn) * (plan->count + 1));
	memset(&plan->columns[plan->count], 0, sizeof(LoadColumn));
	if (there != NULL)
		fill_existing(&plan->columns[plan->count++], there, path);
	else
		fill_column(&plan->columns[plan->count++], name, path, type, -1, get_typcollation(type));
}
