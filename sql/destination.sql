-- Profiles as the HTTP API destination posts them.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
RESET client_min_messages;
SET search_path = public, profenrich;
SET timezone = 'UTC';
\set SHOW_CONTEXT never

-- Merge patches: the examples of RFC 7396, which take and give objects.
SELECT jsonb_merge_patch(target::jsonb, patch::jsonb) = result::jsonb AS same, target, patch
  FROM (VALUES ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'), ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
	('{"a":"b"}', '{"a":null}', '{}'), ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'), ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
	('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'), ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
	('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'), ('["a","b"]', '["c","d"]', '["c","d"]'), ('{"a":"b"}', '["c"]', '["c"]'),
	('{"a":"foo"}', 'null', 'null'), ('{"a":"foo"}', '"bar"', '"bar"'), ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
	('[1,2]', '{"a":"b","c":null}', '{"a":"b"}'), ('{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}')) AS c (target, patch, result);
SELECT jsonb_merge_patch('{}', (repeat('{"a":', 6000) || '1' || repeat('}', 6000))::jsonb) IS NOT NULL AS deep;

-- Keys: the preferred namespace, else the primary identity, then the smallest id; namespaces without case.
SELECT map, wanted, (identity_key(map::jsonb, wanted::text[])).* FROM (VALUES
	('{"ecid": [{"id": "2"}, {"id": "10"}], "CRMID": [{"id": "C-1"}]}', NULL),
	('{"ecid": [{"id": "2"}, {"id": "10"}], "CRMID": [{"id": "C-1"}]}', '{ECID}'),
	('{"ecid": [{"id": "2", "primary": true}, {"id": "10"}], "CRMID": [{"id": "C-1"}]}', NULL),
	('{"ecid": [{"id": "2", "primary": true}], "CRMID": [{"id": "C-1"}]}', '{phone,crmid}'),
	('{"ecid": [{"id": "2"}], "Email": []}', '{email}')) AS c (map, wanted);
SELECT count(*) FROM identity_key('{"ecid": []}') UNION ALL SELECT count(*) FROM identity_key('[1]') UNION ALL SELECT count(*) FROM identity_key('{"a": {"id": "1"}, "b": [1, "x", {"id": ""}, {"id": null}]}')
 UNION ALL SELECT count(*) FROM identity_key(NULL);

-- A profile comes, changes, and goes on changing.
SELECT * FROM load_destination_payload('{"person": {"email": "a@b.c", "name": "Ann"}, "_acme": {"churn": 0.83, "old": 1},
	"segmentMembership": {"ups": {"s1": {"lastQualificationTime": "2026-11-22T03:00:00Z", "status": "realized"}}},
	"identityMap": {"crmid": [{"id": "C-1"}], "ECID": [{"id": "7"}]}}', 'delivered', '{CRMID}');
SELECT * FROM load_destination_payload('[{"person": {"email": "n@b.c"}, "_acme": {"old": null},
	"segmentMembership": {"ups": {"s1": {"lastQualificationTime": "2026-11-21T03:00:00Z", "status": "exited"},
		"s2": {"lastQualificationTime": "2026-11-23T03:00:00Z", "status": "realized"}}},
	"identityMap": {"crmid": [{"id": "C-1"}]}}, {"identityMap": {"ECID": [{"id": "8"}]}, "_acme": {"churn": 0.1}}]', 'delivered');
SELECT profile_namespace, profile_key, attributes, identity_map, segment_membership, payloads, received_at > now() - interval '1 hour' AS recent
  FROM delivered ORDER BY 1, 2;
SELECT a.attname, col_description(a.attrelid, a.attnum) FROM pg_attribute a WHERE a.attrelid = 'delivered'::regclass AND a.attnum > 0 ORDER BY a.attnum;

-- What cannot be taken changes nothing.
SELECT load_destination_payload('[{"identityMap": {"crmid": [{"id": "C-2"}]}}, {"person": {"email": "secret"}}]', 'delivered');
SELECT load_destination_payload('[{"identityMap": {"crmid": [{"id": "C-2"}]}}, 7]', 'delivered');
SELECT load_destination_payload('"text"', 'delivered');
SELECT load_destination_payload('{"identityMap": {"crmid": [{"id": "C-2"}]}}', 'delivered', '{ECID}');
SELECT load_destination_payload('{"identityMap": {"crmid": [{"id": "C-2"}]}}', NULL);
CREATE TABLE other_table (i int);
SELECT load_destination_payload('{"identityMap": {"crmid": [{"id": "C-2"}]}}', 'other_table');
SELECT count(*) FROM delivered;

-- A gateway's role needs rights on the table, and no more.
CREATE ROLE gateway IN ROLE profenrich_analyst;
GRANT USAGE ON SCHEMA public TO gateway;
SET ROLE gateway;
SELECT load_destination_payload('{"identityMap": {"crmid": [{"id": "C-3"}]}}', 'delivered');
RESET ROLE;
GRANT SELECT, INSERT, UPDATE ON delivered TO gateway;
SET ROLE gateway;
SELECT * FROM load_destination_payload('{"identityMap": {"crmid": [{"id": "C-3"}]}}', 'delivered');
RESET ROLE;

-- Who is forgotten goes, and does not come again.
SELECT object, rows FROM forget('CRMID', 'C-3') WHERE object LIKE 'table %';
SELECT * FROM load_destination_payload('[{"identityMap": {"crmid": [{"id": "C-3"}]}}, {"identityMap": {"ECID": [{"id": "9"}]}}]', 'delivered');
SELECT profile_key FROM delivered ORDER BY 1;

SET client_min_messages = warning;
DROP TABLE delivered, other_table;
REVOKE ALL ON SCHEMA public FROM gateway;
DROP ROLE gateway;
DROP EXTENSION profenrich CASCADE;
