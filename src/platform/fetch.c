/*
 * fetch.c
 *		The bytes of parts, several parts at a time, wherever they are.
 *
 * Each part is asked for in ranges, one after the other. What arrives is passed on at once, so a
 * transfer that breaks is taken up at the byte it broke, in this call or in a later one.
 */
#include "platform/fetch.h"
#include "platform/http_internal.h"

#define RANGE_BYTES   (INT64_C(64) * 1024 * 1024)
#define FRUITLESS_MAX 5
#define BACKOFF_US    INT64_C(250000)

/* One part: where it stands. */
typedef struct transfer
{
	pe_fetch *fetch;
	pe_http_exchange *exchange; /* the range under way, or NULL */
	int64_t first;              /* where that began */
	int64_t total;              /* of the part; -1: not known yet */
	int64_t not_before_us;      /* the next try's time */
	int fruitless;              /* tries without progress, in a row */
	int token;                  /* which of our tokens the range was asked for with */
	bool refused;               /* that token's successor is being tried */
	bool finished;
} transfer;

typedef struct fetcher
{
	const pe_fetch_source *source;
	transfer *transfers;
	int count;
	int parallel;
	int finished;
	int under_way;
	int token; /* counts those we gave up */
	pe_error *err;
} fetcher;

/* The caller's sink is given each byte once: what arrives is always the next. */
static bool
pass_on(void *ctx, const void *data, size_t length)
{
	pe_fetch *fetch = ctx;

	if (!fetch->sink(fetch->ctx, fetch->done, data, length))
		return false;
	fetch->done += (int64_t) length;
	return true;
}

/* "bytes 0-99/1234": does it begin at first? Sets the total when it is given. */
static bool
read_content_range(const char *text, int64_t first, int64_t *total)
{
	long long from;
	long long to;
	long long size;
	int fields = sscanf(text, "bytes %lld-%lld/%lld", &from, &to, &size);

	if (fields < 2 || from != first || to < from)
		return false;
	if (fields == 3)
		*total = size;
	return true;
}

static pe_status
start_range(fetcher *all, transfer *one)
{
	const pe_part *part = one->fetch->part;
	pe_fetch_range range = {.part = part,
	                        .first = one->fetch->done,
	                        .last = one->fetch->done + RANGE_BYTES - 1,
	                        .max_body = (size_t) RANGE_BYTES,
	                        .sink = pass_on,
	                        .sink_ctx = one->fetch,
	                        .owner = one};
	pe_status status;

	one->first = range.first;
	if (one->total >= 0 && range.last >= one->total)
		range.last = one->total - 1;
	if (one->first == 0 && part->length < 0)
		range.max_body = 0; /* of unknown size: a server without ranges sends all of it */
	else if (one->first == 0 && part->length > RANGE_BYTES)
		range.max_body = (size_t) part->length;
	one->token = all->token;
	status = all->source->start(all->source->ctx, &range, &one->exchange, all->err);
	if (status == PE_OK)
		all->under_way++;
	return status;
}

static bool
worth_another(pe_http_failure failure, pe_status status)
{
	if (failure == PE_HTTP_DONE)
		return status == PE_UNREACHABLE; /* 429, 5xx */
	return failure == PE_HTTP_RESET || failure == PE_HTTP_TIMEOUT || failure == PE_HTTP_CONNECT ||
	       failure == PE_HTTP_RESOLVE || failure == PE_HTTP_TLS;
}

/* The part's length is known and reached. */
static pe_status
finish(fetcher *all, transfer *one)
{
	const pe_part *part = one->fetch->part;
	int64_t done = one->fetch->done;

	one->finished = true;
	all->finished++;
	if (done == one->total && (part->length < 0 || done == part->length))
		return PE_OK;
	one->fetch->done = 0;
	return pe_fail(all->err, PE_CORRUPT, "part %.100s has %lld bytes where %lld were announced", part->name,
	               (long long) done, (long long) (part->length >= 0 ? part->length : one->total));
}

/*
 * A range has come, whole or in part, or has not. A server that ignores ranges answers 200 with
 * everything: fine for the first try, unusable once bytes have been passed on.
 */
static pe_status
check_range(fetcher *all, transfer *one, const pe_http_response *response, bool *whole)
{
	pe_status status = all->source->verdict(all->source->ctx, response, all->err);
	char content_range[128];

	*whole = false;
	if (response->status == 206)
	{
		/* also after a transfer that broke: the header has come, and so have bytes */
		pe_http_response_header(response, "content-range", content_range, sizeof(content_range));
		if (!read_content_range(content_range, one->first, &one->total))
			return pe_fail(all->err, PE_BAD_REPLY, "another range of the part came than was asked for");
		if (status == PE_OK && one->total < 0)
			one->total = one->fetch->done; /* without a total: what came is all */
	}
	else if (response->status == 226 && status == PE_OK)
	{
		/* sftp: all that there is, from where we began */
		*whole = true;
		one->total = one->fetch->part->length >= 0 ? one->fetch->part->length : one->fetch->done;
	}
	else if (response->status == 200 && status == PE_OK)
	{
		*whole = true;
		if (one->first > 0)
			return pe_fail(all->err, PE_BAD_REPLY, "no ranges of the part can be had");
		one->total = one->fetch->part->length >= 0 ? one->fetch->part->length : one->fetch->done;
	}
	else if (response->status == 200)
		one->fetch->done = 0; /* broke in the middle, and cannot be taken up there */
	return status;
}

/* What to do after a try that failed: another one, later; or give up. */
static pe_status
after_failure(fetcher *all, transfer *one, const pe_http_response *response, pe_status status)
{
	if (all->source->renew != NULL && pe_token_refused(response) && !one->refused)
	{
		if (one->token == all->token) /* not yet given up by another part */
		{
			all->source->renew(all->source->ctx);
			all->token++;
		}
		one->refused = true;
		return PE_OK;
	}
	if (!worth_another(response->failure, status))
	{
		/* Is what has come of use to a later call? Not when the part is another one now. */
		if (status == PE_CORRUPT || status == PE_NOT_FOUND || status == PE_REFUSED)
			one->fetch->done = 0;
		return status;
	}
	if (one->fruitless > FRUITLESS_MAX)
		return status;
	one->not_before_us = pe_monotonic_us() + (BACKOFF_US << one->fruitless);
	return PE_OK;
}

static pe_status
take_response(fetcher *all, const pe_http_response *response)
{
	transfer *one = response->owner;
	pe_fetch *fetch = one->fetch;
	pe_status status;
	bool whole;

	one->exchange = NULL;
	all->under_way--;
	status = check_range(all, one, response, &whole);
	one->fruitless = fetch->done > one->first ? 0 : one->fruitless + 1;
	if (fetch->done > one->first)
		one->refused = false;
	if (status == PE_OK && !whole && one->fruitless > 0)
		status = pe_fail(all->err, PE_BAD_REPLY, "an empty range of a part came");
	if (status == PE_BAD_REPLY)
		fetch->done = 0;
	if (status != PE_OK)
		return after_failure(all, one, response, status);
	return whole || fetch->done >= one->total ? finish(all, one) : PE_OK;
}

static pe_status
start_ranges(fetcher *all)
{
	int64_t now = pe_monotonic_us();
	pe_status status = PE_OK;

	for (int i = 0; status == PE_OK && i < all->count && all->under_way < all->parallel; i++)
	{
		transfer *one = &all->transfers[i];

		if (!one->finished && one->exchange == NULL && one->not_before_us <= now)
			status = start_range(all, one);
	}
	return status;
}

static pe_status
take_responses(fetcher *all)
{
	pe_status status = PE_OK;
	pe_http_response response;

	while (status == PE_OK && all->source->take(all->source->ctx, &response))
	{
		status = take_response(all, &response);
		pe_http_response_free(&response);
	}
	return status;
}

/* Nothing may stay under way: its sink is the caller's. */
static void
abandon(fetcher *all)
{
	pe_http_response response;

	while (all->source->take(all->source->ctx, &response))
	{
		((transfer *) response.owner)->exchange = NULL;
		pe_http_response_free(&response);
	}
	for (int i = 0; i < all->count; i++)
	{
		if (all->transfers[i].exchange != NULL)
			all->source->cancel(all->source->ctx, all->transfers[i].exchange);
	}
}

pe_status
pe_fetch_parts(const pe_fetch_source *source, pe_fetch *items, int count, int parallel, pe_error *err)
{
	const pe_env *env = source->env;
	fetcher all = {.source = source, .count = count, .parallel = parallel > 0 ? parallel : 1, .err = err};
	pe_status status = PE_OK;

	all.transfers = pe_calloc(env, (size_t) count, sizeof(*all.transfers));
	if (all.transfers == NULL)
		return pe_fail_memory(err);
	for (int i = 0; i < count; i++)
	{
		transfer *one = &all.transfers[i];

		one->fetch = &items[i];
		one->total = items[i].part->length;
		if (one->total >= 0 && items[i].done > one->total)
			items[i].done = 0;
		if (items[i].done == one->total)
		{
			one->finished = true;
			all.finished++;
		}
	}
	while (status == PE_OK && all.finished < all.count)
	{
		status = start_ranges(&all);
		if (status == PE_OK)
			status = source->wait(source->ctx, err);
		if (status == PE_OK)
			status = take_responses(&all);
	}
	abandon(&all);
	pe_free(env, all.transfers);
	return status;
}
