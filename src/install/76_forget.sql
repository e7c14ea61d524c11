-- Forgetting a person, and keeping the person out.

CREATE TABLE @extschema@.forgotten (
	id_hash			bytea PRIMARY KEY,
	forgotten_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	forgotten_by	regrole NOT NULL
);
COMMENT ON TABLE @extschema@.forgotten IS 'identities that no load and no refresh takes in again, by a keyed hash of each';
COMMENT ON COLUMN @extschema@.forgotten.id_hash IS 'HMAC-SHA-256 of the namespace in lower case, a byte 0 and the id';

CREATE TABLE @extschema@.forgotten_key (
	only_row	boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	key			bytea NOT NULL
);
COMMENT ON TABLE @extschema@.forgotten_key IS 'the key of the hashes in forgotten, made with the first of them';

-- A restored database goes on knowing whom to keep out.
SELECT pg_catalog.pg_extension_config_dump('@extschema@.forgotten', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.forgotten_key', '');

CREATE FUNCTION @extschema@.forget(namespace text, id text)
RETURNS TABLE (object text, rows bigint, action text)
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'pe_forget';
COMMENT ON FUNCTION @extschema@.forget(text, text) IS
	'deletes what this database holds of a person in loaded snapshots, values and queues, queues records that clear the attributes on the platform, and keeps the person out of later loads and refreshes; as a whole or not at all';

CREATE FUNCTION @extschema@.forget(identities jsonb)
RETURNS TABLE (object text, rows bigint, action text)
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'pe_forget_identities';
COMMENT ON FUNCTION @extschema@.forget(jsonb) IS
	'the same for several ids of a person or of many: an object of namespace to id or list of ids';

CREATE FUNCTION @extschema@.unforget(namespace text, id text) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_unforget';
COMMENT ON FUNCTION @extschema@.unforget(text, text) IS
	'lets later loads and refreshes take a forgotten person in again; whether the person was on the list';

REVOKE ALL ON FUNCTION @extschema@.forget(text, text), @extschema@.forget(jsonb), @extschema@.unforget(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.forget(text, text), @extschema@.forget(jsonb), @extschema@.unforget(text, text) TO profenrich_admin;
-- pg_dump by a role that is no superuser needs to read them.
GRANT SELECT ON @extschema@.forgotten, @extschema@.forgotten_key TO profenrich_admin;
