-- Single profiles: retract(keys), resend(), profile_status().
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
RESET client_min_messages;
CREATE ROLE profile_owner NOLOGIN;
CREATE ROLE profile_stranger NOLOGIN;
GRANT profenrich_operator TO profile_owner, profile_stranger;
CREATE SERVER profile_aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id 'ABC@AdobeOrg', sandbox 'prod');
GRANT USAGE ON FOREIGN SERVER profile_aep TO profile_owner;
CREATE SCHEMA profile_test;
GRANT ALL ON SCHEMA profile_test TO profile_owner;
SET search_path = profile_test;
SET profenrich.resend_gap = 0;

SET ROLE profile_owner;
CREATE TABLE scores AS SELECT 'C-' || i AS crm_id, i AS score FROM generate_series(1, 1500) AS i;
SELECT profenrich.create_enrichment('profile_churn', 'profile_aep', 'scores', 'crm_id', 'CRMID');
SELECT changed FROM profenrich.refresh('profile_churn');
RESET ROLE;
INSERT INTO profenrich.enrichment_target (enrichment_id, tenant, field_group_id, schema_id, dataset_id, inlet_url, flow_id, org_id,
	sandbox, sender_identity, ready_at)
SELECT enrichment_id, 'acme', 'f', 's', 'd', 'https://localhost/collection/i', 'w', 'o', 'prod', profenrich.sender_identity(), now()
  FROM profenrich.enrichment;
CREATE TABLE shards AS SELECT key, shard FROM profenrich.outbox, unnest(profile_keys) AS key;

-- What became of a profile.
CREATE VIEW told AS SELECT k.key, s.* FROM unnest(ARRAY['C-1', 'C-2', 'C-3', 'C-4', 'C-5', 'nobody']) WITH ORDINALITY AS k(key, at),
	LATERAL profenrich.profile_status('profile_churn', k.key) AS s ORDER BY k.at;
SELECT state, why, retracted, value, identity, queued_at IS NOT NULL AS queued, attempts, http_status
  FROM profenrich.profile_status('profile_churn', 'C-1');
-- All but the chunk of C-1 is accepted; C-3 is retried, C-4 refused, C-5 waits. What is told of older values does not count.
DELETE FROM profenrich.outbox WHERE shard <> (SELECT shard FROM shards WHERE key = 'C-1');
CREATE VIEW newest AS SELECT s.*, h.shard FROM profenrich.profile_score AS s JOIN shards AS h ON h.key = s.profile_key;
INSERT INTO profenrich.retry (enrichment_id, profile_key, shard, version, attempts, next_at, class, http_status, error)
SELECT enrichment_id, profile_key, shard, version - (profile_key = 'C-2')::int, 3, '2030-01-01', 'overload', 503, 'busy'
  FROM newest WHERE profile_key IN ('C-2', 'C-3');
INSERT INTO profenrich.dead_letter (enrichment_id, profile_key, shard, version, attempts, class, http_status, reason)
SELECT enrichment_id, profile_key, shard, version - (profile_key = 'C-2')::int, 1, 'refused', 400, 'no such field'
  FROM newest WHERE profile_key IN ('C-2', 'C-4');
INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys, not_before)
SELECT enrichment_id, shard, version, ARRAY[profile_key], '2030-01-01' FROM newest WHERE profile_key = 'C-5';
SELECT key, state, why, attempts, http_status, next_try_at FROM told;
-- When it was accepted is told while nothing of its shard was accepted since.
INSERT INTO profenrich.delivery_log (at, enrichment_id, shard, messages, bytes, outcome, accepted)
SELECT changed_at + interval '1 s', enrichment_id, shard, 1, 1, 'accepted', 1 FROM newest WHERE profile_key = 'C-2';
SELECT p.accepted_at - changed_at AS after FROM profenrich.profile_status('profile_churn', 'C-2') AS p;
INSERT INTO profenrich.delivery_log (at, enrichment_id, shard, messages, bytes, outcome, accepted)
SELECT changed_at + interval '2 s', enrichment_id, shard, 1, 1, 'accepted', 1 FROM newest WHERE profile_key = 'C-2';
SELECT accepted_at FROM profenrich.profile_status('profile_churn', 'C-2');
-- An enrichment that does not move is part of the answer.
SELECT profenrich.pause('profile_churn');
SELECT key, state, why FROM told WHERE key IN ('C-1', 'C-3', 'C-5');
SELECT profenrich.resume('profile_churn');
UPDATE profenrich.retry SET next_at = '2030-01-01';
SELECT profenrich.profile_status('nothing', 'C-1');
\echo :LAST_ERROR_SQLSTATE

-- Again, some: what is still queued (C-1, C-5) or retried (C-3) goes out anyway, unknown keys are told, nulls and repeats do not matter.
CREATE VIEW again AS SELECT o.version = (SELECT max(run_id) FROM profenrich.run) AS new, o.not_before > clock_timestamp() AS waits, o.profile_keys
  FROM profenrich.outbox AS o WHERE o.version = (SELECT max(run_id) FROM profenrich.run WHERE kind = 'resend');
SET ROLE profile_owner;
SELECT profenrich.resend('profile_churn', ARRAY['C-1', 'C-2', 'C-2', 'C-3', 'C-4', 'C-5', 'nobody', NULL]);
RESET ROLE;
SELECT profile_keys, waits FROM again ORDER BY profile_keys;
SELECT key, state, changed_at < (SELECT started_at FROM profenrich.run WHERE kind = 'resend') AS scored_before FROM told;
SELECT kind, changed, finished_at IS NOT NULL AS finished FROM profenrich.runs ORDER BY run_id DESC LIMIT 1;
SELECT profenrich.resend('profile_churn', '{}');
-- The gap counts from the value before, and the next value's gap from this one.
SET profenrich.resend_gap = 900;
DELETE FROM profenrich.outbox;
SELECT profenrich.resend('profile_churn', ARRAY['C-2', 'C-10']);
SELECT key, round(extract(epoch FROM next_try_at - now()) / 100) AS hundreds_of_seconds
  FROM unnest(ARRAY['C-2', 'C-10']) AS key, profenrich.profile_status('profile_churn', key);
UPDATE profenrich.profile_score SET changed_at = now() - interval '1 hour', not_before = NULL WHERE profile_key = 'C-11';
SELECT profenrich.resend('profile_churn', ARRAY['C-11']);
SELECT state FROM profenrich.profile_status('profile_churn', 'C-11');
UPDATE scores SET score = 0 WHERE crm_id = 'C-11';
SELECT changed FROM profenrich.refresh('profile_churn');
SELECT round(extract(epoch FROM not_before - now()) / 100) AS hundreds_of_seconds FROM profenrich.profile_score WHERE profile_key = 'C-11';
SET profenrich.resend_gap = 0;
-- Everybody, in chunks of the same shards as a refresh makes.
DELETE FROM profenrich.outbox;
DELETE FROM profenrich.retry;
UPDATE profenrich.profile_score SET not_before = NULL;
SELECT profenrich.resend('profile_churn');
SELECT count(*), max(key_count) <= 500 AS bounded FROM profenrich.outbox, unnest(profile_keys);
SELECT count(*) AS other_shard FROM profenrich.outbox AS o, unnest(o.profile_keys) AS k JOIN shards AS s ON s.key = k WHERE s.shard <> o.shard;
SELECT profenrich.resend('profile_churn') AS nothing_left;

-- Cleared, some: a tombstone each, which can be sent again too.
DELETE FROM profenrich.outbox;
SET ROLE profile_owner;
SELECT profenrich.retract('profile_churn', ARRAY['C-1', 'C-2', 'it''s \ "odd"', NULL]);
SELECT profenrich.retract('profile_churn', ARRAY['C-1']);
RESET ROLE;
SELECT key, state, retracted, value FROM told WHERE key IN ('C-1', 'C-2', 'C-3');
SELECT key FROM profenrich.outbox, unnest(profile_keys) AS key ORDER BY 1;
UPDATE profenrich.profile_score SET hash = -1 WHERE profile_key = 'C-1';
DELETE FROM profenrich.outbox;
SELECT profenrich.resend('profile_churn', ARRAY['C-1']);
SELECT hash, retracted FROM profenrich.profile_score WHERE profile_key = 'C-1';
SELECT changed, retracted FROM profenrich.refresh('profile_churn');
SELECT retracted FROM profenrich.profile_status('profile_churn', 'C-1');

-- Who may: its owner, and an admin.
SET ROLE profile_stranger;
SELECT profenrich.resend('profile_churn');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.retract('profile_churn', ARRAY['C-1']);
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT profenrich.resend(NULL);
\echo :LAST_ERROR_SQLSTATE
-- What a query without rows gives as keys does not mean everybody.
SELECT profenrich.resend('profile_churn', (SELECT array_agg(profile_key) FROM profenrich.profile_score WHERE false));
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.retract('profile_churn', (SELECT array_agg(profile_key) FROM profenrich.profile_score WHERE false));
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.resend('profile_churn', ARRAY(SELECT profile_key FROM profenrich.profile_score WHERE false));
BEGIN READ ONLY;
SELECT profenrich.resend('profile_churn');
ROLLBACK;

SET client_min_messages = warning;
DROP EXTENSION profenrich CASCADE;
DROP SCHEMA profile_test CASCADE;
DROP ROLE profile_owner, profile_stranger;
