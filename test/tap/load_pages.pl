# Pages that a load writes itself: byte for byte the rows that the server would have written, and as safe as its own
# after a crash, on a standby, with checksums, under every wal_level, beside checkpoints, and when the transaction goes back.
use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('load_pages');
$node->init(allows_streaming => 1, extra => ['--data-checksums']);
$node->append_conf('postgresql.conf', <<'CONF');
timezone = 'UTC'
autovacuum = off
max_wal_size = 4GB
CONF
$node->start;
my $csv = $node->basedir . '/rows.csv';

sub sql { return $node->safe_psql('postgres', "SET search_path = public, profenrich; $_[0]") }
sub set { my ($setting) = @_; $node->append_conf('postgresql.conf', $setting); $node->restart; return }

# Types of every length and alignment, NULLs anywhere, texts around the sizes where their header changes, where they are
# compressed and where they leave the row.
my $columns = <<'COLUMNS';
	id int, flag bool, small int2, big int8, real4 real, real8 float8, day date, at timestamptz, span interval, mark "char",
	code char(3), word varchar(400), note text, plain text, bytes bytea, doc jsonb, amount numeric, uid uuid, net inet, tags int[], point point
COLUMNS
sql(<<"SQL");
CREATE EXTENSION profenrich;
CREATE EXTENSION pageinspect;
CREATE EXTENSION amcheck;
CREATE TABLE wide (gone text, snapshot_date date, $columns) PARTITION BY LIST (snapshot_date);
ALTER TABLE wide ALTER plain SET STORAGE PLAIN, ALTER bytes SET STORAGE EXTERNAL, DROP gone;
SELECT setseed(0.5);
CREATE TABLE source AS SELECT i AS id, i % 3 = 0 AS flag, (i % 1000)::int2 AS small, i * 10000000000 AS big,
	(i / 7.0)::real AS real4, (i / 11.0)::float8 AS real8, date '2020-01-01' + i % 999 AS day, timestamptz '2020-01-01' + i * interval '1 minute' AS at,
	i * interval '1 second' AS span, chr(65 + i % 26)::"char" AS mark, (i % 100)::char(3) AS code, repeat('w', i % 301)::varchar(400) AS word,
	CASE i % 50 WHEN 0 THEN repeat('n', 3000) WHEN 1 THEN (SELECT string_agg(md5((i * 1000 + j)::text), '') FROM generate_series(1, 100) j)
		ELSE repeat('n', 120 + i % 12) END AS note,
	repeat('p', i % 140) AS plain, decode(repeat('ab', i % 200), 'hex') AS bytes, jsonb_build_object('i', i, 's', repeat('j', i % 90)) AS doc,
	(i / 7.0)::numeric AS amount, md5(i::text)::uuid AS uid, ('10.0.0.' || i % 256)::inet AS net, ARRAY[i, i + 1] AS tags, point(i, -i) AS point
	FROM generate_series(1, 8000) i;
DO \$\$
DECLARE name text;
BEGIN
	FOR name IN SELECT attname FROM pg_attribute WHERE attrelid = 'source'::regclass AND attnum > 1 LOOP
		EXECUTE format('UPDATE source SET %I = NULL WHERE random() < 0.1 AND id %% 5 <> 0', name);
	END LOOP;
	UPDATE source SET note = NULL WHERE id % 50 = 7;
END \$\$;
COPY source TO '$csv' (FORMAT csv, HEADER);
SQL

my $fields = sql("SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'source'::regclass AND attnum > 0");

sub load
{
	my ($day) = @_;
	return sql("SELECT rows FROM load_snapshot_file('$csv', 'wide', snapshot_date => '$day')");
}

sub partition { return sql("SELECT partition FROM snapshots WHERE into_table = 'wide'::regclass AND snapshot_date = '$_[0]'") }

# Rows that differ from the source's by value.
sub differing
{
	my ($day, $where) = @_;
	my $loaded = "SELECT $fields FROM wide WHERE snapshot_date = '$day'";
	my $given = "SELECT $fields FROM source";
	my $text = "SELECT r::text FROM";
	return $where->safe_psql('postgres', "SELECT (SELECT count(*) FROM ($text ($loaded) r EXCEPT ALL $text ($given) r) a), (SELECT count(*) FROM ($text ($given) r EXCEPT ALL $text ($loaded) r) b)");
}

# Rows that not every day has.
sub differing_days
{
	my ($where) = @_;
	return $where->safe_psql('postgres', "SELECT count(*) FROM (SELECT r::text FROM (SELECT $fields FROM wide) r GROUP BY 1 HAVING count(*) <> (SELECT count(DISTINCT snapshot_date) FROM wide)) a");
}

# What a heap keeps of its rows, but for who inserted them and where; the values of rows with parts out of line are compared elsewhere.
sub stored
{
	my ($table) = @_;
	return "SELECT t_hoff, t_infomask & 15 AS marks, t_infomask2 & 2047 AS natts, t_bits, md5(CASE WHEN t_infomask & 4 = 0 THEN t_data END) AS data
		FROM generate_series(0, pg_relation_size('$table') / 8192 - 1) block, heap_page_items(get_raw_page('$table', block::int4))";
}

sub sound
{
	my ($day, $what, $where) = @_;
	my $partition = partition($day);
	$where //= $node;
	is(differing($day, $where), '0|0', "$what: every value");
	is($where->safe_psql('postgres', "SELECT count(*) FROM verify_heapam('$partition', check_toast => true)"), '0', "$what: nothing to find for amcheck");
	return;
}

# --- what is written ---

is(load('2026-11-01'), '8000', 'loaded');
sound('2026-11-01', 'a load');
sql("CREATE TABLE by_server (LIKE wide INCLUDING STORAGE); ALTER TABLE by_server ALTER snapshot_date SET DEFAULT '2026-11-01';
	COPY by_server ($fields) FROM '$csv' (FORMAT csv, HEADER)");
my ($ours, $servers) = (stored(partition('2026-11-01')), stored('by_server'));
is(sql("SELECT count(*) FROM ($ours EXCEPT ALL $servers) a"), '0', 'every row has the bytes that COPY gives it');
is(sql("SELECT count(*) FROM ($servers EXCEPT ALL $ours) a"), '0', 'and none is missing');
cmp_ok(sql("SELECT count(*) FROM ($ours) a WHERE marks & 4 > 0"), '>', 100, 'with values out of line among them');
$node->poll_query_until('postgres', "SELECT n_tup_ins = 8000 AND n_live_tup >= 8000 FROM pg_stat_user_tables WHERE relid = '" . partition('2026-11-01') . "'::regclass")
  or fail('statistics of the rows never came');

# --- a standby ---

$node->backup('first');
my $standby = PostgreSQL::Test::Cluster->new('load_pages_standby');
$standby->init_from_backup($node, 'first', has_streaming => 1);
$standby->start;
is(load('2026-11-10'), '8000', 'loaded while a standby follows');
$node->wait_for_catchup($standby);
sound('2026-11-10', 'on the standby', $standby);
sound('2026-11-01', 'from its base backup', $standby);
$standby->promote;
is($standby->safe_psql('postgres', "SELECT rows FROM profenrich.load_snapshot_file('$csv', 'wide', snapshot_date => '2026-11-11')"), '8000', 'the standby loads once it is the primary');
is(differing_days($standby), '0', 'and its days are all the same');
$standby->stop;

# --- a crash ---

# Takes the file of a day's rows away while the server is down: what is there afterwards is from the WAL.
sub crash_without
{
	my ($day) = @_;
	my $file = $node->data_dir . '/' . sql("SELECT pg_relation_filepath('" . partition($day) . "')");
	$node->stop('immediate');
	truncate($file, 0) or die "$file: $!";
	$node->start;
	return;
}

sql('CHECKPOINT');
is(load('2026-11-02'), '8000', 'loaded after a checkpoint');
crash_without('2026-11-02');
sound('2026-11-02', 'pages from the WAL');
sound('2026-11-01', 'pages from before the checkpoint');

# --- checkpoints meanwhile ---

my $stop = $node->basedir . '/enough';
my ($out, $err) = ('', '');
my $checkpoints = IPC::Run::start([ 'sh', '-c', 'until [ -e "$2" ]; do psql -XAtq -d "$1" -c CHECKPOINT || exit 1; done', 'sh', $node->connstr('postgres'), $stop ],
	'<', \undef, '>', \$out, '2>', \$err);
is(load("2026-11-0$_"), '8000', 'loaded beside checkpoints') for 3 .. 5;
append_to_file($stop, '');
$checkpoints->finish;
is($err, '', 'checkpoints went on');
$node->stop('immediate');
$node->start;
sound("2026-11-0$_", 'beside checkpoints') for 3 .. 5;

# --- a transaction that goes back ---

my $before = sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'wide%'");
sql("BEGIN; SELECT load_snapshot_file('$csv', 'wide', snapshot_date => '2026-11-06'); ROLLBACK");
sql("DO \$\$ BEGIN PERFORM load_snapshot_file('$csv', 'wide', snapshot_date => '2026-11-06'); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN END \$\$");
is(sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'wide%'"), $before, 'nothing stays of a load that was rolled back');
is(sql("BEGIN; SAVEPOINT s; SELECT rows FROM load_snapshot_file('$csv', 'wide', snapshot_date => '2026-11-06'); RELEASE s; COMMIT"), '8000', 'a load in a subtransaction');
sound('2026-11-06', 'a load in a subtransaction');

# --- values that are out of line already, and generated ones ---

sql(<<'SQL');
CREATE TABLE elsewhere AS SELECT string_agg(md5(i::text), '') AS long FROM generate_series(1, 200) i;
CREATE FUNCTION from_elsewhere() RETURNS text LANGUAGE sql AS 'SELECT long FROM elsewhere';
CREATE TABLE defaults (snapshot_date date, id int, long text DEFAULT from_elsewhere(), twice int GENERATED ALWAYS AS (id * 2) STORED) PARTITION BY LIST (snapshot_date);
SQL
append_to_file($node->basedir . '/ids.csv', join("\n", 'id', 1 .. 50) . "\n");
is(sql("SELECT rows FROM load_snapshot_file('" . $node->basedir . "/ids.csv', 'defaults', snapshot_date => '2026-11-01')"), '50', 'defaults from another table');
sql('DROP FUNCTION from_elsewhere CASCADE; DROP TABLE elsewhere');
is(sql("SELECT count(DISTINCT id), min(length(long)), max(length(long)), bool_and(twice = 2 * id) FROM defaults"), '50|6400|6400|t', 'are kept by the table itself');

# --- other levels of WAL ---

set("max_wal_senders = 0\nwal_level = minimal\nwal_skip_threshold = 0\n");
is(load('2026-11-07'), '8000', 'loaded without WAL');
$node->stop('immediate');
$node->start;
sound('2026-11-07', 'without WAL');
set("wal_skip_threshold = 1GB\n");
is(load('2026-11-08'), '8000', 'loaded, to be logged at the end');
crash_without('2026-11-08');
sound('2026-11-08', 'logged at the end');

set("wal_level = logical\nmax_wal_senders = 2\nmax_replication_slots = 2\n");
sql("SELECT pg_create_logical_replication_slot('reader', 'test_decoding')");
is(load('2026-11-09'), '8000', 'loaded where rows are decoded');
sound('2026-11-09', 'where rows are decoded');
is(sql("SELECT count(*) FROM pg_logical_slot_get_changes('reader', NULL, NULL, 'skip-empty-xacts', 'on') WHERE data ~ '^table public.wide.*: INSERT'"), '8000',
	'and a subscriber sees every row');

$node->stop;
done_testing();
