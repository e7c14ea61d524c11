# The whole round trip on real data: three public data sets become profile snapshots, are
# loaded from the platform, learnt, scored, delivered and read back.
#
# Quality is held to what scikit-learn and XGBoost reach on the same folds: the pooled AUC
# of five folds, each scored by a model of the other four.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use JSON::PP qw(decode_json encode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StandIn;

my $data = ($ENV{PROFENRICH_SHARED} // '') . '/data';
plan skip_all => 'the shared data sets are not on this machine' unless -d "$data/telco_churn";

# Reference: the better of XGBoost hist and HistGradientBoosting, and the logistic regression.
my $tolerance = 0.01;
my @sets      = (
	{
		name => 'telco', file => 'telco_churn/Telco-Customer-Churn.csv', rows => 7043,
		tool => [qw(--label Churn --positive Yes --drop customerID --type TotalCharges=DOUBLE)],
		reference => { boosted_trees => 0.8368, logistic => 0.8450 },
	},
	{
		name => 'mlc', file => 'mlc_churn/mlc_churn.csv.gz', rows => 5000, tool => [qw(--label churn)],
		reference => { boosted_trees => 0.9224, logistic => 0.8227 },
	},
	{
		name => 'bank', file => 'bank_marketing/bank-full.csv.gz', rows => 45211, tool => [qw(--label y --drop duration)],
		reference => { boosted_trees => 0.8021, logistic => 0.7654 },
	});

my $platform = StandIn->new;
my $node     = PostgreSQL::Test::Cluster->new('real');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'profenrich'\nprofenrich.resend_gap = 0\n");
$platform->install($node);
$node->start;
$platform->connect_server($node, 'aep');

sub sql { return $node->safe_psql('postgres', $_[0]) }

# The five folds as the reference makes them, and AUC by ranks.
sql(q{
	CREATE FUNCTION fold(i bigint) RETURNS int LANGUAGE sql IMMUTABLE AS
		$$ SELECT ((((i * 2654435761) % 4294967296) / 65536) % 5)::int $$;
	CREATE FUNCTION auc(scores text) RETURNS float8 LANGUAGE plpgsql AS $$
	DECLARE result float8;
	BEGIN
		EXECUTE format('SELECT (sum(place) FILTER (WHERE label) - p * (p + 1) / 2.0) / (p * n) FROM (
			SELECT label, rank() OVER (ORDER BY score) + (count(*) OVER (PARTITION BY score) - 1) / 2.0 AS place,
				   sum(label::int) OVER () AS p, sum((NOT label)::int) OVER () AS n FROM %s) s GROUP BY p, n', scores) INTO result;
		RETURN result;
	END $$;});

sub make_snapshot
{
	my ($set, $day) = @_;
	my $out = $platform->snapshot_folder($day, $set->{name});
	open my $tool, '-|', 'node', "$FindBin::RealBin/../tools/csv_to_snapshot.mjs", '--csv', "$data/$set->{file}",
	  '--set', $set->{name}, '--out', $out, @{ $set->{tool} }
	  or die "node: $!";
	local $/;
	my $made = decode_json(<$tool>);
	close $tool or die 'csv_to_snapshot.mjs failed';
	return $made;
}

sub load
{
	my ($set) = @_;
	my $columns = encode_json($set->{made}{columns});
	return sql("SELECT rows, files FROM profenrich.load_snapshot('aep', into_table => '$set->{name}',
		merge_policy => '$set->{name}', columns => '$columns')");
}

sub check_quality
{
	my ($set, $algorithm) = @_;
	my $name = $set->{name};
	sql("CREATE TABLE ${name}_$algorithm (label boolean, score float8)");
	for my $fold (0 .. 4)
	{
		sql("SELECT * FROM profenrich.train('${name}_$algorithm', 'propensity',
				'SELECT * FROM ${name}_latest WHERE fold(i) <> $fold', 'label', '$algorithm',
				'{\"key\": \"crm_id\", \"holdout\": 0, \"features\": {\"exclude\": [\"i\"]}}');
			 INSERT INTO ${name}_$algorithm SELECT label, profenrich.predict('${name}_$algorithm', p)
				FROM ${name}_latest p WHERE fold(i) = $fold");
	}
	my $auc = sql("SELECT auc('${name}_$algorithm')");
	cmp_ok($auc, '>=', $set->{reference}{$algorithm} - $tolerance,
		sprintf('%s, %s: pooled AUC %.4f, reference %.4f', $name, $algorithm, $auc, $set->{reference}{$algorithm}));

	# evaluate() on the last fold says what the predictions say.
	my $told = sql("SELECT value FROM profenrich.evaluate('${name}_$algorithm',
		'SELECT * FROM ${name}_latest WHERE fold(i) = 4', 'label') WHERE metric = 'auc'");
	my $fold_auc = sql("SELECT auc('(SELECT label, profenrich.predict(''${name}_$algorithm'', p) AS score
		FROM ${name}_latest p WHERE fold(i) = 4) f')");
	cmp_ok(abs($told - $fold_auc), '<', 1e-9, "$name, $algorithm: evaluate() agrees with the predictions");
	return;
}

# Everybody in the journal exactly once (again only where an answer did not come in time), each with the value that was queued.
sub check_journal
{
	my ($enrichment, $rows, $what) = @_;
	$platform->journal_into($node, 'journal');
	my $dataset = "(SELECT dataset_id FROM profenrich.enrichment_target JOIN profenrich.enrichment USING (enrichment_id) WHERE name = '$enrichment')";
	is(sql("SELECT count(DISTINCT identity) FROM journal WHERE dataset = $dataset"), $rows, "$what: every profile is there");
	my $repeats = sql("SELECT count(*) - $rows FROM journal WHERE dataset = $dataset");
	my $slow = sql("SELECT count(*) FROM profenrich.enrichment_status WHERE enrichment = '$enrichment' AND last_error ~ 'too slow|[Tt]ime'");
	ok($repeats == 0 || $slow, "$what: and exactly once ($repeats repeats)");
	is(sql("SELECT count(*) FROM profenrich.profile_score s JOIN profenrich.enrichment e USING (enrichment_id)
			LEFT JOIN journal j ON j.identity = s.profile_key AND j.dataset = $dataset
			WHERE e.name = '$enrichment' AND s.value IS DISTINCT FROM (j.entity -> '_acme' -> '$enrichment') - 'profileId' - 'scoredAt'"),
		0, "$what: every value as it was queued");
	return;
}

sub deliver
{
	my ($enrichment) = @_;
	my $run = sql("SELECT profiles, changed, unchanged FROM profenrich.refresh('$enrichment')");
	sql("SELECT profenrich.drain('$enrichment')");
	return $run;
}

for my $set (@sets)
{
	my $name = $set->{name};
	$set->{made} = make_snapshot($set, '2026-11-22');
	is(load($set), "$set->{rows}|3", "$name: loaded from the platform");
	check_quality($set, $_) for qw(boosted_trees logistic);

	sql("SELECT * FROM profenrich.train('$name', 'propensity', '${name}_latest', 'label', options => '{\"key\": \"crm_id\", \"features\": {\"exclude\": [\"i\"]}}');
		 SELECT * FROM profenrich.score_into('$name', '${name}_latest', 'crm_id', '${name}_scores');
		 SELECT profenrich.create_enrichment('${name}Churn', 'aep', 'SELECT key AS crm_id, prediction AS probability, score, percentile, bucket FROM ${name}_scores', 'crm_id', 'CRMID');
		 SELECT * FROM profenrich.provision('${name}Churn')");
	$platform->forget_messages;
	is(deliver("${name}Churn"), "$set->{rows}|$set->{rows}|0", "$name: the first refresh queues everybody");
	check_journal("${name}Churn", $set->{rows}, $name);

	# Every profile read back through the platform's own API.
	is(sql("SELECT count(*) FROM profenrich.profile_score JOIN profenrich.enrichment e USING (enrichment_id)
			WHERE e.name = '${name}Churn'
			  AND (profenrich.platform_profile('aep', 'CRMID', profile_key) -> '_acme' -> '${name}Churn') - 'profileId' - 'scoredAt'
				= value"), $set->{rows}, "$name: every profile read back equal");

	$platform->forget_messages;
	is(deliver("${name}Churn"), "$set->{rows}|0|$set->{rows}", "$name: a second refresh finds nothing changed");
	is($platform->accepted, 0, "$name: and sends nothing");

	sql("UPDATE ${name}_scores SET prediction = prediction / 2 WHERE key IN (SELECT key FROM ${name}_scores ORDER BY hashtext(key) LIMIT 37)");
	is(deliver("${name}Churn"), "$set->{rows}|37|" . ($set->{rows} - 37), "$name: 37 profiles changed");
	is($platform->accepted, 37, "$name: and 37 are sent");

	# The next day's snapshot stands beside the first, and the newest is what _latest shows.
	make_snapshot($set, '2026-11-23');
	is(load($set), "$set->{rows}|3", "$name: the next day loads");
	is(sql("SELECT string_agg(snapshot_date || ' ' || n, ', ' ORDER BY snapshot_date) FROM (SELECT snapshot_date, count(*) AS n FROM $name GROUP BY 1) d"),
		"2026-11-22 $set->{rows}, 2026-11-23 $set->{rows}", "$name: two days side by side");
	is(sql("SELECT DISTINCT snapshot_date FROM ${name}_latest"), '2026-11-23', "$name: the latest view moved on");
}

$node->stop;
$platform->stop;
done_testing();
