# Crashes while 50,000 scores are being sent: the worker by SIGTERM and SIGKILL, the postmaster by an immediate stop,
# the platform. Afterwards its journal is compared with what was to be sent. DROP DATABASE, at the end, meanwhile.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StandIn;
use Time::HiRes qw(time);
use Queue;

my $keys = 50_000;
my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.poll_interval = 1\nrestart_after_crash = on\nfsync = on\n");
$platform->install($node);
$node->start;
my $id = set_up_enrichment($node, $platform, 'churn', messages_per_second => 10000, requests_per_second => 500);

# Until the platform has accepted that many; sending goes on meanwhile.
sub wait_for_accepted
{
	my ($count) = @_;
	for (1 .. 1800)
	{
		return 1 if $platform->accepted >= $count;
		select undef, undef, undef, 0.1;
	}
	return 0;
}

# The view's numbers must add up to what was queued, at any time.
sub truth
{
	my ($name) = @_;
	is($node->safe_psql('postgres', "SELECT pending + accepted + superseded + dead FROM profenrich.enrichment_status"), $keys,
		"$name: pending, accepted, superseded and dead add up");
	return;
}

enqueue($node, $id, 1, $keys);
my @crashes = (
	[SIGTERM => sub {
		my $pid = worker_pid($node);
		my $since = time;
		kill 'TERM', $pid;
		$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
		cmp_ok(time - $since, '<', 2, 'gone within two seconds, in the middle of sending') }],
	['stand-in killed' => sub { $platform->restart }],
	[SIGKILL => sub { kill 'KILL', worker_pid($node); $node->poll_query_until('postgres', 'SELECT true') }],
	['immediate stop' => sub { $node->stop('immediate'); $node->start }],
	['stand-in killed again' => sub { $platform->kill9; truth('while the platform is away'); $platform->start }],
	['SIGTERM again' => sub { $node->safe_psql('postgres', 'SELECT pg_terminate_backend(pid) FROM profenrich.worker_status') }],
);
my $at = 0;
for my $crash (@crashes)
{
	$at += 6000;
	ok(wait_for_accepted($at), "$at accepted");
	$crash->[1]->();
	ok($node->poll_query_until('postgres', 'SELECT true'), "$crash->[0]: the server answers");
	truth($crash->[0]);
}
wait_until($node, 'SELECT pending = 0 FROM profenrich.enrichment_status', 'everything is delivered');
truth('at the end');
compare_with_journal($node, $platform, $id, 'churn', @crashes * 16 * 500);
is($platform->journal_summary->{identities}, $keys, 'every profile is there');
is($node->safe_psql('postgres', 'SELECT count(*) FROM profenrich.dead_letter'), 0, 'none is dead');
is($node->safe_psql('postgres', 'SELECT count(*) FROM profenrich.retry'), 0, 'none waits');

# DROP DATABASE while the worker sends.
$node->safe_psql('postgres', 'CREATE DATABASE doomed');
$platform->connect_server($node, 'aep', database => 'doomed', messages_per_second => 10000);
$node->safe_psql('doomed', "CREATE TABLE scores (crm_id text, score float8, band text);
	SELECT profenrich.create_enrichment('churn', server => 'aep', source => 'scores', identity_column => 'crm_id', namespace => 'CRMID');
	SELECT * FROM profenrich.provision('churn');");
$platform->fault(path => '/collection/batch/', method => 'POST', action => { delay_ms => 2000 });
enqueue($node, 1, 1, 3000, database => 'doomed');
ok($node->poll_query_until('doomed', 'SELECT requests_in_flight > 0 FROM profenrich.worker_status'), 'requests are under way');
is(($node->psql('postgres', 'DROP DATABASE doomed'))[0], 0, 'DROP DATABASE works while the worker sends');
unlike(slurp_file($node->logfile), qr/PANIC|segmentation|signal 11|signal 6/i, 'no crash but those we made');
$node->stop;
done_testing();
