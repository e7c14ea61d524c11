-- Figures for monitoring, in the shape that Prometheus reads. Nothing here counts a large table.

-- The views read the tables as the extension's owner; "now" is the statement's, so that ages agree with each other.
CREATE VIEW @extschema@.metric_values AS
	WITH status AS MATERIALIZED (SELECT * FROM @extschema@.enrichment_status)
	SELECT 'profenrich_build_info' AS name,
		pg_catalog.jsonb_build_object('version', e.extversion, 'library', v.library) AS labels, 1::double precision AS value
	FROM @extschema@.version() v CROSS JOIN pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'profenrich'
	UNION ALL
	SELECT 'profenrich_health_ok', pg_catalog.jsonb_build_object('check', h.check_name),
		pg_catalog.bool_and(COALESCE(h.ok, false))::integer::double precision
	FROM @extschema@.health_checks h GROUP BY h.check_name
	UNION ALL
	SELECT m.name, '{}', m.value
	FROM (SELECT) one LEFT JOIN @extschema@.worker_status w ON true CROSS JOIN LATERAL (VALUES
		('profenrich_worker_up', (w.pid IS NOT NULL AND w.state OPERATOR(pg_catalog.=) ANY ('{running,short of resources}'::text[]))::integer::double precision),
		('profenrich_launcher_up', (w.launcher_pid IS NOT NULL)::integer::double precision),
		('profenrich_worker_start_time_seconds', pg_catalog.date_part('epoch', w.started_at)),
		('profenrich_worker_heartbeat_timestamp_seconds', pg_catalog.date_part('epoch', w.seen_at)),
		('profenrich_worker_requests_in_flight', w.requests_in_flight::double precision),
		('profenrich_worker_chunks_in_hand', w.chunks_in_hand::double precision),
		('profenrich_worker_breaker_open', w.breaker_open::integer::double precision),
		('profenrich_worker_pause_remaining_seconds', CASE WHEN w.pid IS NOT NULL THEN GREATEST(COALESCE(
			pg_catalog.date_part('epoch', w.paused_until OPERATOR(pg_catalog.-) pg_catalog.now()), 0), 0) END),
		('profenrich_worker_requests_total', w.requests::double precision),
		('profenrich_worker_accepted_total', w.accepted::double precision)) m (name, value)
	WHERE m.value IS NOT NULL
	UNION ALL
	SELECT 'profenrich_enrichment_state', pg_catalog.jsonb_build_object('enrichment', e.enrichment, 'state', e.state), 1
	FROM status e
	UNION ALL
	SELECT m.name, pg_catalog.jsonb_build_object('enrichment', e.enrichment), m.value
	FROM status e CROSS JOIN LATERAL (VALUES
		('profenrich_blocked', (e.state OPERATOR(pg_catalog.~) '^(blocked|outage|no budget)')::integer::double precision),
		('profenrich_queued_profiles', e.queued::double precision),
		('profenrich_retrying_profiles', e.retrying::double precision),
		('profenrich_oldest_pending_age_seconds', COALESCE(pg_catalog.date_part('epoch', e.oldest_pending_age), 0)),
		('profenrich_accepted_total', e.accepted::double precision),
		('profenrich_superseded_total', e.superseded::double precision),
		('profenrich_retried_total', e.retried::double precision),
		('profenrich_dead_total', e.dead::double precision),
		('profenrich_requests_total', e.requests::double precision),
		('profenrich_last_success_timestamp_seconds', pg_catalog.date_part('epoch', e.last_success_at)),
		('profenrich_last_error_timestamp_seconds', pg_catalog.date_part('epoch', e.last_error_at))) m (name, value)
	WHERE m.value IS NOT NULL
	UNION ALL
	SELECT 'profenrich_dead_letters', pg_catalog.jsonb_build_object('enrichment', e.name),
		(SELECT pg_catalog.count(*) FROM (SELECT FROM @extschema@.dead_letter d
			WHERE d.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id LIMIT 100000) x)::double precision
	FROM @extschema@.enrichment e
	UNION ALL
	SELECT m.name, pg_catalog.jsonb_build_object('enrichment', e.name), m.value
	FROM @extschema@.enrichment e CROSS JOIN LATERAL (
		SELECT r.* FROM @extschema@.run r WHERE r.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id
			ORDER BY r.run_id DESC LIMIT 1) r
	CROSS JOIN LATERAL (VALUES
		('profenrich_last_run_timestamp_seconds', pg_catalog.date_part('epoch', r.started_at)),
		('profenrich_last_run_duration_seconds', pg_catalog.date_part('epoch', r.finished_at OPERATOR(pg_catalog.-) r.started_at)),
		('profenrich_last_run_changed_profiles', r.changed::double precision),
		('profenrich_last_run_skipped_profiles', r.skipped::double precision),
		('profenrich_last_run_retracted_profiles', r.retracted::double precision)) m (name, value)
	WHERE m.value IS NOT NULL
	UNION ALL
	SELECT m.name, pg_catalog.jsonb_build_object('model', v.model), m.value
	FROM @extschema@.model_version v JOIN @extschema@.model o
		ON o.name OPERATOR(pg_catalog.=) v.model AND o.deployed_version OPERATOR(pg_catalog.=) v.version
	CROSS JOIN LATERAL (VALUES
		('profenrich_model_version', v.version::double precision),
		('profenrich_model_trained_timestamp_seconds', pg_catalog.date_part('epoch', v.trained_at))) m (name, value)
	UNION ALL
	-- The statistics collector's counts and the file system's sizes: no table is read.
	SELECT m.name, pg_catalog.jsonb_build_object('table', c.relname), m.value
	FROM pg_catalog.pg_class c
	JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
		AND n.nspname OPERATOR(pg_catalog.=) '@extschema@'
		AND c.relname OPERATOR(pg_catalog.=) ANY ('{profile_score,outbox,retry,dead_letter,model_artifact}'::pg_catalog.name[])
	CROSS JOIN LATERAL (VALUES
		('profenrich_table_bytes', pg_catalog.pg_total_relation_size(c.oid)::double precision),
		('profenrich_table_live_rows', pg_catalog.pg_stat_get_live_tuples(c.oid)::double precision),
		('profenrich_table_dead_rows', pg_catalog.pg_stat_get_dead_tuples(c.oid)::double precision)) m (name, value);
COMMENT ON VIEW @extschema@.metric_values IS 'what metrics() returns, without help and type';

CREATE FUNCTION @extschema@.metrics(OUT name text, OUT labels jsonb, OUT value double precision, OUT help text, OUT type text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 100 SET jit = off -- compiling takes longer than the query
BEGIN ATOMIC
	SELECT v.name, v.labels, v.value, d.help, d.type
	FROM @extschema@.metric_values v JOIN (VALUES
		('profenrich_build_info', 'gauge', 'Versions of the extension and of the library that is loaded.'),
		('profenrich_health_ok', 'gauge', '1 where a check of health() is well, else 0.'),
		('profenrich_worker_up', 'gauge', '1 when this database''s worker runs and acknowledges.'),
		('profenrich_launcher_up', 'gauge', '1 when the launcher runs, which starts workers.'),
		('profenrich_worker_start_time_seconds', 'gauge', 'When the worker started, in Unix time.'),
		('profenrich_worker_heartbeat_timestamp_seconds', 'gauge', 'When the worker last said that it lives, in Unix time.'),
		('profenrich_worker_requests_in_flight', 'gauge', 'Requests not yet answered.'),
		('profenrich_worker_chunks_in_hand', 'gauge', 'Chunks loaded and not yet acknowledged.'),
		('profenrich_worker_breaker_open', 'gauge', '1 while a server failed several times in a row and is probed.'),
		('profenrich_worker_pause_remaining_seconds', 'gauge', 'How long the platform asked the worker to pause.'),
		('profenrich_worker_requests_total', 'counter', 'Requests since the worker started.'),
		('profenrich_worker_accepted_total', 'counter', 'Records accepted since the worker started.'),
		('profenrich_enrichment_state', 'gauge', 'Always 1; the label says the state, as enrichment_status does.'),
		('profenrich_blocked', 'gauge', '1 while nothing is sent because something is wrong.'),
		('profenrich_queued_profiles', 'gauge', 'Profiles in chunks not yet accepted.'),
		('profenrich_retrying_profiles', 'gauge', 'Profiles to be tried again, counted to 100000.'),
		('profenrich_oldest_pending_age_seconds', 'gauge', 'Since when the oldest profile not yet delivered waits; 0 when none does.'),
		('profenrich_accepted_total', 'counter', 'Records the platform has accepted.'),
		('profenrich_superseded_total', 'counter', 'Values never sent because a newer one was queued.'),
		('profenrich_retried_total', 'counter', 'Records given another try.'),
		('profenrich_dead_total', 'counter', 'Records the platform refused for good.'),
		('profenrich_requests_total', 'counter', 'Requests made.'),
		('profenrich_last_success_timestamp_seconds', 'gauge', 'When records were last accepted, in Unix time.'),
		('profenrich_last_error_timestamp_seconds', 'gauge', 'When a request last went wrong, in Unix time.'),
		('profenrich_dead_letters', 'gauge', 'Profiles refused for good and not yet redriven, counted to 100000.'),
		('profenrich_last_run_timestamp_seconds', 'gauge', 'When the last refresh or other run began, in Unix time.'),
		('profenrich_last_run_duration_seconds', 'gauge', 'How long it took.'),
		('profenrich_last_run_changed_profiles', 'gauge', 'Profiles that it queued.'),
		('profenrich_last_run_skipped_profiles', 'gauge', 'Rows that it found the platform would not take.'),
		('profenrich_last_run_retracted_profiles', 'gauge', 'Profiles whose attributes it cleared.'),
		('profenrich_model_version', 'gauge', 'Deployed version of a model.'),
		('profenrich_model_trained_timestamp_seconds', 'gauge', 'When that version was trained, in Unix time.'),
		('profenrich_table_bytes', 'gauge', 'Size of a table with its indexes.'),
		('profenrich_table_live_rows', 'gauge', 'Rows of a table, as the statistics estimate them.'),
		('profenrich_table_dead_rows', 'gauge', 'Dead rows of a table, as the statistics estimate them.')) d (name, type, help)
		ON d.name OPERATOR(pg_catalog.=) v.name;
END;
COMMENT ON FUNCTION @extschema@.metrics() IS 'figures for monitoring: name, labels and value, with help and type as Prometheus has them';

CREATE FUNCTION @extschema@.metrics_text() RETURNS text
LANGUAGE sql STABLE PARALLEL RESTRICTED SET jit = off
BEGIN ATOMIC
	SELECT COALESCE(pg_catalog.string_agg(
		'# HELP ' OPERATOR(pg_catalog.||) f.name OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) f.help OPERATOR(pg_catalog.||) E'\n'
		OPERATOR(pg_catalog.||) '# TYPE ' OPERATOR(pg_catalog.||) f.name OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) f.type OPERATOR(pg_catalog.||) E'\n'
		OPERATOR(pg_catalog.||) f.samples, '' ORDER BY f.name), '')
	FROM (
		SELECT m.name, m.help, m.type, pg_catalog.string_agg(
			m.name OPERATOR(pg_catalog.||) COALESCE('{' OPERATOR(pg_catalog.||) l.labels OPERATOR(pg_catalog.||) '}', '')
			OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) m.value::text OPERATOR(pg_catalog.||) E'\n', '' ORDER BY l.labels) AS samples
		FROM @extschema@.metrics() m CROSS JOIN LATERAL (
			SELECT pg_catalog.string_agg(t.key OPERATOR(pg_catalog.||) '="' OPERATOR(pg_catalog.||)
				pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(t.value, E'\\', E'\\\\'), '"', E'\\"'), E'\n', E'\\n')
				OPERATOR(pg_catalog.||) '"', ',' ORDER BY t.key) AS labels
			FROM pg_catalog.jsonb_each_text(m.labels) t) l
		GROUP BY m.name, m.help, m.type) f;
END;
COMMENT ON FUNCTION @extschema@.metrics_text() IS 'metrics() in the text format that Prometheus scrapes';

REVOKE ALL ON FUNCTION @extschema@.metrics(), @extschema@.metrics_text() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.metrics(), @extschema@.metrics_text()
	TO profenrich_reader, profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.metric_values TO profenrich_reader, profenrich_operator, profenrich_admin;
