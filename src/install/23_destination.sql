-- Profiles as the HTTP API destination posts them, from any gateway.

CREATE TABLE @extschema@.destination_table (
	into_table		regclass PRIMARY KEY,
	key_namespaces	text[]
);
COMMENT ON TABLE @extschema@.destination_table IS 'tables that payloads of a destination go into, and the rule of their keys';
SELECT pg_catalog.pg_extension_config_dump('@extschema@.destination_table', '');

CREATE FUNCTION @extschema@.jsonb_merge_patch(target jsonb, patch jsonb)
RETURNS jsonb LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pe_jsonb_merge_patch';
COMMENT ON FUNCTION @extschema@.jsonb_merge_patch(jsonb, jsonb) IS
	'an object changed by a merge patch (RFC 7396): members into members, null takes one away, all else replaces';

CREATE FUNCTION @extschema@.merge_memberships(known jsonb, news jsonb)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT pg_catalog.jsonb_object_agg(n.namespace, n.segments)
	  FROM (SELECT s.namespace, pg_catalog.jsonb_object_agg(s.segment, s.membership) AS segments
			  FROM (SELECT DISTINCT ON (n.key, m.key) n.key AS namespace, m.key AS segment, m.value AS membership
					  FROM (VALUES (1, known), (2, news)) AS v (age, map)
						   CROSS JOIN LATERAL pg_catalog.jsonb_each(CASE pg_catalog.jsonb_typeof(v.map) WHEN 'object' THEN v.map END) n
						   CROSS JOIN LATERAL pg_catalog.jsonb_each(CASE pg_catalog.jsonb_typeof(n.value) WHEN 'object' THEN n.value END) m
					 ORDER BY n.key, m.key, m.value OPERATOR(pg_catalog.->>) 'lastQualificationTime' COLLATE pg_catalog."C" DESC NULLS LAST, v.age DESC) s
			 GROUP BY s.namespace) n
$$;
COMMENT ON FUNCTION @extschema@.merge_memberships(jsonb, jsonb) IS
	'segment memberships of two times: of each segment the one that was qualified last';

CREATE FUNCTION @extschema@.load_destination_payload(payload jsonb, into_table text, key_namespaces text[] DEFAULT NULL,
	OUT profiles integer, OUT inserted integer, OUT updated integer, OUT forgotten integer)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_load_destination_payload';
COMMENT ON FUNCTION @extschema@.load_destination_payload(jsonb, text, text[]) IS
	'store a profile as the HTTP API destination posts it, or an array of such: a row for each profile, changed by each payload';

REVOKE ALL ON @extschema@.destination_table FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.jsonb_merge_patch(jsonb, jsonb), @extschema@.merge_memberships(jsonb, jsonb),
	@extschema@.load_destination_payload(jsonb, text, text[]) FROM PUBLIC;
-- pg_dump by a role that is no superuser needs to read the table.
GRANT SELECT ON @extschema@.destination_table TO profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.jsonb_merge_patch(jsonb, jsonb), @extschema@.merge_memberships(jsonb, jsonb)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.load_destination_payload(jsonb, text, text[])
	TO profenrich_analyst, profenrich_operator, profenrich_admin;
