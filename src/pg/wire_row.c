/*
 * wire_row.c
 *		From a row of an enrichment's source to the key and the JSON that are sent.
 */
#include "postgres.h"

#include "utils/lsyscache.h"

#include "platform/identity_rules.h"
#include "pg/consent.h"
#include "pg/suppression.h"
#include "pg/wire_row.h"
#include "pg/wire_value.h"

struct PeWireRow
{
	const PeEnrichment *enrichment;
	int key_column;
	int consent_column; /* -1: nobody is asked */
	FmgrInfo key_output;
	PeSuppression *forgotten;
	int ncolumns;
	PeWireColumn columns[FLEXIBLE_ARRAY_MEMBER];
};

PeWireRow *
pe_wire_row_open(const PeEnrichment *e, const PeSource *source)
{
	PeWireRow *row = palloc0(offsetof(PeWireRow, columns) + sizeof(PeWireColumn) * e->nattributes);
	Oid output;
	bool varlena;

	row->enrichment = e;
	row->key_column = pe_source_need_column(source, e->identity_column, "identity");
	getTypeOutputInfo(TupleDescAttr(source->desc, row->key_column)->atttypid, &output, &varlena);
	fmgr_info(output, &row->key_output);
	/* pe_enrichment_open_source put it last. */
	row->consent_column = e->consent != NULL ? source->desc->natts - 1 : -1;
	row->forgotten = pe_suppression_load();
	row->ncolumns = e->nattributes;
	for (int i = 0; i < e->nattributes; i++)
	{
		const PeAttribute *attribute = &e->attributes[i];
		int column = pe_source_need_column(source, attribute->name, "attribute");

		pe_wire_column_init(&row->columns[i], column, attribute->name,
		                    TupleDescAttr(source->desc, column)->atttypid, attribute->shape);
	}
	return row;
}

const char *
pe_wire_row_read(PeWireRow *row, TupleTableSlot *slot, char **key, StringInfo value)
{
	const char *reason;
	char *identity;

	*key = NULL;
	if (slot->tts_isnull[row->key_column])
		return "missing";
	identity = OutputFunctionCall(&row->key_output, slot->tts_values[row->key_column]);
	reason = pe_identity_refusal(row->enrichment->namespace_code, identity, strlen(identity));
	if (reason == NULL &&
	    pe_suppression_has(row->forgotten, row->enrichment->namespace_code,
	                       strlen(row->enrichment->namespace_code), identity, strlen(identity)))
		reason = "forgotten";
	*key = reason == NULL ? identity : NULL;
	if (reason == NULL && row->consent_column >= 0 &&
	    (slot->tts_isnull[row->consent_column] || !DatumGetBool(slot->tts_values[row->consent_column])))
		reason = pe_no_consent;

	resetStringInfo(value);
	appendStringInfoChar(value, '{');
	for (int i = 0; i < row->ncolumns && reason == NULL; i++)
	{
		PeWireColumn *column = &row->columns[i];

		if (!slot->tts_isnull[column->column])
			reason = pe_wire_append(value, column, slot->tts_values[column->column]);
	}
	appendStringInfoChar(value, '}');
	return reason;
}
