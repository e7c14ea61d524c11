# What others do to a server, a mapping, a secret or an enrichment while the worker sends: they alter, drop and misconfigure.
# Whatever happens, nothing is lost or goes backwards.
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
my $node = start_node($platform, 'database');
$platform->settings(clients => { 'profenrich-client' => 'profenrich-secret', 'other-client' => 'other-secret' });

sub sql { return $node->safe_psql('postgres', join ';', @_) }

# "%s" in SQL is the enrichment's name, and its server's.

sub run_sql { my ($sql) = @_; return sub { (my $text = $sql) =~ s/%s/$_[0]{enrichment}/g; sql($text) } }
sub secret { my ($name, %changed) = @_; return $platform->write_secret($name, hosts => 'localhost', %changed) }

# A secret file of the fault's own.
sub own_secret
{
	my ($fault) = @_;
	secret($fault->{enrichment});
	run_sql("ALTER USER MAPPING FOR CURRENT_USER SERVER %s OPTIONS (SET secret_file '%s')")->($fault);
	return;
}

# The token that its next request comes with is none any more.
sub end_token
{
	my ($fault) = @_;
	over($fault);
	push @{ $fault->{rules} }, $platform->fault(path => "^/via/$fault->{enrichment}/collection/", count => 1, action => { revoke_token => JSON::PP::true });
	return;
}

# Each request is answered late enough that something is under way when the fault comes.
my @slowly = (via => [ [ '/collection/', action => { delay_ms => 100 } ] ], server => { requests_per_second => 6 });

# Something is done once records arrive, must block with this reason, and is undone.
sub done_and_undone
{
	my ($do, $block, $reason, $undo) = @_;
	# All before may have arrived by now.
	return (@slowly, steps => [ [ accepted => sub { $do->(@_); enqueue($node, $_[0]{id}, 1, 16) } ], @{ block_then($block, $reason, sub { $undo->(@_); heal(@_) }) } ]);
}

run_faults($node, $platform,
	{ name => 'the user mapping is dropped', done_and_undone(run_sql('DROP USER MAPPING FOR CURRENT_USER SERVER %s'), 'configuration', qr/no user mapping/,
		run_sql("CREATE USER MAPPING FOR CURRENT_USER SERVER %s OPTIONS (client_id 'profenrich-client', secret_file 'standin')")) },
	{ name => 'the user mapping names a client that does not exist',
		done_and_undone(run_sql("ALTER USER MAPPING FOR CURRENT_USER SERVER %s OPTIONS (SET client_id 'nobody')"), 'authorisation', qr/refused the client/,
			run_sql("ALTER USER MAPPING FOR CURRENT_USER SERVER %s OPTIONS (SET client_id 'profenrich-client')")) },
	{ name => 'the server is dropped', done_and_undone(run_sql('DROP SERVER %s CASCADE'), 'configuration', qr/does not exist/, sub {
		my ($fault) = @_;
		my $via = $platform->url . "/via/$fault->{enrichment}";
		$platform->connect_server($node, $fault->{enrichment}, collection_url => $via, ims_url => $via, requests_per_second => 500) }) },
	{ name => 'the server gets another URL, where nobody is', @slowly,
		steps => [ [ accepted => sub { run_sql("ALTER SERVER %s OPTIONS (SET collection_url 'https://localhost:1')")->(@_); enqueue($node, $_[0]{id}, 1, 16) } ],
			[ sub { $_[1]{last_error} =~ /connect/i } => sub { run_sql("ALTER SERVER %s OPTIONS (SET collection_url '" . $platform->url . "/via/%s')")->(@_) } ] ] },
	{ name => 'the server\'s limits change', @slowly, steps => [ [ accepted => run_sql("ALTER SERVER %s OPTIONS (SET requests_per_second '1')") ],
		[ after(1.5), run_sql("ALTER SERVER %s OPTIONS (SET requests_per_second '500', SET messages_per_second '500')") ] ] },
	{ name => 'the secret file is removed, and the token ends', start => \&own_secret,
		done_and_undone(sub { unlink "$platform->{secrets}/$_[0]{enrichment}"; end_token(@_) }, 'configuration', qr/secret/,
			sub { secret($_[0]{enrichment}) }) },
	{ name => 'the secret file can be read by others', start => \&own_secret,
		done_and_undone(sub { chmod 0644, "$platform->{secrets}/$_[0]{enrichment}"; end_token(@_) }, 'configuration', qr/secret/,
			sub { chmod 0600, "$platform->{secrets}/$_[0]{enrichment}" }) },
	{ name => 'the secret file allows another host only', start => \&own_secret,
		done_and_undone(sub { secret($_[0]{enrichment}, hosts => 'elsewhere.example'); end_token(@_) }, 'configuration', qr/does not allow host/,
			sub { secret($_[0]{enrichment}) }) },
	{ name => 'the secret is rotated', start => sub {
			my ($fault) = @_;
			secret($fault->{enrichment}, client_secret => 'other-secret');
			run_sql("ALTER USER MAPPING FOR CURRENT_USER SERVER %s OPTIONS (SET secret_file '%s', SET client_id 'other-client')")->($fault) },
		@slowly, steps => [ [ accepted => sub {
			my ($fault) = @_;
			$platform->settings(clients => { 'profenrich-client' => 'profenrich-secret', 'other-client' => 'rotated-secret' });
			secret($fault->{enrichment}, client_secret => 'rotated-secret');
			end_token($fault) } ] ] },
	{ name => 'the owner loses USAGE on the server', start => sub {
			my ($fault) = @_;
			run_sql("CREATE ROLE %s; GRANT USAGE ON FOREIGN SERVER %s TO %s; UPDATE profenrich.enrichment SET owner = '%s' WHERE name = '%s';
				CREATE USER MAPPING FOR %s SERVER %s OPTIONS (client_id 'profenrich-client', secret_file 'standin')")->($fault) },
		done_and_undone(run_sql("REVOKE USAGE ON FOREIGN SERVER %s FROM %s; ALTER SERVER %s OPTIONS (SET requests_per_second '16')"),
			'configuration', qr/permission denied for foreign server/, run_sql('GRANT USAGE ON FOREIGN SERVER %s TO %s')) },
	{ name => 'the enrichment gets another owner', @slowly, steps => [ [ accepted => run_sql("CREATE ROLE %s SUPERUSER; UPDATE profenrich.enrichment SET owner = '%s' WHERE name = '%s';
		CREATE USER MAPPING FOR %s SERVER %s OPTIONS (client_id 'profenrich-client', secret_file 'standin')") ] ] },
	{ name => 'the owner\'s role is dropped', start => sub {
			my ($fault) = @_;
			run_sql("CREATE ROLE %s SUPERUSER; CREATE USER MAPPING FOR %s SERVER %s OPTIONS (client_id 'profenrich-client', secret_file 'standin');
				UPDATE profenrich.enrichment SET owner = '%s' WHERE name = '%s'")->($fault) },
		done_and_undone(run_sql("DROP USER MAPPING FOR %s SERVER %s; DROP ROLE %s"), 'configuration', qr/owner does not exist any more/,
			run_sql("SELECT profenrich.set_enrichment_owner('%s', current_user::regrole)")) },
	{ name => 'the server is altered and the enrichment resumed again and again', @slowly,
		steps => [ map { [ after(0.1), run_sql("ALTER SERVER %s OPTIONS (SET requests_per_second '" . (20 + $_) . "'); SELECT profenrich.resume('%s')") ] } 1 .. 10 ] },
	{ name => 'the server goes where certificates are wrong and back', @slowly, start => sub {
			$_[0]{bad_port} = $platform->control('POST', '/ports', { kind => 'untrusted' })->{port} },
		steps => [ map { (
			[ accepted => sub {
				run_sql("ALTER SERVER %s OPTIONS (SET collection_url 'https://localhost:$_[0]{bad_port}')")->(@_);
				enqueue($node, $_[0]{id}, 1, 16) } ],
			[ 'blocked: configuration' => sub { run_sql("ALTER SERVER %s OPTIONS (SET collection_url '" . $platform->url . "/via/%s'); SELECT profenrich.resume('%s')")->(@_) } ],
			[ sub { $_[1]{state} !~ /blocked/ } => undef ]) } 1 .. 3 ] },
	{ name => 'the enrichment is dropped', @slowly, gone => 1, steps => [ [ accepted => run_sql("SELECT profenrich.drop_enrichment('%s', true)") ] ] },
	{ name => 'the enrichment is dropped and made again', @slowly, gone => 1, steps => [ [ accepted => run_sql("SELECT profenrich.drop_enrichment('%s', true);
		SELECT profenrich.create_enrichment('%s', server => '%s', source => 'scores', identity_column => 'crm_id', namespace => 'CRMID'); SELECT * FROM profenrich.provision('%s')") ] ] },
	{ name => 'the enrichment moves to another server', @slowly, steps => [ [ accepted => sub {
		my ($fault) = @_;
		my $via = $platform->url . "/via/$fault->{enrichment}";
		$platform->connect_server($node, "$fault->{enrichment}_b", collection_url => $via, ims_url => $via, requests_per_second => 500);
		run_sql("SELECT profenrich.alter_enrichment('%s', server => '%s_b')")->($fault) } ] ] },
	{ name => 'the enrichment is paused', @slowly, steps => [ [ accepted => run_sql("SELECT profenrich.pause('%s')") ], [ paused => undef ], [ after(1), \&heal ] ] },
	{ name => 'the enrichment is paused and resumed again and again', @slowly,
		steps => [ (map { ([ accepted => run_sql("SELECT profenrich.pause('%s')") ], [ paused => run_sql("SELECT profenrich.resume('%s')") ]) } 1 .. 5) ] },
	{ name => 'the enrichment was provisioned elsewhere', done_and_undone(run_sql("UPDATE profenrich.enrichment_target SET sender_identity = 'somebody else'
		WHERE enrichment_id = (SELECT enrichment_id FROM profenrich.enrichment WHERE name = '%s'); SELECT profenrich.wake_worker()"), 'identity', qr/another cluster/,
		run_sql("SELECT profenrich.adopt('%s')")) },
	{ name => 'everything is resumed all the time', @slowly, via => [ [ '/collection/', every => 2, count => 8, action => { status => 503 } ] ],
		steps => [ map { [ after(0.1), run_sql("SELECT profenrich.resume('%s')") ] } 1 .. 15 ] },
);
check_logs($node, $platform);
within(5, 'a fast stop', sub { $node->stop('fast') });
done_testing();
