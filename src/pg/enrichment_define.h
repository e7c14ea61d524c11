/*
 * enrichment_define.h
 *		Checking an enrichment's definition: its names, its options, and which
 *		attributes its source's columns become.
 */
#ifndef PE_ENRICHMENT_DEFINE_H
#define PE_ENRICHMENT_DEFINE_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "pg/enrichment.h"
#include "pg/source.h"

/* Attributes that every record carries beside those of the source. */
#define PE_KEY_ATTRIBUTE       "profileId"
#define PE_SCORED_AT_ATTRIBUTE "scoredAt"

/* Raises unless the platform takes name as the object that holds the attributes. */
extern void pe_enrichment_check_name(const char *name);

/* Raises unless code can be the code of an identity namespace; whether it is one, only the platform knows. */
extern void pe_enrichment_check_namespace(const char *code);

/* Fills e's options from options; raises for an unknown one or a wrong value. */
extern void pe_enrichment_parse_options(const Jsonb *options, PeEnrichment *e);

/*
 * Fills e's attributes from its source, identity column and options, described as
 * e's owner. declared is the object column -> type, or NULL. Makes e->source
 * schema-qualified when it is a relation's name. Raises for whatever cannot be sent.
 * Returns the source, for reading it as the owner.
 */
extern PeSource *pe_enrichment_resolve(PeEnrichment *e, const Jsonb *declared);

/*
 * The source for reading it, with a last column that says who consented when the
 * enrichment asks for it. As the owner (pe_enrichment_enter), as the source is read.
 */
extern PeSource *pe_enrichment_open_source(const PeEnrichment *e);

/*
 * For error_context_stack while a source is described or read, with the PeEnrichment as its argument: whoever
 * refreshes many at night learns which one it was.
 */
extern void pe_enrichment_error_context(void *enrichment);

/* Raises unless the current user owns the enrichment or is a member of its owner. */
extern void pe_enrichment_check_owner(const char *name, Oid owner);

/*
 * Makes the current user an enrichment's owner, for its source to be described or
 * read: what the source calls can change no settings of the session and make no
 * objects, and its names mean what they meant when it was given. Undo with
 * pe_enrichment_leave_owner; an error undoes it by itself.
 */
typedef struct PeOwnerSwitch
{
	Oid user;
	int context;
	int guc_level;
} PeOwnerSwitch;
extern PeOwnerSwitch pe_enrichment_enter(const PeEnrichment *e);
/* The same with the session's search_path. */
extern PeOwnerSwitch pe_enrichment_enter_owner(Oid owner);
extern void pe_enrichment_leave_owner(const PeOwnerSwitch *before);

#endif /* PE_ENRICHMENT_DEFINE_H */
