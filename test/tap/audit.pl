# The audit log: the functions that need a platform or a worker leave their rows too, the worker trims what is past
# its time, and a dump carries the rest.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Queue;
use StandIn;

my $platform = StandIn->new;
my $node     = PostgreSQL::Test::Cluster->new('audit');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.audit_retention = 30\nclient_min_messages = warning\n");
$platform->install($node);
$node->start;
set_up_enrichment($node, $platform, 'churn');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub trail { return sql("SELECT string_agg(action || coalesce(' ' || object, ''), ', ' ORDER BY at) FROM profenrich.audit_trail" . ($_[0] // '')) }

is(trail(), 'create_identity_namespace CRMID, create_enrichment churn, provision churn', 'what was made on the platform');

my $folder = $platform->snapshot_folder('2026-11-23');
open my $file, '>', "$folder/part.json" or die "$folder: $!";
print {$file} qq({"identityMap": {"CRMID": [{"id": "C-1"}]}}\n);
close $file;
sql("SELECT rows FROM profenrich.load_snapshot('aep', 'profiles')");
is(trail(" WHERE action LIKE 'load%'"), 'load_snapshot public.profiles', 'what was loaded from there');
is(sql("SELECT detail FROM profenrich.audit_trail WHERE action = 'load_snapshot'"), '{"rows": 1, "snapshot_date": "2026-11-23"}', 'with its day');

sql('SELECT profenrich.stop_worker(); SELECT profenrich.start_worker()');
is(trail(" WHERE action LIKE '%worker'"), 'stop_worker, start_worker', 'who stopped and started the worker');
my ($status, $out, $err) = $node->psql('postgres', 'BEGIN READ ONLY; SELECT profenrich.stop_worker()');
like($err, qr/read-only transaction/, 'nobody does it without leaving a row');
ok(sql('SELECT pid IS NOT NULL FROM profenrich.worker_status'), 'and the worker runs on');

# A worker that starts looks after the logs.
sql("UPDATE profenrich.audit_log SET at = now() - interval '31 days' WHERE action = 'provision'; SELECT profenrich.stop_worker(); SELECT profenrich.start_worker()");
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM profenrich.audit_log WHERE action = 'provision'"), 'what is past its time goes');
like(trail(), qr/create_enrichment churn/, 'the rest stays');

my $dump = $node->basedir . '/dump.sql';
$node->run_log([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-f', $dump ]);
my $before = trail();
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->run_log([ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-d', 'restored', '-f', $dump ]);
is($node->safe_psql('restored', "SELECT string_agg(action || coalesce(' ' || object, ''), ', ' ORDER BY at) FROM profenrich.audit_trail"), $before, 'also through a dump');

$node->stop;
$platform->stop;
done_testing();
