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
