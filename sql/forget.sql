-- forget: a person leaves loaded snapshots, values and queues, is cleared on the platform, and stays out.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
RESET client_min_messages;
\getenv data PROFENRICH_TEST_DATA
\set export :data '/forget.json'
CREATE ROLE forget_owner NOLOGIN;
CREATE ROLE forget_admin NOLOGIN;
GRANT profenrich_operator TO forget_owner;
GRANT profenrich_admin TO forget_admin;
CREATE SERVER forget_aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id 'ABC@AdobeOrg', sandbox 'prod');
GRANT USAGE ON FOREIGN SERVER forget_aep TO forget_owner;
GRANT pg_read_server_files TO forget_owner;
CREATE SCHEMA forget_test;
GRANT ALL ON SCHEMA forget_test TO forget_owner;
SET search_path = forget_test;
SET profenrich.resend_gap = 0;

-- Ten people; P-3 is the second id of one, and the e-mail address of another.
COPY (SELECT jsonb_build_object('n', i, 'identityMap', CASE i WHEN 3 THEN '{"crmid": [{"id": "A-3"}, {"id": "P-3"}]}'
			WHEN 4 THEN '{"CRMID": [{"id": "P-4"}], "email": [{"id": "P-3"}]}' ELSE jsonb_build_object('CRMID', jsonb_build_array(jsonb_build_object('id', 'P-' || i))) END,
			'_acme', jsonb_build_object('forgetOne', jsonb_build_object('score', i, 'profileId', 'P-' || i)))
		FROM generate_series(1, 10) AS i) TO :'export';
SET ROLE forget_owner;
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'profiles', snapshot_date => '2026-11-22');
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'profiles', snapshot_date => '2026-11-23');
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'mapped', snapshot_date => '2026-11-23', columns => '{"id": "identityMap.CRMID.id"}');
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'listed', snapshot_date => '2026-11-23', columns => '{"n": "n", "ids": "identityMap.CRMID"}');
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'by_key', snapshot_date => '2026-11-23', columns => '{"key": "_acme.forgetOne.profileId"}');
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'nobody', snapshot_date => '2026-11-23', columns => '{"n": "n"}');
CREATE VIEW scores AS SELECT 'P-' || i AS crm_id, i AS score FROM generate_series(1, 10) AS i;
SELECT profenrich.create_enrichment('forgetOne', 'forget_aep', 'scores', 'crm_id', 'CRMID', options => '{"on_absent": "retract"}');
SELECT profenrich.create_enrichment('forgetTwo', 'forget_aep', 'scores', 'crm_id', 'crmid');
SELECT profenrich.create_enrichment('forgetMail', 'forget_aep', 'scores', 'crm_id', 'Email');
SET client_min_messages = warning;
SELECT changed FROM unnest('{forgetOne,forgetTwo,forgetMail}'::text[]) AS e, profenrich.refresh(e);
-- What a table's owner put there runs as the owner, not as whoever forgets.
CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'deleted by %', current_user; RETURN OLD; END $$;
CREATE TRIGGER spy BEFORE DELETE ON profiles FOR EACH ROW EXECUTE FUNCTION spy();
RESET ROLE;
INSERT INTO profenrich.enrichment_target (enrichment_id, tenant, field_group_id, schema_id, dataset_id, inlet_url, flow_id, org_id,
	sandbox, sender_identity, ready_at)
SELECT enrichment_id, 'acme', 'f', 's', 'd', 'https://localhost/collection/i', 'w', 'o', 'prod', profenrich.sender_identity(), now()
  FROM profenrich.enrichment WHERE name = 'forgetOne';
INSERT INTO profenrich.retry (enrichment_id, profile_key, shard, version, next_at, class)
SELECT enrichment_id, key, 1, 1, now(), 'overload' FROM profenrich.enrichment, unnest(ARRAY['P-3', 'P-5']) AS key;
INSERT INTO profenrich.dead_letter (enrichment_id, profile_key, shard, version, class)
SELECT enrichment_id, key, 1, 1, 'refused' FROM profenrich.enrichment, unnest(ARRAY['P-3', 'P-6']) AS key;
CREATE TABLE interactions AS SELECT 'P-' || i % 10 AS person, 'item ' || i % 7 AS item FROM generate_series(1, 200) AS i;
SELECT version FROM profenrich.train('forget_items', 'recommendation', 'interactions', options => '{"user": "person", "item": "item", "holdout": 0}');

-- Where an id still is: any row of any table of ours that shows it.
CREATE FUNCTION traces(id text) RETURNS TABLE (object text, rows bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR object IN SELECT c.oid::regclass FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'profenrich'::regnamespace
		AND c.relname <> 'model_artifact' ORDER BY 1
	LOOP
		EXECUTE format('SELECT count(*) FROM %s t WHERE t::text ~ $1', object) INTO rows USING '\m' || id || '\M';
		IF rows > 0 THEN RETURN NEXT; END IF;
	END LOOP;
END $$;
SELECT * FROM traces('P-3');

-- Only admins, and only as a whole.
SET ROLE forget_owner;
SELECT * FROM profenrich.forget('CRMID', 'P-3');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT * FROM profenrich.forget('', 'P-3');
SELECT * FROM profenrich.forget('CRMID', '');
SELECT * FROM profenrich.forget('{"CRMID": 3}');
SELECT * FROM profenrich.forget('[]');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM profenrich.forget('CRMID', 'P-3');
ROLLBACK;
BEGIN;
SELECT count(*) > 5 AS forgotten FROM profenrich.forget('CRMID', 'P-1');
ROLLBACK;
SELECT count(*) FROM profiles WHERE identity_crmid = 'P-1';
SELECT count(*) FROM profenrich.forgotten;

SET ROLE forget_admin;
SELECT * FROM profenrich.forget('CRMID', 'P-3');
RESET ROLE;
-- Of CRMID nothing is left but the marks of what is to be cleared; the e-mail address of that name is another person's.
SELECT t.*, (SELECT string_agg(e.name, ', ') FROM profenrich.enrichment e JOIN profenrich.profile_score s USING (enrichment_id) WHERE s.profile_key = 'P-3') AS enrichments
  FROM traces('P-3') AS t;
SELECT snapshot_date, count(*), bool_or(identity_crmid = 'A-3') AS there FROM profiles GROUP BY 1 ORDER BY 1;
SELECT (SELECT count(*) FROM mapped) AS mapped, (SELECT count(*) FROM listed) AS listed, (SELECT count(*) FROM by_key) AS by_key;
SELECT e.name, s.hash, s.retracted, s.value, r.kind, r.retracted AS run_retracted FROM profenrich.profile_score s JOIN profenrich.enrichment e USING (enrichment_id)
  JOIN profenrich.run r ON r.run_id = s.version WHERE s.profile_key = 'P-3' ORDER BY 1;
SELECT e.name, sum(o.key_count) AS keys, sum((o.profile_keys @> '{P-3}')::int) AS of_p3 FROM profenrich.outbox o JOIN profenrich.enrichment e USING (enrichment_id) GROUP BY 1 ORDER BY 1;
SELECT length(id_hash), forgotten_by FROM profenrich.forgotten;
-- Sent again, the mark stays what it is.
DELETE FROM profenrich.outbox;
SELECT profenrich.resend('forgetOne', '{P-3}');
SELECT hash FROM profenrich.profile_score s JOIN profenrich.enrichment e USING (enrichment_id) WHERE profile_key = 'P-3' AND name = 'forgetOne';
DELETE FROM profenrich.profile_score WHERE hash = -2;
SELECT state, why FROM profenrich.profile_status('forgetOne', 'P-3');

-- Kept out of refreshes and previews, and of loads in whatever shape the ids come.
SELECT profiles, changed, unchanged, retracted, skipped FROM profenrich.refresh('forgetTwo');
SELECT changed, skipped FROM profenrich.refresh('forgetOne');
SELECT skipped_reasons FROM profenrich.runs ORDER BY run_id DESC LIMIT 1;
SELECT count(*), count(*) FILTER (WHERE p::text ~ 'P-3\M') AS forgotten FROM profenrich.preview('forgetOne', 100) AS p;
RESET client_min_messages;
SET ROLE forget_owner;
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'profiles', snapshot_date => '2026-11-24');
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'listed', snapshot_date => '2026-11-24');
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'whole', snapshot_date => '2026-11-24', columns => '{"ids": "identityMap"}');
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'second', snapshot_date => '2026-11-24', columns => '{"id": "identityMap.CRMID.1.id"}');
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'by_key', snapshot_date => '2026-11-24') AS by_key;
RESET ROLE;
SELECT n FROM profiles WHERE snapshot_date = '2026-11-24' AND n IN (3, 4);

-- Several at once; those who are forgotten already are no error.
SELECT * FROM profenrich.forget('{"CRMID": ["P-1", "P-3"], "email": "P-3"}') WHERE rows > 0;
SELECT count(*) FROM profenrich.forgotten;
SELECT n FROM profiles WHERE snapshot_date = '2026-11-23' AND n IN (1, 3, 4);
SELECT * FROM traces('P-3');

-- A namespace that nothing here is in may be mistyped. It counts all the same, for data of it may come.
SELECT object, rows, action FROM profenrich.forget('CRM_ID', 'P-9') WHERE rows > 0;
SELECT count(*) FROM profenrich.forget('{"email": "nobody@example.com", "Phone": "1"}');
-- A table that names a namespace is enough, whether or not it holds the person.
DELETE FROM profenrich.enrichment WHERE namespace = 'Email';
SELECT count(*) > 5 AS forgotten FROM profenrich.forget('email', 'nobody@example.org');
SELECT profenrich.unforget('CRM_ID', 'P-9'), profenrich.unforget('Phone', '1'), profenrich.unforget('Email', 'nobody@example.com');

-- Lifted again, by those only who may forget.
SET ROLE forget_owner;
SELECT profenrich.unforget('CRMID', 'P-3');
\echo :LAST_ERROR_SQLSTATE
SET ROLE forget_admin;
SELECT profenrich.unforget('crmid', 'P-3'), profenrich.unforget('CRMID', 'P-3') AS again, profenrich.unforget('CRMID', 'never');
SET ROLE forget_owner;
SET client_min_messages = warning;
SELECT rows FROM profenrich.load_snapshot_file(:'export', 'listed', snapshot_date => '2026-11-25');
SELECT changed, skipped FROM profenrich.refresh('forgetOne');
RESET ROLE;

DROP EXTENSION profenrich CASCADE;
DROP SCHEMA forget_test CASCADE;
REVOKE pg_read_server_files FROM forget_owner;
DROP ROLE forget_owner, forget_admin;
