-- What a loaded day holds, against plain SQL over the same rows.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
\getenv data PROFENRICH_TEST_DATA
\set export :data '/describe.csv'
\set small :data '/describe_small.csv'
SET search_path = public, profenrich;
SET datestyle = ISO, YMD;
SELECT setseed(0.5);
CREATE TEMP TABLE generated AS
SELECT i AS id, 'profile-' || i AS crm_id, (ARRAY['gold', 'silver', 'bronze', 'none'])[1 + floor(4 * random() ^ 2)::int] AS tier,
	   CASE WHEN random() < 0.3 THEN NULL ELSE round((exp(3 * random()) * 10)::numeric, 2) END AS spend,
	   floor(50000 * random() ^ 3)::bigint AS visits, (random() - 0.5) * 1e6 AS score,
	   CASE WHEN i % 1000 = 0 THEN NULL ELSE date '2026-11-23' - floor(2000 * random() ^ 2)::int END AS joined,
	   timestamptz '2026-11-23 12:00+00' - random() * interval '90 days' AS seen, random() < 0.25 AS consent,
	   'city ' || floor(3000 * random() ^ 2) AS city, 'fixed' AS fixed, NULL::text AS nothing
  FROM generate_series(1, 250000) AS i;
COPY generated TO :'export' (FORMAT csv, HEADER);
SELECT rows FROM load_snapshot_file(:'export', 'described', snapshot_date => '2026-11-23', columns => '{
	"id": {"path": "id", "type": "bigint"}, "crm_id": "crm_id", "tier": "tier", "spend": {"path": "spend", "type": "numeric(10,2)"},
	"visits": {"path": "visits", "type": "bigint"}, "score": {"path": "score", "type": "double precision"}, "joined": {"path": "joined", "type": "date"},
	"seen": {"path": "seen", "type": "timestamptz"}, "consent": {"path": "consent", "type": "boolean"}, "city": "city", "fixed": "fixed",
	"nothing": {"path": "nothing", "type": "text"}}');
CREATE TEMP TABLE description AS SELECT * FROM describe_snapshot('described');
SELECT column_name, type, rows, nulls, round(null_share::numeric, 6) AS null_share, distinct_error FROM description;

-- The truth of each column, by aggregates: one row for a column and a measure.
CREATE TEMP TABLE truth (column_name text, nulls bigint, distincts bigint, min_value text, max_value text, mean float8, deviation float8);
DO $$
DECLARE c record;
BEGIN
	FOR c IN SELECT column_name AS name, type FROM description LOOP
		EXECUTE format('INSERT INTO truth SELECT %L, count(*) - count(%2$I), count(DISTINCT %2$I), min(%3$s)::text, max(%3$s)::text, %4$s, %5$s FROM described',
			c.name, c.name, quote_ident(c.name) || CASE c.type WHEN 'boolean' THEN '::int' ELSE '' END,
			CASE WHEN c.type ~ 'numeric|bigint|double' THEN format('avg(%I)', c.name) ELSE 'NULL' END,
			CASE WHEN c.type ~ 'numeric|bigint|double' THEN format('stddev(%I)', c.name) ELSE 'NULL' END);
	END LOOP;
END $$;
SELECT column_name FROM description d JOIN truth t USING (column_name) WHERE d.nulls <> t.nulls;
SELECT column_name, distinct_error = 0 AS exact, CASE WHEN distinct_error = 0 THEN distinct_values = distincts
	ELSE abs(distinct_values - distincts) <= 4 * distinct_error * distincts END AS right FROM description JOIN truth USING (column_name);
SELECT column_name, d.min_value, t.min_value, d.max_value, t.max_value FROM description d JOIN truth t USING (column_name)
 WHERE type <> 'boolean' AND (d.min_value, d.max_value) IS DISTINCT FROM (t.min_value, t.max_value);
SELECT column_name FROM description d JOIN truth t USING (column_name)
 WHERE (d.mean IS NULL) <> (t.mean IS NULL) OR abs(d.mean - t.mean) > 1e-9 * abs(t.deviation) OR abs(d.standard_deviation - t.deviation) > 1e-9 * t.deviation;

-- Quantiles: the rank of each within half a percent of what was asked for.
CREATE TEMP TABLE ranks (column_name text, share float8, below float8, upto float8);
DO $$
DECLARE c record;
BEGIN
	FOR c IN SELECT column_name AS name, type, q.key, q.value FROM description, jsonb_each_text(quantiles) q LOOP
		EXECUTE format('INSERT INTO ranks SELECT %L, %L::float8, avg((%3$I < %4$L::%5$s)::int), avg((%3$I <= %4$L::%5$s)::int) FROM described WHERE %3$I IS NOT NULL',
			c.name, c.key, c.name, c.value, CASE c.type WHEN 'bigint' THEN 'numeric' WHEN 'numeric(10,2)' THEN 'numeric' ELSE c.type END);
	END LOOP;
END $$;
SELECT column_name, count(*) AS quantiles, bool_and(share > below - 0.005 AND share < upto + 0.005) AS right FROM ranks GROUP BY 1 ORDER BY 1;

-- The most frequent values, with their counts.
SELECT d.top_values = (SELECT jsonb_agg(jsonb_build_object('value', tier, 'count', n) ORDER BY n DESC) FROM (SELECT tier, count(*) AS n FROM described GROUP BY 1) t) AS right
  FROM description d WHERE column_name = 'tier';
WITH top AS (SELECT t ->> 'value' AS city, (t ->> 'count')::bigint AS n FROM description, jsonb_array_elements(top_values) t WHERE column_name = 'city')
SELECT count(*) AS shown, bool_and(n = (SELECT count(*) FROM described WHERE city = top.city)) AS right,
	   min(n) = (SELECT n FROM (SELECT count(*) AS n FROM described GROUP BY city ORDER BY 1 DESC LIMIT 10) t ORDER BY 1 LIMIT 1) AS the_most FROM top;
WITH top AS (SELECT (t ->> 'value')::bigint AS visits, (t ->> 'count')::bigint AS n, (t ->> 'at_most')::bigint AS at_most
			   FROM description, jsonb_array_elements(top_values) t WHERE column_name = 'visits')
SELECT count(*) AS shown, bool_and((SELECT count(*) FROM described WHERE visits = top.visits) BETWEEN n AND at_most) AS right, max(at_most - n) <= 250000 / 2048 AS narrow FROM top;

-- Few rows: everything is exact, and quantiles are those of percentile_cont.
COPY (SELECT id, spend, joined, repeat(crm_id || 'x', 30) AS long FROM generated ORDER BY id LIMIT 1500) TO :'small' (FORMAT csv, HEADER);
SELECT rows FROM load_snapshot_file(:'small', 'small', snapshot_date => '2026-11-22', columns => '{"id": {"path": "id", "type": "int"},
	"spend": {"path": "spend", "type": "numeric"}, "joined": {"path": "joined", "type": "date"}, "long": "long"}');
SELECT d.column_name, bool_and(abs(q.value::float8 - t.q) < 1e-9) AS right
  FROM describe_snapshot('small', '2026-11-22') d, jsonb_each_text(d.quantiles) q,
	   LATERAL (SELECT percentile_cont(q.key::float8) WITHIN GROUP (ORDER BY CASE d.column_name WHEN 'id' THEN id ELSE spend END) AS q FROM small) t
 WHERE d.column_name IN ('id', 'spend') GROUP BY 1 ORDER BY 1;
SELECT column_name, distinct_values, distinct_error, octet_length(min_value) AS least, octet_length(top_values -> 0 ->> 'value') AS first, jsonb_array_length(top_values) AS shown
  FROM describe_snapshot('small_latest', top => 3) WHERE column_name = 'long';

-- Other types, and what has no order.
INSERT INTO small (snapshot_date, id) VALUES ('2026-11-22', NULL);
ALTER TABLE small ADD COLUMN doc jsonb, ADD COLUMN plain json, ADD COLUMN tags text[], ADD COLUMN ratio float4, ADD COLUMN code uuid;
UPDATE small SET doc = jsonb_build_object('a', id % 7), plain = '{}', tags = ARRAY[id % 3]::text[],
	ratio = CASE WHEN id % 4 = 0 THEN 'NaN' WHEN id % 8 = 1 THEN 'Infinity' ELSE id::float4 END, code = md5((id % 7 / 3)::text)::uuid WHERE id IS NOT NULL;
SELECT column_name, type, nulls, distinct_values, min_value, max_value, round(mean::numeric, 3) AS mean, quantiles ->> '0.5' AS median, top_values -> 0 AS top
  FROM describe_snapshot('small') WHERE column_name IN ('doc', 'plain', 'tags', 'ratio', 'code');

-- Who may read some columns only sees those.
CREATE ROLE describe_some NOLOGIN;
CREATE ROLE describe_none NOLOGIN;
GRANT profenrich_reader TO describe_some, describe_none;
GRANT SELECT (snapshot_date, id, spend) ON small TO describe_some;
SET ROLE describe_some;
SELECT column_name, rows FROM describe_snapshot('small');
SET ROLE describe_none;
SELECT column_name FROM describe_snapshot('small');
RESET ROLE;
SELECT column_name FROM describe_snapshot('small', '2026-11-21');
SELECT column_name FROM describe_snapshot('nothing');
SELECT column_name FROM describe_snapshot('generated');
SELECT column_name FROM describe_snapshot('small', top => -1);
SELECT column_name FROM describe_snapshot(NULL);

DROP TABLE described, small CASCADE;
DROP ROLE describe_some, describe_none;
DROP EXTENSION profenrich CASCADE;
