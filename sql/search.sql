-- Several trainings over rows that are read once: search, refit, two parts, holdout by time; recalibration and the scan for leakage.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = notice;
CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;
CREATE TABLE profiles AS
	SELECT i AS id, floor(72 * uniform(i, 'tenure'))::int AS tenure, (ARRAY['basic', 'plus', 'pro'])[1 + floor(3 * uniform(i, 'plan'))::int] AS plan,
		   uniform(i, 'noise') AS noise, date '2026-06-01' + (i % 180)::int AS day
	  FROM generate_series(1, 6000) AS i;
ALTER TABLE profiles ADD churned boolean, ADD spend float8;
UPDATE profiles SET churned = uniform(id, 'y') < 1 / (1 + exp(1 - CASE plan WHEN 'basic' THEN 1.5 ELSE 0 END + tenure / 20.0));
UPDATE profiles SET spend = CASE WHEN uniform(id, 'buys') < tenure / 100.0 THEN 20 + 60 * (plan = 'pro')::int + 10 * uniform(id, 's') ELSE 0 END;

-- A grid: the options as they are first, then each combination. The best is trained, and evaluated on rows that the search never saw.
SELECT version, metric, metric_value > 0.7 AS good FROM profenrich.train('churn', source => 'profiles', target => 'churned',
	options => '{"key": "id", "trees": 20, "features": {"include": ["tenure", "plan"]},
		"search": {"folds": 3, "space": {"max_depth": [2, 6], "learning_rate": [0.0001, 0.2]}}}');
SELECT trial, options, metric, mean BETWEEN 0.5 AND 0.9 AS plausible, folds BETWEEN 2 AND 3 AS folds, seconds > 0 AS timed FROM profenrich.search_trials ORDER BY trial;
SELECT count(*) FILTER (WHERE chosen) AS chosen, bool_and(NOT chosen OR (folds = 3 AND (options ->> 'learning_rate')::float8 IS DISTINCT FROM 0.0001)) AS a_good_one FROM profenrich.search_trials;
SELECT max(mean) FILTER (WHERE folds = 3) = max(mean) FILTER (WHERE chosen) AS best FROM profenrich.search_trials;
-- Drawn from ranges: the same rows, options and seed give the same trials.
SET client_min_messages = warning;
SELECT version FROM profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"key": "id", "trees": 10, "seed": 5, "features": {"include": ["tenure", "plan"]},
	"search": {"trials": 4, "folds": 2, "metric": "log_loss", "space": {"max_depth": {"from": 1, "to": 6}, "learning_rate": {"from": 0.01, "to": 0.3, "scale": "log"}}}}');
SELECT version FROM profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"key": "id", "trees": 10, "seed": 5, "features": {"include": ["tenure", "plan"]},
	"search": {"trials": 4, "folds": 2, "metric": "log_loss", "space": {"max_depth": {"from": 1, "to": 6}, "learning_rate": {"from": 0.01, "to": 0.3, "scale": "log"}}}}');
SELECT count(*) AS trials, bool_and(a.mean = b.mean AND a.options = b.options AND a.chosen = b.chosen) AS the_same,
	   bool_and((a.options ->> 'max_depth')::int BETWEEN 1 AND 6 AND (a.options ->> 'learning_rate')::float8 BETWEEN 0.01 AND 0.3) AS within
  FROM profenrich.search_trials a JOIN profenrich.search_trials b USING (model, trial) WHERE a.version = 2 AND b.version = 3 AND trial > 1;
SELECT count(DISTINCT artifact_checksum) FROM profenrich.model_versions WHERE version IN (2, 3);
-- A budget that is over after the first trial leaves that one.
SELECT version FROM profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"trees": 10, "features": {"include": ["tenure", "plan"]}, "search": {"budget_seconds": 0.000001}}');
SELECT trial, options, chosen FROM profenrich.search_trials WHERE version = 4;
SELECT phase, seconds >= 0 AS timed FROM profenrich.training_cost WHERE model = 'churn' AND version = 4 AND phase IN ('read', 'search', 'store', 'total') ORDER BY phase;
-- Other algorithms and tasks.
SELECT algorithm FROM profenrich.train('churn', source => 'profiles', target => 'churned', algorithm => 'logistic', options => '{"features": {"include": ["tenure", "plan"]}, "search": {"trials": 3, "folds": 2}}');
SELECT algorithm FROM profenrich.train('spend', source => 'profiles', target => 'spend', options => '{"trees": 10, "features": {"include": ["tenure", "plan"]}, "search": {"trials": 2, "folds": 2}}');
SELECT model, metric, count(*) FROM profenrich.search_trials WHERE version >= 5 OR model = 'spend' GROUP BY 1, 2 ORDER BY 1;
SET client_min_messages = notice;

-- Refit: the model learns from all rows, the evaluation is that of the one that did not.
SELECT version FROM profenrich.train('plain', source => 'profiles', target => 'churned', options => '{"key": "id", "trees": 20, "features": {"include": ["tenure", "plan"]}}');
SELECT version FROM profenrich.train('refit', source => 'profiles', target => 'churned', options => '{"key": "id", "trees": 20, "refit": true, "features": {"include": ["tenure", "plan"]}}');
SELECT p.value = r.value AS same_auc FROM profenrich.evaluation('plain') p JOIN profenrich.evaluation('refit') r USING (metric) WHERE metric = 'auc';
SELECT meaning FROM profenrich.evaluation('refit') WHERE metric = 'note';
SELECT count(*) > 3000 AS others FROM profiles p WHERE profenrich.predict('plain', p) <> profenrich.predict('refit', p);

-- The last weeks are held out.
SELECT version FROM profenrich.train('late', source => 'profiles', target => 'churned', options => '{"trees": 20, "holdout": {"from": "2026-11-01", "column": "day"}, "features": {"exclude": ["spend", "id"]}}');
SELECT holdout, (metrics ->> 'rows')::int AS held_out, (SELECT count(*) FROM profiles WHERE day >= '2026-11-01') AS from_then_on FROM profenrich.model_versions WHERE model = 'late';
SELECT feature FROM profenrich.feature_importance('late') ORDER BY 1;
SELECT version FROM profenrich.train('late', source => 'SELECT tenure, plan, churned, CASE WHEN id > 20 THEN day END AS snapshot_date FROM profiles', target => 'churned', options => '{"trees": 5, "holdout": {"from": "2026-11-01 12:00"}}');
SELECT holdout, metrics ->> 'rows' AS held_out FROM profenrich.model_versions WHERE model = 'late' AND version = 2;
SELECT model, holdout FROM profenrich.model_versions WHERE model IN ('plain', 'churn') AND version IN (1, 4) ORDER BY 1, 2;

-- Spend that is 0 for most: will there be any, times how much.
SELECT algorithm, metric, metric_value > 0.3 AS good FROM profenrich.train('spend', 'value', 'profiles', 'spend', 'two_part', '{"key": "id", "trees": 40, "features": {"include": ["tenure", "plan"]}}');
SELECT objective, holdout FROM profenrich.model_versions WHERE model = 'spend' AND version = 2;
SELECT metric, abs(value - (SELECT avg(spend) FROM profiles)) < 2 AS right_on_average FROM profenrich.evaluation('spend') WHERE metric = 'base_rate';
SELECT abs(avg(profenrich.predict('spend', p)) / avg(spend) - 1) < 0.05 AS right_on_average FROM profiles p;
SELECT bool_and(abs((detail ->> 'probability')::float8 * (detail ->> 'amount')::float8 - prediction) < 1e-3) AS product,
	   bool_and((detail ->> 'amount')::float8 BETWEEN 20 AND 100) AS amounts FROM profenrich.score('spend', 'profiles', 'id');
SELECT corr(profenrich.predict('spend', p), spend) > 0.3 AS tells FROM profiles p;
SELECT * FROM profiles p, profenrich.explain('spend', p) WHERE id = 1;
\echo :LAST_ERROR_SQLSTATE
-- One model for both: Tweedie. And what nine of ten buyers stay below.
SELECT metric FROM profenrich.train('spend', 'value', 'profiles', 'spend', options => '{"trees": 20, "objective": "tweedie", "tweedie_power": 1.3, "features": {"include": ["tenure", "plan"]}}');
SELECT metric FROM profenrich.train('spend', 'value', 'SELECT * FROM profiles WHERE spend > 0', 'spend', options => '{"trees": 60, "objective": "quantile", "quantile": 0.9, "features": {"include": ["tenure", "plan"]}}');
SELECT version, objective FROM profenrich.model_versions WHERE model = 'spend' ORDER BY version;
SELECT metric, abs(value - 0.9) < 0.04 AS as_asked FROM profenrich.evaluation('spend', 4) WHERE metric = 'coverage';
SELECT e.metric, abs(e.value - n.value) < 0.1 AS about_the_same FROM profenrich.evaluation('spend', 3) e JOIN profenrich.evaluate('spend', 'profiles', 'spend', 3) n USING (metric) WHERE metric IN ('deviance_explained');

-- Churn has become rarer: the order still holds, the probabilities do not, until they are calibrated anew.
CREATE VIEW newer AS SELECT id, tenure, plan, churned AND uniform(id, 'saved') < 0.4 AS churned FROM profiles;
SELECT value > 0.05 AS off FROM profenrich.evaluate('plain', 'newer', 'churned') WHERE metric = 'ece';
SELECT profenrich.recalibrate('plain', 'newer', 'churned');
SELECT profenrich.recalibrate('plain', 'newer', 'churned', kind => 'platt', version => 1, deploy => false);
SELECT version, deployed, recalibrated_from, source, rows, holdout, artifact_bytes > 1000 AS bytes FROM profenrich.model_versions WHERE model = 'plain' ORDER BY version;
SELECT version, value < 0.03 AS right FROM (VALUES (2), (3)) v (version), profenrich.evaluate('plain', 'newer', 'churned', version) WHERE metric = 'ece' ORDER BY 1;
SELECT metric, value < 0.05 AS right FROM profenrich.evaluation('plain') WHERE metric = 'ece';
SELECT abs(o.value - n.value) < 0.01 AS same_order FROM profenrich.evaluate('plain', 'newer', 'churned', 1) o JOIN profenrich.evaluate('plain', 'newer', 'churned', 3) n USING (metric) WHERE metric = 'auc';
SELECT count(*) FROM profenrich.feature_importance('plain', 2);
SELECT min(score), max(score) FROM profenrich.score('plain', 'newer', 'id');

-- What tells the target too well, before anything is trained.
SELECT feature, column_name, strength > 0.9 AS strong, measure, suspicious
  FROM profenrich.leakage_scan('SELECT *, churned::int + 0.001 * noise AS closing_fee FROM profiles', 'churned', options => '{"features": {"exclude": ["id", "spend", "day"]}}');
SELECT feature, strength > 0.99 AS strong, measure, suspicious FROM profenrich.leakage_scan('SELECT tenure, plan, spend, spend * 1.19 AS gross FROM profiles', 'spend');
-- Also a number that is only there where the target is true; and so do trees, when they train on it.
SELECT feature, strength > 0.99 AS strong, suspicious FROM profenrich.leakage_scan('SELECT CASE WHEN churned THEN noise END AS closed, noise, churned FROM profiles', 'churned');
SELECT quality FROM profenrich.train('closed', source => 'SELECT CASE WHEN churned OR id % 7 = 0 THEN 2 * id - CASE WHEN churned THEN 1000000 ELSE 0 END END AS closed, noise, churned FROM profiles', target => 'churned', options => '{"trees": 2}');
SELECT profenrich.drop_model('closed');

-- Who may.
CREATE ROLE regress_searcher IN ROLE profenrich_analyst;
GRANT SELECT ON profiles, newer TO regress_searcher;
SET ROLE regress_searcher;
SELECT profenrich.recalibrate('plain', 'profiles', 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) > 5 AS trials FROM profenrich.search_trials;
SELECT count(*) FROM profenrich.leakage_scan('SELECT tenure, churned FROM profiles', 'churned');
RESET ROLE;
DROP OWNED BY regress_searcher;
DROP ROLE regress_searcher;

-- What the errors say.
\set train 'SELECT profenrich.train(''churn'', source => ''profiles'', target => ''churned'', options => '
:train '{"search": 7}');
\echo :LAST_ERROR_SQLSTATE
:train '{"search": {"tries": 7}}');
\echo :LAST_ERROR_SQLSTATE
:train '{"search": {"trials": 0}}');
\echo :LAST_ERROR_SQLSTATE
:train '{"search": {"folds": 1}}');
\echo :LAST_ERROR_SQLSTATE
:train '{"search": {"budget_seconds": -1}}');
\echo :LAST_ERROR_SQLSTATE
:train '{"search": {"metric": "gini"}}');
\echo :LAST_ERROR_SQLSTATE
:train '{"search": {"space": {}}}');
\echo :LAST_ERROR_SQLSTATE
:train '{"search": {"space": {"depth": [1]}}}');
\echo :LAST_ERROR_SQLSTATE
:train '{"search": {"space": {"max_depth": [0]}}}');
\echo :LAST_ERROR_SQLSTATE
:train '{"search": {"space": {"max_depth": 3}}}');
\echo :LAST_ERROR_SQLSTATE
:train '{"search": {"space": {"max_depth": {"from": 3, "to": 2}}}}');
\echo :LAST_ERROR_SQLSTATE
:train '{"search": {"space": {"seed": [1, 2]}}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('spend', 'value', 'profiles', 'spend', 'two_part', '{"search": true}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('spend', 'value', 'profiles', 'spend', 'two_part', '{"objective": "absolute", "features": {"include": "tenure"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.recalibrate('plain', 'newer', 'churned', 'spline');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.recalibrate('spend', 'profiles', 'spend');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.recalibrate('plain', 'SELECT * FROM newer LIMIT 20', 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.recalibrate('nobody', 'newer', 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.leakage_scan('profiles', 'day');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.leakage_scan('profiles', 'churned', 'lifetime_value');
\echo :LAST_ERROR_SQLSTATE

-- A cancelled search leaves nothing.
SET statement_timeout = '300ms';
\set VERBOSITY terse
SELECT profenrich.train('slow', source => 'profiles', target => 'churned', options => '{"trees": 2000, "search": true, "features": {"include": ["tenure", "plan"]}}');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
RESET statement_timeout;
SELECT count(*) FROM profenrich.models WHERE name = 'slow';

DROP TABLE profiles CASCADE;
DROP FUNCTION uniform;
DROP EXTENSION profenrich CASCADE;
