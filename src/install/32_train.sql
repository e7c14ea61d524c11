-- Training, and which version is deployed.

CREATE FUNCTION @extschema@.train(model text, task text DEFAULT NULL, source text DEFAULT NULL, target text DEFAULT NULL,
	algorithm text DEFAULT 'auto', options jsonb DEFAULT '{}', goal text DEFAULT NULL,
	OUT model text, OUT version integer, OUT algorithm text, OUT rows bigint, OUT features integer, OUT metric text,
	OUT metric_value double precision, OUT quality text, OUT seconds double precision)
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000
AS 'MODULE_PATHNAME', 'pe_train_model';
COMMENT ON FUNCTION @extschema@.train(text, text, text, text, text, jsonb, text) IS
	'learns a model from the rows of a table, view or SELECT and stores it as a new version, evaluated on held-out rows; options: key, weight, features (include, exclude, treatment), positive, threshold, deploy, and those of the algorithm';

CREATE FUNCTION @extschema@.deploy(model text, version integer) RETURNS integer
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_deploy';
COMMENT ON FUNCTION @extschema@.deploy(text, integer) IS
	'makes a version the one that predicts; returns the version that was, NULL for none';

CREATE FUNCTION @extschema@.drop_model(model text, version integer DEFAULT NULL) RETURNS integer
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_drop_model';
COMMENT ON FUNCTION @extschema@.drop_model(text, integer) IS
	'drops a version that is not deployed, or without a version the whole model; returns how many versions went';

REVOKE ALL ON FUNCTION @extschema@.train(text, text, text, text, text, jsonb, text),
	@extschema@.deploy(text, integer), @extschema@.drop_model(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.train(text, text, text, text, text, jsonb, text),
	@extschema@.deploy(text, integer), @extschema@.drop_model(text, integer)
	TO profenrich_analyst, profenrich_admin;
