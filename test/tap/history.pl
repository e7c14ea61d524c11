# Tables of snapshots over many days: loads, compaction, retention, forgetting and readers at once; what a statement sees that had
# to wait; a dump and its restore; what forget() leaves of a profile.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StandIn;

my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('history');
$node->init;
$platform->install($node);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\ndeadlock_timeout = '200ms'\n");
$node->start;
$platform->connect_server($node, 'aep');

my $files = $node->basedir . '/days';
mkdir $files;
my $path = 'SET search_path = public, profenrich; SET client_min_messages = warning;';
sub sql { return $node->safe_psql($_[1] // 'postgres', "$path $_[0]") }
sub failure { my ($out, $err) = ('', ''); $node->psql('postgres', "$path $_[0]", stdout => \$out, stderr => \$err); return $err || "no error: $out" }
sub date { return sprintf '2026-11-%02d', $_[0] }

# A day's file: profiles C-1 to C-200 as a rule, of whom half change every day and the rest never.
sub day_file
{
	my ($day, %more) = @_;
	my $name = "$files/" . ($more{name} // "$day") . '.json';
	open my $file, '>', $name or die "$name: $!";
	for my $i (1 .. $more{profiles} // 200)
	{
		print {$file} JSON::PP->new->canonical->encode({ identityMap => { CRMID => [ { id => "C-$i" } ], ECID => [ { id => "E-$i" } ] },
			n => $i, v => ($i <= 100 ? $day : 0), ($more{extra} ? (extra => $day) : ()) }) . "\n";
	}
	print {$file} $more{last} if defined $more{last};
	close $file or die "$name: $!";
	return $name;
}
my $columns = '{"crm_id": "identityMap.CRMID.id", "ecid": "identityMap.ECID.id", "n": {"path": "n", "type": "int"}, "v": {"path": "v", "type": "int"}}';
sub load_sql { my ($day, $name, $more) = @_; return "SELECT rows FROM load_snapshot_file('$name', 'profiles', snapshot_date => '" . date($day) . "'" . ($more // '') . ");\n" }
day_file($_) for 1 .. 16;
sql(load_sql($_, "$files/$_.json", ", columns => '$columns'")) for 1 .. 4;

# A session of its own that runs a script to its end or its first error.
my $sessions = 0;
sub begin_session
{
	my ($script) = @_;
	my $name = $node->basedir . '/session' . ++$sessions;
	PostgreSQL::Test::Utils::append_to_file("$name.sql", "$path\n$script");
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', "$name.sql" ],
		'<', '/dev/null', '>', "$name.out", '2>', "$name.err");
	return { run => $run, name => $name };
}

sub end_session
{
	my ($session) = @_;
	$session->{run}->finish;
	$session->{$_} = slurp_file("$session->{name}.$_") for qw(out err);
	return $session;
}
sub waits_for_lock { return $node->poll_query_until('postgres', "SELECT count(*) >= $_[0] FROM pg_stat_activity WHERE wait_event_type = 'Lock'") }

# --- what is seen by those who had to wait ---

# Statements that began before a load or a compaction has ended, and get at the table afterwards, see it as it is then.
my %asks = (
	'a model'         => "SELECT rows FROM train('mean', 'value', 'profiles_latest', 'v', options => '{\"key\": \"crm_id\", \"trees\": 2}')",
	'scores'          => "SELECT count(*) FROM score('mean', 'profiles_latest', 'crm_id')",
	'a description'   => "SELECT DISTINCT rows FROM describe_snapshot('profiles')",
	'a difference'    => "SELECT profiles FROM diff_snapshots('profiles', '2026-11-03', '2026-11-04') WHERE column_name = 'v'",
	'a history'       => "SELECT string_agg(snapshot_date || event, ',' ORDER BY snapshot_date) FROM profile_history('profiles', 'CRMID:C-7')",
	'a validation'    => "SELECT status FROM validate_snapshot('profiles') WHERE check_name = 'row_count'",
	'the days'        => 'SELECT snapshot_date, count(*) FROM profiles GROUP BY 1 ORDER BY 1',
	'every day'       => 'SELECT snapshot_date, count(*) FROM profiles_history GROUP BY 1 ORDER BY 1',
);
sql("SELECT set_identity('profiles', '{CRMID,ECID}'); SELECT compact_history('profiles', '2 days'); $asks{'a model'}");

# Runs a change, and while it is not yet committed all of those; their answers, by what was asked.
sub ask_during
{
	my ($change) = @_;
	my $changing = $node->background_psql('postgres', on_error_stop => 1);
	$changing->query_safe("$path BEGIN; $change");
	my %sessions = map { $_ => begin_session($asks{$_} . ";\n") } keys %asks;
	ok(waits_for_lock(scalar keys %asks), 'all of them wait');
	$changing->query_safe('COMMIT');
	$changing->quit;
	return map { my $session = end_session($sessions{$_}); chomp(my $said = $session->{out} . $session->{err}); ($_ => $said) } keys %asks;
}

for my $case ([ 'loaded again', load_sql(4, "$files/4.json") ], [ 'compacted', "SELECT compact_history('profiles', '1 day');" ])
{
	my %seen = ask_during($case->[1]);
	my $days = join "\n", map { date($_) . '|200' } $case->[0] eq 'compacted' ? (3 .. 4) : (2 .. 4);
	is($seen{'a model'}, '200', "$case->[0] meanwhile: a model learns from the day that is there");
	is($seen{'scores'}, '200', 'all of it is scored');
	is($seen{'a description'}, '200', 'described');
	is($seen{'a difference'}, '100', 'compared');
	is($seen{'a history'}, join(',', date(1) . 'appeared', map { date($_) . 'unchanged' } 2 .. 4) =~ s/2026-11-(0[2-4])unchanged/2026-11-$1changed/gr, 'and followed');
	is($seen{'a validation'}, 'ok', 'and validated');
	is($seen{'the days'}, $days, 'the table shows whole days');
	is($seen{'every day'}, join("\n", map { date($_) . '|200' } 1 .. 4), 'so does the history');
}

# --- nobody waits for himself by way of another ---

# A transaction that has read the table goes on to read its views, while a load, a compaction and a retention wait for it to end.
{
	my $reader = $node->background_psql('postgres', on_error_stop => 1);
	$reader->query_safe("$path BEGIN; SELECT count(*) FROM profiles");
	sql("SELECT set_retention('profiles', '2 days')");
	my @waiting = map { begin_session($_) } load_sql(4, "$files/4.json"), "SELECT apply_retention('profiles');\n";
	ok($node->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_stat_activity WHERE query ~ '^SELECT (rows|apply)' AND state = 'active' AND wait_event IS NOT NULL"), 'a load of a day again and a retention wait');
	is($reader->query_safe('SELECT count(*) FROM profiles_history'), '800', 'for a reader, who reads on');
	is($reader->query_safe('SELECT count(*) FROM profiles_latest'), '200', 'whatever he reads');
	$reader->query_safe('COMMIT');
	$reader->quit;
	is($_->{err}, '', 'then they go on') for map { end_session($_) } @waiting;
}

# A row is changed, and another one after it, while a compaction wants to move the day.
{
	my $writer = $node->background_psql('postgres', on_error_stop => 1);
	$writer->query_safe("$path BEGIN; UPDATE profiles SET v = v WHERE crm_id = 'C-1' AND snapshot_date = '2026-11-04'");
	sql(load_sql(5, "$files/5.json"));
	my $compaction = begin_session("SELECT snapshot_date FROM compact_history('profiles', '1 day');\n");
	ok(waits_for_lock(1), 'a compaction waits for a writer');
	$writer->query_safe("UPDATE profiles SET v = v WHERE crm_id = 'C-1' AND snapshot_date = '2026-11-03'; COMMIT");
	$writer->quit;
	is(end_session($compaction)->{err}, '', 'and not the other way round');
}

# --- all at once ---

sql("SELECT set_retention('profiles', '6 days')");
my $whole = 'HAVING count(*) <> 200 OR count(*) FILTER (WHERE v <> CASE WHEN n <= 100 THEN extract(day FROM snapshot_date) ELSE 0 END) > 0';
my %scripts = (
	loads      => join('', map { load_sql($_, $_ == 9 ? day_file(9, extra => 1, name => 'nine') : "$files/$_.json", $_ == 9 ? ", columns => '" . ($columns =~ s/\}$/, "extra": {"path": "extra", "type": "int"}}/r) . "'" : '')
			. ($_ % 3 ? '' : load_sql($_ - 1, "$files/" . ($_ - 1) . '.json')) } 6 .. 16),
	compaction => "SELECT compact_history('profiles', '2 days');\n" x 30,
	again      => "SELECT compact_history('profiles', '1 day');\n" x 30,
	retention  => "SELECT apply_retention('profiles');\n" x 60,
	days       => "SELECT 'not whole', snapshot_date, count(*), min(v), max(v) FROM profiles_history GROUP BY 2 $whole;\n" x 100,
	row        => "SELECT 'missing', min(snapshot_date), max(snapshot_date), count(*) FROM profile_history('profiles', 'CRMID:C-7') HAVING count(*) <> max(snapshot_date) - min(snapshot_date) + 1;\n" x 100,
	newest     => "SELECT 'not whole', snapshot_date, count(*) FROM profiles_latest GROUP BY 2 $whole;\nSELECT 'not described', rows FROM describe_snapshot('profiles') WHERE rows <> 200;\n" x 60,
	forgetting => join('', map { "SELECT count(*) FROM forget('CRMID', 'nobody-$_');\n" } 1 .. 20),
);
my %running = map { $_ => begin_session($scripts{$_}) } keys %scripts;
for my $name (sort keys %running)
{
	my $session = end_session($running{$name});
	is($session->{err}, '', "$name: no error");
	is($session->{out}, '', "$name: whole days only") if $name =~ /^(days|row|newest)$/;
}
sql("SELECT compact_history('profiles', '1 day'); SELECT apply_retention('profiles')");
is(sql("SELECT min(snapshot_date), max(snapshot_date), count(*) FROM profiles_history"), '2026-11-10|2026-11-16|1400', 'what was to be kept is there');
is(sql("SELECT count(*) FROM (SELECT snapshot_date FROM profiles_history GROUP BY 1 $whole) AS d"), '0', 'as it was loaded');

# --- a load that fails leaves nothing ---

my $state = "SELECT md5(string_agg(r::text, ';' ORDER BY r::text)) FROM (SELECT p::text FROM profiles_history p UNION ALL SELECT s::text FROM snapshots s UNION ALL SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace) AS t(r)";
my $before = sql($state);
my $in_use = $node->background_psql('postgres', on_error_stop => 1);
$in_use->query_safe("$path BEGIN; SELECT count(*) FROM profiles");
for my $case ([ 'a bad line', load_sql(16, day_file(16, name => 'bad', last => "{\"n\": \n")), qr/not valid JSON/ ],
	[ 'a value of another type', load_sql(17, day_file(17, name => 'typed', last => "{\"n\": \"many\", \"identityMap\": {\"CRMID\": [{\"id\": \"C-x\"}]}}\n")), qr/column "n"/ ],
	[ 'no time', "SET statement_timeout = '1ms'; " . load_sql(17, "$files/16.json"), qr/statement timeout/ ],
	[ 'no lock', "SET lock_timeout = '50ms'; " . load_sql(16, "$files/16.json"), qr/could not be locked in time/ ])
{
	like(failure($case->[1]), $case->[2], "$case->[0] is an error");
	is(sql($state), $before, 'and nothing has changed');
}
$in_use->quit;
sql("SELECT set_validation('profiles', '{\"row_count\": [0.1, 0.3]}')");
like(failure(load_sql(17, day_file(17, profiles => 20, name => 'few'))), qr/1 of its checks failed/, 'so is a day of too few profiles');
is(sql($state), $before, 'and nothing has changed');

# --- dumped and restored ---

# One table has got another name, one is gone.
sql(load_sql($_, "$files/$_.json", ", columns => '$columns'") =~ s/'profiles'/'first'/r . load_sql($_, "$files/$_.json", ", columns => '$columns'") =~ s/'profiles'/'gone'/r) for 1 .. 4;
sql("SELECT set_identity('first', '{ECID}'), set_retention('first', '9 days'), set_retention('gone', '9 days'); SELECT compact_history('first', '1 day'); ALTER TABLE first RENAME TO second; DROP TABLE gone CASCADE");
my %kept = (
	'the renamed'  => "SELECT md5(string_agg(h::text, ';' ORDER BY h::text)) || count(*) FROM profile_history('second', 'ECID:E-7') h",
	'its days'     => "SELECT string_agg(snapshot_date || compacted::text || partition, ',' ORDER BY snapshot_date) FROM snapshots WHERE into_table = 'second'::regclass",
	'every row'   => 'SELECT count(*), md5(string_agg(h::text, \';\' ORDER BY h::text)) FROM profiles_history h',
	'the store'   => 'SELECT count(*), md5(string_agg(h::text, \';\' ORDER BY h::text)) FROM profiles_changes h',
	'the days'    => "SELECT string_agg(snapshot_date || compacted::text || rows, ',' ORDER BY snapshot_date) FROM snapshots WHERE into_table = 'profiles'::regclass",
	'settings'    => "SELECT string_agg(s::text, ';' ORDER BY s::text) FROM profenrich.snapshot_setting s JOIN pg_class c ON c.oid = s.snapshot_table",
	'verdicts'    => "SELECT string_agg(snapshot_date || outcome, ',' ORDER BY at) FROM snapshot_validations",
	'a profile'   => "SELECT md5(string_agg(h::text, ';' ORDER BY h::text)) FROM profile_history('profiles', 'ECID:E-7') h",
	'a comparison' => "SELECT string_agg(d::text, ';' ORDER BY d::text) FROM diff_snapshots('profiles', '2026-11-11', '2026-11-16') d",
	'description' => "SELECT md5(string_agg(d::text, ';' ORDER BY d::text)) FROM describe_snapshot('profiles', '2026-11-12') d",
);
my %there = map { $_ => sql($kept{$_}) } keys %kept;
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restored');
is(sql($kept{$_}, 'restored'), $there{$_}, "$_: the same") for sort keys %kept;
like($there{'settings'}, qr/second/, 'those of the renamed table');
is(sql('SELECT count(*) FROM profenrich.snapshot_setting', 'restored'), '2', 'none of the table that is gone');
like($there{'verdicts'}, qr/2026-11-17refused/, 'with the day that was refused');
sql('DROP TABLE second, first_changes CASCADE');
# What comes next goes on from there.
my $next = day_file(18, name => 'next');
sql(load_sql(17, $next) . "SELECT compact_history('profiles', '1 day')", 'restored');
is(sql("SELECT min(snapshot_date), max(snapshot_date), count(*), count(DISTINCT snapshot_date) FROM profiles_history", 'restored'), '2026-11-11|2026-11-17|1400|7', 'a later day, and retention');

# --- forgetting ---

sub give_events
{
	my ($number, @events) = @_;
	open my $file, '>', $platform->events_folder('web', $number) . '/part-00000.json' or die;
	print {$file} map { JSON::PP->new->canonical->encode($_) . "\n" } @events;
	close $file;
	return;
}
sub event { my ($id, $map) = @_; return { _id => $id, timestamp => '2026-11-20T10:00:00Z', eventType => 'view', identityMap => $map } }
give_events(1, event('by-id', { CRMID => [ { id => 'C-7' } ] }), event('by-device', { ECID => [ { id => 'E-7' } ] }), event('other', { CRMID => [ { id => 'C-8' } ] }));
is(sql("SELECT batches, rows FROM load_events('aep', 'events', 'web', key_namespaces => '{CRMID}')"), '1|3', 'events are loaded');
my $traces = join ' + ', map { "(SELECT count(*) FROM $_ t WHERE t::text ~ '\\m[CE]-7\\M')" } qw(profiles profiles_changes profiles_history profiles_latest events);
cmp_ok(sql("SELECT $traces"), '>', 10, 'a profile is in all of them');
my @said = split /\n/, sql("SELECT object, action FROM forget('{\"CRMID\": \"C-7\", \"ECID\": \"E-7\"}') WHERE rows > 0 AND object ~ '^table' ORDER BY 1");
is_deeply([ sort @said ], [ 'table public.events|deleted', 'table public.events|deleted', 'table public.profiles_changes|deleted', 'table public.profiles|deleted' ], 'forgotten in each');
is(sql("SELECT $traces"), '0', 'and nowhere any more');
is(sql("SELECT count(*) FROM profile_history('profiles', 'CRMID:C-7')"), '0', 'nor followed');
give_events(2, event('later', { ECID => [ { id => 'E-7' } ] }), event('kept', { ECID => [ { id => 'E-8' } ] }));
is(sql("SELECT rows FROM load_events('aep', 'events', 'web')"), '1', 'later events of the profile are left out');
sql(load_sql(17, $next) . "SELECT compact_history('profiles', '1 day')");
is(sql("SELECT $traces"), '0', 'and later days');
is(sql('SELECT count(*), count(DISTINCT snapshot_date) FROM profiles_history'), '1393|7', 'of the others nobody is missing');

# The first compaction of a table makes the store: a forget() that waits for it finds the rows there.
sql(load_sql(1, "$files/1.json") =~ s/'profiles'/'fresh'/r . load_sql(2, "$files/2.json") =~ s/'profiles'/'fresh'/r . load_sql(3, "$files/3.json") =~ s/'profiles'/'fresh'/r);
{
	my $compaction = $node->background_psql('postgres', on_error_stop => 1);
	$compaction->query_safe("$path BEGIN; SELECT count(*) FROM compact_history('fresh', '1 day')");
	my $forget = begin_session("SELECT count(*) FROM forget('ECID', 'E-9');\n");
	ok(waits_for_lock(1), 'forget() waits for a compaction');
	$compaction->query_safe('COMMIT');
	$compaction->quit;
	is(end_session($forget)->{err}, '', 'and then forgets');
	is(sql("SELECT count(*) FROM fresh_history WHERE identity_ecid = 'E-9'"), '0', 'what was moved meanwhile');
}

$node->stop;
$platform->stop;
done_testing();
