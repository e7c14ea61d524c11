# Figures for monitoring: what metrics() says is what the tables hold, metrics_text() is what Prometheus' own parser
# reads, and each metric that the files of contrib/monitoring use exists. Cheap, with a large queue as well.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use Queue;
use StandIn;

my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('metrics');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.poll_interval = 1\n");
$platform->install($node);
$node->start;
my $id = set_up_enrichment($node, $platform, 'churnScore');
wait_until($node, "SELECT count(*) = 1 FROM profenrich.worker_status WHERE state = 'running'", 'the worker runs');
enqueue($node, $id, 1, 1200);
wait_until($node, "SELECT pending = 0 FROM profenrich.enrichment_status", 'all is sent');
$node->safe_psql('postgres', q{
	SELECT profenrich.pause('churnScore');
	CREATE TABLE customers AS SELECT 'C-' || i AS id, i % 50 AS visits, i % 50 > 25 + hashint4(i) % 9 AS bought FROM generate_series(1, 1000) i;
	SELECT * FROM profenrich.train('buys', source => 'customers', target => 'bought', algorithm => 'logistic', options => '{"key": "id"}')});
enqueue($node, $id, 1, 700);

sub metric
{
	my ($name, $labels) = @_;
	return $node->safe_psql('postgres', "SELECT value FROM profenrich.metrics() WHERE name = 'profenrich_$name' AND labels @> '" . ($labels // '{}') . "'");
}
my $of = '{"enrichment": "churnScore"}';
is(metric('worker_up'), '1', 'the worker is up');
is(metric('accepted_total', $of), '1200', 'accepted, as the journal has it');
is($platform->accepted, 1200, 'which was asked');
is(metric('queued_profiles', $of), '700', 'queued');
is(metric('enrichment_state', '{"state": "paused"}'), '1', 'the state is a label');
cmp_ok(metric('oldest_pending_age_seconds', $of), '>', 0, 'age of the oldest');
is(metric('model_version', '{"model": "buys"}'), '1', 'the deployed version');
wait_until($node, "SELECT value = 1200 FROM profenrich.metrics() WHERE name = 'profenrich_worker_accepted_total'", 'the worker\'s own count');
is(metric('table_bytes', '{"table": "profile_score"}'), $node->safe_psql('postgres', "SELECT pg_total_relation_size('profenrich.profile_score')"), 'size of a table');
cmp_ok(abs(metric('worker_heartbeat_timestamp_seconds') - time), '<', 60, 'Unix time');
is(metric('health_ok', '{"check": "worker"}'), '1', 'a check of health()');

# Labels that need escaping, and a check of the whole by Prometheus' parser. A connection of 0.1.0 may hold such a name.
$node->safe_psql('postgres', q{UPDATE profenrich.enrichment SET name = E'a "quoted\\\\\nname'});
my $file = $node->basedir . '/metrics.txt';
append_to_file($file, $node->safe_psql('postgres', 'SELECT profenrich.metrics_text()') . "\n");
my $contrib = "$FindBin::RealBin/../../contrib/monitoring";
my ($out, $err) = ('', '');
IPC::Run::run([ '/usr/bin/python3', "$FindBin::RealBin/metrics_check.py", $file, $contrib ], '>', \$out, '2>', \$err);
is($err, '', 'the exposition and all files parse');
my $found = JSON::PP::decode_json($out);
my $rows = JSON::PP::decode_json($node->safe_psql('postgres',
	"SELECT jsonb_agg(jsonb_build_object('name', name, 'labels', labels, 'type', type, 'help', help)) FROM profenrich.metrics()"));
my $canonical = JSON::PP->new->canonical;
sub without_value { my ($s) = @_; return $canonical->encode({ map { $_ => $s->{$_} } qw(name labels type help) }) }
my @text = sort map { without_value($_) } @{ $found->{samples} };
my @rows = sort map { without_value($_) } @$rows;
# The parser's families of counters go without _total, and so does nothing else of ours.
is_deeply(\@text, \@rows, 'metrics_text() holds the rows of metrics(), labels unescaped, types and help');
is(scalar(grep { $_->{name} !~ /_total$/ xor $_->{type} eq 'gauge' } @$rows), 0, 'what counts ends in _total, what does not is a gauge');
my %exists = map { $_->{name} => 1 } @$rows;
my $all = $node->safe_psql('postgres', q{SELECT string_agg(name, ' ' ORDER BY name) FROM (
	SELECT DISTINCT (regexp_matches(prosrc || pg_get_functiondef(oid), '''(profenrich_\w+)''', 'g'))[1] AS name FROM pg_proc WHERE proname = 'metrics' AND pronamespace = 'profenrich'::regnamespace) x});
is(join(' ', sort map { $_->{metric_name} } @{ $found->{collector} }), $all, 'the collector has each metric that has a help');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT v.name, ' ') FROM profenrich.metric_values v WHERE v.name NOT IN (SELECT name FROM profenrich.metrics())}), '', 'and each value has one');
my %known = map { $_ => 1 } split / /, $all;
is_deeply([ grep { !$known{$_} } @{ $found->{used} } ], [], 'each metric of dashboard and alerts exists');
cmp_ok(scalar @{ $found->{used} }, '>', 15, 'of which there are some');
my %labels = map { $_ => 1 } map { keys %{ $_->{labels} } } @$rows;
is_deeply([ grep { !$labels{$_} } @{ $found->{labels} } ], [], 'so does each label');
ok($found->{balanced} && $found->{collector_is_named} && $found->{collector_is_found} && $found->{panels} == $found->{panel_ids}, 'expressions close what they open, files find each other');
# The collector's queries, as the role that the example names; their columns are the labels they say.
$node->safe_psql('postgres', 'CREATE ROLE monitor LOGIN IN ROLE profenrich_reader, pg_monitor');
for my $metric (@{ $found->{collector} })
{
	my $name = $metric->{metric_name};
	my $got = $node->safe_psql('postgres', "SELECT count(*), string_agg(x::text, ' ') FROM (SELECT to_jsonb(q) - 'value' AS x FROM (" .
		"$metric->{query}) q ORDER BY 1 LIMIT 1) y", extra_params => [ '-U', 'monitor' ]);
	my ($example) = grep { $_->{name} eq $name } @$rows;
	next unless $example;
	my ($count, $labels) = split /\|/, $got, 2;
	is(join(',', sort keys %{ JSON::PP::decode_json($labels) }), join(',', sort keys %{ $example->{labels} }), "labels of $name");
	is(join(',', sort @{ $metric->{key_labels} // [] }), join(',', sort keys %{ $example->{labels} }), 'as the collector says');
	is("$metric->{type} $metric->{help}", "$example->{type} $example->{help}", 'with type and help');
}

# Cheap: a million values and dead letters beyond the bound do not make it slow.
$node->safe_psql('postgres', "
	INSERT INTO profenrich.profile_score (enrichment_id, profile_key, version, hash, changed_at, value)
		SELECT $id, 'L-' || i, 1, i, now(), '{}' FROM generate_series(1, 300000) i;
	INSERT INTO profenrich.dead_letter (enrichment_id, profile_key, shard, version, class)
		SELECT $id, 'L-' || i, i % 16, 1, 'key' FROM generate_series(1, 150000) i;
	ANALYZE profenrich.profile_score");
is(metric('dead_letters'), '100000', 'dead letters are counted to a bound');
my $start = time;
$node->safe_psql('postgres', 'SELECT profenrich.metrics_text()');
cmp_ok(time - $start, '<', 5, 'a scrape is quick: half a second, ten times that here');
unlike($node->safe_psql('postgres', "EXPLAIN SELECT * FROM profenrich.metric_values"), qr/Scan.* on profile_score/, 'and does not read the scores');
is($node->safe_psql('postgres', 'SELECT count(*) FROM profenrich.metrics()', extra_params => [ '-U', 'monitor' ]) > 20, 1, 'a reader may');
$node->stop;
done_testing();
