# Published figures of recommending, on the two retail sets: each user's last fifth of
# items held out, recall@10 and ndcg@10 of popularity, of item cosine with all and with
# the 100 nearest neighbours, and of ALS, all of it through SQL.
#
# Popularity and cosine are arithmetic: what may differ is which of two equal scores comes
# first. ALS starts from other random numbers than the reference did.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $data = ($ENV{PROFENRICH_SHARED} // '') . '/data';
plan skip_all => 'the shared data sets are not on this machine' unless -d "$data/online_retail";

my $node = PostgreSQL::Test::Cluster->new('recommend');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.threads = 2\n");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sql('CREATE EXTENSION profenrich');
sql(qq{
	CREATE TABLE lines (household_id text, store_id text, basket_id text, product_id text, quantity int, sales_value float8,
		retail_disc float8, coupon_disc float8, coupon_match_disc float8, week int, transaction_timestamp timestamp);
	COPY lines FROM PROGRAM 'gzip -dc $data/completejourney/transactions_sample.csv.gz' (FORMAT csv, HEADER);
	CREATE TABLE products (product_id text, manufacturer_id text, department text, brand text, product_category text,
		product_type text, package_size text);
	COPY products FROM PROGRAM 'gzip -dc $data/completejourney/products.csv.gz' (FORMAT csv, HEADER);
	CREATE VIEW completejourney AS
		SELECT household_id AS who, product_category AS what, transaction_timestamp AS at
		  FROM lines JOIN products USING (product_id) WHERE product_category IS NOT NULL;
	CREATE TABLE invoices (invoice text, stock_code text, description text, quantity int, at timestamp, price float8,
		customer text, country text);
	COPY invoices FROM PROGRAM 'gzip -dc $data/online_retail/online_retail.csv.gz' (FORMAT csv, HEADER, NULL 'NA');
	CREATE VIEW online_retail AS
		SELECT customer AS who, stock_code AS what, at FROM invoices
		 WHERE customer IS NOT NULL AND customer <> '' AND quantity > 0 AND price > 0 AND invoice NOT LIKE 'C%';
});

# set, users, items, scored users, train pairs, test pairs; then method, options, recall, ndcg, tolerance.
my @sets = (
	{
		name => 'completejourney', users => 2374, items => 284, scored => 2052, train => 39333, test => 10689,
		figures => [
			['popularity', '', 0.2445, 0.2089, 0.0005],
			['item_item', '"neighbours": "all"', 0.2460, 0.2102, 0.0005],
			['item_item', '"neighbours": 100',   0.2467, 0.2105, 0.0005],
			['implicit_als', '"regularization": 1',                0.0708, 0.0560, 0.01],
			['implicit_als', '"regularization": 10',               0.1019, 0.0762, 0.01],
			['implicit_als', '"regularization": 10, "alpha": 10',  0.1060, 0.0849, 0.01],
			['implicit_als', '"regularization": 30',               0.2531, 0.2172, 0.01],
			['implicit_als', '"regularization": 100',              0.2440, 0.2088, 0.01],
		],
	},
	{
		name => 'online_retail', users => 4338, items => 3585, scored => 4080, train => 211926, test => 54866,
		figures => [
			['popularity', '', 0.0364, 0.0292, 0.0005],
			['item_item', '"neighbours": "all"', 0.1060, 0.0948, 0.0005],
			['item_item', '"neighbours": 100',   0.0958, 0.0852, 0.0005],
			['implicit_als', '"regularization": 1',                0.1028, 0.0890, 0.005],
			['implicit_als', '"regularization": 10',               0.1041, 0.0903, 0.005],
			['implicit_als', '"regularization": 10, "alpha": 10',  0.0972, 0.0811, 0.005],
			['implicit_als', '"regularization": 30',               0.1050, 0.0911, 0.005],
			['implicit_als', '"regularization": 10, "solver": "cholesky"', 0.1041, 0.0903, 0.005],
		],
	});

sub metric
{
	my ($model, $name) = @_;
	return sql("SELECT round(value::numeric, 4) FROM profenrich.evaluation('$model') WHERE metric = '$name'");
}

sub near
{
	my ($got, $want, $tolerance, $name) = @_;
	ok(abs($got - $want) <= $tolerance, "$name: $got for $want, within $tolerance") or diag("$name: $got, wanted $want");
}

sub check_set
{
	my ($set) = @_;
	my $name = $set->{name};
	for my $figure (@{ $set->{figures} })
	{
		my ($method, $options, $recall, $ndcg, $tolerance) = @$figure;
		my $more  = $options ? ", $options" : '';
		my $label = "$name, $method" . ($options =~ s/"//gr ? ' (' . $options =~ s/"//gr . ')' : '');
		sql(qq{SELECT * FROM profenrich.train('$name', 'recommendation', '$name', 'what', '$method',
			'{"user": "who", "time": "at"$more}')});
		near(metric($name, 'recall_at_10'), $recall, $tolerance, "$label, recall");
		near(metric($name, 'ndcg_at_10'),   $ndcg,   $tolerance, "$label, ndcg");
	}
	is(metric($name, 'users') + 0,        $set->{users},  "$name: users");
	is(metric($name, 'train_items') + 0,  $set->{items},  "$name: items with anything to learn from");
	is(metric($name, 'scored_users') + 0, $set->{scored}, "$name: scored users");
	is(metric($name, 'train_pairs') + 0,  $set->{train},  "$name: training pairs");
	is(metric($name, 'test_pairs') + 0,   $set->{test},   "$name: test pairs");

	# What it chooses by itself does at least as well as the best simple method, on users who had no say.
	my $chosen = sql(qq{SELECT algorithm || ': ' || quality FROM profenrich.train('$name', 'recommendation', '$name', 'what',
		options => '{"user": "who", "time": "at"}')});
	my ($ndcg, $popularity) = (metric($name, 'ndcg_at_10'), metric($name, 'popularity_ndcg_at_10'));
	note(sql("SELECT string_agg(format('%s %s %s %s', algorithm, regularization, neighbours, round(ndcg_at_10::numeric, 4)), E'\\n')
		FROM profenrich.recommendation_candidates c WHERE model = '$name'
		 AND version = (SELECT max(version) FROM profenrich.model_versions WHERE model = '$name')"));
	note("$name chooses $chosen, ndcg $ndcg, popularity $popularity; " . sql("SELECT verdict FROM profenrich.models WHERE name = '$name'"));
	ok($ndcg >= $popularity, "$name: auto chooses $chosen, ndcg $ndcg against popularity's $popularity");
	return;
}

check_set($_) for @sets;

# On completejourney popularity is hard to beat: 64 factors with little regularization fall far below, and it is said.
sql(q{SELECT * FROM profenrich.train('weak', 'recommendation', 'completejourney', 'what', 'implicit_als',
	'{"user": "who", "time": "at", "regularization": 1}')});
is(sql("SELECT quality FROM profenrich.models WHERE name = 'weak'"), 'does not beat popularity', 'a poor model is said to be poor');

# Every customer of online_retail gets ten items none of which was bought before.
is(sql(q{SELECT count(*) || ' ' || min(cardinality(items)) FROM profenrich.recommend_all('online_retail', 'SELECT DISTINCT who FROM online_retail', 'who')}),
	'4338 10', 'ten items for every customer');
is(sql(q{SELECT count(*) FROM (SELECT key, unnest(items) AS what FROM profenrich.recommend_all('online_retail')) r
	JOIN (SELECT DISTINCT who, what FROM online_retail) o ON o.who = r.key AND o.what = r.what}),
	'0', 'and none that was bought before');

# Clicks by category of a site's visitors, with a rating each, and no times.
sql(qq{
	CREATE TABLE ratings (who text, category text, rating int);
	COPY ratings FROM PROGRAM 'cat $data/aep_visitor_ratings/traind.csv' (FORMAT csv, HEADER)});
sql(q{SELECT * FROM profenrich.train('ratings', 'recommendation', 'ratings', 'category', 'item_item', '{"user": "who", "weight": "rating"}')});
note(sql("SELECT verdict FROM profenrich.models WHERE name = 'ratings'"));
is(sql("SELECT value FROM profenrich.evaluation('ratings') WHERE metric = 'users'"), sql('SELECT count(DISTINCT who) FROM ratings'),
	'every visitor is known');

# Cancelled while it learns, and while it recommends.
for my $statement (
	q{SELECT * FROM profenrich.train('long', 'recommendation', 'online_retail', 'what', 'implicit_als',
		'{"user": "who", "factors": 512, "iterations": 1000, "regularization": 10, "solver": "cholesky"}')},
	q{SELECT count(*) FROM generate_series(1, 1000), profenrich.recommend_all('online_retail', top => 1000)})
{
	my $since = time;
	my ($status, $out, $err) = $node->psql('postgres', "SET statement_timeout = '700ms'; $statement");
	my $seconds = time - $since;
	like($err, qr/canceling statement due to statement timeout/, 'cancelled');
	cmp_ok($seconds, '<', 2.7, "within 2 s of the timeout: $seconds s in all");
}

$node->stop;
done_testing();
