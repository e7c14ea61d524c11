-- score() and score_into(): whole sources at a time.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = warning;
CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;
CREATE TABLE profiles AS
	SELECT 'c' || lpad(i::text, 6, '0') AS crm_id, i AS id, (ARRAY['basic', 'plus', 'pro'])[1 + floor(3 * uniform(i, 'plan'))::int] AS plan,
		   floor(72 * uniform(i, 'tenure'))::int AS tenure,
		   CASE WHEN uniform(i, 'gap') < 0.9 THEN floor(20 * uniform(i, 'visits'))::int END AS visits
	  FROM generate_series(1, 5000) AS i;
ALTER TABLE profiles ADD churned boolean;
UPDATE profiles SET churned = uniform(id, 'y') <
	1 / (1 + exp(1 - CASE plan WHEN 'basic' THEN 1.5 ELSE 0 END + tenure / 20.0 - coalesce(visits, 5) / 10.0));
SELECT version FROM profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"key": "crm_id", "features": {"exclude": "id"}}');

-- A row a profile, what predict says, and scores of the distribution the model was trained on.
SELECT count(*) AS rows, bool_and(prediction = profenrich.predict('churn', p)) AS as_predict, min(score) >= 0 AND max(score) <= 100 AS scores,
	   min(percentile) AS lowest, max(percentile) AS highest, count(DISTINCT bucket) AS buckets,
	   bool_and(detail IS NULL AND reasons IS NULL) AS nothing_more, min(model_version) AS version, bool_and(scored_at = now()) AS now
  FROM profenrich.score('churn', 'profiles', 'crm_id') s JOIN profiles p ON p.crm_id = s.key;
SELECT bucket, min(percentile), max(percentile) FROM profenrich.score('churn', 'profiles', 'crm_id') GROUP BY 1 ORDER BY 2;
SELECT count(*) AS rows, count(*) FILTER (WHERE a IS NOT DISTINCT FROM b) AS unchanged
  FROM (SELECT * FROM profenrich.score('churn', 'SELECT * FROM profiles WHERE id <= 10', 'crm_id')) AS a
  LEFT JOIN profenrich.score('churn', 'profiles', 'crm_id') AS b USING (key);
SELECT count(*) FROM profenrich.score('churn', 'SELECT * FROM profiles LIMIT 0', 'crm_id');

-- Reasons: the largest contributions, as text a person reads.
SELECT key, jsonb_array_length(reasons) AS reasons, (SELECT bool_and(r ?& '{feature,value,contribution}') FROM jsonb_array_elements(reasons) r) AS shape,
	   reasons -> 0 ->> 'feature' = (SELECT feature FROM profenrich.explain('churn', p, 1)) AS as_explain
  FROM profenrich.score('churn', 'SELECT * FROM profiles WHERE id <= 3', 'crm_id', reasons => 2) s JOIN profiles p ON p.crm_id = s.key ORDER BY key;
SELECT r ->> 'feature' AS feature, r ->> 'value' AS value
  FROM profenrich.score('churn', $$SELECT 1 AS key, 'unheard of' AS plan, NULL::int AS tenure, 3 AS visits$$, 'key', reasons => 100) AS s, jsonb_array_elements(reasons) AS r
 ORDER BY 1;

-- A view over score(), and keys of other types.
CREATE VIEW churn_scores AS SELECT key AS crm_id, prediction AS probability, score, percentile, bucket
  FROM profenrich.score('churn', source => 'profiles', key => 'crm_id');
SELECT count(*), count(DISTINCT crm_id) FROM churn_scores WHERE probability > 0;
SELECT min(key::int), max(key::int) FROM profenrich.score('churn', 'profiles', 'id');

-- A key is scored once: repeated and missing keys stop it, unless it is said which row counts.
CREATE VIEW doubled AS SELECT * FROM profiles WHERE id <= 100 UNION ALL SELECT * FROM profiles WHERE id <= 7;
SELECT count(*) FROM profenrich.score('churn', 'doubled', 'crm_id');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profenrich.score('churn', 'doubled', 'crm_id', on_duplicate => 'first');
SELECT count(*) FROM profenrich.score('churn', 'doubled', 'crm_id', on_duplicate => 'keep');
SELECT count(*) FROM profenrich.score('churn', 'doubled', 'crm_id', on_duplicate => 'last');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profenrich.score('churn', 'SELECT nullif(crm_id, ''c000003'') AS crm_id, plan, tenure, visits FROM profiles WHERE id < 9', 'crm_id');
\echo :LAST_ERROR_SQLSTATE
-- The same over many blocks of rows, where a row that goes leaves the others as they were.
SELECT count(*) AS rows, bool_and(s.prediction = profenrich.predict('churn', p)) AS first_ones
  FROM profenrich.score('churn', 'SELECT crm_id, plan, tenure, visits FROM (SELECT 1 AS part, * FROM profiles UNION ALL SELECT 2, crm_id, id, plan, tenure + 30, visits, churned FROM profiles WHERE id % 3 = 0) AS p ORDER BY part, id % 7, id', 'crm_id', on_duplicate => 'first') AS s
  JOIN profiles AS p ON p.crm_id = s.key;
-- An index that rules repeated keys out is believed, but not about the rows of child tables, nor when it may be deferred.
CREATE TABLE keyed (LIKE profiles, UNIQUE (crm_id));
INSERT INTO keyed SELECT * FROM profiles WHERE id <= 2500;
SELECT count(*), count(DISTINCT key) FROM profenrich.score('churn', 'keyed', 'crm_id');
INSERT INTO keyed VALUES (NULL, 0);
SELECT count(*) FROM profenrich.score('churn', 'keyed', 'crm_id');
\echo :LAST_ERROR_SQLSTATE
DELETE FROM keyed WHERE crm_id IS NULL;
CREATE TABLE keyed_more () INHERITS (keyed);
INSERT INTO keyed_more SELECT * FROM profiles WHERE id <= 3;
SELECT count(*) FROM profenrich.score('churn', 'keyed', 'crm_id');
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE deferred (LIKE profiles, UNIQUE (crm_id) DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO deferred SELECT * FROM profiles WHERE id <= 3 UNION ALL SELECT * FROM profiles WHERE id = 2;
SELECT count(*) FROM profenrich.score('churn', 'deferred', 'crm_id');
ROLLBACK;
CREATE TABLE partly (LIKE profiles);
CREATE UNIQUE INDEX ON partly (crm_id) WHERE id < 3;
CREATE UNIQUE INDEX ON partly (crm_id, id);
INSERT INTO partly SELECT * FROM profiles WHERE id <= 5 UNION ALL SELECT crm_id, 9, plan, tenure, visits, churned FROM profiles WHERE id = 4;
SELECT count(*) FROM profenrich.score('churn', 'partly', 'crm_id');
DROP TABLE keyed, keyed_more, deferred, partly;

-- Into a table: made when it is not there, added to when it is.
SELECT profenrich.score_into('churn', 'profiles', 'crm_id', 'scores');
SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'scores' ORDER BY ordinal_position;
SELECT count(*) AS rows, count(*) FILTER (WHERE a.* IS NOT DISTINCT FROM b.*) AS equal FROM (SELECT key, prediction, score, percentile, bucket, reasons, model_version FROM scores) a
  FULL JOIN (SELECT key, prediction, score, percentile, bucket, reasons, model_version FROM profenrich.score('churn', 'profiles', 'crm_id')) b USING (key);
SELECT profenrich.score_into('churn', 'SELECT * FROM profiles WHERE id <= 10', 'crm_id', 'scores', reasons => 1);
SELECT count(*), count(reasons) FROM scores;
-- A smaller table, with a key of its own, a default and a trigger: through the executor.
CREATE TABLE ranked (scored_at timestamptz, key text PRIMARY KEY, prediction float8 CHECK (prediction <= 1), note text DEFAULT 'new');
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.note := upper(NEW.note); RETURN NEW; END$$;
CREATE TRIGGER shout BEFORE INSERT ON ranked FOR EACH ROW EXECUTE FUNCTION shout();
SELECT profenrich.score_into('churn', 'profiles', 'crm_id', 'ranked');
SELECT note, count(*) FROM ranked GROUP BY 1;
\set VERBOSITY terse
SELECT profenrich.score_into('churn', 'profiles', 'crm_id', 'ranked');
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE by_version (key text, prediction float8, model_version int) PARTITION BY LIST (model_version);
CREATE TABLE by_version_1 PARTITION OF by_version FOR VALUES IN (1);
SELECT profenrich.score_into('churn', 'profiles', 'crm_id', 'by_version');
SELECT tableoid::regclass, count(*) FROM by_version GROUP BY 1;
CREATE TABLE strict (key text, prediction float8, score int, percentile int, bucket text, detail jsonb NOT NULL, reasons jsonb, model_version int, scored_at timestamptz);
SELECT profenrich.score_into('churn', 'SELECT * FROM profiles WHERE id = 1', 'crm_id', 'strict');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
SELECT profenrich.score_into('churn', 'doubled', 'crm_id', 'of_doubled');
SELECT to_regclass('of_doubled') IS NULL AS nothing_made;
CREATE TABLE unfit (a int);
SELECT profenrich.score_into('churn', 'profiles', 'crm_id', 'unfit');
\echo :LAST_ERROR_SQLSTATE
BEGIN READ ONLY;
SELECT profenrich.score_into('churn', 'profiles', 'crm_id', 'scores');
ROLLBACK;
BEGIN READ ONLY;
SELECT count(*) FROM profenrich.score('churn', 'profiles', 'crm_id');
ROLLBACK;
-- The source may be the table that is written.
CREATE TABLE circle AS SELECT crm_id AS key, plan, tenure, visits, NULL::float8 AS prediction FROM profiles WHERE id <= 20;
SELECT profenrich.score_into('churn', 'circle', 'key', 'circle');
SELECT count(*), count(prediction) FROM circle;

-- As the caller: privileges and row security of whoever asks.
CREATE ROLE regress_reader IN ROLE profenrich_reader;
CREATE ROLE regress_nobody;
GRANT SELECT (crm_id, plan, tenure, visits) ON profiles TO regress_reader;
GRANT SELECT ON churn_scores TO regress_reader;
ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_pro ON profiles FOR SELECT USING (plan = 'pro');
SET ROLE regress_reader;
SELECT count(*) BETWEEN 1000 AND 2000 AS only_some FROM profenrich.score('churn', 'profiles', 'crm_id');
SELECT count(*) FROM profenrich.score('churn', 'profiles', 'churned');
SELECT count(*) BETWEEN 1000 AND 2000 AS only_some FROM churn_scores;
SELECT count(*) FROM profenrich.score('churn', 'ranked', 'key');
SELECT profenrich.score_into('churn', 'profiles', 'crm_id', 'scores');
SET ROLE regress_nobody;
SELECT count(*) FROM profenrich.score('churn', 'profiles', 'crm_id');
RESET ROLE;

-- What the errors say.
SELECT count(*) FROM profenrich.score('nobody', 'profiles', 'crm_id');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profenrich.score('churn', 'profiles', 'crmid');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profenrich.score('churn', 'SELECT crm_id, plan, tenure FROM profiles', 'crm_id');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profenrich.score('churn', 'SELECT crm_id, plan, tenure::text, visits FROM profiles', 'crm_id');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profenrich.score('churn', 'SELECT crm_id, plan, tenure, visits, visits FROM profiles', 'crm_id');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profenrich.score('churn', 'profiles', 'crm_id', reasons => -1);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profenrich.score('churn', NULL, 'crm_id');
\echo :LAST_ERROR_SQLSTATE

DROP OWNED BY regress_reader;
DROP ROLE regress_reader, regress_nobody;
DROP TABLE profiles, scores, ranked, by_version, strict, unfit, circle CASCADE;
DROP FUNCTION uniform, shout;
DROP EXTENSION profenrich CASCADE;
