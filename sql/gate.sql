-- The gate: a refresh that moved too far from the one before is held, and loses nothing.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
CREATE SERVER gate_aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id 'ABC@AdobeOrg', sandbox 'prod');
CREATE SCHEMA gate_test;
SET search_path = gate_test;
SET profenrich.resend_gap = 0;
CREATE TABLE scores (crm_id text PRIMARY KEY, probability float8, score int, level int, bucket text);
CREATE PROCEDURE fill(shift float8) LANGUAGE sql AS $$
	TRUNCATE scores;
	INSERT INTO scores
	SELECT 'C-' || i, CASE WHEN i % 20 > 0 THEN round((abs(hashint4(i)::numeric) / 2147483648) ^ 2 + shift::numeric, 3) END,
	       (abs(hashint4(i + 7)) % 100 + 100 * shift)::int, i % 3, CASE WHEN (i * 7) % 10 < 10 * shift THEN 'high' ELSE 'low' END
	  FROM generate_series(1, 2000) AS i $$;
CREATE FUNCTION make(options jsonb) RETURNS void LANGUAGE sql AS $$
	SELECT profenrich.create_enrichment('gate', server => 'gate_aep', source => 'scores', identity_column => 'crm_id',
		namespace => 'CRMID', options => options) $$;
CREATE FUNCTION step(OUT changed bigint, OUT unchanged bigint, OUT retracted bigint, OUT outcome text) LANGUAGE sql AS $$
	SELECT changed, unchanged, retracted, outcome FROM profenrich.refresh('gate') $$;

-- Wrong shapes.
\set VERBOSITY terse
SELECT make('{"gate": "on"}');
\echo :LAST_ERROR_SQLSTATE
SELECT make('{"gate": 0.25}');
SELECT make('{"gate": [0.25]}');
SELECT make('{"gate": {"psi": -1}}');
SELECT make('{"gate": {"psi": "NaN"}}');
SELECT make('{"gate": {"psi": true}}');
SELECT make('{"gate": {"PSI": 0.25}}');
\set VERBOSITY default
SELECT make('{"gate": {"drift": 0.25}}');

-- The first refresh has nothing to be compared with. Without a gate the numbers are measured, and nothing is held.
CALL fill(0);
SELECT make('{}');
SELECT * FROM step();
SELECT count(*) AS measures FROM profenrich.run_measures;
SELECT attribute, state, cardinality(edges) AS edges, cardinality(counts) AS counts, missing,
       missing + (SELECT sum(c) FROM unnest(counts) AS c) AS profiles FROM profenrich.attribute_distribution ORDER BY 1;
CREATE TABLE before AS SELECT * FROM scores;

-- The index as anybody would compute it: deciles of what was sent, each edge and each gap a bin, half a profile more in each.
CREATE FUNCTION edges(numbers float8[]) RETURNS float8[] LANGUAGE sql AS $$
	SELECT array_agg(DISTINCT s[1 + (cardinality(s) - 1) * i / 10] ORDER BY s[1 + (cardinality(s) - 1) * i / 10])
	  FROM (SELECT array_agg(n ORDER BY n) AS s FROM unnest(numbers) AS n WHERE n IS NOT NULL) AS sorted, generate_series(0, 10) AS i $$;
CREATE FUNCTION bin(number float8, edges float8[]) RETURNS int LANGUAGE sql AS $$
	SELECT CASE WHEN number IS NULL THEN -1 ELSE 2 * count(*) FILTER (WHERE e < number) + count(*) FILTER (WHERE e = number) END::int FROM unnest(edges) AS e $$;
CREATE FUNCTION psi(old float8[], new float8[]) RETURNS float8 LANGUAGE sql AS $$
	WITH e AS (SELECT edges(old) AS edges),
	bins AS (SELECT generate_series(-1, 2 * cardinality(edges)) AS bin FROM e),
	was AS (SELECT bin(n, edges) AS bin, count(*) AS n FROM e, unnest(old) AS n GROUP BY 1),
	has AS (SELECT bin(n, edges) AS bin, count(*) AS n FROM e, unnest(new) AS n GROUP BY 1),
	shares AS (SELECT (coalesce(was.n, 0) + 0.5) / (cardinality(old) + 0.5 * count(*) OVER ()) AS p,
	                  (coalesce(has.n, 0) + 0.5) / (cardinality(new) + 0.5 * count(*) OVER ()) AS q FROM bins LEFT JOIN was USING (bin) LEFT JOIN has USING (bin))
	SELECT sum((q - p) * ln(q / p)) FROM shares $$;
CREATE VIEW expected AS
SELECT 'probability' AS attribute, psi((SELECT array_agg(probability) FROM before), (SELECT array_agg(probability) FROM scores)) AS psi
UNION ALL SELECT 'score', psi((SELECT array_agg(score) FROM before), (SELECT array_agg(score) FROM scores))
UNION ALL SELECT 'level', psi((SELECT array_agg(level) FROM before), (SELECT array_agg(level) FROM scores));
CREATE FUNCTION compare_psi(OUT attribute text, OUT psi numeric, OUT agrees boolean) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT attribute, round(value::numeric, 4), abs(value - psi) < 1e-9 FROM profenrich.run_measures JOIN expected USING (attribute)
	 WHERE run_id = (SELECT max(run_id) FROM profenrich.runs) ORDER BY 1 $$;
-- A level that many share and that moves is seen, although it stays within the range.
UPDATE scores SET level = 1 WHERE level = 2;
DELETE FROM scores WHERE crm_id LIKE 'C-11_';
INSERT INTO scores SELECT 'N-' || i, 0.5, 50, 0, 'low' FROM generate_series(1, 100) AS i;
UPDATE scores SET probability = 7 WHERE crm_id LIKE 'C-12%';
SELECT * FROM step();
SELECT * FROM compare_psi();
SELECT measure, attribute, round(value::numeric, 4) AS value, "limit", ok FROM profenrich.run_measures
 WHERE run_id = (SELECT max(run_id) FROM profenrich.runs) AND measure <> 'psi';

-- With a gate: a small move goes, a large one is held, and nothing of it is written.
CALL fill(0);
SELECT changed, outcome FROM profenrich.refresh('gate');
SELECT profenrich.alter_enrichment('gate', options => '{"gate": true, "on_absent": "retract"}');
UPDATE scores SET probability = probability + 0.001;
SELECT * FROM step();
SELECT outcome, held_reason FROM profenrich.runs ORDER BY run_id DESC LIMIT 1;
TRUNCATE before;
INSERT INTO before SELECT * FROM scores;
TRUNCATE profenrich.outbox;
CREATE TABLE sent AS SELECT profile_key, version, value FROM profenrich.profile_score;
CREATE FUNCTION untouched() RETURNS text LANGUAGE sql AS $$
	SELECT (SELECT count(*) FROM profenrich.outbox) || ' chunks, ' ||
	       (SELECT count(*) FROM profenrich.profile_score p FULL JOIN sent s USING (profile_key) WHERE (p.version, p.value) IS DISTINCT FROM (s.version, s.value)) || ' values' $$;
CALL fill(0.3);
SELECT item, value, ok FROM profenrich.plan('gate') WHERE item ~ 'gate|psi|share' ORDER BY item;
SELECT * FROM step();
SELECT untouched();
SELECT * FROM compare_psi();
SELECT kind, changed, outcome, held_reason FROM profenrich.runs ORDER BY run_id DESC LIMIT 1;
SELECT state, why FROM profenrich.enrichment_status WHERE enrichment = 'gate';
INSERT INTO profenrich.enrichment_target (enrichment_id, tenant, field_group_id, schema_id, dataset_id, inlet_url, flow_id,
	org_id, sandbox, sender_identity, ready_at)
SELECT enrichment_id, 'acme', 'group', 'schema', 'dataset', 'https://dcs.adobedc.net/collection/1', 'flow',
	'ABC@AdobeOrg', 'prod', 'another cluster', '2026-11-23' FROM profenrich.enrichment WHERE name = 'gate';
SELECT state, why FROM profenrich.enrichment_status WHERE enrichment = 'gate';
SELECT ok, detail, hint FROM profenrich.health() WHERE check_name = 'enrichment gate';
SELECT DISTINCT state FROM profenrich.attribute_distribution ORDER BY 1;

-- A newer refresh takes its place: held again, or queued when the source is as it was.
CALL fill(0.4);
SELECT * FROM step();
SELECT outcome, count(*) FROM profenrich.runs WHERE outcome <> 'queued' GROUP BY 1 ORDER BY 1;
CALL fill(0);
UPDATE scores SET probability = probability + 0.001;
SELECT * FROM step();
SELECT outcome, count(*) FROM profenrich.runs WHERE outcome <> 'queued' GROUP BY 1 ORDER BY 1;
SELECT state FROM profenrich.enrichment_status WHERE enrichment = 'gate';
SELECT untouched();
SELECT * FROM profenrich.release('gate');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.discard('gate');
\echo :LAST_ERROR_SQLSTATE

-- Discarded: nothing is held any more, and what is in the source is judged anew.
CALL fill(0.3);
SELECT outcome FROM step();
SELECT profenrich.discard('gate') = max(run_id) AS the_held_one FROM profenrich.runs;
SELECT outcome FROM profenrich.runs ORDER BY run_id DESC LIMIT 1;
SELECT count(*) AS held FROM profenrich.attribute_distribution WHERE state = 'held';
SELECT untouched();
SELECT outcome FROM step();

-- Released: what is in the source now, unless it has moved on from what was held.
CALL fill(0.6);
SELECT outcome FROM profenrich.release('gate');
SELECT untouched();
SELECT kind, outcome FROM profenrich.runs ORDER BY run_id DESC LIMIT 2;
-- A little further is let through.
UPDATE scores SET probability = probability + 0.002;
SELECT changed, outcome FROM profenrich.release('gate');
SELECT kind, outcome FROM profenrich.runs ORDER BY run_id DESC LIMIT 2;
SELECT count(DISTINCT profile_key) AS queued FROM profenrich.outbox, unnest(profile_keys) AS profile_key;
SELECT count(*) AS wrong FROM scores s JOIN profenrich.profile_score p ON p.profile_key = s.crm_id
 WHERE p.value <> jsonb_strip_nulls(to_jsonb(s) - 'crm_id');
-- From now on this is what the next one is compared with.
SELECT outcome FROM step();
SELECT DISTINCT state FROM profenrich.attribute_distribution;

-- Shares: lost, new, retracted (which then is held instead of stopped), changed bucket.
DELETE FROM scores WHERE crm_id LIKE 'C-19%' OR crm_id LIKE 'C-18%';
SELECT changed, retracted, outcome FROM step();
SELECT measure, round(value::numeric, 4) AS value, "limit", ok FROM profenrich.run_measures
 WHERE run_id = (SELECT max(run_id) FROM profenrich.runs) AND measure <> 'psi';
SELECT retracted, outcome FROM profenrich.release('gate');
INSERT INTO scores SELECT 'X-' || i, 0.9, 100, 1, 'low' FROM generate_series(1, 700) AS i;
SELECT profenrich.alter_enrichment('gate', options => '{"gate": {"psi": null, "new": 0.3, "bucket": 0.1}}');
SELECT changed, outcome FROM step();
SELECT profenrich.alter_enrichment('gate', options => '{"gate": {"psi": null, "new": null, "bucket": 0.1}}');
SELECT changed, outcome FROM step();
UPDATE scores SET bucket = 'middle' WHERE crm_id LIKE 'X-%';
SELECT changed, outcome FROM step();
SELECT profenrich.alter_enrichment('gate', options => '{"gate": {"psi": null, "new": null}, "buckets": {"score": [50]}}');
UPDATE scores SET bucket = 'low' WHERE bucket = 'middle';
UPDATE scores SET score = score - 60;
SELECT changed, outcome FROM step();
SELECT measure, round(value::numeric, 4) AS value, "limit", ok FROM profenrich.run_measures
 WHERE run_id = (SELECT max(run_id) FROM profenrich.runs) AND measure = 'bucket';

-- Profiles that are kept although they left are lost once, not with each refresh again.
CREATE TABLE leaving AS SELECT 'L-' || i AS crm_id, i AS score FROM generate_series(1, 1000) AS i;
SELECT profenrich.create_enrichment('gate_kept', server => 'gate_aep', source => 'leaving', identity_column => 'crm_id', namespace => 'CRMID',
	options => '{"gate": {"psi": null}}');
SELECT outcome FROM profenrich.refresh('gate_kept');
DELETE FROM leaving WHERE score <= 60;
SELECT outcome FROM profenrich.refresh('gate_kept');
DELETE FROM leaving WHERE score <= 120;
SELECT outcome FROM profenrich.refresh('gate_kept');
SELECT outcome FROM profenrich.refresh('gate_kept');
DELETE FROM leaving WHERE score <= 250;
SELECT outcome FROM profenrich.refresh('gate_kept');
SELECT r.outcome, r.absent, m.value AS lost FROM profenrich.runs r LEFT JOIN profenrich.run_measures m ON m.run_id = r.run_id AND m.measure = 'lost'
 WHERE r.enrichment = 'gate_kept' ORDER BY r.run_id;
SELECT profenrich.drop_enrichment('gate_kept', force => true);

-- Two in one transaction; rolled back, the one that was held before still is.
SELECT max(run_id) AS run FROM profenrich.runs WHERE outcome = 'held' \gset
BEGIN;
SELECT outcome FROM step();
SELECT outcome FROM step();
SELECT count(*) AS held FROM profenrich.runs WHERE outcome = 'held';
ROLLBACK;
SELECT max(run_id) = :run AS still_held FROM profenrich.runs WHERE outcome = 'held';
-- A refresh that stops leaves it held, too; retracting everybody makes an end of it, retracting one does not.
BEGIN;
TRUNCATE scores;
\set VERBOSITY terse
SELECT outcome FROM step();
\set VERBOSITY default
ROLLBACK;
SELECT max(run_id) = :run AS still_held FROM profenrich.runs WHERE outcome = 'held';
SELECT profenrich.retract('gate', ARRAY['C-1']);
SELECT count(*) AS held FROM profenrich.runs WHERE outcome = 'held';
SELECT profenrich.retract('gate') > 1000 AS many;
SELECT count(*) AS held FROM profenrich.runs WHERE outcome = 'held';
-- Nobody has a value any more: nothing to be compared with.
SELECT changed > 1000 AS many, outcome FROM step();

-- Not in an old snapshot, not read only, and only by the owner.
SELECT profenrich.alter_enrichment('gate', options => '{"gate": {"psi": 0}}');
UPDATE scores SET score = score + 1;
SELECT outcome FROM step();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM profenrich.release('gate');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT profenrich.discard('gate');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
CREATE ROLE gate_stranger IN ROLE profenrich_operator;
SET ROLE gate_stranger;
SELECT * FROM profenrich.release('gate');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.discard('gate');
SELECT count(*) > 0 AS numbers FROM profenrich.run_measures;
RESET ROLE;
SELECT outcome FROM profenrich.release('gate');
SELECT profenrich.drop_enrichment('gate', force => true);
SELECT count(*) FROM profenrich.attribute_distribution;

-- Of many profiles 10,000 are looked at, the same ones each time: where nothing moved the index is nothing.
SELECT profenrich.create_enrichment('gate_many', server => 'gate_aep', identity_column => 'crm_id', namespace => 'CRMID',
	source => 'SELECT ''M-'' || i AS crm_id, hashint4(i) % 1000 AS score FROM generate_series(1, 30000) AS i');
SELECT outcome FROM profenrich.refresh('gate_many');
SELECT missing + (SELECT sum(c) FROM unnest(counts) AS c) AS profiles, cardinality(edges) AS edges FROM profenrich.attribute_distribution;
SELECT unchanged, outcome FROM profenrich.refresh('gate_many');
SELECT DISTINCT value FROM profenrich.run_measures;
SELECT profenrich.drop_enrichment('gate_many', force => true);

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA gate_test CASCADE;
DROP ROLE gate_stranger;
DROP EXTENSION profenrich CASCADE;
