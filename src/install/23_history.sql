-- Older days: kept as changes, or dropped; and profiles followed from day to day.

CREATE FUNCTION @extschema@.set_retention(snapshot_table text, keep interval)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_set_retention';
COMMENT ON FUNCTION @extschema@.set_retention(text, interval) IS
	'how far back from its newest day the table keeps days; older ones go with the next load or apply_retention; NULL keeps all';

CREATE FUNCTION @extschema@.apply_retention(snapshot_table text)
RETURNS SETOF date
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'pe_apply_retention';
COMMENT ON FUNCTION @extschema@.apply_retention(text) IS
	'drop the days that are older than set_retention says; which they were';

CREATE FUNCTION @extschema@.compact_history(snapshot_table text, older_than interval DEFAULT '7 days')
RETURNS TABLE (snapshot_date date, rows bigint, ended bigint, added bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 30
AS 'MODULE_PATHNAME', 'pe_compact_history';
COMMENT ON FUNCTION @extschema@.compact_history(text, interval) IS
	'turn days older than this, from the newest day back, into changes: <table>_changes has a row once for all days with it, <table>_history shows every day';

CREATE FUNCTION @extschema@.set_identity(snapshot_table text, namespaces text[])
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_set_identity';
COMMENT ON FUNCTION @extschema@.set_identity(text, text[]) IS
	'whose ids tell profiles of the table apart: a profile''s key is its smallest id in the first of these namespaces that it has; NULL: the namespaces that have columns';

CREATE FUNCTION @extschema@.diff_snapshots(snapshot_table text, before date, after date)
RETURNS TABLE (change text, column_name text, profiles bigint)
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 20
AS 'MODULE_PATHNAME', 'pe_diff_snapshots';
COMMENT ON FUNCTION @extschema@.diff_snapshots(text, date, date) IS
	'how many profiles were added, removed, merged, split, changed (and in which columns) or unchanged between two days';

CREATE FUNCTION @extschema@.diff_snapshot_rows(snapshot_table text, before date, after date)
RETURNS TABLE (change text, keys_before text[], keys_after text[], columns text[])
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1000
AS 'MODULE_PATHNAME', 'pe_diff_snapshot_rows';
COMMENT ON FUNCTION @extschema@.diff_snapshot_rows(text, date, date) IS
	'the profiles that were added, removed, merged, split or changed between two days, and the columns that changed';

CREATE FUNCTION @extschema@.identity_links(snapshot_table text, before date, after date)
RETURNS TABLE (key_before text, key_after text, shared_identities bigint)
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 100
AS 'MODULE_PATHNAME', 'pe_identity_links';
COMMENT ON FUNCTION @extschema@.identity_links(text, date, date) IS
	'which profile of a day became which of another, where that is not the same key and no other: merges, splits and new keys';

CREATE FUNCTION @extschema@.profile_history(snapshot_table text, key text)
RETURNS TABLE (snapshot_date date, profile_key text, event text, keys_before text[], columns text[], profile jsonb)
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 60
AS 'MODULE_PATHNAME', 'pe_profile_history';
COMMENT ON FUNCTION @extschema@.profile_history(text, text) IS
	'a profile''s rows over all days, across merges and splits, with what changed; key is namespace:id, of any of its identities';

REVOKE ALL ON FUNCTION @extschema@.set_retention(text, interval), @extschema@.apply_retention(text), @extschema@.compact_history(text, interval),
	@extschema@.set_identity(text, text[]), @extschema@.diff_snapshots(text, date, date), @extschema@.diff_snapshot_rows(text, date, date),
	@extschema@.identity_links(text, date, date), @extschema@.profile_history(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.set_retention(text, interval), @extschema@.apply_retention(text), @extschema@.compact_history(text, interval),
	@extschema@.set_identity(text, text[]) TO profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.diff_snapshots(text, date, date), @extschema@.diff_snapshot_rows(text, date, date),
	@extschema@.identity_links(text, date, date), @extschema@.profile_history(text, text)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
