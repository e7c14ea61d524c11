-- The days of a snapshot: those that the platform has, and those that are loaded.

CREATE FUNCTION @extschema@.available_snapshots(server text, into_table text DEFAULT NULL, dataset text DEFAULT NULL,
	merge_policy text DEFAULT NULL)
RETURNS TABLE (snapshot_date date, status text, batch text, exported_at timestamptz, detail text)
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 30
AS 'MODULE_PATHNAME', 'pe_available_snapshots';
COMMENT ON FUNCTION @extschema@.available_snapshots(text, text, text, text) IS
	'each day of a profile snapshot: missing (could be loaded), loaded, changed (a newer batch is there), kept (only here), lost, old (the table''s retention keeps no day of its age)';

CREATE FUNCTION @extschema@.refuse_in_transaction(procedure text)
RETURNS void
LANGUAGE C STRICT STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_refuse_in_transaction';
COMMENT ON FUNCTION @extschema@.refuse_in_transaction(text) IS
	'for procedures that commit: an error that says so when they are called inside a transaction';

-- One transaction for each day, so that no day waits for another and readers are hardly disturbed.
-- Days whose data is at fault do not keep the others. What concerns all of them (arguments, mapping, rights,
-- connection) has other SQLSTATEs and ends the call at once.
CREATE PROCEDURE @extschema@.load_missing_snapshots(server text, into_table text, dataset text DEFAULT NULL,
	merge_policy text DEFAULT NULL, columns jsonb DEFAULT NULL, since date DEFAULT NULL,
	INOUT loaded integer DEFAULT NULL, INOUT skipped integer DEFAULT NULL, INOUT lost integer DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
	day record;
	result record;
	lost_days text;
	refused date[] := '{}';
BEGIN
	PERFORM @extschema@.refuse_in_transaction('load_missing_snapshots()');
	-- Called by a function this fails, rather than the one after the first day is loaded.
	COMMIT;
	loaded := 0;
	skipped := 0;
	SELECT pg_catalog.count(*), pg_catalog.string_agg(a.snapshot_date::pg_catalog.text, ', ' ORDER BY a.snapshot_date) INTO lost, lost_days
	  FROM @extschema@.available_snapshots(server, into_table, dataset, merge_policy) a
	 WHERE a.status OPERATOR(pg_catalog.=) 'lost'
	   AND (since IS NULL OR a.snapshot_date OPERATOR(pg_catalog.>=) since);
	IF lost OPERATOR(pg_catalog.>) 0 THEN
		RAISE WARNING 'days that cannot be loaded any more: %', lost_days;
	END IF;
	FOR day IN SELECT a.snapshot_date, a.batch FROM @extschema@.available_snapshots(server, into_table, dataset, merge_policy) a
				WHERE a.status OPERATOR(pg_catalog.=) ANY (ARRAY['missing', 'changed'])
				  AND (since IS NULL OR a.snapshot_date OPERATOR(pg_catalog.>=) since)
				ORDER BY a.snapshot_date
	LOOP
		BEGIN
			SELECT l.rows INTO result
			  FROM @extschema@.load_snapshot(server, into_table, dataset, merge_policy, columns, day.snapshot_date) l;
			RAISE NOTICE 'loaded %: % rows', day.snapshot_date, result.rows;
			loaded := loaded OPERATOR(pg_catalog.+) 1;
		EXCEPTION
			WHEN invalid_parameter_value OR null_value_not_allowed OR too_many_columns THEN
				RAISE;
			WHEN undefined_file THEN
				-- Expired between the list and now, or listed without its files.
				RAISE WARNING 'skipped %: %', day.snapshot_date, SQLERRM;
				skipped := skipped OPERATOR(pg_catalog.+) 1;
			WHEN data_exception OR integrity_constraint_violation OR data_corrupted OR datatype_mismatch
				OR program_limit_exceeded OR feature_not_supported OR connection_failure THEN
				-- The gate's verdict, an empty day, damaged files, values that do not fit, a download that breaks again and again.
				RAISE WARNING 'not loaded %: %', day.snapshot_date, SQLERRM;
				refused := refused OPERATOR(pg_catalog.||) day.snapshot_date;
		END;
		COMMIT;
	END LOOP;
	IF refused OPERATOR(pg_catalog.<>) '{}' THEN
		RAISE EXCEPTION 'days of % that could not be loaded: %', into_table, pg_catalog.array_to_string(refused, ', ')
			USING ERRCODE = 'data_exception',
				  DETAIL = pg_catalog.format('The others are loaded; by this call: %s.', loaded),
				  HINT = 'The warnings before this say why. The next call tries these days again; with since it leaves out those before a day.';
	END IF;
END $$;
COMMENT ON PROCEDURE @extschema@.load_missing_snapshots(text, text, text, text, jsonb, date, integer, integer, integer) IS
	'loads each day of a profile snapshot that the platform still has and the table lacks, one transaction a day; expired ones are skipped, those whose data is at fault are warned of and named by an error after the others are loaded';

REVOKE ALL ON FUNCTION @extschema@.available_snapshots(text, text, text, text), @extschema@.refuse_in_transaction(text) FROM PUBLIC;
REVOKE ALL ON PROCEDURE @extschema@.load_missing_snapshots(text, text, text, text, jsonb, date, integer, integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.available_snapshots(text, text, text, text), @extschema@.refuse_in_transaction(text)
	TO profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT EXECUTE ON PROCEDURE @extschema@.load_missing_snapshots(text, text, text, text, jsonb, date, integer, integer, integer)
	TO profenrich_analyst, profenrich_operator, profenrich_admin;
