/*
 * outcome.c
 *		What the platform's answer to a request means.
 */
#include "platform/outcome.h"

pe_outcome
pe_outcome_of_status(int http_status)
{
	switch (http_status)
	{
		case 401:
		case 403:
			return PE_OUTCOME_TOKEN;
		case 402:
		case 404:
		case 405:
		case 406:
		case 410:
		case 414:
		case 415:
		case 501:
			return PE_OUTCOME_CONFIGURATION;
		case 408:
		case 425:
			return PE_OUTCOME_OVERLOAD;
		case 413:
			return PE_OUTCOME_TOO_BIG;
		case 429:
			return PE_OUTCOME_RATE;
		case 500:
			return PE_OUTCOME_FAULT;
	}
	if (http_status >= 200 && http_status < 300)
		return PE_OUTCOME_ACCEPTED;
	if (http_status >= 300 && http_status < 400)
		return PE_OUTCOME_CONFIGURATION;
	if (http_status >= 400 && http_status < 500)
		return PE_OUTCOME_REFUSED;
	if (http_status > 500 && http_status < 600)
		return PE_OUTCOME_OVERLOAD;
	return PE_OUTCOME_UNKNOWN;
}

pe_outcome
pe_outcome_of_result(const pe_result *result, int message_count)
{
	if (result->transport != PE_OK)
	{
		/* A certificate does not get better by trying; everything else may. */
		if (result->transport == PE_UNTRUSTED || result->transport == PE_CONFIGURATION)
			return PE_OUTCOME_CONFIGURATION;
		return result->body_sent ? PE_OUTCOME_UNKNOWN : PE_OUTCOME_NOT_SENT;
	}
	if (result->http_status < 200 || result->http_status >= 300)
		return pe_outcome_of_status(result->http_status);
	if (!result->readable)
		return PE_OUTCOME_UNKNOWN;
	/* What came back for the one message may say otherwise than the reply around it. */
	if (result->single)
		return result->entry_count == 1 && result->entries[0].status != 0
		           ? pe_outcome_of_status(result->entries[0].status)
		           : PE_OUTCOME_ACCEPTED;
	return result->entry_count == message_count && !result->reordered ? PE_OUTCOME_MIXED
	                                                                  : PE_OUTCOME_MISCOUNTED;
}

const char *
pe_outcome_name(pe_outcome outcome)
{
	switch (outcome)
	{
		case PE_OUTCOME_ACCEPTED:
			return "accepted";
		case PE_OUTCOME_MIXED:
			return "mixed";
		case PE_OUTCOME_NOT_SENT:
			return "not sent";
		case PE_OUTCOME_UNKNOWN:
			return "unknown";
		case PE_OUTCOME_MISCOUNTED:
			return "miscounted";
		case PE_OUTCOME_REFUSED:
			return "refused";
		case PE_OUTCOME_FAULT:
			return "fault";
		case PE_OUTCOME_TOO_BIG:
			return "too big";
		case PE_OUTCOME_TOKEN:
			return "authorisation";
		case PE_OUTCOME_CONFIGURATION:
			return "configuration";
		case PE_OUTCOME_OVERLOAD:
			return "overload";
		case PE_OUTCOME_RATE:
			return "rate";
	}
	return "unknown";
}
