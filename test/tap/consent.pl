# What the options of an enrichment mean on the platform: whoever has not consented is never sent, whoever withdraws
# is cleared there, what is held back or held by the gate stays away, and what is released arrives.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StandIn;

my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('consent');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.poll_interval = 1\nprofenrich.resend_gap = 0\nclient_min_messages = error\n");
$platform->install($node);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION profenrich');
$platform->connect_server($node, 'aep', messages_per_second => 20000, requests_per_second => 500);
$node->safe_psql('postgres', q{
	CREATE TABLE scores AS SELECT 'C-' || i AS crm_id, i % 100 AS score, CASE i % 4 WHEN 0 THEN 'n' WHEN 1 THEN NULL ELSE 'y' END AS personalize
	  FROM generate_series(1, 2000) AS i;
	SELECT profenrich.create_enrichment('asked', 'aep', 'scores', 'crm_id', 'CRMID', options =>
		'{"consent": "personalize = ''y''", "min_delta": {"score": 5}, "gate": true}');
	SELECT * FROM profenrich.provision('asked')});

# Refreshes, or releases, delivers, and returns what became of it and how many records the platform got.
sub deliver
{
	my ($function) = @_;
	my $outcome = $node->safe_psql('postgres', "SELECT outcome FROM profenrich.$function('asked')");
	$node->safe_psql('postgres', q{SELECT profenrich.drain('asked', '2 minutes')});
	my $accepted = $platform->accepted;
	$platform->forget_messages;
	return "$outcome $accepted";
}
sub attributes { return $platform->profile('CRMID', $_[0])->{_acme}{asked} }

$node->safe_psql('postgres', q{SELECT * FROM profenrich.refresh('asked'); SELECT profenrich.drain('asked', '2 minutes')});
$platform->journal_into($node, 'journal');
is($node->safe_psql('postgres', q{
	SELECT count(*), count(DISTINCT identity), bool_and(personalize = 'y'), bool_or(entity::text ~ 'personalize') FROM journal JOIN scores ON identity = crm_id}),
	'1000|1000|t|f', 'those who consented, once each, and not a word about the consent');
is(attributes('C-2')->{score}, 2, 'with their score');
$platform->forget_messages;

$node->safe_psql('postgres', q{UPDATE scores SET personalize = 'n' WHERE crm_id = 'C-2'; UPDATE scores SET score = score + 1 WHERE crm_id = 'C-3'});
$node->safe_psql('postgres', q{SELECT * FROM profenrich.refresh('asked'); SELECT profenrich.drain('asked', '2 minutes')});
is($platform->accepted, 1, 'a withdrawal is sent, a small change is not');
is_deeply(attributes('C-2'), { profileId => 'C-2' }, 'and clears the profile on the platform');
$platform->forget_messages;

$node->safe_psql('postgres', q{UPDATE scores SET score = score / 2});
is(deliver('refresh'), 'held 0', 'what moved too far is held');
is($node->safe_psql('postgres', q{SELECT state FROM profenrich.enrichment_status}), 'held', 'and the status says so');
is($node->safe_psql('postgres', q{SELECT profenrich.pause('asked'); SELECT state FROM profenrich.enrichment_status}), "\npaused", 'paused comes first');
$node->restart;
$node->safe_psql('postgres', q{SELECT profenrich.resume('asked')});
like(deliver('release'), qr/^queued [89]\d\d$/, 'released, it is sent, after a restart as before');
is($node->safe_psql('postgres', q{
	SELECT count(*) FROM scores s LEFT JOIN profenrich.profile_score p ON p.profile_key = s.crm_id AND NOT p.retracted
	 WHERE (personalize = 'y') IS TRUE AND abs((p.value ->> 'score')::int - score) < 5 IS NOT TRUE OR (personalize = 'y') IS NOT TRUE AND p.profile_key IS NOT NULL}),
	0, 'everybody has a value that is near enough, or none');

$node->stop;
done_testing();
