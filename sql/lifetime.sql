-- Orders and lifetime value: from a log of orders to customers, models, forecasts and how well they fit.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = notice;
SET search_path = public, profenrich;
SET extra_float_digits = 0;

-- ---- rfm_summary: days are told apart, the first order is not counted --------------------------------------------

CREATE TABLE small_log (buyer text, at timestamptz, total numeric);
INSERT INTO small_log VALUES
	('b', '2026-01-05 10:00+00', 10), ('b', '2026-01-05 22:00+00', 5), ('b', '2026-01-12 08:00+00', 20), ('b', '2026-02-02 08:00+00', 40),
	('b', '2026-02-02 09:00+00', 2), ('b', '2026-03-20 09:00+00', 100), ('a', '2026-01-19 00:00+00', 7), ('c', '2026-02-10 12:00+00', 3),
	('a', '2026-02-16 00:00+00', NULL), (NULL, '2026-01-01', 1), ('d', NULL, 1);
SELECT * FROM rfm_summary('small_log', 'buyer', 'at', 'total', observation_end => '2026-02-09', holdout_end => '2026-03-31');
SELECT customer, frequency, recency, age, monetary_value, holdout_frequency FROM rfm_summary('small_log', 'buyer', 'at');
SELECT customer, frequency, recency, age FROM rfm_summary('small_log', 'buyer', 'at', unit => 'month', period => 'month') WHERE customer = 'b';
SELECT customer, frequency, recency, age FROM rfm_summary('SELECT * FROM small_log WHERE buyer = ''b''', 'buyer', 'at', unit => '10 days', period => 'day');
-- Weeks begin on Monday.
SELECT frequency, recency, age FROM rfm_summary('SELECT 1 AS buyer, d AS at FROM unnest(ARRAY[date ''1999-12-26'', ''1999-12-27'', ''2000-01-02'', ''2000-01-03'']) AS d', 'buyer', 'at', period => 'week');
SELECT count(*) FROM rfm_summary('SELECT * FROM small_log WHERE false', 'buyer', 'at');

-- ---- a log that a model can learn from: its customers order at their own rate, and leave after some order -----------

CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN (('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint + 0.5) / 4294967296.0;
CREATE TABLE orders AS
	WITH RECURSIVE buyer AS (
		SELECT i, date '2026-01-01' + floor(60 * uniform(i, 'start'))::int AS day, 1 AS n,
			   (-ln(uniform(i, 'rate1')) - ln(uniform(i, 'rate2'))) / 60 AS rate, uniform(i, 'leave')^2 AS leave,
			   20 * exp(uniform(i, 'level')) AS worth
		  FROM generate_series(1, 1500) AS i
		UNION ALL
		SELECT i, day + 1 + floor(-ln(uniform(i, 'gap' || n)) / rate)::int, n + 1, rate, leave, worth
		  FROM buyer WHERE uniform(i, 'stay' || n) >= leave AND day < date '2026-12-31' AND n < 200)
	SELECT 'c' || lpad(i::text, 4, '0') AS crm_id, day, round((worth * (0.5 + uniform(i, 'spend' || n)))::numeric, 2) AS amount
	  FROM buyer WHERE day <= date '2026-12-31';
CREATE TABLE customers AS SELECT * FROM rfm_summary('orders', 'crm_id', 'day', 'amount', observation_end => '2026-08-31', holdout_end => '2026-12-31');
SELECT count(*) = 1500 AS everybody, count(*) FILTER (WHERE frequency > 0) BETWEEN 700 AND 1300 AS some_came_back,
	   bool_and(recency <= age AND (frequency = 0) = (recency = 0) AND (frequency = 0) = (monetary_value IS NULL)) AS possible FROM customers;

SELECT model, version, algorithm, rows, features, metric, metric_value < 0 AS likelihood, quality
  FROM train('clv', task => 'lifetime_value', source => 'customers', options => '{"unit": "week", "horizon": "17 weeks"}');
SELECT name, task, algorithm, target, rows, features FROM models WHERE name = 'clv';
SELECT part, parameter, estimate > 0 AS positive, standard_error < estimate AS known, lower_95 < estimate AND estimate < upper_95 AS between
  FROM lifetime_parameters('clv');
SELECT metric, CASE WHEN metric IN ('customers', 'horizon_days', 'discount_rate', 'discount_period_days', 'unit_days') THEN value END AS value, meaning
  FROM evaluation('clv');
SELECT feature, column_name, treatment FROM feature_importance('clv') ORDER BY 1;

-- What it says of customers agrees with itself.
SELECT bool_and(probability_alive('clv', c) BETWEEN 0 AND 1) AS probabilities,
	   bool_and(frequency > 0 OR probability_alive('clv', c) = 1) AS first_orders_are_not_the_last,
	   max(abs(predict('clv', c) - lifetime_value('clv', c))) < 1e-9 AS predict_is_the_value,
	   max(abs(lifetime_value('clv', c, discount_rate => 0) - expected_orders('clv', c) * expected_spend('clv', c))) < 1e-9 AS without_discount,
	   bool_and(lifetime_value('clv', c) < lifetime_value('clv', c, discount_rate => 0)) AS a_discount_takes,
	   bool_and(expected_orders('clv', c, '1 year') > expected_orders('clv', c, '1 month')) AS longer_is_more,
	   max(abs(expected_orders('clv', c, '17 weeks') - expected_orders('clv', c))) < 1e-12 AS its_own_horizon
  FROM customers AS c;
SELECT count(*), max(abs(s.prediction - predict('clv', c))) < 1e-9 AS as_predicted, bool_and(s.score BETWEEN 0 AND 100) AS scores
  FROM score('clv', 'customers', 'customer') AS s JOIN customers AS c ON c.customer = s.key;
-- What a model says beside the prediction is in detail, but no reasons.
SELECT count(*), max(abs((detail ->> 'p_alive')::float8 - probability_alive('clv', c))) <= 0.5e-6 AS alive,
	   max(abs((detail ->> 'expected_orders')::float8 - expected_orders('clv', c))) <= 0.5e-6 AS orders
  FROM score('clv', 'customers', 'customer') AS s JOIN customers AS c ON c.customer = s.key;
SELECT score_into('clv', 'customers', 'customer', 'public.clv_scores') > 0 AS written;
SELECT bool_and(a.detail = b.detail) AS same, count(DISTINCT k) AS names FROM public.clv_scores AS a JOIN score('clv', 'customers', 'customer') AS b USING (key),
	   jsonb_object_keys(a.detail) AS k;
DROP TABLE public.clv_scores;
SELECT count(*) FROM score('clv', 'customers', 'customer', reasons => 1);
SELECT probability_alive('clv', NULL::customers) IS NULL AS of_nobody,
	   expected_orders('clv', r, '8 weeks') = new_customer_orders('clv', '8 weeks') AS somebody_new
  FROM (SELECT 0 AS frequency, 0 AS recency, 0 AS age, NULL::numeric AS monetary_value) AS r;
-- What is not known of a customer does not count.
SELECT abs(lifetime_value('clv', r) - lifetime_value('clv', s)) < 1e-9 AS same
  FROM (SELECT NULL::int AS frequency, NULL::float8 AS recency, NULL::float8 AS age, NULL::numeric AS monetary_value) AS r,
	   (SELECT 0 AS frequency, 0 AS recency, 0 AS age, NULL::numeric AS monetary_value) AS s;

-- How well it fits.
SELECT frequency, or_more, actual = (SELECT count(*) FROM customers c WHERE c.frequency = f.frequency OR f.or_more AND c.frequency > f.frequency) AS counted,
	   abs(actual - expected) < 4 * sqrt(expected) + 10 AS near
  FROM lifetime_frequencies('clv', 'customers', 4) AS f;
SELECT abs(sum(actual) - sum(expected)) < 1e-6 AS all_of_them FROM lifetime_frequencies('clv', 'customers');
SELECT frequency, or_more, customers = (SELECT count(*) FROM customers c WHERE c.frequency = f.frequency OR f.or_more AND c.frequency > f.frequency) AS counted,
	   abs(actual - expected) < 0.5 + 0.5 * actual AS near
  FROM lifetime_holdout('clv', 'customers', horizon => '122 days', top => 3) AS f;
SELECT metric, CASE metric WHEN 'customers' THEN value = 1500 WHEN 'actual' THEN value = (SELECT sum(holdout_frequency) FROM customers)
		WHEN 'forecast' THEN value = (SELECT sum(expected_orders('clv', c, '122 days')) FROM customers c) OR abs(value / (SELECT sum(expected_orders('clv', c, '122 days')) FROM customers c) - 1) < 1e-9
		WHEN 'mae' THEN abs(value - (SELECT avg(abs(expected_orders('clv', c, '122 days') - holdout_frequency)) FROM customers c)) < 1e-9
		WHEN 'rmse' THEN abs(value - (SELECT sqrt(avg((expected_orders('clv', c, '122 days') - holdout_frequency)^2)) FROM customers c)) < 1e-9
		WHEN 'pearson' THEN abs(value - (SELECT corr(expected_orders('clv', c, '122 days'), holdout_frequency) FROM customers c)) < 1e-9
		WHEN 'value_actual' THEN abs(value - (SELECT sum(holdout_value) FROM customers)) < 0.001
		ELSE value > 0 END AS right, meaning
  FROM lifetime_evaluate('clv', 'customers', value => 'holdout_value', horizon => '122 days');
SELECT count(*), bool_and(last_day = date '2026-01-01' + 7 * period - 1) AS weeks,
	   max(cumulative_actual) = (SELECT sum(frequency) FROM rfm_summary('orders', 'crm_id', 'day', observation_end => '2026-12-30')) AS all_orders,
	   bool_and(abs(cumulative_actual - cumulative_expected) < 0.12 * cumulative_actual + 60) AS near,
	   max(abs(cumulative_expected - running)) < 1e-6 AS adds_up
  FROM (SELECT *, sum(expected) OVER (ORDER BY period) AS running FROM lifetime_tracking('clv', 'orders', 'crm_id', 'day')) AS t;
SELECT abs(sum(order_count_probability('clv', n, '20 weeks')) - 1) < 1e-9 AS certain,
	   abs(sum(n * order_count_probability('clv', n, '20 weeks')) - new_customer_orders('clv', '20 weeks')) < 1e-6 AS mean
  FROM generate_series(0, 200) AS n;

-- The other processes of the same customers; the unit is theirs, the forecast is not.
SELECT algorithm, features, quality FROM train('clv', 'lifetime_value', 'customers', algorithm => 'pareto_nbd', options => '{"unit": "week", "monetary_value": null, "horizon": "17 weeks"}');
SELECT algorithm, features FROM train('clv', 'lifetime_value', 'customers', algorithm => 'mbg_nbd', options => '{"unit": "week", "monetary_value": null, "horizon": "17 weeks", "deploy": false}');
SELECT algorithm, features FROM train('by_day', 'lifetime_value', 'SELECT frequency AS x, 7 * recency AS t_x, 7 * age AS "T" FROM customers', algorithm => 'pareto_nbd',
	options => '{"unit": "day", "frequency": "x", "recency": "t_x", "age": "T", "horizon": "17 weeks"}');
SELECT max(abs(predict('clv', c) - predict('by_day', d))) < 1e-4 AS same FROM customers AS c, LATERAL (SELECT frequency AS x, 7 * recency AS t_x, 7 * age AS "T") AS d;
SELECT count(DISTINCT artifact_checksum) FROM model_versions WHERE model = 'clv' AND version > 1;
SET client_min_messages = warning;
SELECT version FROM train('clv', 'lifetime_value', 'SELECT * FROM customers', algorithm => 'mbg_nbd', options => '{"unit": "week", "monetary_value": null, "horizon": "17 weeks", "threads": 1}');
SELECT count(DISTINCT artifact_checksum) AS same_bytes FROM model_versions WHERE model = 'clv' AND algorithm = 'mbg_nbd';
SET client_min_messages = notice;

-- Contracts, from a table of how many stayed how long; periods without customers weigh nothing.
SELECT rows, features FROM train('contracts', 'lifetime_value', 'SELECT * FROM (VALUES (0, 4, 369), (1, 4, 163), (2, 4, 86), (3, 4, 56), (4, 4, 326), (0, 4, 0)) AS v (frequency, age, n)',
	algorithm => 'sbg', options => '{"unit": "year", "weight": "n", "horizon": "3 years"}');
SELECT parameter, round(estimate::numeric, 4) AS estimate FROM lifetime_parameters('contracts');
SELECT period, round(retention::numeric, 4) AS retention, round(survival::numeric, 4) AS survival, remaining FROM retention_curve('contracts', 5);
SELECT frequency, age, round(probability_alive('contracts', r)::numeric, 4) AS renews, round(predict('contracts', r)::numeric, 4) AS renewals
  FROM (VALUES (0, 0), (2, 2), (2, 3), (9, 9)) AS r (frequency, age);
-- Gifts at yearly opportunities.
SELECT rows FROM train('gifts', 'lifetime_value',
	'SELECT frequency, recency, 6 AS age, n FROM (VALUES (0, 0, 300), (1, 1, 90), (1, 3, 50), (2, 4, 80), (3, 6, 70), (5, 6, 60), (6, 6, 50), (2, 6, 60)) AS v (frequency, recency, n)',
	algorithm => 'bg_bb', options => '{"unit": "year", "weight": "n", "horizon": "5 years"}');
SELECT sum(actual), round(sum(expected)::numeric, 6) AS expected FROM lifetime_frequencies('gifts', 'SELECT 0 AS frequency, 0 AS recency, 6 AS age, 760 AS n', 6, 'n');

-- ---- what is refused ---------------------------------------------------------------------------------------------

\set SHOW_CONTEXT never
DO $$
DECLARE
	statement text;
	message text;
	state text;
	hint text;
BEGIN
	FOREACH statement IN ARRAY ARRAY[
		$q$SELECT train('e', 'lifetime_value', 'customers')$q$,
		$q$SELECT train('e', 'lifetime_value', 'customers', options => '{"unit": "7"}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'customers', options => '{"unit": "fortnight"}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'customers', options => '{"unit": "week", "horizon": 52}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'customers', options => '{"unit": "week", "horizon": "-1 year"}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'customers', options => '{"unit": "week", "discount_rate": -1}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'customers', options => '{"unit": "week", "trees": 10}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'customers', 'frequency', options => '{"unit": "week"}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'customers', algorithm => 'boosted_trees', options => '{"unit": "week"}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'customers', options => '{"unit": "week", "age": "T"}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'customers', options => '{"unit": "week", "key": "custmer"}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'SELECT 1 AS frequency, 2 AS recency, ''x''::text AS age', options => '{"unit": "week"}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'SELECT 1 AS frequency, 3 AS recency, 2 AS age', options => '{"unit": "week"}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'SELECT 0 AS frequency, 0 AS recency, 2 AS age', options => '{"unit": "week"}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'SELECT 1 AS frequency, 1 AS recency, 2 AS age WHERE false', options => '{"unit": "week"}')$q$,
		$q$SELECT train('e', 'lifetime_value', 'SELECT 1 AS frequency, 1 AS recency, 2 AS age, 0 AS monetary_value', options => '{"unit": "week"}')$q$,
		$q$SELECT rfm_summary('small_log', 'nobody', 'at')$q$,
		$q$SELECT rfm_summary('small_log', 'buyer', 'total')$q$,
		$q$SELECT rfm_summary('small_log', 'buyer', 'at', 'buyer')$q$,
		$q$SELECT rfm_summary('small_log', 'buyer', 'at', period => 'hour')$q$,
		$q$SELECT rfm_summary('small_log', 'buyer', 'at', observation_end => '2026-02-01', holdout_end => '2026-01-01')$q$,
		$q$SELECT rfm_summary('SELECT 1 AS buyer, ''infinity''::date AS at', 'buyer', 'at')$q$,
		$q$SELECT lifetime_value('clv', c) FROM customers c LIMIT 1$q$,
		$q$SELECT expected_orders('clv', c, '-1 day') FROM customers c LIMIT 1$q$,
		$q$SELECT lifetime_value('clv', c, discount_rate => 'NaN', version => 1) FROM customers c LIMIT 1$q$,
		$q$SELECT retention_curve('clv')$q$,
		$q$SELECT order_count_probability('clv', -1)$q$,
		$q$SELECT lifetime_frequencies('clv', 'customers', 5000)$q$,
		$q$SELECT lifetime_holdout('clv', 'customers', 'later')$q$,
		$q$SELECT lifetime_evaluate('clv', 'customers', value => 'holdout_value')$q$,
		$q$SELECT lifetime_evaluate('clv', 'SELECT * FROM customers WHERE false')$q$,
		$q$SELECT lifetime_tracking('clv', 'small_log', 'buyer', 'at', '1 hour')$q$,
		$q$SELECT lifetime_parameters('nothing')$q$,
		$q$SELECT predict('clv', r) FROM (SELECT 1 AS frequency) AS r$q$]
	LOOP
		BEGIN
			EXECUTE statement;
			RAISE NOTICE 'no error: %', statement;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, state = RETURNED_SQLSTATE, hint = PG_EXCEPTION_HINT;
			RAISE NOTICE E'%\n  % %\n  HINT: %', statement, state, message, hint;
		END;
	END LOOP;
END
$$;
SELECT train('nothing_learnt', 'propensity', 'SELECT i % 7 AS a, i % 2 = 0 AS y FROM generate_series(1, 100) AS i', 'y') IS NOT NULL AS trained;
SELECT probability_alive('nothing_learnt', r) FROM (SELECT 1 AS a) AS r;

DROP TABLE small_log, orders, customers;
DROP FUNCTION uniform;
DROP EXTENSION profenrich;
