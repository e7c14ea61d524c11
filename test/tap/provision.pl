# Provisioning: what is made, what is found, what does not fit, and a failure at each step.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StandIn;

my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('provision');
$node->init;
$platform->install($node);
$node->append_conf('postgresql.conf', "profenrich.ready_after = -1\nprofenrich.sender_identity = 'the original'\n");
$node->start;
$platform->connect_server($node, 'aep');
$node->safe_psql('postgres', q{
	CREATE TABLE scores (crm_id text, probability float8, score int, big int8, ok bool, band text, day date, seen timestamptz,
		tags text[], counts int[], reasons jsonb, classes jsonb, pairs jsonb);
	INSERT INTO scores VALUES ('C-1', 0.25, 25, 7000000000, true, 'low', '2026-11-23', now(), '{a,b}', '{1,2}',
		'[{"feature": "age", "value": "7", "contribution": 0.5}]', '{"a": 60, "b": 40}', '[{"name": "a", "value": 0.6}]')});
sub create
{
	my ($name, %more) = @_;
	my $source = $more{source} // 'scores';
	my $namespace = $more{namespace} // 'CRMID';
	my $attributes = $more{attributes} // '{"classes": "map<integer>", "pairs": "array<{name:string,value:number}>"}';
	$node->safe_psql('postgres', "SELECT profenrich.create_enrichment('$name', 'aep', \$\$$source\$\$, 'crm_id', '$namespace', '$attributes')");
	return;
}
# object and action of each row, or the error.
sub provision
{
	my ($name) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "SELECT object, action FROM profenrich.provision('$name')");
	return $code == 0 ? join(' ', map { tr/|/:/r } split /\n/, $out) : $err;
}
my $objects = 'tenant:%s identity namespace:%s field group:%s schema:%s primary identity:%s schema for Profile:%s data set:%s inlet:%s flow:%s';
my $all_new = sprintf $objects, 'found', 'found', ('created') x 3, 'enabled', ('created') x 3;
my $all_found = sprintf $objects, ('found') x 9;

create('churn', namespace => 'CrmIdx');
my $err = provision('churn');
like($err, qr/organisation has no identity namespace "CrmIdx"/, 'the namespace must exist');
like($err, qr/DETAIL:.*HINT:.*alter_enrichment/s, 'with those there are, and what to do');
is($node->safe_psql('postgres', 'SELECT count(*) FROM profenrich.enrichment_target'), '0', 'nothing is provisioned');
is($node->safe_psql('postgres', "SELECT profenrich.create_identity_namespace('aep', 'LoyaltyId', 'Loyalty card'), profenrich.create_identity_namespace('aep', 'loyaltyid')"),
	'created|found', 'which is made once');
like(provision('churn'), qr/DETAIL:  Namespaces it has: CRMID\./, 'and then proposed');
$node->safe_psql('postgres', "SELECT profenrich.alter_enrichment('churn', namespace => 'crmid')");
is(provision('churn'), $all_new, 'all is made');
is(provision('churn'), $all_found, 'and found the second time');
is($node->safe_psql('postgres', 'SELECT namespace FROM profenrich.enrichment'), 'CRMID', 'the code as the platform writes it');
is($node->safe_psql('postgres', "SELECT tenant, org_id, sandbox, sender_identity, attributes ->> 'classes', attributes ->> 'reasons',
	extract(epoch FROM ready_at - provisioned_at)::int BETWEEN 290 AND 310, inlet_url LIKE '" . $platform->url . "/collection/%' FROM profenrich.enrichment_target"),
	"acme|$StandIn::ORG|prod|the original|map<integer>|array<{feature:string,value:string,contribution:number}>|t|t", 'what is remembered');

# What would be sent is what the platform takes.
my $message = $node->safe_psql('postgres', "SELECT profenrich.preview('churn', 1)");
my ($inlet) = $node->safe_psql('postgres', 'SELECT inlet_url FROM profenrich.enrichment_target') =~ m{(/collection/.*)};
like($message, qr/"_acme": \{"churn": \{/, 'preview has the tenant');
is($platform->accepted, 0, 'preview sends nothing');

# A new attribute is added; the schema has changed, so sending waits longer.
$node->safe_psql('postgres', "ALTER TABLE scores ADD extra text; SELECT profenrich.alter_enrichment('churn', attributes => '{\"classes\": \"map<integer>\", \"pairs\": \"array<{name:string,value:number}>\"}')");
is(provision('churn'), sprintf($objects, ('found') x 2, 'changed', ('found') x 6), 'a new column changes the field group');
is($node->safe_psql('postgres', "SELECT attributes ->> 'extra', extract(epoch FROM ready_at - provisioned_at)::int BETWEEN 890 AND 910 FROM profenrich.enrichment_target"),
	'string|t', 'and waits for the schema');
is(provision('churn'), $all_found, 'once');
is($node->safe_psql('postgres', "SELECT extract(epoch FROM ready_at - provisioned_at)::int BETWEEN 800 AND 910 FROM profenrich.enrichment_target"), 't', 'the wait goes on');
# A column with another type is refused, on the platform as it is.
$node->safe_psql('postgres', 'ALTER TABLE scores ALTER extra TYPE int USING 1');
like(provision('churn'), qr/extra/, 'another type for it is an error that names it');
$node->safe_psql('postgres', 'ALTER TABLE scores DROP extra');
is(provision('churn'), $all_found, 'an attribute that is gone stays on the platform');

# The definition in another sandbox is another set of objects, with titles of their own.
$platform->connect_server($node, 'dev', sandbox => 'dev');
$node->safe_psql('postgres', "SELECT profenrich.create_identity_namespace('dev', 'CRMID')");
$node->safe_psql('postgres', q{SELECT profenrich.create_enrichment('churn_dev', 'dev', 'SELECT crm_id, score FROM scores', 'crm_id', 'CRMID')});
is(provision('churn_dev'), $all_new, 'in another sandbox');

# A step that fails leaves nothing half done that the next call cannot take up.
my @steps = (
	[ 'tenant', 'GET', '/schemaregistry/stats' ], [ 'namespaces', 'GET', '/idnamespace/identities' ],
	[ 'field group', 'POST', '/tenant/fieldgroups' ], [ 'schema', 'POST', '/tenant/schemas' ],
	[ 'descriptor', 'POST', '/tenant/descriptors' ], [ 'enabling', 'PATCH', '/tenant/schemas' ],
	[ 'data set', 'POST', '/dataSets' ], [ 'connection', 'POST', '/flowservice/connections' ],
	[ 'source connection', 'POST', '/flowservice/sourceConnections' ],
	[ 'target connection', 'POST', '/flowservice/targetConnections' ], [ 'flow', 'POST', '/flowservice/flows' ]);
create('steps', source => 'SELECT crm_id, score, band FROM scores', attributes => '{}');
for my $step (@steps)
{
	my ($name, $method, $path) = @$step;
	$platform->fault(path => $path, method => $method, count => 1, action => { status => 503 });
	like(provision('steps'), qr/ERROR:.*CONTEXT:  provisioning the .* of enrichment "steps"/s, "$name fails");
	$platform->clear_faults;
}
like(provision('steps'), qr/^tenant:found .* flow:created$/, 'and in the end all is there');
is(provision('steps'), $all_found, 'and once only');
# The same, with the request carried out and its reply lost.
create('lost', source => 'SELECT crm_id, score, band FROM scores', attributes => '{}');
for my $step (@steps)
{
	my ($name, $method, $path) = @$step;
	$platform->fault(path => $path, method => $method, count => 1, action => { status => 504, process => JSON::PP::true() });
	like(provision('lost'), qr/ERROR:/, "the reply of $name is lost");
	$platform->clear_faults;
}
is(provision('lost'), $all_found, 'what was made unseen is found');
my $twice = join ',', map { my $kind = $_; my %seen;
	my $all = $platform->control('GET', "/objects/prod/$kind");
	$seen{ $_->{title} // $_->{name} // '' }++ for ref $all eq 'HASH' ? values %$all : @$all;
	grep { $_ ne '' && $seen{$_} > 1 } keys %seen } qw(fieldgroups schemas dataSets flows);
is($twice, '', 'nothing was made twice');

# Without a superuser: an administrator connects, an operator provisions, and who is a member of the operator may too.
$platform->write_secret('operators');
my $url = $platform->url;
$node->safe_psql('postgres', qq{
	CREATE ROLE administrator LOGIN IN ROLE profenrich_admin;
	CREATE ROLE operator LOGIN IN ROLE profenrich_operator;
	CREATE ROLE colleague LOGIN IN ROLE profenrich_operator, operator;
	CREATE ROLE stranger LOGIN IN ROLE profenrich_operator;
	GRANT SELECT ON scores TO operator;
	SET ROLE administrator;
	CREATE SERVER theirs FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '$StandIn::ORG', sandbox 'prod',
		platform_url '$url', ims_url '$url', collection_url '$url', ca_file '} . $platform->ca_file . qq{');
	CREATE USER MAPPING FOR operator SERVER theirs OPTIONS (client_id '$StandIn::CLIENT', secret_file 'operators');
	GRANT USAGE ON FOREIGN SERVER theirs TO operator, stranger;
	SET ROLE operator;
	SELECT profenrich.create_enrichment('theirs', 'theirs', 'SELECT crm_id, score FROM public.scores', 'crm_id', 'CRMID')});
sub as_role
{
	my ($role, $sql) = @_;
	my ($code, $out, $error) = $node->psql('postgres', "SET ROLE $role; $sql");
	return $code == 0 ? $out : $error;
}
my $theirs = "SELECT string_agg(action, ' ') FROM profenrich.provision('theirs')";
like(as_role('stranger', $theirs), qr/must be owner of enrichment theirs/, 'not for strangers');
like(as_role('operator', $theirs), qr/^found found created created created enabled created created created$/, 'the operator provisions');
like(as_role('colleague', $theirs), qr/^found( found){8}$/, 'a member of the operator with the same credential');
like(as_role('stranger', "SELECT * FROM profenrich.datasets('theirs')"), qr/no user mapping for role "stranger"/, 'which serves nobody else');
unlike(as_role('operator', 'SELECT umoptions FROM pg_user_mappings'), qr/$StandIn::SECRET/, 'and shows no secret');
like(as_role('operator', "SELECT count(*) FROM profenrich.preview('theirs')"), qr/^1$/, 'preview as the operator');
like(as_role('colleague', "SELECT count(*) FROM profenrich.preview('theirs')"), qr/^1$/, 'and as the colleague, with the operator\'s rights on the source');

# What is there and does not fit.
create('fits', source => 'SELECT crm_id, score FROM scores', attributes => '{}');
provision('fits');
$node->safe_psql('postgres', "SELECT profenrich.drop_enrichment('fits')");
create('fits', source => 'SELECT crm_id, score::text AS score FROM scores', attributes => '{}');
like(provision('fits'), qr/score/, 'a field group with another type for the attribute');
$node->safe_psql('postgres', "SELECT profenrich.drop_enrichment('fits')");
create('fits', source => 'SELECT crm_id, score FROM scores', attributes => '{}', namespace => 'Email');
like(provision('fits'), qr/primary identity|identity/, 'a schema with another primary identity');
$node->safe_psql('postgres', "SELECT profenrich.drop_enrichment('fits')");
create('fits', source => 'SELECT crm_id, score FROM scores', attributes => '{}');
is(provision('fits'), $all_found, 'the same again is found whole');

# A copied database: silent until adopted.
$node->append_conf('postgresql.conf', "profenrich.sender_identity = 'the copy'\n");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('profenrich.sender_identity') = 'the copy'");
like(provision('churn'), qr/was provisioned by another cluster.*the copy.*the original.*profenrich.adopt\('churn'\)/s, 'a copy does not provision');
$node->safe_psql('postgres', "SELECT profenrich.adopt('churn')");
is(provision('churn'), $all_found, 'until it adopts');

# Without a name of its own, a database copied inside the cluster is another sender too.
$node->append_conf('postgresql.conf', "profenrich.sender_identity = ''\n");
$node->reload;
$node->poll_query_until('postgres', "SELECT profenrich.sender_identity() <> 'the copy'");
$node->safe_psql('postgres', "SELECT profenrich.adopt('churn')");
is(provision('churn'), $all_found, 'the name of the cluster by default');
$node->safe_psql('template1', 'CREATE DATABASE copied TEMPLATE postgres');
my ($failed, undef, $why) = $node->psql('copied', "SELECT * FROM profenrich.provision('churn')");
like($why, qr/was provisioned by another cluster/, 'and not of a copied database');
$node->safe_psql('template1', 'DROP DATABASE copied');
$node->append_conf('postgresql.conf', "profenrich.sender_identity = 'the copy'\n");
$node->reload;

# Two at once make everything once.
create('race', source => 'SELECT crm_id, score FROM scores', attributes => '{}');
$platform->fault(path => '/schemaregistry/stats', count => 1, action => { delay_ms => 1500 });
my $first = $node->background_psql('postgres');
$first->query_until(qr/begun/, "\\echo begun\nSELECT count(*) FROM profenrich.provision('race');\n");
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 'enrichment' AND l.pid <> pg_backend_pid()");
is(provision('race'), $all_found, 'the second waits for the first');
$first->quit;
$platform->clear_faults;

# The setting says how long to wait.
$node->safe_psql('postgres', "SET profenrich.ready_after = 0; SELECT profenrich.create_enrichment('now', 'aep', 'SELECT crm_id, score FROM scores', 'crm_id', 'CRMID'); SELECT * FROM profenrich.provision('now')");
is($node->safe_psql('postgres', "SELECT ready_at <= now() FROM profenrich.enrichment_target JOIN profenrich.enrichment USING (enrichment_id) WHERE name = 'now'"), 't', 'ready at once');

# An inlet elsewhere is not trusted with the token.
$node->safe_psql('postgres', "ALTER SERVER aep OPTIONS (SET collection_url 'https://127.0.0.1:1')");
$platform->write_secret('standin', hosts => 'localhost, 127.0.0.1');
like(provision('now'), qr/inlet is not at collection_url/, 'an inlet at another host is refused');

done_testing();
