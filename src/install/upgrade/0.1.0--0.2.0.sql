\echo Use "ALTER EXTENSION profenrich UPDATE TO '0.2.0'" to load this file. \quit

-- What changes in tables that 0.1.0 has, and what is dropped or changes its shape. All else comes from the parts.

ALTER TABLE @extschema@.run DROP CONSTRAINT run_kind_check,
	ADD CONSTRAINT run_kind_check CHECK (kind IN ('refresh', 'retract', 'redrive', 'resend', 'release', 'forget'));
ALTER TABLE @extschema@.snapshot_load ADD COLUMN exported_at timestamptz;
ALTER TABLE @extschema@.run ADD COLUMN held_back bigint NOT NULL DEFAULT 0,
	ADD COLUMN outcome text NOT NULL DEFAULT 'queued'
		CHECK (outcome IN ('queued', 'held', 'released', 'discarded', 'replaced')),
	ADD COLUMN held_reason text,
	ADD COLUMN measures jsonb NOT NULL DEFAULT '[]',
	ADD COLUMN absent bigint NOT NULL DEFAULT 0;
DROP FUNCTION @extschema@.refresh(text);
DROP FUNCTION @extschema@.load_snapshot_file(text, text, jsonb, date, text);
DROP FUNCTION @extschema@.drop_model(text, integer);
ALTER TABLE @extschema@.model_version ADD COLUMN consent text, ADD COLUMN rows_without_consent bigint,
	ADD COLUMN goal text, ADD COLUMN learnt_until date;
ALTER TABLE @extschema@.outbox ADD COLUMN job_id bigint;
DROP INDEX @extschema@.outbox_shard_idx;
CREATE INDEX outbox_shard_idx ON @extschema@.outbox (enrichment_id, shard, chunk_id) WHERE job_id IS NULL;
ALTER TABLE @extschema@.delivery_state ADD COLUMN held_until timestamptz,
	ADD COLUMN resumes bigint NOT NULL DEFAULT 0, ADD COLUMN outage_since timestamptz, ADD COLUMN no_batch_until timestamptz;

-- the parts

-- The launcher looks whether this database can have its worker when this commits.
SELECT @extschema@.wake_worker();
