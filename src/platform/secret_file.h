/*
 * secret_file.h
 *		The file that holds a client secret, and says where the secret may go.
 *
 * Lines of "name = value"; blank lines and lines beginning with # are skipped:
 *
 *		org_id = 0123456789ABCDEF01234567@AdobeOrg
 *		hosts = ims-na1.adobelogin.com, platform.adobe.io, dcs.adobedc.net
 *		client_secret = ...
 *
 * All three are required. So whoever can set up a connection still cannot send the
 * secret, or a token made with it, to a host or for an organisation that the owner
 * of the file did not name.
 */
#ifndef PE_PLATFORM_SECRET_FILE_H
#define PE_PLATFORM_SECRET_FILE_H

#include "pe_base.h"

#define PE_SECRET_FILE_MAX 8192

/* What is asked for, and what the file must therefore name. */
typedef struct pe_secret_request
{
	const char *directory;    /* absolute; owned by us or root, writable by nobody else */
	const char *name;         /* a file in it: pe_secret_name_ok */
	const char *org_id;       /* NULL: no organisation's, and the file need not name one */
	const char *const *hosts; /* without port; all must be listed; compared without case */
	int host_count;
} pe_secret_request;

/* A bare file name: not empty, no slash, no leading dot, no control character, at most 200 bytes. */
bool pe_secret_name_ok(const char *name);

/* May secret files be read from this directory: is it there, and writable by its owner only? */
pe_status pe_secret_directory_check(const char *directory, pe_error *err);

/*
 * Reads the secret into buffer, NUL-terminated. The file must be a regular one with
 * no permission for group and others, owned by the effective user, no link. Errors
 * name the file and the line, never a value. Nothing is kept, and every copy made
 * on the way is overwritten. Allocates nothing.
 */
pe_status pe_secret_file_read(const pe_secret_request *request, char *buffer, size_t size, pe_error *err);

/* Is the file one that may hold a secret? For a private key, which others read by its path. */
pe_status pe_secret_file_check(const char *directory, const char *name, pe_error *err);

/* The part that needs no file: text is length bytes, and is left as it was. */
pe_status pe_secret_parse(const pe_secret_request *request, const char *text, size_t length, char *buffer,
                          size_t size, pe_error *err);

/* The host of an absolute URL, without brackets and port; false when there is none or it does not fit. */
bool pe_url_host(const char *url, char *host, size_t size);

#endif /* PE_PLATFORM_SECRET_FILE_H */
