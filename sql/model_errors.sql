-- Wrong input to train, deploy and drop_model: what was wrong, where, and what to do.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = notice;
CREATE TABLE profiles AS
	SELECT 'c' || i AS crm_id, i % 50 AS tenure, (ARRAY['basic', 'plus', 'pro'])[1 + i % 3] AS plan, (i * 7919) % 10 < 3 AS churned,
		   (ARRAY['a', 'b', 'c'])[1 + i % 3] AS letter, NULL::int AS nothing, ARRAY[i] AS tags, i % 4 AS four
	  FROM generate_series(1, 400) AS i;
CREATE INDEX profiles_tenure ON profiles (tenure);

-- Arguments.
SELECT profenrich.train(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', goal => 'fewer leave');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train(repeat('x', 64), source => 'profiles', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', 'affinity', 'profiles', 'churned', 'logistic');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', 'affinity', 'profiles', 'plan', options => '{"positive": "pro"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', 'churn', 'profiles', 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', 'propensity', 'profiles', 'churned', 'xgboost');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', 'propensity', 'profiles', 'churned', 'linear');
\echo :LAST_ERROR_SQLSTATE

-- Sources.
SELECT profenrich.train('churn', source => 'profile', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles_tenure', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'SELECT * FROM profiles; SELECT 1', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'DELETE FROM profiles', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'WITH gone AS (DELETE FROM profiles RETURNING *) SELECT * FROM gone', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'SELECT * INTO copied FROM profiles', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'SELECT * FROM profiles FOR UPDATE', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'SELECT * FORM profiles', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'SELECT wrong FROM profiles', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'SELECT * FROM profiles WHERE crm_id = ''''', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'SELECT 1 / (tenure - 7) AS x, churned FROM profiles', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profiles;

-- Targets.
SELECT profenrich.train('churn', source => 'profiles', target => 'churn');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'tags');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', 'value', 'profiles', 'plan');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', 'propensity', 'profiles', 'letter', options => '{"features": {"include": "tenure"}}');
\echo :LAST_ERROR_SQLSTATE
-- A name that is not quoted, and a SELECT that is wrong further on.
SELECT profenrich.train('churn', 'propensity', 'Sales Data.My Table', 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', 'propensity', 'SELECT * FORM profiles', 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', 'propensity', 'profiles', 'churned', options => '{"holdout": {"from": "last week"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.progress('training');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', 'propensity', 'profiles', 'four', options => '{"features": {"include": "tenure"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'SELECT * FROM profiles WHERE churned', target => 'churned', options => '{"features": {"include": "tenure"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'SELECT tenure, NULL::boolean AS churned FROM profiles', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('spend', source => 'SELECT tenure, ''NaN''::float8 AS spend FROM profiles', target => 'spend');
\echo :LAST_ERROR_SQLSTATE

-- Options.
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"treees": 10}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', algorithm => 'logistic', options => '{"trees": 10}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"trees": "many"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"trees": [1]}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"holdout": 2}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '[1]');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"key": "crm"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"weight": "plan"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'SELECT *, -1 AS w FROM profiles', target => 'churned', options => '{"weight": "w", "features": {"include": "tenure"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"threshold": 1}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"refit": true, "holdout": 0}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"refit": "yes"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"holdout": {"column": "tenure"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"holdout": {"from": "2026-10-01"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"holdout": {"from": "2026-10-01", "column": "tenure"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"holdout": {"since": "2026-10-01"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'SELECT tenure, plan, churned, date ''2026-01-01'' AS day FROM profiles', target => 'churned', options => '{"holdout": {"from": "2026-10-01", "column": "day"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"features": {"only": ["tenure"]}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"features": {"include": ["tenures"]}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"features": {"include": ["churned"]}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"features": {"include": ["tags"]}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"features": {"treatment": {"plan": "number"}}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"features": {"treatment": {"plan": "colour"}}}');
\echo :LAST_ERROR_SQLSTATE

-- Features: a column without any value is an error where it was asked for, else a warning; ids and arrays are left out.
SELECT profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"features": {"include": ["nothing", "tenure"]}}');
\echo :LAST_ERROR_SQLSTATE
SELECT features, version FROM profenrich.train('churn', source => 'profiles', target => 'churned');
SELECT profenrich.train('none', source => 'SELECT churned, tags FROM profiles', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('none', source => 'SELECT churned, nothing FROM profiles', target => 'churned');
\echo :LAST_ERROR_SQLSTATE

-- Memory: how many rows would fit.
CREATE PROCEDURE try_to_train(source text, options jsonb DEFAULT '{"features": {"include": ["tenure", "plan"]}}') LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	PERFORM profenrich.train('large', source => source, target => 'churned', options => options);
EXCEPTION WHEN program_limit_exceeded THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RAISE NOTICE '% / % / %', regexp_replace(SQLERRM, '\d+ MB', '... MB', 'g'), regexp_replace(detail, '\d{4,} rows', '... rows'), hint;
END
$$;
SET profenrich.training_memory = '16MB';
SELECT 'SELECT churned, ' || string_agg(format('tenure + %s AS f%s', i, i), ', ') || ' FROM profiles' AS wide FROM generate_series(1, 600) AS i \gset
CALL try_to_train(:'wide', '{}');
SET profenrich.training_memory = '128MB';
CALL try_to_train('SELECT p.* FROM profiles p, generate_series(1, 5000)');
RESET profenrich.training_memory;

-- A cancelled training leaves nothing.
SET statement_timeout = '400ms';
\set VERBOSITY terse
SELECT profenrich.train('slow', source => 'SELECT p.* FROM profiles p, generate_series(1, 5000)', target => 'churned', options => '{"trees": 10000, "features": {"include": ["tenure", "plan"]}}');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
RESET statement_timeout;
SELECT count(*) FROM profenrich.models WHERE name = 'slow';
SELECT count(*) FROM profenrich.training_progress;

-- Models and versions.
SELECT profenrich.train('churn', source => 'profiles', target => 'tenure');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.deploy('nobody', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.deploy('churn', 2);
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.drop_model('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.drop_model('churn', 2);
\echo :LAST_ERROR_SQLSTATE
-- A version that a query did not find is not all of them.
SELECT profenrich.drop_model('churn', (SELECT max(version) FROM profenrich.model_versions WHERE model = 'nobody'));
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.drop_model('churn', 1);
\echo :LAST_ERROR_SQLSTATE
BEGIN READ ONLY;
SELECT profenrich.train('churn', source => 'profiles', target => 'churned');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- An artifact that is not whole, or not ours, is refused.
UPDATE profenrich.model_artifact SET bytes = substr(bytes, 1, 100);
\set VERBOSITY terse
SELECT profenrich.predict('churn', p) FROM profiles p LIMIT 1;
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
UPDATE profenrich.model_version SET artifact_bytes = 100;
SELECT profenrich.predict('churn', p) FROM profiles p LIMIT 1;
\echo :LAST_ERROR_SQLSTATE

SELECT profenrich.drop_model('churn');
SELECT count(*) FROM profenrich.model_artifact;
DROP TABLE profiles;
DROP PROCEDURE try_to_train;
DROP EXTENSION profenrich CASCADE;
