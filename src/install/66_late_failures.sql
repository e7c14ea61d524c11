-- Records that were received and refused afterwards: the platform puts them into failed
-- batches of the data set, the worker looks for those.

CREATE TABLE @extschema@.late_check (
	enrichment_id	integer PRIMARY KEY REFERENCES @extschema@.enrichment ON DELETE CASCADE,
	next_at			timestamptz,
	asked			boolean NOT NULL DEFAULT false,
	checked_at		timestamptz,
	batches			bigint NOT NULL DEFAULT 0,
	dead			bigint NOT NULL DEFAULT 0,
	retried			bigint NOT NULL DEFAULT 0,
	outdated		bigint NOT NULL DEFAULT 0,
	strangers		bigint NOT NULL DEFAULT 0,
	last_error		text
);
COMMENT ON TABLE @extschema@.late_check IS 'when each enrichment''s data set was last looked through for failed batches, and what was found';
COMMENT ON COLUMN @extschema@.late_check.next_at IS 'when it is looked through again';
COMMENT ON COLUMN @extschema@.late_check.asked IS 'by check_late_failures(), and not yet done';

-- What has been read once is not read again.
CREATE TABLE @extschema@.late_batch (
	enrichment_id	integer NOT NULL REFERENCES @extschema@.enrichment ON DELETE CASCADE,
	batch_id		text COLLATE "C" NOT NULL,
	created_at		timestamptz NOT NULL,
	processed_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (enrichment_id, batch_id)
);
COMMENT ON TABLE @extschema@.late_batch IS 'failed batches whose records were read; kept as long as the platform keeps them';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.late_check', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.late_batch', '');

CREATE VIEW @extschema@.late_failures AS
	SELECT e.name AS enrichment, c.checked_at, c.next_at, c.batches, c.dead, c.retried, c.outdated, c.strangers, c.last_error
	FROM @extschema@.late_check c JOIN @extschema@.enrichment e USING (enrichment_id);
COMMENT ON VIEW @extschema@.late_failures IS 'streamed records that the platform received and refused afterwards, and when it was last asked';
COMMENT ON COLUMN @extschema@.late_failures.enrichment IS 'whose data set was looked through';
COMMENT ON COLUMN @extschema@.late_failures.checked_at IS 'when the platform''s failed batches were last looked through';
COMMENT ON COLUMN @extschema@.late_failures.next_at IS 'when they will be';
COMMENT ON COLUMN @extschema@.late_failures.batches IS 'failed batches read so far';
COMMENT ON COLUMN @extschema@.late_failures.dead IS 'refused records that became dead letters';
COMMENT ON COLUMN @extschema@.late_failures.retried IS 'refused records that are tried again, for a cause that passes';
COMMENT ON COLUMN @extschema@.late_failures.outdated IS 'refused records whose profile has a newer value, or is known to have failed';
COMMENT ON COLUMN @extschema@.late_failures.strangers IS 'refused records that do not say whose they are';
COMMENT ON COLUMN @extschema@.late_failures.last_error IS 'why the last look did not come to its end; null when it did';

CREATE FUNCTION @extschema@.check_late_failures(enrichment text) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_check_late_failures';
COMMENT ON FUNCTION @extschema@.check_late_failures(text) IS
	'has the worker look at once for records that the platform received and refused afterwards; late_failures tells when it has';

REVOKE ALL ON FUNCTION @extschema@.check_late_failures(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.check_late_failures(text) TO profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.late_check, @extschema@.late_batch, @extschema@.late_failures TO profenrich_operator, profenrich_admin;
