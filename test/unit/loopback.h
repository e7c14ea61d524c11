/*
 * loopback.h
 *		A small plain-HTTP server on the loopback address in a child process, which
 *		misbehaves as the path asks it to, and a look-up of names that tests invent.
 *
 * The child writes nothing and ends with the test, or when it is told to.
 */
#ifndef LOOPBACK_H
#define LOOPBACK_H

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

/* What the children of the server count, for the test to look at. */
typedef struct loopback_counts
{
	int connections;
	int requests;
	int tokens;
	int unauthorised; /* so many more calls are answered 401 */
	char last_head[4096];
	char last_body[4096];
} loopback_counts;

static loopback_counts *loopback;
static int loopback_port;
static pid_t loopback_pid;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result);

/* Interposed: names ending in .test are ours. */
int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

	if (real == NULL)
		*(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (node != NULL && strcmp(node, "slow.test") == 0)
	{
		struct timespec wait = {.tv_sec = 2};

		nanosleep(&wait, NULL);
		return EAI_NONAME;
	}
	if (node != NULL && strcmp(node, "nowhere.test") == 0)
		return EAI_NONAME;
	if (node != NULL && strcmp(node, "private.test") == 0)
		return real("10.1.2.3", service, hints, result);
	if (node != NULL && strcmp(node, "metadata.test") == 0)
		return real("169.254.169.254", service, hints, result);
	if (node != NULL && strcmp(node, "loop.test") == 0)
		return real("127.0.0.1", service, hints, result);
	return real(node, service, hints, result);
}

static void
loopback_say(int fd, const char *text, size_t length)
{
	while (length > 0)
	{
		ssize_t sent = send(fd, text, length, MSG_NOSIGNAL);

		if (sent <= 0)
			_exit(0);
		text += sent;
		length -= (size_t) sent;
	}
}

static void
loopback_reply(int fd, const char *status, const char *headers, const char *body, size_t length)
{
	char head[1024];

	snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, length, headers);
	loopback_say(fd, head, strlen(head));
	loopback_say(fd, body, length);
}

static void
loopback_json(int fd, const char *status, const char *body)
{
	loopback_reply(fd, status, "Content-Type: application/json\r\n", body, strlen(body));
}

static void
loopback_pause(int ms)
{
	struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	nanosleep(&wait, NULL);
}

static void
loopback_reset(int fd)
{
	struct linger hard = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	_exit(0);
}

/* Bytes first..last of a part whose byte i is i % 251. */
static void
loopback_part(int fd, const char *head, long total, long most, bool cut)
{
	const char *range = strcasestr(head, "\r\nRange: bytes=");
	long first = 0;
	long last = total - 1;
	char headers[200];
	char *bytes;

	if (range != NULL)
		sscanf(range + 15, "%ld-%ld", &first, &last);
	if (last >= total)
		last = total - 1;
	if (last - first + 1 > most)
		last = first + most - 1;
	bytes = malloc((size_t) (last - first + 1));
	for (long i = first; i <= last; i++)
		bytes[i - first] = (char) (i % 251);
	snprintf(headers, sizeof(headers),
	         "HTTP/1.1 206 Partial\r\nContent-Length: %ld\r\nContent-Range: bytes %ld-%ld/%ld\r\n\r\n",
	         last - first + 1, first, last, total);
	loopback_say(fd, headers, strlen(headers));
	loopback_say(fd, bytes, (size_t) (last - first + 1) / (cut ? 2 : 1));
	free(bytes);
	if (cut)
		loopback_reset(fd);
}

/* The scripted answers that are about HTTP itself; false: no such path. */
static bool
loopback_misbehave(int fd, const char *path, const char *head, const char *body, size_t length)
{
	char text[2048];

	if (strcmp(path, "/ok") == 0)
		loopback_reply(fd, "200 OK", "Content-Type: text/plain\r\nX-Request-Id: r-1\r\n", "hello", 5);
	else if (strcmp(path, "/echo") == 0)
	{
		snprintf(text, sizeof(text), "%zu:%.100s", length, body);
		loopback_reply(fd, "200 OK", "", text, strlen(text));
	}
	else if (strcmp(path, "/many-headers") == 0)
	{
		loopback_say(fd, "HTTP/1.1 200 OK\r\n", 17);
		for (int i = 0; i < 2000; i++)
		{
			snprintf(text, sizeof(text), "X-Padding-%d: 0123456789012345678901234567890123456789\r\n", i);
			loopback_say(fd, text, strlen(text));
		}
		loopback_say(fd, "Content-Length: 0\r\n\r\n", 21);
	}
	else if (strcmp(path, "/continues") == 0)
	{
		for (int i = 0; i < 5000; i++)
			loopback_say(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
		loopback_reply(fd, "200 OK", "", "late", 4);
	}
	else if (strcmp(path, "/endless") == 0)
	{
		loopback_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 47);
		memset(text, 'x', 1024);
		for (;;)
		{
			loopback_say(fd, "400\r\n", 5);
			loopback_say(fd, text, 1024);
			loopback_say(fd, "\r\n", 2);
		}
	}
	else if (strcmp(path, "/cut") == 0)
	{
		loopback_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789", 50);
		_exit(0);
	}
	else if (strcmp(path, "/reset") == 0)
		loopback_reset(fd);
	else if (strcmp(path, "/hang") == 0)
		loopback_pause(20000);
	else if (strcmp(path, "/redirect") == 0)
		loopback_reply(fd, "302 Found", "Location: http://127.0.0.1/elsewhere?secret=1\r\n", "", 0);
	else if (strcmp(path, "/garbage") == 0)
	{
		loopback_say(fd, "SSH-2.0-something\r\n", 19);
		_exit(0);
	}
	else if (strcmp(path, "/slow-down") == 0)
		loopback_reply(fd, "429 Too Many Requests", "Retry-After: 7\r\n", "{}", 2);
	else if (strcmp(path, "/gzip") == 0)
		loopback_reply(fd, "200 OK", "Content-Encoding: gzip\r\n", "\x1f\x8b not really", 13);
	else if (strcmp(path, "/empty") == 0)
		loopback_reply(fd, "204 No Content", "", "", 0);
	else
		return false;
	return true;
}

/* Enough of the platform to test a session with. */
static bool
loopback_platform(int fd, const char *path, const char *head)
{
	if (strcmp(path, "/ims/token/v3") == 0)
	{
		char body[200];

		snprintf(body, sizeof(body),
		         "{\"access_token\":\"t0ken-%d\",\"token_type\":\"bearer\",\"expires_in\":86399}",
		         __atomic_add_fetch(&loopback->tokens, 1, __ATOMIC_SEQ_CST));
		loopback_json(fd, "200 OK", body);
		return true;
	}
	if (strncmp(path, "/data/", 6) != 0)
		return false;
	if (__atomic_load_n(&loopback->unauthorised, __ATOMIC_SEQ_CST) > 0)
	{
		__atomic_sub_fetch(&loopback->unauthorised, 1, __ATOMIC_SEQ_CST);
		loopback_json(fd, "403 Forbidden",
		              "{\"error_code\":\"401013\",\"message\":\"Oauth token is not valid\"}");
	}
	else if (strncmp(path, "/data/part", 10) == 0)
		loopback_part(fd, head, 100000, strstr(path, "short") != NULL ? 30000 : 1000000,
		              strstr(path, "cut") != NULL &&
		                  __atomic_load_n(&loopback->requests, __ATOMIC_SEQ_CST) % 3 != 0);
	else if (strncmp(path, "/data/whole", 11) == 0)
		loopback_reply(fd, "200 OK", "", "0123456789", 10);
	else if (strncmp(path, "/data/missing", 13) == 0)
		loopback_json(fd, "404 Not Found",
		              "{\"title\":\"Resource not found\",\"status\":404,\"detail\":\"no such thing\"}");
	else
		loopback_json(fd, "200 OK", "{\"tenantId\":\"acme\"}");
	return true;
}

static void
loopback_connection(int fd)
{
	static char request[70000];
	size_t have = 0;

	__atomic_add_fetch(&loopback->connections, 1, __ATOMIC_SEQ_CST);
	for (;;)
	{
		char *end;
		char *path;
		char head[4096];
		size_t length = 0;
		size_t head_length;

		while ((end = memmem(request, have, "\r\n\r\n", 4)) == NULL)
		{
			ssize_t got =
			    have < sizeof(request) - 1 ? recv(fd, request + have, sizeof(request) - 1 - have, 0) : 0;

			if (got <= 0)
				_exit(0);
			have += (size_t) got;
		}
		head_length = (size_t) (end + 4 - request);
		snprintf(head, sizeof(head), "%.*s", (int) head_length, request);
		if (strncmp(head, "POST /early ", 12) == 0)
		{
			loopback_reply(fd, "413 Too Large", "Connection: close\r\n", "", 0);
			shutdown(fd, SHUT_WR);
			while (recv(fd, request, sizeof(request), 0) > 0)
				;
			_exit(0);
		}
		if (strncmp(head, "POST /drop ", 11) == 0)
			loopback_reset(fd);
		if (strcasestr(head, "content-length:") != NULL)
			length = strtoul(strcasestr(head, "content-length:") + 15, NULL, 10);
		memmove(request, request + head_length, have - head_length);
		have -= head_length;
		while (have < length && have < sizeof(request) - 1)
		{
			ssize_t got = recv(fd, request + have, sizeof(request) - 1 - have, 0);

			if (got <= 0)
				_exit(0);
			have += (size_t) got;
		}
		request[have < sizeof(request) ? have : sizeof(request) - 1] = '\0';
		__atomic_add_fetch(&loopback->requests, 1, __ATOMIC_SEQ_CST);
		snprintf(loopback->last_head, sizeof(loopback->last_head), "%s", head);
		snprintf(loopback->last_body, sizeof(loopback->last_body), "%.*s", (int) length, request);
		path = strchr(head, ' ');
		path = strndup(path + 1, strcspn(path + 1, " "));
		if (!loopback_misbehave(fd, path, head, request, length) && !loopback_platform(fd, path, head))
			loopback_reply(fd, "404 Not Found", "", "", 0);
		free(path);
		have = 0;
	}
}

static void
loopback_serve(int listener)
{
	signal(SIGCHLD, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
	{
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		if (fork() == 0)
		{
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(listener);
			alarm(60);
			loopback_connection(fd);
			_exit(0);
		}
		close(fd);
	}
}

/* Call before anything makes a thread. */
static void
loopback_start(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	loopback = mmap(NULL, sizeof(*loopback), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (listener < 0 || loopback == MAP_FAILED ||
	    bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(listener, 64) != 0 ||
	    getsockname(listener, (struct sockaddr *) &address, &length) != 0)
	{
		perror("loopback server");
		exit(1);
	}
	loopback_port = ntohs(address.sin_port);
	fflush(stdout);
	loopback_pid = fork();
	if (loopback_pid == 0)
		loopback_serve(listener);
	close(listener);
}

static void
loopback_stop(void)
{
	kill(loopback_pid, SIGKILL);
	waitpid(loopback_pid, NULL, 0);
}

static inline int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A tick that says stop from a moment on. */
typedef struct tick_state
{
	int64_t stop_at_ms;
	int calls;
} tick_state;

static inline int
stop_later(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	tick_state *state = ctx;

	(void) phase;
	(void) done;
	(void) total;
	state->calls++;
	return state->stop_at_ms > 0 && now_ms() >= state->stop_at_ms;
}

#endif /* LOOPBACK_H */
