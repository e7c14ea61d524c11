-- Filling the queue: refresh and retract.

CREATE FUNCTION @extschema@.refresh(enrichment text, OUT run_id bigint, OUT profiles bigint, OUT changed bigint,
	OUT unchanged bigint, OUT retracted bigint, OUT skipped bigint, OUT held_back bigint,
	OUT outcome text)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_refresh';
COMMENT ON FUNCTION @extschema@.refresh(text) IS
	'read the enrichment''s source, keep what changed and queue it for the worker; all or nothing';

CREATE FUNCTION @extschema@.retract(enrichment text) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_retract';
COMMENT ON FUNCTION @extschema@.retract(text) IS
	'clear the enrichment''s attributes on every profile that has them; returns how many are queued';

CREATE FUNCTION @extschema@.plan(enrichment text, OUT item text, OUT value text, OUT ok boolean, OUT detail text)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 40
AS 'MODULE_PATHNAME', 'pe_plan';
COMMENT ON FUNCTION @extschema@.plan(text) IS
	'what refreshing the enrichment now would send, how, for how long, and which limits it would meet; sends and changes nothing';

CREATE VIEW @extschema@.runs AS
	SELECT r.run_id, e.name AS enrichment, r.kind, r.started_at, r.finished_at,
		   r.finished_at OPERATOR(pg_catalog.-) r.started_at AS duration,
		   r.run_by, r.profiles, r.changed, r.unchanged, r.retracted, r.skipped, r.skipped_reasons, r.held_back,
		   r.outcome, r.held_reason, r.absent
	  FROM @extschema@.run r JOIN @extschema@.enrichment e USING (enrichment_id);
COMMENT ON VIEW @extschema@.runs IS 'one row for each refresh, retraction or resend: what was read, what changed, what was skipped and why';
COMMENT ON COLUMN @extschema@.runs.run_id IS 'also the version of the values that the run queued';
COMMENT ON COLUMN @extschema@.runs.changed IS 'profiles whose value is new or differs from the newest queued one';
COMMENT ON COLUMN @extschema@.runs.retracted IS 'profiles that left the source and whose attributes are cleared';
COMMENT ON COLUMN @extschema@.runs.skipped IS 'rows that the platform would not take, never queued';
COMMENT ON COLUMN @extschema@.runs.skipped_reasons IS 'object of reason to number of rows';
COMMENT ON COLUMN @extschema@.runs.held_back IS 'profiles within hysteresis: their value moved by too little to be sent, and is compared again next time';
COMMENT ON COLUMN @extschema@.runs.outcome IS 'queued; held by the gate; or what became of one that was held: released, discarded, replaced by a later one';
COMMENT ON COLUMN @extschema@.runs.absent IS 'profiles that are not in the source and keep their values, since on_absent is keep';
COMMENT ON COLUMN @extschema@.runs.held_reason IS 'which limits of the gate it was above';

REVOKE ALL ON FUNCTION @extschema@.refresh(text), @extschema@.retract(text), @extschema@.plan(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.refresh(text), @extschema@.retract(text), @extschema@.plan(text) TO profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.runs TO profenrich_operator, profenrich_admin;
