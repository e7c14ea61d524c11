# The circle closed: what was delivered comes back in the platform's next snapshot and is compared with what was
# sent, once as it should be, once with every way of going wrong.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Queue;
use StandIn;

my $platform = StandIn->new;
my $node     = PostgreSQL::Test::Cluster->new('reconcile');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.resend_gap = 0\n");
$platform->install($node);
$node->start;
$platform->connect_server($node, 'aep');
my $json = JSON::PP->new->utf8->canonical;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub deliver
{
	sql("SELECT changed FROM profenrich.refresh('churn'); SELECT profenrich.drain('churn')");
	return;
}

# Values of every kind, some of which change their form on the way.
sql(q{
	CREATE TABLE scores AS
	SELECT 'C-' || i AS crm_id, (i / 7.0)::numeric(20, 12) AS probability, i / 3.0::float8 AS value, i * 1000003::bigint AS points,
		   'band ' || i % 7 AS bucket, i % 2 = 0 AS vip, '2026-11-20 10:00:00.123456+00'::timestamptz + i * interval '1 s' AS seen,
		   '1980-01-31'::date + i AS born, jsonb_build_array(jsonb_build_object('feature', 'f', 'value', i::text, 'contribution', i / 3.0)) AS reasons,
		   ARRAY['a', 'b' || i] AS tags, jsonb_build_object('shoes', i, 'hats', 1) AS affinity
	  FROM generate_series(1, 300) AS i;
	SELECT profenrich.create_enrichment('churn', 'aep', 'scores', 'crm_id', 'CRMID', attributes => '{"affinity": "map<integer>"}');
	SELECT * FROM profenrich.provision('churn')});
deliver();

# The platform's export of all its profiles; change, when given, alters them or returns nothing to leave one out.
sub export_snapshot
{
	my ($day, $number, $change) = @_;
	my %seen;
	my $file = "$platform->{state}/profiles.ndjson";
	open my $out, '>:raw', $file or die "$file: $!";
	for my $fragment (@{ $platform->control('GET', '/profiles') })
	{
		next if $seen{ $fragment->{identity} }++;
		my $profile = $platform->profile('CRMID', $fragment->{identity});
		$profile = $change->($fragment->{identity}, $profile) if $change;
		print {$out} $json->encode($profile), "\n" if $profile;
	}
	close $out or die "$file: $!";
	my $types = $json->encode({ _acme => "STRUCT(churn STRUCT(probability $number, \"value\" $number, points BIGINT, bucket VARCHAR, vip BOOLEAN,
		seen TIMESTAMPTZ, born DATE, reasons STRUCT(feature VARCHAR, \"value\" VARCHAR, contribution $number)[], tags VARCHAR[],
		affinity MAP(VARCHAR, INTEGER), \"profileId\" VARCHAR, \"scoredAt\" TIMESTAMPTZ))" });
	system('node', "$FindBin::RealBin/../tools/profiles_to_snapshot.mjs", '--in', $file, '--types', $types, '--out',
		$platform->snapshot_folder($day)) == 0 or die 'profiles_to_snapshot.mjs failed';
	return;
}

# The export of a day is made at 03:00 UTC: those of the next days hold what is sent now.
sub day { return strftime('%Y-%m-%d', gmtime(time + 86400 * $_[0])) }

sub load { return sql("SELECT rows FROM profenrich.load_snapshot('aep', 'profiles', snapshot_date => '$_[0]')") }

sub counts
{
	my ($arguments) = @_;
	return sql("SELECT string_agg(status || ' ' || profiles, ', ') FROM profenrich.reconcile('churn', 'profiles'" . ($arguments // '') . ") WHERE profiles > 0");
}

export_snapshot(day(1), 'DOUBLE');
is(load(day(1)), 300, 'the export is loaded');
is(counts(), 'landed 300', 'everything sent has landed');
is(sql('SELECT exported_at FROM profenrich.snapshots') , sql("SELECT '@{[day(1)]} 03:00+00'::timestamptz"), 'it is known when it was made');
export_snapshot(day(2), 'FLOAT');
load(day(2));
is(counts(), 'landed 300', 'also when numbers went through four bytes');
sql("SELECT profenrich.load_snapshot('aep', 'mapped', snapshot_date => '@{[day(1)]}', columns => '{\"id\": \"identityMap.CRMID.id\",
	\"p\": {\"path\": \"_acme.churn.probability\", \"type\": \"numeric(8,3)\"}, \"seen\": {\"path\": \"_acme.churn.seen\", \"type\": \"text\"},
	\"scored\": \"_acme.churn.scoredAt\", \"affinity\": \"_acme.churn.affinity\"}')");
is(sql(q{SELECT string_agg(status || ' ' || profiles, ', ') FROM profenrich.reconcile('churn', 'mapped') WHERE profiles > 0}), 'landed 300',
	'and with a mapping that rounds');

# A second value for 60 of them; and what goes wrong with some of these.
my %before = map { $_ => $platform->profile('CRMID', $_) } map { "C-$_" } 1 .. 60;
$platform->fault(path => '/collection/', action => { entries => { status => 400, identities => [ map { "C-$_" } 51 .. 53 ] } });
sql("UPDATE scores SET probability = probability + 1 WHERE crm_id IN (SELECT 'C-' || i FROM generate_series(1, 60) i)");
deliver();
$platform->clear_faults;
sql(q{SELECT profenrich.retract('churn', ARRAY['C-61', 'C-62']); SELECT profenrich.drain('churn');
	SELECT profenrich.pause('churn'); UPDATE scores SET probability = 0.5 WHERE crm_id IN ('C-71', 'C-72');
	UPDATE scores SET crm_id = 'gone-' || crm_id WHERE crm_id IN ('C-61', 'C-62'); SELECT changed FROM profenrich.refresh('churn');
	DELETE FROM profenrich.profile_score WHERE profile_key = 'C-99'});
# Another data set writes the same field later.
$platform->control('POST', '/profiles', join "\n", map { $json->encode({ namespace => 'CRMID', identity => $_, entity => { _acme => { churn => { bucket => 'x' } } } }) }
	  map { "C-$_" } 81 .. 85);
export_snapshot(day(3), 'DOUBLE', sub {
	my ($key, $profile) = @_;
	my ($number) = $key =~ /(\d+)$/;
	return $before{$key} if $number <= 10;
	return undef if $number >= 11 && $number <= 14;
	delete $profile->{_acme} if $number >= 15 && $number <= 18;
	return $profile;
});
load(day(3));
my $found = counts();
# 299 have a value: of two that were cleared nothing is left, C-99 was forgotten, two are new.
my $expected = 'landed ' . (299 - 10 - 4 - 5 - 4 - 4 - 3) . ', stale 10, missing 4, overwritten 5, identity unknown 4, pending 4, refused 3, unexpected 1';
is($found, $expected, 'each way of going wrong is counted as what it is');
is(sql(q{SELECT string_agg(profile_key, ' ' ORDER BY profile_key) FROM profenrich.reconcile_rows('churn', 'profiles', statuses => '{overwritten, missing}')}),
	'C-15 C-16 C-17 C-18 C-81 C-82 C-83 C-84 C-85', 'and named');
is(counts(", taken_at => now() - interval '1 hour'"), $expected =~ s/stale.*unknown 4/too recent 23/r, 'of a snapshot made before they were sent, they are only too recent');
is(counts(", snapshot_date => '" . day(1) . "', taken_at => 'yesterday'"),
	'landed ' . (299 - 57 - 4 - 3) . ', too recent 57, pending 4, refused 3, unexpected 3', 'so with the first day');
is(sql('SELECT count(*), count(DISTINCT snapshot_date), max(stale) FROM profenrich.reconciliations'), '6|3|10', 'each run is kept');

# Sent again, they land.
sql("SELECT profenrich.resume('churn'); SELECT profenrich.resend('churn', (SELECT array_agg(profile_key) FROM profenrich.reconcile_rows('churn', 'profiles')));
	SELECT profenrich.drain('churn')");
export_snapshot(day(4), 'DOUBLE');
load(day(4));
is(counts(), 'landed 299, unexpected 1', 'resend() repairs what reconcile_rows() found');

$node->stop;
$platform->stop;
done_testing();
