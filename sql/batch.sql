-- Delivery by batch as SQL sees it: the mode, what the status says of a job, who may look, late failures on demand.
CREATE EXTENSION IF NOT EXISTS profenrich;
\set VERBOSITY terse
SET client_min_messages = warning;

CREATE SERVER regress_batch FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '0123456789ABCDEF01234567@AdobeOrg');
CREATE TABLE batch_scores (crm_id text, score float8);
SELECT profenrich.create_enrichment('by_batch', 'regress_batch', 'batch_scores', 'crm_id', 'CRMID', options => '{"mode": "batch"}');
SELECT profenrich.alter_enrichment('by_batch', options => '{"mode": "auto"}');
SELECT profenrich.alter_enrichment('by_batch', options => '{"mode": "bulk"}');
SELECT options FROM profenrich.enrichment WHERE name = 'by_batch';

-- One job of an enrichment at a time; chunks that it carries cannot be forgotten without a word.
SELECT enrichment_id AS id FROM profenrich.enrichment WHERE name = 'by_batch' \gset
INSERT INTO profenrich.enrichment_target (enrichment_id, tenant, field_group_id, schema_id, dataset_id, inlet_url, flow_id, org_id, sandbox,
	sender_identity, ready_at)
	VALUES (:id, 'acme', 'f', 's', 'd', 'i', 'w', 'o', 'prod', profenrich.sender_identity(), now());
INSERT INTO profenrich.batch_job (enrichment_id, keys) VALUES (:id, 2) RETURNING job_id AS job \gset
INSERT INTO profenrich.batch_job (enrichment_id) VALUES (:id);
INSERT INTO profenrich.batch_job (enrichment_id, state) VALUES (:id, 'elsewhere');
INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys, job_id) VALUES (:id, 0, 1, '{a,b}', :job);
SELECT profenrich.drop_enrichment('by_batch');
SELECT profenrich.drain('by_batch', '0.1 s');
SELECT pending, queued, why FROM profenrich.enrichment_status WHERE enrichment = 'by_batch';
UPDATE profenrich.batch_job SET state = 'created', files = 3, batch_id = '01GW3JKCNFMB1TSMY21VGPV98K' WHERE job_id = :job;
SELECT why FROM profenrich.enrichment_status WHERE enrichment = 'by_batch';
UPDATE profenrich.batch_job SET state = 'completed' WHERE job_id = :job;
SELECT why FROM profenrich.enrichment_status WHERE enrichment = 'by_batch';
SELECT enrichment, state, batch_id, external_id ~ '^profenrich-[0-9a-f-]{36}$' AS external_id, keys, files FROM profenrich.batches;
UPDATE profenrich.batch_job SET state = 'done' WHERE job_id = :job;
SELECT why FROM profenrich.enrichment_status WHERE enrichment = 'by_batch';

-- Late failures: asked for by who owns the enrichment.
SELECT profenrich.check_late_failures('nobody');
SELECT profenrich.check_late_failures('by_batch');
SELECT asked, next_at <= now() AS due, checked_at FROM profenrich.late_check;
SELECT enrichment, batches, dead, retried, outdated, strangers, last_error FROM profenrich.late_failures;
CREATE ROLE regress_batch_operator;
GRANT profenrich_operator TO regress_batch_operator;
SET ROLE regress_batch_operator;
SELECT count(*) FROM profenrich.batches;
SELECT count(*) FROM profenrich.late_failures;
SELECT profenrich.check_late_failures('by_batch');
DELETE FROM profenrich.batch_job;
RESET ROLE;
CREATE ROLE regress_batch_nobody;
SET ROLE regress_batch_nobody;
SELECT count(*) FROM profenrich.batch_job;
SELECT profenrich.check_late_failures('by_batch');
RESET ROLE;

-- Settings within their bounds.
SET profenrich.batch_min_keys = 1;
ALTER SYSTEM SET profenrich.batch_file_size = '32MB';
ALTER SYSTEM SET profenrich.batch_budget = -1;
SELECT name, setting, unit, context FROM pg_settings WHERE name ~ '^profenrich\.(batch|late)' ORDER BY name;

-- Everything of it goes with the enrichment.
SELECT profenrich.drop_enrichment('by_batch', force => true);
SELECT (SELECT count(*) FROM profenrich.batch_job) AS jobs, (SELECT count(*) FROM profenrich.late_check) AS checks;
DROP TABLE batch_scores;
DROP SERVER regress_batch;
DROP ROLE regress_batch_operator, regress_batch_nobody;
