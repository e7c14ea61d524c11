-- Events: loaded batch by batch, each under the key of its profile.

CREATE TABLE @extschema@.event_load (
	into_table		regclass NOT NULL,
	batch			text NOT NULL,
	status			text NOT NULL CHECK (status IN ('loaded', 'expired')),
	server			text NOT NULL,
	dataset			text NOT NULL,
	created_at		timestamptz NOT NULL,
	loaded_at		timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	loaded_by		text NOT NULL DEFAULT SESSION_USER,
	rows			bigint NOT NULL,
	files			bigint NOT NULL,
	bytes			bigint NOT NULL,
	mapping			jsonb,
	PRIMARY KEY (into_table, batch)
);
COMMENT ON TABLE @extschema@.event_load IS 'one row for each batch of events that is in a table, or that had expired before it could be';
COMMENT ON COLUMN @extschema@.event_load.mapping IS 'the columns argument of the load; a later load without one uses it again';
SELECT pg_catalog.pg_extension_config_dump('@extschema@.event_load', '');

CREATE VIEW @extschema@.event_batches WITH (security_barrier) AS
	SELECT l.into_table, l.batch, l.status, l.server, l.dataset, l.created_at, l.loaded_at, l.loaded_by, l.rows, l.files, l.bytes
	  FROM @extschema@.event_load l
	  JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.into_table
	 WHERE pg_catalog.has_any_column_privilege(c.oid, 'SELECT');
COMMENT ON VIEW @extschema@.event_batches IS 'the batches of events in the tables that you may read';
COMMENT ON COLUMN @extschema@.event_batches.into_table IS 'table that was loaded into';
COMMENT ON COLUMN @extschema@.event_batches.batch IS 'id of the batch, or folder of the run: the rows have it as event_batch';
COMMENT ON COLUMN @extschema@.event_batches.status IS 'loaded, or expired before it could be loaded';
COMMENT ON COLUMN @extschema@.event_batches.server IS 'foreign server it came from';
COMMENT ON COLUMN @extschema@.event_batches.dataset IS 'id of the data set, or folder of its export';
COMMENT ON COLUMN @extschema@.event_batches.created_at IS 'when the platform took the batch in, or exported the run';
COMMENT ON COLUMN @extschema@.event_batches.loaded_at IS 'when it was loaded';
COMMENT ON COLUMN @extschema@.event_batches.loaded_by IS 'role that loaded it';
COMMENT ON COLUMN @extschema@.event_batches.rows IS 'events read from it';
COMMENT ON COLUMN @extschema@.event_batches.files IS 'files read';
COMMENT ON COLUMN @extschema@.event_batches.bytes IS 'bytes of the files as stored';

-- Every identity of a map, its namespace in capitals: keys of identity maps match without case.
CREATE FUNCTION @extschema@.identities(identity_map jsonb)
RETURNS TABLE (namespace text, id text, is_primary boolean)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 3
AS $$
	SELECT pg_catalog.upper(n.key), e.value OPERATOR(pg_catalog.->>) 'id',
		   COALESCE(e.value OPERATOR(pg_catalog.->) 'primary' OPERATOR(pg_catalog.=) 'true'::pg_catalog.jsonb, false)
	  FROM pg_catalog.jsonb_each(CASE pg_catalog.jsonb_typeof(identity_map) WHEN 'object' THEN identity_map END) n
		   CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(CASE pg_catalog.jsonb_typeof(n.value) WHEN 'array' THEN n.value END) e
	 WHERE e.value OPERATOR(pg_catalog.->>) 'id' OPERATOR(pg_catalog.<>) ''
$$;
COMMENT ON FUNCTION @extschema@.identities(jsonb) IS 'the identities in an XDM identityMap, namespaces in capitals';

CREATE FUNCTION @extschema@.identity_key(identity_map jsonb, namespaces text[] DEFAULT NULL)
RETURNS TABLE (namespace text, id text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
AS $$
	SELECT i.namespace, i.id FROM @extschema@.identities(identity_map) i
	 ORDER BY pg_catalog.array_position(pg_catalog.upper(namespaces::pg_catalog.text)::pg_catalog.text[], i.namespace), NOT i.is_primary,
			  i.namespace, i.id COLLATE pg_catalog."C" LIMIT 1
$$;
COMMENT ON FUNCTION @extschema@.identity_key(jsonb, text[]) IS
	'the identity that stands for a profile: of the first of the namespaces that it has, else the primary one; then the smallest id';

CREATE FUNCTION @extschema@.load_events(server text, into_table text, dataset text, columns jsonb DEFAULT NULL,
	since timestamptz DEFAULT NULL, key_namespaces text[] DEFAULT NULL, profiles text DEFAULT NULL,
	OUT batches integer, OUT rows bigint, OUT replaced integer, OUT expired integer, OUT files bigint, OUT bytes bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_load_events';
COMMENT ON FUNCTION @extschema@.load_events(text, text, text, jsonb, timestamptz, text[], text) IS
	'load the batches of an event data set, or the runs of its export, that the table has not yet, under the keys of their profiles; rows of batches that the platform replaced go';

REVOKE ALL ON @extschema@.event_load, @extschema@.event_batches FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.identities(jsonb), @extschema@.identity_key(jsonb, text[]),
	@extschema@.load_events(text, text, text, jsonb, timestamptz, text[], text) FROM PUBLIC;
-- pg_dump by a role that is no superuser needs to read the table.
GRANT SELECT ON @extschema@.event_load TO profenrich_admin;
GRANT SELECT ON @extschema@.event_batches TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.identities(jsonb), @extschema@.identity_key(jsonb, text[])
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.load_events(text, text, text, jsonb, timestamptz, text[], text)
	TO profenrich_analyst, profenrich_operator, profenrich_admin;
