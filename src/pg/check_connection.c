/*
 * check_connection.c
 *		check_connection(): each step of reaching the platform, and what is wrong.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "platform/catalog.h"
#include "platform/identity.h"
#include "platform/platform.h"
#include "platform/registry.h"
#include "platform/secret_file.h"
#include "pg/guc.h"
#include "pg/connection.h"
#include "pg/report.h"
#include "pg/rows.h"

PG_FUNCTION_INFO_V1(pe_check_connection);

/* A step writes what it found into detail (a sentence's worth), or fills err. */
typedef pe_status (*check_step)(PeConnection *connection, char *detail, size_t size, pe_error *err);

static pe_status
step_secret(PeConnection *connection, char *detail, size_t size, pe_error *err)
{
	snprintf(detail, size, "readable, for this organisation and these hosts");
	return pe_connection_check_secret(connection, err);
}

static pe_status
step_token(PeConnection *connection, char *detail, size_t size, pe_error *err)
{
	char host[256] = "";

	/* A token held from before would prove nothing about name, route, certificate and secret. */
	pe_token_forget(connection->platform);
	(void) pe_url_host(connection->server.ims_url, host, sizeof(host));
	snprintf(detail, size, "got a token from %s", host);
	return pe_platform_authenticate(connection->platform, err);
}

static pe_status
step_organisation(PeConnection *connection, char *detail, size_t size, pe_error *err)
{
	char tenant[128];
	pe_status status = pe_registry_tenant(connection->platform, tenant, sizeof(tenant), err);

	if (status == PE_OK)
		snprintf(detail, size, "tenant %s, sandbox %s", tenant, connection->server.sandbox);
	return status;
}

static pe_status
step_namespaces(PeConnection *connection, char *detail, size_t size, pe_error *err)
{
	pe_namespace_list list = {0};
	pe_status status = pe_identity_list(connection->platform, &list, err);

	if (status == PE_OK)
	{
		snprintf(detail, size, "%d identity namespaces", list.count);
		pe_namespace_list_free(&list);
	}
	return status;
}

static pe_status
step_catalog(PeConnection *connection, char *detail, size_t size, pe_error *err)
{
	pe_dataset_list list = {0};
	pe_status status = pe_catalog_snapshots(connection->platform, &list, err);

	if (status == PE_OK)
	{
		snprintf(detail, size, "%d profile snapshot data sets", list.count);
		pe_dataset_list_free(&list);
	}
	return status;
}

/* Any reply will do: that there is one proves name, route and certificate. No token goes out. */
static pe_status
step_streaming(PeConnection *connection, char *detail, size_t size, pe_error *err)
{
	char *url = psprintf("%s/", connection->server.collection_url);
	pe_http_request request = {.method = "GET", .url = url, .max_body = 64 * 1024};
	pe_http_response response;
	pe_status status = pe_http_perform(pe_platform_http(connection->platform), &request, &response, err);

	if (status == PE_OK)
		snprintf(detail, size, "reached in %d ms", (int) (response.elapsed_us / 1000));
	pe_http_response_free(&response);
	return status;
}

static const struct
{
	const char *name;
	check_step run;
} steps[] = {
    {"secret", step_secret},
    {"token", step_token},
    {"organisation and sandbox", step_organisation},
    {"identity namespaces", step_namespaces},
    {"catalog", step_catalog},
    {"streaming host", step_streaming},
};

static void
put_step(PeRow *row, const char *name, bool ok, const char *detail)
{
	pe_row_add_text(row, name);
	pe_row_add_bool(row, ok);
	pe_row_add_text(row, detail);
	pe_row_put(row);
}

/*
 * check_connection(server) -> (step, ok, detail). A step that fails is a row; those
 * after it say skipped. Only cancellation raises.
 */
Datum
pe_check_connection(PG_FUNCTION_ARGS)
{
	char *server = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *wrong = NULL;
	PeConnection *connection;
	bool ok;
	PeRow row;

	pe_rows_begin(fcinfo, &row);
	connection = pe_connection_try_open(server, GetUserId(), CurrentMemoryContext, &wrong);
	ok = connection != NULL;
	put_step(&row, "server and user mapping", ok,
	         ok ? psprintf("organisation %s, client %s%s", connection->server.org_id, connection->client_id,
	                       OidIsValid(connection->roleid) ? "" : ", mapping for PUBLIC")
	            : pe_to_utf8(wrong)); /* rows are put from UTF-8 */
	for (int i = 0; i < lengthof(steps); i++)
	{
		char detail[512] = "";
		pe_error err = {0};
		pe_status status;

		if (!ok)
		{
			put_step(&row, steps[i].name, false, "skipped");
			continue;
		}
		status = steps[i].run(connection, detail, sizeof(detail), &err);
		if (status == PE_CANCELLED)
			pe_raise(&err);
		ok = status == PE_OK;
		put_step(&row, steps[i].name, ok, ok ? detail : pe_describe_error(err.message, err.detail, err.hint));
	}
	if (connection != NULL)
		pe_connection_close(connection);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(pe_secret_directory_problem);

/* secret_directory_problem(): why no secret file can be read here; null when one could. */
Datum
pe_secret_directory_problem(PG_FUNCTION_ARGS)
{
	pe_error err = {0};

	if (pe_secret_directory == NULL || pe_secret_directory[0] == '\0')
		PG_RETURN_TEXT_P(cstring_to_text("setting profenrich.secret_directory is empty"));
	if (pe_secret_directory_check(pe_secret_directory, &err) != PE_OK)
		PG_RETURN_TEXT_P(cstring_to_text(err.message));
	PG_RETURN_NULL();
}
