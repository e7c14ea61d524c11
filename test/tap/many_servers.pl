# One worker and many servers, each at a port of its own: it keeps within its share of the process's open files,
# gives connections back that nothing is sent by, and takes a lack of files for what it is.
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

my $SERVERS = $ENV{SERVERS} // 150;
my $KEYS = 4;

my $platform = StandIn->new;
# The worker may have a third of what the server finds that a process may open, about 300, for what is not the server's own files.
my $node = start_node($platform, 'many', "max_files_per_process = 300\n");
$node->safe_psql('postgres', 'CREATE EXTENSION profenrich; CREATE TABLE scores (crm_id text, score float8, band text)');
wait_until($node, "SELECT count(*) = 1 FROM profenrich.worker_status WHERE state = 'running'", 'the worker runs');
my $pid = worker_pid($node);
my @before = open_files();

# What the worker has open: sockets, and all.
sub open_files
{
	my @files = grep { defined } map { readlink } glob "/proc/$pid/fd/*";
	return (scalar(grep { /^socket:/ } @files), scalar @files);
}

sub prlimit { my ($limit) = @_; return system_log('prlimit', '--pid', $pid, "--nofile=$limit:") == 0 }

sub all_arrived
{
	return $node->safe_psql('postgres', 'SELECT count(*) FROM profenrich.enrichment_status WHERE pending = 0 AND accepted > 0') == $SERVERS;
}

my $set_up = '';
for my $number (1 .. $SERVERS)
{
	my $name = "s_$number";
	my $at = 'https://localhost:' . $platform->control('POST', '/ports', { kind => 'good' })->{port};
	$set_up .= $platform->server_sql($name) . "
		SELECT profenrich.create_enrichment('$name', server => '$name', source => 'scores', identity_column => 'crm_id', namespace => 'CRMID');
		SELECT count(*) FROM profenrich.provision('$name');
		ALTER SERVER $name OPTIONS (SET collection_url '$at');\n";
}
$node->safe_psql('postgres', $set_up);
my %id = map { split /\|/ } split /\n/, $node->safe_psql('postgres', 'SELECT name, enrichment_id FROM profenrich.enrichment');
is(scalar keys %id, $SERVERS, 'as many enrichments as servers');

# Of one value each, at once.
sub enqueue_all
{
	$node->safe_psql('postgres', "
		INSERT INTO profenrich.profile_score (enrichment_id, profile_key, version, hash, changed_at, value)
			SELECT enrichment_id, 'K-' || i, 1, i, now(), jsonb_build_object('score', 1, 'band', 'b')
			FROM profenrich.enrichment, generate_series(1, $KEYS) i;
		INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys)
			SELECT enrichment_id, shard, 1, array_agg('K-' || i) FROM profenrich.enrichment, generate_series(1, $KEYS) i, LATERAL (SELECT i % 16) s(shard)
			GROUP BY enrichment_id, shard;
		SELECT profenrich.wake_worker()");
	return;
}

# With room for one file more: neither for a secret nor for a connection.
my $free = 0;
$free++ while -l "/proc/$pid/fd/$free";
ok(prlimit($free + 1), 'the worker may open next to nothing');
enqueue_all();
wait_until($node, "SELECT NOT ok FROM profenrich.health() WHERE check_name = 'worker' AND detail = 'state: short of resources'", 'a lack of files is seen in health()');
wait_until($node, "SELECT count(*) > 0 FROM profenrich.enrichment_status WHERE last_error ~ 'Too many open files|no file descriptor'", 'and as the last error');
is($node->safe_psql('postgres', "SELECT count(*) FROM profenrich.enrichment_status WHERE state ~ 'blocked'"), 0, 'it blocks nothing');
ok(prlimit(1024), 'there is room again');

my ($sockets, $files) = (0, 0);
for (my $until = time + 180; time < $until && !all_arrived(); sleep 0.05)
{
	my ($now_sockets, $now_files) = open_files();
	$sockets = $now_sockets if $now_sockets > $sockets;
	$files = $now_files if $now_files > $files;
}
ok(all_arrived(), "all has arrived by $SERVERS servers");
is($platform->journal_summary->{accepted}, $SERVERS * $KEYS, 'once each');
cmp_ok($sockets, '>', 10, "by up to $sockets sockets");
cmp_ok($files, '<', 300, "with at most $files files open, its own of the server among them");
my @lines = slurp_file($node->logfile) =~ /the system is short of descriptors/g;
is(scalar @lines, 1, 'the log has said once that files were lacking');
is(worker_pid($node), $pid, 'it is the same worker');
check_worker_memory($node);

my $idle = 0;
for (my $until = time + 180; time < $until && !$idle; sleep 0.2)
{
	($sockets, $files) = open_files();
	$idle = $sockets <= $before[0];
}
ok($idle, "it has closed its connections when nothing was to be done: $sockets sockets, $files files");
check_logs($node, $platform);
$node->stop('fast');
done_testing();
