-- Defining enrichments: what may go where. No network.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
RESET client_min_messages;
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '0123456789ABCDEF01234567@AdobeOrg');
CREATE TABLE churn_scores (crm_id text, probability float8, score int4, visits int8, churned bool, band varchar(10),
	day date, seen timestamptz, tags text[], reasons jsonb);
INSERT INTO churn_scores VALUES
	('C-1', 0.25, 25, 7, false, 'low', '2026-11-23', '2026-11-23 10:00+01', '{a,b}', '[{"feature": "age", "value": "7", "contribution": 0.5}]'),
	('C-2', 'nan', 75, 9, true, 'high', NULL, NULL, NULL, NULL),
	('null', 1, 1, 1, true, 'high', NULL, NULL, NULL, NULL);

-- What is wrong with a definition.
SELECT profenrich.create_enrichment('_churn', 'aep', 'churn_scores', 'crm_id', 'CRMID');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.create_enrichment('churn nightly', 'aep', 'churn_scores', 'crm_id', 'CRMID');
SELECT profenrich.create_enrichment(repeat('c', 64), 'aep', 'churn_scores', 'crm_id', 'CRMID');
SELECT profenrich.create_enrichment('churn', NULL, 'churn_scores', 'crm_id', 'CRMID');
SELECT profenrich.create_enrichment('churn', 'nowhere', 'churn_scores', 'crm_id', 'CRMID');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.create_enrichment('churn', 'aep', 'no_scores', 'crm_id', 'CRMID');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.create_enrichment('churn', 'aep', 'SELECT 1; SELECT 2', 'crm_id', 'CRMID');
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crmid', 'CRMID');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'probability', 'CRMID');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crm_id', 'CRM ID');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.create_enrichment('churn', 'aep', 'SELECT crm_id FROM churn_scores', 'crm_id', 'CRMID');
SELECT profenrich.create_enrichment('churn', 'aep', 'SELECT crm_id, 1 AS a, 2 AS a FROM churn_scores', 'crm_id', 'CRMID');
SELECT profenrich.create_enrichment('churn', 'aep', 'SELECT crm_id, score AS "scoredAt" FROM churn_scores', 'crm_id', 'CRMID');
SELECT profenrich.create_enrichment('churn', 'aep', 'SELECT crm_id, score AS "Score in %" FROM churn_scores', 'crm_id', 'CRMID');
SELECT profenrich.create_enrichment('churn', 'aep', 'SELECT crm_id, score, interval ''1 day'' AS age FROM churn_scores', 'crm_id', 'CRMID');
SELECT profenrich.create_enrichment('churn', 'aep', 'SELECT crm_id, ''\x00''::bytea AS blob FROM churn_scores', 'crm_id', 'CRMID');
SELECT profenrich.create_enrichment('churn', 'aep', 'SELECT crm_id, ''{}''::json AS detail FROM churn_scores', 'crm_id', 'CRMID');

-- jsonb columns: the type is declared, and must be one that the platform has.
SELECT profenrich.create_enrichment('churn', 'aep', 'SELECT crm_id, reasons AS detail FROM churn_scores', 'crm_id', 'CRMID');
\echo :LAST_ERROR_SQLSTATE
\set detail '''SELECT crm_id, score, reasons AS detail FROM churn_scores'''
SELECT profenrich.create_enrichment('churn', 'aep', :detail, 'crm_id', 'CRMID', '{"detail": "map<number>"}');
SELECT profenrich.create_enrichment('churn', 'aep', :detail, 'crm_id', 'CRMID', '{"detail": "array<array<string>>"}');
SELECT profenrich.create_enrichment('churn', 'aep', :detail, 'crm_id', 'CRMID', '{"detail": "array<{name:text}>"}');
SELECT profenrich.create_enrichment('churn', 'aep', :detail, 'crm_id', 'CRMID', '{"detail": "array<{name:string,name:string}>"}');
SELECT profenrich.create_enrichment('churn', 'aep', :detail, 'crm_id', 'CRMID', '{"detail": "array<{_id:string}>"}');
SELECT profenrich.create_enrichment('churn', 'aep', :detail, 'crm_id', 'CRMID', '{"detail": "map<integer"}');
SELECT profenrich.create_enrichment('churn', 'aep', :detail, 'crm_id', 'CRMID', '{"detail": "string"}');
SELECT profenrich.create_enrichment('churn', 'aep', :detail, 'crm_id', 'CRMID', '{"detail": 5}');
SELECT profenrich.create_enrichment('churn', 'aep', :detail, 'crm_id', 'CRMID', '{"detial": "map<integer>"}');
SELECT profenrich.create_enrichment('churn', 'aep', :detail, 'crm_id', 'CRMID', '{"detail": "map<integer>", "score": "string"}');
SELECT profenrich.create_enrichment('churn', 'aep', :detail, 'crm_id', 'CRMID', '{"detail": "map<integer>", "crm_id": "string"}');
SELECT profenrich.create_enrichment('churn', 'aep', :detail, 'crm_id', 'CRMID', '["map<integer>"]');

-- Options.
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crm_id', 'CRMID', options => '{"on_missing": "keep"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crm_id', 'CRMID', options => '{"on_absent": "delete"}');
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crm_id', 'CRMID', options => '{"on_duplicate": {"newest": "seen"}}');
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crm_id', 'CRMID', options => '{"on_duplicate": {"highest": "nothing"}}');
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crm_id', 'CRMID', options => '{"max_retract": 5}');
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crm_id', 'CRMID', options => '{"max_retract": "all"}');
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crm_id', 'CRMID', options => '{"mode": "fast"}');
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crm_id', 'CRMID', options => '{"mode": true}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crm_id', 'CRMID', options => '[]');
SELECT count(*) FROM profenrich.enrichment;

-- A good one; its source is remembered with its schema.
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crm_id', 'CRMID',
	options => '{"on_absent": "retract", "max_retract": 0.1, "on_duplicate": {"highest": "seen"}, "mode": "streaming"}');
SELECT name, owner = CURRENT_USER::regrole AS mine, server, source, identity_column, namespace, attributes, options, paused
  FROM profenrich.enrichment;
SELECT profenrich.create_enrichment('churn', 'aep', 'churn_scores', 'crm_id', 'CRMID');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.create_enrichment('detail', 'aep', :detail, 'crm_id', 'CRMID', '{"detail": " array< { feature : string , value:string } > "}');

-- What would be sent. Values that the platform cannot hold are left out, identities that it refuses are no messages.
SELECT jsonb_pretty(m #- '{body,xdmEntity,_(known after provision),churn,scoredAt}')
  FROM profenrich.preview('churn', 1) m;
SELECT jsonb_path_query(m, '$.body.xdmEntity.*.churn') - 'scoredAt' FROM profenrich.preview('churn', 5) m;
SELECT * FROM profenrich.preview('churn', 0);
SELECT * FROM profenrich.preview('nothing');
\echo :LAST_ERROR_SQLSTATE

-- Changing: null keeps what is.
SELECT profenrich.alter_enrichment('churn', options => '{"on_absent": "keep"}');
SELECT profenrich.alter_enrichment('churn', source => 'SELECT crm_id, score FROM churn_scores', namespace => 'Email');
SELECT source, identity_column, namespace, options FROM profenrich.enrichment WHERE name = 'churn';
SELECT profenrich.alter_enrichment('churn', source => 'SELECT score FROM churn_scores');
SELECT profenrich.alter_enrichment('churn', options => '{"on_absent": "never"}');
SELECT profenrich.alter_enrichment('churm', namespace => 'Email');

-- Names in a query mean what they meant where it was defined.
CREATE SCHEMA regress_pe_else;
CREATE TABLE regress_pe_else.churn_scores (crm_id text, score text);
SET search_path = regress_pe_else;
SELECT profenrich.alter_enrichment('churn', namespace => 'Email');
SELECT jsonb_path_query(m, '$.body.xdmEntity.*.churn') - 'scoredAt' FROM profenrich.preview('churn', 1) m;
SHOW search_path;
RESET search_path;
SELECT search_path FROM profenrich.enrichment WHERE name = 'churn';
DROP SCHEMA regress_pe_else CASCADE;

-- Once provisioned, some things are for good.
INSERT INTO profenrich.enrichment_target (enrichment_id, tenant, field_group_id, schema_id, dataset_id, inlet_url, flow_id,
	org_id, sandbox, attributes, sender_identity, ready_at)
SELECT enrichment_id, 'acme', 'group', 'schema', 'dataset', 'https://dcs.adobedc.net/collection/1', 'flow',
	'0123456789ABCDEF01234567@AdobeOrg', 'prod', '{"score": "integer"}', 'another cluster', '2026-11-23' FROM profenrich.enrichment WHERE name = 'churn';
SELECT profenrich.alter_enrichment('churn', namespace => 'CRMID');
\echo :LAST_ERROR_SQLSTATE
CREATE SERVER elsewhere FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '0123456789ABCDEF01234567@AdobeOrg', sandbox 'dev');
SELECT profenrich.alter_enrichment('churn', server => 'elsewhere');
\echo :LAST_ERROR_SQLSTATE
SELECT m #- '{body,xdmEntity,_acme,churn,scoredAt}' FROM profenrich.preview('churn', 1) m;
-- By another cluster: neither provision nor anything else sends before it is adopted.
\set VERBOSITY terse
SELECT * FROM profenrich.provision('churn');
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.adopt('detail');
SELECT profenrich.adopt('churn');
SELECT sender_identity = profenrich.sender_identity() AS adopted FROM profenrich.enrichment_target;
SELECT * FROM profenrich.provision('churn');
\echo :LAST_ERROR_SQLSTATE

-- Roles: an operator with USAGE on the server makes them, and only its owner changes them.
CREATE ROLE regress_pe_one IN ROLE profenrich_operator;
CREATE ROLE regress_pe_two IN ROLE profenrich_operator;
CREATE ROLE regress_pe_reader IN ROLE profenrich_reader;
SET ROLE regress_pe_reader;
SELECT profenrich.create_enrichment('mine', 'aep', 'SELECT ''1'' AS id, 2 AS a', 'id', 'CRMID');
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_pe_one;
SELECT profenrich.create_enrichment('mine', 'aep', 'SELECT ''1'' AS id, 2 AS a', 'id', 'CRMID');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER aep TO regress_pe_one, regress_pe_two;
SET ROLE regress_pe_one;
SELECT profenrich.create_enrichment('mine', 'aep', 'SELECT ''1'' AS id, 2 AS a', 'id', 'CRMID');
SELECT profenrich.create_enrichment('stolen', 'aep', 'churn_scores', 'crm_id', 'CRMID');
SELECT name, owner FROM profenrich.enrichment WHERE owner::text ~ '^regress' ORDER BY 1;
-- Describing is not reading: the owner's own rights decide when the source is read.
SELECT * FROM profenrich.preview('stolen', 1);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO profenrich.enrichment (name, owner, server, source, identity_column, namespace) VALUES ('x', 'postgres', '', '', '', '');
SET ROLE regress_pe_two;
SELECT profenrich.alter_enrichment('mine', namespace => 'Email');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.drop_enrichment('mine');
SELECT * FROM profenrich.preview('mine');
SELECT * FROM profenrich.provision('mine');
RESET ROLE;
GRANT regress_pe_one TO regress_pe_two;
SET ROLE regress_pe_two;
SELECT profenrich.alter_enrichment('mine', namespace => 'Email');
SELECT m #- '{body,xdmEntity,_(known after provision),mine,scoredAt}' FROM profenrich.preview('mine') m;
RESET ROLE;

-- Another owner: given by who is a member of both.
SET ROLE regress_pe_one;
SELECT profenrich.set_enrichment_owner('mine', 'regress_pe_two');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.set_enrichment_owner('mine', NULL);
SELECT profenrich.set_enrichment_owner('churn', 'regress_pe_one');
SET ROLE regress_pe_two;
SELECT profenrich.set_enrichment_owner('mine', '1');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.set_enrichment_owner('mine', 'regress_pe_two');
SELECT owner FROM profenrich.enrichment WHERE name = 'mine';
RESET ROLE;
-- What the definition needs, the new owner needs.
SELECT profenrich.set_enrichment_owner('mine', 'regress_pe_reader');
\echo :LAST_ERROR_SQLSTATE
-- One whose owner is gone: an admin gives it another, of which it is a member.
CREATE ROLE regress_pe_gone;
CREATE ROLE regress_pe_admin IN ROLE profenrich_admin, regress_pe_two;
UPDATE profenrich.enrichment SET owner = 'regress_pe_gone' WHERE name = 'mine';
DROP ROLE regress_pe_gone;
SELECT check_name, detail, hint FROM profenrich.health() WHERE check_name ~ '^owner';
\set VERBOSITY terse
SELECT profenrich.provision('mine');
SET ROLE regress_pe_two;
SELECT profenrich.set_enrichment_owner('mine', 'regress_pe_two');
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.pause('mine');
SET ROLE regress_pe_admin;
SELECT profenrich.alter_enrichment('mine', namespace => 'Email');
SELECT profenrich.set_enrichment_owner('mine', 'regress_pe_one');
SELECT profenrich.set_enrichment_owner('mine', 'regress_pe_two');
SELECT owner FROM profenrich.enrichment WHERE name = 'mine';
RESET ROLE;
SELECT check_name FROM profenrich.health() WHERE check_name ~ '^owner';

-- Dropping: not while something is undelivered, unless forced.
INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys) SELECT enrichment_id, 0, 1, '{1}' FROM profenrich.enrichment WHERE name = 'mine';
SELECT profenrich.drop_enrichment('mine');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.drop_enrichment('mine', force => true);
SELECT count(*) FROM profenrich.outbox;
SELECT profenrich.drop_enrichment('mine');
SELECT profenrich.drop_enrichment('churn');
SELECT profenrich.drop_enrichment('stolen');
BEGIN READ ONLY;
SELECT profenrich.drop_enrichment('detail');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
-- The source went away.
DROP TABLE churn_scores;
SELECT * FROM profenrich.preview('detail');
SELECT profenrich.drop_enrichment('detail');

SET client_min_messages = warning;
DROP EXTENSION profenrich CASCADE;
DROP ROLE regress_pe_one, regress_pe_two, regress_pe_reader, regress_pe_admin;
