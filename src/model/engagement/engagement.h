/*
 * engagement.h
 *		Engagement: points for what a customer did, worth less the longer it is ago.
 *
 * An event is worth weight(type) * 0.5^(age / half_life), where age is counted to a
 * stated moment. Events later than that moment or a window or more before it are worth
 * nothing. Of one type on one day (UTC) at most daily_cap events count; of more than
 * that each counts in proportion, so that the order of rows does not matter.
 */
#ifndef PE_ENGAGEMENT_H
#define PE_ENGAGEMENT_H

#include "model/model.h"

#define PE_MAX_EVENT_TYPES    1000
#define PE_MAX_TIERS          20
#define PE_ENGAGEMENT_COLUMNS 4 /* key, time, type, count */

/* Times are in days. The texts belong to whoever made the rules; a model has its own. */
typedef struct pe_engagement_rules
{
	double half_life;    /* above 0 */
	double window;       /* 0: none */
	double daily_cap;    /* 0: none */
	double other_weight; /* of types that are not listed, and of events without one */
	int n_types;
	char **types;
	double *weights;
	int n_tiers; /* at least 1 */
	char **tiers;
	double *tier_above;                   /* the percentile above which the tier begins; rising from 0 */
	char *columns[PE_ENGAGEMENT_COLUMNS]; /* where events have what; "" where they do not */
} pe_engagement_rules;

/* Events of many customers, being added up. */
typedef struct pe_activity pe_activity;
extern const pe_engagement_rules *pe_activity_rules(const pe_activity *activity);

/*
 * as_of: days, by the same zero as the events' times. The rules and env must outlive
 * it. What does not fit into max_bytes is PE_LIMIT.
 */
extern pe_status pe_activity_create(const pe_env *env, const pe_engagement_rules *rules, double as_of,
                                    size_t max_bytes, pe_activity **activity, pe_error *err);
extern void pe_activity_free(pe_activity *activity); /* NULL is fine */

/* count events of a type at a time; type NULL: none. An event after as_of is not looked at. */
extern pe_status pe_activity_add(pe_activity *activity, const char *key, size_t key_length, const char *type,
                                 size_t type_length, double at, double count, pe_error *err);

/* Once, when all events are in. PE_OK or PE_CANCELLED. */
extern pe_status pe_activity_finish(pe_activity *activity, pe_error *err);
extern size_t pe_activity_bytes(const pe_activity *activity);
extern uint32_t pe_activity_customers(const pe_activity *activity);

typedef struct pe_customer_activity
{
	const char *key; /* not terminated */
	size_t key_length;
	double points;
	double events; /* within the window */
	double last;   /* time of the last event */
} pe_customer_activity;

/* In the order in which the keys first came. */
extern pe_customer_activity pe_activity_customer(const pe_activity *activity, uint32_t customer);

/*
 * A model of one feature, the points, whose distribution is that of the customers with
 * points above 0: a customer without any has score 0. PE_INVALID_DATA: nobody has.
 * activity must be finished; its rules become the model's. feature describes the points.
 */
extern pe_status pe_engagement_train(const pe_env *env, const pe_activity *activity,
                                     const pe_feature_spec *feature, pe_model **model, pe_error *err);

/* NULL unless the model is of PE_TASK_ENGAGEMENT. */
extern const pe_engagement_rules *pe_model_engagement(const pe_model *model);
/* The tier of points: 0 is the lowest. */
extern int pe_model_tier(const pe_model *model, double points);
/* The points that a share of the customers with points stays below. */
extern double pe_model_points_at(const pe_model *model, double share);

#endif /* PE_ENGAGEMENT_H */
