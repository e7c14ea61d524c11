-- The gate: what a refresh's numbers looked like, and what becomes of one that is held.

-- Of each numeric attribute, in the bins of distribution.h: what was queued last, and what is held.
CREATE TABLE @extschema@.attribute_distribution (
	enrichment_id	integer NOT NULL REFERENCES @extschema@.enrichment ON DELETE CASCADE,
	state			text NOT NULL CHECK (state IN ('queued', 'held')),
	attribute		text NOT NULL,
	run_id			bigint NOT NULL,
	edges			double precision[] NOT NULL,
	counts			bigint[] NOT NULL,
	missing			bigint NOT NULL,
	PRIMARY KEY (enrichment_id, state, attribute)
);
COMMENT ON TABLE @extschema@.attribute_distribution IS 'how the numbers of the refresh that was queued last are spread, and those of one that is held';
COMMENT ON COLUMN @extschema@.attribute_distribution.edges IS 'least, largest and deciles of a sample of at most 10,000 profiles, each once';
COMMENT ON COLUMN @extschema@.attribute_distribution.counts IS 'profiles below the first edge, on it, between it and the second, on that, ...';
COMMENT ON COLUMN @extschema@.attribute_distribution.missing IS 'profiles without the attribute';
SELECT pg_catalog.pg_extension_config_dump('@extschema@.attribute_distribution', '');

CREATE FUNCTION @extschema@.release(enrichment text, OUT run_id bigint, OUT profiles bigint, OUT changed bigint,
	OUT unchanged bigint, OUT retracted bigint, OUT skipped bigint, OUT held_back bigint, OUT outcome text)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_release';
COMMENT ON FUNCTION @extschema@.release(text) IS
	'refreshes an enrichment whose refresh is held, and queues it unless it has moved further still';

CREATE FUNCTION @extschema@.discard(enrichment text) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_discard';
COMMENT ON FUNCTION @extschema@.discard(text) IS
	'gives up the refresh that is held; returns its run. What was queued before stays as it is';

CREATE VIEW @extschema@.run_measures AS
	SELECT r.run_id, e.name AS enrichment, r.started_at, r.outcome, m.measure, m.attribute, m.value, m."limit", m.ok
	  FROM @extschema@.run r JOIN @extschema@.enrichment e USING (enrichment_id)
		   CROSS JOIN LATERAL pg_catalog.jsonb_to_recordset(r.measures)
			AS m(measure text, attribute text, value double precision, "limit" double precision, ok boolean);
COMMENT ON VIEW @extschema@.run_measures IS 'how far each refresh moved from the one before, and whether that is within the limits of the gate';
COMMENT ON COLUMN @extschema@.run_measures.run_id IS 'the refresh, as in runs';
COMMENT ON COLUMN @extschema@.run_measures.enrichment IS 'its enrichment';
COMMENT ON COLUMN @extschema@.run_measures.started_at IS 'when it began';
COMMENT ON COLUMN @extschema@.run_measures.outcome IS 'queued, held, released, discarded or replaced by a later one';
COMMENT ON COLUMN @extschema@.run_measures.measure IS
	'psi (population stability index of an attribute), or a share of the profiles: retracted, lost, new, bucket (changed it)';
COMMENT ON COLUMN @extschema@.run_measures.attribute IS 'the attribute; null for shares';
COMMENT ON COLUMN @extschema@.run_measures.value IS 'what was found';
COMMENT ON COLUMN @extschema@.run_measures."limit" IS 'what the refresh is held above; null: it is not judged';
COMMENT ON COLUMN @extschema@.run_measures.ok IS 'not above the limit';

REVOKE ALL ON FUNCTION @extschema@.release(text), @extschema@.discard(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.release(text), @extschema@.discard(text) TO profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.attribute_distribution, @extschema@.run_measures TO profenrich_operator, profenrich_admin;
