-- Engagement: points from events by weight, half-life, daily cap and window, against the same in SQL.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = notice;
SET timezone = 'UTC';
CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;
CREATE TABLE events AS
	SELECT 'c' || floor(200 * uniform(i, 'c') * uniform(i, 'd')) AS crm_id,
		   timestamptz '2026-01-01' + 150 * uniform(i, 't') * interval '1 day' AS at,
		   (ARRAY['open', 'open', 'open', 'click', 'purchase', 'bounce'])[1 + floor(6 * uniform(i, 'e'))::int] AS event_type
	  FROM generate_series(1, 20000) AS i;
-- A robot opens 300 mails in an hour.
INSERT INTO events SELECT 'robot', timestamptz '2026-05-20 10:00' + i * interval '10 s', 'open' FROM generate_series(1, 300) AS i;

SELECT model, version, algorithm, rows, features, metric, metric_value, quality
  FROM profenrich.train('engaged', task => 'engagement', source => 'events', options => '{"key": "crm_id", "time": "at", "type": "event_type",
	"weights": {"open": 1, "click": 3, "purchase": 10}, "half_life": "30 days", "daily_cap": 20, "window": "90 days", "as_of": "2026-05-31"}');
SELECT metric, round(value::numeric, 3) AS value, meaning FROM profenrich.evaluation('engaged');

-- The same by hand.
CREATE VIEW by_hand AS
	WITH weights (type, weight) AS (VALUES ('open', 1), ('click', 3), ('purchase', 10)),
	days AS (SELECT crm_id, event_type, date_trunc('day', at) AS day, count(*) AS n, sum(0.5 ^ (extract(epoch FROM timestamptz '2026-05-31' - at) / 86400 / 30)) AS worth
			   FROM events WHERE at <= '2026-05-31' AND at > timestamptz '2026-05-31' - interval '90 days' GROUP BY 1, 2, 3)
	SELECT crm_id, sum(weight * worth * least(1, 20.0 / n)) AS points FROM days JOIN weights ON type = event_type GROUP BY 1;
SELECT count(*) AS customers, count(*) FILTER (WHERE e.points = 0) AS without_points, bool_and(abs(e.points - coalesce(h.points, 0)) < 1e-9) AS same_points,
	   bool_and(e.last_event = (SELECT max(at) FROM events WHERE crm_id = e.key)) AS same_last,
	   bool_and(e.events = (SELECT count(*) FROM events WHERE crm_id = e.key AND at > timestamptz '2026-05-31' - interval '90 days')) AS same_events
  FROM profenrich.engagement_points('engaged', 'events', '2026-05-31') e LEFT JOIN by_hand h ON h.crm_id = e.key;
-- Score and percentile are the rank among those with points; tiers begin above percentiles 50, 80 and 95.
SELECT tier, min(percentile), max(percentile), count(*), bool_and(CASE tier WHEN 'low' THEN percentile <= 50 WHEN 'medium' THEN percentile BETWEEN 51 AND 80 WHEN 'high' THEN percentile BETWEEN 81 AND 95 ELSE percentile > 95 END) AS as_said
  FROM profenrich.engagement_points('engaged', 'events', '2026-05-31') GROUP BY 1 ORDER BY 2;
SELECT key, round(points::numeric, 3) AS points, score, percentile, bucket, tier, events, last_event FROM profenrich.engagement_points('engaged', 'events', '2026-05-31') WHERE key IN ('c0', 'c150', 'robot') ORDER BY 1;

-- By formula: 60 days at a half-life of 30 are a quarter; at 90 days the window is over; what is to come does not count.
SELECT key, points, events FROM profenrich.engagement_points('engaged', $$SELECT * FROM (VALUES
	('a', timestamptz '2026-05-31' - interval '60 days', 'open'), ('b', '2026-05-31', 'click'), ('c', timestamptz '2026-05-31' - interval '30 days', 'purchase'),
	('d', timestamptz '2026-05-31' - interval '90 days', 'open'), ('e', timestamptz '2026-05-31' - interval '89 days 23:59:59', 'open'),
	('f', timestamptz '2026-05-31' + interval '1 s', 'open'), ('g', '2026-05-31', 'unknown'), ('h', '2026-05-31', NULL)) AS v (crm_id, at, event_type)$$, '2026-05-31') ORDER BY 1;
-- The cap is by type and day: 20 of 40 opens and all 5 clicks, and the next day again.
SELECT key, round(points::numeric, 6) AS points FROM profenrich.engagement_points('engaged', $$SELECT 'x' AS crm_id, timestamptz '2026-05-30' AS at, CASE WHEN i <= 40 THEN 'open' ELSE 'click' END AS event_type FROM generate_series(1, 45) AS i
	UNION ALL SELECT 'x', '2026-05-31', 'open' FROM generate_series(1, 30)$$, '2026-05-31');
SELECT round((35 * 0.5 ^ (1 / 30.0) + 20)::numeric, 6) AS points;
-- The other way round, and as counts: the same.
SELECT bool_and(abs(a.points - b.points) < 1e-9) AS same FROM profenrich.engagement_points('engaged', 'SELECT * FROM events ORDER BY at DESC', '2026-05-31') a
  JOIN profenrich.engagement_points('engaged', 'events', '2026-05-31') b USING (key);
SELECT quality FROM profenrich.train('counted', 'engagement', 'SELECT crm_id, at, event_type, 3 AS n FROM events', options => '{"key": "crm_id", "time": "at", "type": "event_type", "count": "n", "weights": {"open": 1},
	"other_weight": 0.5, "half_life": "week", "daily_cap": 0, "as_of": "2026-05-31", "tiers": {"hot": 90, "cold": 0, "warm": 40}}');
SELECT tier, count(*) > 3 AS some, min(percentile), max(percentile) FROM profenrich.engagement_points('counted', 'SELECT crm_id, at, event_type, 3 AS n FROM events', '2026-05-31') GROUP BY 1 ORDER BY 3;
SELECT bool_and(abs(e.points - h.points) < 1e-9) AS same FROM profenrich.engagement_points('counted', 'SELECT crm_id, at, event_type, 3 AS n FROM events', '2026-05-31') e
  JOIN (SELECT crm_id, sum(3 * CASE event_type WHEN 'open' THEN 1 ELSE 0.5 END * 0.5 ^ (extract(epoch FROM timestamptz '2026-05-31' - at) / 86400 / 7)) AS points FROM events
		 WHERE at > timestamptz '2026-05-31' - interval '90 days' GROUP BY 1) h ON h.crm_id = e.key;

-- A day later all is worth less, and the scores are of the same distribution.
SELECT round((b.points / a.points)::numeric, 6) AS kept, 0.5 ^ (1 / 30.0) AS of_one_day, b.score <= a.score AS not_higher FROM profenrich.engagement_points('engaged', 'SELECT * FROM events WHERE at > ''2026-05-01''', '2026-05-31') a
  JOIN profenrich.engagement_points('engaged', 'SELECT * FROM events WHERE at > ''2026-05-01''', '2026-06-01') b USING (key) WHERE key = 'c50';
-- Its points are a row like any other.
SELECT s.key, round(s.prediction::numeric, 3) AS prediction, s.score, s.percentile, s.bucket, s.detail, profenrich.classify('engaged', e), e.tier
  FROM profenrich.score('engaged', 'SELECT * FROM profenrich.engagement_points(''engaged'', ''events'', ''2026-05-31'')', 'key') s
  JOIN profenrich.engagement_points('engaged', 'events', '2026-05-31') e USING (key) WHERE key IN ('c0', 'c150', 'robot') ORDER BY 1;
SELECT count(*) AS rows, count(*) FILTER (WHERE s.score <> e.score OR s.prediction <> e.points) AS different
  FROM profenrich.score('engaged', 'SELECT * FROM profenrich.engagement_points(''engaged'', ''events'', ''2026-05-31'')', 'key') s
  JOIN profenrich.engagement_points('engaged', 'events', '2026-05-31') e USING (key);
-- Every event the same; events without key or time are left out.
SELECT rows, metric_value FROM profenrich.train('plain', 'engagement', 'SELECT NULLIF(i, 3) AS who, CASE WHEN i <> 4 THEN date ''2026-05-01'' END AS day FROM generate_series(1, 10) AS i', options => '{"key": "who", "time": "day", "as_of": "2026-05-31"}');
SELECT name, task, algorithm, target, rows, features, quality FROM profenrich.models ORDER BY 1;

-- What the errors say.
SELECT profenrich.train('x', 'engagement', 'events', options => '{"key": "crm_id"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'engagement', 'events', target => 'at', options => '{"key": "crm_id", "time": "at"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'engagement', 'events', options => '{"key": "crm_id", "time": "when"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'engagement', 'events', options => '{"key": "crm_id", "time": "event_type"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'engagement', 'events', options => '{"key": "crm_id", "time": "at", "weights": {"open": 1}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'engagement', 'events', options => '{"key": "crm_id", "time": "at", "type": "event_type", "weights": {"open": "much"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'engagement', 'events', options => '{"key": "crm_id", "time": "at", "half_life": 30}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'engagement', 'events', options => '{"key": "crm_id", "time": "at", "half_life": "30"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'engagement', 'events', options => '{"key": "crm_id", "time": "at", "tiers": {"warm": 10}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'engagement', 'events', options => '{"key": "crm_id", "time": "at", "decay": 1}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'engagement', 'events', options => '{"key": "crm_id", "time": "at", "as_of": "today or so"}');
SELECT profenrich.train('x', 'engagement', 'events', options => '{"key": "crm_id", "time": "at", "as_of": "2025-01-01"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'engagement', 'SELECT 1 AS k, now() AS at, -1 AS n', options => '{"key": "k", "time": "at", "count": "n"}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.engagement_points('nobody', 'events');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.engagement_points('engaged', 'SELECT 1 AS crm_id');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.predict('engaged', e) FROM (SELECT 1 AS a) AS e;
\echo :LAST_ERROR_SQLSTATE
SET profenrich.training_memory = '16MB';
SELECT count(*) FROM profenrich.engagement_points('engaged', 'SELECT i AS crm_id, timestamptz ''2026-05-31'' AS at, ''open'' AS event_type FROM generate_series(1, 1000000) AS i', '2026-05-31');
\echo :LAST_ERROR_SQLSTATE

DROP TABLE events CASCADE;
DROP FUNCTION uniform;
DROP EXTENSION profenrich CASCADE;
