# refresh between sessions: the second one waits for the first and then sees its values;
# past lock_timeout it says that the enrichment is busy.
use strict;
use warnings;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run ();

my $node = PostgreSQL::Test::Cluster->new('refresh');
$node->init;
# "Not provisioned" is a notice, and a background session takes any for a failure.
$node->append_conf('postgresql.conf', "client_min_messages = warning\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION profenrich;
	CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id 'ABC@AdobeOrg');
	CREATE TABLE scores (crm_id text, score int);
	INSERT INTO scores SELECT 'C-' || i, 0 FROM generate_series(1, 1000) AS i;
	SELECT profenrich.create_enrichment('churn', 'aep', 'scores', 'crm_id', 'CRMID')});

# Two refreshes in one transaction each: the first holds the enrichment until it commits.
my $first = $node->background_psql('postgres', on_error_stop => 1);
$first->query_safe('BEGIN; SELECT * FROM profenrich.refresh(\'churn\')');

my ($status, $out, $err) = $node->psql('postgres', q{SET lock_timeout = '200ms'; SELECT * FROM profenrich.refresh('churn')});
isnt($status, 0, 'a second refresh does not get in');
like($err, qr/enrichment "churn" is busy/, 'and says why');

# One that waits long enough reads the source after the first has committed.
$node->safe_psql('postgres', 'UPDATE scores SET score = 1 WHERE crm_id = \'C-1\'');
my $second = $node->background_psql('postgres', on_error_stop => 1);
$second->query_until(qr/started/, "\\echo started\nSET lock_timeout = '60s';\nSELECT 'changed ' || changed FROM profenrich.refresh('churn');\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%changed%refresh%' AND state = 'active' AND pid <> pg_backend_pid()}), 'the second waits');
$node->safe_psql('postgres', 'UPDATE scores SET score = 2 WHERE crm_id = \'C-1\'');
$first->query_safe('COMMIT');
$first->quit;
is($second->query_safe('SELECT 1'), "changed 1\n1", 'then it queues the one change since');
$second->quit;
is($node->safe_psql('postgres', q{SELECT value FROM profenrich.profile_score WHERE profile_key = 'C-1'}), '{"score": 2}', 'with the newest value');

# Cancelled half way: nothing is queued.
$node->safe_psql('postgres', q{CREATE VIEW slow AS SELECT 'C-' || i AS crm_id, i AS score FROM generate_series(1, 100000000) AS i;
	SELECT profenrich.alter_enrichment('churn', source => 'slow'); TRUNCATE profenrich.outbox});
($status, $out, $err) = $node->psql('postgres', q{SET statement_timeout = '300ms'; SELECT * FROM profenrich.refresh('churn')});
like($err, qr/canceling statement due to statement timeout/, 'a refresh can be cancelled');
is($node->safe_psql('postgres', 'SELECT count(*) FROM profenrich.outbox'), 0, 'and leaves nothing behind');

$node->stop;
done_testing();
