-- ALTER EXTENSION profenrich UPDATE from the version before ends where CREATE EXTENSION begins: each member of the
-- extension, with all its properties, is the same. How an upgrade script comes about: "Upgrading" in src/README.md.
SET client_min_messages = warning;

-- Everything there is to say of the extension's members, one row for each property.
CREATE FUNCTION catalog_of_extension() RETURNS TABLE (object text, property text, value text)
LANGUAGE sql AS $$
WITH member AS (
	SELECT d.classid, d.objid
	  FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
	 WHERE e.extname = 'profenrich'),
relation AS (
	SELECT c.*, format('%s %s', CASE c.relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END, c.oid::regclass) AS object
	  FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid),
acl (classid, objid, object, rights) AS (
	SELECT 'pg_class'::regclass, oid, object, relacl FROM relation
	UNION ALL SELECT 'pg_proc'::regclass, p.oid, format('function %s', p.oid::regprocedure), p.proacl
	  FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, w.oid, format('wrapper %s', fdwname), fdwacl
	  FROM pg_foreign_data_wrapper w JOIN member m ON m.classid = 'pg_foreign_data_wrapper'::regclass AND m.objid = w.oid
	UNION ALL SELECT 'pg_namespace'::regclass, oid, 'schema', nspacl FROM pg_namespace WHERE nspname = 'profenrich')
SELECT pg_describe_object(classid, objid, 0), 'member', 'yes' FROM member
UNION ALL SELECT pg_describe_object(classid, objid, 0), 'comment', obj_description(objid, (SELECT relname FROM pg_class WHERE oid = classid)) FROM member
-- Rights as they are, and as pg_dump takes them for granted.
UNION ALL SELECT object, 'grant', r FROM acl, unnest(rights::text[]) r
UNION ALL SELECT a.object, 'grant of the extension', r FROM acl a
	JOIN pg_init_privs i ON i.classoid = a.classid AND i.objoid = a.objid AND i.objsubid = 0, unnest(i.initprivs::text[]) r
UNION ALL SELECT format('function %s', p.oid::regprocedure), 'definition', pg_get_functiondef(p.oid)
	FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid WHERE p.prokind <> 'a'
UNION ALL SELECT object, 'storage', concat_ws(' ', relpersistence, reloptions, relrowsecurity, relforcerowsecurity, relreplident,
	pg_get_expr(relpartbound, oid), pg_get_partkeydef(oid)) FROM relation
UNION ALL SELECT object, 'definition', pg_get_viewdef(oid) FROM relation WHERE relkind = 'v'
UNION ALL SELECT r.object, format('column %s', a.attname), concat_ws(' ', 'number', row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum),
	format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END, a.attcollation, a.attidentity, a.attgenerated,
	a.attstorage, a.attcompression, a.attstattarget, a.attacl,
	'default ' || (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = r.oid AND adnum = a.attnum),
	'comment ' || col_description(r.oid, a.attnum))
	FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid WHERE r.relkind <> 'S' AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT r.object, format('constraint %s', c.conname), pg_get_constraintdef(c.oid) FROM relation r JOIN pg_constraint c ON c.conrelid = r.oid
UNION ALL SELECT r.object, format('index %s', i.indexrelid::regclass), pg_get_indexdef(i.indexrelid) FROM relation r JOIN pg_index i ON i.indrelid = r.oid
UNION ALL SELECT r.object, format('trigger %s', t.tgname), pg_get_triggerdef(t.oid) FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
UNION ALL SELECT r.object, 'sequence', concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcache, s.seqcycle)
	FROM relation r JOIN pg_sequence s ON s.seqrelid = r.oid
UNION ALL SELECT format('table %s', t::regclass), 'dumped', extcondition[n]
	FROM pg_extension, unnest(extconfig) WITH ORDINALITY u (t, n) WHERE extname = 'profenrich'
$$;

CREATE EXTENSION profenrich;
CREATE TABLE fresh AS SELECT * FROM catalog_of_extension();
DROP EXTENSION profenrich;

-- The version before, with something in each table that a dump carries.
CREATE EXTENSION profenrich VERSION '0.1.0';
INSERT INTO profenrich.snapshot_load (schema_name, partition_name, snapshot_date, loaded_by, source, rows, files, bytes)
	VALUES ('public', 'profiles_20261123', '2026-11-23', 'somebody', '/exports/x.parquet', 10, 1, 1000);
INSERT INTO profenrich.model (name, owner, task, deployed_version, last_version) VALUES ('churn', 10, 'propensity', 1, 1);
INSERT INTO profenrich.model_version (model, version, algorithm, task, objective, source, rows, options, features, metrics, evaluation,
		verdict, quality, seconds, memory_bytes, trained_by, artifact_bytes, artifact_checksum)
	VALUES ('churn', 1, 'logistic', 'propensity', 'log-loss', 'profiles_latest', 10, '{}', '[]', '{}', '{}', 'fair', 'fair', '{}', 1, 10, 3, 'x');
INSERT INTO profenrich.model_artifact SELECT version_id, 0, '\x010203' FROM profenrich.model_version;
INSERT INTO profenrich.search_trial SELECT version_id, 1, '{}', 'log-loss', 0.5, NULL, 5, 1, true FROM profenrich.model_version;
INSERT INTO profenrich.enrichment (name, owner, server, source, identity_column, namespace) VALUES ('nightly', 10, 'aep', 'scores', 'id', 'CRMID');
INSERT INTO profenrich.enrichment_target (enrichment_id, tenant, field_group_id, schema_id, dataset_id, inlet_url, flow_id, org_id, sandbox,
		sender_identity, ready_at)
	SELECT enrichment_id, 'acme', 'g', 's', 'd', 'https://inlet', 'f', 'o', 'prod', 'cluster', '2026-11-23' FROM profenrich.enrichment;
INSERT INTO profenrich.run (enrichment_id, run_by, profiles) SELECT enrichment_id, 10, 2 FROM profenrich.enrichment;
INSERT INTO profenrich.profile_score (enrichment_id, profile_key, version, hash, changed_at, value)
	SELECT enrichment_id, 'C-1', 1, 42, '2026-11-23', '{"score": 1}' FROM profenrich.enrichment;
INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys) SELECT enrichment_id, 3, 1, '{C-1}' FROM profenrich.enrichment;
INSERT INTO profenrich.retry (enrichment_id, profile_key, shard, version, next_at, class)
	SELECT enrichment_id, 'C-2', 3, 1, '2026-11-23', 'unknown' FROM profenrich.enrichment;
INSERT INTO profenrich.dead_letter (enrichment_id, profile_key, shard, version, class) SELECT enrichment_id, 'C-3', 3, 1, 'key' FROM profenrich.enrichment;
INSERT INTO profenrich.delivery_state (enrichment_id, requests) SELECT enrichment_id, 7 FROM profenrich.enrichment;
INSERT INTO profenrich.delivery_log (at, enrichment_id, messages, bytes, outcome) VALUES ('2026-11-23', 1, 1, 100, 'accepted');

CREATE FUNCTION rows_of_extension() RETURNS TABLE (relation text, contents jsonb) LANGUAGE plpgsql AS $$
DECLARE
	r regclass;
BEGIN
	FOR r IN SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'profenrich' AND c.relkind = 'r' ORDER BY c.relname
	LOOP
		RETURN QUERY EXECUTE format('SELECT %L, to_jsonb(t) FROM %s t', r, r);
	END LOOP;
END $$;
CREATE TABLE rows_before AS SELECT * FROM rows_of_extension();
SELECT count(DISTINCT relation) AS tables_with_rows FROM rows_before;

-- An error here is for src/install/upgrade/0.1.0--0.2.0.sql, which has to DROP what the error names, above "-- the parts":
-- a function whose result or arguments changed, a view whose columns did otherwise than by new ones at the end.
ALTER EXTENSION profenrich UPDATE;

-- What the upgrade makes otherwise than a fresh install does, and what to do about it. No rows, or it is not done.
SELECT COALESCE(f.object, u.object) AS object, COALESCE(f.property, u.property) AS property,
	left(f.value, 200) AS fresh_install, left(u.value, 200) AS after_upgrade,
	CASE WHEN u.object IS NULL AND f.property = 'member' THEN 'say it in its part of src/install as a CREATE statement of its own'
		WHEN u.object IS NULL THEN 'add the ALTER TABLE ... ADD (or the GRANT, COMMENT) to src/install/upgrade/0.1.0--0.2.0.sql, above "-- the parts"'
		WHEN f.object IS NULL THEN 'add the DROP (or REVOKE) to src/install/upgrade/0.1.0--0.2.0.sql, above "-- the parts"'
		WHEN f.value ~ '^number' THEN 'new columns are last in their CREATE TABLE; else an ALTER TABLE in src/install/upgrade/0.1.0--0.2.0.sql'
		ELSE 'add the ALTER to src/install/upgrade/0.1.0--0.2.0.sql, above "-- the parts"' END AS what_to_do
  FROM (SELECT *, row_number() OVER (PARTITION BY object, property ORDER BY value) AS n FROM fresh) f
  FULL JOIN (SELECT *, row_number() OVER (PARTITION BY object, property ORDER BY value) AS n FROM catalog_of_extension()) u
	ON (f.object, f.property, CASE WHEN f.property ~ '^grant' THEN f.value ELSE f.n::text END)
	 = (u.object, u.property, CASE WHEN u.property ~ '^grant' THEN u.value ELSE u.n::text END)
 WHERE f.value IS DISTINCT FROM u.value OR f.object IS NULL OR u.object IS NULL
 ORDER BY 1, 2 LIMIT 50;
SELECT count(*) > 500 AS much_was_compared FROM fresh;

-- The rows are still there, with what they had.
SELECT b.relation, b.contents AS lost
  FROM rows_before b
 WHERE NOT EXISTS (SELECT FROM rows_of_extension() a WHERE a.relation = b.relation AND a.contents @> b.contents);

DROP EXTENSION profenrich;
DROP TABLE fresh, rows_before;
DROP FUNCTION catalog_of_extension(), rows_of_extension();
