/*
 * outage.c
 *		Writes down when the platform stops answering for an enrichment, and when it
 *		answers again: the state "outage" of enrichment_status, and a line of the log each.
 *
 * Whether it answers, the state machines know, and they say nothing as long as that is in
 * doubt; so an outage outlasts the worker that met it, and a few failures are none.
 */
#include "postgres.h"

#include "pg/batch_delivery.h"
#include "pg/outage.h"

/* What is over sooner is not worth telling anybody. */
#define LEAST_OUTAGE (5 * PE_SECOND)
/* Somebody's open transaction is looked at again after a while: it costs the worker a short wait. */
#define LOCKED_PERIOD (15 * PE_SECOND)

/*
 * A batch has calls of its own, to another host. Where nothing is streamed because of it
 * they are what counts, but for retries, which are streamed all the same.
 */
static pe_reach
reach_of(const PeWorker *worker, const PeQueue *queue, int64 now, int64 *since)
{
	pe_reach stream = pe_sender_reach(worker->sender, queue->id, now, since);

	if (stream == PE_REACH_OUTAGE || (queue->target->job_id == 0 && !pe_target_only_batches(queue->target)))
		return stream;
	return pe_batch_reach(queue, since);
}

static void
say(const PeTarget *target, const char *error)
{
	if (target->outage)
		ereport(LOG, (errmsg("profenrich: outage of server \"%s\": nothing can be sent for enrichment \"%s\"",
		                     target->server, target->name),
		              error != NULL ? errdetail_log("%s", error) : 0));
	else
		ereport(LOG, (errmsg("profenrich: server \"%s\" answers again for enrichment \"%s\"", target->server,
		                     target->name)));
}

static void
note(const PeWorker *worker, PeQueue *queue, int64 now)
{
	PeTarget *target = queue->target;
	int64 since;
	pe_reach reach = reach_of(worker, queue, now, &since);
	bool outage = reach == PE_REACH_OUTAGE;
	pe_written written;
	char *error;

	if (reach == PE_REACH_UNKNOWN || outage == target->outage || now < queue->note_outage_at)
		return;
	if (outage && now - since < LEAST_OUTAGE)
		return;
	written = pe_delivery_note_outage(target->enrichment_id, outage ? Max(now - since, 0) : -1, &error);
	if (written == PE_WRITTEN)
	{
		target->outage = outage;
		say(target, error);
	}
	else
		queue->note_outage_at = now + LOCKED_PERIOD;
}

void
pe_outage_look(PeWorker *worker, int64 now)
{
	ListCell *cell;

	/* What this system is short of is no outage of the platform's. */
	if (worker->short_until != 0)
		return;
	foreach (cell, worker->enrichments)
	{
		PeQueue *queue = lfirst(cell);

		if (pe_delivery_end != PE_DELIVERY_GOES_ON)
			return;
		if (queue->target != NULL && !queue->target->paused)
			note(worker, queue, now);
	}
}
