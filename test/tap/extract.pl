# The ways out of the platform: snapshots day by day with their gaps, downloads that break, expired batches.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use File::Copy qw(copy);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use JSON::PP ();
use StandIn;

my $data = "$FindBin::RealBin/../data/load";
my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('extract');
$node->init;
$platform->install($node);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\nshared_preload_libraries = 'profenrich'\n");
$node->start;
$platform->connect_server($node, 'aep');

my $path = 'SET search_path = public, profenrich;';
sub sql { return $node->safe_psql('postgres', "$path $_[0]") }

# What a session says of its statements, each a transaction of its own: (standard output, standard error).
sub session
{
	my ($out, $err) = ('', '');
	$node->run_log([ 'psql', '-XAtq', '-v', 'VERBOSITY=default', '-d', $node->connstr('postgres'), map { ('-c', $_) } $path, @_ ],
		'>', \$out, '2>', \$err);
	chomp $out;
	return ($out, $err);
}

sub failure { my ($out, $err) = session($_[0]); return $err =~ /ERROR/ ? $err : "no error: $out$err" }

sub give { my ($file, $day, $policy, $name) = @_; copy("$data/$file", $platform->snapshot_folder($day, $policy) . '/' . ($name // $file)) or die "$file: $!"; return }

# Nothing may stay of a load that failed: no table, no temporary file of a session that has ended.
sub leftovers
{
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend'") or die;
	return sql("SELECT (SELECT count(*) FROM pg_class WHERE relname ~ '_load_[0-9]+_[0-9]+') + (SELECT count(*) FROM pg_ls_tmpdir())");
}

sub batch_of { my ($day, $policy) = @_; return sql("SELECT batch FROM available_snapshots('aep', merge_policy => '" . ($policy // 'default') . "') WHERE snapshot_date = '$day'") }

# The requests for bytes of parts, as [range, begin, end].
sub ranges
{
	return [ map { [ $_->{headers}{Range} // $_->{headers}{range}, $_->{ms} - 1000 * $_->{seconds}, $_->{ms} ] }
		  grep { $_->{target} =~ m{/files/.*path=} } @{ $platform->requests } ];
}

# --- days ---

give('day1.parquet', "2026-11-$_") for 20, 22, 23;
is(sql("SELECT snapshot_date, status, batch IS NOT NULL, detail FROM available_snapshots('aep')"),
	"2026-11-20|missing|t|\n2026-11-21|lost|f|the platform has no batch of this day\n2026-11-22|missing|t|\n2026-11-23|missing|t|",
	'the days that are there, and the gap');
is(sql("SELECT rows FROM load_snapshot('aep', 'profiles', snapshot_date => '2026-11-22')"), '2', 'one of them');
is(sql("SELECT string_agg(status, ',' ORDER BY snapshot_date) FROM available_snapshots('aep', 'profiles')"), 'missing,lost,loaded,missing', 'is loaded');
my ($out, $err) = session("CALL load_missing_snapshots('aep', 'profiles')");
is($out, '2|0|1', 'the missing days are loaded');
like($err, qr/WARNING:.*cannot be loaded any more: 2026-11-21/, 'the lost one is named');
like($err, qr/loaded 2026-11-20: 2 rows/, 'those that are loaded, too');
is(sql('SELECT snapshot_date, count(*) FROM profiles GROUP BY 1 ORDER BY 1'), "2026-11-20|2\n2026-11-22|2\n2026-11-23|2", 'each once');
is(sql('SELECT DISTINCT snapshot_date FROM profiles_latest'), '2026-11-23', 'the view shows the newest');
($out, $err) = session("CALL load_missing_snapshots('aep', 'profiles', since => '2026-11-22')");
is($out, '0|0|0', 'and then there is nothing to do');
give('day2.parquet', '2026-11-23');
is(sql("SELECT status, detail ~ '^loaded from batch ' FROM available_snapshots('aep', 'profiles') WHERE snapshot_date = '2026-11-23'"), 'changed|t', 'a day made again is seen');
($out) = session("CALL load_missing_snapshots('aep', 'profiles', since => '2026-11-22')");
is($out, '1|0|0', 'and loaded again');
is(sql("SELECT count(*) FROM profiles WHERE snapshot_date = '2026-11-23'"), '4', 'with its new rows alone');
unlink glob $platform->snapshot_folder('2026-11-22') . '/*';
is(sql("SELECT status FROM available_snapshots('aep', 'profiles') WHERE snapshot_date = '2026-11-22'"), 'kept', 'a day that the platform has given up is kept here');
$node->safe_psql('postgres', 'CREATE ROLE stranger IN ROLE profenrich_analyst; GRANT USAGE ON FOREIGN SERVER aep TO stranger;
	CREATE USER MAPPING FOR PUBLIC SERVER aep OPTIONS (client_id \'profenrich-client\', secret_file \'standin\')');
like(failure("SET ROLE stranger; SELECT available_snapshots('aep', 'profiles')"), qr/permission denied for table profiles/, 'whoever may not read the table learns nothing of it');

# --- batches whose files have expired ---

give('day1.parquet', "2026-11-$_", 'second') for 21, 22, 23;
my $gone = batch_of('2026-11-23', 'second');
$platform->fault(path => "/batches/$gone/files", action => { status => 404 });
($out, $err) = session("SELECT snapshot_date FROM load_snapshot('aep', 'second', merge_policy => 'second')");
is($out, '2026-11-22', 'without a date the newest that is there is loaded');
like($err, qr/NOTICE:.*batch $gone, of 2026-11-23, is skipped: its files have expired/, 'and the other one named');
like(failure("SELECT load_snapshot('aep', 'second', merge_policy => 'second', snapshot_date => '2026-11-23')"),
	qr/batch $gone, of 2026-11-23, are not there any more.*\n.*expired/, 'the day itself is an error');
($out, $err) = session("CALL load_missing_snapshots('aep', 'second', merge_policy => 'second')");
is($out, '1|1|0', 'days that have expired do not keep the others');
like($err, qr/WARNING:  skipped 2026-11-23: .*not there any more/, 'and are named');
$platform->clear_faults;
($out) = session("CALL load_missing_snapshots('aep', 'second', merge_policy => 'second')");
is($out, '1|0|0', 'a retry picks up');

# --- downloads ---

{
	open my $json, '>', $platform->snapshot_folder('2026-11-23', 'large') . '/many.json' or die;
	print {$json} qq({"_id":"$_","person":{"name":{"firstName":"Ann $_"}},"_acme":{"a":$_,"c":"text $_"}}\n) for 1 .. 4000;
	close $json;
}
$platform->settings(max_range_bytes => 50_000);
my $load = "SELECT rows FROM load_snapshot('aep', 'large', merge_policy => 'large')";
$platform->fault(path => '/files/.*path=', after => 2, count => 1, action => { status => 403 });
my $before = @{ ranges() };
($out, $err) = session($load, $load);
like($err, qr/ERROR/, 'a download that ends for good is an error');
is($out, '4000', 'a retry in the session loads everything');
my @asked = map { $_->[0] } @{ ranges() }[ $before .. $#{ ranges() } ];
is((grep { /^bytes=0-/ } @asked), 1, 'the first bytes were asked for once');
like($asked[3], qr/^bytes=100000-/, 'the retry went on where the failure was');
$platform->fault(path => '/files/.*path=', after => 1, count => 1, action => { revoke_token => JSON::PP::true() });
is(sql($load), '4000', 'a token that expires on the way is renewed');
$platform->clear_faults;
$platform->fault(path => '/files/.*path=', every => 2, count => 3, action => { cut => 'mid_reply' });
is(sql($load), '4000', 'cuts are taken up');
$platform->clear_faults;

give('day1.parquet', '2026-11-23', 'parts', sprintf 'part-%05d.parquet', $_) for 0 .. 39;
$platform->fault(path => '/files/.*path=', action => { delay_ms => 50 });
$before = @{ ranges() };
is(sql("SELECT rows, files FROM load_snapshot('aep', 'parts', merge_policy => 'parts')"), '80|40', 'forty parts');
sub overlapping
{
	my @ranges = sort { $a->[1] <=> $b->[1] } @_;
	return scalar grep { $ranges[$_][1] < $ranges[ $_ - 1 ][2] - 10 } 1 .. $#ranges;
}
cmp_ok(overlapping(@{ ranges() }[ $before .. $#{ ranges() } ]), '>', 10, 'come several at a time');
$before = @{ ranges() };
is(sql("SET profenrich.parallel_downloads = 1; SELECT rows FROM load_snapshot('aep', 'parts', merge_policy => 'parts')"), '80', 'or one by one');
is(overlapping(@{ ranges() }[ $before .. $#{ ranges() } ]), 0, 'as the setting says');
$platform->clear_faults;
like(failure("SET temp_file_limit = '10kB'; SELECT load_snapshot('aep', 'nothing', merge_policy => 'parts')"), qr/exceed temp_file_limit/, 'temp_file_limit holds');
is(leftovers(), '0', 'nothing is left behind');

# --- a night that fails, and the next one ---

sub many { my ($day) = @_; open my $json, '>', $platform->snapshot_folder("2026-11-$day", 'nights') . "/many$day.json" or die;
	print {$json} qq({"_id":"$day-$_","_acme":{"a":$_,"c":"text $_ of a line that is long enough"}}\n) for 1 .. 4000; close $json; return }
many($_) for 20 .. 23;
my $nights = "CALL load_missing_snapshots('aep', 'nights', merge_policy => 'nights')";
my $per_day = 'SELECT snapshot_date, count(*), count(DISTINCT id) FROM nights GROUP BY 1 ORDER BY 1';
sub part_requests { my ($day) = @_; return scalar grep { $_->{target} =~ m{/files/.*path=many$day} } @{ $platform->requests } }
$platform->fault(path => '/files/.*path=many21', after => 1, action => { status => 403 });
($out, $err) = session($nights);
like($err, qr/ERROR/, 'a download that is refused on the second of four days');
is(sql($per_day), '2026-11-20|4000|4000', 'the day before it is loaded');
is(leftovers(), '0', 'and of the one that was begun nothing is left');
$platform->clear_faults;
$before = part_requests(20);
$platform->fault(path => '/files/.*path=many22', after => 1, count => 1, action => { revoke_token => JSON::PP::true() });
$platform->fault(path => '/files/.*path=many23', after => 1, count => 1, action => { cut => 'mid_reply' });
($out, $err) = session($nights);
is($out, '3|0|0', 'the next call loads what is missing, over an expired token and a cut');
is(sql($per_day), join("\n", map { "2026-11-$_|4000|4000" } 20 .. 23), 'each day whole, and nothing twice');
is(part_requests(20), $before, 'what is there is not downloaded again');
$platform->clear_faults;
($out, $err) = session($nights);
is($out, '0|0|0', 'and then nothing is missing');

# The session ends in the middle of a download: at the administrator's word, or with its client.
many(24);
for my $end ('pg_terminate_backend', 'pg_cancel_backend')
{
	$platform->fault(path => '/files/.*path=many24', after => 1, count => 1, action => { delay_ms => 30_000 });
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $path, '-c', $nights ], '<', '/dev/null', '>', '/dev/null', '2>', \my $said);
	ok($node->poll_query_until('postgres', 'SELECT coalesce(sum(size), 0) > 0 FROM pg_ls_tmpdir()'), "$end: a part has begun to come");
	sql("SELECT $end(pid) FROM pg_stat_activity WHERE query ~ '^CALL load_missing'");
	$run->finish;
	like($said, qr/terminating connection|canceling statement/, 'the download ends with it');
	is(leftovers(), '0', 'and leaves nothing');
	is(sql("SELECT count(*) FROM nights WHERE snapshot_date = '2026-11-24'"), '0', 'nothing is loaded');
	$platform->clear_faults;
}
($out, $err) = session($nights);
is($out, '1|0|0', 'a retry picks up');
is(sql("SELECT count(*), count(DISTINCT id) FROM nights WHERE snapshot_date = '2026-11-24'"), '4000|4000', 'all of it');

# --- days whose data is at fault ---

sub lines
{
	my ($day, @lines) = @_;
	open my $json, '>', $platform->snapshot_folder("2026-11-$day", 'faulty') . "/faulty$day.json" or die;
	print {$json} map { "$_\n" } @lines;
	close $json;
	return;
}
sub good { my ($day, $rows) = @_; return lines($day, map { qq({"_id":"$day-$_","seen":"2026-11-${day}T10:00:00Z"}) } 1 .. $rows // 20) }
good($_) for 20, 26, 27;
lines(21, '', '');
lines(22, '{"_id":"cut off', '{"_id":');
lines(23, '{"_id":"23-1","seen":"2026-11-23 10:00 Nowhere/Land"}');
good(24, 1);
good(25);
is(sql("SELECT rows FROM load_snapshot('aep', 'faulty', merge_policy => 'faulty', snapshot_date => '2026-11-20')"), '20', 'a day');
sql("SELECT set_validation('faulty', '{\"row_count\": 0.5}')");
$platform->fault(path => '/files/.*path=faulty25', action => { status => 503 });
$gone = batch_of('2026-11-26', 'faulty');
$platform->fault(path => "/batches/$gone/files", action => { status => 404 });
my $faulty = "CALL load_missing_snapshots('aep', 'faulty', merge_policy => 'faulty')";
($out, $err) = session($faulty);
like($err, qr/WARNING:  not loaded 2026-11-21: .*has no rows/, 'an empty day is named');
like($err, qr/WARNING:  not loaded 2026-11-22: .*line 1.*not valid JSON/, 'a damaged one');
like($err, qr/WARNING:  not loaded 2026-11-23: a value for column "seen" in file/, 'one whose values do not fit');
like($err, qr/WARNING:  not loaded 2026-11-24: .*1 of its checks failed/, 'one that the gate refuses');
like($err, qr/WARNING:  not loaded 2026-11-25: .*503/, 'one that cannot be downloaded');
like($err, qr/WARNING:  skipped 2026-11-26: .*not there any more/, 'and one that has expired');
like($err, qr/loaded 2026-11-27: 20 rows/, 'the day after them is loaded');
like($err, qr/ERROR:  days of faulty that could not be loaded: 2026-11-21, 2026-11-22, 2026-11-23, 2026-11-24, 2026-11-25\nDETAIL:  The others are loaded; by this call: 1\./,
	'and the call fails in the end, so that a job is seen to');
is(sql('SELECT string_agg(DISTINCT snapshot_date::text, \',\') FROM faulty'), '2026-11-20,2026-11-27', 'what was loaded stays');
$platform->clear_faults;
like(failure("CALL load_missing_snapshots('aep', 'faulty', merge_policy => 'faulty', columns => '{\"a\": {\"path\": \"_id\", \"type\": \"nosuchtype\"}}')"),
	qr/\A(?!.*WARNING).*ERROR:  type "nosuchtype" does not exist/s, 'what concerns every day ends it at once');
like(failure("CALL load_missing_snapshots('aep', 'faulty', merge_policy => 'faulty', columns => '{\"id\": {\"path\": \"_id\", \"type\": \"integer\"}}')"),
	qr/\A(?!.*WARNING).*ERROR:  column "id" is of type text, not integer/s, 'and so does a mapping that is not the table\'s');
($out, $err) = session('BEGIN', $faulty);
like($err, qr/ERROR:  load_missing_snapshots\(\) cannot run inside a transaction.*\n.*HINT:  CALL it without BEGIN/, 'no transaction around it');

# --- days that the table does not keep ---

give('day1.parquet', "2026-11-$_", 'brief') for 17, 19, 20, 21, 22, 23;
my $brief = "CALL load_missing_snapshots('aep', 'brief', merge_policy => 'brief')";
my $states = "SELECT string_agg(to_char(snapshot_date, 'DD ') || status, ', ' ORDER BY snapshot_date) FROM available_snapshots('aep', 'brief', merge_policy => 'brief')";
my $kept = "SELECT string_agg(DISTINCT to_char(snapshot_date, 'DD'), ',') FROM brief";
sql("SELECT load_snapshot('aep', 'brief', merge_policy => 'brief', snapshot_date => '2026-11-22')");
sql("SELECT unload_snapshot('brief', '2026-11-22'), set_retention('brief', '2 days')");
is(sql($states), '17 old, 18 old, 19 old, 20 old, 21 missing, 22 missing, 23 missing', 'of an empty table the newest day that can be loaded decides');
($out, $err) = session($brief);
is($out, '3|0|0', 'what it keeps is loaded, and no older day is called lost');
is(sql("$brief; $states"), "0|0|0\n17 old, 18 old, 19 old, 20 old, 21 loaded, 22 loaded, 23 loaded", 'and then there is nothing to do');
sql("SELECT load_snapshot('aep', 'brief', merge_policy => 'brief', snapshot_date => '2026-11-19')");
is(sql($states), '17 old, 18 old, 19 loaded, 20 old, 21 loaded, 22 loaded, 23 loaded', 'an older day can be had by its date');
give('day2.parquet', '2026-11-19', 'brief');
is(sql($states), '17 old, 18 old, 19 old, 20 old, 21 loaded, 22 loaded, 23 loaded', 'and is not loaded again when it changes');
give('day1.parquet', '2026-11-24', 'brief');
($out, $err) = session($brief);
is($out, '1|0|0', 'a newer day');
is(sql($kept), '22,23,24', 'takes the place of those that are too old now');
is(sql("$brief; $kept"), "0|0|0\n22,23,24", 'for good');
sql("SELECT load_snapshot('aep', 'brief', merge_policy => 'brief', snapshot_date => '2026-11-19')");
is(sql("SELECT apply_retention('brief'); $kept"), "2026-11-19\n22,23,24", 'an old day goes with the next retention');
sql("SELECT set_retention('brief', NULL)");
is(sql($states), '17 missing, 18 lost, 19 missing, 20 missing, 21 missing, 22 loaded, 23 loaded, 24 loaded', 'without one every day counts');

# --- events ---

sub event
{
	my ($id, $minute, $what, $map) = @_;
	return { _id => $id, timestamp => sprintf('2026-11-20T10:%02d:00Z', $minute), eventType => $what, commerce => { order => { priceTotal => $minute / 2 } },
		(defined $map ? (identityMap => $map) : ()) };
}

sub give_events
{
	my ($dataset, $number, @events) = @_;
	open my $file, '>', $platform->events_folder($dataset, $number) . '/part-00000.json' or die;
	print {$file} map { JSON::PP->new->canonical->encode($_) . "\n" } @events;
	close $file;
	return;
}

give_events('web', 1, event('e1', 1, 'view', { ECID => [ { id => 'E-1', primary => JSON::PP::true() } ] }),
	event('e2', 2, 'order', { crmid => [ { id => 'C-2' }, { id => 'C-10' } ], ECID => [ { id => 'E-2' } ] }));
give_events('web', 2, event('e3', 3, 'view'));
is(sql("SELECT * FROM load_events('aep', 'events', 'web')"), '2|3|0|0|2|' . (sql("SELECT sum(bytes) FROM event_batches")), 'both batches');
is(sql('SELECT _id, profile_namespace, profile_key, event_type, commerce_order_price_total FROM (SELECT *, id AS _id FROM events) e ORDER BY 1'),
	"e1|ECID|E-1|view|0.5\ne2|CRMID|C-10|order|1\ne3|||view|1.5", 'under the keys of their profiles');
is(sql("SELECT * FROM load_events('aep', 'events', 'web')"), '0|0|0|0|0|0', 'each batch once');
give_events('web', 3, { %{ event('e4', 4, 'view', { ECID => [ { id => 'E-2' } ] }) }, web => { page => 'home' } });
is(sql("SELECT batches, rows FROM load_events('aep', 'events', 'web', key_namespaces => '{crmid}')"), '1|1', 'a later batch');
is(sql("SELECT profile_key, web_page FROM events WHERE id = 'e4'"), 'E-2|home', 'with a new column');
give_events('web', 4, event('e5', 2, 'refund', { ECID => [ { id => 'E-2' } ] }));
open my $replaced, '>', $platform->events_folder('web', 1) . '/.replaced' or die;
close $replaced;
is(sql("SELECT batches, rows, replaced FROM load_events('aep', 'events', 'web')"), '1|1|1', 'a batch that replaces another');
is(sql('SELECT string_agg(id, \',\' ORDER BY id) FROM events'), 'e3,e4,e5', 'takes the place of its rows');
give_events('web', 5, event('e6', 6, 'view'));
open my $expired, '>', $platform->events_folder('web', 5) . '/.expired' or die;
close $expired;
($out, $err) = session("SELECT batches, rows, expired FROM load_events('aep', 'events', 'web')");
is($out, '0|0|1', 'a batch whose files have expired is passed over');
like($err, qr/NOTICE:.*is skipped: its files have expired/, 'and named');
is(sql("SELECT batches, expired FROM load_events('aep', 'events', 'web')"), '0|0', 'once');
is(sql("SELECT status, count(*) FROM event_batches GROUP BY 1 ORDER BY 1"), "expired|1\nloaded|3", 'the books say so');

# Events stitched to the profiles whose identity maps have their ids.
$node->safe_psql('postgres', "CREATE TABLE people (identity_map jsonb);
	INSERT INTO people VALUES ('{\"CRMID\": [{\"id\": \"C-7\"}], \"ecid\": [{\"id\": \"E-2\"}, {\"id\": \"E-1\"}]}'), ('{\"ECID\": [{\"id\": \"E-9\"}]}')");
unlink glob $platform->events_folder('web', 1) . '/.replaced';
my $stitched = "SELECT batches, rows FROM load_events('aep', 'stitched', 'web', columns => '{\"event_id\": \"_id\", \"type\": \"eventType\"}',
	key_namespaces => '{CRMID}', profiles => 'people')";
($out, $err) = session('BEGIN', $stitched, $stitched, 'COMMIT');
is($out, "4|5\n0|0", 'loaded again, with a mapping, stitched; once in a transaction');
unlike($err, qr/skipping/, 'of its temporary tables nothing is said');
is(sql('SELECT event_id, profile_namespace, profile_key FROM stitched ORDER BY 1'),
	"e1|CRMID|C-7\ne2|CRMID|C-7\ne3||\ne4|CRMID|C-7\ne5|CRMID|C-7", 'every id leads to the profile');

# Failures leave nothing half loaded, and a retry picks up.
give_events('web', 6, map { event("f$_", $_ % 60, 'view') } 1 .. 2000);
give_events('web', 7, event('e7', 7, 'view'));
open my $bad, '>>', $platform->events_folder('web', 7) . '/part-00000.json' or die;
print {$bad} "{\"_id\": \n";
close $bad;
like(failure("SELECT load_events('aep', 'events', 'web')"), qr/part-00000.json", line 2, is not valid JSON.*\n.*Nothing was loaded/, 'a bad line is named');
is(sql('SELECT count(*) FROM events'), '3', 'and nothing of any batch is loaded');
give_events('web', 7, event('e7', 7, 'view'));
$platform->settings(max_range_bytes => 50_000);
$platform->fault(path => '/files/.*path=', after => 2, count => 1, action => { status => 403 });
like(failure("SELECT load_events('aep', 'events', 'web')"), qr/ERROR/, 'a download that ends');
$platform->clear_faults;
is(sql("SELECT batches, rows FROM load_events('aep', 'events', 'web')"), '3|2003', 'a retry picks up, with the batch that has come back');
is(sql("SELECT count(*), count(DISTINCT id) FROM events"), '2006|2006', 'nothing twice');
like(failure("SELECT load_events('aep', 'people', 'web')"), qr/lacks the columns of a table of events/, 'not into any table');
like(failure("SELECT load_events('aep', 'x', 'web', columns => '{\"profile_key\": \"_id\"}')"), qr/"profile_key" is reserved/, 'our own columns are ours');
like(failure("SELECT load_events('aep', 'x', 'nothing')"), qr/no data set "nothing"/, 'a data set that is not there');
like(failure("SET ROLE stranger; SELECT load_events('aep', 'events', 'web')"), qr/must be owner of table events/, 'the owner only');
is(leftovers(), '0', 'nothing is left behind');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-q', '-f', $dump, $node->connstr('restored') ], 'restored');
is($node->safe_psql('restored', "SELECT batches, rows FROM profenrich.load_events('aep', 'public.events', 'web')"), '0|0', 'and no batch is loaded again');

$node->stop;
done_testing();
