# A forgotten person leaves the platform's attributes and this database, whatever of it is on its way, and stays
# out of both: also of loads and refreshes that run at the same time, and after a dump and restore.
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
my $node     = PostgreSQL::Test::Cluster->new('forget');
$node->init;
$platform->install($node); # without a resend gap, unless said afterwards
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.resend_gap = '15min'\nclient_min_messages = warning\n");
$node->start;
my $id = set_up_enrichment($node, $platform, 'churn');

sub sql { return $node->safe_psql('postgres', $_[0]) }

# How many rows of our tables show a key.
sub traces
{
	my ($key) = @_;
	return sql("SELECT sum((xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s t WHERE t::text ~ %L', oid::regclass, '\\m$key\\M'),
			false, true, '')))[1]::text::int) FROM pg_class WHERE relnamespace = 'profenrich'::regnamespace AND relkind = 'r'");
}

sql("INSERT INTO scores SELECT 'K-' || i, i, 'b' FROM generate_series(1, 50) i; SELECT changed FROM profenrich.refresh('churn');
	SELECT profenrich.drain('churn')");
is($platform->profile('CRMID', 'K-7')->{_acme}{churn}{score}, 7, 'delivered');

# Within the resend gap the clearing record waits; nothing else of the person is left.
is(sql("SELECT rows FROM profenrich.forget('CRMID', 'K-7') WHERE object = 'attributes of enrichment churn'"), 1, 'a clearing record is queued');
is(traces('K-7'), 2, 'of the person there are a mark and a key in a chunk');
is(sql("SELECT state, value IS NULL FROM profenrich.profile_status('churn', 'K-7')"), 'waiting|t', 'which waits for the resend gap');
is(sql("SELECT changed, skipped FROM profenrich.refresh('churn')"), '0|1', 'a refresh skips the person');

# Its time comes: the platform is told, and the mark goes at once, whatever the gap.
sql('DELETE FROM profenrich.sent; UPDATE profenrich.outbox SET not_before = now(); SELECT profenrich.wake_worker()');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM profenrich.outbox'), 'the record is sent');
is($platform->profile('CRMID', 'K-7')->{_acme}{churn}{score}, undef, 'the platform shows no attribute');
is(traces('K-7'), 0, 'here nothing is left');
is(sql("SELECT state FROM profenrich.profile_status('churn', 'K-7')"), 'forgotten', 'but that the person is to stay out');

# A refresh that runs is waited for; what it queued is forgotten too.
my $refresh = $node->background_psql('postgres', on_error_stop => 1);
$refresh->query_safe("BEGIN; UPDATE scores SET score = score + 1 WHERE crm_id = 'K-8'; SELECT changed FROM profenrich.refresh('churn')");
my ($status, $out, $err) = $node->psql('postgres', "SET lock_timeout = '200ms'; SELECT * FROM profenrich.forget('CRMID', 'K-8')");
like($err, qr/lock timeout/, 'forget() does not pass a refresh by');
my $forget = $node->background_psql('postgres', on_error_stop => 1);
$forget->query_until(qr/begun/, "\\echo begun\nSELECT 'told ' || count(*) FROM profenrich.forget('CRMID', 'K-8');\n");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_locks WHERE relation = 'profenrich.forgotten'::regclass AND NOT granted"), 'it waits');
$refresh->query_safe('COMMIT');
$refresh->quit;
like($forget->query_safe('SELECT 1'), qr/told/, 'and goes on after it');
$forget->quit;
is(sql("SELECT hash, value IS NULL FROM profenrich.profile_score WHERE profile_key = 'K-8'"), '-2|t', 'the new value is gone');

# A restored database knows whom to keep out.
my $dump = $node->basedir . '/dump.sql';
$node->run_log([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-f', $dump ]);
unlike(slurp_file($dump), qr/\bK-7\b(?!\t7\tb)/, 'a dump shows the person in the user\'s own table only');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->run_log([ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-d', 'restored', '-f', $dump ]);
is($node->safe_psql('restored', "SELECT changed, skipped FROM profenrich.refresh('churn')"), '0|2', 'a restored one keeps both out');

$node->stop;
$platform->stop;
done_testing();
