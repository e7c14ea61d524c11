-- profenrich: roles and what PUBLIC may do. Parts of this folder are joined in
-- name order into one install script; each part grants what it makes.
\echo Use "CREATE EXTENSION profenrich" to load this file. \quit

-- Roles outlive the extension (others may be members) and are shared by all databases.
DO $$
DECLARE
	role_name text;
BEGIN
	FOREACH role_name IN ARRAY ARRAY['profenrich_reader', 'profenrich_analyst', 'profenrich_operator', 'profenrich_admin']
	LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) role_name) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
		END IF;
	END LOOP;
END
$$;

GRANT USAGE ON SCHEMA @extschema@ TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
-- Progress of long calls, from shared memory.

CREATE FUNCTION @extschema@.progress(kind text)
RETURNS TABLE (pid integer, name text, phase text, done bigint, total bigint, started timestamptz)
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pe_progress';
COMMENT ON FUNCTION @extschema@.progress(text) IS
	'running calls of a kind (load, train, score) in this database that the caller may see';

CREATE VIEW @extschema@.training_progress AS
	SELECT pid, name AS model, phase, done, total, started FROM @extschema@.progress('train');
COMMENT ON VIEW @extschema@.training_progress IS 'trainings that run now: phase, work done and in total';

CREATE VIEW @extschema@.load_progress AS
	SELECT pid, name AS into_table, phase, done, total, started FROM @extschema@.progress('load');
COMMENT ON VIEW @extschema@.load_progress IS 'snapshot loads that run now: phase, rows or bytes done and in total';

REVOKE ALL ON FUNCTION @extschema@.progress(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.progress(text)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.training_progress, @extschema@.load_progress
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
-- Connecting: a server says where (organisation, sandbox), a user mapping says who.

CREATE FUNCTION @extschema@.experience_platform_validator(options text[], catalog oid)
RETURNS void LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_experience_platform_validator';
COMMENT ON FUNCTION @extschema@.experience_platform_validator(text[], oid) IS
	'checks the options of servers and user mappings of experience_platform';

CREATE FOREIGN DATA WRAPPER experience_platform NO HANDLER VALIDATOR @extschema@.experience_platform_validator;
COMMENT ON FOREIGN DATA WRAPPER experience_platform IS
	'Adobe Experience Platform: a server names organisation and sandbox, a user mapping the credential';

CREATE FUNCTION @extschema@.check_connection(server text)
RETURNS TABLE (step text, ok boolean, detail text)
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 7
AS 'MODULE_PATHNAME', 'pe_check_connection';
COMMENT ON FUNCTION @extschema@.check_connection(text) IS
	'tries each step of reaching the platform through a server, and says what is wrong';

CREATE FUNCTION @extschema@.datasets(server text)
RETURNS TABLE (dataset_id text, name text, schema_id text, profile_enabled boolean, is_snapshot boolean,
	merge_policy text, table_name text, row_count bigint, created timestamptz)
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 100
AS 'MODULE_PATHNAME', 'pe_datasets';
COMMENT ON FUNCTION @extschema@.datasets(text) IS 'data sets of the sandbox, and which of them are profile snapshots';

CREATE FUNCTION @extschema@.identity_namespaces(server text)
RETURNS TABLE (id bigint, code text, name text, id_type text, custom boolean)
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 20
AS 'MODULE_PATHNAME', 'pe_identity_namespaces';
COMMENT ON FUNCTION @extschema@.identity_namespaces(text) IS 'identity namespaces of the organisation';

CREATE FUNCTION @extschema@.create_identity_namespace(server text, code text, name text DEFAULT NULL)
RETURNS text LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_create_identity_namespace';
COMMENT ON FUNCTION @extschema@.create_identity_namespace(text, text, text) IS
	'makes an identity namespace for ids of people across devices, unless its code exists; it cannot be deleted again';

CREATE FUNCTION @extschema@.platform_profile(server text, namespace text, id text)
RETURNS jsonb LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_platform_profile';
COMMENT ON FUNCTION @extschema@.platform_profile(text, text, text) IS
	'what the platform has for one profile now, as its merged entity; null when it knows no such identity';

REVOKE ALL ON FUNCTION @extschema@.experience_platform_validator(text[], oid) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.check_connection(text), @extschema@.datasets(text),
	@extschema@.identity_namespaces(text), @extschema@.create_identity_namespace(text, text, text),
	@extschema@.platform_profile(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.check_connection(text), @extschema@.datasets(text),
	@extschema@.identity_namespaces(text) TO profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.create_identity_namespace(text, text, text),
	@extschema@.platform_profile(text, text, text) TO profenrich_operator, profenrich_admin;
GRANT USAGE ON FOREIGN DATA WRAPPER experience_platform TO profenrich_admin;
-- Loading profile snapshots, and what was loaded.

CREATE TABLE @extschema@.snapshot_load (
	schema_name		text NOT NULL,
	partition_name	text NOT NULL,
	snapshot_date	date NOT NULL,
	loaded_at		timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	loaded_by		text NOT NULL,
	source			text NOT NULL,
	server			text,
	dataset			text,
	batch			text,
	mapping			jsonb,
	rows			bigint NOT NULL,
	files			bigint NOT NULL,
	bytes			bigint NOT NULL,
	PRIMARY KEY (schema_name, partition_name)
);
COMMENT ON TABLE @extschema@.snapshot_load IS 'one row for each loaded day: its partition, by name so that a restore finds it';
COMMENT ON COLUMN @extschema@.snapshot_load.mapping IS 'the columns argument of the load; a later load without one uses it again';
SELECT pg_catalog.pg_extension_config_dump('@extschema@.snapshot_load', '');

-- The table is found through its partition: renamed tables stay listed, dropped ones are not.
CREATE VIEW @extschema@.snapshots WITH (security_barrier) AS
	SELECT i.inhparent::pg_catalog.regclass AS into_table, s.snapshot_date, s.loaded_at, s.loaded_by, s.source, s.server,
		   s.dataset, s.batch, s.rows, s.files, s.bytes, c.oid::pg_catalog.regclass AS partition
	  FROM @extschema@.snapshot_load s
	  JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) s.schema_name::pg_catalog.name
	  JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid
								AND c.relname OPERATOR(pg_catalog.=) s.partition_name::pg_catalog.name
	  JOIN pg_catalog.pg_inherits i ON i.inhrelid OPERATOR(pg_catalog.=) c.oid
	 WHERE pg_catalog.has_any_column_privilege(i.inhparent, 'SELECT');
COMMENT ON VIEW @extschema@.snapshots IS 'the loaded days of the tables that you may read';
COMMENT ON COLUMN @extschema@.snapshots.into_table IS 'table that was loaded into';
COMMENT ON COLUMN @extschema@.snapshots.snapshot_date IS 'day of the snapshot';
COMMENT ON COLUMN @extschema@.snapshots.loaded_at IS 'when it was loaded';
COMMENT ON COLUMN @extschema@.snapshots.loaded_by IS 'role that loaded it';
COMMENT ON COLUMN @extschema@.snapshots.source IS 'path on the server, or name of the data set';
COMMENT ON COLUMN @extschema@.snapshots.server IS 'foreign server it came from; null for files';
COMMENT ON COLUMN @extschema@.snapshots.dataset IS 'id of the data set; null for files';
COMMENT ON COLUMN @extschema@.snapshots.batch IS 'id of the batch; null for files';
COMMENT ON COLUMN @extschema@.snapshots.rows IS 'profiles loaded';
COMMENT ON COLUMN @extschema@.snapshots.files IS 'files read';
COMMENT ON COLUMN @extschema@.snapshots.bytes IS 'bytes of the files as stored';
COMMENT ON COLUMN @extschema@.snapshots.partition IS 'partition that holds the day';

CREATE FUNCTION @extschema@.load_snapshot_file(path text, into_table text, columns jsonb DEFAULT NULL,
	INOUT snapshot_date date DEFAULT CURRENT_DATE, format text DEFAULT 'auto',
	OUT rows bigint, OUT files integer, OUT bytes bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_load_snapshot_file';
COMMENT ON FUNCTION @extschema@.load_snapshot_file(text, text, jsonb, date, text) IS
	'load exported profiles (Parquet, NDJSON, CSV; .gz as well) from a file or glob on the server into the partition of a day, replacing it';

CREATE FUNCTION @extschema@.load_snapshot(server text, into_table text, dataset text DEFAULT NULL, merge_policy text DEFAULT NULL,
	columns jsonb DEFAULT NULL, INOUT snapshot_date date DEFAULT NULL,
	OUT rows bigint, OUT files integer, OUT bytes bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_load_snapshot';
COMMENT ON FUNCTION @extschema@.load_snapshot(text, text, text, text, jsonb, date) IS
	'load a day''s profile snapshot from the platform, the newest by default, into the partition of that day, replacing it';

CREATE FUNCTION @extschema@.unload_snapshot(into_table text, snapshot_date date)
RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_unload_snapshot';
COMMENT ON FUNCTION @extschema@.unload_snapshot(text, date) IS
	'drop the partition of a day; the view of the newest day moves back if it was the newest';

REVOKE ALL ON @extschema@.snapshot_load, @extschema@.snapshots FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.load_snapshot_file(text, text, jsonb, date, text),
	@extschema@.load_snapshot(text, text, text, text, jsonb, date), @extschema@.unload_snapshot(text, date) FROM PUBLIC;
-- pg_dump by a role that is no superuser needs to read the table.
GRANT SELECT ON @extschema@.snapshot_load TO profenrich_admin;
GRANT SELECT ON @extschema@.snapshots TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.load_snapshot_file(text, text, jsonb, date, text),
	@extschema@.load_snapshot(text, text, text, text, jsonb, date), @extschema@.unload_snapshot(text, date) TO profenrich_analyst, profenrich_operator, profenrich_admin;
-- Models: what was learnt. A version is never changed; a model says which one is deployed.

CREATE TABLE @extschema@.model (
	name				text PRIMARY KEY CHECK (pg_catalog.octet_length(name) OPERATOR(pg_catalog.<=) 63
												AND name OPERATOR(pg_catalog.<>) ''),
	owner				regrole NOT NULL,
	task				text NOT NULL,
	deployed_version	integer,
	last_version		integer NOT NULL DEFAULT 0,
	created_at			timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE @extschema@.model IS 'models by name: who owns them and which version predicts';
COMMENT ON COLUMN @extschema@.model.owner IS 'role that may retrain, deploy and drop the model, with its members';
COMMENT ON COLUMN @extschema@.model.deployed_version IS 'version that predict, classify, explain and score use unless told otherwise';
COMMENT ON COLUMN @extschema@.model.last_version IS 'highest version number given out; numbers of dropped versions are not used again';

CREATE TABLE @extschema@.model_version (
	version_id			bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
	model				text NOT NULL REFERENCES @extschema@.model ON UPDATE CASCADE ON DELETE CASCADE,
	version				integer NOT NULL,
	algorithm			text NOT NULL,
	task				text NOT NULL,
	objective			text NOT NULL,
	target				text,
	key					text,
	source				text NOT NULL,
	rows				bigint NOT NULL,
	positives			bigint,
	options				jsonb NOT NULL,
	holdout				text,
	features			jsonb NOT NULL,
	metrics				jsonb NOT NULL,
	evaluation			jsonb NOT NULL,
	verdict				text NOT NULL,
	quality				text NOT NULL,
	positive_label		text,
	negative_label		text,
	threshold			double precision,
	recalibrated_from	integer,
	seconds				jsonb NOT NULL,
	memory_bytes		bigint NOT NULL,
	trained_by			regrole NOT NULL,
	trained_at			timestamptz NOT NULL DEFAULT pg_catalog.now(),
	artifact_bytes		bigint NOT NULL,
	artifact_checksum	text NOT NULL,
	UNIQUE (model, version)
);
COMMENT ON TABLE @extschema@.model_version IS 'trained versions: what they learnt from and how good they are; rows are never changed';
COMMENT ON COLUMN @extschema@.model_version.target IS 'column that was learnt to be predicted; null for tasks without a target';
COMMENT ON COLUMN @extschema@.model_version.key IS 'column whose hash decided which rows were held out; null: the row number';
COMMENT ON COLUMN @extschema@.model_version.holdout IS 'which rows were held out of training, and evaluated; null for tasks that hold out none';
COMMENT ON COLUMN @extschema@.model_version.recalibrated_from IS 'version whose trees or coefficients it has, when recalibrate() made it';
COMMENT ON COLUMN @extschema@.model_version.features IS 'the features, in the order of the artifact, with their importance';
COMMENT ON COLUMN @extschema@.model_version.evaluation IS 'rows of evaluation, lift_table, roc_curve, calibration_table, class_table and confusion_matrix';
COMMENT ON COLUMN @extschema@.model_version.memory_bytes IS 'private memory that the training was bound to stay within, as computed from its rows and options';
COMMENT ON COLUMN @extschema@.model_version.artifact_checksum IS 'SHA-256 of the artifact: equal for equal rows, options and seed';

-- A bytea beyond some hundred MB cannot be dumped: parts of at most 16 MB.
CREATE TABLE @extschema@.model_artifact (
	version_id	bigint NOT NULL REFERENCES @extschema@.model_version ON DELETE CASCADE,
	part		integer NOT NULL,
	bytes		bytea NOT NULL,
	PRIMARY KEY (version_id, part)
);
ALTER TABLE @extschema@.model_artifact ALTER COLUMN bytes SET STORAGE EXTERNAL;
COMMENT ON TABLE @extschema@.model_artifact IS 'the versions themselves, as bytes, in parts';

CREATE TABLE @extschema@.search_trial (
	version_id	bigint NOT NULL REFERENCES @extschema@.model_version ON DELETE CASCADE,
	trial		integer NOT NULL,
	options		jsonb NOT NULL,
	metric		text NOT NULL,
	mean		double precision NOT NULL,
	deviation	double precision,
	folds		integer NOT NULL,
	seconds		double precision NOT NULL,
	chosen		boolean NOT NULL,
	PRIMARY KEY (version_id, trial)
);
COMMENT ON TABLE @extschema@.search_trial IS 'what the search of a training tried, and how well each did';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.model', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.model_version', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.model_version_version_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.model_artifact', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.search_trial', '');

-- Sessions remember which version is deployed; a change of rows alone would not reach them.
CREATE FUNCTION @extschema@.model_changed() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'pe_model_changed';
COMMENT ON FUNCTION @extschema@.model_changed() IS 'makes all sessions look up deployed versions again';
REVOKE ALL ON FUNCTION @extschema@.model_changed() FROM PUBLIC;
CREATE TRIGGER model_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON @extschema@.model
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.model_changed();
CREATE TRIGGER model_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON @extschema@.model_version
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.model_changed();

-- Who may see what a model is; the artifacts are for pg_dump by an administrator.
GRANT SELECT ON @extschema@.model, @extschema@.model_version, @extschema@.search_trial
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.model_artifact TO profenrich_admin;
GRANT SELECT ON SEQUENCE @extschema@.model_version_version_id_seq TO profenrich_admin;
-- What models there are and how good they are, as views for BI.

CREATE VIEW @extschema@.models AS
	SELECT m.name, m.owner, m.task, m.deployed_version, v.algorithm, v.target, v.rows,
		   pg_catalog.jsonb_array_length(v.features) AS features, v.quality, v.verdict, v.trained_at, m.created_at,
		   (SELECT pg_catalog.count(*) FROM @extschema@.model_version AS o WHERE o.model OPERATOR(pg_catalog.=) m.name) AS versions
	  FROM @extschema@.model AS m
	  LEFT JOIN @extschema@.model_version AS v
		ON v.model OPERATOR(pg_catalog.=) m.name AND v.version OPERATOR(pg_catalog.=) m.deployed_version;
COMMENT ON VIEW @extschema@.models IS 'models with what is deployed of each';
COMMENT ON COLUMN @extschema@.models.quality IS 'the deployed version in one word';
COMMENT ON COLUMN @extschema@.models.verdict IS 'the deployed version in a sentence';
COMMENT ON COLUMN @extschema@.models.versions IS 'how many versions are stored';

CREATE VIEW @extschema@.model_versions AS
	SELECT v.model, v.version, (v.version OPERATOR(pg_catalog.=) m.deployed_version) IS TRUE AS deployed, v.algorithm, v.task,
		   v.objective, v.target, v.key, v.source, v.rows, v.positives, pg_catalog.jsonb_array_length(v.features) AS features,
		   v.options, v.metrics, v.quality, v.verdict, v.positive_label, v.negative_label, v.threshold, v.seconds,
		   v.memory_bytes, v.trained_by, v.trained_at, v.artifact_bytes, v.artifact_checksum, v.holdout, v.recalibrated_from
	  FROM @extschema@.model_version AS v
	  JOIN @extschema@.model AS m ON m.name OPERATOR(pg_catalog.=) v.model;
COMMENT ON VIEW @extschema@.model_versions IS 'every stored version of every model';
COMMENT ON COLUMN @extschema@.model_versions.rows IS 'rows with a target, trained on or held out';
COMMENT ON COLUMN @extschema@.model_versions.metrics IS 'figures on the rows that were held out';
COMMENT ON COLUMN @extschema@.model_versions.threshold IS 'probability from which on classify() says the positive label';
COMMENT ON COLUMN @extschema@.model_versions.seconds IS 'time that each phase of the training took';
COMMENT ON COLUMN @extschema@.model_versions.holdout IS 'which rows were held out of training, and evaluated';
COMMENT ON COLUMN @extschema@.model_versions.recalibrated_from IS 'version whose trees or coefficients it has, when recalibrate() made it';
COMMENT ON COLUMN @extschema@.model_versions.artifact_checksum IS 'SHA-256 of the artifact: equal for equal rows, options and seed';

CREATE VIEW @extschema@.lift_table AS
	SELECT v.model, v.version, d.decile, d.rows, d.sum_target, d.mean_target, d.mean_prediction, d.lift, d.cumulative_lift,
		   d.cumulative_gain, d.lowest_prediction
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'deciles') AS d (
			   decile integer, rows bigint, sum_target double precision, mean_target double precision,
			   mean_prediction double precision, lift double precision, cumulative_lift double precision,
			   cumulative_gain double precision, lowest_prediction double precision);
COMMENT ON VIEW @extschema@.lift_table IS 'held-out rows by tenths of the prediction, highest first, of every version';
COMMENT ON COLUMN @extschema@.lift_table.lift IS 'mean target of the tenth over the overall mean';
COMMENT ON COLUMN @extschema@.lift_table.cumulative_gain IS 'share of all positives (of the whole value) in this tenth and those above';

CREATE VIEW @extschema@.roc_curve AS
	SELECT v.model, v.version, d.threshold, d.false_positive_rate, d.true_positive_rate
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'roc') AS d (
			   threshold double precision, false_positive_rate double precision, true_positive_rate double precision);
COMMENT ON VIEW @extschema@.roc_curve IS 'rates of true and false positives by threshold, of every version';

CREATE VIEW @extschema@.calibration_table AS
	SELECT v.model, v.version, d.bin, d.lowest, d.highest, d.rows, d.mean_prediction, d.mean_target
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'calibration') AS d (
			   bin integer, lowest double precision, highest double precision, rows bigint,
			   mean_prediction double precision, mean_target double precision);
COMMENT ON VIEW @extschema@.calibration_table IS 'predicted probability against observed rate, in bins, of every version';

CREATE VIEW @extschema@.class_table AS
	SELECT v.model, v.version, d."class", d.rows, d.share, d.mean_prediction, d.auc, d."precision", d.recall
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'classes') AS d (
			   "class" text, rows bigint, share double precision, mean_prediction double precision, auc double precision,
			   "precision" double precision, recall double precision);
COMMENT ON VIEW @extschema@.class_table IS 'how well each class is told from all others, of every version of the task affinity';
COMMENT ON COLUMN @extschema@.class_table.auc IS 'chance that a row of the class is ranked above one that is not, by the class''s probability';
COMMENT ON COLUMN @extschema@.class_table."precision" IS 'share of the rows predicted to be of the class that are; null when none is predicted to be';
COMMENT ON COLUMN @extschema@.class_table.recall IS 'share of the class''s rows that are predicted to be of it';

CREATE VIEW @extschema@.confusion_matrix AS
	SELECT v.model, v.version, d.actual, d.predicted, d.weight
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'confusion') AS d (
			   actual text, predicted text, weight double precision);
COMMENT ON VIEW @extschema@.confusion_matrix IS 'held-out rows by actual and most probable class, the 20 most frequent classes by name, of every version of the task affinity';
COMMENT ON COLUMN @extschema@.confusion_matrix.weight IS 'rows, or the sum of their weights';

CREATE VIEW @extschema@.search_trials AS
	SELECT v.model, v.version, t.trial, t.options, t.metric, t.mean, t.deviation, t.folds, t.seconds, t.chosen
	  FROM @extschema@.search_trial AS t
	  JOIN @extschema@.model_version AS v ON v.version_id OPERATOR(pg_catalog.=) t.version_id;
COMMENT ON VIEW @extschema@.search_trials IS 'what the search of a training tried, by cross-validation';
COMMENT ON COLUMN @extschema@.search_trials.options IS 'what differed from the options as they were given; trial 1 is those';
COMMENT ON COLUMN @extschema@.search_trials.mean IS 'mean of the metric over the folds';
COMMENT ON COLUMN @extschema@.search_trials.deviation IS 'standard deviation of the metric between folds';
COMMENT ON COLUMN @extschema@.search_trials.folds IS 'folds that were evaluated; fewer than asked for where the trial was hopeless or the time over';

CREATE VIEW @extschema@.training_cost AS
	SELECT v.model, v.version, v.rows, pg_catalog.jsonb_array_length(v.features) AS features, p.key AS phase, (p.value)::double precision AS seconds,
		   (p.value)::double precision OPERATOR(pg_catalog./) NULLIF((v.seconds OPERATOR(pg_catalog.->) 'total')::double precision, 0) AS share
	  FROM @extschema@.model_version AS v, pg_catalog.jsonb_each(v.seconds) AS p;
COMMENT ON VIEW @extschema@.training_cost IS 'where the time of each training went: read, bin, fit, explain, evaluate, store, search, and the total';
COMMENT ON COLUMN @extschema@.training_cost.share IS 'of the total';

CREATE VIEW @extschema@.feature_importance AS
	SELECT v.model, v.version, d.name AS feature, d."column" AS column_name, d.treatment, d.levels, d.used, d.gain, d.splits,
		   d.mean_contribution
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.features) AS d (
			   name text, "column" text, treatment text, levels integer, used boolean, gain double precision,
			   splits bigint, mean_contribution double precision);
COMMENT ON VIEW @extschema@.feature_importance IS 'what each feature adds, of every version';
COMMENT ON COLUMN @extschema@.feature_importance.gain IS 'share of the loss that splits on the feature took away; linear models: share of the contributions';
COMMENT ON COLUMN @extschema@.feature_importance.mean_contribution IS 'mean size of the contribution to the margin on held-out rows';

GRANT SELECT ON @extschema@.models, @extschema@.model_versions, @extschema@.lift_table, @extschema@.roc_curve,
	@extschema@.calibration_table, @extschema@.feature_importance, @extschema@.class_table, @extschema@.confusion_matrix,
	@extschema@.search_trials, @extschema@.training_cost
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
-- Training, and which version is deployed.

CREATE FUNCTION @extschema@.train(model text, task text DEFAULT NULL, source text DEFAULT NULL, target text DEFAULT NULL,
	algorithm text DEFAULT 'auto', options jsonb DEFAULT '{}', goal text DEFAULT NULL,
	OUT model text, OUT version integer, OUT algorithm text, OUT rows bigint, OUT features integer, OUT metric text,
	OUT metric_value double precision, OUT quality text, OUT seconds double precision)
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000
AS 'MODULE_PATHNAME', 'pe_train_model';
COMMENT ON FUNCTION @extschema@.train(text, text, text, text, text, jsonb, text) IS
	'learns a model from the rows of a table, view or SELECT and stores it as a new version, evaluated on held-out rows; options: key, weight, features (include, exclude, treatment), positive, threshold, deploy, holdout (a share, or from and column), refit, search (trials, folds, budget_seconds, metric, space), and those of the algorithm';

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

CREATE FUNCTION @extschema@.drop_model(model text, version integer DEFAULT NULL) RETURNS integer
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_drop_model';
COMMENT ON FUNCTION @extschema@.drop_model(text, integer) IS
	'drops a version that is not deployed, or without a version the whole model; returns how many versions went';

REVOKE ALL ON FUNCTION @extschema@.train(text, text, text, text, text, jsonb, text),
	@extschema@.recalibrate(text, text, text, text, integer, boolean), @extschema@.leakage_scan(text, text, text, jsonb),
	@extschema@.deploy(text, integer), @extschema@.drop_model(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.train(text, text, text, text, text, jsonb, text),
	@extschema@.recalibrate(text, text, text, text, integer, boolean), @extschema@.leakage_scan(text, text, text, jsonb),
	@extschema@.deploy(text, integer), @extschema@.drop_model(text, integer)
	TO profenrich_analyst, profenrich_admin;
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
-- How good a version is. The stored evaluation comes from rows that it did not learn from.

CREATE FUNCTION @extschema@.model_version_id(model text, version integer DEFAULT NULL) RETURNS bigint
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pe_model_version_id';
COMMENT ON FUNCTION @extschema@.model_version_id(text, integer) IS
	'id of the named or the deployed version of a model; an error when there is none';

CREATE FUNCTION @extschema@.evaluation(model text, version integer DEFAULT NULL)
RETURNS TABLE (metric text, value double precision, meaning text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 15
BEGIN ATOMIC
	SELECT r."row" OPERATOR(pg_catalog.->>) 'metric',
		   (r."row" OPERATOR(pg_catalog.->>) 'value')::double precision,
		   r."row" OPERATOR(pg_catalog.->>) 'meaning'
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_array_elements(v.evaluation OPERATOR(pg_catalog.->) 'rows') WITH ORDINALITY AS r ("row", place)
	 WHERE v.version_id OPERATOR(pg_catalog.=) @extschema@.model_version_id(evaluation.model, evaluation.version)
	 ORDER BY r.place;
END;
COMMENT ON FUNCTION @extschema@.evaluation(text, integer) IS
	'the verdict in words and the figures of a version on its held-out rows, each with what it means';

CREATE FUNCTION @extschema@.evaluate(model text, source text, target text, version integer DEFAULT NULL)
RETURNS TABLE (metric text, value double precision, meaning text)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 15
AS 'MODULE_PATHNAME', 'pe_evaluate_model';
COMMENT ON FUNCTION @extschema@.evaluate(text, text, text, integer) IS
	'the same figures on the rows of a table, view or SELECT, read as the caller; rows without a target are skipped';

CREATE FUNCTION @extschema@.lift_table(model text, version integer DEFAULT NULL)
RETURNS TABLE (decile integer, rows bigint, sum_target double precision, mean_target double precision,
	mean_prediction double precision, lift double precision, cumulative_lift double precision,
	cumulative_gain double precision, lowest_prediction double precision)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
	SELECT d.decile, d.rows, d.sum_target, d.mean_target, d.mean_prediction, d.lift, d.cumulative_lift, d.cumulative_gain,
		   d.lowest_prediction
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'deciles') AS d (
			   decile integer, rows bigint, sum_target double precision, mean_target double precision,
			   mean_prediction double precision, lift double precision, cumulative_lift double precision,
			   cumulative_gain double precision, lowest_prediction double precision)
	 WHERE v.version_id OPERATOR(pg_catalog.=) @extschema@.model_version_id(lift_table.model, lift_table.version)
	 ORDER BY d.decile;
END;
COMMENT ON FUNCTION @extschema@.lift_table(text, integer) IS
	'held-out rows by tenths of the prediction, highest first: how much better than average each does';

CREATE FUNCTION @extschema@.roc_curve(model text, version integer DEFAULT NULL)
RETURNS TABLE (threshold double precision, false_positive_rate double precision, true_positive_rate double precision)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 200
BEGIN ATOMIC
	SELECT d.threshold, d.false_positive_rate, d.true_positive_rate
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'roc') AS d (
			   threshold double precision, false_positive_rate double precision, true_positive_rate double precision)
	 WHERE v.version_id OPERATOR(pg_catalog.=) @extschema@.model_version_id(roc_curve.model, roc_curve.version)
	 ORDER BY d.false_positive_rate, d.true_positive_rate;
END;
COMMENT ON FUNCTION @extschema@.roc_curve(text, integer) IS 'rates of true and false positives by threshold';

CREATE FUNCTION @extschema@.calibration_table(model text, version integer DEFAULT NULL)
RETURNS TABLE (bin integer, lowest double precision, highest double precision, rows bigint,
	mean_prediction double precision, mean_target double precision)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
	SELECT d.bin, d.lowest, d.highest, d.rows, d.mean_prediction, d.mean_target
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'calibration') AS d (
			   bin integer, lowest double precision, highest double precision, rows bigint,
			   mean_prediction double precision, mean_target double precision)
	 WHERE v.version_id OPERATOR(pg_catalog.=) @extschema@.model_version_id(calibration_table.model, calibration_table.version)
	 ORDER BY d.bin;
END;
COMMENT ON FUNCTION @extschema@.calibration_table(text, integer) IS
	'predicted probability against observed rate, in bins';

CREATE FUNCTION @extschema@.feature_importance(model text, version integer DEFAULT NULL)
RETURNS TABLE (feature text, column_name text, treatment text, levels integer, used boolean, gain double precision,
	splits bigint, mean_contribution double precision)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 50
BEGIN ATOMIC
	SELECT d.name, d."column", d.treatment, d.levels, d.used, d.gain, d.splits, d.mean_contribution
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.features) AS d (
			   name text, "column" text, treatment text, levels integer, used boolean, gain double precision,
			   splits bigint, mean_contribution double precision)
	 WHERE v.version_id OPERATOR(pg_catalog.=) @extschema@.model_version_id(feature_importance.model, feature_importance.version)
	 ORDER BY d.gain DESC NULLS LAST, d.name;
END;
COMMENT ON FUNCTION @extschema@.feature_importance(text, integer) IS 'what each feature adds, the most important first';

CREATE FUNCTION @extschema@.class_table(model text, version integer DEFAULT NULL)
RETURNS TABLE ("class" text, rows bigint, share double precision, mean_prediction double precision, auc double precision, "precision" double precision, recall double precision)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 20
BEGIN ATOMIC
	SELECT d."class", d.rows, d.share, d.mean_prediction, d.auc, d."precision", d.recall
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'classes') AS d (
			   "class" text, rows bigint, share double precision, mean_prediction double precision, auc double precision, "precision" double precision, recall double precision)
	 WHERE v.version_id OPERATOR(pg_catalog.=) @extschema@.model_version_id(class_table.model, class_table.version)
	 ORDER BY d.rows DESC, d."class";
END;
COMMENT ON FUNCTION @extschema@.class_table(text, integer) IS
	'how well each class of an affinity version is told from all others, the most frequent first';

CREATE FUNCTION @extschema@.confusion_matrix(model text, version integer DEFAULT NULL)
RETURNS TABLE (actual text, predicted text, weight double precision)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
	SELECT d.actual, d.predicted, d.weight
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'confusion') AS d (
			   actual text, predicted text, weight double precision)
	 WHERE v.version_id OPERATOR(pg_catalog.=) @extschema@.model_version_id(confusion_matrix.model, confusion_matrix.version)
	 ORDER BY d.actual, d.weight DESC, d.predicted;
END;
COMMENT ON FUNCTION @extschema@.confusion_matrix(text, integer) IS
	'held-out rows of an affinity version by actual and most probable class; the 20 most frequent classes by name';

CREATE FUNCTION @extschema@.score_distribution(model text, version integer DEFAULT NULL)
RETURNS TABLE (percent integer, prediction double precision)
LANGUAGE C STABLE PARALLEL SAFE ROWS 101
AS 'MODULE_PATHNAME', 'pe_score_distribution';
COMMENT ON FUNCTION @extschema@.score_distribution(text, integer) IS
	'what score and percentile of a version are read from: the predictions that 0 to 100 % of its held-out rows are at most';

DO $$
DECLARE
	signature text;
BEGIN
	FOREACH signature IN ARRAY ARRAY['model_version_id(text, integer)', 'evaluation(text, integer)',
		'evaluate(text, text, text, integer)', 'lift_table(text, integer)', 'roc_curve(text, integer)',
		'calibration_table(text, integer)', 'feature_importance(text, integer)', 'class_table(text, integer)',
		'confusion_matrix(text, integer)', 'score_distribution(text, integer)']
	LOOP
		EXECUTE 'REVOKE ALL ON FUNCTION @extschema@.' OPERATOR(pg_catalog.||) signature OPERATOR(pg_catalog.||) ' FROM PUBLIC';
		EXECUTE 'GRANT EXECUTE ON FUNCTION @extschema@.' OPERATOR(pg_catalog.||) signature OPERATOR(pg_catalog.||)
			' TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin';
	END LOOP;
END
$$;
-- Orders and lifetime value: from a log of orders to customers, and what a lifetime model says of them.

CREATE FUNCTION @extschema@.rfm_summary(source text, customer text, "time" text, amount text DEFAULT NULL,
	unit text DEFAULT 'week', period text DEFAULT 'day', observation_end date DEFAULT NULL, holdout_end date DEFAULT NULL)
RETURNS TABLE (customer text, frequency bigint, recency double precision, age double precision,
	monetary_value double precision, orders bigint, first_order date, last_order date,
	holdout_frequency bigint, holdout_value double precision)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 10000
AS 'MODULE_PATHNAME', 'pe_rfm_summary';
COMMENT ON FUNCTION @extschema@.rfm_summary(text, text, text, text, text, text, date, date) IS
	'one row for each customer of a log of orders (a table, view or SELECT, read as the caller), up to the end of the day observation_end (default: the last in the log): frequency is the number of periods with orders after the first, recency the time from the first to the last of them, age the time from the first to the end, both in units; monetary_value the mean of what the repeat periods were worth, holdout_frequency and holdout_value what came later, up to holdout_end. period: day, week, month, year; unit: the same or an interval. Points in time count by their day in UTC';

CREATE FUNCTION @extschema@.probability_alive(model text, profile record, version integer DEFAULT NULL)
RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 500
AS 'MODULE_PATHNAME', 'pe_probability_alive';
COMMENT ON FUNCTION @extschema@.probability_alive(text, record, integer) IS
	'the probability that the customer has not left for good; NULL for a NULL row';

CREATE FUNCTION @extschema@.expected_orders(model text, profile record, horizon interval DEFAULT NULL,
	version integer DEFAULT NULL) RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 500
AS 'MODULE_PATHNAME', 'pe_expected_orders';
COMMENT ON FUNCTION @extschema@.expected_orders(text, record, interval, integer) IS
	'how many orders the customer is expected to place in the time to come, by default over the model''s horizon; a month is 30.4375 days';

CREATE FUNCTION @extschema@.expected_spend(model text, profile record, version integer DEFAULT NULL)
RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 500
AS 'MODULE_PATHNAME', 'pe_expected_spend';
COMMENT ON FUNCTION @extschema@.expected_spend(text, record, integer) IS
	'what an order of the customer is expected to be worth (gamma-gamma), given frequency and monetary value so far';

CREATE FUNCTION @extschema@.lifetime_value(model text, profile record, horizon interval DEFAULT NULL,
	discount_rate double precision DEFAULT NULL, discount_period interval DEFAULT NULL, version integer DEFAULT NULL)
RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 5000
AS 'MODULE_PATHNAME', 'pe_lifetime_value';
COMMENT ON FUNCTION @extschema@.lifetime_value(text, record, interval, double precision, interval, integer) IS
	'what the customer''s orders in the time to come are expected to be worth today: those of the i-th discount period count 1 / (1 + discount_rate)^i; what is left out is the model''s own. A month is 30.4375 days';

CREATE FUNCTION @extschema@.new_customer_orders(model text, horizon interval DEFAULT NULL, version integer DEFAULT NULL)
RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pe_new_customer_orders';
COMMENT ON FUNCTION @extschema@.new_customer_orders(text, interval, integer) IS
	'how many repeat orders somebody who has just placed a first one is expected to place in the time to come';

CREATE FUNCTION @extschema@.order_count_probability(model text, orders integer, horizon interval DEFAULT NULL,
	version integer DEFAULT NULL) RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pe_order_count_probability';
COMMENT ON FUNCTION @extschema@.order_count_probability(text, integer, interval, integer) IS
	'the probability that a new customer places exactly so many repeat orders in the time to come';

CREATE FUNCTION @extschema@.lifetime_parameters(model text, version integer DEFAULT NULL)
RETURNS TABLE (part text, parameter text, estimate double precision, standard_error double precision,
	lower_95 double precision, upper_95 double precision)
LANGUAGE C STABLE PARALLEL SAFE ROWS 7
AS 'MODULE_PATHNAME', 'pe_lifetime_parameters';
COMMENT ON FUNCTION @extschema@.lifetime_parameters(text, integer) IS
	'the fitted parameters of the process of orders and of the spend, with standard errors (NULL where the data do not determine them); the likelihoods are in evaluation()';

CREATE FUNCTION @extschema@.retention_curve(model text, periods integer DEFAULT 12, version integer DEFAULT NULL)
RETURNS TABLE (period integer, retention double precision, survival double precision, remaining double precision)
LANGUAGE C STABLE PARALLEL SAFE ROWS 13
AS 'MODULE_PATHNAME', 'pe_retention_curve';
COMMENT ON FUNCTION @extschema@.retention_curve(text, integer, integer) IS
	'contracts (sbg): the share of customers that renew at the end of each period, that are still there after it, and the renewals still expected of those (NULL: without bound)';

CREATE FUNCTION @extschema@.lifetime_frequencies(model text, source text, top integer DEFAULT 7,
	weight text DEFAULT NULL, version integer DEFAULT NULL)
RETURNS TABLE (frequency integer, or_more boolean, actual double precision, expected double precision)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 8
AS 'MODULE_PATHNAME', 'pe_lifetime_frequencies';
COMMENT ON FUNCTION @extschema@.lifetime_frequencies(text, text, integer, text, integer) IS
	'how many customers of a table, view or SELECT have each number of repeat orders, and how many the model expects at their ages; the last row takes all from top on';

CREATE FUNCTION @extschema@.lifetime_tracking(model text, source text, customer text, "time" text,
	period interval DEFAULT '7 days', cohort_end date DEFAULT NULL, observation_end date DEFAULT NULL,
	version integer DEFAULT NULL)
RETURNS TABLE (period integer, last_day date, actual bigint, expected double precision,
	cumulative_actual bigint, cumulative_expected double precision)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 52
AS 'MODULE_PATHNAME', 'pe_lifetime_tracking';
COMMENT ON FUNCTION @extschema@.lifetime_tracking(text, text, text, text, interval, date, date, integer) IS
	'repeat orders (days with orders) of a log of orders, period by period from the first order of all, and those that the model expects of the customers whose first order is not after cohort_end';

CREATE FUNCTION @extschema@.lifetime_holdout(model text, source text, actual text DEFAULT 'holdout_frequency',
	horizon interval DEFAULT NULL, top integer DEFAULT 7, version integer DEFAULT NULL)
RETURNS TABLE (frequency integer, or_more boolean, customers bigint, actual double precision, expected double precision)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 8
AS 'MODULE_PATHNAME', 'pe_lifetime_holdout';
COMMENT ON FUNCTION @extschema@.lifetime_holdout(text, text, text, interval, integer, integer) IS
	'mean orders that came in a later period (column actual, of length horizon) and that were expected, by the number of repeat orders before; rfm_summary(..., holdout_end) makes such rows';

CREATE FUNCTION @extschema@.lifetime_evaluate(model text, source text, actual text DEFAULT 'holdout_frequency',
	"value" text DEFAULT NULL, horizon interval DEFAULT NULL, version integer DEFAULT NULL)
RETURNS TABLE (metric text, "value" double precision, meaning text)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 16
AS 'MODULE_PATHNAME', 'pe_lifetime_evaluate';
COMMENT ON FUNCTION @extschema@.lifetime_evaluate(text, text, text, text, interval, integer) IS
	'how well expected orders agree with those of a later period of length horizon (column actual), and with a column value what they were worth (not discounted)';

DO $$
DECLARE
	signature text;
BEGIN
	FOREACH signature IN ARRAY ARRAY['probability_alive(text, record, integer)',
		'expected_orders(text, record, interval, integer)', 'expected_spend(text, record, integer)',
		'lifetime_value(text, record, interval, double precision, interval, integer)',
		'new_customer_orders(text, interval, integer)', 'order_count_probability(text, integer, interval, integer)',
		'lifetime_parameters(text, integer)', 'retention_curve(text, integer, integer)',
		'lifetime_frequencies(text, text, integer, text, integer)',
		'lifetime_tracking(text, text, text, text, interval, date, date, integer)',
		'lifetime_holdout(text, text, text, interval, integer, integer)',
		'lifetime_evaluate(text, text, text, text, interval, integer)',
		'rfm_summary(text, text, text, text, text, text, date, date)']
	LOOP
		EXECUTE 'REVOKE ALL ON FUNCTION @extschema@.' OPERATOR(pg_catalog.||) signature OPERATOR(pg_catalog.||) ' FROM PUBLIC';
		EXECUTE 'GRANT EXECUTE ON FUNCTION @extschema@.' OPERATOR(pg_catalog.||) signature OPERATOR(pg_catalog.||)
			' TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin';
	END LOOP;
END
$$;
-- Items for users, from a version that train() made with task => 'recommendation'.

CREATE FUNCTION @extschema@.recommend(model text, user_key text, top integer DEFAULT 10, version integer DEFAULT NULL)
RETURNS TABLE (item text, score double precision, rank integer, basis text)
LANGUAGE C STABLE PARALLEL SAFE COST 20000 ROWS 10
AS 'MODULE_PATHNAME', 'pe_recommend';
COMMENT ON FUNCTION @extschema@.recommend(text, text, integer, integer) IS
	'the items that a user is likely to take next, best first, none that the user took; basis says whether the user''s history or mere popularity speaks for an item, which is all there is for a user the model does not know';

CREATE FUNCTION @extschema@.recommend_all(model text, source text DEFAULT NULL, key text DEFAULT NULL, top integer DEFAULT 10,
	version integer DEFAULT NULL)
RETURNS TABLE (key text, items text[], scores double precision[], basis text, model_version integer, scored_at timestamptz)
LANGUAGE C STABLE PARALLEL RESTRICTED COST 100000 ROWS 10000
AS 'MODULE_PATHNAME', 'pe_recommend_all';
COMMENT ON FUNCTION @extschema@.recommend_all(text, text, text, integer, integer) IS
	'recommend() for every key of a table, view or SELECT, read as the caller, a repeated key once; without a source for every user the model knows, which only its owner may ask for. basis: history, popularity or both';

CREATE FUNCTION @extschema@.similar_items(model text, item text, top integer DEFAULT 10, version integer DEFAULT NULL)
RETURNS TABLE (item text, similarity double precision, rank integer)
LANGUAGE C STABLE PARALLEL SAFE COST 20000 ROWS 10
AS 'MODULE_PATHNAME', 'pe_similar_items';
COMMENT ON FUNCTION @extschema@.similar_items(text, text, integer, integer) IS
	'the items most like one: by the cosine of their factors (implicit_als) or by the similarity that was asked for (item_item)';

CREATE FUNCTION @extschema@.item_popularity(model text, version integer DEFAULT NULL)
RETURNS TABLE (item text, users bigint, popularity double precision, rank integer)
LANGUAGE C STABLE PARALLEL SAFE COST 20000 ROWS 1000
AS 'MODULE_PATHNAME', 'pe_item_popularity';
COMMENT ON FUNCTION @extschema@.item_popularity(text, integer) IS
	'every item with how many users took it, and the sum of its weights (after the half-life, when there is one), by which items are ranked';

CREATE VIEW @extschema@.recommendation_candidates AS
	SELECT v.model, v.version, c.candidate, c.algorithm, c.regularization, c.neighbours, c.chosen, c.recall_at_10, c.ndcg_at_10,
		   c.precision_at_10, c.map_at_10, c.coverage, c.novelty
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'candidates') AS c (
			   candidate integer, algorithm text, regularization double precision, neighbours text, chosen boolean,
			   recall_at_10 double precision, ndcg_at_10 double precision, precision_at_10 double precision,
			   map_at_10 double precision, coverage double precision, novelty double precision);
COMMENT ON VIEW @extschema@.recommendation_candidates IS
	'what training a recommendation tried, with the figures that the choice was made by; popularity is always among it';
COMMENT ON COLUMN @extschema@.recommendation_candidates.neighbours IS 'neighbours kept for each item, for item_item';
COMMENT ON COLUMN @extschema@.recommendation_candidates.chosen IS 'the setting of the stored version';

REVOKE ALL ON FUNCTION @extschema@.recommend(text, text, integer, integer),
	@extschema@.recommend_all(text, text, text, integer, integer),
	@extschema@.similar_items(text, text, integer, integer), @extschema@.item_popularity(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.recommend(text, text, integer, integer),
	@extschema@.recommend_all(text, text, text, integer, integer),
	@extschema@.similar_items(text, text, integer, integer), @extschema@.item_popularity(text, integer)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.recommendation_candidates
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
-- Segments: what each is like.

CREATE VIEW @extschema@.segments AS
	SELECT v.model, v.version, d.cluster, 'segment ' OPERATOR(pg_catalog.||) d.cluster::text AS segment, d.rows, d.share,
		   d.feature, d.level, d.value, d.overall, d.difference, d.missing
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'segments') AS d (
			   cluster integer, rows bigint, share double precision, feature text, level text, value double precision,
			   overall double precision, difference double precision, missing double precision);
COMMENT ON VIEW @extschema@.segments IS 'the segments of every version of every segment model: how each differs from all rows, feature by feature';
COMMENT ON COLUMN @extschema@.segments.cluster IS 'number of the segment, which predict and score give; 1 is the largest';
COMMENT ON COLUMN @extschema@.segments.segment IS 'its name, as classify gives it';
COMMENT ON COLUMN @extschema@.segments.share IS 'share of all rows that are in it, by weight';
COMMENT ON COLUMN @extschema@.segments.level IS 'of a category, the level that the segment has most above the overall share; null for numbers';
COMMENT ON COLUMN @extschema@.segments.value IS 'mean of the feature in the segment, or the share of its rows that have the level';
COMMENT ON COLUMN @extschema@.segments.overall IS 'the same over all rows';
COMMENT ON COLUMN @extschema@.segments.difference IS 'value less overall, in standard deviations of all rows: the larger, the more the feature makes the segment';
COMMENT ON COLUMN @extschema@.segments.missing IS 'share of the segment that has no value';

CREATE FUNCTION @extschema@.segments(model text, version integer DEFAULT NULL)
RETURNS TABLE (cluster integer, segment text, rows bigint, share double precision, feature text, level text,
	value double precision, overall double precision, difference double precision, missing double precision)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
	SELECT d.cluster, 'segment ' OPERATOR(pg_catalog.||) d.cluster::text, d.rows, d.share, d.feature, d.level, d.value,
		   d.overall, d.difference, d.missing
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'segments') AS d (
			   cluster integer, rows bigint, share double precision, feature text, level text, value double precision,
			   overall double precision, difference double precision, missing double precision)
	 WHERE v.version_id OPERATOR(pg_catalog.=) @extschema@.model_version_id(segments.model, segments.version)
	 ORDER BY d.cluster, pg_catalog.abs(d.difference) DESC NULLS LAST, d.feature;
END;
COMMENT ON FUNCTION @extschema@.segments(text, integer) IS
	'what the segments of a version are like: each feature''s mean or most telling level against all rows, the most telling features first';

REVOKE ALL ON FUNCTION @extschema@.segments(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.segments(text, integer)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.segments
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
-- Engagement: points from events, at any moment.

CREATE FUNCTION @extschema@.engagement_points(model text, source text, as_of timestamptz DEFAULT pg_catalog.now(),
	version integer DEFAULT NULL)
RETURNS TABLE (key text, points double precision, score integer, percentile integer, bucket text, tier text,
	events double precision, last_event timestamptz)
LANGUAGE C STABLE PARALLEL RESTRICTED COST 100000 ROWS 10000
AS 'MODULE_PATHNAME', 'pe_engagement_points';
COMMENT ON FUNCTION @extschema@.engagement_points(text, text, timestamptz, integer) IS
	'adds up events by the rules of an engagement model, read as the caller: for every customer with an event up to as_of the points, their rank among the customers of the training, the tier, the events within the window and the last one';

REVOKE ALL ON FUNCTION @extschema@.engagement_points(text, text, timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.engagement_points(text, text, timestamptz, integer)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
-- What is in a version of the linear family.

CREATE FUNCTION @extschema@.coefficients(model text, version integer DEFAULT NULL)
RETURNS TABLE (feature text, level text, coefficient double precision, std_error double precision,
	statistic double precision, p_value double precision, aliased boolean, class text)
LANGUAGE C STABLE PARALLEL SAFE ROWS 50
AS 'MODULE_PATHNAME', 'pe_coefficients';
COMMENT ON FUNCTION @extschema@.coefficients(text, integer) IS
	'the coefficient table of a logistic, linear, glm or multinomial version; statistic is z or t, aliased columns repeat others, class is that of multinomial';

CREATE FUNCTION @extschema@.lambda_path(model text, version integer DEFAULT NULL)
RETURNS TABLE (step integer, lambda double precision, nonzero integer, deviance_explained double precision,
	cv_mean double precision, cv_error double precision, cv_least boolean, cv_one_error boolean, chosen boolean)
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
AS 'MODULE_PATHNAME', 'pe_lambda_path';
COMMENT ON FUNCTION @extschema@.lambda_path(text, integer) IS
	'the elastic net''s penalties from the largest down: coefficients that are not 0, share of deviance explained on the training rows, mean deviance of left-out rows with its standard error, and which one was kept';

REVOKE ALL ON FUNCTION @extschema@.coefficients(text, integer), @extschema@.lambda_path(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.coefficients(text, integer), @extschema@.lambda_path(text, integer)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
-- A version as a page for people.

CREATE FUNCTION @extschema@.report(model text, version integer DEFAULT NULL) RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10000
AS 'MODULE_PATHNAME', 'pe_report';
COMMENT ON FUNCTION @extschema@.report(text, integer) IS
	'a version as one self-contained HTML page: verdict, figures, curves, importances, data; save it with psql -AtX -o';
REVOKE ALL ON FUNCTION @extschema@.report(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.report(text, integer)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
-- Uplift: whom a treatment moves.

CREATE VIEW @extschema@.uplift_table AS
	SELECT v.model, v.version, d.decile, d.rows, d.treated, d.treated_rate, d.control_rate, d.uplift, d.predicted
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'uplift') AS d (
			   decile integer, rows bigint, treated bigint, treated_rate double precision, control_rate double precision,
			   uplift double precision, predicted double precision);
COMMENT ON VIEW @extschema@.uplift_table IS 'held-out rows by tenths of the predicted uplift, largest first, of every uplift version';
COMMENT ON COLUMN @extschema@.uplift_table.uplift IS 'treated_rate less control_rate: what the treatment added';
COMMENT ON COLUMN @extschema@.uplift_table.predicted IS 'mean of the predictions';

CREATE VIEW @extschema@.qini_curve AS
	SELECT v.model, v.version, d.share, d.gain, d.random
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'qini') AS d (
			   share double precision, gain double precision, random double precision);
COMMENT ON VIEW @extschema@.qini_curve IS 'conversions that treating the first share of the held-out rows adds, of every uplift version';
COMMENT ON COLUMN @extschema@.qini_curve.gain IS 'conversions of treated rows beyond what their number would have had untreated';
COMMENT ON COLUMN @extschema@.qini_curve.random IS 'the same for rows drawn at random';

CREATE FUNCTION @extschema@.uplift_table(model text, version integer DEFAULT NULL)
RETURNS TABLE (decile integer, rows bigint, treated bigint, treated_rate double precision, control_rate double precision,
	uplift double precision, predicted double precision)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
	SELECT d.decile, d.rows, d.treated, d.treated_rate, d.control_rate, d.uplift, d.predicted
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'uplift') AS d (
			   decile integer, rows bigint, treated bigint, treated_rate double precision, control_rate double precision,
			   uplift double precision, predicted double precision)
	 WHERE v.version_id OPERATOR(pg_catalog.=) @extschema@.model_version_id(uplift_table.model, uplift_table.version)
	 ORDER BY d.decile;
END;
COMMENT ON FUNCTION @extschema@.uplift_table(text, integer) IS
	'held-out rows by tenths of the predicted uplift, largest first: what the treatment really added in each';

CREATE FUNCTION @extschema@.qini_curve(model text, version integer DEFAULT NULL)
RETURNS TABLE (share double precision, gain double precision, random double precision)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 101
BEGIN ATOMIC
	SELECT d.share, d.gain, d.random
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'qini') AS d (
			   share double precision, gain double precision, random double precision)
	 WHERE v.version_id OPERATOR(pg_catalog.=) @extschema@.model_version_id(qini_curve.model, qini_curve.version)
	 ORDER BY d.share;
END;
COMMENT ON FUNCTION @extschema@.qini_curve(text, integer) IS
	'conversions that treating the first share of the held-out rows adds, against a random share';

REVOKE ALL ON FUNCTION @extschema@.uplift_table(text, integer), @extschema@.qini_curve(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.uplift_table(text, integer), @extschema@.qini_curve(text, integer)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.uplift_table, @extschema@.qini_curve
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
-- Enrichments: what goes where. Functions over these tables: 52_enrichment.sql.

CREATE TABLE @extschema@.enrichment (
	enrichment_id	integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
	name			text NOT NULL UNIQUE,
	owner			regrole NOT NULL,
	server			text NOT NULL,
	source			text NOT NULL,
	search_path		text,
	identity_column	text NOT NULL,
	namespace		text NOT NULL,
	attributes		jsonb NOT NULL DEFAULT '{}',
	options			jsonb NOT NULL DEFAULT '{}',
	paused			boolean NOT NULL DEFAULT false,
	created_at		timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE @extschema@.enrichment IS 'which scores go to which profile attributes, under which identity';
COMMENT ON COLUMN @extschema@.enrichment.name IS 'name of the enrichment, and of the object that holds its attributes under the tenant namespace';
COMMENT ON COLUMN @extschema@.enrichment.owner IS 'role that the source is read as and whose user mapping sends';
COMMENT ON COLUMN @extschema@.enrichment.server IS 'foreign server that names the organisation and sandbox';
COMMENT ON COLUMN @extschema@.enrichment.source IS 'table, view or query with the identity column and one column for each attribute';
COMMENT ON COLUMN @extschema@.enrichment.search_path IS
	'search_path of the session that gave the source: its names mean the same in every session';
COMMENT ON COLUMN @extschema@.enrichment.attributes IS 'declared shapes: column to type, for columns whose SQL type does not tell';
COMMENT ON COLUMN @extschema@.enrichment.options IS 'on_absent, on_duplicate, max_retract and the like; see the README';

-- What provisioning found or made on the platform; one row once provisioned.
CREATE TABLE @extschema@.enrichment_target (
	enrichment_id	integer PRIMARY KEY REFERENCES @extschema@.enrichment ON DELETE CASCADE,
	tenant			text NOT NULL,
	field_group_id	text NOT NULL,
	schema_id		text NOT NULL,
	dataset_id		text NOT NULL,
	inlet_url		text NOT NULL,
	flow_id			text NOT NULL,
	org_id			text NOT NULL,
	sandbox			text NOT NULL,
	attributes		jsonb,
	sender_identity	text NOT NULL,
	provisioned_at	timestamptz NOT NULL DEFAULT pg_catalog.now(),
	ready_at		timestamptz NOT NULL
);
COMMENT ON TABLE @extschema@.enrichment_target IS 'the platform objects an enrichment writes to, as provisioning found or made them';
COMMENT ON COLUMN @extschema@.enrichment_target.tenant IS 'tenant id without underscore: attributes live under _tenant.enrichment';
COMMENT ON COLUMN @extschema@.enrichment_target.attributes IS 'attribute to type, as the platform has them; null when not known';
COMMENT ON COLUMN @extschema@.enrichment_target.sender_identity IS 'the cluster that may send; a copy of the database has another one and stays silent';
COMMENT ON COLUMN @extschema@.enrichment_target.ready_at IS 'nothing is sent before: a new flow or schema loses early records';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.enrichment', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.enrichment_enrichment_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.enrichment_target', '');

-- pg_dump by a role that is no superuser needs to read them, sequences included.
GRANT SELECT ON @extschema@.enrichment, @extschema@.enrichment_target TO profenrich_operator, profenrich_admin;
GRANT SELECT ON SEQUENCE @extschema@.enrichment_enrichment_id_seq TO profenrich_operator, profenrich_admin;
-- Defining enrichments. Their tables: 50_enrichment.sql.

CREATE FUNCTION @extschema@.create_enrichment(name text, server text, source text, identity_column text, namespace text,
	attributes jsonb DEFAULT NULL, options jsonb DEFAULT '{}')
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_create_enrichment';
COMMENT ON FUNCTION @extschema@.create_enrichment(text, text, text, text, text, jsonb, jsonb) IS
	'defines which columns of a table, view or query become profile attributes, under which identity; the caller owns it';

CREATE FUNCTION @extschema@.alter_enrichment(name text, server text DEFAULT NULL, source text DEFAULT NULL,
	identity_column text DEFAULT NULL, namespace text DEFAULT NULL, attributes jsonb DEFAULT NULL,
	options jsonb DEFAULT NULL)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_alter_enrichment';
COMMENT ON FUNCTION @extschema@.alter_enrichment(text, text, text, text, text, jsonb, jsonb) IS
	'changes a definition; null keeps what is. New attributes reach the platform with the next provision';

CREATE FUNCTION @extschema@.drop_enrichment(name text, force boolean DEFAULT false)
RETURNS void LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_drop_enrichment';
COMMENT ON FUNCTION @extschema@.drop_enrichment(text, boolean) IS
	'forgets an enrichment and its queue; refuses while values are undelivered unless forced. The platform keeps what it has';

CREATE FUNCTION @extschema@.provision(name text)
RETURNS TABLE (object text, id text, action text, detail text)
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 9
AS 'MODULE_PATHNAME', 'pe_provision';
COMMENT ON FUNCTION @extschema@.provision(text) IS
	'finds or makes on the platform all that an enrichment writes through: field group, schema, identity, data set, inlet, flow';

CREATE FUNCTION @extschema@.sender_identity()
RETURNS text LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pe_sender_identity_sql';
COMMENT ON FUNCTION @extschema@.sender_identity() IS
	'the name under which this cluster sends: enrichments provisioned under another one are blocked until adopted';

CREATE FUNCTION @extschema@.adopt(name text)
RETURNS void LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_adopt';
COMMENT ON FUNCTION @extschema@.adopt(text) IS
	'lets this cluster send an enrichment that another one provisioned, as after a copy or a move';

CREATE FUNCTION @extschema@.preview(name text, n integer DEFAULT 3)
RETURNS SETOF jsonb LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 3
AS 'MODULE_PATHNAME', 'pe_preview';
COMMENT ON FUNCTION @extschema@.preview(text, integer) IS
	'the messages that would be sent for the first rows of the source; sends nothing';

REVOKE ALL ON FUNCTION @extschema@.create_enrichment(text, text, text, text, text, jsonb, jsonb),
	@extschema@.alter_enrichment(text, text, text, text, text, jsonb, jsonb), @extschema@.drop_enrichment(text, boolean),
	@extschema@.provision(text), @extschema@.adopt(text), @extschema@.preview(text, integer),
	@extschema@.sender_identity() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.create_enrichment(text, text, text, text, text, jsonb, jsonb),
	@extschema@.alter_enrichment(text, text, text, text, text, jsonb, jsonb), @extschema@.drop_enrichment(text, boolean),
	@extschema@.provision(text), @extschema@.adopt(text), @extschema@.preview(text, integer),
	@extschema@.sender_identity()
	TO profenrich_operator, profenrich_admin;
-- The queue from a changed score to a profile attribute. Its unit is a request, not
-- a row: outbox rows are inserted by refresh and deleted when the platform has
-- accepted them, so the queue leaves next to no dead tuples behind.

CREATE SEQUENCE @extschema@.run_id_seq AS bigint;
COMMENT ON SEQUENCE @extschema@.run_id_seq IS 'numbers refreshes; a value''s version is the run that queued it';

-- One row for each refresh, and for each retract or redrive that queued keys.
CREATE TABLE @extschema@.run (
	run_id			bigint PRIMARY KEY DEFAULT pg_catalog.nextval('@extschema@.run_id_seq'),
	enrichment_id	integer NOT NULL REFERENCES @extschema@.enrichment ON DELETE CASCADE,
	kind			text NOT NULL DEFAULT 'refresh' CHECK (kind IN ('refresh', 'retract', 'redrive')),
	started_at		timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	finished_at		timestamptz,
	run_by			regrole NOT NULL,
	profiles		bigint NOT NULL DEFAULT 0,
	changed			bigint NOT NULL DEFAULT 0,
	unchanged		bigint NOT NULL DEFAULT 0,
	retracted		bigint NOT NULL DEFAULT 0,
	skipped			bigint NOT NULL DEFAULT 0,
	skipped_reasons	jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX run_enrichment_id_idx ON @extschema@.run (enrichment_id, run_id);
COMMENT ON TABLE @extschema@.run IS 'one row for each refresh: how many profiles, how many changed, retracted, skipped and why';

-- The newest value of each profile. The wire record is made from it at send time.
CREATE TABLE @extschema@.profile_score (
	enrichment_id	integer NOT NULL REFERENCES @extschema@.enrichment ON DELETE CASCADE,
	profile_key		text COLLATE "C" NOT NULL,
	version			bigint NOT NULL,
	hash			bigint NOT NULL,
	changed_at		timestamptz NOT NULL,
	not_before		timestamptz,
	retracted		boolean NOT NULL DEFAULT false,
	value			jsonb,
	PRIMARY KEY (enrichment_id, profile_key)
) WITH (fillfactor = 80);
COMMENT ON TABLE @extschema@.profile_score IS 'the newest value of each enrichment and profile, and the run that queued it';
COMMENT ON COLUMN @extschema@.profile_score.version IS 'run that queued this value: a chunk of an older run skips the key';
COMMENT ON COLUMN @extschema@.profile_score.hash IS 'hash of the canonical value; a refresh sends only what changed it. Of a retracted profile: 0, or -1 once that was accepted';
COMMENT ON COLUMN @extschema@.profile_score.not_before IS 'the value waits until then, as its chunk does; null: sent at once';
COMMENT ON COLUMN @extschema@.profile_score.value IS 'object of attribute to value, nulls left out; null when retracted';
COMMENT ON COLUMN @extschema@.profile_score.retracted IS 'the profile left the source: its record is sent without attributes';

-- A chunk of keys to send in one request. Inserted by refresh, deleted on acknowledgement.
CREATE TABLE @extschema@.outbox (
	chunk_id		bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
	enrichment_id	integer NOT NULL REFERENCES @extschema@.enrichment ON DELETE CASCADE,
	shard			smallint NOT NULL CHECK (shard BETWEEN 0 AND 15),
	version			bigint NOT NULL,
	profile_keys	text[] NOT NULL CHECK (pg_catalog.cardinality(profile_keys) BETWEEN 1 AND 500),
	key_count		integer NOT NULL GENERATED ALWAYS AS (pg_catalog.cardinality(profile_keys)) STORED,
	not_before		timestamptz,
	enqueued_at		timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX outbox_shard_idx ON @extschema@.outbox (enrichment_id, shard, chunk_id);
COMMENT ON TABLE @extschema@.outbox IS 'chunks of profile keys not yet accepted by the platform; a chunk is one request';
COMMENT ON COLUMN @extschema@.outbox.shard IS 'hash of the key modulo 16: at most one request in flight for each, in order';
COMMENT ON COLUMN @extschema@.outbox.key_count IS 'how many keys: status views add these up without reading the keys';
COMMENT ON COLUMN @extschema@.outbox.not_before IS 'an earlier value of these profiles may still be on its way: wait until then';

-- Keys whose last try failed in a way that may pass, or whose fate is unknown.
CREATE TABLE @extschema@.retry (
	enrichment_id	integer NOT NULL REFERENCES @extschema@.enrichment ON DELETE CASCADE,
	profile_key		text COLLATE "C" NOT NULL,
	shard			smallint NOT NULL,
	version			bigint NOT NULL,
	attempts		integer NOT NULL DEFAULT 1,
	next_at			timestamptz NOT NULL,
	class			text NOT NULL,
	http_status		integer,
	error			text,
	first_failed_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (enrichment_id, profile_key)
);
CREATE INDEX retry_next_at_idx ON @extschema@.retry (enrichment_id, shard, next_at);
COMMENT ON TABLE @extschema@.retry IS 'profiles to try again, and when';

-- Keys that the platform refuses for good, until redriven or superseded.
CREATE TABLE @extschema@.dead_letter (
	enrichment_id	integer NOT NULL REFERENCES @extschema@.enrichment ON DELETE CASCADE,
	profile_key		text COLLATE "C" NOT NULL,
	shard			smallint NOT NULL,
	version			bigint NOT NULL,
	attempts		integer NOT NULL DEFAULT 1,
	class			text NOT NULL,
	http_status		integer,
	reason			text,
	died_at			timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (enrichment_id, profile_key)
);
COMMENT ON TABLE @extschema@.dead_letter IS 'profiles the platform refused for good, with its reason';

-- One row for each request, partitioned by day; the worker makes and drops partitions.
-- There is a default partition so that a missing day can never fail an acknowledgement.
CREATE TABLE @extschema@.delivery_log (
	at				timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	enrichment_id	integer NOT NULL,
	chunk_id		bigint,
	shard			smallint,
	messages		integer NOT NULL,
	bytes			bigint NOT NULL,
	http_status		integer,
	outcome			text NOT NULL,
	accepted		integer NOT NULL DEFAULT 0,
	superseded		integer NOT NULL DEFAULT 0,
	retried			integer NOT NULL DEFAULT 0,
	dead			integer NOT NULL DEFAULT 0,
	latency_ms		double precision,
	platform_id		text,
	error			text
) PARTITION BY RANGE (at);
CREATE TABLE @extschema@.delivery_log_default PARTITION OF @extschema@.delivery_log DEFAULT;
CREATE INDEX delivery_log_at_idx ON @extschema@.delivery_log (at);
COMMENT ON TABLE @extschema@.delivery_log IS 'one row for each request sent: how many messages, what the platform said, how long it took';
COMMENT ON TABLE @extschema@.delivery_log_default IS 'requests of days that have no partition of their own';
COMMENT ON COLUMN @extschema@.delivery_log.platform_id IS 'the platform''s id of the request, for its support';

-- What the worker knows of an enrichment's delivery, one row each, updated with each acknowledgement.
CREATE TABLE @extschema@.delivery_state (
	enrichment_id	integer PRIMARY KEY REFERENCES @extschema@.enrichment ON DELETE CASCADE,
	blocked			text,
	blocked_reason	text,
	blocked_at		timestamptz,
	next_probe_at	timestamptz,
	requests		bigint NOT NULL DEFAULT 0,
	accepted		bigint NOT NULL DEFAULT 0,
	superseded		bigint NOT NULL DEFAULT 0,
	retried			bigint NOT NULL DEFAULT 0,
	dead			bigint NOT NULL DEFAULT 0,
	last_success_at	timestamptz,
	last_error		text,
	last_error_at	timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE @extschema@.delivery_state IS 'counters and the reason an enrichment is blocked, kept by the worker';
COMMENT ON COLUMN @extschema@.delivery_state.blocked IS 'authorisation, configuration, schema or identity; null when sending may go on';

-- The one sender of this database: who holds the epoch may acknowledge.
CREATE TABLE @extschema@.sender (
	only_row	boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	epoch		bigint NOT NULL DEFAULT 0,
	pid			integer,
	started_at	timestamptz
);
INSERT INTO @extschema@.sender DEFAULT VALUES;
COMMENT ON TABLE @extschema@.sender IS 'the fencing epoch: an acknowledgement of an earlier epoch is refused';

-- What delivery_log_default holds is not dumped: of a registered partition pg_dump --schema makes a crash.
SELECT pg_catalog.pg_extension_config_dump('@extschema@.run', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.run_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.profile_score', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.outbox', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.outbox_chunk_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.retry', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.dead_letter', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.delivery_state', '');

GRANT SELECT ON @extschema@.run, @extschema@.profile_score, @extschema@.outbox, @extschema@.retry, @extschema@.dead_letter,
	@extschema@.delivery_log, @extschema@.delivery_log_default, @extschema@.delivery_state, @extschema@.sender
	TO profenrich_operator, profenrich_admin;
GRANT SELECT ON SEQUENCE @extschema@.run_id_seq, @extschema@.outbox_chunk_id_seq TO profenrich_operator, profenrich_admin;
-- Filling the queue: refresh and retract.

CREATE FUNCTION @extschema@.refresh(enrichment text, OUT run_id bigint, OUT profiles bigint, OUT changed bigint,
	OUT unchanged bigint, OUT retracted bigint, OUT skipped bigint)
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_refresh';
COMMENT ON FUNCTION @extschema@.refresh(text) IS
	'read the enrichment''s source, keep what changed and queue it for the worker; all or nothing';

CREATE FUNCTION @extschema@.retract(enrichment text) RETURNS bigint
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_retract';
COMMENT ON FUNCTION @extschema@.retract(text) IS
	'clear the enrichment''s attributes on every profile that has them; returns how many are queued';

CREATE VIEW @extschema@.runs AS
	SELECT r.run_id, e.name AS enrichment, r.kind, r.started_at, r.finished_at,
		   r.finished_at OPERATOR(pg_catalog.-) r.started_at AS duration,
		   r.run_by, r.profiles, r.changed, r.unchanged, r.retracted, r.skipped, r.skipped_reasons
	  FROM @extschema@.run r JOIN @extschema@.enrichment e USING (enrichment_id);
COMMENT ON VIEW @extschema@.runs IS 'one row for each refresh or retraction: what was read, what changed, what was skipped and why';
COMMENT ON COLUMN @extschema@.runs.run_id IS 'also the version of the values that the run queued';
COMMENT ON COLUMN @extschema@.runs.changed IS 'profiles whose value is new or differs from the newest queued one';
COMMENT ON COLUMN @extschema@.runs.retracted IS 'profiles that left the source and whose attributes are cleared';
COMMENT ON COLUMN @extschema@.runs.skipped IS 'rows that the platform would not take, never queued';
COMMENT ON COLUMN @extschema@.runs.skipped_reasons IS 'object of reason to number of rows';

REVOKE ALL ON FUNCTION @extschema@.refresh(text), @extschema@.retract(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.refresh(text), @extschema@.retract(text) TO profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.runs TO profenrich_operator, profenrich_admin;
-- The workers, the state of the queue, and what an operator does to it.

CREATE FUNCTION @extschema@.start_worker() RETURNS integer
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_start_worker';
COMMENT ON FUNCTION @extschema@.start_worker() IS
	'starts the worker that sends for this database, or finds it running; its process id';

CREATE FUNCTION @extschema@.stop_worker() RETURNS boolean
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_stop_worker';
COMMENT ON FUNCTION @extschema@.stop_worker() IS
	'ends this database''s worker until start_worker() or a restart of the server; whether one was running';

CREATE FUNCTION @extschema@.wake_worker() RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_wake_worker';
COMMENT ON FUNCTION @extschema@.wake_worker() IS
	'has the worker look into the queue, and the launcher for the worker, when this transaction commits';

CREATE FUNCTION @extschema@.workers(
	OUT pid integer, OUT state text, OUT launcher_pid integer, OUT started_at timestamptz, OUT seen_at timestamptz,
	OUT epoch bigint, OUT requests_in_flight integer, OUT chunks_in_hand integer, OUT enrichments_blocked integer,
	OUT breaker_open boolean, OUT paused_until timestamptz, OUT requests bigint, OUT accepted bigint)
RETURNS SETOF record
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pe_workers';
COMMENT ON FUNCTION @extschema@.workers() IS 'this database''s worker, from shared memory';

CREATE VIEW @extschema@.worker_status AS SELECT * FROM @extschema@.workers();
COMMENT ON VIEW @extschema@.worker_status IS 'this database''s worker: whether it runs, and what it is doing';
COMMENT ON COLUMN @extschema@.worker_status.pid IS 'its process; null when none runs';
COMMENT ON COLUMN @extschema@.worker_status.state IS 'running, starting, halted (the database refuses its acknowledgements), stopped (by stop_worker) or none';
COMMENT ON COLUMN @extschema@.worker_status.launcher_pid IS 'process that starts workers; null unless profenrich is in shared_preload_libraries';
COMMENT ON COLUMN @extschema@.worker_status.started_at IS 'when it started';
COMMENT ON COLUMN @extschema@.worker_status.seen_at IS 'when it last said so; once a second';
COMMENT ON COLUMN @extschema@.worker_status.epoch IS 'its turn as sender: an acknowledgement of an earlier one is refused';
COMMENT ON COLUMN @extschema@.worker_status.requests_in_flight IS 'requests not yet answered';
COMMENT ON COLUMN @extschema@.worker_status.chunks_in_hand IS 'chunks loaded and not yet acknowledged';
COMMENT ON COLUMN @extschema@.worker_status.enrichments_blocked IS 'enrichments for which nothing is sent until their cause is gone';
COMMENT ON COLUMN @extschema@.worker_status.breaker_open IS 'a server failed several times in a row: one request at a time probes it';
COMMENT ON COLUMN @extschema@.worker_status.paused_until IS 'a server asked for a pause';
COMMENT ON COLUMN @extschema@.worker_status.requests IS 'requests since it started';
COMMENT ON COLUMN @extschema@.worker_status.accepted IS 'records accepted since it started';

CREATE FUNCTION @extschema@.pause(enrichment text) RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_pause';
COMMENT ON FUNCTION @extschema@.pause(text) IS 'nothing more is sent for this enrichment until resume()';

CREATE FUNCTION @extschema@.resume(enrichment text) RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_resume';
COMMENT ON FUNCTION @extschema@.resume(text) IS
	'sends again after pause(), and at once what is blocked or waits for its next try';

CREATE FUNCTION @extschema@.redrive(enrichment text) RETURNS bigint
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_redrive';
COMMENT ON FUNCTION @extschema@.redrive(text) IS
	'queues the dead letters of an enrichment again, those without a newer value; how many';

CREATE FUNCTION @extschema@.drain(enrichment text, timeout interval DEFAULT '10 minutes') RETURNS boolean
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_drain';
COMMENT ON FUNCTION @extschema@.drain(text, interval) IS
	'waits until nothing committed to the queue of an enrichment is pending; false when the time is over before';

-- The queue has a row for 500 keys, so adding it up is cheap; retry holds exceptions
-- only, and is counted no further than to 100,000.
CREATE VIEW @extschema@.enrichment_status AS
	SELECT e.name AS enrichment,
		CASE WHEN t.enrichment_id IS NULL THEN 'not provisioned'
			WHEN e.paused THEN 'paused'
			WHEN s.blocked IS NOT NULL THEN 'blocked: ' OPERATOR(pg_catalog.||) s.blocked
			WHEN t.ready_at OPERATOR(pg_catalog.>) pg_catalog.now() THEN 'warming up'
			WHEN (q.keys OPERATOR(pg_catalog.+) r.keys) OPERATOR(pg_catalog.=) 0 THEN 'idle'
			WHEN w.pid IS NULL THEN 'no worker'
			WHEN q.keys OPERATOR(pg_catalog.=) 0 THEN 'retrying'
			WHEN q.due_keys OPERATOR(pg_catalog.=) 0 THEN 'waiting'
			ELSE 'sending' END AS state,
		s.blocked_reason AS why,
		q.keys OPERATOR(pg_catalog.+) r.keys AS pending,
		q.keys AS queued,
		r.keys AS retrying,
		pg_catalog.now() OPERATOR(pg_catalog.-) LEAST(q.oldest, r.oldest) AS oldest_pending_age,
		COALESCE(s.accepted, 0) AS accepted,
		COALESCE(s.superseded, 0) AS superseded,
		COALESCE(s.retried, 0) AS retried,
		COALESCE(s.dead, 0) AS dead,
		COALESCE(s.requests, 0) AS requests,
		l.rate AS accepted_per_second,
		s.last_success_at,
		s.last_error,
		s.last_error_at,
		s.blocked_at,
		s.next_probe_at,
		t.ready_at
	FROM @extschema@.enrichment e
	LEFT JOIN @extschema@.enrichment_target t ON t.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id
	LEFT JOIN @extschema@.delivery_state s ON s.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id
	LEFT JOIN @extschema@.worker_status w ON true
	CROSS JOIN LATERAL (
		SELECT COALESCE(pg_catalog.sum(o.key_count), 0) AS keys,
			COALESCE(pg_catalog.sum(o.key_count) FILTER (
				WHERE o.not_before IS NULL OR o.not_before OPERATOR(pg_catalog.<=) pg_catalog.now()), 0) AS due_keys,
			pg_catalog.min(o.enqueued_at) AS oldest
		FROM @extschema@.outbox o WHERE o.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id) q
	CROSS JOIN LATERAL (
		SELECT pg_catalog.count(*) AS keys, pg_catalog.min(x.first_failed_at) AS oldest
		FROM (SELECT y.first_failed_at FROM @extschema@.retry y
			WHERE y.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id LIMIT 100000) x) r
	CROSS JOIN LATERAL (
		SELECT pg_catalog.round(COALESCE(pg_catalog.sum(d.accepted), 0) OPERATOR(pg_catalog./) 60.0, 1) AS rate
		FROM @extschema@.delivery_log d
		WHERE d.at OPERATOR(pg_catalog.>) (pg_catalog.now() OPERATOR(pg_catalog.-) '1 minute'::interval)
			AND d.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id) l;
COMMENT ON VIEW @extschema@.enrichment_status IS 'how delivery stands for each enrichment, and why';
COMMENT ON COLUMN @extschema@.enrichment_status.enrichment IS 'its name';
COMMENT ON COLUMN @extschema@.enrichment_status.state IS 'not provisioned, paused, blocked: ..., warming up, idle, no worker, retrying, waiting (for the gap between two values of a profile) or sending';
COMMENT ON COLUMN @extschema@.enrichment_status.why IS 'the reason of a block, in the platform''s words where it gave some';
COMMENT ON COLUMN @extschema@.enrichment_status.pending IS 'profiles not yet delivered: queued and retrying';
COMMENT ON COLUMN @extschema@.enrichment_status.queued IS 'profiles in chunks not yet accepted';
COMMENT ON COLUMN @extschema@.enrichment_status.retrying IS 'profiles to be tried again, counted to 100,000';
COMMENT ON COLUMN @extschema@.enrichment_status.oldest_pending_age IS 'since when the oldest of them waits';
COMMENT ON COLUMN @extschema@.enrichment_status.accepted IS 'records the platform has accepted';
COMMENT ON COLUMN @extschema@.enrichment_status.superseded IS 'values never sent because a newer one was queued';
COMMENT ON COLUMN @extschema@.enrichment_status.retried IS 'records given another try';
COMMENT ON COLUMN @extschema@.enrichment_status.dead IS 'records the platform refused for good; see dead_letter';
COMMENT ON COLUMN @extschema@.enrichment_status.requests IS 'requests made';
COMMENT ON COLUMN @extschema@.enrichment_status.accepted_per_second IS 'over the last minute';
COMMENT ON COLUMN @extschema@.enrichment_status.last_success_at IS 'when records were last accepted';
COMMENT ON COLUMN @extschema@.enrichment_status.last_error IS 'what last went wrong with a request';
COMMENT ON COLUMN @extschema@.enrichment_status.last_error_at IS 'when that was';
COMMENT ON COLUMN @extschema@.enrichment_status.blocked_at IS 'since when it is blocked';
COMMENT ON COLUMN @extschema@.enrichment_status.next_probe_at IS 'when one request tries whether the cause is gone';
COMMENT ON COLUMN @extschema@.enrichment_status.ready_at IS 'nothing is sent before: a new flow or schema loses early records';

-- Every silent death is a row. The view reads the tables as the extension's owner.
CREATE VIEW @extschema@.health_checks AS
	SELECT 'worker' AS check_name, w.pid IS NOT NULL AND w.state OPERATOR(pg_catalog.=) 'running' AS ok,
		COALESCE('state: ' OPERATOR(pg_catalog.||) w.state, 'no worker') AS detail,
		CASE WHEN w.pid IS NULL THEN 'Call profenrich.start_worker(), or add profenrich to shared_preload_libraries.'
			WHEN w.state OPERATOR(pg_catalog.=) 'halted' THEN 'The server''s log tells why acknowledgements fail.' END AS hint
	FROM (SELECT) one LEFT JOIN @extschema@.worker_status w ON true
	UNION ALL
	SELECT 'worker heartbeat', w.seen_at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) '1 minute'::interval),
		'last seen at ' OPERATOR(pg_catalog.||) w.seen_at::text, 'It may wait for a lock: see pg_stat_activity.'
	FROM @extschema@.worker_status w WHERE w.pid IS NOT NULL
	UNION ALL
	SELECT 'launcher', pg_catalog.bool_or(w.launcher_pid IS NOT NULL) IS TRUE,
		CASE WHEN pg_catalog.bool_or(w.launcher_pid IS NOT NULL) THEN 'running' ELSE 'not running' END,
		'Without it a worker must be started by hand after each restart: add profenrich to shared_preload_libraries.'
	FROM @extschema@.worker_status w
	UNION ALL
	SELECT 'enrichment ' OPERATOR(pg_catalog.||) e.enrichment,
		e.state OPERATOR(pg_catalog.!~) '^(blocked|no worker)'
			AND COALESCE(e.oldest_pending_age OPERATOR(pg_catalog.<) '1 hour'::interval OR e.state OPERATOR(pg_catalog.=) 'paused', true),
		e.state OPERATOR(pg_catalog.||) COALESCE(': ' OPERATOR(pg_catalog.||) e.why, '') OPERATOR(pg_catalog.||) ', '
			OPERATOR(pg_catalog.||) e.pending::text OPERATOR(pg_catalog.||) ' pending'
			OPERATOR(pg_catalog.||) COALESCE(', oldest ' OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', e.oldest_pending_age)::text, ''),
		CASE WHEN e.state OPERATOR(pg_catalog.~~) 'blocked: identity' THEN 'If this cluster is to send, call profenrich.adopt() here; a copy should not.'
			WHEN e.state OPERATOR(pg_catalog.~~) 'blocked%' THEN 'Remove the cause, then call profenrich.resume().'
			WHEN e.state OPERATOR(pg_catalog.=) 'not provisioned' THEN 'Call profenrich.provision().' END
	FROM @extschema@.enrichment_status e
	UNION ALL
	SELECT 'dead letters of ' OPERATOR(pg_catalog.||) e.name, false,
		'the platform refused ' OPERATOR(pg_catalog.||) d.keys::text OPERATOR(pg_catalog.||) ' profiles',
		'profenrich.dead_letter has the reasons; profenrich.redrive() sends them again.'
	FROM @extschema@.enrichment e CROSS JOIN LATERAL (
		SELECT pg_catalog.count(*) AS keys FROM (SELECT FROM @extschema@.dead_letter x
			WHERE x.enrichment_id OPERATOR(pg_catalog.=) e.enrichment_id LIMIT 100000) y) d
	WHERE d.keys OPERATOR(pg_catalog.>) 0
	UNION ALL
	SELECT 'delivery log', NOT d.any_row, CASE WHEN d.any_row THEN 'there are rows of days without a partition' ELSE 'each day has its partition' END,
		'The worker makes partitions days ahead: the server''s log tells why it could not.'
	FROM (SELECT EXISTS (SELECT FROM @extschema@.delivery_log_default) AS any_row) d;
COMMENT ON VIEW @extschema@.health_checks IS 'what health() returns';

CREATE FUNCTION @extschema@.health(OUT check_name text, OUT ok boolean, OUT detail text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT h.check_name, h.ok, h.detail, CASE WHEN NOT h.ok THEN h.hint END FROM @extschema@.health_checks h;
END;
COMMENT ON FUNCTION @extschema@.health() IS 'what might be wrong with delivery, one row each; ok is false where it is';

REVOKE ALL ON FUNCTION @extschema@.start_worker(), @extschema@.stop_worker(), @extschema@.wake_worker(),
	@extschema@.workers(), @extschema@.pause(text), @extschema@.resume(text), @extschema@.redrive(text),
	@extschema@.drain(text, interval), @extschema@.health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.start_worker(), @extschema@.stop_worker() TO profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.pause(text), @extschema@.resume(text), @extschema@.redrive(text),
	@extschema@.drain(text, interval), @extschema@.wake_worker() TO profenrich_operator, profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.workers(), @extschema@.health()
	TO profenrich_reader, profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.worker_status, @extschema@.enrichment_status, @extschema@.health_checks
	TO profenrich_reader, profenrich_operator, profenrich_admin;

-- The launcher looks whether this database has the extension when this commits.
SELECT @extschema@.wake_worker();
