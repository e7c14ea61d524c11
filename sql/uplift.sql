-- Uplift: whom a treatment moves, learnt from a test with a control group.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = notice;
CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;
-- The mail moves new customers (+30 points), annoys those on pro (-10), and does nothing to the rest.
CREATE TABLE test AS
	SELECT 'c' || i AS crm_id, floor(40 * uniform(i, 'tenure'))::int AS tenure, (ARRAY['basic', 'plus', 'pro'])[1 + floor(3 * uniform(i, 'plan'))::int] AS plan,
		   uniform(i, 'noise') AS noise, uniform(i, 'mail') < 0.4 AS got_mail
	  FROM generate_series(1, 12000) AS i;
ALTER TABLE test ADD bought boolean;
UPDATE test SET bought = uniform(substr(crm_id, 2)::int, 'y') < 0.2 + CASE WHEN NOT got_mail THEN 0 WHEN plan = 'pro' THEN -0.1 WHEN tenure < 10 THEN 0.3 ELSE 0 END;
SELECT model, version, algorithm, rows, features, metric, metric_value > 0.05 AS finds_them, quality
  FROM profenrich.train('mail', task => 'uplift', source => 'test', target => 'bought', options => '{"key": "crm_id", "treatment": "got_mail", "trees": 30, "max_depth": 3}');
SELECT metric, CASE WHEN metric IN ('rows', 'treated', 'training_rows') THEN value ELSE round(value::numeric, 1) END AS value, CASE metric WHEN 'verdict' THEN substring(meaning, '^\w+') WHEN 'note' THEN substring(meaning, '^\w+') ELSE meaning END AS meaning
  FROM profenrich.evaluation('mail');
-- The first tenths are moved, the last are annoyed; the table adds up.
SELECT decile, rows, uplift > 0.15 AS moved, uplift < 0.05 AS not_moved, abs(uplift - predicted) < 0.15 AS as_predicted FROM profenrich.uplift_table('mail') WHERE decile IN (1, 10);
SELECT sum(rows) = (SELECT value FROM profenrich.evaluation('mail') WHERE metric = 'rows') AS all_rows, bool_and(abs(uplift - (treated_rate - control_rate)) < 1e-12) AS differences,
	   bool_and(predicted <= before) AS falling FROM (SELECT *, lag(predicted, 1, 1) OVER (ORDER BY decile) AS before FROM profenrich.uplift_table('mail')) AS t;
SELECT count(*) AS points, min(share), max(share), min(gain) FILTER (WHERE share = 0) AS first, bool_and(gain > random) FILTER (WHERE share BETWEEN 0.1 AND 0.9) AS above_random,
	   max(abs(gain - random)) FILTER (WHERE share = 1) AS last FROM profenrich.qini_curve('mail');
SELECT model, count(*) FROM profenrich.uplift_table GROUP BY 1;
SELECT model, count(*) FROM profenrich.qini_curve GROUP BY 1;
SELECT feature, treatment, used FROM profenrich.feature_importance('mail') ORDER BY feature;
SELECT task, algorithm, objective, target, key, rows, positives = (SELECT count(*) FROM test WHERE bought) AS positives FROM profenrich.model_versions;

-- One profile and all of them: the effects are known.
SELECT plan, tenure < 10 AS new, round(avg(profenrich.predict('mail', t))::numeric, 1) AS uplift FROM test t GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) AS rows, count(*) FILTER (WHERE abs((detail ->> 'p_treated')::float8 - (detail ->> 'p_control')::float8 - prediction) > 1e-5) AS other_detail,
	   count(*) FILTER (WHERE prediction <> profenrich.predict('mail', t)) AS other_predict, min(score), max(score), count(DISTINCT bucket) AS buckets
  FROM profenrich.score('mail', 'test', 'crm_id') s JOIN test t ON t.crm_id = s.key;
SELECT profenrich.score_into('mail', 'SELECT * FROM test LIMIT 100', 'crm_id', 'mail_scores');

-- Reasons are of the difference of the log-odds; the plan of those on pro annoys.
SELECT reasons -> 0 ->> 'feature' AS feature, (reasons -> 0 ->> 'contribution')::float8 < 0 AS less, jsonb_array_length(reasons) AS reasons
  FROM profenrich.score('mail', 'SELECT * FROM test WHERE plan = ''pro'' AND tenure > 30 ORDER BY crm_id LIMIT 1', 'crm_id', reasons => 2);
SELECT abs(sum(contribution) - max(ln(p / (1 - p)) - ln(q / (1 - q)))) < 1e-4 AS adds_up, count(*) AS rows
  FROM (SELECT t, (detail ->> 'p_treated')::float8 AS p, (detail ->> 'p_control')::float8 AS q FROM test t JOIN profenrich.score('mail', 'SELECT * FROM test WHERE crm_id = ''c7''', 'crm_id') AS s ON s.key = crm_id) AS t,
	   profenrich.explain('mail', t.t, NULL);

-- The other way, one model of a transformed class, agrees; groups of unequal size are made up for.
SELECT version, algorithm, metric_value > 0.05 AS finds_them, quality FROM profenrich.train('mail', 'uplift', 'test', 'bought', 'class_transformation',
	'{"key": "crm_id", "treatment": "got_mail", "trees": 30, "max_depth": 3, "deploy": false}');
SELECT plan, tenure < 10 AS new, abs(avg(profenrich.predict('mail', t, 1)) - avg(profenrich.predict('mail', t, 2))) < 0.06 AS agree FROM test t GROUP BY 1, 2 ORDER BY 1, 2;
SELECT detail IS NULL AS no_detail FROM profenrich.score('mail', 'SELECT * FROM test LIMIT 1', 'crm_id', version => 2);
-- The same by the option method; naming two is refused.
SELECT version, algorithm FROM profenrich.train('by method', 'uplift', 'test', 'bought', options => '{"key": "crm_id", "treatment": "got_mail", "method": "class_transformation", "trees": 5}');
SELECT profenrich.train('x', 'uplift', 'test', 'bought', 'two_models', '{"treatment": "got_mail", "method": "class_transformation"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'uplift', 'test', 'bought', options => '{"treatment": "got_mail", "method": "x_learner"}');
\echo :LAST_ERROR_SQLSTATE
-- Texts as treatment and target; rows without either are left out; nothing held out.
SELECT rows, metric_value, quality FROM profenrich.train('texts', 'uplift', $$SELECT tenure, plan, CASE WHEN noise < 0.99 THEN CASE WHEN bought THEN 'bought' ELSE 'left' END END AS outcome, CASE WHEN got_mail THEN 'mail' ELSE 'none' END AS arm FROM test$$, 'outcome',
	options => '{"treatment": "arm", "treated": "mail", "positive": "bought", "trees": 5, "holdout": 0}');
-- An effect that is the same for all has no order.
SELECT quality FROM profenrich.train('same', 'uplift', 'SELECT noise, uniform(row_number() OVER (ORDER BY crm_id), ''z'') < 0.3 AS bought, got_mail FROM test', 'bought', options => '{"treatment": "got_mail", "trees": 10}');
-- The same rows, options and seed give the same artifact on one thread and on two.
SELECT count(*) FROM (SELECT profenrich.train('twice', 'uplift', 'test', 'bought', options => jsonb_build_object('key', 'crm_id', 'treatment', 'got_mail', 'trees', 5, 'threads', n)) FROM generate_series(1, 2) AS n) AS t;
SELECT count(DISTINCT artifact_checksum) AS artifacts, count(*) AS versions FROM profenrich.model_versions WHERE model = 'twice';

-- What the errors say.
SELECT profenrich.train('x', 'uplift', 'test', options => '{"treatment": "got_mail"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'uplift', 'test', 'bought');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'uplift', 'test', 'bought', options => '{"treatment": "mail"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'uplift', 'test', 'bought', options => '{"treatment": "plan"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'uplift', 'test', 'bought', options => '{"treatment": ["got_mail"]}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'uplift', 'test', 'bought', 'logistic', '{"treatment": "got_mail"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'uplift', 'test', 'bought', options => '{"treatment": "got_mail", "calibrate": "platt"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'uplift', 'test', 'bought', options => '{"treatment": "got_mail", "leaves": 4}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'uplift', 'SELECT * FROM test WHERE got_mail', 'bought', options => '{"treatment": "got_mail"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'uplift', 'SELECT *, NULL::bool AS arm FROM test', 'bought', options => '{"treatment": "arm"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'uplift', 'SELECT tenure, got_mail, got_mail AS bought FROM test', 'bought', options => '{"treatment": "got_mail"}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.qini_curve('nobody');
\echo :LAST_ERROR_SQLSTATE

DROP TABLE test, mail_scores;
DROP FUNCTION uniform;
DROP EXTENSION profenrich CASCADE;
