/*
 * enrichment.c
 *		Reading an enrichment's row, and turning its source's columns into attributes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "platform/xdm_shape.h"
#include "pg/consent.h"
#include "pg/enrichment_define.h"
#include "pg/env.h"
#include "pg/owner.h"
#include "pg/rows.h"

#define MAX_ATTRIBUTES 500
#define REASONS_COLUMN "reasons"
#define REASONS_SHAPE  "array<{feature:string,value:string,contribution:number}>"

void
pe_enrichment_check_name(const char *name)
{
	if (pe_xdm_name_ok(name, strlen(name)))
		return;
	ereport(
	    ERROR,
	    (errcode(ERRCODE_INVALID_NAME), errmsg("invalid enrichment name \"%s\"", name),
	     errhint("It becomes an object on the platform: letters, digits, _ and -, not beginning with _, at "
	             "most %d characters.",
	             PE_XDM_NAME_MAX)));
}

void
pe_enrichment_check_namespace(const char *code)
{
	size_t length = strlen(code);

	for (size_t i = 0; i < length; i++)
	{
		if (!(isalnum((unsigned char) code[i]) && (unsigned char) code[i] < 0x80) &&
		    strchr("_.-", code[i]) == NULL)
			length = 0;
	}
	if (length == 0 || length > 128)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("invalid identity namespace code \"%s\"", code),
		                errhint("profenrich.identity_namespaces lists the codes of an organisation.")));
}

PeOwnerSwitch
pe_enrichment_enter_owner(Oid owner)
{
	PeOwnerSwitch before;

	before.guc_level = NewGUCNestLevel();
	GetUserIdAndSecContext(&before.user, &before.context);
	SetUserIdAndSecContext(owner,
	                       before.context | SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE);
	return before;
}

PeOwnerSwitch
pe_enrichment_enter(const PeEnrichment *e)
{
	PeOwnerSwitch before = pe_enrichment_enter_owner(e->owner);

	if (e->search_path != NULL)
		(void) set_config_option("search_path", e->search_path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
		                         true, 0, false);
	return before;
}

void
pe_enrichment_leave_owner(const PeOwnerSwitch *before)
{
	SetUserIdAndSecContext(before->user, before->context);
	/* What the owner's code has set goes back: it would be the caller's from here on. */
	AtEOXact_GUC(false, before->guc_level);
}

/* What tells a person apart must be exact and print one way only. */
static void
check_identity_type(const char *column, Oid type)
{
	char category;
	bool preferred;

	type = getBaseType(type);
	get_type_category_preferred(type, &category, &preferred);
	if (category == TYPCATEGORY_STRING || type == INT2OID || type == INT4OID || type == INT8OID ||
	    type == NUMERICOID || type == UUIDOID)
		return;
	ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
	                errmsg("identity column \"%s\" is of type %s", column, format_type_be(type)),
	                errhint("Identity values are text, integers, numeric or uuid: cast it in the source.")));
}

/* What decides between rows of one key is compared outside of the owner's rights: by built-in code only. */
static void
check_rank_type(const char *column, Oid type)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return;
	}
	ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
	                errmsg("column \"%s\" of type %s cannot decide between duplicate keys", column,
	                       format_type_be(type)),
	                errhint("Name a column of numbers, dates or timestamps in on_duplicate.")));
}

/* Simple types; NULL for those that have no place in a profile. */
static const char *
scalar_shape(Oid type)
{
	char category;
	bool preferred;

	switch (type)
	{
		case INT2OID:
		case INT4OID:
			return "integer";
		case INT8OID:
			return "long";
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return "number";
		case BOOLOID:
			return "boolean";
		case DATEOID:
			return "date";
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return "date-time";
		case UUIDOID:
			return "string";
	}
	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_STRING || category == TYPCATEGORY_ENUM ? "string" : NULL;
}

/* The canonical form of a declared type. */
static const char *
canonical_shape(const char *column, const char *declared)
{
	pe_env env = pe_server_env(CurrentMemoryContext);
	pe_xdm_field field = {0};
	pe_error err = {0};
	pe_pool pool;
	pe_text text;
	char *shape;

	pe_pool_init(&pool, &env);
	pe_text_init(&text, &env);
	if (pe_shape_parse(declared, &pool, &field, &err) != PE_OK)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("attribute \"%s\" is declared with an invalid type", column),
		         errdetail_internal("%s.", err.message), err.hint[0] != '\0' ? errhint("%s", err.hint) : 0));
	pe_shape_write(&text, &field);
	shape = pstrdup(text.data);
	pe_text_free(&text);
	pe_pool_free(&pool);
	return shape;
}

static const char *
jsonb_shape(const char *column, const char *declared)
{
	const char *shape;

	if (declared == NULL && strcmp(column, REASONS_COLUMN) == 0)
		return REASONS_SHAPE;
	if (declared == NULL)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		     errmsg("jsonb column \"%s\" has no declared type", column),
		     errhint("Declare it, for example attributes => '{\"%s\": \"map<integer>\"}'; also map<string>, "
		             "array<string> or array<{name:string,value:number}>.",
		             column)));
	shape = canonical_shape(column, declared);
	if (shape[0] != '{' && strncmp(shape, "map<", 4) != 0 && strncmp(shape, "array<", 6) != 0)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		     errmsg("jsonb column \"%s\" is declared as %s", column, shape),
		     errhint(
		         "A jsonb column holds a map, an array or an object; cast single values in the source.")));
	return shape;
}

/* The platform's type for a column, as text. declared is NULL unless the user gave one. */
static const char *
column_shape(const char *column, Oid type, const char *declared)
{
	Oid base = getBaseType(type);
	Oid element = get_element_type(base);
	const char *scalar;
	const char *shape;

	if (base == JSONBOID)
		return jsonb_shape(column, declared);
	scalar = scalar_shape(OidIsValid(element) ? getBaseType(element) : base);
	if (scalar == NULL)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_DATATYPE_MISMATCH),
		     errmsg("column \"%s\" of type %s cannot become an attribute", column, format_type_be(type)),
		     errhint(
		         "Attributes are numbers, text, booleans, dates, timestamps, arrays of these, or jsonb of "
		         "a declared type: cast or drop it in the source.")));
	shape = OidIsValid(element) ? psprintf("array<%s>", scalar) : scalar;
	if (declared != NULL && strcmp(canonical_shape(column, declared), shape) != 0)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		     errmsg("column \"%s\" of type %s becomes %s and cannot be declared otherwise", column,
		            format_type_be(type), shape),
		     errhint(
		         "Only jsonb columns need a declaration; cast the column in the source for another type.")));
	return shape;
}

static const char *
declared_type(const Jsonb *declared, const char *column)
{
	JsonbValue value;

	if (declared == NULL)
		return NULL;
	if (getKeyJsonValueFromContainer((JsonbContainer *) &declared->root, column, strlen(column), &value) ==
	    NULL)
		return NULL;
	if (value.type != jbvString)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("type of attribute \"%s\" is not a text", column),
		                errhint("For example: '{\"%s\": \"map<integer>\"}'.", column)));
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/* Each declared name must be a column that becomes an attribute. */
static void
check_declared(const PeEnrichment *e, const PeSource *source, const Jsonb *declared)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue key;

	if (declared == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(declared))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("attributes must be a JSON object"),
		                errhint("It declares types by column: '{\"reasons\": \"array<string>\"}'.")));
	iterator = JsonbIteratorInit((JsonbContainer *) &declared->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			char *name = pnstrdup(key.val.string.val, key.val.string.len);

			(void) pe_source_need_column(source, name, "attribute");
			if (strcmp(name, e->identity_column) == 0)
				ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				                errmsg("identity column \"%s\" is no attribute", name),
				                errhint("Leave it out of attributes.")));
		}
	}
}

static void
check_attribute_name(const char *name)
{
	const char *utf8 = pe_to_utf8(name);

	if (strcmp(name, PE_KEY_ATTRIBUTE) == 0 || strcmp(name, PE_SCORED_AT_ATTRIBUTE) == 0)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INVALID_NAME), errmsg("attribute name \"%s\" is taken", name),
		     errdetail("Each record carries the profile's key and the time of its score under this name."),
		     errhint("Give the column another name in the source with AS.")));
	if (!pe_xdm_name_ok(utf8, strlen(utf8)))
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INVALID_NAME), errmsg("column \"%s\" cannot name an attribute", name),
		     errhint("Names on the platform are of letters, digits, _ and -, not beginning with _: give the "
		             "column another name in the source with AS.")));
}

/* Hysteresis is arithmetic: what it is about must be an attribute and a number. */
static void
check_send_rules(const PeEnrichment *e, const PeSource *source)
{
	ListCell *cell;

	foreach (cell, e->send_rules)
	{
		const PeSendRule *rule = lfirst(cell);
		const char *option = rule->min_delta != NULL ? "min_delta" : "buckets";
		int column = pe_source_need_column(source, rule->attribute, option);
		Oid type = getBaseType(TupleDescAttr(source->desc, column)->atttypid);

		if (strcmp(rule->attribute, e->identity_column) == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("identity column \"%s\" is no attribute", rule->attribute),
			                errhint("Leave it out of the option %s.", option)));
		if (type != INT2OID && type != INT4OID && type != INT8OID && type != FLOAT4OID && type != FLOAT8OID &&
		    type != NUMERICOID)
			ereport(ERROR,
			        (errcode(ERRCODE_DATATYPE_MISMATCH),
			         errmsg("option \"%s\" is given for column \"%s\" of type %s", option, rule->attribute,
			                format_type_be(type)),
			         errhint("It is for numbers. A text that changes, such as the name of a bucket, is "
			                 "always sent.")));
	}
}

PeSource *
pe_enrichment_resolve(PeEnrichment *e, const Jsonb *declared)
{
	PeOwnerSwitch before = pe_enrichment_enter(e);
	PeSource *source = pe_source_open(e->source, "source");
	Bitmapset *consent = e->consent != NULL ? pe_consent_check(source, e->consent) : NULL;
	int identity;

	pe_enrichment_leave_owner(&before);
	identity = pe_source_need_column(source, e->identity_column, "identity");
	check_identity_type(e->identity_column, TupleDescAttr(source->desc, identity)->atttypid);
	check_declared(e, source, declared);
	if (e->duplicate_column != NULL)
	{
		int rank = pe_source_need_column(source, e->duplicate_column, "on_duplicate");

		check_rank_type(e->duplicate_column, TupleDescAttr(source->desc, rank)->atttypid);
	}
	check_send_rules(e, source);
	if (OidIsValid(source->relid))
		e->source = quote_qualified_identifier(get_namespace_name(get_rel_namespace(source->relid)),
		                                       get_rel_name(source->relid));
	e->nattributes = 0;
	e->attributes = palloc0(sizeof(PeAttribute) * (source->desc->natts - 1));
	for (int i = 0; i < source->desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(source->desc, i);
		PeAttribute *attribute;

		if (i == identity || bms_is_member(i, consent))
			continue;
		check_attribute_name(NameStr(column->attname));
		(void) pe_source_column(source, NameStr(column->attname));
		attribute = &e->attributes[e->nattributes++];
		attribute->name = pstrdup(NameStr(column->attname));
		attribute->type = column->atttypid;
		attribute->shape =
		    column_shape(attribute->name, attribute->type, declared_type(declared, attribute->name));
	}
	if (e->nattributes < 1 || e->nattributes > MAX_ATTRIBUTES)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("source has %d columns beside the identity%s", e->nattributes,
		                       consent != NULL ? " and what the consent names" : ""),
		                errhint("An enrichment has between 1 and %d attributes.", MAX_ATTRIBUTES)));
	return source;
}

PeSource *
pe_enrichment_open_source(const PeEnrichment *e)
{
	PeSource *source = pe_source_open(e->source, "source");

	if (e->consent == NULL)
		return source;
	(void) pe_consent_check(source, e->consent);
	return pe_consent_column(source, e->consent);
}

void
pe_enrichment_check_owner(const char *name, Oid owner)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)))
		ereport(
		    ERROR,
		    (errcode(ERRCODE_UNDEFINED_OBJECT),
		     errmsg("owner of enrichment \"%s\" does not exist any more", name),
		     errhint(
		         "Members of profenrich_admin give it another one with profenrich.set_enrichment_owner().")));
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
		        (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of enrichment %s", name),
		         errhint("It belongs to role \"%s\".", GetUserNameFromId(owner, false))));
}

static void
no_such_enrichment(const char *name)
{
	ereport(ERROR,
	        (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("enrichment \"%s\" does not exist", name),
	         errhint("The table profenrich.enrichment lists them; profenrich.create_enrichment makes one.")));
}

/* The attribute that provisioning did not give the platform yet, or gave another type; NULL when all fit. */
static const char *
find_unprovisioned(const PeEnrichment *e, const Jsonb *provisioned)
{
	for (int i = 0; i < e->nattributes; i++)
	{
		const char *shape = declared_type(provisioned, e->attributes[i].name);

		if (shape == NULL || strcmp(shape, e->attributes[i].shape) != 0)
			return e->attributes[i].name;
	}
	return NULL;
}

static Jsonb *
copy_jsonb(HeapTuple row, int column)
{
	bool null;
	Datum value = SPI_getbinval(row, SPI_tuptable->tupdesc, column, &null);

	return null ? NULL : (Jsonb *) PG_DETOAST_DATUM_COPY(value);
}

void
pe_enrichment_error_context(void *enrichment)
{
	errcontext("enrichment \"%s\"", ((const PeEnrichment *) enrichment)->name);
}

PeEnrichment *
pe_enrichment_load(const char *name, bool must_own)
{
	MemoryContext caller = CurrentMemoryContext;
	PeEnrichment *e = palloc0(sizeof(PeEnrichment));
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	Jsonb *declared, *options, *provisioned;
	MemoryContext query;
	HeapTuple row;
	bool null;
	ErrorContextCallback context = {.callback = pe_enrichment_error_context, .arg = e};

	SPI_connect();
	pe_owner_execute(
	    "SELECT e.enrichment_id, e.name, e.owner::oid, e.server, e.source, e.identity_column, e.namespace,"
	    " e.paused, e.attributes, e.options, t.attributes, e.search_path, t.enrichment_id"
	    " FROM profenrich.enrichment e LEFT JOIN profenrich.enrichment_target t USING (enrichment_id)"
	    " WHERE e.name = $1",
	    1, types, values, NULL, false, 1);
	if (SPI_processed == 0)
		no_such_enrichment(name);
	row = SPI_tuptable->vals[0];
	query = MemoryContextSwitchTo(caller);
	e->enrichment_id = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &null));
	e->name = SPI_getvalue(row, SPI_tuptable->tupdesc, 2);
	e->owner = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &null));
	e->server = SPI_getvalue(row, SPI_tuptable->tupdesc, 4);
	e->source = SPI_getvalue(row, SPI_tuptable->tupdesc, 5);
	e->identity_column = SPI_getvalue(row, SPI_tuptable->tupdesc, 6);
	e->namespace_code = SPI_getvalue(row, SPI_tuptable->tupdesc, 7);
	e->paused = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 8, &null));
	declared = copy_jsonb(row, 9);
	options = copy_jsonb(row, 10);
	provisioned = copy_jsonb(row, 11);
	e->provisioned = SPI_getvalue(row, SPI_tuptable->tupdesc, 13) != NULL;
	e->search_path = SPI_getvalue(row, SPI_tuptable->tupdesc, 12);
	MemoryContextSwitchTo(query);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	if (must_own)
		pe_enrichment_check_owner(e->name, e->owner);
	context.previous = error_context_stack;
	error_context_stack = &context;
	pe_enrichment_parse_options(options, e);
	(void) pe_enrichment_resolve(e, declared);
	error_context_stack = context.previous;
	e->unprovisioned = provisioned != NULL ? find_unprovisioned(e, provisioned) : NULL;
	return e;
}
