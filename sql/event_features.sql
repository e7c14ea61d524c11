-- Features of profiles from a table of events, by a declaration.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';

CREATE TABLE orders (crm_id text, at timestamptz, amount numeric, channel text, product int);
INSERT INTO orders VALUES
	('a', '2024-05-31 23:59:59+00', 10.5, 'web', 1), ('a', '2024-05-20 12:00+00', 20, 'store', 2),
	('a', '2024-03-15 08:00+00', 7, 'web', 1), ('a', '2024-06-01 00:00+00', 99, 'web', 3),
	('b', '2024-05-02 00:00+00', 5, 'web', 1), ('b', '2024-05-01 23:00+00', NULL, NULL, 4),
	('c', '2024-06-10 00:00+00', 50, 'app', 5), ('d', '2023-01-01 00:00+00', 3, 'store', 2),
	(NULL, '2024-05-01 00:00+00', 1, 'web', 1), ('e', NULL, 1, 'web', 1), ('e', 'infinity', 1, 'web', 1);

SELECT profenrich.create_event_features('order_features', 'orders', 'crm_id', 'at', '{
	"event": "order", "windows": ["30 days", "90 days", "all"],
	"features": ["count", {"make": ["sum", "mean", "min", "max"], "of": "amount", "windows": ["30 days", "all"]},
		{"make": "distinct", "of": "product"}, {"make": ["days_since_last", "days_since_first"]},
		{"make": ["count", "share", "days_since_last"], "by": "channel", "top": 2, "windows": ["90 days"]},
		{"make": "share", "of": "amount", "by": "channel", "values": ["web"], "windows": ["all"]},
		{"make": "ratio", "windows": ["30 days"], "to": "90 days"},
		{"make": "ratio", "of": "amount", "windows": ["30 days"], "to": "previous"},
		{"make": "any", "windows": ["30 days"]}, {"make": "rfm", "of": "amount", "unit": "day"}]}',
	as_of => '2024-06-01');
SELECT * FROM order_features ORDER BY crm_id \gx
\d+ order_features

-- The same by hand: every row, and both ways round.
CREATE VIEW by_hand AS
SELECT crm_id, count(*) FILTER (WHERE age <= '30 days') AS orders_30d, count(*) FILTER (WHERE age <= '90 days') AS orders_90d,
	coalesce(sum(amount) FILTER (WHERE age <= '30 days'), 0)::float8 AS sum_amount_30d,
	(avg(amount) FILTER (WHERE age <= '30 days'))::float8 AS mean_amount_30d, min(amount)::float8 AS min_amount_all,
	count(DISTINCT product) FILTER (WHERE age <= '90 days') AS distinct_product_90d,
	min(extract(epoch FROM age))::float8 / 86400 AS days_since_last_order,
	count(*) FILTER (WHERE channel = 'web' AND age <= '90 days') AS orders_web_90d,
	count(*) FILTER (WHERE channel = 'web' AND age <= '90 days')::float8 / nullif(count(*) FILTER (WHERE age <= '90 days'), 0) AS share_web_90d,
	(sum(amount) FILTER (WHERE age <= '30 days') / nullif(coalesce(sum(amount) FILTER (WHERE age > '30 days' AND age <= '60 days'), 0), 0))::float8
		AS ratio_amount_30d_previous
FROM (SELECT *, '2024-06-01 00:00+00' - at AS age FROM orders WHERE at < '2024-06-01 00:00+00') past WHERE crm_id IS NOT NULL GROUP BY crm_id;
SELECT count(*) FROM (SELECT crm_id, orders_30d, orders_90d, sum_amount_30d, mean_amount_30d, min_amount_all, distinct_product_90d,
	days_since_last_order, orders_web_90d, share_web_90d, ratio_amount_30d_previous FROM order_features
	EXCEPT SELECT * FROM by_hand) differ;
SELECT count(*) AS profiles FROM by_hand;

-- Many anchors: strictly before each, and labels from it on; NULL while the window has not passed.
CREATE TABLE anchors AS SELECT k AS crm_id, d::date AS snapshot_date FROM unnest(ARRAY['a', 'b', 'nobody']) k,
	unnest(ARRAY['2024-05-20', '2024-05-21', '2024-06-01', '2024-06-05']) d;
INSERT INTO anchors VALUES ('a', '2024-06-01'), ('a', NULL);
SELECT * FROM profenrich.event_features('orders', 'crm_id', 'at', '{"event": "order", "features": ["count"],
	"labels": [{"make": ["any", "count"], "within": ["10 days"]}, {"make": "sum", "of": "amount", "within": "10 days"}, "days_until_next"]}',
	anchors => 'anchors') AS f(crm_id text, snapshot_date date, orders_all bigint, any_order_within_10d boolean,
	orders_within_10d bigint, sum_amount_within_10d float8, days_until_next_order float8) ORDER BY 1, 2;
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"event": "order", "features": ["count"],
	"labels": [{"make": ["any"], "within": ["10 days", "36 hours"]}]}', anchors => 'anchors');

-- Anchors to the second, keys of other types of integer, numeric keys by value.
SELECT * FROM profenrich.event_features('SELECT product::bigint AS id, at, product::numeric * 1.00 AS n FROM orders', 'id', 'at',
	'{"features": ["count"]}', anchors => $$SELECT id::smallint, at::timestamptz FROM (VALUES (1, '2024-05-31 23:59:59+00'), (1, '2024-05-31 23:59:59.000001+00')) AS v(id, at)$$)
	AS f(id smallint, at timestamptz, events_all bigint) ORDER BY 2;
SELECT * FROM profenrich.event_features('SELECT product * 1.00 AS id, at FROM orders', 'id', 'at', '{"features": ["count"]}',
	as_of => '2024-06-01') AS f(id numeric, events_all bigint) ORDER BY 1;

-- Beyond the memory of a hash table: the same in files. The order of events does not matter.
CREATE TABLE many AS SELECT 'user-' || (i * 7919 % 3001) AS crm_id, '2024-01-01'::timestamp + i % 180 * interval '1 day' AS at,
	(i % 1000) / 7.0 AS amount, i % 7 AS kind FROM generate_series(1, 60000) i;
CREATE FUNCTION many_features() RETURNS text LANGUAGE sql AS $$
	SELECT md5(string_agg(f::text, ',' ORDER BY crm_id, day)) FROM profenrich.event_features('many', 'crm_id', 'at',
	'{"windows": ["20 days", "60 days"], "features": [{"make": ["count", "sum"], "of": "amount"}, {"make": "distinct", "of": "kind"},
	{"make": "count", "by": "kind", "values": [0, 1, 2]}, {"make": "rfm", "of": "amount"}]}',
	anchors => 'SELECT DISTINCT crm_id, day FROM many, unnest(ARRAY[''2024-04-01'', ''2024-06-01''::date]) day') AS f(crm_id text, day date,
	count_amount_20d bigint, count_amount_60d bigint, sum_amount_20d float8, sum_amount_60d float8, distinct_kind_20d bigint,
	distinct_kind_60d bigint, events_0_20d bigint, events_0_60d bigint, events_1_20d bigint, events_1_60d bigint, events_2_20d bigint,
	events_2_60d bigint, frequency bigint, recency float8, age float8, monetary_value float8) $$;
SELECT many_features() AS in_memory \gset
SET work_mem = '64kB';
SET hash_mem_multiplier = 1;
SELECT many_features() = :'in_memory' AS in_files;
RESET work_mem;
RESET hash_mem_multiplier;
SELECT count(*), count(*) FILTER (WHERE r.frequency = f.frequency AND r.recency = f.recency AND r.age = f.age
	AND abs(coalesce(r.monetary_value, -1) - coalesce(f.monetary_value, -1)) <= 1e-9) AS same
FROM profenrich.rfm_summary('many', 'crm_id', 'at', 'amount', observation_end => '2024-04-30') r
	FULL JOIN profenrich.event_features('many', 'crm_id', 'at', '{"features": [{"make": "rfm", "of": "amount"}]}',
	as_of => '2024-05-01') AS f(crm_id text, frequency bigint, recency float8, age float8, monetary_value float8) ON f.crm_id = r.customer;

-- Before 2000, too; sums that cancel out are 0, whatever rounding is left, and shares of them NULL.
SELECT * FROM profenrich.event_features($$VALUES ('a', date '1998-01-01', 0.1), ('a', '1998-01-02', 0.2), ('a', '1998-01-03', -0.3), ('a', '1998-01-20', 5)$$,
	'column1', 'column2', '{"features": [{"make": "sum", "of": "column3"}, {"make": "share", "of": "column3", "by": "column1", "values": ["a"]}],
	"labels": [{"make": "any", "within": ["5 days", "11 days", "12 days"]}]}', as_of => '1998-01-10') AS f(column1 text, sum_column3_all float8,
	share_column3_a_all float8, any_event_within_5d bool, any_event_within_11d bool, any_event_within_12d bool);

-- Into a table, twice.
SELECT profenrich.event_features_into('feature_table', 'orders', 'crm_id', 'at', '{"features": ["count"]}', as_of => '2024-06-01');
SELECT profenrich.event_features_into('feature_table', 'orders', 'crm_id', 'at', '{"features": ["count"]}', as_of => '2024-05-01');
SELECT * FROM feature_table ORDER BY 1, 2;

-- Names: values in lower case, too long ones cut, none twice.
SELECT name FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"event": "order", "features": [
	{"make": "count", "by": "channel", "values": ["E-Mail & SMS", "e mail sms", "", "Büro", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]},
	{"make": "sum", "of": "amount", "as": "spend", "windows": ["2 weeks", "90 minutes"]}]}');

-- What is wrong is said.
\set VERBOSITY default
SELECT * FROM profenrich.event_features('orders', 'crm_id', 'at', '{"event": "order", "features": ["count"]}') AS f(crm_id text, orders bigint);
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": ["median"]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": [{"make": "sum"}]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": [{"make": "sum", "of": "channel"}]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": [{"make": "sum", "of": "amout"}]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": [{"make": "count", "windows": ["3 months"]}]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": [{"make": "count", "windows": ["30"]}]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": [{"make": "count", "by": "channel"}]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": ["count"], "window": ["1 day"]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": [{"make": "count", "within": "1 day"}]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"labels": [{"make": "any", "within": "all"}]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"labels": ["share"]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '[]');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'channel', '{"features": ["count"]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'at', 'at', '{"features": ["count"]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": ["count"]}', anchors => 'orders');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": ["count"]}', anchors => 'SELECT 1, DATE ''2024-01-01''');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": ["count"]}', '2024-01-01', 'anchors');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', '{"features": [{"make": "ratio"}]}');
SELECT * FROM profenrich.event_feature_columns('orders', 'crm_id', 'at', NULL);
\set VERBOSITY terse
DROP VIEW order_features, by_hand;
DROP FUNCTION many_features;
DROP TABLE orders, anchors, many, feature_table;
DROP EXTENSION profenrich;
