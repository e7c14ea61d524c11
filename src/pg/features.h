/*
 * features.h
 *		How SQL columns become the numbers and levels that a model knows, the same way
 *		in training, predicting and scoring.
 */
#ifndef PE_FEATURES_H
#define PE_FEATURES_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "fmgr.h"

/* What is made of a column. The names are those of the option features.treatment. */
typedef enum PeTreatment
{
	PE_TREAT_NUMBER = 1, /* "number" */
	PE_TREAT_BOOLEAN,    /* "boolean": 0 or 1 */
	PE_TREAT_CATEGORY,   /* "category": a level by the value's text */
	PE_TREAT_AGE,        /* "age": days from a date or time to the snapshot date */
	/* From here on of a part of a value. */
	PE_TREAT_KEY,         /* "keys": the number (or boolean) under one key of a jsonb object */
	PE_TREAT_KEY_TEXT,    /* "key_text": a level by the text under one */
	PE_TREAT_SEGMENT,     /* "segments": whether the profile is in a segment, 0 or 1 */
	PE_TREAT_SEGMENT_AGE, /* "segment_days": days from its qualification to the snapshot date */
	PE_TREAT_LIST,        /* "list": whether a list has an element, 0 or 1 */
	PE_TREAT_LENGTH       /* "length": how many elements a list has */
} PeTreatment;

#define PE_TREAT_LAST PE_TREAT_LENGTH

/* In the key of a segment that is listed by namespace, between the two. */
#define PE_SEGMENT_SEPARATOR '\x1f'

/* The column whose value, where there is one, is the day that a row describes. */
#define PE_SNAPSHOT_COLUMN "snapshot_date"

/*
 * One feature: which column it comes from and how. Travels inside the artifact as
 * the feature's source type, so that a model needs nothing beside it to predict.
 */
typedef struct PeFeature
{
	const char *name;
	PeTreatment treatment;
	const char *column;
	const char *key;  /* of a part: the key, segment or element; else NULL */
	bool by_snapshot; /* ages: measured to the row's snapshot date, not to reference */
	double reference; /* ages otherwise: days since 2000-01-01, fixed at training */
} PeFeature;

extern char *pe_feature_encode(const PeFeature *feature);
/* Raises when text is none that pe_feature_encode made. name is not set. */
extern PeFeature pe_feature_decode(const char *text);

extern const char *pe_treatment_name(PeTreatment treatment);
extern PeTreatment pe_treatment_from_name(const char *name); /* 0: unknown */

/* How a value of an SQL type is read; resolved once for each column. */
typedef enum PeInputKind
{
	PE_INPUT_INT2 = 1,
	PE_INPUT_INT4,
	PE_INPUT_INT8,
	PE_INPUT_FLOAT4,
	PE_INPUT_FLOAT8,
	PE_INPUT_NUMERIC,
	PE_INPUT_BOOL,
	PE_INPUT_DATE,
	PE_INPUT_TIMESTAMP, /* with or without time zone; without counts as UTC */
	PE_INPUT_TEXT,      /* the bytes of a text or varchar */
	PE_INPUT_OUTPUT,    /* the text that the type's output function makes */
	PE_INPUT_JSONB,
	PE_INPUT_ARRAY /* of texts */
} PeInputKind;

typedef struct PeInput
{
	PeInputKind kind;
	FmgrInfo output; /* of PE_INPUT_OUTPUT, in the context current at pe_input_init */
} PeInput;

/* The treatment that a column of this type gets by itself; 0: none, it is left out. */
extern PeTreatment pe_treatment_of_type(Oid type);
/* How to read a column of this type for that treatment; false when it cannot be done. */
extern bool pe_input_init(PeInput *input, Oid type, PeTreatment treatment);

/* A number, boolean as 0 or 1, date or time as days since 2000-01-01 (infinite: NaN). */
extern double pe_input_number(const PeInput *input, Datum value);
/* The text of any value; palloc'd or inside value, not terminated. */
extern const char *pe_input_text(const PeInput *input, Datum value, size_t *length);
/*
 * The same where a key is told by its text, row after row: integers are written into
 * buffer and nothing is allocated for them.
 */
#define PE_KEY_BUFFER 32
extern const char *pe_input_key(const PeInput *input, Datum value, char *buffer, size_t *length);
/* The same for a category: what a model tells apart of it, cut between two characters. */
extern const char *pe_input_level(const PeInput *input, Datum value, size_t *length);

/* Is the feature a category, told apart by texts? */
extern bool pe_feature_is_category(const PeFeature *feature);
/* Its text, as pe_input_level has it, of a value that is not NULL; NULL when missing. */
extern const char *pe_feature_level(const PeFeature *feature, const PeInput *input, Datum value,
                                    size_t *length);

/*
 * The number that a non-category feature has in a row, NaN when missing. snapshot:
 * the row's snapshot date in days, NaN where unknown.
 */
extern double pe_feature_number(const PeFeature *feature, const PeInput *input, Datum value, bool isnull,
                                double snapshot);

/* How a person reads a feature's number: "true", "412 days", "79.9". palloc'd. */
extern char *pe_feature_display(const PeFeature *feature, double number);

#endif /* PE_FEATURES_H */
