-- What went out within the resend gap. A row for each request, inserted with its acknowledgement and deleted by a
-- later one of the same shard.
CREATE TABLE @extschema@.sent (
	enrichment_id	integer NOT NULL REFERENCES @extschema@.enrichment ON DELETE CASCADE,
	shard			smallint NOT NULL,
	versions		bigint[] NOT NULL,
	sent_at			timestamptz NOT NULL,
	overdue			boolean NOT NULL,
	key_hashes		integer[] NOT NULL
);
CREATE INDEX sent_shard_idx ON @extschema@.sent (enrichment_id, shard, sent_at);
CREATE INDEX sent_overdue_idx ON @extschema@.sent (enrichment_id, shard, sent_at) WHERE overdue;
COMMENT ON TABLE @extschema@.sent IS 'requests sent within profenrich.resend_gap: another value of one of their profiles waits';
COMMENT ON COLUMN @extschema@.sent.versions IS 'of each of the keys, or one for all: the runs whose values were sent';
COMMENT ON COLUMN @extschema@.sent.overdue IS 'sent more than a sixteenth of the resend gap after it was due: the next values are checked against what was sent';
COMMENT ON COLUMN @extschema@.sent.key_hashes IS 'hashes of the keys that were sent, whatever became of them';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.sent', '');

GRANT SELECT ON @extschema@.sent TO profenrich_operator, profenrich_admin;
