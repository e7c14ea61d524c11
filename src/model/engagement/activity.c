/*
 * activity.c
 *		Events added up by customer: two open-addressing hashes, of customers by key and of
 *		(customer, type, day), which the daily cap needs.
 */
#include "model/engagement/engagement.h"
#include "model/internal.h"

#define POLL_CELLS 65536

typedef struct customer
{
	uint64_t key; /* offset in the arena */
	uint32_t key_length;
	double points;
	double events;
	double last;
} customer;

/* One customer's events of one type on one day. */
typedef struct cell
{
	uint32_t customer;
	uint32_t type;
	int64_t day;
	double count;
	double worth; /* sum of count * 0.5^(age / half_life) */
	double weight;
} cell;

/* An array that grows, with a table of indexes + 1 into it; 0 is empty. */
typedef struct hashed
{
	void *items;
	uint32_t count;
	uint32_t capacity;
	uint32_t *table;
	uint32_t table_size; /* a power of two */
} hashed;

struct pe_activity
{
	const pe_env *env;
	const pe_engagement_rules *rules;
	double as_of;
	size_t bytes;
	size_t max_bytes;
	char *arena;
	size_t arena_used;
	size_t arena_size;
	hashed customers;
	hashed cells;
};

pe_status
pe_activity_create(const pe_env *env, const pe_engagement_rules *rules, double as_of, size_t max_bytes,
                   pe_activity **out, pe_error *err)
{
	pe_activity *activity = pe_calloc(env, 1, sizeof(*activity));

	*out = activity;
	if (activity == NULL)
		return pe_fail_memory(err);
	activity->env = env;
	activity->rules = rules;
	activity->as_of = as_of;
	activity->max_bytes = max_bytes;
	activity->bytes = sizeof(*activity);
	return PE_OK;
}

void
pe_activity_free(pe_activity *activity)
{
	if (activity == NULL)
		return;
	pe_free(activity->env, activity->arena);
	pe_free(activity->env, activity->customers.items);
	pe_free(activity->env, activity->customers.table);
	pe_free(activity->env, activity->cells.items);
	pe_free(activity->env, activity->cells.table);
	pe_free(activity->env, activity);
}

/* May so much more be taken? Old and new are there at once while something grows. */
static pe_status
take(pe_activity *activity, size_t more, pe_error *err)
{
	if (activity->bytes + more <= activity->max_bytes)
		return PE_OK;
	pe_fail(err, PE_LIMIT, "the events of %u customers do not fit into %zu MB", activity->customers.count,
	        activity->max_bytes >> 20);
	pe_error_hint(err, "Raise profenrich.training_memory, or give fewer days, or one row with a count for "
	                   "each customer, type "
	                   "and day.");
	return PE_LIMIT;
}

static uint64_t
customer_hash(const pe_activity *activity, const customer *c)
{
	return pe_hash_bytes(activity->arena + c->key, c->key_length, 0);
}

static uint64_t
cell_hash(uint32_t whose, uint32_t type, int64_t day)
{
	return pe_mix64(((uint64_t) whose << 32 | type) ^ pe_mix64((uint64_t) day));
}

/* Room for one more item and its place in the table. */
static pe_status
make_room(pe_activity *activity, hashed *h, size_t item_size, pe_error *err)
{
	pe_status status;

	if (h->count == h->capacity)
	{
		uint32_t capacity = h->capacity == 0 ? 256 : h->capacity * 2;
		void *items;

		if (capacity > UINT32_MAX / 4)
			return pe_fail(err, PE_LIMIT, "too many customers or days with events");
		if ((status = take(activity, capacity * item_size, err)) != PE_OK)
			return status;
		if ((items = pe_realloc(activity->env, h->items, capacity * item_size)) == NULL)
			return pe_fail_memory(err);
		activity->bytes += (capacity - h->capacity) * item_size;
		h->items = items;
		h->capacity = capacity;
	}
	if (h->table_size < (h->count + 1) * 2)
	{
		uint32_t size = h->table_size == 0 ? 1024 : h->table_size * 2;
		uint32_t *table;

		if ((status = take(activity, size * sizeof(*table), err)) != PE_OK)
			return status;
		if ((table = pe_calloc(activity->env, size, sizeof(*table))) == NULL)
			return pe_fail_memory(err);
		for (uint32_t i = 0; i < h->count; i++)
		{
			uint64_t hash;

			if (h == &activity->customers)
				hash = customer_hash(activity, (const customer *) h->items + i);
			else
			{
				const cell *c = (const cell *) h->items + i;

				hash = cell_hash(c->customer, c->type, c->day);
			}
			while (table[hash & (size - 1)] != 0)
				hash++;
			table[hash & (size - 1)] = i + 1;
		}
		pe_free(activity->env, h->table);
		activity->bytes += (size - h->table_size) * sizeof(*table);
		h->table = table;
		h->table_size = size;
	}
	return PE_OK;
}

static pe_status
keep_key(pe_activity *activity, const char *key, size_t length, pe_error *err)
{
	if (activity->arena_used + length > activity->arena_size)
	{
		size_t size = activity->arena_size * 2 + length + 4096;
		char *arena;
		pe_status status = take(activity, size, err);

		if (status != PE_OK)
			return status;
		if ((arena = pe_realloc(activity->env, activity->arena, size)) == NULL)
			return pe_fail_memory(err);
		activity->bytes += size - activity->arena_size;
		activity->arena = arena;
		activity->arena_size = size;
	}
	memcpy(activity->arena + activity->arena_used, key, length);
	activity->arena_used += length;
	return PE_OK;
}

static pe_status
find_customer(pe_activity *activity, const char *key, size_t length, uint32_t *found, pe_error *err)
{
	hashed *h = &activity->customers;
	uint64_t hash = pe_hash_bytes(key, length, 0);
	pe_status status = make_room(activity, h, sizeof(customer), err);
	uint64_t offset = activity->arena_used;

	if (status != PE_OK)
		return status;
	for (;; hash++)
	{
		uint32_t at = h->table[hash & (h->table_size - 1)];
		const customer *c = (const customer *) h->items + (at - 1);

		if (at == 0)
			break;
		if (c->key_length == length && memcmp(activity->arena + c->key, key, length) == 0)
		{
			*found = at - 1;
			return PE_OK;
		}
	}
	if (length > UINT32_MAX / 2)
		return pe_fail(err, PE_LIMIT, "a key is longer than 2 GB");
	if ((status = keep_key(activity, key, length, err)) != PE_OK)
		return status;
	*found = h->count++;
	((customer *) h->items)[*found] = (customer){offset, (uint32_t) length, 0, 0, -INFINITY};
	h->table[hash & (h->table_size - 1)] = h->count;
	return PE_OK;
}

static pe_status
find_cell(pe_activity *activity, uint32_t whose, uint32_t type, int64_t day, double weight, cell **found,
          pe_error *err)
{
	hashed *h = &activity->cells;
	uint64_t hash = cell_hash(whose, type, day);
	pe_status status = make_room(activity, h, sizeof(cell), err);

	if (status != PE_OK)
		return status;
	for (;; hash++)
	{
		uint32_t at = h->table[hash & (h->table_size - 1)];
		cell *c = (cell *) h->items + (at - 1);

		if (at == 0)
			break;
		if (c->customer == whose && c->type == type && c->day == day)
		{
			*found = c;
			return PE_OK;
		}
	}
	*found = (cell *) h->items + h->count++;
	**found = (cell){whose, type, day, 0, 0, weight};
	h->table[hash & (h->table_size - 1)] = h->count;
	return PE_OK;
}

/* The type's number and weight: listed ones by place, others by hash. */
static uint32_t
find_type(const pe_engagement_rules *rules, const char *type, size_t length, double *weight)
{
	for (int i = 0; type != NULL && i < rules->n_types; i++)
		if (strlen(rules->types[i]) == length && memcmp(rules->types[i], type, length) == 0)
		{
			*weight = rules->weights[i];
			return (uint32_t) i;
		}
	*weight = rules->other_weight;
	return UINT32_C(0x80000000) | (type != NULL ? (uint32_t) pe_hash_bytes(type, length, 0) : 0);
}

pe_status
pe_activity_add(pe_activity *activity, const char *key, size_t key_length, const char *type,
                size_t type_length, double at, double count, pe_error *err)
{
	const pe_engagement_rules *rules = activity->rules;
	double age = activity->as_of - at, weight, worth;
	uint32_t number = 0, type_number;
	customer *c;
	cell *day;
	pe_status status;

	if (!(age >= 0) || !(count > 0))
		return PE_OK;
	if ((status = find_customer(activity, key, key_length, &number, err)) != PE_OK)
		return status;
	c = (customer *) activity->customers.items + number;
	c->last = at > c->last ? at : c->last;
	if (rules->window > 0 && !(age < rules->window))
		return PE_OK;
	c->events += count;
	type_number = find_type(rules, type, type_length, &weight);
	if (weight == 0)
		return PE_OK;
	worth = count * exp2(-age / rules->half_life);
	if (!(rules->daily_cap > 0))
	{
		c->points += weight * worth;
		return PE_OK;
	}
	if ((status = find_cell(activity, number, type_number, (int64_t) floor(at), weight, &day, err)) != PE_OK)
		return status;
	day->count += count;
	day->worth += worth;
	return PE_OK;
}

pe_status
pe_activity_finish(pe_activity *activity, pe_error *err)
{
	double cap = activity->rules->daily_cap;

	for (uint32_t i = 0; i < activity->cells.count; i++)
	{
		const cell *day = (const cell *) activity->cells.items + i;
		double share = day->count > cap ? cap / day->count : 1;

		if (i % POLL_CELLS == 0 && pe_stopped(activity->env, "add up", i, activity->cells.count))
			return pe_fail(err, PE_CANCELLED, "adding up events was cancelled");
		((customer *) activity->customers.items)[day->customer].points += day->weight * day->worth * share;
	}
	activity->cells.count = 0;
	return PE_OK;
}

size_t
pe_activity_bytes(const pe_activity *activity)
{
	return activity->bytes;
}

uint32_t
pe_activity_customers(const pe_activity *activity)
{
	return activity->customers.count;
}

pe_customer_activity
pe_activity_customer(const pe_activity *activity, uint32_t number)
{
	const customer *c = (const customer *) activity->customers.items + number;

	return (pe_customer_activity){activity->arena + c->key, c->key_length, c->points, c->events, c->last};
}

const pe_engagement_rules *
pe_activity_rules(const pe_activity *activity)
{
	return activity->rules;
}
