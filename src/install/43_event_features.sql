-- Features of profiles from a table of events, by a declaration.

CREATE FUNCTION @extschema@.event_features(events text, key text, event_time text, declaration jsonb,
	as_of date DEFAULT NULL, anchors text DEFAULT NULL) RETURNS SETOF record
LANGUAGE C STABLE PARALLEL RESTRICTED COST 100000 ROWS 10000
AS 'MODULE_PATHNAME', 'pe_event_features';
COMMENT ON FUNCTION @extschema@.event_features(text, text, text, jsonb, date, text) IS
	'one row for each profile with events (a table, view or SELECT, read as the caller) before as_of, or for each pair of key and date or time that anchors selects: the features that the declaration describes, of events strictly before, and its labels, of events from then on. Needs a list of columns, as event_feature_columns() names them; create_event_features() makes a view with it. as_of: the start of that day in UTC, by default today''s';

CREATE FUNCTION @extschema@.event_feature_columns(events text, key text, event_time text, declaration jsonb,
	as_of date DEFAULT NULL, anchors text DEFAULT NULL)
RETURNS TABLE ("position" bigint, name text, type text, description text)
LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000 ROWS 50
AS 'MODULE_PATHNAME', 'pe_event_feature_columns';
COMMENT ON FUNCTION @extschema@.event_feature_columns(text, text, text, jsonb, date, text) IS
	'the columns that event_features() returns for a declaration, with what each says';

CREATE FUNCTION @extschema@.create_event_features(name text, events text, key text, event_time text, declaration jsonb,
	as_of date DEFAULT NULL, anchors text DEFAULT NULL) RETURNS integer
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000
AS 'MODULE_PATHNAME', 'pe_create_event_features';
COMMENT ON FUNCTION @extschema@.create_event_features(text, text, text, text, jsonb, date, text) IS
	'makes a view of event_features(), with typed columns, each with a comment; the most frequent values that the declaration asks for are those of now. Returns how many columns it has';

CREATE FUNCTION @extschema@.event_features_into(into_table text, events text, key text, event_time text, declaration jsonb,
	as_of date DEFAULT NULL, anchors text DEFAULT NULL) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000
AS 'MODULE_PATHNAME', 'pe_event_features_into';
COMMENT ON FUNCTION @extschema@.event_features_into(text, text, text, text, jsonb, date, text) IS
	'adds the rows of event_features() to a table, which is made when it is not there; returns how many';

REVOKE ALL ON FUNCTION @extschema@.event_features(text, text, text, jsonb, date, text),
	@extschema@.event_feature_columns(text, text, text, jsonb, date, text),
	@extschema@.create_event_features(text, text, text, text, jsonb, date, text),
	@extschema@.event_features_into(text, text, text, text, jsonb, date, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.event_features(text, text, text, jsonb, date, text),
	@extschema@.event_feature_columns(text, text, text, jsonb, date, text),
	@extschema@.create_event_features(text, text, text, text, jsonb, date, text),
	@extschema@.event_features_into(text, text, text, text, jsonb, date, text)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
