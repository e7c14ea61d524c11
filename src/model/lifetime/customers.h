/*
 * customers.h
 *		The rows that a lifetime model is fitted to, as this folder's files see them.
 */
#ifndef PE_MODEL_CUSTOMERS_H
#define PE_MODEL_CUSTOMERS_H

#include "model/lifetime/process.h"

typedef struct pe_customer_row
{
	pe_customer customer;
	double spend; /* NaN: unknown */
	double weight;
} pe_customer_row;

struct pe_customers
{
	const pe_env *env;
	pe_algorithm process;
	pe_customer_row *rows;
	size_t n;
	size_t capacity;
	uint64_t seen; /* rows given, those of weight 0 too */
};

/* Customers with the same numbers, as one: most are, where time is counted in days. */
typedef struct pe_customer_group
{
	pe_customer customer;
	double weight;
} pe_customer_group;

/* *groups is the caller's to free; in the order in which each was met first. */
extern pe_status pe_customers_group(const pe_env *env, const pe_customers *customers,
                                    pe_customer_group **groups, size_t *n, pe_error *err);

#endif /* PE_MODEL_CUSTOMERS_H */
