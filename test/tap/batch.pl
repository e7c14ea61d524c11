# Delivery by batch, against the stand-in platform: a batch's whole life, kills at each of its steps, records that
# it refused, the day's budget, and which of batch and stream an enrichment takes.
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
my $node = PostgreSQL::Test::Cluster->new('batch');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.poll_interval = 1
restart_after_crash = on\nprofenrich.resend_gap = 0\nprofenrich.batch_file_size = '64kB'\nprofenrich.batch_budget = 1000\n");
$platform->install($node);
$node->start;
my $id = set_up_enrichment($node, $platform, 'churn', messages_per_second => 10000, requests_per_second => 500);

sub query { return $node->safe_psql('postgres', $_[0]) }
sub mode { query("SELECT profenrich.alter_enrichment('churn', options => '{\"mode\": \"$_[0]\"}')"); return }
sub set
{
	my (%settings) = @_;
	query("ALTER SYSTEM SET profenrich.$_ = '$settings{$_}'") for sort keys %settings;
	query('SELECT pg_reload_conf()');
	return;
}
sub records { return $platform->control('GET', '/journal/summary?kind=record')->{accepted} }
sub messages { return $platform->control('GET', '/journal/summary?kind=message')->{accepted} }
sub delivered
{
	return wait_until($node, "SELECT pending = 0 FROM profenrich.enrichment_status WHERE enrichment = 'churn'", $_[0]);
}
sub last_job { return query("SELECT $_[0] FROM profenrich.batches ORDER BY job_id DESC LIMIT 1") }
sub state_is { return wait_until($node, "SELECT state = '$_[0]' FROM profenrich.batch_job ORDER BY job_id DESC LIMIT 1", $_[1]) }

# The next request of a kind is processed at once and answered late; wait_for_fault waits until it is there.
sub slow { return $platform->fault(path => $_[0], method => $_[1], count => 1, action => { $_[2] // 'reply_delay_ms' => 3000 }) }
sub wait_for_fault
{
	my ($rule) = @_;
	for (1 .. 600)
	{
		return 1 if grep { $_->{id} == $rule && $_->{hits} > 0 } @{ $platform->faults };
		select undef, undef, undef, 0.05;
	}
	return 0;
}

# A batch's whole life.
mode('batch');
enqueue($node, $id, 1, 2000);
delivered('2,000 values are delivered');
is(records() . '/' . messages(), '2000/0', 'all of them by batch');
is(last_job("concat_ws(' ', state, keys, records, superseded, refused, files > 1, bytes > 100000, batch_id ~ '^[0-9A-Z]{26}\$', external_id ~ '^profenrich-')"),
	'done 2000 2000 0 0 t t t t', 'its row says so');
wait_until($node, "SELECT count(*) = 1 FROM profenrich.delivery_log WHERE outcome = 'accepted'", 'the log has its end');
is(query("SELECT string_agg(outcome || ' ' || m || ' ' || a, ', ' ORDER BY outcome) FROM (SELECT outcome,
	sum(messages) AS m, sum(accepted) AS a FROM profenrich.delivery_log GROUP BY outcome) x"),
	'accepted 0 2000, completed 0 0, created 0 0, uploaded 2000 0', 'and its steps');
is(query("SELECT accepted || ' ' || superseded || ' ' || dead || ' ' || state FROM profenrich.enrichment_status"), '2000 0 0 idle',
	'and the status');
is(query("SELECT count(*) FROM generate_series(1, 2000, 100) i, profenrich.profile_status('churn', 'K-' || i) s
	WHERE s.state = 'accepted' AND s.accepted_at = (SELECT at FROM profenrich.delivery_log WHERE outcome = 'accepted')"), 20, 'each profile has the time at which it landed');
compare_with_journal($node, $platform, $id, 'churn', 0);

# Killed at each step, in each way: the request was processed, its answer is not seen.
my %steps = (
	create   => ['/import/batches$', 'POST'],
	upload   => ['/files/part-00002', 'PUT'],
	complete => ['action=COMPLETE', 'POST'],
	poll     => ['/catalog/batches/[0-9A-Z]{26}', 'GET'],
);
my %kills = (
	'SIGTERM' => sub { query('SELECT pg_terminate_backend(pid) FROM profenrich.worker_status') },
	'SIGKILL' => sub { kill 'KILL', worker_pid($node); $node->poll_query_until('postgres', 'SELECT true') },
	'immediate stop' => sub { $node->stop('immediate'); $node->start },
	'platform killed' => sub { $platform->restart },
);
for my $step (qw(create upload complete poll))
{
	for my $kill (sort keys %kills)
	{
		my $rule = slow(@{ $steps{$step} });
		enqueue($node, $id, 1, 1000);
		ok(wait_for_fault($rule), "$step is under way");
		$kills{$kill}->();
		$platform->clear_faults;
		delivered("$step, $kill: delivered");
	}
}
is(query("SELECT count(*) || ' ' || count(*) FILTER (WHERE state = 'done') FROM profenrich.batch_job"), '17 17',
	'each batch went on where it was, none was made anew');
is(query('SELECT accepted FROM profenrich.enrichment_status'), 2000 + 16 * 1000, 'and was acknowledged once');
is(messages(), 0, 'nothing was streamed');
compare_with_journal($node, $platform, $id, 'churn', 0);

# Records that the platform refuses: most for good, some for now.
query("SELECT profenrich.pause('churn')");
$platform->settings(refuse_later => { 'K-7' => 'INGEST-1500-503' });
my $version = enqueue($node, $id, 1, 1000);
query("UPDATE profenrich.profile_score SET value = '{\"score\": \"many\"}' WHERE profile_key IN ('K-3', 'K-5', 'K-900')");
query("SELECT profenrich.resume('churn')");
wait_until($node, "SELECT count(*) = 3 FROM profenrich.dead_letter", 'refused records are dead letters');
is(query("SELECT string_agg(profile_key, ' ' ORDER BY profile_key), bool_and(version = $version), min(class), bool_and(reason ~ 'score.*DCVS-')
	FROM profenrich.dead_letter"), 'K-3 K-5 K-900|t|refused|t', 'each by its key, with the reason');
is(last_job("concat_ws(' ', state, records, refused)"), 'done 1000 4', 'the batch is done');
is(query('SELECT count(*) FROM profenrich.batch_failure'), 0, 'nothing is left behind');
delivered('one is tried again at once, as a message');
is($platform->counters->{'messages failed late'}, 1, 'which the platform refuses, too, but says so later only');
is(query('SELECT retried FROM profenrich.enrichment_status'), 1, 'counted as a retry');
$platform->settings(refuse_later => {});
enqueue($node, $id, 1, 1000);
delivered('new values');
is(query('SELECT count(*) FROM profenrich.dead_letter'), 0, 'end the dead letters');
compare_with_journal($node, $platform, $id, 'churn', 0);

# Most records are refused: the mapping is wrong, no profile is.
query("SELECT profenrich.pause('churn')");
enqueue($node, $id, 1, 300);
query("UPDATE profenrich.profile_score SET value = '{\"score\": \"many\"}' WHERE version = (SELECT max(version) FROM profenrich.profile_score)");
query("SELECT profenrich.resume('churn')");
wait_until($node, "SELECT state = 'blocked: schema' AND why ~ 'score' FROM profenrich.enrichment_status", 'a batch of bad records blocks the enrichment');
is(last_job("state || (error ~ 'score')"), 'failedtrue', 'the batch has failed');
is(query("SELECT count(*) || ' ' || (SELECT sum(key_count) FROM profenrich.outbox WHERE job_id IS NULL) FROM profenrich.dead_letter"), '0 300', 'all are queued again, none is dead');
query("UPDATE profenrich.profile_score SET value = jsonb_build_object('score', version) WHERE version = (SELECT max(version) FROM profenrich.profile_score)");
query("SELECT profenrich.resume('churn')");
delivered('corrected, and delivered');
is(last_job('state'), 'done', 'by another batch');

# Pause, new values and drop while a batch is under way.
my $rule = slow('/files/part-00001', 'PUT');
enqueue($node, $id, 1, 1000);
ok(wait_for_fault($rule), 'an upload is under way');
query("SELECT profenrich.pause('churn')");
is(query('SELECT state FROM profenrich.enrichment_status'), 'paused', 'paused');
enqueue($node, $id, 501, 600);
wait_until($node, 'SELECT files = 1 FROM profenrich.batch_job ORDER BY job_id DESC LIMIT 1', 'what was under way is finished');
query("SELECT profenrich.resume('churn')");
delivered('resumed, delivered');
cmp_ok(query('SELECT superseded FROM profenrich.enrichment_status'), '>', 0, 'what had a newer value before its file was written was left out');
compare_with_journal($node, $platform, $id, 'churn', 0);

mode('auto');
$platform->settings(batch_ms => 3000);
set(batch_min_keys => 500);
enqueue($node, $id, 1, 600);
state_is('completed', 'the platform ingests a batch');
my $before = messages();
is(query("SELECT state || ': ' || (why ~ '^the platform ingests batch [0-9A-Z]{26}\$') FROM profenrich.enrichment_status"), 'in a batch: true', 'the status says so');
enqueue($node, $id, 1, 50);
query('SELECT profenrich.wake_worker()');
is(query("SELECT profenrich.drain('churn', '500 ms')"), 'f', 'drain waits for it');
is(last_job('state') . messages(), "completed$before", 'newer values wait');
is(query("SELECT profenrich.drain('churn', '1 minute')"), 't', 'and to its end');
is(messages(), $before + 50, 'they are streamed once it has landed');
$platform->settings(batch_ms => 300);
compare_with_journal($node, $platform, $id, 'churn', 0);

# Which way: by the number of keys, by the time that streaming would take, by the day's budget.
($before, my $batches) = (messages(), query('SELECT count(*) FROM profenrich.batch_job'));
enqueue($node, $id, 1, 400);
delivered('a few');
is(messages(), $before + 400, 'are streamed');
set(batch_max_streaming => 10);
query("ALTER SERVER aep OPTIONS (SET messages_per_second '20')");
enqueue($node, $id, 1, 400);
delivered('what would be streamed too slowly');
is(query('SELECT count(*) FROM profenrich.batch_job'), $batches + 1, 'goes by batch');
query("ALTER SERVER aep OPTIONS (SET messages_per_second '10000')");
set(batch_max_streaming => 3600, batch_budget => 20);
$before = messages();
enqueue($node, $id, 1, 600);
delivered('many, without budget');
is(messages(), $before + 600, 'are streamed in auto mode');
wait_until($node, "SELECT last_error ~ 'budget of 20 batches a day is used up' FROM profenrich.enrichment_status", 'and why');
is(query('SELECT no_batch_until > now() FROM profenrich.delivery_state'), 't', 'for some time');
mode('batch');
is(query('SELECT no_batch_until IS NULL FROM profenrich.delivery_state'), 't', 'which another mode ends');
set(batch_budget => query("SELECT count(*) + 100 FROM profenrich.batch_job WHERE created_at > now() - interval '1 day'"));
$platform->control('POST', '/other-batches', { count => 120 });
enqueue($node, $id, 1, 600);
is(query("SELECT profenrich.drain('churn', '3 s')"), 'f', 'in batch mode they wait, when other feeds have used the budget up');
is(query('SELECT state FROM profenrich.enrichment_status'), 'no budget', 'and the status says so');
like(query('SELECT why FROM profenrich.enrichment_status'), qr/^the sandbox's daily budget of batches is used up; it is looked at again at \d{4}-[-0-9: ]+\S*$/, 'until when');
like(query("SELECT ok || detail || ' ' || hint FROM profenrich.health() WHERE check_name = 'enrichment churn'"), qr/^falseno budget: .* 600 pending.*batch_budget/, 'so does health()');
is(query("SELECT value FROM profenrich.metrics() WHERE name = 'profenrich_blocked'"), 1, 'and monitoring');
like(query("SELECT ok || detail FROM profenrich.plan('churn') WHERE item = 'batches'"), qr/^trueof \d+ a day/, 'a plan with nothing to send needs none');
query("INSERT INTO scores VALUES ('P-1', 1, 'b')");
like(query("SELECT ok || detail FROM profenrich.plan('churn') WHERE item = 'batches'"), qr/^falseof \d+ a day for all that feeds the sandbox; \d+ begun here within a day, 120 by others$/, 'plan() has asked for those of others');
$platform->fault(path => '/catalog/batches', method => 'GET', action => { status => 503 });
like(query("SELECT ok || detail FROM profenrich.plan('churn') WHERE item = 'batches'"), qr/^trueof .*, how many by others is not known: .*503/, 'and says when it is not told');
$platform->clear_faults;
query("DELETE FROM scores; SELECT profenrich.resume('churn')");
wait_until($node, "SELECT count(*) > 0 FROM profenrich.delivery_log WHERE outcome = 'no budget' AND at > (SELECT max(at) FROM profenrich.audit_trail WHERE action = 'resume')", 'resume() looks at once');
is(scalar(() = slurp_file($node->logfile) =~ /no batch for enrichment "churn": the sandbox's budget of (?!20 )\d+ batches/g), 1, 'the log has one line for it');
set(batch_budget => 1000);
delivered('when there is budget they go');
like(slurp_file($node->logfile), qr/a batch is made for enrichment "churn" again/, 'which the log says, too');
is(messages(), $before + 600, 'for a batch');
compare_with_journal($node, $platform, $id, 'churn', 0);

# Batches that fail again and again are not insisted on.
$platform->fault(path => 'action=COMPLETE', method => 'POST', action => { status => 400 });
enqueue($node, $id, 1, 100);
delivered('what two batches could not deliver');
is(messages(), $before + 700, 'is streamed');
is(query("SELECT string_agg(state, ' ') FROM (SELECT state FROM profenrich.batch_job ORDER BY job_id DESC LIMIT 2) x"), 'failed failed', 'after two that failed');
$platform->clear_faults;
compare_with_journal($node, $platform, $id, 'churn', 0);
mode('batch');
query("UPDATE profenrich.batch_job SET finished_at = finished_at - interval '2 days' WHERE state = 'failed'");

# After a batch has landed the next value waits for the resend gap.
set(resend_gap => '1h');
enqueue($node, $id, 1, 100);
delivered('a batch');
is(query("SELECT held_until > now() + interval '50 minutes' FROM profenrich.delivery_state"), 't', 'the next one is held');
enqueue($node, $id, 1, 10);
is(query("SELECT profenrich.drain('churn', '2 s')"), 'f', 'for the gap');
is(query('SELECT state FROM profenrich.enrichment_status'), 'waiting', 'waiting');
query("UPDATE profenrich.delivery_state SET held_until = now()");
set(resend_gap => '0');
delivered('and is delivered then');

# An answer to a request that was begun before resume() blocks nothing.
$rule = $platform->fault(path => '/files/part-00001', method => 'PUT', count => 1, action => { delay_ms => 2000, status => 404 });
enqueue($node, $id, 1, 1000);
ok(wait_for_fault($rule), 'an upload is under way that will be refused');
query("SELECT profenrich.resume('churn')");
wait_until($node, "SELECT count(*) > 0 FROM profenrich.delivery_log WHERE outcome = 'configuration' AND http_status = 404 AND at > now() - interval '1 min'", 'it is');
delivered('but somebody has resumed meanwhile');
unlike(slurp_file($node->logfile), qr/blocked: configuration/, 'nothing was blocked');

# Memory, with files of the full size: what the worker holds is one file.
set(batch_file_size => '16MB');
query("SELECT profenrich.pause('churn')");
enqueue($node, $id, 1, 60000);
query("UPDATE profenrich.profile_score SET value = value || jsonb_build_object('band', repeat('x', 500))");
$rule = slow('/files/part-00002', 'PUT');
query("SELECT profenrich.resume('churn')");
ok(wait_for_fault($rule), 'the second large file is under way');
open my $file, '<', '/proc/' . worker_pid($node) . '/status';
my ($anonymous) = join('', <$file>) =~ /RssAnon:\s+(\d+) kB/;
close $file;
note("$anonymous kB of private memory");
cmp_ok($anonymous, '<', 64 * 1024, 'the worker stays below 64 MB');
delivered('60,000 values');

# Dropped while a batch is under way: the platform is told.
$rule = slow('/files/part-00001', 'PUT', 'delay_ms');
enqueue($node, $id, 1, 1000);
ok(wait_for_fault($rule), 'an upload is under way');
my $batch = last_job('batch_id');
isnt(($node->psql('postgres', "SELECT profenrich.drop_enrichment('churn')"))[0], 0, 'it cannot be dropped');
query("SELECT profenrich.drop_enrichment('churn', force => true)");
my $status = '';
for (1 .. 200)
{
	$status = $platform->control('GET', '/objects/prod/batches')->{$batch}{status};
	last if $status eq 'aborted';
	select undef, undef, undef, 0.1;
}
is($status, 'aborted', 'but by force: the batch is taken back');
unlike(slurp_file($node->logfile), qr/PANIC|segmentation|signal 11|signal 6|TRAP/i, 'no crash but those we made');
$node->stop;
done_testing();
