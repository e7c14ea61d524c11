/*
 * event_names.c
 *		What columns of features are called, and what they say.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "model/model.h"
#include "pg/event_making.h"

/* A value as part of a name: ASCII letters and digits in lower case, others become underscores. */
static char *
slug(const char *value)
{
	StringInfoData text;

	initStringInfo(&text);
	for (; *value != '\0'; value++)
	{
		unsigned char c = (unsigned char) pg_ascii_tolower((unsigned char) *value);

		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || IS_HIGHBIT_SET(c))
			appendStringInfoChar(&text, (char) c);
		else if (text.len > 0 && text.data[text.len - 1] != '_')
			appendStringInfoChar(&text, '_');
	}
	while (text.len > 0 && text.data[text.len - 1] == '_')
		text.data[--text.len] = '\0';
	return text.len > 0 ? text.data : pstrdup("blank");
}

/* Within what a column's name may be, the end replaced by a hash where it is too long; no two the same. */
char *
pe_event_unique_name(const PeEventPlan *plan, char *name)
{
	char *result = name;

	if (strlen(name) >= NAMEDATALEN)
	{
		uint32 hash = (uint32) pe_hash_bytes(name, strlen(name), 0);
		int kept = pg_mbcliplen(name, (int) strlen(name), NAMEDATALEN - 14);

		result = name = psprintf("%.*s_%08x", kept, name, hash);
	}
	for (int suffix = 2;; suffix++)
	{
		bool taken = false;

		for (int i = 0; i < plan->n_columns && !taken; i++)
			taken = strcmp(plan->columns[i].name, result) == 0;
		if (!taken)
			return result;
		result = psprintf("%s_%d", name, suffix);
	}
}

/* "orders", "amount", "orders_web", "sum_amount_web": the name up to the window. */
char *
pe_event_stem(const PeEventPart *part, PeEventMake make)
{
	const PeEventItem *item = part->item;
	const char *subject = item->as != NULL ? item->as : item->of;
	const char *of_value = part->value != NULL ? psprintf("_%s", slug(part->value)) : "";

	switch (make)
	{
		case PE_MAKE_COUNT:
			if (subject != NULL && item->of != NULL)
				return psprintf("count_%s%s", subject, of_value);
			return psprintf("%s%s%s", subject != NULL ? subject : part->event, subject != NULL ? "" : "s",
			                of_value);
		case PE_MAKE_ANY:
		case PE_MAKE_DAYS_SINCE_LAST:
		case PE_MAKE_DAYS_SINCE_FIRST:
		case PE_MAKE_DAYS_UNTIL_NEXT:
			return psprintf("%s_%s%s", pe_event_make_name(make), subject != NULL ? subject : part->event,
			                of_value);
		case PE_MAKE_SHARE:
			return psprintf("share%s%s%s", subject != NULL ? "_" : "", subject != NULL ? subject : "",
			                of_value);
		case PE_MAKE_RATIO:
			return psprintf("ratio_%s%s%s", subject != NULL ? subject : part->event,
			                subject != NULL ? "" : "s", of_value);
		default:
			return psprintf("%s_%s%s", pe_event_make_name(make), subject, of_value);
	}
}

/* "sum of amount of orders whose channel is web" */
char *
pe_event_describe(const PeEventPart *part, PeEventMake make)
{
	static const char *const said[] = {
	    [PE_MAKE_COUNT] = "number",
	    [PE_MAKE_ANY] = "whether there are any",
	    [PE_MAKE_SUM] = "sum",
	    [PE_MAKE_MEAN] = "mean",
	    [PE_MAKE_MIN] = "smallest",
	    [PE_MAKE_MAX] = "largest",
	    [PE_MAKE_DISTINCT] = "different values",
	    [PE_MAKE_SHARE] = "share",
	    [PE_MAKE_RATIO] = "ratio",
	    [PE_MAKE_DAYS_SINCE_LAST] = "days since the last",
	    [PE_MAKE_DAYS_SINCE_FIRST] = "days since the first",
	    [PE_MAKE_DAYS_UNTIL_NEXT] = "days until the next",
	};
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, said[make]);
	if (part->item->of != NULL)
		appendStringInfo(&text, " of %s", part->item->of);
	appendStringInfo(&text, " of %ss", part->event);
	if (part->value != NULL)
		appendStringInfo(&text, " whose %s is %s", part->item->by, part->value);
	return text.data;
}
