# XGBoost reads our trees: its margins and its exact Shapley values (pred_contribs) are what predict and explain
# say of the same rows, to 1e-6, and score() gives the same reasons as explain.
use strict;
use warnings;
use FindBin;
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dump = "$FindBin::RealBin/../../model_dump";
my $oracle = "$FindBin::RealBin/../tools/shap_oracle.py";
plan skip_all => 'model_dump is not built' unless -x $dump;

my $node = PostgreSQL::Test::Cluster->new('shap');
$node->init;
$node->append_conf('postgresql.conf', "client_min_messages = warning\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION profenrich;
	CREATE FUNCTION u(i bigint, s int) RETURNS float8 LANGUAGE sql IMMUTABLE RETURN (hashint8extended(i, s * 7919) & 1048575) / 1048576.0;
	CREATE TABLE learnt AS SELECT i AS id, 100 * u(i, 1) AS amount, CASE WHEN u(i, 2) < 0.8 THEN floor(12 * u(i, 3))::int END AS visits,
		-ln(u(i, 4) + 1e-6) AS recency, CASE WHEN u(i, 5) < 0.9 THEN 'plan ' || floor(4 * u(i, 6)) END AS plan,
		'city ' || floor(400 * u(i, 7) ^ 2) AS city, u(i, 8) < 0.5 AS member FROM generate_series(1, 8000) AS i;
	ALTER TABLE learnt ADD churned boolean, ADD spent float8, ADD orders int;
	UPDATE learnt SET churned = u(id, 9) < 1 / (1 + exp(2 - recency - (plan = 'plan 2')::int + coalesce(visits, 4) * 0.2 - (member AND amount > 50)::int)),
		spent = amount * (1 + (plan = 'plan 1')::int) + 10 * sin(coalesce(visits, 20)) + 5 * (length(city) % 2) + u(id, 10);
	UPDATE learnt SET churned = false WHERE churned IS NULL;
	UPDATE learnt SET spent = amount WHERE spent IS NULL;
	UPDATE learnt SET orders = floor(-ln(u(id, 11) + 1e-9) * (1 + coalesce(visits, 2) / 3.0 + member::int))::int;
	-- Other rows than those learnt from, with levels that no model has seen and everything missing.
	CREATE TABLE asked AS SELECT id, amount, visits, recency, plan, CASE WHEN id % 9 = 0 THEN 'nowhere' ELSE city END AS city, member FROM learnt WHERE id <= 600;
	INSERT INTO asked (id) VALUES (601); INSERT INTO asked VALUES (602, 1e30, -5, 1e-30, '', NULL, true);
});

# check NAME, TASK, TARGET, OPTIONS, MARGIN of a prediction called x
sub check
{
	my ($name, $task, $target, $options, $margin) = @_;
	my $exclude = join ', ', map { "\"$_\"" } 'id', grep { $_ ne $target } qw(churned spent orders);
	$node->safe_psql('postgres', "SELECT * FROM profenrich.train('$name', '$task', 'learnt', '$target',
		options => '{\"key\": \"id\", \"trees\": 60, \"features\": {\"exclude\": [$exclude]}$options}')");
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$name";
	my $bytes = $node->safe_psql('postgres', "SELECT encode(string_agg(bytes, '' ORDER BY part), 'base64') FROM profenrich.model_artifact
		JOIN profenrich.model_version USING (version_id) WHERE model = '$name'");
	open my $artifact, '>:raw', $file or die $!;
	print $artifact decode_base64($bytes);
	close $artifact;
	is(system("$dump $file >$file.json"), 0, "$name: the artifact is dumped");
	append_to_file("$file.rows", $node->safe_psql('postgres', "SELECT jsonb_build_object('row', to_jsonb(p), 'margins', jsonb_build_array($margin),
			'explained', 0, 'contributions', (SELECT jsonb_object_agg(feature, contribution) FROM profenrich.explain('$name', p, NULL)))
		FROM asked p, profenrich.predict('$name', p) AS x ORDER BY id") . "\n");
	my ($rows, $margins, $contributions) = (split(' ', `/usr/bin/python3 $oracle $file.json $file.rows`), ('inf') x 3);
	is($rows, 602, "$name: all rows");
	cmp_ok($margins, '<', 1e-6, "$name: margins are XGBoost's ($margins)");
	cmp_ok($contributions, '<', 1e-6, "$name: contributions are XGBoost's ($contributions)");
	is($node->safe_psql('postgres', "SELECT count(*), max(abs(e.contribution - coalesce((r.value ->> 'contribution')::float8, 0))) < 0.51e-6
		FROM asked p CROSS JOIN LATERAL profenrich.explain('$name', p, NULL) AS e JOIN profenrich.score('$name', 'asked', 'id', reasons => 100) AS s ON s.key::int = p.id
		LEFT JOIN LATERAL jsonb_array_elements(s.reasons) AS r ON r.value ->> 'feature' = e.feature WHERE e.feature <> '(base)'"),
		(6 * 602) . '|t', "$name: score() gives the same reasons");
}

my $logit = 'ln(x / (1 - x))';
check('churn', 'propensity', 'churned', '', $logit);
check('stumps', 'propensity', 'churned', ', "max_depth": 1', $logit);
check('leafwise', 'propensity', 'churned', ', "max_leaves": 40, "min_child_weight": 1', $logit);
check('spend', 'value', 'spent', ', "max_depth": 8', 'x');

done_testing();
