# Connecting to a platform: what each thing that can be wrong looks like, that the token is kept and renewed,
# and that the secret shows nowhere.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StandIn;

my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('connection');
$node->init;
$platform->install($node);
$node->append_conf('postgresql.conf', "log_min_messages = debug1\nlog_min_error_statement = error\nlog_statement = none\n");
$node->start;
$platform->connect_server($node, 'aep');

# The steps that were reached, "name ok" each, and the detail of the first that failed.
sub check
{
	my ($server, $settings) = @_;
	my $rows = $node->safe_psql('postgres', ($settings // '') .
		"SELECT step, ok, detail FROM profenrich.check_connection('$server') WHERE detail <> 'skipped'");
	my @steps = map { [ split /\|/, $_, 3 ] } split /\n/, $rows;
	my ($failed) = grep { $_->[1] eq 'f' } @steps;
	return (join(', ', map { $_->[0] } grep { $_->[1] eq 't' } @steps), $failed ? "$failed->[0]: $failed->[2]" : '');
}

my ($good, $wrong) = check('aep');
is($good, 'server and user mapping, secret, token, organisation and sandbox, identity namespaces, catalog, streaming host', 'all steps');
is($wrong, '', 'and none fails');

# Module and client start no thread that stays.
is($node->safe_psql('postgres', "SELECT count(*) > 0 FROM profenrich.identity_namespaces('aep');
	SELECT count(*) FROM pg_ls_dir('/proc/' || pg_backend_pid() || '/task')"), "t\n1", 'one thread, also after requests');
is($node->safe_psql('postgres', "LOAD 'profenrich'; SELECT count(*) FROM pg_ls_dir('/proc/' || pg_backend_pid() || '/task')"),
	'1', 'one thread after LOAD');

is($node->safe_psql('postgres', "SELECT code, custom FROM profenrich.identity_namespaces('aep') WHERE code IN ('ECID', 'Email') ORDER BY 1"),
	"ECID|f\nEmail|f", 'namespaces');
is($node->safe_psql('postgres', "SELECT count(*) FROM profenrich.datasets('aep')"), '0', 'no data sets yet');

# One token serves a session; a dead one is renewed once.
sub tokens { return scalar grep { $_->{target} =~ m{/ims/token} } @{ $platform->requests } }
my $before = tokens();
$node->safe_psql('postgres', "SELECT profenrich.identity_namespaces('aep'); SELECT profenrich.datasets('aep'); SELECT profenrich.datasets('aep')");
is(tokens() - $before, 1, 'one token for several calls');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe("SELECT count(*) FROM profenrich.datasets('aep')");
$platform->expire_tokens;
is($session->query_safe("SELECT count(*) FROM profenrich.datasets('aep')"), '0', 'an expired token is renewed');
$before = tokens();
$session->query_safe("SELECT count(*) FROM profenrich.datasets('aep')");
is(tokens(), $before, 'and then kept');
$node->safe_psql('postgres', "ALTER SERVER aep OPTIONS (SET sandbox 'dev')");
$session->query_safe("SELECT count(*) FROM profenrich.datasets('aep')");
is(tokens(), $before + 1, 'altering the server ends the session with it');
my ($last) = grep { $_->{target} =~ m{dataSets} } reverse @{ $platform->requests };
my ($sandbox) = map { $last->{headers}{$_} } grep { lc eq 'x-sandbox-name' } keys %{ $last->{headers} };
is($sandbox, 'dev', 'and the new sandbox is asked');
$node->safe_psql('postgres', "ALTER SERVER aep OPTIONS (SET sandbox 'prod')");
# A mapping dropped is a session lost, whatever token was held.
$node->safe_psql('postgres', "CREATE SERVER brief FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '$StandIn::ORG', platform_url '" . $platform->url . "', ims_url '" . $platform->url . "', collection_url '" . $platform->url . "', ca_file '" . $platform->ca_file . "');
	CREATE USER MAPPING FOR CURRENT_USER SERVER brief OPTIONS (client_id '$StandIn::CLIENT', secret_file 'standin')");
$session->query_safe("SELECT count(*) FROM profenrich.datasets('brief')");
$node->safe_psql('postgres', "DROP USER MAPPING FOR CURRENT_USER SERVER brief");
my ($code, $out, $err) = $node->psql('postgres', "SELECT * FROM profenrich.datasets('brief')");
like($err, qr/server "brief" has no user mapping/, 'no mapping, no call');
# Many servers in one session: idle ones are closed, file descriptors do not grow.
my $descriptors = "SELECT count(*) FROM pg_ls_dir('/proc/' || pg_backend_pid() || '/fd')";
for my $n (1 .. 8)
{
	$node->safe_psql('postgres', "CREATE SERVER many$n FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '$StandIn::ORG', platform_url '" . $platform->url . "', ims_url '" . $platform->url . "', collection_url '" . $platform->url . "', ca_file '" . $platform->ca_file . "');
		CREATE USER MAPPING FOR CURRENT_USER SERVER many$n OPTIONS (client_id '$StandIn::CLIENT', secret_file 'standin')");
}
$session->query_safe("SELECT count(*) FROM profenrich.datasets('many$_')") for 1 .. 8;
my $open = $session->query_safe($descriptors);
$session->query_safe("SELECT count(*) FROM profenrich.datasets('many$_')") for 1 .. 8, 1 .. 8;
cmp_ok($session->query_safe($descriptors), '<=', $open, 'idle sessions are closed');
# An error in the middle of a statement leaves nothing open either; the server itself may open a table or two.
$session->query("SELECT 1 / (SELECT 0 * count(*) FROM profenrich.datasets('many$_'))") for 1 .. 8;
cmp_ok(scalar $session->query($descriptors), '<=', $open + 3, 'also after errors');
$session->quit;

# What is wrong, step by step.
sub server
{
	my ($name, %options) = @_;
	$platform->connect_server($node, $name, %options);
	return check($name);
}
($good, $wrong) = server('wrong_ca', ca_file => $platform->wrong_ca_file);
is($good, 'server and user mapping, secret', 'wrong CA: no token');
like($wrong, qr/^token: .*certificate/i, "says: $wrong");
($good, $wrong) = server('no_ca', ca_file => '/nowhere/ca.pem');
like($wrong, qr/^token: /, "a CA file that is not there: $wrong");
($good, $wrong) = server('own_ca', ca_file => undef);
like($wrong, qr/^token: .*certificate/i, "the system's certificates do not do: $wrong");
($good, $wrong) = server('nobody', map { $_ => 'https://localhost:1' } qw(platform_url ims_url collection_url));
like($wrong, qr/^token: .*(refused|connect|reach)/i, "unreachable: $wrong");
($good, $wrong) = server('no_name', ims_url => 'https://nothing.invalid');
like($wrong, qr/^secret: .*does not allow host "nothing.invalid"/, "a host that the file does not name: $wrong");
$platform->write_secret('standin', hosts => 'localhost, nothing.invalid');
($good, $wrong) = check('no_name');
like($wrong, qr/^token: /, "a name that does not resolve: $wrong");
$platform->write_secret('standin');
($good, $wrong) = server('no_sandbox', sandbox => 'nothing');
is($good, 'server and user mapping, secret, token', 'wrong sandbox: a token, and nothing more');
like($wrong, qr/^organisation and sandbox: /, "says: $wrong");
$platform->write_secret('standin', client_secret => 'not-the-secret');
($good, $wrong) = check('aep');
is($good, 'server and user mapping, secret', 'wrong secret: no token');
like($wrong, qr/^token: /, "says: $wrong");
unlike($wrong, qr/not-the-secret/, 'without the secret');
$platform->write_secret('standin', org_id => '99@AdobeOrg');
($good, $wrong) = check('aep');
like($wrong, qr/^secret: .*another organisation/, 'a file for another organisation');
$platform->write_secret('standin');
$platform->certificate('expired');
($good, $wrong) = check('aep');
like($wrong, qr/^token: .*certificate/i, "expired certificate: $wrong");
$platform->certificate('wrong_host');
($good, $wrong) = check('aep');
like($wrong, qr/^token: .*certificate/i, "certificate of another host: $wrong");
$platform->certificate('good');
($good, $wrong) = check('aep', "SET profenrich.allow_private_addresses = off;");
like($wrong, qr/^token: .*address/i, "a private address: $wrong");
$platform->fault(path => '/ims/', count => 5, action => { redirect => 'https://localhost:1/' });
($good, $wrong) = check('aep');
like($wrong, qr/^token: /, "a redirect is not followed: $wrong");
$platform->clear_faults;
$platform->fault(path => 'dataSets', count => 9, action => { status => 403, body => '{"error_code":"403025","message":"Profile is not valid"}' });
($good, $wrong) = check('aep');
like($wrong, qr/^catalog: /, "no right to the catalog: $wrong");
$platform->clear_faults;
$platform->fault(path => 'dataSets', count => 9, action => { garbage => 1 });
($good, $wrong) = check('aep');
like($wrong, qr/^catalog: /, "an answer that makes no sense: $wrong");
$platform->clear_faults;
($good, $wrong) = server('no_streaming', collection_url => 'https://localhost:1');
like($wrong, qr/^streaming host: could not connect/, "the streaming host is another one: $wrong");
# Cancel while the platform does not answer.
$platform->fault(path => 'dataSets', count => 1, action => { delay_ms => 20000 });
my $start = time;
($code, $out, $err) = $node->psql('postgres', "SET statement_timeout = '500ms'; SELECT * FROM profenrich.check_connection('aep')");
like($err, qr/canceling statement due to statement timeout/, 'a cancelled check raises');
cmp_ok(time - $start, '<', 8, 'at once');
$platform->clear_faults;
($good, $wrong) = check('aep');
is($wrong, '', 'all well again');

# A session that was cancelled in the middle of a call goes on with the next.
$session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe("SELECT count(*) FROM profenrich.datasets('aep')");
$platform->fault(path => 'dataSets', count => 1, action => { delay_ms => 20000 });
$session->query("SET statement_timeout = '300ms'; SELECT count(*) FROM profenrich.datasets('aep')");
like($session->{stderr}, qr/canceling statement/, 'cancelled in the middle');
$session->{stderr} = '';
$before = tokens();
is($session->query_safe("SET statement_timeout = 0; SELECT count(*) FROM profenrich.datasets('aep')"), '0', 'and alive');
is(tokens(), $before, 'with its token');
$session->quit;
$platform->clear_faults;

# What a session keeps does not grow with its calls, nor with their errors.
$session = $node->background_psql('postgres', on_error_stop => 0);
my $kept = "SELECT sum(used_bytes) FROM pg_backend_memory_contexts WHERE name ~ '^profenrich (session|connection)' OR name = 'TopMemoryContext'";
my $calls = "SELECT count(*) FROM generate_series(1, %d) n, LATERAL profenrich.identity_namespaces(CASE WHEN n > 0 THEN 'aep' END)";
$session->query_safe(sprintf($calls, 10));
$session->query_safe("DO \$\$BEGIN PERFORM 1 / 0 FROM profenrich.datasets('aep') RIGHT JOIN (VALUES (1)) v ON true; EXCEPTION WHEN division_by_zero THEN NULL; END\$\$");
my $used = $session->query_safe($kept);
$session->query_safe(sprintf($calls, 200));
$session->query_safe("DO \$\$BEGIN FOR i IN 1..50 LOOP BEGIN PERFORM 1 / 0 FROM profenrich.datasets('aep') RIGHT JOIN (VALUES (1)) v ON true; EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END\$\$");
cmp_ok($session->query_safe($kept), '<', $used + 20000, "memory of a session stays ($used bytes)");
$session->quit;

# Plain http: only with leave.
my $plain = StandIn->new(plain => 1);
($code, $out, $err) = $node->psql('postgres', "CREATE SERVER plain FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '$StandIn::ORG', ims_url '" . $plain->url . "')");
like($err, qr/invalid value for option "ims_url"/, 'plain http is refused');
my $leave = "SET profenrich.allow_insecure_loopback = on;\n";
$node->safe_psql('postgres', $leave . "CREATE SERVER plain FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '$StandIn::ORG', platform_url '" . $plain->url . "', ims_url '" . $plain->url . "', collection_url '" . $plain->url . "');
	CREATE USER MAPPING FOR CURRENT_USER SERVER plain OPTIONS (client_id '$StandIn::CLIENT', secret_file 'standin')");
($good, $wrong) = check('plain', $leave);
is($wrong, '', 'allowed to the loopback address');
($code, $out, $err) = $node->psql('postgres', "SELECT * FROM profenrich.datasets('plain')");
isnt($code, 0, 'and not without the setting');

# Read-back.
is($node->safe_psql('postgres', "SELECT profenrich.platform_profile('aep', 'Email', 'nobody\@example.com') IS NULL"), 't', 'no such profile');
$platform->control('POST', '/profiles', qq({"namespace": "Email", "identity": "a\@example.com", "entity": {"person": {"name": {"firstName": "A"}}}}\n));
is($node->safe_psql('postgres', "SELECT profenrich.platform_profile('aep', 'Email', 'a\@example.com') #>> '{person,name,firstName}'"), 'A', 'read back');

# The secret is nowhere: not in the log, not in what sessions show, not in a dump.
$session = $node->background_psql('postgres');
$platform->fault(path => 'dataSets', count => 1, action => { delay_ms => 3000 });
$session->query_until(qr/begun/, "\\echo begun\nSELECT count(*) FROM profenrich.datasets('aep');\n");
ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE query ~ 'datasets' AND pid <> pg_backend_pid()"), 'a call runs');
my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE query ~ 'datasets' AND pid <> pg_backend_pid()");
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE query ~ '$StandIn::SECRET' AND pid <> pg_backend_pid()"), '0', 'not in pg_stat_activity');
for my $file ("/proc/$pid/cmdline", "/proc/$pid/environ")
{
	unlike(slurp_file($file), qr/$StandIn::SECRET/, "not in $file");
}
$session->quit;
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dump');
unlike(slurp_file($dump), qr/$StandIn::SECRET/, 'not in a dump');
like(slurp_file($dump), qr/secret_file 'standin'/, 'which names the file');
$node->psql('postgres', "CREATE USER MAPPING FOR PUBLIC SERVER aep OPTIONS (client_id 'x', client_secret '$StandIn::SECRET')");
$node->psql('postgres', "CREATE USER MAPPING FOR PUBLIC SERVER aep OPTIONS (client_id 'x', secret '$StandIn::SECRET')");
$node->psql('postgres', "ALTER USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (SET secret_file '../$StandIn::SECRET')");
# Preloaded, the postmaster stays with its one thread.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\n");
$node->restart;
my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
is(scalar(() = glob("/proc/$postmaster/task/*")), 1, 'one thread in the postmaster');
$node->stop;
my $log = slurp_file($node->logfile);
unlike($log, qr/$StandIn::SECRET/, 'not in the log, not even with a refused statement');
unlike($log, qr/access_token|Bearer/, 'nor a token');

done_testing();
