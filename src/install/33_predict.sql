-- One row at a time. The costs are about what a prediction takes, in units of a cheap operator.

CREATE FUNCTION @extschema@.predict(model text, profile record, version integer DEFAULT NULL) RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 500
AS 'MODULE_PATHNAME', 'pe_predict';
COMMENT ON FUNCTION @extschema@.predict(text, record, integer) IS
	'the probability (propensity) or value that the deployed or the named version gives the row; NULL for a NULL row';

CREATE FUNCTION @extschema@.classify(model text, profile record, version integer DEFAULT NULL) RETURNS text
LANGUAGE C STABLE PARALLEL SAFE COST 500
AS 'MODULE_PATHNAME', 'pe_classify';
COMMENT ON FUNCTION @extschema@.classify(text, record, integer) IS
	'the label of the target that the row gets: the positive one from the version''s threshold on';

CREATE FUNCTION @extschema@.explain(model text, profile record, top integer DEFAULT 5, version integer DEFAULT NULL)
RETURNS TABLE (feature text, value text, contribution double precision)
LANGUAGE C STABLE PARALLEL SAFE COST 5000 ROWS 5
AS 'MODULE_PATHNAME', 'pe_explain';
COMMENT ON FUNCTION @extschema@.explain(text, record, integer, integer) IS
	'what each feature adds to the margin (the log-odds, or the value), largest first; with top => NULL all of them and the row (base), which together sum to the margin';

REVOKE ALL ON FUNCTION @extschema@.predict(text, record, integer), @extschema@.classify(text, record, integer),
	@extschema@.explain(text, record, integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.predict(text, record, integer), @extschema@.classify(text, record, integer),
	@extschema@.explain(text, record, integer, integer)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
