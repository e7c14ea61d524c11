/*
 * load_json.h
 *		XDM paths in the server's jsonb: the same meaning as in Parquet
 *		(snapshot/snapshot.h).
 */
#ifndef PE_LOAD_JSON_H
#define PE_LOAD_JSON_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "pg/load.h"
#include "snapshot/xdm_path.h"

/* Parsed in the current memory context. */
extern pe_xdm_path *load_json_path(const char *path);

/*
 * What path finds in object: false when nothing, or only null. Where it passes
 * lists, the smallest value.
 */
extern bool load_json_find(JsonbContainer *object, const pe_xdm_path *path, JsonbValue *found);

/* A JSON value as the column's type: raises through load_mismatch when it does not fit. */
extern Datum load_json_datum(LoadColumn *column, JsonbValue *value);

/* Which fields have columns of their own; for load_json_rest. */
typedef struct LoadTaken LoadTaken;
extern LoadTaken *load_json_taken(const LoadPlan *plan, pe_xdm_path *const *paths);

/* The object without the fields taken, nulls and empty objects; false when nothing is left. */
extern bool load_json_rest(JsonbContainer *object, const LoadTaken *taken, Datum *rest);

/* Is this the name of a map whose keys match without case? */
extern bool load_json_is_map(const char *name, size_t length);

/* The LOAD_SEEN flag of a value, as far as it adds to what was seen already. */
extern int load_json_seen(const JsonbValue *value, int already);

#endif /* PE_LOAD_JSON_H */
