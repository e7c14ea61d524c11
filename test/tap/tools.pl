# The tools that make test snapshots: the same arguments give the same files, and a CSV becomes profiles.
use strict;
use warnings;
use Digest::SHA;
use File::Temp qw(tempdir);
use FindBin;
use JSON::PP qw(decode_json);
use Test::More;

my $tools   = "$FindBin::RealBin/../tools";
my $scratch = tempdir(CLEANUP => 1);

sub run_tool
{
	my ($tool, @arguments) = @_;
	open my $out, '-|', 'node', "$tools/$tool", @arguments or die "node: $!";
	local $/;
	my $text = <$out>;
	close $out or die "$tool failed";
	return decode_json($text);
}

sub digest
{
	my ($folder) = @_;
	my $sha = Digest::SHA->new(256);
	$sha->addfile($_, 'b') for sort glob "$folder/*.parquet";
	return $sha->hexdigest;
}

my $first = run_tool('make_snapshot.mjs', '--out', "$scratch/a", '--rows', 800, '--parts', 2, '--profiles', "$scratch/store.ndjson");
is($first->{rows},  800, 'rows asked for');
is($first->{files}, 2,   'parts asked for');
is(scalar(() = glob "$scratch/a/part-0000*-c000.snappy.parquet"), 2, 'parts are named as Spark names them');
cmp_ok($first->{churned}, '>', 0.15, 'some leave');
cmp_ok($first->{churned}, '<', 0.35, 'most stay');
run_tool('make_snapshot.mjs', '--out', "$scratch/b", '--rows', 800, '--parts', 2);
is(digest("$scratch/a"), digest("$scratch/b"), 'the same arguments give the same bytes');
my $next = run_tool('make_snapshot.mjs', '--out', "$scratch/c", '--rows', 800, '--parts', 2, '--day', 1);
is($next->{date}, '2026-11-24', 'the next day');
isnt(digest("$scratch/a"), digest("$scratch/c"), 'is another one');

open my $store, '<', "$scratch/store.ndjson" or die $!;
my @lines = <$store>;
is(scalar @lines, 800, 'a line for each profile in the store');
is(decode_json($lines[7])->{identity}, 'C-100007', 'by its identity');

open my $csv, '>', "$scratch/small.csv" or die $!;
print {$csv} qq{"age";"job_title";"Spent";"y"\n58;"manager";1.5;"no"\n44;"a;b";;"yes"\n;"";7;"no"\n};
close $csv;
my $made = run_tool('csv_to_snapshot.mjs', '--csv', "$scratch/small.csv", '--set', 'small', '--out', "$scratch/d", '--label', 'y');
is_deeply([ @$made{qw(rows positives inputs)} ], [ 3, 1, 3 ], 'a CSV with semicolons and quotes');
is_deeply(
	$made->{columns},
	{
		crm_id => 'identityMap.CRMID.id', i => '_acme.small.i', label => '_acme.small.label', age => '_acme.small.age',
		job_title => '_acme.small.jobTitle', spent => '_acme.small.spent'
	},
	'its columns as XDM paths');
done_testing();
