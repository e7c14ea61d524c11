/*
 * load_csv_options.c
 *		How CSV files are written, as a JSON object: the options of the platform's file destinations.
 */
#include "postgres.h"

#include <iconv.h>

#include "utils/builtins.h"

#include "pg/json_options.h"
#include "pg/load.h"

typedef struct Option
{
	const char *name;
	size_t offset;
	bool one_byte;
} Option;

static const Option known[] = {
    {"delimiter", offsetof(LoadCsv, delimiter), true}, {"quote", offsetof(LoadCsv, quote), true},
    {"escape", offsetof(LoadCsv, escape), true},       {"null", offsetof(LoadCsv, null), false},
    {"empty", offsetof(LoadCsv, empty), false},        {"encoding", offsetof(LoadCsv, encoding), false},
};

static void
check_encoding(const char *name)
{
	iconv_t conversion = iconv_open("UTF-8", name);

	if (conversion == (iconv_t) -1)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("encoding \"%s\" is not known", name),
		         errhint("Names are those of iconv, such as UTF-16, ISO-8859-1 and WINDOWS-1252.")));
	iconv_close(conversion);
}

static void
set_option(void *csv, const char *name, const JsonbValue *value)
{
	for (int i = 0; i < lengthof(known); i++)
	{
		char *text;

		if (strcmp(known[i].name, name) != 0)
			continue;
		text = value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;
		if (text == NULL || (known[i].one_byte && (strlen(text) != 1 || text[0] == '\n' || text[0] == '\r')))
			pe_raise_bad_option(name, known[i].one_byte ? "one character of one byte" : "a text");
		*(const char **) ((char *) csv + known[i].offset) = text;
		return;
	}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("csv has no option \"%s\"", name),
	                errhint("Options are delimiter, quote, escape, null, empty and encoding.")));
}

/* What COPY would say only when the files are there. */
static void
check_together(LoadCsv *csv)
{
	const char *delimiter = csv->delimiter != NULL ? csv->delimiter : ",";
	const char *quote = csv->quote != NULL ? csv->quote : "\"";

	if (strcmp(delimiter, quote) == 0)
		pe_raise_bad_option("delimiter", "another character than quote");
	if (csv->null != NULL && strpbrk(csv->null, psprintf("%s%s\r\n", delimiter, quote)) != NULL)
		pe_raise_bad_option("null", "a text without delimiter, quote and line ends");
	/* That is how they are written anyway. */
	if (csv->empty != NULL && strcmp(csv->empty, psprintf("%s%s", quote, quote)) == 0)
		csv->empty = NULL;
}

LoadCsv *
load_csv_options(Datum argument, LoadFormat *format)
{
	Jsonb *json = DatumGetJsonbP(argument);
	LoadCsv *csv = palloc0(sizeof(LoadCsv));

	if (*format != LOAD_AUTO && *format != LOAD_CSV)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("csv is given for files of another format"),
		         errhint("Leave out csv, or format.")));
	*format = LOAD_CSV;
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("csv must be a JSON object"),
		                errhint("Such as {\"delimiter\": \";\", \"encoding\": \"UTF-16\"}.")));
	pe_each_option(&json->root, set_option, csv);
	check_together(csv);
	if (csv->encoding != NULL)
		check_encoding(csv->encoding);
	return csv;
}

void
load_set_csv(List *files, const LoadCsv *csv)
{
	ListCell *cell;

	foreach (cell, files)
		((LoadFile *) lfirst(cell))->csv = csv;
}
