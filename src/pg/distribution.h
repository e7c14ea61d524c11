/*
 * distribution.h
 *		How the numbers of a refresh are spread: a sample of its profiles, their numeric
 *		attributes in bins, and how far one such spread is from another.
 */
#ifndef PE_DISTRIBUTION_H
#define PE_DISTRIBUTION_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "pg/enrichment.h"

typedef struct PeSample PeSample;

/*
 * The bins of one attribute. Each of the ascending edges is a bin of its own, and so is
 * what lies before, between and after them: a value that many profiles share is told
 * apart from its neighbours, and what leaves the former range is seen. With n edges
 * there are 2 n + 1 counts. missing: profiles without the attribute.
 */
typedef struct PeDistribution
{
	const char *attribute;
	int nedges;
	double *edges;
	int64 *counts;
	int64 missing;
} PeDistribution;

/* NULL when the enrichment has no numeric attribute. In the current context. */
extern PeSample *pe_sample_open(const PeEnrichment *e);

/*
 * Offers a profile's value. Those with the smallest hash of the key stay, at most 10,000:
 * the same profiles each time, in whatever order they come.
 */
extern void pe_sample_offer(PeSample *sample, Datum key, Datum value);

/* How many attributes a sample has numbers of, and which. */
extern int pe_sample_attributes(const PeSample *sample);
extern const char *pe_sample_attribute(const PeSample *sample, int i);

/*
 * The sample's i-th attribute in bins: those of like, or, where that is NULL, its own:
 * least, largest and deciles. Own ones of an attribute without any number have no edge.
 */
extern PeDistribution *pe_sample_distribution(const PeSample *sample, int i, const PeDistribution *like);

/*
 * The population stability index of two distributions in the same bins; each count gets
 * half a profile more, so that an empty bin weighs little instead of infinitely much.
 */
extern double pe_distribution_psi(const PeDistribution *before, const PeDistribution *after);

/* Profiles in it. */
extern int64 pe_distribution_size(const PeDistribution *distribution);

#endif /* PE_DISTRIBUTION_H */
