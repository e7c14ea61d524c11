# Each silent death is a row of health(), and goes away with its cause; listeners hear of each change of state once.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Queue;
use StandIn;

my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('health');
$node->init(allows_streaming => 1);
$platform->install($node);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.poll_interval = 1\nmax_prepared_transactions = 2\n");
$node->start;

sub unwell { return "SELECT count(*) FROM profenrich.health() WHERE NOT ok AND check_name = '$_[0]'" }
sub becomes_well
{
	my ($check, $how) = @_;
	ok($node->poll_query_until('postgres', unwell($check), '0'), "$check: well again $how");
}
sub is_unwell
{
	my ($check, $pattern, $how) = @_;
	ok($node->poll_query_until('postgres', unwell($check), '1'), "$check: $how");
	like($node->safe_psql('postgres', "SELECT detail || ' ' || hint FROM profenrich.health() WHERE check_name = '$check'"), $pattern, "$check: says so");
}

# An older version's SQL under this library: nothing is sent, nobody crashes, and the update brings the worker.
$node->safe_psql('postgres', "CREATE EXTENSION profenrich VERSION '0.1.0'");
ok($node->poll_query_until('postgres', "SELECT state = 'outdated' FROM profenrich.worker_status"), 'the worker leaves a database of another version');
like(slurp_file($node->logfile), qr/nothing is sent for database \d+, whose extension is of version 0\.1\.0/, 'and the log says so');
my ($code, $out, $err) = $node->psql('postgres', 'SELECT profenrich.start_worker()');
like($err, qr/another version than the library/, 'start_worker() says so, too');
$node->safe_psql('postgres', 'ALTER EXTENSION profenrich UPDATE');
wait_until($node, "SELECT count(*) = 1 FROM profenrich.worker_status WHERE state = 'running'", 'the update brings the worker');
becomes_well('version', 'after the update');
my $id = set_up_enrichment($node, $platform, 'watched');
is($node->safe_psql('postgres', "SELECT string_agg(check_name || ': ' || detail, '; ') FROM profenrich.health() WHERE NOT ok"), '', 'nothing is unwell');

# Secret directory.
my $folder = $node->basedir . '/secrets';
chmod 0777, $folder;
is_unwell('secret directory', qr/writable by others/, 'a directory that others may write');
chmod 0700, $folder;
becomes_well('secret directory', 'with the mode');

# A session that sits in a transaction for hours, a prepared one, a slot that nobody reads: their times are not ours
# to make, so the bounds are tried on what the view reads.
$node->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('forgotten', true)");
is_unwell('old snapshots', qr/replication slot forgotten/, 'a slot that is not used');
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('forgotten')");
becomes_well('old snapshots', 'without the slot');

# Clock.
$node->safe_psql('postgres', "INSERT INTO profenrich.delivery_state (enrichment_id, last_success_at) VALUES ($id, now() + interval '1 day')
	ON CONFLICT (enrichment_id) DO UPDATE SET last_success_at = excluded.last_success_at");
is_unwell('clock', qr/is dated/, 'something is dated tomorrow');
$node->safe_psql('postgres', "UPDATE profenrich.delivery_state SET last_success_at = now()");
becomes_well('clock', 'without it');

# The job that refreshes went missing: runs came every ten minutes, and the last is two hours old.
$node->safe_psql('postgres', "INSERT INTO profenrich.run (enrichment_id, run_by, started_at, finished_at)
	SELECT $id, current_user::regrole, now() - interval '2 hours' - i * interval '10 minutes', now() FROM generate_series(5, 0, -1) i");
is_unwell('refresh of watched', qr/usually every 00:10:00/, 'a refresh that does not come');
$node->safe_psql('postgres', "INSERT INTO profenrich.run (enrichment_id, run_by) VALUES ($id, current_user::regrole)");
becomes_well('refresh of watched', 'when it does');

# Tomorrow's partition of the log.
my $tomorrow = $node->safe_psql('postgres', "SELECT 'delivery_log_' || to_char(timezone('UTC', now()) + interval '1 day', 'YYYYMMDD')");
wait_until($node, "SELECT to_regclass('profenrich.$tomorrow') IS NOT NULL", 'tomorrow has its partition');
$node->safe_psql('postgres', "ALTER EXTENSION profenrich DROP TABLE profenrich.$tomorrow; ALTER TABLE profenrich.delivery_log DETACH PARTITION profenrich.$tomorrow; DROP TABLE profenrich.$tomorrow");
is_unwell('delivery log ahead', qr/tomorrow has no partition/, 'tomorrow has none');

# What listeners hear: each change once, failures in between not.
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN profenrich');
my @heard;
sub heard
{
	my ($enough) = @_;
	for (1 .. 600)
	{
		my $said = $listener->query('SELECT 1');
		push @heard, map { JSON::PP::decode_json($_) } $said =~ /with payload "(\{.*?\})" received/g;
		last if grep { $_->{new} =~ $enough } @heard;
		select undef, undef, undef, 0.1;
	}
	my @all = splice @heard;
	return join ', ', map { "$_->{enrichment}: $_->{old} > $_->{new}" } @all;
}
$node->safe_psql('postgres', "SELECT profenrich.pause('watched'); SELECT profenrich.pause('watched'); SELECT profenrich.resume('watched')");
is(heard(qr/^active$/), 'watched: active > paused, watched: paused > active', 'NOTIFY: paused and resumed');
$platform->fault(path => '/collection/', action => { status => 404 });
enqueue($node, $id, 1, 5);
is(heard(qr/^blocked/), 'watched: active > blocked: configuration', 'NOTIFY: blocked');
is_unwell('enrichment watched', qr/blocked: configuration/, 'and health() has it');
# Probes that fail are no change.
$node->safe_psql('postgres', "SELECT profenrich.wake_worker()") for 1 .. 3;
is($node->safe_psql('postgres', "SELECT next_probe_at > now() FROM profenrich.enrichment_status"), 't', 'probes wait');
$platform->clear_faults;
$node->safe_psql('postgres', "SELECT profenrich.resume('watched')");
like(heard(qr/^active$/), qr/^watched: blocked: configuration > active$/, 'NOTIFY: no longer');
ok($node->poll_query_until('postgres', "SELECT pending = 0 FROM profenrich.enrichment_status"), 'and what waited is sent');

# An outage: the platform is there and cannot. A few failures are none; a worker that starts meanwhile changes nothing.
$platform->fault(path => '/collection/', count => 3, action => { status => 503 });
enqueue($node, $id, 1, 5);
ok($node->poll_query_until('postgres', "SELECT pending = 0 FROM profenrich.enrichment_status"), 'three failures in a row pass');
$platform->fault(path => '/collection/', action => { status => 503 });
enqueue($node, $id, 1, 5);
is(heard(qr/^outage$/), 'watched: active > outage', 'NOTIFY: an outage, and of the failures before nothing');
is_unwell('enrichment watched', qr/outage: the platform has not answered since \d{4}-.*: scripted, .*goes on by itself/, 'and health() has it');
is($node->safe_psql('postgres', "SELECT outage_since BETWEEN now() - interval '2 minutes' AND now() FROM profenrich.enrichment_status"), 't', 'the status since when');
is($node->safe_psql('postgres', "SELECT value FROM profenrich.metrics() WHERE name = 'profenrich_blocked'"), 1, 'monitoring, too');
$node->restart;
$listener->quit;
$listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN profenrich');
ok($node->poll_query_until('postgres', "SELECT requests > 2 FROM profenrich.worker_status"), 'another worker tries');
is($node->safe_psql('postgres', "SELECT state FROM profenrich.enrichment_status"), 'outage', 'it still is one');
$platform->clear_faults;
$node->safe_psql('postgres', "SELECT profenrich.resume('watched')");
is(heard(qr/^active$/), 'watched: outage > active', 'NOTIFY: over, once it answers');
ok($node->poll_query_until('postgres', "SELECT state = 'idle' AND outage_since IS NULL FROM profenrich.enrichment_status"), 'and what waited is sent');
# No token is an outage, too.
$platform->fault(path => '/ims/', action => { status => 503 });
$platform->expire_tokens;
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM profenrich.worker_status");
enqueue($node, $id, 1, 5);
is(heard(qr/^outage$/), 'watched: active > outage', 'NOTIFY: no token');
like($node->safe_psql('postgres', "SELECT why FROM profenrich.enrichment_status"), qr/has not answered since .*: no access token: .*503/, 'the status says so');
$platform->clear_faults;
$node->safe_psql('postgres', "SELECT profenrich.resume('watched')");
is(heard(qr/^active$/), 'watched: outage > active', 'NOTIFY: there is one again');
$listener->quit;
my $log = slurp_file($node->logfile);
is(scalar(() = $log =~ /enrichment "watched" is blocked/g), 1, 'the log has one line for the block');
is(scalar(() = $log =~ /enrichment "watched" is no longer blocked/g), 1, 'and one for its end, which resume() made');
is(join(' ', $log =~ /(outage of server "aep": nothing can be sent for enrichment "watched"|server "aep" answers again for enrichment "watched")/g),
	join(' ', ('outage of server "aep": nothing can be sent for enrichment "watched"', 'server "aep" answers again for enrichment "watched"') x 2), 'and for each outage two');
unlike($log, qr/$StandIn::SECRET/, 'and no secret');

# No process is free for a worker: the launchers of logical replication and of ours have both.
$node->append_conf('postgresql.conf', "max_worker_processes = 2\n");
$node->restart;
is_unwell('worker', qr/max_worker_processes/, 'no background worker slot is free');
$node->append_conf('postgresql.conf', "max_worker_processes = 8\n");
$node->restart;
becomes_well('worker', 'with more of them');
$node->stop;
done_testing();
