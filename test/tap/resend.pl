# Sent again on request: the platform gets the same value once more, and profile_status() follows a profile from
# the queue to its acceptance, through a retry and a refusal.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Queue;
use StandIn;

my $platform = StandIn->new;
my $node     = PostgreSQL::Test::Cluster->new('resend');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.resend_gap = 0\n");
$platform->install($node);
$node->start;
my $id = set_up_enrichment($node, $platform, 'churn');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub status { return sql("SELECT $_[1] FROM profenrich.profile_status('churn', '$_[0]')") }

sub journal
{
	$platform->journal_into($node, 'journal');
	return sql('SELECT count(*), count(DISTINCT identity), count(DISTINCT (identity, entity -> \'_acme\')) FROM journal');
}

sql("SELECT profenrich.pause('churn'); INSERT INTO scores SELECT 'K-' || i, i, 'b' FROM generate_series(1, 1000) i;
	SELECT changed FROM profenrich.refresh('churn')");
like(status('K-1', 'state, why'), qr/^queued\|state of the enrichment: paused$/, 'queued, and the enrichment paused');
sql("SELECT profenrich.resume('churn'); SELECT profenrich.drain('churn')");
is(status('K-1', 'state, accepted_at BETWEEN changed_at AND now()'), 'accepted|t', 'then accepted, and when');
is(journal(), '1000|1000|1000', 'everybody once');

is(sql("SELECT profenrich.resend('churn', ARRAY['K-1', 'K-2', 'K-3'])"), 3, 'three again');
sql("SELECT profenrich.drain('churn')");
is(journal(), '1003|1000|1000', 'the same three values, with the time they were scored at');
is(sql("SELECT profenrich.resend('churn')"), 1000, 'all again');
sql("SELECT profenrich.drain('churn')");
is(journal(), '2003|1000|1000', 'and they came');
is(sql("SELECT count(*) FROM profenrich.outbox"), 0, 'the queue is empty');

# An outage, one that fails by itself for a while, and one that is refused.
$platform->fault(path => '/collection/', action => { status => 503 });
sql("SELECT profenrich.resend('churn', ARRAY['K-4'])");
wait_until($node, "SELECT state = 'queued' AND why LIKE 'the last request failed: %' FROM profenrich.profile_status('churn', 'K-4')",
	'in an outage it stays queued, and the error is told');
$platform->clear_faults;
sql("SELECT profenrich.resume('churn'); SELECT profenrich.drain('churn')");
is(status('K-4', 'state'), 'accepted', 'and is accepted in the end');
$platform->fault(path => '/collection/', action => { entries => { statuses => { 0 => 503 } } });
sql("SELECT profenrich.resend('churn', ARRAY['K-4'])");
wait_until($node, "SELECT state = 'retrying' AND http_status = 503 AND attempts >= 1 AND next_try_at IS NOT NULL
	FROM profenrich.profile_status('churn', 'K-4')", 'one that failed by itself is retried');
$platform->clear_faults;
sql("SELECT profenrich.resume('churn'); SELECT profenrich.drain('churn')");
is(status('K-4', 'state'), 'accepted', 'and is accepted too');
$platform->fault(path => '/collection/', action => { entries => { statuses => { 0 => 400 } } });
sql("SELECT profenrich.resend('churn', ARRAY['K-5'])");
wait_until($node, "SELECT state = 'refused' AND why IS NOT NULL FROM profenrich.profile_status('churn', 'K-5')", 'a bad one is refused');
$platform->clear_faults;
is(sql("SELECT profenrich.resend('churn', ARRAY['K-5'])"), 1, 'a refused one can be sent again');
sql("SELECT profenrich.drain('churn')");
is(status('K-5', 'state'), 'accepted', 'and is accepted');

# Cleared, some.
is(sql("SELECT profenrich.retract('churn', ARRAY['K-6', 'nobody'])"), 1, 'one is cleared');
sql("SELECT profenrich.drain('churn')");
is($platform->profile('CRMID', 'K-6')->{_acme}{churn}{score}, undef, 'its attributes are gone');
is($platform->profile('CRMID', 'K-7')->{_acme}{churn}{score}, 7, 'those of others are not');

$node->stop;
$platform->stop;
done_testing();
