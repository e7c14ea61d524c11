/*
 * target.h
 *		The target column as a number: 0 and 1 for propensity, whatever its type, and the
 *		code of its text for affinity.
 */
#ifndef PE_TARGET_H
#define PE_TARGET_H

#include "postgres.h"

#include "model/model.h"
#include "pg/features.h"
#include "pg/source.h"

/* The code of a class's text; negative: it is none that is known. May ereport. */
typedef int32 (*pe_class_coder)(void *arg, const char *text, size_t length);

typedef struct PeTarget
{
	const char *column;
	pe_task task;
	PeInput input;
	pe_class_coder coder; /* of PE_TASK_AFFINITY; set by the caller */
	void *coder_arg;
	bool by_text;         /* positive, or the class, is recognised by its text */
	const char *positive; /* given, or the first positive text seen; NULL: none yet */
	const char *negative; /* the first other text seen; NULL: none yet */
	bool positive_given;
	bool many_negatives;   /* several other texts, which only a given positive allows */
	MemoryContext context; /* of the labels */
} PeTarget;

/* The task that a column of this type suggests; 0: none. */
extern pe_task pe_target_task(Oid type);

/* Are there more than two texts in the column's first 10,000 values? */
extern bool pe_target_has_classes(const PeSource *source, int column);

/* positive: the text that counts as 1, or NULL. Raises datatype mismatch. */
extern PeTarget pe_target_init(const char *column, Oid type, pe_task task, const char *positive);

/*
 * The number for a value that is not null; raises when it is none, naming column and row.
 * NaN for a class that the coder does not know.
 */
extern double pe_target_value(PeTarget *target, Datum value, uint64 row);

/* What the classes are called, once rows were read. */
extern const char *pe_target_positive_label(const PeTarget *target);
extern const char *pe_target_negative_label(const PeTarget *target);

#endif /* PE_TARGET_H */
