/*
 * xml.h
 *		As much XML as the listings of object stores need: the next element of a name,
 *		and its text. No document is built; what is not looked for is passed over.
 */
#ifndef PE_PLATFORM_XML_H
#define PE_PLATFORM_XML_H

#include "platform/pool.h"

/* A piece of a document. */
typedef struct pe_xml
{
	const char *start;
	size_t length;
} pe_xml;

/*
 * The content of the first element called tag in rest, which then begins behind it. An
 * element inside of one of its own name is not told apart. False: there is none.
 */
bool pe_xml_next(pe_xml *rest, const char *tag, pe_xml *content);

/* Text with its entities resolved, in the pool; NULL when out of memory. Unknown entities stay as they are.
 */
char *pe_xml_text(pe_pool *pool, pe_xml content);

/* The text of the element called tag in whole, "" when there is none. */
char *pe_xml_member(pe_pool *pool, pe_xml whole, const char *tag);

#endif /* PE_PLATFORM_XML_H */
