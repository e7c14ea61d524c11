# Exports from where they lie: S3 and Azure Blob storage as the stand-in speaks them, each request's signature verified,
# and OpenSSH's sftp server.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use File::Copy qw(copy);
use File::Path qw(make_path remove_tree);
use IO::Handle ();
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use StandIn;

my $data = "$FindBin::RealBin/../data/load";
my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('export');
$node->init;
$platform->install($node);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\nshared_preload_libraries = 'profenrich'\n");
$node->start;
$platform->connect_server($node, 'aep');
my $exports = $platform->state . '/exports';

sub sql { return $node->safe_psql('postgres', "SET search_path = public, profenrich; $_[0]") }

sub session
{
	my ($out, $err) = ('', '');
	$node->run_log([ 'psql', '-XAtq', '-v', 'VERBOSITY=default', '-d', $node->connstr('postgres'), map { ('-c', $_) } 'SET search_path = public, profenrich', @_ ],
		'>', \$out, '2>', \$err);
	chomp $out;
	return ($out, $err);
}

sub failure { my ($out, $err) = session($_[0]); return $err =~ /ERROR/ ? $err : "no error: $out$err" }

sub leftovers
{
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend'") or die;
	return sql("SELECT (SELECT count(*) FROM pg_class WHERE relname ~ '_load_[0-9]+_[0-9]+') + (SELECT count(*) FROM pg_ls_tmpdir())");
}

# A run of an export: its files, and its manifest unless told otherwise.
sub run
{
	my ($time, %options) = @_;
	my $folder = "$exports/profiles/5f0c/exportTime=$time";
	make_path($folder);
	copy("$data/day1.parquet", "$folder/part-00000 a&b.parquet") or die $!;
	copy("$data/day2.parquet", "$folder/part-00001.parquet") or die $!;
	write_file("$folder/_SUCCESS", '');
	manifest($time, 'part-00000 a&b.parquet', 'part-00001.parquet') unless $options{bare};
	return $folder;
}

sub write_file { my ($path, $text) = @_; open my $file, '>', $path or die "$path: $!"; print {$file} $text; close $file; return }

sub manifest
{
	my ($time, @names) = @_;
	my $folder = "$exports/profiles/5f0c/exportTime=$time";
	write_file("$folder/manifest-1-2.json", JSON::PP->new->canonical->encode({ flowRunId => 'r', scheduledTime => 'x',
		exportResults => [ map { { sinkPath => "profiles/5f0c/exportTime=$time", name => $_, size => (-s "$folder/$_") // 1 } } @names ] }));
	return;
}

# A run of people of the namespace CRMID, each with a plan.
sub people
{
	my ($time, %plans) = @_;
	my $folder = "$exports/people/7a1b/exportTime=$time";
	make_path($folder);
	write_file("$folder/part-00000.json", join '', map { qq({"identityMap":{"CRMID":[{"id":"$_"}]},"plan":"$plans{$_}"}\n) } sort keys %plans);
	return;
}

sub plans { return sql("SELECT string_agg(identity_crmid || '=' || plan, ' ' ORDER BY identity_crmid) FROM people WHERE snapshot_date = '$_[0]'") }

my $wrapper = 'FOREIGN DATA WRAPPER experience_platform_files';
my $port = $platform->port;

# What holds for every kind of place: server is its name.
sub place
{
	my ($server) = @_;
	remove_tree("$exports/profiles");
	run('202611210300');
	run('20261122030001');
	is(sql("SELECT snapshot_date, rows, files FROM load_export('$server', 'profiles/5f0c', '$server')"), '2026-11-22|4|2', "$server: the newest run, its day, its files");
	is(sql("SELECT snapshot_date, rows FROM load_export('$server', '/profiles/5f0c/exportTime=202611210300/', '$server')"), '2026-11-21|4', "$server: a run by its folder");
	is(sql("SELECT snapshot_date, source ~ '/profiles/5f0c/exportTime=202611210300', server FROM snapshots WHERE into_table = '$server'::regclass ORDER BY 1 LIMIT 1"), "2026-11-21|t|$server", "$server: written down");
	is(sql("SELECT DISTINCT snapshot_date FROM ${server}_latest"), '2026-11-22', "$server: the view shows the newest");

	is(sql("SELECT snapshot_date, rows FROM load_export('$server', 'profiles/5f0c', '$server', snapshot_date => '2026-11-21')"), '2026-11-21|4', "$server: a run by its day");
	is(sql("SELECT source ~ '/exportTime=202611210300\$' FROM snapshots WHERE into_table = '$server'::regclass AND snapshot_date = '2026-11-21'"), 't', "$server: which is that run");
	like(failure("SELECT load_export('$server', 'profiles/5f0c', '$server', snapshot_date => '2026-11-23')"), qr/"profiles\/5f0c" has no run of 2026-11-23\n.*It has runs of 2026-11-22, 2026-11-21\./, "$server: a day without a run");
	like(failure("SELECT load_export('$server', 'profiles/5f0c/exportTime=202611210300', '$server', snapshot_date => '2026-11-22')"), qr/has the run of 2026-11-21, not one of 2026-11-22/, "$server: no run becomes another day");

	my $folder = run('202611230300');
	unlink "$folder/part-00001.parquet";
	like(failure("SELECT load_export('$server', 'profiles/5f0c', '$server')"), qr/1 of the 2 files in manifest "manifest-1-2.json" are missing.*\n.*"part-00001.parquet" is not there/, "$server: a file that the manifest names is missing");
	write_file("$folder/part-00001.parquet", 'short');
	like(failure("SELECT load_export('$server', 'profiles/5f0c', '$server')"), qr/"part-00001.parquet" has 5 bytes, not \d+/, "$server: or of another length");
	is(sql("SELECT count(*) FROM $server WHERE snapshot_date = '2026-11-23'"), '0', "$server: nothing is loaded");
	copy("$data/day2.parquet", "$folder/part-00001.parquet") or die $!;
	copy("$data/day1.parquet", "$folder/part-00002.parquet") or die $!;
	is(sql("SELECT rows, files FROM load_export('$server', 'profiles/5f0c', '$server')"), '4|2', "$server: complete, it is loaded, and nothing else");
	is(sql("SELECT rows, files FROM load_export('$server', 'profiles/5f0c', '$server', manifest => 'ignore')"), '6|3', "$server: or all that is there");
	run('202611240300', bare => 1);
	is(sql("SELECT rows FROM load_export('$server', 'profiles/5f0c', '$server')"), '4', "$server: a run without a manifest");
	like(failure("SELECT load_export('$server', 'profiles/5f0c', '$server', manifest => 'required')"), qr/has no manifest/, "$server: unless one is required");
	write_file("$exports/profiles/5f0c/exportTime=202611240300/manifest.json", '{"exportResults": [');
	like(failure("SELECT load_export('$server', 'profiles/5f0c', '$server')"), qr/ERROR/, "$server: a broken manifest");
	like(failure("SELECT load_export('$server', 'profiles/nothing', '$server')"), qr/has no(thing| such)/, "$server: a folder that is not there");
	like(failure("SELECT load_export('$server', 'profiles/../..', '$server')"), qr/not one of plain folders/, "$server: no way out of the folder");
	is(leftovers(), '0', "$server: nothing is left behind");
	return;
}

# --- S3 ---

$platform->write_secret('s3', org_id => undef, client_secret => 'export/secret+key');
$platform->write_secret('wrong', org_id => undef, client_secret => 'another/secret+key');
$platform->write_secret('session', org_id => undef, client_secret => 'session+token=');
sql("CREATE SERVER s3 $wrapper OPTIONS (url 's3://lake', endpoint 'https://localhost:$port', region 'eu-central-1', ca_file '" . $platform->ca_file . "');
	CREATE USER MAPPING FOR CURRENT_USER SERVER s3 OPTIONS (\"user\" 'EXPORTKEY', secret_file 's3')");
place('s3');
$platform->settings(store_page => 1);
is(sql("SELECT rows FROM load_export('s3', 'profiles/5f0c/exportTime=202611230300', 's3')"), '4', 's3: a listing of many pages');
$platform->settings(store_page => 1000, max_range_bytes => 500);
is(sql("SELECT rows FROM load_export('s3', 'profiles/5f0c/exportTime=202611230300', 's3')"), '4', 's3: in small ranges');
$platform->fault(path => '/lake/.*parquet', count => 2, action => { cut => 'mid_reply' });
is(sql("SELECT rows FROM load_export('s3', 'profiles/5f0c/exportTime=202611230300', 's3')"), '4', 's3: taken up where it broke');
$platform->fault(path => '/lake/.*parquet', after => 3, action => { status => 403 });
my $load = "SELECT rows FROM load_export('s3', 'profiles/5f0c/exportTime=202611230300', 's3')";
my ($out, $err) = session("$load /* fails */");
like($err, qr/refuses the credentials/, 's3: a download that ends for good');
$platform->clear_faults;
is(sql($load), '4', 's3: a retry picks up');
$platform->settings(max_range_bytes => undef);
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER s3 OPTIONS (SET secret_file 'wrong')");
like(failure($load), qr/localhost refuses the credentials\n.*SignatureDoesNotMatch/, 's3: a wrong secret');
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER s3 OPTIONS (SET secret_file 's3', SET \"user\" 'NOBODY')");
like(failure($load), qr/InvalidAccessKeyId/, 's3: a wrong key');
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER s3 OPTIONS (SET \"user\" 'EXPORTKEY'); ALTER SERVER s3 OPTIONS (SET region 'us-west-2')");
like(failure($load), qr/status 400, AuthorizationHeaderMalformed.*\n.*region/, 's3: a wrong region');
sql("ALTER SERVER s3 OPTIONS (SET region 'eu-central-1')");
$platform->settings(store_session => JSON::PP::true());
like(failure($load), qr/InvalidToken/, 's3: a session token is missing');
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER s3 OPTIONS (ADD session_token_file 'session')");
is(sql($load), '4', 's3: with it');
$platform->settings(store_session => JSON::PP::false());
$platform->write_secret('s3', org_id => undef, client_secret => 'export/secret+key', hosts => 'elsewhere.example');
like(failure($load), qr/secret file "s3" does not allow host "localhost"/, 's3: the secret goes where its file says');
$platform->write_secret('s3', org_id => undef, client_secret => 'export/secret+key');

# --- several runs a day ---

people('202611220300', 1 => 'basic', 2 => 'basic', 3 => 'basic');
people('202611220600', 2 => 'gold', 4 => 'basic');
($out, $err) = session("SELECT rows FROM load_export('s3', 'people/7a1b', 'people')");
is($out, '2', 'several runs a day: the newest');
like($err, qr/NOTICE.*of the 2 runs of 2026-11-22, "people\/7a1b\/exportTime=202611220600" alone is loaded\n.*incremental => true/, 'which is said');
sql('DROP TABLE people CASCADE');
my $increments = "SELECT snapshot_date, rows, files FROM load_export('s3', 'people/7a1b', 'people', incremental => true";
($out, $err) = session("$increments)");
is($out, '2026-11-22|4|2', 'incremental runs: all of the day');
like($err, qr/no day up to 2026-11-22 is loaded in public.people: the export is taken for a full one/, 'the first one is full');
is(plans('2026-11-22'), '1=basic 2=gold 3=basic 4=basic', 'each replaces its own profiles');
people('20261122090000', 1 => 'none');
is(sql("$increments)"), '2026-11-22|4|1', 'the next run of the day alone is loaded');
is(plans('2026-11-22'), '1=none 2=gold 3=basic 4=basic', 'on top of those before');
($out, $err) = session("$increments)");
is("$out $err" =~ /^2026-11-22\|4\|0 .*all runs up to 2026-11-22 are loaded/, 1, 'each run once');
people('202611230300', 1 => 'gold');
people('202611240300', 5 => 'gold');
people('202611250300', 3 => 'gold');
is(sql("$increments, snapshot_date => '2026-11-24')"), '2026-11-24|5|2', 'runs of a day that was missed are taken in');
is(plans('2026-11-24'), '1=gold 2=gold 3=basic 4=basic 5=gold', 'later ones are not');
is(sql("$increments, snapshot_date => '2026-11-23')"), '2026-11-23|4|1', 'and the missed day can be made up for');
is(plans('2026-11-23'), '1=gold 2=gold 3=basic 4=basic', 'as it was');
is(sql("$increments)"), '2026-11-25|5|1', 'the newest day goes on from the one before');
is(sql("SELECT count(DISTINCT identity_crmid), count(*) FROM people_latest"), '5|5', 'nobody is there twice');

write_file("$exports/audience/members_20261122.csv", "crm;plan\n1;gold\n2;basic\n") if make_path("$exports/audience");
like(failure("SELECT load_export('s3', 'audience', 'members', snapshot_date => '2026-11-22')"), qr/no comma in the header/, 's3: a CSV file with another delimiter');
is(sql("SELECT rows FROM load_export('s3', 'audience', 'members', snapshot_date => '2026-11-22', csv => '{\"delimiter\": \";\"}')"), '2', 's3: which is named');
is(sql("SELECT string_agg(plan, ' ' ORDER BY crm) FROM members"), 'gold basic', 's3: and is read by it');

# --- events ---

sub events
{
	my ($time, $manifest, @ids) = @_;
	my $folder = "$exports/events/9c2d/exportTime=$time";
	make_path($folder);
	write_file("$folder/part-00000.json", join '', map { qq({"_id":"$_","timestamp":"2026-11-22T00:00:00Z","identityMap":{"CRMID":[{"id":"C-$_"}]}}\n) } @ids);
	write_file("$folder/manifest.json", JSON::PP->new->encode({ exportResults => [ { name => 'part-00000.json', size => -s "$folder/part-00000.json" } ] })) if $manifest;
	return;
}

events('202611220300', 0, 1, 2);
events('202611220600', 1, 3);
my $load_events = "SELECT batches, rows, files FROM load_events('s3', 'web_events', 'events/9c2d'";
is(sql("$load_events)"), '2|3|2', 'events: the runs of their export');
is(sql("$load_events)"), '0|0|0', 'events: each once');
events('202611220900', 0, 4, 5);
($out, $err) = session("$load_events)");
like("$out $err", qr/^0\|0\|0 .*"events\/9c2d\/exportTime=202611220900" is left for later/, 'events: a run that may be under way');
events('20261123030000', 1, 6);
is(sql("$load_events)"), '2|3|2', 'events: it is taken when another has begun');
is(sql("SELECT string_agg(id || ':' || profile_namespace || '.' || profile_key, ' ' ORDER BY id) FROM web_events"), join(' ', map { "$_:CRMID.C-$_" } 1 .. 6), 'events: under the keys of their profiles');
is(sql("SELECT batch, server, dataset, created_at, rows FROM event_batches ORDER BY created_at DESC LIMIT 1"), 'events/9c2d/exportTime=20261123030000|s3|events/9c2d|2026-11-23 03:00:00+00|1', 'events: written down');
is(sql("SELECT batches, rows FROM load_events('s3', 'recent_events', 'events/9c2d', since => '2026-11-22 09:00+00')"), '2|3', 'events: since a time');
like(failure("SELECT load_events('s3', 'web_events', 'audience')"), qr/"audience" has no run of an export/, 'events: a folder without runs');

# --- Azure Blob storage ---

sub sas { return $platform->control('GET', "/sas?seconds=$_[0]") }
$platform->write_secret('azure', org_id => undef, client_secret => sas(3600));
sql("CREATE SERVER azure $wrapper OPTIONS (url 'https://localhost:$port/zone/', ca_file '" . $platform->ca_file . "');
	CREATE USER MAPPING FOR CURRENT_USER SERVER azure OPTIONS (secret_file 'azure')");
place('azure');
$platform->settings(store_page => 1);
$load =~ s/s3/azure/g;
is(sql($load), '4', 'azure: a listing of many pages');
$platform->write_secret('azure', org_id => undef, client_secret => '?' . sas(3600));
is(sql($load), '4', 'azure: a token with its question mark');
$platform->write_secret('azure', org_id => undef, client_secret => sas(-60));
($out, $err) = session($load);
like($err, qr/localhost refuses the credentials\n.*AuthenticationFailed.*\n.*expired/, 'azure: a token that has expired');
unlike($err, qr/sig=/, 'azure: no error shows the token');
(my $changed = sas(3600)) =~ s/sp=rl/sp=rwl/;
$platform->write_secret('azure', org_id => undef, client_secret => $changed);
like(failure($load), qr/refuses the credentials/, 'azure: a token that was changed');

# --- a folder of the database server ---

run('202611260300');
my $local = "$exports/profiles/5f0c/exportTime=202611260300";
copy("$data/day1.parquet", "$local/part-00002.parquet") or die $!;
is(sql("SELECT rows, files FROM load_snapshot_file('$local/*', 'local')"), '4|2', 'a glob with a manifest: the files that it names');
unlink "$local/part-00001.parquet";
like(failure("SELECT load_snapshot_file('$local/*', 'local')"), qr/1 of the 2 files in manifest.*\n.*"part-00001.parquet" is not there/, 'all of them');
is(sql("SELECT rows, files FROM load_snapshot_file('$local/*.parquet', 'local')"), '4|2', 'a glob without it: what is there');
remove_tree($local);

# --- SFTP ---

my $ssh = $node->basedir . '/ssh';
mkdir $ssh;
system('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', "$ssh/$_") == 0 or die 'ssh-keygen' for qw(host other user stranger);
system('ssh-keygen', '-q', '-t', 'ecdsa', '-m', 'PEM', '-N', '', '-f', "$ssh/user2") == 0 or die 'ssh-keygen';
my %print = map { ($_ => (split ' ', `ssh-keygen -lf $ssh/$_.pub`)[1]) } qw(host other);
system("cat $ssh/user.pub $ssh/user2.pub > $ssh/authorized");
my $sftp_port = PostgreSQL::Test::Cluster::get_free_port();
write_file("$ssh/config", "Port $sftp_port\nListenAddress 127.0.0.1\nHostKey $ssh/host\nAuthorizedKeysFile $ssh/authorized\nStrictModes no\nUsePAM no\n"
	. "PidFile none\nSubsystem sftp internal-sftp\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n");
my $sshd;
sub start_sshd
{
	$sshd = fork // die;
	if ($sshd == 0)
	{
		open STDERR, '>>', "$ssh/log";
		{ exec '/usr/sbin/sshd', '-D', '-e', '-f', "$ssh/config" }
		POSIX::_exit(127);
	}
	my $until = time + 60;
	until (`cat $ssh/log` =~ /Server listening/) { die 'sshd: ' . `cat $ssh/log` if time > $until || waitpid($sshd, 1) == $sshd; sleep 0.05 }
	return;
}
start_sshd();
for my $key (qw(user user2 stranger))
{
	copy("$ssh/$key", "$platform->{secrets}/key_$key") or die $!;
	chmod 0600, "$platform->{secrets}/key_$key";
}
my $me = getpwuid($<);
sql("CREATE SERVER sftp $wrapper OPTIONS (url 'sftp://127.0.0.1:$sftp_port$exports', host_key '$print{host}');
	CREATE USER MAPPING FOR CURRENT_USER SERVER sftp OPTIONS (\"user\" '$me', key_file 'key_user')");
place('sftp');
$load =~ s/azure/sftp/g;
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER sftp OPTIONS (SET key_file 'key_user2')");
is(sql($load), '4', 'sftp: with a key of another kind');
sql("ALTER SERVER sftp OPTIONS (SET host_key '$print{other}')");
like(failure($load), qr/host key of 127.0.0.1:$sftp_port is not the expected one.*\n(.*\n)*.*host_key/, 'sftp: another host key');
sql("ALTER SERVER sftp OPTIONS (DROP host_key)");
like(failure($load), qr/needs the option host_key/, 'sftp: no host key, no connection');
sql("ALTER SERVER sftp OPTIONS (ADD host_key '$print{host}'); ALTER USER MAPPING FOR CURRENT_USER SERVER sftp OPTIONS (SET key_file 'key_stranger')");
like(failure($load), qr/127.0.0.1 refuses the credentials\n.*/, 'sftp: a key that is not known there');
chmod 0644, "$platform->{secrets}/key_user";
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER sftp OPTIONS (SET key_file 'key_user')");
like(failure($load), qr/"key_user" has permissions for group or others/, 'sftp: a key that others may read');
chmod 0600, "$platform->{secrets}/key_user";
{
	my $folder = "$exports/large/exportTime=202611250300";
	make_path($folder);
	open my $json, '>', "$folder/many.json" or die;
	print {$json} qq({"_id":"$_","a":$_,"c":"text $_ of a line that is long enough to make a file of some size"}\n) for 1 .. 50_000;
	close $json;
}
is(sql("SELECT rows FROM load_export('sftp', 'large', 'large')"), '50000', 'sftp: a larger file');
kill 'TERM', $sshd;
waitpid $sshd, 0;
like(failure($load), qr/could not connect|broke/, 'sftp: a server that is gone');

# By a password, with a server that has a user of its own.
{
	my $password = 'pass:word, with \\ and "quotes"';
	$sftp_port = PostgreSQL::Test::Cluster::get_free_port();
	open my $to_server, '|-', "exec /usr/bin/python3 $FindBin::RealBin/../tools/sftp_by_password.py $sftp_port $ssh/host exporter > $ssh/by_password 2>&1" or die $!;
	print {$to_server} "$password\n";
	$to_server->flush;
	my $until = time + 60;
	until (`cat $ssh/by_password` =~ /listening/) { die `cat $ssh/by_password` if time > $until; sleep 0.05 }
	$platform->write_secret('sftp', org_id => undef, client_secret => $password, hosts => '127.0.0.1');
	sql("CREATE SERVER by_password $wrapper OPTIONS (url 'sftp://127.0.0.1:$sftp_port$exports', host_key '$print{host}');
		CREATE USER MAPPING FOR CURRENT_USER SERVER by_password OPTIONS (\"user\" 'exporter', secret_file 'sftp')");
	$load =~ s/sftp/by_password/g;
	is(sql("SELECT rows, files FROM load_export('by_password', 'profiles/5f0c/exportTime=202611230300', 'by_password')"), '4|2', 'sftp: by password');
	$platform->write_secret('sftp', org_id => undef, client_secret => 'another+pass:word', hosts => '127.0.0.1');
	like(failure($load), qr/127.0.0.1 refuses the credentials\n.*password/s, 'sftp: a wrong password');
	$platform->write_secret('sftp', org_id => undef, client_secret => $password, hosts => 'elsewhere.example');
	like(failure($load), qr/secret file "sftp" does not allow host "127.0.0.1"/, 'sftp: a password goes where its file says');
	sql("ALTER SERVER by_password OPTIONS (SET host_key '$print{other}')");
	$platform->write_secret('sftp', org_id => undef, client_secret => $password, hosts => '127.0.0.1');
	like(failure($load), qr/host key of 127.0.0.1:$sftp_port is not the expected one/, 'sftp: nor to a server with another host key');
	is(leftovers(), '0', 'sftp: nothing is left behind');
	close $to_server;
}

# --- options and rights ---

for my $case ([ "url 's3://'", 's3://bucket' ], [ "url 'ftp://x/y'", 's3://bucket' ], [ "url 'sftp://me\@host/x'", 'no user' ], [ "url 'https://a/b?sig=x'", 'invalid value' ],
	[ "host_key 'MD5:00'", 'SHA256' ], [ "region 'Frankfurt'", 'eu-central-1' ], [ "password 'x'", 'Valid options in this context are: url, endpoint, region, ca_file, host_key' ])
{
	like(failure("CREATE SERVER bad $wrapper OPTIONS ($case->[0])"), qr/\Q$case->[1]\E/, "option $case->[0]");
}
like(failure("CREATE USER MAPPING FOR PUBLIC SERVER sftp OPTIONS (key_file 'a', secret_file 'b')"), qr/exclude each other/, 'a key or a password');
$node->safe_psql('postgres', "CREATE ROLE analyst IN ROLE profenrich_analyst; GRANT ALL ON SCHEMA public TO analyst; GRANT USAGE ON FOREIGN DATA WRAPPER experience_platform_files TO analyst");
like(failure("SET ROLE analyst; SELECT load_export('s3', 'x', 'mine')"), qr/permission denied for foreign server s3/, 'USAGE on the server is needed');
like(failure("SET ROLE analyst; CREATE SERVER mine $wrapper OPTIONS (url 's3://lake')"), qr/permission denied to set option "url"/, 'only administrators say where');
like(failure("SELECT load_export('aep', 'x', 'mine')"), qr/not one of exported files/, 'a server of the other kind');
like(failure("SELECT load_snapshot('s3', 'mine')"), qr/not one of Experience Platform/, 'and the other way round');
is(leftovers(), '0', 'nothing is left behind');

$node->stop;
done_testing();
END { my $status = $?; if ($sshd) { kill 'TERM', $sshd; waitpid $sshd, 0 } $? = $status }
