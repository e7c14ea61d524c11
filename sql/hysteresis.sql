-- Hysteresis: a value that moved by too little is not sent, and no drift is lost.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
CREATE SERVER hysteresis_aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id 'ABC@AdobeOrg', sandbox 'prod');
CREATE SCHEMA hysteresis_test;
SET search_path = hysteresis_test;
SET profenrich.resend_gap = 0;
CREATE TABLE scores (crm_id text PRIMARY KEY, probability float8, score int, weight numeric, band text);
INSERT INTO scores SELECT 'C-' || i, 0.1, 50, 1.5, 'low' FROM generate_series(1, 4) AS i;

-- Wrong shapes and types, and names that are no numeric attribute.
CREATE FUNCTION make(options jsonb) RETURNS void LANGUAGE sql AS $$
	SELECT profenrich.create_enrichment('hysteresis', server => 'hysteresis_aep', source => 'scores',
		identity_column => 'crm_id', namespace => 'CRMID', options => options) $$;
\set VERBOSITY terse
SELECT make('{"min_delta": 0.1}');
\echo :LAST_ERROR_SQLSTATE
SELECT make('{"min_delta": {"probability": 0}}');
SELECT make('{"min_delta": {"probability": -0.1}}');
SELECT make('{"min_delta": {"probability": "0.1"}}');
SELECT make('{"min_delta": {"probability": null}}');
SELECT make('{"min_delta": ["probability"]}');
SELECT make('{"min_delta": {"probabilty": 0.1}}');
\echo :LAST_ERROR_SQLSTATE
SELECT make('{"min_delta": {"band": 1}}');
\echo :LAST_ERROR_SQLSTATE
SELECT make('{"min_delta": {"crm_id": 1}}');
SELECT make('{"buckets": [20, 40]}');
\echo :LAST_ERROR_SQLSTATE
SELECT make('{"buckets": {"score": 20}}');
SELECT make('{"buckets": {"score": []}}');
SELECT make('{"buckets": {"score": [20, 20]}}');
SELECT make('{"buckets": {"score": [40, 20]}}');
SELECT make('{"buckets": {"score": [20, "40"]}}');
SELECT make('{"buckets": {"score": {"low": 20}}}');
SELECT make('{"buckets": {"band": [20]}}');
SELECT make('{"buckets": {"scores": [20]}}');
SELECT make('{"min_delta": {"score": 5}, "max_age": 7}');
\echo :LAST_ERROR_SQLSTATE
SELECT make('{"min_delta": {"score": 5}, "max_age": "soon"}');
SELECT make('{"min_delta": {"score": 5}, "max_age": "-7 days"}');
SELECT make('{"min_delta": {"score": 5}, "max_age": "0"}');
SELECT make('{"min_delta": {"score": 5}, "max_age": "999999999999 years"}');
\set VERBOSITY default
SELECT make('{"min_delta": 0.1}');
SELECT make('{"buckets": {"band": [20]}}');
SELECT make('{"max_age": "7 days"}');

-- Each step against the newest value that was queued, exactly.
SELECT make('{"min_delta": {"probability": 0.2}, "buckets": {"score": [20, 40, 60, 80]}}');
CREATE FUNCTION step(OUT changed bigint, OUT unchanged bigint, OUT held_back bigint, OUT retracted bigint) LANGUAGE sql AS $$
	SELECT changed, unchanged, held_back, retracted FROM profenrich.refresh('hysteresis') $$;
SELECT * FROM step();
-- In decimal 0.1 to 0.3 is 0.2 (in binary it is less); a boundary belongs to the bucket above.
UPDATE scores SET probability = 0.3 WHERE crm_id = 'C-1';
UPDATE scores SET probability = 0.29 WHERE crm_id = 'C-2';
UPDATE scores SET score = 59 WHERE crm_id = 'C-3';
UPDATE scores SET score = 60 WHERE crm_id = 'C-4';
SELECT * FROM step();
SELECT profile_key, value FROM profenrich.profile_score ORDER BY 1;
-- What is held back does not become the base: a drift in small steps is sent when it adds up.
UPDATE scores SET probability = 0.31 WHERE crm_id = 'C-2';
SELECT * FROM step();
UPDATE scores SET score = 39 WHERE crm_id = 'C-3';
SELECT * FROM step();
-- A, then B that is queued, then A: from B to A is a step again. Back to what is queued is unchanged.
UPDATE scores SET probability = 0.1 WHERE crm_id = 'C-1';
SELECT * FROM step();
UPDATE scores SET probability = 0.2 WHERE crm_id = 'C-1';
SELECT * FROM step();
UPDATE scores SET probability = 0.1 WHERE crm_id = 'C-1';
SELECT * FROM step();
-- Any other attribute sends, and then the small moves of all go along.
UPDATE scores SET probability = probability + 0.01, band = 'high' WHERE crm_id = 'C-1';
UPDATE scores SET probability = probability + 0.01, weight = 1.6 WHERE crm_id = 'C-2';
SELECT * FROM step();
SELECT profile_key, value FROM profenrich.profile_score ORDER BY 1 LIMIT 2;
-- From null and to null.
UPDATE scores SET probability = NULL WHERE crm_id = 'C-1';
SELECT * FROM step();
UPDATE scores SET probability = 0.11 WHERE crm_id = 'C-1';
SELECT * FROM step();
UPDATE scores SET band = NULL WHERE crm_id = 'C-1';
SELECT * FROM step();
-- Retraction, and the return of a retracted profile with the value it had.
SELECT profenrich.alter_enrichment('hysteresis', options =>
	'{"min_delta": {"probability": 0.2}, "buckets": {"score": [20, 40, 60, 80]}, "on_absent": "retract", "max_retract": 1}');
CREATE TABLE gone AS SELECT * FROM scores WHERE crm_id = 'C-4';
DELETE FROM scores WHERE crm_id = 'C-4';
SELECT * FROM step();
INSERT INTO scores SELECT * FROM gone;
SELECT * FROM step();
SELECT changed, unchanged, held_back, retracted FROM profenrich.runs WHERE enrichment = 'hysteresis' ORDER BY run_id DESC LIMIT 2;

-- Two refreshes in one transaction; the second compares with what the first queued.
BEGIN;
UPDATE scores SET probability = 0.5 WHERE crm_id = 'C-4';
SELECT * FROM step();
UPDATE scores SET probability = 0.4 WHERE crm_id = 'C-4';
SELECT * FROM step();
ROLLBACK;

-- An old value is replaced by whatever is new; what did not change is not sent again.
SELECT profenrich.alter_enrichment('hysteresis', options => '{"min_delta": {"probability": 0.2, "score": 5}, "max_age": "7 days"}');
UPDATE profenrich.profile_score SET changed_at = now() - interval '6 days' WHERE profile_key = 'C-1';
UPDATE profenrich.profile_score SET changed_at = now() - interval '8 days' WHERE profile_key IN ('C-2', 'C-3');
UPDATE scores SET probability = probability + 0.01 WHERE crm_id IN ('C-1', 'C-2');
SELECT * FROM step();
SELECT changed_at > now() - interval '1 minute' AS sent_again FROM profenrich.profile_score WHERE profile_key IN ('C-1', 'C-2', 'C-3') ORDER BY profile_key;
-- A column that had another type when the old value was queued.
ALTER TABLE scores ALTER score TYPE text;
SELECT profenrich.alter_enrichment('hysteresis', options => '{"min_delta": {"probability": 0.2}}');
SELECT * FROM step();
ALTER TABLE scores ALTER score TYPE int USING score::int;
SELECT profenrich.alter_enrichment('hysteresis', options => '{"min_delta": {"probability": 0.2, "score": 5}}');
SELECT * FROM step();
-- A rule about a column that is gone.
ALTER TABLE scores RENAME score TO points;
SELECT * FROM profenrich.refresh('hysteresis');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.drop_enrichment('hysteresis', force => true);

-- An oracle: the same rules written in SQL, on 300 profiles that wander for 25 days.
CREATE TABLE walk AS SELECT 'W-' || i AS crm_id, 0.5::numeric AS a, 50 AS b, 0 AS c FROM generate_series(1, 300) AS i;
CREATE TABLE newest (crm_id text PRIMARY KEY, a numeric, b int, c int);
SELECT profenrich.create_enrichment('hysteresis_walk', server => 'hysteresis_aep', source => 'walk', identity_column => 'crm_id',
	namespace => 'CRMID', options => '{"min_delta": {"a": 0.05, "b": 7}, "buckets": {"b": [25, 50, 75]}}');
CREATE PROCEDURE wander(days int) LANGUAGE plpgsql AS $$
DECLARE
	sent bigint;
	counted record;
	wrong int := 0;
	held bigint := 0;
BEGIN
	FOR day IN 1 .. days LOOP
		UPDATE walk SET a = CASE WHEN hashtext(crm_id || day || 'n') % 40 = 0 THEN NULL
								 ELSE coalesce(a, 0.5) + (hashtext(crm_id || day || 'a') % 3) / 100.0 END,
						b = b + hashtext(crm_id || day || 'b') % 4,
						c = c + (hashtext(crm_id || day || 'c') % 50 = 0)::int;
		WITH due AS (
			SELECT w.* FROM walk w LEFT JOIN newest n USING (crm_id)
			 WHERE n.crm_id IS NULL OR n.c <> w.c OR (n.a IS NULL) <> (w.a IS NULL) OR abs(n.a - w.a) >= 0.05
				OR abs(n.b - w.b) >= 7 OR width_bucket(n.b, ARRAY[25, 50, 75]) <> width_bucket(w.b, ARRAY[25, 50, 75])),
		written AS (
			INSERT INTO newest SELECT * FROM due ON CONFLICT (crm_id) DO UPDATE SET a = excluded.a, b = excluded.b, c = excluded.c
			RETURNING 1)
		SELECT count(*) INTO sent FROM written;
		SELECT * INTO counted FROM profenrich.refresh('hysteresis_walk');
		held := held + counted.held_back;
		wrong := wrong + (counted.changed <> sent OR counted.profiles <> counted.changed + counted.unchanged + counted.held_back)::int;
		wrong := wrong + (SELECT count(*) FROM newest n LEFT JOIN profenrich.profile_score s ON s.profile_key = n.crm_id
						   WHERE s.value IS DISTINCT FROM jsonb_strip_nulls(to_jsonb(n) - 'crm_id'));
	END LOOP;
	RAISE WARNING 'wrong: %, held back more often than not: %', wrong, held > days * 150;
END $$;
CALL wander(25);
SELECT profenrich.drop_enrichment('hysteresis_walk', force => true);

RESET search_path;
DROP SCHEMA hysteresis_test CASCADE;
DROP EXTENSION profenrich CASCADE;
