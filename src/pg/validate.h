/*
 * validate.h
 *		Is a day's snapshot like those before it? What the parts of that share:
 *		validate_options.c (what is asked), validate_checks.c (the checks),
 *		validate.c (the functions, and the gate that a load has to pass).
 */
#ifndef PE_VALIDATE_H
#define PE_VALIDATE_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "pg/column_sketch.h"
#include "pg/load.h"
#include "pg/snapshot_table.h"

typedef enum PeVerdictStatus
{
	PE_VERDICT_OK,
	PE_VERDICT_WARN,
	PE_VERDICT_FAIL
} PeVerdictStatus;

/* From which value on a check warns, and fails. */
typedef struct PeLimits
{
	double warn;
	double fail;
} PeLimits;

typedef struct PeValidateOptions
{
	int days;        /* previous days to compare with */
	int sample;      /* rows of each of them to look at */
	const char *key; /* column; NULL: by rule */
	PeLimits row_count;
	PeLimits null_share;
	PeLimits psi;
	PeLimits duplicate_keys;
	PeVerdictStatus lost_column;
	PeVerdictStatus new_column;
	PeVerdictStatus constant_column;
	PeVerdictStatus stale;
} PeValidateOptions;

typedef struct PeVerdict
{
	const char *check;
	const char *column; /* NULL: of the whole day */
	PeVerdictStatus status;
	double value;
	double threshold; /* the one that was passed, or the next; infinite: none */
	char *words;
} PeVerdict;

/* Changes what the object says; raises on names and values it does not know. */
extern void pe_validate_options_set(PeValidateOptions *options, const Jsonb *json);
extern PeValidateOptions pe_validate_defaults(void);

/*
 * PeVerdict *, the gravest first. today reads the rows of day, all columns but
 * snapshot_date; table has the days before it. SPI must be connected, and the active
 * snapshot see them all.
 */
extern List *pe_validate(const PeSnapshotTable *table, const char *today, DateADT day,
                         const PeValidateOptions *options);

extern const char *pe_verdict_status(PeVerdictStatus status);

/* ---- the gate (validate.c) ---- */

/*
 * Checks the rows that were loaded aside, where the table's owner has asked for it
 * (set_validation), and raises when they may not be published. What it found is kept
 * either way. aside is the qualified name of the table built aside. SPI must be connected.
 */
extern void pe_validation_gate(const LoadTarget *target, const char *aside, const LoadOrigin *origin);

/* ---- validation_record.c ---- */

/* Writes a row of snapshot_validation, given as a JSON object. SPI must be connected. */
extern void pe_validation_keep(const char *record);
/* The same in a transaction of its own, which this one's failure does not undo; false when that could not be.
 */
extern bool pe_validation_keep_apart(const char *record);

#endif /* PE_VALIDATE_H */
