# The stand-in platform's own tests: one TAP stream, passed on as it is.
use strict;
use warnings;
use FindBin;

my @selftest = ('/usr/bin/python3', "$FindBin::RealBin/../platform/selftest.py");
{ exec { $selftest[0] } @selftest }
die "cannot run the self-tests: $!";
