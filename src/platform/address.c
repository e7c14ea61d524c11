/*
 * address.c
 *		Which kind of address a host name resolved to, from the special-purpose
 *		registries of IANA. Whatever is not known to be public is refused.
 */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "platform/address.h"

typedef struct range4
{
	uint32_t prefix;
	int bits;
	pe_address_kind kind;
} range4;

static const range4 ranges4[] = {
    {0x00000000, 8, PE_ADDRESS_UNUSABLE},  /* "this network"; connecting to it reaches the own machine */
    {0x0A000000, 8, PE_ADDRESS_PRIVATE},   /* 10/8 */
    {0x64400000, 10, PE_ADDRESS_PRIVATE},  /* 100.64/10, carrier NAT */
    {0x7F000000, 8, PE_ADDRESS_LOOPBACK},  /* 127/8 */
    {0xA9FE0000, 16, PE_ADDRESS_PRIVATE},  /* 169.254/16, link-local and cloud metadata */
    {0xAC100000, 12, PE_ADDRESS_PRIVATE},  /* 172.16/12 */
    {0xC0000000, 24, PE_ADDRESS_UNUSABLE}, /* 192.0.0/24, protocol assignments */
    {0xC0000200, 24, PE_ADDRESS_UNUSABLE}, /* 192.0.2/24, documentation */
    {0xC0586300, 24, PE_ADDRESS_UNUSABLE}, /* 192.88.99/24, 6to4 relays */
    {0xC0A80000, 16, PE_ADDRESS_PRIVATE},  /* 192.168/16 */
    {0xC6120000, 15, PE_ADDRESS_PRIVATE},  /* 198.18/15, benchmarks */
    {0xC6336400, 24, PE_ADDRESS_UNUSABLE}, /* 198.51.100/24, documentation */
    {0xCB007100, 24, PE_ADDRESS_UNUSABLE}, /* 203.0.113/24, documentation */
    {0xE0000000, 4, PE_ADDRESS_UNUSABLE},  /* 224/4, multicast */
    {0xF0000000, 4, PE_ADDRESS_UNUSABLE},  /* 240/4, reserved, and broadcast */
};

static pe_address_kind
classify4(const uint8_t *bytes)
{
	uint32_t address =
	    (uint32_t) bytes[0] << 24 | (uint32_t) bytes[1] << 16 | (uint32_t) bytes[2] << 8 | bytes[3];

	for (size_t i = 0; i < sizeof(ranges4) / sizeof(ranges4[0]); i++)
		if ((address ^ ranges4[i].prefix) >> (32 - ranges4[i].bits) == 0)
			return ranges4[i].kind;
	return PE_ADDRESS_PUBLIC;
}

static bool
has_prefix(const uint8_t *bytes, const uint8_t *prefix, int bits)
{
	int whole = bits / 8;

	if (memcmp(bytes, prefix, (size_t) whole) != 0)
		return false;
	return bits % 8 == 0 || (bytes[whole] ^ prefix[whole]) >> (8 - bits % 8) == 0;
}

static pe_address_kind
classify6(const uint8_t *bytes)
{
	static const uint8_t zero[16] = {0};
	static const uint8_t loopback[16] = {[15] = 1};
	static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
	static const uint8_t nat64[12] = {0x00, 0x64, 0xFF, 0x9B};
	static const uint8_t nat64_local[6] = {0x00, 0x64, 0xFF, 0x9B, 0x00, 0x01};
	static const uint8_t special[3] = {0x20, 0x01, 0x00}; /* 2001::/23: Teredo, ORCHID, benchmarks, ... */
	static const uint8_t documentation[4] = {0x20, 0x01, 0x0D, 0xB8};
	static const uint8_t documentation2[3] = {0x3F, 0xFF, 0x00};

	if (memcmp(bytes, loopback, 16) == 0)
		return PE_ADDRESS_LOOPBACK;
	if (memcmp(bytes, zero, 16) == 0)
		return PE_ADDRESS_UNUSABLE;
	if (memcmp(bytes, mapped, 12) == 0 || memcmp(bytes, zero, 12) == 0 || memcmp(bytes, nat64, 12) == 0)
		return classify4(bytes + 12);
	if (has_prefix(bytes, nat64_local, 48) || (bytes[0] & 0xFE) == 0xFC ||
	    (bytes[0] == 0xFE && bytes[1] >= 0x80))
		return PE_ADDRESS_PRIVATE; /* local NAT64, unique local, link-local and site-local */
	if (bytes[0] == 0x20 && bytes[1] == 0x02)
		return classify4(bytes + 2); /* 6to4 */
	if (has_prefix(bytes, special, 23) || has_prefix(bytes, documentation, 32) ||
	    has_prefix(bytes, documentation2, 20))
		return PE_ADDRESS_UNUSABLE;
	return (bytes[0] & 0xE0) == 0x20 ? PE_ADDRESS_PUBLIC : PE_ADDRESS_UNUSABLE;
}

pe_address_kind
pe_address_classify(const struct sockaddr *address, size_t length)
{
	if (address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in))
	{
		struct sockaddr_in in4;

		memcpy(&in4, address, sizeof(in4));
		return classify4((const uint8_t *) &in4.sin_addr.s_addr);
	}
	if (address->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6))
	{
		struct sockaddr_in6 in6;

		memcpy(&in6, address, sizeof(in6));
		return classify6(in6.sin6_addr.s6_addr);
	}
	return PE_ADDRESS_UNUSABLE;
}

pe_address_kind
pe_address_classify_text(const char *text)
{
	struct in_addr in4;
	struct in6_addr in6;

	if (inet_pton(AF_INET, text, &in4) == 1)
		return classify4((const uint8_t *) &in4.s_addr);
	if (inet_pton(AF_INET6, text, &in6) == 1)
		return classify6(in6.s6_addr);
	return PE_ADDRESS_UNUSABLE;
}
