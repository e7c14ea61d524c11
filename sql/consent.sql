-- Consent: whoever has not given it is neither sent nor learnt from, and is cleared when it is withdrawn.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
CREATE SERVER consent_aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id 'ABC@AdobeOrg', sandbox 'prod');
CREATE SCHEMA consent_test;
SET search_path = consent_test;
SET profenrich.resend_gap = 0;
CREATE TABLE scores (crm_id text, score int, seq int, personalize text, agreed boolean);
INSERT INTO scores SELECT 'C-' || i, i, 1, CASE i % 10 WHEN 0 THEN 'n' WHEN 1 THEN NULL WHEN 2 THEN 'dy' ELSE 'y' END, i % 10 > 1
  FROM generate_series(1, 100) AS i;
CREATE FUNCTION make(consent jsonb) RETURNS void LANGUAGE sql AS $$
	SELECT profenrich.create_enrichment('consent', server => 'consent_aep', source => 'scores', identity_column => 'crm_id',
		namespace => 'CRMID', options => jsonb_build_object('consent', consent)) $$;
CREATE FUNCTION step(OUT profiles bigint, OUT changed bigint, OUT unchanged bigint, OUT retracted bigint, OUT skipped bigint) LANGUAGE sql AS $$
	SELECT profiles, changed, unchanged, retracted, skipped FROM profenrich.refresh('consent') $$;

-- One boolean expression over a row, and nothing else.
SELECT make('true');
\echo :LAST_ERROR_SQLSTATE
SELECT make('""');
SELECT make('"score"');
\echo :LAST_ERROR_SQLSTATE
SELECT make('"agreeed"');
\echo :LAST_ERROR_SQLSTATE
SELECT make('"agreed AND"');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
SELECT make('"agreed), (agreed"');
\echo :LAST_ERROR_SQLSTATE
SELECT make('"agreed) OR (true"');
SELECT make('"agreed AS a"');
SELECT make('"agreed) FROM scores WHERE (agreed"');
SELECT make('"agreed) UNION SELECT (true"');
SELECT make('"true) ORDER BY (1"');
SELECT make('"agreed); SELECT (true"');
SELECT make('"agreed) FOR UPDATE OF scores; --"');
SELECT make('"bool_and(agreed)"');
SELECT make('"bool_and(agreed) OVER ()"');
SELECT make('"generate_series(1, 2) = 1"');
SELECT make('"(SELECT count(*) FROM nothing) > 0"');
\set VERBOSITY default

-- What the expression names is not sent: here two columns, one of them inside a subquery.
CREATE TABLE optouts (id text, score int);
SELECT make('"personalize IN (''y'', ''dy'') -- as the policy says"');
SELECT jsonb_object_keys(m #> '{body,xdmEntity,_(known after provision),consent}') AS attribute FROM profenrich.preview('consent', 1) AS m ORDER BY 1;
SELECT profenrich.alter_enrichment('consent', options => '{"consent": "agreed AND NOT EXISTS (SELECT FROM optouts o WHERE o.id = crm_id AND o.score > 0)"}');
SELECT jsonb_object_keys(m #> '{body,xdmEntity,_(known after provision),consent}') AS attribute FROM profenrich.preview('consent', 1) AS m ORDER BY 1;
SELECT profenrich.alter_enrichment('consent', source => 'SELECT crm_id, agreed FROM scores', options => '{"consent": "agreed"}');
SELECT profenrich.alter_enrichment('consent', source => 'SELECT crm_id, score, agreed FROM scores -- some', options => '{"consent": "agreed"}');

-- 20 of 100 have not consented: neither previewed nor sent, and counted by reason.
SELECT count(*) FROM profenrich.preview('consent', 1000);
SELECT item, value, ok FROM profenrich.plan('consent') WHERE item ~ 'profiles|skipped|messages';
SELECT * FROM step();
SELECT skipped_reasons FROM profenrich.runs ORDER BY run_id DESC LIMIT 1;
SELECT count(*) FILTER (WHERE agreed) AS sent, count(*) AS values FROM profenrich.profile_score LEFT JOIN scores ON crm_id = profile_key;
SELECT value FROM profenrich.profile_score WHERE profile_key = 'C-5';
SELECT * FROM step();

-- Withdrawn: cleared, also with on_absent keep. NULL is no consent. Given again: sent again.
UPDATE scores SET agreed = CASE crm_id WHEN 'C-5' THEN false END WHERE crm_id IN ('C-5', 'C-6');
UPDATE scores SET agreed = true WHERE crm_id = 'C-10';
UPDATE scores SET score = score + 1 WHERE crm_id IN ('C-5', 'C-7', 'C-11');
DELETE FROM scores WHERE crm_id = 'C-9';
SELECT item, value FROM profenrich.plan('consent') WHERE item ~ 'changed|retracted|skipped|messages';
SELECT * FROM step();
SELECT profile_key, retracted, value FROM profenrich.profile_score WHERE profile_key IN ('C-5', 'C-6', 'C-7', 'C-9', 'C-10', 'C-11') ORDER BY 1;
SELECT * FROM step();
UPDATE scores SET agreed = true WHERE crm_id = 'C-6';
SELECT * FROM step();

-- It is never held back as too small a change.
SELECT profenrich.alter_enrichment('consent', options => '{"consent": "agreed", "min_delta": {"score": 1000}}');
UPDATE scores SET agreed = false, score = score + 1 WHERE crm_id = 'C-6';
SELECT * FROM step();
-- Several rows of one key: the consent of the row that counts.
SELECT profenrich.alter_enrichment('consent', source => 'SELECT crm_id, score, agreed, seq FROM scores', options => '{"consent": "agreed", "on_duplicate": {"highest": "seq"}, "max_retract": 1}');
INSERT INTO scores (crm_id, score, seq, agreed) VALUES ('C-8', 8, 2, false), ('C-6', 6, 2, true);
SELECT * FROM step();
SELECT profile_key, retracted FROM profenrich.profile_score WHERE profile_key IN ('C-6', 'C-8') ORDER BY 1;

-- A consent that is lost altogether is nearly always a mistake: the limit on retraction stops it.
SELECT profenrich.alter_enrichment('consent', options => '{"consent": "agreed AND score > 50", "on_duplicate": {"highest": "seq"}}');
SELECT * FROM step();
SELECT profenrich.alter_enrichment('consent', options => '{"consent": "agreed AND score > 50", "on_duplicate": {"highest": "seq"}, "max_retract": 1}');
SELECT retracted > 30 AS many FROM step();
SELECT profenrich.alter_enrichment('consent', options => '{"consent": "NULL::boolean", "on_duplicate": {"highest": "seq"}, "max_retract": 1}');
SELECT * FROM step();
\echo :LAST_ERROR_SQLSTATE

-- Evaluated as the owner, who can change nothing by it.
CREATE ROLE consent_owner IN ROLE profenrich_operator;
GRANT USAGE ON FOREIGN SERVER consent_aep TO consent_owner;
GRANT USAGE, CREATE ON SCHEMA consent_test TO consent_owner;
GRANT SELECT ON scores TO consent_owner;
SET ROLE consent_owner;
CREATE FUNCTION agrees(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN current_user = 'consent_owner'; END $$;
CREATE FUNCTION sets(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN SET ROLE postgres; RETURN true; END $$;
SELECT profenrich.create_enrichment('consent_owned', server => 'consent_aep', source => 'SELECT DISTINCT ON (crm_id) crm_id, score FROM scores WHERE score > 20', identity_column => 'crm_id',
	namespace => 'CRMID', options => '{"consent": "agrees(crm_id)"}');
SELECT profenrich.create_enrichment('consent_sets', server => 'consent_aep', source => 'SELECT ''1'' AS crm_id, 2 AS score', identity_column => 'crm_id',
	namespace => 'CRMID', options => '{"consent": "sets(crm_id)"}');
SELECT profenrich.create_enrichment('consent_hidden', server => 'consent_aep', source => 'SELECT ''1'' AS crm_id, 2 AS score', identity_column => 'crm_id',
	namespace => 'CRMID', options => '{"consent": "EXISTS (SELECT FROM optouts)"}');
RESET ROLE;
SELECT changed > 50 AS many, skipped FROM profenrich.refresh('consent_owned');
\set VERBOSITY terse
SELECT * FROM profenrich.refresh('consent_sets');
SELECT * FROM profenrich.refresh('consent_hidden');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default

-- Training learns from those only who consented, and says how many are left out.
SET client_min_messages = notice;
CREATE TABLE customers AS
SELECT 'C-' || i AS crm_id, i % 60 AS tenure, (i * 7) % 100 AS visits, hashint4(i) % 100 < 60 - i % 60 AS churned, i % 4 > 0 AS agreed FROM generate_series(1, 2000) AS i;
CREATE VIEW consenting AS SELECT * FROM customers WHERE agreed;
SELECT rows, features FROM profenrich.train('consent_churn', 'propensity', 'customers', 'churned',
	options => '{"key": "crm_id", "trees": 10, "consent": "agreed", "features": {"exclude": "agreed"}}');
SELECT rows, features FROM profenrich.train('consent_churn', 'propensity', 'consenting', 'churned',
	options => '{"key": "crm_id", "trees": 10, "features": {"exclude": "agreed"}}');
-- The same rows, the same model.
SELECT consent, rows_without_consent, source, options FROM profenrich.model_versions WHERE model = 'consent_churn' ORDER BY version;
SELECT count(DISTINCT artifact_checksum) FROM profenrich.model_versions WHERE model = 'consent_churn';
SELECT profenrich.train('consent_churn', 'propensity', 'customers', 'churned', options => '{"consent": true}');
\echo :LAST_ERROR_SQLSTATE
SELECT profenrich.train('consent_churn', 'propensity', 'customers', 'churned', options => '{"consent": "tenure"}');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
SELECT profenrich.train('consent_churn', 'propensity', 'customers', 'churned', options => '{"consent": "agreed) OR (true"}');
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
-- Every task has it.
SELECT rows FROM profenrich.train('consent_groups', 'segment', 'customers', options => '{"key": "crm_id", "clusters": 3, "consent": "agreed"}');
SELECT rows_without_consent FROM profenrich.model_versions WHERE model = 'consent_groups';
SELECT count(*) > 0 AS scanned FROM profenrich.leakage_scan('customers', 'churned', options => '{"consent": "agreed"}');

SET client_min_messages = warning;
SELECT profenrich.drop_model('consent_churn');
SELECT profenrich.drop_model('consent_groups');
SELECT profenrich.drop_enrichment(name, force => true) FROM profenrich.enrichment;
RESET search_path;
DROP OWNED BY consent_owner;
DROP ROLE consent_owner;
DROP SCHEMA consent_test CASCADE;
DROP EXTENSION profenrich CASCADE;
