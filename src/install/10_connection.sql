-- Connecting: a server says where (organisation, sandbox), a user mapping says who.

CREATE FUNCTION @extschema@.experience_platform_validator(options text[], catalog oid)
RETURNS void LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_experience_platform_validator';
COMMENT ON FUNCTION @extschema@.experience_platform_validator(text[], oid) IS
	'checks the options of servers and user mappings of experience_platform';

CREATE FOREIGN DATA WRAPPER experience_platform NO HANDLER VALIDATOR @extschema@.experience_platform_validator;
COMMENT ON FOREIGN DATA WRAPPER experience_platform IS
	'Adobe Experience Platform: a server names organisation and sandbox, a user mapping the credential';

CREATE FUNCTION @extschema@.check_connection(server text)
RETURNS TABLE (step text, ok boolean, detail text)
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 7
AS 'MODULE_PATHNAME', 'pe_check_connection';
COMMENT ON FUNCTION @extschema@.check_connection(text) IS
	'tries each step of reaching the platform through a server, and says what is wrong';

CREATE FUNCTION @extschema@.datasets(server text)
RETURNS TABLE (dataset_id text, name text, schema_id text, profile_enabled boolean, is_snapshot boolean,
	merge_policy text, table_name text, row_count bigint, created timestamptz)
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 100
AS 'MODULE_PATHNAME', 'pe_datasets';
COMMENT ON FUNCTION @extschema@.datasets(text) IS 'data sets of the sandbox, and which of them are profile snapshots';

CREATE FUNCTION @extschema@.identity_namespaces(server text)
RETURNS TABLE (id bigint, code text, name text, id_type text, custom boolean)
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 20
AS 'MODULE_PATHNAME', 'pe_identity_namespaces';
COMMENT ON FUNCTION @extschema@.identity_namespaces(text) IS 'identity namespaces of the organisation';

CREATE FUNCTION @extschema@.create_identity_namespace(server text, code text, name text DEFAULT NULL)
RETURNS text LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_create_identity_namespace';
COMMENT ON FUNCTION @extschema@.create_identity_namespace(text, text, text) IS
	'makes an identity namespace for ids of people across devices, unless its code exists; it cannot be deleted again';

CREATE FUNCTION @extschema@.platform_profile(server text, namespace text, id text)
RETURNS jsonb LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_platform_profile';
COMMENT ON FUNCTION @extschema@.platform_profile(text, text, text) IS
	'what the platform has for one profile now, as its merged entity; null when it knows no such identity';

REVOKE ALL ON FUNCTION @extschema@.experience_platform_validator(text[], oid) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.check_connection(text), @extschema@.datasets(text),
	@extschema@.identity_namespaces(text), @extschema@.create_identity_namespace(text, text, text),
	@extschema@.platform_profile(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.check_connection(text), @extschema@.datasets(text),
	@extschema@.identity_namespaces(text) TO profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.create_identity_namespace(text, text, text),
	@extschema@.platform_profile(text, text, text) TO profenrich_operator, profenrich_admin;
GRANT USAGE ON FOREIGN DATA WRAPPER experience_platform TO profenrich_admin;
