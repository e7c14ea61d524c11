-- Is a day's snapshot like those before it, and may it be loaded?
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
\getenv data PROFENRICH_TEST_DATA
SET profenrich_test.data = :'data';
SET search_path = public, profenrich;
SET datestyle = ISO, YMD;
CREATE ROLE validate_owner NOLOGIN;
CREATE ROLE validate_reader NOLOGIN;
GRANT profenrich_analyst, pg_read_server_files TO validate_owner;
GRANT profenrich_reader TO validate_reader;
CREATE SCHEMA validated AUTHORIZATION validate_owner;
GRANT USAGE ON SCHEMA validated TO validate_reader;

-- A day of profiles, damaged as wanted: a SELECT over the table good.
CREATE FUNCTION good(day int) RETURNS TABLE (crm_id text, tier text, spend float8, visits int, joined date, email text) LANGUAGE sql AS $$
	SELECT 'p' || i, (ARRAY['gold', 'silver', 'silver', 'none'])[1 + hashint4(i * 7 + day / 30) & 3],
		   20 * exp((hashint4extended(i, day) & 65535) / 30000.0), (hashint4extended(i * 13, day) & 15)::int,
		   date '2026-01-01' + day - (hashint4(i) & 1023), CASE WHEN hashint4(i) & 7 > 0 THEN 'p' || i || '@example.com' END
	  FROM generate_series(1, 3000 + day) i $$;
CREATE FUNCTION export(day int, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	path text := current_setting('profenrich_test.data') || '/validate_' || day || '.json';
BEGIN
	EXECUTE format($q$COPY (SELECT json_strip_nulls(json_build_object('identityMap', json_build_object('CRMID', json_build_array(json_build_object('id', crm_id))),
		'tier', tier, 'spend', spend, 'visits', visits, 'joined', joined, 'email', email)) FROM (%s) AS rows) TO %L$q$, query, path);
	RETURN path;
END $$;
CREATE FUNCTION load(day int, query text DEFAULT NULL) RETURNS TABLE (outcome text) LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text; state text; loaded bigint;
BEGIN
	RESET ROLE;
	PERFORM export(day, coalesce(query, format('SELECT * FROM good(%s)', day)));
	SET ROLE validate_owner;
	SELECT rows INTO loaded FROM load_snapshot_file(current_setting('profenrich_test.data') || '/validate_' || day || '.json', 'validated.profiles',
		'{"crm_id": "identityMap.CRMID.id", "tier": "tier", "spend": {"path": "spend", "type": "float8"}, "visits": {"path": "visits", "type": "int"},
		  "joined": {"path": "joined", "type": "date"}, "email": {"path": "email", "type": "text"}}', date '2026-01-01' + day);
	RESET ROLE;
	RETURN QUERY SELECT loaded || ' rows';
EXCEPTION WHEN data_exception THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RESET ROLE;
	RETURN QUERY VALUES (state || ': ' || message), ('  ' || detail), ('  ' || hint);
END $$;
CREATE VIEW parts AS SELECT inhrelid::regclass AS partition FROM pg_inherits WHERE inhparent = to_regclass('validated.profiles') ORDER BY 1;

SELECT load(1);
SELECT check_name, column_name, status, explanation FROM validate_snapshot('validated.profiles');
SELECT load(2);
SELECT load(3);
SELECT check_name, column_name, status, round(value::numeric, 3) AS value, threshold, explanation FROM validate_snapshot('validated.profiles');
-- Two days in the past; the newest day with one previous day only.
SELECT check_name, explanation FROM validate_snapshot('validated.profiles', '2026-01-03') WHERE check_name = 'row_count';
SELECT check_name, explanation FROM validate_snapshot('validated.profiles', '2026-01-04', '{"days": 1}') WHERE check_name = 'row_count';

-- The gate: every way in which a day may be broken is found, named, and nothing is loaded.
SET ROLE validate_owner;
SELECT set_validation('validated.profiles');
RESET ROLE;
SELECT load(4, 'SELECT * FROM good(4) WHERE hashtext(crm_id) % 2 = 0');
SELECT load(4, 'SELECT crm_id, tier, spend, visits, joined, NULL AS email FROM good(4)');
SELECT load(4, 'SELECT crm_id, tier, spend, visits, joined, CASE WHEN hashtext(crm_id) % 3 = 0 THEN email END AS email FROM good(4)');
SELECT load(4, 'SELECT crm_id, tier, spend * 100 AS spend, visits, joined, email FROM good(4)');
SELECT load(4, $$SELECT crm_id, 'silver' AS tier, spend, visits, joined, email FROM good(4)$$);
SELECT load(4, 'SELECT crm_id, tier, spend, visits, joined - 700 AS joined, email FROM good(4)');
SELECT load(4, $$SELECT CASE WHEN visits = 3 THEN 'p1' ELSE crm_id END AS crm_id, tier, spend, visits, joined, email FROM good(4)$$);
SELECT load(4, 'SELECT * FROM good(3)');
SELECT * FROM parts;
SELECT max(snapshot_date) FROM validated.profiles_latest;
SELECT count(*) FROM pg_class WHERE relname ~ 'profiles_load';
-- What was refused is kept, for those who may read the table.
SET ROLE validate_owner;
SELECT snapshot_date, loaded_by, outcome, rows, failed, warned FROM snapshot_validations ORDER BY at;
SELECT DISTINCT k ->> 'check' AS check_name, k ->> 'column' AS column_name, k ->> 'status' AS status FROM snapshot_validations, jsonb_array_elements(checks) k ORDER BY 1, 2, 3;
SET ROLE validate_reader;
SELECT count(*) FROM snapshot_validations;
RESET ROLE;

-- Let through all the same; what is in order goes without a word.
SELECT load(4);
SET profenrich.snapshot_gate = 'force';
SELECT load(5, 'SELECT * FROM good(5) WHERE hashtext(crm_id) % 2 = 0');
SET profenrich.snapshot_gate = 'off';
SELECT load(6, 'SELECT * FROM good(6) WHERE hashtext(crm_id) % 2 = 0');
RESET profenrich.snapshot_gate;
SELECT * FROM parts;
SELECT snapshot_date, outcome, failed FROM snapshot_validations WHERE outcome <> 'refused' ORDER BY at;
-- The same day again is compared with those before it, not with itself.
SELECT load(6);
SELECT outcome, checks FROM snapshot_validations ORDER BY at DESC LIMIT 1;

-- Thresholds: each can be set, and let go.
SET ROLE validate_owner;
SELECT set_validation('validated.profiles', '{"row_count": null, "stale": "warn", "psi": [0.2, 1], "days": 2, "key": "email", "lost_column": "ok"}');
RESET ROLE;
SELECT load(7, 'SELECT * FROM good(7) WHERE hashtext(crm_id) % 2 = 0');
SELECT load(8, 'SELECT * FROM good(7) WHERE hashtext(crm_id) % 2 = 0');
SELECT outcome, k ->> 'check' AS check_name, k ->> 'explanation' AS explanation FROM snapshot_validations, jsonb_array_elements(checks) k WHERE snapshot_date = '2026-01-09';
SET ROLE validate_owner;
SELECT set_validation('validated.profiles', NULL);
RESET ROLE;
SELECT load(8, 'SELECT * FROM good(8) LIMIT 10');
SELECT status, explanation FROM validate_snapshot('validated.profiles', options => '{"row_count": 0.5}') WHERE check_name = 'row_count';
-- A sample of the days before says the same.
SELECT check_name, column_name, status FROM validate_snapshot('validated.profiles', '2026-01-05', '{"sample": 1000}') WHERE status <> 'ok';

-- The index of stability equals that of plain SQL, in bins between and on the deciles of the day before.
WITH edges AS (SELECT array_agg(DISTINCT e ORDER BY e) AS e FROM (SELECT unnest(percentile_disc(ARRAY[0, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1]) WITHIN GROUP (ORDER BY visits)) AS e FROM validated.profiles WHERE snapshot_date = '2026-01-04') t),
	 binned AS (SELECT snapshot_date, 2 * (SELECT count(*) FROM unnest(e) x WHERE x < visits) + (visits = ANY (e))::int AS bin FROM validated.profiles, edges WHERE snapshot_date IN ('2026-01-04', '2026-01-05')),
	 bins AS (SELECT generate_series(0, 2 * cardinality(e)) AS bin FROM edges),
	 counted AS (SELECT bin, count(*) FILTER (WHERE snapshot_date = '2026-01-04') AS was, count(*) FILTER (WHERE snapshot_date = '2026-01-05') AS now FROM bins LEFT JOIN binned USING (bin) GROUP BY bin),
	 shares AS (SELECT (was + 0.5) / sum(was + 0.5) OVER () AS was, (now + 0.5) / sum(now + 0.5) OVER () AS now FROM counted)
SELECT abs(sum((now - was) * ln(now / was)) - (SELECT value FROM validate_snapshot('validated.profiles', '2026-01-05', '{"days": 1}') WHERE check_name = 'psi' AND column_name = 'visits')::numeric) < 0.001 AS right FROM shares;
WITH counted AS (SELECT tier, count(*) FILTER (WHERE snapshot_date = '2026-01-04') AS was, count(*) FILTER (WHERE snapshot_date = '2026-01-05') AS now FROM validated.profiles WHERE tier IS NOT NULL GROUP BY 1 UNION ALL SELECT NULL, 0, 0),
	 shares AS (SELECT (was + 0.5) / sum(was + 0.5) OVER () AS was, (now + 0.5) / sum(now + 0.5) OVER () AS now FROM counted)
SELECT abs(sum((now - was) * ln(now / was)) - (SELECT value FROM validate_snapshot('validated.profiles', '2026-01-05', '{"days": 1}') WHERE check_name = 'psi' AND column_name = 'tier')::numeric) < 1e-9 AS right FROM shares;

-- Bad input.
SELECT set_validation('validated.profiles', '{"row_counts": 1}');
SELECT set_validation('validated.profiles', '{"psi": [1]}');
SELECT set_validation('validated.profiles', '{"psi": -1}');
SELECT set_validation('validated.profiles', '{"psi": [0.5, 0.1]}');
SELECT set_validation('validated.profiles', '{"psi": [null, 0.1]}');
SELECT set_validation('validated.profiles', NULL);
SELECT set_validation('validated.profiles', '{"key": "nosuch"}');
SELECT set_validation('validated.profiles', '{"key": "snapshot_date"}');
SELECT set_validation('validated.profiles', '{"stale": "maybe"}');
SELECT set_validation('validated.profiles', '{"days": 0}');
SELECT set_validation('validated.profiles', '[]');
SELECT set_validation('nothing');
SELECT count(*) FROM validate_snapshot('validated.profiles', options => '{"key": "nothing"}');
SELECT count(*) FROM validate_snapshot('validated.profiles', '2027-01-01');
SET ROLE validate_reader;
SELECT count(*) FROM validate_snapshot('validated.profiles');
RESET ROLE;
GRANT SELECT ON validated.profiles TO validate_reader;
GRANT profenrich_analyst TO validate_reader;
SET ROLE validate_reader;
SELECT count(*) > 10 AS validated FROM validate_snapshot('validated.profiles', '2026-01-05');
SELECT set_validation('validated.profiles');
RESET ROLE;

DROP SCHEMA validated CASCADE;
DROP OWNED BY validate_reader, validate_owner;
DROP ROLE validate_reader, validate_owner;
