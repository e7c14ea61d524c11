# Every Parquet file at hand is read by our reader and by DuckDB, row for row; damaged ones, too, unless
# they are refused with a clear error. The larger collections are used when they are there.
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
	'variant.parquet'                                => qr/field "thing" .* is a variant/,
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

# What we refuse a file with, or undef: we read it, or something is very wrong with us.
sub refusal
{
	my ($file) = @_;
	open my $out, '-|', 'timeout', 30, $dump, $file or die "timeout: $!";
	my @lines = <$out>;
	close $out;
	return $? >> 8 == 1 && ($lines[-1] // '') =~ /^error: (\w+: \S.*)/ ? $1 : undef;
}

my @good = parquet_in("$test/data/parquet");
my @variants = $shared ? parquet_in("$shared/data/parquet_testing/shredded_variant") : ();
my @shown = $shared ? parquet_in("$shared/data/parquet_testing/data", "$shared/aep/samples", "$shared/data/aep_luma") : ();
my @damaged = $shared ? files_under("$shared/data/parquet_testing/bad_data", "$shared/data/parquet_fuzz") : ();
push @damaged, grep { /encrypted$/ } files_under("$shared/data/parquet_testing/data") if $shared;

my %refusal = map { $_ => refusal($_) } @variants, @damaged;
my @read    = grep { !defined $refusal{$_} } @damaged;

my %line;
my %seen;
@shown = grep { !$seen{ basename($_) }++ } @shown;
open my $oracle, '-|', 'node', "$test/tools/parquet_oracle.mjs", $dump, @good, @shown, @read or die "node: $!";
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

my @wrong = grep { ($refusal{$_} // '') !~ /field "var" .*is a variant, which is not read/ } @variants;
is_deeply(\@wrong, [], scalar(@variants) . ' files of variants are refused') if @variants;

# "differs" is also what a crash, a sanitizer's finding or a minute of work ends in.
@wrong = map { join ' ', $_, @{ $line{ basename($_) } // [] } } grep { ($line{ basename($_) } // [''])->[0] ne 'same' } @read;
is_deeply(\@wrong, [], @read . ' of ' . @damaged . ' damaged files are read as DuckDB reads them, the others refused') if @damaged;
done_testing();
