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

wait_until($node, "SELECT state = 'running' FROM profenrich.worker_status", 'the launcher has started a worker');
enqueue($node, $id, 1, 2000);
wait_until($node, "SELECT pending = 0 FROM profenrich.enrichment_status", '2,000 scores are delivered');
is(compare_with_journal($node, $platform, $id, 'churn', 0), 0, 'each exactly once');
is($node->safe_psql('postgres', "SELECT state, accepted, dead, superseded FROM profenrich.enrichment_status"), 'idle|2000|0|0',
	'the status view adds up');
done_testing();
