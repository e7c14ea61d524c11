-- The table that is loaded into: partitions, replacement, new columns, the view of the newest day.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
\getenv data PROFENRICH_TEST_DATA
SET profenrich_test.data = :'data';
CREATE FUNCTION file(name text) RETURNS text LANGUAGE sql AS
	$$SELECT current_setting('profenrich_test.data') || '/load/' || name$$;
SET search_path = public, profenrich;
SET timezone = 'UTC';
SET datestyle = ISO, YMD;
-- Runs a statement and shows how it ended, without the path of the test data.
CREATE FUNCTION outcome(statement text) RETURNS TABLE (outcome text) LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text; state text;
BEGIN
	EXECUTE statement;
	RETURN QUERY VALUES ('done');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN QUERY VALUES (state || ': ' || replace(message, current_setting('profenrich_test.data') || '/load/', ''))
		UNION ALL SELECT '  ' || replace(d, current_setting('profenrich_test.data') || '/load/', '') FROM unnest(ARRAY[nullif(detail, ''), nullif(hint, '')]) d WHERE d IS NOT NULL;
END $$;
CREATE VIEW parts AS
	SELECT c.relname AS partition, pg_get_expr(c.relpartbound, c.oid) AS bound,
		   (SELECT string_agg(conname || ' ' || pg_get_constraintdef(k.oid), ', ' ORDER BY conname) FROM pg_constraint k WHERE k.conrelid = c.oid) AS constraints,
		   (SELECT string_agg(x.indexrelid::regclass::text, ', ' ORDER BY x.indexrelid::regclass::text) FROM pg_index x WHERE x.indrelid = c.oid) AS indexes
	  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
	 WHERE p.relname = 'profiles' AND c.relkind = 'r' ORDER BY 1;

-- Two days; the second has a new attribute and lacks others.
SELECT snapshot_date, rows FROM load_snapshot_file(file('day1.json'), 'profiles', snapshot_date => '2026-11-22');
CREATE VIEW on_latest AS SELECT id, acme_churn FROM profiles_latest;
SELECT snapshot_date, rows FROM load_snapshot_file(file('day2.ndjson'), 'profiles', snapshot_date => '2026-11-23');
SELECT snapshot_date, id, acme_churn, acme_active, acme_subscription_plan, other IS NULL AS nothing_else FROM profiles ORDER BY 1, 2;
SELECT id, acme_subscription_plan FROM profiles_latest ORDER BY id;
SELECT * FROM on_latest ORDER BY id;
SELECT partition, bound, constraints FROM parts;

-- An older day, and the older day again: the newest stays the newest.
SELECT snapshot_date, rows FROM load_snapshot_file(file('day2.ndjson'), 'profiles', snapshot_date => '2026-11-21');
SELECT snapshot_date, rows FROM load_snapshot_file(file('day2.ndjson'), 'profiles', snapshot_date => '2026-11-22');
SELECT DISTINCT snapshot_date FROM profiles_latest;
SELECT into_table, snapshot_date, rows, partition FROM snapshots ORDER BY 2;
-- The newest again: replaced.
SELECT snapshot_date, rows FROM load_snapshot_file(file('day1.json'), 'profiles', snapshot_date => '2026-11-23');
SELECT id FROM profiles_latest ORDER BY id;
SELECT partition, bound, constraints FROM parts;

-- Unloading; the view moves back.
SELECT unload_snapshot('profiles', '2026-11-23');
SELECT DISTINCT snapshot_date FROM profiles_latest;
SELECT outcome($$SELECT unload_snapshot('profiles', '2026-11-23')$$);
SELECT outcome($$SELECT unload_snapshot('nothing', '2026-11-23')$$);
SELECT snapshot_date, partition FROM snapshots ORDER BY 1;
-- A partition dropped by hand is not listed either; a renamed table is.
DROP TABLE profiles_p20261121;
ALTER TABLE profiles RENAME TO renamed;
SELECT into_table, snapshot_date FROM snapshots ORDER BY 2;
ALTER TABLE renamed RENAME TO profiles;

-- Rolled back as a whole.
BEGIN;
SELECT rows FROM load_snapshot_file(file('day1.json'), 'profiles', snapshot_date => '2026-11-22');
SELECT rows FROM load_snapshot_file(file('day1.json'), 'profiles', snapshot_date => '2026-11-24');
SELECT rows FROM load_snapshot_file(file('day1.json'), 'fresh', snapshot_date => '2026-11-24');
ROLLBACK;
SELECT snapshot_date, partition FROM snapshots ORDER BY 1;
SELECT count(*) FROM profiles_latest;

-- What a user added to the table: an index, a key, a default, a generated column, constraints.
DROP TABLE profiles CASCADE;
CREATE TABLE profiles (
	loaded timestamptz DEFAULT 'epoch',
	id text NOT NULL,
	snapshot_date date NOT NULL,
	dropped int,
	acme_churn float8 CHECK (acme_churn BETWEEN 0 AND 1),
	risk text GENERATED ALWAYS AS (CASE WHEN acme_churn > 0.5 THEN 'high' ELSE 'low' END) STORED,
	acme_crm_id text COLLATE "C",
	other jsonb,
	PRIMARY KEY (snapshot_date, id)
) PARTITION BY LIST (snapshot_date);
ALTER TABLE profiles DROP COLUMN dropped;
CREATE INDEX ON profiles (acme_crm_id);
CREATE INDEX ON profiles (lower(acme_crm_id)) WHERE acme_churn > 0.5;
SELECT rows FROM load_snapshot_file(file('day1.json'), 'profiles', snapshot_date => '2026-11-22');
SELECT snapshot_date, id, loaded, risk, acme_crm_id, person_name_first_name FROM profiles_latest ORDER BY id;
SELECT partition, constraints, indexes FROM parts;
SELECT count(*) FROM pg_inherits i JOIN pg_index x ON x.indexrelid = i.inhrelid AND x.indrelid = 'profiles_p20261122'::regclass;
SELECT outcome($$SELECT load_snapshot_file(file('churn.json'), 'profiles', snapshot_date => '2026-11-23')$$);
SELECT outcome($$SELECT load_snapshot_file(file('no_id.json'), 'profiles', snapshot_date => '2026-11-23')$$);
SELECT outcome($$SELECT load_snapshot_file(file('same_id.json'), 'profiles', snapshot_date => '2026-11-23')$$);
SELECT outcome($$SELECT load_snapshot_file(file('day1.json'), 'profiles', '{"risk": "_acme.churn"}', '2026-11-23')$$);
SELECT count(*) FROM parts;

-- What cannot be loaded into.
CREATE TABLE plain (snapshot_date date);
CREATE TABLE ranged (snapshot_date date) PARTITION BY RANGE (snapshot_date);
CREATE TABLE other_key (snapshot_date date, k date) PARTITION BY LIST (k);
CREATE TABLE not_date (snapshot_date timestamptz) PARTITION BY LIST (snapshot_date);
CREATE TABLE text_rest (snapshot_date date, other text) PARTITION BY LIST (snapshot_date);
CREATE TABLE several (snapshot_date date) PARTITION BY LIST (snapshot_date);
CREATE TABLE several_days PARTITION OF several FOR VALUES IN ('2026-11-22', '2026-11-23');
CREATE TABLE triggered (snapshot_date date) PARTITION BY LIST (snapshot_date);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER t AFTER INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE VIEW a_view AS SELECT 1;
SELECT t, outcome(format($$SELECT load_snapshot_file(file('day1.json'), %L, snapshot_date => '2026-11-22')$$, t))
  FROM unnest(ARRAY['plain', 'ranged', 'other_key', 'not_date', 'text_rest', 'several', 'triggered', 'a_view', 'nowhere.profiles', 'a.b.c.d', '', '"']) t;
SELECT regexp_replace(o.outcome, 'pg_temp_[0-9]+', 'pg_temp_n') AS outcome
  FROM outcome($$SELECT load_snapshot_file(file('day1.json'), 'pg_temp.t')$$) o;
-- A load inside a load.
CREATE FUNCTION load_again() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	RETURN (SELECT rows FROM load_snapshot_file(file('day1.csv'), 'inner_one'));
EXCEPTION WHEN object_in_use THEN
	RETURN -1;
END $$;
CREATE TABLE outer_one (snapshot_date date, n bigint DEFAULT load_again()) PARTITION BY LIST (snapshot_date);
SELECT rows FROM load_snapshot_file(file('day1.json'), 'outer_one');
SELECT n, id FROM outer_one ORDER BY id;
DROP TABLE outer_one CASCADE;
DROP FUNCTION load_again;
-- A table or view of the wanted name is left alone.
CREATE TABLE taken_p20261122 (i int);
CREATE VIEW taken_latest AS SELECT 1 AS mine;
RESET client_min_messages;
SELECT rows FROM load_snapshot_file(file('day1.json'), 'taken', snapshot_date => '2026-11-22');
SET client_min_messages = warning;
SELECT * FROM taken_latest;
SELECT partition FROM snapshots WHERE into_table = 'taken'::regclass;
-- Names that need quotes, and the longest.
SELECT rows FROM load_snapshot_file(file('day1.json'), '"My ""Profiles"""', snapshot_date => '2026-11-22');
SELECT count(*) FROM "My ""Profiles""_latest";
SELECT rows FROM load_snapshot_file(file('day1.json'), 'profiles_' || repeat('x', 54), snapshot_date => '2026-11-22');
SELECT partition FROM snapshots WHERE into_table::text LIKE '%xxx%';

-- Rights: who may read files, who may load where. A load by a member belongs to the owner.
CREATE ROLE pe_load_reader;
CREATE ROLE pe_load_owner;
CREATE ROLE pe_load_member IN ROLE pe_load_owner, profenrich_analyst, pg_read_server_files;
CREATE ROLE pe_load_analyst IN ROLE profenrich_analyst;
GRANT USAGE, CREATE ON SCHEMA public TO pe_load_owner, pe_load_member;
GRANT USAGE ON SCHEMA profenrich TO pe_load_reader;
GRANT EXECUTE ON FUNCTION file, outcome TO PUBLIC;
SET ROLE pe_load_reader;
SELECT outcome($$SELECT load_snapshot_file('/etc/passwd', 'mine')$$);
SET ROLE pe_load_analyst;
SELECT outcome($$SELECT load_snapshot_file('/no/such/file', 'mine')$$);
SELECT * FROM snapshots;
SET ROLE pe_load_member;
SELECT outcome($$SELECT load_snapshot_file(file('day1.json'), 'profiles')$$);
SELECT outcome($$SELECT load_snapshot_file(file('day1.json'), 'profenrich.profiles')$$);
SET ROLE pe_load_owner;
CREATE TABLE owned (snapshot_date date NOT NULL, id text) PARTITION BY LIST (snapshot_date);
SET ROLE pe_load_member;
SELECT rows FROM load_snapshot_file(file('day1.json'), 'owned', snapshot_date => '2026-11-22');
SELECT rows FROM load_snapshot_file(file('day1.json'), 'owned', snapshot_date => '2026-11-22');
SELECT relname, relowner::regrole FROM pg_class WHERE relname LIKE 'owned%' ORDER BY 1;
SELECT into_table, loaded_by FROM snapshots;
SELECT count(*) FROM profenrich.snapshot_load;
RESET ROLE;
ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
ALTER TABLE owned FORCE ROW LEVEL SECURITY;
SET ROLE pe_load_member;
SELECT outcome($$SELECT load_snapshot_file(file('day1.json'), 'owned', snapshot_date => '2026-11-22')$$);
RESET ROLE;
BEGIN READ ONLY;
SELECT load_snapshot_file('/x', 'profiles');
ROLLBACK;

-- Exports of what has changed: everybody else is carried over from the newest day before, or of the same day.
CREATE FUNCTION increment(profiles text, day date, incremental boolean = true) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('COPY (SELECT line FROM unnest(string_to_array(%L, E''\n'')) line) TO %L', profiles, file('increment.json'));
	RETURN (SELECT rows FROM load_snapshot_file(file('increment.json'), 'increments', snapshot_date => day, incremental => incremental));
END $$;
SELECT increment('{"identityMap": {"CRMID": [{"id": "1"}], "ECID": [{"id": "a"}]}, "plan": "basic"}
{"identityMap": {"ECID": [{"id": "b"}, {"id": "c"}]}, "plan": "none"}
{"identityMap": {"CRMID": [{"id": "3"}]}, "plan": "gold"}
{"identityMap": {"CRMID": [{"id": "4"}]}, "plan": "gold"}
{"identityMap": {"ECID": [{"id": "e"}]}, "plan": "none"}', '2026-11-20');
CREATE VIEW people AS SELECT snapshot_date, string_agg(concat_ws(' ', identity_crmid, identity_ecid, plan), ', ' ORDER BY identity_crmid, identity_ecid, plan) AS people FROM increments GROUP BY 1;
-- One has changed, one is known by now under a better key, one is new and has an attribute that nobody had.
SET client_min_messages = notice;
SELECT increment('{"identityMap": {"CRMID": [{"id": "1"}], "ECID": [{"id": "a"}]}, "plan": "gold"}
{"identityMap": {"CRMID": [{"id": "2"}], "ECID": [{"id": "b"}, {"id": "c"}]}, "plan": "basic"}
{"identityMap": {"Email": [{"id": "f@example.com"}]}, "plan": "none", "_acme": {"new": 1}}', '2026-11-22');
-- Again a few hours later.
SELECT increment('{"identityMap": {"CRMID": [{"id": "3"}]}, "plan": "basic"}', '2026-11-22');
SET client_min_messages = warning;
TABLE people ORDER BY 1;
SELECT identity_email, acme_new FROM increments_latest WHERE acme_new IS NOT NULL;
SELECT snapshot_date, rows FROM snapshots WHERE into_table = 'increments'::regclass ORDER BY 1;
SELECT detail FROM audit_trail WHERE object ~ 'increments' ORDER BY at DESC LIMIT 1;
-- The gate sees the whole day; from a day that is kept as changes; nobody who is forgotten comes back.
SELECT set_validation('increments', '{"row_count": 0.5}');
SELECT increment('{"identityMap": {"CRMID": [{"id": "4"}]}, "plan": "basic"}', '2026-11-23');
SELECT increment('{"identityMap": {"CRMID": [{"id": "4"}]}, "plan": "none"}', '2026-11-24');
SELECT snapshot_date, rows FROM compact_history('increments', '1 day');
SELECT count(*) > 0 AS found FROM forget('{"CRMID": "3", "ECID": "e"}');
SELECT unload_snapshot('increments', '2026-11-23'), unload_snapshot('increments', '2026-11-24');
SELECT increment('{"identityMap": {"CRMID": [{"id": "5"}]}, "plan": "basic"}
{"identityMap": {"CRMID": [{"id": "3"}]}, "plan": "basic"}', '2026-11-23');
SELECT identity_crmid, identity_ecid, plan, snapshot_date FROM increments_latest ORDER BY 1, 2;
-- Who cannot be told apart is not loaded.
SELECT outcome($$SELECT increment('{"identityMap": {"ECID": [{"id": "z"}]}}', '2026-11-24')$$);
SELECT set_identity('increments', '{CRMID}');
SELECT outcome($$SELECT increment('{"identityMap": {"ECID": [{"id": "z"}]}}', '2026-11-24')$$);
DROP TABLE increments CASCADE;
SELECT increment('{"a": 1}', '2026-11-24', false);
SELECT outcome($$SELECT increment('{"a": 1}', '2026-11-25')$$);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome($$SELECT increment('{"a": 1}', '2026-11-25')$$);
ROLLBACK;
SELECT unforget('CRMID', '3'), unforget('ECID', 'e');
DROP TABLE increments CASCADE;
DROP FUNCTION increment;

SET client_min_messages = warning;
DROP TABLE profiles, plain, ranged, other_key, not_date, text_rest, several, triggered, taken, taken_p20261122, owned, "My ""Profiles""" CASCADE;
SELECT format('DROP TABLE %s CASCADE', into_table) FROM snapshots \gexec
DROP FUNCTION file, outcome, nothing;
DROP VIEW a_view, taken_latest, parts;
RESET search_path;
DROP OWNED BY pe_load_reader, pe_load_owner, pe_load_member, pe_load_analyst CASCADE;
DROP ROLE pe_load_reader, pe_load_owner, pe_load_member, pe_load_analyst;
DROP EXTENSION profenrich CASCADE;
