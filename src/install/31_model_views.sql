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
		   v.memory_bytes, v.trained_by, v.trained_at, v.artifact_bytes, v.artifact_checksum, v.holdout, v.recalibrated_from,
		   v.consent, v.rows_without_consent, v.goal
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
COMMENT ON COLUMN @extschema@.model_versions.consent IS 'condition that a row had to meet to be learnt from; null: none was asked for';
COMMENT ON COLUMN @extschema@.model_versions.rows_without_consent IS 'rows of the source that did not meet it and were left out';
COMMENT ON COLUMN @extschema@.model_versions.goal IS 'goal whose training set was learnt from; null: a source and target were named';

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
