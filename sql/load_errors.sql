-- Bad files and bad arguments: each names what was wrong, and loads nothing.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
\getenv data PROFENRICH_TEST_DATA
SET profenrich_test.data = :'data';
SET search_path = public, profenrich;
SET timezone = 'UTC';
SET datestyle = ISO, YMD;
CREATE FUNCTION outcome(name text, columns jsonb = NULL, date date = '2026-11-23', format text = 'auto', csv jsonb = NULL) RETURNS TABLE (outcome text) LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text; state text; context text;
	data text := current_setting('profenrich_test.data') || '/load/';
	loaded bigint;
BEGIN
	SELECT rows INTO loaded FROM load_snapshot_file(CASE WHEN name LIKE '/%' THEN name ELSE data || name END, 'target', columns, date, format, csv => csv);
	RETURN QUERY VALUES (loaded || ' rows');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
	RETURN QUERY VALUES (state || ': ' || replace(message, data, ''))
		UNION ALL SELECT '  ' || replace(d, data, '') FROM unnest(ARRAY[nullif(detail, 'Nothing was loaded.'), hint]) d WHERE d <> ''
		-- COPY's and JSON's contexts quote the data: none may be left.
		UNION ALL SELECT '  CONTEXT ' || c FROM unnest(string_to_array(context, E'\n')) c WHERE c !~ '^(SQL statement|PL/pgSQL function)';
END $$;

SELECT outcome('truncated.json');
SELECT outcome('nul.json');
SELECT outcome('nul_byte.json');
SELECT outcome('not_utf8.json');
SELECT outcome('array.json');
SELECT outcome('deep.json.gz');
SELECT outcome('cut.json.gz');
SELECT outcome('fields.csv');
SELECT outcome('unterminated.csv');
SELECT outcome('twice.csv');
SELECT outcome('unnamed.csv');
SELECT outcome('marker.csv');
SELECT outcome('header_only.csv');
SELECT outcome('empty.csv');
SELECT outcome('empty.csv.gz');
SELECT outcome('empty.gz');
SELECT outcome('pretty.json');
SELECT outcome('not_utf8.csv');
SELECT outcome('day1.json', format => 'csv');
-- Written otherwise than we read.
CREATE FUNCTION written(name text, content bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	lo oid := lo_from_bytea(0, content);
BEGIN
	PERFORM lo_export(lo, current_setting('profenrich_test.data') || '/load/' || name), lo_unlink(lo);
	RETURN name;
END $$;
SELECT outcome(written('other.csv', E'a;b\n1;2'));
SELECT outcome(written('other.csv', E'a\tb\n1\t2'));
SELECT outcome(written('other.csv', E'a|b\n1|2'));
SELECT outcome(written('other.csv', '\xff2c'::bytea));
SELECT outcome(written('other.csv', '\xfffe61002c'::bytea));
SELECT outcome(written('other.csv', ('id,n' || repeat(E'\n1,x', 50000))::bytea || E'\n\\377,y'::bytea));
SELECT outcome(written('other.csv', E'a,b\n1,2'), csv => csv) FROM unnest(ARRAY['[]', '{"delimeter": ";"}', '{"delimiter": ";;"}', '{"quote": "\n"}', '{"escape": 1}',
	'{"delimiter": "\""}', '{"null": "a,b"}', '{"encoding": "UTF-99"}', '{"encoding": "UTF-16BE"}']::jsonb[]) csv;
SELECT outcome('day1.json', format => 'ndjson', csv => '{}');
DROP FUNCTION written;
SELECT outcome('day1.csv', format => 'ndjson');
SELECT outcome('day1.csv', format => 'parquet');
SELECT outcome('garbage.parquet');
SELECT outcome('no/such/file.json');
SELECT outcome('no_such_*.json');
SELECT outcome('day');
SELECT outcome('/dev/zero');
SELECT load_snapshot_file('relative.json', 'target');
SELECT load_snapshot_file(NULL, 'target');
SELECT load_snapshot_file('/x', NULL);
SELECT load_snapshot_file('/x', 'target', snapshot_date => NULL);
SELECT outcome('day1.json', format => 'xml');
SELECT outcome('day1.json', date => 'infinity');
SELECT outcome('day1.json', date => '4713-01-01 BC');
SELECT outcome('day1.json', date => '10000-01-01');
SELECT count(*) FROM pg_class WHERE relname LIKE 'target%';

-- Mappings.
SELECT outcome('day1.json', '[]');
SELECT outcome('day1.json', '{"x": 1}');
SELECT outcome('day1.json', '{"x": {"type": "text"}}');
SELECT outcome('day1.json', '{"x": {"path": "_id", "typ": "text"}}');
SELECT outcome('day1.json', '{"x": {"path": "_id", "type": "no_such_type"}}');
SELECT outcome('day1.json', '{"x": {"path": "_id", "type": "record"}}');
SELECT outcome('day1.json', '{"x": ""}');
SELECT outcome('day1.json', '{"x": "a..b"}');
SELECT outcome('day1.json', '{"x": "person.name.firstname"}');
SELECT outcome('day1.json', '{"snapshot_date": "_id"}');
SELECT outcome('day1.json', '{"": "_id"}');
SELECT outcome('day1.json', jsonb_build_object(repeat('x', 64), '_id'));
SELECT outcome('day1.json', '{"ctid": "_id"}');
SELECT outcome('day1.csv', '{"x": "no such column"}');

-- Values that do not fit: column, file and row, and never the value.
SELECT outcome('day1.json', '{"x": {"path": "person.name.firstName", "type": "integer"}}');
SELECT outcome('day1.json', '{"x": {"path": "_acme.churn", "type": "integer"}}');
SELECT outcome('day1.json', '{"x": {"path": "_acme.crmId", "type": "varchar(2)"}}');
SELECT outcome('day1.json', '{"x": {"path": "identityMap", "type": "integer"}}');
SELECT outcome('day1.csv', '{"x": {"path": "ecid", "type": "bigint"}}');
SELECT outcome('dates.csv', '{"id": "id", "d": {"path": "d", "type": "date"}}');
SELECT outcome('day1.json', '{"crm_id": "_acme.crmId", "tenure": "_acme.subscription.tenureMonths"}');
SELECT outcome('wrong_type.json', date => '2026-11-24');
SELECT outcome('wrong_type.json', '{"tenure": {"path": "_acme.subscription.tenureMonths", "type": "text"}}', date => '2026-11-24');
SELECT snapshot_date, rows FROM snapshots;
SELECT * FROM target;
DROP TABLE target CASCADE;
-- The hint leads out of it, followed as it stands; a mapping that is used again does not insist on the type that was.
SELECT outcome('day1.json', '{"crm_id": "_acme.crmId", "tenure": {"path": "_acme.subscription.tenureMonths", "type": "bigint"}}');
SELECT outcome('wrong_type.parquet', date => '2026-11-24');
SELECT substring(outcome FROM 'SELECT [^;]*;') AS way_out FROM outcome('wrong_type.json', date => '2026-11-24') WHERE outcome ~ 'SELECT' \gset
:way_out
SELECT substring(outcome FROM 'SELECT [^;]*;') AS way_out FROM outcome('wrong_type.json', date => '2026-11-24') WHERE outcome ~ 'SELECT' \gset
:way_out
SELECT outcome('wrong_type.json', date => '2026-11-24');
SELECT snapshot_date, crm_id, tenure FROM target ORDER BY 1, 2;
DROP TABLE target CASCADE;

DROP FUNCTION outcome;
RESET search_path;
DROP EXTENSION profenrich CASCADE;
