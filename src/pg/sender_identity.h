/*
 * sender_identity.h
 *		Under which name this cluster sends.
 */
#ifndef PE_SENDER_IDENTITY_H
#define PE_SENDER_IDENTITY_H

/*
 * profenrich.sender_identity, or when that is empty the system identifier, the data
 * directory and the database's oid: a copy of the files has another directory, a
 * restored dump another identifier, a copied database another oid. An enrichment is sent only by the identity
 * it was provisioned under. Valid until the setting changes; needs no transaction.
 */
extern const char *pe_sender_identity(void);

#endif /* PE_SENDER_IDENTITY_H */
