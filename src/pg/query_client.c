/*
 * query_client.c
 *		Query Service over libpq: connecting, and a result's rows one by one.
 *
 * The service is not PostgreSQL behind its wire: nothing here depends on its version, on
 * catalogs, or on a setting that it may not know.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg/query_client.h"
#include "pg/report.h"
#include "platform/query_service.h"

#define CONNECT_MS   20000
#define SYSTEM_ROOTS "/etc/ssl/certs/ca-certificates.crt"

typedef struct Client
{
	PGconn *conn;
	PGresult *result;
	MemoryContextCallback callback;
} Client;

/* When the context goes, on whatever path: neither memory nor socket is PostgreSQL's. */
static void
finish(void *arg)
{
	Client *client = arg;

	PQfinish(client->conn);
}

static void
wait_socket(PGconn *conn, int events, long timeout_ms)
{
	int happened = WaitLatchOrSocket(
	    MyLatch, events | WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout_ms >= 0 ? WL_TIMEOUT : 0),
	    PQsocket(conn), timeout_ms, PG_WAIT_EXTENSION);

	if (happened & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* libpq's words, without their line ends. */
static char *
words(const char *text)
{
	char *copy = pstrdup(text != NULL ? text : "");

	for (char *c = copy; *c != '\0'; c++)
	{
		if (*c == '\n' || *c == '\r')
			*c = ' ';
	}
	for (size_t length = strlen(copy); length > 0 && copy[length - 1] == ' '; length--)
		copy[length - 1] = '\0';
	return unconstify(char *, pe_valid_text(copy));
}

static void
connect_failed(PGconn *conn, const char *host)
{
	const char *why = words(PQerrorMessage(conn));

	if (strstr(why, "Session Limit") != NULL)
		ereport(ERROR, (errcode(ERRCODE_TOO_MANY_CONNECTIONS), errmsg("Query Service takes no more sessions"),
		                errdetail("%s", why),
		                errhint("A user has a few at a time: try again when others have ended.")));
	ereport(ERROR, (errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
	                errmsg("could not connect to Query Service at %s", host), errdetail("%s", why),
	                errhint("The credential needs Manage Queries; the server option ca_file names an "
	                        "authority of your own.")));
}

static void
drive_connect(PGconn *conn, const char *host)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), CONNECT_MS);
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;

	while (state != PGRES_POLLING_OK)
	{
		long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		if (state == PGRES_POLLING_FAILED)
			connect_failed(conn, host);
		if (left <= 0)
			ereport(ERROR, (errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			                errmsg("Query Service at %s does not answer", host)));
		wait_socket(conn, state == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE, left);
		state = PQconnectPoll(conn);
	}
}

static PGconn *
start_connect(const PeConnection *connection, const pe_query_access *access)
{
	char port[16];
	const char *names[] = {"host",
	                       "port",
	                       "dbname",
	                       "user",
	                       "password",
	                       "sslmode",
	                       "sslrootcert",
	                       "sslcert",
	                       "gssencmode",
	                       "client_encoding",
	                       "fallback_application_name",
	                       "keepalives",
	                       NULL};
	const char *values[] = {access->host,
	                        port,
	                        access->database,
	                        access->user,
	                        access->token,
	                        "verify-full",
	                        connection->server.ca_file != NULL ? connection->server.ca_file : SYSTEM_ROOTS,
	                        "/dev/null/none", /* no certificate of the server user's */
	                        "disable",
	                        "UTF8",
	                        "profenrich",
	                        "1",
	                        NULL};

	snprintf(port, sizeof(port), "%d", access->port);
	return PQconnectStartParams(names, values, false);
}

PGconn *
query_client_connect(PeConnection *connection)
{
	pe_query_access *access = palloc(sizeof(pe_query_access));
	Client *client = palloc0(sizeof(Client));
	pe_error err = {0};
	char *host;

	pe_check(pe_query_connection(connection->platform, access, &err), &err);
	pe_check(pe_connection_check_host(connection, access->host, &err), &err);
	host = pstrdup(access->host);
	client->callback.func = finish;
	client->callback.arg = client;
	client->conn = start_connect(connection, access);
	explicit_bzero(access, sizeof(*access));
	pfree(access);
	if (client->conn == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &client->callback);
	if (PQstatus(client->conn) == CONNECTION_BAD)
		connect_failed(client->conn, host);
	drive_connect(client->conn, host);
	if (!PQsslInUse(client->conn))
		ereport(ERROR, (errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
		                errmsg("Query Service at %s did not encrypt the connection", host)));
	PQsetNoticeProcessor(client->conn, NULL, NULL);
	return client->conn;
}

static void
connection_broke(PGconn *conn)
{
	ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE), errmsg("the connection to Query Service broke"),
	                errdetail("%s", words(PQerrorMessage(conn))), errhint("Nothing was loaded: try again.")));
}

static void
send_query(PGconn *conn, const char *sql)
{
	if (PQsendQuery(conn, sql) != 1)
		connection_broke(conn);
	(void) PQsetSingleRowMode(conn);
	for (;;)
	{
		int left = PQflush(conn);

		if (left == 0)
			return;
		if (left < 0)
			connection_broke(conn);
		wait_socket(conn, WL_SOCKET_WRITEABLE | WL_SOCKET_READABLE, -1);
		if (PQconsumeInput(conn) != 1)
			connection_broke(conn);
	}
}

/* The next result, NULL at the end. To be cleared at once: nothing in between may raise. */
static PGresult *
next_result(PGconn *conn)
{
	while (PQisBusy(conn))
	{
		wait_socket(conn, WL_SOCKET_READABLE, -1);
		if (PQconsumeInput(conn) != 1)
			connection_broke(conn);
	}
	return PQgetResult(conn);
}

/* The service refused: its SQLSTATE and words are copied before the result goes. */
static void
query_failed(PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	char *message = words(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
	bool too_long = state != NULL && strcmp(state, "53400") == 0;
	int code = state != NULL && strlen(state) == 5
	               ? MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4])
	               : ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;

	PQclear(result);
	ereport(ERROR,
	        (errcode(code), errmsg("Query Service refused the query: %s", message),
	         errdetail("Nothing was loaded."),
	         too_long
	             ? errhint("A query may run for 10 minutes: page it by a key, or make a table of it there.")
	             : 0));
}

bool
query_client_try(PGconn *conn, const char *sql)
{
	bool done = true;
	PGresult *result;

	send_query(conn, sql);
	while ((result = next_result(conn)) != NULL)
	{
		done = done && PQresultStatus(result) != PGRES_FATAL_ERROR;
		PQclear(result);
	}
	if (!done)
		elog(DEBUG1, "Query Service does not know: %s", sql);
	return done;
}

static void
take_rows(const PGresult *result, query_row take, void *ctx, int64 *rows)
{
	if (*rows == 0)
		take(ctx, result, -1);
	for (int i = 0; i < PQntuples(result); i++)
		take(ctx, result, (*rows)++);
}

/* Takes one result; whatever the taker does, the result goes. */
static void
take_result(PGresult *result, query_row take, void *ctx, int64 *rows)
{
	PG_TRY();
	{
		take_rows(result, take, ctx, rows);
	}
	PG_CATCH();
	{
		PQclear(result);
		PG_RE_THROW();
	}
	PG_END_TRY();
	PQclear(result);
}

int64
query_client_rows(PGconn *conn, const char *sql, query_row take, void *ctx)
{
	int64 rows = 0;
	int sets = 0;
	PGresult *result;

	send_query(conn, sql);
	while ((result = next_result(conn)) != NULL)
	{
		switch (PQresultStatus(result))
		{
			case PGRES_SINGLE_TUPLE:
			case PGRES_TUPLES_OK:
				/* The set ends with an empty result. */
				sets += PQresultStatus(result) == PGRES_TUPLES_OK;
				take_result(result, take, ctx, &rows);
				break;
			case PGRES_FATAL_ERROR:
				query_failed(result);
				break;
			default:
				PQclear(result);
				sets = 2;
				break;
		}
		if (sets > 1)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the query is not one SELECT")));
	}
	if (sets == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the query is not one SELECT")));
	return rows;
}
