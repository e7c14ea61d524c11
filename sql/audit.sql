-- The audit log: whoever changes something leaves a row. Another function that is VOLATILE shows up below: have it
-- call pe_audit() and call it here, or, when it changes nothing that outlives the call, name it among those.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
\getenv data PROFENRICH_TEST_DATA
\set export :data '/audit.json'
CREATE ROLE audit_operator NOLOGIN;
CREATE ROLE audit_admin NOLOGIN;
GRANT profenrich_operator, profenrich_analyst, pg_read_server_files TO audit_operator;
GRANT profenrich_admin TO audit_admin;
CREATE SERVER audit_aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id 'ABC@AdobeOrg', sandbox 'prod');
GRANT USAGE ON FOREIGN SERVER audit_aep TO audit_operator;
CREATE SCHEMA audit_test AUTHORIZATION audit_operator;
COPY (SELECT jsonb_build_object('identityMap', jsonb_build_object('CRMID', jsonb_build_array(jsonb_build_object('id', 'secret-' || i))))
		FROM generate_series(1, 3) AS i) TO :'export';
CREATE TEMP TABLE before AS SELECT coalesce(max(audit_id), 0) AS id FROM profenrich.audit_log;
GRANT SELECT ON before TO PUBLIC;

SET SESSION AUTHORIZATION audit_operator;
SET search_path = audit_test;
CREATE TABLE people AS SELECT 'secret-' || i AS crm_id, i AS age, 4711 + i AS score, i * 7919 % 100 < i / 20 AS bought FROM generate_series(1, 2000) AS i;
SELECT profenrich.create_enrichment('audited', 'audit_aep', 'SELECT crm_id, score FROM people WHERE age < 10', 'crm_id', 'CRMID');
SELECT profenrich.alter_enrichment('audited', source => 'SELECT crm_id, score FROM people WHERE age < 20', options => '{}');
RESET SESSION AUTHORIZATION;
INSERT INTO profenrich.enrichment_target (enrichment_id, tenant, field_group_id, schema_id, dataset_id, inlet_url, flow_id, org_id,
	sandbox, sender_identity, ready_at, attributes)
SELECT enrichment_id, 'acme', 'f', 's', 'd', 'https://localhost/collection/i', 'w', 'ABC@AdobeOrg', 'prod', profenrich.sender_identity(), now(), '{"score": "integer"}'
  FROM profenrich.enrichment WHERE name = 'audited';
SET SESSION AUTHORIZATION audit_operator;
SELECT changed FROM profenrich.refresh('audited');
SELECT profenrich.alter_enrichment('audited', source => 'SELECT crm_id, score FROM people WHERE age < 40', options => '{"gate": {"new": 0.1}}');
SELECT outcome FROM profenrich.refresh('audited');
SELECT profenrich.discard('audited') > 0 AS discarded;
SELECT outcome FROM profenrich.refresh('audited');
SELECT outcome FROM profenrich.release('audited');
SELECT profenrich.pause('audited'), profenrich.resume('audited'), profenrich.adopt('audited');
SELECT profenrich.retract('audited', '{secret-1}'), profenrich.retract('audited');
SELECT profenrich.resend('audited', '{secret-1}'), profenrich.redrive('audited');
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'snapshots', snapshot_date => '2026-11-23');
SELECT profenrich.set_validation('snapshots');
SELECT profenrich.set_column_type('snapshots', 'identity_crmid', 'text');
SELECT profenrich.set_retention('snapshots', '30 days'), profenrich.set_identity('snapshots', '{CRMID}');
SELECT count(*) FROM profenrich.apply_retention('snapshots');
SELECT count(*) FROM profenrich.compact_history('snapshots');
SELECT count(*) FROM profenrich.reconcile('audited', 'snapshots');
SELECT profenrich.unload_snapshot('snapshots', '2026-11-23');
SELECT profiles FROM profenrich.load_destination_payload('{"identityMap": {"CRMID": [{"id": "secret-9"}]}}', 'delivered');
SELECT version FROM profenrich.train('audited', 'propensity', 'people', 'bought', 'logistic', '{"key": "crm_id", "features": {"exclude": ["score"]}}');
SELECT profenrich.create_goal('audited', 'bought', '2 days', 'SELECT crm_id, age, bought AND d > age % 10 AS bought, date ''2026-01-01'' + d AS snapshot_date FROM people, generate_series(0, 9) AS d', 'crm_id');
SELECT profenrich.alter_goal('audited', eligible => 'NOT bought');
SELECT version FROM profenrich.train('audited_goal', goal => 'audited', algorithm => 'logistic', options => '{"features": {"include": ["age"]}}');
SELECT profiles > 0 AS recorded FROM profenrich.record_predictions('audited', 'audited_goal', '2026-01-05');
SELECT known > 0 AS filled FROM profenrich.fill_outcomes('audited');
SELECT profenrich.drop_goal('audited'), profenrich.drop_model('audited_goal');
SELECT profenrich.recalibrate('audited', 'people', 'bought', deploy => false);
SELECT profenrich.deploy('audited', 2);
SELECT profenrich.score_into('audited', 'people', 'crm_id', 'scores');
SELECT profenrich.create_event_features('people_features', 'SELECT crm_id, date ''2026-01-01'' AS day FROM people', 'crm_id', 'day', '{"features": ["count"]}');
SELECT profenrich.event_features_into('people_counts', 'SELECT crm_id, date ''2026-01-01'' AS day FROM people', 'crm_id', 'day', '{"features": ["count"]}', '2026-02-01');
SELECT profenrich.drop_model('audited', 1), profenrich.drop_model('audited');
SET SESSION AUTHORIZATION audit_admin;
SELECT count(*) > 0 AS done FROM profenrich.forget('CRMID', 'secret-2');
SELECT count(*) > 0 AS done FROM profenrich.forget('{"CRMID": ["secret-3", "secret-4"]}');
SELECT profenrich.unforget('CRMID', 'secret-2');
SET SESSION AUTHORIZATION audit_operator;
SELECT profenrich.set_enrichment_owner('audited', 'audit_operator');
SELECT profenrich.drop_enrichment('audited', force => true);

-- What was not done leaves nothing: an error, a transaction that was rolled back.
SELECT profenrich.pause('nothing');
BEGIN;
SELECT profenrich.create_enrichment('never', 'audit_aep', 'people', 'crm_id', 'CRMID');
ROLLBACK;
-- As another role.
RESET SESSION AUTHORIZATION;
SET ROLE audit_admin;
SELECT profenrich.unforget('CRMID', 'nobody');
RESET ROLE;
SELECT l.login_role = session_user AS by_me, l.acting_role, l.action, l.object, l.detail FROM profenrich.audit_trail l ORDER BY at DESC LIMIT 1;

-- The log.
SET SESSION AUTHORIZATION audit_admin;
SELECT login_role, acting_role, action, object, detail - 'run_id' AS detail FROM profenrich.audit_log, before
 WHERE audit_id > before.id AND login_role LIKE 'audit%' ORDER BY audit_id;
SELECT count(*) = 0 AS discreet FROM profenrich.audit_log WHERE concat(object, detail) ~ 'secret|47[12]';
-- An operator sees what it did, and nobody changes anything.
SET SESSION AUTHORIZATION audit_operator;
SELECT DISTINCT login_role FROM profenrich.audit_trail;
SELECT count(*) FROM profenrich.audit_log;
SET SESSION AUTHORIZATION audit_admin;
SELECT count(DISTINCT login_role) > 1 AS all_of_it FROM profenrich.audit_trail;
DELETE FROM profenrich.audit_log;
UPDATE profenrich.audit_trail SET action = 'nothing';
TRUNCATE profenrich.audit_log;
INSERT INTO profenrich.audit_log (login_role, acting_role, action) VALUES ('somebody', 'somebody', 'forget');
RESET SESSION AUTHORIZATION;

-- Nobody is forgotten: VOLATILE functions without a row above.
SELECT p.proname AS not_audited FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'profenrich'
 WHERE p.provolatile = 'v' AND p.prorettype <> 'trigger'::regtype
   AND NOT EXISTS (SELECT FROM profenrich.audit_log l WHERE l.action = p.proname)
   -- ask the platform, the worker or the files, and change nothing
   AND p.proname NOT IN ('check_connection', 'datasets', 'available_snapshots', 'identity_namespaces', 'platform_profile', 'preview', 'plan', 'progress', 'workers', 'wake_worker',
						 'drain', 'check_late_failures', 'secret_directory_problem', 'experience_platform_validator',
						 'experience_platform_files_validator')
   -- read a source, which may be a query with functions in it
   AND p.proname NOT IN ('evaluate', 'leakage_scan', 'lifetime_frequencies', 'lifetime_holdout', 'lifetime_evaluate', 'lifetime_tracking', 'rfm_summary')
   -- need a platform or a worker: test/tap/audit.pl
   AND p.proname NOT IN ('provision', 'create_identity_namespace', 'load_snapshot', 'load_missing_snapshots', 'load_events', 'load_export', 'load_query', 'start_worker', 'stop_worker')
 ORDER BY 1;

DROP EXTENSION profenrich CASCADE;
DROP SCHEMA audit_test CASCADE;
DROP ROLE audit_operator, audit_admin;
