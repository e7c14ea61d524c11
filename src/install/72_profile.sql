-- Single profiles of an enrichment: clear them, send them again, see what became of one.

CREATE FUNCTION @extschema@.retract(enrichment text, keys text[]) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_retract';
COMMENT ON FUNCTION @extschema@.retract(text, text[]) IS
	'clear the enrichment''s attributes on these profiles, those that have them; returns how many are queued';

CREATE FUNCTION @extschema@.resend(enrichment text, keys text[]) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_resend';
COMMENT ON FUNCTION @extschema@.resend(text, text[]) IS
	'queue the newest values of these profiles again as they are, after the resend gap; returns how many. What is still queued or retried goes out anyway and is left alone';

CREATE FUNCTION @extschema@.resend(enrichment text) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_resend';
COMMENT ON FUNCTION @extschema@.resend(text) IS
	'queue the newest values of all profiles again as they are, after the resend gap; returns how many. What is still queued or retried goes out anyway and is left alone';

CREATE FUNCTION @extschema@.profile_status(enrichment text, key text,
	OUT state text, OUT why text, OUT run_id bigint, OUT changed_at timestamptz, OUT retracted boolean, OUT value jsonb,
	OUT identity jsonb, OUT queued_at timestamptz, OUT next_try_at timestamptz, OUT attempts integer, OUT http_status integer,
	OUT accepted_at timestamptz)
LANGUAGE C STRICT STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pe_profile_status';
COMMENT ON FUNCTION @extschema@.profile_status(text, text) IS
	'what became of the newest value of one profile: queued, waiting, in batch, retrying, refused, accepted, no value or forgotten, and why. accepted_at is null where requests of other profiles hide it';

REVOKE ALL ON FUNCTION @extschema@.retract(text, text[]), @extschema@.resend(text, text[]), @extschema@.resend(text),
	@extschema@.profile_status(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.retract(text, text[]), @extschema@.resend(text, text[]), @extschema@.resend(text),
	@extschema@.profile_status(text, text) TO profenrich_operator, profenrich_admin;
