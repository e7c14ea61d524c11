# Query Service over libpq, in its place a PostgreSQL server with TLS: it caps nothing, so the cap is met by a result of that size.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use File::Copy qw(copy);
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StandIn;

my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('query');
$node->init;
$platform->install($node);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\nshared_preload_libraries = 'profenrich'\n");
$node->start;
$platform->connect_server($node, 'aep');

# The service: TLS only, the token its password.
my $service = PostgreSQL::Test::Cluster->new('service');
$service->init;
for my $file (qw(server-good.pem server-good.key))
{
	copy($platform->state . "/$file", $service->data_dir . "/$file") or die "$file: $!";
	chmod 0600, $service->data_dir . "/$file";
}
my $port = PostgreSQL::Test::Cluster::get_free_port();
$service->append_conf('postgresql.conf', "fsync = off\nlisten_addresses = 'localhost'\nssl = on\nssl_cert_file = 'server-good.pem'\nssl_key_file = 'server-good.key'\npassword_encryption = 'scram-sha-256'\n");
unlink $service->data_dir . '/pg_hba.conf';
$service->append_conf('pg_hba.conf', "local all all trust\nhostssl all \"$StandIn::ORG\" all scram-sha-256\n");
$service->start;
my $token = 'a-token-of-a-day';
$service->safe_psql('postgres', "CREATE DATABASE \"prod:all\"; CREATE ROLE \"$StandIn::ORG\" LOGIN PASSWORD '$token'");
$service->safe_psql('prod:all', "CREATE TABLE profile_snapshot AS SELECT i AS id, 'C-' || i AS crm_id, i * 0.5 AS score, i % 2 = 0 AS active,
	CASE WHEN i % 3 = 0 THEN NULL ELSE DATE '2026-01-01' + i % 300 END AS since, jsonb_build_object('plan', 'p' || i % 3, 'tags', jsonb_build_array('a', i)) AS _acme
	FROM generate_series(1, 120000) i; GRANT SELECT ON profile_snapshot TO PUBLIC");
sub access_by { my (%changed) = @_; $platform->settings(query => { host => 'localhost', port => $service->port, token => $token, %changed }); return }
access_by();

sub sql { return $node->safe_psql('postgres', "SET search_path = public, profenrich; $_[0]") }

sub failure
{
	my ($code, $out, $err) = $node->psql('postgres', "SET search_path = public, profenrich; $_[0]");
	return $code == 0 ? "no error: $out" : $err;
}

is(sql("SELECT snapshot_date, rows FROM load_query('aep', 'SELECT * FROM profile_snapshot WHERE id <= 10', 'profiles', snapshot_date => '2026-11-23')"), '2026-11-23|10', 'a result');
is(sql('SELECT id, crm_id, score, active, since, acme_plan, other->\'_acme\'->\'tags\' FROM profiles ORDER BY id LIMIT 3'),
	"1|C-1|0.5|f|2026-01-02|p1|[\"a\", 1]\n2|C-2|1|t|2026-01-03|p2|[\"a\", 2]\n3|C-3|1.5|f||p0|[\"a\", 3]", 'its rows, structs as by their paths');
is(sql("SELECT source, server FROM snapshots"), 'Query Service|aep', 'written down');
is(sql("SELECT rows FROM load_query('aep', 'SELECT * FROM profile_snapshot WHERE id <= 7', 'mapped', columns => '{\"key\": \"crm_id\", \"plan\": \"_acme.plan\"}')"), '7', 'with a mapping');
is(sql("SELECT plan FROM mapped WHERE key = 'C-5'"), 'p2', 'by path');
is(sql(q~SELECT rows FROM load_query('aep', E'SELECT E\'a\\nb "q"\' AS text, \'{not json\' AS brace, \'NaN\'::float8 AS nan, 12345678901234567890::numeric AS big', 'odd')~), '1', 'odd values');
is(sql('SELECT text = E\'a\nb "q"\', brace, big FROM odd'), "t|{not json|12345678901234567890", 'as they are');

# --- the cap ---

like(failure("SELECT load_query('aep', 'SELECT id FROM profile_snapshot WHERE id <= 50000', 'capped')"), qr/exactly 50000 rows.*\n.*rows may be missing.*\n.*LIMIT 0/, 'a result at the cap is refused');
is(sql("SELECT to_regclass('capped') IS NULL"), 't', 'and nothing is loaded');
is(sql("SELECT rows FROM load_query('aep', 'SELECT id FROM profile_snapshot WHERE id <= 49999', 'capped')"), '49999', 'one row less is not');
is(sql("SELECT rows FROM load_query('aep', 'SELECT id, score FROM profile_snapshot', 'paged', key => 'id')"), '120000', 'page by page');
is(sql('SELECT count(*), count(DISTINCT id), min(id), max(id) FROM paged'), '120000|120000|1|120000', 'each row once');
is(sql("SELECT rows FROM load_query('aep', 'SELECT crm_id FROM profile_snapshot;', 'paged_by_text', key => 'crm_id')"), '120000', 'by a text');
like(failure("SELECT load_query('aep', 'SELECT id / 2 AS id FROM profile_snapshot', 'x', key => 'id')"), qr/"id" to page by has a value twice/, 'a key that is not unique');
like(failure("SELECT load_query('aep', 'SELECT nullif(id, 3) AS id FROM profile_snapshot WHERE id < 9', 'x', key => 'id')"), qr/to page by has nulls/, 'one with nulls');
like(failure("SELECT load_query('aep', 'SELECT 1 AS a', 'x', key => 'id')"), qr/column "?id"? does not exist|no column "id" to page by/, 'one that is not there');
like(failure("SELECT load_query('aep', 'SELECT 1 AS id', 'x', key => 'id; DROP TABLE x')"), qr/plain name of a column/, 'one that is no name');

# --- trouble ---

like(failure("SELECT load_query('aep', 'SELECT nothing FROM profile_snapshot', 'x')"), qr/Query Service refused the query: column "nothing" does not exist\n.*Nothing was loaded/, 'an error of the service, in its words');
like(failure("SELECT load_query('aep', 'SELECT 1 AS a, 2 AS a', 'x')"), qr/two columns named "a"/, 'two columns of a name');
like(failure("SELECT load_query('aep', 'SELECT 1 AS a; SELECT 2 AS a', 'x')"), qr/not one SELECT/, 'two statements');
like(failure("SELECT load_query('aep', 'CREATE TEMP TABLE t (i int)', 'x')"), qr/not one SELECT/, 'no rows at all');
like(failure("SELECT load_query('aep', 'SELECT 1 AS a WHERE false', 'x')"), qr/has no rows/, 'an empty result');
access_by(token => 'expired');
like(failure("SELECT load_query('aep', 'SELECT 1 AS a', 'x')"), qr/could not connect to Query Service at localhost\n.*password authentication failed/, 'an expired token');
unlike(failure("SELECT load_query('aep', 'SELECT 1 AS a', 'x')"), qr/expired/, 'which no error shows');
access_by(host => '127.0.0.1');
like(failure("SELECT load_query('aep', 'SELECT 1 AS a', 'x')"), qr/does not allow host "127.0.0.1"/, 'a host that the secret file does not name');
access_by(host => 'localhost;evil');
like(failure("SELECT load_query('aep', 'SELECT 1 AS a', 'x')"), qr/does not say how to connect/, 'a host that is none');
access_by(port => PostgreSQL::Test::Cluster::get_free_port());
like(failure("SELECT load_query('aep', 'SELECT 1 AS a', 'x')"), qr/could not connect to Query Service/, 'nobody there');
access_by();
sql("ALTER SERVER aep OPTIONS (SET ca_file '" . $platform->ca_file . "')");
$service->safe_psql('postgres', 'ALTER SYSTEM SET ssl = off');
$service->restart;
like(failure("SELECT load_query('aep', 'SELECT 1 AS a', 'x')"), qr/could not connect to Query Service at localhost\n.*SSL/, 'never without TLS');
$service->safe_psql('postgres', 'ALTER SYSTEM RESET ssl');
$service->restart;
is(sql("SELECT rows FROM load_query('aep', 'SELECT 1 AS a', 'x')"), '1', 'a retry picks up');

# --- cancel; a connection that breaks ---

sub while_it_runs
{
	my ($act) = @_;
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
		"SELECT profenrich.load_query('aep', 'SELECT i FROM generate_series(1, 3) i, pg_sleep(600)', 'public.waiting')" ], '<', \undef, '>', \$out, '2>', \$err);
	$service->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^SELECT i FROM' AND state = 'active'") or die $err;
	$act->();
	$run->finish;
	return $err;
}
like(while_it_runs(sub { sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT profenrich.load_query'") }), qr/canceling statement due to user request/, 'a query is cancelled');
# The service has not noticed yet that nobody waits for it.
$service->safe_psql('postgres', "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE query ~ '^SELECT i FROM'");
like(while_it_runs(sub { $service->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT i FROM'") }), qr/Query Service refused the query: terminating connection|connection to Query Service broke/, 'a connection that breaks');
is(sql("SELECT to_regclass('waiting') IS NULL, (SELECT count(*) FROM pg_ls_tmpdir())"), 't|0', 'nothing is left behind');
like(failure("CREATE ROLE analyst IN ROLE profenrich_analyst; GRANT ALL ON SCHEMA public TO analyst; SET ROLE analyst; SELECT load_query('aep', 'SELECT 1 AS a', 'mine')"), qr/permission denied for foreign server aep/, 'USAGE on the server is needed');

$service->stop;
$node->stop;
done_testing();
