# A history of 60 days, loaded day by day from the stand-in platform as it would be, and a goal on it: its training set is what
# anybody would write by hand, what knows too much is named, the model does better on the days to come than one of
# a single day, and what it expected is compared with what came. HISTORY_PROFILES sets the size (4000), and says how long each step takes.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use File::Copy qw(move);
use File::Temp ();
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use StandIn;

my $profiles = $ENV{HISTORY_PROFILES} // 4000;
my $days     = 60;
my $window   = 14;
my $decided  = 44; # the day on which the model is trained and scores; its window ends on day 58
my $columns  = '{"crm_id": "identityMap.CRMID.id", "consent": "consents.personalize.content.val", "plan": "_acme.plan", "spend": "_acme.spend30d",
	"sessions": "_acme.sessions7d", "calls": "_acme.calls30d", "tenure": "_acme.tenureMonths", "notice_days": "_acme.noticeDays",
	"exit_survey": "_acme.exitSurvey", "churned": "_acme.churned"}';

my $platform = StandIn->new;
my $node = PostgreSQL::Test::Cluster->new('goal_history');
$node->init;
$platform->install($node);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\nmax_wal_size = '4GB'\nwork_mem = '64MB'\n");
$node->start;
$platform->connect_server($node, 'aep');

sub sql { return $node->safe_psql('postgres', "SET search_path = public, profenrich; SET client_min_messages = error; $_[0]") }
sub day { return strftime('%Y-%m-%d', gmtime(1788220800 + 86400 * $_[0])) } # from 2026-09-01

my $since = time;
sub took
{
	my ($what) = @_;
	note(sprintf '%.1f s: %s', time - $since, $what);
	$since = time;
	return;
}

my $made = File::Temp::tempdir('history-XXXXXX', TMPDIR => 1, CLEANUP => 1);
is(system('node', "$FindBin::RealBin/../tools/make_history.mjs", '--out', $made, '--profiles', $profiles, '--days', $days, '--date', day(0)), 0, 'a history is made');
took('made');

sub load
{
	my ($n) = @_;
	my $folder = $platform->snapshot_folder(day($n));
	move("$made/" . day($n) . '/part-00000.parquet', "$folder/part-00000.parquet") or die "move: $!";
	return sql("SELECT rows FROM load_snapshot('aep', 'profiles', columns => '$columns', snapshot_date => '" . day($n) . "')");
}

# The area under the curve of scores, for what will have happened to those scored.
sub auc
{
	my ($scores) = @_;
	return sql("WITH future AS (SELECT s.key, s.prediction, bool_or(p.churned) AS lost FROM $scores s JOIN profiles p ON p.crm_id = s.key
			AND p.snapshot_date > '" . day($decided) . "' AND p.snapshot_date <= '" . day($decided + $window) . "' GROUP BY 1, 2),
		ranked AS (SELECT lost, rank() OVER (ORDER BY prediction) + (count(*) OVER (PARTITION BY prediction) - 1) / 2.0 AS rank FROM future)
		SELECT round((sum(rank) FILTER (WHERE lost) - count(*) FILTER (WHERE lost) * (count(*) FILTER (WHERE lost) + 1) / 2.0)
			/ (count(*) FILTER (WHERE lost) * count(*) FILTER (WHERE NOT lost)), 4) FROM ranked");
}

# --- up to the day of the decision ---

my $rows = 0;
$rows += load($_) for 0 .. $decided;
cmp_ok($rows, '>', 0.9 * $profiles * ($decided + 1), 'the days up to the decision are loaded');
is(sql('SELECT count(DISTINCT snapshot_date) FROM profiles'), $decided + 1, 'each a day of its own');
took(($decided + 1) . ' days loaded');
sql('ANALYZE profiles');

sql(qq{SELECT create_goal('churn_14', 'churned', '$window days', 'profiles', 'crm_id', eligible => 'NOT churned AND consent = ''y''', options => '{"history": {
	"spend": ["delta 7", "trend 14", "mean 7"], "sessions": ["trend 14"], "calls": ["delta 7"], "plan": ["days since change 21"]}}')});
is(sql("SELECT string_agg(used_for, ',' ORDER BY anchor) FROM goal_anchors('churn_14')"), 'training,training,validation,waiting', 'its anchors');
cmp_ok(sql("SELECT min(left_out) FROM goal_counts('churn_14')"), '>', 0, 'some of whom nobody knows: merged, or gone');

sql("CREATE TABLE leaks AS SELECT * FROM goal_leakage('churn_14')");
is(sql("SELECT string_agg(column_name, ',' ORDER BY column_name) FROM leaks WHERE suspicious"), 'exit_survey,notice_days', 'the leaks are found');
like(sql("SELECT why FROM leaks WHERE column_name = 'notice_days'"), qr/tells the outcome alone, with an AUC of (1\.000|0\.99)/, 'one tells the outcome before');
like(sql("SELECT why FROM leaks WHERE column_name = 'exit_survey'"), qr/^changes with the outcome: within the window for \d\d % of those to whom it happened, and 0\.0 %/, 'the other is written afterwards');
took('leaks named');
my ($code, $out, $err) = $node->psql('postgres', "SELECT quality FROM profenrich.train('leaky', goal => 'churn_14', options => '{\"trees\": 10}')");
is($out, 'leakage suspected', 'and not learnt from without a word');
like($err, qr/WARNING:  column "exit_survey" changes with the outcome/, 'of either');
like(sql("SELECT verdict FROM model_versions WHERE model = 'leaky'"), qr/"notice_days" alone orders the rows/, 'by name');

my $exclude = '"features": {"exclude": ["notice_days", "exit_survey"]}';
my $trained = sql("SELECT rows, metric_value FROM train('churn', goal => 'churn_14', options => '{$exclude}')");
took("the model of the goal: $trained");
like(sql("SELECT holdout FROM model_versions WHERE model = 'churn'"), qr/from ${\day($decided - $window)} on/, 'validated on the latest day whose window has passed');
my $same_day = sql(qq{SELECT metric_value FROM train('same_day', source => 'profiles_latest', target => 'churned', options => '{"key": "crm_id", $exclude}')});
sql("CREATE TABLE goal_scores AS SELECT key, prediction FROM score('churn', scoring_query('churn_14'), 'crm_id');
	CREATE TABLE same_day_scores AS SELECT key, prediction FROM score('same_day', 'SELECT * FROM profiles_latest WHERE NOT churned AND consent = ''y''', 'crm_id')");
is(sql('SELECT count(*) FROM goal_scores'), sql('SELECT count(*) FROM same_day_scores'), 'both score the same profiles');
is(sql("SELECT profiles FROM record_predictions('churn_14', 'churn')"), sql('SELECT count(*) FROM goal_scores'), 'what is expected of them is written down');
took('scored and recorded');

# --- the days that come ---

for my $n ($decided + 1 .. $days - 1)
{
	$rows += load($n);
	my $filled = sql("SELECT snapshot_date FROM fill_outcomes('churn_14')");
	is($filled, day($decided), 'the window has passed: outcomes are filled in') if $n == $decided + $window;
	is($filled, '', "day $n: nothing to fill in") if $n != $decided + $window;
}
took("all days loaded, $rows rows");
sql('ANALYZE profiles');
my ($known, $happened, $calibration, $lift) = split /\|/, sql("SELECT known, happened, round((expected_of_known / happened)::numeric, 2), round(lift::numeric, 1) FROM goal_runs");
cmp_ok($happened, '>', 0.02 * $known, "it happened to $happened of $known");
cmp_ok($calibration, '>', 0.7, "expected over actual is $calibration");
cmp_ok($calibration, '<', 1.4, 'as often as it was expected, nearly');
cmp_ok($lift, '>', 2, "the lift of the highest tenth is $lift");
is(sql("SELECT sum(known), sum(happened) FROM goal_outcomes"), "$known|$happened", 'by tenths, too');
is(sql("SELECT string_agg(age::text, ',') FROM lift_decay('churn_14', 'churn', '" . day($decided) . "', '{0,1,7}') WHERE lift > 1.5"), '0,1', 'the scores still tell a day later; of a week later nobody knows yet');
my ($goal_auc, $same_day_auc) = (auc('goal_scores'), auc('same_day_scores'));
note("AUC on the two weeks that followed: $goal_auc by the goal, $same_day_auc by the same day (which had $same_day on its own day)");
cmp_ok($goal_auc, '>', $same_day_auc + 0.05, "the goal's model tells who leaves: $goal_auc, the same-day one $same_day_auc");
took('compared');

# --- the training set, written by hand ---

sql('CREATE TABLE flat AS SELECT * FROM profiles; CREATE INDEX ON flat (crm_id, snapshot_date); ANALYZE flat');
my $anchors = join ', ', map { "'" . day($_) . "'" } map { $days - 1 - $window * $_ } 1 .. 4;
sql("CREATE TABLE by_hand AS SELECT s.crm_id, s.snapshot_date, f.lost AS outcome, s.consent, s.plan, s.spend, s.sessions, s.calls, s.tenure, s.notice_days, s.exit_survey, s.churned,
	s.spend - (SELECT e.spend FROM flat e WHERE e.crm_id = s.crm_id AND e.snapshot_date = s.snapshot_date - 7) AS spend_delta_7d,
	h.spend_trend AS spend_trend_14d, (SELECT avg(e.spend) FROM flat e WHERE e.crm_id = s.crm_id AND e.snapshot_date BETWEEN s.snapshot_date - 7 AND s.snapshot_date) AS spend_mean_7d,
	h.sessions_trend AS sessions_trend_14d,
	s.calls - (SELECT e.calls FROM flat e WHERE e.crm_id = s.crm_id AND e.snapshot_date = s.snapshot_date - 7) AS calls_delta_7d,
	(SELECT s.snapshot_date - e.snapshot_date FROM flat e WHERE e.crm_id = s.crm_id AND e.snapshot_date BETWEEN s.snapshot_date - 21 AND s.snapshot_date AND e.plan <> s.plan
		ORDER BY e.snapshot_date DESC LIMIT 1) AS plan_days_since_change_21d
	FROM flat s, LATERAL (SELECT coalesce(bool_or(l.churned), false) AS lost, coalesce(max(l.snapshot_date) = s.snapshot_date + $window, false) AS there FROM flat l
			WHERE l.crm_id = s.crm_id AND l.snapshot_date > s.snapshot_date AND l.snapshot_date <= s.snapshot_date + $window) AS f,
		LATERAL (SELECT regr_slope(e.spend, (e.snapshot_date - date '2026-01-01')::float8) AS spend_trend, regr_slope(e.sessions, (e.snapshot_date - date '2026-01-01')::float8) AS sessions_trend
			FROM flat e WHERE e.crm_id = s.crm_id AND e.snapshot_date BETWEEN s.snapshot_date - 14 AND s.snapshot_date) AS h
	WHERE s.snapshot_date IN ($anchors) AND NOT s.churned AND s.consent = 'y' AND (f.lost OR f.there)");
took('the training set by hand');
sql('CREATE TABLE by_goal AS ' . sql("SELECT training_query('churn_14')"));
took('the training set by its query');
my $exact = 'crm_id, snapshot_date, outcome, consent, plan, spend, sessions, calls, tenure, notice_days, exit_survey, churned, calls_delta_7d::int, plan_days_since_change_21d';
my ($by_hand, $by_goal) = map { sql("SELECT count(*) FROM $_") } qw(by_hand by_goal);
is($by_goal, $by_hand, "$by_hand rows in the training set");
cmp_ok($by_hand, '>', 2 * $profiles, 'of four days');
is(sql("SELECT count(*) FROM (SELECT $exact FROM by_goal EXCEPT ALL SELECT $exact FROM by_hand) AS d"), '0', 'each is one made by hand');
is(sql("SELECT count(*) FROM (SELECT $exact FROM by_hand EXCEPT ALL SELECT $exact FROM by_goal) AS d"), '0', 'and the other way round');
for my $feature (qw(spend_delta_7d spend_trend_14d spend_mean_7d sessions_trend_14d))
{
	is(sql("SELECT count(*) FROM by_hand h JOIN by_goal g USING (crm_id, snapshot_date) WHERE (h.$feature IS NULL) <> (g.$feature IS NULL) OR abs(h.$feature - g.$feature) > 1e-9"), '0', "$feature agrees");
	cmp_ok(sql("SELECT count($feature) FROM by_goal"), '>', $profiles, 'and is there');
}
is(sql('SELECT count(*) FROM (SELECT crm_id, count(DISTINCT consent) AS n FROM flat GROUP BY 1) AS c WHERE n > 1') > 0 ? 'yes' : 'no', 'yes', 'consents have changed meanwhile');
took('compared');

# --- dumped and restored: goals and what was expected travel ---

$node->safe_psql('postgres', 'CREATE DATABASE restored');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '--exclude-table-data=profiles*', '--exclude-table-data=flat', '-f', $dump ], 'dumped');
$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restored');
is($node->safe_psql('restored', 'SELECT g.name, r.state, r.happened FROM profenrich.goals g JOIN profenrich.goal_runs r ON r.goal = g.name'), "churn_14|filled|$happened", 'with its run');
is($node->safe_psql('restored', 'SELECT count(*) FROM profenrich.goal_outcomes'), sql('SELECT count(*) FROM goal_outcomes'), 'and its tenths');

# --- older days as changes: the goal does not notice, whether it names the table or its history ---

sub seen { return join "\n", map { sql("SELECT * FROM $_('$_[0]')") } qw(goal_anchors goal_counts) }
my $record = "SELECT profiles FROM record_predictions('churn_14', 'churn', '" . day($decided + 1) . "')";
my ($anchors_before, $recorded) = (seen('churn_14'), sql($record));
my $fill = "SELECT snapshot_date, known, happened, round(expected / 10) FROM fill_outcomes('churn_14')"; # trends are sums of floats in another order
my $filled_before = sql($fill);
like($filled_before, qr/^${\day($decided + 1)}\|/, 'of another day it is known what came');
cmp_ok(sql("SELECT count(*) FROM compact_history('profiles', '7 days')"), '>', 30, 'older days become changes');
is(sql('SELECT count(DISTINCT snapshot_date) FROM profiles'), 8, 'which the table has no more');
is(sql($record), $recorded, 'a day among them is scored as before');
is(sql($fill), $filled_before, 'and what came of it is the same');
is(seen('churn_14'), $anchors_before, 'as are anchors and outcomes');
is(sql("SELECT count(*) FROM (SELECT $exact FROM by_goal EXCEPT ALL SELECT $exact FROM (" . sql("SELECT training_query('churn_14')") . ') AS q) AS d'), '0', 'and the training set');
sql(q{SELECT create_goal('by_history', outcome, within, 'profiles_history', key, eligible, options) FROM goals WHERE name = 'churn_14'});
is(seen('by_history'), $anchors_before, 'and those of a goal on the history itself');
took('compacted');

$node->stop;
$platform->stop;
done_testing();
