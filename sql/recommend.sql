-- Recommending: from rows of who took what to items for users.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = notice;
CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;

-- 300 users of three tastes, 40 items: i00 to i03 everybody's, the others of one taste each.
CREATE TABLE orders AS
	SELECT 'c' || lpad(u::text, 4, '0') AS crm_id, 'i' || lpad(i::text, 2, '0') AS sku,
		   date '2026-01-01' + floor(200 * uniform(u * 1000 + i, 'day'))::int AS ordered_on,
		   1 + floor(3 * uniform(u * 1000 + i, 'quantity'))::int AS quantity
	  FROM generate_series(1, 300) AS u, generate_series(0, 39) AS i
	 WHERE uniform(u * 1000 + i, 'taken') < CASE WHEN i < 4 THEN 0.5 WHEN i % 3 = u % 3 THEN 0.45 ELSE 0.04 END;

-- Nothing is said about how: what does best on items held out is taken.
SELECT model, version, algorithm, rows = (SELECT count(*) FROM orders) AS rows, features, metric, metric_value BETWEEN 0.3 AND 0.9 AS as_expected,
	   quality, seconds > 0 AS timed
  FROM profenrich.train('next_product', 'recommendation', 'orders', options => '{"user": "crm_id", "item": "sku", "time": "ordered_on"}');
SELECT name, task, algorithm, target, features, quality, versions FROM profenrich.models;
SELECT key, objective, (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(seconds) AS k) AS phases FROM profenrich.model_versions;
SELECT candidate, algorithm, regularization, neighbours, chosen, ndcg_at_10 > 0.1 AS measured FROM profenrich.recommendation_candidates ORDER BY 1;
SELECT metric, CASE WHEN metric LIKE '%pairs' OR metric LIKE '%users' OR metric = 'items' THEN value END AS value, meaning
  FROM profenrich.evaluation('next_product') WHERE metric <> 'verdict';
SELECT a.value > b.value AS beats_popularity
  FROM profenrich.evaluation('next_product') a, profenrich.evaluation('next_product') b
 WHERE a.metric = 'ndcg_at_10' AND b.metric = 'popularity_ndcg_at_10';

-- Each way by itself. Without a time, what is held out is drawn.
SELECT version, algorithm FROM profenrich.train('next_product', 'recommendation', 'orders', 'sku', 'popularity', '{"user": "crm_id"}');
SELECT item, users, popularity, rank FROM profenrich.item_popularity('next_product') LIMIT 5;
SELECT sku, count(*) FROM orders GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5;
SELECT version, algorithm FROM profenrich.train('next_product', 'recommendation', 'orders', algorithm => 'item_item',
	options => '{"user": "crm_id", "item": "sku", "neighbours": "all", "holdout": 0}');
SELECT item, round(similarity::numeric, 6) AS similarity, rank FROM profenrich.similar_items('next_product', 'i05', 3);
-- The same by the definition.
WITH c AS (SELECT sku, count(*) AS n FROM orders GROUP BY 1)
SELECT b.sku, round((count(*) / sqrt(ca.n * cb.n))::numeric, 6) AS cosine
  FROM orders a JOIN orders b USING (crm_id) JOIN c AS ca ON ca.sku = a.sku JOIN c AS cb ON cb.sku = b.sku
 WHERE a.sku = 'i05' AND b.sku <> 'i05' GROUP BY b.sku, ca.n, cb.n ORDER BY cosine DESC, 1 LIMIT 3;
WITH c AS (SELECT sku, count(*) AS n FROM orders GROUP BY 1),
	 s AS (SELECT a.sku AS one, b.sku AS other, count(*) / sqrt(ca.n * cb.n) AS cosine
			 FROM orders a JOIN orders b USING (crm_id) JOIN c AS ca ON ca.sku = a.sku JOIN c AS cb ON cb.sku = b.sku
			WHERE a.sku <> b.sku GROUP BY a.sku, b.sku, ca.n, cb.n),
	 scores AS (SELECT o.crm_id, s.other AS item, sum(s.cosine) AS score FROM orders o JOIN s ON s.one = o.sku
				 WHERE NOT EXISTS (SELECT FROM orders x WHERE x.crm_id = o.crm_id AND x.sku = s.other) GROUP BY 1, 2),
	 ranked AS (SELECT *, row_number() OVER (PARTITION BY crm_id ORDER BY score DESC, item COLLATE "C") AS rank FROM scores)
SELECT count(*) > 1000 AS compared, bool_and(abs(r.score - p.score) < 1e-5) AS scores, count(*) FILTER (WHERE r.item <> p.item) AS other_items
  FROM ranked r, LATERAL profenrich.recommend('next_product', r.crm_id, 5) p WHERE p.rank = r.rank AND r.rank <= 5;

SELECT version, algorithm, quality FROM profenrich.train('next_product', 'recommendation', 'orders', algorithm => 'implicit_als',
	options => '{"user": "crm_id", "item": "sku", "time": "ordered_on", "weight": "quantity", "half_life": "90 days", "factors": 8, "regularization": 5, "seed": 3}');
SELECT regularization, chosen FROM profenrich.recommendation_candidates WHERE model = 'next_product' AND version = 4 ORDER BY candidate;
SELECT count(*) AS items, count(*) FILTER (WHERE (substr(item, 2)::int % 3) = 1 OR item <= 'i03') AS of_its_taste,
	   bool_and(basis = 'history') AS by_history, bool_or(o.sku IS NOT NULL) AS taken_before, bool_and(score BETWEEN -0.5 AND 1.5) AS scores
  FROM profenrich.recommend('next_product', 'c0001', 8) r LEFT JOIN orders o ON o.crm_id = 'c0001' AND o.sku = r.item;
SELECT count(*) FILTER (WHERE substr(item, 2)::int % 3 = 2) AS of_its_taste FROM profenrich.similar_items('next_product', 'i05', 8);

-- A user the model does not know gets what is popular, and is told so.
SELECT item, score, rank, basis FROM profenrich.recommend('next_product', 'nobody', 3, version => 2);
SELECT count(*), min(basis) FROM profenrich.recommend('next_product', NULL, 4);

-- Everybody at once: as one by one. A repeated key is answered once.
SELECT count(*) AS users, count(DISTINCT key) AS keys, min(cardinality(items)) AS least, bool_and(cardinality(items) = cardinality(scores)) AS scored,
	   min(model_version) AS version, bool_and(scored_at = now()) AS now
  FROM profenrich.recommend_all('next_product');
SELECT count(*) AS users, bool_and(a.items = b.items AND a.scores = b.scores) AS the_same
  FROM profenrich.recommend_all('next_product', 'orders', 'crm_id', 6) a
  JOIN LATERAL (SELECT array_agg(item ORDER BY rank) AS items, array_agg(score ORDER BY rank) AS scores
				  FROM profenrich.recommend('next_product', a.key, 6)) b ON true;
SELECT key, cardinality(items) AS items, basis FROM profenrich.recommend_all('next_product', $$VALUES ('c0007'), ('new'), ('c0007')$$, 'column1', 2) ORDER BY 1;

-- The same rows, options and seed give the same artifact, on one thread and on two, in whichever order they come.
SET client_min_messages = error;
SELECT version FROM profenrich.train('again', 'recommendation', 'SELECT * FROM orders ORDER BY md5(crm_id || sku)', 'sku', options => '{"user": "crm_id", "time": "ordered_on", "threads": 1}');
SELECT version FROM profenrich.train('again', 'recommendation', 'SELECT * FROM orders ORDER BY sku DESC', 'sku', options => '{"user": "crm_id", "time": "ordered_on", "threads": 2}');
SELECT count(DISTINCT artifact_checksum) FROM profenrich.model_versions WHERE model = 'again' OR (model = 'next_product' AND version = 1);
SET client_min_messages = notice;

-- What is left out is said.
SELECT version, rows, quality FROM profenrich.train('odd', 'recommendation',
	$$VALUES ('a', 'x', 1.0), ('a', 'y', 2), ('b', 'x', 3), (NULL, 'x', 1), ('b', NULL, 1), ('c', 'x', NULL), ('c', 'y', -1), ('b', 'z', 'NaN')$$,
	'column2', 'item_item', '{"user": "column1", "weight": "column3"}');
SELECT * FROM profenrich.evaluation('odd');
SELECT * FROM profenrich.recommend('odd', 'b');

-- As an enrichment's source: an array of strings.
CREATE VIEW next_products AS
	SELECT key AS crm_id, items AS next_products FROM profenrich.recommend_all('next_product', 'SELECT DISTINCT crm_id FROM orders', 'crm_id', 3);
SELECT crm_id, cardinality(next_products) FROM next_products ORDER BY 1 LIMIT 2;

-- Refusals.
SELECT profenrich.train('bad', 'recommendation', 'orders', options => '{"item": "sku"}');
SELECT profenrich.train('bad', 'recommendation', 'orders', options => '{"user": "crm_id"}');
SELECT profenrich.train('bad', 'recommendation', 'orders', 'sku', options => '{"user": "crm_id", "item": "quantity"}');
SELECT profenrich.train('bad', 'recommendation', 'orders', 'sku', options => '{"user": "crm", "item": "sku"}');
SELECT profenrich.train('bad', 'recommendation', 'orders', 'sku', 'logistic', '{"user": "crm_id"}');
SELECT profenrich.train('bad', 'recommendation', 'orders', 'sku', 'popularity', '{"user": "crm_id", "factors": 3}');
SELECT profenrich.train('bad', 'recommendation', 'orders', 'sku', 'implicit_als', '{"user": "crm_id", "factors": 1000}');
SELECT profenrich.train('bad', 'recommendation', 'orders', 'sku', options => '{"user": "crm_id", "half_life": "30 days"}');
SELECT profenrich.train('bad', 'recommendation', 'orders', 'sku', options => '{"user": "crm_id", "time": "sku"}');
SELECT profenrich.train('bad', 'recommendation', 'orders', 'sku', options => '{"user": "crm_id", "weight": "ordered_on"}');
SELECT profenrich.train('bad', 'recommendation', 'SELECT * FROM orders LIMIT 0', 'sku', options => '{"user": "crm_id"}');
SELECT profenrich.train('bad', 'recommendation', 'SELECT NULL::text AS crm_id, sku FROM orders', 'sku', options => '{"user": "crm_id"}');
SELECT profenrich.train('next_product', 'propensity', 'orders', 'quantity');
SET profenrich.training_memory = '16MB';
SELECT profenrich.train('bad', 'recommendation', $$SELECT i AS u, i AS s FROM generate_series(1, 100000) i$$, 's', 'implicit_als', options => '{"user": "u"}');
RESET profenrich.training_memory;
SELECT profenrich.predict('next_product', o) FROM orders o LIMIT 1;
SELECT * FROM profenrich.score('next_product', 'orders', 'crm_id');
SELECT * FROM profenrich.recommend('none', 'c0001');
SELECT * FROM profenrich.recommend('next_product', 'c0001', 0);
SELECT * FROM profenrich.recommend('next_product', 'c0001', version => 99);
SELECT * FROM profenrich.similar_items('next_product', 'i99');
SELECT * FROM profenrich.similar_items('next_product', 'i05', version => 2);
SELECT * FROM profenrich.recommend_all('next_product', 'orders');
SELECT * FROM profenrich.recommend_all('next_product', key => 'crm_id');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM profenrich.recommend_all('next_product', 'orders', 'nothing');
SELECT * FROM profenrich.recommend_all('next_product', 'SELECT NULL::text AS k', 'k');

-- Rights: what a user may take is the owner's to know and to give away; readers see what is popular, nobody else anything.
CREATE ROLE recommend_reader IN ROLE profenrich_reader;
CREATE ROLE recommend_nobody;
SET ROLE recommend_reader;
SELECT count(*) FROM profenrich.recommend('next_product', 'c0001', 3);
\echo :LAST_ERROR_SQLSTATE
SELECT DISTINCT basis FROM profenrich.recommend('next_product', NULL, 3);
SELECT count(*) FROM profenrich.similar_items('next_product', 'i05', 3), profenrich.item_popularity('next_product');
SELECT count(*) > 0 AS seen FROM profenrich.recommendation_candidates;
SELECT * FROM profenrich.recommend_all('next_product', 'orders', 'crm_id');
SELECT * FROM profenrich.recommend_all('next_product');
SELECT count(*) FROM profenrich.recommend_all('next_product', $$VALUES ('c0001'), ('c0002')$$, 'column1');
RESET ROLE;
CREATE FUNCTION next_of(crm_id text) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS
	$$SELECT count(*) FROM profenrich.recommend('next_product', crm_id, 3)$$;
SET ROLE recommend_reader;
SELECT next_of('c0001');
SET ROLE recommend_nobody;
SELECT * FROM profenrich.recommend('next_product', 'c0001', 3);
RESET ROLE;

SELECT profenrich.drop_model('next_product'), profenrich.drop_model('again'), profenrich.drop_model('odd');
DROP VIEW next_products;
DROP TABLE orders;
DROP FUNCTION uniform, next_of;
DROP ROLE recommend_reader, recommend_nobody;
DROP EXTENSION profenrich CASCADE;
