-- Results of Query Service.

CREATE FUNCTION @extschema@.load_query(server text, query text, into_table text, columns jsonb DEFAULT NULL,
	INOUT snapshot_date date DEFAULT CURRENT_DATE, key text DEFAULT NULL,
	OUT rows bigint, OUT files integer, OUT bytes bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_load_query';
COMMENT ON FUNCTION @extschema@.load_query(text, text, text, jsonb, date, text) IS
	'load what a query gives on Query Service into the partition of a day, replacing it; paged by a unique column where a result would be cut off';

REVOKE ALL ON FUNCTION @extschema@.load_query(text, text, text, jsonb, date, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.load_query(text, text, text, jsonb, date, text)
	TO profenrich_analyst, profenrich_operator, profenrich_admin;
