-- The workers, the state of the queue, and what an operator does to it.

CREATE FUNCTION @extschema@.start_worker() RETURNS integer
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_start_worker';
COMMENT ON FUNCTION @extschema@.start_worker() IS
	'starts the worker that sends for this database, or finds it running; its process id. At once: a rollback does not undo it';

CREATE FUNCTION @extschema@.stop_worker() RETURNS boolean
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_stop_worker';
COMMENT ON FUNCTION @extschema@.stop_worker() IS
	'ends this database''s worker until start_worker() or a restart of the server; whether one was running. At once: a rollback does not undo it';

CREATE FUNCTION @extschema@.wake_worker() RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_wake_worker';
COMMENT ON FUNCTION @extschema@.wake_worker() IS
	'has the worker look into the queue, and the launcher for the worker, when this transaction commits';

CREATE FUNCTION @extschema@.workers(
	OUT pid integer, OUT state text, OUT launcher_pid integer, OUT started_at timestamptz, OUT seen_at timestamptz,
	OUT epoch bigint, OUT requests_in_flight integer, OUT chunks_in_hand integer, OUT enrichments_blocked integer,
	OUT breaker_open boolean, OUT paused_until timestamptz, OUT requests bigint, OUT accepted bigint)
RETURNS SETOF record
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pe_workers';
COMMENT ON FUNCTION @extschema@.workers() IS 'this database''s worker, from shared memory';

CREATE VIEW @extschema@.worker_status AS SELECT * FROM @extschema@.workers();
COMMENT ON VIEW @extschema@.worker_status IS 'this database''s worker: whether it runs, and what it is doing';
COMMENT ON COLUMN @extschema@.worker_status.pid IS 'its process; null when none runs';
COMMENT ON COLUMN @extschema@.worker_status.state IS 'running, starting, halted (the database refuses its acknowledgements), short of resources (a connection or secret file could not be opened for want of descriptors or memory; it is tried again), stopped (by stop_worker), no slot (max_worker_processes are in use), outdated (the extension is of another version than the library) or none';
COMMENT ON COLUMN @extschema@.worker_status.launcher_pid IS 'process that starts workers; null unless profenrich is in shared_preload_libraries';
COMMENT ON COLUMN @extschema@.worker_status.started_at IS 'when it started';
COMMENT ON COLUMN @extschema@.worker_status.seen_at IS 'when it last said so; once a second';
COMMENT ON COLUMN @extschema@.worker_status.epoch IS 'its turn as sender: an acknowledgement of an earlier one is refused';
COMMENT ON COLUMN @extschema@.worker_status.requests_in_flight IS 'requests not yet answered';
COMMENT ON COLUMN @extschema@.worker_status.chunks_in_hand IS 'chunks loaded and not yet acknowledged';
COMMENT ON COLUMN @extschema@.worker_status.enrichments_blocked IS 'enrichments for which nothing is sent until their cause is gone';
COMMENT ON COLUMN @extschema@.worker_status.breaker_open IS 'a server failed several times in a row: one request at a time probes it';
COMMENT ON COLUMN @extschema@.worker_status.paused_until IS 'a server asked for a pause';
COMMENT ON COLUMN @extschema@.worker_status.requests IS 'requests since it started';
COMMENT ON COLUMN @extschema@.worker_status.accepted IS 'records accepted since it started';

CREATE FUNCTION @extschema@.pause(enrichment text) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_pause';
COMMENT ON FUNCTION @extschema@.pause(text) IS 'nothing more is sent for this enrichment until resume()';

CREATE FUNCTION @extschema@.resume(enrichment text) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_resume';
COMMENT ON FUNCTION @extschema@.resume(text) IS
	'sends again after pause(), and at once what is blocked or waits for its next try';

CREATE FUNCTION @extschema@.redrive(enrichment text) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_redrive';
COMMENT ON FUNCTION @extschema@.redrive(text) IS
	'queues the dead letters of an enrichment again, those without a newer value; how many';

CREATE FUNCTION @extschema@.drain(enrichment text, timeout interval DEFAULT '10 minutes') RETURNS boolean
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_drain';
COMMENT ON FUNCTION @extschema@.drain(text, interval) IS
	'waits until nothing committed to the queue of an enrichment is pending; false when the time is over before';

-- The queue has a row for 500 keys, so adding it up is cheap; retry holds exceptions
-- only, and is counted no further than to 100,000.
CREATE VIEW @extschema@.enrichment_status AS
	SELECT e.name AS enrichment,
		x.state,
		COALESCE(s.blocked_reason, h.held_reason,
			CASE WHEN x.state OPERATOR(pg_catalog.=) 'outage' THEN 'the platform has not answered since '
				OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', s.outage_since)::text
				OPERATOR(pg_catalog.||) COALESCE(': ' OPERATOR(pg_catalog.||) CASE WHEN s.last_error_at OPERATOR(pg_catalog.>=)
					(s.outage_since OPERATOR(pg_catalog.-) '1 second'::interval) THEN s.last_error END, '')
			WHEN x.state OPERATOR(pg_catalog.=) 'no budget' OR (x.state OPERATOR(pg_catalog.=) 'sending' AND s.no_batch_until OPERATOR(pg_catalog.>) pg_catalog.now())
				THEN 'the sandbox''s daily budget of batches is used up; it is looked at again at '
				OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', GREATEST(s.no_batch_until, pg_catalog.now()))::text
				OPERATOR(pg_catalog.||) CASE x.state WHEN 'sending' THEN ', and streamed meanwhile' ELSE '' END
			WHEN x.state OPERATOR(pg_catalog.=) ANY ('{sending,retrying}'::text[]) AND w.paused_until OPERATOR(pg_catalog.>) pg_catalog.now()
				THEN 'a server asked for a pause until ' OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', w.paused_until)::text END,
			CASE j.state WHEN 'claimed' THEN 'a batch is made'
			WHEN 'created' THEN 'file ' OPERATOR(pg_catalog.||) (j.files OPERATOR(pg_catalog.+) 1)::text
				OPERATOR(pg_catalog.||) ' of batch ' OPERATOR(pg_catalog.||) j.batch_id OPERATOR(pg_catalog.||) ' is uploaded'
			WHEN 'uploaded' THEN 'batch ' OPERATOR(pg_catalog.||) j.batch_id OPERATOR(pg_catalog.||) ' is uploaded'
			WHEN 'completed' THEN 'the platform ingests batch ' OPERATOR(pg_catalog.||) j.batch_id
			WHEN 'landed' THEN 'what batch ' OPERATOR(pg_catalog.||) j.batch_id OPERATOR(pg_catalog.||) ' refused is read'
			END) AS why,
		q.keys OPERATOR(pg_catalog.+) r.keys AS pending,
		q.keys AS queued,
		r.keys AS retrying,
		pg_catalog.now() OPERATOR(pg_catalog.-) LEAST(q.oldest, r.oldest) AS oldest_pending_age,
		COALESCE(s.accepted, 0) AS accepted,
		COALESCE(s.superseded, 0) AS superseded,
		COALESCE(s.retried, 0) AS retried,
		COALESCE(s.dead, 0) AS dead,
		COALESCE(s.requests, 0) AS requests,
		l.rate AS accepted_per_second,
		s.last_success_at,
		s.last_error,
		s.last_error_at,
		s.blocked_at,
		s.next_probe_at,
		t.ready_at,
		s.outage_since
	FROM @extschema@.enrichment e
	LEFT JOIN @extschema@.enrichment_target t ON t.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id
	LEFT JOIN @extschema@.delivery_state s ON s.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id
	LEFT JOIN @extschema@.run h ON h.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id
		AND h.outcome OPERATOR(pg_catalog.=) 'held'
	LEFT JOIN @extschema@.worker_status w ON true
	LEFT JOIN @extschema@.batch_job j ON j.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id
		AND j.state OPERATOR(pg_catalog.<>) ALL ('{done,failed}'::text[])
	CROSS JOIN LATERAL (
		SELECT COALESCE(pg_catalog.sum(o.key_count), 0) AS keys,
			COALESCE(pg_catalog.sum(o.key_count) FILTER (
				WHERE o.not_before IS NULL OR o.not_before OPERATOR(pg_catalog.<=) pg_catalog.now()), 0) AS due_keys,
			pg_catalog.min(o.enqueued_at) AS oldest
		FROM @extschema@.outbox o WHERE o.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id) q
	CROSS JOIN LATERAL (
		SELECT pg_catalog.count(*) AS keys, pg_catalog.min(x.first_failed_at) AS oldest
		FROM (SELECT y.first_failed_at FROM @extschema@.retry y
			WHERE y.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id LIMIT 100000) x) r
	CROSS JOIN LATERAL (
		SELECT pg_catalog.round(COALESCE(pg_catalog.sum(d.accepted), 0) OPERATOR(pg_catalog./) 60.0, 1) AS rate
		FROM @extschema@.delivery_log d
		WHERE d.at OPERATOR(pg_catalog.>) (pg_catalog.now() OPERATOR(pg_catalog.-) '1 minute'::interval)
			AND d.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id) l
	CROSS JOIN LATERAL (
		SELECT CASE WHEN t.enrichment_id IS NULL THEN 'not provisioned'
			WHEN e.paused THEN 'paused'
			WHEN s.blocked IS NOT NULL THEN 'blocked: ' OPERATOR(pg_catalog.||) s.blocked
			WHEN h.run_id IS NOT NULL THEN 'held'
			WHEN t.ready_at OPERATOR(pg_catalog.>) pg_catalog.now() THEN 'warming up'
			WHEN (q.keys OPERATOR(pg_catalog.+) r.keys) OPERATOR(pg_catalog.=) 0 THEN 'idle'
			WHEN w.pid IS NULL THEN 'no worker'
			WHEN s.outage_since IS NOT NULL THEN 'outage'
			WHEN j.job_id IS NOT NULL THEN 'in a batch'
			WHEN s.held_until OPERATOR(pg_catalog.>) pg_catalog.now() THEN 'waiting'
			WHEN q.keys OPERATOR(pg_catalog.=) 0 THEN 'retrying'
			WHEN q.due_keys OPERATOR(pg_catalog.=) 0 THEN 'waiting'
			WHEN (e.options OPERATOR(pg_catalog.->>) 'mode') OPERATOR(pg_catalog.=) 'batch' THEN
				-- The worker looks again at that time or soon after it.
				CASE WHEN s.no_batch_until OPERATOR(pg_catalog.>) (pg_catalog.now() OPERATOR(pg_catalog.-) '1 hour'::interval) THEN 'no budget' ELSE 'waiting' END
			ELSE 'sending' END AS state) x;
COMMENT ON VIEW @extschema@.enrichment_status IS 'how delivery stands for each enrichment, and why';
COMMENT ON COLUMN @extschema@.enrichment_status.enrichment IS 'its name';
COMMENT ON COLUMN @extschema@.enrichment_status.state IS 'not provisioned, paused, blocked: ..., held (a refresh waits for release or discard), warming up, idle, no worker, outage (the platform does not answer), in a batch, retrying, waiting (for the gap between two values of a profile, after a batch, or for the next one), no budget (for a batch, today) or sending';
COMMENT ON COLUMN @extschema@.enrichment_status.why IS 'the reason of a block, in the platform''s words where it gave some; the limits that a held refresh is above; since when the platform does not answer, and how; until when there is no budget, or a server asked for a pause; or what the batch is doing';
COMMENT ON COLUMN @extschema@.enrichment_status.pending IS 'profiles not yet delivered: queued and retrying';
COMMENT ON COLUMN @extschema@.enrichment_status.queued IS 'profiles in chunks not yet accepted';
COMMENT ON COLUMN @extschema@.enrichment_status.retrying IS 'profiles to be tried again, counted to 100,000';
COMMENT ON COLUMN @extschema@.enrichment_status.oldest_pending_age IS 'since when the oldest of them waits';
COMMENT ON COLUMN @extschema@.enrichment_status.accepted IS 'records the platform has accepted';
COMMENT ON COLUMN @extschema@.enrichment_status.superseded IS 'values never sent because a newer one was queued';
COMMENT ON COLUMN @extschema@.enrichment_status.retried IS 'records given another try';
COMMENT ON COLUMN @extschema@.enrichment_status.dead IS 'records the platform refused for good; see dead_letter';
COMMENT ON COLUMN @extschema@.enrichment_status.requests IS 'requests made';
COMMENT ON COLUMN @extschema@.enrichment_status.accepted_per_second IS 'over the last minute';
COMMENT ON COLUMN @extschema@.enrichment_status.last_success_at IS 'when records were last accepted';
COMMENT ON COLUMN @extschema@.enrichment_status.last_error IS 'what last went wrong with a request';
COMMENT ON COLUMN @extschema@.enrichment_status.last_error_at IS 'when that was';
COMMENT ON COLUMN @extschema@.enrichment_status.blocked_at IS 'since when it is blocked';
COMMENT ON COLUMN @extschema@.enrichment_status.next_probe_at IS 'when one request tries whether the cause is gone';
COMMENT ON COLUMN @extschema@.enrichment_status.ready_at IS 'nothing is sent before: a new flow or schema loses early records';
COMMENT ON COLUMN @extschema@.enrichment_status.outage_since IS 'the platform does not answer since; it is tried again and again';

-- Every silent death is a row. The view reads the tables as the extension's owner.
CREATE VIEW @extschema@.health_checks AS
	SELECT 'worker' AS check_name, w.pid IS NOT NULL AND w.state OPERATOR(pg_catalog.=) 'running' AS ok,
		COALESCE('state: ' OPERATOR(pg_catalog.||) w.state, 'no worker') AS detail,
		CASE WHEN w.state OPERATOR(pg_catalog.=) 'no slot' THEN 'No background worker slot is free: increase max_worker_processes.'
			WHEN w.state OPERATOR(pg_catalog.=) 'outdated' THEN 'Run ALTER EXTENSION profenrich UPDATE.'
			WHEN w.state OPERATOR(pg_catalog.=) 'none' AND w.launcher_pid IS NOT NULL
				AND pg_catalog.current_setting('profenrich.databases', true) OPERATOR(pg_catalog.<>) ''
				THEN 'Name this database in profenrich.databases, or call profenrich.start_worker().'
			WHEN w.pid IS NULL THEN 'Call profenrich.start_worker(), or add profenrich to shared_preload_libraries.'
			WHEN w.state OPERATOR(pg_catalog.=) 'halted' THEN 'The server''s log tells why acknowledgements fail.'
			WHEN w.state OPERATOR(pg_catalog.=) 'short of resources' THEN 'Raise the limit of open files of the server''s processes or of the system; the server''s log tells what could not be opened.' END AS hint
	FROM (SELECT) one LEFT JOIN @extschema@.worker_status w ON true
	UNION ALL
	SELECT 'worker heartbeat', w.seen_at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) '1 minute'::interval),
		'last seen at ' OPERATOR(pg_catalog.||) w.seen_at::text, 'It may wait for a lock: see pg_stat_activity.'
	FROM @extschema@.worker_status w WHERE w.pid IS NOT NULL
	UNION ALL
	SELECT 'launcher', pg_catalog.bool_or(w.launcher_pid IS NOT NULL) IS TRUE,
		CASE WHEN pg_catalog.bool_or(w.launcher_pid IS NOT NULL) THEN 'running' ELSE 'not running' END,
		'Without it a worker must be started by hand after each restart: add profenrich to shared_preload_libraries.'
	FROM @extschema@.worker_status w
	UNION ALL
	SELECT 'servers', NOT w.breaker_open,
		CASE WHEN w.breaker_open THEN 'one failed several times in a row, and is probed' ELSE 'no failures in a row' END,
		'last_error in profenrich.enrichment_status says how. Sending goes on by itself once it answers.'
	FROM @extschema@.worker_status w WHERE w.pid IS NOT NULL
	UNION ALL
	SELECT 'enrichment ' OPERATOR(pg_catalog.||) e.enrichment,
		e.state OPERATOR(pg_catalog.!~) '^(blocked|held|no worker|outage|no budget)'
			AND COALESCE(e.oldest_pending_age OPERATOR(pg_catalog.<) '1 hour'::interval OR e.state OPERATOR(pg_catalog.=) ANY ('{paused,in a batch}'::text[]), true),
		e.state OPERATOR(pg_catalog.||) COALESCE(': ' OPERATOR(pg_catalog.||) e.why, '') OPERATOR(pg_catalog.||) ', '
			OPERATOR(pg_catalog.||) e.pending::text OPERATOR(pg_catalog.||) ' pending'
			OPERATOR(pg_catalog.||) COALESCE(', oldest ' OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', e.oldest_pending_age)::text, ''),
		CASE WHEN e.state OPERATOR(pg_catalog.~~) 'blocked: identity' THEN 'If this cluster is to send, call profenrich.adopt() here; a copy should not.'
			WHEN e.state OPERATOR(pg_catalog.~~) 'blocked%' THEN 'Remove the cause, then call profenrich.resume().'
			WHEN e.state OPERATOR(pg_catalog.=) 'held' THEN 'profenrich.run_measures has the numbers: call profenrich.release() or profenrich.discard().'
			WHEN e.state OPERATOR(pg_catalog.=) 'outage' THEN 'Sending goes on by itself once the platform answers; profenrich.resume() tries at once.'
			WHEN e.state OPERATOR(pg_catalog.=) 'no budget' THEN 'All feeds of the sandbox share it: wait, raise profenrich.batch_budget if the platform allows more, or set the mode to auto.'
			WHEN e.state OPERATOR(pg_catalog.=) 'not provisioned' THEN 'Call profenrich.provision().' END
	FROM @extschema@.enrichment_status e
	UNION ALL
	SELECT 'dead letters of ' OPERATOR(pg_catalog.||) e.name, false,
		'the platform refused ' OPERATOR(pg_catalog.||) d.keys::text OPERATOR(pg_catalog.||) ' profiles',
		'profenrich.dead_letter has the reasons; profenrich.redrive() sends them again.'
	FROM @extschema@.enrichment e CROSS JOIN LATERAL (
		SELECT pg_catalog.count(*) AS keys FROM (SELECT FROM @extschema@.dead_letter x
			WHERE x.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id LIMIT 100000) y) d
	WHERE d.keys OPERATOR(pg_catalog.>) 0
	UNION ALL
	-- Before a dump writes down the number, which may be another role elsewhere.
	SELECT 'owner of enrichment ' OPERATOR(pg_catalog.||) e.name, false, 'the role does not exist any more',
		'Give it another owner with profenrich.set_enrichment_owner().'
	FROM @extschema@.enrichment e
	WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles o WHERE o.oid OPERATOR(pg_catalog.=) e.owner::oid)
	UNION ALL
	SELECT 'delivery log', NOT d.any_row, CASE WHEN d.any_row THEN 'there are rows of days without a partition' ELSE 'each day has its partition' END,
		'The worker makes partitions days ahead: the server''s log tells why it could not.'
	FROM (SELECT EXISTS (SELECT FROM @extschema@.delivery_log_default) AS any_row) d
	UNION ALL
	SELECT s.check_name, s.ok, s.detail, s.hint FROM @extschema@.surroundings s;
COMMENT ON VIEW @extschema@.health_checks IS 'what health() returns';

CREATE FUNCTION @extschema@.health(OUT check_name text, OUT ok boolean, OUT detail text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT h.check_name, h.ok, h.detail, CASE WHEN NOT h.ok THEN h.hint END FROM @extschema@.health_checks h;
END;
COMMENT ON FUNCTION @extschema@.health() IS 'what might be wrong with delivery, one row each; ok is false where it is';

REVOKE ALL ON FUNCTION @extschema@.start_worker(), @extschema@.stop_worker(), @extschema@.wake_worker(),
	@extschema@.workers(), @extschema@.pause(text), @extschema@.resume(text), @extschema@.redrive(text),
	@extschema@.drain(text, interval), @extschema@.health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.start_worker(), @extschema@.stop_worker() TO profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.pause(text), @extschema@.resume(text), @extschema@.redrive(text),
	@extschema@.drain(text, interval), @extschema@.wake_worker() TO profenrich_operator, profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.workers(), @extschema@.health()
	TO profenrich_reader, profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.worker_status, @extschema@.enrichment_status, @extschema@.health_checks
	TO profenrich_reader, profenrich_operator, profenrich_admin;

-- The launcher looks whether this database has the extension when this commits.
SELECT @extschema@.wake_worker();
