-- Whole sources at a time.

CREATE FUNCTION @extschema@.score(model text, source text, key text, version integer DEFAULT NULL, reasons integer DEFAULT 0,
	on_duplicate text DEFAULT 'error')
RETURNS TABLE (key text, prediction double precision, score integer, percentile integer, bucket text, detail jsonb,
	reasons jsonb, model_version integer, scored_at timestamptz)
LANGUAGE C STABLE PARALLEL RESTRICTED COST 100000 ROWS 10000
AS 'MODULE_PATHNAME', 'pe_score_rows';
COMMENT ON FUNCTION @extschema@.score(text, text, text, integer, integer, text) IS
	'scores every row of a table, view or SELECT, read as the caller; score, percentile and bucket place the prediction among those the version made when it was trained. on_duplicate: error, first or keep';

CREATE FUNCTION @extschema@.score_into(model text, source text, key text, into_table text, reasons integer DEFAULT 0,
	version integer DEFAULT NULL, on_duplicate text DEFAULT 'error') RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000
AS 'MODULE_PATHNAME', 'pe_score_into';
COMMENT ON FUNCTION @extschema@.score_into(text, text, text, text, integer, integer, text) IS
	'adds the rows of score() to a table, which is made when it is not there; returns how many';

REVOKE ALL ON FUNCTION @extschema@.score(text, text, text, integer, integer, text),
	@extschema@.score_into(text, text, text, text, integer, integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.score(text, text, text, integer, integer, text),
	@extschema@.score_into(text, text, text, text, integer, integer, text)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
