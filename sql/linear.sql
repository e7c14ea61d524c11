-- The linear family beyond logistic and linear: other distributions, the elastic net, what cannot be estimated.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = warning;
-- Forty rows whose figures R's glm gave: see test/unit/test_glm.c.
CREATE TABLE counts AS
	SELECT i AS id, i % 7 AS a, i * i % 11 / 2.0 AS b, (ARRAY['a', 'b', 'c'])[i % 3 + 1] AS g, 1 + i * 5 % 4 / 2.0 AS weight,
		   floor(((i * 7 + 3) % 5) * (1 + (i % 7) / 4.0) + CASE WHEN i % 3 = 1 THEN 2 ELSE 0 END + (i * i % 11) / 5.0)::float8 AS y
	  FROM generate_series(0, 39) AS i;
SELECT algorithm, rows, quality FROM profenrich.train('counts', 'value', 'counts', 'y', 'glm', '{"key": "id", "weight": "weight", "holdout": 0}');
SELECT feature, level, round(coefficient::numeric, 9) AS coefficient, round(std_error::numeric, 7) AS std_error, round(statistic::numeric, 6) AS z,
	   round(p_value::numeric, 9) AS p FROM profenrich.coefficients('counts');
SELECT metric, round(value::numeric, 8) AS value, meaning FROM profenrich.evaluation('counts') WHERE metric LIKE '%deviance' OR metric IN ('dispersion', 'aic', 'log_likelihood');
SELECT round(profenrich.predict('counts', r)::numeric, 9) AS prediction, round(exp(0.916613689249023 + 2 * 0.0868864941006562 + 3 * 0.107590333960244 + 0.248861018575514)::numeric, 9) AS by_hand
  FROM (SELECT 2 AS a, 3 AS b, 'b' AS g) AS r;
SELECT feature, value, round(contribution::numeric, 6) AS contribution FROM profenrich.explain('counts', (SELECT c FROM counts c WHERE id = 1)) ORDER BY feature;
SELECT objective, algorithm FROM profenrich.model_versions WHERE model = 'counts';
SELECT count(*) AS no_path FROM profenrich.lambda_path('counts');
SELECT rows FROM profenrich.train('spend', 'value', 'SELECT id, a, b, g, y + 1 AS y, weight FROM counts', 'y', 'glm', '{"key": "id", "weight": "weight", "holdout": 0, "objective": "gamma"}');
SELECT feature, level, round(coefficient::numeric, 9) AS coefficient, round(statistic::numeric, 6) AS t FROM profenrich.coefficients('spend');
SELECT round(value::numeric, 7) AS dispersion FROM profenrich.evaluation('spend') WHERE metric = 'dispersion';
SELECT rows FROM profenrich.train('spend', 'value', 'counts', 'y', 'glm', '{"key": "id", "weight": "weight", "holdout": 0, "objective": "tweedie", "tweedie_power": 1.2}');
SELECT feature, level, round(coefficient::numeric, 9) AS coefficient FROM profenrich.coefficients('spend');

-- The elastic net: a path, folds, and who stays.
CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;
CREATE TABLE visits AS
	SELECT i AS id, uniform(i, 'x1') AS x1, uniform(i, 'x2') AS x2, uniform(i, 'n1') AS noise1, uniform(i, 'n2') AS noise2, uniform(i, 'n3') AS noise3,
		   (ARRAY['web', 'app', 'shop'])[1 + floor(3 * uniform(i, 'c'))::int] AS channel,
		   uniform(i, 'y') < 1 / (1 + exp(2 - 3 * uniform(i, 'x1') - 2 * uniform(i, 'x2'))) AS converted
	  FROM generate_series(1, 3000) AS i;
SET client_min_messages = notice;
SELECT algorithm, rows FROM profenrich.train('visits', 'propensity', 'visits', 'converted', 'logistic',
	'{"key": "id", "features": {"exclude": ["id"]}, "lambda": "cv_1se", "l1_ratio": 0.8, "lambda_count": 50, "folds": 4}');
SET client_min_messages = warning;
SELECT count(*) > 20 AS points, bool_and(lambda < before) AS falling, count(*) FILTER (WHERE cv_least) AS least, count(*) FILTER (WHERE cv_one_error) AS one_error,
	   bool_and(chosen = cv_one_error) AS kept, min(nonzero), max(nonzero) FROM (SELECT *, lag(lambda, 1, 'infinity') OVER (ORDER BY step) AS before FROM profenrich.lambda_path('visits')) AS p;
SELECT feature, level, sign(coefficient) AS sign, std_error FROM profenrich.coefficients('visits') ORDER BY feature, level;
-- One lambda; l1_ratio alone asks for cross-validation; 0 is ridge, which leaves all of them.
SELECT rows FROM profenrich.train('visits', 'propensity', 'visits', 'converted', 'logistic', '{"key": "id", "features": {"exclude": ["id"]}, "lambda": 0.05}');
SELECT step, lambda, nonzero, cv_mean, chosen FROM profenrich.lambda_path('visits');
SELECT feature FROM profenrich.coefficients('visits') WHERE coefficient <> 0;
SELECT rows FROM profenrich.train('visits', 'propensity', 'visits', 'converted', 'logistic', '{"key": "id", "features": {"exclude": ["id"]}, "l1_ratio": 0}');
SELECT count(*) > 20 AS points, min(nonzero) FILTER (WHERE chosen) AS kept FROM profenrich.lambda_path('visits');

-- What has no estimate is said: a level that separates, a column that others determine, values near the end of the range.
SET client_min_messages = notice;
SELECT rows FROM profenrich.train('split', 'propensity', 'SELECT id, x1, 2 * x1 + 1 AS twice, CASE WHEN converted AND id % 3 = 0 THEN ''signed'' ELSE ''open'' END AS state, converted FROM visits',
	'converted', 'logistic', '{"key": "id", "holdout": 0}');
SELECT feature, level, aliased, std_error IS NULL AS no_error FROM profenrich.coefficients('split');
SELECT meaning FROM profenrich.evaluation('split') WHERE metric = 'note';
SELECT rows FROM profenrich.train('zeros', 'value', 'SELECT id, x1, channel, CASE WHEN channel = ''shop'' THEN 0 ELSE floor(5 * x2) END AS n FROM visits', 'n', 'glm', '{"key": "id", "holdout": 0}');
SELECT rows FROM profenrich.train('large', 'value', 'SELECT id, (x1 - 0.5) * 1e300::float8 AS x1, x1 + x2 AS n FROM visits', 'n', 'linear', '{"key": "id", "holdout": 0}');
SELECT feature, round((coefficient * CASE feature WHEN 'x1' THEN 1e300::float8 ELSE 1 END)::numeric, 1) AS coefficient, aliased FROM profenrich.coefficients('large');
SET client_min_messages = warning;

-- What the errors say.
SELECT rows FROM profenrich.train('counts', 'value', 'counts', 'y', 'glm', '{"objective": "gamma"}');
\echo :LAST_ERROR_SQLSTATE
SELECT rows FROM profenrich.train('counts', 'value', 'SELECT a, y - 1 AS y FROM counts', 'y', 'glm');
\echo :LAST_ERROR_SQLSTATE
SELECT rows FROM profenrich.train('counts', 'value', 'counts', 'y', 'glm', '{"objective": "logistic"}');
\echo :LAST_ERROR_SQLSTATE
SELECT rows FROM profenrich.train('counts', 'value', 'counts', 'y', 'glm', '{"tweedie_power": 1.7}');
\echo :LAST_ERROR_SQLSTATE
SELECT rows FROM profenrich.train('counts', 'value', 'counts', 'y', 'linear', '{"lambda": "best"}');
\echo :LAST_ERROR_SQLSTATE
SELECT rows FROM profenrich.train('counts', 'value', 'counts', 'y', 'linear', '{"lambda": 0.1, "l2": 1}');
\echo :LAST_ERROR_SQLSTATE
SELECT rows FROM profenrich.train('counts', 'value', 'counts', 'y', 'linear', '{"folds": 1}');
\echo :LAST_ERROR_SQLSTATE
SELECT rows FROM profenrich.train('never', 'propensity', 'counts', 'y', 'glm');
\echo :LAST_ERROR_SQLSTATE
SELECT rows FROM profenrich.train('trees', 'propensity', 'visits', 'converted', options => '{"trees": 2}');
SELECT * FROM profenrich.lambda_path('trees');
\echo :LAST_ERROR_SQLSTATE
DROP EXTENSION profenrich;
DROP TABLE counts, visits;
DROP FUNCTION uniform;
