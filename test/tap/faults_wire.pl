# What can go wrong between the worker and the platform, all at once: each fault has an enrichment and a server of
# its own. Whatever happens, nothing is lost, no older value arrives after a newer one, and nothing more is
# repeated than what was under way when a reply did not come.
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
my $node = start_node($platform, 'wire');
my $batch = '/collection/batch/';
my $token = '/ims/token';

# The rule of a fault that passes by itself after so many requests.
sub passing { my ($count, %action) = @_; return (via => [ [ $batch, count => $count, action => \%action ] ]) }

# ... and of one that stays until somebody does something.
sub lasting { my (%action) = @_; return (via => [ [ '/collection/', action => \%action ] ]) }
sub blocking { my ($block, $reason, %action) = @_; return (lasting(%action), steps => block_then($block, $reason)) }

# When a request has failed for this reason, the fault is over.
sub after_error
{
	my ($error, $end) = @_;
	return (steps => [ [ sub { $_[1]{last_error} =~ $error }, $end // \&over ] ]);
}

# Newer values of other profiles, each second until a profile is given up: that the platform is well is seen by what it accepts.
sub busy_until_dead
{
	my $next = 0;
	return (steps => [ [ sub {
		my ($fault, $row) = @_;
		enqueue($node, $fault->{id}, 1, 16), $next = time + 1 if time >= $next;
		return $row->{dead} > 0 } ] ]);
}

my @faults = (
	# Refused and busy.
	{ name => '500 twice', passing(2, status => 500) },
	{ name => '502 in a row', passing(6, status => 502) },
	{ name => '503 with Retry-After', passing(3, status => 503, retry_after => 1) },
	{ name => '504 in a row', passing(4, status => 504) },
	{ name => '408', passing(2, status => 408) },
	{ name => '425', passing(2, status => 425) },
	{ name => '599, a status nobody knows', passing(2, status => 599) },
	{ name => '429 with seconds', passing(2, status => 429, retry_after => 2) },
	{ name => '429 with a date', passing(2, status => 429, retry_after => 'date:+2') },
	{ name => '429 with a date that is past', passing(2, status => 429, retry_after => 'date:-86400') },
	{ name => '429 with a negative number', passing(2, status => 429, retry_after => '-5') },
	{ name => '429 with garbage', passing(2, status => 429, retry_after => 'soon;') },
	{ name => '429 without Retry-After', passing(2, status => 429) },
	{ name => '413 for a while', passing(2, status => 413) },
	# Connections.
	{ name => 'reset before the body', passing(3, cut => 'before_body', reset => JSON::PP::true) },
	{ name => 'closed before the body', passing(3, cut => 'before_body') },
	{ name => 'reset after the body', passing(3, cut => 'after_body', reset => JSON::PP::true) },
	{ name => 'closed after the body', passing(3, cut => 'after_body') },
	{ name => 'accepted, then reset', passing(3, cut => 'after_accept', reset => JSON::PP::true), repeats => 3 },
	{ name => 'accepted, then closed', passing(3, cut => 'after_accept'), repeats => 3 },
	{ name => 'half a reply', passing(3, cut => 'mid_reply'), repeats => 3 },
	{ name => 'connections are refused', port => 'closed', after_error(qr/connect/i) },
	{ name => 'connections are taken and nothing is said', port => 'silent', after_error(qr/./) },
	{ name => 'the host has no address', server => { collection_url => 'https://nowhere.invalid' }, after_error(qr/resolve|timed out/i, sub {
		my ($fault) = @_;
		$node->safe_psql('postgres', "ALTER SERVER $fault->{enrichment} OPTIONS (SET collection_url '" . $platform->url . "/via/$fault->{enrichment}')") }) },
	{ name => 'a connection for each request', passing(100, keep_alive => JSON::PP::false) },
	# Replies that make no sense.
	{ name => 'a reply that is slow, but not too slow', passing(2, reply_delay_ms => 4000) },
	{ name => 'a reply that never comes', passing(2, reply_delay_ms => 20000), repeats => 2 },
	{ name => 'a reply of a byte now and then', passing(2, trickle => 5), repeats => 2 },
	{ name => 'bytes that are no JSON', passing(3, status => 200, garbage => JSON::PP::true) },
	{ name => 'a page instead of a reply', passing(2, status => 200, body => '<html>welcome</html>') },
	{ name => 'no body at all', passing(2, status => 207, body => '') },
	{ name => 'no entries', passing(2, status => 207, body => '{"responses": []}') },
	{ name => 'a Content-Length too long', passing(2, process => JSON::PP::true, status => 207, headers => { 'Content-Length' => 1000000 }), repeats => 2 },
	{ name => 'a Content-Length too short', passing(2, process => JSON::PP::true, status => 207, headers => { 'Content-Length' => 20 }), repeats => 2 },
	{ name => 'a reply that claims to be compressed', passing(2, status => 207, headers => { 'Content-Encoding' => 'gzip' },
		body => "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03" . ('x' x 1000)) },
	{ name => 'a reply of 50 MB', passing(2, status => 200, body_bytes => 50_000_000) },
	{ name => '5 MB of headers', passing(2, status => 207, header_bytes => 5_000_000) },
	{ name => 'no HTTP', port => 'babble', after_error(qr/./, \&heal) },
	# Entries.
	{ name => 'an entry too few', passing(2, miscount => -1), repeats => 2 },
	{ name => 'entries too many', passing(2, miscount => 3), repeats => 2 },
	{ name => 'each record busy', passing(3, entries => { status => 503, every => 1 }) },
	{ name => 'each third record busy', passing(5, entries => { status => 503, every => 3 }) },
	{ name => 'failed entries with statusCode', passing(5, entries => { status => 503, every => 3, key => 'statusCode' }) },
	{ name => 'entries with a status of their own', passing(5, entries => { status => 200, every => 2 }) },
	{ name => 'single records over the rate', passing(2, entries => { status => 429, every => 4 }) },
	{ name => 'the token refused for single records', passing(1, entries => { status => 401, every => 4 }) },
	{ name => 'a broken reply instead of single ones', passing(2, status => 207, body => '{"responses": [{"status": "what"}]}') },
	{ name => 'entries in another order', passing(3, entries => { status => 503, every => 3, reversed => JSON::PP::true }), repeats => 3 },
	{ name => 'one record refused', via => [ [ '/collection/', action => { entries => { status => 400, identities => ['K-300'] } } ] ], dead => 1 },
	# Whole requests refused for the sake of one record.
	{ name => '400 because of one record', via => [ [ '/collection/', body => '"K-300"', action => { status => 400, body => '{"title": "no"}' } ] ], dead => 1 },
	{ name => '500 because of one record', via => [ [ '/collection/', body => '"K-300"', action => { status => 500 } ] ], dead => 1, busy_until_dead() },
	{ name => '413 because of one record', via => [ [ '/collection/', body => '"K-300"', action => { status => 413 } ] ], dead => 1 },
	{ name => 'everything refused', blocking('schema', qr/./, status => 400, body => '{"title": "Invalid XDM"}') },
	{ name => 'every record refused', via => [ [ '/collection/', action => { entries => { status => 400, every => 1 } } ] ], steps => block_then('schema', qr/scripted/) },
	# Tokens.
	{ name => 'the token ends', passing(1, revoke_token => JSON::PP::true) },
	{ name => '401 once', passing(1, status => 401) },
	{ name => '401 for ever', blocking('authorisation', qr/./, status => 401) },
	{ name => '403 for ever', blocking('authorisation', qr/./, status => 403) },
	{ name => 'the token service is down', via => [ [ $token, count => 3, action => { status => 503 } ] ] },
	{ name => 'the token service is slow', via => [ [ $token, count => 1, action => { delay_ms => 3000 } ] ] },
	{ name => 'the token service talks nonsense', via => [ [ $token, count => 2, action => { status => 200, garbage => JSON::PP::true } ] ] },
	{ name => 'the token service is over its rate', via => [ [ $token, count => 2, action => { status => 429, retry_after => 1 } ] ] },
	{ name => 'the token service cuts', via => [ [ $token, count => 2, action => { cut => 'after_body', reset => JSON::PP::true } ] ] },
	# Longer than a busy machine takes from a token to the end of its request, shorter than all requests take.
	{ name => 'tokens that last eight seconds', via => [ [ $token, action => { token_life => 8 } ], [ $batch, action => { delay_ms => 300 } ] ],
		server => { requests_per_second => 2 } },
	{ name => 'the token service refuses the client', via => [ [ $token, action => { status => 400, body => '{"error": "invalid_client"}' } ] ],
		steps => block_then('authorisation', qr/./) },
	# Configuration.
	(map { { name => "$_", blocking('configuration', qr/./, status => $_) } } 404, 405, 410, 501),
	(map { { name => "a redirect, $_", blocking('configuration', qr/./, status => $_, redirect => 'https://elsewhere.example/') } } 301, 302, 307),
	{ name => 'a redirect to another of our paths', blocking('configuration', qr/./, redirect => $platform->url . '/via/trap/collection/x') },
	(map { { name => "a certificate that is $_->[1]", port => $_->[0], steps => block_then('configuration', qr/certificate/i) } }
		[ expired => 'too old' ], [ untrusted => 'not trusted' ], [ wrong_host => 'somebody else\'s' ]),
	{ name => 'nothing newer than TLS 1.1', port => 'tls10', after_error(qr/./, \&heal) },
	{ name => 'no TLS', port => 'plain', after_error(qr/./, \&heal) },
);
run_faults($node, $platform, @faults);
is((grep { $_->{target} =~ m{/via/trap/} } @{ $platform->requests }), 0, 'redirects were not followed');
check_logs($node, $platform);
within(5, 'a fast stop', sub { $node->stop('fast') });
done_testing();
