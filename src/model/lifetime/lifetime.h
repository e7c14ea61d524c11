/*
 * lifetime.h
 *		How many more orders a customer will place, and what they will be worth:
 *		buy-till-you-die processes of counts, and the gamma-gamma model of spend.
 *
 * Time is in the unit of the data, whose length in days the fit carries along, so
 * that horizons given in days or months can be converted by whoever asks. Functions
 * of a const pe_lifetime are thread safe, allocate nothing, and return finite numbers
 * for every customer that pe_customer_clean returns.
 */
#ifndef PE_MODEL_LIFETIME_H
#define PE_MODEL_LIFETIME_H

#include "model/model.h"

#define PE_LIFETIME_PARAMETERS 4
#define PE_SPEND_PARAMETERS    3

/*
 * One customer. The first order begins the age and is not counted:
 * frequency: repeat orders, at most one a period; recency: from the first to the last
 * order; age: from the first order to the end of the observation. For bg_bb recency
 * and age are whole numbers of opportunities. For sbg frequency is the renewals made
 * and age the renewals that were due: a customer with fewer renewals has left.
 */
typedef struct pe_customer
{
	double frequency;
	double recency;
	double age;
} pe_customer;

typedef struct pe_lifetime
{
	pe_algorithm process;
	int n_parameters;
	double parameters[PE_LIFETIME_PARAMETERS];      /* as pe_lifetime_parameter_name */
	double standard_errors[PE_LIFETIME_PARAMETERS]; /* NaN where the data do not determine them */
	double log_likelihood;
	double customers; /* by weight */
	double rows;      /* that told something, without weights */
	bool identified;  /* false: the likelihood is flat in some direction */

	bool with_spend;
	double spend[PE_SPEND_PARAMETERS]; /* p, q, v */
	double spend_errors[PE_SPEND_PARAMETERS];
	double spend_log_likelihood;
	double spend_customers; /* repeat buyers with a spend above 0, by weight */
	double mean_spend;      /* of theirs */
	double correlation;     /* of frequency and spend among them; NaN: none */

	double unit_days;       /* how long the unit of time is */
	double horizon;         /* of predictions, in units */
	double discount_rate;   /* lost in each discount period, 0.01 for 1 % */
	double discount_period; /* in units */
} pe_lifetime;

extern int pe_lifetime_parameter_count(pe_algorithm process);
/* "r", "alpha", ...; static text, NULL out of range. */
extern const char *pe_lifetime_parameter_name(pe_algorithm process, int parameter);
extern const char *pe_spend_parameter_name(int parameter);

/* ---- the rows to learn from ----------------------------------------------------------- */

typedef struct pe_customers pe_customers;

extern pe_status pe_customers_create(const pe_env *env, pe_algorithm process, pe_customers **customers,
                                     pe_error *err);
extern void pe_customers_free(pe_customers *customers); /* NULL is fine */
/*
 * Append one customer, or weight of them that are alike. spend: mean of what the
 * repeat orders were worth, NaN when unknown. PE_INVALID_DATA, naming the row and
 * what is wrong with it, when the numbers cannot be a customer's.
 */
extern pe_status pe_customers_append(pe_customers *customers, const pe_customer *customer, double spend,
                                     double weight, pe_error *err);
extern size_t pe_customers_rows(const pe_customers *customers);
extern size_t pe_customers_bytes(const pe_customers *customers);
/* The most bytes that fitting so many rows holds at once. */
extern size_t pe_lifetime_memory(size_t rows);

/*
 * Fit by maximum likelihood; units, horizon and discount of *lifetime are the caller's
 * and stay. with_spend fits the gamma-gamma model, too. Ticks with the phase "fit".
 * A drop-out that the data do not determine is no error: see identified.
 */
extern pe_status pe_lifetime_fit(const pe_env *env, const pe_customers *customers, pe_algorithm process,
                                 bool with_spend, int threads, pe_lifetime *lifetime, pe_error *err);

/*
 * The same, as a model that predict, score and the artifact know: its features are
 * names[0..3] (frequency, recency, age, spend; recency NULL for sbg, spend NULL without
 * money) with the glue's source types, its prediction the discounted value over the
 * horizon, or without money the expected orders. Outputs: p_alive, expected_orders and
 * with money expected_spend, lifetime_value.
 */
typedef struct pe_lifetime_columns
{
	const char *names[4];
	const char *source_types[4];
} pe_lifetime_columns;

extern pe_status pe_lifetime_train(const pe_env *env, const pe_customers *customers, int threads,
                                   const pe_lifetime_columns *columns, const pe_lifetime *settings,
                                   pe_model **model, pe_error *err);
/* What such a model learnt; NULL for other models. */
extern const pe_lifetime *pe_model_lifetime(const pe_model *model);
/* The customer in a row of the model's values, and its spend. */
extern pe_customer pe_model_customer(const pe_model *model, const double *values, double *spend);

/* ---- what follows from a fit ---------------------------------------------------------- */

/*
 * Any numbers as a customer that could be: what is missing (NaN) counts as 0, a part of
 * an order as none, an age as at least the recency. A customer of whom nothing is known is a new one.
 */
extern pe_customer pe_customer_clean(pe_algorithm process, pe_customer customer);

/* The probability that the customer has not left; for bg_bb and sbg, that it will be there next time. */
extern double pe_lifetime_alive(const pe_lifetime *lifetime, const pe_customer *customer);
/* Orders of a new customer up to time t, and of a known one in the next t. 0 for t <= 0. */
extern double pe_lifetime_new_orders(const pe_lifetime *lifetime, double t);
extern double pe_lifetime_orders(const pe_lifetime *lifetime, const pe_customer *customer, double t);
/* The probability that a new customer places exactly n orders up to time t. */
extern double pe_lifetime_count_probability(const pe_lifetime *lifetime, double t, uint32_t n);
/* One customer's log-likelihood. */
extern double pe_lifetime_log_likelihood(const pe_lifetime *lifetime, const pe_customer *customer);
/*
 * What an order of this customer is worth on average, given its repeat orders so far
 * and their mean spend (NaN or 0: unknown). Where the fitted population has no mean (q <= 1)
 * a customer without repeat orders gets the mean that was observed.
 */
extern double pe_lifetime_spend(const pe_lifetime *lifetime, double frequency, double spend);
/*
 * Orders (with money: times expected spend) in the next t, those of the i-th discount
 * period counted as 1 / (1 + rate)^i: they come at its end, as it is usual.
 */
extern double pe_lifetime_worth(const pe_lifetime *lifetime, const pe_customer *customer, double spend,
                                double t, double discount_rate, double discount_period);
/* sbg: the share of customers still there after so many renewals, and that of renewal number n. */
extern double pe_lifetime_survival(const pe_lifetime *lifetime, double n);
extern double pe_lifetime_retention(const pe_lifetime *lifetime, double n);
/* sbg: renewals still to come of a customer with n of them; infinite when alpha <= 1. */
extern double pe_lifetime_tenure(const pe_lifetime *lifetime, double n);

/* ---- a forecast and what happened ---------------------------------------------------- */

typedef struct pe_agreement
{
	double forecast; /* sums */
	double actual;
	double mae; /* by customer */
	double rmse;
	double pearson;  /* correlation; NaN when one of both does not vary */
	double spearman; /* of ranks, ties with their mean rank */
	double gini;     /* normalised: of the order by forecast over that of the perfect one */
} pe_agreement;

/* n > 0 finite numbers each. Allocates about 40 bytes a customer while it runs. */
extern pe_status pe_compare_forecast(const pe_env *env, const double *forecast, const double *actual,
                                     size_t n, pe_agreement *agreement, pe_error *err);

#endif /* PE_MODEL_LIFETIME_H */
