# What an operator meets: shared memory that has run out, errors that are caught, a dump
# by a role that is no superuser, and one of the extension's schema alone.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Not preloaded, and with little shared memory to spare.
my $node = PostgreSQL::Test::Cluster->new('operating');
$node->init;
$node->append_conf('postgresql.conf', "max_connections = 10\nmax_locks_per_transaction = 10\nfsync = off\nclient_min_messages = warning\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION profenrich');
my ($status, $out, $err) = $node->psql('postgres', 'SELECT count(pg_advisory_xact_lock(i)) FROM generate_series(1, 1000000) AS i');
like($err, qr/out of shared memory/, 'no shared memory is left');

# A session without a place for its progress goes on, and can still be cancelled.
($status, $out, $err) = $node->psql('postgres', q{
	SELECT count(*) FROM profenrich.training_progress;
	SET statement_timeout = '200ms';
	SELECT pg_sleep(5)});
is($out, '0', 'without shared memory there is no progress to see');
like($err, qr/statement timeout/, 'and the session answers a cancel');
$node->restart;

# A call whose error is caught is over.
is($node->safe_psql('postgres', q{
	CREATE TABLE few AS SELECT i AS id, i % 2 = 0 AS y, i AS x FROM generate_series(1, 50) AS i;
	CREATE VIEW failing AS SELECT id, y, x / (x - 50) AS x FROM few;
	BEGIN;
	DO $$ BEGIN PERFORM profenrich.train('m', 'propensity', 'failing', 'y'); EXCEPTION WHEN division_by_zero THEN NULL; END $$;
	SELECT count(*) FROM profenrich.training_progress;
	COMMIT}), '0', 'a training that failed is no longer running');

# A reader learns nothing about tables that are not for him.
my $file = $node->basedir . '/p.csv';
append_to_file($file, "id,churned\n1,true\n");
chmod 0644, $file;
$node->safe_psql('postgres', qq{
	SELECT profenrich.load_snapshot_file('$file', 'private');
	CREATE ROLE curious IN ROLE profenrich_reader});
($status, $out, $err) = $node->psql('postgres', q{
	CREATE FUNCTION pg_temp.peek(t text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE WARNING 'saw %', t; RETURN true; END $$;
	GRANT EXECUTE ON FUNCTION pg_temp.peek TO curious;
	SET ROLE curious;
	SELECT count(*) FROM profenrich.snapshots WHERE pg_temp.peek(source)});
is($out, '0', 'the view of snapshots shows own tables only');
unlike($err, qr/saw/, 'to functions in its conditions as well');

# Dumps.
$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN IN ROLE profenrich_admin');
my @dump = ('pg_dump', '-h', $node->host, '-p', $node->port, '-f', $node->basedir . '/dump.sql');
$node->safe_psql('postgres', 'DROP TABLE private CASCADE; DROP VIEW failing; DROP TABLE few');
$node->command_ok([ @dump, '-U', 'keeper', 'postgres' ], 'a member of profenrich_admin can dump the extension');
$node->command_ok([ @dump, '-n', 'profenrich', 'postgres' ], 'a dump of the schema alone');

$node->stop;
done_testing();
