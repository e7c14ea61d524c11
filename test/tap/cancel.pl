# Long work answers a cancel within 200 ms (asserted at ten times that), at any moment,
# and a training of two million rows stays inside the private memory that it announced.
use strict;
use warnings;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PostgreSQL::Test::Cluster->new('cancel');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nclient_min_messages = warning\nmax_wal_size = 4GB\nfsync = off\n");
$node->start;

# Two million profiles of ten features, made up on the fly: the label follows three of them.
$node->safe_psql('postgres', q{
	CREATE EXTENSION profenrich;
	CREATE FUNCTION noise(i bigint, s int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
		$$ SELECT (pg_catalog.hashint8extended(i, s) & 1048575) / 1048576.0::float8 $$;
	CREATE UNLOGGED TABLE many AS SELECT i AS id, noise(i, 1) AS a, noise(i, 2) AS b, noise(i, 3) AS c, noise(i, 4) AS d, noise(i, 5) AS e,
		noise(i, 6) AS f, floor(noise(i, 7) * 1000)::int AS g, floor(noise(i, 8) * 10)::int AS h, 'k' || i % 50 AS k, 'l' || i % 5 AS l,
		noise(i, 9) < noise(i, 1) * noise(i, 2) + (i % 5) * 0.05 AS y FROM generate_series(1, 2000000) AS i;
	SELECT * FROM profenrich.train('small', 'propensity', 'SELECT * FROM many WHERE id <= 20000', 'y', options => '{"key": "id", "trees": 50}')});
my $csv = $node->basedir . '/many.csv';
$node->safe_psql('postgres', "COPY (SELECT id, a, b, c, d, e, f, g, h, k, l FROM many) TO '$csv' (FORMAT csv, HEADER)");

sub private_kb
{
	my ($pid) = @_;
	open my $file, '<', "/proc/$pid/status" or return 0;
	my ($kb) = map { /^RssAnon:\s+(\d+)/ ? $1 : () } <$file>;
	return $kb // 0;
}

# Starts a statement in a session of its own; returns the session and its backend.
sub start_query
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid     = $session->query_safe('SELECT pg_backend_pid()');
	$session->{stdin} .= "$sql;\n\\echo finished\n";
	$session->{run}->pump_nb;
	return ($session, $pid);
}

sub wait_for_end
{
	my ($session) = @_;
	my $until = time + 120;
	while ($session->{stdout} !~ /finished/ && time < $until)
	{
		$session->{run}->pump_nb;
		sleep 0.002;
	}
	return;
}

# Cancels once the progress view shows the wanted phase (or any).
sub cancel_in
{
	my ($what, $kind, $phase, $sql) = @_;
	my ($session, $pid) = start_query($sql);
	ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM profenrich.progress('$kind') WHERE pid = $pid AND phase ~ '$phase'"), "$what: under way");
	my $started = time;
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	wait_for_end($session);
	my $took = time - $started;
	like($session->{stderr}, qr/canceling statement due to user request/, "$what: cancelled");
	cmp_ok($took, '<', 2, sprintf('%s: within 2 s (%.0f ms, the client\'s own time included)', $what, $took * 1000));
	is($node->safe_psql('postgres', "SELECT count(*) FROM profenrich.progress('$kind')"), 0, "$what: no progress is left");
	$session->{stderr} = '';
	$session->quit;
	return;
}

cancel_in('load', 'load', '.', "SELECT * FROM profenrich.load_snapshot_file('$csv', 'loaded')");
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relname LIKE 'loaded%'"), 0, 'load: nothing is left');
my $train = q{SELECT * FROM profenrich.train('big', 'propensity', 'many', 'y', options => '{"key": "id", "trees": 500}')};
cancel_in('train, while reading', 'train', 'read',   $train);
cancel_in('train, in the core',   'train', '^(?!.*(read|start))', $train);
cancel_in('train, while it searches', 'train', 'search',
	q{SELECT * FROM profenrich.train('big', 'propensity', 'SELECT * FROM many WHERE id <= 300000', 'y', options => '{"key": "id", "search": true}')});
is($node->safe_psql('postgres', "SELECT count(*) FROM profenrich.model WHERE name = 'big'"), 0, 'train: no model is left');
cancel_in('score', 'score', '.', "SELECT count(*) FROM profenrich.score('small', 'many', 'id')");

# Memory: watched from outside while it trains.
my ($session, $pid) = start_query(q{SELECT * FROM profenrich.train('whole', 'propensity', 'many', 'y', options => '{"key": "id", "trees": 20}')});
my ($least, $most) = (private_kb($pid), 0);
while ($session->{stdout} !~ /finished/)
{
	my $now = private_kb($pid);
	$most = $now if $now > $most;
	$session->{run}->pump_nb;
	sleep 0.005;
}
$session->quit;
my ($rows, $announced) = split /\|/, $node->safe_psql('postgres', "SELECT rows, memory_bytes FROM profenrich.model_version WHERE model = 'whole'");
is($rows, 2000000, 'two million rows were learnt');
# The sampler sees what malloc keeps as well: allow the server's own few MB.
cmp_ok($most - $least, '<=', $announced / 1024 + 16384, sprintf('private memory peaked at %.0f MB, announced were %.0f MB', ($most - $least) / 1024, $announced / 1048576));

my ($status, $out, $err) = $node->psql('postgres', "SET profenrich.training_memory = '32MB'; SELECT * FROM profenrich.train('whole', 'propensity', 'many', 'y')");
isnt($status, 0, 'a training that would need more memory than allowed is refused');
like($err, qr/training_memory/, 'and says what to do');

$node->stop;
done_testing();
