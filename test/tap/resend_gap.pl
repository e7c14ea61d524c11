# Two values of one profile keep their distance on the wire, whenever they were queued: what counts is when the first
# was sent. Chunks are put into the queue without a time to wait for, as after an outage that was longer than the gap.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Queue;
use StandIn;

my $GAP = 6;

my $platform = StandIn->new;
my $node     = PostgreSQL::Test::Cluster->new('gap');
$node->init;
$platform->install($node);
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'profenrich'\nprofenrich.poll_interval = 1\nprofenrich.resend_gap = $GAP\n");
$node->start;
my $id   = set_up_enrichment($node, $platform, 'churn');
my $done = "SELECT pending = 0 FROM profenrich.enrichment_status WHERE enrichment = 'churn'";

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Of the values of one profile, the shortest time between two on the platform, in ms.
sub shortest_gap
{
	$platform->journal_into($node, 'journal');
	return sql('SELECT min(at_ms - before) FROM (SELECT at_ms, lag(at_ms) OVER (PARTITION BY identity ORDER BY seq) AS before FROM journal) j');
}

enqueue($node, $id, 501, 510);
wait_until($node, $done, 'the first values are delivered');
is(sql("SELECT sum(cardinality(key_hashes)), bool_or(overdue) FROM profenrich.sent"), '10|f', 'and noted, as sent in time');
enqueue($node, $id, 1, 300, scored => "now() - interval '1 hour'");
wait_until($node, $done, 'others are');
is(sql("SELECT sum(cardinality(key_hashes)), count(*) FROM profenrich.sent WHERE overdue"), '300|16', 'and noted, as overdue');
enqueue($node, $id, 201, 400);
wait_until($node, "SELECT count(*) = 16 AND bool_and(not_before > now()) AND sum(key_count) = 100 FROM profenrich.outbox",
	'of the next, those wait whose profiles were just sent');
is(sql("SELECT state FROM profenrich.enrichment_status"), 'waiting', 'which the status says');
is($platform->accepted, 410, 'the others went at once');

# Superseded while they wait.
enqueue($node, $id, 201, 250);
wait_until($node, $done, 'all are delivered in the end');
compare_with_journal($node, $platform, $id, 'churn', 0);
cmp_ok(shortest_gap(), '>=', 1000 * $GAP - 200, 'with the gap between two values of a profile');
is(sql("SELECT accepted, superseded FROM profenrich.enrichment_status"), '510|50', 'and the counters add up');

# Sent in vain: nobody knows what has arrived.
$platform->fault(path => '/collection/', action => { cut => 'after_accept', reset => JSON::PP::true });
enqueue($node, $id, 401, 403);
wait_until($node, "SELECT count(DISTINCT shard) = 3 FROM profenrich.delivery_log WHERE outcome = 'unknown'", 'no answer, from any shard');
sql("SELECT profenrich.pause('churn')");
wait_until($node, "SELECT count(DISTINCT h) = 3 FROM profenrich.sent, unnest(key_hashes) h
	WHERE versions = ARRAY[(SELECT max(version) FROM profenrich.profile_score)]", 'a send without an outcome is noted, too');
is(sql("SELECT sum(key_count) FROM profenrich.outbox"), 3, 'and all stays queued');
$platform->clear_faults;
sql("SELECT profenrich.resume('churn')");
wait_until($node, $done, 'delivered');
enqueue($node, $id, 401, 403);
wait_until($node, $done, 'and their next values, after a while');
$platform->journal_into($node, 'journal');
cmp_ok(sql("SELECT min(at_ms - before) FROM (SELECT entity, at_ms, lag(at_ms) OVER w AS before, lag(entity) OVER w AS former FROM journal
		WINDOW w AS (PARTITION BY identity ORDER BY seq)) j
	WHERE former -> '_acme' -> 'churn' -> 'score' <> entity -> '_acme' -> 'churn' -> 'score'"), '>=', 1000 * $GAP - 200, 'with the gap');

# Small chunks of several versions go together, and keys of the same versions another time: what counts is each key's.
sql("SELECT profenrich.pause('churn')");
my @versions = map { enqueue($node, $id, $_, $_, scored => "now() - interval '1 hour'") } 1008, 1024;
sql("SELECT profenrich.resume('churn')");
wait_until($node, $done, 'values of two versions are delivered');
is(sql("SELECT versions FROM profenrich.sent ORDER BY sent_at DESC LIMIT 1"), "{$versions[0],$versions[1]}", 'in one request');
sql("SELECT profenrich.pause('churn');
	INSERT INTO profenrich.profile_score (enrichment_id, profile_key, version, hash, changed_at, value) VALUES ($id, 'K-1040', $versions[0], 1, now(), '{\"score\": 1}');
	UPDATE profenrich.profile_score SET version = $versions[1], value = '{\"score\": 2}' WHERE profile_key = 'K-1008';
	INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys) VALUES ($id, 0, $versions[0], '{K-1040}'), ($id, 0, $versions[1], '{K-1008}');
	SELECT profenrich.resume('churn')");
wait_until($node, $done, 'one of them gets another value');
$platform->journal_into($node, 'journal');
cmp_ok(sql("SELECT max(at_ms) - min(at_ms) FROM journal WHERE identity = 'K-1008'"), '>=', 1000 * $GAP - 200, 'with the gap');

# A profile that was retracted has no value to tell when it may come back; its tombstone does.
sql("SELECT profenrich.pause('churn')");
enqueue($node, $id, 900, 900);
sql("UPDATE profenrich.profile_score SET retracted = true, value = NULL, changed_at = now() + interval '1 hour' WHERE profile_key = 'K-900';
	SELECT profenrich.resume('churn')");
wait_until($node, $done, 'a retraction is delivered');
is(sql("SELECT hash FROM profenrich.profile_score WHERE profile_key = 'K-900'"), -1, 'its tombstone is marked, until the resend gap has passed');

# What is past the gap is forgotten.
sql("UPDATE profenrich.sent SET sent_at = now() - interval '1 day'");
enqueue($node, $id, 1, 20);
wait_until($node, $done, 'delivered');
is(sql("SELECT count(*) FILTER (WHERE sent_at < now() - interval '1 hour' AND shard IN (SELECT i % 16 FROM generate_series(1, 20) i)) FROM profenrich.sent"),
	0, 'old requests are forgotten');

$node->stop;
$platform->stop;
done_testing();
