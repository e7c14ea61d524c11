# What stands between this server and the network, point by point, through SQL and the worker. The client's own tests
# are unit tests; here each point is seen to hold in a server with an environment and settings meant to break it.
#
# | point                                                | here, unless named otherwise                     |
# |------------------------------------------------------|--------------------------------------------------|
# | HTTPS only                                           | "https only"; connection.pl, "plain http"        |
# | certificate verified                                 | "certificates"                                   |
# | host name verified                                   | "certificates"                                   |
# | TLS 1.2 or newer                                     | "TLS 1.1"                                        |
# | no redirects                                         | "redirects"                                      |
# | proxies of the environment ignored                   | the environment below, in all of it              |
# | private addresses refused after resolution           | "addresses"; test_http.c, test_addresses         |
# | names that resolve to them                           | "addresses": localhost; test_http.c, *.test      |
# | caps on header and body bytes                        | "bytes"                                          |
# | no compressed replies                                | "compression"                                    |
# | connect, stall and total limits                      | "time"                                           |
# | secret file: mode, owner, link, size, kind, name     | "secret files"                                   |
# | secret file: host and organisation                   | "secret files"                                   |
# | settings of the superuser                            | sql/privileges.sql                               |
# | settings of an enrichment's owner stay his           | "the owner's settings"                           |
# | no secret in dump, statistics, activity, log, errors | "traces"; test/run, over the logs of all servers |
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
my $other = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('attack_surface');
$node->init;
$platform->install($node);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich, pg_stat_statements'
log_statement = none\nlog_min_error_statement = error\nlog_min_messages = debug1\nprofenrich.poll_interval = 1\n");
{
	# A proxy and a netrc for everybody, and authorities that would vouch for anybody.
	my $home = $node->basedir . '/home';
	mkdir $home;
	append_to_file("$home/.netrc", "machine localhost login intruder password from-netrc\n");
	chmod 0600, "$home/.netrc";
	local @ENV{qw(http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY)} = ('http://127.0.0.1:1') x 5;
	local @ENV{qw(HOME CURL_HOME SSL_CERT_FILE CURL_CA_BUNDLE)} = ($home, $home, $platform->wrong_ca_file, $platform->wrong_ca_file);
	$node->start;
}
$platform->connect_server($node, 'aep');

# The first step of a check that fails, as "step: detail"; '' when none does.
sub failure
{
	my ($server, $settings) = @_;
	return $node->safe_psql('postgres', ($settings // '') .
		"SELECT step || ': ' || detail FROM profenrich.check_connection('$server') WHERE NOT ok AND detail <> 'skipped' LIMIT 1");
}
# failure() of a server whose three hosts are at a URL, which the secret file allows.
my $servers = 0;
sub failure_at
{
	my ($url, %more) = @_;
	my ($host) = $url =~ m{//(\[[^\]]*\]|[^:/]*)};
	my $settings = delete $more{settings};
	$servers++;
	$platform->write_secret('standin', hosts => "localhost, $host");
	$platform->connect_server($node, "at$servers", platform_url => $url, ims_url => $url, collection_url => $url, %more);
	my $failure = failure("at$servers", $settings);
	$platform->write_secret('standin');
	return $failure;
}
is(failure('aep'), '', 'all is well, past proxies of the environment');

# https only.
for my $url ('http://localhost:1', 'ftp://localhost', 'file:///etc/passwd', 'gopher://localhost', 'https://user:pass@localhost')
{
	my ($code, $out, $err) = $node->psql('postgres', "CREATE SERVER x FOREIGN DATA WRAPPER experience_platform OPTIONS (ims_url '$url')");
	like($err, qr/invalid value for option "ims_url"/, "https only: not $url");
}
# The platform's own answers are no way around: an inlet at another scheme or host is not sent to.
$node->safe_psql('postgres', "SET profenrich.allow_insecure_loopback = on;
	CREATE SERVER clear FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '$StandIn::ORG', ims_url 'http://localhost:1', platform_url 'http://localhost:1', collection_url 'http://localhost:1');
	CREATE USER MAPPING FOR CURRENT_USER SERVER clear OPTIONS (client_id '$StandIn::CLIENT', secret_file 'standin')");
like(failure('clear'), qr/ must begin with https/, 'https only: not without the setting, whatever was stored');

# certificates
for my $case ([ 'untrusted', qr/certificate/i ], [ 'wrong_host', qr/certificate/i ], [ 'expired', qr/certificate/i ])
{
	$platform->certificate($case->[0]);
	like(failure('aep'), qr/^token: .*$case->[1]/, "certificates: $case->[0]");
}
$platform->certificate('good');
like(failure_at($platform->url, ca_file => undef), qr/^token: .*certificate/, 'certificates: the system\'s authorities, not the environment\'s');

# TLS 1.1
my $old = $platform->control('POST', '/ports', { kind => 'tls10' })->{port};
my $hello = "openssl s_client -connect localhost:$old -tls1_1 -cipher 'ALL:\@SECLEVEL=0' -CAfile " . $platform->ca_file . " </dev/null 2>&1";
like(scalar `$hello`, qr/Protocol *: TLSv1\.1/, 'TLS 1.1: the stand-in speaks it with who wants to');
like(failure_at("https://localhost:$old"), qr/^token: .*TLS/i, 'TLS 1.1: we do not');

# redirects
$platform->fault(path => '/ims/', count => 1, action => { redirect => $other->url . '/ims/token/v3' });
like(failure('aep'), qr/^token: /, 'redirects: the token service\'s is not followed');
$platform->fault(path => 'dataSets', count => 1, action => { redirect => $other->url . '/data/foundation/catalog/dataSets' });
like(failure('aep'), qr/^catalog: /, 'redirects: the catalog\'s is not followed');
is(scalar @{ $other->requests }, 0, 'redirects: nothing reached the other host');
$platform->clear_faults;

# addresses: refused though the port is open, before a byte is sent. "localhost" is a name like any other.
my $port = $platform->port;
my $off = "SET profenrich.allow_private_addresses = off;";
$platform->control('DELETE', '/counters');
for my $host (qw(localhost 127.0.0.1 127.1.2.3 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1
	[::1] [::] [::ffff:127.0.0.1] [::ffff:10.0.0.1] [::10.0.0.1] [fe80::1] [fc00::1] [fec0::1] [ff02::1] [64:ff9b::7f00:1] [2002:7f00:1::1]))
{
	like(failure_at("https://$host:$port", settings => $off), qr/^token: .*address/, "addresses: $host");
}
like(failure_at("https://0.0.0.0:$port"), qr/^token: .*address/, 'addresses: 0.0.0.0 not even with leave');
is($platform->counters->{connections} // 0, 0, 'addresses: nobody connected');

# bytes
$platform->fault(path => '/ims/', count => 1, action => { header_bytes => 200_000 });
like(failure('aep'), qr/^token: .*(large|bytes)/, 'bytes: headers: ' . (failure('aep') || 'and well again'));
$platform->clear_faults;
$platform->fault(path => '/ims/', count => 1, action => { body_bytes => 50_000_000 });
like(failure('aep'), qr/^token: .*(large|bytes)/, 'bytes: body');
$platform->clear_faults;

# compression
is(scalar(grep { grep { lc eq 'accept-encoding' } keys %{ $_->{headers} } } @{ $platform->requests }), 0, 'compression: never asked for');
cmp_ok(scalar @{ $platform->requests }, '>', 5, 'in all requests');
is(scalar(grep { ($_->{headers}{Authorization} // '') =~ /^Basic/ } @{ $platform->requests }), 0, 'nor did a netrc add a password');
$platform->fault(path => '/ims/', count => 1, action => { status => 200, body => "\x1f\x8b\x08", headers => { 'Content-Encoding' => 'gzip' } });
like(failure('aep'), qr/^token: /, 'compression: a compressed reply is no reply');
$platform->clear_faults;

# time: each limit is seconds, and is given ten times that here.
my $start = time;
$platform->control('POST', '/connections', { hang => 1 });
like(failure('aep'), qr/^token: .*(tim|5)/i, 'time: no handshake');
cmp_ok(time - $start, '<', 50, 'time: the limit of connecting, 5 s');
$start = time;
$platform->fault(path => '/ims/', count => 1, action => { trickle => 20, body_bytes => 5_000 });
like(failure('aep'), qr/^token: /, 'time: a reply that trickles');
cmp_ok(time - $start, '<', 100, 'time: the limit of stalling, 10 s');
$platform->clear_faults;

# secret files
my $folder = $node->basedir . '/secrets';
my @cases = (
	[ 'mode',           sub { chmod 0640, "$folder/standin" },                        qr/permissions for group or others/ ],
	[ 'symbolic link',  sub { rename "$folder/standin", "$folder/real"; symlink 'real', "$folder/standin" }, qr/symbolic link/ ],
	[ 'hard link',      sub { link "$folder/standin", "$folder/twin" },               qr/another hard link/ ],
	[ 'size',           sub { append_to_file("$folder/standin", "#" x 9000) },        qr/too large/ ],
	[ 'kind',           sub { unlink "$folder/standin"; mkdir "$folder/standin" },    qr/not a regular file/ ],
	[ 'absence',        sub { unlink "$folder/standin" },                             qr/cannot be opened/ ],
	[ 'directory',      sub { chmod 0777, $folder },                                  qr/writable by others/ ],
	[ 'organisation',   sub { $platform->write_secret('standin', org_id => 'FF@AdobeOrg') }, qr/another organisation/ ],
	[ 'host',           sub { $platform->write_secret('standin', hosts => 'platform.adobe.io') }, qr/does not allow host "localhost"/ ]);
for my $case (@cases)
{
	$case->[1]->();
	like(failure('aep'), qr/^secret: .*$case->[2]/, "secret files: $case->[0]");
	chmod 0700, $folder;
	unlink "$folder/twin", "$folder/real";
	rmdir "$folder/standin" or unlink "$folder/standin";
	$platform->write_secret('standin');
	is(failure('aep'), '', "secret files: $case->[0] is all that was wrong");
}
$node->safe_psql('postgres', "CREATE SERVER owned FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '$StandIn::ORG');
	CREATE USER MAPPING FOR CURRENT_USER SERVER owned OPTIONS (client_id 'x', secret_file 'passwd')");
like(failure('owned', "SET profenrich.secret_directory = '/etc';"), qr/does not belong to the server's user/, 'secret files: owner');
for my $name ('../secrets/standin', '/etc/passwd', '.hidden', '')
{
	my ($code, $out, $err) = $node->psql('postgres', "ALTER USER MAPPING FOR CURRENT_USER SERVER owned OPTIONS (SET secret_file '$name')");
	like($err, qr/invalid value for option "secret_file"/, "secret files: not by the name \"$name\"");
}

# The worker, in the same environment: what it sends arrives, though a proxy is named, and not at a private address.
my $id = set_up_enrichment($node, $platform, 'guarded');
wait_until($node, "SELECT count(*) = 1 FROM profenrich.worker_status WHERE state = 'running'", 'the worker runs');
enqueue($node, $id, 1, 50);
ok($node->poll_query_until('postgres', "SELECT pending = 0 FROM profenrich.enrichment_status WHERE enrichment = 'guarded'"), 'the worker sends past the proxies of the environment');
$node->append_conf('postgresql.conf', "profenrich.allow_private_addresses = off\n");
$node->restart;
enqueue($node, $id, 51, 60);
ok($node->poll_query_until('postgres', "SELECT last_error ~ 'address' OR why ~ 'address' FROM profenrich.enrichment_status WHERE enrichment = 'guarded'"),
	'nor does it send to a private address');
is($node->safe_psql('postgres', "SELECT pending FROM profenrich.enrichment_status WHERE enrichment = 'guarded'"), '10', 'and keeps what it could not send');

# traces
$node->append_conf('postgresql.conf', "profenrich.allow_private_addresses = on\n");
$node->reload;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements');
is(failure('aep'), '', 'a call whose traces are looked for');
$node->psql('postgres', "CREATE USER MAPPING FOR PUBLIC SERVER aep OPTIONS (client_id 'x', client_secret '$StandIn::SECRET')");
$node->psql('postgres', "ALTER USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (SET secret_file '$StandIn::SECRET/')");
my @needles = grep { $_ ne '' } $StandIn::SECRET, split /\n/, slurp_file($platform->state . '/issued-tokens');
cmp_ok(scalar @needles, '>', 10, 'the secret and the tokens that were issued');
$node->command_ok([ 'pg_dumpall', '-f', $node->basedir . '/all.sql', '-h', $node->host, '-p', $node->port ], 'a dump of everything');
my %places = (
	'a dump'             => slurp_file($node->basedir . '/all.sql'),
	'the log'            => slurp_file($node->logfile),
	'pg_stat_activity'   => $node->safe_psql('postgres', "SELECT string_agg(a::text, ' ') FROM pg_stat_activity a"),
	'pg_stat_statements' => $node->safe_psql('postgres', "SELECT string_agg(s.query, ' ') FROM pg_stat_statements s"),
	'pg_settings'        => $node->safe_psql('postgres', "SELECT string_agg(s::text, ' ') FROM pg_settings s"),
	'the tables and views' => $node->safe_psql('postgres', "SELECT string_agg(query_to_xml(format('SELECT * FROM profenrich.%I', c.relname), true, false, '')::text, '')
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'profenrich' AND c.relkind IN ('r', 'v')"),
	'process titles'     => scalar `ps -eo args`);
for my $place (sort keys %places)
{
	my @found = grep { index($places{$place}, $_) >= 0 } @needles;
	cmp_ok(length $places{$place}, '>', 0, "traces: there is something in $place");
	is(scalar @found, 0, "traces: but none of them");
}
like($places{'a dump'}, qr/secret_file 'standin'/, 'the dump names the file');
# --- the owner's settings: what code of his sets while somebody else calls it is undone ---

append_to_file($node->basedir . '/people.json', qq({"identityMap": {"CRMID": [{"id": "P-1"}]}}\n));
$node->safe_psql('postgres', <<"SQL");
CREATE ROLE intruder IN ROLE profenrich_operator, pg_read_server_files;
CREATE SCHEMA intruder AUTHORIZATION intruder;
GRANT USAGE ON FOREIGN SERVER aep TO intruder;
SET ROLE intruder;
CREATE FUNCTION intruder.settle() RETURNS int LANGUAGE sql VOLATILE
	AS \$\$SELECT length(set_config('search_path', 'intruder, pg_catalog', false) || set_config('profenrich.snapshot_gate', 'off', false))\$\$;
CREATE FUNCTION intruder.settle_too() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN PERFORM intruder.settle(); RETURN OLD; END\$\$;
SELECT profenrich.create_enrichment('settling', 'aep', 'SELECT text ''P-1'' AS crm_id, intruder.settle() AS one', 'crm_id', 'CRMID');
SELECT profenrich.load_snapshot_file('@{[ $node->basedir ]}/people.json', 'intruder.people', snapshot_date => '2026-11-22');
CREATE TRIGGER settle BEFORE DELETE ON intruder.people FOR EACH ROW EXECUTE FUNCTION intruder.settle_too();
SQL
my $settings = "current_setting('search_path'), current_setting('profenrich.snapshot_gate')";
my $as_it_was = $node->safe_psql('postgres', "SELECT $settings");
for my $call ("preview('settling', 1)", "plan('settling')", "refresh('settling')", "forget('CRMID', 'P-1')")
{
	my $out = $node->safe_psql('postgres', "SELECT count(*) > 0 FROM profenrich.$call; SELECT $settings");
	is($out, "t\n$as_it_was", "$call leaves the caller's settings alone");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM intruder.people'), 0, 'and the trigger let the row go');

$node->stop;
done_testing();
