-- Goals: what is asked, the training set that it becomes, and the model that learns from it.
SET client_min_messages = warning;
SET jit = off;
CREATE EXTENSION IF NOT EXISTS profenrich;
SET datestyle = 'German, DMY';
-- 40 days of 600 profiles: those who call more and spend less are going to leave, which shows in "churned" for the rest of their days.
-- Some vanish, "flag" is only there on a single day.
CREATE TABLE days (crm_id text, snapshot_date date, churned boolean, plan text, spend numeric, calls int, flag boolean, last_seen date)
	PARTITION BY LIST (snapshot_date);
DO $$BEGIN FOR d IN 0 .. 39 LOOP EXECUTE format('CREATE TABLE days_%s PARTITION OF days FOR VALUES IN (%L)', d, date '2026-01-01' + d); END LOOP; END$$;
CREATE TABLE people AS SELECT i, 'C-' || lpad(i::text, 4, '0') AS crm_id, 5 + (i * 7919) % 200 AS leaves, CASE WHEN i % 29 = 0 THEN (i * 31) % 40 ELSE 99 END AS gone
  FROM generate_series(1, 600) AS i;
INSERT INTO days SELECT crm_id, date '2026-01-01' + d, d >= leaves, CASE WHEN (d + i) / 20 % 2 = 0 THEN 'pro' ELSE 'free' END,
	round((100 - 3 * greatest(0, 15 - greatest(leaves - d, 0)) + (i * d * 37) % 10)::numeric, 2),
	CASE WHEN leaves - d BETWEEN 1 AND 12 THEN 3 ELSE 0 END + (i * d * 53) % 3, (i + d) % 17 = 0, date '2026-01-01' + d - (i + d) % 6
  FROM people, generate_series(0, 39) AS d WHERE d < gone;
CREATE INDEX ON days (crm_id);
ANALYZE days;

-- What is wrong is said by name, and nothing is declared.
SET client_min_messages = notice;
SELECT profenrich.create_goal('', 'churned', '10 days', 'days', 'crm_id');
SELECT profenrich.create_goal('bad', 'churnd', '10 days', 'days', 'crm_id');
SELECT profenrich.create_goal('bad', 'spend', '10 days', 'days', 'crm_id');
SELECT profenrich.create_goal('bad', 'true) OR (false', '10 days', 'days', 'crm_id');
SELECT profenrich.create_goal('bad', 'sum(spend) > 3', '10 days', 'days', 'crm_id');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'nothing', 'crm_id');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'people', 'crm_id');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'SELECT *, now() AS snapshot_date FROM people', 'crm_id');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crmid');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'SELECT *, 1 AS outcome FROM days', 'crm_id');
SELECT profenrich.create_goal('bad', 'churned', '10 hours', 'days', 'crm_id');
SELECT profenrich.create_goal('bad', 'churned', '-1 days', 'days', 'crm_id');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crm_id', 'chured');
SELECT profenrich.create_goal('bad', 'churned', NULL, 'days', 'crm_id');
SELECT profenrich.create_goal('bad', o, '10 days', 'days', 'crm_id', NULL, options::jsonb) FROM (VALUES ('churned')) AS v (o), (SELECT '{"windows": 3}' AS options) AS w;
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crm_id', options => '{"history": {"spent": ["delta 7"]}}');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crm_id', options => '{"history": {"plan": ["delta 7"]}}');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crm_id', options => '{"history": {"spend": ["delta"]}}');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crm_id', options => '{"history": {"spend": ["delta 7", "delta 7"]}}');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crm_id', options => '{"absent": "perhaps"}');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crm_id', options => '{"events": {"source": "people"}}');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crm_id', options => '{"every": 0}');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crm_id', options => '{"anchors": ["2026-01-04"], "every": 3}');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crm_id', options => '{"any": ["flagg"]}');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crm_id', options => '{"any": ["flag"], "all": ["flag"]}');
SELECT profenrich.create_goal('bad', 'churned', '10 days', 'days', 'crm_id', options => '{"join": {"source": "people", "key": "crm_id", "date": "i"}}');
SELECT count(*) FROM profenrich.goals;

-- A declared one.
SELECT profenrich.create_goal('churn_10', 'churned', '10 days', 'days', 'crm_id', eligible => 'NOT churned',
	options => '{"minimum": 3, "history": {"spend": ["delta 7", "trend 14", "mean 3"], "plan": ["days since change 20"], "calls": ["days since active 9"], "flag": ["days since active 30"]}}');
SELECT profenrich.create_goal('churn_10', 'churned', '10 days', 'days', 'crm_id');
SELECT name, owner = current_user::regrole AS mine, outcome, within, snapshots, key, eligible FROM profenrich.goals;
SELECT * FROM profenrich.goal_anchors('churn_10');
SELECT * FROM profenrich.goal_counts('churn_10');
SELECT profenrich.goal_anchors('nothing');

-- Its training set, row for row, as somebody else would write it.
CREATE TABLE expected AS
SELECT s.crm_id, s.snapshot_date, EXISTS (SELECT FROM days l WHERE l.crm_id = s.crm_id AND l.churned AND l.snapshot_date - s.snapshot_date BETWEEN 1 AND 10) AS outcome,
	s.churned, s.plan, s.spend, s.calls, s.flag, s.last_seen,
	s.spend::float8 - (SELECT e.spend FROM days e WHERE e.crm_id = s.crm_id AND e.snapshot_date = s.snapshot_date - 7) AS spend_delta_7d,
	(SELECT regr_slope(e.spend::float8, (e.snapshot_date - date '2026-01-01')::float8) FROM days e WHERE e.crm_id = s.crm_id AND e.snapshot_date BETWEEN s.snapshot_date - 14 AND s.snapshot_date) AS spend_trend_14d,
	(SELECT avg(e.spend) FROM days e WHERE e.crm_id = s.crm_id AND e.snapshot_date BETWEEN s.snapshot_date - 3 AND s.snapshot_date) AS spend_mean_3d,
	(SELECT min(s.snapshot_date - e.snapshot_date) FROM days e WHERE e.crm_id = s.crm_id AND e.snapshot_date BETWEEN s.snapshot_date - 20 AND s.snapshot_date AND e.plan <> s.plan) AS plan_days_since_change_20d,
	(SELECT min(s.snapshot_date - e.snapshot_date) FROM days e WHERE e.crm_id = s.crm_id AND e.snapshot_date BETWEEN s.snapshot_date - 9 AND s.snapshot_date AND e.calls > 0) AS calls_days_since_active_9d,
	(SELECT min(s.snapshot_date - e.snapshot_date) FROM days e WHERE e.crm_id = s.crm_id AND e.snapshot_date BETWEEN s.snapshot_date - 30 AND s.snapshot_date AND e.flag) AS flag_days_since_active_30d
  FROM days s
 WHERE s.snapshot_date IN ('30.01.2026', '20.01.2026', '10.01.2026') AND NOT s.churned
   AND (EXISTS (SELECT FROM days l WHERE l.crm_id = s.crm_id AND l.snapshot_date = s.snapshot_date + 10)
	OR EXISTS (SELECT FROM days l WHERE l.crm_id = s.crm_id AND l.churned AND l.snapshot_date - s.snapshot_date BETWEEN 1 AND 10));
SELECT profenrich.training_query('churn_10') AS q \gset
CREATE VIEW training AS :q;
CREATE VIEW rounded_training AS SELECT crm_id, snapshot_date, outcome, churned, plan, spend, calls, flag, last_seen, spend_delta_7d::numeric, round(spend_trend_14d::numeric, 9) AS trend,
	round(spend_mean_3d::numeric, 9) AS mean, plan_days_since_change_20d, calls_days_since_active_9d, flag_days_since_active_30d FROM training;
CREATE VIEW rounded_expected AS SELECT crm_id, snapshot_date, outcome, churned, plan, spend, calls, flag, last_seen, spend_delta_7d::numeric, round(spend_trend_14d::numeric, 9) AS trend,
	round(spend_mean_3d::numeric, 9) AS mean, plan_days_since_change_20d, calls_days_since_active_9d, flag_days_since_active_30d FROM expected;
SELECT count(*) > 1500 AS enough, count(*) = (SELECT count(*) FROM training) AS as_many FROM expected;
SELECT count(*) AS differ FROM ((TABLE rounded_training EXCEPT ALL TABLE rounded_expected) UNION ALL (TABLE rounded_expected EXCEPT ALL TABLE rounded_training)) AS d;
SELECT count(*) FILTER (WHERE outcome) > 60 AS happened, count(spend_delta_7d) > 0 AS deltas, count(plan_days_since_change_20d) > 0 AS changes FROM training;
DROP VIEW training CASCADE;

-- The model: the latest anchor is held out, learnt from are those whose windows ended by then.
SELECT rows, features, metric, metric_value > 0.8 AS good FROM profenrich.train('churn', goal => 'churn_10', options => '{"trees": 20}');
SELECT goal, target, key, source, holdout FROM profenrich.model_versions WHERE model = 'churn';
SELECT count(*) AS scored, count(*) FILTER (WHERE prediction > 0.5) > 10 AS some_high FROM profenrich.score('churn', profenrich.scoring_query('churn_10'), 'crm_id');
SELECT count(*) AS eligible FROM days WHERE snapshot_date = '09.02.2026' AND NOT churned;
-- Those who will have left ten days later were told from the others. Nobody knew on that day.
SELECT avg(prediction) FILTER (WHERE leaves <= 49) > 3 * avg(prediction) FILTER (WHERE leaves > 49) AS told
  FROM profenrich.score('churn', profenrich.scoring_query('churn_10'), 'crm_id') s JOIN people ON crm_id = s.key;
SELECT profenrich.scoring_query('churn_10', '01.03.2026');

-- Anchors by other rules: overlapping windows leave a gap before what is validated on.
SELECT profenrich.alter_goal('churn_10', options => '{"from": "last year"}');
SELECT profenrich.alter_goal('churn_10', options => '{"every": 4, "minimum": 3, "from": "2026-01-05"}');
SELECT * FROM profenrich.goal_anchors('churn_10');
SELECT rows > 1000 AS trained FROM profenrich.train('churn', goal => 'churn_10', options => '{"trees": 20, "deploy": false}');
SELECT profenrich.alter_goal('churn_10', options => '{"minimum": 3, "anchors": ["2026-01-05", "2026-01-12", "2026-02-05", "2027-01-01"]}');
SELECT * FROM profenrich.goal_anchors('churn_10');
-- One day alone: profiles are held out, which is said.
SELECT profenrich.alter_goal('churn_10', options => '{"minimum": 3, "anchors": ["2026-01-12"]}');
SELECT rows > 400 AS trained FROM profenrich.train('churn', goal => 'churn_10', options => '{"trees": 20, "deploy": false}');
SELECT holdout FROM profenrich.model_versions WHERE model = 'churn' AND version = 3;
-- Too little to learn from, with the numbers.
SELECT profenrich.alter_goal('churn_10', options => '{}');
SELECT rows FROM profenrich.train('churn', goal => 'churn_10');
SELECT profenrich.alter_goal('churn_10', eligible => '', options => '{"anchors": ["2026-02-05"]}');
SELECT eligible IS NULL AS everybody FROM profenrich.goals;
SELECT rows FROM profenrich.train('churn', goal => 'churn_10');
SELECT profenrich.training_query('churn_10');
SELECT rows FROM profenrich.train('churn', goal => 'churn_10', source => 'days');
SELECT rows FROM profenrich.train('churn', task => 'value', goal => 'churn_10');
SELECT rows FROM profenrich.train('churn', goal => 'churn_10', options => '{"key": "plan"}');
SELECT rows FROM profenrich.train('churn', goal => 'churn_10', options => '{"holdout": {"from": "2026-01-01"}}');

-- Who is gone before the window ends: left out, or counted as declared. Will not happen; all and any of several.
SELECT profenrich.create_goal(name, 'churned', '10 days', 'days', 'crm_id', 'NOT churned', options::jsonb) FROM (VALUES
	('left_out', '{}'), ('as_happened', '{"absent": "happened"}'), ('as_not', '{"absent": "not_happened"}'), ('stays', '{"happens": false}'),
	('stays_here', '{"happens": false, "absent": "happened"}'), ('any', '{"any": ["flag", "spend < 60"]}'), ('all', '{"all": ["flag"]}')) AS g (name, options);
SELECT name, c.eligible, c.happened, c.not_happened, c.left_out FROM profenrich.goals, profenrich.goal_counts(name) AS c WHERE anchor = '10.01.2026' AND name <> 'churn_10' ORDER BY name;
WITH anchor AS (SELECT s.crm_id, bool_or(l.churned) IS TRUE AS lost, bool_or(l.snapshot_date = '20.01.2026') IS TRUE AS there,
	bool_or(l.flag) IS TRUE AS flagged, bool_or(l.spend < 60) IS TRUE AS cheap
  FROM days s LEFT JOIN days l ON l.crm_id = s.crm_id AND l.snapshot_date > '10.01.2026' AND l.snapshot_date <= '20.01.2026' WHERE s.snapshot_date = '10.01.2026' AND NOT s.churned GROUP BY 1)
SELECT count(*) AS eligible, count(*) FILTER (WHERE lost) AS happened, count(*) FILTER (WHERE NOT lost AND NOT there) AS gone,
	count(*) FILTER (WHERE lost OR flagged OR cheap) AS any_of_them, count(*) FILTER (WHERE lost AND flagged) AS all_of_them FROM anchor;

-- Outcomes among events, whose key is of another type; days are those of UTC. More features from another relation.
CREATE TABLE orders AS SELECT i AS customer, (date '2026-01-01' + d)::timestamp AT TIME ZONE 'UTC' + interval '23 hours 59 minutes' AS at, (i * d) % 90 AS amount
  FROM generate_series(1, 600) AS i, generate_series(0, 39) AS d WHERE (i * 13 + d * 7) % 31 = 0;
CREATE TABLE visits AS SELECT i AS customer, date '2026-01-01' + d AS as_of, (i + d) % 9 AS visits_7d FROM generate_series(1, 600, 2) AS i, generate_series(0, 39) AS d;
CREATE INDEX ON visits (customer, as_of);
CREATE INDEX ON orders (customer);
ANALYZE orders, visits;
SELECT profenrich.create_goal('buys', 'amount > 20', '5 days', 'SELECT substr(crm_id, 3)::int::text AS id, snapshot_date, spend FROM days', 'id',
	options => '{"events": {"source": "orders", "key": "customer", "time": "at"}, "join": {"source": "visits", "key": "customer", "date": "as_of"}}');
SELECT * FROM profenrich.goal_anchors('buys') ORDER BY anchor DESC LIMIT 3;
-- What is dated in the future has not been seen, nor have the days until then.
INSERT INTO orders VALUES (1, 'infinity', 50), (2, now() + interval '1 hour', 50), (3, now() + interval '900 days', 50);
SELECT * FROM profenrich.goal_anchors('buys') ORDER BY anchor DESC LIMIT 2;
DELETE FROM orders WHERE at >= now();
SET timezone = 'America/Los_Angeles';
SELECT profenrich.training_query('buys') AS q \gset
CREATE VIEW training AS :q;
SELECT count(*) AS differ FROM (SELECT id, snapshot_date, outcome, spend, visits_7d FROM training EXCEPT ALL
	SELECT substr(crm_id, 3)::int::text, snapshot_date, EXISTS (SELECT FROM orders WHERE customer = substr(crm_id, 3)::int AND amount > 20
		AND (at AT TIME ZONE 'UTC')::date - snapshot_date BETWEEN 1 AND 5), spend, (SELECT visits_7d FROM visits WHERE customer = substr(crm_id, 3)::int AND as_of = snapshot_date)
	  FROM days) AS d;
SELECT count(*) FILTER (WHERE outcome) > 100 AS bought, count(*) FILTER (WHERE NOT outcome) > 100 AS did_not, count(visits_7d) > 100 AS joined FROM training;
DROP VIEW training;
-- A profile that is there twice would be learnt from twice: with the relation and the day, but nobody's key.
CREATE TABLE twice AS SELECT crm_id, snapshot_date, churned, spend FROM days;
SELECT profenrich.create_goal('twice', 'churned', '10 days', 'twice', 'crm_id', 'NOT churned', '{"join": {"source": "SELECT ''C-'' || lpad(customer::text, 4, ''0'') AS id, as_of, visits_7d FROM visits", "key": "id", "date": "as_of"}}');
INSERT INTO visits SELECT * FROM visits WHERE customer = 3 AND as_of = '10.01.2026';
INSERT INTO twice SELECT * FROM twice WHERE churned;
SELECT rows FROM profenrich.train('twice', goal => 'twice', algorithm => 'logistic');
INSERT INTO twice SELECT * FROM twice WHERE crm_id IN ('C-0001', 'C-0003') AND snapshot_date = '20.01.2026';
SELECT rows FROM profenrich.train('twice', goal => 'twice', algorithm => 'logistic');
SELECT profenrich.drop_goal('twice');
DROP TABLE twice;

-- An outcome is looked for in snapshots: where there is none near the end of a window nobody knows, whatever "absent" says.
CREATE TABLE looked AS SELECT snapshot_date, crm_id, churned, spend FROM days WHERE snapshot_date <= '03.01.2026' OR snapshot_date >= '20.01.2026';
SELECT profenrich.create_goal('gap', 'churned', '7 days', 'looked', 'crm_id', 'NOT churned', '{"absent": "happened", "minimum": 1}');
SELECT * FROM profenrich.goal_anchors('gap');
SELECT anchor, used_for, happened, not_happened FROM profenrich.goal_counts('gap');
SELECT rows > 1000 AS trained FROM profenrich.train('gap', goal => 'gap', algorithm => 'logistic');
SELECT profenrich.alter_goal('gap', options => '{"anchors": ["2026-01-02", "2026-01-03"]}');
SELECT profenrich.training_query('gap');
SELECT profenrich.alter_goal('gap', options => '{"anchors": ["2026-01-05", "2026-01-06"]}');
SELECT profenrich.training_query('gap');
-- One snapshot the day after is not a look at ten days; so much may be declared to be enough.
SELECT profenrich.alter_goal('gap', options => '{"anchors": ["2026-01-02"], "tolerance": 6}');
SELECT * FROM profenrich.goal_anchors('gap');
SELECT profenrich.alter_goal('gap', options => '{"tolerance": -1}');
SELECT profenrich.create_goal('bad', 'amount > 20', '5 days', 'days', 'crm_id', options => '{"tolerance": 3, "events": {"source": "orders", "key": "customer", "time": "at"}}');
-- Where there is a snapshot a week, days without one are as usual.
DELETE FROM looked;
INSERT INTO looked SELECT snapshot_date, crm_id, churned, spend FROM days WHERE (snapshot_date - '01.01.2026') % 7 = 0;
SELECT profenrich.create_goal('weekly', 'churned', '10 days', 'looked', 'crm_id', options => '{"every": 7}');
SELECT * FROM profenrich.goal_anchors('weekly');
SELECT profenrich.drop_goal('gap'), profenrich.drop_goal('weekly'), profenrich.drop_model('gap');
DROP TABLE looked;

-- Expressions run with the rights of whoever uses the goal.
CREATE ROLE regress_goal_analyst IN ROLE profenrich_analyst;
CREATE ROLE regress_goal_reader IN ROLE profenrich_reader;
SET ROLE regress_goal_reader;
SELECT profenrich.create_goal('mine', 'churned', '10 days', 'days', 'crm_id');
SET ROLE regress_goal_analyst;
SELECT profenrich.create_goal('mine', 'churned', '10 days', 'days', 'crm_id');
SELECT profenrich.training_query('left_out');
SELECT profenrich.alter_goal('left_out', '');
SELECT profenrich.drop_goal('left_out');
RESET ROLE;
GRANT SELECT ON days TO regress_goal_analyst;
SET ROLE regress_goal_analyst;
SELECT profenrich.create_goal('mine', 'churned', '10 days', 'days', 'crm_id');
SELECT count(*) FROM profenrich.goal_counts('left_out');
RESET ROLE;
SELECT profenrich.drop_goal(name) FROM profenrich.goals;
SELECT profenrich.drop_goal('mine');
SELECT count(*) FROM profenrich.goals;
SELECT profenrich.drop_model('churn');
DROP TABLE days, people, expected, orders, visits CASCADE;
DROP ROLE regress_goal_analyst, regress_goal_reader;
