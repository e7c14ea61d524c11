-- profenrich: roles and what PUBLIC may do. Parts of this folder are joined in
-- name order into one install script; each part grants what it makes.
\echo Use "CREATE EXTENSION profenrich" to load this file. \quit

-- Roles outlive the extension (others may be members) and are shared by all databases.
DO $$
DECLARE
	role_name text;
BEGIN
	FOREACH role_name IN ARRAY ARRAY['profenrich_reader', 'profenrich_analyst', 'profenrich_operator', 'profenrich_admin']
	LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) role_name) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
		END IF;
	END LOOP;
END
$$;

GRANT USAGE ON SCHEMA @extschema@ TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
