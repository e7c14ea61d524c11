# Features and labels of three public logs by declaration, against the same by hand in SQL: every row, every column.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = ($ENV{PROFENRICH_SHARED} // '') . '/data';
plan skip_all => 'the shared data sets are not on this machine' unless -d "$data/online_retail";

my $node = PostgreSQL::Test::Cluster->new('event_features');
$node->init;
$node->append_conf('postgresql.conf', "client_min_messages = warning\ntimezone = 'UTC'\nfsync = off\n");
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }

# How many rows and cells two relations of the same keys have, and how many of them differ: numbers by more than rounding.
sql(q{
	CREATE EXTENSION profenrich;
	CREATE FUNCTION compare(declared regclass, by_hand regclass, keys text[]) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE result text;
	BEGIN
		EXECUTE format('SELECT count(DISTINCT k) || $q$ rows, $q$ || count(*) || $q$ cells, $q$ || count(*) FILTER (WHERE NOT same) || $q$ differ$q$ FROM (
			SELECT k, CASE WHEN jsonb_typeof(d.value) = $q$number$q$ AND jsonb_typeof(h.value) = $q$number$q$
				THEN abs(d.value::float8 - h.value::float8) <= 1e-12 * greatest(abs(h.value::float8), 1) ELSE d.value IS NOT DISTINCT FROM h.value END AS same
			FROM (SELECT jsonb_build_array(%1$s) AS k, c.* FROM %2$s t, jsonb_each(to_jsonb(t)) c) d
				FULL JOIN (SELECT jsonb_build_array(%1$s) AS k, c.* FROM %3$s t, jsonb_each(to_jsonb(t)) c) h USING (k, key)) cells',
			(SELECT string_agg(format('t.%I', key), ', ') FROM unnest(keys) key), declared, by_hand) INTO result;
		RETURN result;
	END $$;});

# ---- completejourney: households, anchors at four days, departments -----------------------------------------------------

sql(qq{
	CREATE TABLE lines (household_id int, store_id int, basket_id text, product_id float8, quantity numeric, sales_value numeric,
		retail_disc numeric, coupon_disc numeric, coupon_match_disc numeric, week int, at timestamp);
	COPY lines FROM PROGRAM 'zcat $data/completejourney/transactions_sample.csv.gz' (FORMAT csv, HEADER);
	CREATE TABLE products (product_id float8, manufacturer_id text, department text, brand text, category text, type text, size text);
	COPY products FROM PROGRAM 'zcat $data/completejourney/products.csv.gz' (FORMAT csv, HEADER);
	CREATE VIEW purchases AS SELECT l.*, p.department, p.brand FROM lines l LEFT JOIN products p USING (product_id);});
sql(q{
	CREATE TABLE anchors AS SELECT DISTINCT household_id, day FROM lines, unnest(ARRAY['2017-04-01', '2017-12-10'::date]) day;
	SELECT profenrich.create_event_features('households', 'purchases', 'household_id', 'at', '{"event": "purchase",
		"windows": ["30 days", "90 days", "all"], "features": ["count", {"make": ["sum", "mean", "min", "max"], "of": "sales_value"},
			{"make": "distinct", "of": "basket_id"}, {"make": "distinct", "of": "product_id"}, {"make": ["days_since_last", "days_since_first"]},
			{"make": ["count", "share", "days_since_last"], "by": "department", "top": 3},
			{"make": "share", "of": "sales_value", "by": "brand", "values": ["Private"]},
			{"make": "ratio", "of": "sales_value", "windows": ["30 days"], "to": "90 days"}, {"make": "ratio", "windows": ["30 days"], "to": "previous"}],
		"labels": [{"make": ["any", "count", "sum"], "of": "sales_value", "within": ["28 days"]}, "days_until_next"]}', anchors => 'anchors');});
my @departments = split /\n/, sql(q{SELECT department FROM purchases WHERE at < '2017-12-10' AND department IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, department COLLATE "C" LIMIT 3});
my %windows = ('30d' => "age <= '30 days'", '90d' => "age <= '90 days'", all => "true");
my @columns;
for my $w (qw(30d 90d all))
{
	my $past = "FILTER (WHERE age > '0' AND $windows{$w})";
	push @columns, "count(at) $past AS purchases_$w", "coalesce(sum(sales_value) $past, 0)::float8 AS sum_sales_value_$w",
	  map({ ($_ eq 'mean' ? 'avg' : $_) . "(sales_value) $past ::float8 AS ${_}_sales_value_$w" } qw(mean min max)),
	  map({ "count(DISTINCT $_) $past AS distinct_${_}_$w" } qw(basket_id product_id)),
	  "coalesce(sum(sales_value) FILTER (WHERE age > '0' AND $windows{$w} AND brand = 'Private'), 0)::float8 / nullif(sum(sales_value) $past, 0)::float8 AS share_sales_value_private_$w";
	for my $department (@departments)
	{
		my $name = lc $department =~ s/[^A-Za-z0-9]+/_/gr;
		push @columns, "count(*) FILTER (WHERE age > '0' AND $windows{$w} AND department = '$department') AS purchases_${name}_$w",
		  "count(*) FILTER (WHERE age > '0' AND $windows{$w} AND department = '$department')::float8 / nullif(count(at) $past, 0) AS share_${name}_$w";
		push @columns, "extract(epoch FROM min(age) FILTER (WHERE age > '0' AND department = '$department'))::float8 / 86400 AS days_since_last_purchase_$name"
		  if $w eq 'all';
	}
}
my $ahead = "FILTER (WHERE age <= '0' AND age > '-28 days')";
my $known = "day + 28 <= '2018-01-01'"; # the day after the last purchase
my $rows  = join ",\n", 'household_id', 'day', @columns,
  "extract(epoch FROM min(age) FILTER (WHERE age > '0'))::float8 / 86400 AS days_since_last_purchase",
  "extract(epoch FROM max(age) FILTER (WHERE age > '0'))::float8 / 86400 AS days_since_first_purchase",
  "coalesce(sum(sales_value) FILTER (WHERE age > '0' AND age <= '30 days'), 0)::float8 / nullif(sum(sales_value) FILTER (WHERE age > '0' AND age <= '90 days'), 0)::float8 AS ratio_sales_value_30d_90d",
  "count(*) FILTER (WHERE age > '0' AND age <= '30 days')::float8 / nullif(count(*) FILTER (WHERE age > '30 days' AND age <= '60 days'), 0) AS ratio_purchases_30d_previous",
  "CASE WHEN $known THEN count(*) $ahead > 0 END AS any_sales_value_within_28d",
  "CASE WHEN $known THEN count(*) $ahead END AS count_sales_value_within_28d",
  "CASE WHEN $known THEN coalesce(sum(sales_value) $ahead, 0)::float8 END AS sum_sales_value_within_28d",
  "extract(epoch FROM -max(age) FILTER (WHERE age <= '0'))::float8 / 86400 AS days_until_next_purchase";
is(sql('SELECT max(at)::date FROM lines'), '2017-12-31', 'the last day of the log');
sql("CREATE TABLE households_by_hand AS SELECT $rows FROM (SELECT a.household_id, a.day, p.at, p.sales_value, p.basket_id, p.product_id, p.department, p.brand,
	a.day - p.at AS age FROM anchors a JOIN purchases p USING (household_id)) e GROUP BY household_id, day");
like(sql("SELECT compare('households', 'households_by_hand', '{household_id,day}')"), qr/^4\d+ rows, \d+ cells, 0 differ$/, 'completejourney: as by hand');
is(sql('SELECT count(*) FROM households WHERE count_sales_value_within_28d IS NULL AND day <> \'2017-12-10\''), 0, 'labels are known where their days have passed');

# ---- online_retail: orders of a web shop, cancellations among them ----------------------------------------------------

sql(qq{
	CREATE TABLE retail (invoice text, stock_code text, description text, quantity int, at timestamp, price numeric, customer text, country text);
	COPY retail FROM PROGRAM 'zcat $data/online_retail/online_retail.csv.gz' (FORMAT csv, HEADER);});
sql(q{
	SELECT profenrich.event_features_into('shoppers', $$SELECT *, quantity * price AS amount, invoice LIKE 'C%' AS cancelled FROM retail WHERE customer IS NOT NULL$$,
		'customer', 'at', '{"event": "line", "windows": ["14 days", "180 days"], "features": ["count", {"make": ["sum", "max"], "of": "amount"},
			{"make": "distinct", "of": "invoice"}, {"make": "distinct", "of": "stock_code", "by": "cancelled", "values": [true]},
			{"make": ["sum", "share"], "of": "amount", "by": "country", "top": 4}, {"make": "share", "by": "cancelled", "values": [true]}, "days_since_last"]}',
		as_of => '2011-10-01');
	CREATE TABLE shoppers_by_hand AS SELECT customer} . join('', map { my $w = "FILTER (WHERE at >= timestamp '2011-10-01' - interval '$_ days'"; qq{,
			count(*) $w) AS lines_${_}d, coalesce(sum(amount) $w), 0)::float8 AS sum_amount_${_}d, max(amount) $w)::float8 AS max_amount_${_}d,
			count(DISTINCT invoice) $w) AS distinct_invoice_${_}d, count(DISTINCT stock_code) $w AND cancelled) AS distinct_stock_code_true_${_}d,
			count(*) $w AND cancelled)::float8 / nullif(count(*) $w), 0) AS share_true_${_}d} . join('', map { my ($country, $name) = @$_; qq{,
				coalesce(sum(amount) $w AND country = '$country'), 0)::float8 AS sum_amount_${name}_@{[ $w =~ /'(\d+) days'/ ]}d,
				coalesce(sum(amount) $w AND country = '$country'), 0)::float8 / nullif(sum(amount) $w), 0)::float8 AS share_amount_${name}_@{[ $w =~ /'(\d+) days'/ ]}d} }
			(['United Kingdom', 'united_kingdom'], ['Germany', 'germany'], ['France', 'france'], ['EIRE', 'eire'])) } 14, 180) . q{,
		extract(epoch FROM timestamp '2011-10-01' - max(at))::float8 / 86400 AS days_since_last_line
		FROM (SELECT *, quantity * price AS amount, invoice LIKE 'C%' AS cancelled FROM retail WHERE customer IS NOT NULL AND at < '2011-10-01') r GROUP BY customer;});
like(sql("SELECT compare('shoppers', 'shoppers_by_hand', '{customer}')"), qr/^3\d+ rows, \d+ cells, 0 differ$/, 'online_retail: as by hand');

# ---- cdnow: RFM, and who bought again for how much ----------------------------------------------------------------------

sql(qq{
	CREATE TABLE raw (line text);
	COPY raw FROM PROGRAM 'zcat $data/cdnow/CDNOW_master.txt.gz';
	CREATE TABLE cdnow AS SELECT f[1] AS customer, f[2]::date AS day, f[3]::int AS cds, f[4]::numeric AS value
		FROM (SELECT regexp_split_to_array(trim(line), '\\s+') AS f FROM raw) r WHERE f[1] ~ '^\\d+\$';});
is(sql('SELECT count(*), count(DISTINCT customer) FROM cdnow'), '69659|23570', 'cdnow: all orders');
sql(q{
	SELECT profenrich.create_event_features('buyers', 'cdnow', 'customer', 'day', '{"event": "order", "features": [{"make": "rfm", "of": "value"}, "count", "days_since_last",
		{"make": "sum", "of": "cds", "windows": ["91 days"]}], "labels": [{"make": ["any", "count"], "within": "90 days"}, {"make": "sum", "of": "value", "within": ["90 days"]}]}',
		as_of => '1997-10-01');
	CREATE VIEW buyers_by_hand AS
	WITH days AS (SELECT customer, day, sum(value) AS value FROM cdnow GROUP BY 1, 2),
	firsts AS (SELECT customer, min(day) AS first FROM cdnow GROUP BY 1)
	SELECT customer, count(*) FILTER (WHERE d.day < '1997-10-01') - 1 AS frequency, (max(d.day) FILTER (WHERE d.day < '1997-10-01') - first) / 7.0::float8 AS recency,
		('1997-09-30' - first) / 7.0::float8 AS age, avg(value) FILTER (WHERE d.day < '1997-10-01' AND d.day > first)::float8 AS monetary_value,
		(SELECT count(*) FROM cdnow c WHERE c.customer = d.customer AND c.day < '1997-10-01') AS orders_all,
		('1997-10-01' - max(d.day) FILTER (WHERE d.day < '1997-10-01'))::float8 AS days_since_last_order,
		coalesce((SELECT sum(cds) FROM cdnow c WHERE c.customer = d.customer AND c.day < '1997-10-01' AND c.day >= '1997-07-02'), 0)::float8 AS sum_cds_91d,
		bool_or(d.day >= '1997-10-01' AND d.day < '1997-12-30') AS any_order_within_90d,
		(SELECT count(*) FROM cdnow c WHERE c.customer = d.customer AND c.day >= '1997-10-01' AND c.day < '1997-12-30') AS orders_within_90d,
		coalesce(sum(value) FILTER (WHERE d.day >= '1997-10-01' AND d.day < '1997-12-30'), 0)::float8 AS sum_value_within_90d
	FROM days d JOIN firsts USING (customer) WHERE first < '1997-10-01' GROUP BY customer, first;
	CREATE INDEX ON cdnow (customer);});
is(sql("SELECT compare('buyers', 'buyers_by_hand', '{customer}')"), '23570 rows, 259270 cells, 0 differ', 'cdnow: RFM and labels as by hand');
is(sql(q{SELECT count(*) FROM buyers b JOIN profenrich.rfm_summary('cdnow', 'customer', 'day', 'value', observation_end => '1997-09-30') r USING (customer)
	WHERE (b.frequency, b.recency, b.age) = (r.frequency, r.recency, r.age) AND b.monetary_value IS NOT DISTINCT FROM r.monetary_value
	   OR abs(b.monetary_value - r.monetary_value) < 1e-12 * r.monetary_value}), 23570, 'cdnow: RFM as rfm_summary has it');

# A model that is trained on what was declared, and scores what is declared without labels.
like(sql(q{SELECT rows || ' ' || features || ' ' || (metric_value > 0.6) FROM profenrich.train('again', 'propensity', 'buyers', 'any_order_within_90d', 'logistic',
	'{"key": "customer", "features": {"exclude": ["orders_within_90d", "sum_value_within_90d"]}}')}), qr/^23570 7 true$/, 'cdnow: labels train a model');

$node->stop;
done_testing();
