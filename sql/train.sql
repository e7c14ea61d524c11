-- train(): from rows to a stored version; which columns become features, and how.
CREATE EXTENSION IF NOT EXISTS profenrich;
SET client_min_messages = notice;

-- Numbers between 0 and 1 that are the same everywhere.
CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
	RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;
CREATE TYPE plan AS ENUM ('basic', 'plus', 'pro');
CREATE TABLE profiles AS
	SELECT 'c' || lpad(i::text, 6, '0') AS crm_id,
		   (ARRAY['basic', 'plus', 'pro'])[1 + floor(3 * uniform(i, 'plan'))::int]::plan AS plan,
		   floor(72 * uniform(i, 'tenure'))::int AS tenure,
		   CASE WHEN uniform(i, 'gap') < 0.9 THEN floor(20 * uniform(i, 'visits'))::int END AS visits,
		   uniform(i, 'active') < 0.5 AS active,
		   date '2026-01-01' - floor(900 * uniform(i, 'signup'))::int AS signup,
		   jsonb_build_object('sports', floor(9 * uniform(i, 'sports')), 'news', uniform(i, 'news') < 0.5) AS interests,
		   (ARRAY['north', 'south', 'east', 'west'])[1 + floor(4 * uniform(i, 'region'))::int]::varchar AS region,
		   NULL::numeric AS nothing,
		   ARRAY[i] AS tags
	  FROM generate_series(1, 3000) AS i;
ALTER TABLE profiles ADD churned boolean, ADD spend numeric(10, 2);
UPDATE profiles SET
	churned = uniform(substr(crm_id, 2)::int, 'y') <
			  1 / (1 + exp(1.5 - CASE plan WHEN 'basic' THEN 1.5 ELSE 0 END + tenure / 20.0 - coalesce(visits, 5) / 10.0 - (interests ->> 'sports')::int / 4.0)),
	spend = round((10 + tenure + CASE plan WHEN 'pro' THEN 40 ELSE 0 END + 5 * uniform(substr(crm_id, 2)::int, 's'))::numeric, 2);

-- Everything by itself: the task from the target's type, the treatment from the columns' types.
SELECT model, version, algorithm, rows, features, metric, metric_value BETWEEN 0.75 AND 0.95 AS as_expected, quality, seconds > 0 AS timed
  FROM profenrich.train('churn', source => 'profiles', target => 'churned', options => '{"key": "crm_id", "features": {"exclude": ["spend"]}}');
SELECT feature, column_name, treatment, levels FROM profenrich.feature_importance('churn') ORDER BY feature COLLATE "C";
SELECT name, owner, task, deployed_version, algorithm, target, rows, features, versions FROM profenrich.models;
SELECT model, version, deployed, task, objective, target, key, source, rows, positives, positive_label, negative_label, threshold,
	   memory_bytes > 0 AS memory, artifact_bytes > 1000 AS bytes, length(artifact_checksum) AS digits,
	   -- binning so few rows may be over before it is noticed
	   (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(seconds) AS k WHERE k <> 'bin') AS phases
  FROM profenrich.model_versions;

-- The same rows, options and seed give the same artifact, on one thread and on two.
SET client_min_messages = error;
SELECT version, quality FROM profenrich.train('churn', source => 'profiles', target => 'churned',
	options => '{"key": "crm_id", "features": {"exclude": ["spend"]}, "threads": 1}');
SELECT version, quality FROM profenrich.train('churn', source => 'SELECT * FROM profiles', target => 'churned',
	options => '{"key": "crm_id", "features": {"exclude": ["spend"]}, "threads": 2}');
SELECT version FROM profenrich.train('churn', source => 'profiles', target => 'churned',
	options => '{"key": "crm_id", "features": {"exclude": ["spend"]}, "seed": 7}');
SELECT count(*) AS versions, count(DISTINCT artifact_checksum) FILTER (WHERE version <= 3) AS artifacts_of_three,
	   count(DISTINCT artifact_checksum) AS artifacts
  FROM profenrich.model_versions WHERE model = 'churn';
SET client_min_messages = notice;

-- A new version predicts at once unless asked not to; deploy goes back and forth.
SELECT deployed_version FROM profenrich.models WHERE name = 'churn';
SELECT version FROM profenrich.train('churn', 'propensity', 'SELECT churned, tenure, plan FROM profiles', 'churned', options => '{"deploy": false}');
SELECT deployed_version FROM profenrich.models WHERE name = 'churn';
SELECT profenrich.deploy('churn', 5);
SELECT profenrich.deploy('churn', 1);
SELECT deployed_version FROM profenrich.models WHERE name = 'churn';

-- Numbers of dropped versions are not given out again.
SELECT profenrich.drop_model('churn', 5);
SELECT version FROM profenrich.train('churn', 'propensity', 'SELECT churned, tenure, plan FROM profiles', 'churned', options => '{"deploy": false}');

-- Columns by name, and another treatment than the type's own.
SELECT features FROM profenrich.train('named', source => 'profiles', target => 'churned',
	options => '{"features": {"include": ["tenure", "plan", "visits"], "treatment": {"tenure": "category"}}}');
SELECT feature, treatment, levels FROM profenrich.feature_importance('named') ORDER BY 1;

-- Ages count to the row's snapshot_date where there is one, which is then no feature itself.
SELECT features FROM profenrich.train('dated', source => 'SELECT churned, signup, tenure, signup + 100 AS snapshot_date FROM profiles', target => 'churned');
SELECT feature, treatment FROM profenrich.feature_importance('dated') ORDER BY 1;
SELECT value FROM (SELECT date '2026-01-01' AS signup, 3 AS tenure, date '2026-01-11' AS snapshot_date) AS r, profenrich.explain('dated', r)
 WHERE feature = 'signup';

-- What an enrichment of ours wrote and a snapshot brought back does not teach the next model, unless it is asked for.
INSERT INTO profenrich.enrichment (enrichment_id, name, owner, server, source, identity_column, namespace)
	VALUES (1, 'churnNightly', current_user::regrole, 'aep', 'scores', 'crm_id', 'CRMID');
INSERT INTO profenrich.enrichment_target (enrichment_id, tenant, field_group_id, schema_id, dataset_id, inlet_url, flow_id, org_id, sandbox, sender_identity, ready_at)
	VALUES (1, 'acme', 'f', 's', 'd', 'u', 'f', 'o', 'prod', 'i', now());
SELECT features FROM profenrich.train('own', source => 'SELECT churned, tenure, tenure AS acme_churn_nightly_probability, tenure AS acme_churn, tenure AS acme_churn_nightlyest FROM profiles', target => 'churned');
SELECT features FROM profenrich.train('own', source => 'SELECT churned, tenure, tenure AS acme_churn_nightly_probability FROM profiles', target => 'churned',
	options => '{"features": {"include": ["tenure", "acme_churn_nightly_probability"]}}');

-- Targets: texts that say yes and no, any text with "positive", 0 and 1; rows without a target are skipped.
SELECT rows FROM profenrich.train('target_yes', source => 'SELECT CASE WHEN churned THEN ''Yes'' ELSE ''No'' END AS target, tenure, plan FROM profiles', target => 'target');
SELECT rows FROM profenrich.train('target_pro', source => 'profiles', target => 'plan', task => 'propensity',
	options => '{"positive": "pro", "features": {"include": ["tenure", "spend"]}}');
SELECT rows FROM profenrich.train('target_one', source => 'SELECT CASE WHEN tenure > 5 THEN churned::int END AS target, tenure, plan FROM profiles', target => 'target', task => 'propensity');
SELECT model, rows, positives > 500 AS positives, positive_label, negative_label FROM profenrich.model_versions WHERE model LIKE 'target_%' ORDER BY 1;

-- A value: a number as target.
SELECT algorithm, rows, features, metric, metric_value > 0.9 AS good, quality FROM profenrich.train('spend', source => 'profiles', target => 'spend',
	options => '{"features": {"include": ["tenure", "plan"]}}');
SELECT algorithm, metric, metric_value > 0.9 AS good FROM profenrich.train('spend', source => 'profiles', target => 'spend', algorithm => 'linear',
	options => '{"features": {"include": ["tenure", "plan"]}}');
SELECT feature, level, abs(coefficient - CASE feature WHEN 'tenure' THEN 1 ELSE coefficient END) < 0.05 AS as_made
  FROM profenrich.coefficients('spend');

-- Logistic regression without a penalty: the coefficients published for MADlib's twenty patients.
CREATE TABLE patients (id int, second_attack int, treatment int, trait_anxiety int);
INSERT INTO patients VALUES (1, 1, 1, 70), (2, 1, 1, 80), (3, 1, 1, 50), (4, 1, 0, 60), (5, 1, 0, 40), (6, 1, 0, 65), (7, 1, 0, 75),
	(8, 1, 0, 80), (9, 1, 0, 70), (10, 1, 0, 60), (11, 0, 1, 65), (12, 0, 1, 50), (13, 0, 1, 45), (14, 0, 1, 35), (15, 0, 1, 40),
	(16, 0, 1, 50), (17, 0, 0, 55), (18, 0, 0, 45), (19, 0, 0, 50), (20, 0, 0, 60);
SELECT algorithm, rows, features, quality FROM profenrich.train('patients', 'propensity', 'patients', 'second_attack', 'logistic',
	'{"holdout": 0, "features": {"exclude": "id"}}');
SELECT feature, level, round(coefficient::numeric, 8) AS coefficient, round(std_error::numeric, 4) AS std_error,
	   round(statistic::numeric, 4) AS z, round(p_value::numeric, 4) AS p
  FROM profenrich.coefficients('patients');
SELECT feature, abs(coefficient - published) < 1e-8 AS agrees
  FROM profenrich.coefficients('patients')
  JOIN (VALUES ('(intercept)', -6.36346994178192), ('treatment', -1.02410605239327), ('trait_anxiety', 0.119044916668607)) AS m (feature, published) USING (feature);

-- Weights: a row of weight two counts as two rows.
SELECT algorithm FROM profenrich.train('weighted', 'propensity', 'SELECT *, 2 AS w FROM patients', 'second_attack', 'logistic',
	'{"holdout": 0, "weight": "w", "features": {"include": ["treatment", "trait_anxiety"]}}');
SELECT a.feature, abs(a.coefficient - b.coefficient) < 1e-8 AS same_estimate, a.std_error < b.std_error AS surer
  FROM profenrich.coefficients('weighted') a JOIN profenrich.coefficients('patients') b USING (feature);

-- What is rolled back was never trained.
BEGIN;
SELECT version FROM profenrich.train('patients', 'propensity', 'patients', 'second_attack', 'logistic', '{"holdout": 0}');
SELECT deployed_version FROM profenrich.models WHERE name = 'patients';
ROLLBACK;
SELECT deployed_version FROM profenrich.models WHERE name = 'patients';

-- Who may: readers predict, analysts train, owners change what is theirs.
CREATE ROLE regress_reader IN ROLE profenrich_reader;
CREATE ROLE regress_analyst IN ROLE profenrich_analyst;
CREATE ROLE regress_colleague IN ROLE profenrich_analyst;
GRANT SELECT ON patients TO regress_reader, regress_analyst, regress_colleague;
SET ROLE regress_reader;
SELECT profenrich.train('mine', source => 'patients', target => 'second_attack');
SELECT round(profenrich.predict('patients', p)::numeric, 6) AS predicted FROM patients p WHERE id = 1;
SELECT count(*) FROM profenrich.models;
SELECT count(*) FROM profenrich.model_artifact;
SET ROLE regress_analyst;
SELECT version FROM profenrich.train('mine', 'propensity', 'patients', 'second_attack', 'logistic', '{"holdout": 0, "features": {"include": ["trait_anxiety"]}}');
SELECT model FROM profenrich.train('theirs', source => 'profiles', target => 'churned');
SELECT model FROM profenrich.train('patients', 'propensity', 'patients', 'second_attack', 'logistic', '{"holdout": 0}');
SELECT profenrich.deploy('patients', 1);
SELECT profenrich.drop_model('patients');
SET ROLE regress_colleague;
SELECT profenrich.drop_model('mine');
RESET ROLE;
GRANT regress_analyst TO regress_colleague;
SET ROLE regress_colleague;
SELECT owner, name FROM profenrich.models WHERE name = 'mine';
SELECT profenrich.drop_model('mine');
RESET ROLE;

-- Marks that the planner trusts.
SELECT proname, provolatile, proparallel FROM pg_proc
 WHERE pronamespace = 'profenrich'::regnamespace AND proname IN ('train', 'deploy', 'drop_model', 'predict', 'classify', 'explain', 'score', 'score_into', 'evaluate', 'evaluation')
 ORDER BY proname;

DROP OWNED BY regress_reader, regress_analyst, regress_colleague;
DROP ROLE regress_reader, regress_analyst, regress_colleague;
DROP TABLE profiles, patients;
DROP TYPE plan;
DROP FUNCTION uniform;
DROP EXTENSION profenrich CASCADE;
