/*
 * test_secret_file.c
 *		Which secret files are read, where a secret may go, and that no error shows one.
 */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/secret_file.h"
#include "tap.h"

#define SECRET "p8e-hush"

static const char *const hosts[] = {"ims.example.com", "127.0.0.1"};
static char directory[] = "/tmp/test_secret_file.XXXXXX";

static pe_secret_request
request_for(const char *name)
{
	pe_secret_request request = {
	    .directory = directory, .name = name, .org_id = "AB12@AdobeOrg", .hosts = hosts, .host_count = 2};

	return request;
}

static pe_status
parse(const char *text, char *secret, size_t size, pe_error *err)
{
	pe_secret_request request = request_for("aep");
	pe_status status = pe_secret_parse(&request, text, strlen(text), secret, size, err);

	if (strstr(err->message, "hush") != NULL || strstr(err->detail, "hush") != NULL ||
	    strstr(err->hint, "hush") != NULL)
		OK(false, "the error shows the secret: %s", err->message);
	return status;
}

#define GOOD_ORG   "org_id = AB12@AdobeOrg\n"
#define GOOD_HOSTS "hosts = 127.0.0.1, IMS.example.com\n"

static void
test_good(void)
{
	pe_error err = {0};
	char secret[64];

	IS_INT(parse(GOOD_ORG GOOD_HOSTS "client_secret = " SECRET "\n", secret, sizeof(secret), &err), PE_OK,
	       "three lines");
	IS_STR(secret, SECRET, "the secret");
	IS_INT(parse("# note\r\n\r\n\tclient_secret=" SECRET "=\r\n" GOOD_HOSTS GOOD_ORG, secret, sizeof(secret),
	             &err),
	       PE_OK, "comments, blanks, carriage returns, any order");
	IS_STR(secret, SECRET "=", "a value may hold =");
	IS_INT(parse(GOOD_ORG GOOD_HOSTS "client_secret = " SECRET, secret, sizeof(SECRET), &err), PE_OK,
	       "no last newline, a buffer that just fits");
}

static void
test_addresses(void)
{
	static const char *const literal[] = {"[::1]", "::1"};
	pe_secret_request request = {.name = "aep", .org_id = "AB12@AdobeOrg", .hosts = literal, .host_count = 2};
	static const char *const files[] = {GOOD_ORG "hosts = ::1\nclient_secret = x",
	                                    GOOD_ORG "hosts=[::1]\nclient_secret=x"};
	char secret[8];

	for (int i = 0; i < 2; i++)
	{
		pe_error err = {0};

		IS_INT(pe_secret_parse(&request, files[i], strlen(files[i]), secret, sizeof(secret), &err), PE_OK,
		       "an IPv6 address, brackets or not: %d", i);
	}
}

static void
test_wrong(void)
{
	static const struct
	{
		const char *text;
		const char *message;
	} cases[] = {
	    {"", "no line org_id"},
	    {GOOD_ORG, "no line hosts"},
	    {GOOD_ORG GOOD_HOSTS, "no line client_secret"},
	    {"hush", "line 1 of secret file \"aep\" has no \"=\""},
	    {GOOD_ORG "\nhush = hush", "line 3 of secret file \"aep\" sets an unknown name"},
	    {GOOD_ORG GOOD_ORG, "line 2 of secret file \"aep\" repeats a name"},
	    {GOOD_ORG GOOD_HOSTS "client_secret =", "line 3 of secret file \"aep\" has no value"},
	    {"org_id = CD@AdobeOrg\n" GOOD_HOSTS "client_secret = hush", "for another organisation"},
	    {"org_id = AB12@AdobeOrgX\n" GOOD_HOSTS "client_secret = hush", "for another organisation"},
	    {GOOD_ORG "hosts = ims.example.com\nclient_secret = hush", "does not allow host \"127.0.0.1\""},
	    {GOOD_ORG "hosts = ,127.0.0.1,\nclient_secret = hush", "does not allow host \"ims.example.com\""},
	    {GOOD_ORG "hosts = 127.0.0.1 ims.example.com\nclient_secret = hush", "does not allow host"},
	    {GOOD_ORG GOOD_HOSTS "client_secret = hushhushhushhushhushhushhushhush", "longer than 15 bytes"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		pe_error err = {0};
		char secret[16] = "before";

		IS_INT(parse(cases[i].text, secret, sizeof(secret), &err), PE_CONFIGURATION, "case %zu is refused",
		       i);
		OK(strstr(err.message, cases[i].message) != NULL, "case %zu: %s", i, err.message);
		IS_STR(secret, "", "case %zu leaves no secret", i);
	}
}

static void
put_file(const char *name, const char *text, mode_t mode)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "w");
	fputs(text, file);
	fclose(file);
	chmod(path, mode);
}

static void
expect_read(const char *name, pe_status status, const char *message)
{
	pe_secret_request request = request_for(name);
	pe_error err = {0};
	char secret[64];

	IS_INT(pe_secret_file_read(&request, secret, sizeof(secret), &err), status, "file \"%s\"", name);
	if (status == PE_OK)
		IS_STR(secret, SECRET, "its secret");
	else
		OK(strstr(err.message, message) != NULL && strstr(err.message, "hush") == NULL, "says: %s",
		   err.message);
}

static void
test_files(void)
{
	static const char good[] = GOOD_ORG GOOD_HOSTS "client_secret = " SECRET "\n";
	pe_error err = {0};
	char path[512], link_path[512], large[PE_SECRET_FILE_MAX + 2];

	put_file("good", good, 0600);
	expect_read("good", PE_OK, NULL);
	put_file("strict", good, 0400);
	expect_read("strict", PE_OK, NULL);
	put_file("group", good, 0640);
	expect_read("group", PE_CONFIGURATION, "permissions for group or others");
	expect_read("absent", PE_CONFIGURATION, "cannot be opened");
	expect_read("../good", PE_CONFIGURATION, "bare file name");
	snprintf(path, sizeof(path), "%s/good", directory);
	snprintf(link_path, sizeof(link_path), "%s/link", directory);
	OK(symlink(path, link_path) == 0, "made a symbolic link");
	expect_read("link", PE_CONFIGURATION, "symbolic link");
	snprintf(link_path, sizeof(link_path), "%s/hard", directory);
	OK(link(path, link_path) == 0, "made a hard link");
	expect_read("hard", PE_CONFIGURATION, "another hard link");
	unlink(link_path);
	snprintf(path, sizeof(path), "%s/pipe", directory);
	OK(mkfifo(path, 0600) == 0, "made a pipe");
	expect_read("pipe", PE_CONFIGURATION, "not a regular file");
	memset(large, '#', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	put_file("large", large, 0600);
	expect_read("large", PE_CONFIGURATION, "too large");
	chmod(directory, 0770);
	expect_read("good", PE_CONFIGURATION, "writable by others");
	IS_INT(pe_secret_directory_check(directory, &err), PE_CONFIGURATION, "the directory alone");
	chmod(directory, 0700);
	IS_INT(pe_secret_directory_check(directory, &err), PE_OK, "and corrected");
	IS_INT(pe_secret_directory_check("/nowhere/at/all", &err), PE_CONFIGURATION, "one that is not there");
	expect_read("good", PE_OK, NULL);
}

/* Without descriptors nothing is known of the file: it is no setting that is wrong. */
static void
test_out_of_files(void)
{
	static const char *const opened[] = {"directory", "file"};
	struct rlimit all;
	int next = open("/dev/null", O_RDONLY);

	OK(next >= 0 && getrlimit(RLIMIT_NOFILE, &all) == 0, "the limit of open files");
	close(next);
	for (int i = 0; i < 2; i++)
	{
		struct rlimit few = {.rlim_cur = (rlim_t) (next + i), .rlim_max = all.rlim_max};

		OK(setrlimit(RLIMIT_NOFILE, &few) == 0, "no room for the %s", opened[i]);
		expect_read("good", PE_EXHAUSTED, "Too many open files");
		setrlimit(RLIMIT_NOFILE, &all);
	}
	expect_read("good", PE_OK, NULL);
}

static void
test_names(void)
{
	char host[16];

	OK(pe_secret_name_ok("aep-prod.secret"), "a name");
	OK(!pe_secret_name_ok("") && !pe_secret_name_ok(".") && !pe_secret_name_ok("..") &&
	       !pe_secret_name_ok(".x"),
	   "not empty, not hidden");
	OK(!pe_secret_name_ok("a/b") && !pe_secret_name_ok("a\nb"), "no slash, no control character");
	OK(pe_url_host("https://a.example:8443/x", host, sizeof(host)), "a URL");
	IS_STR(host, "a.example", "its host");
	OK(pe_url_host("https://[::1]:8443", host, sizeof(host)), "an address in brackets");
	IS_STR(host, "::1", "its host");
	OK(!pe_url_host("a.example", host, sizeof(host)) && !pe_url_host("https:///x", host, sizeof(host)) &&
	       !pe_url_host("https://[::1", host, sizeof(host)) &&
	       !pe_url_host("https://far.too.long.example", host, sizeof(host)),
	   "no scheme, no host, open bracket, too long");
}

int
main(void)
{
	char command[64];

	if (mkdtemp(directory) == NULL)
		return 1;
	test_good();
	test_addresses();
	test_wrong();
	test_files();
	test_out_of_files();
	test_names();
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command) != 0 ? 1 : tap_done();
}
