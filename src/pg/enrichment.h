/*
 * enrichment.h
 *		The definition of an enrichment, read from its row: which source goes to which
 *		attributes, under which identity.
 */
#ifndef PE_ENRICHMENT_H
#define PE_ENRICHMENT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/numeric.h"

#include "platform/delivery_mode.h"

/* One attribute: a column of the source, under its own name on the platform. */
typedef struct PeAttribute
{
	const char *name;  /* column and attribute name */
	Oid type;          /* the column's SQL type */
	const char *shape; /* the platform's type as text: integer, number, map<integer>, array<...> */
} PeAttribute;

/* When a change of a numeric attribute is worth sending; hysteresis.c decides by it. */
typedef struct PeSendRule
{
	const char *attribute;
	Numeric min_delta; /* NULL: none */
	int nbuckets;
	Numeric *buckets; /* ascending; a boundary belongs to the bucket above it */
} PeSendRule;

/* How far a refresh may move before it is held; gate.c measures. Infinity: not judged. */
typedef struct PeGateLimits
{
	bool on;
	double psi;      /* of each numeric attribute */
	double bucket;   /* share of the profiles that change their bucket */
	double lost;     /* share that left the source */
	double appeared; /* new ones, as a share of those there were */
} PeGateLimits;

typedef struct PeEnrichment
{
	int32 enrichment_id;
	const char *name;
	Oid owner;
	const char *server;
	const char *source;      /* schema-qualified when it is a relation's name */
	const char *search_path; /* what the names in source are looked up by; NULL: the session's */
	const char *identity_column;
	const char *namespace_code;
	int nattributes;
	PeAttribute *attributes; /* in the source's column order, the identity left out */
	bool paused;
	bool provisioned; /* has a row in enrichment_target */

	/*
	 * An attribute that the platform does not know, or knows with another type: a
	 * refresh must stop and ask for provision, since its records would be refused.
	 * NULL when all fit, or when nothing was provisioned.
	 */
	const char *unprovisioned;

	/* options */
	bool retract_absent; /* on_absent: "retract" (else "keep", the default) */
	double max_retract;  /* share of the profiles that one refresh may retract; default 0.05 */
	const char
	    *duplicate_column; /* on_duplicate: {"highest": column} or {"lowest": column}; NULL: an error */
	bool duplicate_highest;
	List *send_rules;  /* of PeSendRule *: min_delta and buckets, by attribute */
	Interval *max_age; /* a value older than this is replaced by whatever is new; NULL: never */
	PeGateLimits gate;
	pe_delivery_mode mode;
	const char *consent; /* boolean expression over the source: who may be sent; NULL: all */
} PeEnrichment;

/*
 * Reads an enrichment and its attributes, allocated in the current context. The
 * source is described (not run) as the enrichment's owner. With must_own, raises
 * unless the current user is the owner or a member of it. Raises: no such
 * enrichment; a source that is gone or whose columns can no longer be sent. SPI need
 * not be connected.
 */
extern PeEnrichment *pe_enrichment_load(const char *name, bool must_own);

#endif /* PE_ENRICHMENT_H */
