# The stand-in Experience Platform for TAP tests: start, stop, kill and restart it, script its faults, read
# its journal; and helpers that connect a server of the extension to it.
#
#   my $platform = StandIn->new;                  # started, on a free port, state in a scratch directory
#   $platform->install($node);                    # before $node->start: settings and secret file
#   $platform->connect_server($node, 'aep');      # CREATE SERVER and USER MAPPING
#   $platform->fault(path => '/collection/', count => 3, action => { status => 503 });
#   $platform->journal_into($node, 'journal');    # what was accepted, as a table
package StandIn;

use strict;
use warnings;

use Cwd qw(realpath);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Temp ();
use HTTP::Tiny;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep time);

our $ORG    = '0123456789ABCDEF01234567@AdobeOrg';
our $CLIENT = 'profenrich-client';
our $SECRET = 'profenrich-secret';
our $TENANT = 'acme';

my $here = dirname(realpath(__FILE__));
my $json = JSON::PP->new->utf8->canonical;

# new(start => 0, plain => 1): a stand-in with an empty state directory.
sub new
{
	my ($class, %options) = @_;
	my $self = bless {
		state   => File::Temp::tempdir('standin-XXXXXX', TMPDIR => 1, CLEANUP => 1),
		options => \%options,
		owner   => $$,
	}, $class;
	$self->start unless exists $options{start} && !$options{start};
	return $self;
}

# Start, or start again on the same port with the same state.
sub start
{
	my ($self) = @_;
	unlink map { "$self->{state}/$_" } qw(port pid control-port);
	my $pid = fork;
	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open STDIN,  '<',  '/dev/null';
		open STDOUT, '>>', "$self->{state}/log";
		open STDERR, '>>', "$self->{state}/log";
		my @server = ('/usr/bin/python3', "$here/../platform/server", '--state', $self->{state},
			'--with-parent', '--port', $self->{port} // 0, ($self->{options}{plain} ? '--plain' : ()),
			($ENV{PROFENRICH_REQUESTS} ? ('--record', $ENV{PROFENRICH_REQUESTS}) : ()));
		{ exec { $server[0] } @server }
		POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	my $until = time + 30;
	until (-e "$self->{state}/port")
	{
		die "the stand-in did not start: see $self->{state}/log" if time > $until || waitpid($pid, 1) == $pid;
		sleep 0.02;
	}
	$self->{port}    = $self->_number('port');
	$self->{control} = $self->_number('control-port');
	return $self;
}

sub _number
{
	my ($self, $name) = @_;
	open my $file, '<', "$self->{state}/$name" or die "$name: $!";
	my ($number) = <$file> =~ /^(\d+)/;
	return $number;
}

sub _end
{
	my ($self, $signal) = @_;
	return unless $self->{pid};
	my $status = $?;
	kill $signal, $self->{pid};
	waitpid $self->{pid}, 0;
	$? = $status;
	delete $self->{pid};
	return;
}

sub stop    { $_[0]->_end('TERM'); return }
sub kill9   { $_[0]->_end('KILL'); return }
sub restart { $_[0]->kill9; return $_[0]->start }
sub DESTROY { $_[0]->kill9 if $_[0]{owner} == $$; return }

sub port    { return $_[0]{port} }
sub state   { return $_[0]{state} }
sub ca_file { return "$_[0]{state}/ca.pem" }
sub wrong_ca_file { return "$_[0]{state}/wrong-ca.pem" }
sub url { return ($_[0]{options}{plain} ? 'http' : 'https') . "://localhost:$_[0]{port}" }

# Where to put the files of a day: snapshot_folder('2026-11-23'), made if need be.
sub snapshot_folder
{
	my ($self, $day, $policy) = @_;
	my $path = "$self->{state}/snapshots/" . ($policy // 'default') . "/$day";
	make_path($path);
	return $path;
}

# Where to put the files of a batch of events: events_folder('web', 1), made if need be.
sub events_folder
{
	my ($self, $dataset, $number) = @_;
	my $path = "$self->{state}/events/$dataset/$number";
	make_path($path);
	return $path;
}

# control('POST', '/settings', {...}): the decoded answer, or the text when it is no JSON; dies on refusal.
sub control
{
	my ($self, $method, $path, $body) = @_;
	my $reply = HTTP::Tiny->new(timeout => 120)->request($method, "http://127.0.0.1:$self->{control}/__control$path",
		defined $body ? { content => ref $body ? $json->encode($body) : $body } : {});
	die "$method $path: $reply->{status} $reply->{content}" unless $reply->{success};
	return ($reply->{headers}{'content-type'} // '') eq 'application/json' ? $json->decode($reply->{content}) : $reply->{content};
}

sub settings { my ($self, %changes) = @_; return $self->control('POST', '/settings', \%changes) }
sub fault { my ($self, %rule) = @_; return $self->control('POST', '/faults', \%rule)->[0] }
sub faults       { return $_[0]->control('GET', '/faults')->{rules} }
sub clear_faults { return $_[0]->control('DELETE', '/faults') }
sub expire_tokens { return $_[0]->control('POST', '/expire-tokens') }
sub certificate { return $_[0]->control('POST', '/certificate', { kind => $_[1] }) }
sub counters { return $_[0]->control('GET', '/counters') }
sub requests { return $_[0]->control('GET', '/requests') }
sub reset { return $_[0]->control('POST', '/reset') }
sub forget_messages { return $_[0]->control('POST', '/reset?keep=objects') }

# How many were accepted, of how many identities, and how often each: {accepted, identities, repeats}.
sub journal_summary { return $_[0]->control('GET', '/journal/summary?kind=message,record' . ($_[1] ? "&dataset=$_[1]" : '')) }
sub accepted { return $_[0]->journal_summary->{accepted} }

# The journal as a table: seq, at_ms, dataset, namespace, identity, request, entity jsonb. Made anew each time.
# Streamed messages and records of batches, each profile's in the order in which they came.
sub journal_into
{
	my ($self, $node, $table, $database) = @_;
	my $file = "$self->{state}/journal.tsv";
	open my $out, '>:raw', $file or die "$file: $!";
	print {$out} $self->control('GET', '/journal?format=tsv&kind=message,record');
	close $out or die "$file: $!";
	chmod 0755, $self->{state};
	$node->safe_psql($database // 'postgres', "
		DROP TABLE IF EXISTS $table;
		CREATE TABLE $table (seq int8, at_ms int8, dataset text, namespace text, identity text, request text, entity jsonb);
		COPY $table FROM '$file';");
	return;
}

# The merged profile of an identity as the platform reads it back, or undef. Asked like any client would, but
# over the control port, so that counters and faults do not see it.
sub profile
{
	my ($self, $namespace, $identity) = @_;
	my $reply = HTTP::Tiny->new->get("http://127.0.0.1:$self->{control}/__control/profile?namespace=$namespace&identity="
		  . join '', map { /[A-Za-z0-9._-]/ ? $_ : sprintf '%%%02X', ord } split //, $identity);
	return $reply->{success} ? $json->decode($reply->{content}) : undef;
}

# Before $node->start: what a server needs to talk with a stand-in on the loopback address.
sub install
{
	my ($self, $node, %more) = @_;
	my $folder = $node->basedir . '/secrets';
	make_path($folder);
	chmod 0700, $folder;
	$self->{secrets} = $folder;
	$node->append_conf('postgresql.conf', "profenrich.secret_directory = '$folder'\nprofenrich.allow_private_addresses = on
profenrich.ready_after = 0\nprofenrich.resend_gap = 0\n");
	$self->write_secret('standin', %more);
	return;
}

# A secret file as the extension reads it: the secret, and where it may be sent.
sub write_secret
{
	my ($self, $name, %changed) = @_;
	my %parts = (client_secret => $SECRET, org_id => $ORG, hosts => 'localhost', %changed);
	my $path = "$self->{secrets}/$name";
	open my $file, '>', $path or die "$path: $!";
	chmod 0600, $path;
	print {$file} map { "$_ = $parts{$_}\n" } grep { defined $parts{$_} } sort keys %parts;
	close $file or die "$path: $!";
	_secret_used("$parts{client_secret}\n") if defined $parts{client_secret};
	return $path;
}

# Secrets that the tests used, to which the stand-in adds its tokens: test/run looks for them in the logs of all servers.
sub _secret_used
{
	my ($lines) = @_;
	return unless $ENV{PROFENRICH_SECRETS_USED};
	open my $file, '>>', $ENV{PROFENRICH_SECRETS_USED} or die "$ENV{PROFENRICH_SECRETS_USED}: $!";
	print {$file} $lines;
	close $file or die "$ENV{PROFENRICH_SECRETS_USED}: $!";
	return;
}

# CREATE SERVER and a user mapping for the current user; options given override, undef leaves one out.
sub connect_server
{
	my ($self, $node, $name, %changed) = @_;
	my $database = delete $changed{database} // 'postgres';
	$node->safe_psql($database, 'CREATE EXTENSION IF NOT EXISTS profenrich; ' . $self->server_sql($name, %changed));
	return;
}

# What makes the server, where the extension is there.
sub server_sql
{
	my ($self, $name, %changed) = @_;
	my %options = (
		org_id => $ORG, sandbox => 'prod', platform_url => $self->url, ims_url => $self->url,
		collection_url => $self->url, ca_file => $self->ca_file, %changed);
	chmod 0755, $self->{state};
	my $list = join ', ', map { "$_ '$options{$_}'" } grep { defined $options{$_} } sort keys %options;
	return "CREATE SERVER $name FOREIGN DATA WRAPPER experience_platform OPTIONS ($list);
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS (client_id '$CLIENT', secret_file 'standin');";
}

1;
