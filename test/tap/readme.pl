# What the README tells people to type works: the SQL of "Five minutes with it", "Every night" and "Operating it", in
# order, on a fresh database against the stand-in platform, the nightly job by pg_cron itself.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX qw(strftime);
use Test::More;
use Queue;
use StandIn;

my $readme = slurp_file("$FindBin::RealBin/../../README.md");

# The sql blocks under a heading, up to the next one of its rank.
sub blocks_of
{
	my ($heading) = @_;
	my ($marks) = $heading =~ /^(#+)/;
	my ($text) = $readme =~ /^\Q$heading\E\n(.*?)(?=^#{2,${\ length $marks}} |\z)/ms or die "no heading \"$heading\"";
	return $text =~ /^```sql\n(.*?)^```$/msg;
}

my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init;
$platform->install($node);
$platform->write_secret($_) for qw(aep-prod aep-prod-2);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich, pg_cron'
cron.database_name = 'postgres'\ncron.host = '" . $node->host . "'\nmax_worker_processes = 16
profenrich.poll_interval = 1\nprofenrich.resend_gap = 0\nfsync = off\n");
$node->start;
my @snapshot = ('node', "$FindBin::RealBin/../tools/make_snapshot.mjs", '--rows', 3000, '--parts', 1,
	'--date', strftime('%Y-%m-%d', gmtime), '--out', $platform->snapshot_folder(strftime '%Y-%m-%d', gmtime));
is(system(@snapshot), 0, 'a snapshot on the platform');
$node->safe_psql('postgres', 'CREATE EXTENSION profenrich; CREATE EXTENSION pg_cron');

# The reader's own organisation is the stand-in, and the reader's namespace is there.
my $hosts = join ', ', map { "$_ '" . $platform->url . "'" } qw(platform_url ims_url collection_url);
$hosts .= ", ca_file '" . $platform->ca_file . "'";
chmod 0755, $platform->state;
my $number = 0;
sub run_block
{
	my ($from, $sql) = @_;
	$sql =~ s/(CREATE SERVER aep .*?sandbox 'prod')/$1, $hosts/s;
	$sql =~ s/client_id 'a1b2c3d4'/client_id '$StandIn::CLIENT'/;
	$number++;
	my ($status, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 1);
	my ($first) = $sql =~ /^([^\n]{1,60})/;
	is($status, 0, "$from $number: $first") or diag($err);
	return $out;
}

my $out = join "\n", map { run_block('five minutes', $_) } blocks_of('## Five minutes with it');
unlike($out, qr/\|f\|/, 'each step of the connection is well');
like($out, qr/^churn\|1\|/m, 'a model was trained');
ok($node->poll_query_until('postgres', "SELECT state = 'idle' FROM profenrich.enrichment_status"), 'and all is sent');
cmp_ok($platform->accepted, '>', 2000, 'for the platform has it');
my $key = $node->safe_psql('postgres', 'SELECT min(profile_key) FROM profenrich.profile_score');
like($node->safe_psql('postgres', "SELECT profenrich.platform_profile('aep', 'CRMID', '$key') #>> '{_acme,churn_nightly,probability}'"), qr/^[01](\.\d+)?$/,
	'where the README says it is');

# Every night: by hand, then by pg_cron, in each of its two ways to run a job.
run_block('every night', $_) for blocks_of('### Every night');
my ($schedule) = $readme =~ /`(SELECT cron\.schedule\('profenrich', [^`]*)`/ or die 'no schedule in the README';
like($schedule, qr/'0 4 \* \* \*'/, 'the README schedules it for the night');
$schedule =~ s/'0 4 \* \* \*'/'* * * * *'/;
for my $background (qw(off on))
{
	$node->append_conf('postgresql.conf', "cron.use_background_workers = $background\n");
	$node->restart;
	my $last = $node->safe_psql('postgres', 'SELECT max(run_id) FROM profenrich.runs');
	$node->safe_psql('postgres', "TRUNCATE cron.job_run_details; $schedule");
	ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM cron.job_run_details WHERE status IN ('succeeded', 'failed')"), "pg_cron ran it, background workers $background");
	$node->safe_psql('postgres', "SELECT cron.unschedule('profenrich')");
	is($node->safe_psql('postgres', "SELECT DISTINCT status || COALESCE(NULLIF(': ' || return_message, ': CALL'), '') FROM cron.job_run_details WHERE status IN ('succeeded', 'failed')"), 'succeeded', 'and it succeeded');
	is($node->safe_psql('postgres', "SELECT count(*) > 0 FROM profenrich.runs WHERE run_id > $last AND finished_at IS NOT NULL"), 't', 'with a refresh');
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM profenrich.snapshots'), '1', 'the day was loaded again, not twice');
is($node->safe_psql('postgres', 'SELECT count(*) = (SELECT count(*) FROM profiles_latest) FROM churn_scores'), 't', 'and scored once');

wait_until($node, "SELECT count(*) = 1 FROM profenrich.worker_status WHERE state = 'running'", 'the worker runs');
run_block('operating', $_) for blocks_of('## Operating it');
is($node->safe_psql('postgres', "SELECT string_agg(check_name || ': ' || detail, '; ') FROM profenrich.health() WHERE NOT ok AND check_name !~ '^(enrichment|dead)'"), '',
	'after all of it nothing is unwell');
$node->stop;
done_testing();
