-- Loading NDJSON and CSV: fields, types, names, mappings.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
RESET client_min_messages;
\getenv data PROFENRICH_TEST_DATA
SET profenrich_test.data = :'data';
CREATE FUNCTION file(name text) RETURNS text LANGUAGE sql AS
	$$SELECT current_setting('profenrich_test.data') || '/load/' || name$$;
SET search_path = public, profenrich;
SET timezone = 'UTC';
SET datestyle = ISO, YMD;

-- Automatic flattening of NDJSON.
SELECT * FROM load_snapshot_file(file('day1.json'), 'profiles', snapshot_date => '2026-11-22');
SELECT a.attname, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum)
  FROM pg_attribute a WHERE a.attrelid = 'profiles'::regclass AND a.attnum > 0 ORDER BY a.attnum;
SELECT id, identity_ecid, identity_crmid, person_name_first_name, person_birth_date, acme_churn, acme_active,
	   acme_subscription_tenure_months, repo_modify_date FROM profiles ORDER BY id;
SELECT id, jsonb_pretty(other) AS other FROM profiles ORDER BY id;
SELECT tableoid::regclass, count(*) FROM profiles GROUP BY 1;
SELECT into_table, snapshot_date, loaded_by = current_user AS by_me, source LIKE '%/day1.json' AS source, rows, files, bytes, partition
  FROM snapshots;
EXPLAIN (COSTS OFF) SELECT * FROM profiles_latest;
DROP TABLE profiles CASCADE;

-- The same compressed; a glob, which leaves out _SUCCESS and empty files.
SELECT snapshot_date, rows, files FROM load_snapshot_file(file('day1.json.gz'), 'profiles', snapshot_date => '2026-11-22');
SELECT rows, files FROM load_snapshot_file(file('day/*'), 'profiles', snapshot_date => '2026-11-22');
SELECT id, extra FROM profiles_latest ORDER BY id;
DROP TABLE profiles CASCADE;

-- Types.
SELECT rows FROM load_snapshot_file(file('types.json.gz'), 'types');
SELECT a.attname, format_type(a.atttypid, a.atttypmod)
  FROM pg_attribute a WHERE a.attrelid = 'types'::regclass AND a.attnum > 1 ORDER BY a.attname;
SELECT big, ts, mix, s, other FROM types ORDER BY i;
DROP TABLE types CASCADE;

-- Names: the same ones, long ones, reserved ones.
SELECT rows FROM load_snapshot_file(file('collide.json.gz'), 'names');
SELECT a.attname, col_description(a.attrelid, a.attnum)
  FROM pg_attribute a WHERE a.attrelid = 'names'::regclass AND a.attnum > 1 ORDER BY a.attname COLLATE "C";
SELECT other FROM names;
DROP TABLE names CASCADE;

-- More than 500 fields: the best filled become columns.
SELECT rows FROM load_snapshot_file(file('wide.json.gz'), 'wide');
SELECT count(*) FILTER (WHERE attname ~ '^f[0-2]') AS once, count(*) FILTER (WHERE attname ~ '^f[345]') AS twice, count(*)
  FROM pg_attribute WHERE attrelid = 'wide'::regclass AND attnum > 0;
SELECT f300, (SELECT count(*) FROM jsonb_object_keys(other)) FROM wide ORDER BY other IS NULL;
DROP TABLE wide CASCADE;

-- Texts of a length that fills any page: as many columns as fit a row, whatever is in them.
SELECT rows FROM load_snapshot_file(file('wide_text.json.gz'), 'wide');
SELECT count(*) FROM pg_attribute WHERE attrelid = 'wide'::regclass AND attnum > 0;
SELECT (SELECT count(*) FROM jsonb_object_keys(other)), length(t000) FROM wide;
DROP TABLE wide CASCADE;

-- A mapping: paths through maps (without case) and lists (the smallest), subtrees, types.
SELECT rows FROM load_snapshot_file(file('day1.json'), 'mapped', columns => '{
	"crm_id": "identityMap.CRMID.id", "ecid": "identityMap.ecid.id", "first_name": "person.name.firstName",
	"name": "person.name", "tenure": {"path": "_acme.subscription.tenureMonths", "type": "smallint"},
	"churn": {"path": "_acme.churn", "type": "numeric(4,1)"}, "smallest": "orders.total", "second": "orders.1.total",
	"segment": "segmentMembership.UPS.s1.status", "tag": "tags.0", "modified": "_repo.modifyDate", "map": "identityMap"}');
SELECT a.attname, format_type(a.atttypid, a.atttypmod)
  FROM pg_attribute a WHERE a.attrelid = 'mapped'::regclass AND a.attnum > 1 ORDER BY a.attname;
\x
SELECT * FROM (SELECT (to_jsonb(mapped) - 'snapshot_date') FROM mapped ORDER BY crm_id) x;
\x
-- The next load without columns uses the same mapping; '{}' flattens.
SELECT rows FROM load_snapshot_file(file('day2.ndjson'), 'mapped', snapshot_date => CURRENT_DATE + 1);
SELECT first_name, name, tenure, churn FROM mapped_latest ORDER BY first_name;
SELECT count(*) FROM pg_attribute WHERE attrelid = 'mapped'::regclass AND attnum > 0;
SELECT rows FROM load_snapshot_file(file('day2.ndjson'), 'mapped', '{}', CURRENT_DATE + 2);
SELECT attname FROM pg_attribute WHERE attrelid = 'mapped'::regclass AND attnum > 13 ORDER BY attnum;
DROP TABLE mapped CASCADE;

-- CSV.
SELECT rows FROM load_snapshot_file(file('day1.csv'), 'c');
SELECT a.attname, format_type(a.atttypid, a.atttypmod)
  FROM pg_attribute a WHERE a.attrelid = 'c'::regclass AND a.attnum > 1 ORDER BY a.attnum;
SELECT person_name_first_name, tenure, score, signup, seen, zip, ecid, flag, note, other FROM c ORDER BY 1;
SELECT rows FROM load_snapshot_file(file('day1.csv.gz'), 'c2', '{"name": "person.name.firstName", "NOTE": "Note", "t": {"path": "tenure", "type": "text"}}');
SELECT name, "NOTE", t FROM c2 ORDER BY 1;
SELECT rows FROM load_snapshot_file(file('bom.csv'), 'c3');
SELECT id, n FROM c3;
DROP TABLE c, c2, c3 CASCADE;

DROP FUNCTION file;
RESET search_path;
SET client_min_messages = warning;
DROP EXTENSION profenrich CASCADE;
