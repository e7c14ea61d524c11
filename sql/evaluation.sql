-- How good a model is: what training stored, and evaluate() on other rows.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = warning;
CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;
CREATE TABLE profiles AS
	SELECT i AS id, (ARRAY['basic', 'plus', 'pro'])[1 + floor(3 * uniform(i, 'plan'))::int] AS plan, floor(72 * uniform(i, 'tenure'))::int AS tenure
	  FROM generate_series(1, 10000) AS i;
ALTER TABLE profiles ADD churned text, ADD spend float8;
UPDATE profiles SET spend = tenure + 30 * (plan = 'pro')::int + 10 * uniform(id, 's'),
	churned = CASE WHEN uniform(id, 'y') < 1 / (1 + exp(1 - CASE plan WHEN 'basic' THEN 1.5 ELSE 0 END + tenure / 20.0)) THEN 'Yes' ELSE 'No' END;
CREATE VIEW older AS SELECT * FROM profiles WHERE id <= 6000;
CREATE VIEW newer AS SELECT * FROM profiles WHERE id > 6000;
SELECT quality FROM profenrich.train('churn', source => 'older', target => 'churned', options => '{"key": "id", "features": {"include": ["plan", "tenure"]}}');
SELECT quality FROM profenrich.train('spend', source => 'older', target => 'spend', options => '{"key": "id", "features": {"include": ["plan", "tenure"]}}');

-- The verdict first, then the figures, each with its meaning.
SELECT metric, CASE WHEN metric LIKE '%rows' THEN value ELSE sign(value) END AS value, CASE metric WHEN 'verdict' THEN substring(meaning, '^\w+') ELSE left(meaning, 60) END AS meaning
  FROM profenrich.evaluation('churn');
SELECT metric, CASE WHEN metric LIKE '%rows' THEN value ELSE sign(value) END AS value, CASE metric WHEN 'verdict' THEN substring(meaning, '^\w+') ELSE left(meaning, 60) END AS meaning
  FROM profenrich.evaluation('spend');
SELECT model, version, (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(metrics) k) AS metrics FROM profenrich.model_versions ORDER BY 1;

-- On rows that the model never saw: about the same, and text targets mean what they meant in training.
SELECT metric, abs(n.value - e.value) < 0.05 AS about_the_same FROM profenrich.evaluate('churn', 'newer', 'churned') n
  JOIN profenrich.evaluation('churn') e USING (metric) WHERE metric IN ('auc', 'log_loss', 'base_rate');
SELECT metric, value FROM profenrich.evaluate('churn', 'newer', 'churned', 1) WHERE metric IN ('rows', 'training_rows');
SELECT metric, abs(n.value - e.value) < 0.5 AS about_the_same FROM profenrich.evaluate('spend', 'newer', 'spend') n
  JOIN profenrich.evaluation('spend') e USING (metric) WHERE metric IN ('rmse', 'mae', 'r2');
SELECT metric, value FROM profenrich.evaluate('churn', 'SELECT plan, tenure, CASE WHEN id % 2 = 0 THEN churned END AS c FROM newer', 'c') WHERE metric = 'rows';

-- Tables and curves.
SELECT count(*) AS deciles, sum(rows) = (SELECT value FROM profenrich.evaluation('churn') WHERE metric = 'rows') AS all_rows,
	   max(lift) > 2 AS lifts, round(max(cumulative_gain)::numeric, 6) AS gain FROM profenrich.lift_table('churn');
SELECT bool_and(mean_prediction <= before) AS falling FROM (SELECT mean_prediction, lag(mean_prediction, 1, 1) OVER (ORDER BY decile) AS before FROM profenrich.lift_table('churn')) AS t;
SELECT count(*) > 10 AS points, min(false_positive_rate), max(true_positive_rate), bool_and(true_positive_rate >= lagged) AS rising
  FROM (SELECT *, lag(true_positive_rate, 1, 0) OVER () AS lagged FROM profenrich.roc_curve('churn')) AS t;
SELECT bool_and(mean_prediction BETWEEN lowest AND highest) AS within, bool_and(abs(mean_prediction - mean_target) < 0.15) AS calibrated FROM profenrich.calibration_table('churn');
SELECT feature, used, gain > 0.1 AS matters, mean_contribution > 0.1 AS moves FROM profenrich.feature_importance('churn') ORDER BY 1;
SELECT count(*) FROM profenrich.lift_table('spend');
SELECT count(*) FROM profenrich.roc_curve('spend');
-- The same as views, for BI.
SELECT model, count(*) FROM profenrich.lift_table GROUP BY 1 ORDER BY 1;
SELECT (SELECT count(*) FROM profenrich.roc_curve) > 10 AS roc, (SELECT count(*) FROM profenrich.calibration_table) AS calibration, (SELECT count(*) FROM profenrich.feature_importance) AS features;

-- Without held-out rows nothing is claimed.
SELECT metric, metric_value, quality FROM profenrich.train('blind', source => 'older', target => 'churned', options => '{"holdout": 0, "features": {"include": ["plan", "tenure"]}}');
SELECT metric, round(value::numeric, 2) AS value, meaning FROM profenrich.evaluation('blind');
SELECT count(*) FROM profenrich.lift_table('blind');
-- A column that restates the target is pointed at.
SELECT quality FROM profenrich.train('leak', source => 'SELECT plan, tenure, churned, (churned = ''Yes'')::int AS cancelled FROM older', target => 'churned');
SELECT metric, meaning FROM profenrich.evaluation('leak') WHERE metric IN ('verdict', 'strongest_feature');

-- What the errors say.
SELECT * FROM profenrich.evaluation('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.evaluation('churn', 3);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.evaluation('churn', 0);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.evaluate('churn', 'newer', 'churned', -1);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.coefficients('churn');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.evaluate('churn', 'newer', 'churn');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.evaluate('churn', 'SELECT plan, churned FROM newer', 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.evaluate('churn', 'SELECT * FROM newer WHERE id < 0', 'churned');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.evaluate('spend', 'newer', 'churned');
\echo :LAST_ERROR_SQLSTATE
-- Rows are kept, and only so many.
SET profenrich.training_memory = '16MB';
SELECT * FROM profenrich.evaluate('churn', 'SELECT n.* FROM (SELECT * FROM newer LIMIT 1) AS n, generate_series(1, 200000)', 'churned');
\echo :LAST_ERROR_SQLSTATE
RESET profenrich.training_memory;

DROP TABLE profiles CASCADE;
DROP FUNCTION uniform;
DROP EXTENSION profenrich CASCADE;
