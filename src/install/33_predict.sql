-- One row at a time. The costs are about what a prediction takes, in units of a cheap operator.

CREATE FUNCTION @extschema@.predict(model text, profile record, version integer DEFAULT NULL) RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 500
AS 'MODULE_PATHNAME', 'pe_predict';
COMMENT ON FUNCTION @extschema@.predict(text, record, integer) IS
	'the probability (propensity; affinity: of the most probable class) or value that the deployed or the named version gives the row; NULL for a NULL row';

CREATE FUNCTION @extschema@.classify(model text, profile record, version integer DEFAULT NULL) RETURNS text
LANGUAGE C STABLE PARALLEL SAFE COST 500
AS 'MODULE_PATHNAME', 'pe_classify';
COMMENT ON FUNCTION @extschema@.classify(text, record, integer) IS
	'the label of the target that the row gets: the positive one from the version''s threshold on, or the most probable class';

CREATE FUNCTION @extschema@.affinities(model text, profile record, top integer DEFAULT NULL, version integer DEFAULT NULL)
RETURNS jsonb
LANGUAGE C STABLE PARALLEL SAFE COST 500
AS 'MODULE_PATHNAME', 'pe_affinities';
COMMENT ON FUNCTION @extschema@.affinities(text, record, integer, integer) IS
	'the probability of each class, or of the top most probable ones, as an object; jsonb keeps no order: use jsonb_each to sort';

CREATE FUNCTION @extschema@.affinity_percents(model text, profile record, top integer DEFAULT 15, version integer DEFAULT NULL)
RETURNS jsonb
LANGUAGE C STABLE PARALLEL SAFE COST 500
AS 'MODULE_PATHNAME', 'pe_affinity_percents';
COMMENT ON FUNCTION @extschema@.affinity_percents(text, record, integer, integer) IS
	'the same in whole percents, for an attribute of type map<integer>: the top most probable classes, without those that round to 0';

CREATE FUNCTION @extschema@.explain(model text, profile record, top integer DEFAULT 5, version integer DEFAULT NULL)
RETURNS TABLE (feature text, value text, contribution double precision)
LANGUAGE C STABLE PARALLEL SAFE COST 5000 ROWS 5
AS 'MODULE_PATHNAME', 'pe_explain';
COMMENT ON FUNCTION @extschema@.explain(text, record, integer, integer) IS
	'what each feature adds to the margin (the log-odds, the value or its logarithm, or the margin of the most probable class), largest first; with top => NULL all of them and the row (base), which together sum to the margin';

REVOKE ALL ON FUNCTION @extschema@.predict(text, record, integer), @extschema@.classify(text, record, integer),
	@extschema@.affinities(text, record, integer, integer), @extschema@.affinity_percents(text, record, integer, integer),
	@extschema@.explain(text, record, integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.predict(text, record, integer), @extschema@.classify(text, record, integer),
	@extschema@.affinities(text, record, integer, integer), @extschema@.affinity_percents(text, record, integer, integer),
	@extschema@.explain(text, record, integer, integer)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
