/*
 * owner.h
 *		Queries on the extension's own tables, on behalf of callers who have no rights
 *		on them. Whoever calls these has checked what the caller may do.
 */
#ifndef PE_OWNER_H
#define PE_OWNER_H

#include "postgres.h"

/* The role that owns the extension; raises when the extension is not installed. */
extern Oid pe_extension_owner(void);

/* The version of its SQL in this database, NULL when it is not installed. The library's is PE_VERSION. */
extern char *pe_extension_version(void);

/*
 * Runs one statement on our tables as the extension's owner, with a search_path of
 * pg_catalog alone (names must be qualified: profenrich.model). SPI must be
 * connected; results are in SPI_tuptable, SPI_processed as usual. read_only runs
 * under the active snapshot. Returns the SPI result code, which is never negative:
 * failures raise. Never give it SQL that a user wrote.
 */
extern int pe_owner_execute(const char *sql, int nargs, const Oid *types, const Datum *values,
                            const char *nulls, bool read_only, long limit);

/*
 * From here to AtEOXact_GUC(true, level), level being what it returns, the names in queries are the server's
 * own, whatever the caller has made.
 */
extern int pe_server_names_only(void);

/* Is the current user a member of role_name (superusers are of all)? False when there is no such role. */
extern bool pe_is_member(const char *role_name);

#endif /* PE_OWNER_H */
