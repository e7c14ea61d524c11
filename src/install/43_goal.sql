-- Goals: declared questions, and the training sets that they become.

CREATE TABLE @extschema@.goal (
	name		text PRIMARY KEY CHECK (pg_catalog.octet_length(name) OPERATOR(pg_catalog.<=) 63
										AND name OPERATOR(pg_catalog.<>) ''),
	owner		regrole NOT NULL,
	outcome		text NOT NULL,
	within		interval NOT NULL,
	snapshots	text NOT NULL,
	key			text NOT NULL,
	eligible	text,
	options		jsonb NOT NULL DEFAULT '{}',
	created_at	timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE @extschema@.goal IS 'declared questions about profiles, as create_goal() was given them';
COMMENT ON COLUMN @extschema@.goal.owner IS 'role that may alter and drop the goal, with its members';
SELECT pg_catalog.pg_extension_config_dump('@extschema@.goal', '');

CREATE VIEW @extschema@.goals AS
	SELECT g.name, g.owner, g.outcome, g.within, g.snapshots, g.key, g.eligible, g.options, g.created_at
	  FROM @extschema@.goal AS g;
COMMENT ON VIEW @extschema@.goals IS 'declared questions about profiles: will it happen within so many days?';
COMMENT ON COLUMN @extschema@.goals.owner IS 'role that may alter and drop the goal, with its members';
COMMENT ON COLUMN @extschema@.goals.outcome IS 'condition on a later snapshot, or on an event, that is asked about';
COMMENT ON COLUMN @extschema@.goals.within IS 'how long after the anchor day it counts';
COMMENT ON COLUMN @extschema@.goals.snapshots IS 'relation with a row for each profile and snapshot_date';
COMMENT ON COLUMN @extschema@.goals.key IS 'column that tells profiles apart';
COMMENT ON COLUMN @extschema@.goals.eligible IS 'condition on the anchor day for a profile to be asked about; null: all are';
COMMENT ON COLUMN @extschema@.goals.options IS 'as they were given';

CREATE FUNCTION @extschema@.create_goal(name text, outcome text, within interval, snapshots text, key text,
	eligible text DEFAULT NULL, options jsonb DEFAULT '{}') RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_create_goal';
COMMENT ON FUNCTION @extschema@.create_goal(text, text, interval, text, text, text, jsonb) IS
	'declares a question: whether outcome will be true of a profile on a later day within the interval; snapshots is a table, view or SELECT with a row for each profile and snapshot_date. options: all, any, happens, absent, events (source, key, time), anchors, every, from, until, history, join, minimum, tolerance';

CREATE FUNCTION @extschema@.alter_goal(name text, eligible text DEFAULT NULL, options jsonb DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_alter_goal';
COMMENT ON FUNCTION @extschema@.alter_goal(text, text, jsonb) IS
	'replaces what is given: who is eligible ('''' for everybody), all options';

CREATE FUNCTION @extschema@.drop_goal(name text) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pe_drop_goal';
COMMENT ON FUNCTION @extschema@.drop_goal(text) IS 'drops a goal; models that were trained on it stay';

CREATE FUNCTION @extschema@.goal_anchors(goal text)
RETURNS TABLE (anchor date, window_end date, snapshots bigint, used_for text)
LANGUAGE C STRICT STABLE PARALLEL RESTRICTED COST 10000 ROWS 10
AS 'MODULE_PATHNAME', 'pe_goal_anchor_rows';
COMMENT ON FUNCTION @extschema@.goal_anchors(text) IS
	'the days from which a goal looks ahead, how many snapshots there are in the window of each, and what train() uses it for: training, gap, validation; waiting is the newest day, whose window has not passed, unobserved one without a snapshot near the end of its window';

CREATE FUNCTION @extschema@.goal_counts(goal text)
RETURNS TABLE (anchor date, window_end date, used_for text, profiles bigint, eligible bigint, happened bigint,
	not_happened bigint, left_out bigint)
LANGUAGE C STRICT STABLE PARALLEL RESTRICTED COST 100000 ROWS 10
AS 'MODULE_PATHNAME', 'pe_goal_counts';
COMMENT ON FUNCTION @extschema@.goal_counts(text) IS
	'profiles and outcomes of each anchor day; left_out were gone before the window ended, so that nobody knows';

CREATE FUNCTION @extschema@.training_query(goal text) RETURNS text
LANGUAGE C STRICT STABLE PARALLEL RESTRICTED COST 10000
AS 'MODULE_PATHNAME', 'pe_training_query';
COMMENT ON FUNCTION @extschema@.training_query(text) IS
	'the training set of a goal as a SELECT, for all anchor days whose windows have passed: key, snapshot_date, outcome and the features. It may be read, made a view, or be a source';

CREATE FUNCTION @extschema@.scoring_query(goal text, snapshot_date date DEFAULT NULL) RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10000
AS 'MODULE_PATHNAME', 'pe_scoring_query';
COMMENT ON FUNCTION @extschema@.scoring_query(text, date) IS
	'the eligible profiles of a day, the newest one unless named, with the features of the goal, as a SELECT: the source of score() for its models';

REVOKE ALL ON FUNCTION @extschema@.create_goal(text, text, interval, text, text, text, jsonb),
	@extschema@.alter_goal(text, text, jsonb), @extschema@.drop_goal(text), @extschema@.goal_anchors(text),
	@extschema@.goal_counts(text), @extschema@.training_query(text), @extschema@.scoring_query(text, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.create_goal(text, text, interval, text, text, text, jsonb),
	@extschema@.alter_goal(text, text, jsonb), @extschema@.drop_goal(text)
	TO profenrich_analyst, profenrich_admin;
GRANT EXECUTE ON FUNCTION @extschema@.goal_anchors(text), @extschema@.goal_counts(text),
	@extschema@.training_query(text), @extschema@.scoring_query(text, date)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.goal, @extschema@.goals
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
