/*
 * test_outcome.c
 *		Every row of the table of outcomes.
 */
#include "platform/outcome.h"
#include "tap.h"

static void
test_statuses(void)
{
	static const struct
	{
		int status;
		pe_outcome outcome;
	} rows[] = {
	    {200, PE_OUTCOME_ACCEPTED},      {202, PE_OUTCOME_ACCEPTED},      {204, PE_OUTCOME_ACCEPTED},
	    {301, PE_OUTCOME_CONFIGURATION}, {302, PE_OUTCOME_CONFIGURATION}, {307, PE_OUTCOME_CONFIGURATION},
	    {308, PE_OUTCOME_CONFIGURATION}, {400, PE_OUTCOME_REFUSED},       {401, PE_OUTCOME_TOKEN},
	    {403, PE_OUTCOME_TOKEN},         {404, PE_OUTCOME_CONFIGURATION}, {405, PE_OUTCOME_CONFIGURATION},
	    {408, PE_OUTCOME_OVERLOAD},      {409, PE_OUTCOME_REFUSED},       {410, PE_OUTCOME_CONFIGURATION},
	    {413, PE_OUTCOME_TOO_BIG},       {422, PE_OUTCOME_REFUSED},       {425, PE_OUTCOME_OVERLOAD},
	    {429, PE_OUTCOME_RATE},          {500, PE_OUTCOME_FAULT},         {501, PE_OUTCOME_CONFIGURATION},
	    {502, PE_OUTCOME_OVERLOAD},      {503, PE_OUTCOME_OVERLOAD},      {504, PE_OUTCOME_OVERLOAD},
	    {520, PE_OUTCOME_OVERLOAD},      {100, PE_OUTCOME_UNKNOWN},       {0, PE_OUTCOME_UNKNOWN},
	    {-1, PE_OUTCOME_UNKNOWN},        {999, PE_OUTCOME_UNKNOWN},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		IS_STR(pe_outcome_name(pe_outcome_of_status(rows[i].status)), pe_outcome_name(rows[i].outcome),
		       "status %d", rows[i].status);
}

static void
test_results(void)
{
	pe_result result = {.transport = PE_UNREACHABLE};
	pe_result_entry entry = {0};

	IS_INT(pe_outcome_of_result(&result, 3), PE_OUTCOME_NOT_SENT, "refused connection");
	result.body_sent = true;
	IS_INT(pe_outcome_of_result(&result, 3), PE_OUTCOME_UNKNOWN, "reset after the body");
	result.transport = PE_BAD_REPLY;
	IS_INT(pe_outcome_of_result(&result, 3), PE_OUTCOME_UNKNOWN, "garbage instead of a reply");
	result = (pe_result){.transport = PE_UNTRUSTED};
	IS_INT(pe_outcome_of_result(&result, 3), PE_OUTCOME_CONFIGURATION, "wrong certificate");

	result = (pe_result){.transport = PE_OK, .http_status = 207, .readable = true, .entry_count = 3};
	IS_INT(pe_outcome_of_result(&result, 3), PE_OUTCOME_MIXED, "as many entries as messages");
	IS_INT(pe_outcome_of_result(&result, 4), PE_OUTCOME_MISCOUNTED, "an entry short");
	IS_INT(pe_outcome_of_result(&result, 2), PE_OUTCOME_MISCOUNTED, "an entry too many");
	result.reordered = true;
	IS_INT(pe_outcome_of_result(&result, 3), PE_OUTCOME_MISCOUNTED, "entries in another order");
	result.reordered = false;
	result.readable = false;
	IS_INT(pe_outcome_of_result(&result, 3), PE_OUTCOME_UNKNOWN, "unparsable 207");
	result = (pe_result){.transport = PE_OK, .http_status = 200, .readable = true};
	IS_INT(pe_outcome_of_result(&result, 3), PE_OUTCOME_MISCOUNTED,
	       "200 without entries to a batch accepts nothing");
	result.single = true;
	IS_INT(pe_outcome_of_result(&result, 1), PE_OUTCOME_ACCEPTED, "200 to one message");
	entry.status = 201;
	result.entries = &entry;
	result.entry_count = 1;
	IS_INT(pe_outcome_of_result(&result, 1), PE_OUTCOME_ACCEPTED, "and one that says so");
	entry.status = 400;
	IS_INT(pe_outcome_of_result(&result, 1), PE_OUTCOME_REFUSED, "but not one whose body has an error");
	entry.status = 503;
	IS_INT(pe_outcome_of_result(&result, 1), PE_OUTCOME_OVERLOAD, "of whatever kind");
	result.readable = false;
	IS_INT(pe_outcome_of_result(&result, 1), PE_OUTCOME_UNKNOWN, "200 with a cut body");
	result = (pe_result){.transport = PE_OK, .http_status = 503};
	IS_INT(pe_outcome_of_result(&result, 1), PE_OUTCOME_OVERLOAD, "an error's body is not looked at");
}

int
main(void)
{
	test_statuses();
	test_results();
	return tap_done();
}
