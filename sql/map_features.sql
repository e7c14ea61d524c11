-- Segment membership, maps and lists as features.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = notice;
SET timezone = 'UTC';
CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;

-- Who buys is in the segment gold, has the tag vip or few points.
CREATE TABLE profiles AS
WITH p AS (SELECT i, uniform(i, 's') AS luck, uniform(i, 'g') < 0.4 AS gold, uniform(i, 'x') < 0.2 AS gone, uniform(i, 'l') < 0.3 AS vip,
	uniform(i, 't') < 0.5 AS app, floor(uniform(i, 'p') * 100)::int AS points FROM generate_series(1, 4000) i),
memberships AS (SELECT p.*,
	CASE WHEN gold THEN jsonb_build_object('gold', jsonb_build_object('status', CASE WHEN gone THEN 'exited' WHEN i % 2 = 0 THEN 'existing' ELSE 'realized' END,
		'lastQualificationTime', to_char(timestamp '2024-06-01' - interval '1 day' * (i % 40), 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))) ELSE '{}' END ||
	CASE WHEN i % 3 = 0 THEN '{"news": {"status": "realized", "lastQualificationTime": "2024-05-01T02:00:00.000+02:00"}}' ELSE '{}' END::jsonb AS ups,
	CASE WHEN i % 5 = 0 THEN '{"news": {"status": "Realized", "lastQualificationTime": "2024-04-01"}}' ELSE '{}' END::jsonb AS aam FROM p)
SELECT 'c' || i AS crm_id, CASE WHEN i % 50 = 0 THEN NULL WHEN i % 51 = 0 THEN '{}' ELSE jsonb_build_object('ups', ups, 'AAM', aam) END AS segments,
	jsonb_strip_nulls(jsonb_build_object('points', points, 'app', app, 'city', CASE WHEN i % 7 <> 0 THEN (ARRAY['Bern', 'Wien', 'Rom'])[1 + i % 3] END)) AS traits,
	CASE WHEN i % 60 <> 0 THEN '["all"]'::jsonb || CASE WHEN vip THEN '["vip", 7]' ELSE '[]'::jsonb END END AS tags,
	CASE WHEN i % 4 = 0 THEN ARRAY['a', 'it''s'] WHEN i % 4 = 1 THEN ARRAY['b', NULL] WHEN i % 4 = 2 THEN '{}' END AS codes,
	'[{"sku": 1}]'::jsonb || CASE WHEN i % 2 = 0 THEN '[{"sku": 2}]' ELSE '[]'::jsonb END AS basket,
	'{"a": {"b": {"c": 1}}}'::jsonb AS nested,
	luck < 0.05 + CASE WHEN gold AND NOT gone AND i % 50 <> 0 THEN 0.5 ELSE 0 END + CASE WHEN vip THEN 0.25 ELSE 0 END + CASE WHEN points < 30 THEN 0.15 ELSE 0 END AS bought
FROM memberships;

\set options '{"key": "crm_id", "trees": 30, "features": {"treatment": {"segments": "segment_days"}}}'
SELECT rows, features, metric, metric_value > 0.75 AS learnt FROM profenrich.train('maps', 'propensity', 'profiles', 'bought', options => :'options');
SELECT feature FROM profenrich.feature_importance('maps') ORDER BY gain DESC LIMIT 1;
SELECT feature FROM profenrich.feature_importance('maps') ORDER BY feature COLLATE "C";

-- The same columns by hand, in the model's order: a model of them predicts the same, to the last bit.
CREATE VIEW columns_by_hand AS SELECT crm_id, bought, e.* FROM profiles, LATERAL (SELECT
	segments IS NOT NULL AND coalesce(segments #>> '{ups,gold,status}' <> 'exited', false) AS gold, segments #> '{ups,news}' IS NOT NULL AS ups, segments #> '{AAM,news}' IS NOT NULL AS aam) m,
	LATERAL (SELECT CASE WHEN segments IS NOT NULL THEN gold END AS "segments['gold']",
	CASE WHEN gold THEN extract(epoch FROM timestamptz '2024-06-01' - (segments #>> '{ups,gold,lastQualificationTime}')::timestamptz)::float8 / 86400 END AS "segments['gold'] days",
	CASE WHEN segments IS NOT NULL THEN ups END AS "segments['ups/news']", CASE WHEN ups THEN 31 END AS "segments['ups/news'] days",
	CASE WHEN segments IS NOT NULL THEN aam END AS "segments['AAM/news']", CASE WHEN aam THEN 61 END AS "segments['AAM/news'] days",
	(traits -> 'points')::int AS "traits.points", (traits -> 'app')::boolean AS "traits.app", traits ->> 'city' AS "traits.city",
	jsonb_array_length(tags) AS "length(tags)", tags ? 'all' AS "tags['all']", tags ? 'vip' AS "tags['vip']", cardinality(codes) AS "length(codes)",
	codes @> '{a}' AS "codes['a']", codes @> '{b}' AS "codes['b']", codes @> '{it''s}' AS "codes['it's']", jsonb_array_length(basket) AS "length(basket)") e;
SELECT format('CREATE VIEW by_hand AS SELECT crm_id, bought, %s FROM columns_by_hand', string_agg(quote_ident(f ->> 'name'), ', ' ORDER BY place))
	FROM profenrich.model_version, jsonb_array_elements(features) WITH ORDINALITY AS e(f, place) WHERE model = 'maps' \gexec
SELECT features FROM profenrich.train('hand', 'propensity', 'by_hand', 'bought',
	options => '{"key": "crm_id", "trees": 30}');
SELECT count(*), count(*) FILTER (WHERE s.prediction = h.prediction) AS same, count(*) FILTER (WHERE s.prediction = profenrich.predict('maps', p)) AS as_predict
	FROM profenrich.score('maps', 'profiles', 'crm_id') s JOIN profenrich.score('hand', 'by_hand', 'crm_id') h USING (key) JOIN profiles p ON p.crm_id = key;
-- And a linear one.
SELECT features FROM profenrich.train('maps_linear', 'propensity', 'profiles', 'bought', 'logistic',
	'{"key": "crm_id", "features": {"treatment": {"segments": "segment_days"}}}');
SELECT features FROM profenrich.train('hand_linear', 'propensity', 'by_hand', 'bought', 'logistic', '{"key": "crm_id"}');
SELECT count(*) FILTER (WHERE abs(profenrich.predict('maps_linear', p) - profenrich.predict('hand_linear', h)) < 1e-12) AS same FROM profiles p JOIN by_hand h USING (crm_id);

-- Reasons are named and readable. What training never saw changes nothing.
SELECT feature, value FROM profiles p, profenrich.explain('maps', p, 20) WHERE crm_id = 'c2' AND feature ~ 'gold|vip|city|length.basket' ORDER BY 1;
SELECT profenrich.predict('maps', a) = profenrich.predict('maps', b) AS same FROM profiles a, LATERAL (SELECT crm_id, jsonb_set(segments, '{ups,unheard}', '{"status": "realized"}') AS segments,
	traits || '{"unheard": 5}' AS traits, tags, codes, basket FROM profiles WHERE crm_id = a.crm_id) b WHERE a.crm_id = 'c1';
SELECT profenrich.predict('maps', a) BETWEEN 0 AND 1 AS between FROM (SELECT '[1]'::jsonb AS segments, '"text"'::jsonb AS traits, '{}'::jsonb AS tags, NULL::text[] AS codes, '3'::jsonb AS basket) a;
SELECT profenrich.predict('maps', a) FROM (SELECT 'x'::text AS segments, '{}'::jsonb AS traits, '[]'::jsonb AS tags, NULL::text[] AS codes, '[]'::jsonb AS basket) a;

-- With a snapshot date days count to it; without the option there are none. A map below the namespace.
SELECT features FROM profenrich.train('dated', 'propensity', 'SELECT crm_id, bought, segments -> ''ups'' AS ups, date ''2024-06-11'' AS snapshot_date FROM profiles', 'bought',
	options => '{"key": "crm_id", "trees": 5, "features": {"treatment": {"ups": "segment_days"}}}');
SELECT feature, value FROM (SELECT segments -> 'ups' AS ups, date '2024-06-21' AS snapshot_date FROM profiles WHERE crm_id = 'c24') p, profenrich.explain('dated', p, 9) ORDER BY 1;
SELECT features FROM profenrich.train('plain', 'propensity', 'SELECT crm_id, bought, segments FROM profiles', 'bought', options => '{"key": "crm_id", "trees": 5}');
-- Only the length; nothing at all; what a column cannot be.
SELECT features FROM profenrich.train('lengths', 'propensity', 'SELECT crm_id, bought, tags FROM profiles', 'bought', options => '{"key": "crm_id", "trees": 5, "features": {"treatment": {"tags": "length"}}}');
SELECT features FROM profenrich.train('empty', 'propensity', 'SELECT bought, ''{}''::jsonb AS nothing FROM profiles', 'bought');
SELECT features FROM profenrich.train('wrong', 'propensity', 'SELECT bought, tags FROM profiles', 'bought', options => '{"features": {"treatment": {"tags": "segments"}}}');
SELECT features FROM profenrich.train('wrong', 'propensity', 'SELECT bought, crm_id FROM profiles', 'bought', options => '{"features": {"treatment": {"crm_id": "list"}}}');
SELECT features FROM profenrich.train('wrong', 'propensity', 'SELECT bought, traits FROM profiles', 'bought', options => '{"features": {"treatment": {"traits": "key_text"}}}');

DROP TABLE profiles CASCADE;
DROP FUNCTION uniform;
DROP EXTENSION profenrich CASCADE;
