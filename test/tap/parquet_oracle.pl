# Every Parquet file at hand is read by our reader and by DuckDB, row for row; damaged
# ones end in rows or a clear error. The larger collections are used when they are there.
use strict;
use warnings;
use File::Basename qw(basename);
use File::Find;
use FindBin;
use Test::More;

my $test   = "$FindBin::RealBin/..";
my $dump   = "$test/../parquet_dump";
my $shared = $ENV{PROFENRICH_SHARED};
plan skip_all => 'parquet_dump is not built' unless -x $dump;

# A sanitizer's finding must not look like the tool's own "1: refused".
$ENV{ASAN_OPTIONS}  = 'exitcode=99';
$ENV{UBSAN_OPTIONS} = 'exitcode=99';

# What we refuse and DuckDB reads, and why; DuckDB checks no page checksums and clamps timestamps.
my %refused = (
	'datapage_v1-corrupt-checksum.parquet'           => qr/checksum does not match/,
	'rle-dict-uncompressed-corrupt-checksum.parquet' => qr/checksum does not match/,
	'int96_from_spark.parquet'                       => qr/row 6 .* holds a timestamp out of range/,
	'flat_brotli.parquet'                            => qr/compressed with brotli/,
	'large_string_map.brotli.parquet'                => qr/compressed with brotli/,
	'bad_values.parquet'                             => qr/row 3 .* holds a NUL byte/);

sub files_under
{
	my @found;
	find({ wanted => sub { push @found, $File::Find::name if -f && !/\.(?:txt|md|csv|json)$/ }, no_chdir => 1 }, grep { -d } @_);
	return sort @found;
}

sub parquet_in
{
	return grep { /\.parquet$/ } files_under(@_);
}

my @good = parquet_in("$test/data/parquet");
my @shown = $shared ? parquet_in("$shared/data/parquet_testing/data", "$shared/aep/samples", "$shared/data/aep_luma") : ();
my @damaged = $shared ? files_under("$shared/data/parquet_testing/bad_data", "$shared/data/parquet_fuzz") : ();
push @damaged, grep { /encrypted$/ } files_under("$shared/data/parquet_testing/data") if $shared;

my %line;
open my $oracle, '-|', 'node', "$test/tools/parquet_oracle.mjs", $dump, @good, @shown or die "node: $!";
while (<$oracle>)
{
	chomp;
	my ($verdict, $name, $rest) = /^(\w+) (\S+) (.*)$/ or next;
	$line{$name} = [ $verdict, $rest ];
}
close $oracle;

foreach my $name (map { basename($_) } @good, @shown)
{
	my ($verdict, $rest) = @{ $line{$name} // [ 'missing', '' ] };
	if ($refused{$name})
	{
		like("$verdict $rest", $refused{$name}, "$name is refused, and the message says why");
	}
	elsif ($verdict eq 'unread')
	{
		like($rest, qr/ours: \d+ rows$/, "$name: DuckDB cannot read it, we can");
	}
	else
	{
		is($verdict, 'same', "$name: the rows DuckDB reads") or diag($rest);
	}
}

my @wrong;
foreach my $file (@damaged)
{
	open my $out, '-|', 'timeout', 30, $dump, $file or die "timeout: $!";
	my $last = '';
	$last = $_ while <$out>;
	close $out;
	my $status = $? >> 8;
	push @wrong, "$file: status $status, $last" unless $status == 0 || ($status == 1 && $last =~ /^error: \w+: \S/);
}
is_deeply(\@wrong, [], scalar(@damaged) . ' files of all kinds end in rows or an error') if @damaged;
done_testing();
