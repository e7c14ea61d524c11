-- Exports from where they lie: S3, Azure Blob storage with the landing zone, SFTP.

CREATE FUNCTION @extschema@.experience_platform_files_validator(options text[], catalog oid)
RETURNS void LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_experience_platform_files_validator';
COMMENT ON FUNCTION @extschema@.experience_platform_files_validator(text[], oid) IS
	'checks the options of servers and user mappings of experience_platform_files';

CREATE FOREIGN DATA WRAPPER experience_platform_files NO HANDLER VALIDATOR @extschema@.experience_platform_files_validator;
COMMENT ON FOREIGN DATA WRAPPER experience_platform_files IS
	'where Experience Platform exports files to: a server names the place, a user mapping the credential';

CREATE FUNCTION @extschema@.load_export(server text, path text, into_table text, columns jsonb DEFAULT NULL,
	INOUT snapshot_date date DEFAULT NULL, format text DEFAULT 'auto', manifest text DEFAULT 'auto', incremental boolean DEFAULT false,
	csv jsonb DEFAULT NULL, OUT rows bigint, OUT files integer, OUT bytes bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_load_export';
COMMENT ON FUNCTION @extschema@.load_export(text, text, text, jsonb, date, text, text, boolean, jsonb) IS
	'load exported profiles from a folder of S3, Azure Blob storage or SFTP, complete by its manifest, into the partition of a day, replacing it';

REVOKE ALL ON FUNCTION @extschema@.experience_platform_files_validator(text[], oid),
	@extschema@.load_export(text, text, text, jsonb, date, text, text, boolean, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.load_export(text, text, text, jsonb, date, text, text, boolean, jsonb)
	TO profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT USAGE ON FOREIGN DATA WRAPPER experience_platform_files TO profenrich_admin;
