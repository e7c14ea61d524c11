-- predict(), classify(), explain(): one row at a time, anywhere SQL goes.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = warning;
CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;
CREATE TABLE profiles AS
	SELECT i AS id, (ARRAY['basic', 'plus', 'pro'])[1 + floor(3 * uniform(i, 'plan'))::int] AS plan,
		   floor(72 * uniform(i, 'tenure'))::int AS tenure,
		   CASE WHEN uniform(i, 'gap') < 0.9 THEN floor(20 * uniform(i, 'visits'))::int END AS visits,
		   uniform(i, 'active') < 0.5 AS active,
		   timestamptz '2026-01-01 00:00+00' - floor(900 * uniform(i, 'signup'))::int * interval '1 day' AS signup,
		   jsonb_build_object('sports', floor(9 * uniform(i, 'sports'))) AS interests
	  FROM generate_series(1, 2000) AS i;
ALTER TABLE profiles ADD churned boolean;
UPDATE profiles SET churned = uniform(id, 'y') <
	1 / (1 + exp(1 - CASE plan WHEN 'basic' THEN 1.5 ELSE 0 END + tenure / 20.0 - coalesce(visits, 5) / 10.0));
SELECT version FROM profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"key": "id"}');
SELECT version FROM profenrich.train('logit', source => 'profiles', target => 'churned', algorithm => 'logistic', options => '{"key": "id"}');

-- Whole rows of a table, of a subquery, of a view with its columns in another order; a NULL row.
CREATE VIEW turned AS SELECT interests, signup, active, 'x' AS more, visits, tenure, plan, id FROM profiles;
SELECT count(*) AS rows, count(*) FILTER (WHERE a = b AND b = c) AS equal, min(a) > 0 AND max(a) < 1 AS probabilities, count(DISTINCT a) > 1000 AS differ
  FROM (SELECT profenrich.predict('churn', p) AS a, profenrich.predict('churn', (SELECT s FROM (SELECT p.*) s)) AS b,
			   profenrich.predict('churn', t) AS c
		  FROM profiles p JOIN turned t USING (id)) AS predicted;
SELECT profenrich.predict('churn', NULL::profiles) IS NULL AS null_row, profenrich.predict(NULL, p) IS NULL AS null_model FROM profiles p LIMIT 1;

-- It learnt something, and says it with the target's own words.
SELECT profenrich.classify('churn', p) AS class, count(*) > 100 AS many, round(avg(churned::int), 1) AS churned FROM profiles p GROUP BY 1 ORDER BY 1;

-- NULL is missing and a category not seen before is another one: both predict.
SELECT profenrich.predict('churn', s) BETWEEN 0 AND 1 AS predicts
  FROM (SELECT NULL::text AS plan, NULL::int AS tenure, NULL::int AS visits, NULL::boolean AS active, NULL::timestamptz AS signup, NULL::jsonb AS interests) AS s;
SELECT profenrich.predict('churn', s) BETWEEN 0 AND 1 AS predicts
  FROM (SELECT 'enterprise' AS plan, 1e9 AS tenure, 'NaN'::float8 AS visits, true AS active, 'infinity'::date AS signup, '{"sports": "many", "chess": 1}'::jsonb AS interests) AS s;
-- Other types that mean the same give the same.
SELECT bool_and(profenrich.predict('churn', p) = profenrich.predict('churn', s)) AS same
  FROM profiles p, LATERAL (SELECT p.plan::varchar AS plan, p.tenure::numeric AS tenure, p.visits::float8 AS visits, p.active::int AS active,
								   (p.signup AT TIME ZONE 'UTC')::timestamp AS signup, p.interests) AS s WHERE id <= 100;
-- The session's time zone changes nothing.
CREATE TEMP TABLE before AS SELECT id, profenrich.predict('churn', p) AS prediction FROM profiles p;
SET timezone = 'Pacific/Kiritimati';
SELECT bool_and(prediction = profenrich.predict('churn', p)) AS same FROM before JOIN profiles p USING (id);
RESET timezone;

-- Contributions and the base sum to the margin.
SELECT max(abs(margin - ln(probability / (1 - probability)))) < 1e-9 AS sums_to_margin
  FROM (SELECT (SELECT sum(contribution) FROM profenrich.explain('churn', p, NULL)) AS margin, profenrich.predict('churn', p) AS probability
		  FROM profiles p WHERE id <= 300) AS explained;
SELECT max(abs(margin - ln(probability / (1 - probability)))) < 1e-9 AS sums_to_margin
  FROM (SELECT (SELECT sum(contribution) FROM profenrich.explain('logit', p, NULL)) AS margin, profenrich.predict('logit', p) AS probability
		  FROM profiles p WHERE id <= 300) AS explained;
SELECT feature, value, contribution > 0 AS raises
  FROM (SELECT 'basic' AS plan, 0 AS tenure, NULL::int AS visits, true AS active, timestamptz '2025-12-01 00:00+00' AS signup, '{"sports": 3}'::jsonb AS interests) AS s,
	   profenrich.explain('churn', s, 2);
SELECT feature, value FROM profiles p, profenrich.explain('churn', p, top => NULL) WHERE id = 1 ORDER BY feature COLLATE "C";
SELECT count(*) FROM profiles p, profenrich.explain('churn', p) WHERE id = 1;
SELECT count(*) FROM profiles p, profenrich.explain('churn', p, 0) WHERE id = 1;
SELECT count(*) FROM profenrich.explain('churn', NULL::profiles);

-- Versions: the deployed one by default, another by number; a deployment is seen at the next call, in running sessions and prepared statements too.
SELECT version FROM profenrich.train('churn', source => 'SELECT tenure, churned FROM profiles', target => 'churned', options => '{"deploy": false}');
PREPARE one AS SELECT round(profenrich.predict('churn', p)::numeric, 3) = round(profenrich.predict('churn', p, 2)::numeric, 3) AS second_is_deployed FROM profiles p WHERE id = 1;
EXECUTE one;
SELECT profenrich.deploy('churn', 2);
EXECUTE one;
BEGIN;
SELECT profenrich.deploy('churn', 1);
EXECUTE one;
ROLLBACK;
EXECUTE one;
DO $$
DECLARE
	first float8;
	second float8;
BEGIN
	SELECT profenrich.predict('churn', p) INTO first FROM profiles p WHERE id = 1;
	PERFORM profenrich.deploy('churn', 1);
	SELECT profenrich.predict('churn', p) INTO second FROM profiles p WHERE id = 1;
	RAISE WARNING 'a deployment shows within one transaction: %', first <> second;
END
$$;

-- A row type that changes under a prepared statement.
EXECUTE one;
DROP VIEW turned;
ALTER TABLE profiles DROP COLUMN active, ADD active boolean DEFAULT true;
SELECT profenrich.predict('churn', p) > 0 AS predicts FROM profiles p WHERE id = 1;
ALTER TABLE profiles DROP COLUMN visits;
SELECT profenrich.predict('churn', p) FROM profiles p WHERE id = 1;

-- In parallel workers.
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT count(*) FILTER (WHERE profenrich.predict('churn', p, 2) BETWEEN 0 AND 1) AS predicted FROM profiles p;
SELECT count(*) FILTER (WHERE profenrich.predict('churn', p, 2) BETWEEN 0 AND 1) AS predicted FROM profiles p;
RESET max_parallel_workers_per_gather;

-- A cache too small for the models still answers.
SET profenrich.model_cache_size = '1MB';
SELECT count(*) FROM (SELECT profenrich.predict(m, p, 2 - (m = 'logit')::int) FROM profiles p, (VALUES ('churn'), ('logit')) AS v (m) WHERE m = 'churn') AS x;
RESET profenrich.model_cache_size;

-- What the errors say.
SELECT profenrich.predict('nobody', p) FROM profiles p LIMIT 1;
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.predict('churn', p, 9) FROM profiles p LIMIT 1;
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.predict('churn', p, 0) FROM profiles p LIMIT 1;
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.predict('churn', p, 1) FROM profiles p LIMIT 1;
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.predict('churn', ROW(1, 2)) FROM profiles p LIMIT 1;
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.predict('churn', s, 2) FROM (SELECT 'three' AS tenure) AS s;
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.explain('churn', p, -1, 2) FROM profiles p LIMIT 1;
\echo :LAST_ERROR_SQLSTATE
SELECT version FROM profenrich.train('tenure', source => 'SELECT tenure, plan FROM profiles', target => 'tenure');
SELECT profenrich.classify('tenure', p) FROM profiles p LIMIT 1;
\echo :LAST_ERROR_SQLSTATE

-- Values beyond a float, and not numbers at all: a prediction and reasons that are JSON.
CREATE TABLE spent AS SELECT i AS id, i % 100 AS amount, i % 7 AS visits, i % 100 + i % 13 > 60 AS bought FROM generate_series(1, 1000) AS i;
SELECT version FROM profenrich.train('spent', 'propensity', 'spent', 'bought', 'logistic', '{"features": {"exclude": ["id"]}}');
CREATE VIEW extreme AS SELECT a.id::text AS id, a.amount, a.visits FROM
	(VALUES (1, 'infinity'::float8, '-infinity'::float8), (2, '-infinity', 1), (3, 'nan', 1), (4, 1e300, 1)) AS a (id, amount, visits);
SELECT key, prediction BETWEEN 0 AND 1 AS probability, reasons::text::json IS NOT NULL AS json FROM profenrich.score('spent', 'extreme', 'id', reasons => 2);

-- Names and texts that do not fit are cut between characters.
CREATE TABLE long AS SELECT bought, amount % 50 AS amount, jsonb_build_object('k' || repeat('é', 61), bought::int) AS j,
	'x' || amount % 3 || repeat('€', 400) AS plan FROM spent;
SELECT quality FROM profenrich.train('long', 'propensity', 'long', 'bought', 'logistic', '{"features": {"treatment": {"plan": "category"}}}');
SELECT count(*) FROM profenrich.evaluation('long') WHERE meaning IS DISTINCT FROM convert_from(convert_to(meaning, 'UTF8'), 'UTF8');
SELECT count(*) FROM profenrich.coefficients('long') WHERE level IS DISTINCT FROM convert_from(convert_to(level, 'UTF8'), 'UTF8');

-- A category is the same whatever the session's settings are.
CREATE TABLE floats AS SELECT id, bought, amount % 3 + 0.1::float8 AS rate FROM spent;
SELECT version FROM profenrich.train('floats', 'propensity', 'floats', 'bought', 'logistic', '{"key": "id", "features": {"treatment": {"rate": "category"}}}');
CREATE TABLE predicted AS SELECT id, profenrich.predict('floats', f) AS p FROM floats AS f;
SET extra_float_digits = -14;
SELECT count(*) FROM floats AS f JOIN predicted USING (id) WHERE profenrich.predict('floats', f) <> p;
RESET extra_float_digits;

-- Texts kept out of line are levels by what they say, not by where they are.
CREATE TABLE pages (id int, page text, bought boolean);
ALTER TABLE pages ALTER page SET STORAGE EXTERNAL;
INSERT INTO pages SELECT i, repeat(CASE WHEN i % 2 = 0 THEN 'yes' ELSE 'no ' END, 2000), i % 2 = 0 FROM generate_series(1, 400) AS i;
SELECT algorithm, metric_value FROM profenrich.train('pages', 'propensity', 'pages', 'bought', 'logistic', '{"features": {"include": ["page"], "treatment": {"page": "category"}}}');
SELECT left(level, 6) AS level, length(level) FROM profenrich.coefficients('pages') WHERE feature = 'page' ORDER BY 1;
SELECT bought, bool_and(profenrich.predict('pages', p) > 0.5) AS likely, bool_and(profenrich.predict('pages', p) = s.prediction) AS as_score
  FROM pages AS p JOIN profenrich.score('pages', 'pages', 'id') AS s ON s.key = p.id::text GROUP BY 1 ORDER BY 1;

-- Another extension in the same session: its models, not those of the one before.
SET client_min_messages = warning;
DROP EXTENSION profenrich CASCADE;
CREATE EXTENSION profenrich;
SELECT version FROM profenrich.train('spent', 'propensity', 'spent', 'bought', 'logistic', '{"features": {"exclude": ["id"]}}');
SELECT profenrich.classify('spent', s) FROM spent AS s WHERE id = 3;
DROP EXTENSION profenrich CASCADE;
CREATE EXTENSION profenrich;
SELECT version FROM profenrich.train('spent', 'propensity', 'spent', 'bought', 'logistic', '{"features": {"exclude": ["id"]}, "threshold": 1e-30}');
SELECT profenrich.classify('spent', s) FROM spent AS s WHERE id = 3;
RESET client_min_messages;

SET client_min_messages = warning;
DROP TABLE profiles, spent, long, floats, predicted, pages CASCADE;
DROP FUNCTION uniform;
DROP EXTENSION profenrich CASCADE;
