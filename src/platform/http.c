/*
 * http.c
 *		The client: its settings; starting, taking and cancelling exchanges.
 */
#include <poll.h>

#include "platform/http_internal.h"

#define MAX_REQUESTS 16
#define SLICE_MS     50

void
pe_http_versions(char *text, size_t size)
{
	snprintf(text, size, "%s", curl_version());
}

pe_status
pe_http_open(const pe_env *env, const pe_http_config *config, pe_http **result, pe_error *err)
{
	pe_http *client = pe_calloc(env, 1, sizeof(*client));
	pe_status status = PE_OK;

	*result = NULL;
	if (client == NULL)
		return pe_fail_memory(err);
	client->env = *env;
	client->allow_insecure_loopback = config->allow_insecure_loopback;
	client->allow_private_addresses = config->allow_private_addresses;
	client->connect_timeout_ms =
	    config->connect_timeout_ms > 0 ? config->connect_timeout_ms : PE_HTTP_CONNECT_TIMEOUT_MS;
	client->total_timeout_ms =
	    config->total_timeout_ms > 0 ? config->total_timeout_ms : PE_HTTP_TOTAL_TIMEOUT_MS;
	client->pool = config->pool;
	client->owns_pool = config->pool == NULL;
	if (config->ca_file != NULL && config->ca_file[0] != '\0')
	{
		client->ca_file = pe_strndup(env, config->ca_file, strlen(config->ca_file));
		if (client->ca_file == NULL)
			status = pe_fail_memory(err);
	}
	if (status == PE_OK && client->owns_pool)
		status = pe_http_pool_open(env, config->max_requests > 0 ? config->max_requests : MAX_REQUESTS,
		                           &client->pool, err);
	if (status != PE_OK)
	{
		pe_http_close(client);
		return status;
	}
	*result = client;
	return PE_OK;
}

/* Those of list that are the client's. */
static void
free_exchanges(pe_http *client, pe_http_exchange *list)
{
	pe_http_exchange *next;

	for (pe_http_exchange *exchange = list; exchange != NULL; exchange = next)
	{
		next = exchange->next;
		if (exchange->client == client)
			pe_http_pool_free(exchange);
	}
}

void
pe_http_close(pe_http *client)
{
	if (client == NULL)
		return;
	if (client->pool != NULL)
	{
		free_exchanges(client, client->pool->waiting);
		free_exchanges(client, client->pool->running);
		free_exchanges(client, client->completed);
		pe_http_pool_start(client->pool);
	}
	if (client->owns_pool)
		pe_http_pool_close(client->pool);
	pe_free(&client->env, client->ca_file);
	pe_free(&client->env, client);
}

pe_status
pe_http_start(pe_http *client, const pe_http_request *request, pe_http_exchange **result, pe_error *err)
{
	pe_http_exchange *exchange = pe_calloc(&client->env, 1, sizeof(*exchange));
	pe_status status;

	if (result != NULL)
		*result = NULL;
	if (exchange == NULL)
		return pe_fail_memory(err);
	exchange->client = client;
	exchange->response.allocator = client->env.allocator;
	exchange->response.owner = request->owner;
	status = pe_http_prepare(exchange, request, err);
	if (status != PE_OK)
	{
		pe_http_pool_free(exchange);
		return status;
	}
	pe_http_pool_add(exchange);
	if (result != NULL)
		*result = exchange;
	return PE_OK;
}

int
pe_http_fd(const pe_http *client)
{
	return pe_http_pool_fd(client->pool);
}

int
pe_http_active(const pe_http *client)
{
	return client->active;
}

int
pe_http_timeout_ms(const pe_http *client)
{
	return pe_http_pool_timeout_ms(client->pool);
}

pe_status
pe_http_dispatch(pe_http *client, pe_error *err)
{
	return pe_http_pool_dispatch(client->pool, err);
}

/* Hand over a completed exchange's response and let go of the exchange. */
static void
take_response(pe_http_exchange *exchange, pe_http_response *response)
{
	*response = exchange->response;
	exchange->response.body = NULL;
	exchange->response.headers = NULL;
	pe_http_pool_free(exchange);
}

bool
pe_http_next(pe_http *client, pe_http_response *response)
{
	for (pe_http_exchange *exchange = client->completed; exchange != NULL; exchange = exchange->next)
	{
		if (exchange->waited)
			continue;
		take_response(exchange, response);
		return true;
	}
	return false;
}

void
pe_http_cancel(pe_http *client, pe_http_exchange *exchange)
{
	pe_http_pool_free(exchange);
	pe_http_pool_start(client->pool);
}

pe_status
pe_http_perform(pe_http *client, const pe_http_request *request, pe_http_response *response, pe_error *err)
{
	pe_http_exchange *exchange;
	pe_status status;

	memset(response, 0, sizeof(*response));
	response->allocator = client->env.allocator;
	response->owner = request->owner;
	response->failure = PE_HTTP_SETTING;
	status = pe_http_start(client, request, &exchange, err);
	if (status != PE_OK)
	{
		if (status == PE_OUT_OF_MEMORY)
			response->failure = PE_HTTP_MEMORY;
		return status;
	}
	exchange->waited = true;
	while (!exchange->finished)
	{
		struct pollfd ready = {.fd = pe_http_fd(client), .events = POLLIN};
		int timeout = pe_http_pool_timer_ms(client->pool);

		if (pe_stopped(&client->env, "waiting for the platform", 0, 0))
		{
			response->failure = PE_HTTP_CANCELLED;
			response->body_sent = exchange->response.body_sent || exchange->body_length == 0;
			pe_http_cancel(client, exchange);
			return pe_fail(err, PE_CANCELLED, "cancelled while waiting for the platform");
		}
		(void) poll(&ready, 1, timeout < 0 || timeout > SLICE_MS ? SLICE_MS : timeout);
		status = pe_http_dispatch(client, err);
		if (status != PE_OK)
		{
			response->failure = status == PE_OUT_OF_MEMORY ? PE_HTTP_MEMORY : PE_HTTP_SETTING;
			response->body_sent = true;
			pe_http_cancel(client, exchange);
			return status;
		}
	}
	take_response(exchange, response);
	return pe_http_error(response, request->url, err);
}
