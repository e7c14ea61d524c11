-- What a loaded day holds.

CREATE FUNCTION @extschema@.describe_snapshot(snapshot_table text, snapshot_date date DEFAULT NULL, top integer DEFAULT 10)
RETURNS TABLE (column_name text, type text, rows bigint, nulls bigint, null_share double precision, distinct_values bigint,
	distinct_error double precision, min_value text, max_value text, mean double precision,
	standard_deviation double precision, quantiles jsonb, top_values jsonb)
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 50
AS 'MODULE_PATHNAME', 'pe_describe_snapshot';
COMMENT ON FUNCTION @extschema@.describe_snapshot(text, date, integer) IS
	'what each column of a day holds, the newest by default, in one pass: nulls, different values, range, mean, quantiles, and the most frequent values with their counts';

REVOKE ALL ON FUNCTION @extschema@.describe_snapshot(text, date, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.describe_snapshot(text, date, integer)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
