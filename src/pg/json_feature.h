/*
 * json_feature.h
 *		What a model learns from maps, segment memberships and lists: the
 *jsonb columns of a snapshot, and arrays of text.
 */
#ifndef PE_JSON_FEATURE_H
#define PE_JSON_FEATURE_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "pg/features.h"

#define PE_JSON_MOST_FEATURES 41 /* of one column */

/* Is the treatment one of those that read a part of a value? */
extern bool pe_treatment_of_part(PeTreatment treatment);

/* The number of such a feature, NaN when missing. value is not toasted.
 * snapshot as in pe_feature_number. */
extern double pe_part_number(const PeFeature *feature, const PeInput *input, Datum value, double snapshot);
/* The text under a key, inside value; NULL when missing. */
extern const char *pe_part_text(const char *key, Datum value, size_t *length);

/* ---- json_look.c: which parts of a column become features ---- */

typedef struct PeJsonLook PeJsonLook;

/* wanted: PE_TREAT_KEY, PE_TREAT_SEGMENT, PE_TREAT_SEGMENT_AGE, PE_TREAT_LIST;
 * 0: what the first values look like. */
extern PeJsonLook *pe_json_look_create(MemoryContext context, const PeInput *input, PeTreatment wanted);
/* Looks at a value that is not NULL. Returns why the column cannot be used, or
 * NULL. */
extern const char *pe_json_look_at(PeJsonLook *look, Datum value);
/* The latest time of a qualification that was seen, in days; NaN. */
extern double pe_json_look_latest(const PeJsonLook *look);
/* The features of the column by what was seen, at most PE_JSON_MOST_FEATURES;
 * returns how many. */
extern int pe_json_look_features(const PeJsonLook *look, const char *column, PeFeature *features);

/* Calls one for each element of a list that is a text. Returns how many
 * elements there are; -1: it is no list. */
typedef void (*pe_list_element)(void *arg, const char *text, size_t length);
extern int pe_each_element(const PeInput *input, Datum value, pe_list_element one, void *arg);

/* A time in ISO 8601 as days since 2000-01-01 in UTC; NaN when it is none. */
extern double pe_iso_days(const char *text, size_t length);

/* Has the status of a membership ended? */
extern bool pe_is_exited(JsonbContainer *membership);

#endif /* PE_JSON_FEATURE_H */
