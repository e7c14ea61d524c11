-- Defining enrichments. Their tables: 50_enrichment.sql.

CREATE FUNCTION @extschema@.create_enrichment(name text, server text, source text, identity_column text, namespace text,
	attributes jsonb DEFAULT NULL, options jsonb DEFAULT '{}')
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_create_enrichment';
COMMENT ON FUNCTION @extschema@.create_enrichment(text, text, text, text, text, jsonb, jsonb) IS
	'defines which columns of a table, view or query become profile attributes, under which identity; the caller owns it';

CREATE FUNCTION @extschema@.alter_enrichment(name text, server text DEFAULT NULL, source text DEFAULT NULL,
	identity_column text DEFAULT NULL, namespace text DEFAULT NULL, attributes jsonb DEFAULT NULL,
	options jsonb DEFAULT NULL)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_alter_enrichment';
COMMENT ON FUNCTION @extschema@.alter_enrichment(text, text, text, text, text, jsonb, jsonb) IS
	'changes a definition; null keeps what is. New attributes reach the platform with the next provision';

CREATE FUNCTION @extschema@.set_enrichment_owner(name text, owner regrole)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_set_enrichment_owner';
COMMENT ON FUNCTION @extschema@.set_enrichment_owner(text, regrole) IS
	'has an enrichment read its source and send as another role, of which the caller must be a member as well as of the owner; when that one is gone, of profenrich_admin';

CREATE FUNCTION @extschema@.drop_enrichment(name text, force boolean DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_drop_enrichment';
COMMENT ON FUNCTION @extschema@.drop_enrichment(text, boolean) IS
	'forgets an enrichment and its queue; refuses while values are undelivered unless forced. The platform keeps what it has';

CREATE FUNCTION @extschema@.provision(name text)
RETURNS TABLE (object text, id text, action text, detail text)
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 9
AS 'MODULE_PATHNAME', 'pe_provision';
COMMENT ON FUNCTION @extschema@.provision(text) IS
	'finds or makes on the platform all that an enrichment writes through: field group, schema, identity, data set, inlet, flow';

CREATE FUNCTION @extschema@.sender_identity()
RETURNS text LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pe_sender_identity_sql';
COMMENT ON FUNCTION @extschema@.sender_identity() IS
	'the name under which this cluster sends: enrichments provisioned under another one are blocked until adopted';

CREATE FUNCTION @extschema@.adopt(name text)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_adopt';
COMMENT ON FUNCTION @extschema@.adopt(text) IS
	'lets this cluster send an enrichment that another one provisioned, as after a copy or a move';

CREATE FUNCTION @extschema@.preview(name text, n integer DEFAULT 3)
RETURNS SETOF jsonb LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 3
AS 'MODULE_PATHNAME', 'pe_preview';
COMMENT ON FUNCTION @extschema@.preview(text, integer) IS
	'the messages that would be sent for the first rows of the source; sends nothing';

REVOKE ALL ON FUNCTION @extschema@.create_enrichment(text, text, text, text, text, jsonb, jsonb),
	@extschema@.alter_enrichment(text, text, text, text, text, jsonb, jsonb), @extschema@.drop_enrichment(text, boolean),
	@extschema@.set_enrichment_owner(text, regrole),
	@extschema@.provision(text), @extschema@.adopt(text), @extschema@.preview(text, integer),
	@extschema@.sender_identity() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.create_enrichment(text, text, text, text, text, jsonb, jsonb),
	@extschema@.alter_enrichment(text, text, text, text, text, jsonb, jsonb), @extschema@.drop_enrichment(text, boolean),
	@extschema@.set_enrichment_owner(text, regrole),
	@extschema@.provision(text), @extschema@.adopt(text), @extschema@.preview(text, integer),
	@extschema@.sender_identity()
	TO profenrich_operator, profenrich_admin;
