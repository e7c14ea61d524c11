# What others do in the database while the worker sends: they lock, rewrite, configure, terminate and drop, one after
# another. Whatever happens, nothing is lost or goes backwards, and nobody is held up.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StandIn;
use Queue;
use Faults;

my $platform = StandIn->new;
my $node = start_node($platform, 'queue');

sub sql { return $node->safe_psql('postgres', join ';', @_) }
sub restart_worker { sql('SELECT profenrich.stop_worker(); SELECT profenrich.start_worker()'); return }

# What this test's own sessions need when the database's settings are hostile.
my $sane = join ' ', map { "-c $_" } qw(statement_timeout=0 lock_timeout=0 idle_in_transaction_session_timeout=0 default_transaction_read_only=off
	search_path=public role=none standard_conforming_strings=on transform_null_equals=off session_replication_role=origin), 'default_transaction_isolation=read\\ committed';
my @settings = ("search_path = hostile, public", 'statement_timeout = 1', 'lock_timeout = 1', 'idle_in_transaction_session_timeout = 1',
	'default_transaction_isolation = serializable', 'default_transaction_read_only = on', 'default_transaction_deferrable = on',
	'role = powerless', "datestyle = 'SQL, DMY'", "timezone = 'Pacific/Kiritimati'", 'standard_conforming_strings = off', 'quote_all_identifiers = on',
	'enable_indexscan = off', 'work_mem = 64', 'row_security = off', 'check_function_bodies = on', 'transform_null_equals = on', 'session_replication_role = replica',
	"default_tablespace = 'nowhere'", 'max_parallel_workers_per_gather = 8', 'plan_cache_mode = force_custom_plan', 'bytea_output = escape', 'array_nulls = off',
	'extra_float_digits = -10', "intervalstyle = 'sql_standard'");

# Something is done once records arrive, and undone so many seconds later.
sub for_a_while { my ($seconds, $do, $undo) = @_; return (steps => [ [ accepted => $do ], [ after($seconds) => $undo ] ]) }

# A session that holds locks for as long.
sub locked
{
	my ($seconds, $statement) = @_;
	my $session;
	return for_a_while($seconds,
		sub { $session = $node->background_psql('postgres'); $session->query_safe("BEGIN; $statement") },
		sub { $session->query_safe('ROLLBACK'); $session->quit });
}

# Something that is done so many times.
sub again { my ($times, $seconds, $what) = @_; return (steps => [ [ accepted => undef ], map { [ after($seconds) => $what ] } 1 .. $times ]) }

my $pid = "(SELECT pid FROM pg_stat_activity WHERE backend_type = 'profenrich worker' AND datname = 'postgres')";
my $in_flight = 16;
my $outside = 'template1';
run_in_turn($node, $platform,
	{ name => 'the worker is terminated again and again', again(5, 0.4, sub { sql("SELECT pg_terminate_backend($pid)") }), repeats => 5 * $in_flight },
	{ name => 'the worker is cancelled all the time', again(8, 0.05, sub { sql("SELECT pg_cancel_backend($pid)") }) },
	{ name => 'the worker is stopped and started again and again', again(3, 0.4, \&restart_worker), repeats => 3 * $in_flight },
	{ name => 'others are started beside it', again(5, 0.1, sub { sql('SELECT profenrich.start_worker()') }) },
	{ name => 'the configuration is reloaded all the time', again(10, 0.1, sub { sql('SELECT pg_reload_conf()') }) },
	{ name => 'the queue is locked', locked(2.5, 'LOCK TABLE profenrich.outbox') },
	{ name => 'the queue is locked by a prepared transaction', for_a_while(2.5,
			sub { sql("BEGIN; LOCK TABLE profenrich.outbox IN SHARE MODE; PREPARE TRANSACTION 'holder'") }, sub { sql("ROLLBACK PREPARED 'holder'") }) },
	{ name => 'chunks of the queue are locked', locked(2.5, 'SELECT count(*) FROM (SELECT FROM profenrich.outbox FOR UPDATE) l') },
	{ name => 'the rows of all enrichments are locked', locked(2.5, 'SELECT count(*) FROM (SELECT FROM profenrich.enrichment FOR UPDATE) l') },
	{ name => 'the sender\'s own row is locked', locked(2.5, 'SELECT count(*) FROM (SELECT FROM profenrich.sender FOR UPDATE) l') },
	{ name => 'the delivery log is locked', locked(2.5, 'LOCK TABLE profenrich.delivery_log') },
	{ name => 'an old snapshot is held', locked(2.5, 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM profenrich.outbox') },
	{ name => 'the queue is rewritten', again(2, 0.2, sub { sql('VACUUM (FULL, ANALYZE) profenrich.outbox'); sql('REINDEX TABLE profenrich.profile_score', 'CLUSTER profenrich.delivery_state USING delivery_state_pkey') }) },
	{ name => 'the log takes no rows', for_a_while(1, sub { sql('ALTER TABLE profenrich.delivery_log ADD CONSTRAINT none CHECK (messages < 0) NOT VALID') },
		sub { sql('ALTER TABLE profenrich.delivery_log DROP CONSTRAINT none') }) },
	{ name => 'acknowledgements fail', steps => [
		[ accepted => sub { sql("CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE disk_full; END'",
			'CREATE TRIGGER full_disk BEFORE DELETE ON profenrich.outbox FOR EACH STATEMENT EXECUTE FUNCTION full_disk()');
			# All before may have arrived by now.
			enqueue($node, $_[0]{id}, 1, 16) } ],
		[ sub { sql('SELECT count(*) FROM profenrich.worker_status WHERE state = \'halted\'') } => sub {
			is(sql("SELECT ok FROM profenrich.health() WHERE check_name = 'worker'"), 'f', 'acknowledgements fail: health() says so');
			sql('DROP FUNCTION full_disk CASCADE') } ] ] },
	{ name => 'a synchronous standby that is not there', for_a_while(2,
			sub { $ENV{PGOPTIONS} = '-c synchronous_commit=local'; sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'"); sql('SELECT pg_reload_conf()') },
			sub { sql('ALTER SYSTEM RESET synchronous_standby_names'); sql('SELECT pg_reload_conf()'); delete $ENV{PGOPTIONS} }) },
	{ name => 'the database takes no connections, and its worker dies', for_a_while(2,
			sub { $node->safe_psql($outside, 'ALTER DATABASE postgres ALLOW_CONNECTIONS false'); $node->safe_psql($outside, "SELECT pg_terminate_backend($pid)") },
			sub { $node->safe_psql($outside, 'ALTER DATABASE postgres ALLOW_CONNECTIONS true') }), repeats => $in_flight },
	{ name => 'hostile settings of database and role', steps => [ [ accepted => sub {
			sql('CREATE ROLE powerless', 'CREATE SCHEMA hostile', map({ "CREATE FUNCTION hostile.$_ AS 'SELECT 1/0' LANGUAGE sql" } 'clock_timestamp() RETURNS int', 'cardinality(text[]) RETURNS int'),
				'CREATE TABLE hostile.outbox (chunk_id int)', map { ("ALTER DATABASE postgres SET $_", "ALTER ROLE postgres SET $_") } @settings);
			$ENV{PGOPTIONS} = $sane;
			restart_worker() } ] ],
		end => sub { sql('ALTER DATABASE postgres RESET ALL', 'ALTER ROLE postgres RESET ALL', 'DROP SCHEMA hostile CASCADE', 'DROP ROLE powerless'); delete $ENV{PGOPTIONS} }, repeats => $in_flight },
);
cmp_ok(sql("SELECT pg_stat_get_tuples_deleted('profenrich.outbox'::regclass)"), '>', 100, 'the statistics know what the worker deletes');

# ---- what is dropped while it is sent ------------------------------------------------------------------------

$platform->fault(path => '/collection/', method => 'POST', action => { delay_ms => 300 });

# A database of its own, whose worker has requests under way.
sub sending
{
	my ($database) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database") unless $node->safe_psql('postgres', "SELECT count(*) FROM pg_database WHERE datname = '$database'");
	$platform->connect_server($node, 'aep', database => $database, requests_per_second => 500);
	$node->safe_psql($database, "CREATE TABLE IF NOT EXISTS scores (crm_id text, score float8, band text);
		SELECT profenrich.create_enrichment('$database', server => 'aep', source => 'scores', identity_column => 'crm_id', namespace => 'CRMID');
		SELECT * FROM profenrich.provision('$database')");
	enqueue($node, 1, 1, 3000, database => $database, chunk => 20, band => 'private-band');
	ok($node->poll_query_until($database, 'SELECT requests_in_flight > 0 FROM profenrich.worker_status'), 'something is under way');
	return;
}
my $worker_of = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'profenrich worker' AND datname = 'aside'";
for my $round (1 .. 3)
{
	sending('aside');
	within(5, "DROP EXTENSION while sending ($round)", sub { $node->safe_psql('aside', 'DROP EXTENSION profenrich CASCADE') });
	ok($node->poll_query_until('postgres', "SELECT ($worker_of) = 0"), 'the worker leaves');
	sending('aside');
	within(5, 'DROP EXTENSION and CREATE EXTENSION in one transaction, while sending',
		sub { $node->safe_psql('aside', 'BEGIN; DROP EXTENSION profenrich CASCADE; CREATE EXTENSION profenrich; COMMIT') });
	sending('aside');
	within(5, "DROP SERVER while sending ($round)", sub { $node->safe_psql('aside', 'DROP SERVER aep CASCADE') });
	within(5, "DROP DATABASE WITH (FORCE) while sending ($round)", sub { $node->safe_psql('postgres', 'DROP DATABASE aside WITH (FORCE)') });
	is(sql($worker_of), 0, 'no worker is left');
}

# The version before, with a full queue: its worker stays away until the update. What it has was provisioned by this version.
sending('aside');
my %rows = map { $_ => $node->safe_psql('aside', "SELECT jsonb_agg(t) FROM profenrich.$_ t") } qw(enrichment enrichment_target);
$node->safe_psql('postgres', 'DROP DATABASE aside WITH (FORCE)');
sql('CREATE DATABASE aside');
$node->safe_psql('aside', "CREATE EXTENSION profenrich VERSION '0.1.0'; CREATE TABLE scores (crm_id text, score float8, band text)");
$platform->connect_server($node, 'aep', database => 'aside', requests_per_second => 500);
$node->safe_psql('aside', "INSERT INTO profenrich.$_ OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_recordset(NULL::profenrich.$_, '$rows{$_}')") for sort keys %rows;
my $before = $platform->accepted;
enqueue($node, 1, 1, 1000, database => 'aside');
is($platform->accepted, $before, 'nothing is sent for an extension of the version before');
within(5, 'ALTER EXTENSION UPDATE', sub { $node->safe_psql('aside', 'ALTER EXTENSION profenrich UPDATE') });
wait_until($node, "SELECT state = 'blocked: identity' FROM profenrich.enrichment_status", 'it is another database than the one it was provisioned in', 'aside');
$node->safe_psql('aside', "SELECT profenrich.adopt('aside')");
wait_until($node, 'SELECT requests_in_flight > 0 FROM profenrich.worker_status', 'adopted, it is sent', 'aside');
within(5, 'ALTER EXTENSION UPDATE while sending', sub { $node->safe_psql('aside', 'ALTER EXTENSION profenrich UPDATE') });
within(5, 'ALTER SERVER while sending', sub { $node->safe_psql('aside', "ALTER SERVER aep OPTIONS (SET requests_per_second '100')") });
$platform->clear_faults;
wait_until($node, 'SELECT pending = 0 FROM profenrich.enrichment_status', 'all that was queued by the version before is delivered', 'aside');
cmp_ok($platform->accepted - $before, '>=', 1000, 'as the platform knows');
sql('DROP DATABASE aside WITH (FORCE)');
my @missed = slurp_file($node->logfile) =~ /FATAL:  database .* does not exist/g;
cmp_ok(scalar @missed, '<=', 12, 'nobody keeps looking for a database that is gone');
check_logs($node, $platform);
within(5, 'a fast stop', sub { $node->stop('fast') });
done_testing();
