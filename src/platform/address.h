/*
 * address.h
 *		Which kind of address a host name resolved to.
 */
#ifndef PE_PLATFORM_ADDRESS_H
#define PE_PLATFORM_ADDRESS_H

#include <sys/socket.h>

#include "pe_base.h"

typedef enum pe_address_kind
{
	PE_ADDRESS_PUBLIC,
	PE_ADDRESS_PRIVATE, /* RFC 1918, carrier NAT, unique local, benchmark nets, link-local */
	PE_ADDRESS_LOOPBACK,
	PE_ADDRESS_UNUSABLE /* unspecified, multicast, broadcast, documentation, reserved, not IP */
} pe_address_kind;

/* IPv6 forms that carry an IPv4 address (mapped, compatible, NAT64, 6to4) count as that address. */
pe_address_kind pe_address_classify(const struct sockaddr *address, size_t length);

/* The same of an address in digits. */
pe_address_kind pe_address_classify_text(const char *text);

#endif /* PE_PLATFORM_ADDRESS_H */
