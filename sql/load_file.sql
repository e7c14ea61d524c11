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

-- CSV as file destinations write it.
CREATE FUNCTION written(name text, content bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	lo oid := lo_from_bytea(0, content);
BEGIN
	PERFORM lo_export(lo, file(name)), lo_unlink(lo);
	RETURN file(name);
END $$;
CREATE FUNCTION utf16(content text, big boolean) RETURNS bytea LANGUAGE sql AS
	$$SELECT string_agg(CASE WHEN big THEN unit ELSE substr(unit, 2, 1) || substr(unit, 1, 1) END, '' ORDER BY i)
	    FROM string_to_table(content, NULL) WITH ORDINALITY AS t(c, i), LATERAL (SELECT decode(lpad(to_hex(ascii(c)), 4, '0'), 'hex') AS unit) u$$;
SELECT rows FROM load_snapshot_file(written('d.csv', convert_to(E'id;name;spend\n1;\'it\\\'s; ok\';1.5\n2;NULL;NULL\n3;NONE;3\n4;;4\n', 'UTF8')), 'd',
	csv => '{"delimiter": ";", "quote": "''", "escape": "\\", "null": "NULL", "empty": "NONE", "encoding": null}');
SELECT id, quote_nullable(name) AS name, spend FROM d ORDER BY 1;
SELECT rows FROM load_snapshot_file(written('d.txt', convert_to(E'id\tname\n1\t"a"\n2\t""\n', 'UTF8')), 'd', csv => '{"delimiter": "\t", "empty": "\"\""}');
SELECT id, quote_nullable(name) AS name FROM d ORDER BY 1;
SELECT (load_snapshot_file(written('d.csv', utf16(E'\uFEFFid,name\n1,B\u00f8rn\n2,\u6771\u4eac\n', big)), 'd')).rows FROM unnest(ARRAY[false, true]) big;
SELECT id, name FROM d ORDER BY 1;
SELECT rows FROM load_snapshot_file(written('d.csv', utf16(E'id,name\n1,B\u00f8rn\n', false)), 'd', csv => '{"encoding": "UTF-16LE"}');
SELECT rows FROM load_snapshot_file(written('d.csv', utf16(E'\uFEFFid,name\n' || (SELECT string_agg(i || E',\u6771\n', '' ORDER BY i) FROM generate_series(1, 50000) i), true)), 'd', csv => '{"encoding": "utf-16"}');
SELECT count(DISTINCT id), min(name), max(name) FROM d;
SELECT rows FROM load_snapshot_file(written('d.csv', convert_to(E'id,name\n1,B\u00f8rn\n', 'LATIN1')), 'd', csv => '{"encoding": "ISO-8859-1"}');
SELECT id, name FROM d;
SET client_min_messages = warning;
DROP TABLE d CASCADE;
RESET client_min_messages;
DROP FUNCTION written, utf16;

DROP FUNCTION file;
RESET search_path;
SET client_min_messages = warning;
DROP EXTENSION profenrich CASCADE;
