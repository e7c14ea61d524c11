# The linear family against published figures of public data, and against R and scikit-learn on rows made here.
use strict;
use warnings;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = ($ENV{PROFENRICH_SHARED} // '') . '/data';
my $node = PostgreSQL::Test::Cluster->new('figures');
$node->init;
$node->append_conf('postgresql.conf', "client_min_messages = warning\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION profenrich');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub near
{
	my ($got, $want, $tolerance, $what) = @_;
	return ok(defined $got && $got ne '' && abs($got - $want) <= $tolerance, $what)
	  || diag("got " . ($got // 'nothing') . ", want $want within $tolerance");
}

sub train
{
	my ($model, $task, $algorithm, $source, $target, $options) = @_;
	$options = $options ? ", $options" : '';
	return sql("SELECT rows FROM profenrich.train('$model', '$task', \$\$$source\$\$, '$target', '$algorithm', '{\"key\": \"i\", \"holdout\": 0, \"features\": {\"exclude\": [\"i\"]}$options}')");
}

sub fit { return sql("SELECT value FROM profenrich.evaluation('$_[0]') WHERE metric = '$_[1]'") }

sub coefficient
{
	my ($model, $feature, $level) = @_;
	my $where = defined $level ? "level = '$level'" : 'level IS NULL';
	return sql("SELECT coefficient FROM profenrich.coefficients('$model') WHERE feature = '$feature' AND $where");
}

# auc, log_loss and brier of a model on rows.
sub evaluate
{
	my ($model, $source, $target) = @_;
	return { map { split /\|/ } split /\n/,
		sql("SELECT metric, value FROM profenrich.evaluate('$model', \$\$$source\$\$, '$target') WHERE value IS NOT NULL") };
}

# The twenty patients of MADlib's documentation.
sub patients
{
	sql(q{CREATE TABLE patients AS SELECT i, y::int, t, a FROM unnest(
		'{1,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0}'::int[], '{1,1,1,0,0,0,0,0,0,0,1,1,1,1,1,1,0,0,0,0}'::int[],
		'{70,80,50,60,40,65,75,80,70,60,65,50,45,35,40,50,55,45,50,60}'::int[]) WITH ORDINALITY AS p (y, t, a, i)});
	train('patients', 'propensity', 'logistic', 'SELECT * FROM patients', 'y');
	near(coefficient('patients', '(intercept)'), -6.36346994178192, 1e-8, '20 patients: intercept');
	near(coefficient('patients', 't'), -1.02410605239327, 1e-8, '20 patients: treatment');
	near(coefficient('patients', 'a'), 0.119044916668607, 1e-8, '20 patients: trait anxiety');
	near(fit('patients', 'log_likelihood'), -9.41018298388876, 1e-8, '20 patients: log-likelihood');
	my @error = split /\n/, sql("SELECT std_error FROM profenrich.coefficients('patients')");
	near($error[0], 3.21389766375099, 1e-5, '20 patients: standard error of the intercept');
	near($error[1], 1.17107844860319, 1e-5, '20 patients: of treatment');
	near($error[2], 0.0549790458269317, 1e-6, '20 patients: of trait anxiety');
	return;
}

sub load_csv
{
	my ($table, $command) = @_;
	my $header = `$command | head -1`;
	chomp $header;
	$header =~ s/["\r]//g;
	my @columns = map { lc } split /,/, $header;
	sql("CREATE TABLE $table (i int GENERATED ALWAYS AS IDENTITY (START 0 MINVALUE 0), " . join(', ', map { "$_ text" } @columns) . ");
		COPY $table (" . join(', ', @columns) . ") FROM PROGRAM '$command' (FORMAT csv, HEADER)");
	return @columns;
}

sub telco
{
	my @columns = load_csv('telco', "cat $data/telco_churn/Telco-Customer-Churn.csv");
	is(sql("SELECT count(*), count(*) FILTER (WHERE churn = 'Yes') FROM telco"), '7043|1869', 'Telco: all rows');
	my $three = 'SELECT i, tenure::float8, monthlycharges::float8, contract, churn FROM telco';
	train('three', 'propensity', 'logistic', $three, 'churn');
	my @want = (['(intercept)', undef, -1.60270940170], ['tenure', undef, -0.03572872302], ['monthlycharges', undef, 0.02861745575],
		['contract', 'One year', -1.06246344157], ['contract', 'Two year', -2.02261471633]);
	near(coefficient('three', $_->[0], $_->[1]), $_->[2], 1e-8, 'Telco, 3 columns: ' . ($_->[1] // $_->[0])) for @want;
	near(fit('three', 'training_deviance'), 6145.877659, 1e-6, 'Telco, 3 columns: deviance');
	near(fit('three', 'training_null_deviance'), 8150.145899, 1e-6, 'Telco, 3 columns: null deviance');
	my $e = evaluate('three', $three, 'churn');
	near($e->{auc}, 0.8271137657, 1e-9, 'Telco, 3 columns: AUC');
	near($e->{log_loss}, 0.4363110648, 1e-9, 'Telco, 3 columns: log-loss');
	near($e->{brier}, 0.1434911994, 1e-9, 'Telco, 3 columns: Brier');

	my %number = map { $_ => 1 } qw(seniorcitizen tenure monthlycharges);
	my $eighteen = 'SELECT i, churn, ' . join(', ', map { $number{$_} ? "$_\::float8" : $_ } grep { !/^(customerid|totalcharges|churn)$/ } @columns) . ' FROM telco';
	train('eighteen', 'propensity', 'logistic', $eighteen, 'churn');
	near(fit('eighteen', 'training_deviance'), 5850.960885, 1e-6, 'Telco, 18 columns: deviance');
	near(fit('eighteen', 'aic'), 5896.960885, 1e-6, 'Telco, 18 columns: AIC');
	is(sql("SELECT count(*) FROM profenrich.coefficients('eighteen') WHERE NOT aliased"), 23, 'Telco, 18 columns: rank');
	$e = evaluate('eighteen', $eighteen, 'churn');
	near($e->{auc}, 0.8463279376, 1e-9, 'Telco, 18 columns: AUC');
	near($e->{log_loss}, 0.4153741931, 1e-9, 'Telco, 18 columns: log-loss');
	near($e->{brier}, 0.1348849670, 1e-9, 'Telco, 18 columns: Brier');

	# The split counts rows from 1.
	train('split', 'propensity', 'logistic', "$eighteen WHERE (i + 1) % 5 <> 0", 'churn');
	$e = evaluate('split', "$eighteen WHERE (i + 1) % 5 = 0", 'churn');
	is($e->{rows}, 1408, 'Telco, every fifth row: test rows');
	near($e->{auc}, 0.8337879488, 1e-9, 'Telco, test: AUC');
	near($e->{log_loss}, 0.433920593, 1e-8, 'Telco, test: log-loss');
	near($e->{brier}, 0.1393527097, 1e-9, 'Telco, test: Brier');
	my @decile = map { [ split /\|/ ] } split /\n/, sql("SELECT avg(y), sum(sum(y)) OVER (ORDER BY d) / sum(sum(y)) OVER (), avg(y) / (avg(avg(y) * count(*)) OVER () / avg(count(*)) OVER ())
		FROM (SELECT (churn = 'Yes')::int AS y, ntile(10) OVER (ORDER BY profenrich.predict('split', t) DESC, i) AS d FROM ($eighteen WHERE (i + 1) % 5 = 0) t) x GROUP BY d ORDER BY d");
	my @response = (.773, .5957, .3972, .3, .227, .156, .1, .078, .0355, .0213);
	my @gain     = (.2884, .5106, .6587, .7698, .8545, .9127, .9497, .9788, .9921, 1);
	for my $d (0 .. 9)
	{
		near($decile[$d][0], $response[$d], 0.0025, "Telco, test: response of decile " . ($d + 1));
		near($decile[$d][1], $gain[$d], 0.00006, "Telco, test: cumulative gain of decile " . ($d + 1));
	}
	near($decile[0][2], 2.8795, 0.00006, 'Telco, test: lift of the top decile');
	return;
}

sub mlc
{
	load_csv('mlc', "gzip -dc $data/mlc_churn/mlc_churn.csv.gz");
	my $source = 'SELECT i, churn, international_plan, voice_mail_plan, ' . join(', ', map { "$_\::float8" } qw(account_length number_vmail_messages
		total_day_minutes total_day_calls total_eve_minutes total_eve_calls total_night_minutes total_night_calls total_intl_minutes
		total_intl_calls number_customer_service_calls)) . ' FROM mlc';
	train('mlc', 'propensity', 'logistic', "$source WHERE i < 3333", 'churn');
	near(fit('mlc', 'training_deviance'), 2159.695999, 1e-6, 'MLC: deviance');
	near(fit('mlc', 'training_null_deviance'), 2758.293325, 1e-6, 'MLC: null deviance');
	near(evaluate('mlc', "$source WHERE i < 3333", 'churn')->{auc}, 0.8229879045, 1e-9, 'MLC: AUC of the training rows');
	my $e = evaluate('mlc', "$source WHERE i >= 3333", 'churn');
	near($e->{auc}, 0.8408109346, 1e-9, 'MLC, test: AUC');
	near($e->{log_loss}, 0.3016220997, 1e-9, 'MLC, test: log-loss');
	near($e->{brier}, 0.0916775354, 1e-9, 'MLC, test: Brier');
	my ($caught, $lift) = split /\|/, sql("SELECT sum(y) FILTER (WHERE place <= 167) / sum(y), avg(y) FILTER (WHERE place <= 167) / avg(y)
		FROM (SELECT (churn = 'yes')::int::float8 AS y, row_number() OVER (ORDER BY profenrich.predict('mlc', t) DESC) AS place FROM ($source WHERE i >= 3333) t) x");
	near($caught, 0.3571428571, 1e-9, 'MLC, test: the top tenth catches');
	near($lift, 3.565012831, 1e-8, 'MLC, test: lift of the top tenth');
	return;
}

# Rows for the oracles: numbers on different scales, two of them alike, a category, weights.
sub make_rows
{
	sql(q{
		CREATE FUNCTION uniform(i bigint, salt text) RETURNS float8 LANGUAGE sql IMMUTABLE
			RETURN ('x' || substr(md5(i || salt), 1, 8))::bit(32)::bigint / 4294967296.0;
		CREATE TABLE rows AS SELECT i, x1, 100 * x1 + 5 * uniform(i, 'x2') AS x2, 1000 * uniform(i, 'x3') AS x3, uniform(i, 'x4') AS x4, g,
				0.5 + uniform(i, 'w') AS w, uniform(i, 'y') AS u, exp(0.3 + x1 - 0.8 * uniform(i, 'x4') + 0.4 * (g = 'c')::int) AS mean
			FROM (SELECT i, uniform(i, 'x1') AS x1, (ARRAY['a', 'b', 'c', 'd'])[1 + floor(4 * uniform(i, 'g') ^ 2)::int] AS g FROM generate_series(1, 4000) AS i) a;
		ALTER TABLE rows ADD count float8, ADD spend float8, ADD total float8, ADD yes int, ADD kind text;
		UPDATE rows SET count = floor(-ln(u) * mean), spend = -ln(u) * mean, total = CASE WHEN u < 0.6 THEN -ln(u) * mean ELSE 0 END, yes = (u < mean / (1 + mean))::int,
			kind = CASE WHEN u < 0.3 * mean / (1 + mean) THEN 'shoes' WHEN u < 0.2 + 0.4 * x1 THEN 'coats' ELSE 'hats' END});
	my $file = PostgreSQL::Test::Utils::tempdir() . '/rows.csv';
	$node->safe_psql('postgres', "COPY (SELECT * FROM rows ORDER BY i) TO '$file' (FORMAT csv, HEADER)");
	return $file;
}

# name|value lines of an oracle program.
sub oracle
{
	my (@command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(\@command, '>', \$out, '2>', \$err) or BAIL_OUT("$command[0]: $err");
	return map { [ split /\|/ ] } split /\n/, $out;
}

my $r_program = <<'R';
d <- read.csv(commandArgs(TRUE)[1])
tweedie <- function(p) structure(list(family="tweedie", link="log", linkfun=log, linkinv=exp, mu.eta=exp, variance=function(mu) mu^p,
	dev.resids=function(y, mu, wt) 2*wt*(ifelse(y == 0, 0, y^(2-p))/((1-p)*(2-p)) - y*mu^(1-p)/(1-p) + mu^(2-p)/(2-p)),
	aic=function(...) NA, initialize=expression({n <- rep(1, nobs); mustart <- y + 0.1}), validmu=function(mu) TRUE, valideta=function(eta) TRUE), class="family")
put <- function(name, f, family) {
	m <- glm(f, family, d, weights=w)
	for (k in 1:12) m <- glm(f, family, d, weights=w, start=coef(m), control=glm.control(epsilon=1e-300, maxit=2))
	s <- summary(m); t <- s$coefficients
	for (i in seq_len(nrow(t))) cat(sprintf("%s|%s|%.17g|%.17g|%.17g\n", name, rownames(t)[i], t[i,1], t[i,2], t[i,4]))
	cat(sprintf("%s|deviance|%.17g\n%s|null|%.17g\n%s|dispersion|%.17g\n%s|aic|%.17g\n", name, m$deviance, name, m$null.deviance, name, s$dispersion, name, m$aic))
}
put("poisson", count ~ x1+x2+x3+x4+g, poisson); put("gamma", spend ~ x1+x2+x3+x4+g, Gamma("log"))
put("tweedie", total ~ x1+x2+x3+x4+g, tweedie(1.7)); put("squared", spend ~ x1+x2+x3+x4+g, gaussian)
put("logistic", yes ~ x1+x2+x3+x4+g, binomial)
R

sub compare_with_r
{
	my ($file) = @_;
	my $program = PostgreSQL::Test::Utils::tempdir() . '/oracle.R';
	PostgreSQL::Test::Utils::append_to_file($program, $r_program);
	my %target = (poisson => 'count', gamma => 'spend', tweedie => 'total', squared => 'spend', logistic => 'yes');
	my %want;
	push @{ $want{ $_->[0] } }, $_ for oracle('Rscript', '--vanilla', $program, $file);
	is(scalar keys %want, 5, 'R has fitted five models');
	for my $objective (sort keys %want)
	{
		my $options = $objective eq 'logistic' ? '"weight": "w"' : qq("weight": "w", "objective": "$objective") . ($objective eq 'tweedie' ? ', "tweedie_power": 1.7' : '');
		train($objective, $objective eq 'logistic' ? ('propensity', 'logistic') : ('value', 'glm'),
			"SELECT i, x1, x2, x3, x4, g, w, $target{$objective} FROM rows", $target{$objective}, $options);
		my %got = map { my @f = split /\|/; ($f[0] eq '(intercept)' ? '(Intercept)' : $f[0] . $f[1] => \@f) } split /\n/,
		  sql("SELECT feature, level, coefficient, std_error, p_value FROM profenrich.coefficients('$objective')");
		my %name = (deviance => 'training_deviance', null => 'training_null_deviance', dispersion => 'dispersion', aic => 'aic');
		for my $row (@{ $want{$objective} })
		{
			my (undef, $what, $value, $error, $p) = @$row;
			if (my $metric = $name{$what})
			{
				# With weights that are no counts, R's own AIC of 0/1 targets means something else.
				next if $what eq 'aic' && ($value =~ /NA/ || $objective eq 'logistic');
				near(fit($objective, $metric) / $value, 1, 1e-8, "R, $objective: $what");
				next;
			}
			near($got{$what}[2], $value, 1e-8 * (1 + abs $value), "R, $objective: $what");
			near($got{$what}[3] / $error, 1, 1e-6, "R, $objective: standard error of $what");
			near($got{$what}[4], $p, 1e-7, "R, $objective: p-value of $what");
		}
	}
	return;
}

my $multinom_program = <<'R';
suppressMessages(library(nnet))
d <- read.csv(commandArgs(TRUE)[1])
d$z1 <- d$x1 / sd(d$x1); d$z4 <- d$x4 / sd(d$x4)
m <- multinom(kind ~ z1 + z4 + g, d, weights=w, maxit=10000, reltol=1e-16, abstol=1e-16, trace=FALSE)
k <- coef(m)
for (i in rownames(k)) { cat(sprintf("%s|x1|%.17g\n%s|x4|%.17g\n", i, k[i, "z1"] / sd(d$x1), i, k[i, "z4"] / sd(d$x4)))
	for (l in c("b", "c", "d")) cat(sprintf("%s|%s|%.17g\n", i, l, k[i, paste0("g", l)])) }
cat(sprintf("|deviance|%.17g\n", deviance(m)))
R

sub compare_with_multinom
{
	my ($file) = @_;
	my $program = PostgreSQL::Test::Utils::tempdir() . '/multinom.R';
	PostgreSQL::Test::Utils::append_to_file($program, $multinom_program);
	train('kind', 'affinity', 'multinomial', 'SELECT i, x1, x4, g, w, kind FROM rows', 'kind', '"weight": "w"');
	my @rows = oracle('Rscript', '--vanilla', $program, $file);
	is(scalar @rows, 11, 'R, multinom: two classes against the first');
	for my $row (@rows)
	{
		my ($class, $what, $value) = @$row;
		if ($what eq 'deviance')
		{
			near(fit('kind', 'training_deviance'), $value, 1e-5, 'R, multinom: deviance');
			next;
		}
		near(sql("SELECT coefficient FROM profenrich.coefficients('kind') WHERE class = '$class' AND '$what' IN (feature, level)"),
			$value, 1e-5 * (1 + abs $value), "R, multinom: $what of class $class");
	}
	my $most = sql("SELECT max(abs(1 - (SELECT sum(value::float8) FROM jsonb_each_text(profenrich.affinities('kind', r))))) FROM (SELECT * FROM rows LIMIT 50) r");
	near($most, 0, 1e-12, 'probabilities sum to 1');
	return;
}

my $python_program = <<'PYTHON';
import sys
import numpy as np
import pandas as pd
from sklearn.linear_model import ElasticNet, LogisticRegression
d = pd.read_csv(sys.argv[1])
x = np.column_stack([d.x1, d.x2, d.x3, d.x4] + [(d.g == level).astype(float) for level in "bcd"])
mean, deviation = x.mean(0), x.std(0)
z = (x - mean) / deviation
names = ["x1", "x2", "x3", "x4", "gb", "gc", "gd"]
for ratio, penalty in ((1, 0.02), (0.5, 0.02), (0.5, 0.002)):
    m = ElasticNet(alpha=penalty, l1_ratio=ratio, tol=1e-14, max_iter=1000000).fit(z, d.spend)
    for name, value in zip(names, m.coef_ / deviation):
        print("linear", ratio, penalty, name, repr(float(value)), sep="|")
    m = LogisticRegression(penalty="elasticnet", solver="saga", C=1 / (penalty * len(d)), l1_ratio=ratio, tol=1e-13, max_iter=100000).fit(z, d.yes)
    for name, value in zip(names, m.coef_[0] / deviation):
        print("logistic", ratio, penalty, name, repr(float(value)), sep="|")
PYTHON

sub compare_with_sklearn
{
	my ($file) = @_;
	my %made;
	for my $row (oracle('/usr/bin/python3', '-c', $python_program, $file))
	{
		my ($algorithm, $ratio, $lambda, $name, $value) = @$row;
		my $key = "$algorithm, l1_ratio $ratio, lambda $lambda";
		my $target = $algorithm eq 'linear' ? 'spend' : 'yes';
		train("net_$algorithm", $algorithm eq 'linear' ? 'value' : 'propensity', $algorithm, "SELECT i, x1, x2, x3, x4, g, $target FROM rows", $target,
			qq("lambda": $lambda, "l1_ratio": $ratio)) unless $made{$key}++;
		my $got = $name =~ /^g(.)/ ? coefficient("net_$algorithm", 'g', $1) : coefficient("net_$algorithm", $name);
		near($got, $value, 1e-5 * (1 + abs $value), "scikit-learn, $key: $name");
	}
	is(scalar keys %made, 6, 'scikit-learn has fitted six models');
	return;
}

patients();
my $file = make_rows();
compare_with_r($file);
compare_with_multinom($file);
compare_with_sklearn($file);
if (-d "$data/telco_churn") { telco(); mlc() }
else                        { note('the shared data sets are not on this machine: the figures of Telco and MLC are left out') }

$node->stop;
done_testing();
