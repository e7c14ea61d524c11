-- Connecting: a server says where (organisation, sandbox), a user mapping says who.

CREATE FUNCTION @extschema@.experience_platform_validator(options text[], catalog oid)
RETURNS void LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_experience_platform_validator';
COMMENT ON FUNCTION @extschema@.experience_platform_validator(text[], oid) IS
	'checks the options of servers and user mappings of experience_platform';

CREATE FOREIGN DATA WRAPPER experience_platform NO HANDLER VALIDATOR @extschema@.experience_platform_validator;
COMMENT ON FOREIGN DATA WRAPPER experience_platform IS
	'Adobe Experience Platform: a server names organisation and sandbox, a user mapping the credential';

REVOKE ALL ON FUNCTION @extschema@.experience_platform_validator(text[], oid) FROM PUBLIC;
GRANT USAGE ON FOREIGN DATA WRAPPER experience_platform TO profenrich_admin;
