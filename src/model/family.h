/*
 * family.h
 *		What a family of models does: a table of functions for each, chosen by the
 *		model's algorithm. What all models have (features, notes, calibration, score
 *		distribution) is in model.c and artifact.c and is no family's business.
 */
#ifndef PE_MODEL_FAMILY_H
#define PE_MODEL_FAMILY_H

#include "model/artifact_io.h"

/*
 * A function that is NULL stands for the usual: predict and outputs follow from the
 * margins by the link, there is nothing to write, read or release, no bytes. explains
 * says whether there are margins and contributions to them; where not, predict is there.
 */
typedef struct pe_family
{
	bool explains;
	/* margins[pe_model_margin_count] */
	void (*margins)(const pe_model *model, const double *values, double *margins);
	double (*predict)(const pe_model *model, const double *values);
	/* Models whose margins, the first one's less the second's if there is one, are the margin; how many. */
	int (*parts)(const pe_model *model, const pe_model *parts[2]);
	int (*output_count)(const pe_model *model);
	const char *(*output_name)(const pe_model *model, int output);
	void (*outputs)(const pe_model *model, const double *values, double *outputs);
	/* What is stored beside each feature's name, kind and levels; read after those. */
	void (*write_feature)(pe_writer *w, const pe_feature *feature);
	void (*read_feature)(pe_reader *r, pe_feature *feature);
	/* The family's section: features and notes of the model are written and read before it. */
	void (*write)(pe_writer *w, const pe_model *model);
	void (*read)(pe_reader *r, pe_model *model);
	void (*release)(pe_model *model); /* frees model->own and what else it made; also after a failed read */
	size_t (*bytes)(const pe_model *model);
} pe_family;

/* Never NULL for an algorithm that pe_check_task accepts. */
extern const pe_family *pe_family_of(pe_algorithm algorithm);

extern const pe_family pe_trees_family;
extern const pe_family pe_linear_family;
extern const pe_family pe_multinomial_family;

/* The linear family's table of coefficients and what the fit left. */
extern void pe_write_terms(pe_writer *w, const pe_model *model);
extern void pe_read_terms(pe_reader *r, pe_model *model);
extern const pe_family pe_lifetime_family;
extern const pe_family pe_segment_family;
extern const pe_family pe_engagement_family;
extern const pe_family pe_two_part_family;
extern const pe_family pe_uplift_family;

/* A model within a family's section: all that an artifact holds but the frame. */
extern void pe_write_model(pe_writer *w, const pe_model *model);
/* NULL once the reader is bad. The caller's to free. */
extern pe_model *pe_read_model(pe_reader *r, pe_algorithm wanted);
/* Make a trees model take the levels of the whole that it is a part of: the same features. */
extern pe_status pe_adopt_levels(pe_model *part, const pe_model *whole, pe_error *err);

#endif /* PE_MODEL_FAMILY_H */
