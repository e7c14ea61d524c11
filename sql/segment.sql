-- Segments: train(), what they are like, and which one a profile belongs to.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = notice;
CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;
-- Three kinds of customers: half seldom come, a third are on pro and spend, a sixth is new and young.
CREATE TABLE customers AS
	SELECT 'c' || i AS crm_id, kind,
		   CASE kind WHEN 'seldom' THEN 2 WHEN 'pro' THEN 20 ELSE 12 END + floor(4 * uniform(i, 'v'))::int AS visits,
		   round((CASE kind WHEN 'seldom' THEN 30 WHEN 'pro' THEN 300 ELSE 60 END * (0.8 + 0.4 * uniform(i, 's')))::numeric, 2) AS spend,
		   CASE WHEN uniform(i, 'gap') > 0.1 THEN CASE kind WHEN 'young' THEN 22 ELSE 50 END + floor(8 * uniform(i, 'a'))::int END AS age,
		   CASE WHEN uniform(i, 'p') < 0.98 THEN CASE kind WHEN 'pro' THEN 'pro' ELSE 'basic' END ELSE 'plus' END AS plan,
		   uniform(i, 'n') < 0.02 AS complained
	  FROM (SELECT i, (ARRAY['seldom', 'seldom', 'seldom', 'pro', 'pro', 'young'])[1 + i % 6] AS kind FROM generate_series(1, 3000) AS i) AS t;
CREATE VIEW profiles AS SELECT crm_id, visits, spend, age, plan, complained FROM customers;

-- The number of segments is found.
SELECT model, version, algorithm, rows, features, metric, round(metric_value::numeric, 2) AS silhouette, quality
  FROM profenrich.train('groups', task => 'segment', source => 'profiles', options => '{"key": "crm_id", "features": {"exclude": ["complained"]}}');
SELECT metric, round(value::numeric, 3) AS value, meaning FROM profenrich.evaluation('groups');
-- What they are like, the most telling features first.
SELECT cluster, segment, rows, round(share::numeric, 3) AS share, feature, level, round(value::numeric, 2) AS value, round(overall::numeric, 2) AS overall,
	   round(difference::numeric, 2) AS difference, round(missing::numeric, 2) AS missing
  FROM profenrich.segments('groups');
-- The means are those of the rows.
SELECT max(abs(s.value - t.mean)) < 1e-6 AS same_means, max(abs(s.overall - t.overall)) < 1e-6 AS same_overall, sum(s.rows) AS rows
  FROM profenrich.segments('groups') s
  JOIN (SELECT profenrich.predict('groups', p)::int AS cluster, avg(spend) AS mean, (SELECT avg(spend) FROM profiles) AS overall FROM profiles p GROUP BY 1) t USING (cluster)
 WHERE s.feature = 'spend';
SELECT model, count(*) FROM profenrich.segments GROUP BY 1;
SELECT feature, treatment, levels, used, round(gain::numeric, 2) AS gain FROM profenrich.feature_importance('groups');
SELECT model, version, deployed, task, objective, target, key, rows, positives, threshold FROM profenrich.model_versions;

-- One profile, and all of them: the same answer, and it is the kind of the customer.
SELECT profenrich.predict('groups', p), profenrich.classify('groups', p) FROM profiles p WHERE crm_id IN ('c1', 'c3', 'c5') ORDER BY crm_id;
SELECT key, prediction, score, percentile, bucket, (SELECT jsonb_object_agg(k, round(v::numeric, 2)) FROM jsonb_each_text(detail) AS d(k, v)) AS detail, reasons, model_version
  FROM profenrich.score('groups', source => 'SELECT * FROM profiles WHERE crm_id IN (''c1'', ''c3'', ''c5'')', key => 'crm_id') ORDER BY key;
SELECT prediction, kind, count(*) FROM profenrich.score('groups', 'profiles', 'crm_id') s JOIN customers c ON c.crm_id = s.key GROUP BY 1, 2 ORDER BY 1, 3 DESC;
SELECT count(*) AS rows, count(*) FILTER (WHERE (s.detail ->> 'cluster')::int <> s.prediction) AS other_detail, count(*) FILTER (WHERE s.prediction <> profenrich.predict('groups', p)) AS other_predict
  FROM profenrich.score('groups', 'profiles', 'crm_id') s JOIN profiles p ON p.crm_id = s.key;
SELECT profenrich.score_into('groups', 'profiles', 'crm_id', 'group_scores');
SELECT prediction, count(*), count(score) AS scores FROM group_scores GROUP BY 1 ORDER BY 1;
-- A profile without values, and one of a plan that training never saw.
SELECT profenrich.predict('groups', r) BETWEEN 1 AND 3 AS somewhere FROM (SELECT NULL::int AS visits, NULL::numeric AS spend, NULL::int AS age, NULL::text AS plan, NULL::bool AS complained) AS r;
SELECT profenrich.classify('groups', r) FROM (SELECT 21 AS visits, 280::numeric AS spend, 51 AS age, 'family' AS plan, false AS complained) AS r;

-- As many as asked for; columns by name; weights; another scale.
SELECT version, features, quality FROM profenrich.train('groups', 'segment', 'profiles', options => '{"clusters": 2, "features": {"include": ["visits", "spend"]}, "scale": "robust", "deploy": false}');
SELECT count(DISTINCT cluster) FROM profenrich.segments('groups', 2);
SELECT rows, features FROM profenrich.train('weighted', 'segment', 'SELECT visits, spend, CASE WHEN visits < 10 THEN 1 ELSE 9 END AS w FROM customers', options => '{"clusters": 2, "weight": "w"}');
SELECT segment, rows, round(share::numeric, 3) AS share FROM profenrich.segments('weighted') WHERE feature = 'visits' ORDER BY cluster;
-- A rare yes is far from all others, and a segment of its own.
SELECT features FROM profenrich.train('rare', 'segment', 'profiles', options => '{"clusters": 4, "features": {"include": ["visits", "spend", "complained"]}}');
SELECT cluster, rows, value FROM profenrich.segments('rare') WHERE feature = 'complained' ORDER BY cluster;
-- The same rows, options and seed give the same artifact on one thread and on two.
SET client_min_messages = error;
SELECT count(*) FROM (SELECT profenrich.train('same', 'segment', 'profiles', options => jsonb_build_object('key', 'crm_id', 'features', '{"exclude": ["complained"]}'::jsonb, 'threads', n)) FROM generate_series(1, 2) AS n) AS t;
SELECT count(DISTINCT artifact_checksum) FROM profenrich.model_versions WHERE model = 'same' OR (model = 'groups' AND version = 1);
SET client_min_messages = notice;
-- Fewer different rows than segments.
SELECT rows, quality FROM profenrich.train('few', 'segment', 'SELECT i % 2 AS x FROM generate_series(1, 10) AS i', options => '{"clusters": 5}');

-- What the errors say.
SELECT profenrich.train('x', 'segment', 'profiles', target => 'spend');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'segment', 'profiles', algorithm => 'dbscan');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'segment', 'profiles', algorithm => 'logistic');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'segment', 'profiles', options => '{"clusters": 0}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'segment', 'profiles', options => '{"clusters": 2.5}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'segment', 'profiles', options => '{"scale": "log"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'segment', 'profiles', options => '{"trees": 10}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'segment', 'profiles', options => '{"positive": "yes"}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'segment', 'SELECT 1 AS a FROM generate_series(1, 5)');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'segment', 'SELECT 1 AS a WHERE false');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'segment', 'SELECT 1 AS a');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'segment', 'SELECT float8 ''infinity'' AS a FROM generate_series(1, 5)');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('x', 'segment', 'SELECT i AS a, -i AS w FROM generate_series(1, 5) AS i', options => '{"weight": "w"}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.score('groups', 'profiles', 'crm_id', reasons => 3);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.segments('nobody');
\echo :LAST_ERROR_SQLSTATE

DROP TABLE customers, group_scores CASCADE;
DROP FUNCTION uniform;
DROP EXTENSION profenrich CASCADE;
