/*
 * report.h
 *		Turns a pure layer's status and error record into an ereport.
 */
#ifndef PE_REPORT_H
#define PE_REPORT_H

#include "postgres.h"

#include "pe_base.h"

/* The SQLSTATE for a status, in the packed form of errcode(). */
extern int pe_sqlstate(pe_status status);

/*
 * Raises err. A cancelled call first gives the pending interrupt its say
 * (CHECK_FOR_INTERRUPTS), so that "canceling statement due to ..." is the error
 * the user sees. Call it only when no foreign frame is on the stack.
 */
extern void pe_raise(const pe_error *err) pg_attribute_noreturn();

/* The same under another SQLSTATE, where the status alone does not say what it is about. */
extern void pe_raise_as(int sqlstate, const pe_error *err) pg_attribute_noreturn();

/* Returns when status is PE_OK, else raises err. */
extern void pe_check(pe_status status, const pe_error *err);

/* Message, detail and hint, the latter two or NULL, in one palloc'd text. */
extern char *pe_describe_error(const char *message, const char *detail, const char *hint);

/*
 * Text that can be stored and sent to the client, in place or a palloc'd copy. The
 * platform's words are UTF-8, and where pure layers cut a text short they keep characters
 * of UTF-8 whole, whatever the database's encoding is. A last character that was cut is
 * left out; where others are invalid, all that are not ASCII become question marks.
 */
extern const char *pe_valid_text(const char *text);

#endif /* PE_REPORT_H */
