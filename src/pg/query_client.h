/*
 * query_client.h
 *		Query Service over libpq: connecting, and a result's rows one by one.
 */
#ifndef PE_QUERY_CLIENT_H
#define PE_QUERY_CLIENT_H

#include "postgres.h"

#include <libpq-fe.h>

#include "pg/connection.h"

/*
 * Connects with TLS, the server's certificate and name verified, answering interrupts. The
 * connection ends with the current memory context.
 */
extern PGconn *query_client_connect(PeConnection *connection);

/* A statement without rows; false when it was refused, which is told only at DEBUG1. */
extern bool query_client_try(PGconn *conn, const char *sql);

/* Called for the columns (row < 0), then for each row from 0; the result is gone afterwards. */
typedef void (*query_row)(void *ctx, const PGresult *result, int64 row);

/* Runs a query and hands over its rows as they come, in bounded memory. How many. */
extern int64 query_client_rows(PGconn *conn, const char *sql, query_row take, void *ctx);

#endif /* PE_QUERY_CLIENT_H */
