/*
 * worker_steps.c
 *		What the worker does for each action of the state machine that concerns the
 *		tables: scan, load, commit, report. Sending and tokens are exchange.c's.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/batch_delivery.h"
#include "pg/exchange.h"
#include "pg/guc.h"

PeQueue *
pe_queue_of(PeWorker *worker, int32 id, bool make)
{
	ListCell *cell;
	PeQueue *enrichment;
	MemoryContext caller;

	foreach (cell, worker->enrichments)
	{
		enrichment = lfirst(cell);
		if (enrichment->id == id)
			return enrichment;
	}
	if (!make)
		return NULL;
	caller = MemoryContextSwitchTo(worker->context);
	enrichment = palloc0(sizeof(PeQueue));
	enrichment->id = id;
	worker->enrichments = lappend(worker->enrichments, enrichment);
	MemoryContextSwitchTo(caller);
	return enrichment;
}

static void
drop_load(PeQueue *enrichment, int shard)
{
	if (enrichment->loads[shard] != NULL)
		MemoryContextDelete(enrichment->loads[shard]->context);
	enrichment->loads[shard] = NULL;
}

/* Frees what belongs to enrichments that the scan did not find and that the sender has done with. */
static void
forget_enrichments(PeWorker *worker)
{
	ListCell *cell;

	foreach (cell, worker->enrichments)
	{
		PeQueue *enrichment = lfirst(cell);

		if (enrichment->target != NULL || pe_sender_knows(worker->sender, enrichment->id))
			continue;
		for (int i = 0; i < PE_SHARDS; i++)
			drop_load(enrichment, i);
		worker->enrichments = foreach_delete_current(worker->enrichments, cell);
		pfree(enrichment);
	}
	foreach (cell, worker->links)
	{
		PeLink *link = lfirst(cell);

		if (!link->seen)
			pe_link_retire(worker, link);
	}
}

void
pe_tell_block(PeQueue *queue, pe_block block, const char *reason)
{
	const char *name = queue->target != NULL ? queue->target->name : "";

	if (queue->told == block)
		return;
	queue->told = block;
	if (block == PE_BLOCK_NONE)
		ereport(LOG, (errmsg("profenrich: enrichment \"%s\" is no longer blocked", name)));
	else
		ereport(LOG, (errmsg("profenrich: enrichment \"%s\" is blocked: %s", name, pe_block_name(block)),
		              reason != NULL && reason[0] != '\0' ? errdetail_log("%s", reason) : 0));
}

/* What others have changed: resume() and adopt() end blocks; after resume() a batch's budget is asked for
 * anew, and in another mode. */
static void
meet_target(PeQueue *queue, PeTarget *target)
{
	queue->target = target;
	if (!queue->met)
	{
		queue->met = true;
		queue->told = target->blocked;
		queue->told_no_budget = target->no_budget;
		queue->mode = target->mode;
	}
	pe_tell_block(queue, target->blocked, target->blocked_reason);
	if (queue->mode != target->mode)
		queue->told_no_budget = false;
	if (queue->resumes != target->resumes || queue->mode != target->mode)
		queue->no_batch_before = 0;
	queue->resumes = target->resumes;
	queue->mode = target->mode;
}

static void
take_target(PeWorker *worker, PeTarget *target, int64 now, int64 *next_scan)
{
	PeQueue *enrichment = pe_queue_of(worker, target->enrichment_id, true);
	PeLink *link = pe_link_of(worker, target->server, target->owner);
	pe_sender_enrichment_info info = {
	    .id = target->enrichment_id,
	    .link = link->id,
	    /* What a batch carries must not be overtaken. */
	    .paused = target->paused || target->job_id != 0,
	    .hold_until = now + Max(Max(target->ready_in, target->held_for), 0),
	    .identity_matches = target->identity_matches,
	    .stored_block = target->blocked,
	    .stored_reason = target->blocked_reason,
	    .stored_probe_at = target->probe_in < 0 ? PE_NEVER : now + target->probe_in,
	    .resumes = target->resumes,
	};

	link->seen = true;
	meet_target(enrichment, target);
	if (pe_sender_server(worker->sender, link->server_id, &target->limits, now) != PE_OK ||
	    pe_sender_link(worker->sender, link->id, link->server_id) != PE_OK ||
	    pe_sender_enrichment(worker->sender, &info, now) != PE_OK)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	for (int i = 0; i < PE_SHARDS; i++)
	{
		/* Chunks whose time has come since are behind: they must not wait for the end of a backlog. */
		enrichment->from_start[i] = true;
		if (target->shards & (1 << i))
			pe_sender_has_work(worker->sender, target->enrichment_id, i);
	}
	if (target->next_retry_in >= 0 && now + target->next_retry_in < *next_scan)
		*next_scan = now + target->next_retry_in;
	if (target->held_for > 0 && now + target->held_for < *next_scan)
		*next_scan = now + target->held_for;
}

static void
do_scan(PeWorker *worker)
{
	MemoryContext context =
	    AllocSetContextCreate(worker->context, "profenrich targets", ALLOCSET_SMALL_SIZES);
	List *targets;
	ListCell *cell;
	int64 now = pe_worker_now();
	int64 next_scan = now + pe_poll_interval * PE_SECOND;

	if (!pe_delivery_scan(context, &targets))
	{
		MemoryContextDelete(context);
		pe_sender_scanned(worker->sender, false, now + PE_SECOND);
		return;
	}
	now = pe_worker_now();
	foreach (cell, worker->enrichments)
		((PeQueue *) lfirst(cell))->target = NULL;
	foreach (cell, worker->links)
	{
		((PeLink *) lfirst(cell))->seen = false;
		pe_link_refresh(worker, lfirst(cell));
	}
	pe_sender_scan_begin(worker->sender);
	foreach (cell, targets)
		take_target(worker, lfirst(cell), now, &next_scan);
	pe_sender_scanned(worker->sender, true, Max(next_scan, now + PE_SECOND / 10));
	if (worker->targets != NULL)
		MemoryContextDelete(worker->targets);
	worker->targets = context;
	forget_enrichments(worker);
	pe_batch_look(worker);
}

static void
do_load(PeWorker *worker, const pe_action *action)
{
	pe_slot *slot = action->slot;
	PeQueue *enrichment = pe_queue_of(worker, slot->enrichment, true);
	pe_key_past past[PE_CHUNK_KEYS] = {0};
	pe_work_kind kind = PE_WORK_CHUNK;
	PeLoad *load;
	bool chunks = enrichment->target != NULL && !pe_target_only_batches(enrichment->target) &&
	              !pe_batch_deciding(slot->enrichment);

	drop_load(enrichment, slot->shard);
	if (enrichment->from_start[slot->shard])
		enrichment->after_chunk[slot->shard] = 0;
	if (!pe_delivery_load(worker->context, slot, chunks, enrichment->after_chunk[slot->shard], &load, &kind,
	                      past))
	{
		pe_sender_load_failed(worker->sender, slot, pe_worker_now());
		return;
	}
	enrichment->from_start[slot->shard] = false;
	if (pe_sender_loaded(worker->sender, slot, pe_worker_now(), kind, load != NULL ? load->count : 0, past) ==
	    PE_OK)
		enrichment->loads[slot->shard] = load;
	else
		MemoryContextDelete(load->context);
}

static void
slot_written(PeWorker *worker, const PeSettled *settled, pe_slot *slot, pe_written written)
{
	PeQueue *enrichment = pe_queue_of(worker, slot->enrichment, true);
	const PeLoad *load = settled->load;
	bool kept = false;

	for (int i = 0; i < slot->key_count; i++)
		kept |= slot->keys[i].state == PE_KEY_KEPT;
	if (written == PE_WRITTEN)
	{
		if (slot->kind == PE_WORK_CHUNK)
			enrichment->after_chunk[slot->shard] =
			    kept ? load->chunks[0].chunk_id - 1 : load->chunks[load->chunk_count - 1].chunk_id;
		drop_load(enrichment, slot->shard);
	}
	pe_sender_committed(worker->sender, slot, pe_worker_now(), written);
}

/* The i-th by itself, unless one before it met a lock that is this one's, too. */
static pe_written
write_alone(const PeWorker *worker, const PeSettled *settled, const pe_written *written, int i)
{
	for (int before = 0; before < i; before++)
		if (settled[before].slot->enrichment == settled[i].slot->enrichment &&
		    written[before] == PE_WRITE_CONTENDED)
			return PE_WRITE_CONTENDED;
	return pe_delivery_acknowledge(&settled[i], 1, worker->epoch);
}

/*
 * All slots that wait for it in one transaction. When somebody else's lock is in the way
 * of one, each enrichment is tried by itself: only those that are locked wait.
 */
static void
do_commit(PeWorker *worker, const pe_action *action)
{
	PeSettled settled[PE_SHARDS];
	pe_slot *slots[PE_SHARDS];
	pe_written written[PE_SHARDS];
	pe_slot *next = action->slot;
	pe_written together;
	int count = 0;

	do
	{
		slots[count] = next;
		settled[count].slot = next;
		settled[count++].load = pe_queue_of(worker, next->enrichment, true)->loads[next->shard];
		next = count < PE_SHARDS ? pe_sender_also_commit(worker->sender, pe_worker_now()) : NULL;
	} while (next != NULL);
	together = pe_delivery_acknowledge(settled, count, worker->epoch);
	for (int i = 0; i < count; i++)
		written[i] =
		    count > 1 && together == PE_WRITE_CONTENDED ? write_alone(worker, settled, written, i) : together;
	for (int i = 0; i < count; i++)
		slot_written(worker, &settled[i], slots[i], written[i]);
}

static void
do_report(PeWorker *worker, const pe_action *action)
{
	PeQueue *enrichment = pe_queue_of(worker, action->enrichment, false);
	pe_written written = pe_delivery_report(action->enrichment, action->block, action->reason,
	                                        action->probe_in, action->resumes);

	if (written == PE_WRITTEN && enrichment != NULL)
		pe_tell_block(enrichment, action->block, action->reason);
	pe_sender_reported(worker->sender, action->enrichment, written, pe_worker_now());
}

void
pe_worker_do(PeWorker *worker, const pe_action *action)
{
	switch (action->kind)
	{
		case PE_DO_WAIT:
			break;
		case PE_DO_SCAN:
			do_scan(worker);
			break;
		case PE_DO_TOKEN:
			pe_do_token(worker, action);
			break;
		case PE_DO_LOAD:
			do_load(worker, action);
			break;
		case PE_DO_SEND:
			pe_do_send(worker, action);
			break;
		case PE_DO_COMMIT:
			do_commit(worker, action);
			break;
		case PE_DO_REPORT:
			do_report(worker, action);
			break;
	}
}
