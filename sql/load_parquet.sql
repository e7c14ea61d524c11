-- Loading Parquet files.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
\getenv data PROFENRICH_TEST_DATA
SET profenrich_test.data = :'data';
CREATE FUNCTION file(name text) RETURNS text LANGUAGE sql AS
	$$SELECT current_setting('profenrich_test.data') || '/load/' || name$$;
SET search_path = public, profenrich;
SET timezone = 'UTC';
SET datestyle = ISO, YMD;
CREATE FUNCTION outcome(name text, columns jsonb = NULL, date date = '2026-11-23', format text = 'auto') RETURNS TABLE (outcome text) LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text; state text;
	loaded bigint;
BEGIN
	SELECT rows INTO loaded FROM load_snapshot_file(file(name), 'target', columns, date, format);
	RETURN QUERY VALUES (loaded || ' rows');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN QUERY VALUES (state || ': ' || replace(message, file(''), ''))
		UNION ALL SELECT '  ' || replace(d, file(''), '') FROM unnest(ARRAY[nullif(detail, 'Nothing was loaded.'), hint]) d WHERE d <> '';
END $$;
CREATE VIEW target_columns AS
	SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type
	  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relname = 'target' WHERE a.attnum > 1 ORDER BY a.attnum;

-- Flattened: a field without any value makes no column.
SELECT outcome('day1.parquet');
SELECT * FROM target_columns;
SELECT (to_jsonb(t) - 'other' - 'snapshot_date') FROM target t ORDER BY id;
SELECT id, other FROM target ORDER BY id;
-- The next day: a new attribute, fields that are gone, integers in a wider form.
SELECT outcome('day2.parquet', date => '2026-11-24');
SELECT id, identity_crmid, person_name_last_name, acme_subscription_tenure_months, acme_subscription_plan, other FROM target_latest ORDER BY id;
SELECT type FROM target_columns WHERE attname = 'acme_subscription_tenure_months';
-- What does not fit the columns there are.
SELECT outcome('beyond_integer.parquet', date => '2026-11-25');
SELECT outcome('wrong_type.parquet', date => '2026-11-25');
SELECT snapshot_date, rows FROM snapshots ORDER BY 1;
DROP TABLE target CASCADE;

-- The two days in one load: the wider type; compressed as a whole.
SELECT snapshot_date, rows, files FROM load_snapshot_file(file('day[12].parquet'), 'target', snapshot_date => '2026-11-23');
SELECT type FROM target_columns WHERE attname = 'acme_subscription_tenure_months';
SELECT outcome('day1.parquet.gz', date => '2026-11-24');
DROP TABLE target CASCADE;
-- Types that do not go together, and how to say what is wanted.
SELECT outcome('[dw]*[1e].parquet');
SELECT outcome('[dw]*[1e].parquet', '{"id": "_id", "tenure": {"path": "_acme.subscription.tenureMonths", "type": "text"}}');
SELECT id, tenure FROM target ORDER BY id, tenure;
DROP TABLE target CASCADE;

-- All types.
SELECT outcome('types.parquet');
SELECT * FROM target_columns;
\x
SELECT * FROM target WHERE i = 1;
\x
SELECT f64, b IS NULL AND i8 IS NULL AND t IS NULL AND blob IS NULL AS nulls FROM target WHERE i = 2;
DROP TABLE target CASCADE;
-- Into other types.
SELECT outcome('types.parquet', '{"i8": {"path": "i8", "type": "smallint"}, "f32": {"path": "f32", "type": "real"}, "i64": {"path": "i64", "type": "numeric(20,1)"},
	"u": {"path": "u", "type": "uuid"}, "tm": {"path": "tm", "type": "time"}, "d": {"path": "d", "type": "text"}, "ts": {"path": "ts", "type": "timestamp"},
	"ts3": {"path": "ts", "type": "timestamptz(3)"}, "t": {"path": "t", "type": "varchar(6)"}, "j": {"path": "j", "type": "jsonb"}, "i": {"path": "i", "type": "double precision"},
	"b": {"path": "b", "type": "text"}, "f64": {"path": "f64", "type": "numeric"}}');
\x
SELECT * FROM target WHERE i = 1;
\x
DROP TABLE target CASCADE;
SELECT outcome('types.parquet', '{"x": {"path": "i32", "type": "smallint"}}');
SELECT outcome('types.parquet', '{"x": {"path": "f64", "type": "integer"}}');
SELECT outcome('types.parquet', '{"x": {"path": "t", "type": "varchar(3)"}}');
SELECT outcome('types.parquet', '{"x": {"path": "t", "type": "date"}}');
SELECT outcome('types.parquet', '{"x": {"path": "ts", "type": "uuid"}}');

-- A mapping, as for NDJSON.
SELECT outcome('day1.parquet', '{
	"crm_id": "identityMap.CRMID.id", "ecid": "identityMap.ecid.id", "first_name": "person.name.firstName",
	"name": "person.name", "tenure": {"path": "_acme.subscription.tenureMonths", "type": "smallint"},
	"churn": {"path": "_acme.churn", "type": "numeric(4,1)"}, "smallest": "orders.total", "second": "orders.1.total",
	"segment": "segmentMembership.UPS.s1.status", "tag": "tags.0", "map": "identityMap", "since": "segmentMembership.ups.s1.lastQualificationTime"}');
SELECT * FROM target_columns ORDER BY 1;
SELECT to_jsonb(target) - 'snapshot_date' FROM target ORDER BY crm_id;
SELECT outcome('day1.parquet', '{"x": "person.name.firstname"}', date => '2026-11-24');
DROP TABLE target CASCADE;

-- Bad files.
SELECT outcome('truncated.parquet');
SELECT outcome('spoiled.parquet');
SELECT outcome('garbage.parquet');
SELECT outcome('nul.parquet');
SELECT outcome('date.parquet');
SELECT outcome('timestamp.parquet');
SELECT outcome('deep.parquet');
SELECT outcome('empty.parquet');
SELECT outcome('day1.json', format => 'parquet');
SELECT outcome('*.parquet');
SELECT count(*) FROM pg_class WHERE relname LIKE 'target\_%' AND relname <> 'target_columns';

DROP VIEW target_columns;
DROP FUNCTION file, outcome;
RESET search_path;
DROP EXTENSION profenrich CASCADE;
