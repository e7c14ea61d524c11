/*
 * identity_rules.h
 *		Which identity values the platform will not take, checked before a value is
 *		queued: a record with such an identity is dropped there without a word.
 */
#ifndef PE_IDENTITY_RULES_H
#define PE_IDENTITY_RULES_H

#include <stdbool.h>
#include <stddef.h>

#define PE_IDENTITY_MAX_CHARACTERS 1024
#define PE_ECID_DIGITS             38

/*
 * NULL when value (length bytes of UTF-8, need not end in NUL) may stand as an
 * identity of the namespace, else why not: a short static text that serves as a
 * counter's name ("blank", "blocked value", "too long", "malformed ECID",
 * "control character"). Namespace codes compare without case.
 */
extern const char *pe_identity_refusal(const char *namespace_code, const char *value, size_t length);

#endif /* PE_IDENTITY_RULES_H */
