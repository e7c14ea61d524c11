-- Loading profile snapshots, and what was loaded.

CREATE TABLE @extschema@.snapshot_load (
	schema_name		text NOT NULL,
	partition_name	text NOT NULL,
	snapshot_date	date NOT NULL,
	loaded_at		timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	loaded_by		text NOT NULL,
	source			text NOT NULL,
	server			text,
	dataset			text,
	batch			text,
	mapping			jsonb,
	rows			bigint NOT NULL,
	files			bigint NOT NULL,
	bytes			bigint NOT NULL,
	exported_at		timestamptz,
	PRIMARY KEY (schema_name, partition_name)
);
COMMENT ON TABLE @extschema@.snapshot_load IS 'one row for each loaded day: its partition, by name so that a restore finds it';
COMMENT ON COLUMN @extschema@.snapshot_load.exported_at IS 'when the platform made it; null for files';
COMMENT ON COLUMN @extschema@.snapshot_load.mapping IS 'the columns argument of the load; a later load without one uses it again';
SELECT pg_catalog.pg_extension_config_dump('@extschema@.snapshot_load', '');

-- Days that compact_history has turned into changes: what snapshot_load had of them, and where they are now.
CREATE TABLE @extschema@.snapshot_compacted (
	into_table		regclass NOT NULL,
	store			regclass NOT NULL,
	snapshot_date	date NOT NULL,
	compacted_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	loaded_at		timestamptz NOT NULL,
	loaded_by		text NOT NULL,
	source			text NOT NULL,
	server			text,
	dataset			text,
	batch			text,
	mapping			jsonb,
	rows			bigint NOT NULL,
	files			bigint NOT NULL,
	bytes			bigint NOT NULL,
	exported_at		timestamptz,
	PRIMARY KEY (store, snapshot_date)
);
COMMENT ON TABLE @extschema@.snapshot_compacted IS 'one row for each loaded day that is kept as changes';
COMMENT ON COLUMN @extschema@.snapshot_compacted.store IS 'table that holds the changes';
SELECT pg_catalog.pg_extension_config_dump('@extschema@.snapshot_compacted',
	'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) store)');

-- The table is found through its partition: renamed tables stay listed, dropped ones are not.
-- The barrier is that of a SELECT: conditions of those who ask would go into a UNION ALL beneath the right's.
CREATE VIEW @extschema@.snapshots WITH (security_barrier) AS
SELECT l.into_table, l.snapshot_date, l.loaded_at, l.loaded_by, l.source, l.server, l.dataset, l.batch, l.rows, l.files,
	   l.bytes, l.partition, l.exported_at, l.compacted
  FROM (
	SELECT i.inhparent::pg_catalog.regclass AS into_table, s.snapshot_date, s.loaded_at, s.loaded_by, s.source, s.server,
		   s.dataset, s.batch, s.rows, s.files, s.bytes, c.oid::pg_catalog.regclass AS partition, s.exported_at, false AS compacted
	  FROM @extschema@.snapshot_load s
	  JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) s.schema_name::pg_catalog.name
	  JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid
								AND c.relname OPERATOR(pg_catalog.=) s.partition_name::pg_catalog.name
	  JOIN pg_catalog.pg_inherits i ON i.inhrelid OPERATOR(pg_catalog.=) c.oid
	 UNION ALL
	SELECT k.into_table, k.snapshot_date, k.loaded_at, k.loaded_by, k.source, k.server,
		   k.dataset, k.batch, k.rows, k.files, k.bytes, k.store, k.exported_at, true
	  FROM @extschema@.snapshot_compacted k
	  JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) k.into_table
	  JOIN pg_catalog.pg_class o ON o.oid OPERATOR(pg_catalog.=) k.store
	) l
 WHERE pg_catalog.has_any_column_privilege(l.into_table, 'SELECT');
COMMENT ON VIEW @extschema@.snapshots IS 'the loaded days of the tables that you may read';
COMMENT ON COLUMN @extschema@.snapshots.into_table IS 'table that was loaded into';
COMMENT ON COLUMN @extschema@.snapshots.snapshot_date IS 'day of the snapshot';
COMMENT ON COLUMN @extschema@.snapshots.loaded_at IS 'when it was loaded';
COMMENT ON COLUMN @extschema@.snapshots.loaded_by IS 'role that loaded it';
COMMENT ON COLUMN @extschema@.snapshots.source IS 'path on the server, or name of the data set';
COMMENT ON COLUMN @extschema@.snapshots.server IS 'foreign server it came from; null for files';
COMMENT ON COLUMN @extschema@.snapshots.dataset IS 'id of the data set; null for files';
COMMENT ON COLUMN @extschema@.snapshots.batch IS 'id of the batch; null for files';
COMMENT ON COLUMN @extschema@.snapshots.rows IS 'profiles loaded';
COMMENT ON COLUMN @extschema@.snapshots.files IS 'files read';
COMMENT ON COLUMN @extschema@.snapshots.bytes IS 'bytes of the files as stored';
COMMENT ON COLUMN @extschema@.snapshots.partition IS 'partition that holds the day, or table of changes';
COMMENT ON COLUMN @extschema@.snapshots.compacted IS 'is it kept as changes? then it is read in <table>_history';
COMMENT ON COLUMN @extschema@.snapshots.exported_at IS 'when the platform made it; null for files';

CREATE FUNCTION @extschema@.load_snapshot_file(path text, into_table text, columns jsonb DEFAULT NULL,
	INOUT snapshot_date date DEFAULT CURRENT_DATE, format text DEFAULT 'auto',
	incremental boolean DEFAULT false, csv jsonb DEFAULT NULL,
	OUT rows bigint, OUT files integer, OUT bytes bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_load_snapshot_file';
COMMENT ON FUNCTION @extschema@.load_snapshot_file(text, text, jsonb, date, text, boolean, jsonb) IS
	'load exported profiles (Parquet, NDJSON, CSV; .gz as well) from a file or glob on the server into the partition of a day, replacing it';

CREATE FUNCTION @extschema@.load_snapshot(server text, into_table text, dataset text DEFAULT NULL, merge_policy text DEFAULT NULL,
	columns jsonb DEFAULT NULL, INOUT snapshot_date date DEFAULT NULL,
	OUT rows bigint, OUT files integer, OUT bytes bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_load_snapshot';
COMMENT ON FUNCTION @extschema@.load_snapshot(text, text, text, text, jsonb, date) IS
	'load a day''s profile snapshot from the platform, the newest by default, into the partition of that day, replacing it';

CREATE FUNCTION @extschema@.unload_snapshot(into_table text, snapshot_date date)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_unload_snapshot';
COMMENT ON FUNCTION @extschema@.unload_snapshot(text, date) IS
	'drop the partition of a day; the view of the newest day moves back if it was the newest';

CREATE FUNCTION @extschema@.set_column_type(snapshot_table text, column_name text, type text)
RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_set_column_type';
COMMENT ON FUNCTION @extschema@.set_column_type(text, text, text) IS
	'give a column of a table of snapshots a wider type in every day, compacted ones as well; the views are made again with their grants';

REVOKE ALL ON @extschema@.snapshot_load, @extschema@.snapshots FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.load_snapshot_file(text, text, jsonb, date, text, boolean, jsonb),
	@extschema@.load_snapshot(text, text, text, text, jsonb, date), @extschema@.unload_snapshot(text, date),
	@extschema@.set_column_type(text, text, text) FROM PUBLIC;
-- pg_dump by a role that is no superuser needs to read the table.
GRANT SELECT ON @extschema@.snapshot_load, @extschema@.snapshot_compacted TO profenrich_admin;
GRANT SELECT ON @extschema@.snapshots TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.load_snapshot_file(text, text, jsonb, date, text, boolean, jsonb),
	@extschema@.load_snapshot(text, text, text, text, jsonb, date), @extschema@.unload_snapshot(text, date),
	@extschema@.set_column_type(text, text, text) TO profenrich_analyst, profenrich_operator, profenrich_admin;
