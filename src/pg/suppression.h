/*
 * suppression.h
 *		The forgotten: identities that no load and no refresh takes in again. The list holds
 *		a keyed hash of each, not the identity.
 */
#ifndef PE_SUPPRESSION_H
#define PE_SUPPRESSION_H

#include "postgres.h"

typedef struct PeSuppression PeSuppression;

/*
 * Keeps the list from changing until the end of the transaction. Whoever takes in
 * profiles calls it before it locks anything else, so that forget() either comes before
 * it or sees what it has written.
 */
extern void pe_suppression_hold(void);

/* The list, in the current context; NULL when it is empty. SPI need not be connected. */
extern PeSuppression *pe_suppression_load(void);

/* Namespaces match without case, ids byte by byte. list may be NULL. */
extern bool pe_suppression_has(const PeSuppression *list, const char *namespace_code, size_t namespace_length,
                               const char *id, size_t id_length);

/* Takes the list for itself until the end of the transaction: no load or refresh is under way then. */
extern void pe_suppression_take(void);

/* Puts an identity on the list, or takes it off; whether that changed it. SPI must be connected. */
extern bool pe_suppression_add(const char *namespace_code, const char *id);
extern bool pe_suppression_remove(const char *namespace_code, const char *id);

/* Raises unless the current user may change the list; what is what it wanted, for the message. */
extern void pe_suppression_need_admin(const char *what);

#endif /* PE_SUPPRESSION_H */
