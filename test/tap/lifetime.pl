# Orders and lifetime value under load and with few rights: cancelled at any moment, bounded in memory, read as the
# caller, and the numbers scored are those that are delivered.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('lifetime');
$node->init;
$node->append_conf('postgresql.conf', "client_min_messages = warning\nfsync = off\nmax_wal_size = 4GB\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION profenrich;
	CREATE FUNCTION noise(i bigint, s int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
		$$ SELECT (pg_catalog.hashint8extended(i, s) & 1048575) / 1048576.0::float8 $$;
	-- No two alike: nothing to group.
	CREATE UNLOGGED TABLE many AS SELECT i AS id, x AS frequency, CASE WHEN x > 0 THEN age * (0.1 + 0.9 * noise(i, 2)) ELSE 0 END AS recency, age, 10 + 50 * noise(i, 5) AS monetary_value
		FROM (SELECT i, floor(8 * noise(i, 1) * noise(i, 3))::int AS x, 10 + 40 * noise(i, 4) AS age FROM generate_series(1, 300000) AS i) AS s;
	CREATE UNLOGGED TABLE log AS SELECT 'c' || (noise(i, 1) * 200000)::int AS customer, date '2026-01-01' + (noise(i, 2) * 300)::int AS day, 10.0 AS amount FROM generate_series(1, 1500000) AS i});

# Answers within 200 ms, asserted at ten times that.
sub cancelled
{
	my ($name, $after, $query) = @_;
	my $start = time;
	my ($status, undef, $error) = $node->psql('postgres', "SET statement_timeout = $after; $query");
	my $late = time - $start - $after / 1000;
	like($error, qr/canceling statement due to statement timeout/, "$name, cancelled after $after ms");
	cmp_ok($late, '<', 2, sprintf('%s: %.0f ms late', $name, 1000 * $late));
	return;
}
for my $after (50, 400, 900)
{
	cancelled('rfm_summary', $after, "SELECT count(*) FROM profenrich.rfm_summary('log', 'customer', 'day', 'amount')");
	cancelled('Pareto/NBD', $after, "SELECT profenrich.train('m', 'lifetime_value', 'many', algorithm => 'pareto_nbd', options => '{\"unit\": \"week\"}')");
	cancelled('lifetime_frequencies', $after, "SELECT profenrich.train('f', 'lifetime_value', 'SELECT * FROM many LIMIT 2000', algorithm => 'pareto_nbd', options => '{\"unit\": \"week\"}'); SELECT count(*) FROM profenrich.lifetime_frequencies('f', 'many')");
}
is($node->safe_psql('postgres', "SELECT count(*) FROM profenrich.models WHERE name = 'm'"), 0, 'a cancelled training stores nothing');

# Sorted on disk beyond work_mem, the same customers come out.
my $sums = "SELECT count(*), sum(frequency), sum(orders), min(first_order), max(last_order) FROM profenrich.rfm_summary('log', 'customer', 'day', 'amount', observation_end => '2026-12-31')";
is($node->safe_psql('postgres', "SET work_mem = '64kB'; $sums"), $node->safe_psql('postgres', "SET work_mem = '400MB'; $sums"), 'on disk and in memory');
is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE r.frequency = e.days - 1 AND r.orders = e.orders AND abs(r.monetary_value - 10.0 * (e.orders - e.first) / nullif(e.days - 1, 0)) < 1e-9 OR e.days = 1) = count(*)
	FROM profenrich.rfm_summary('log', 'customer', 'day', 'amount', observation_end => '2026-12-31') AS r JOIN
	(SELECT customer, count(DISTINCT day) AS days, count(*) AS orders, count(*) FILTER (WHERE day = born) AS first FROM (SELECT *, min(day) OVER (PARTITION BY customer) AS born FROM log) AS l GROUP BY 1) AS e USING (customer)"), 't', 'as SQL counts them');

my ($status, undef, $error) = $node->psql('postgres', "SET profenrich.training_memory = '16MB'; SELECT profenrich.train('m', 'lifetime_value', 'many', options => '{\"unit\": \"week\"}')");
like($error, qr/needs more memory than profenrich.training_memory allows \(16 MB\).*customers fit; there are more/s, 'bounded in memory, and says how many fit');

# Read as the caller; nothing for everybody.
$node->safe_psql('postgres', q{CREATE ROLE analyst LOGIN IN ROLE profenrich_analyst; CREATE ROLE nobody LOGIN; GRANT USAGE ON SCHEMA profenrich TO analyst, nobody});
(undef, undef, $error) = $node->psql('postgres', "SELECT count(*) FROM profenrich.rfm_summary('log', 'customer', 'day')", extra_params => [ '-U', 'analyst' ]);
like($error, qr/permission denied for table log/, 'the log is read with the rights of the caller');
(undef, undef, $error) = $node->psql('postgres', "SELECT profenrich.new_customer_orders('m')", extra_params => [ '-U', 'nobody' ]);
like($error, qr/permission denied for function new_customer_orders/, 'functions are not for everybody');

# Predictions one by one, scored, and in detail are the same numbers.
$node->safe_psql('postgres', "SELECT profenrich.train('clv', 'lifetime_value', 'SELECT * FROM many LIMIT 20000', options => '{\"unit\": \"week\"}');
	SELECT profenrich.score_into('clv', 'SELECT * FROM many LIMIT 5000', 'id', 'scored')");
is($node->safe_psql('postgres', "SELECT count(*), max(abs(s.prediction - profenrich.predict('clv', m))) < 1e-9 FROM scored AS s JOIN many AS m ON m.id = s.key::int"), '5000|t', 'score_into predicts what predict does');
is($node->safe_psql('postgres', "SELECT count(*) FROM scored AS s JOIN many AS m ON m.id = s.key::int
	WHERE abs((s.detail ->> 'p_alive')::float8 - profenrich.probability_alive('clv', m)) > 6e-7 OR abs((s.detail ->> 'expected_orders')::float8 - profenrich.expected_orders('clv', m)) > 6e-7
	   OR abs((s.detail ->> 'expected_spend')::float8 - profenrich.expected_spend('clv', m)) > 6e-7 OR abs((s.detail ->> 'lifetime_value')::float8 - s.prediction) > 6e-7 OR s.detail IS NULL"), 0, 'and its detail is what the functions say');
(undef, undef, $error) = $node->psql('postgres', "SELECT * FROM many AS m, profenrich.explain('clv', m) LIMIT 1");
like($error, qr/gives no reasons/, 'no reasons are made up');
(undef, undef, $error) = $node->psql('postgres', "SELECT * FROM profenrich.evaluate('clv', 'many', 'frequency')");
like($error, qr/lifetime_value/, 'evaluate() is for targets');
like($node->safe_psql('postgres', "SELECT profenrich.report('clv')"), qr/<html.*clv/s, 'a report can be made');

$node->stop;
done_testing();
