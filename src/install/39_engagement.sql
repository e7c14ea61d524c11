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
