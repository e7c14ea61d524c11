# The life of launcher and workers: who starts them, what ends them, and what they never stand in the way of.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use Queue;

my $running = "SELECT count(*) = 1 FROM profenrich.worker_status WHERE state = 'running'";
my $no_process = "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'profenrich worker'";

# Runs SQL and returns its error text, or undef.
sub error_of
{
	my ($node, $sql, $database) = @_;
	my ($code, $out, $err) = $node->psql($database // 'postgres', $sql);
	return $code == 0 ? undef : $err;
}

# Without preloading.
{
	my $node = PostgreSQL::Test::Cluster->new('by_hand');
	$node->init;
	$node->start;
	like(error_of($node, 'BEGIN; CREATE EXTENSION profenrich; SELECT profenrich.start_worker();'), qr/does not see the extension.*Commit CREATE EXTENSION first/s,
		'a worker cannot see an extension that is not committed');
	$node->safe_psql('postgres', 'CREATE EXTENSION profenrich');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM profenrich.worker_status WHERE pid IS NOT NULL'), 0, 'no worker by itself');
	my $pid = $node->safe_psql('postgres', 'SELECT profenrich.start_worker()');
	is($node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'profenrich worker'"), $pid, 'start_worker() returns its process');
	is($node->safe_psql('postgres', 'SELECT profenrich.start_worker()'), $pid, 'and finds it the second time');
	is($node->safe_psql('postgres', 'SELECT epoch, pid FROM profenrich.sender'), "1|$pid", 'it has taken over as sender');
	ok($node->poll_query_until('postgres', "SELECT count(*) = 5 FROM pg_inherits WHERE inhparent = 'profenrich.delivery_log'::regclass"),
		'partitions of the log are made days ahead');
	ok($node->safe_psql('postgres', 'SELECT ok FROM profenrich.health() WHERE check_name = \'worker\'') eq 't', 'health() sees it');
	is($node->safe_psql('postgres', 'SELECT profenrich.stop_worker()'), 't', 'stop_worker() ends it');
	is($node->safe_psql('postgres', "SELECT state FROM profenrich.worker_status"), 'stopped', 'as the view says');
	is($node->safe_psql('postgres', 'SELECT profenrich.stop_worker()'), 'f', 'there is none to stop any more');
	$pid = $node->safe_psql('postgres', 'SELECT profenrich.start_worker()');
	my $since = time;
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_until($node, $no_process, 'SIGTERM ends it');
	cmp_ok(time - $since, '<', 2, 'within two seconds');
	$node->safe_psql('postgres', 'SELECT profenrich.start_worker(); DROP EXTENSION profenrich');
	wait_until($node, $no_process, 'DROP EXTENSION is not held up, and the worker leaves');
	$node->stop;
}

# Preloaded.
my $node = PostgreSQL::Test::Cluster->new('preloaded');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.poll_interval = 1\nmax_worker_processes = 12\nrestart_after_crash = on\n");
$node->start;
wait_until($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'profenrich launcher' AND datname IS NULL", 'the launcher runs, in no database');
$node->safe_psql('postgres', 'CREATE EXTENSION profenrich');
wait_until($node, $running, 'CREATE EXTENSION brings a worker');
my $pid = worker_pid($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_until($node, "SELECT count(*) = 1 FROM profenrich.worker_status WHERE state = 'running' AND pid <> $pid", 'one that ends is started again');
$node->safe_psql('postgres', 'BEGIN; SELECT profenrich.stop_worker(); ROLLBACK');
is($node->safe_psql('postgres', 'SELECT state FROM profenrich.worker_status'), 'stopped', 'but not one that was stopped, be it in a transaction that was rolled back');
$node->safe_psql('postgres', 'SELECT profenrich.start_worker()');
$node->safe_psql('postgres', 'DROP EXTENSION profenrich');
wait_until($node, $no_process, 'it leaves with the extension');
$node->safe_psql('postgres', 'CREATE EXTENSION profenrich');
wait_until($node, $running, 'and comes back with it');
$node->safe_psql('postgres', 'DROP EXTENSION profenrich; CREATE EXTENSION profenrich');
wait_until($node, "$running AND EXISTS (SELECT FROM profenrich.sender WHERE epoch > 0)", 'also when it was gone for a moment only');

# A role that the database's settings name is not the worker's.
$node->safe_psql('postgres', "CREATE ROLE powerless; ALTER DATABASE postgres SET role = powerless");
{
	local $ENV{PGOPTIONS} = '-c role=none';
	my $former = $node->safe_psql('postgres', 'SELECT pid FROM profenrich.worker_status');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($former)");
	wait_until($node, "SELECT count(*) = 1 FROM profenrich.worker_status WHERE state = 'running' AND pid <> $former",
		'a database whose settings name another role has its worker');
	$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET role; DROP ROLE powerless');
}

# Databases that come and go.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION profenrich');
wait_until($node, $running, 'a second database has its own worker', 'other');
$node->safe_psql('postgres', 'ALTER DATABASE other RENAME TO another');
pass('renaming a database works while its worker runs');
wait_until($node, $running, 'which comes back under the new name', 'another');
is(error_of($node, 'CREATE DATABASE copy TEMPLATE another'), undef, 'so does copying it');
wait_until($node, $running, 'the original\'s worker comes back', 'another');
wait_until($node, "SELECT count(*) >= 2 FROM pg_stat_activity WHERE backend_type = 'profenrich worker'", 'two databases have workers');
is(error_of($node, 'DROP DATABASE another'), undef, 'DROP DATABASE works while its worker runs');
$node->append_conf('postgresql.conf', "profenrich.databases = 'postgres'\n");
$node->reload;
$node->safe_psql('postgres', 'CREATE DATABASE unlisted');
$node->safe_psql('unlisted', 'CREATE EXTENSION profenrich');
is($node->safe_psql('unlisted', "SELECT pg_sleep(1); SELECT count(*) FROM profenrich.worker_status WHERE pid IS NOT NULL"), "\n0",
	'a database that profenrich.databases does not name has none');
is(error_of($node, 'DROP DATABASE unlisted'), undef, 'and is dropped');
$node->append_conf('postgresql.conf', "profenrich.databases = 'nothing_of_the_kind'\n");
$node->reload;
wait_until($node, $no_process, 'a worker leaves when its database is named no more');
$node->append_conf('postgresql.conf', "profenrich.databases = ''\n");
$node->reload;

# The log's partitions.
$node->safe_psql('postgres', "SELECT profenrich.stop_worker();
	CREATE TABLE profenrich.delivery_log_20200101 (LIKE profenrich.delivery_log INCLUDING ALL);
	ALTER TABLE profenrich.delivery_log ATTACH PARTITION profenrich.delivery_log_20200101 FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00');
	ALTER EXTENSION profenrich ADD TABLE profenrich.delivery_log_20200101;
	SELECT profenrich.start_worker()");
wait_until($node, "SELECT to_regclass('profenrich.delivery_log_20200101') IS NULL", 'a partition past its retention is dropped');

# Crashes.
wait_until($node, $running, 'the first database\'s worker runs');
$pid = worker_pid($node);
my $since = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
kill 'KILL', $pid;
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM profenrich.worker_status WHERE state = 'running' AND pid <> $pid"),
	'SIGKILL: the server restarts its processes, and the worker is back');
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $since, 'the postmaster stayed');
$node->stop('immediate');
$node->start;
wait_until($node, $running, 'after an immediate stop too');

# A standby.
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'profenrich%'"), 0, 'nothing runs on a standby');
like(error_of($standby, 'SELECT profenrich.start_worker()'), qr/a standby does not send/, 'nor can it be started there');
$node->stop;
$standby->promote;
wait_until($standby, $running, 'a promoted one gets its worker');
$standby->stop;

done_testing();
