-- plan: what a refresh would send and which limits it would meet, with nothing sent or changed.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
CREATE SERVER plan_aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id 'ABC@AdobeOrg', sandbox 'prod', messages_per_second '50', requests_per_second '2');
CREATE SCHEMA plan_test;
SET search_path = plan_test;
SET profenrich.resend_gap = 900;
CREATE TABLE scores (crm_id text, score int, probability float8, note text, tags text[], visits bigint, born date, interests jsonb);
INSERT INTO scores SELECT 'C-' || i, i, i / 7.0, NULL, NULL, 1, NULL, NULL FROM generate_series(1, 1000) AS i;
SELECT profenrich.create_enrichment('plan', server => 'plan_aep', source => 'scores', identity_column => 'crm_id', namespace => 'CRMID',
	attributes => '{"interests": "map<integer>"}', options => '{"min_delta": {"score": 3}, "on_absent": "retract"}');

-- Everything is new. 1000 messages at 50 a second are a third of a minute.
SELECT * FROM profenrich.plan('plan') WHERE item NOT IN ('requests', 'bytes', 'bytes per record', 'largest record');

-- What the refresh then does, and the records as preview builds them.
CREATE FUNCTION planned(wanted text) RETURNS numeric LANGUAGE sql AS $$ SELECT value::numeric FROM profenrich.plan('plan') WHERE item = wanted $$;
CREATE TABLE before AS SELECT planned('requests') AS requests, planned('bytes per record') AS mean, planned('largest record') AS largest, planned('bytes') AS bytes;
-- Stored values are sent as jsonb writes them, and the envelope is the same for all but the key.
WITH sizes AS (
	SELECT octet_length((jsonb_strip_nulls(to_jsonb(s)) - 'crm_id')::text) + 2 * length(crm_id) AS varies FROM scores s)
SELECT round(avg(varies)) - round(mean) + largest - max(varies) BETWEEN -1 AND 1 AS same_envelope FROM sizes, before GROUP BY mean, largest;
SELECT changed FROM profenrich.refresh('plan');
SELECT count(*) = (SELECT requests FROM before) AS requests FROM profenrich.outbox;

-- Nothing is left to send.
SELECT item, value, ok FROM profenrich.plan('plan')
 WHERE item IN ('profiles', 'changed', 'unchanged', 'retracted', 'messages', 'requests', 'bytes', 'bytes per record', 'largest record', 'minutes', 'mode');

-- Changed, held back, retracted, skipped; they wait for the resend gap. Then the same from refresh.
UPDATE scores SET score = score + 3 WHERE crm_id IN (SELECT 'C-' || i FROM generate_series(1, 20) AS i);
UPDATE scores SET score = score + 1 WHERE crm_id IN (SELECT 'C-' || i FROM generate_series(21, 50) AS i);
DELETE FROM scores WHERE crm_id IN (SELECT 'C-' || i FROM generate_series(51, 55) AS i);
UPDATE scores SET visits = 9007199254740993 WHERE crm_id = 'C-60';
UPDATE scores SET tags = array_fill('x'::text, ARRAY[501]) WHERE crm_id IN ('C-61', 'C-62');
UPDATE scores SET born = '11000-01-01' WHERE crm_id = 'C-63';
UPDATE scores SET interests = '{"a": "b"}' WHERE crm_id = 'C-64';
INSERT INTO scores (crm_id) VALUES (NULL), ('null'), (repeat('x', 1025)), ('');
SELECT item, value, ok FROM profenrich.plan('plan') WHERE item ~ 'profiles|changed|held|retracted|skipped|messages|waiting';
SELECT count(*) AS runs FROM profenrich.runs;
SELECT profiles, changed, unchanged, held_back, retracted, skipped FROM profenrich.refresh('plan');
DELETE FROM scores WHERE crm_id IS NULL OR length(crm_id) > 1000 OR crm_id IN ('', 'null');
UPDATE scores SET visits = 1, tags = NULL, born = NULL, interests = NULL;

-- Large records and wide maps.
UPDATE scores SET note = repeat('n', 20000) WHERE crm_id = 'C-70';
UPDATE scores SET note = repeat('n', 120000) WHERE crm_id IN ('C-71', 'C-72');
UPDATE scores SET note = repeat('n', 1100000) WHERE crm_id = 'C-73';
UPDATE scores SET interests = (SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 16) AS i) WHERE crm_id = 'C-74';
UPDATE scores SET interests = (SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 15) AS i) WHERE crm_id = 'C-75';
SELECT item, value, ok FROM profenrich.plan('plan') WHERE item ~ 'records|maps|largest|messages' AND item <> 'bytes per record';
SELECT detail FROM profenrich.plan('plan') WHERE item = 'records above 1 MB';
-- A batch's files have no envelopes, and its time is the platform's.
CREATE TABLE streamed AS SELECT planned('bytes') AS bytes, planned('messages') AS messages;
SELECT profenrich.alter_enrichment('plan', options => '{"min_delta": {"score": 3}, "on_absent": "retract", "mode": "batch"}');
SELECT item, value, ok, detail FROM profenrich.plan('plan') WHERE item IN ('files', 'requests', 'minutes', 'batches');
SELECT planned('bytes') < bytes - 400 * messages AS without_envelopes FROM streamed;
SELECT profenrich.alter_enrichment('plan', options => '{"min_delta": {"score": 3}, "on_absent": "retract"}');
-- Ten records of 99 kB fill a request.
UPDATE scores SET note = repeat('n', 99000) WHERE crm_id IN (SELECT 'C-' || i FROM generate_series(100, 399) AS i);
SELECT planned('requests') BETWEEN 300 / 10 AND 300 / 10 + 16 * 2 AS bounded_by_bytes, planned('bytes') > 29700000 AS bytes;

-- A column that left the source is cleared on all profiles.
SELECT item, value, ok FROM profenrich.plan('plan') WHERE item = 'attributes cleared';
BEGIN;
ALTER TABLE scores DROP COLUMN probability, DROP COLUMN visits;
SELECT item, value, ok, detail FROM profenrich.plan('plan') WHERE item = 'attributes cleared';
ROLLBACK;

-- Where a refresh would stop, the plan says so.
INSERT INTO scores (crm_id, score) VALUES ('C-100', 7);
DELETE FROM scores WHERE crm_id LIKE 'C-9__';
SELECT item, value, ok, detail FROM profenrich.plan('plan') WHERE item IN ('repeated keys', 'retracted');
INSERT INTO profenrich.enrichment_target (enrichment_id, tenant, field_group_id, schema_id, dataset_id, inlet_url, flow_id,
	org_id, sandbox, attributes, sender_identity, ready_at)
SELECT enrichment_id, 'acme', 'group', 'schema', 'dataset', 'https://dcs.adobedc.net/collection/1', 'flow',
	'ABC@AdobeOrg', 'prod', '{"score": "integer"}', 'another cluster', '2026-11-23' FROM profenrich.enrichment WHERE name = 'plan';
SELECT item, value, ok, detail FROM profenrich.plan('plan') WHERE item = 'provisioned';
TRUNCATE scores;
SELECT item, value, ok, detail FROM profenrich.plan('plan') WHERE item = 'profiles';

-- It changes nothing, so it may run where nothing can be changed.
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT count(*) > 10 AS planned FROM profenrich.plan('plan');
ROLLBACK;
SELECT count(*) AS runs FROM profenrich.runs;

-- Only for its owner, as whom the source is read.
CREATE ROLE plan_owner IN ROLE profenrich_operator;
CREATE ROLE plan_stranger IN ROLE profenrich_operator;
CREATE ROLE plan_reader IN ROLE profenrich_reader;
UPDATE profenrich.enrichment SET owner = 'plan_owner' WHERE name = 'plan';
SET ROLE plan_stranger;
SELECT * FROM profenrich.plan('plan');
\echo :LAST_ERROR_SQLSTATE
SET ROLE plan_reader;
SELECT * FROM profenrich.plan('plan');
\echo :LAST_ERROR_SQLSTATE
SET ROLE plan_owner;
SELECT * FROM profenrich.plan('plan');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT USAGE ON SCHEMA plan_test TO plan_owner;
GRANT SELECT ON scores TO plan_owner;
SET ROLE plan_owner;
SELECT count(*) > 10 AS planned FROM profenrich.plan('plan');
RESET ROLE;
SELECT * FROM profenrich.plan('no_such');
\echo :LAST_ERROR_SQLSTATE

SELECT profenrich.drop_enrichment('plan', force => true);
RESET search_path;
DROP SCHEMA plan_test CASCADE;
DROP OWNED BY plan_owner;
DROP ROLE plan_owner, plan_stranger, plan_reader;
DROP EXTENSION profenrich CASCADE;
