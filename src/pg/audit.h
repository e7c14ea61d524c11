/*
 * audit.h
 *		Who did what.
 */
#ifndef PE_AUDIT_H
#define PE_AUDIT_H

#include "postgres.h"

/*
 * Leaves a row in profenrich.audit_log, in the caller's transaction: what is rolled back
 * was not done. action is the name of the SQL function; detail a format of a JSON object, or
 * NULL. Values of profiles, their ids and secrets have no place there. Every function that
 * changes something calls this, also outside the database; sql/audit.sql looks after that. SPI
 * need not be connected.
 */
extern void pe_audit(const char *action, const char *object, const char *detail, ...)
    __attribute__((format(printf, 3, 4)));

/* A text as a JSON string, for detail. */
extern char *pe_audit_text(const char *text);

#endif /* PE_AUDIT_H */
