# The figures of evaluate() against scikit-learn's, on the same predictions and outcomes, ties and all.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('oracle');
$node->init;
$node->append_conf('postgresql.conf', "client_min_messages = error\n");
$node->start;
my $directory = PostgreSQL::Test::Utils::tempdir;
chmod 0777, $directory;

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION profenrich;
CREATE FUNCTION u(i bigint, s bigint) RETURNS float8 LANGUAGE sql IMMUTABLE AS
	$$ SELECT ((hashint8extended(i, s) & 4503599627370495) + 0.5) / 4503599627370496.0::float8 $$;
CREATE TABLE profiles AS SELECT i AS id, u(i, 1) * 10 AS tenure, CASE WHEN u(i, 2) > 0.2 THEN floor(u(i, 3) * 20) END AS orders,
	(ARRAY['a', 'b', 'c', 'd'])[1 + floor(u(i, 4) * 4)::int] AS plan FROM generate_series(1, 8000) AS i;
ALTER TABLE profiles ADD churned boolean, ADD spend float8, ADD visits int, ADD claim float8, ADD favourite text;
UPDATE profiles SET churned = u(id, 5) < 1 / (1 + exp(tenure - 4 - coalesce(orders, 5) / 10)),
	spend = greatest(0, 20 * tenure - 30 + 80 * u(id, 6) * u(id, 7)),
	visits = floor(-ln(u(id, 8)) * (1 + tenure / 3)),
	claim = 5 + tenure * 10 * -ln(u(id, 9)),
	favourite = CASE WHEN u(id, 10) < 0.3 THEN 'shoes' WHEN plan = 'a' AND u(id, 11) < 0.7 THEN 'books' WHEN tenure > 5 THEN 'garden' ELSE 'toys' END;
CREATE VIEW learn AS SELECT * FROM profiles WHERE id <= 5000;
CREATE VIEW later AS SELECT * FROM profiles WHERE id > 5000;
SQL

# compare(name, kind, csv, rows of evaluate()): each figure of the oracle is ours.
sub compare
{
	my ($name, $kind, $path, $ours) = @_;
	my %ours = map { split /\|/ } split /\n/, $ours;
	my $figures = 0;
	for my $line (split /\n/, `/usr/bin/python3 metrics_oracle.py $kind $path`)
	{
		my ($metric, $value) = split ' ', $line;
		my $got = $ours{$metric};
		ok(defined $got && abs($got - $value) <= 1e-9 * (1 + abs $value), "$name: $metric is $value")
		  or diag(defined $got ? "evaluate() says $got" : "evaluate() does not say it");
		$figures++;
	}
	cmp_ok($figures, '>=', 3, "$name: compared");
	return;
}

# check(name, task, target, algorithm, options, kind)
sub check
{
	my ($name, $task, $target, $algorithm, $options, $kind) = @_;
	my @others = grep { $_ ne $target } qw(churned spend visits claim favourite);
	my $exclude = join ', ', map { "\"$_\"" } @others;
	$options = ($options ? "$options, " : '') . "\"key\": \"id\", \"features\": {\"exclude\": [$exclude, \"id\"]}";
	$node->safe_psql('postgres', "SELECT profenrich.train('$name', '$task', 'learn', '$target', '$algorithm', '{$options}')");
	my $path = "$directory/" . ($name =~ s/\W/_/gr) . '.csv';
	my $value = $task eq 'propensity' ? "$target\::int" : $target;
	if ($task eq 'affinity')
	{
		my $classes = $node->safe_psql('postgres', "SELECT string_agg(DISTINCT favourite, ',' ORDER BY favourite) FROM profiles");
		my $columns = join ', ', map { "profenrich.affinities('$name', p) -> '$_'" } split /,/, $classes;
		$node->safe_psql('postgres', "COPY (SELECT $target, $columns FROM later AS p) TO '$path.rows' (FORMAT csv)");
		append_to_file($path, "target,$classes\n" . slurp_file("$path.rows"));
	}
	else
	{
		$node->safe_psql('postgres', "COPY (SELECT profenrich.predict('$name', p), $value FROM later AS p) TO '$path' (FORMAT csv)");
	}
	compare($name, $kind, $path, $node->safe_psql('postgres',
		"SELECT metric, value FROM profenrich.evaluate('$name', 'later', '$target') WHERE value IS NOT NULL"));
	return;
}

check('trees', 'propensity', 'churned', 'boosted_trees', '"trees": 40', 'propensity');
check('few leaves', 'propensity', 'churned', 'boosted_trees', '"trees": 2, "max_depth": 2', 'propensity');
check('calibrated', 'propensity', 'churned', 'boosted_trees', '"trees": 40, "calibrate": "isotonic"', 'propensity');
check('line', 'propensity', 'churned', 'logistic', '', 'propensity');
check('spend', 'value', 'spend', 'boosted_trees', '"trees": 40', 'value');
check('spend line', 'value', 'spend', 'linear', '', 'value');
check('visits', 'value', 'visits', 'boosted_trees', '"trees": 40, "objective": "poisson"', 'poisson');
check('claims', 'value', 'claim', 'boosted_trees', '"trees": 40, "objective": "gamma"', 'gamma');
check('tweedie', 'value', 'spend', 'boosted_trees', '"trees": 40, "objective": "tweedie"', 'tweedie');
check('visits glm', 'value', 'visits', 'glm', '"objective": "poisson"', 'poisson');
check('favourite', 'affinity', 'favourite', 'boosted_trees', '"trees": 20', 'affinity');
check('favourite line', 'affinity', 'favourite', 'multinomial', '', 'affinity');

$node->stop;
done_testing();
