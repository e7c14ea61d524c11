-- What around the extension may stop delivery without an error, as rows of health(), and what is told of it.

CREATE FUNCTION @extschema@.version(OUT library text, OUT server text, OUT http text)
RETURNS SETOF record
LANGUAGE C STRICT STABLE PARALLEL SAFE ROWS 1
AS 'MODULE_PATHNAME', 'pe_version';
COMMENT ON FUNCTION @extschema@.version() IS
	'versions of the loaded library, of the server it was built for, and of the libraries it speaks HTTPS with';

CREATE FUNCTION @extschema@.secret_directory_problem() RETURNS text
LANGUAGE C STRICT VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pe_secret_directory_problem';
COMMENT ON FUNCTION @extschema@.secret_directory_problem() IS
	'why no secret file could be read from profenrich.secret_directory; null when one could';

CREATE VIEW @extschema@.surroundings AS
	SELECT 'version' AS check_name, e.extversion OPERATOR(pg_catalog.=) v.library AS ok,
		'extension ' OPERATOR(pg_catalog.||) e.extversion COLLATE pg_catalog."default" OPERATOR(pg_catalog.||) ', library ' OPERATOR(pg_catalog.||) v.library AS detail,
		'The worker waits: restart the server after installing, then run ALTER EXTENSION profenrich UPDATE.' AS hint
	FROM pg_catalog.pg_extension e CROSS JOIN @extschema@.version() v WHERE e.extname OPERATOR(pg_catalog.=) 'profenrich'
	UNION ALL
	SELECT 'secret directory', p.problem IS NULL OR NOT EXISTS (SELECT FROM @extschema@.enrichment),
		COALESCE(p.problem, 'readable'), 'The next token request fails: set profenrich.secret_directory, or correct owner and mode.'
	FROM @extschema@.secret_directory_problem() p (problem)
	UNION ALL
	SELECT 'delivery log ahead', d.has_next OR NOT d.has_any,
		CASE WHEN d.has_next THEN 'tomorrow has its partition' WHEN d.has_any THEN 'tomorrow has no partition' ELSE 'no worker has made partitions yet' END,
		'The worker makes them each hour: it may not run, or wait for a lock on delivery_log.'
	FROM (SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 AS has_any,
			COALESCE(pg_catalog.bool_or(c.relname OPERATOR(pg_catalog.=) ('delivery_log_' OPERATOR(pg_catalog.||) pg_catalog.to_char(
				pg_catalog.timezone('UTC', pg_catalog.now()) OPERATOR(pg_catalog.+) '1 day'::interval, 'YYYYMMDD'))), false) AS has_next
		FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid
		WHERE i.inhparent OPERATOR(pg_catalog.=) '@extschema@.delivery_log'::pg_catalog.regclass
			AND c.relname OPERATOR(pg_catalog.<>) 'delivery_log_default') d
	UNION ALL
	-- Values are versioned by run and never by time, but what waits does so by the clock.
	SELECT 'clock', c.latest IS NULL, COALESCE('something is dated ' OPERATOR(pg_catalog.||) c.latest::text, 'nothing is dated later than now'),
		'The clock was set back, or was wrong: what waits for a time waits longer.'
	FROM (SELECT GREATEST(
			(SELECT pg_catalog.max(l.at) FROM @extschema@.delivery_log l WHERE l.at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) '1 minute'::interval)),
			(SELECT pg_catalog.max(s.last_success_at) FROM @extschema@.delivery_state s WHERE s.last_success_at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) '1 minute'::interval))) AS latest) c
	UNION ALL
	SELECT 'old snapshots', h.who IS NULL, COALESCE(h.who, 'nothing holds one for more than an hour'),
		'Dead rows cannot be removed meanwhile: end the session, commit or roll back, or drop the slot.'
	FROM (SELECT pg_catalog.string_agg(x.who, '; ' ORDER BY x.who) AS who FROM (
		SELECT 'session ' OPERATOR(pg_catalog.||) a.pid::text OPERATOR(pg_catalog.||) ' is in a transaction since '
			OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', a.xact_start)::text AS who
		FROM pg_catalog.pg_stat_activity a
		WHERE a.xact_start OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) '1 hour'::interval) AND a.backend_type OPERATOR(pg_catalog.=) 'client backend'
		UNION ALL
		SELECT 'prepared transaction ' OPERATOR(pg_catalog.||) p.gid OPERATOR(pg_catalog.||) ' since ' OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', p.prepared)::text
		FROM pg_catalog.pg_prepared_xacts p WHERE p.prepared OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) '1 hour'::interval)
		UNION ALL
		SELECT 'replication slot ' OPERATOR(pg_catalog.||) s.slot_name::text COLLATE pg_catalog."default" OPERATOR(pg_catalog.||) ' is not used'
		FROM pg_catalog.pg_replication_slots s WHERE NOT s.active AND NOT s.temporary) x) h
	UNION ALL
	-- However it is scheduled: a job that went missing, or fails each time, shows as a run that does not come.
	SELECT 'refresh of ' OPERATOR(pg_catalog.||) e.name,
		(pg_catalog.now() OPERATOR(pg_catalog.-) r.latest) OPERATOR(pg_catalog.<) GREATEST(r.usual OPERATOR(pg_catalog.*) 3::double precision, '1 hour'::interval),
		'last one at ' OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', r.latest)::text OPERATOR(pg_catalog.||) ', usually every '
			OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', r.usual)::text,
		'Look whether its job is still there and what it says: cron.job, cron.job_run_details with pg_cron.'
	FROM @extschema@.enrichment e CROSS JOIN LATERAL (
		SELECT pg_catalog.max(l.started_at) AS latest, pg_catalog.count(*) AS runs,
			(pg_catalog.max(l.started_at) OPERATOR(pg_catalog.-) pg_catalog.min(l.started_at)) OPERATOR(pg_catalog./) NULLIF(pg_catalog.count(*) OPERATOR(pg_catalog.-) 1, 0)::double precision AS usual
		FROM (SELECT x.started_at FROM @extschema@.run x
			WHERE x.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id AND x.kind OPERATOR(pg_catalog.=) 'refresh'
			ORDER BY x.run_id DESC LIMIT 10) l) r
	WHERE r.runs OPERATOR(pg_catalog.>=) 3 AND NOT e.paused;
COMMENT ON VIEW @extschema@.surroundings IS 'rows of health() about what surrounds delivery: versions, files, clock, sessions, schedules';

-- What is in the way of an enrichment, as listeners are told of it.
CREATE FUNCTION @extschema@.obstacle(s @extschema@.delivery_state) RETURNS text
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT CASE WHEN s.blocked IS NOT NULL THEN 'blocked: ' OPERATOR(pg_catalog.||) s.blocked
		WHEN s.outage_since IS NOT NULL THEN 'outage'
		WHEN s.no_batch_until IS NOT NULL AND EXISTS (SELECT FROM @extschema@.enrichment e
			WHERE e.enrichment_id OPERATOR(pg_catalog.=) s.enrichment_id
				AND (e.options OPERATOR(pg_catalog.->>) 'mode') OPERATOR(pg_catalog.=) 'batch') THEN 'no budget'
		ELSE 'active' END;
END;
COMMENT ON FUNCTION @extschema@.obstacle(@extschema@.delivery_state) IS 'what is in the way of an enrichment: blocked: ..., outage, no budget; active when nothing is';

-- Whoever listens on the channel profenrich hears of each change of an enrichment's state, once, when it is committed.
CREATE FUNCTION @extschema@.notify_state() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	was text := 'active';
	becomes text := 'active';
	reason text;
BEGIN
	IF TG_TABLE_NAME = 'enrichment' THEN
		was := CASE WHEN OLD.paused THEN 'paused' ELSE was END;
		becomes := CASE WHEN NEW.paused THEN 'paused' ELSE becomes END;
	ELSIF TG_TABLE_NAME = 'run' THEN
		IF TG_OP = 'UPDATE' AND OLD.outcome = 'held' THEN
			was := 'held';
		END IF;
		becomes := CASE WHEN NEW.outcome = 'held' THEN 'held' ELSE becomes END;
		reason := NEW.held_reason;
	ELSE
		IF TG_OP = 'UPDATE' THEN
			was := @extschema@.obstacle(OLD);
		END IF;
		becomes := @extschema@.obstacle(NEW);
		reason := CASE WHEN NEW.blocked IS NOT NULL THEN NEW.blocked_reason
			WHEN becomes = 'outage' AND NEW.last_error_at >= NEW.outage_since - interval '1 second' THEN NEW.last_error
			WHEN becomes = 'no budget' THEN 'the sandbox''s daily budget of batches is used up' END;
		IF was = becomes THEN
			RETURN NULL;
		END IF;
	END IF;
	PERFORM pg_notify('profenrich', jsonb_build_object('enrichment', e.name, 'old', was, 'new', becomes,
			'why', left(reason, 1000), 'at', clock_timestamp())::text)
	   FROM @extschema@.enrichment e WHERE e.enrichment_id = NEW.enrichment_id;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.notify_state() IS 'tells listeners of the channel profenrich that an enrichment was paused, blocked, held, met an outage or has no budget for a batch, or is no longer';

CREATE TRIGGER notify_paused AFTER UPDATE OF paused ON @extschema@.enrichment
	FOR EACH ROW WHEN (OLD.paused OPERATOR(pg_catalog.<>) NEW.paused) EXECUTE FUNCTION @extschema@.notify_state();
CREATE TRIGGER notify_obstacle AFTER UPDATE OF blocked, outage_since, no_batch_until ON @extschema@.delivery_state
	FOR EACH ROW WHEN (OLD.blocked IS DISTINCT FROM NEW.blocked OR (OLD.outage_since IS NULL) OPERATOR(pg_catalog.<>) (NEW.outage_since IS NULL)
		OR (OLD.no_batch_until IS NULL) OPERATOR(pg_catalog.<>) (NEW.no_batch_until IS NULL)) EXECUTE FUNCTION @extschema@.notify_state();
CREATE TRIGGER notify_first_obstacle AFTER INSERT ON @extschema@.delivery_state
	FOR EACH ROW WHEN (NEW.blocked IS NOT NULL OR NEW.outage_since IS NOT NULL OR NEW.no_batch_until IS NOT NULL)
	EXECUTE FUNCTION @extschema@.notify_state();
CREATE TRIGGER notify_held AFTER INSERT ON @extschema@.run
	FOR EACH ROW WHEN (NEW.outcome OPERATOR(pg_catalog.=) 'held') EXECUTE FUNCTION @extschema@.notify_state();
CREATE TRIGGER notify_not_held AFTER UPDATE OF outcome ON @extschema@.run
	FOR EACH ROW WHEN ((OLD.outcome OPERATOR(pg_catalog.=) 'held') OPERATOR(pg_catalog.<>) (NEW.outcome OPERATOR(pg_catalog.=) 'held'))
	EXECUTE FUNCTION @extschema@.notify_state();

REVOKE ALL ON FUNCTION @extschema@.version(), @extschema@.secret_directory_problem(), @extschema@.notify_state(),
	@extschema@.obstacle(@extschema@.delivery_state) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.version()
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.secret_directory_problem() TO profenrich_reader, profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.surroundings TO profenrich_reader, profenrich_operator, profenrich_admin;
