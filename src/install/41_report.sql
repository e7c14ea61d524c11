-- A version as a page for people.

CREATE FUNCTION @extschema@.report(model text, version integer DEFAULT NULL) RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10000
AS 'MODULE_PATHNAME', 'pe_report';
COMMENT ON FUNCTION @extschema@.report(text, integer) IS
	'a version as one self-contained HTML page: verdict, figures, curves, importances, data; save it with psql -AtX -o';
REVOKE ALL ON FUNCTION @extschema@.report(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.report(text, integer)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
