# What plan() says is what the worker then does: requests, messages and bytes to the last one, streamed to the
# stand-in platform, or sent by batch.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StandIn;

my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('plan');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.poll_interval = 1\nprofenrich.ready_after = 0\nprofenrich.resend_gap = 0\n");
$platform->install($node);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION profenrich');
$platform->connect_server($node, 'aep', messages_per_second => 20000, requests_per_second => 500);
$node->safe_psql('postgres', q{
	CREATE TABLE scores AS SELECT 'C-' || i AS crm_id, i / 7.0::float8 AS probability, CASE WHEN i % 50 = 0 THEN repeat('ä"', 12000) END AS note
	  FROM generate_series(1, 3000) AS i;
	SELECT profenrich.create_enrichment('planned', 'aep', 'scores', 'crm_id', 'CRMID', options => '{"on_absent": "retract"}');
	SELECT * FROM profenrich.provision('planned')});

sub compare
{
	my ($name) = @_;
	my $plan = $node->safe_psql('postgres', q{SELECT string_agg(value, '|' ORDER BY item) FROM profenrich.plan('planned') WHERE item IN ('bytes', 'messages', 'requests')});
	like($plan, qr/^\d+\|[1-9]\d*\|[1-9]\d*$/, "$name: something is planned");
	is($platform->accepted, 0, "$name: planning sends nothing");
	$node->safe_psql('postgres', q{SELECT * FROM profenrich.refresh('planned')});
	is($node->safe_psql('postgres', q{SELECT profenrich.drain('planned', '2 minutes')}), 't', "$name: delivered");
	is($node->safe_psql('postgres', q{SELECT sum(bytes) || '|' || sum(messages) || '|' || count(*) FROM profenrich.delivery_log}), $plan, "$name: as planned");
	$platform->forget_messages;
	$node->safe_psql('postgres', 'TRUNCATE profenrich.delivery_log');
	return;
}

compare('everything, some records of 40 kB');
$node->safe_psql('postgres', q{UPDATE scores SET probability = probability + 1 WHERE crm_id ~ '7$'; DELETE FROM scores WHERE crm_id ~ '99$'});
compare('some changed, some retracted');
is($node->safe_psql('postgres', q{SELECT value FROM profenrich.plan('planned') WHERE item = 'messages'}), 0, 'then there is nothing to do');

# The same by batch: files without envelopes.
$node->safe_psql('postgres', q{SELECT profenrich.alter_enrichment('planned', options => '{"on_absent": "retract", "mode": "batch"}');
	UPDATE scores SET probability = probability + 1; DELETE FROM scores WHERE crm_id ~ '88$'});
my $plan = $node->safe_psql('postgres', q{SELECT string_agg(value, '|' ORDER BY item) FROM profenrich.plan('planned') WHERE item IN ('bytes', 'files', 'messages')});
$node->safe_psql('postgres', q{SELECT * FROM profenrich.refresh('planned')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM profenrich.batches WHERE state = 'done'}), 'a batch lands');
is($node->safe_psql('postgres', q{SELECT bytes || '|' || files || '|' || records FROM profenrich.batches}), $plan, 'its files are as planned');

$node->stop;
done_testing();
