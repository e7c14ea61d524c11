/*
 * outcome.h
 *		What the platform's answer to a request means for what was sent.
 *
 * Pure classification: from a transport result, an HTTP status and the entries of
 * a multi-status reply to one of a dozen outcomes. What to do about an outcome is
 * the sender's business (sender.h).
 */
#ifndef PE_OUTCOME_H
#define PE_OUTCOME_H

#include "pe_base.h"

typedef enum pe_outcome
{
	PE_OUTCOME_ACCEPTED = 0,
	PE_OUTCOME_MIXED,         /* a reply with one entry for each message: look at each */
	PE_OUTCOME_NOT_SENT,      /* failed before any byte of the body went out */
	PE_OUTCOME_UNKNOWN,       /* may have arrived: send again, never count as accepted */
	PE_OUTCOME_MISCOUNTED,    /* unknown, because entries cannot be matched to messages */
	PE_OUTCOME_REFUSED,       /* somebody's data */
	PE_OUTCOME_FAULT,         /* 500: the data's fault when it comes again and again */
	PE_OUTCOME_TOO_BIG,       /* 413 */
	PE_OUTCOME_TOKEN,         /* 401, 403 */
	PE_OUTCOME_CONFIGURATION, /* wrong address, redirect, certificate */
	PE_OUTCOME_OVERLOAD,      /* 408, 425, 502, 503, 504 and their like */
	PE_OUTCOME_RATE           /* 429 */
} pe_outcome;

/* One entry of a multi-status reply. */
typedef struct pe_result_entry
{
	int status;          /* 0 when the entry has none, which means accepted */
	const char *message; /* the platform's reason, or NULL */
} pe_result_entry;

/* How a request ended. */
typedef struct pe_result
{
	pe_status transport; /* PE_OK: a whole reply with a status came back */
	bool body_sent;      /* any byte of the request's body had left (looked at when transport failed) */
	int http_status;
	bool readable; /* the reply's body was whole, within bounds and understood */
	bool single;   /* the single-message call: its reply is its only entry, if it has any */
	const pe_result_entry *entries;
	int entry_count;
	bool reordered;      /* the entries say that they are not in the messages' order */
	int64_t retry_after; /* microseconds; 0 when the reply did not say */
	const char *reason;  /* words for people: the platform's or the transport's; or NULL */
} pe_result;

/* The meaning of an HTTP status by itself, for a request or for an entry. */
extern pe_outcome pe_outcome_of_status(int http_status);

/* The meaning of a result for a request of message_count messages. */
extern pe_outcome pe_outcome_of_result(const pe_result *result, int message_count);

/* A short lower-case name, for the log and the status views. */
extern const char *pe_outcome_name(pe_outcome outcome);

#endif /* PE_OUTCOME_H */
