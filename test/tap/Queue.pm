# What the worker's TAP tests share: a provisioned enrichment, and scores put into its queue by plain INSERTs,
# as a refresh would do it.
package Queue;

use strict;
use warnings;
use Exporter 'import';
use Test::More;

our @EXPORT = qw(set_up_enrichment enqueue enqueue_sql wait_until pending worker_pid compare_with_journal);

# An enrichment of one number and one string, found or made on the platform; returns its id.
sub set_up_enrichment
{
	my ($node, $platform, $name, %options) = @_;
	$platform->connect_server($node, 'aep', %options) unless
	  $node->safe_psql('postgres', "SELECT count(*) FROM pg_extension e, pg_foreign_server s WHERE extname = 'profenrich' AND srvname = 'aep'");
	$node->safe_psql('postgres', "
		CREATE TABLE IF NOT EXISTS scores (crm_id text, score float8, band text);
		SELECT profenrich.create_identity_namespace('aep', 'CRMID', 'Customer');
		SELECT profenrich.create_enrichment('$name', server => 'aep', source => 'scores', identity_column => 'crm_id', namespace => 'CRMID');
		SELECT * FROM profenrich.provision('$name');");
	return $node->safe_psql('postgres', "SELECT enrichment_id FROM profenrich.enrichment WHERE name = '$name'");
}

# Queues keys K-$from .. K-$to with a value that tells the version, in chunks of at most $chunk keys. However a
# role's or a database's settings may be.
sub enqueue
{
	my ($node, $id, $from, $to, %options) = @_;
	my $version = $node->safe_psql($options{database} // 'postgres', enqueue_sql($id, $from, $to, %options));
	$version =~ s/.*\n//s;
	return $version;
}

# The same for psql, to be run with others; it prints the version last.
sub enqueue_sql
{
	my ($id, $from, $to, %options) = @_;
	my $chunk = $options{chunk} // 500;
	my $band = $options{band} // 'b';
	my $scored = $options{scored} // 'now()';
	return "SET statement_timeout = 0; SET lock_timeout = 0; SET default_transaction_read_only = off; SET search_path = public;
		INSERT INTO profenrich.run (enrichment_id, run_by) VALUES ($id, current_user::regrole) RETURNING run_id AS version \\gset
		BEGIN;
		INSERT INTO profenrich.profile_score (enrichment_id, profile_key, version, hash, changed_at, value)
			SELECT $id, 'K-' || i, :version, :version * 1000003 + i, $scored, jsonb_build_object('score', :version, 'band', '$band' || i % 7)
			FROM generate_series($from, $to) i
			ON CONFLICT (enrichment_id, profile_key) DO UPDATE SET version = excluded.version, hash = excluded.hash,
				changed_at = excluded.changed_at, value = excluded.value, retracted = false;
		INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys)
			SELECT $id, shard, :version, array_agg(key) FROM (
				SELECT key, shard, (row_number() OVER (PARTITION BY shard) - 1) / $chunk AS part
				FROM (SELECT 'K-' || i AS key, i % 16 AS shard FROM generate_series($from, $to) i) k) n
			GROUP BY shard, part ORDER BY part, shard;
		SELECT profenrich.wake_worker();
		COMMIT;
		SELECT :version;\n";
}

# poll_query_until with a name for the test, and what was seen instead.
sub wait_until
{
	my ($node, $query, $name, $database) = @_;
	my $done = $node->poll_query_until($database // 'postgres', $query);
	ok($done, $name);
	diag($node->safe_psql('postgres', 'SELECT * FROM profenrich.enrichment_status; SELECT * FROM profenrich.worker_status')) unless $done;
	return $done;
}

sub pending
{
	my ($node, $name) = @_;
	return $node->safe_psql('postgres', "SELECT pending FROM profenrich.enrichment_status WHERE enrichment = '$name'");
}

sub worker_pid
{
	my ($node, $database) = @_;
	return $node->safe_psql($database // 'postgres', 'SELECT pid FROM profenrich.worker_status');
}

# The promises, from the platform's journal: the last accepted value of each key is its newest; of one key no
# older value was accepted after a newer one; and no more repeats than the bound.
sub compare_with_journal
{
	my ($node, $platform, $id, $name, $most_repeats) = @_;
	$platform->journal_into($node, 'journal');
	my $seen = "SELECT identity, seq, (entity -> '_acme' -> '$name' ->> 'score')::int8 AS version FROM journal";
	is($node->safe_psql('postgres', "
		SELECT count(*) FROM profenrich.profile_score s
		LEFT JOIN (SELECT DISTINCT ON (identity) identity, version FROM ($seen) j ORDER BY identity, seq DESC) l
			ON l.identity = s.profile_key
		WHERE s.enrichment_id = $id AND l.version IS DISTINCT FROM s.version
			AND NOT EXISTS (SELECT FROM profenrich.dead_letter d WHERE d.enrichment_id = $id AND d.profile_key = s.profile_key)"),
		0, 'every key\'s last accepted value is its newest');
	is($node->safe_psql('postgres', "
		SELECT count(*) FROM (SELECT version < lag(version) OVER (PARTITION BY identity ORDER BY seq) AS back FROM ($seen) j) x
		WHERE back"), 0, 'no version went backwards');
	my $repeats = $node->safe_psql('postgres', "SELECT count(*) - count(DISTINCT (identity, version)) FROM ($seen) j");
	cmp_ok($repeats, '<=', $most_repeats, "repeats within the bound: $repeats of at most $most_repeats");
	return $repeats;
}

1;
