-- Training, and which version is deployed.

CREATE FUNCTION @extschema@.train(model text, task text DEFAULT NULL, source text DEFAULT NULL, target text DEFAULT NULL,
	algorithm text DEFAULT 'auto', options jsonb DEFAULT '{}', goal text DEFAULT NULL,
	OUT model text, OUT version integer, OUT algorithm text, OUT rows bigint, OUT features integer, OUT metric text,
	OUT metric_value double precision, OUT quality text, OUT seconds double precision)
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000
AS 'MODULE_PATHNAME', 'pe_train_model';
COMMENT ON FUNCTION @extschema@.train(text, text, text, text, text, jsonb, text) IS
	'learns a model from the rows of a table, view or SELECT and stores it as a new version, evaluated on held-out rows; options: key, weight, features (include, exclude, treatment), positive, threshold, deploy, holdout (a share, or from and column), refit, search (trials, folds, budget_seconds, metric, space), and those of the algorithm. A goal replaces source and target';

CREATE FUNCTION @extschema@.recalibrate(model text, source text, target text, kind text DEFAULT 'isotonic',
	version integer DEFAULT NULL, deploy boolean DEFAULT true) RETURNS integer
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000
AS 'MODULE_PATHNAME', 'pe_recalibrate_model';
COMMENT ON FUNCTION @extschema@.recalibrate(text, text, text, text, integer, boolean) IS
	'makes the probabilities of a propensity model come true on newer outcomes without training it again: a new version with the same trees or coefficients, whose number is returned; kind: isotonic or platt';

CREATE FUNCTION @extschema@.leakage_scan(source text, target text, task text DEFAULT NULL, options jsonb DEFAULT '{}')
RETURNS TABLE (feature text, column_name text, strength double precision, measure text, "class" text, suspicious boolean)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 50
AS 'MODULE_PATHNAME', 'pe_leakage_scan';
COMMENT ON FUNCTION @extschema@.leakage_scan(text, text, text, jsonb) IS
	'how well each feature alone tells the target, the strongest first, on at most 20,000 rows: AUC, or r2 (share of the variance) for a value; above 0.99 it probably restates the target. options: features, key, positive, weight';

CREATE FUNCTION @extschema@.deploy(model text, version integer) RETURNS integer
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_deploy';
COMMENT ON FUNCTION @extschema@.deploy(text, integer) IS
	'makes a version the one that predicts; returns the version that was, NULL for none';

CREATE FUNCTION @extschema@.drop_model(model text, version integer) RETURNS integer
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_drop_model';
COMMENT ON FUNCTION @extschema@.drop_model(text, integer) IS
	'drops a version that is not deployed; returns how many went';

CREATE FUNCTION @extschema@.drop_model(model text) RETURNS integer
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_drop_model';
COMMENT ON FUNCTION @extschema@.drop_model(text) IS
	'drops a model with all of its versions; returns how many went';

REVOKE ALL ON FUNCTION @extschema@.train(text, text, text, text, text, jsonb, text),
	@extschema@.recalibrate(text, text, text, text, integer, boolean), @extschema@.leakage_scan(text, text, text, jsonb),
	@extschema@.deploy(text, integer), @extschema@.drop_model(text, integer), @extschema@.drop_model(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.train(text, text, text, text, text, jsonb, text),
	@extschema@.recalibrate(text, text, text, text, integer, boolean), @extschema@.leakage_scan(text, text, text, jsonb),
	@extschema@.deploy(text, integer), @extschema@.drop_model(text, integer), @extschema@.drop_model(text)
	TO profenrich_analyst, profenrich_admin;
