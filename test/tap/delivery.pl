# Delivery against the stand-in platform: scores arrive once, faults are survived, and the status views tell the
# truth. Crashes while sending are in delivery_crash.pl.
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
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.poll_interval = 1\n");
$platform->install($node);
$node->start;
my $id = set_up_enrichment($node, $platform, 'churn', messages_per_second => 20000, requests_per_second => 500);
my $repeats = 0;
my $done = "SELECT pending = 0 FROM profenrich.enrichment_status WHERE enrichment = 'churn'";

sub status { return $node->safe_psql('postgres', "SELECT $_[0] FROM profenrich.enrichment_status WHERE enrichment = 'churn'") }

# Queues keys under a fault, waits until all is delivered, and compares.
sub survives
{
	my ($name, $from, $to, $more_repeats, %rule) = @_;
	my $rule = $platform->fault(%rule) if %rule;
	enqueue($node, $id, $from, $to, chunk => 50);
	wait_until($node, $done, "$name: delivered");
	$platform->clear_faults;
	$repeats += $more_repeats;
	$repeats = compare_with_journal($node, $platform, $id, 'churn', $repeats);
	return;
}

wait_until($node, "SELECT state = 'running' FROM profenrich.worker_status", 'the launcher has started a worker');
survives('calm', 1, 2000, 0);
is($repeats, 0, 'each exactly once');
is(status('state, accepted, dead, superseded'), 'idle|2000|0|0', 'the status view adds up');
is($node->safe_psql('postgres', 'SELECT sum(accepted), bool_and(latency_ms > 0), bool_and(platform_id IS NOT NULL) FROM profenrich.delivery_log'),
	'2000|t|t', 'the log has every request');
cmp_ok($node->safe_psql('postgres', "SELECT pg_stat_get_tuples_deleted('profenrich.outbox'::regclass)"), '>', 0, 'autovacuum can see what the worker deletes');

# Small changes that have come together go together, each profile's values in their order.
$node->safe_psql('postgres', "SELECT profenrich.pause('churn')");
enqueue($node, $id, 1, 160, chunk => 1) for 1 .. 2;
is($node->safe_psql('postgres', 'SELECT count(*) FROM profenrich.outbox'), 320, 'single keys are queued');
$node->safe_psql('postgres', "DELETE FROM profenrich.delivery_log; SELECT profenrich.resume('churn')");
wait_until($node, $done, 'small chunks: delivered');
is($node->safe_psql('postgres', 'SELECT count(*), sum(messages), bool_and(messages = 10) FROM profenrich.delivery_log'), '16|160|t', 'in a request for each shard');
is(status('accepted, superseded'), '2160|160', 'all are accounted for');
compare_with_journal($node, $platform, $id, 'churn', 0);

# Faults that pass.
my %batch = (path => '/collection/batch/', method => 'POST');
survives('503', 1, 400, 0, %batch, count => 3, action => { status => 503, retry_after => 1 });
survives('429 with a date', 1, 400, 0, %batch, count => 2, action => { status => 429, retry_after => 'date:+2' });
survives('connections refused a body', 1, 400, 0, %batch, count => 3, action => { cut => 'before_body', reset => JSON::PP::true });
survives('accepted, but no reply', 1, 400, 150, %batch, count => 3, action => { cut => 'after_accept' });
survives('half a reply', 1, 400, 150, %batch, count => 3, action => { cut => 'mid_reply' });
survives('garbage', 1, 400, 0, %batch, count => 3, action => { garbage => 'what?', status => 200 });
survives('an entry short', 1, 400, 100, %batch, count => 2, action => { miscount => -1 });
survives('an entry too many', 1, 400, 100, %batch, count => 2, action => { miscount => 1 });
survives('single records busy', 1, 400, 0, %batch, count => 4, action => { entries => { status => 503, every => 3 } });
survives('500 now and then', 1, 400, 0, %batch, count => 2, action => { status => 500 });
$platform->expire_tokens;
survives('expired token', 1, 400, 0);
$platform->settings(max_request_bytes => 30000);
survives('a smaller limit of the request', 1, 400, 0);
$platform->settings(max_request_bytes => 1000000);
is(status('dead'), 0, 'none of that is anybody\'s fault');

# A record that is refused for good.
$platform->fault(%batch, action => { entries => { status => 400, identities => ['K-7'] } });
enqueue($node, $id, 1, 320);
wait_until($node, $done, 'a refused record does not hold up the others');
is($node->safe_psql('postgres', 'SELECT profile_key, class, http_status FROM profenrich.dead_letter'), 'K-7|refused|400', 'it is a dead letter');
$platform->clear_faults;
is($node->safe_psql('postgres', "SELECT profenrich.redrive('churn')"), 1, 'redrive queues it again');
wait_until($node, $done, 'it is sent');
is($node->safe_psql('postgres', 'SELECT count(*) FROM profenrich.dead_letter'), 0, 'and dead no more');
compare_with_journal($node, $platform, $id, 'churn', $repeats);

# A whole request that is refused because of one record.
$platform->fault(path => '/collection/', method => 'POST', body => '"K-11"', action => { status => 400, body => '{"title": "no"}' });
enqueue($node, $id, 1, 320);
wait_until($node, "$done AND EXISTS (SELECT FROM profenrich.dead_letter WHERE profile_key = 'K-11')", 'halving finds the one');
is($node->safe_psql('postgres', 'SELECT count(*) FROM profenrich.dead_letter'), 1, 'and only that one');
$platform->clear_faults;

# Everything refused: the schema is wrong, and nothing is dead-lettered wholesale.
$platform->fault(%batch, action => { entries => { status => 400, every => 1 } });
enqueue($node, $id, 1, 2000);
wait_until($node, "SELECT blocked = 'schema' FROM profenrich.delivery_state WHERE enrichment_id = $id", 'a wrong schema blocks');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM profenrich.dead_letter'), '<=', 21, 'hardly any dead letters');
is(status('state'), 'blocked: schema', 'the status view says so');
is($node->safe_psql('postgres', "SELECT ok FROM profenrich.health() WHERE check_name = 'enrichment churn'"), 'f', 'and health()');
like(($node->psql('postgres', "SELECT profenrich.drain('churn', '1 min')"))[2], qr/blocked: schema/, 'drain does not wait for it');
$platform->clear_faults;
$node->safe_psql('postgres', "SELECT profenrich.resume('churn'); SELECT profenrich.redrive('churn')");
is($node->safe_psql('postgres', "SELECT profenrich.drain('churn', '1 min')"), 't', 'after resume() all is delivered');
compare_with_journal($node, $platform, $id, 'churn', $repeats);

# Configuration and authorisation.
for my $case (['404', 'configuration', { status => 404 }], ['a redirect', 'configuration', { redirect => 'https://example.com/' }],
	['403', 'authorisation', { status => 403 }])
{
	my ($name, $block, $action) = @$case;
	$platform->fault(path => '/collection/', method => 'POST', action => $action);
	enqueue($node, $id, 1, 100);
	wait_until($node, "SELECT blocked = '$block' FROM profenrich.delivery_state WHERE enrichment_id = $id", "$name blocks: $block");
	$platform->clear_faults;
	is(status('pending'), 100, 'nothing is lost');
	$node->safe_psql('postgres', "SELECT profenrich.resume('churn')");
	wait_until($node, $done, 'resume() sends it');
}
$platform->certificate('untrusted');
$node->safe_psql('postgres', 'SELECT profenrich.stop_worker(); SELECT profenrich.start_worker()');
enqueue($node, $id, 1, 100);
wait_until($node, "SELECT blocked = 'configuration' FROM profenrich.delivery_state WHERE enrichment_id = $id", 'a wrong certificate blocks');
$platform->certificate('good');
$node->safe_psql('postgres', "SELECT profenrich.resume('churn')");
wait_until($node, $done, 'and is found right again');

# Pause, identity, warming up.
$node->safe_psql('postgres', "SELECT profenrich.pause('churn')");
enqueue($node, $id, 1, 100);
my $before = $platform->accepted;
is(status('state, pending'), 'paused|100', 'paused');
like(($node->psql('postgres', "SELECT profenrich.drain('churn')"))[2], qr/is paused/, 'drain says so');
$node->safe_psql('postgres', "UPDATE profenrich.enrichment_target SET sender_identity = 'somebody else'; SELECT profenrich.resume('churn')");
wait_until($node, "SELECT blocked = 'identity' FROM profenrich.delivery_state WHERE enrichment_id = $id", 'a copy of the database does not send');
$node->safe_psql('postgres', "UPDATE profenrich.enrichment_target SET sender_identity = profenrich.sender_identity(), ready_at = now() + '1 hour'; SELECT profenrich.wake_worker()");
wait_until($node, "SELECT state = 'warming up' FROM profenrich.enrichment_status", 'adopted, it warms up');
wait_until($node, "SELECT blocked IS NULL FROM profenrich.delivery_state WHERE enrichment_id = $id", 'the block is gone');
is($platform->accepted, $before, 'and nothing was sent all the while');
$node->safe_psql('postgres', "UPDATE profenrich.enrichment_target SET ready_at = now(); SELECT profenrich.wake_worker()");
wait_until($node, $done, 'when it is ready it sends');

# Superseded values are never sent; a retracted profile is sent without a score and then forgotten.
$node->safe_psql('postgres', "SELECT profenrich.pause('churn')");
enqueue($node, $id, 1, 100);
enqueue($node, $id, 1, 60);
$before = $platform->accepted;
my $superseded = status('superseded');
$node->safe_psql('postgres', "UPDATE profenrich.profile_score SET retracted = true, value = NULL WHERE profile_key = 'K-3'; SELECT profenrich.resume('churn')");
wait_until($node, $done, 'two refreshes, one after the other');
is($platform->accepted - $before, 100, 'each profile was sent once');
is(status('superseded') - $superseded, 60, 'the older values were not');
is_deeply($platform->profile('CRMID', 'K-3')->{_acme}{churn}, { profileId => 'K-3' }, 'the platform has no score of the retracted profile');
is($node->safe_psql('postgres', "SELECT count(*) FROM profenrich.profile_score WHERE profile_key = 'K-3'"), 0, 'without a resend gap its tombstone goes with it');

# The log can never fail an acknowledgement; a refused acknowledgement stops sending.
$node->safe_psql('postgres', "ALTER TABLE profenrich.delivery_log ADD CONSTRAINT never CHECK (false) NOT VALID");
enqueue($node, $id, 1, 100);
wait_until($node, $done, 'delivered although the log cannot be written');
$node->safe_psql('postgres', "ALTER TABLE profenrich.delivery_log DROP CONSTRAINT never");
$node->safe_psql('postgres', q{
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$;
	CREATE TRIGGER refuse BEFORE DELETE ON profenrich.outbox FOR EACH ROW EXECUTE FUNCTION refuse()});
enqueue($node, $id, 1, 2000);
wait_until($node, "SELECT state = 'halted' FROM profenrich.worker_status", 'an acknowledgement that cannot be committed halts');
$before = $platform->accepted;
is(status('pending'), 2000, 'everything is still queued');
$node->safe_psql('postgres', 'DROP TRIGGER refuse ON profenrich.outbox');
wait_until($node, $done, 'once it can be committed it goes on');
compare_with_journal($node, $platform, $id, 'churn', $repeats);

# A real refresh: sends what changed, and only that.
$node->safe_psql('postgres', "INSERT INTO scores SELECT 'K-' || i, i / 1000.0, 'x' FROM generate_series(1, 3000) i");
$before = $platform->accepted;
is($node->safe_psql('postgres', "SELECT changed FROM profenrich.refresh('churn')"), 3000, 'a refresh queues all');
wait_until($node, $done, 'they are delivered');
is($platform->accepted - $before, 3000, 'each once');
is($node->safe_psql('postgres', "SELECT changed FROM profenrich.refresh('churn')"), 0, 'a second refresh queues none');
$node->safe_psql('postgres', "UPDATE scores SET score = 2 WHERE crm_id IN (SELECT 'K-' || i FROM generate_series(100, 136) i)");
is($node->safe_psql('postgres', "SELECT changed FROM profenrich.refresh('churn')"), 37, 'changing 37 queues 37');
wait_until($node, $done, 'they are delivered');
is($platform->accepted - $before, 3037, 'and only they');
is($platform->profile('CRMID', 'K-100')->{_acme}{churn}{score}, 2, 'the platform has the new value');

# Memory within bounds.
my $pid = worker_pid($node);
open my $file, '<', "/proc/$pid/status" or die $!;
my ($anonymous) = join('', <$file>) =~ /RssAnon:\s+(\d+) kB/;
cmp_ok($anonymous, '<', 64 * 1024, "private memory: $anonymous kB");

# An enrichment whose owner cannot connect is blocked by itself.
$node->safe_psql('postgres', "CREATE ROLE nobody;
	INSERT INTO profenrich.enrichment (enrichment_id, name, owner, server, source, identity_column, namespace)
		SELECT 99, 'other', 'nobody', server, source, identity_column, namespace FROM profenrich.enrichment WHERE name = 'churn';
	CREATE TEMP TABLE copy AS SELECT * FROM profenrich.enrichment_target;
	UPDATE copy SET enrichment_id = 99;
	INSERT INTO profenrich.enrichment_target SELECT * FROM copy");
enqueue($node, 99, 1, 10);
wait_until($node, "SELECT state = 'blocked: configuration' AND why ~ 'permission denied for foreign server' FROM profenrich.enrichment_status WHERE enrichment = 'other'",
	'an owner without rights on the server');
enqueue($node, $id, 1, 100);
wait_until($node, $done, 'does not hold up others');

# DROP EXTENSION while requests are under way.
$platform->fault(%batch, action => { delay_ms => 1000 });
enqueue($node, $id, 1, 5000);
ok($node->poll_query_until('postgres', 'SELECT requests_in_flight > 0 FROM profenrich.worker_status'), 'requests are under way');
my $oldest = 0;
for (1 .. 20)
{
	my $age = $node->safe_psql('postgres', "SELECT coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0) FROM pg_stat_activity WHERE backend_type = 'profenrich worker'");
	$oldest = $age if $age > $oldest;
}
cmp_ok($oldest, '<', 0.5, 'no transaction is open for as long as a request takes');
$node->safe_psql('postgres', "SET lock_timeout = '5s'; DROP EXTENSION profenrich CASCADE");
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'profenrich worker'"),
	'DROP EXTENSION works while the worker sends, and it leaves');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|profenrich-secret/, 'no crash, no secret in the log');
$node->stop;
done_testing();
