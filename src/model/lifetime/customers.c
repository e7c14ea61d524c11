/*
 * customers.c
 *		The rows that a lifetime model is fitted to, checked as they come.
 */
#include "model/lifetime/customers.h"

#define FIRST_ROWS 1024

pe_status
pe_customers_create(const pe_env *env, pe_algorithm process, pe_customers **customers, pe_error *err)
{
	*customers = NULL;
	if (pe_process_of(process) == NULL)
		return pe_fail(err, PE_INTERNAL, "%s is no process of orders", pe_algorithm_name(process));
	*customers = pe_calloc(env, 1, sizeof(pe_customers));
	if (*customers == NULL)
		return pe_fail_memory(err);
	(*customers)->env = env;
	(*customers)->process = process;
	return PE_OK;
}

void
pe_customers_free(pe_customers *customers)
{
	if (customers == NULL)
		return;
	pe_free(customers->env, customers->rows);
	pe_free(customers->env, customers);
}

size_t
pe_customers_rows(const pe_customers *customers)
{
	return customers->n;
}

size_t
pe_customers_bytes(const pe_customers *customers)
{
	return sizeof(*customers) + customers->capacity * sizeof(pe_customer_row);
}

size_t
pe_lifetime_memory(size_t rows)
{
	/* Rows while they are moved to twice the room; then groups, their table, predictions. */
	return 64 * 1024 + rows * (3 * sizeof(pe_customer_row) + sizeof(pe_customer_group) + 16);
}

static pe_status
wrong(pe_customers *customers, pe_error *err, const char *column, const char *what, const char *hint)
{
	pe_fail(err, PE_INVALID_DATA, "row %llu: %s", (unsigned long long) customers->seen, what);
	pe_error_hint(err, "%s", hint);
	if (err != NULL)
	{
		err->row = (int64_t) customers->seen;
		snprintf(err->column, sizeof(err->column), "%s", column);
	}
	return PE_INVALID_DATA;
}

/* Times rounded to a few digits may be off by one in the last. */
#define ROUNDING 1e-6

static pe_status
check(pe_customers *customers, pe_customer *c, double spend, double weight, pe_error *err)
{
	bool renewals = customers->process == PE_ALGORITHM_SBG;
	bool discrete = renewals || customers->process == PE_ALGORITHM_BG_BB;
	const char *summary = "See rfm_summary(), which makes such rows from a log of orders.";

	if (!(weight >= 0) || isinf(weight))
		return wrong(customers, err, "weight", "the weight is NULL, negative or infinite",
		             "A weight is a number of at least 0.");
	if (!(c->frequency >= 0 && c->frequency <= PE_LARGEST_COUNT) || c->frequency != floor(c->frequency))
		return wrong(customers, err, "frequency", "the frequency is not a whole number of at least 0",
		             summary);
	if (renewals)
		c->recency = c->frequency;
	if (!(c->recency >= 0 && c->recency <= PE_LARGEST_COUNT))
		return wrong(customers, err, "recency", "the recency is NULL, negative or too large", summary);
	if (!(c->age >= 0 && c->age <= PE_LARGEST_COUNT))
		return wrong(customers, err, "age", "the age is NULL, negative or too large", summary);
	if (discrete && (c->recency != floor(c->recency) || c->age != floor(c->age)))
		return wrong(customers, err, "age", "recency and age must be whole numbers of opportunities",
		             summary);
	if (c->recency > c->age * (1 + ROUNDING))
		return wrong(customers, err, "recency",
		             renewals ? "more renewals than were due" : "the recency is larger than the age",
		             summary);
	if (!renewals && c->frequency == 0 && c->recency != 0)
		return wrong(customers, err, "recency", "a recency without a repeat order", summary);
	if (!renewals && c->frequency > 0 && c->recency == 0)
		return wrong(customers, err, "recency", "repeat orders, but a recency of 0", summary);
	if (discrete && c->recency < c->frequency)
		return wrong(customers, err, "recency", "more orders than opportunities", summary);
	if (spend < 0 || isinf(spend))
		return wrong(customers, err, "monetary_value", "the monetary value is negative or infinite", summary);
	if (discrete && !renewals && c->age > 10000)
		return wrong(customers, err, "age", "more than 10000 opportunities", "Count in longer periods.");
	*c = pe_customer_clean(customers->process, *c);
	return PE_OK;
}

pe_status
pe_customers_append(pe_customers *customers, const pe_customer *customer, double spend, double weight,
                    pe_error *err)
{
	pe_customer clean = *customer;
	pe_status status;

	customers->seen++;
	if ((status = check(customers, &clean, spend, weight, err)) != PE_OK)
		return status;
	if (weight == 0)
		return PE_OK;
	if (customers->n >= UINT32_MAX / 4)
		return pe_fail(err, PE_LIMIT, "more than %u customers", UINT32_MAX / 4);
	if (customers->n == customers->capacity)
	{
		size_t capacity = customers->capacity > 0 ? customers->capacity * 2 : FIRST_ROWS;
		pe_customer_row *rows = pe_realloc(customers->env, customers->rows, capacity * sizeof(*rows));

		if (rows == NULL)
			return pe_fail_memory(err);
		customers->rows = rows;
		customers->capacity = capacity;
	}
	customers->rows[customers->n++] = (pe_customer_row){clean, spend, weight};
	return PE_OK;
}

/* Open addressing over the groups; the first of a kind makes the group, so order is that of the rows. */
pe_status
pe_customers_group(const pe_env *env, const pe_customers *customers, pe_customer_group **groups, size_t *n,
                   pe_error *err)
{
	size_t size = 16, used = 0;
	uint32_t *table;

	while (size < customers->n * 2)
		size *= 2;
	*groups = pe_alloc(env, customers->n * sizeof(**groups));
	table = pe_calloc(env, size, sizeof(*table));
	if (*groups == NULL || table == NULL)
	{
		pe_free(env, *groups);
		pe_free(env, table);
		*groups = NULL;
		return pe_fail_memory(err);
	}
	for (size_t i = 0; i < customers->n; i++)
	{
		const pe_customer_row *row = &customers->rows[i];
		size_t at = pe_hash_bytes(&row->customer, sizeof(row->customer), 0) & (size - 1);

		while (table[at] > 0 &&
		       memcmp(&(*groups)[table[at] - 1].customer, &row->customer, sizeof(row->customer)) != 0)
			at = (at + 1) & (size - 1);
		if (table[at] == 0)
		{
			(*groups)[used] = (pe_customer_group){row->customer, 0};
			table[at] = (uint32_t) ++used;
		}
		(*groups)[table[at] - 1].weight += row->weight;
		if (i % 65536 == 0 && pe_stopped(env, "fit", 0, 0))
		{
			pe_free(env, *groups);
			pe_free(env, table);
			*groups = NULL;
			return pe_fail(err, PE_CANCELLED, "training was cancelled");
		}
	}
	pe_free(env, table);
	*n = used;
	return PE_OK;
}
