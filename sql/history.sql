-- Older days as changes, retention, and profiles followed from day to day.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
\getenv data PROFENRICH_TEST_DATA
SET profenrich_test.data = :'data';
SET search_path = public, profenrich;
SET datestyle = ISO, YMD;
CREATE ROLE history_owner NOLOGIN;
CREATE ROLE history_reader NOLOGIN;
GRANT profenrich_analyst, pg_read_server_files TO history_owner;
GRANT profenrich_reader TO history_reader;
CREATE SCHEMA kept AUTHORIZATION history_owner;
GRANT USAGE ON SCHEMA kept TO history_reader;
CREATE FUNCTION load(day date, query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	path text := current_setting('profenrich_test.data') || '/history.json';
	loaded bigint;
BEGIN
	EXECUTE format('COPY (SELECT json_strip_nulls(row_to_json(loaded_row)) FROM (%s) loaded_row) TO %L', query, path);
	SET ROLE history_owner;
	SELECT rows INTO loaded FROM load_snapshot_file(path, 'kept.profiles', snapshot_date => day);
	RESET ROLE;
	RETURN loaded;
END $$;
CREATE FUNCTION ids(namespace text, VARIADIC ids text[]) RETURNS jsonb LANGUAGE sql AS
	$$SELECT jsonb_build_object(namespace, jsonb_agg(jsonb_build_object('id', i))) FROM unnest(ids) i WHERE i IS NOT NULL$$;

-- Ten days of 400 profiles that come, go and change a little; a plain table keeps every row as it was loaded.
SELECT sum(load(date '2026-11-01' + d, format($q$SELECT ids('CRMID', 'p' || i) AS "identityMap", hashint4(i) %% 5 AS plan,
	CASE WHEN hashint4extended(i, %1$s / 3 + i %% 3) %% 4 > 0 THEN hashint4extended(i, (%1$s + i) / 5) %% 100 / 10.0 END AS spend, CASE WHEN %1$s >= 4 THEN 'd' || (i + %1$s) / 100 END AS later
	FROM generate_series(%1$s * 4, 400 + %1$s * 4) i$q$, d))) AS rows FROM generate_series(0, 9) d WHERE d <> 6;
-- Rows that are there twice, and such that differ in no value but in how it is written.
ALTER TABLE kept.profiles ADD COLUMN exact numeric, ADD COLUMN plain json;
UPDATE kept.profiles SET exact = CASE WHEN snapshot_date < '2026-11-05' THEN 1.0 ELSE 1.00 END, plain = CASE WHEN snapshot_date > '2026-11-03' THEN '{"a":1}' ELSE '{"a": 1}' END::json;
INSERT INTO kept.profiles SELECT p.* FROM kept.profiles p, generate_series(1, 2) WHERE identity_crmid = 'p50' AND snapshot_date IN ('2026-11-02', '2026-11-03');
CREATE TABLE every_row AS SELECT * FROM kept.profiles;
SELECT count(*) FROM every_row;
GRANT SELECT ON kept.profiles TO history_reader;
-- In two goes; each day is shown as it was, row for row.
SET ROLE history_owner;
SELECT snapshot_date, rows, added > 0 AS added, ended > 0 AS ended, added < rows AS fewer FROM compact_history('kept.profiles', '6 days');
RESET ROLE;
CREATE VIEW differences AS
	SELECT 'lost' AS what, t::text FROM (SELECT to_jsonb(e) - 'plain' || jsonb_build_object('plain', plain::text, 'exact', exact::text) AS t FROM every_row e
		EXCEPT ALL SELECT to_jsonb(h) - 'plain' || jsonb_build_object('plain', plain::text, 'exact', exact::text) FROM kept.profiles_history h) x
	UNION ALL
	SELECT 'invented', t::text FROM (SELECT to_jsonb(h) - 'plain' || jsonb_build_object('plain', plain::text, 'exact', exact::text) AS t FROM kept.profiles_history h
		EXCEPT ALL SELECT to_jsonb(e) - 'plain' || jsonb_build_object('plain', plain::text, 'exact', exact::text) FROM every_row e) x;
SELECT * FROM differences;
SET ROLE history_owner;
SELECT snapshot_date, rows, added < rows / 2 AS fewer FROM compact_history('kept.profiles', '2 days');
SELECT count(*) FROM compact_history('kept.profiles', '2 days');
RESET ROLE;
SELECT * FROM differences;
SELECT count(*) < (SELECT count(*) FROM every_row) / 2 AS smaller FROM kept.profiles_changes;
SELECT snapshot_date, rows, partition, compacted FROM snapshots WHERE into_table = 'kept.profiles'::regclass ORDER BY 1;
SELECT count(DISTINCT snapshot_date) FROM kept.profiles;
-- Who may read the table may read its history; what the functions say of a compacted day is what they said before.
SET ROLE history_reader;
SELECT count(*) FROM kept.profiles_history;
SELECT column_name, rows, nulls, distinct_values FROM describe_snapshot('kept.profiles', '2026-11-03');
SELECT check_name, column_name, status FROM validate_snapshot('kept.profiles', '2026-11-06', '{"days": 3}') WHERE column_name IS NULL OR status <> 'ok';
SELECT snapshot_date FROM compact_history('kept.profiles', '1 day');
SELECT apply_retention('kept.profiles');
RESET ROLE;

-- A compacted day loaded again is the new one, and is not shown twice; unloading takes either away.
SELECT load('2026-11-03', $$SELECT ids('CRMID', 'again' || i) AS "identityMap" FROM generate_series(1, 5) i$$);
DELETE FROM every_row WHERE snapshot_date = '2026-11-03';
INSERT INTO every_row SELECT * FROM kept.profiles WHERE snapshot_date = '2026-11-03';
SELECT * FROM differences;
SET ROLE history_owner;
SELECT unload_snapshot('kept.profiles', '2026-11-05');
SELECT unload_snapshot('kept.profiles', '2026-11-05');
RESET ROLE;
DELETE FROM every_row WHERE snapshot_date = '2026-11-05';
SELECT * FROM differences;
-- New columns come into the history, empty before; columns dropped from the table stay readable.
SELECT load('2026-11-11', $$SELECT ids('CRMID', 'p' || i) AS "identityMap", 1 AS plan, i AS newest FROM generate_series(1, 300) i$$);
SET ROLE history_owner;
SELECT count(*), count(newest) FROM kept.profiles_history;
SELECT snapshot_date FROM compact_history('kept.profiles', '1 day');
ALTER TABLE kept.profiles DROP COLUMN later CASCADE;
SELECT snapshot_date FROM compact_history('kept.profiles', '1 day');
SELECT count(*), count(newest), count(later), count(DISTINCT snapshot_date) FROM kept.profiles_history;
RESET ROLE;

-- Retention: at a load, by hand, never the newest; also of compacted days.
SET ROLE history_owner;
SELECT set_retention('kept.profiles', '7 days');
SELECT apply_retention('kept.profiles');
SELECT apply_retention('kept.profiles');
SELECT snapshot_date, compacted FROM snapshots WHERE into_table = 'kept.profiles'::regclass ORDER BY 1;
SELECT min(valid_to) FROM kept.profiles_changes;
RESET ROLE;
SELECT load('2026-11-17', $$SELECT ids('CRMID', 'p' || i) AS "identityMap", 1 AS plan, i AS newest FROM generate_series(1, 300) i$$);
SELECT snapshot_date, compacted FROM snapshots WHERE into_table = 'kept.profiles'::regclass ORDER BY 1;
SET ROLE history_owner;
SELECT set_retention('kept.profiles', '0 days');
SELECT set_retention('kept.profiles', '-1 day');
SELECT set_retention('kept.profiles', '10000000 years');
SELECT set_retention('kept.profiles', '1000 years');
SELECT apply_retention('kept.profiles');
SELECT set_retention('kept.profiles', NULL);
SELECT apply_retention('kept.profiles');
SELECT * FROM compact_history('kept.profiles', '1 hour');
SELECT * FROM compact_history('nothing');
ALTER TABLE kept.profiles ENABLE ROW LEVEL SECURITY;
SELECT * FROM compact_history('kept.profiles');
ALTER TABLE kept.profiles DISABLE ROW LEVEL SECURITY;
RESET ROLE;
-- Forgetting reaches the changes.
SET ROLE history_owner;
SELECT snapshot_date, rows FROM compact_history('kept.profiles', '1 day');
RESET ROLE;
SELECT count(*) > 0 AS there FROM kept.profiles_changes WHERE identity_crmid = 'p100';
SELECT object, rows > 0 AS deleted FROM forget('CRMID', 'p100') WHERE object LIKE 'table%' ORDER BY 1;
SELECT count(*) FROM kept.profiles_history WHERE identity_crmid = 'p100';
DROP TABLE every_row CASCADE;
-- A column whose type changes from one day to the next: what the hint says, done as it stands. Compacted days follow, and so do
-- grants on the views and who owns them.
GRANT SELECT (plan), UPDATE ON kept.profiles_latest TO history_reader WITH GRANT OPTION;
CREATE TABLE every_row AS SELECT snapshot_date, identity_crmid, plan FROM kept.profiles_history;
CREATE FUNCTION half() RETURNS bigint LANGUAGE sql AS $$SELECT load('2026-11-18', 'SELECT ids(''CRMID'', ''p'' || i) AS "identityMap", i + 0.5 AS plan FROM generate_series(1, 300) i')$$;
DO $$
DECLARE
	hint text;
BEGIN
	PERFORM half();
EXCEPTION WHEN data_exception THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RAISE WARNING '%', hint;
	EXECUTE substring(hint FROM 'SELECT [^;]*');
END $$;
SELECT half();
SELECT relname, (SELECT string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ',') FROM aclexplode(relacl) a WHERE a.grantee = 'history_reader'::regrole) AS reader,
	   (SELECT attacl FROM pg_attribute WHERE attrelid = c.oid AND attname = 'plan') AS plan, relowner::regrole, obj_description(c.oid, 'pg_class')
  FROM pg_class c WHERE relnamespace = 'kept'::regnamespace AND relname ~ '_(latest|history)$' ORDER BY 1;
SELECT pg_typeof(plan), snapshot_date, count(*), sum(plan) FROM kept.profiles_history GROUP BY 1, 2 ORDER BY 2;
SELECT count(*) FROM (TABLE every_row EXCEPT ALL SELECT snapshot_date, identity_crmid, plan FROM kept.profiles_history) lost;
SELECT snapshot_date, count(DISTINCT plan) FROM kept.profiles_latest GROUP BY 1;
SET ROLE history_reader;
SELECT set_column_type('kept.profiles', 'plan', 'numeric');
SET ROLE history_owner;
CREATE VIEW kept.mine AS SELECT plan FROM kept.profiles_latest;
SELECT set_column_type('kept.profiles', 'plan', 'numeric');
DROP VIEW kept.mine;
SELECT set_column_type('kept.profiles_latest', 'plan', 'numeric(20,1)');
SELECT set_column_type('kept.profiles', 'plan', 'bytea');
SELECT set_column_type('kept.profiles', 'nothing', 'text');
SELECT set_column_type('kept.profiles', 'snapshot_date', 'text');
SELECT set_column_type('kept.profiles', 'other', 'text');
SELECT set_column_type('kept.profiles', 'plan', 'nosuchtype');
SELECT format_type(atttypid, atttypmod), count(*) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'kept'::regnamespace AND attname = 'plan' GROUP BY 1;
RESET ROLE;
DROP FUNCTION half;
DROP TABLE every_row CASCADE;
DROP SCHEMA kept CASCADE;
CREATE SCHEMA kept AUTHORIZATION history_owner;
GRANT USAGE ON SCHEMA kept TO history_reader;

-- Day to day. A, B and C are known by a customer id and devices. On the 2nd B changes; on the 3rd A and B turn out to be one;
-- on the 4th they part again, C is gone and D comes; E has no customer id until the 3rd.
CREATE FUNCTION who(crm text, devices text[], plan int) RETURNS TABLE ("identityMap" jsonb, plan int) LANGUAGE sql AS
	$$SELECT coalesce((SELECT ids('CRMID', VARIADIC string_to_array(crm, ' '))), '{}') || ids('ECID', VARIADIC devices), plan$$;
SELECT load('2026-11-01', $$SELECT * FROM who('a', '{1}', 1) UNION ALL SELECT * FROM who('b', '{2}', 1) UNION ALL SELECT * FROM who('c', '{3}', 1) UNION ALL SELECT * FROM who(NULL, '{5}', 1)$$);
SELECT load('2026-11-02', $$SELECT * FROM who('a', '{1}', 1) UNION ALL SELECT * FROM who('b', '{2,22}', 2) UNION ALL SELECT * FROM who('c', '{3}', 1) UNION ALL SELECT * FROM who(NULL, '{5}', 1)$$);
SELECT load('2026-11-03', $$SELECT * FROM who('b a', '{1,2,22}', 2) UNION ALL SELECT * FROM who('c', '{3}', 1) UNION ALL SELECT * FROM who('e', '{5}', 1)$$);
SELECT load('2026-11-04', $$SELECT * FROM who('a', '{1}', 3) UNION ALL SELECT * FROM who('b', '{2,22}', 2) UNION ALL SELECT * FROM who('d', '{4}', 1) UNION ALL SELECT * FROM who('e', '{5}', 1)$$);
SET ROLE history_owner;
SELECT set_identity('kept.profiles', '{CRMID,ECID}');
SELECT * FROM diff_snapshots('kept.profiles', '2026-11-01', '2026-11-02');
SELECT * FROM diff_snapshot_rows('kept.profiles', '2026-11-01', '2026-11-02');
SELECT * FROM diff_snapshot_rows('kept.profiles', '2026-11-02', '2026-11-03');
SELECT * FROM diff_snapshot_rows('kept.profiles', '2026-11-03', '2026-11-04');
SELECT * FROM identity_links('kept.profiles', '2026-11-02', '2026-11-03');
SELECT snapshot_date, profile_key, event, keys_before, columns, profile -> 'plan' AS plan FROM profile_history('kept.profiles', 'CRMID:b');
SELECT snapshot_date, profile_key, event, keys_before FROM profile_history('kept.profiles', 'ECID:5');
SELECT count(*) FROM profile_history('kept.profiles', 'CRMID:nobody');
-- A goal for which those who are gone have left: B went into A and has not, C is gone.
SELECT create_goal('leaves', 'plan = 9', '1 day', 'kept.profiles', 'identity_crmid', options => '{"absent": "happened", "every": 1}');
SELECT anchor, eligible, happened, not_happened, left_out FROM goal_counts('leaves');
SELECT training_query('leaves') AS q \gset
SELECT snapshot_date, identity_crmid, outcome FROM (:q) AS t ORDER BY 1, 2;
-- The same of compacted days.
CREATE TEMP TABLE told AS SELECT h.*, d.change FROM profile_history('kept.profiles', 'CRMID:a') h, diff_snapshot_rows('kept.profiles', '2026-11-01', '2026-11-03') d;
SELECT snapshot_date, rows, ended, added FROM compact_history('kept.profiles', '1 day');
SELECT count(*) FROM (TABLE told EXCEPT ALL SELECT h.*, d.change FROM profile_history('kept.profiles', 'CRMID:a') h, diff_snapshot_rows('kept.profiles', '2026-11-01', '2026-11-03') d) x;
SELECT anchor, eligible, happened, not_happened, left_out FROM goal_counts('leaves');
SELECT drop_goal('leaves');
-- The preferred namespace decides on the key.
SELECT set_identity('kept.profiles', '{ECID,CRMID}');
SELECT snapshot_date, profile_key, event FROM profile_history('kept.profiles', 'CRMID:b') WHERE snapshot_date > '2026-11-02';
SELECT set_identity('kept.profiles', '{Phone}');
SELECT set_identity('kept.profiles', '{{ECID},{CRMID}}');
SELECT set_identity('kept.profiles', NULL);
SELECT * FROM diff_snapshots('kept.profiles', '2026-11-03', '2026-12-04');
RESET ROLE;
SET ROLE history_reader;
SELECT * FROM diff_snapshots('kept.profiles', '2026-11-01', '2026-11-02');
SELECT * FROM profile_history('kept.profiles', 'CRMID:a');
RESET ROLE;
DROP SCHEMA kept CASCADE;
CREATE SCHEMA kept AUTHORIZATION history_owner;
-- Ids that several share, such as those of a device, tell nobody apart: a day is the same as itself, whatever its rows. M is named by
-- the device alone.
SELECT load(day, $$SELECT * FROM who('a', '{1}', 1) UNION ALL SELECT * FROM who('b', '{1}', 2) UNION ALL SELECT * FROM who('l o', '{}', 3) UNION ALL SELECT * FROM who('o', '{}', 4)
	UNION ALL SELECT * FROM who(NULL, '{1}', 5)$$) FROM unnest('{2026-11-01,2026-11-02}'::date[]) day;
-- B leaves, C comes to the same device, M turns out to be A.
SELECT load('2026-11-03', $$SELECT * FROM who('a', '{1}', 1) UNION ALL SELECT * FROM who('l o', '{}', 3) UNION ALL SELECT * FROM who('o', '{}', 4)$$);
SELECT load('2026-11-04', $$SELECT * FROM who('a', '{1}', 1) UNION ALL SELECT * FROM who('c', '{1}', 1) UNION ALL SELECT * FROM who('l o', '{}', 3) UNION ALL SELECT * FROM who('o', '{}', 4)$$);
SET ROLE history_owner;
SELECT set_identity('kept.profiles', '{CRMID,ECID}');
SELECT * FROM diff_snapshots('kept.profiles', '2026-11-01', '2026-11-02');
SELECT * FROM diff_snapshot_rows('kept.profiles', '2026-11-02', '2026-11-03');
SELECT * FROM diff_snapshot_rows('kept.profiles', '2026-11-03', '2026-11-04');
SELECT snapshot_date, profile_key, event, keys_before FROM profile_history('kept.profiles', 'ECID:1');
SELECT set_identity('kept.profiles', '{ECID}');
SELECT * FROM diff_snapshots('kept.profiles', '2026-11-01', '2026-11-02');
SELECT snapshot_date, profile_key, event, keys_before FROM profile_history('kept.profiles', 'ECID:1');
RESET ROLE;
DROP SCHEMA kept CASCADE;
CREATE SCHEMA kept AUTHORIZATION history_owner;
-- An oracle: the same rules, one pair of profiles at a time, on days of rows that have ids at random.
SELECT sum(load(date '2026-11-01' + d, format($q$SELECT w.* FROM generate_series(1, 40) i, who((SELECT string_agg(c, ' ') FROM unnest(ARRAY[chr(97 + (hashint4extended(i, %1$s) & 15)::int),
	CASE WHEN hashint4extended(i, %1$s + 7) & 3 = 0 THEN chr(97 + (hashint4extended(i, %1$s + 11) & 15)::int) END]) c WHERE hashint4extended(i, %1$s + 13) & 7 > 1),
	ARRAY[(hashint4extended(i, %1$s + 17) & 15)::text, (hashint4extended(i, %1$s + 19) & 31)::text], i %% 2) w$q$, d))) AS rows FROM generate_series(0, 7) d;
CREATE TEMP TABLE person AS SELECT DISTINCT ON (snapshot_date, key) snapshot_date AS day, key, ids FROM (SELECT snapshot_date, c || e AS ids,
	coalesce((SELECT min(x COLLATE "C") FROM unnest(c) x), (SELECT min(x COLLATE "C") FROM unnest(e) x)) AS key FROM kept.profiles,
	LATERAL (SELECT ARRAY(SELECT 'CRMID:' || (x ->> 'id') FROM jsonb_array_elements(other #> '{identityMap,CRMID}') x) AS c,
		ARRAY(SELECT 'ECID:' || (x ->> 'id') FROM jsonb_array_elements(other #> '{identityMap,ECID}') x) AS e) l) r ORDER BY snapshot_date, key, ids;
CREATE FUNCTION belongs_to(day date, id text) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN EXISTS (SELECT FROM person p WHERE p.day = $1 AND p.key = $2) THEN $2
		ELSE (SELECT min(p.key) FROM person p WHERE p.day = $1 AND $2 = ANY (p.ids) HAVING count(*) = 1) END $$;
CREATE TEMP TABLE pair AS SELECT p.day AS before, p.key AS old, n.key AS new, (SELECT count(DISTINCT i) FROM unnest(p.ids) i WHERE belongs_to(p.day, i) = p.key AND belongs_to(n.day, i) = n.key) AS ids
	FROM person p, person n WHERE n.day = p.day + 1;
DELETE FROM pair WHERE ids = 0;
CREATE TEMP TABLE expected AS
	SELECT n.day, 'added' AS change, '{}'::text[] AS keys_before, ARRAY[n.key] AS keys_after FROM person n WHERE n.day > '2026-11-01' AND NOT EXISTS (SELECT FROM pair l WHERE l.before = n.day - 1 AND l.new = n.key)
	UNION ALL SELECT p.day + 1, 'removed', ARRAY[p.key], '{}' FROM person p WHERE p.day < '2026-11-08' AND NOT EXISTS (SELECT FROM pair l WHERE l.before = p.day AND l.old = p.key)
	UNION ALL SELECT before + 1, 'merged', array_agg(old ORDER BY old), ARRAY[new] FROM pair GROUP BY before, new HAVING count(*) > 1
	UNION ALL SELECT before + 1, 'split', ARRAY[old], array_agg(new ORDER BY new) FROM pair GROUP BY before, old HAVING count(*) > 1;
SELECT change, count(*) > 5 AS some FROM expected GROUP BY 1 ORDER BY 1;
SET ROLE history_owner;
SELECT set_identity('kept.profiles', '{CRMID,ECID}');
RESET ROLE;
CREATE TEMP TABLE said AS SELECT d AS day, r.* FROM generate_series(date '2026-11-02', '2026-11-08', '1 day') s(s), date(s) d, diff_snapshot_rows('kept.profiles', d - 1, d) r;
(SELECT 'not said', * FROM (TABLE expected EXCEPT ALL SELECT day, change, keys_before, keys_after FROM said WHERE change <> 'changed') x)
	UNION ALL (SELECT 'said', * FROM (SELECT day, change, keys_before, keys_after FROM said WHERE change <> 'changed' EXCEPT ALL TABLE expected) x);
-- The rest are the same profiles, changed or not; those who became others have links, and histories say the same of each day.
SELECT count(*) FROM (SELECT before + 1 AS day FROM pair l WHERE 1 = (SELECT count(*) FROM pair o WHERE o.before = l.before AND o.old = l.old) AND 1 = (SELECT count(*) FROM pair o WHERE o.before = l.before AND o.new = l.new)) x
	FULL JOIN (SELECT d AS day, profiles AS n FROM generate_series(date '2026-11-02', '2026-11-08', '1 day') s(s), date(s) d, diff_snapshots('kept.profiles', d - 1, d) WHERE change IN ('changed', 'unchanged') AND column_name IS NULL) y USING (day)
	GROUP BY day HAVING count(x.*) / count(DISTINCT n) <> sum(DISTINCT n);
SELECT count(*) FROM generate_series(date '2026-11-02', '2026-11-08', '1 day') s(s), date(s) d, identity_links('kept.profiles', d - 1, d) i WHERE NOT EXISTS (SELECT FROM pair WHERE before = d - 1 AND old = key_before AND new = key_after AND ids = shared_identities);
CREATE TEMP TABLE followed AS SELECT DISTINCT h.snapshot_date, h.profile_key, h.event, h.keys_before FROM (SELECT DISTINCT key FROM person) k, profile_history('kept.profiles', key) h;
SELECT count(*) FROM person p FULL JOIN followed f ON f.snapshot_date = p.day AND f.profile_key = p.key
	CROSS JOIN LATERAL (SELECT coalesce(array_agg(old ORDER BY old), '{}') AS olds, max((SELECT count(*) FROM pair o WHERE o.before = l.before AND o.old = l.old)) AS parts FROM pair l WHERE l.before = p.day - 1 AND l.new = p.key) l
	WHERE f.keys_before IS DISTINCT FROM l.olds OR (CASE WHEN cardinality(olds) = 0 THEN 'appeared' WHEN cardinality(olds) > 1 THEN 'merged' WHEN parts > 1 THEN 'split' END) <> f.event OR (parts = 1 AND f.event NOT LIKE '%changed' AND f.event <> 'merged');
DROP TABLE person, pair, expected, said, followed;
DROP FUNCTION belongs_to;
DROP SCHEMA kept CASCADE;
CREATE SCHEMA kept AUTHORIZATION history_owner;
-- A map in a column has every namespace. Whatever characters a code has, it is a code; and an id is every character of it.
CREATE FUNCTION load_map(day date, query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	path text := current_setting('profenrich_test.data') || '/history.json';
	loaded bigint;
BEGIN
	EXECUTE format($q$COPY (SELECT row_to_json(loaded_row)::text FROM (%s) loaded_row) TO %L (FORMAT csv, DELIMITER E'\x02', QUOTE E'\x01')$q$, query, path);
	SET ROLE history_owner;
	SELECT rows INTO loaded FROM load_snapshot_file(path, 'kept.profiles', snapshot_date => day, columns => '{"im": "identityMap", "plan": {"path": "plan", "type": "int"}}');
	RESET ROLE;
	RETURN loaded;
END $$;
SELECT load_map(day, $$SELECT ids('crmid', E'a\tb', 'atb', E'a\\tb', 'q"\{x},') || ids('x"y', 'odd') || ids('CR(M\ID.*', 'strange') || ids('XY', 'even') AS "identityMap", 1 AS plan
	UNION ALL SELECT ids('crmid', 'atc'), 1 UNION ALL SELECT ids('crmid', E'a\tc'), 1$$) FROM unnest('{2026-11-01,2026-11-02}'::date[]) day;
SET ROLE history_owner;
SELECT * FROM diff_snapshots('kept.profiles', '2026-11-01', '2026-11-02');
SELECT set_identity('kept.profiles', '{CRMID,ECID}');
SELECT set_identity('kept.profiles', '{CRMID}');
SELECT * FROM diff_snapshots('kept.profiles', '2026-11-01', '2026-11-02');
SELECT profile_key, jsonb_array_length(profile #> '{im,crmid}') FROM profile_history('kept.profiles', E'CRMID:a\tc') UNION ALL SELECT profile_key, 0 FROM profile_history('kept.profiles', 'CRMID:atc') WHERE event = 'appeared';
SELECT set_identity('kept.profiles', ARRAY['X"Y', 'CR(M\ID.*', 'X.']);
SELECT DISTINCT profile_key FROM profile_history('kept.profiles', 'X"Y:odd') UNION SELECT profile_key FROM profile_history('kept.profiles', 'CR(M\ID.*:strange');
SELECT change, profiles FROM diff_snapshots('kept.profiles', '2026-11-01', '2026-11-02');
SELECT set_identity('kept.profiles', NULL);
-- Columns of ids: what no column holds is refused, and nothing remains of it.
DROP SCHEMA kept CASCADE;
RESET ROLE;
CREATE SCHEMA kept AUTHORIZATION history_owner;
SELECT load(day, $$SELECT ids('CRMID', 'a') AS "identityMap", 1 AS plan$$) FROM unnest('{2026-11-01,2026-11-02}'::date[]) day;
SET ROLE history_owner;
COMMENT ON COLUMN kept.profiles.other IS NULL;
ALTER TABLE kept.profiles DROP COLUMN other CASCADE;
SELECT set_identity('kept.profiles', '{NOPE}');
SELECT change, profiles FROM diff_snapshots('kept.profiles', '2026-11-01', '2026-11-02');
SELECT set_identity('kept.profiles', '{CRMID}');
RESET ROLE;
-- Columns of other extensions' types, whose operators are where these are, and of types that have none.
CREATE SCHEMA elsewhere;
CREATE EXTENSION hstore SCHEMA elsewhere;
ALTER TABLE kept.profiles ADD COLUMN pairs elsewhere.hstore, ADD COLUMN same elsewhere.hstore, ADD COLUMN plain json, ADD COLUMN gone elsewhere.hstore, ADD COLUMN none elsewhere.hstore;
UPDATE kept.profiles SET pairs = elsewhere.hstore('a', snapshot_date::text), same = 'a=>1', plain = to_json(snapshot_date), gone = CASE WHEN snapshot_date = '2026-11-01' THEN elsewhere.hstore('a', 'b') END;
SELECT * FROM diff_snapshots('kept.profiles', '2026-11-01', '2026-11-02');
DROP EXTENSION hstore CASCADE;
DROP SCHEMA elsewhere;
-- Nothing is no answer to nothing.
SELECT diff_snapshots(NULL, '2026-11-01', '2026-11-02');
SELECT diff_snapshot_rows('kept.profiles', NULL, '2026-11-02');
SELECT identity_links('kept.profiles', '2026-11-01', NULL);
SELECT profile_history('kept.profiles', NULL);
SELECT compact_history('kept.profiles', NULL);
SELECT apply_retention(NULL);
SELECT unload_snapshot('kept.profiles', NULL);
SELECT drop_goal(NULL);
SELECT fill_outcomes(NULL);
DROP FUNCTION load_map;
DROP SCHEMA kept CASCADE;
CREATE SCHEMA kept AUTHORIZATION history_owner;
-- Settings and older days are the table's: they follow it to another name or schema.
CREATE SCHEMA elsewhere AUTHORIZATION history_owner;
SELECT load('2026-11-01'::date + d, format($$SELECT ids('CRMID', 'p' || i) AS "identityMap", i / (5 + %s) AS plan FROM generate_series(1, 20) i$$, d)) FROM generate_series(0, 3) d;
SET ROLE history_owner;
SELECT set_retention('kept.profiles', '5 days'), set_validation('kept.profiles', '{"row_count": [0.1, 0.3]}'), set_identity('kept.profiles', '{CRMID}');
SELECT snapshot_date FROM compact_history('kept.profiles', '1 day');
CREATE TEMP TABLE followed AS SELECT * FROM profile_history('kept.profiles', 'CRMID:p7');
ALTER TABLE kept.profiles RENAME TO people;
ALTER TABLE kept.people SET SCHEMA elsewhere;
SELECT count(*) FROM (TABLE followed EXCEPT ALL SELECT * FROM profile_history('elsewhere.people', 'CRMID:p7')) x;
SELECT rows FROM describe_snapshot('elsewhere.people', '2026-11-01') LIMIT 1;
SELECT snapshot_date, compacted FROM snapshots WHERE into_table = 'elsewhere.people'::regclass ORDER BY 1;
RESET ROLE;
CREATE FUNCTION load_people(day date, query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	path text := current_setting('profenrich_test.data') || '/history.json';
	loaded bigint;
BEGIN
	EXECUTE format('COPY (SELECT json_strip_nulls(row_to_json(loaded_row)) FROM (%s) loaded_row) TO %L', query, path);
	SET ROLE history_owner;
	SELECT rows INTO loaded FROM load_snapshot_file(path, 'elsewhere.people', snapshot_date => day);
	RESET ROLE;
	RETURN loaded;
END $$;
\set VERBOSITY terse
SELECT load_people('2026-11-05', $$SELECT ids('CRMID', 'p1') AS "identityMap", 1 AS plan$$);
RESET ROLE;
\set VERBOSITY default
SELECT load_people('2026-11-07', $$SELECT ids('CRMID', 'p' || i) AS "identityMap", 1 AS plan FROM generate_series(1, 20) i$$);
SELECT snapshot_date, compacted FROM snapshots WHERE into_table = 'elsewhere.people'::regclass ORDER BY 1;
SET ROLE history_owner;
SELECT snapshot_date, rows FROM compact_history('elsewhere.people', '1 day');
SELECT snapshot_date, count(*) FROM kept.profiles_history GROUP BY 1 ORDER BY 1;
RESET ROLE;
-- A new table under the old name, once that view of it is gone, has none of them, nor one that was made by hand where another was dropped.
DROP VIEW kept.profiles_latest;
SELECT load(day, $$SELECT ids('CRMID', 'q1') AS "identityMap"$$) FROM unnest('{2026-10-01,2026-10-02,2026-10-03}'::date[]) day;
SET ROLE history_owner;
SELECT count(*) FROM profile_history('kept.profiles', 'CRMID:q1');
SELECT compact_history('kept.profiles', '1 day');
ALTER VIEW kept.profiles_history RENAME TO people_history;
ALTER TABLE kept.profiles_changes RENAME TO people_changes;
SELECT snapshot_date FROM compact_history('kept.profiles', '1 day');
SELECT count(*) FROM kept.profiles_history;
SELECT count(*) FROM profile_history('elsewhere.people', 'CRMID:p7');
SELECT set_retention('kept.profiles', '1 day');
DROP TABLE kept.profiles CASCADE;
CREATE TABLE kept.profiles (snapshot_date date NOT NULL, identity_crmid text, other jsonb) PARTITION BY LIST (snapshot_date);
RESET ROLE;
SELECT load(day, $$SELECT ids('CRMID', 'q1') AS "identityMap"$$) FROM unnest('{2026-10-01,2026-10-04,2026-10-08}'::date[]) day;
SET ROLE history_owner;
SELECT count(DISTINCT snapshot_date) FROM kept.profiles;
SELECT compact_history('kept.profiles', '1 day');
DROP TABLE kept.profiles_changes CASCADE;
SELECT snapshot_date FROM compact_history('kept.profiles', '1 day');
SELECT count(*) FROM kept.profiles_history;
SELECT set_identity('kept.profiles', '{CRMID}');
-- Compacted days without the view are not there to be read, and not empty.
DROP VIEW kept.profiles_history;
SELECT * FROM diff_snapshots('kept.profiles', '2026-10-01', '2026-10-04');
SELECT rows FROM describe_snapshot('kept.profiles', '2026-10-01');
SELECT snapshot_date FROM profile_history('kept.profiles', 'CRMID:q1');
SELECT rows FROM describe_snapshot('kept.profiles') LIMIT 1;
SELECT snapshot_date FROM compact_history('kept.profiles', '1 day');
SELECT * FROM diff_snapshots('kept.profiles', '2026-10-01', '2026-10-04');
RESET ROLE;
DROP FUNCTION load_people;
DROP TABLE followed;
DROP SCHEMA elsewhere CASCADE;
DROP SCHEMA kept CASCADE;
CREATE SCHEMA kept AUTHORIZATION history_owner;
-- Columns may have the names that our queries use for themselves, and any others.
SELECT load('2026-12-01', $$SELECT ids('CRMID', 'n' || i) AS "identityMap", i AS t, i AS k, i AS a, i AS b, i AS i, i AS n, i AS p, i AS o, i AS d, i AS c, i AS s, i AS old, i AS new, i AS same, i AS place,
	i AS key, i AS identities, i AS change, i AS columns, i AS day, i AS hash, i AS number, i AS found, i AS profile, i AS "Select", i AS "sp ace" FROM generate_series(1, 3) i$$);
SELECT load('2026-12-02', $$SELECT ids('CRMID', 'n' || i) AS "identityMap", i + 1 AS t, i AS k, i + 1 AS a, i AS b, i + 1 AS i, i AS n, i AS p, i AS o, i AS d, i AS c, i AS s, i + 1 AS old, i AS new, i AS same, i AS place,
	i AS key, i AS identities, i AS change, i AS columns, i AS day, i AS hash, i AS number, i AS found, i AS profile, i + 1 AS "Select", i + 1 AS "sp ace" FROM generate_series(1, 3) i$$);
SELECT load('2026-12-03', $$SELECT ids('CRMID', 'n' || i) AS "identityMap", i + 1 AS t FROM generate_series(2, 4) i$$);
SET ROLE history_owner;
ALTER TABLE kept.profiles RENAME "select" TO "Select";
ALTER TABLE kept.profiles RENAME sp_ace TO "sp ace";
SELECT attname FROM pg_attribute WHERE attrelid = 'kept.profiles'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname COLLATE "C";
SELECT * FROM diff_snapshots('kept.profiles', '2026-12-01', '2026-12-02');
SELECT * FROM diff_snapshot_rows('kept.profiles', '2026-12-01', '2026-12-02') LIMIT 1;
SELECT count(*) FROM identity_links('kept.profiles', '2026-12-01', '2026-12-02');
SELECT snapshot_date, event, columns FROM profile_history('kept.profiles', 'CRMID:n3');
CREATE TEMP TABLE before AS SELECT * FROM kept.profiles WHERE snapshot_date < '2026-12-03';
SELECT snapshot_date, rows, ended, added FROM compact_history('kept.profiles', '1 day') WHERE snapshot_date > '2026-11-30';
SELECT count(*) FROM (TABLE before EXCEPT ALL SELECT * FROM kept.profiles_history WHERE snapshot_date < '2026-12-03') x;
SELECT * FROM diff_snapshots('kept.profiles', '2026-12-01', '2026-12-02');
SELECT count(*) FROM describe_snapshot('kept.profiles', '2026-12-01');
-- A goal over the history has all its days.
SELECT create_goal('kept', 't > 2', '1 day', 'kept.profiles_history', 'identity_crmid');
SELECT anchor, used_for FROM goal_anchors('kept') ORDER BY 1;
SELECT drop_goal('kept');
SELECT column_name, status FROM validate_snapshot('kept.profiles', '2026-12-02') WHERE check_name = 'row_count';
RESET ROLE;
SELECT object, rows FROM forget('CRMID', 'n2') WHERE object LIKE 'table%' ORDER BY 1;
-- A load leaves statistics, so that plans made at once are good ones; so does compaction.
SELECT relname, reltuples > 0 AS analyzed FROM pg_class WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'kept.profiles'::regclass UNION SELECT 'kept.profiles_changes'::regclass) ORDER BY 1;
-- What was written after a transaction's snapshot would go with the partitions.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT compact_history('kept.profiles');
ROLLBACK;

DROP SCHEMA kept CASCADE;
DROP OWNED BY history_reader, history_owner;
DROP ROLE history_reader, history_owner;
SELECT unforget('CRMID', 'p100'), unforget('CRMID', 'n2');
