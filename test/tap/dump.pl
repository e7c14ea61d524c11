# pg_dump and restore: models (one of 600 MB), enrichments and what is not yet delivered
# arrive whole; no secret is in the dump; a restored copy does not send.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StandIn;

my $platform = StandIn->new;

sub new_node
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nfsync = off\nmax_wal_size = 4GB\n");
	$platform->install($node);
	$node->start;
	return $node;
}

my $node = new_node('original');
$platform->connect_server($node, 'aep');
$node->safe_psql('postgres', q{
	CREATE TABLE customers AS
		SELECT 'C-' || i AS crm_id, i % 60 AS tenure, (i * 7) % 100 AS visits, (ARRAY['basic', 'plus', 'pro'])[1 + i % 3] AS plan,
			   hashint4(i) % 100 < 60 - i % 60 AS churned FROM generate_series(1, 3000) AS i;
	SELECT * FROM profenrich.train('churn', 'propensity', 'customers', 'churned', options => '{"key": "crm_id", "trees": 20, "search": {"trials": 2, "folds": 2}}');
	CREATE VIEW scored AS SELECT crm_id, profenrich.predict('churn', c) AS probability FROM customers c;
	SELECT profenrich.create_enrichment('churnScore', 'aep', 'scored', 'crm_id', 'CRMID');
	SELECT * FROM profenrich.provision('churnScore');
	SELECT profenrich.pause('churnScore');
	SELECT * FROM profenrich.refresh('churnScore')});

# A model too big for one bytea: 38 parts of 16 MB, noise so that nothing compresses it away.
$node->safe_psql('postgres', q{
	INSERT INTO profenrich.model (name, owner, task) VALUES ('huge', 'postgres'::regrole, 'propensity');
	INSERT INTO profenrich.model_version (model, version, algorithm, task, objective, target, source, rows, options, features, metrics,
			evaluation, verdict, quality, seconds, memory_bytes, trained_by, artifact_bytes, artifact_checksum)
		SELECT 'huge', 1, algorithm, task, objective, target, source, rows, options, features, metrics, evaluation, verdict, quality,
			   seconds, memory_bytes, trained_by, 38 * 16777216, 'none' FROM profenrich.model_version LIMIT 1;
	INSERT INTO profenrich.model_artifact
		SELECT v.version_id, part, (SELECT string_agg(sha256(int8send(part::bigint * 1000000 + i)), ''::bytea) FROM generate_series(1, 8192) AS i)
		FROM profenrich.model_version v, generate_series(0, 37) AS part WHERE v.model = 'huge';
	UPDATE profenrich.model_artifact a SET bytes = decode(repeat(encode(bytes, 'hex'), 64), 'hex')
		FROM profenrich.model_version v WHERE v.version_id = a.version_id AND v.model = 'huge'});

my %questions = (
	'models'      => "SELECT name, owner, task, deployed_version FROM profenrich.model ORDER BY 1",
	'versions'    => "SELECT model, version, metrics, artifact_checksum FROM profenrich.model_version ORDER BY 1, 2",
	'trials'      => "SELECT version_id, trial, options, mean, chosen FROM profenrich.search_trial ORDER BY 1, 2",
	'artifacts'   => "SELECT version_id, count(*), sum(octet_length(bytes)), md5(string_agg(md5(bytes), '' ORDER BY part)) FROM profenrich.model_artifact GROUP BY 1 ORDER BY 1",
	'predictions' => "SELECT md5(string_agg(profenrich.predict('churn', c)::text, ',' ORDER BY crm_id)) FROM customers c",
	'enrichments' => "SELECT name, owner, source, namespace FROM profenrich.enrichment",
	'targets'     => "SELECT tenant, dataset_id, inlet_url, sender_identity FROM profenrich.enrichment_target",
	'scores'      => "SELECT count(*), md5(string_agg(profile_key || value::text || version || changed_at, ',' ORDER BY profile_key)) FROM profenrich.profile_score",
	'outbox'      => "SELECT count(*), sum(cardinality(profile_keys)), max(chunk_id) FROM profenrich.outbox",
	'runs'        => "SELECT run_id, kind, changed, outcome, measures FROM profenrich.run",
	'numbers'     => "SELECT state, attribute, edges, counts, missing FROM profenrich.attribute_distribution",
);
my %before = map { $_ => $node->safe_psql('postgres', $questions{$_}) } keys %questions;
cmp_ok($node->safe_psql('postgres', 'SELECT sum(octet_length(bytes)) FROM profenrich.model_artifact'), '>', 600e6, 'the models are past 600 MB');

my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-f', $dump, 'postgres' ], 'pg_dump');
my $leaks = 0;
open my $file, '<', $dump or die $!;
while (<$file>) { $leaks++ if index($_, $StandIn::SECRET) >= 0 }
close $file;
is($leaks, 0, 'no secret in the dump');

my $copy = new_node('copy');
$copy->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $copy->host, '-p', $copy->port, '-f', $dump, 'postgres' ], 'restore');
unlink $dump;
is($copy->safe_psql('postgres', $questions{$_}), $before{$_}, "$_ arrived") for sort keys %questions;

# What numbers rows goes on where it was.
$copy->safe_psql('postgres', q{
	SELECT * FROM profenrich.train('churn', 'propensity', 'customers', 'churned', options => '{"key": "crm_id", "trees": 5}');
	SELECT profenrich.create_enrichment('another', 'aep', 'scored', 'crm_id', 'CRMID')});
is($copy->safe_psql('postgres', "SELECT max(version) FROM profenrich.model_version WHERE model = 'churn'"), 2, 'the next version follows');

# The copy is another cluster: it is blocked until adopted, and sends nothing.
$copy->safe_psql('postgres', "SELECT profenrich.resume('churnScore')");
ok($copy->poll_query_until('postgres', "SELECT state = 'blocked: identity' FROM profenrich.enrichment_status WHERE enrichment = 'churnScore'"),
	'the copy is blocked by its identity');
is($platform->accepted, 0, 'and has sent nothing');
$copy->safe_psql('postgres', "SELECT profenrich.adopt('churnScore'); SELECT profenrich.resume('churnScore'); SELECT profenrich.drain('churnScore')");
is($platform->journal_summary->{identities}, 3000, 'adopted, it delivers what the original had queued');

$copy->stop;
$node->stop;
$platform->stop;
done_testing();
