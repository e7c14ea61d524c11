# Models between sessions and servers: a deployment is heard everywhere, trainings of one model line up, a standby
# predicts, and what a session has cached never outlives what it was.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('models');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "client_min_messages = warning\n");
$node->start;

# Two models that say opposite things of the same row.
my $rising  = "'SELECT i % 10 AS a, i % 10 > 4 AS y FROM generate_series(1, 1000) AS i'";
my $falling = "'SELECT i % 10 AS a, i % 10 < 5 AS y FROM generate_series(1, 1000) AS i'";
my $predict = "SELECT profenrich.predict('m', r) > 0.5 FROM (SELECT 9 AS a) AS r";
$node->safe_psql('postgres', qq{
	CREATE EXTENSION profenrich;
	SELECT profenrich.train('m', source => $rising, target => 'y');
	SELECT profenrich.train('m', source => $falling, target => 'y', options => '{"deploy": false}')});

# A deployment is heard by sessions that have the old one cached.
my $session = $node->background_psql('postgres');
is($session->query_safe($predict), 't', 'the first version predicts');
$node->safe_psql('postgres', "SELECT profenrich.deploy('m', 2)");
is($session->query_safe($predict), 'f', 'another session deployed the second, and this one follows');
$node->safe_psql('postgres', "BEGIN; SELECT profenrich.deploy('m', 1); ROLLBACK");
is($session->query_safe($predict), 'f', 'what was rolled back is not followed');

# What was looked up under an old snapshot is not remembered beyond it.
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$node->safe_psql('postgres', "SELECT profenrich.deploy('m', 1)");
$session->query_safe($predict);
$session->query_safe('COMMIT');
is($session->query_safe($predict), 't', 'a session follows after a long transaction');

# A model that is dropped and made again under its name, an extension likewise: nothing old is found.
$node->safe_psql('postgres', "SELECT profenrich.drop_model('m')");
my ($status, undef, $error) = $node->psql('postgres', $predict);
like($error, qr/there is no model "m"/, 'dropped');
$node->safe_psql('postgres', "DROP EXTENSION profenrich; CREATE EXTENSION profenrich; SELECT profenrich.train('m', source => $falling, target => 'y')");
is($session->query_safe($predict), 'f', 'the same ids in a new extension are other models');

# Trainings of one model at once: each becomes a version of its own.
my @trainers = map { $node->background_psql('postgres') } 1 .. 3;
for my $trainer (@trainers)
{
	$trainer->{stdin} .= "SELECT profenrich.train('m', source => $rising, target => 'y', options => '{\"trees\": 20}');\n\\echo trained\n";
	$trainer->{run}->pump_nb;
}
ok($node->poll_query_until('postgres', "SELECT array_agg(version ORDER BY version) = '{1,2,3,4}' FROM profenrich.model_versions WHERE model = 'm'"),
	'three trainings at once are three versions');
is($node->safe_psql('postgres', "SELECT count(DISTINCT artifact_checksum) FROM profenrich.model_versions WHERE model = 'm' AND version > 1"), '1', 'and the same model');
$_->quit for @trainers;

# Training threads are gone when the call returns.
is($node->safe_psql('postgres', "SET profenrich.threads = 4; SELECT rows FROM profenrich.train('m', source => $rising, target => 'y');
	SELECT count(*) FROM pg_ls_dir('/proc/' || pg_backend_pid() || '/task')"), "1000\n1", 'one thread after a training');

# Names that are cut short stay whole characters in any encoding of the server.
$node->safe_psql('postgres', "CREATE DATABASE tokyo ENCODING 'EUC_JP' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
is($node->safe_psql('tokyo', q{CREATE EXTENSION profenrich;
	CREATE TABLE w AS SELECT (ARRAY[repeat(convert_from('\xe697a5', 'UTF8'), 90) || 'a', 'x' || repeat(convert_from('\xe8aa9e', 'UTF8'), 200), 'c'])[1 + i % 3] AS long, i % 3 + (i % 10) / 10.0 AS f FROM generate_series(1, 1000) AS i;
	SELECT version FROM profenrich.train('classes', 'affinity', 'w', 'long', 'boosted_trees');
	SELECT version FROM profenrich.train('levels', 'value', 'w', 'f', 'boosted_trees');
	SELECT count(*), count(length(class)) FROM profenrich.class_table('classes');
	SELECT count(length(f ->> 'top')), bool_and(f ->> 'top' <> '') FROM profenrich.model_version, jsonb_array_elements(features) AS f WHERE model = 'levels'}),
	"1\n1\n3|3\n1|t", 'classes and levels cut short, in EUC_JP');

# A hot standby predicts and scores, follows deployments, and refuses to write.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
my $reader = $standby->background_psql('postgres');
is($reader->query_safe($predict), 't', 'a standby predicts');
is($reader->query_safe("SELECT count(*) FROM profenrich.score('m', 'SELECT i AS a FROM generate_series(0, 9) AS i', 'a')"), '10', 'and scores');
$node->safe_psql('postgres', "SELECT profenrich.deploy('m', 1)");
$node->wait_for_catchup($standby);
is($reader->query_safe($predict), 'f', 'a session there follows a deployment on the primary');
(undef, undef, $error) = $standby->psql('postgres', "SELECT profenrich.train('m', source => $rising, target => 'y')");
like($error, qr/cannot execute train\(\) (during recovery|in a read-only transaction)/, 'it does not train');
$reader->quit;
$session->quit;

$standby->stop;
$node->stop;
done_testing();
