-- refresh: what changed is queued, all or nothing; what may not be sent is skipped and said.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
RESET client_min_messages;
CREATE SERVER refresh_aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id 'ABC@AdobeOrg', sandbox 'prod');
CREATE SCHEMA refresh_test;
SET search_path = refresh_test;
SET profenrich.resend_gap = 0;

CREATE TABLE scores (crm_id text, probability float8, score int, bucket text, reasons jsonb, tags text[], seen timestamptz, born date);
INSERT INTO scores
SELECT 'C-' || i, i / 1000.0, i % 100, CASE WHEN i % 2 = 0 THEN 'high' END,
       CASE WHEN i = 1 THEN '[{"feature": "tenure", "value": "3", "contribution": 0.5}]'::jsonb END,
       CASE WHEN i = 1 THEN ARRAY['a', NULL, 'b"c'] END, '2026-11-23 10:00:00.5+00', '1980-01-31'
  FROM generate_series(1, 2000) AS i;

SELECT profenrich.create_enrichment('refresh_churn', server => 'refresh_aep', source => 'scores',
                                    identity_column => 'crm_id', namespace => 'CRMID');
CREATE VIEW pending AS
SELECT count(*) AS chunks, sum(cardinality(profile_keys)) AS keys, max(cardinality(profile_keys)) AS largest,
       count(DISTINCT shard) AS shards, count(not_before) AS waiting
  FROM profenrich.outbox JOIN profenrich.enrichment USING (enrichment_id) WHERE name = 'refresh_churn';

-- The first refresh queues everybody, in chunks of one shard each.
SELECT profiles, changed, unchanged, retracted, skipped FROM profenrich.refresh('refresh_churn');
SELECT keys, largest <= 500 AS bounded, shards, waiting FROM pending;
-- Every key in exactly one chunk, and in the chunk its value's version names.
SELECT count(*), count(DISTINCT key) FROM profenrich.outbox, unnest(profile_keys) AS key;
SELECT count(*) FROM profenrich.outbox o, unnest(profile_keys) AS key
  JOIN profenrich.profile_score s ON s.profile_key = key WHERE s.version = o.version;

-- The value: nulls left out, numbers exact, times in UTC.
SELECT jsonb_pretty(value) FROM profenrich.profile_score WHERE profile_key = 'C-1';
SELECT value FROM profenrich.profile_score WHERE profile_key = 'C-3';

-- Nothing changed: nothing is queued. 37 changes: 37 are.
TRUNCATE profenrich.outbox;
SELECT profiles, changed, unchanged, retracted, skipped FROM profenrich.refresh('refresh_churn');
SELECT * FROM pending;
UPDATE scores SET score = score + 1 WHERE crm_id IN (SELECT 'C-' || i FROM generate_series(100, 136) AS i);
SELECT profiles, changed, unchanged, retracted, skipped FROM profenrich.refresh('refresh_churn');
SELECT keys FROM pending;

-- A, then B, then A while B is pending: the newest queued value decides, so A is queued again.
UPDATE scores SET score = score - 1 WHERE crm_id = 'C-100';
SELECT changed FROM profenrich.refresh('refresh_churn');
SELECT value ->> 'score' AS newest FROM profenrich.profile_score WHERE profile_key = 'C-100';

-- A value that follows soon after its predecessor waits.
SET profenrich.resend_gap = 900;
UPDATE scores SET score = score + 5 WHERE crm_id IN ('C-200', 'C-201');
INSERT INTO scores (crm_id, score) VALUES ('C-new', 1);
TRUNCATE profenrich.outbox;
SELECT changed FROM profenrich.refresh('refresh_churn');
SELECT sum(cardinality(profile_keys)) FILTER (WHERE not_before > now() + interval '800 seconds') AS waiting,
       sum(cardinality(profile_keys)) FILTER (WHERE not_before IS NULL) AS at_once FROM profenrich.outbox;
-- Its successor takes its place, however often the value changes: it never waits longer than the gap.
UPDATE scores SET score = score + 5 WHERE crm_id = 'C-200';
SELECT changed FROM profenrich.refresh('refresh_churn');
SELECT count(DISTINCT not_before) AS times, count(*) > 1 AS several FROM profenrich.outbox WHERE profile_keys @> ARRAY['C-200'];
-- Once it has gone out, the gap counts from then, not from when it changed.
UPDATE profenrich.profile_score SET changed_at = now() - interval '1000 seconds', not_before = now() - interval '100 seconds'
 WHERE profile_key = 'C-200';
UPDATE scores SET score = score + 5 WHERE crm_id = 'C-200';
SELECT changed FROM profenrich.refresh('refresh_churn');
SELECT round(extract(epoch FROM not_before - now()) / 100) AS hundreds_of_seconds FROM profenrich.profile_score WHERE profile_key = 'C-200';
SET profenrich.resend_gap = 0;

-- Identities and values the platform would not take are skipped, counted, never queued.
INSERT INTO scores (crm_id, score) VALUES (NULL, 1), ('', 1), ('  ', 1), ('NULL', 1), ('anonymous', 1), (repeat('x', 1025), 1);
INSERT INTO scores (crm_id, born) VALUES ('C-far', '11000-01-01');
INSERT INTO scores (crm_id, probability) VALUES ('C-nan', 'NaN');
TRUNCATE profenrich.outbox;
SELECT changed, skipped FROM profenrich.refresh('refresh_churn');
SELECT changed, skipped, skipped_reasons FROM profenrich.runs WHERE enrichment = 'refresh_churn' ORDER BY run_id DESC LIMIT 1;
SELECT value FROM profenrich.profile_score WHERE profile_key = 'C-nan';
DELETE FROM scores WHERE crm_id IS NULL OR length(crm_id) > 1000 OR crm_id IN ('', '  ', 'NULL', 'anonymous', 'C-far');

-- A repeated key stops the refresh and says how many; on_duplicate says which row counts.
INSERT INTO scores (crm_id, score) VALUES ('C-5', 77), ('C-5', 78), ('C-6', 79);
SELECT * FROM profenrich.refresh('refresh_churn');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.alter_enrichment('refresh_churn', options => '{"on_duplicate": {"highest": "score"}}');
SELECT changed FROM profenrich.refresh('refresh_churn');
SELECT profile_key, value -> 'score' AS score FROM profenrich.profile_score WHERE profile_key IN ('C-5', 'C-6') ORDER BY 1;

-- Profiles that left the source: kept unless the enrichment says so, and never en masse.
DELETE FROM scores WHERE crm_id LIKE 'C-19%';
SELECT changed, retracted FROM profenrich.refresh('refresh_churn');
SELECT profenrich.alter_enrichment('refresh_churn', options => '{"on_duplicate": {"highest": "score"}, "on_absent": "retract"}');
SELECT * FROM profenrich.refresh('refresh_churn');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.alter_enrichment('refresh_churn', options => '{"on_duplicate": {"highest": "score"}, "on_absent": "retract", "max_retract": 0.5}');
TRUNCATE profenrich.outbox;
SELECT changed, retracted FROM profenrich.refresh('refresh_churn');
SELECT count(*), count(value) AS with_value FROM profenrich.profile_score WHERE retracted;
SELECT keys FROM pending;
-- One that comes back is sent again, even with its old value.
INSERT INTO scores (crm_id, probability, score, bucket, seen, born) VALUES ('C-19', 0.019, 19, NULL, '2026-11-23 10:00:00.5+00', '1980-01-31');
SELECT changed, retracted FROM profenrich.refresh('refresh_churn');

-- A row that is skipped for its value is still in the source: what was sent stays.
UPDATE scores SET born = '11000-01-01' WHERE crm_id = 'C-7';
SELECT changed, retracted, skipped FROM profenrich.refresh('refresh_churn');
UPDATE scores SET born = '1980-01-31' WHERE crm_id = 'C-7';
SELECT changed, retracted, skipped FROM profenrich.refresh('refresh_churn');

-- Which of two rows counts is decided exactly, by any number or time; NaN and null come last.
CREATE TABLE twice (crm_id text, seq numeric, small smallint, weight float4, score int);
INSERT INTO twice VALUES ('T-1', 9007199254740993, 1, 'NaN', 1), ('T-1', 9007199254740994, 2, 2.5, 2), ('T-1', 9007199254740992, 3, NULL, 3);
SELECT profenrich.create_enrichment('refresh_twice', server => 'refresh_aep', source => 'twice', identity_column => 'crm_id',
                                    namespace => 'CRMID', options => '{"on_duplicate": {"highest": "seq"}}');
SELECT changed FROM profenrich.refresh('refresh_twice');
SELECT value -> 'score' AS second FROM profenrich.profile_score WHERE profile_key = 'T-1';
SELECT profenrich.alter_enrichment('refresh_twice', options => '{"on_duplicate": {"highest": "small"}}');
SELECT changed FROM profenrich.refresh('refresh_twice');
SELECT value -> 'score' AS third FROM profenrich.profile_score WHERE profile_key = 'T-1';
SELECT profenrich.alter_enrichment('refresh_twice', options => '{"on_duplicate": {"highest": "weight"}}');
SELECT changed FROM profenrich.refresh('refresh_twice');
SELECT value -> 'score' AS second FROM profenrich.profile_score WHERE profile_key = 'T-1';
SELECT profenrich.alter_enrichment('refresh_twice', options => '{"on_duplicate": {"highest": "crm_id"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.drop_enrichment('refresh_twice', force => true);

-- More changes than memory is allowed for: what was spilled to files is closed again.
SET maintenance_work_mem = '1MB';
SELECT profenrich.create_enrichment('refresh_many', server => 'refresh_aep', identity_column => 'crm_id', namespace => 'CRMID',
                                    source => 'SELECT ''M-'' || i AS crm_id, i AS score FROM generate_series(1, 20000) AS i');
SELECT changed FROM profenrich.refresh('refresh_many');
SELECT profenrich.retract('refresh_many');
RESET maintenance_work_mem;
SELECT profenrich.drop_enrichment('refresh_many', force => true);

-- A retraction that the platform has accepted leaves a mark until the resend gap has passed, so that a value
-- which follows at once waits; then the mark goes.
UPDATE profenrich.profile_score SET hash = -1 WHERE retracted;
TRUNCATE profenrich.outbox;
SET profenrich.resend_gap = 900;
INSERT INTO scores (crm_id, score) VALUES ('C-191', 5);
SELECT changed FROM profenrich.refresh('refresh_churn');
SELECT count(*) FILTER (WHERE not_before > now() + interval '800 seconds') AS waiting, count(*) AS chunks FROM profenrich.outbox;
SELECT count(*) AS marks FROM profenrich.profile_score WHERE retracted;
SET profenrich.resend_gap = 0;
SELECT changed FROM profenrich.refresh('refresh_churn');
SELECT count(*) AS marks FROM profenrich.profile_score WHERE retracted;

-- A new value supersedes a dead letter.
INSERT INTO profenrich.dead_letter (enrichment_id, profile_key, shard, version, class)
SELECT enrichment_id, key, 0, 1, 'refused' FROM profenrich.enrichment, unnest(ARRAY['C-300', 'C-301']) AS key WHERE name = 'refresh_churn';
UPDATE scores SET score = 99 WHERE crm_id = 'C-300';
SELECT changed FROM profenrich.refresh('refresh_churn');
SELECT profile_key FROM profenrich.dead_letter;

-- An empty source, and one that lost its table, change nothing.
CREATE TABLE kept AS SELECT * FROM scores;
TRUNCATE scores;
SELECT * FROM profenrich.refresh('refresh_churn');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO scores (crm_id) VALUES ('null');
SELECT * FROM profenrich.refresh('refresh_churn');
TRUNCATE scores;
INSERT INTO scores SELECT * FROM kept;
ALTER TABLE scores RENAME TO moved;
SELECT * FROM profenrich.refresh('refresh_churn');
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE moved RENAME TO scores;

-- An old snapshot could overwrite a newer value.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM profenrich.refresh('refresh_churn');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT * FROM profenrich.refresh('refresh_churn');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- A rolled back refresh leaves nothing.
TRUNCATE profenrich.outbox;
BEGIN;
UPDATE scores SET score = 1000;
SELECT changed > 1000 AS many FROM profenrich.refresh('refresh_churn');
ROLLBACK;
SELECT * FROM pending;

-- A column that left the source clears its attribute on all profiles: that is said, once.
BEGIN;
ALTER TABLE scores DROP COLUMN bucket;
ALTER TABLE scores RENAME COLUMN born TO birthday;
SELECT changed > 500 AS many FROM profenrich.refresh('refresh_churn');
SELECT changed FROM profenrich.refresh('refresh_churn');
ROLLBACK;

-- The source is read as the enrichment's owner, whoever calls.
CREATE ROLE refresh_owner IN ROLE profenrich_operator;
CREATE ROLE refresh_stranger IN ROLE profenrich_operator;
GRANT USAGE ON FOREIGN SERVER refresh_aep TO refresh_owner;
GRANT USAGE ON SCHEMA refresh_test TO refresh_owner, refresh_stranger;
GRANT SELECT ON scores TO refresh_owner;
SET ROLE refresh_owner;
SELECT profenrich.create_enrichment('refresh_owned', server => 'refresh_aep', source => 'refresh_test.scores',
                                    identity_column => 'crm_id', namespace => 'CRMID',
                                    options => '{"on_duplicate": {"lowest": "score"}}');
RESET ROLE;
SET ROLE refresh_stranger;
SELECT * FROM profenrich.refresh('refresh_owned');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
REVOKE SELECT ON scores FROM refresh_owner;
SELECT * FROM profenrich.refresh('refresh_owned');
\echo :LAST_ERROR_SQLSTATE
GRANT SELECT ON scores TO refresh_owner;
SELECT changed > 1000 AS many FROM profenrich.refresh('refresh_owned');

-- retract clears everybody.
TRUNCATE profenrich.outbox;
SELECT profenrich.retract('refresh_churn') > 1000 AS many;
SELECT count(*) FILTER (WHERE NOT retracted) AS left FROM profenrich.profile_score JOIN profenrich.enrichment USING (enrichment_id) WHERE name = 'refresh_churn';
SELECT profenrich.retract('refresh_churn');
SELECT * FROM profenrich.refresh('no_such');
\echo :LAST_ERROR_SQLSTATE

SELECT profenrich.drop_enrichment('refresh_churn', force => true);
SELECT profenrich.drop_enrichment('refresh_owned', force => true);
SET client_min_messages = warning;
RESET search_path;
DROP SCHEMA refresh_test CASCADE;
DROP OWNED BY refresh_owner, refresh_stranger;
DROP ROLE refresh_owner, refresh_stranger;
DROP EXTENSION profenrich CASCADE;
