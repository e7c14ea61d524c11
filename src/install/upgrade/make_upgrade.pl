# make_upgrade.pl FROZEN BY_HAND PART...: the upgrade script on standard output.
#
# FROZEN is the install script of the version to come from, BY_HAND what an author wrote for this upgrade, PARTs are
# the ordered parts of the install script of the version to come to. Of the parts it repeats, in their order,
#
#   * what may be said again: functions, procedures, aggregates, views, triggers (each OR REPLACE), comments and grants;
#   * everything else (tables, indexes, sequences, config_dump, ...) that the frozen script has not: CREATE ... is
#     known by kind and name, any other statement by its text.
#
# They come where BY_HAND has the line "-- the parts". What changes or drops something that the frozen version has
# cannot be told from the parts, and is BY_HAND's.
use strict;
use warnings;

my ($frozen, $by_hand, @parts) = @ARGV;

sub slurp
{
	my ($path) = @_;
	local $/;
	open my $file, '<', $path or die "$path: $!\n";
	return <$file>;
}

# Statements without the comments between them. A body ends with END at the beginning of a line.
sub statements
{
	my ($path) = @_;
	my $sql = slurp($path);
	my @found;
	my $statement = '';
	$sql =~ s/^\\.*$//mg;
	while ($sql =~ /\G(--[^\n]*|'(?:[^']|'')*'|"[^"]*"|\$(\w*)\$.*?\$\2\$|[^-'"\$;]+|.)/gs)
	{
		my $token = $1;
		next if $token =~ /^--/;
		$statement .= $token;
		next unless $token eq ';';
		next if $statement =~ /\bBEGIN ATOMIC\b/ && $statement !~ /\nEND;\z/;
		$statement =~ s/^\s+//;
		push @found, $statement;
		$statement = '';
	}
	die "$path: unfinished statement: $statement\n" if $statement =~ /\S/;
	return @found;
}

# What a statement is known by: kind and name of what it creates, else its text without the layout.
sub identity
{
	my ($statement) = @_;
	return "$1 $2" if $statement =~ /^CREATE (?:UNIQUE |UNLOGGED )?(FOREIGN DATA WRAPPER|\w+) ([^\s(;]+)/;
	return join ' ', split ' ', $statement;
}

my %known = map { identity($_) => 1 } statements($frozen);
my $repeated = '';
for my $statement (map { statements($_) } @parts)
{
	next
	  unless $statement =~ s/^CREATE (FUNCTION|PROCEDURE|AGGREGATE|VIEW|TRIGGER)\b/CREATE OR REPLACE $1/
	  || $statement =~ /^(COMMENT|GRANT|REVOKE)\b/
	  || !$known{identity($statement)};
	$repeated .= "$statement\n";
}
my $script = slurp($by_hand);
$script =~ s/^-- the parts\n/$repeated/m or die "$by_hand has no line \"-- the parts\"\n";
print $script;
