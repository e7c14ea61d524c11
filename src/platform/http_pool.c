/*
 * http_pool.c
 *		Connections that clients share: one multi handle, one epoll descriptor, one timer,
 *		and the requests that wait for their turn.
 *
 * libcurl never has a request wait for a connection: one that waits inside of it has no
 * time limit, and is woken by the end of any other, only once. So no more are handed to
 * it at a time than it may have connections, and whether those of one origin can share a
 * connection is waited for here.
 *
 * libcurl's resolver runs in threads of its own. They inherit the signal mask of
 * the moment they are made, so every call that may make one runs with all signals
 * blocked: the process's handlers then stay on its one thread.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "platform/http_internal.h"

#define EVENTS_PER_ROUND 64
#define IDLE_US          (PE_HTTP_IDLE_S * INT64_C(1000000))

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
	pe_http_pool *pool = userp;
	struct epoll_event event = {.data.fd = fd};

	if (what == CURL_POLL_REMOVE)
	{
		(void) epoll_ctl(pool->epoll, EPOLL_CTL_DEL, fd, &event);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(pool->epoll, EPOLL_CTL_MOD, fd, &event) != 0 &&
	    (errno != ENOENT || epoll_ctl(pool->epoll, EPOLL_CTL_ADD, fd, &event) != 0))
		pool->epoll_failed = true;
	return 0;
}

static int
set_timer(CURLM *multi, long timeout_ms, void *userp)
{
	pe_http_pool *pool = userp;

	pool->deadline_us = timeout_ms < 0 ? -1 : pe_monotonic_us() + (int64_t) timeout_ms * 1000;
	return 0;
}

/* With twice as many connections as requests there is always an idle one that can be closed for a new one. */
static bool
open_multi(pe_http_pool *pool)
{
	long connections = 2L * pool->most_requests;

	pool->multi = curl_multi_init();
	if (pool->multi == NULL)
		return false;
	if (curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, watch_socket) == CURLM_OK &&
	    curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool) == CURLM_OK &&
	    curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, set_timer) == CURLM_OK &&
	    curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool) == CURLM_OK &&
	    curl_multi_setopt(pool->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections) == CURLM_OK &&
	    curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, connections) == CURLM_OK)
		return true;
	curl_multi_cleanup(pool->multi);
	pool->multi = NULL;
	return false;
}

/* All connections, and libcurl's own descriptors. */
static void
close_multi(pe_http_pool *pool)
{
	sigset_t before;

	if (pool->multi == NULL)
		return;
	block_signals(&before);
	curl_multi_cleanup(pool->multi);
	restore_signals(&before);
	pool->multi = NULL;
	pool->deadline_us = -1;
}

pe_status
pe_http_pool_open(const pe_env *env, int most_requests, pe_http_pool **result, pe_error *err)
{
	pe_http_pool *pool = pe_calloc(env, 1, sizeof(*pool));
	sigset_t before;
	CURLcode code;
	pe_status status = PE_OK;

	*result = NULL;
	if (pool == NULL)
		return pe_fail_memory(err);
	pool->env = *env;
	pool->most_requests = most_requests;
	pool->deadline_us = -1;
	/* Counted inside libcurl, and never given back: other users may rely on it. */
	block_signals(&before);
	code = curl_global_init(CURL_GLOBAL_DEFAULT);
	restore_signals(&before);
	pool->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (pool->epoll < 0)
		status = pe_fail(err, pe_status_of_errno(errno, PE_INTERNAL), "connections cannot be watched: %s",
		                 strerror(errno));
	else if (code != CURLE_OK)
		status = pe_fail_memory(err);
	if (status != PE_OK)
	{
		pe_http_pool_close(pool);
		return status;
	}
	*result = pool;
	return PE_OK;
}

void
pe_http_pool_close(pe_http_pool *pool)
{
	if (pool == NULL)
		return;
	close_multi(pool);
	if (pool->epoll >= 0)
		close(pool->epoll);
	pe_free(&pool->env, pool);
}

int
pe_http_pool_fd(const pe_http_pool *pool)
{
	return pool->epoll;
}

/* ---- exchanges come and go ------------------------------------------------------------- */

/* At the end. */
static void
link_into(pe_http_exchange **list, pe_http_exchange *exchange)
{
	while (*list != NULL)
		list = &(*list)->next;
	exchange->next = NULL;
	exchange->link = list;
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

static bool
same_origin(const pe_http_exchange *one, const pe_http_exchange *other)
{
	return strcmp(one->origin, other->origin) == 0;
}

/* Who waited to see how this one connects has seen it, or sees that it did not. */
static void
end_wait_of_origin(const pe_http_exchange *ended)
{
	for (pe_http_exchange *other = ended->client->pool->waiting; other != NULL; other = other->next)
		if (same_origin(other, ended))
			other->waited_for_origin = true;
}

/* Takes the exchange from libcurl, or from among those that wait. */
static void
release(pe_http_exchange *exchange)
{
	pe_http_pool *pool = exchange->client->pool;
	sigset_t before;

	block_signals(&before);
	if (exchange->started && exchange->easy != NULL)
	{
		curl_multi_remove_handle(pool->multi, exchange->easy);
		if (--pool->running_count == 0)
			pool->idle_since_us = pe_monotonic_us();
		end_wait_of_origin(exchange);
	}
	if (exchange->easy != NULL)
		curl_easy_cleanup(exchange->easy);
	restore_signals(&before);
	curl_slist_free_all(exchange->headers);
	exchange->easy = NULL;
	exchange->headers = NULL;
	if (exchange->link != NULL && !exchange->finished)
		exchange->client->active--;
	unlink_exchange(exchange);
}

/* Its response is complete: it waits for its client to take it. */
static void
finish(pe_http_exchange *exchange)
{
	release(exchange);
	exchange->finished = true;
	exchange->client->pool->finished_count++;
	link_into(&exchange->client->completed, exchange);
}

static void
start(pe_http_exchange *exchange)
{
	pe_http_pool *pool = exchange->client->pool;
	sigset_t before;

	unlink_exchange(exchange);
	link_into(&pool->running, exchange);
	exchange->started_us = pe_monotonic_us();
	block_signals(&before);
	exchange->started = (pool->multi != NULL || open_multi(pool)) &&
	                    curl_multi_add_handle(pool->multi, exchange->easy) == CURLM_OK;
	restore_signals(&before);
	if (exchange->started)
	{
		pool->running_count++;
		return;
	}
	pe_http_exhausted(&exchange->response);
	finish(exchange);
}

/*
 * Whether requests can share a connection is not known before one of the origin is there.
 * Until then, or until making the first has failed, the others wait: once, for what fails
 * must not fail for one after another.
 */
static bool
may_start(const pe_http_pool *pool, const pe_http_exchange *exchange)
{
	bool first = true;

	if (exchange->waited_for_origin || exchange->ssh)
		return true;
	for (const pe_http_exchange *other = pool->running; other != NULL; other = other->next)
	{
		if (!same_origin(other, exchange))
			continue;
		if (other->connected)
			return true;
		first = false;
	}
	return first;
}

void
pe_http_pool_start(pe_http_pool *pool)
{
	pe_http_exchange *next;

	for (pe_http_exchange *exchange = pool->waiting;
	     exchange != NULL && pool->running_count < pool->most_requests; exchange = next)
	{
		next = exchange->next;
		if (may_start(pool, exchange))
			start(exchange);
	}
}

void
pe_http_pool_add(pe_http_exchange *exchange)
{
	exchange->client->active++;
	link_into(&exchange->client->pool->waiting, exchange);
	pe_http_pool_start(exchange->client->pool);
}

void
pe_http_pool_free(pe_http_exchange *exchange)
{
	const pe_env *env = &exchange->client->env;

	if (exchange->finished)
		exchange->client->pool->finished_count--;
	release(exchange);
	pe_http_response_free(&exchange->response);
	pe_free(env, exchange->origin);
	pe_free(env, exchange);
}

/* ---- moving on ------------------------------------------------------------------------- */

static int64_t
earlier(int64_t one, int64_t other)
{
	return one < 0 || (other >= 0 && other < one) ? other : one;
}

int
pe_http_pool_timer_ms(const pe_http_pool *pool)
{
	int64_t until = pool->deadline_us;
	int64_t left;

	if (pool->multi != NULL && pool->running_count == 0)
		until = earlier(until, pool->idle_since_us + IDLE_US);
	if (until < 0)
		return -1;
	left = until - pe_monotonic_us();
	if (left <= 0)
		return 0;
	left = (left + 999) / 1000;
	return left > 3600000 ? 3600000 : (int) left;
}

int
pe_http_pool_timeout_ms(const pe_http_pool *pool)
{
	return pool->finished_count > 0 ? 0 : pe_http_pool_timer_ms(pool);
}

/* What libcurl has finished is completed, in that order. */
static void
collect(pe_http_pool *pool)
{
	CURLMsg *message;
	int waiting;

	while (pool->multi != NULL && (message = curl_multi_info_read(pool->multi, &waiting)) != NULL)
	{
		pe_http_exchange *exchange;
		char *owner = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &owner);
		exchange = (pe_http_exchange *) (void *) owner;
		pe_http_conclude(exchange, message->data.result);
		finish(exchange);
	}
}

/* Tell libcurl about every descriptor that is ready. */
static CURLMcode
move_sockets(pe_http_pool *pool)
{
	struct epoll_event events[EVENTS_PER_ROUND];
	int running;
	int ready;

	ready = epoll_wait(pool->epoll, events, EVENTS_PER_ROUND, 0);
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
		code = curl_multi_socket_action(pool->multi, events[i].data.fd, mask, &running);
		if (code != CURLM_OK)
			return code;
	}
	return CURLM_OK;
}

static CURLMcode
move(pe_http_pool *pool)
{
	CURLMcode code;
	sigset_t before;
	int running;

	block_signals(&before);
	code = move_sockets(pool);
	if (code == CURLM_OK && pool->deadline_us >= 0 && pe_monotonic_us() >= pool->deadline_us)
	{
		pool->deadline_us = -1;
		code = curl_multi_socket_action(pool->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	restore_signals(&before);
	return code;
}

pe_status
pe_http_pool_dispatch(pe_http_pool *pool, pe_error *err)
{
	CURLMcode code = CURLM_OK;

	if (pool->multi != NULL)
		code = move(pool);
	collect(pool);
	pe_http_pool_start(pool);
	if (pool->running_count == 0 && pe_monotonic_us() >= pool->idle_since_us + IDLE_US)
		close_multi(pool);
	if (pool->epoll_failed)
	{
		pool->epoll_failed = false;
		return pe_fail(err, PE_EXHAUSTED,
		               "a connection could not be watched: out of kernel memory or watches");
	}
	if (code == CURLM_OUT_OF_MEMORY)
		return pe_fail_memory(err);
	if (code != CURLM_OK)
		return pe_fail(err, PE_INTERNAL, "libcurl's event loop failed: %s", curl_multi_strerror(code));
	return PE_OK;
}
