-- reconcile: what a loaded snapshot shows of what was sent, with every status planted.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
RESET client_min_messages;
\getenv data PROFENRICH_TEST_DATA
\set day1 :data '/reconcile1.json'
\set day2 :data '/reconcile2.json'
SET timezone = 'UTC';
CREATE SERVER reconcile_aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id 'ABC@AdobeOrg', sandbox 'prod');
CREATE SCHEMA reconcile_test;
SET search_path = reconcile_test;

-- Attributes of every kind. What is sent of C-i is made from i.
CREATE TABLE scores AS
SELECT 'C-' || i AS crm_id, (i / 7.0)::numeric(20, 12) AS probability, i AS score, i * 1000000007::bigint AS large, 'band ' || i AS bucket,
       i % 2 = 0 AS vip, '2026-11-20 10:00:00.123456+00'::timestamptz + i * interval '1 s' AS seen, '1980-01-31'::date + i AS born,
       jsonb_build_array(jsonb_build_object('feature', 'tenure', 'value', i::text, 'contribution', i / 3.0)) AS reasons,
       ARRAY['a', 'b' || i] AS tags, jsonb_build_object('shoes', i, 'hats', 1) AS affinity
  FROM generate_series(1, 20) AS i;
SELECT profenrich.create_enrichment('reconcileMe', 'reconcile_aep', 'scores', 'crm_id', 'CRMID', attributes => '{"affinity": "map<integer>"}');
SET client_min_messages = warning;
SELECT changed FROM profenrich.refresh('reconcileMe');
RESET client_min_messages;

-- Not on the platform yet, or not loaded: said.
CREATE TABLE plain (crm_id text);
SELECT * FROM profenrich.reconcile('reconcileMe', 'plain');
SELECT * FROM profenrich.reconcile('nothing', 'plain');
SELECT * FROM profenrich.reconcile('reconcileMe', NULL);
INSERT INTO profenrich.enrichment_target (enrichment_id, tenant, field_group_id, schema_id, dataset_id, inlet_url, flow_id, org_id,
	sandbox, sender_identity, ready_at, attributes)
SELECT enrichment_id, 'acme', 'f', 's', 'd', 'https://localhost/collection/i', 'w', 'o', 'prod', profenrich.sender_identity(), now(),
	   '{"probability": "number", "score": "integer", "large": "long", "bucket": "string", "vip": "boolean", "seen": "date-time", "born": "date",
		 "reasons": "array<{feature:string,value:string,contribution:number}>", "tags": "array<string>", "affinity": "map<integer>"}'
  FROM profenrich.enrichment;

-- The snapshot of the 23rd: everybody's value of the 22nd, as the platform would show it.
UPDATE profenrich.profile_score SET changed_at = '2026-11-22 10:00:00.123456+00';
DELETE FROM profenrich.outbox;
CREATE TABLE platform AS
SELECT profile_key AS key, value || jsonb_build_object('profileId', profile_key, 'scoredAt', '2026-11-22T10:00:00.123Z') AS value
  FROM profenrich.profile_score;
CREATE VIEW snapshot AS
SELECT jsonb_build_object('person', '{"gender": "x"}'::jsonb, 'identityMap', jsonb_build_object('crmid', jsonb_build_array(jsonb_build_object('id', key))))
       || CASE WHEN value IS NULL THEN '{}' ELSE jsonb_build_object('_acme', jsonb_build_object('reconcileMe', value)) END AS row FROM platform;
COPY (SELECT row FROM snapshot) TO :'day1';
SELECT rows FROM profenrich.load_snapshot_file(:'day1', 'profiles', snapshot_date => '2026-11-23');
SELECT * FROM profenrich.reconcile('reconcileMe', 'profiles');
SELECT * FROM profenrich.reconcile_rows('reconcileMe', 'profiles');

-- Forms change on the way, and that is no other value: four bytes of float, milliseconds, a zone, a day with a time,
-- members that are null.
UPDATE platform SET value = value || jsonb_build_object('probability', (value ->> 'probability')::real) WHERE key = 'C-1';
UPDATE platform SET value = value || jsonb_build_object('seen', to_char((value ->> 'seen')::timestamptz, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) WHERE key = 'C-2';
UPDATE platform SET value = value || jsonb_build_object('seen', to_char((value ->> 'seen')::timestamptz + interval '2 h', 'YYYY-MM-DD"T"HH24:MI:SS"+02:00"')) WHERE key = 'C-3';
UPDATE platform SET value = value || jsonb_build_object('born', (value ->> 'born') || 'T00:00:00Z') WHERE key = 'C-4';
UPDATE platform SET value = jsonb_set(value, '{affinity, gloves}', 'null') WHERE key = 'C-6';
UPDATE platform SET value = jsonb_set(value, '{reasons, 0, contribution}', to_jsonb((value #>> '{reasons, 0, contribution}')::float8)) WHERE key = 'C-7';
-- Now one of each status. Two values of ours that are older; a cleared record is one, too.
UPDATE platform SET value = value || '{"score": 99, "scoredAt": "2026-11-21T10:00:00.000Z"}' WHERE key = 'C-8';
UPDATE profenrich.profile_score SET retracted = true, value = NULL, hash = 0, changed_at = '2026-11-22 11:00+00' WHERE profile_key IN ('C-9', 'C-10');
UPDATE platform SET value = jsonb_build_object('profileId', key) WHERE key = 'C-9';
-- A stranger's: with our time, with none, in a list, in a map, in large numbers that differ by one.
UPDATE platform SET value = value || '{"score": 99}' WHERE key = 'C-11';
UPDATE platform SET value = value - 'scoredAt' || '{"bucket": "other"}' WHERE key = 'C-12';
UPDATE platform SET value = jsonb_set(value, '{tags, 1}', '"c"') WHERE key = 'C-13';
UPDATE platform SET value = jsonb_set(value, '{affinity, hats}', '2') WHERE key = 'C-14';
UPDATE platform SET value = jsonb_set(value, '{large}', to_jsonb((value ->> 'large')::bigint + 1)) WHERE key = 'C-15';
-- In the snapshot without attributes; not in it; in it under its second id; too recent; queued; refused.
UPDATE platform SET value = NULL WHERE key = 'C-16';
UPDATE platform SET value = NULL, key = 'X-17' WHERE key = 'C-17';
UPDATE platform SET value = value || '{"score": 98, "scoredAt": "2026-11-20T00:00:00Z"}' WHERE key IN ('C-18', 'C-19', 'C-20');
UPDATE profenrich.profile_score SET changed_at = '2026-11-22 23:30:00+00' WHERE profile_key = 'C-18';
INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys)
SELECT enrichment_id, 0, version, ARRAY[profile_key] FROM profenrich.profile_score WHERE profile_key IN ('C-1', 'C-19');
INSERT INTO profenrich.dead_letter (enrichment_id, profile_key, shard, version, class)
SELECT enrichment_id, profile_key, 0, version, 'refused' FROM profenrich.profile_score WHERE profile_key = 'C-20';
-- Ours, of profiles that have no value here: one with attributes, one that was cleared; and a stranger.
INSERT INTO platform VALUES ('L-1', '{"score": 1, "profileId": "L-1"}'), ('L-2', '{"profileId": "L-2"}'), ('L-3', NULL);
COPY (SELECT row FROM snapshot) TO :'day2';
SELECT rows FROM profenrich.load_snapshot_file(:'day2', 'profiles', snapshot_date => '2026-11-23');
SELECT * FROM profenrich.reconcile('reconcileMe', 'profiles');
SELECT profile_key, status, attribute, sent, found FROM profenrich.reconcile_rows('reconcileMe', 'profiles_latest', statuses =>
	'{stale, missing, overwritten, different, identity unknown, too recent, pending, refused, unexpected}') ORDER BY status, profile_key;
SELECT profile_key, run_id IS NOT NULL AS has_run, changed_at, found_scored_at FROM profenrich.reconcile_rows('reconcileMe', 'profiles', statuses => '{stale}') ORDER BY 1;
SELECT * FROM profenrich.reconcile('reconcileMe', 'profiles', settle => '-1 hour');
\echo :LAST_ERROR_SQLSTATE
SELECT status, count(*) FROM profenrich.reconcile_rows('reconcileMe', 'profiles') GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM profenrich.reconcile_rows('reconcileMe', 'profiles', statuses => '{landed}');
SELECT * FROM profenrich.reconcile_rows('reconcileMe', 'profiles', statuses => '{lost}');
-- When the snapshot was made decides what is too recent.
SELECT status, profiles FROM profenrich.reconcile('reconcileMe', 'profiles', taken_at => '2026-11-23 12:00+00') WHERE status IN ('stale', 'too recent');
SELECT status, profiles FROM profenrich.reconcile('reconcileMe', 'profiles', settle => '2 days') WHERE status IN ('stale', 'too recent');
SELECT * FROM profenrich.reconcile('reconcileMe', 'profiles', snapshot_date => '2020-01-01');
-- The runs are kept.
SELECT enrichment, snapshot, snapshot_date, taken_at, landed, stale, missing, overwritten, different, identity_unknown, too_recent, pending,
	   refused, unexpected, round(landed_share::numeric, 3) AS landed_share FROM profenrich.reconciliations ORDER BY at;

-- A mapping: columns under other names and types, numbers and booleans as texts, the enrichment's object as a whole,
-- the identity by its second id.
CREATE TABLE sent AS SELECT profile_key AS key, value FROM profenrich.profile_score;
UPDATE platform SET value = s.value || jsonb_build_object('profileId', platform.key) FROM sent AS s WHERE s.key = platform.key;
UPDATE platform SET value = value || jsonb_build_object('vip', value ->> 'vip', 'score', (value ->> 'score') || '.0') WHERE key = 'C-5';
UPDATE platform SET value = value || '{"score": 77}' WHERE key = 'C-2';
COPY (SELECT jsonb_set(row, '{identityMap, crmid}', '[{"id": "0"}]' || (row #> '{identityMap, crmid}')) FROM snapshot) TO :'day1';
SELECT rows FROM profenrich.load_snapshot_file(:'day1', 'mapped', snapshot_date => '2026-11-23', columns => '{"ids": "identityMap",
	"p": {"path": "_acme.reconcileMe.probability", "type": "real"}, "s": {"path": "_acme.reconcileMe.score", "type": "text"},
	"seen_on": {"path": "_acme.reconcileMe.seen", "type": "date"}, "born": "_acme.reconcileMe.born", "tags": "_acme.reconcileMe.tags"}');
SELECT status, profiles FROM profenrich.reconcile('reconcileMe', 'mapped') WHERE profiles > 0;
SELECT profile_key, attribute, sent, found FROM profenrich.reconcile_rows('reconcileMe', 'mapped', statuses => '{different}');
SELECT rows FROM profenrich.load_snapshot_file(:'day1', 'whole', snapshot_date => '2026-11-23', columns => '{"tenant": "_acme",
	"p": {"path": "_acme.reconcileMe.probability", "type": "numeric(10,2)"}}');
SELECT status, profiles FROM profenrich.reconcile('reconcileMe', 'whole') WHERE profiles > 0;
SELECT profile_key, attribute, sent, found FROM profenrich.reconcile_rows('reconcileMe', 'whole', statuses => '{overwritten}');
SELECT rows FROM profenrich.load_snapshot_file(:'day1', 'narrow', snapshot_date => '2026-11-23', columns => '{"gender": "person.gender", "s": "_acme.reconcileMe.score"}');
SELECT * FROM profenrich.reconcile('reconcileMe', 'narrow');
SELECT rows FROM profenrich.load_snapshot_file(:'day1', 'none', snapshot_date => '2026-11-23', columns => '{"id": "identityMap.CRMID.id"}');
SELECT * FROM profenrich.reconcile('reconcileMe', 'none');

-- Who may: the owner and admins, on tables they may read.
CREATE ROLE reconcile_owner NOLOGIN;
GRANT profenrich_operator TO reconcile_owner;
GRANT USAGE ON SCHEMA reconcile_test TO reconcile_owner;
SET ROLE reconcile_owner;
SELECT * FROM profenrich.reconcile('reconcileMe', 'profiles');
RESET ROLE;
UPDATE profenrich.enrichment SET owner = 'reconcile_owner';
SET ROLE reconcile_owner;
SELECT * FROM profenrich.reconcile('reconcileMe', 'profiles');
RESET ROLE;
GRANT SELECT ON profiles TO reconcile_owner;
SET ROLE reconcile_owner;
SELECT status, profiles FROM profenrich.reconcile('reconcileMe', 'profiles') WHERE status = 'landed';
RESET ROLE;

SET client_min_messages = warning;
DROP EXTENSION profenrich CASCADE;
DROP SCHEMA reconcile_test CASCADE;
DROP ROLE reconcile_owner;
