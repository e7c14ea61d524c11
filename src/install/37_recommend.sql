-- Items for users, from a version that train() made with task => 'recommendation'.

CREATE FUNCTION @extschema@.recommend(model text, user_key text, top integer DEFAULT 10, version integer DEFAULT NULL)
RETURNS TABLE (item text, score double precision, rank integer, basis text)
LANGUAGE C STABLE PARALLEL SAFE COST 20000 ROWS 10
AS 'MODULE_PATHNAME', 'pe_recommend';
COMMENT ON FUNCTION @extschema@.recommend(text, text, integer, integer) IS
	'the items that a user is likely to take next, best first, none that the user took; basis says whether the user''s history or mere popularity speaks for an item, which is all there is for a user the model does not know, and for NULL. Only the model''s owner may ask about users';

CREATE FUNCTION @extschema@.recommend_all(model text, source text DEFAULT NULL, key text DEFAULT NULL, top integer DEFAULT 10,
	version integer DEFAULT NULL)
RETURNS TABLE (key text, items text[], scores double precision[], basis text, model_version integer, scored_at timestamptz)
LANGUAGE C STABLE PARALLEL RESTRICTED COST 100000 ROWS 10000
AS 'MODULE_PATHNAME', 'pe_recommend_all';
COMMENT ON FUNCTION @extschema@.recommend_all(text, text, text, integer, integer) IS
	'recommend() for every key of a table, view or SELECT, read as the caller, a repeated key once; without a source for every user the model knows. Only the model''s owner may ask. basis: history, popularity or both';

CREATE FUNCTION @extschema@.similar_items(model text, item text, top integer DEFAULT 10, version integer DEFAULT NULL)
RETURNS TABLE (item text, similarity double precision, rank integer)
LANGUAGE C STABLE PARALLEL SAFE COST 20000 ROWS 10
AS 'MODULE_PATHNAME', 'pe_similar_items';
COMMENT ON FUNCTION @extschema@.similar_items(text, text, integer, integer) IS
	'the items most like one: by the cosine of their factors (implicit_als) or by the similarity that was asked for (item_item)';

CREATE FUNCTION @extschema@.item_popularity(model text, version integer DEFAULT NULL)
RETURNS TABLE (item text, users bigint, popularity double precision, rank integer)
LANGUAGE C STABLE PARALLEL SAFE COST 20000 ROWS 1000
AS 'MODULE_PATHNAME', 'pe_item_popularity';
COMMENT ON FUNCTION @extschema@.item_popularity(text, integer) IS
	'every item with how many users took it, and the sum of its weights (after the half-life, when there is one), by which items are ranked';

CREATE VIEW @extschema@.recommendation_candidates AS
	SELECT v.model, v.version, c.candidate, c.algorithm, c.regularization, c.neighbours, c.chosen, c.recall_at_10, c.ndcg_at_10,
		   c.precision_at_10, c.map_at_10, c.coverage, c.novelty
	  FROM @extschema@.model_version AS v,
		   pg_catalog.jsonb_to_recordset(v.evaluation OPERATOR(pg_catalog.->) 'candidates') AS c (
			   candidate integer, algorithm text, regularization double precision, neighbours text, chosen boolean,
			   recall_at_10 double precision, ndcg_at_10 double precision, precision_at_10 double precision,
			   map_at_10 double precision, coverage double precision, novelty double precision);
COMMENT ON VIEW @extschema@.recommendation_candidates IS
	'what training a recommendation tried, with the figures that the choice was made by; popularity is always among it';
COMMENT ON COLUMN @extschema@.recommendation_candidates.neighbours IS 'neighbours kept for each item, for item_item';
COMMENT ON COLUMN @extschema@.recommendation_candidates.chosen IS 'the setting of the stored version';

REVOKE ALL ON FUNCTION @extschema@.recommend(text, text, integer, integer),
	@extschema@.recommend_all(text, text, text, integer, integer),
	@extschema@.similar_items(text, text, integer, integer), @extschema@.item_popularity(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.recommend(text, text, integer, integer),
	@extschema@.recommend_all(text, text, text, integer, integer),
	@extschema@.similar_items(text, text, integer, integer), @extschema@.item_popularity(text, integer)
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
GRANT SELECT ON @extschema@.recommendation_candidates
	TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin;
