# Loading snapshots from the platform, and what a regress script cannot show: cancel, locks, two loads at once,
# dump and restore.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use File::Copy qw(copy);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use StandIn;

my $data = "$FindBin::RealBin/../data/load";
my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('load');
$node->init;
$platform->install($node);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\nshared_preload_libraries = 'profenrich'\n");
$node->start;
$platform->connect_server($node, 'aep');

sub sql { return $node->safe_psql('postgres', "SET search_path = public, profenrich; $_[0]") }

sub failure
{
	my ($code, $out, $err) = $node->psql('postgres', "SET search_path = public, profenrich; $_[0]");
	return $code == 0 ? "no error: $out" : $err;
}

sub give { my ($file, $day, $policy, $name) = @_; copy("$data/$file", $platform->snapshot_folder($day, $policy) . '/' . ($name // $file)) or die "$file: $!"; return }

# Nothing may stay of a load that failed: no table, no temporary file.
sub leftovers
{
	return sql("SELECT (SELECT count(*) FROM pg_class WHERE relname ~ '_load_[0-9]+_[0-9]+\$')
		+ (SELECT count(*) FROM pg_ls_tmpdir())");
}

# --- from the platform ---

like(failure("SELECT load_snapshot('aep', 'profiles')"), qr/server "aep" has no profile snapshot/, 'no snapshot there yet');
give('day1.parquet', '2026-11-22');
is(sql("SELECT snapshot_date, rows, files, bytes FROM load_snapshot('aep', 'profiles')"),
	'2026-11-22|2|1|' . (-s "$data/day1.parquet"), 'the newest batch, its UTC day the date');
is(sql('SELECT id, identity_crmid, acme_churn, other ? \'tags\' FROM profiles_latest ORDER BY 1'), "1|C-1|0.83|t\n2|C-2|1|f", 'its rows');
is(sql("SELECT into_table, snapshot_date, source ~ '^Profile-Snapshot-Export-', server, dataset <> '', batch <> '', rows, files FROM snapshots"),
	'profiles|2026-11-22|t|aep|t|t|2|1', 'written down');
give('day2.parquet', '2026-11-23');
give('day1.parquet', '2026-11-23', undef, 'part-00001.parquet');
is(sql("SELECT snapshot_date, rows, files FROM load_snapshot('aep', 'profiles')"), '2026-11-23|4|2', 'the next day');
is(sql('SELECT DISTINCT snapshot_date FROM profiles_latest'), '2026-11-23', 'the view moves on');
is(sql("SELECT snapshot_date, rows FROM load_snapshot('aep', 'profiles', snapshot_date => '2026-11-22')"), '2026-11-22|2', 'an earlier day by its date');
is(sql('SELECT snapshot_date, count(*) FROM profiles GROUP BY 1 ORDER BY 1'), "2026-11-22|2\n2026-11-23|4", 'beside it, once');
is(sql('SELECT DISTINCT snapshot_date FROM profiles_latest'), '2026-11-23', 'the view stays');
like(failure("SELECT load_snapshot('aep', 'profiles', snapshot_date => '2026-11-01')"), qr/no successful batch of 2026-11-01/, 'a day that is not there');

give('day1.parquet', '2026-11-23', 'second');
like(failure("SELECT load_snapshot('aep', 'profiles')"), qr/several merge policies.*\n.*default.*second|several merge policies.*\n.*second.*default/, 'several merge policies: listed');
is(sql("SELECT rows FROM load_snapshot('aep', 'second', merge_policy => 'second')"), '2', 'one named');
like(failure("SELECT load_snapshot('aep', 'x', merge_policy => 'third')"), qr/no profile snapshot of merge policy "third"/, 'one that is not there');
my $dataset = sql("SELECT dataset FROM snapshots WHERE into_table = 'second'::regclass");
is(sql("SELECT rows FROM load_snapshot('aep', 'second', dataset => '$dataset')"), '2', 'a data set by id');
is(sql("SELECT rows FROM load_snapshot('aep', 'second', dataset => (SELECT source FROM snapshots WHERE into_table = 'second'::regclass))"), '2', 'by name');
like(failure("SELECT load_snapshot('aep', 'x', dataset => 'nothing')"), qr/no data set "nothing"/, 'one that is not there');

# Trouble on the way.
$platform->settings(max_range_bytes => 1000);
is(sql("SELECT rows FROM load_snapshot('aep', 'second', merge_policy => 'second')"), '2', 'in small ranges');
$platform->fault(path => '/files/.*path=', count => 2, action => { cut => 'mid_reply' });
is(sql("SELECT rows FROM load_snapshot('aep', 'second', merge_policy => 'second')"), '2', 'taken up where it broke');
$platform->settings(max_range_bytes => 1 << 30);
give('truncated.parquet', '2026-11-24', 'second', 'part-00001.parquet');
give('day1.parquet', '2026-11-24', 'second', 'part-00000.parquet');
like(failure("SELECT load_snapshot('aep', 'second', merge_policy => 'second')"), qr/"part-00001.parquet".*not end as a Parquet file/, 'a bad part is named');
is(sql('SELECT snapshot_date, count(*) FROM second GROUP BY 1'), '2026-11-23|2', 'and nothing is loaded');
like(failure("SET temp_file_limit = '1kB'; SELECT load_snapshot('aep', 'x', merge_policy => 'default')"), qr/exceed temp_file_limit/, 'temp_file_limit holds');
is(leftovers(), '0', 'nothing is left behind');
$node->safe_psql('postgres', 'CREATE ROLE nobody_special IN ROLE profenrich_analyst LOGIN; GRANT ALL ON SCHEMA public TO nobody_special');
like(failure("SET ROLE nobody_special; SELECT load_snapshot('aep', 'mine')"), qr/permission denied for foreign server aep/, 'USAGE on the server is needed');
$platform->stop;
like(failure("SELECT load_snapshot('aep', 'profiles')"), qr/connect|refused/, 'an unreachable platform');
$platform->start;

# --- cancel ---

# Runs a statement in the background, cancels it once it is in a phase, and gives the seconds until it had ended.
sub cancelled_after
{
	my ($statement, $phase) = @_;
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'VERBOSITY=terse', '-d', $node->connstr('postgres'), '-c', "SET search_path = public, profenrich; $statement" ],
		'<', \undef, '>', \$out, '2>', \$err);
	$node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM profenrich.load_progress WHERE phase ~ '$phase')") or die "never reached $phase: $err";
	my $from = time;
	sql('SELECT pg_cancel_backend(pid) FROM load_progress');
	$run->finish;
	my $seconds = time - $from;
	like($err, qr/canceling statement due to user request/, "$phase: cancelled");
	return $seconds;
}

my $folder = $node->basedir . '/files';
mkdir $folder;
{
	open my $json, '>', "$folder/many.json" or die;
	open my $csv, '>', "$folder/many.csv" or die;
	print {$csv} "id,a,b,c\n";
	for my $i (1 .. 400_000)
	{
		print {$json} qq({"_id":"$i","person":{"name":{"firstName":"Ann $i"}},"_acme":{"a":$i,"b":0.5,"c":"text $i"}}\n);
		print {$csv} "$i,$i.5,text $i,2026-01-01\n";
	}
	close $json;
	close $csv;
}
for my $case ([ 'many.json', 'reading fields' ], [ 'many.json', 'loading rows' ], [ 'many.csv', 'loading rows' ])
{
	my $seconds = cancelled_after("SELECT load_snapshot_file('$folder/$case->[0]', 'cancelled')", $case->[1]);
	cmp_ok($seconds, '<', 0.5, sprintf('%s, %s: within 0.2 s and the time a client takes (%.3f s)', @$case, $seconds));
}
$platform->fault(path => '/files/.*path=', count => 1, action => { trickle => 100 });
my $seconds = cancelled_after("SELECT load_snapshot('aep', 'cancelled', merge_policy => 'default')", 'downloading');
cmp_ok($seconds, '<', 0.5, sprintf('while downloading as well (%.3f s)', $seconds));
$platform->clear_faults;
is(leftovers(), '0', 'nothing is left behind');
is(sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'cancelled%'"), '0', 'no table either');

# --- locks ---

my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM profiles_latest');
like(failure("SET lock_timeout = '200ms'; SELECT load_snapshot_file('$data/day2.parquet', 'profiles', snapshot_date => '2026-11-25')"),
	qr/could not be locked in time.*\n.*Nothing was loaded.*\n.*lock_timeout/, 'lock_timeout bounds the wait for the view, and says so');
is(sql("SELECT rows FROM load_snapshot_file('$data/day2.parquet', 'profiles', snapshot_date => '2026-11-20')"), '2', 'an older new day needs no lock that a reader notices');
like(failure("SET lock_timeout = '200ms'; SELECT load_snapshot_file('$data/day2.parquet', 'profiles', snapshot_date => '2026-11-20')"),
	qr/could not be locked in time/, 'a day loaded again does');
is(sql("SELECT count(*) FROM profiles WHERE snapshot_date = '2026-11-20'"), '2', 'its rows stay');
my ($waited_out, $waited_err) = ('', '');
my $waiting = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
	"SELECT rows FROM profenrich.load_snapshot_file('$data/day2.parquet', 'public.profiles', snapshot_date => '2026-11-25')" ],
	'<', \undef, '>', \$waited_out, '2>', \$waited_err);
$node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM profenrich.load_progress WHERE phase = 'waiting for lock')") or die $waited_err;
is($node->safe_psql('postgres', 'SELECT count(*) FROM profiles_latest'), '4', 'other readers pass a waiting load');
$reader->query_safe('COMMIT');
$waiting->finish;
is($waited_out, "2\n", 'it goes on when the reader has ended');
is(sql('SELECT DISTINCT snapshot_date FROM profiles_latest'), '2026-11-25', 'and the view has moved on');
$reader->quit;

# --- two at once ---

my @runs = map {
	my $day = $_;
	my ($out, $err) = ('', '');
	my $run = { out => \$out, err => \$err, day => $day };
	$run->{process} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
		"SELECT rows FROM profenrich.load_snapshot_file('$folder/many.csv', 'public.parallel', snapshot_date => '2026-11-$day')" ],
		'<', \undef, '>', $run->{out}, '2>', $run->{err});
	$run;
} (21, 22, 22);
$_->{process}->finish for @runs;
is(join(',', map { ${ $_->{out} } . ${ $_->{err} } } @runs), join(',', ("400000\n") x 3), 'three loads of a new table at once, two of the same day');
is(sql('SELECT snapshot_date, count(*) FROM parallel GROUP BY 1 ORDER BY 1'), "2026-11-21|400000\n2026-11-22|400000", 'each day is there once');
is(sql('SELECT DISTINCT snapshot_date FROM parallel_latest'), '2026-11-22', 'the view shows the newest');

# --- dump and restore ---

my $before = sql('SELECT into_table, snapshot_date, loaded_at, rows, partition FROM snapshots ORDER BY 1, 2');
sql('DROP TABLE parallel CASCADE');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-q', '-f', $dump, $node->connstr('restored') ], 'restored');
$before =~ s/^parallel\|.*\n?//mg;
chomp $before;
is($node->safe_psql('restored', 'SELECT into_table, snapshot_date, loaded_at, rows, partition FROM profenrich.snapshots ORDER BY 1, 2'),
	$before, 'the loaded days are listed');
is($node->safe_psql('restored', "SELECT rows FROM profenrich.load_snapshot_file('$data/day2.parquet', 'profiles', snapshot_date => '2026-11-26')"), '2', 'a load goes on from there');
is($node->safe_psql('restored', 'SELECT DISTINCT snapshot_date FROM profiles_latest'), '2026-11-26', 'the view, too');

# --- a database that cannot hold profiles ---

$node->safe_psql('postgres', "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
$node->safe_psql('latin', 'CREATE EXTENSION profenrich');
my ($code, $out, $err) = $node->psql('latin', "SELECT profenrich.load_snapshot_file('$data/day1.json', 'profiles')");
like($err, qr/database with encoding LATIN1.*\n.*UTF8/, 'refused, with the way out');

$node->stop;
done_testing();
