/*
 * http.c
 *		The client: one multi handle, one epoll descriptor, one timer; starting,
 *		moving, taking and cancelling exchanges.
 *
 * libcurl's resolver runs in threads of its own. They inherit the signal mask of
 * the moment they are made, so every call that may make one runs with all signals
 * blocked: the process's handlers then stay on its one thread.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "platform/http_internal.h"

#define MAX_CONNECTIONS  16
#define SLICE_MS         50
#define EVENTS_PER_ROUND 64

int64_t
pe_monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* All but those that a fault in our own thread raises. */
static void
block_signals(sigset_t *before)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
	sigset_t all;

	sigfillset(&all);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&all, faults[i]);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

static void
restore_signals(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* libcurl tells which descriptors to watch, and for what. */
static int
watch_socket(CURL *easy, curl_socket_t fd, int what, void *userp, void *socketp)
{
	pe_http *client = userp;
	struct epoll_event event = {.data.fd = fd};

	if (what == CURL_POLL_REMOVE)
	{
		(void) epoll_ctl(client->epoll, EPOLL_CTL_DEL, fd, &event);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(client->epoll, EPOLL_CTL_MOD, fd, &event) != 0 &&
	    (errno != ENOENT || epoll_ctl(client->epoll, EPOLL_CTL_ADD, fd, &event) != 0))
		client->epoll_failed = true;
	return 0;
}

static int
set_timer(CURLM *multi, long timeout_ms, void *userp)
{
	pe_http *client = userp;

	client->deadline_us = timeout_ms < 0 ? -1 : pe_monotonic_us() + (int64_t) timeout_ms * 1000;
	return 0;
}

static pe_status
set_multi(pe_http *client, int max_connections, pe_error *err)
{
	long limit = max_connections > 0 ? max_connections : MAX_CONNECTIONS;

	if (curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, watch_socket) != CURLM_OK ||
	    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client) != CURLM_OK ||
	    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, set_timer) != CURLM_OK ||
	    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client) != CURLM_OK ||
	    curl_multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS, limit) != CURLM_OK ||
	    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, limit + 4) != CURLM_OK)
		return pe_fail(err, PE_INTERNAL, "libcurl refused a setting of its multi handle");
	return PE_OK;
}

void
pe_http_versions(char *text, size_t size)
{
	snprintf(text, size, "%s", curl_version());
}

pe_status
pe_http_open(const pe_env *env, const pe_http_config *config, pe_http **result, pe_error *err)
{
	pe_http *client = pe_calloc(env, 1, sizeof(*client));
	sigset_t before;
	CURLcode code;
	pe_status status;

	*result = NULL;
	if (client == NULL)
		return pe_fail_memory(err);
	client->env = *env;
	client->epoll = -1;
	client->deadline_us = -1;
	client->allow_insecure_loopback = config->allow_insecure_loopback;
	client->allow_private_addresses = config->allow_private_addresses;
	client->connect_timeout_ms =
	    config->connect_timeout_ms > 0 ? config->connect_timeout_ms : PE_HTTP_CONNECT_TIMEOUT_MS;
	client->total_timeout_ms =
	    config->total_timeout_ms > 0 ? config->total_timeout_ms : PE_HTTP_TOTAL_TIMEOUT_MS;
	if (config->ca_file != NULL && config->ca_file[0] != '\0')
	{
		client->ca_file = pe_strndup(env, config->ca_file, strlen(config->ca_file));
		if (client->ca_file == NULL)
		{
			pe_http_close(client);
			return pe_fail_memory(err);
		}
	}

	/* Counted inside libcurl, and never given back: other users may rely on it. */
	block_signals(&before);
	code = curl_global_init(CURL_GLOBAL_DEFAULT);
	if (code == CURLE_OK)
		client->multi = curl_multi_init();
	restore_signals(&before);
	client->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (client->multi == NULL)
		status = pe_fail_memory(err);
	else if (client->epoll < 0)
		status = pe_fail(err, PE_LIMIT, "no file descriptor left for a connection: %s", strerror(errno));
	else
		status = set_multi(client, config->max_connections, err);
	if (status != PE_OK)
	{
		pe_http_close(client);
		return status;
	}
	*result = client;
	return PE_OK;
}

static void
link_into(pe_http_exchange **list, pe_http_exchange *exchange)
{
	exchange->next = *list;
	exchange->link = list;
	if (*list != NULL)
		(*list)->link = &exchange->next;
	*list = exchange;
}

static void
unlink_exchange(pe_http_exchange *exchange)
{
	if (exchange->link == NULL)
		return;
	*exchange->link = exchange->next;
	if (exchange->next != NULL)
		exchange->next->link = exchange->link;
	exchange->next = NULL;
	exchange->link = NULL;
}

/* Take the easy handle out of the multi handle and give it back. */
static void
release_easy(pe_http_exchange *exchange)
{
	sigset_t before;

	block_signals(&before);
	if (exchange->easy != NULL)
	{
		if (exchange->link != NULL && !exchange->finished)
		{
			curl_multi_remove_handle(exchange->client->multi, exchange->easy);
			exchange->client->active--;
		}
		curl_easy_cleanup(exchange->easy);
	}
	restore_signals(&before);
	curl_slist_free_all(exchange->headers);
	exchange->easy = NULL;
	exchange->headers = NULL;
}

static void
free_exchange(pe_http_exchange *exchange)
{
	release_easy(exchange);
	unlink_exchange(exchange);
	pe_http_response_free(&exchange->response);
	pe_free(&exchange->client->env, exchange);
}

void
pe_http_close(pe_http *client)
{
	sigset_t before;

	if (client == NULL)
		return;
	while (client->exchanges != NULL)
		free_exchange(client->exchanges);
	while (client->completed != NULL)
		free_exchange(client->completed);
	block_signals(&before);
	if (client->multi != NULL)
		curl_multi_cleanup(client->multi);
	restore_signals(&before);
	if (client->epoll >= 0)
		close(client->epoll);
	pe_free(&client->env, client->ca_file);
	pe_free(&client->env, client);
}

pe_status
pe_http_start(pe_http *client, const pe_http_request *request, pe_http_exchange **result, pe_error *err)
{
	pe_http_exchange *exchange = pe_calloc(&client->env, 1, sizeof(*exchange));
	sigset_t before;
	pe_status status;
	CURLMcode code;

	if (result != NULL)
		*result = NULL;
	if (exchange == NULL)
		return pe_fail_memory(err);
	exchange->client = client;
	exchange->started_us = pe_monotonic_us();
	exchange->response.allocator = client->env.allocator;
	exchange->response.owner = request->owner;
	status = pe_http_prepare(exchange, request, err);
	if (status != PE_OK)
	{
		free_exchange(exchange);
		return status;
	}
	block_signals(&before);
	code = curl_multi_add_handle(client->multi, exchange->easy);
	restore_signals(&before);
	if (code != CURLM_OK)
	{
		free_exchange(exchange);
		return code == CURLM_OUT_OF_MEMORY ? pe_fail_memory(err)
		                                   : pe_fail(err, PE_INTERNAL, "libcurl could not start a request");
	}
	client->active++;
	link_into(&client->exchanges, exchange);
	if (result != NULL)
		*result = exchange;
	return PE_OK;
}

int
pe_http_fd(const pe_http *client)
{
	return client->epoll;
}

int
pe_http_active(const pe_http *client)
{
	return client->active;
}

/* Until libcurl's timer, rounded up; -1: it has none. */
static int
timer_ms(const pe_http *client)
{
	int64_t left;

	if (client->deadline_us < 0)
		return -1;
	left = client->deadline_us - pe_monotonic_us();
	if (left <= 0)
		return 0;
	left = (left + 999) / 1000;
	return left > 3600000 ? 3600000 : (int) left;
}

int
pe_http_timeout_ms(const pe_http *client)
{
	if (client->completed != NULL)
		return 0;
	return timer_ms(client);
}

/* Move what libcurl has finished to the end of the completed list. */
static void
collect(pe_http *client)
{
	CURLMsg *message;
	int waiting;

	while ((message = curl_multi_info_read(client->multi, &waiting)) != NULL)
	{
		pe_http_exchange *exchange = NULL;
		pe_http_exchange **tail = &client->completed;
		CURLcode code = message->data.result;
		char *owner = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &owner);
		exchange = (pe_http_exchange *) (void *) owner;
		pe_http_conclude(exchange, code);
		release_easy(exchange);
		unlink_exchange(exchange);
		exchange->finished = true;
		while (*tail != NULL)
			tail = &(*tail)->next;
		link_into(tail, exchange);
	}
}

/* Tell libcurl about every descriptor that is ready. */
static CURLMcode
move_sockets(pe_http *client)
{
	struct epoll_event events[EVENTS_PER_ROUND];
	int running;
	int ready;

	ready = epoll_wait(client->epoll, events, EVENTS_PER_ROUND, 0);
	for (int i = 0; i < ready; i++)
	{
		int mask = 0;
		CURLMcode code;

		if (events[i].events & EPOLLIN)
			mask |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			mask |= CURL_CSELECT_OUT;
		if (events[i].events & (EPOLLERR | EPOLLHUP))
			mask |= CURL_CSELECT_ERR;
		code = curl_multi_socket_action(client->multi, events[i].data.fd, mask, &running);
		if (code != CURLM_OK)
			return code;
	}
	return CURLM_OK;
}

pe_status
pe_http_dispatch(pe_http *client, pe_error *err)
{
	CURLMcode code;
	sigset_t before;
	int running;

	block_signals(&before);
	code = move_sockets(client);
	if (code == CURLM_OK && client->deadline_us >= 0 && pe_monotonic_us() >= client->deadline_us)
	{
		client->deadline_us = -1;
		code = curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	restore_signals(&before);
	collect(client);
	if (client->epoll_failed)
	{
		client->epoll_failed = false;
		return pe_fail(err, PE_LIMIT, "a connection could not be watched: out of kernel memory or watches");
	}
	if (code == CURLM_OUT_OF_MEMORY)
		return pe_fail_memory(err);
	if (code != CURLM_OK)
		return pe_fail(err, PE_INTERNAL, "libcurl's event loop failed: %s", curl_multi_strerror(code));
	return PE_OK;
}

/* Hand over a completed exchange's response and let go of the exchange. */
static void
take_response(pe_http_exchange *exchange, pe_http_response *response)
{
	*response = exchange->response;
	exchange->response.body = NULL;
	exchange->response.headers = NULL;
	free_exchange(exchange);
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
	free_exchange(exchange);
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
		struct pollfd ready = {.fd = client->epoll, .events = POLLIN};
		int timeout = timer_ms(client);

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
