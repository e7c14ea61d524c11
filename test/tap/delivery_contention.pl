# What others do in the database while the worker sends: open transactions, other settings, servers and roles
# that change under it. None of that may hold up an enrichment that it does not concern.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StandIn;
use Queue;

my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('contention');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.poll_interval = 1\ndatestyle = 'german'\n");
$platform->install($node);
$node->start;

# Log rows from before there were partitions: of today, and of tomorrow, as after a time of failing.
$platform->connect_server($node, 'aep', messages_per_second => 20000, requests_per_second => 500);
$node->safe_psql('postgres', "SELECT profenrich.stop_worker()");
$node->safe_psql('postgres', "DROP EXTENSION profenrich CASCADE; CREATE EXTENSION profenrich; SELECT profenrich.stop_worker()");
is($node->safe_psql('postgres', "
	INSERT INTO profenrich.delivery_log (at, enrichment_id, messages, bytes, outcome)
		SELECT now() + i * interval '1 day', 1, 1, 1, 'accepted' FROM generate_series(0, 1) i;
	SELECT count(*) FROM profenrich.delivery_log_default"), 2, 'rows of days without a partition');
$node->safe_psql('postgres', 'SELECT profenrich.start_worker()');
wait_until($node, "SELECT count(*) = 5 FROM pg_inherits WHERE inhparent = 'profenrich.delivery_log'::regclass", 'the days get their partitions');
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM profenrich.delivery_log_default), (SELECT count(*) FROM profenrich.delivery_log)'),
	'0|2', 'and the rows are in them');
is($node->safe_psql('postgres', "SELECT ok FROM profenrich.health() WHERE check_name = 'delivery log'"), 't', 'health() is content');

my $id = set_up_enrichment($node, $platform, 'churn', messages_per_second => 20000, requests_per_second => 500);
my $other = set_up_enrichment($node, $platform, "other");
sub done { return "SELECT pending = 0 FROM profenrich.enrichment_status WHERE enrichment = '$_[0]'" }

enqueue($node, $id, 1, 100);
wait_until($node, done('churn'), 'something is delivered');

# A transaction that has resumed one enrichment and stays open: its acknowledgements wait, those of others do not.
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; SELECT profenrich.resume('churn')");
enqueue($node, $id, 1, 800, chunk => 50);
ok($node->poll_query_until('postgres', "SELECT pg_sleep(3) IS NOT NULL"), 'some time goes by');
enqueue($node, $other, 1, 800, chunk => 50);
$node->safe_psql('postgres', "SELECT profenrich.drain('other', '20 s')");
is(pending($node, 'other'), 0, 'the other enrichment is delivered meanwhile');
is($node->safe_psql('postgres', "SELECT state FROM profenrich.worker_status"), 'running', 'the worker is not halted');
$session->query_safe('COMMIT');
$session->quit;
is($node->safe_psql('postgres', "SELECT profenrich.drain('churn', '30 s')"), 't', 'the one that waited goes on');
my $log = slurp_file($node->logfile);
unlike($log, qr/ERROR:.*lock timeout/, 'no try fills the log');
my $said = () = $log =~ /acknowledging waits for a lock that another session holds/g;
ok($said >= 1 && $said <= 2, 'that it waits is said') or diag("$said times");

# A chunk whose time has come is not overtaken for ever by those behind it.
$node->safe_psql('postgres', "ALTER SERVER aep OPTIONS (SET requests_per_second '4'); SELECT profenrich.pause('churn')");
my $version = enqueue($node, $id, 16, 16);
$node->safe_psql('postgres', "UPDATE profenrich.outbox SET not_before = now() + interval '3 s' WHERE enrichment_id = $id");
enqueue($node, $id, 1, 1);
$node->safe_psql('postgres', "
	INSERT INTO profenrich.profile_score (enrichment_id, profile_key, version, hash, changed_at, value)
		SELECT $id, 'L-' || i || '-' || k, $version, i, now(), '{}' FROM generate_series(1, 60) i, generate_series(1, 300) k;
	INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys)
		SELECT $id, 0, $version, array_agg('L-' || i || '-' || k) FROM generate_series(1, 60) i, generate_series(1, 300) k GROUP BY i");
$node->safe_psql('postgres', "SELECT profenrich.resume('churn')");
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM profenrich.outbox WHERE 'K-16' = ANY (profile_keys))"), 'the early chunk is sent');
cmp_ok(pending($node, 'churn'), '>', 0, 'before all that came later');
$node->safe_psql('postgres', "ALTER SERVER aep OPTIONS (SET requests_per_second '500')");
wait_until($node, done('churn'), 'and the others');

$node->stop;
done_testing();
