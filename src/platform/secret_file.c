/*
 * secret_file.c
 *		Reading a client secret at the moment it is needed.
 */
#include "platform/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* A piece of the file's text. */
typedef struct span
{
	const char *start;
	size_t length;
} span;

/* The three values; start NULL while not seen. */
typedef struct secret_values
{
	span org_id;
	span hosts;
	span client_secret;
} secret_values;

bool
pe_secret_name_ok(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > 200 || name[0] == '.')
		return false;
	for (size_t i = 0; i < length; i++)
	{
		if (name[i] == '/' || (unsigned char) name[i] < 0x20 || name[i] == 0x7f)
			return false;
	}
	return true;
}

bool
pe_url_host(const char *url, char *host, size_t size)
{
	const char *start = strstr(url, "://");
	size_t length;

	if (start == NULL)
		return false;
	start += 3;
	if (*start == '[')
	{
		start++;
		length = strcspn(start, "]/");
		if (start[length] != ']')
			return false;
	}
	else
		length = strcspn(start, ":/?#");
	if (length == 0 || length >= size)
		return false;
	memcpy(host, start, length);
	host[length] = '\0';
	return true;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static span
trim(const char *start, size_t length)
{
	while (length > 0 && is_blank(start[0]))
	{
		start++;
		length--;
	}
	while (length > 0 && is_blank(start[length - 1]))
		length--;
	return (span){start, length};
}

static bool
span_is(span text, const char *word)
{
	return text.length == strlen(word) && memcmp(text.start, word, text.length) == 0;
}

/* An IPv6 address may be written with the brackets it has in a URL, or without. */
static span
unbracket(span host)
{
	if (host.length > 2 && host.start[0] == '[' && host.start[host.length - 1] == ']')
		return (span){host.start + 1, host.length - 2};
	return host;
}

static bool
hosts_contain(span hosts, const char *host)
{
	span wanted = unbracket((span){host, strlen(host)});
	size_t at = 0;

	while (at < hosts.length)
	{
		size_t end = at;
		span item;

		while (end < hosts.length && hosts.start[end] != ',')
			end++;
		item = unbracket(trim(hosts.start + at, end - at));
		if (item.length == wanted.length && strncasecmp(item.start, wanted.start, item.length) == 0)
			return true;
		at = end + 1;
	}
	return false;
}

/* One line. A value is never quoted in an error: a misplaced line may hold the secret. */
static pe_status
parse_line(const pe_secret_request *request, span line, int number, secret_values *values, pe_error *err)
{
	const char *equals;
	span name;
	span value;
	span *target;

	if (line.length == 0 || line.start[0] == '#')
		return PE_OK;
	equals = memchr(line.start, '=', line.length);
	if (equals == NULL)
		return pe_fail(err, PE_CONFIGURATION, "line %d of secret file \"%s\" has no \"=\"", number,
		               request->name);
	name = trim(line.start, (size_t) (equals - line.start));
	value = trim(equals + 1, (size_t) (line.start + line.length - equals - 1));
	if (span_is(name, "org_id"))
		target = &values->org_id;
	else if (span_is(name, "hosts"))
		target = &values->hosts;
	else if (span_is(name, "client_secret"))
		target = &values->client_secret;
	else
	{
		pe_fail(err, PE_CONFIGURATION, "line %d of secret file \"%s\" sets an unknown name", number,
		        request->name);
		pe_error_hint(err, "A secret file sets org_id, hosts and client_secret.");
		return PE_CONFIGURATION;
	}
	if (target->start != NULL)
		return pe_fail(err, PE_CONFIGURATION, "line %d of secret file \"%s\" repeats a name", number,
		               request->name);
	if (value.length == 0)
		return pe_fail(err, PE_CONFIGURATION, "line %d of secret file \"%s\" has no value", number,
		               request->name);
	*target = value;
	return PE_OK;
}

/* May this secret go where the request wants to send it? */
static pe_status
check_destination(const pe_secret_request *request, const secret_values *values, pe_error *err)
{
	if (request->org_id != NULL && !span_is(values->org_id, request->org_id))
	{
		pe_fail(err, PE_CONFIGURATION, "secret file \"%s\" is for another organisation than \"%s\"",
		        request->name, request->org_id);
		pe_error_hint(err, "The line org_id of the file must equal the server's option org_id.");
		return PE_CONFIGURATION;
	}
	for (int i = 0; i < request->host_count; i++)
	{
		if (!hosts_contain(values->hosts, request->hosts[i]))
		{
			pe_fail(err, PE_CONFIGURATION, "secret file \"%s\" does not allow host \"%s\"", request->name,
			        request->hosts[i]);
			pe_error_hint(err,
			              "The owner of the file lists the hosts that may receive the secret, or a token "
			              "made with it, in its line hosts.");
			return PE_CONFIGURATION;
		}
	}
	return PE_OK;
}

pe_status
pe_secret_parse(const pe_secret_request *request, const char *text, size_t length, char *buffer, size_t size,
                pe_error *err)
{
	secret_values values = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
	const char *missing = NULL;
	pe_status status;
	size_t at = 0;

	buffer[0] = '\0';
	if (memchr(text, '\0', length) != NULL)
		return pe_fail(err, PE_CONFIGURATION, "secret file \"%s\" is not text", request->name);
	for (int number = 1; at < length; number++)
	{
		size_t end = at;

		while (end < length && text[end] != '\n')
			end++;
		status = parse_line(request, trim(text + at, end - at), number, &values, err);
		if (status != PE_OK)
			return status;
		at = end + 1;
	}
	if (request->org_id != NULL && values.org_id.start == NULL)
		missing = "org_id";
	else if (values.hosts.start == NULL)
		missing = "hosts";
	else if (values.client_secret.start == NULL)
		missing = "client_secret";
	if (missing != NULL)
	{
		pe_fail(err, PE_CONFIGURATION, "secret file \"%s\" has no line %s", request->name, missing);
		pe_error_hint(err, "A secret file sets org_id, hosts and client_secret.");
		return PE_CONFIGURATION;
	}
	status = check_destination(request, &values, err);
	if (status != PE_OK)
		return status;
	if (values.client_secret.length >= size)
		return pe_fail(err, PE_CONFIGURATION, "the secret in secret file \"%s\" is longer than %zu bytes",
		               request->name, size - 1);
	memcpy(buffer, values.client_secret.start, values.client_secret.length);
	buffer[values.client_secret.length] = '\0';
	return PE_OK;
}

/* The directory decides who may put files into it, so it is held to the same rule. */
static pe_status
open_directory(const pe_secret_request *request, int *descriptor, pe_error *err)
{
	struct stat st;
	int fd = open(request->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return pe_fail(err, pe_status_of_errno(errno, PE_CONFIGURATION),
		               "directory of secret files cannot be opened: %s", strerror(errno));
	if (fstat(fd, &st) != 0 || (st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022) != 0)
	{
		close(fd);
		pe_fail(err, PE_CONFIGURATION, "directory of secret files is writable by others");
		pe_error_hint(err, "It must belong to the server's user or root, and be writable by its owner only.");
		return PE_CONFIGURATION;
	}
	*descriptor = fd;
	return PE_OK;
}

pe_status
pe_secret_directory_check(const char *directory, pe_error *err)
{
	pe_secret_request request = {.directory = directory};
	int fd = -1;
	pe_status status = open_directory(&request, &fd, err);

	if (status == PE_OK)
		close(fd);
	return status;
}

/* O_NONBLOCK: a FIFO put there must not hang us. */
static pe_status
open_secret(const pe_secret_request *request, int directory, int *descriptor, pe_error *err)
{
	struct stat st;
	int fd = openat(directory, request->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	const char *wrong = NULL;

	if (fd < 0)
	{
		if (errno == ELOOP)
			return pe_fail(err, PE_CONFIGURATION, "secret file \"%s\" is a symbolic link", request->name);
		return pe_fail(err, pe_status_of_errno(errno, PE_CONFIGURATION),
		               "secret file \"%s\" cannot be opened: %s", request->name, strerror(errno));
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		wrong = "is not a regular file";
	else if (st.st_uid != geteuid())
		wrong = "does not belong to the server's user";
	else if ((st.st_mode & 077) != 0)
		wrong = "has permissions for group or others";
	else if (st.st_nlink != 1)
		wrong = "has another hard link";
	else if (st.st_size > PE_SECRET_FILE_MAX)
		wrong = "is too large";
	if (wrong != NULL)
	{
		close(fd);
		pe_fail(err, PE_CONFIGURATION, "secret file \"%s\" %s", request->name, wrong);
		pe_error_hint(err, "It must be a small regular file of the server's user with mode 0600.");
		return PE_CONFIGURATION;
	}
	*descriptor = fd;
	return PE_OK;
}

pe_status
pe_secret_file_check(const char *directory, const char *name, pe_error *err)
{
	pe_secret_request request = {.directory = directory, .name = name};
	int folder = -1;
	int fd = -1;
	pe_status status;

	if (!pe_secret_name_ok(name))
		return pe_fail(err, PE_CONFIGURATION, "name of a secret file must be a bare file name");
	status = open_directory(&request, &folder, err);
	if (status != PE_OK)
		return status;
	status = open_secret(&request, folder, &fd, err);
	close(folder);
	if (status == PE_OK)
		close(fd);
	return status;
}

pe_status
pe_secret_file_read(const pe_secret_request *request, char *buffer, size_t size, pe_error *err)
{
	char text[PE_SECRET_FILE_MAX];
	size_t length = 0;
	int directory = -1;
	int fd = -1;
	pe_status status;

	buffer[0] = '\0';
	if (!pe_secret_name_ok(request->name))
		return pe_fail(err, PE_CONFIGURATION, "name of a secret file must be a bare file name");
	status = open_directory(request, &directory, err);
	if (status != PE_OK)
		return status;
	status = open_secret(request, directory, &fd, err);
	close(directory);
	if (status != PE_OK)
		return status;
	while (length < sizeof(text))
	{
		ssize_t got = read(fd, text + length, sizeof(text) - length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			status = pe_fail(err, PE_CONFIGURATION, "secret file \"%s\" cannot be read: %s", request->name,
			                 strerror(errno));
		if (got <= 0)
			break;
		length += (size_t) got;
	}
	close(fd);
	if (status == PE_OK)
		status = pe_secret_parse(request, text, length, buffer, size, err);
	explicit_bzero(text, sizeof(text));
	return status;
}
