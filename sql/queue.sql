-- The queue as an operator sees it, without a worker: states, pause, resume, redrive, drain.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
RESET client_min_messages;
CREATE ROLE queue_owner NOLOGIN;
CREATE ROLE queue_stranger NOLOGIN;
GRANT profenrich_operator TO queue_owner, queue_stranger;

INSERT INTO profenrich.enrichment (enrichment_id, name, owner, server, source, identity_column, namespace)
VALUES (1, 'churn', 'queue_owner', 'aep', 'scores', 'crm_id', 'CRMID'), (2, 'fresh', 'queue_owner', 'aep', 'scores', 'crm_id', 'CRMID');
INSERT INTO profenrich.enrichment_target (enrichment_id, tenant, field_group_id, schema_id, dataset_id, inlet_url, flow_id, org_id,
	sandbox, sender_identity, ready_at)
VALUES (1, 'acme', 'f', 's', 'd', 'https://localhost/collection/i', 'w', 'o', 'prod', profenrich.sender_identity(), now());

-- A value tells its version; the third profile has a newer one than its dead letter.
INSERT INTO profenrich.profile_score (enrichment_id, profile_key, version, hash, changed_at, value)
SELECT 1, 'K-' || i, CASE i WHEN 3 THEN 2 ELSE 1 END, i, now(), '{"score": 1}' FROM generate_series(1, 1200) i;
INSERT INTO profenrich.dead_letter (enrichment_id, profile_key, shard, version, class, http_status, reason)
VALUES (1, 'K-1', 1, 1, 'refused', 400, 'no'), (1, 'K-2', 2, 1, 'refused', 400, 'no'), (1, 'K-3', 3, 1, 'refused', 400, 'no');

SELECT enrichment, state, pending, accepted, dead FROM profenrich.enrichment_status ORDER BY 1;
SELECT check_name, ok, detail, hint FROM profenrich.health() ORDER BY 1;
SELECT count(*) AS running FROM profenrich.worker_status WHERE pid IS NOT NULL;

SET ROLE queue_owner;
SELECT profenrich.redrive('churn');
RESET ROLE;
SELECT count(*) AS dead FROM profenrich.dead_letter;
SELECT shard, version, profile_keys, key_count FROM profenrich.outbox ORDER BY shard;
SELECT state, pending, queued, retrying FROM profenrich.enrichment_status WHERE enrichment = 'churn';

-- More keys than a chunk holds.
INSERT INTO profenrich.dead_letter (enrichment_id, profile_key, shard, version, class)
SELECT 1, 'K-' || i, 5, 1, 'refused' FROM generate_series(10, 1109) i;
SELECT profenrich.redrive('churn');
SELECT key_count FROM profenrich.outbox WHERE shard = 5 ORDER BY 1;

-- Nothing moves without a worker.
SELECT profenrich.drain('churn', '0.2 seconds');
SELECT profenrich.drain('fresh');

SET ROLE queue_owner;
SELECT profenrich.pause('churn');
SELECT state FROM profenrich.enrichment_status WHERE enrichment = 'churn';
SELECT profenrich.drain('churn');
RESET ROLE;
INSERT INTO profenrich.delivery_state (enrichment_id, blocked, blocked_reason) VALUES (1, 'schema', 'no such field');
INSERT INTO profenrich.retry (enrichment_id, profile_key, shard, version, next_at, class) VALUES (1, 'K-9', 9, 1, now() + '1 hour', 'overload');
SELECT profenrich.resume('churn');
SELECT state, why, retrying FROM profenrich.enrichment_status WHERE enrichment = 'churn';
SELECT next_at <= now() AS due FROM profenrich.retry;
UPDATE profenrich.delivery_state SET blocked = 'schema', blocked_reason = 'no such field';
SELECT state, why FROM profenrich.enrichment_status WHERE enrichment = 'churn';
SELECT profenrich.drain('churn');
SELECT ok, hint FROM profenrich.health() WHERE check_name = 'enrichment churn' AND detail LIKE 'blocked: schema: no such field, 1103 pending%';

-- Who may.
SET ROLE queue_stranger;
SELECT profenrich.pause('churn');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.redrive('churn');
SELECT profenrich.pause('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.start_worker();
DELETE FROM profenrich.outbox;
RESET ROLE;
-- A null, as of a query that found nothing, is an error wherever something would have changed.
CREATE FUNCTION raised(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT profenrich.' || call;
	RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT call, raised(call) FROM unnest(ARRAY['pause(NULL)', 'resume(NULL)', 'redrive(NULL)', 'check_late_failures(NULL)', 'provision(NULL)',
	'adopt(NULL)', 'drop_enrichment(NULL)', $$drop_enrichment('churn', NULL)$$, 'refresh(NULL)', 'plan(NULL)', 'release(NULL)', 'discard(NULL)',
	'retract(NULL)', $$retract('churn', NULL)$$, $$forget(NULL, 'C-1')$$, $$forget('CRMID', NULL)$$, 'forget(NULL)', $$unforget(NULL, 'C-1')$$,
	$$unforget('CRMID', NULL)$$]) AS call;
-- What a refused call would have done is not done: the worker is neither started nor stopped.
BEGIN READ ONLY;
SELECT profenrich.start_worker();
ROLLBACK;
BEGIN READ ONLY;
SELECT profenrich.stop_worker();
ROLLBACK;
SELECT state FROM profenrich.worker_status;
BEGIN READ ONLY;
SELECT profenrich.create_identity_namespace('queue_server', 'LOYALTY');
ROLLBACK;
BEGIN READ ONLY;
SELECT profenrich.resume('churn');
ROLLBACK;

-- A day's log finds its partition, or the default one.
INSERT INTO profenrich.delivery_log (enrichment_id, messages, bytes, outcome) VALUES (1, 1, 1, 'mixed');
SELECT tableoid::regclass FROM profenrich.delivery_log;
SELECT ok FROM profenrich.health() WHERE check_name = 'delivery log';

SET client_min_messages = warning;
DROP EXTENSION profenrich CASCADE;
DROP ROLE queue_owner, queue_stranger;
