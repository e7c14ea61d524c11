# Records that the platform receives and refuses afterwards: the worker finds them in its failed batches, and moves
# those that were a profile's newest value to the dead letters.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StandIn;
use Queue;

my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('late');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.poll_interval = 1
restart_after_crash = on\nprofenrich.resend_gap = 0\nprofenrich.late_check_interval = '1s'\n");
$platform->install($node);
$node->start;
my $id = set_up_enrichment($node, $platform, 'churn', messages_per_second => 10000, requests_per_second => 500);
$platform->settings(validation => 'late', batch_ms => 0);

sub query { return $node->safe_psql('postgres', $_[0]) }
sub delivered { return wait_until($node, 'SELECT pending = 0 FROM profenrich.enrichment_status', $_[0]) }
sub dead { return query("SELECT string_agg(profile_key, ' ' ORDER BY profile_key) FROM profenrich.dead_letter") }

# Queues keys, of which some have a value that the platform will not take.
sub enqueue_bad
{
	my ($from, $to, @bad) = @_;
	query("SELECT profenrich.pause('churn')");
	my $version = enqueue($node, $id, $from, $to);
	my $list = join ', ', map { "'K-$_'" } @bad;
	query("UPDATE profenrich.profile_score SET value = '{\"score\": \"many\"}' WHERE profile_key IN ($list)") if @bad;
	query("SELECT profenrich.resume('churn')");
	return $version;
}

# Has the worker look, and waits until it has.
sub check
{
	my ($name) = @_;
	query("SELECT profenrich.check_late_failures('churn')");
	return wait_until($node, 'SELECT NOT asked FROM profenrich.late_check', $name);
}

# By itself.
my $version = enqueue_bad(1, 1000, 3, 5);
delivered('all are received');
wait_until($node, 'SELECT count(*) = 2 FROM profenrich.dead_letter', 'what was refused afterwards becomes a dead letter');
is(query("SELECT string_agg(profile_key, ' ' ORDER BY profile_key), bool_and(version = $version), min(class), bool_and(reason ~ 'score.*DCVS-')
	FROM profenrich.dead_letter"), 'K-3 K-5|t|refused|t', 'by its key, with the reason');
is(query("SELECT accepted || ' ' || dead || ' ' || pending FROM profenrich.enrichment_status"), '998 2 0', 'and is not counted as accepted any more');
wait_until($node, 'SELECT checked_at IS NOT NULL AND batches > 0 AND dead = 2 AND last_error IS NULL FROM profenrich.late_failures',
	'the check is noted');
wait_until($node, "SELECT checked_at > '" . query('SELECT checked_at FROM profenrich.late_failures') . "' FROM profenrich.late_failures", 'it comes again');

# Only when asked, from now on; what has been read is not read again.
query("ALTER SYSTEM SET profenrich.late_check_interval = 0");
query('SELECT pg_reload_conf()');
my $before = query('SELECT batches FROM profenrich.late_failures') . query('SELECT min(died_at) FROM profenrich.dead_letter');
$node->restart;
check('another look, after a restart');
is(query('SELECT batches FROM profenrich.late_failures') . query('SELECT min(died_at) FROM profenrich.dead_letter'), $before, 'finds nothing new');

# A newer value decides.
enqueue_bad(1, 10, 7);
delivered('a bad value');
enqueue($node, $id, 1, 10);
delivered('and a better one, before anybody looked');
check('a look');
is(dead(), '', 'the profile is not dead, nor are those that had a newer value');
is(query('SELECT outdated FROM profenrich.late_failures'), 1, 'its failure is outdated');

# A cause that passes.
$platform->settings(refuse_later => { 'K-9' => 'INGEST-1500-503' });
enqueue($node, $id, 1, 10);
delivered('a value that the platform cannot store just now');
$platform->settings(refuse_later => {});
check('a look');
delivered('is sent again');
is(query('SELECT retried FROM profenrich.late_failures'), 1, 'one retry');
is(dead(), '', 'none is dead');
compare_with_journal($node, $platform, $id, 'churn', 0);

# A cleared profile that is refused; it is remembered for as long as the resend gap.
query("ALTER SYSTEM SET profenrich.resend_gap = '1h'");
query('SELECT pg_reload_conf()');
query("SELECT profenrich.pause('churn')");
$platform->settings(refuse_later => { 'K-20' => 'DCVS-1111-400' });
query("INSERT INTO profenrich.run (enrichment_id, run_by) VALUES ($id, current_user::regrole)");
query("UPDATE profenrich.profile_score SET retracted = true, value = NULL, hash = 0, changed_at = now(), version = (SELECT max(run_id) FROM profenrich.run)
	WHERE profile_key = 'K-20'");
query("INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys) VALUES ($id, 4, (SELECT max(run_id) FROM profenrich.run), '{K-20}')");
query("SELECT profenrich.resume('churn')");
delivered('a retraction');
check('a look');
is(dead(), 'K-20', 'is dead when it is refused');
$platform->settings(refuse_later => {});
query("SELECT profenrich.redrive('churn')");
delivered('redriven');
check('a look');
is(dead(), '', 'and alive');
query("ALTER SYSTEM SET profenrich.resend_gap = 0");
query('SELECT pg_reload_conf()');

# Many of them, in files of many parts, and a crash in the middle.
$platform->settings(max_range_bytes => 5000);
my $rule = $platform->fault(path => '/failed\?path=', method => 'GET', after => 3, count => 1, action => { reply_delay_ms => 3000 });
my @bad = map { $_ * 7 } 1 .. 200;
enqueue_bad(1, 2000, @bad);
delivered('2,000 values, 200 of them bad');
query("SELECT profenrich.check_late_failures('churn')");
for (1 .. 400)
{
	last if grep { $_->{id} == $rule && $_->{hits} } @{ $platform->faults };
	select undef, undef, undef, 0.05;
}
kill 'KILL', worker_pid($node);
$node->poll_query_until('postgres', 'SELECT true');
wait_until($node, 'SELECT NOT asked FROM profenrich.late_check', 'the look is begun again after a crash');
is(query('SELECT count(*) FROM profenrich.dead_letter'), 200, 'each of them is found');
is(dead(), join(' ', sort map { "K-$_" } @bad), 'and none but them');
is(query('SELECT count(*) FROM profenrich.dead_letter d JOIN profenrich.profile_score s USING (enrichment_id, profile_key) WHERE d.version <> s.version'), 0,
	'with the version that failed');
is(query('SELECT accepted + dead + superseded FROM profenrich.enrichment_status'), 1000 + 10 * 3 + 1 + 1 + 2000, 'every value is counted once');

# A platform that cannot be asked.
$platform->fault(path => '/catalog/batches', action => { status => 500, body => '{"title": "out of order"}' });
query("SELECT profenrich.check_late_failures('churn')");
wait_until($node, "SELECT last_error ~ 'out of order' AND NOT asked FROM profenrich.late_check", 'a check that cannot be made says why');
$platform->clear_faults;
check('the next one');
is(query('SELECT last_error IS NULL FROM profenrich.late_failures'), 't', 'says nothing');

unlike(slurp_file($node->logfile), qr/PANIC|segmentation|signal 11|signal 6|TRAP/i, 'no crash but those we made');
unlike(join("\n", grep { /profenrich: / } split /\n/, slurp_file($node->logfile)), qr/many/, 'no value in what the worker logs');
$node->stop;
done_testing();
