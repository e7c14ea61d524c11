-- Goals over time: columns that know too much, what was expected and what came, how old scores may get.
SET client_min_messages = warning;
SET jit = off;
CREATE EXTENSION IF NOT EXISTS profenrich;
-- 50 days of 1500 profiles, of whom some leave: calls tell it a little before, "notice" is there a month before, "survey" only afterwards.
CREATE TABLE people AS SELECT i, 'C-' || i AS crm_id, 5 + (i * 7919) % 150 AS leaves FROM generate_series(1, 1500) AS i;
CREATE TABLE days AS SELECT crm_id, date '2026-01-01' + d AS snapshot_date, d >= leaves AS churned, (i * d * 53) % 4 + CASE WHEN leaves - d BETWEEN 1 AND 14 AND i % 3 > 0 THEN 3 ELSE 0 END AS calls,
	(i * 31) % 60 AS tenure, CASE WHEN leaves - d BETWEEN 1 AND 10 THEN leaves - d END AS notice, CASE WHEN d >= leaves THEN 'price' END AS survey, (i * d) % 3 AS mood
  FROM people, generate_series(0, 49) AS d;
CREATE INDEX ON days (snapshot_date);
CREATE INDEX ON days (crm_id, snapshot_date);
ANALYZE days;
SELECT profenrich.create_goal('churn', 'churned', '10 days', 'days', 'crm_id', eligible => 'NOT churned');

-- Who knows too much, and why.
SELECT feature, strength > 0.99 AS strong, round(changes_happened::numeric, 2) AS happened, round(changes_otherwise::numeric, 2) AS otherwise, why
  FROM profenrich.goal_leakage('churn') WHERE suspicious ORDER BY feature;
SELECT feature, strength > 0.6 AS tells, changes_otherwise > 0.3 AS always_changes FROM profenrich.goal_leakage('churn') WHERE NOT suspicious ORDER BY feature;
-- Said while training, too, unless it is left out.
SELECT quality FROM profenrich.train('churn', goal => 'churn', options => '{"trees": 10}');
SELECT verdict FROM profenrich.model_versions WHERE model = 'churn';
SELECT quality <> 'leakage suspected' AS honest, metric_value > 0.75 AS good FROM profenrich.train('churn', goal => 'churn', options => '{"trees": 20, "features": {"exclude": ["notice", "survey"]}}');

-- What is expected is written down day by day, and what came of it when the window has passed.
DELETE FROM days WHERE snapshot_date > '2026-02-09';
SELECT snapshot_date, version, profiles, expected > 0 AS expected FROM profenrich.record_predictions('churn', 'churn');
SELECT * FROM profenrich.record_predictions('churn', 'churn', '2026-03-01');
SELECT profiles > 0 AS recorded FROM profenrich.record_predictions('churn', 'churn', '2026-02-05');
SELECT * FROM profenrich.fill_outcomes('churn');
SELECT snapshot_date, window_end, state, known FROM profenrich.goal_runs ORDER BY 1;
INSERT INTO days SELECT crm_id, date '2026-01-01' + d, d >= leaves, (i * d * 53) % 4 + CASE WHEN leaves - d BETWEEN 1 AND 14 AND i % 3 > 0 THEN 3 ELSE 0 END,
	(i * 31) % 60, CASE WHEN leaves - d BETWEEN 1 AND 10 THEN leaves - d END, CASE WHEN d >= leaves THEN 'price' END, (i * d) % 3
  FROM people, generate_series(40, 46) AS d WHERE i % 100 > 0;
SELECT snapshot_date, known, happened FROM profenrich.fill_outcomes('churn');
SELECT snapshot_date, state, known FROM profenrich.goal_runs ORDER BY 1;
INSERT INTO days SELECT crm_id, date '2026-01-01' + d, d >= leaves, 0, (i * 31) % 60, NULL, CASE WHEN d >= leaves THEN 'price' END, 0
  FROM people, generate_series(47, 80) AS d WHERE i % 100 > 0;
SELECT snapshot_date, known, happened FROM profenrich.fill_outcomes('churn');
SELECT * FROM profenrich.fill_outcomes('churn');
-- As counted by hand: those who are gone without having left before are not known.
SELECT s.snapshot_date, count(*) FILTER (WHERE o.lost OR o.there) AS known, count(*) FILTER (WHERE o.lost) AS happened
  FROM days s, LATERAL (SELECT bool_or(l.churned) IS TRUE AS lost, bool_or(l.snapshot_date = s.snapshot_date + 10) IS TRUE AS there FROM days l
	WHERE l.crm_id = s.crm_id AND l.snapshot_date > s.snapshot_date AND l.snapshot_date <= s.snapshot_date + 10) AS o
 WHERE s.snapshot_date IN ('2026-02-05', '2026-02-09') AND NOT s.churned GROUP BY 1 ORDER BY 1;
SELECT snapshot_date, sum(profiles) AS profiles, sum(known) AS known, sum(happened) AS happened, sum(expected_of_known) / sum(happened) BETWEEN 0.4 AND 2.5 AS about_right,
	(array_agg(actual_rate ORDER BY decile))[1] > 2 * sum(happened) / sum(known) AS highest_most FROM profenrich.goal_outcomes GROUP BY 1 ORDER BY 1;
SELECT lift > 2 AS lifted FROM profenrich.goal_runs;
-- Scores get old.
SELECT age, anchor, profiles, happened, lift > 1.5 AS lifted FROM profenrich.lift_decay('churn', 'churn', '2026-02-05', '{0, 5, 60, 100}');
SELECT * FROM profenrich.lift_decay('churn', 'churn', '2026-02-05', '{-1}');
-- Of days whose outcomes it has learnt it knows too much.
SELECT source, learnt_until FROM profenrich.model_version WHERE model = 'churn' AND version = 2;
SET client_min_messages = notice;
SELECT age FROM profenrich.lift_decay('churn', 'churn', '2026-01-15', '{0}');
SELECT age FROM profenrich.lift_decay('churn', 'churn', (SELECT learnt_until FROM profenrich.model_version WHERE model = 'churn' AND version = 2), '{0}');
SELECT version FROM profenrich.record_predictions('churn', 'churn', '2026-01-20');
DELETE FROM profenrich.goal_run WHERE snapshot_date = '2026-01-20';
SET client_min_messages = warning;
-- The same day again is the same run; a model that did not learn from the goal expects nothing of it.
SELECT profiles > 0 AS again FROM profenrich.record_predictions('churn', 'churn', '2026-02-05');
SELECT snapshot_date, state FROM profenrich.goal_runs ORDER BY 1;
SELECT version FROM profenrich.train('other', 'propensity', 'SELECT calls, churned FROM days', 'churned', 'logistic');
SELECT * FROM profenrich.record_predictions('churn', 'other');
SELECT * FROM profenrich.record_predictions('churn', 'nothing');
-- A day that is gone cannot be scored again; a goal takes its runs along.
DELETE FROM days WHERE snapshot_date = '2026-02-05';
SET client_min_messages = notice;
SELECT * FROM profenrich.fill_outcomes('churn');
SELECT snapshot_date, state FROM profenrich.goal_runs ORDER BY 1;
-- Nor can what happened be told where nobody looked, until these days are there.
SELECT profiles > 0 AS again FROM profenrich.record_predictions('churn', 'churn', '2026-02-09');
CREATE TABLE put_aside AS SELECT * FROM days WHERE snapshot_date BETWEEN '2026-02-12' AND '2026-02-22';
DELETE FROM days WHERE snapshot_date BETWEEN '2026-02-12' AND '2026-02-22';
SELECT * FROM profenrich.fill_outcomes('churn');
SELECT snapshot_date, state, known FROM profenrich.goal_runs ORDER BY 1;
SELECT age, anchor FROM profenrich.lift_decay('churn', 'churn', '2026-02-10', '{0, 1, 2, 14}');
INSERT INTO days SELECT * FROM put_aside;
SELECT snapshot_date, known, happened FROM profenrich.fill_outcomes('churn');
SELECT snapshot_date, state, known FROM profenrich.goal_runs ORDER BY 1;
DROP TABLE put_aside;
SET client_min_messages = warning;
SELECT profenrich.drop_goal('churn');
SELECT count(*) FROM profenrich.goal_runs;
SELECT profenrich.drop_model(name) FROM profenrich.models;
DROP TABLE days, people;
