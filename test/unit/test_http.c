/*
 * test_http.c
 *		The HTTPS client against a server that misbehaves, over plain loopback.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "loopback.h"

#include "platform/address.h"
#include "platform/http.h"

static tap_memory memory;
static pe_env env;
static time_t clock_ahead; /* seconds by which everybody's monotonic clock is ahead */

int clock_gettime(clockid_t clock, struct timespec *now);

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);
	int result;

	if (real == NULL)
		*(void **) &real = dlsym(RTLD_NEXT, "clock_gettime");
	result = real(clock, now);
	if (clock == CLOCK_MONOTONIC)
		now->tv_sec += clock_ahead;
	return result;
}

static pe_error err;

static pe_http *
open_client(pe_http_config config)
{
	pe_http *client = NULL;

	OK(pe_http_open(&env, &config, &client, &err) == PE_OK, "a client opens");
	return client;
}

static const char *
url_of(const char *path)
{
	static char url[16][300];
	static int turn;

	turn = (turn + 1) % 16;
	snprintf(url[turn], sizeof(url[turn]), "http://127.0.0.1:%d%s", loopback_port, path);
	return url[turn];
}

static pe_status
get(pe_http *client, const char *url, size_t max_body, pe_http_response *response)
{
	pe_http_request request = {.method = "GET", .url = url, .max_body = max_body};

	return pe_http_perform(client, &request, response, &err);
}

static void
test_good_replies(pe_http *client)
{
	pe_http_header headers[] = {{"Content-Type", "application/json"}, {"X-Thing", "a b"}};
	pe_http_request post = {.method = "POST",
	                        .url = url_of("/echo"),
	                        .headers = headers,
	                        .header_count = 2,
	                        .body = "{\"a\":1}",
	                        .body_length = 7};
	pe_http_response response;
	char value[64];
	int connections;

	IS_INT(get(client, url_of("/ok"), 0, &response), PE_OK, "GET");
	IS_INT(response.status, 200, "its status");
	IS_STR(response.body, "hello", "its body");
	{
		char versions[200];

		pe_http_versions(versions, sizeof(versions));
		OK(strncmp(versions, "libcurl/", 8) == 0, "the libraries underneath: %s", versions);
	}
	IS_STR(response.content_type, "text/plain", "its content type");
	IS_STR(response.request_id, "r-1", "its request id");
	OK(pe_http_response_header(&response, "CONTENT-length", value, sizeof(value)) && strcmp(value, "5") == 0,
	   "any header, in any case");
	OK(!pe_http_response_header(&response, "content", value, sizeof(value)), "but not half a name");
	OK(response.elapsed_us > 0 && response.connected, "elapsed and connected");
	pe_http_response_free(&response);

	connections = loopback->connections;
	IS_INT(pe_http_perform(client, &post, &response, &err), PE_OK, "POST");
	IS_STR(response.body, "7:{\"a\":1}", "the body arrived");
	OK(response.body_sent, "and is known to have been sent");
	OK(strcasestr(loopback->last_head, "Content-Type: application/json\r\n") != NULL,
	   "content type as given");
	OK(strcasestr(loopback->last_head, "urlencoded") == NULL, "and only that");
	OK(strcasestr(loopback->last_head, "X-Thing: a b\r\n") != NULL, "own header");
	OK(strcasestr(loopback->last_head, "User-Agent: profenrich/") != NULL, "user agent");
	OK(strcasestr(loopback->last_head, "Accept-Encoding") == NULL, "nothing compressed is asked for");
	OK(strcasestr(loopback->last_head, "Expect:") == NULL, "no expectation");
	IS_INT(loopback->connections, connections, "the connection was used again");
	pe_http_response_free(&response);

	post.method = "PATCH";
	post.header_count = 0;
	IS_INT(pe_http_perform(client, &post, &response, &err), PE_OK, "PATCH");
	OK(strncmp(loopback->last_head, "PATCH ", 6) == 0, "is PATCH on the wire");
	OK(strcasestr(loopback->last_head, "Content-Type:") == NULL, "without a content type of libcurl's");
	pe_http_response_free(&response);

	post.method = "POST";
	post.body = NULL;
	IS_INT(pe_http_perform(client, &post, &response, &err), PE_OK, "POST without a body");
	IS_STR(response.body, "0:", "sends none");
	pe_http_response_free(&response);

	IS_INT(get(client, url_of("/empty"), 0, &response), PE_OK, "204");
	IS_STR(response.body, "", "has an empty body, not a NULL one");
	pe_http_response_free(&response);
}

static void
test_bad_replies(pe_http *client)
{
	pe_http_response response;
	pe_http_request post = {.method = "POST", .body = "x", .body_length = 1};
	char *large = calloc(1, 300000);

	IS_INT(get(client, url_of("/redirect"), 0, &response), PE_OK, "a redirect is an answer");
	IS_INT(response.status, 302, "that is not followed");
	OK(strstr(response.location, "elsewhere") != NULL, "and says where it would have led");
	pe_http_response_free(&response);

	IS_INT(get(client, url_of("/slow-down"), 0, &response), PE_OK, "429");
	IS_INT(pe_http_retry_after(&response, 0), 7, "Retry-After in seconds");
	pe_http_response_free(&response);

	IS_INT(get(client, url_of("/gzip"), 0, &response), PE_OK, "a compressed body");
	IS_INT(response.body_length, 13, "is taken as it is");
	pe_http_response_free(&response);

	IS_INT(get(client, url_of("/many-headers"), 0, &response), PE_LIMIT, "headers without end");
	IS_INT(response.failure, PE_HTTP_TOO_LARGE, "are too large");
	pe_http_response_free(&response);
	IS_INT(get(client, url_of("/continues"), 0, &response), PE_LIMIT, "1xx without end too");
	pe_http_response_free(&response);
	IS_INT(get(client, url_of("/endless"), 100000, &response), PE_LIMIT, "a body without end");
	IS_INT(response.failure, PE_HTTP_TOO_LARGE, "is too large");
	OK(response.body_length <= 100000, "and was not kept beyond the cap");
	pe_http_response_free(&response);
	IS_INT(get(client, url_of("/ok"), 4, &response), PE_LIMIT, "one byte over the cap");
	pe_http_response_free(&response);
	IS_INT(get(client, url_of("/ok"), 5, &response), PE_OK, "the cap exactly");
	pe_http_response_free(&response);

	IS_INT(get(client, url_of("/nothing"), 0, &response), PE_OK, "a path the server lacks is an answer");
	pe_http_response_free(&response);
	IS_INT(get(client, url_of("/cut"), 0, &response), PE_UNREACHABLE, "a body cut short");
	IS_INT(response.failure, PE_HTTP_RESET, "is a broken connection");
	pe_http_response_free(&response);
	IS_INT(get(client, url_of("/garbage"), 0, &response), PE_BAD_REPLY, "not HTTP");
	pe_http_response_free(&response);

	post.url = url_of("/reset?secret=hush");
	IS_INT(pe_http_perform(client, &post, &response, &err), PE_OK, "again a path the server lacks");
	pe_http_response_free(&response);
	post.url = url_of("/reset");
	IS_INT(pe_http_perform(client, &post, &response, &err), PE_UNREACHABLE, "a reset after the body");
	OK(response.failure == PE_HTTP_RESET && response.body_sent, "is unknown, not unsent");
	pe_http_response_free(&response);
	post.url = url_of("/early");
	post.body = large;
	post.body_length = 300000;
	IS_INT(pe_http_perform(client, &post, &response, &err), PE_OK, "an answer before the body was read");
	IS_INT(response.status, 413, "is heard");
	pe_http_response_free(&response);
	free(large);
}

static void
test_unreachable(void)
{
	pe_http *strict = open_client((pe_http_config){0});
	pe_http *loose = open_client((pe_http_config){.allow_insecure_loopback = true});
	pe_http *private_ok =
	    open_client((pe_http_config){.allow_private_addresses = true, .connect_timeout_ms = 300});
	pe_http_request post = {.method = "POST", .body = "x", .body_length = 1};
	pe_http_response response;
	int64_t start;

	IS_INT(get(strict, url_of("/ok"), 0, &response), PE_CONFIGURATION, "http is refused");
	IS_INT(get(strict, "https://127.0.0.1:1/", 0, &response), PE_UNTRUSTED, "a loopback address is refused");
	IS_INT(response.failure, PE_HTTP_ADDRESS, "for its address");
	OK(!response.body_sent && !response.connected, "nothing was sent");
	pe_http_response_free(&response);
	IS_INT(get(strict, "https://loop.test/", 0, &response), PE_UNTRUSTED,
	       "so is a name that resolves to one");
	pe_http_response_free(&response);
	IS_INT(get(strict, "https://[::1]:1/", 0, &response), PE_UNTRUSTED, "in IPv6");
	pe_http_response_free(&response);
	IS_INT(get(strict, "https://[::ffff:127.0.0.1]:1/", 0, &response), PE_UNTRUSTED,
	       "in IPv6 that carries IPv4");
	pe_http_response_free(&response);
	IS_INT(get(strict, "https://0x7f.1:1/", 0, &response), PE_UNTRUSTED, "in an old spelling");
	pe_http_response_free(&response);
	IS_INT(get(strict, "https://private.test/", 0, &response), PE_UNTRUSTED, "a private network too");
	pe_http_response_free(&response);
	IS_INT(get(strict, "https://metadata.test/", 0, &response), PE_UNTRUSTED, "and a link-local address");
	pe_http_response_free(&response);
	IS_INT(get(loose, "http://private.test/", 0, &response), PE_UNTRUSTED, "plain http beyond loopback");
	pe_http_response_free(&response);
	IS_INT(get(loose, "http://0.0.0.0:1/", 0, &response), PE_UNTRUSTED, "the unspecified address");
	pe_http_response_free(&response);
	IS_INT(get(strict, "https://user:secret@example.com/", 0, &response), PE_CONFIGURATION,
	       "credentials in a URL");
	IS_INT(get(strict, "ftp://example.com/", 0, &response), PE_CONFIGURATION, "another protocol");
	IS_INT(get(strict, "file:///etc/passwd", 0, &response), PE_CONFIGURATION, "a file");
	IS_INT(get(loose, "http://127.0.0.1/a b", 0, &response), PE_CONFIGURATION, "a blank in a URL");

	post.url = "http://127.0.0.1:1/x?token=hush";
	IS_INT(pe_http_perform(loose, &post, &response, &err), PE_UNREACHABLE, "a refused port");
	IS_INT(response.failure, PE_HTTP_CONNECT, "was never connected to");
	OK(!response.body_sent && !response.connected, "so nothing was sent");
	OK(strstr(err.message, "hush") == NULL && strstr(err.detail, "hush") == NULL,
	   "the query stays out of the error");
	OK(strstr(err.message, "127.0.0.1:1") != NULL, "the host is in it");
	pe_http_response_free(&response);

	post.url = "https://nowhere.test/";
	IS_INT(pe_http_perform(strict, &post, &response, &err), PE_UNREACHABLE, "a name that does not resolve");
	OK(response.failure == PE_HTTP_RESOLVE && !response.body_sent, "is told as such");
	pe_http_response_free(&response);

	/* TLS against a server that speaks none */
	{
		char url[100];

		snprintf(url, sizeof(url), "https://127.0.0.1:%d/", loopback_port);
		post.url = url;
		start = now_ms();
		IS_INT(pe_http_perform(private_ok, &post, &response, &err), PE_UNREACHABLE,
		       "no TLS on the other side");
		OK((response.failure == PE_HTTP_TLS || response.failure == PE_HTTP_TIMEOUT) && !response.body_sent,
		   "nothing was sent");
		OK(now_ms() - start < 2000, "the connect timeout covers the handshake");
		pe_http_response_free(&response);
	}
	pe_http_close(strict);
	pe_http_close(loose);
	pe_http_close(private_ok);
}

static void
test_environment(void)
{
	pe_http *client;
	pe_http_response response;

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("https_proxy", "http://127.0.0.1:1", 1);
	setenv("all_proxy", "http://127.0.0.1:1", 1);
	client = open_client((pe_http_config){.allow_insecure_loopback = true});
	IS_INT(get(client, url_of("/ok"), 0, &response), PE_OK, "proxies of the environment are ignored");
	pe_http_response_free(&response);
	pe_http_close(client);
	unsetenv("http_proxy");
	unsetenv("https_proxy");
	unsetenv("all_proxy");
}

/* Do all threads but this one have SIGTERM blocked? *others counts them. */
static bool
others_blocked(int *others)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	bool blocked = true;

	*others = 0;
	while (tasks != NULL && (entry = readdir(tasks)) != NULL)
	{
		char path[300];
		char line[200];
		unsigned long long mask = 0;
		FILE *file;

		if (entry->d_name[0] == '.' || atoi(entry->d_name) == (int) getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		file = fopen(path, "r");
		while (file != NULL && fgets(line, sizeof(line), file) != NULL)
			sscanf(line, "SigBlk: %llx", &mask);
		if (file == NULL)
			continue;
		fclose(file);
		(*others)++;
		blocked = blocked && (mask >> (SIGTERM - 1) & 1) && (mask >> (SIGUSR1 - 1) & 1) &&
		          (mask >> (SIGINT - 1) & 1);
	}
	if (tasks != NULL)
		closedir(tasks);
	return blocked;
}

static void
test_time(void)
{
	tick_state state = {0};
	pe_env ticking = env;
	pe_http_config config = {.allow_insecure_loopback = true, .total_timeout_ms = 300};
	pe_http *client;
	pe_http_response response;
	pe_http_request post = {.method = "POST", .url = url_of("/hang"), .body = "x", .body_length = 1};
	int64_t start = now_ms();
	sigset_t mask;
	int others;

	ticking.tick = stop_later;
	ticking.tick_ctx = &state;
	OK(pe_http_open(&ticking, &config, &client, &err) == PE_OK, "a client with a tick");
	IS_INT(pe_http_perform(client, &post, &response, &err), PE_UNREACHABLE, "no answer");
	OK(response.failure == PE_HTTP_TIMEOUT && response.body_sent, "is a timeout after the body was sent");
	OK(now_ms() - start >= 250 && now_ms() - start < 1000, "at the total limit");
	OK(state.calls >= 4, "the tick was called meanwhile");
	pe_http_response_free(&response);

	start = now_ms();
	state.stop_at_ms = start + 100;
	post.total_timeout_ms = 10000;
	IS_INT(pe_http_perform(client, &post, &response, &err), PE_CANCELLED, "the tick stops a wait");
	OK(now_ms() - start < 2000, "soon: within 200 ms on a quiet machine, ten times that on a busy one");
	IS_INT(response.failure, PE_HTTP_CANCELLED, "and the response says so");
	pe_http_response_free(&response);

	start = now_ms();
	state.stop_at_ms = start + 100;
	post.url = "https://slow.test/";
	IS_INT(pe_http_perform(client, &post, &response, &err), PE_CANCELLED, "the tick stops a look-up");
	OK(now_ms() - start < 300, "without waiting for it");
	OK(!response.body_sent, "nothing was sent");
	pe_http_response_free(&response);
	OK(others_blocked(&others) && others == 1, "the resolver's thread, still there, takes no signals");
	start = now_ms();
	pe_http_close(client);
	OK(now_ms() - start < 2000, "closing does not wait for it either");
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	OK(!sigismember(&mask, SIGTERM) && !sigismember(&mask, SIGUSR1), "signals are as they were");
}

typedef struct sink_state
{
	size_t bytes;
	size_t stop_at;
} sink_state;

static bool
count_bytes(void *ctx, const void *data, size_t length)
{
	sink_state *state = ctx;

	(void) data;
	state->bytes += length;
	return state->stop_at == 0 || state->bytes < state->stop_at;
}

static void
test_sink(pe_http *client)
{
	sink_state state = {0};
	pe_http_request request = {
	    .method = "GET", .url = url_of("/ok"), .sink = count_bytes, .sink_ctx = &state};
	pe_http_response response;

	IS_INT(pe_http_perform(client, &request, &response, &err), PE_OK, "a sink takes a body");
	OK(state.bytes == 5 && response.body == NULL && response.body_length == 5, "all of it");
	pe_http_response_free(&response);
	state = (sink_state){.stop_at = 1};
	request.url = url_of("/endless");
	IS_INT(pe_http_perform(client, &request, &response, &err), PE_IO, "a sink stops a body");
	IS_INT(response.failure, PE_HTTP_SINK, "which is told");
	pe_http_response_free(&response);
	state = (sink_state){0};
	request.url = url_of("/slow-down");
	IS_INT(pe_http_perform(client, &request, &response, &err), PE_OK, "an error's body");
	OK(state.bytes == 0 && response.body != NULL && strcmp(response.body, "{}") == 0,
	   "does not go to the sink");
	pe_http_response_free(&response);
}

/* Wait for the next completed exchange as a worker would. */
static bool
await(pe_http *client, pe_http_response *response)
{
	for (int64_t end = now_ms() + 5000; now_ms() < end;)
	{
		struct pollfd ready = {.fd = pe_http_fd(client), .events = POLLIN};
		int timeout = pe_http_timeout_ms(client);

		if (pe_http_next(client, response))
			return true;
		poll(&ready, 1, timeout < 0 || timeout > 1000 ? 1000 : timeout);
		if (pe_http_dispatch(client, &err) != PE_OK)
			return false;
	}
	return false;
}

static void
test_async(pe_http *client)
{
	static const char *const paths[] = {"/ok",    "/echo",    "/reset",     "/redirect",
	                                    "/empty", "/garbage", "/slow-down", "/ok"};
	const int count = 8;
	int owners[8];
	bool seen[8] = {false};
	pe_http_exchange *hanging;
	pe_http_request hang = {.method = "GET", .url = url_of("/hang"), .owner = &hanging};
	pe_http_response response;

	for (int i = 0; i < count; i++)
	{
		pe_http_request request = {
		    .method = "POST", .url = url_of(paths[i]), .body = "abc", .body_length = 3, .owner = &owners[i]};

		OK(pe_http_start(client, &request, NULL, &err) == PE_OK, "start %s", paths[i]);
	}
	OK(pe_http_start(client, &hang, &hanging, &err) == PE_OK, "start one that hangs");
	IS_INT(pe_http_active(client), count + 1, "all are under way");
	for (int i = 0; i < count; i++)
	{
		int index;

		if (!await(client, &response))
			break;
		index = (int) ((int *) response.owner - owners);
		OK(index >= 0 && index < count && !seen[index], "one exchange is completed once");
		seen[index] = true;
		pe_http_response_free(&response);
	}
	for (int i = 0; i < count; i++)
		OK(seen[i], "%s came back", paths[i]);
	IS_INT(pe_http_active(client), 1, "the hanging one is left");
	/* a blocking call beside it, while another is completed and waits to be taken */
	{
		pe_http_request other = {.method = "GET", .url = url_of("/ok"), .owner = &owners[0]};
		pe_http_response blocking;

		OK(pe_http_start(client, &other, NULL, &err) == PE_OK, "start one more");
		IS_INT(get(client, url_of("/ok"), 0, &blocking), PE_OK, "a blocking call beside it");
		pe_http_response_free(&blocking);
		OK(await(client, &response) && response.owner == &owners[0] && response.status == 200,
		   "each gets its own");
		pe_http_response_free(&response);
	}
	pe_http_cancel(client, hanging);
	IS_INT(pe_http_active(client), 0, "cancelled");
	OK(!pe_http_next(client, &response), "and it gives no response");
}

static int
open_files(void)
{
	DIR *list = opendir("/proc/self/fd");
	int count = 0;

	while (list != NULL && readdir(list) != NULL)
		count++;
	if (list != NULL)
		closedir(list);
	return count;
}

/* Two clients of one pool: a third request waits for its turn, whoever has the two. */
static void
test_pool(void)
{
	int before = open_files();
	pe_http_pool *pool = NULL;
	pe_http *one, *other;
	pe_http_exchange *hanging[2];
	pe_http_request hang = {.method = "GET", .url = url_of("/hang"), .total_timeout_ms = -1};
	pe_http_request quick = {.method = "GET", .url = url_of("/ok"), .total_timeout_ms = 2000};
	pe_http_response response;

	OK(pe_http_pool_open(&env, 2, &pool, &err) == PE_OK, "a pool of two requests");
	one = open_client((pe_http_config){.allow_insecure_loopback = true, .pool = pool});
	other = open_client((pe_http_config){.allow_insecure_loopback = true, .pool = pool});
	IS_INT(open_files(), before + 1, "has one descriptor as long as nothing is asked for");
	for (int i = 0; i < 2; i++)
		OK(pe_http_start(one, &hang, &hanging[i], &err) == PE_OK, "start one that hangs");
	OK(pe_http_start(other, &quick, NULL, &err) == PE_OK, "start a third, of the other client");
	for (int64_t end = now_ms() + 300; now_ms() < end;)
	{
		struct pollfd ready = {.fd = pe_http_pool_fd(pool), .events = POLLIN};

		poll(&ready, 1, 20);
		OK(pe_http_pool_dispatch(pool, &err) == PE_OK, "moving on");
	}
	OK(pe_http_active(one) == 2 && pe_http_active(other) == 1, "which waits");
	clock_ahead += 3; /* more than its time limit */
	OK(pe_http_pool_dispatch(pool, &err) == PE_OK && !pe_http_next(other, &response), "however long");
	pe_http_cancel(one, hanging[0]);
	OK(await(other, &response) && response.failure == PE_HTTP_DONE && response.status == 200,
	   "until one of them ends");
	pe_http_response_free(&response);
	pe_http_close(one);
	IS_INT(get(other, url_of("/ok"), 0, &response), PE_OK, "the other client is as good as before");
	pe_http_response_free(&response);
	OK(open_files() > before + 1, "a connection is kept");
	OK(pe_http_pool_timeout_ms(pool) > 0, "for some time");
	clock_ahead += 31;
	IS_INT(pe_http_pool_timeout_ms(pool), 0, "which is over");
	OK(pe_http_pool_dispatch(pool, &err) == PE_OK && open_files() == before + 1,
	   "and closed when nothing happens");
	IS_INT(pe_http_pool_timeout_ms(pool), -1, "nothing more to wait for");
	IS_INT(get(other, url_of("/ok"), 0, &response), PE_OK, "a new one is made");
	pe_http_response_free(&response);
	pe_http_close(other);
	pe_http_pool_close(pool);
	IS_INT(open_files(), before, "all descriptors are closed");
}

/* What one client has connected to, the other need not. */
static void
test_shared_connection(void)
{
	pe_http_pool *pool = NULL;
	pe_http *clients[2];
	int connections = loopback->connections;
	pe_http_response response;

	OK(pe_http_pool_open(&env, 4, &pool, &err) == PE_OK, "a pool");
	for (int i = 0; i < 2; i++)
	{
		clients[i] = open_client((pe_http_config){.allow_insecure_loopback = true, .pool = pool});
		IS_INT(get(clients[i], url_of("/ok"), 0, &response), PE_OK, "a request");
		pe_http_response_free(&response);
	}
	IS_INT(loopback->connections, connections + 1, "by the same connection");
	for (int i = 0; i < 2; i++)
		pe_http_close(clients[i]);
	pe_http_pool_close(pool);
}

/* Whether one connection serves all is seen by the first; when that one fails, all others go on at once. */
static void
test_first_of_origin(void)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(name);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int accepted[6];
	int count = 0;
	pe_http *client = open_client((pe_http_config){.allow_insecure_loopback = true});
	pe_http_exchange *exchanges[6];
	char url[64];
	pe_http_request request = {.method = "GET", .url = url};

	OK(bind(listener, (struct sockaddr *) &name, length) == 0 && listen(listener, 16) == 0 &&
	       getsockname(listener, (struct sockaddr *) &name, &length) == 0,
	   "a port that says nothing");
	snprintf(url, sizeof(url), "https://127.0.0.1:%d/", ntohs(name.sin_port));
	for (int i = 0; i < 6; i++)
		OK(pe_http_start(client, &request, &exchanges[i], &err) == PE_OK, "start");
	for (int64_t end = now_ms() + 4000; now_ms() < end && count < 6;)
	{
		struct pollfd ready = {.fd = pe_http_fd(client), .events = POLLIN};

		poll(&ready, 1, 20);
		OK(pe_http_dispatch(client, &err) == PE_OK, "moving on");
		if ((accepted[count] = accept(listener, NULL, NULL)) < 0)
			continue;
		if (count++ == 0)
		{
			IS_INT(pe_http_active(client), 6, "one connects");
			OK(accept(listener, NULL, NULL) < 0, "while five wait");
			pe_http_cancel(client, exchanges[0]);
		}
	}
	IS_INT(count, 6, "all others try by themselves once it has failed");
	pe_http_close(client);
	for (int i = 0; i < count; i++)
		close(accepted[i]);
	close(listener);
}

static struct rlimit all_files;

/* Lets the process have so many descriptors more than now. */
static void
limit_files(int more)
{
	int next = open("/dev/null", O_RDONLY);
	struct rlimit few = {.rlim_cur = (rlim_t) (next + more), .rlim_max = all_files.rlim_max};

	close(next);
	OK(next >= 0 && setrlimit(RLIMIT_NOFILE, &few) == 0, "room for %d descriptors", more);
}

static void
expect_exhausted(pe_http *client, const char *url, int room, const char *what)
{
	pe_http_response response;

	limit_files(room);
	IS_INT(get(client, url, 0, &response), PE_EXHAUSTED, "%s", what);
	IS_INT(response.failure, PE_HTTP_EXHAUSTED, "which passes");
	OK(strstr(response.reason, "descriptor") != NULL, "as it says: %s", response.reason);
	pe_http_response_free(&response);
	setrlimit(RLIMIT_NOFILE, &all_files);
}

/* What fails for want of descriptors is neither the other side's fault nor a wrong setting. */
static void
test_out_of_files(void)
{
	char https[64];
	pe_http *client = open_client(
	    (pe_http_config){.allow_insecure_loopback = true, .ca_file = "/etc/ssl/certs/ca-certificates.crt"});
	pe_http *unreadable =
	    open_client((pe_http_config){.allow_insecure_loopback = true, .ca_file = "/nowhere/at/all.pem"});
	pe_http *never = NULL;
	pe_http_config config = {0};
	pe_http_response response;

	getrlimit(RLIMIT_NOFILE, &all_files);
	snprintf(https, sizeof(https), "https://127.0.0.1:%d/", loopback_port);
	expect_exhausted(client, url_of("/ok"), 0, "not even libcurl's own descriptors");
	IS_INT(get(client, url_of("/ok"), 0, &response), PE_OK, "and then as if nothing had been");
	pe_http_response_free(&response);
	expect_exhausted(client, https, 0, "no socket");
	expect_exhausted(client, https, 1, "no authorities' file");
	IS_INT(get(unreadable, https, 0, &response), PE_CONFIGURATION, "but a file that is not there");
	IS_INT(response.failure, PE_HTTP_SETTING, "stays so");
	pe_http_response_free(&response);
	limit_files(0);
	IS_INT(pe_http_open(&env, &config, &never, &err), PE_EXHAUSTED, "no client");
	setrlimit(RLIMIT_NOFILE, &all_files);
	pe_http_close(client);
	pe_http_close(unreadable);
}

static void
test_failing_allocator(void)
{
	static const char *const paths[] = {"/ok", "/redirect", "/gzip"};

	for (size_t p = 0; p < sizeof(paths) / sizeof(paths[0]); p++)
	{
		bool done = false;
		bool clean = true;
		int steps = 0;

		for (long fail_at = 1; !done && fail_at < 200; fail_at++, steps++)
		{
			tap_memory failing = {.fail_at = fail_at};
			pe_env failing_env = tap_env(&failing);
			pe_http_config config = {.allow_insecure_loopback = true,
			                         .ca_file = "/etc/ssl/certs/ca-certificates.crt"};
			pe_http_header header = {"X-A", "b"};
			pe_http_request request = {.method = "POST",
			                           .url = url_of(paths[p]),
			                           .headers = &header,
			                           .header_count = 1,
			                           .body = "abc",
			                           .body_length = 3};
			pe_http *client = NULL;
			pe_http_response response;
			pe_status status = pe_http_open(&failing_env, &config, &client, &err);

			if (status == PE_OK)
			{
				status = pe_http_perform(client, &request, &response, &err);
				pe_http_response_free(&response);
				pe_http_close(client);
			}
			done = status == PE_OK;
			clean = clean && failing.live == 0 && (done || status == PE_OUT_OF_MEMORY);
		}
		OK(done && clean, "%s: out of memory at each of %d steps", paths[p], steps);
	}
}

static pe_address_kind
kind_of(const char *text)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	if (inet_pton(AF_INET, text, &in4.sin_addr) == 1)
		return pe_address_classify((struct sockaddr *) &in4, sizeof(in4));
	if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
		return pe_address_classify((struct sockaddr *) &in6, sizeof(in6));
	return (pe_address_kind) -1;
}

static void
test_addresses(void)
{
	static const struct
	{
		const char *text;
		pe_address_kind kind;
	} cases[] = {
	    {"8.8.8.8", PE_ADDRESS_PUBLIC},
	    {"172.15.255.255", PE_ADDRESS_PUBLIC},
	    {"172.32.0.0", PE_ADDRESS_PUBLIC},
	    {"100.63.255.255", PE_ADDRESS_PUBLIC},
	    {"100.128.0.0", PE_ADDRESS_PUBLIC},
	    {"223.255.255.255", PE_ADDRESS_PUBLIC},
	    {"10.0.0.0", PE_ADDRESS_PRIVATE},
	    {"10.255.255.255", PE_ADDRESS_PRIVATE},
	    {"172.16.0.1", PE_ADDRESS_PRIVATE},
	    {"172.31.255.255", PE_ADDRESS_PRIVATE},
	    {"192.168.1.1", PE_ADDRESS_PRIVATE},
	    {"169.254.169.254", PE_ADDRESS_PRIVATE},
	    {"100.64.0.1", PE_ADDRESS_PRIVATE},
	    {"198.19.0.1", PE_ADDRESS_PRIVATE},
	    {"127.0.0.1", PE_ADDRESS_LOOPBACK},
	    {"127.255.255.255", PE_ADDRESS_LOOPBACK},
	    {"0.0.0.0", PE_ADDRESS_UNUSABLE},
	    {"0.1.2.3", PE_ADDRESS_UNUSABLE},
	    {"224.0.0.1", PE_ADDRESS_UNUSABLE},
	    {"255.255.255.255", PE_ADDRESS_UNUSABLE},
	    {"192.0.2.1", PE_ADDRESS_UNUSABLE},
	    {"2a00:1450:4001::1", PE_ADDRESS_PUBLIC},
	    {"2606:4700::1111", PE_ADDRESS_PUBLIC},
	    {"::1", PE_ADDRESS_LOOPBACK},
	    {"::", PE_ADDRESS_UNUSABLE},
	    {"::ffff:127.0.0.1", PE_ADDRESS_LOOPBACK},
	    {"::ffff:10.0.0.1", PE_ADDRESS_PRIVATE},
	    {"::ffff:8.8.8.8", PE_ADDRESS_PUBLIC},
	    {"::10.0.0.1", PE_ADDRESS_PRIVATE},
	    {"64:ff9b::192.168.0.1", PE_ADDRESS_PRIVATE},
	    {"64:ff9b::8.8.8.8", PE_ADDRESS_PUBLIC},
	    {"64:ff9b:1::8.8.8.8", PE_ADDRESS_PRIVATE},
	    {"2002:0a00:0001::1", PE_ADDRESS_PRIVATE},
	    {"2002:7f00:0001::", PE_ADDRESS_LOOPBACK},
	    {"2002:0808:0808::1", PE_ADDRESS_PUBLIC},
	    {"fc00::1", PE_ADDRESS_PRIVATE},
	    {"fdff::1", PE_ADDRESS_PRIVATE},
	    {"fe80::1", PE_ADDRESS_PRIVATE},
	    {"febf::1", PE_ADDRESS_PRIVATE},
	    {"fec0::1", PE_ADDRESS_PRIVATE},
	    {"ff02::1", PE_ADDRESS_UNUSABLE},
	    {"2001::1", PE_ADDRESS_UNUSABLE},
	    {"2001:db8::1", PE_ADDRESS_UNUSABLE},
	    {"3fff::1", PE_ADDRESS_UNUSABLE},
	    {"100::1", PE_ADDRESS_UNUSABLE},
	    {"4000::1", PE_ADDRESS_UNUSABLE},
	};
	struct sockaddr unix_address = {.sa_family = AF_UNIX};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		IS_INT(kind_of(cases[i].text), cases[i].kind, "kind of %s", cases[i].text);
		IS_INT(pe_address_classify_text(cases[i].text), cases[i].kind, "kind of its digits");
	}
	IS_INT(pe_address_classify(&unix_address, sizeof(unix_address)), PE_ADDRESS_UNUSABLE,
	       "not an IP address");
}

static void
test_retry_after(void)
{
	static const struct
	{
		const char *text;
		int seconds;
	} cases[] = {
	    {"", 0},
	    {"0", 1},
	    {"5", 5},
	    {"3600", 3600},
	    {"99999", 3600},
	    {"99999999999999999999999", 3600},
	    {"-1", 0},
	    {"soon", 0},
	    {"1.5", 0},
	    {"Thu, 01 Jan 1970 00:01:40 GMT", 90}, /* against 10 s after the epoch */
	    {"Thu, 01 Jan 1970 00:00:01 GMT", 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		pe_http_response response = {.status = 429};

		snprintf(response.retry_after, sizeof(response.retry_after), "%s", cases[i].text);
		IS_INT(pe_http_retry_after(&response, 10), cases[i].seconds, "Retry-After: %s", cases[i].text);
	}
}

static void
test_check_url(void)
{
	pe_http_config strict = {0};
	pe_http_config loose = {.allow_insecure_loopback = true};
	static const char *const good[] = {"https://platform.adobe.io", "https://platform.adobe.io/",
	                                   "https://a.b:8443/gateway"};
	static const char *const bad[] = {"",
	                                  "platform.adobe.io",
	                                  "http://platform.adobe.io",
	                                  "https://",
	                                  "https://u@h",
	                                  "https://u:p@h",
	                                  "https://h/?a=b",
	                                  "https://h/#f",
	                                  "https://h h",
	                                  "ftp://h",
	                                  "file:///x",
	                                  "https://h\n.x"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		OK(pe_http_check_url(&strict, "platform_url", good[i], &err) == PE_OK, "%s is fine", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		IS_INT(pe_http_check_url(&strict, "platform_url", bad[i], &err), PE_CONFIGURATION, "bad URL %zu", i);
	OK(pe_http_check_url(&loose, "platform_url", "http://127.0.0.1:1", &err) == PE_OK,
	   "http where it is allowed");
}

int
main(void)
{
	pe_http *client;

	loopback_start();
	env = tap_env(&memory);
	client = open_client((pe_http_config){.allow_insecure_loopback = true});
	test_good_replies(client);
	test_bad_replies(client);
	test_sink(client);
	test_async(client);
	pe_http_close(client);
	test_unreachable();
	test_environment();
	test_time();
	test_pool();
	test_shared_connection();
	test_first_of_origin();
	test_out_of_files();
	test_failing_allocator();
	test_addresses();
	test_retry_after();
	test_check_url();
	pe_http_close(NULL);
	IS_INT(memory.live, 0, "nothing leaked");
	loopback_stop();
	return tap_done();
}
