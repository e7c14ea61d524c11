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
