-- A customer table for the benchmark: 20 numeric and 5 text features, a churn label of
-- about 8 %, all a pure function of the row number, so that every run sees the same rows.
--   psql -v rows=1000000 -f profiles.sql
\set ON_ERROR_STOP on
CREATE SCHEMA bench;

-- Uniform in (0, 1) from a hash of row and stream; standard normal from two of them.
CREATE FUNCTION bench.uniform(i bigint, stream int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT ((pg_catalog.hashint8extended(i, stream * 104729) & 1125899906842623) + 0.5) / 1125899906842624.0::float8 $$;
CREATE FUNCTION bench.normal(i bigint, stream int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT sqrt(-2 * ln(bench.uniform(i, stream))) * cos(2 * pi() * bench.uniform(i, stream + 1000)) $$;

CREATE UNLOGGED TABLE bench.profiles AS
SELECT i AS id,
	CASE WHEN bench.uniform(i, 1) >= 0.05 THEN age END AS age,
	tenure AS tenure_days, recency AS recency_days, visits_week, visits_month, visits_month * 3 + floor(6 * bench.uniform(i, 2))::int AS visits_quarter,
	floor(visits_month * exp(1 + 0.6 * bench.normal(i, 3)))::int AS page_views,
	floor(visits_month * bench.uniform(i, 4) ^ 2)::int AS cart_adds,
	least(orders, floor(3 * bench.uniform(i, 5))::int) AS orders_month, orders AS orders_year,
	revenue AS revenue_year, CASE WHEN orders > 0 THEN revenue / orders END AS average_order,
	CASE WHEN orders > 0 THEN discount END AS discount_share, floor(orders * 0.3 * bench.uniform(i, 6))::int AS returns_year,
	CASE WHEN bench.uniform(i, 7) >= 0.2 THEN 0.7 * activity * bench.uniform(i, 8) END AS open_rate,
	CASE WHEN bench.uniform(i, 7) >= 0.2 THEN 0.2 * activity * bench.uniform(i, 9) END AS click_rate,
	CASE WHEN bench.uniform(i, 10) < 0.4 THEN floor(visits_month * bench.uniform(i, 11))::int END AS push_opens,
	tickets, CASE WHEN bench.uniform(i, 12) < 0.3 THEN floor(11 * bench.uniform(i, 13) ^ (1.2 - activity))::int END AS nps,
	CASE WHEN bench.uniform(i, 14) < 0.3 THEN -20 * ln(bench.uniform(i, 15)) ELSE 0 END AS credit_balance,
	'country ' || country AS country, device, channel,
	CASE WHEN bench.uniform(i, 16) < 0.6 THEN (ARRAY['bronze', 'silver', 'gold', 'platinum'])[least(4, 1 + floor(activity * 4)::int)] END AS tier,
	'city ' || city AS city,
	bench.uniform(i, 17) < 1 / (1 + exp(5.9 - 1.6 * recency / (40 + recency / 2) + 0.9 * ln(1 + visits_month) + 0.5 * ln(1 + orders)
		- 0.6 * tickets - (tenure < 90)::int - 0.9 * (channel = 'social')::int - 0.5 * (device = 'mobile')::int
		- 0.8 * (country % 7 = 3)::int - (recency > 45 AND tickets > 0)::int - 1.2 * (discount > 0.5 AND orders > 0)::int
		- 0.02 * abs(age - 42) - 0.25 * sin(city * 0.7) - 2.4)) AS churned
FROM (
	SELECT *, exp(3.6 + 0.5 * bench.normal(i, 30)) * orders AS revenue, bench.uniform(i, 31) ^ 1.6 AS discount
	FROM (
		SELECT i, activity, 18 + floor(62 * bench.uniform(i, 40) ^ 1.3)::int AS age, 1 + floor(2500 * bench.uniform(i, 41) ^ 1.5)::int AS tenure,
			-ln(bench.uniform(i, 42)) * (8 + 70 * (1 - activity)) AS recency, floor(activity * 6 * bench.uniform(i, 43))::int AS visits_week,
			floor(activity * 6 * bench.uniform(i, 43) + activity * 18 * bench.uniform(i, 44))::int AS visits_month,
			greatest(0, floor(-ln(bench.uniform(i, 45)) * (0.4 + 7 * activity ^ 2) - 0.35))::int AS orders,
			floor(-ln(bench.uniform(i, 46)) * 0.6)::int AS tickets,
			1 + floor(40 * bench.uniform(i, 47) ^ 2.5)::int AS country, 1 + floor(500 * bench.uniform(i, 48) ^ 2)::int AS city,
			(ARRAY['desktop', 'mobile', 'ios', 'android'])[1 + floor(4 * bench.uniform(i, 49) ^ 1.2)::int] AS device,
			(ARRAY['organic', 'direct', 'search', 'social', 'email', 'affiliate', 'referral', 'display'])[1 + floor(8 * bench.uniform(i, 50) ^ 1.5)::int] AS channel
		FROM (SELECT i, bench.uniform(i, 60) ^ 0.8 AS activity FROM generate_series(1, :rows::bigint) AS i OFFSET 0) a
		OFFSET 0
	) b
	OFFSET 0
) c;
VACUUM (FREEZE, ANALYZE) bench.profiles;
SELECT count(*) AS rows, round(avg(churned::int), 4) AS churn_rate, pg_size_pretty(pg_table_size('bench.profiles')) AS size FROM bench.profiles;
