# report(): the page as a browser renders it, wide and narrow: nothing from outside, nothing cut off, readable, also for
# someone who cannot tell red from green.
use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('report');
$node->init;
$node->append_conf('postgresql.conf', "client_min_messages = warning\n");
$node->start;
my $directory = PostgreSQL::Test::Utils::tempdir;

# Names and texts that would break a page that does not escape them.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION profenrich;
CREATE TABLE profiles AS SELECT i AS id, abs(hashint4(i)) % 1000 / 100.0::float8 AS tenure,
	CASE WHEN i % 7 > 0 THEN abs(hashint4(i + 1000000)) % 500 / 5.0::float8 END AS "<script>alert(1)</script> & a name that goes on and on",
	(ARRAY['month to month', 'one "year"', 'two <years>'])[1 + abs(hashint4(i + 5)) % 3] AS contract, abs(hashint4(i + 9)) % 40 AS orders
	FROM generate_series(1, 6000) AS i;
ALTER TABLE profiles ADD churned boolean, ADD spend float8;
UPDATE profiles SET churned = tenure + (contract LIKE 'two%')::int * 2 + abs(hashint4(id + 77)) % 1000 / 200.0 < 5,
	spend = 10000 * (tenure + abs(hashint4(id + 78)) % 1000 / 200.0);
SELECT profenrich.train('churn & more', 'propensity', 'profiles', 'churned', options => '{"key": "id", "trees": 30, "features": {"exclude": ["spend"]}}');
SELECT profenrich.train('churn line', 'propensity', 'profiles', 'churned', 'logistic', options => '{"key": "id", "features": {"exclude": ["spend"]}}');
SELECT profenrich.train('spend', 'value', 'profiles', 'spend', options => '{"key": "id", "trees": 30, "features": {"exclude": ["churned"]}}');
ALTER TABLE profiles ADD mailed boolean, ADD visited boolean;
UPDATE profiles SET mailed = abs(hashint4(id + 79)) % 2 = 1;
UPDATE profiles SET visited = abs(hashint4(id + 80)) % 1000 / 1000.0 < 0.2 + CASE WHEN mailed THEN (tenure - 4) / 15 ELSE 0 END;
SELECT profenrich.train('mail', 'uplift', 'profiles', 'visited', options => '{"treatment": "mailed", "key": "id", "trees": 20, "max_depth": 3, "features": {"exclude": ["spend", "churned"]}}');
SELECT profenrich.train('all rows', 'propensity', 'profiles', 'churned', options => '{"trees": 3, "holdout": 0, "features": {"exclude": ["mailed", "visited"]}}');
SQL

sub slurp { local (@ARGV, $/) = shift; return <> }
sub spew { my ($path, $text) = @_; open(my $file, '>', $path) or die "$path: $!"; print $file $text; close $file; return }

# chromium(arguments...): its standard output.
sub chromium
{
	my $out;
	my @command = ('chromium', '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars',
		"--user-data-dir=$directory/browser", @_);
	local $ENV{HOME} = $directory;
	IPC::Run::run(\@command, '>', \$out, '2>', "$directory/chromium.log", IPC::Run::timeout(120)) or diag(slurp("$directory/chromium.log"));
	return $out;
}

# How pages measure up, each [page, width] in a frame of its own: a list. All in one start of the browser, which is what takes the time.
sub measures
{
	my @wanted = @_;
	my $script = slurp('measure.js');
	my $frames = '';
	for my $i (0 .. $#wanted)
	{
		my ($page, $width) = @{ $wanted[$i] };
		$page =~ s{<head>}{<head><script data-measure>$script</script>} or die 'no head';
		spew("$directory/measured_$i.html", $page);
		# A window can not be narrower than 500 pixels, a frame can.
		$frames .= qq{<iframe src="measured_$i.html" style="display:block;width:${width}px;height:900px;border:0"></iframe>};
	}
	spew("$directory/frames.html", qq{<!DOCTYPE html><body><script>
		const measures = Array($#wanted + 1).fill('null');
		addEventListener('message', e => {
			measures[[...document.querySelectorAll('iframe')].findIndex(frame => frame.contentWindow === e.source)] = e.data;
			document.body.dataset.measures = `[\${measures}]`;
		});</script>$frames</body>});
	my $dom = chromium('--window-size=1400,1000', '--allow-file-access-from-files', '--virtual-time-budget=10000', '--dump-dom', "file://$directory/frames.html");
	my ($json) = $dom =~ /data-measures="([^"]*)"/ or return;
	$json =~ s/&quot;/"/g; $json =~ s/&lt;/</g; $json =~ s/&gt;/>/g; $json =~ s/&amp;/&/g;
	return @{ decode_json($json) };
}

# As a reader without red-green sight sees a colour (Vienot, Brettel and Mollon 1999, deuteranopia), in linear light.
sub deuteranope
{
	my @linear = map { my $v = $_ / 255; $v <= 0.04045 ? $v / 12.92 : (($v + 0.055) / 1.055)**2.4 } @_;
	return (0.29275 * $linear[0] + 0.70725 * $linear[1], 0.29275 * $linear[0] + 0.70725 * $linear[1],
		-0.02234 * $linear[0] + 0.02234 * $linear[1] + $linear[2]);
}

my %figures = (
	'churn & more' => ['ROC curve', 'Cumulative gains', 'Lift by tenth', 'Calibration', 'What it looks at', 'How it pushes scores (SHAP)', 'Score distribution'],
	'churn line' => ['ROC curve', 'Cumulative gains', 'Lift by tenth', 'Calibration', 'What it looks at', 'How it pushes scores (SHAP)', 'Score distribution'],
	'spend' => ['Cumulative gains', 'Actual and predicted by tenth', 'What it looks at', 'How it pushes scores (SHAP)', 'Score distribution'],
	'mail' => ['Qini curve', 'Uplift by tenth', 'What it looks at', 'Score distribution'],
	'all rows' => ['What it looks at', 'How it pushes scores (SHAP)', 'Score distribution']);

my @models = sort keys %figures;
my %page   = map { $_ => $node->safe_psql('postgres', "SELECT profenrich.report('$_')") } @models;
my @measured = measures(map { my $page = $page{$_}; map { [ $page, $_ ] } 1280, 400 } @models);
for my $model (@models)
{
	my $page = $page{$model};
	unlike($page, qr/<script|https?:|url\(|javascript:/i, "$model: no script, no address");
	for my $width (1280, 400)
	{
		my $m = shift @measured;
		ok($m, "$model at $width: the browser laid it out") or next;
		is($m->{width}, $width, "$model at $width: as wide as that");
		cmp_ok($m->{scrolls}, '<=', 0, "$model at $width: no scrolling sideways");
		is_deeply($m->{figures}, $figures{$model}, "$model at $width: the figures");
		is(encode_json($m->{$_}), '[]', "$model at $width: $_") for qw(small faint overlaps clipped outside);
		is($m->{unlabelled}, 0, "$model at $width: every picture is described");
		next if $model ne 'spend';
		my ($main, $second) = map { [deuteranope(@{$m->{series}{$_}})] } qw(main second);
		my $distance = sqrt(($main->[0] - $second->[0])**2 + ($main->[2] - $second->[2])**2);
		cmp_ok($distance, '>', 0.2, "$model at $width: two lines differ without red and green");
		like($m->{dash}, qr/\d/, "$model at $width: and one is dashed");
	}
	# The picture itself: chart ink where the charts are, on every height of the page that has one.
	spew("$directory/page.html", $page);
	chromium('--window-size=400,3000', "--screenshot=$directory/page.png", "file://$directory/page.html");
	my $ink = `/usr/bin/python3 -c '
import sys
from PIL import Image
image = Image.open(sys.argv[1]).convert("RGB")
blue = [y for y in range(image.height) if any(p == (0, 114, 178) for p in [image.getpixel((x, y)) for x in range(24, 390)])]
print(image.width, len(blue))' $directory/page.png`;
	my ($width, $rows) = split ' ', $ink;
	is($width, 400, "$model: a picture of the page");
	cmp_ok($rows, '>', 100, "$model: with charts drawn on it");
}

# Who may not look at models may not look at their page.
$node->safe_psql('postgres', 'CREATE ROLE nobody_special LOGIN; GRANT USAGE ON SCHEMA profenrich TO nobody_special');
my ($status, undef, $error) = $node->psql('postgres', "SELECT profenrich.report('spend')", extra_params => ['-U', 'nobody_special']);
like($error, qr/permission denied for function report/, 'the page is for those who may see models');

$node->stop;
done_testing();
