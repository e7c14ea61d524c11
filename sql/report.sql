-- report(): a page of any version, whatever its figures are.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = warning;
CREATE FUNCTION parts(page text) RETURNS text[] LANGUAGE sql
	RETURN (SELECT array_agg(m[2] ORDER BY n) FROM regexp_matches(page, '<h([23])>([^<]*)', 'g') WITH ORDINALITY AS r (m, n));

-- Predictions of which one is a thousand million times as large as all others.
CREATE TABLE spent AS SELECT i AS id, CASE WHEN i IN (7, 1000, 2000) THEN 1e12 ELSE (i % 7)::float8 END AS visits FROM generate_series(1, 3000) AS i;
ALTER TABLE spent ADD amount float8;
UPDATE spent SET amount = CASE WHEN visits > 100 THEN 3 ELSE 1 END * visits;
SELECT version FROM profenrich.train('far', 'value', 'spent', 'amount', 'linear', '{"key": "id"}');
SELECT max(prediction) / percentile_disc(0.5) WITHIN GROUP (ORDER BY prediction) > 1e9 AS far FROM profenrich.score_distribution('far');
SELECT parts(report), report ~* '\m(nan|inf)\M' AS no_number FROM profenrich.report('far');

-- Predictions so close together that no double lies between them.
UPDATE spent SET amount = 9e16 + CASE WHEN id % 7 > 3 THEN 16 ELSE 0 END, visits = id % 7;
SELECT version FROM profenrich.train('near', 'value', 'spent', 'amount', 'linear', '{"key": "id"}');
SELECT length(report) < 100000 AS short, report ~* '\m(nan|inf)\M' AS no_number FROM profenrich.report('near');

-- A recommendation, which has no score, with what was tried.
CREATE TABLE orders AS SELECT 'c' || i % 100 AS crm_id, 's' || i % 100 * 3 % 20 + i / 100 AS sku, i AS day FROM generate_series(0, 799) AS i;
SELECT quality FROM profenrich.train('next', 'recommendation', 'orders', algorithm => 'item_item', options => '{"user": "crm_id", "item": "sku", "time": "day", "neighbours": 5}');
SELECT parts(report) FROM profenrich.report('next');
SELECT regexp_matches(report, '<td class="name">(popularity|item_item)</td><td>(yes|)</td><td class="n">(\d*)', 'g') FROM profenrich.report('next');

-- Tasks without a target.
CREATE TABLE customers AS SELECT i % 4 AS frequency, CASE WHEN i % 4 = 0 THEN 0 ELSE 1 + i % 20 END AS recency, 21 + i % 10 AS age FROM generate_series(1, 200) AS i;
SELECT quality FROM profenrich.train('orders', 'lifetime_value', 'customers', options => '{"unit": "week"}');
SELECT parts(report) FROM profenrich.report('orders');
SELECT quality FROM profenrich.train('alike', 'segment', 'SELECT visits FROM spent', options => '{"clusters": 3}');
SELECT parts(report) FROM profenrich.report('alike');
SELECT profenrich.report('nothing');
\echo :LAST_ERROR_SQLSTATE

DROP TABLE spent, orders, customers;
DROP FUNCTION parts;
DROP EXTENSION profenrich CASCADE;
