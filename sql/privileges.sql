-- Who may do what. The lists below are decisions: a line that is new, or changes, is a right that somebody got or lost.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
CREATE ROLE regress_pe_nobody;
CREATE ROLE regress_pe_reader IN ROLE profenrich_reader;
CREATE ROLE regress_pe_analyst IN ROLE profenrich_analyst;
CREATE ROLE regress_pe_operator IN ROLE profenrich_operator;
CREATE ROLE regress_pe_admin IN ROLE profenrich_admin;

-- Each function, table, view, sequence and wrapper of the extension, and who was granted what. EXECUTE of functions and
-- SELECT of relations are left out of the words; "!" is a right that may be passed on.
CREATE VIEW granted AS
WITH object AS (
	SELECT d.classid, d.objid, CASE
			WHEN p.oid IS NOT NULL THEN p.proname || '(' || oidvectortypes(p.proargtypes) || ')'
			WHEN c.relkind = 'S' THEN 'sequence ' || c.relname
			WHEN c.relkind = 'v' THEN 'view ' || c.relname
			WHEN c.oid IS NOT NULL THEN 'table ' || c.relname
			ELSE pg_describe_object(d.classid, d.objid, 0) END AS name,
		COALESCE(p.proacl, c.relacl, w.fdwacl, acldefault(CASE WHEN p.oid IS NOT NULL THEN 'f' WHEN c.relkind = 'S' THEN 's' WHEN c.oid IS NOT NULL THEN 'r' ELSE 'F' END::"char",
			COALESCE(p.proowner, c.relowner, w.fdwowner))) AS acl,
		COALESCE(p.proowner, c.relowner, w.fdwowner) AS owner, p.prosecdef
	  FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND e.extname = 'profenrich'
	  LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
	  LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
	  LEFT JOIN pg_foreign_data_wrapper w ON d.classid = 'pg_foreign_data_wrapper'::regclass AND w.oid = d.objid
	 WHERE d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_foreign_data_wrapper'::regclass)),
right_of AS (
	SELECT o.name, o.prosecdef, a.privilege_type, a.is_grantable, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE replace(a.grantee::regrole::text, 'profenrich_', '') END AS grantee
	  FROM object o LEFT JOIN LATERAL (SELECT * FROM aclexplode(o.acl) x WHERE x.grantee <> o.owner) a ON true)
SELECT name || CASE WHEN prosecdef THEN ' SECURITY DEFINER' ELSE '' END AS object,
	COALESCE(string_agg(CASE WHEN privilege_type IN ('EXECUTE', 'SELECT') THEN '' ELSE lower(privilege_type) || ' ' END || grantee || CASE WHEN is_grantable THEN '!' ELSE '' END, ', '
		ORDER BY array_position('{reader,analyst,operator,admin}', grantee), privilege_type), '-') AS granted_to
  FROM right_of GROUP BY 1;

\pset format unaligned
\pset tuples_only on
\pset fieldsep ': '
SELECT * FROM granted WHERE object !~ '^(table|view|sequence|foreign)' ORDER BY object COLLATE "C";
SELECT * FROM granted WHERE object ~ '^(table|view|sequence|foreign)' ORDER BY object COLLATE "C";
-- Rights on single columns: none.
SELECT attrelid::regclass, attname, attacl FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid IN (
	SELECT objid FROM pg_depend WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'profenrich') AND classid = 'pg_class'::regclass);
\pset tuples_only off
\pset format aligned

-- What the rights come to, tried as each role. A statement that is refused for want of a right says "-", any other end is "may".
CREATE FUNCTION attempt(role_name text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', 'regress_pe_' || role_name);
	EXECUTE statement;
	RAISE EXCEPTION USING ERRCODE = 'PE000';
EXCEPTION
	WHEN insufficient_privilege THEN RETURN '-';
	WHEN OTHERS THEN RETURN 'may';
END $$;

-- Reading each relation: as it was granted, also where a view calls functions. And nobody writes.
SELECT c.relname, r.role, attempt(r.role, format('SELECT count(*) FROM profenrich.%I', c.relname)) AS got
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'profenrich' AND c.relkind IN ('r', 'p', 'v'),
	(VALUES ('nobody'), ('reader'), ('analyst'), ('operator'), ('admin')) r (role)
 WHERE (attempt(r.role, format('SELECT count(*) FROM profenrich.%I', c.relname)) = 'may')
	<> (r.role <> 'nobody' AND has_table_privilege('profenrich_' || replace(r.role, 'nobody', 'reader'), c.oid, 'SELECT'));
SELECT c.relname, r.role, s.statement
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'profenrich' AND c.relkind IN ('r', 'p', 'v'),
	(VALUES ('nobody'), ('reader'), ('analyst'), ('operator'), ('admin')) r (role),
	(VALUES ('INSERT INTO profenrich.%I DEFAULT VALUES'), ('DELETE FROM profenrich.%I'), ('TRUNCATE profenrich.%I'), ('LOCK TABLE profenrich.%I'),
		('ALTER TABLE profenrich.%I DISABLE RULE x'), ('CREATE TRIGGER t BEFORE INSERT ON profenrich.%I EXECUTE FUNCTION suppress_redundant_updates_trigger()')) s (statement)
 WHERE attempt(r.role, format(s.statement, c.relname)) <> '-'
	-- Through a view these end for another reason: it cannot be written at all.
	AND NOT (c.relkind = 'v' AND s.statement ~ '^(TRUNCATE|CREATE TRIGGER|INSERT|DELETE)' AND r.role <> 'nobody')
 ORDER BY 1, 2, 3;

GRANT CREATE ON SCHEMA public TO regress_pe_nobody, regress_pe_reader, regress_pe_analyst, regress_pe_operator, regress_pe_admin;
-- Tasks by role: each statement fails for another reason where the right is there.
SELECT t.task, attempt('nobody', t.statement) AS nobody, attempt('reader', t.statement) AS reader, attempt('analyst', t.statement) AS analyst,
	attempt('operator', t.statement) AS operator, attempt('admin', t.statement) AS admin
  FROM (VALUES
	(1, 'train', $$SELECT profenrich.train('none', source => 'SELECT 1')$$),
	(2, 'predict', $$SELECT profenrich.predict('none', ROW(1))$$),
	(3, 'deploy', $$SELECT profenrich.deploy('none', 1)$$),
	(4, 'load', $$SELECT profenrich.unload_snapshot('none', '2026-11-23')$$),
	(5, 'connect', $$SELECT * FROM profenrich.datasets('none')$$),
	(6, 'define', $$SELECT profenrich.drop_enrichment('none')$$),
	(7, 'refresh', $$SELECT profenrich.refresh('none')$$),
	(8, 'pause', $$SELECT profenrich.pause('none')$$),
	(9, 'look at the worker', $$SELECT * FROM profenrich.worker_status$$),
	(10, 'stop the worker', $$SELECT profenrich.stop_worker() WHERE false$$),
	(11, 'make a server', $$CREATE SERVER regress_x FOREIGN DATA WRAPPER experience_platform$$),
	(12, 'name the secret directory', $$SET profenrich.secret_directory = '/tmp'$$),
	(13, 'allow private addresses', $$SET profenrich.allow_private_addresses = on$$),
	(14, 'allow plain http', $$SET profenrich.allow_insecure_loopback = on$$),
	(15, 'allow secrets in options', $$SET profenrich.allow_secret_option = on$$),
	(16, 'send early', $$SET profenrich.ready_after = 0$$),
	(17, 'send often', $$SET profenrich.resend_gap = 0$$)) t (n, task, statement)
 ORDER BY t.n;
-- Settings that decide where secrets and data go, or what the cluster does, are none of a session's.
SELECT name, context FROM pg_settings WHERE name ~ '^profenrich\.' AND context = 'user' ORDER BY 1;
SELECT name, context FROM pg_settings WHERE name ~ '^profenrich\.' AND context = 'sighup' ORDER BY 1;

-- Row security and column rights hold on the way into a model, through it, and out to the queue.
CREATE TABLE visits (id text, branch text, visits int, secret_note int, bought boolean);
INSERT INTO visits SELECT 'C-' || i, CASE WHEN i % 4 = 0 THEN 'north' ELSE 'south' END, i % 50, i, i % 50 > 20 + hashint4(i) % 10 FROM generate_series(1, 2000) i;
ALTER TABLE visits ENABLE ROW LEVEL SECURITY;
CREATE POLICY north ON visits TO regress_pe_analyst, regress_pe_operator USING (branch = 'north');
GRANT SELECT (id, branch, visits, bought) ON visits TO regress_pe_analyst, regress_pe_operator;
CREATE SERVER regress_aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id 'ABC@AdobeOrg');
GRANT USAGE ON FOREIGN SERVER regress_aep TO regress_pe_operator;
SET ROLE regress_pe_analyst;
SELECT rows FROM profenrich.train('north', source => 'SELECT id, visits, bought FROM visits', target => 'bought', algorithm => 'logistic', options => '{"key": "id"}');
SELECT rows FROM profenrich.train('north', source => 'visits', target => 'bought', algorithm => 'logistic');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM profenrich.score('north', 'SELECT id, visits FROM visits', 'id');
SELECT count(*) FROM profenrich.score('north', 'SELECT id, visits, secret_note FROM visits', 'id');
SELECT rows FROM profenrich.score_into('north', 'SELECT id, visits FROM visits', key => 'id', into_table => 'north_scores') AS s (rows);
SET ROLE regress_pe_reader;
SELECT count(*) FROM profenrich.score('north', 'SELECT id, visits FROM visits', 'id');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.deploy('north', 1);
SELECT profenrich.drop_model('north');
SET ROLE regress_pe_operator;
SELECT profenrich.create_enrichment('regressRows', 'regress_aep', 'SELECT id, visits FROM visits', 'id', 'CRMID');
SELECT profenrich.create_enrichment('regressColumns', 'regress_aep', 'SELECT id, secret_note FROM visits', 'id', 'CRMID');
RESET ROLE;
-- Also when a superuser refreshes: the source is read as the enrichment's owner.
SELECT profiles FROM profenrich.refresh('regressRows');
SELECT profiles FROM profenrich.refresh('regressColumns');
\echo :LAST_ERROR_SQLSTATE
-- And the owner's source cannot do more than read meanwhile.
CREATE FUNCTION grab() RETURNS int LANGUAGE plpgsql AS $$BEGIN CREATE TEMP TABLE grabbed (a int); RETURN 1; END$$;
SET ROLE regress_pe_operator;
SELECT profenrich.create_enrichment('regressGrab', 'regress_aep', 'SELECT ''C-1'' AS id, grab() AS a', 'id', 'CRMID');
RESET ROLE;
SELECT profiles FROM profenrich.refresh('regressGrab');
\echo :LAST_ERROR_SQLSTATE

DROP VIEW granted;
DROP FUNCTION attempt(text, text), grab();
DROP TABLE visits, north_scores;
DROP EXTENSION profenrich CASCADE;
REVOKE CREATE ON SCHEMA public FROM regress_pe_nobody, regress_pe_reader, regress_pe_analyst, regress_pe_operator, regress_pe_admin;
DROP ROLE regress_pe_nobody, regress_pe_reader, regress_pe_analyst, regress_pe_operator, regress_pe_admin;
