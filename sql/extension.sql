-- The extension's own shape: it installs, versions agree, nothing is open to PUBLIC.
CREATE EXTENSION profenrich;

SELECT extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'profenrich') AS version_agrees
  FROM pg_extension WHERE extname = 'profenrich';

-- Every function, view and table of the extension carries a comment.
SELECT pg_describe_object(classid, objid, 0) AS uncommented
  FROM pg_depend d
 WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
   AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'profenrich')
   AND classid IN ('pg_proc'::regclass, 'pg_class'::regclass)
   AND NOT (classid = 'pg_class'::regclass AND (SELECT relkind FROM pg_class WHERE oid = objid) NOT IN ('r', 'v', 'p'))
   AND obj_description(objid, (SELECT relname FROM pg_class WHERE oid = classid)::name) IS NULL
 ORDER BY 1;

-- Nothing is granted to PUBLIC.
SELECT p.oid::regprocedure AS public_function
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'profenrich'
 WHERE has_function_privilege('public', p.oid, 'EXECUTE')
 ORDER BY 1;
SELECT c.oid::regclass AS public_relation
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'profenrich'
 WHERE c.relkind IN ('r', 'v', 'p', 'S')
   AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('public', c.oid, 'USAGE, SELECT, UPDATE')
            ELSE has_table_privilege('public', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER') END
 ORDER BY 1;

DROP EXTENSION profenrich;
CREATE EXTENSION profenrich;
DROP EXTENSION profenrich;
