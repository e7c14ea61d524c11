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
