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
