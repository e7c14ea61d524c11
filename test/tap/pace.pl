# How the worker paces itself: connections are kept, HTTP/2 needs one, requests in flight grow with good answers and
# shrink with bad ones, and a long backlog takes no more memory than a short one. PACE_KEYS profiles in the backlog.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use StandIn;
use Queue;
use Faults;

my $platform = StandIn->new;
my $node = start_node($platform, 'pace', "fsync = off\n");
my $id = set_up_enrichment($node, $platform, 'churn', messages_per_second => 1_000_000, requests_per_second => 10_000);

# Keys of a chunk that goes by itself: smaller ones are put together.
my $ALONE = 260;

sub sql { return $node->safe_psql('postgres', join ';', @_) }
sub drain { return sql("SELECT profenrich.drain('churn', '5 min')") }

# A sink with the stand-in's certificate; the rest of the platform stays the stand-in. Returns its process and a
# function that asks it.
sub start_sink
{
	my (@how) = @_;
	my $state = $platform->state;
	my $port_file = "$state/sink.port";
	unlink $port_file;
	my $process = IPC::Run::start([ 'env', '-u', 'NODE_PATH', 'node', "$FindBin::RealBin/../bench/sink.mjs", "$state/server-good.key", "$state/server-good.pem", $port_file, @how ],
		'>', '/dev/null', '2>', "$state/sink.log");
	for (1 .. 300) { last if -s $port_file; sleep 0.1 }
	my $port = slurp_file($port_file);
	sql("ALTER SERVER aep OPTIONS (SET collection_url 'https://localhost:$port')");
	return ($process, sub {
		my $answer = '';
		IPC::Run::run([ 'env', "NODE_EXTRA_CA_CERTS=$state/ca.pem", 'node', '-e', "fetch('https://localhost:$port/$_[0]').then((r) => r.text()).then((t) => console.log(t))" ], '>', \$answer);
		return JSON::PP::decode_json($answer) });
}

# ---- HTTP/1.1 ----
enqueue($node, $id, 1, 20_000, chunk => 100);
drain();
is($platform->accepted, 20_000, 'all arrive');
my %connections = map { $_->{connection} => 1 } grep { $_->{target} =~ /collection/ } @{ $platform->requests };
cmp_ok(scalar keys %connections, '<=', 16, 'over HTTP/1.1 no more connections than requests in flight: ' . scalar keys %connections);

# ---- requests in flight ----
# How many of the requests since then were under way at the most, by the times they took.
sub most_at_once
{
	my (@requests) = @_;
	my ($now, $most) = (0, 0);
	for my $event (sort { $a->[0] <=> $b->[0] || $a->[1] <=> $b->[1] } map { ([ $_->{ms} - 1000 * $_->{seconds}, 1 ], [ $_->{ms}, -1 ]) } @requests)
	{
		$now += $event->[1];
		$most = $now if $now > $most;
	}
	return $most;
}
sub collections { return grep { $_->{target} =~ /collection/ } @{ $platform->requests } }

$platform->control('DELETE', '/counters');
sql('SELECT profenrich.stop_worker(); SELECT profenrich.start_worker()');
my $rule = $platform->fault(path => '/collection/', action => { delay_ms => 50 });
enqueue($node, $id, 1, 50_000, chunk => $ALONE);
drain();
my @seen = collections();
cmp_ok(most_at_once(@seen[0 .. 3]), '<=', 4, 'it begins with few requests at once: ' . most_at_once(@seen[0 .. 3]));
cmp_ok(most_at_once(@seen), '>', 8, 'and has more of them as they are answered well: ' . most_at_once(@seen));
cmp_ok(most_at_once(@seen), '<=', 16, 'never more than one a shard');
$platform->control('DELETE', '/counters');
$platform->clear_faults;
$platform->fault(path => '/collection/', count => 4, action => { status => 429, retry_after => 1, delay_ms => 50 });
$platform->fault(path => '/collection/', action => { delay_ms => 50 });
enqueue($node, $id, 1, 50_000, chunk => $ALONE);
drain();
@seen = collections();
my ($last_refused) = grep { $seen[$_]{status} == 429 } reverse 0 .. $#seen;
my @after = grep { $_->{status} != 429 && $_->{ms} - 1000 * $_->{seconds} > $seen[$last_refused]{ms} + 500 } @seen;
cmp_ok(most_at_once(@after[0 .. 4]), '<', 16, 'after 429 there are fewer at once: ' . most_at_once(@after[0 .. 4]));
$platform->clear_faults;

# ---- a long backlog ----
my ($sink, $ask) = start_sink('count');
my $keys = $ENV{PACE_KEYS} // 200_000;
sub memory { check_worker_memory($node, 1); open my $file, '<', '/proc/' . worker_pid($node) . '/status' or die $!; return (join('', <$file>) =~ /RssAnon:\s+(\d+) kB/)[0] }
enqueue($node, $id, 1, 20_000);
drain();
my $short = memory();
# Millions would go by batch.
sql("SELECT profenrich.alter_enrichment('churn', options => '{\"mode\": \"streaming\"}')");
enqueue($node, $id, 1, $keys);
my $most = 0;
until (pending($node, 'churn') == 0)
{
	my $now = memory();
	$most = $now if $now > $most;
	sleep 0.1;
}
cmp_ok($most, '<', $short + 16 * 1024, "a backlog of $keys keys takes no more memory than one of 20,000: at most $most kB, after the short one $short kB");
check_worker_memory($node);
is($ask->('count')->{messages}, $keys + 20_000, 'all arrived');
$sink->kill_kill;

# ---- HTTP/2 ----
($sink, $ask) = start_sink('count', 'h2');
enqueue($node, $id, 1, 50_000);
drain();
my $count = $ask->('count');
is($count->{messages}, 50_000, 'over HTTP/2 all arrive');
is(join(',', keys %{ $count->{versions} }), '2.0', 'where it is offered, it is used');
# The second one is the question's.
cmp_ok($count->{connections}, '<=', 2, "by one connection: $count->{requests} requests");
$sink->kill_kill;
check_logs($node, $platform);
$node->stop;
done_testing();
