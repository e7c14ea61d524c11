# What happens to the processes and the cluster while the worker sends: crashes at random moments, no room for WAL,
# no worker process left, refreshes that do not commit, databases that come and go, a standby that takes over.
# FAULT_ROUNDS random crashes, by FAULT_SEED.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use StandIn;
use Queue;
use Faults;

my $platform = StandIn->new;
my $node = start_node($platform, 'life', "fsync = on\nprofenrich.sender_identity = 'production'\nprofenrich.resend_gap = 0\n", allows_streaming => 1);
my $pid_of_worker = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'profenrich worker' AND datname = 'postgres'";

my $terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'profenrich worker'";

sub sql { return $node->safe_psql('postgres', join ';', @_) }
sub accepted_more { my ($count) = @_; my $until = time + 60; sleep 0.02 until $platform->accepted >= $count || time > $until; return }

# ---- crashes at random moments -------------------------------------------------------------------------------

my $seed = $ENV{FAULT_SEED} // int(rand 1_000_000);
my $rounds = $ENV{FAULT_ROUNDS} // 6;
# Requests of an enrichment at a time: one for each shard.
my $in_flight = 16;
srand $seed;
note("FAULT_SEED=$seed");
my $keys = 2000 * $rounds;
my $panics = 0;
my %crashes = (
	'SIGTERM to the worker' => sub { kill 'TERM', split /\n/, sql($pid_of_worker) },
	'SIGKILL to the worker' => sub { kill 'KILL', split /\n/, sql($pid_of_worker); sleep 0.2 },
	'an immediate stop' => sub { $node->stop('immediate'); $node->start },
	'a fast stop' => sub { within(5, 'a fast stop while sending', sub { $node->stop('fast') }); $node->start },
	'the platform killed' => sub { $platform->restart },
	# The worker's next write of WAL fails, which is a panic for the whole server.
	'no room for WAL' => sub { $panics++; for my $pid (split /\n/, sql($pid_of_worker)) { IPC::Run::run([ 'prlimit', '--pid', $pid, '--fsize=1' ]) } sleep 0.3 },
);
my $random = { name => 'crashes at random moments', keys => $keys, chunk => 50, repeats => $rounds * $in_flight, server => { messages_per_second => 5000 } };
$random->{steps} = [ map { my $crash = (sort keys %crashes)[ $_ < keys %crashes ? $_ : int rand keys %crashes ];
	[ sub { $random->{next} //= time + 0.2 + rand 0.5; return time > $random->{next} } => sub {
		note($crash);
		$crashes{$crash}->();
		# The client may be turned away before it has read its question, and that is an exception.
		1 until eval { $node->poll_query_until('postgres', 'SELECT true'); 1 };
		delete $random->{next};
		$random->{crashes}++ } ] } 0 .. $rounds - 1 ];
run_faults($node, $platform, $random);
is($random->{crashes}, $rounds, "crashes: $rounds");
my $repeats = sql("SELECT $Faults::REPEATS) x WHERE again)");
cmp_ok($repeats, '<=', $rounds * $in_flight, "no more requests are repeated than were in flight at the crashes: $repeats");

# ---- refreshes that do not commit ----------------------------------------------------------------------------

sql("INSERT INTO scores SELECT 'R-' || i, 1, 'x' FROM generate_series(1, 1000) i");
my $id = set_up_enrichment($node, $platform, 'refreshed', messages_per_second => 20000, requests_per_second => 500);
my $done = "SELECT pending = 0 FROM profenrich.enrichment_status WHERE enrichment = 'refreshed'";
my $before = $platform->accepted;
sql("BEGIN; SELECT profenrich.refresh('refreshed'); ROLLBACK");
is(pending($node, 'refreshed'), 0, 'a refresh that is rolled back queues nothing');
sql("BEGIN; SELECT profenrich.refresh('refreshed'); PREPARE TRANSACTION 'refresh'");
is(pending($node, 'refreshed'), 0, 'one that is prepared queues nothing yet');
sql("ROLLBACK PREPARED 'refresh'");
is($platform->accepted, $before, 'and nothing when it is rolled back');
sql("BEGIN; SELECT profenrich.refresh('refreshed'); PREPARE TRANSACTION 'refresh'");
$node->stop('immediate');
$node->start;
sql("COMMIT PREPARED 'refresh'");
wait_until($node, $done, 'one that is committed by another session, after a crash, is delivered');
is($platform->accepted - $before, 1000, 'each value once');
$before = $platform->accepted;
sql("UPDATE scores SET score = 2");
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query("SELECT profenrich.refresh('refreshed')");
kill 'TERM', $session->query_safe('SELECT pg_backend_pid()');
eval { $session->quit };
is(pending($node, 'refreshed'), 0, 'a refresh whose session is terminated queues nothing');
is(sql("SELECT changed FROM profenrich.refresh('refreshed')"), 1000, 'the next one queues all');
wait_until($node, $done, 'which is delivered');
is($platform->accepted - $before, 1000, 'each value once');
sql("CREATE UNLOGGED TABLE lost AS SELECT * FROM scores; SELECT profenrich.alter_enrichment('refreshed', source => 'lost'); SELECT profenrich.refresh('refreshed')");
$node->stop('immediate');
$node->start;
like(($node->psql('postgres', "SELECT profenrich.refresh('refreshed')"))[2], qr/has no rows/, 'a source that a crash has emptied retracts nobody');
is(sql("SELECT count(*) FROM profenrich.profile_score WHERE enrichment_id = $id AND retracted"), 0, 'as the tables say');

# ---- two databases -------------------------------------------------------------------------------------------

my $dead = $platform->control('POST', '/ports', { kind => 'closed' })->{port};
sql('CREATE DATABASE second');
$platform->connect_server($node, 'aep', database => 'second', messages_per_second => 20000, requests_per_second => 500);
$node->safe_psql('second', "CREATE TABLE scores (crm_id text, score float8, band text);
	SELECT profenrich.create_enrichment('dead', server => 'aep', source => 'scores', identity_column => 'crm_id', namespace => 'CRMID'); SELECT * FROM profenrich.provision('dead');
	ALTER SERVER aep OPTIONS (SET collection_url 'https://localhost:$dead')");
enqueue($node, 1, 1, 1000, database => 'second');
wait_until($node, "SELECT breaker_open FROM profenrich.worker_status", 'one database\'s platform is dead: its breaker opens', 'second');
is($node->safe_psql('second', "SELECT ok FROM profenrich.health() WHERE check_name = 'servers'"), 'f', 'and health() has it');
run_faults($node, $platform, { name => 'the other database is not held up', keys => 2000 });
is($node->safe_psql('second', "SELECT pending, accepted FROM profenrich.enrichment_status"), '1000|0', 'nothing of the dead one is lost');
$platform->control('POST', "/ports/$dead", { kind => 'good' });
$node->safe_psql('second', "SELECT profenrich.resume('dead')");
wait_until($node, "SELECT pending = 0 FROM profenrich.enrichment_status", 'when it lives again it gets all', 'second');

# ---- databases and extensions that go while something is sent ------------------------------------------------

$platform->fault(path => '/collection/', method => 'POST', action => { delay_ms => 500 });
sub sending
{
	my ($database) = @_;
	enqueue($node, 1, 1, 3000, database => $database, chunk => 20);
	$node->poll_query_until($database, 'SELECT requests_in_flight > 0 FROM profenrich.worker_status');
	return;
}
sending('second');
within(5, 'ALTER DATABASE RENAME while sending', sub { is(($node->psql('postgres', 'ALTER DATABASE second RENAME TO other'))[0], 0, 'renamed') });
wait_until($node, 'SELECT pid IS NOT NULL FROM profenrich.worker_status', 'its worker comes back', 'other');
sending('other');
within(5, 'CREATE DATABASE with it as a template, while sending', sub { is(($node->psql('postgres', 'CREATE DATABASE copy TEMPLATE other'))[0], 0, 'copied') });
wait_until($node, "SELECT state = 'blocked: identity' OR pending > 0 FROM profenrich.enrichment_status", 'the copy has its own queue', 'copy');
within(5, 'DROP DATABASE', sub { is(($node->psql('postgres', 'DROP DATABASE copy'))[0], 0, 'dropped') });
wait_until($node, 'SELECT pid IS NOT NULL FROM profenrich.worker_status', 'the original\'s worker comes back', 'other');
sending('other');
within(5, 'DROP DATABASE while sending', sub { is(($node->psql('postgres', 'DROP DATABASE other'))[0], 0, 'dropped') });

# ---- a standby takes over ------------------------------------------------------------------------------------

$platform->clear_faults;
$node->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
my $moved = { name => 'a standby takes over', keys => 3000, server => { messages_per_second => 2000 }, repeats => $in_flight,
	steps => [ [ accepted => sub {
		my ($fault) = @_;
		$fault->{second} = 1;
		enqueue($node, $fault->{id}, 1, $fault->{keys} / 2, chunk => 50);
		$node->wait_for_catchup($standby);
		$node->stop('fast');
		$standby->promote;
		$fault->{node} = $standby } ] ] };
# The oracle asks whoever is the primary.
{
	no warnings 'redefine';
	my $asked = \&PostgreSQL::Test::Cluster::psql;
	local *PostgreSQL::Test::Cluster::psql = sub { my $self = shift; return $asked->($moved->{node} && $self == $node ? $moved->{node} : $self, @_) };
	run_faults($node, $platform, $moved);
}
check_logs($node, $platform, crashes => 1, panics => $panics);
check_logs($standby, $platform);
$standby->stop;

# ---- no process left, and binary upgrade ---------------------------------------------------------------------

my $full = start_node($platform, 'full', "max_worker_processes = 1\n");
$full->safe_psql('postgres', 'CREATE EXTENSION profenrich');
like(($full->psql('postgres', 'SELECT profenrich.start_worker()'))[2], qr/no background worker slot is free.*max_worker_processes/s, 'no worker process is left');
is($full->safe_psql('postgres', "SELECT ok FROM profenrich.health() WHERE check_name = 'worker'"), 'f', 'health() says so');
$full->append_conf('postgresql.conf', "max_worker_processes = 8\n");
$full->restart;
run_faults($full, $platform, { name => 'when there are some again' });

# ---- no connection left --------------------------------------------------------------------------------------

$full->append_conf('postgresql.conf', "max_connections = 12\nsuperuser_reserved_connections = 3\nmax_wal_senders = 0\n");
$full->restart;
$full->safe_psql('postgres', 'CREATE ROLE visitor LOGIN');
my @visitors;
run_in_turn($full, $platform, { name => 'all connections are taken, and the worker dies', repeats => $in_flight, steps => [
	[ accepted => sub {
		push @visitors, $full->background_psql('postgres', extra_params => [ '-U', 'visitor' ]) for 1 .. 9;
		like(($full->psql('postgres', 'SELECT 1', extra_params => [ '-U', 'visitor' ]))[2], qr/connection slots|too many/, 'no connection is left');
		$full->safe_psql('postgres', $terminate) } ],
	[ after(1) => sub { $_->quit for @visitors } ] ] });
$full->stop;
PostgreSQL::Test::Utils::system_or_bail('pg_ctl', '-w', '-D', $full->data_dir, '-l', $full->logfile, '-o', '-b', 'start');
is($full->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'profenrich%'"), 0, 'no process of ours in binary upgrade mode');
PostgreSQL::Test::Utils::system_or_bail('pg_ctl', '-w', '-D', $full->data_dir, '-m', 'fast', 'stop');

# ---- a disk that is full -------------------------------------------------------------------------------------

# The postmaster in a namespace of its own, where it has a file system of 4 MB for the queue: where the machine allows that.
my $narrow = start_node($platform, 'narrow');
$narrow->stop;
$narrow->append_conf('postgresql.conf', "profenrich.resend_gap = 1\n");
my $mount = $narrow->basedir . '/small';
mkdir $mount or die "$mount: $!";
my ($user, $group) = ($<, $( + 0);
my @in_namespace = ('unshare', '-r', '-m', 'sh', '-c',
	"mount -t tmpfs -o size=4m none \"\$0\" && exec unshare -U --map-user=$user --map-group=$group \"\$@\"", $mount);
SKIP:
{
	skip 'no namespaces or mounts for this user', 1 if !IPC::Run::run([ @in_namespace, 'true' ], '>', '/dev/null', '2>', '/dev/null');
	PostgreSQL::Test::Utils::system_or_bail(@in_namespace, 'pg_ctl', '-w', '-D', $narrow->data_dir, '-l', $narrow->logfile, 'start');
	$narrow->_update_pid(1);
	# The server's own view of the place, as the mount is nobody else's.
	my $in_server = sub { $narrow->psql('postgres', "COPY (SELECT 1) TO PROGRAM '$_[0]'") };
	$in_server->("mkdir $mount/space && chmod 700 $mount/space");
	$narrow->safe_psql('postgres', "CREATE EXTENSION profenrich");
	$narrow->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$mount/space'");
	$narrow->safe_psql('postgres', "ALTER TABLE profenrich.sent SET TABLESPACE small; ALTER TABLE profenrich.retry SET TABLESPACE small");
	run_in_turn($narrow, $platform, { name => 'the disk is full', keys => 4000, steps => [
		[ accepted => sub { $in_server->("cat /dev/zero > $mount/fill") } ],
		[ sub { $narrow->safe_psql('postgres', 'SELECT state FROM profenrich.worker_status') eq 'halted' } => sub {
			like(slurp_file($narrow->logfile), qr/No space left on device/, 'the disk is full, as the log says');
			is($narrow->safe_psql('postgres', "SELECT ok FROM profenrich.health() WHERE check_name = 'worker'"), 'f', 'and health()');
			$in_server->("rm $mount/fill") } ] ] });
	check_logs($narrow, $platform);
	within(5, 'a fast stop', sub { $narrow->stop('fast') });
}

# ---- a clock that jumps --------------------------------------------------------------------------------------

my ($faketime) = glob '/usr/lib/*/faketime/libfaketime.so.1';
SKIP:
{
	skip 'libfaketime is not here', 1 if !$faketime;
	my $jumping = start_node($platform, 'jumping');
	my $clock = $jumping->basedir . '/clock';
	my $set = sub { open my $file, '>', $clock or die "$clock: $!"; print {$file} "$_[0]\n"; close $file or die "$clock: $!"; return };
	$set->('+0');
	{
		local %ENV = (%ENV, LD_PRELOAD => $faketime, FAKETIME_TIMESTAMP_FILE => $clock, FAKETIME_NO_CACHE => 1, FAKETIME_DONT_FAKE_MONOTONIC => 1, FAKETIME_DISABLE_SHM => 1);
		$jumping->restart;
	}
	my $hours = "SELECT round(extract(epoch FROM clock_timestamp() - to_timestamp(%d)) / 3600)";
	run_in_turn($jumping, $platform, { name => 'a clock that jumps', via => [ [ '/collection/', every => 5, action => { entries => { status => 503, every => 3 } } ] ], steps => [
		[ accepted => undef ],
		(map { my $to = $_; [ after(0.3) => sub {
			$set->(sprintf '%+d', $to * 3600);
			is($jumping->safe_psql('postgres', sprintf $hours, time), $to, "the server's clock is $to hours ahead") } ] } 1, 30, 2, 5, 0),
		[ after(0.5) => \&heal ] ] });
	check_logs($jumping, $platform);
	within(5, 'a fast stop', sub { $jumping->stop('fast') });
}
done_testing();
