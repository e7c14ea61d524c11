# The published figures of buy-till-you-die models, computed by SQL from the public data: CDNOW, donations, contract
# retention, and the tables for the whole CDNOW log and Online Retail that other tools reached.
#
# Not computed, since no such model is offered: the Gompertz/NBD, Abe's hierarchical Bayes version of Pareto/NBD, and
# the beta-discrete-Weibull of the retention example. The ten values of E[X(t)] of the older R manual belong to
# another fit; they are met at their own tolerance, 0.01.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = ($ENV{PROFENRICH_SHARED} // '') . '/data';
my $node = PostgreSQL::Test::Cluster->new('figures');
$node->init;
$node->append_conf('postgresql.conf', "client_min_messages = warning\ntimezone = 'UTC'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION profenrich');

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('postgres', "SET search_path = public, profenrich; $query");
}

# Are the numbers that a query gives, row by row and column by column, the wanted ones?
sub near
{
	my ($name, $tolerance, $query, @wanted) = @_;
	my @got  = split /[|\n]/, sql($query);
	my $worst = 0;
	is(scalar @got, scalar @wanted, "$name: " . scalar @wanted . ' figures') or diag("got @got");
	for my $i (0 .. $#wanted)
	{
		my $off = defined $got[$i] && $got[$i] ne '' ? abs($got[$i] - $wanted[$i]) : 9e99;
		$worst = $off if $off > $worst;
	}
	ok($worst <= $tolerance, "$name: within $tolerance") or diag("worst $worst; got @got, wanted @wanted");
	return;
}

# Numbers of figures in a table, each within half a unit of the last digit that is given.
sub digits
{
	my ($name, $query, @wanted) = @_;
	my @got = split /[|\n]/, sql($query);
	my @off;
	for my $i (0 .. $#wanted)
	{
		my ($mantissa, $exponent) = split /e/i, $wanted[$i];
		my $places = $mantissa =~ /\.(\d+)/ ? length $1 : 0;
		my $unit   = 10**(($exponent // 0) - $places);
		push @off, "$got[$i] instead of $wanted[$i]" unless defined $got[$i] && $got[$i] ne '' && abs($got[$i] - $wanted[$i]) <= 0.501 * $unit;
	}
	is("@off", '', "$name: the digits given");
	return;
}

sub parameters
{
	my ($model, $part) = @_;
	return "SELECT estimate FROM lifetime_parameters('$model') WHERE part = '$part'";
}

sub metric
{
	my ($model, $name) = @_;
	return "SELECT value FROM evaluation('$model') WHERE metric = '$name'";
}

# A customer as a row.
sub customer
{
	my ($x, $tx, $t, $spend) = @_;
	return "(SELECT r FROM (SELECT $x AS frequency, $tx AS recency, $t AS age, " . ($spend // 'NULL') . '::float8 AS monetary_value) AS r)';
}

# ---- contracts: the published series itself is the data -----------------------------------------------------------

sub contracts
{
	my ($name, @survivors) = @_;
	my @rows = map { '(' . ($_ - 1) . ", $#survivors, " . 10 * ($survivors[ $_ - 1 ] - $survivors[$_]) . ')' } 1 .. $#survivors;
	push @rows, "($#survivors, $#survivors, " . 10 * $survivors[-1] . ')';
	sql("SELECT * FROM train('$name', 'lifetime_value', 'SELECT * FROM (VALUES " . join(', ', @rows) . ") AS v (frequency, age, customers)', algorithm => 'sbg', options => '{\"unit\": \"year\", \"weight\": \"customers\", \"horizon\": \"5 years\"}')");
	return;
}
contracts('regular', 100, 63.1, 46.8, 38.2, 32.6, 28.9, 26.2, 24.1);
contracts('high_end', 100, 86.9, 74.3, 65.3, 59.3, 55.1, 51.7, 49.1);
# The paper's own figure for the first, 0.688, is not the maximum on its series.
near('sBG, regular', 0.0006, parameters('regular', 'orders'), 0.704, 1.182);
near('sBG, high end', 0.00001, parameters('high_end', 'orders'), 0.66809, 3.80610);
# How far the projection may be off is our own bound: the source states none.
near('sBG, survival of regular customers in years 8 to 12 against what happened', 2.5,
	"SELECT 100 * survival FROM retention_curve('regular') WHERE period BETWEEN 8 AND 12", 22.3, 20.7, 19.4, 18.3, 17.3);
near('sBG, survival of high end customers in years 8 to 12 against what happened', 2,
	"SELECT 100 * survival FROM retention_curve('high_end') WHERE period BETWEEN 8 AND 12", 46.8, 44.5, 42.7, 40.9, 39.4);
near('sBG, expected renewals are the ratio of survivals', 1e-12,
	"SELECT expected_orders('regular', r, '3 years') - (SELECT sum(survival) FROM retention_curve('regular') WHERE period BETWEEN 8 AND 10) /
		(SELECT survival FROM retention_curve('regular') WHERE period = 7) FROM (SELECT 7 AS frequency, 7 AS age) AS r", 0);

if (!-d "$data/cdnow")
{
	diag('the shared data sets are not on this machine: only the retention series was computed');
	$node->stop;
	done_testing();
	exit;
}

# ---- the data -------------------------------------------------------------------------------------------------------

sql(qq{
	CREATE TABLE sample (master text, id text, day date, cds int, dollars numeric);
	COPY sample FROM PROGRAM 'awk ''{print \$1","\$2","\$3","\$4","\$5}'' $data/cdnow/CDNOW_sample.txt' CSV;
	CREATE TABLE master (id text, day date, cds int, dollars numeric);
	COPY master FROM PROGRAM 'zcat $data/cdnow/CDNOW_master.txt.gz | awk ''NR > 1 {print \$1","\$2","\$3","\$4}''' CSV;
	CREATE TABLE summary (id int, frequency int, recency float8, "T" float8);
	COPY summary FROM '$data/cdnow/cdnow_customers_summary.csv' CSV HEADER;
	CREATE TABLE spend (id int, x int, t_x float8, "T" float8, zbar float8);
	COPY spend FROM '$data/cdnow/cdnow_customers_summary_with_transactions.csv' CSV HEADER;
	CREATE TABLE donations (frequency int, recency int, periods int, weights int);
	COPY donations FROM '$data/cdnow/donations.csv' CSV HEADER;
	CREATE TABLE cal AS SELECT * FROM rfm_summary('sample', 'id', 'day', 'dollars', observation_end => '1997-09-30', holdout_end => '1998-06-30');
	CREATE TABLE cal_master AS SELECT * FROM rfm_summary('master', 'id', 'day', 'dollars', observation_end => '1997-09-30', holdout_end => '1998-06-30')});

is(sql('SELECT count(*), sum(frequency), count(*) FILTER (WHERE frequency > 0), min(age), round(max(age)::numeric, 3) FROM cal'), '2357|2457|946|27|38.857',
	'CDNOW sample: customers, repeat days, repeat buyers, ages');
is(sql(q{SELECT count(*) FROM cal JOIN spend ON spend.id = customer::int
		WHERE frequency = x AND abs(recency - t_x) <= 0.0051 AND abs(age - "T") <= 0.0051 AND abs(coalesce(monetary_value, 0) - zbar) <= 0.0051}),
	2357, 'the log gives the published summary, customer by customer');
is(sql('SELECT sum(holdout_frequency), round(sum(holdout_value)) FROM cal'), '1882|70976', 'orders and spend of the holdout');

# ---- BG/NBD ---------------------------------------------------------------------------------------------------------

my $csv = 'options => \'{"age": "T", "unit": "week"}\'';
sql("SELECT * FROM train('bg', 'lifetime_value', 'cal', options => '{\"unit\": \"week\"}');
	SELECT * FROM train('bg_csv', 'lifetime_value', 'summary', algorithm => 'bg_nbd', $csv)");
near('BG/NBD, published', 0.0005, parameters('bg', 'orders'), 0.243, 4.414, 0.793, 2.426);
near('BG/NBD, exact dates', 0.00001, parameters('bg', 'orders'), 0.24259448, 4.41360076, 0.79291863, 2.42589794);
near('BG/NBD, likelihood', 0.0000005, metric('bg', 'log_likelihood'), -9582.429207);
near('BG/NBD, rounded summary', 0.00001, parameters('bg_csv', 'orders'), 0.24259286, 4.41353028, 0.79288276, 2.42574461);
near('BG/NBD, likelihood of the rounded summary', 0.0000005, metric('bg_csv', 'log_likelihood'), -9582.425561);
near('BG/NBD, standard errors', 0.000002, "SELECT standard_error FROM lifetime_parameters('bg_csv')", 0.012557, 0.378221, 0.185719, 0.705345);
near('BG/NBD, confidence intervals', 0.0001, "SELECT lower_95, upper_95 FROM lifetime_parameters('bg_csv')",
	0.217981, 0.267205, 3.672218, 5.154846, 0.428877, 1.156895, 1.043276, 3.808229);
# Computed elsewhere from the rounded summary.
near('BG/NBD, expected orders of a new customer', 0.000003,
	"SELECT new_customer_orders('bg_csv', make_interval(secs => t * 604800)) FROM unnest(ARRAY[0.1429, 1, 3, 31.8571, 32, 78]) WITH ORDINALITY AS u (t, i) ORDER BY i",
	0.007816073, 0.053184748, 0.150631954, 1.040494987, 1.043737913, 1.857973983);
# The next figures, and the holdout and weekly ones, are BTYD's, whose fit (r 0.2425982, alpha 4.413684, a 0.7929899, b 2.426167) stopped a
# little beside the maximum: the fit moves them by this much. At its parameters the unit tests hold the formulas closer.
near('BG/NBD, in a year of 52 weeks', 0.00001, "SELECT new_customer_orders('bg', '364 days')", 1.444004);
near('BG/NBD, conditional expectation', 0.0005, "SELECT expected_orders('bg', " . customer(2, 30.43, 38.86) . ", '273 days')", 1.226);
near('BG/NBD, customer 1516', 0.001, "SELECT expected_orders('bg', c, '364 days'), probability_alive('bg', c) FROM " . customer(26, 30.857, 31) . ' AS s (c)',
	25.75659, 0.9688523);
near('BG/NBD, the paradox of frequent customers', 0.00003,
	"SELECT expected_orders('bg', (SELECT r FROM (SELECT x AS frequency, 20 AS recency, 39 AS age, NULL::float8 AS monetary_value) AS r), '364 days') FROM unnest(ARRAY[10, 15, 20, 25]) AS x",
	0.3474606, 0.04283391, 0.004158973, 0.0003583685);
is(sql("SELECT string_agg(customers::text, ' ' ORDER BY frequency) FROM lifetime_holdout('bg', 'cal', horizon => '39 weeks')"), '1411 439 214 100 62 38 29 64',
	'customers by frequency');
near('holdout by frequency, actual', 0.000001, "SELECT actual FROM lifetime_holdout('bg', 'cal', horizon => '39 weeks')",
	0.2367116, 0.6970387, 1.392523, 1.560000, 2.532258, 2.947368, 3.862069, 6.359375);
near('holdout by frequency, BG/NBD', 0.00016, "SELECT expected FROM lifetime_holdout('bg', 'cal', horizon => '39 weeks')",
	0.2250893, 0.5231364, 1.044126, 1.520256, 2.163824, 2.653789, 3.503957, 6.157036);
near('holdout by frequency, rounded summary', 0.000015,
	"SELECT expected FROM lifetime_holdout('bg_csv', 'SELECT s.*, h.holdout_frequency FROM summary s JOIN cal h ON h.customer::int = s.id', horizon => '39 weeks')",
	0.22509, 0.52312, 1.04414, 1.52026, 2.16391, 2.65392, 3.50410, 6.15742);
my $weeks = "lifetime_tracking('%s', 'sample', 'id', 'day') WHERE period BETWEEN 20 AND 25";
is(sql("SELECT string_agg(actual::text, ' ' ORDER BY period) FROM " . sprintf($weeks, 'bg')), '73 55 70 33 56 99', 'weekly orders');
is(sql("SELECT string_agg(cumulative_actual::text, ' ' ORDER BY period) FROM " . sprintf($weeks, 'bg')), '1359 1414 1484 1517 1573 1672', 'cumulative orders');
near('weekly orders, BG/NBD', 0.001, 'SELECT expected FROM ' . sprintf($weeks, 'bg'), 76.86531, 74.88843, 73.04554, 71.32166, 69.70412, 68.18213);
near('cumulative orders, BG/NBD', 0.01, 'SELECT cumulative_expected FROM ' . sprintf($weeks, 'bg'),
	1312.458, 1387.346, 1460.392, 1531.713, 1601.418, 1669.6);

# The probabilities of counts sum to what is expected of the customers there are.
near('order counts', 0.001, "SELECT sum(actual) - 2357, sum(expected) - 2357 FROM lifetime_frequencies('bg', 'cal')", 0, 0);
near('the mean of order counts is the expectation', 0.0001,
	"SELECT sum(n * order_count_probability('bg', n, '39 weeks')) - new_customer_orders('bg', '39 weeks') FROM generate_series(0, 300) AS n", 0);

# ---- Pareto/NBD and MBG/NBD -----------------------------------------------------------------------------------------

sql("SELECT * FROM train('pareto', 'lifetime_value', 'cal', algorithm => 'pareto_nbd', options => '{\"unit\": \"week\", \"monetary_value\": null}');
	SELECT * FROM train('pareto_csv', 'lifetime_value', 'summary', algorithm => 'pareto_nbd', $csv);
	SELECT * FROM train('mbg', 'lifetime_value', 'cal', algorithm => 'mbg_nbd', options => '{\"unit\": \"week\", \"monetary_value\": null}');
	SELECT * FROM train('mbg_csv', 'lifetime_value', 'summary', algorithm => 'mbg_nbd', $csv)");
near('Pareto/NBD, published', 0.01, parameters('pareto', 'orders'), 0.553, 10.578, 0.606, 11.669);
near('Pareto/NBD, recomputed', 0.001, parameters('pareto', 'orders'), 0.55328, 10.57777, 0.60624, 11.66868);
near('Pareto/NBD, likelihood', 0.000005, metric('pareto', 'log_likelihood'), -9594.976179);
near('Pareto/NBD, standard errors', 0.01, "SELECT standard_error FROM lifetime_parameters('pareto')", 0.0476264, 0.8427222, 0.1872594, 6.2105448);
near('Pareto/NBD, in a year of 52 weeks', 0.00005, "SELECT new_customer_orders('pareto', '364 days')", 1.473434);
near('Pareto/NBD, customer 1516', 0.002, "SELECT expected_orders('pareto', c, '364 days'), probability_alive('pareto', c) FROM " . customer(26, 30.857, 31) . ' AS s (c)',
	25.45647, 0.997874);
near('Pareto/NBD, the paradox of frequent customers', 0.0005,
	"SELECT expected_orders('pareto', (SELECT r FROM (SELECT x AS frequency, 20 AS recency, 39 AS age) AS r), '364 days') FROM unnest(ARRAY[10, 15, 20, 25]) AS x",
	0.7062289, 0.1442396, 0.02250658, 0.00309267);
near('Pareto/NBD, expected orders of a new customer, as the older manual has them', 0.01,
	"SELECT CASE WHEN t = 0 THEN 0 ELSE new_customer_orders('pareto', make_interval(days => 7 * greatest(t, 1))) END FROM generate_series(0, 9) AS t",
	0, 0.05077821, 0.09916088, 0.14542507, 0.18979930, 0.23247466, 0.27361274, 0.31335159, 0.35181024, 0.38909211);
near('Pareto/NBD, expected orders of a new customer, recomputed', 0.0001,
	"SELECT new_customer_orders('pareto', make_interval(days => 7 * t)) FROM generate_series(1, 9) AS t",
	0.051005, 0.099621, 0.146124, 0.190742, 0.233664, 0.275051, 0.315040, 0.353750, 0.391284);
near('holdout by frequency, Pareto/NBD', 0.001, "SELECT expected FROM lifetime_holdout('pareto', 'cal', horizon => '39 weeks')",
	0.138, 0.600, 1.196, 1.714, 2.399, 2.907, 3.819, 6.403);
near('weekly orders, Pareto/NBD', 0.01, 'SELECT expected FROM ' . sprintf($weeks, 'pareto'), 78.308, 76.419, 74.648, 72.983, 71.414, 69.933);
near('cumulative orders, Pareto/NBD', 0.1, 'SELECT cumulative_expected FROM ' . sprintf($weeks, 'pareto'),
	1308.856, 1385.275, 1459.923, 1532.906, 1604.32, 1674.253);
near('MBG/NBD', 0.0005, parameters('mbg_csv', 'orders'), 0.525, 6.183, 0.891, 1.614);

# ---- spend and value --------------------------------------------------------------------------------------------------

sql("SELECT * FROM train('spend', 'lifetime_value', 'spend', algorithm => 'bg_nbd',
		options => '{\"frequency\": \"x\", \"recency\": \"t_x\", \"age\": \"T\", \"monetary_value\": \"zbar\", \"unit\": \"week\"}')");
near('gamma-gamma, published', 0.01, parameters('bg', 'spend'), 6.25, 3.74, 15.44);
near('gamma-gamma, likelihood', 0.00005, metric('bg', 'spend_log_likelihood'), -4055.9177);
near('gamma-gamma, values in cents', 0.00002, parameters('spend', 'spend'), 6.248786, 3.744579, 15.447751);
near('gamma-gamma, likelihood of values in cents', 0.000005, metric('spend', 'spend_log_likelihood'), -4055.92324);
near('gamma-gamma, population mean', 0.00005, "SELECT expected_spend('spend', r) FROM (SELECT 0 AS x, 0 AS t_x, 1 AS \"T\", NULL::float8 AS zbar) AS r", 35.17103);
near('gamma-gamma, expected spend of customers 1 to 10', 0.0001, "SELECT expected_spend('spend', s) FROM spend AS s WHERE id <= 10 ORDER BY id",
	24.658619, 18.911489, 35.170981, 35.170981, 35.170981, 71.462843, 18.911489, 35.170981, 27.282408, 35.170981);
near('gamma-gamma, mean expected and observed spend', 0.0001, "SELECT avg(expected_spend('spend', s)), avg(zbar) FILTER (WHERE x > 0) FROM spend AS s",
	35.2529588256, 35.078551797);
near('correlation of frequency and value', 0.000001, metric('spend', 'spend_correlation'), 0.113884);

# Twelve months of 4.345 weeks; and what came out elsewhere when weeks were taken for days, months of 30 weeks.
near('value of twelve months', 0.001,
	"SELECT lifetime_value('spend', s, 12 * interval '30.415 days', 0.01, '30.415 days') FROM spend AS s WHERE id <= 10 ORDER BY id",
	36.278537, 4.637471, 8.344100, 8.344100, 8.344100, 283.524162, 6.881415, 8.344100, 43.353687, 8.344100);
near('value of twelve times thirty weeks', 0.002,
	"SELECT lifetime_value('spend', s, '360 weeks', 0.01, '30 weeks') FROM spend AS s WHERE id <= 10 ORDER BY id",
	140.096211, 18.943467, 38.180574, 38.180574, 38.180574, 1003.868107, 28.109683, 38.180574, 167.418216, 38.180574);
near('what a model predicts by default is a year of months', 1e-9,
	"SELECT max(abs(predict('spend', s) - lifetime_value('spend', s, '12 months', 0.01, '1 month'))) FROM spend AS s", 0);
near('and score() predicts the same', 1e-9,
	"SELECT max(abs(prediction - predict('spend', s))) FROM score('spend', 'SELECT id::text AS key, * FROM spend', 'key') AS p JOIN spend AS s ON s.id = p.key::int", 0);
near('without a discount value is orders times spend', 1e-9,
	"SELECT max(abs(lifetime_value('spend', s, '39 weeks', 0) - expected_orders('spend', s, '39 weeks') * expected_spend('spend', s))) FROM spend AS s", 0);
# The same customers in days are worth the same.
sql("SELECT * FROM train('days', 'lifetime_value', 'SELECT x, 7 * t_x AS t_x, 7 * \"T\" AS \"T\", zbar FROM spend', algorithm => 'bg_nbd',
		options => '{\"frequency\": \"x\", \"recency\": \"t_x\", \"age\": \"T\", \"monetary_value\": \"zbar\", \"unit\": \"day\"}')");
near('the unit of time is the model\'s own business', 0.0001,
	"SELECT lifetime_value('days', r, '12 months') - lifetime_value('spend', s, '12 months') FROM spend AS s,
		LATERAL (SELECT x, 7 * t_x AS t_x, 7 * \"T\" AS \"T\", zbar) AS r WHERE id = 6", 0);

# ---- donations: BG/BB -------------------------------------------------------------------------------------------------

sql("SELECT * FROM train('donors', 'lifetime_value', 'donations', algorithm => 'bg_bb', options => '{\"age\": \"periods\", \"weight\": \"weights\", \"unit\": \"year\", \"horizon\": \"5 years\"}')");
near('BG/BB', 0.001, parameters('donors', 'orders'), 1.204, 0.750, 0.657, 2.783);
near('BG/BB, recomputed', 0.00001, parameters('donors', 'orders'), 1.203521, 0.749716, 0.656718, 2.783442);
near('BG/BB, likelihood', 0.005, metric('donors', 'log_likelihood'), -33225.58);
sub donor { my ($x, $tx, $n) = @_; return "(SELECT r FROM (SELECT $x AS frequency, $tx AS recency, $n AS periods) AS r)"; }
digits('BG/BB, P(alive 2002)', 'SELECT ' . join(', ', map { "probability_alive('donors', " . donor(@$_) . ')' } [ 0, 0, 6 ], [ 2, 4, 6 ], [ 6, 6, 6 ]), '0.11', '0.59', '0.93');
near('BG/BB, gifts expected of all in five years', 0.5, "SELECT sum(weights * expected_orders('donors', d, '5 years')) FROM donations AS d", 12884.2);
near('BG/BB, in-sample counts 0 and 6', 0.1, "SELECT expected FROM lifetime_frequencies('donors', 'donations', 6, 'weights') WHERE frequency IN (0, 6)", 3454.9, 1253.1);
near('BG/BB, a new donor in ten years', 0.0005, "SELECT new_customer_orders('donors', '10 years')", 3.179805);
near('BG/BB, donors A and B in ten years', 0.0005,
	'SELECT ' . join(', ', map { "expected_orders('donors', " . donor(@$_) . ", '10 years')" } [ 0, 0, 6 ], [ 4, 5, 6 ]), 0.1302169, 3.627858);

# ---- what other tools reached on the same logs -------------------------------------------------------------------------

my $figures = q{SELECT string_agg(value::text, '|' ORDER BY array_position('{forecast,mae,rmse,spearman,gini,probability_alive}', metric)) FROM lifetime_evaluate('%s', '%s', horizon => '%s')
	WHERE metric IN ('forecast', 'mae', 'rmse', 'spearman', 'gini', 'probability_alive')};
my $money = q{SELECT string_agg(value::text, '|' ORDER BY array_position('{value_actual,value_forecast,value_mae,value_rmse,value_spearman,value_pearson,value_gini}', metric))
	FROM lifetime_evaluate('%s', '%s', value => 'holdout_value', horizon => '%s') WHERE metric LIKE 'value%%'};

is(sql('SELECT sum(holdout_frequency) FROM cal_master'), 19684, 'CDNOW: purchase days of the holdout');
is(sql('SELECT count(*), count(*) FILTER (WHERE frequency > 0) FROM cal_master'), '23570|9451', 'CDNOW: customers, repeat buyers');
sql("SELECT * FROM train('bg_m', 'lifetime_value', 'cal_master', algorithm => 'bg_nbd', options => '{\"unit\": \"week\"}');
	SELECT * FROM train('pareto_m', 'lifetime_value', 'cal_master', algorithm => 'pareto_nbd', options => '{\"unit\": \"week\", \"monetary_value\": null}');
	SELECT * FROM train('mbg_m', 'lifetime_value', 'cal_master', algorithm => 'mbg_nbd', options => '{\"unit\": \"week\", \"monetary_value\": null}')");

digits('sample, BG/NBD', sprintf($figures, 'bg', 'cal', '39 weeks'), qw(1653.4 0.7855 1.6080 0.4493 0.6624 0.8134));
digits('sample, Pareto/NBD', sprintf($figures, 'pareto', 'cal', '39 weeks'), qw(1665.5 0.7545 1.6028 0.4597 0.6726 0.4463));
digits('sample, MBG/NBD', parameters('mbg', 'orders'), qw(0.5248 6.183 0.8914 1.614));
digits('sample, MBG/NBD likelihood', metric('mbg', 'log_likelihood'), '-9582.14');
digits('sample, gamma-gamma', parameters('bg', 'spend'), qw(6.2496 3.7442 15.4435));
sub spends
{
	my ($name, $model, $source, $horizon, @wanted) = @_;
	# The Gini depends on how customers with the same forecast are ordered (0.6376 to 0.6381 on the sample); here they share their place.
	my @off = (0.501, 0.501, 0.000501, 0.000501, 0.0000501, 0.0000501, 0.0002);
	my @got = split /[|]/, sql(sprintf($money, $model, $source, $horizon));
	for my $i (0 .. $#wanted)
	{
		ok(abs($got[$i] - $wanted[$i]) <= $off[$i], "$name, figure $i: $got[$i], $wanted[$i] elsewhere");
	}
	return;
}
spends('sample, spend', 'bg', 'cal', '39 weeks', qw(70976 59932 30.408 72.299 0.4264 0.5647 0.6379));
digits('master, BG/NBD parameters', parameters('bg_m', 'orders'), qw(0.2516 4.789 0.7234 2.161));
digits('master, BG/NBD likelihood', metric('bg_m', 'log_likelihood'), '-95368.44');
digits('master, BG/NBD', sprintf($figures, 'bg_m', 'cal_master', '39 weeks'), qw(16873.7 0.8187 1.7329 0.4420 0.6626 0.8152));
digits('master, Pareto/NBD parameters', parameters('pareto_m', 'orders'), qw(0.5974 11.59 0.5222 8.828));
digits('master, Pareto/NBD likelihood', metric('pareto_m', 'log_likelihood'), '-95415.12');
digits('master, Pareto/NBD', sprintf($figures, 'pareto_m', 'cal_master', '39 weeks'), qw(17153.2 0.7938 1.7262 0.4517 0.6733 0.4464));
digits('master, MBG/NBD', parameters('mbg_m', 'orders'), qw(0.6371 7.31 0.8075 1.228));
digits('master, MBG/NBD likelihood', metric('mbg_m', 'log_likelihood'), '-95336.96');
digits('master, gamma-gamma', parameters('bg_m', 'spend'), qw(6.2754 3.6244 14.9837));
digits('master, gamma-gamma likelihood, buyers, correlation', metric('bg_m', 'spend_log_likelihood') . ' UNION ALL ' . metric('bg_m', 'spend_customers') . ' UNION ALL ' . metric('bg_m', 'spend_correlation'),
	qw(-40763.48 9450 0.080));
spends('master, spend', 'bg_m', 'cal_master', '39 weeks', qw(776961 642348 32.676 92.939 0.4208 0.6687 0.6721));

# ---- nobody leaves: Online Retail --------------------------------------------------------------------------------------

if (-e "$data/online_retail/online_retail.csv.gz")
{
	sql(qq{
		CREATE TABLE raw (invoice text, stock text, description text, quantity int, day timestamp, price numeric, customer text, country text);
		COPY raw FROM PROGRAM 'zcat $data/online_retail/online_retail.csv.gz' CSV HEADER;
		CREATE TABLE retail AS SELECT customer, day, quantity * price AS revenue FROM raw WHERE customer <> '' AND quantity > 0 AND price > 0 AND invoice NOT LIKE 'C%';
		CREATE TABLE cal_retail AS SELECT * FROM rfm_summary('retail', 'customer', 'day', 'revenue', observation_end => '2011-06-09', holdout_end => '2011-12-09')});
	is(sql('SELECT count(*), sum(revenue) FROM retail'), '397884|8911407.904', 'Online Retail: rows and revenue');
	is(sql('SELECT count(*), count(*) FILTER (WHERE frequency > 0), sum(holdout_frequency) FROM cal_retail'), '2800|1412|6837', 'Online Retail: customers, repeat buyers, purchase days of the holdout');
	my ($status, undef, $notes) = $node->psql('postgres', "SET client_min_messages = notice; SELECT * FROM profenrich.train('bg_r', 'lifetime_value', 'cal_retail', algorithm => 'bg_nbd', options => '{\"unit\": \"week\"}')");
	is($status, 0, 'a drop-out that is not there is no error');
	like($notes, qr/NOTICE:\s+the data do not determine all parameters.*P\(alive\) is 1\.0000 on average/, 'but a note');
	sql("SELECT * FROM train('pareto_r', 'lifetime_value', 'cal_retail', algorithm => 'pareto_nbd', options => '{\"unit\": \"week\", \"monetary_value\": null}');
		SELECT * FROM train('mbg_r', 'lifetime_value', 'cal_retail', algorithm => 'mbg_nbd', options => '{\"unit\": \"week\", \"monetary_value\": null}')");
	for my $model (qw(bg_r pareto_r mbg_r))
	{
		near("Online Retail, $model: rate of orders", 0.002, parameters($model, 'orders') . ' LIMIT 2', 0.7416, 8.737);
		ok(sql(metric($model, 'log_likelihood')) > -13255.68, "Online Retail, $model: as likely as elsewhere, or more");
		near("Online Retail, $model: likelihood", 0.06, metric($model, 'log_likelihood'), -13255.62);
		ok(sql("SELECT avg(probability_alive('$model', c)) FROM cal_retail AS c") > 0.9998, "Online Retail, $model: nobody is thought to have left");
		# 183 days are the 26.14 weeks of the holdout.
		near("Online Retail, $model: forecast, Spearman, Gini", 2,
			"SELECT value FROM lifetime_evaluate('$model', 'cal_retail', horizon => '183 days') WHERE metric = 'forecast'", 6213.7);
	}
	near('Online Retail, errors and ranks', 0.0003, sprintf($figures =~ s/forecast,//r =~ s/'forecast', //r, 'bg_r', 'cal_retail', '183 days'), qw(1.5061 2.5027 0.5237 0.6769 1.0000));
	digits('Online Retail, gamma-gamma', parameters('bg_r', 'spend'), qw(3.1284 3.1158 284.5763));
	digits('Online Retail, gamma-gamma likelihood and correlation', metric('bg_r', 'spend_log_likelihood') . ' UNION ALL ' . metric('bg_r', 'spend_correlation'), qw(-9686.16 0.078));
	near('Online Retail, spend: actual, forecast', 150, sprintf($money, 'bg_r', 'cal_retail', '183 days') =~ s/,value_mae.*?value_gini//r =~ s/LIKE 'value%'/IN ('value_actual', 'value_forecast')/r,
		4198006, 2915905);
	near('Online Retail, ranks of spend', 0.001, "SELECT value FROM lifetime_evaluate('bg_r', 'cal_retail', value => 'holdout_value', horizon => '183 days')
		WHERE metric IN ('value_spearman', 'value_pearson', 'value_gini')", 0.5275, 0.8140, 0.7654);
}

$node->stop;
done_testing();
