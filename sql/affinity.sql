-- Affinity: which of several classes, with what probability.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = notice;
CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;
CREATE TABLE profiles AS
	SELECT i AS id, floor(80 * uniform(i, 'age'))::int AS age, (ARRAY['web', 'app', 'shop'])[1 + floor(3 * uniform(i, 'channel'))::int] AS channel,
		   uniform(i, 'noise') AS noise
	  FROM generate_series(1, 4000) AS i;
ALTER TABLE profiles ADD likes text, ADD code int;
UPDATE profiles SET likes = CASE
	WHEN uniform(id, 'y') < 0.2 THEN (ARRAY['news', 'sports', 'travel'])[1 + floor(3 * uniform(id, 'z'))::int]
	WHEN age < 30 THEN 'sports' WHEN channel = 'web' THEN 'news' ELSE 'travel' END;
UPDATE profiles SET likes = 'chess' WHERE id <= 4;
UPDATE profiles SET likes = NULL WHERE id % 100 = 0;
UPDATE profiles SET code = length(likes);

-- A text of more than two values is an affinity by itself; classes of hardly any rows are left out, and named.
SELECT model, version, algorithm, rows, features, metric, metric_value BETWEEN 0.8 AND 0.95 AS as_expected, quality
  FROM profenrich.train('likes', source => 'profiles', target => 'likes', options => '{"key": "id", "trees": 30, "features": {"exclude": ["code"]}}');
SELECT task, objective, positives, positive_label, threshold, holdout FROM profenrich.model_versions;
SELECT metric, CASE WHEN metric LIKE '%rows' THEN value ELSE sign(value) END AS value, left(meaning, 70) AS meaning FROM profenrich.evaluation('likes');

-- One profile: classify names the most probable class, predict says how probable, affinities gives all of them.
CREATE VIEW two AS SELECT * FROM profiles WHERE id IN (5, 7);
SELECT id, age, channel, profenrich.classify('likes', p) AS class, profenrich.predict('likes', p) BETWEEN 0.6 AND 1 AS probable,
	   abs((SELECT sum(value::float8) FROM jsonb_each_text(profenrich.affinities('likes', p))) - 1) < 1e-9 AS sum_is_one,
	   (SELECT array_agg(key ORDER BY key) FROM jsonb_each_text(profenrich.affinities('likes', p))) AS classes,
	   (profenrich.affinities('likes', p) ->> profenrich.classify('likes', p))::float8 = profenrich.predict('likes', p) AS same
  FROM two p ORDER BY id;
SELECT id, jsonb_object_keys(profenrich.affinities('likes', p, top => 1)) = profenrich.classify('likes', p) AS same FROM two p ORDER BY id;
SELECT bool_and(jsonb_typeof(value) = 'number' AND value::text ~ '^\d+$') AS whole, max(value::int) <= 100 AS percents
  FROM profiles p, jsonb_each(profenrich.affinity_percents('likes', p)) WHERE id <= 50;
SELECT avg((profenrich.classify('likes', p) = CASE WHEN age < 30 THEN 'sports' WHEN channel = 'web' THEN 'news' ELSE 'travel' END)::int) > 0.97 AS as_made
  FROM profiles p WHERE age NOT BETWEEN 28 AND 32 AND id <= 200;
SELECT feature FROM two p, profenrich.explain('likes', p, 2) WHERE id = 5;
SELECT profenrich.affinities('likes', NULL::profiles), profenrich.classify('likes', NULL::profiles);
-- Whole sources: the classes are in detail.
SELECT bool_and(detail ->> profenrich.classify('likes', p) = round(prediction::numeric, 6)::float8::text) AS same, count(*)
  FROM profenrich.score('likes', 'profiles', 'id') s JOIN profiles p ON p.id = s.key::int WHERE p.id <= 100;

-- Reasons are those of the class that is predicted, by trees and by multinomial.
SELECT algorithm, metric FROM profenrich.train('likes_linear', 'affinity', 'profiles', 'likes', 'multinomial', '{"key": "id", "features": {"exclude": ["code"]}}');
SELECT m, s.rows, s.largest, s.sum_is_one, s.as_explain, s.why
  FROM unnest(ARRAY['likes', 'likes_linear']) AS m, LATERAL (
	SELECT count(*) AS rows, bool_and((SELECT max(value::float8) FROM jsonb_each_text(detail)) = round(prediction::numeric, 6)::float8) AS largest,
		   bool_and(abs((SELECT sum(value::float8) FROM jsonb_each_text(detail)) - 1) < 1e-5) AS sum_is_one,
		   bool_and((SELECT array_agg(r ->> 'feature' ORDER BY n) FROM jsonb_array_elements(reasons) WITH ORDINALITY AS e (r, n))
				  = (SELECT array_agg(feature) FROM profenrich.explain(m, p, 2))) AS as_explain,
		   bool_and((SELECT (r ->> 'contribution')::float8 FROM jsonb_array_elements(reasons) AS r
					  WHERE r ->> 'feature' = CASE WHEN age < 30 THEN 'age' ELSE 'channel' END) > 0) AS why
	  FROM profenrich.score(m, 'SELECT * FROM profiles WHERE age NOT BETWEEN 15 AND 50 AND id <= 300', 'id', reasons => 2) AS s
	  JOIN profiles p ON p.id = s.key::int
	 WHERE profenrich.classify(m, p) = CASE WHEN age < 30 THEN 'sports' WHEN channel = 'web' THEN 'news' ELSE 'travel' END) AS s;

-- How well each class is told, and which are taken for which.
SELECT class, rows > 100 AS rows, round(share::numeric, 1) AS share, auc > 0.75 AS auc, precision > 0.7 AS precision, recall > 0.7 AS recall FROM profenrich.class_table('likes');
SELECT count(*), sum(weight) = (SELECT value FROM profenrich.evaluation('likes') WHERE metric = 'rows') AS all_rows,
	   sum(weight) FILTER (WHERE actual = predicted) / sum(weight) = (SELECT value FROM profenrich.evaluation('likes') WHERE metric = 'accuracy') AS accuracy
  FROM profenrich.confusion_matrix('likes');
SELECT model, version, count(*) FROM profenrich.class_table GROUP BY 1, 2 ORDER BY 1, 2;
SELECT model, version, count(*) FROM profenrich.confusion_matrix GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*), min(prediction) > 0.3 AS lowest, max(prediction) <= 1 AS highest, bool_and(prediction >= before) AS rising
  FROM (SELECT *, lag(prediction, 1, 0) OVER (ORDER BY percent) AS before FROM profenrich.score_distribution('likes')) AS d;
-- On other rows; a class that the version does not know is skipped.
SELECT metric, abs(n.value - e.value) < 0.1 AS about_the_same
  FROM profenrich.evaluate('likes', 'SELECT * FROM profiles WHERE id > 3000', 'likes') n JOIN profenrich.evaluation('likes') e USING (metric)
 WHERE metric IN ('macro_auc', 'accuracy', 'log_loss');
SELECT value FROM profenrich.evaluate('likes', 'SELECT * FROM profiles WHERE id < 50', 'likes') WHERE metric = 'rows';

-- Whole numbers as classes, by name of the task.
SELECT metric, quality FROM profenrich.train('code', 'affinity', 'profiles', 'code', options => '{"trees": 5, "features": {"include": ["age", "channel"]}}');
SELECT array_agg(class ORDER BY class) FROM profenrich.class_table('code');
-- Two texts are yes and no unless the task says otherwise.
SELECT metric FROM profenrich.train('two', 'affinity', 'SELECT age, channel, likes = ''news'' AS news FROM profiles', 'news', options => '{"trees": 5}');
SELECT array_agg(class ORDER BY class) FROM profenrich.class_table('two');

-- What tells the classes too well.
SELECT feature, round(strength::numeric, 2) > 0.9 AS strong, measure, class, suspicious FROM profenrich.leakage_scan('profiles', 'likes', options => '{"key": "id"}');

-- What the errors say.
SELECT profenrich.affinities('likes', p, 0) FROM two p;
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('churn', source => 'SELECT age, id % 3 = 0 AS churned FROM profiles', target => 'churned', options => '{"trees": 2}') IS NOT NULL AS trained;
SELECT profenrich.affinities('churn', p) FROM two p;
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('likes', source => 'SELECT id AS x, ''c'' || (id % 300) AS c FROM profiles', target => 'c', options => '{"features": {"include": "x"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('one', 'affinity', 'SELECT age, ''a'' AS c FROM profiles', 'c');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('likes', 'affinity', 'profiles', 'likes', options => '{"calibrate": "platt"}');
\echo :LAST_ERROR_SQLSTATE

DROP TABLE profiles CASCADE;
DROP FUNCTION uniform;
DROP EXTENSION profenrich CASCADE;
