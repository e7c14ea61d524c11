# Many faults at once, each with an enrichment and a server of its own, so that one's breaker, pauses and blocks
# are not another's; and the oracle: what the platform journaled against what was to be sent.
#
# A fault is a hash:
#   name     what goes wrong
#   via      rules of the stand-in for this server's requests alone: a path below the server's prefix, and what
#            StandIn::fault takes
#   server   options of the foreign server, changed after provisioning
#   port     the kind of port that messages go to (see the stand-in's /ports), until the fault is over
#   keys, chunk    how many profiles, in chunks of how many
#   steps    [when, what] pairs: when this is so (see is_so), do that, called with the fault
#   repeats  the most requests whose records may arrive again, because their answers did not come
#   backwards    an older value may arrive after a newer one: only after a reply that never came
#   start    called before anything is queued; end: when the fault is done with
#   dead     how many dead letters there must be in the end
#   gone     the enrichment is dropped on the way: nothing is compared
# Each begins with all keys queued, and half of them again with a newer value once the first are on their way.
package Faults;

use strict;
use warnings;
use feature 'state';
use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use Queue;
use StandIn;

our @EXPORT = qw(start_node run_faults run_in_turn over heal block_then after check_oracle check_worker_memory check_logs within);

# Also on a busy machine, where a backoff has grown before anybody has seen that the fault is over.
my $PATIENCE = 120;
# What took longer is told in the log of the test.
my $SLOW = 60;
my $LARGEST_MEMORY = 64 * 1024;
# Part of every value: must never be found in a log.
my $PRIVATE = 'private-band';

# A server with the extension preloaded, connected to nothing yet.
sub start_node
{
	my ($platform, $name, $settings, %init) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(%init);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.poll_interval = 1\nrestart_after_crash = on\n"
		  . "max_worker_processes = 16\nmax_prepared_transactions = 5\nlog_statement = none\n" . ($settings // ''));
	$platform->install($node, hosts => 'localhost, nowhere.invalid');
	$node->start;
	return $node;
}

# Is it so? 'hit': a rule of the fault has hit; 'accepted': something has arrived; 'over': nothing is pending; any
# other text is a state of enrichment_status; a function is asked with the fault and its row of that view.
sub is_so
{
	my ($fault, $when, $row, $rules) = @_;
	return $when->($fault, $row) if ref $when eq 'CODE';
	return scalar grep { $_->{hits} > 0 } map { $rules->{$_} // () } @{ $fault->{rules} } if $when eq 'hit';
	return $row->{accepted} > 0 if $when eq 'accepted';
	return $row->{pending} == 0 if $when eq 'over';
	return $row->{state} eq $when;
}

# The fault goes away: its rules are removed, its port becomes a good one.
sub over
{
	my ($fault) = @_;
	$fault->{platform}->control('DELETE', "/faults/$_") for @{ $fault->{rules} };
	$fault->{platform}->control('POST', "/ports/$fault->{port_number}", { kind => 'good' }) if $fault->{port_number};
	return;
}

# ... and an operator says so.
sub heal
{
	my ($fault) = @_;
	over($fault);
	_later("SELECT profenrich.resume('$fault->{enrichment}');\n");
	return;
}

# What is done for many faults is done in one session: each of its own would take longer than the faults.
my @later;

sub _later { push @later, @_; return }

sub _do_later
{
	my ($node) = @_;
	$node->safe_psql('postgres', join '', splice @later) if @later;
	return;
}

# Steps of a fault that must block the enrichment, with a reason that matches, until it is over and resumed.
sub block_then
{
	my ($block, $reason, $what) = @_;
	return [ [ "blocked: $block", sub {
		my ($fault, $row) = @_;
		like($row->{why}, $reason, "$fault->{name}: the reason is told");
		is($row->{dead}, $fault->{dead_before} // 0, "$fault->{name}: nothing is dead");
		($what // \&heal)->($fault) } ] ];
}

# A condition that holds so many seconds after it was first asked.
sub after
{
	my ($seconds) = @_;
	my $since;
	return sub { $since //= time; return time - $since >= $seconds };
}

# What makes a fault's server and enrichment, as SQL.
sub _set_up
{
	my ($node, $platform, $fault, $number) = @_;
	my $name = sprintf 'f_%02d', $number;
	my $via = $platform->url . "/via/$name";
	my %options = (requests_per_second => 500, messages_per_second => 20000, ims_url => $via, collection_url => $via);
	@{$fault}{qw(node platform enrichment)} = ($node, $platform, $name);
	$fault->{keys}  //= 320;
	$fault->{chunk} //= 50;
	# Changed only then: provisioning needs everything in order.
	my %changed = %{ $fault->{server} // {} };
	if ($fault->{port})
	{
		$fault->{port_number} = $platform->control('POST', '/ports', { kind => $fault->{port} })->{port};
		$changed{collection_url} = "https://localhost:$fault->{port_number}/via/$name";
	}
	$fault->{steps} = [ @{ $fault->{steps} // [] } ];
	return $platform->server_sql($name, %options) . "
		SELECT profenrich.create_enrichment('$name', server => '$name', source => 'scores', identity_column => 'crm_id', namespace => 'CRMID');
		SELECT * FROM profenrich.provision('$name');\n" . join '', map { "ALTER SERVER $name OPTIONS (SET $_ '$changed{$_}');\n" } sort keys %changed;
}

# One look at a fault: the next step if its time has come; done when there is none left and nothing is pending.
sub _advance
{
	my ($fault, $row, $rules) = @_;
	my ($when, $what) = @{ $fault->{steps}[0] // [] };
	my $due = $when && ($row || ref $when) && is_so($fault, $when, $row, $rules);
	if (!$fault->{second} && $row && ($row->{accepted} > 0 || $row->{state} =~ /block|retry/ || is_so($fault, 'hit', $row, $rules)
		|| time > $fault->{begun} + 2))
	{
		$fault->{second} = 1;
		_later(enqueue_sql($fault->{id}, 1, $fault->{keys} / 2, chunk => $fault->{chunk}, band => $PRIVATE));
		# What the row says is of before.
		return 0 unless $due;
		_do_later($fault->{node});
	}
	if ($when)
	{
		return 0 unless $due;
		shift @{ $fault->{steps} };
		eval { $what->($fault, $row) if $what; 1 } or fail("$fault->{name}: $@");
		return 0;
	}
	return $fault->{gone} || ($row && $row->{pending} == 0 && $fault->{second});
}

sub _begin
{
	my ($fault) = @_;
	$fault->{rules} = [];
	for my $rule (@{ $fault->{via} // [] })
	{
		my ($below, %rule) = @$rule;
		push @{ $fault->{rules} }, $fault->{platform}->fault(path => "^/via/$fault->{enrichment}$below", method => 'POST', %rule);
	}
	$fault->{start}->($fault) if $fault->{start};
	$fault->{begun} = time;
	_later(enqueue_sql($fault->{id}, 1, $fault->{keys}, chunk => $fault->{chunk}, band => $PRIVATE));
	return;
}

sub _end
{
	my ($fault) = @_;
	eval { $fault->{end}->($fault) if $fault->{end}; 1 } or fail("$fault->{name}: $@");
	return;
}

# Until each of them has taken its steps and has nothing pending.
sub _see_through
{
	my ($node, $platform, @open) = @_;
	my $until = time + $PATIENCE;
	for (my $look = 0; @open && time < $until; $look++)
	{
		my %row = map { $_->{enrichment} => $_ } _all_rows($node);
		my %rules = map { $_->{id} => $_ } @{ $platform->faults };
		my @left;
		for my $fault (@open)
		{
			if (_advance($fault, $row{ $fault->{enrichment} }, \%rules))
			{
				$fault->{took} = time - $fault->{begun};
				_end($fault);
			}
			else { push @left, $fault }
		}
		@open = @left;
		_do_later($node);
		check_worker_memory($node, 1) if $look % 10 == 0;
		sleep 0.1;
	}
	for my $fault (@open)
	{
		diag("$fault->{name}: not over in $PATIENCE s, " . @{ $fault->{steps} } . ' steps left');
		_end($fault);
	}
	return;
}

sub _set_up_all
{
	my ($node, $platform, @faults) = @_;
	state $number = 0;
	$node->safe_psql('postgres', 'CREATE EXTENSION IF NOT EXISTS profenrich; CREATE TABLE IF NOT EXISTS scores (crm_id text, score float8, band text)');
	$node->safe_psql('postgres', join '', map { _set_up($node, $platform, $_, ++$number) } @faults);
	my %id = map { split /\|/ } split /\n/, $node->safe_psql('postgres', 'SELECT name, enrichment_id FROM profenrich.enrichment');
	$_->{id} = $id{ $_->{enrichment} } for @faults;
	return;
}

# All at once.
sub run_faults
{
	my ($node, $platform, @faults) = @_;
	@faults = _chosen(@faults);
	_set_up_all($node, $platform, @faults);
	_begin($_) for @faults;
	_do_later($node);
	_see_through($node, $platform, @faults);
	check_oracle($node, $platform, @faults);
	check_worker_memory($node);
	return;
}

# One after another, each while its enrichment sends for two seconds.
sub run_in_turn
{
	my ($node, $platform, @faults) = @_;
	@faults = _chosen(@faults);
	for my $fault (@faults)
	{
		$fault->{keys} //= 2000;
		$fault->{server} = { messages_per_second => 2000, %{ $fault->{server} // {} } };
	}
	_set_up_all($node, $platform, @faults);
	for my $fault (@faults)
	{
		_begin($fault);
		_do_later($node);
		_see_through($node, $platform, $fault);
		$platform->clear_faults;
	}
	check_oracle($node, $platform, @faults);
	check_worker_memory($node);
	return;
}

# FAULTS in the environment: only those whose name matches.
sub _chosen
{
	my (@faults) = @_;
	my $pattern = $ENV{FAULTS} // '';
	return grep { $_->{name} =~ /$pattern/ } @faults;
}

# What a query says; '' when a fault has locked what it reads, or lets nobody in: then psql may be gone before it is
# given the query, and writing to it dies.
sub _try
{
	my ($node, $query) = @_;
	my ($code, $out) = eval { $node->psql('postgres', $query) };
	return defined $code && $code == 0 ? $out : '';
}

sub _all_rows
{
	my ($node) = @_;
	my $out = _try($node, "SET lock_timeout = '100ms'; SELECT enrichment, state, pending, accepted, dead, coalesce(why, ''), coalesce(last_error, '')
		FROM profenrich.enrichment_status");
	my @rows;
	for my $line (split /\n/, $out)
	{
		my %row;
		@row{qw(enrichment state pending accepted dead why last_error)} = split /\|/, $line, -1;
		push @rows, \%row;
	}
	return @rows;
}

# Requests with a record that came again later.
our $REPEATS = '(SELECT count(DISTINCT request) FROM (SELECT request, lead(seq) OVER (PARTITION BY name, identity, version ORDER BY seq) IS NOT NULL AS again FROM seen';

# For each fault: nothing is pending, and the journal says that each key's last accepted value is its newest, that
# none was older than one before it, and that no more came again than may.
sub check_oracle
{
	my ($node, $platform, @faults) = @_;
	my $database = 'postgres';
	$platform->journal_into($node, 'journal', $database);
	$node->safe_psql($database, "
		DROP TABLE IF EXISTS seen;
		CREATE TABLE seen AS SELECT seq, identity, request, e.name, (entity -> '_acme' -> e.name ->> 'score')::int8 AS version
			FROM journal, profenrich.enrichment e WHERE entity -> '_acme' ? e.name;
		CREATE INDEX ON seen (name, identity, seq)");
	my %found = map { my ($name, @numbers) = split /\|/; ($name => \@numbers) } split /\n/, $node->safe_psql($database, "
		SELECT e.name,
			(SELECT pending FROM profenrich.enrichment_status s WHERE s.enrichment = e.name),
			(SELECT count(*) FROM profenrich.profile_score p
				LEFT JOIN (SELECT DISTINCT ON (identity) identity, version FROM seen WHERE name = e.name ORDER BY identity, seq DESC) l
					ON l.identity = p.profile_key
				WHERE p.enrichment_id = e.enrichment_id AND l.version IS DISTINCT FROM p.version
					AND NOT EXISTS (SELECT FROM profenrich.dead_letter d WHERE d.enrichment_id = e.enrichment_id AND d.profile_key = p.profile_key)),
			(SELECT count(*) FROM (SELECT version < lag(version) OVER (PARTITION BY identity ORDER BY seq) AS back FROM seen WHERE name = e.name) x WHERE back),
			$REPEATS WHERE name = e.name) x WHERE again),
			(SELECT count(*) FROM profenrich.dead_letter d WHERE d.enrichment_id = e.enrichment_id),
			(SELECT count(*) FROM profenrich.profile_score p WHERE p.enrichment_id = e.enrichment_id)
		FROM profenrich.enrichment e");
	for my $fault (@faults)
	{
		my $name = $fault->{name};
		if ($fault->{gone})
		{
			ok(!@{ $fault->{steps} }, "$name: all its steps were taken");
			next;
		}
		my ($pending, $lost, $back, $repeats, $dead, $keys) = @{ $found{ $fault->{enrichment} } // [] };
		my $good = !@{ $fault->{steps} } && $pending == 0 && $lost == 0 && ($back == 0 || $fault->{backwards})
		  && $repeats <= ($fault->{repeats} // 0) && $dead == ($fault->{dead} // 0) && $keys == $fault->{keys};
		ok($good, sprintf '%s: delivered, in order (%d requests repeated, %d dead, %.1f s)', $name, $repeats, $dead, $fault->{took} // -1);
		note("$name: " . $node->safe_psql($database, "SELECT string_agg(format('%s %s %s ms %s', at::time(0), outcome, latency_ms::int, error), '; ' ORDER BY at) FROM profenrich.delivery_log
			WHERE enrichment_id = $fault->{id} AND error <> ''")) if ($fault->{took} // 0) > $SLOW;
		next if $good;
		diag("$fault->{enrichment}: pending $pending, lost $lost, backwards $back, repeats $repeats of " . ($fault->{repeats} // 0)
			  . ", dead $dead of " . ($fault->{dead} // 0) . ", keys $keys, steps left " . @{ $fault->{steps} });
		diag($node->safe_psql($database, "\\x on\nSELECT * FROM profenrich.enrichment_status WHERE enrichment = '$fault->{enrichment}'"));
	}
	return;
}

# The worker's private memory is asked for now and then (quietly), and judged in the end.
my %most;

sub check_worker_memory
{
	my ($node, $quietly) = @_;
	for my $pid (split /\n/, _try($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'profenrich worker'"))
	{
		open my $file, '<', "/proc/$pid/status" or next;
		my ($memory) = join('', <$file>) =~ /RssAnon:\s+(\d+) kB/;
		$most{ $node->name } = $memory if ($memory // 0) > ($most{ $node->name } // 0);
	}
	return if $quietly;
	cmp_ok($most{ $node->name } // 0, '<', $LARGEST_MEMORY, "the worker's private memory: at most " . ($most{ $node->name } // 0) . ' kB');
	return;
}

# No crash but those that were made (panics: so many of them are the server's own), no secret, no token, no value in the server's log; no secret and no token in any table.
sub check_logs
{
	my ($node, $platform, %expected) = @_;
	my $log = slurp_file($node->logfile);
	my $tokens = join '|', map { quotemeta } keys %{ $platform->control('GET', '/tokens') };
	my $secrets = join '|', 'profenrich-secret', 'other-secret', 'rotated-secret', $tokens || ();
	unlike($log, qr/$secrets|$PRIVATE/, 'no secret, token or value in the log');
	if ($node->{_pid})
	{
		IPC::Run::run([ 'pg_dumpall', '-h', $node->host, '-p', $node->port ], '>', \my $dump);
		ok($dump =~ /profenrich.outbox/ && $dump !~ /$secrets/, 'no secret or token in a table');
	}
	unlike($log, $expected{crashes} ? qr/signal 11|TRAP:/ : qr/PANIC|terminated by signal|TRAP:/, 'no crash in the log');
	my @aborts = $log =~ /by signal 6/g;
	cmp_ok(scalar @aborts, '<=', $expected{panics}, 'nor an abort but in the panics that were made') if $expected{crashes};
	return;
}

# Runs something and says how long that took; what is to take at most so many seconds fails at ten times that.
sub within
{
	my ($seconds, $name, $what) = @_;
	my $since = time;
	my $result = $what->();
	my $took = time - $since;
	cmp_ok($took, '<', 10 * $seconds, sprintf '%s: %.2f s (%s s are fine)', $name, $took, $seconds);
	return $result;
}

1;
