-- Orders and lifetime value: from a log of orders to customers, and what a lifetime model says of them.

CREATE FUNCTION @extschema@.rfm_summary(source text, customer text, "time" text, amount text DEFAULT NULL,
	unit text DEFAULT 'week', period text DEFAULT 'day', observation_end date DEFAULT NULL, holdout_end date DEFAULT NULL)
RETURNS TABLE (customer text, frequency bigint, recency double precision, age double precision,
	monetary_value double precision, orders bigint, first_order date, last_order date,
	holdout_frequency bigint, holdout_value double precision)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 10000
AS 'MODULE_PATHNAME', 'pe_rfm_summary';
COMMENT ON FUNCTION @extschema@.rfm_summary(text, text, text, text, text, text, date, date) IS
	'one row for each customer of a log of orders (a table, view or SELECT, read as the caller), up to the end of the day observation_end (default: the last in the log): frequency is the number of periods with orders after the first, recency the time from the first to the last of them, age the time from the first to the end, both in units; monetary_value the mean of what the repeat periods were worth, holdout_frequency and holdout_value what came later, up to holdout_end. period: day, week, month, year; unit: the same or an interval. Points in time count by their day in UTC';

CREATE FUNCTION @extschema@.probability_alive(model text, profile record, version integer DEFAULT NULL)
RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 500
AS 'MODULE_PATHNAME', 'pe_probability_alive';
COMMENT ON FUNCTION @extschema@.probability_alive(text, record, integer) IS
	'the probability that the customer has not left for good; NULL for a NULL row';

CREATE FUNCTION @extschema@.expected_orders(model text, profile record, horizon interval DEFAULT NULL,
	version integer DEFAULT NULL) RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 500
AS 'MODULE_PATHNAME', 'pe_expected_orders';
COMMENT ON FUNCTION @extschema@.expected_orders(text, record, interval, integer) IS
	'how many orders the customer is expected to place in the time to come, by default over the model''s horizon; a month is 30.4375 days';

CREATE FUNCTION @extschema@.expected_spend(model text, profile record, version integer DEFAULT NULL)
RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 500
AS 'MODULE_PATHNAME', 'pe_expected_spend';
COMMENT ON FUNCTION @extschema@.expected_spend(text, record, integer) IS
	'what an order of the customer is expected to be worth (gamma-gamma), given frequency and monetary value so far';

CREATE FUNCTION @extschema@.lifetime_value(model text, profile record, horizon interval DEFAULT NULL,
	discount_rate double precision DEFAULT NULL, discount_period interval DEFAULT NULL, version integer DEFAULT NULL)
RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 5000
AS 'MODULE_PATHNAME', 'pe_lifetime_value';
COMMENT ON FUNCTION @extschema@.lifetime_value(text, record, interval, double precision, interval, integer) IS
	'what the customer''s orders in the time to come are expected to be worth today: those of the i-th discount period count 1 / (1 + discount_rate)^i; what is left out is the model''s own. A month is 30.4375 days';

CREATE FUNCTION @extschema@.new_customer_orders(model text, horizon interval DEFAULT NULL, version integer DEFAULT NULL)
RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pe_new_customer_orders';
COMMENT ON FUNCTION @extschema@.new_customer_orders(text, interval, integer) IS
	'how many repeat orders somebody who has just placed a first one is expected to place in the time to come';

CREATE FUNCTION @extschema@.order_count_probability(model text, orders integer, horizon interval DEFAULT NULL,
	version integer DEFAULT NULL) RETURNS double precision
LANGUAGE C STABLE PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'pe_order_count_probability';
COMMENT ON FUNCTION @extschema@.order_count_probability(text, integer, interval, integer) IS
	'the probability that a new customer places exactly so many repeat orders in the time to come';

CREATE FUNCTION @extschema@.lifetime_parameters(model text, version integer DEFAULT NULL)
RETURNS TABLE (part text, parameter text, estimate double precision, standard_error double precision,
	lower_95 double precision, upper_95 double precision)
LANGUAGE C STABLE PARALLEL SAFE ROWS 7
AS 'MODULE_PATHNAME', 'pe_lifetime_parameters';
COMMENT ON FUNCTION @extschema@.lifetime_parameters(text, integer) IS
	'the fitted parameters of the process of orders and of the spend, with standard errors (NULL where the data do not determine them); the likelihoods are in evaluation()';

CREATE FUNCTION @extschema@.retention_curve(model text, periods integer DEFAULT 12, version integer DEFAULT NULL)
RETURNS TABLE (period integer, retention double precision, survival double precision, remaining double precision)
LANGUAGE C STABLE PARALLEL SAFE ROWS 13
AS 'MODULE_PATHNAME', 'pe_retention_curve';
COMMENT ON FUNCTION @extschema@.retention_curve(text, integer, integer) IS
	'contracts (sbg): the share of customers that renew at the end of each period, that are still there after it, and the renewals still expected of those (NULL: without bound)';

CREATE FUNCTION @extschema@.lifetime_frequencies(model text, source text, top integer DEFAULT 7,
	weight text DEFAULT NULL, version integer DEFAULT NULL)
RETURNS TABLE (frequency integer, or_more boolean, actual double precision, expected double precision)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 8
AS 'MODULE_PATHNAME', 'pe_lifetime_frequencies';
COMMENT ON FUNCTION @extschema@.lifetime_frequencies(text, text, integer, text, integer) IS
	'how many customers of a table, view or SELECT have each number of repeat orders, and how many the model expects at their ages; the last row takes all from top on';

CREATE FUNCTION @extschema@.lifetime_tracking(model text, source text, customer text, "time" text,
	period interval DEFAULT '7 days', cohort_end date DEFAULT NULL, observation_end date DEFAULT NULL,
	version integer DEFAULT NULL)
RETURNS TABLE (period integer, last_day date, actual bigint, expected double precision,
	cumulative_actual bigint, cumulative_expected double precision)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 52
AS 'MODULE_PATHNAME', 'pe_lifetime_tracking';
COMMENT ON FUNCTION @extschema@.lifetime_tracking(text, text, text, text, interval, date, date, integer) IS
	'repeat orders (days with orders) of a log of orders, period by period from the first order of all, and those that the model expects of the customers whose first order is not after cohort_end';

CREATE FUNCTION @extschema@.lifetime_holdout(model text, source text, actual text DEFAULT 'holdout_frequency',
	horizon interval DEFAULT NULL, top integer DEFAULT 7, version integer DEFAULT NULL)
RETURNS TABLE (frequency integer, or_more boolean, customers bigint, actual double precision, expected double precision)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 8
AS 'MODULE_PATHNAME', 'pe_lifetime_holdout';
COMMENT ON FUNCTION @extschema@.lifetime_holdout(text, text, text, interval, integer, integer) IS
	'mean orders that came in a later period (column actual, of length horizon) and that were expected, by the number of repeat orders before; rfm_summary(..., holdout_end) makes such rows';

CREATE FUNCTION @extschema@.lifetime_evaluate(model text, source text, actual text DEFAULT 'holdout_frequency',
	"value" text DEFAULT NULL, horizon interval DEFAULT NULL, version integer DEFAULT NULL)
RETURNS TABLE (metric text, "value" double precision, meaning text)
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 16
AS 'MODULE_PATHNAME', 'pe_lifetime_evaluate';
COMMENT ON FUNCTION @extschema@.lifetime_evaluate(text, text, text, text, interval, integer) IS
	'how well expected orders agree with those of a later period of length horizon (column actual), and with a column value what they were worth (not discounted)';

DO $$
DECLARE
	signature text;
BEGIN
	FOREACH signature IN ARRAY ARRAY['probability_alive(text, record, integer)',
		'expected_orders(text, record, interval, integer)', 'expected_spend(text, record, integer)',
		'lifetime_value(text, record, interval, double precision, interval, integer)',
		'new_customer_orders(text, interval, integer)', 'order_count_probability(text, integer, interval, integer)',
		'lifetime_parameters(text, integer)', 'retention_curve(text, integer, integer)',
		'lifetime_frequencies(text, text, integer, text, integer)',
		'lifetime_tracking(text, text, text, text, interval, date, date, integer)',
		'lifetime_holdout(text, text, text, interval, integer, integer)',
		'lifetime_evaluate(text, text, text, text, interval, integer)',
		'rfm_summary(text, text, text, text, text, text, date, date)']
	LOOP
		EXECUTE 'REVOKE ALL ON FUNCTION @extschema@.' OPERATOR(pg_catalog.||) signature OPERATOR(pg_catalog.||) ' FROM PUBLIC';
		EXECUTE 'GRANT EXECUTE ON FUNCTION @extschema@.' OPERATOR(pg_catalog.||) signature OPERATOR(pg_catalog.||)
			' TO profenrich_reader, profenrich_analyst, profenrich_operator, profenrich_admin';
	END LOOP;
END
$$;
