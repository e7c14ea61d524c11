/*
 * model_report.c
 *		report(): a model version as one HTML page for people: what it is, whether it is any
 *		good, what it looks at, what it learnt from. The page is whole in itself: it asks
 *		for nothing from any network and runs no script, and its policy forbids both.
 *
 * All of it comes from the stored version, so that a page can be had long after the
 * rows are gone. A section whose figures the task does not have is left out.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "pg/chart.h"
#include "pg/models.h"
#include "pg/owner.h"

#define MOST_POINTS   256
#define MOST_FEATURES 12 /* in a chart */
#define MOST_TILES    6
#define COLUMNS       24 /* of the score distribution */

typedef struct Report
{
	StringInfoData html;
	Datum version_id;
	pe_task task;
} Report;

static const char *const style =
    "*{box-sizing:border-box}"
    "body{margin:0;background:#f4f5f7;color:#1b1f24;font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,"
    "'DejaVu Sans',sans-serif}"
    "main{max-width:1240px;margin:0 auto;padding:16px}"
    "h1{font-size:26px;line-height:1.2;margin:8px 0;overflow-wrap:anywhere}h2{font-size:19px;margin:28px 0 "
    "8px}"
    "h3{font-size:16px;margin:0 0 4px}"
    "p{margin:4px 0}.quiet{color:#4d5661;font-size:14px}"
    ".verdict{background:#fff;border:1px solid #c9ced6;border-left:8px solid #0072b2;padding:12px "
    "16px;margin:12px 0}"
    ".verdict.warn{border-left-color:#b34700;border-left-style:double}.verdict strong{font-size:20px}"
    ".tiles,.charts{display:grid;gap:12px}"
    ".tiles{grid-template-columns:repeat(auto-fit,minmax(150px,1fr))}"
    ".charts{grid-template-columns:repeat(auto-fit,minmax(min(350px,100%),1fr))}"
    ".tile,figure{background:#fff;border:1px solid #d5d9df;margin:0;padding:10px 12px;min-width:0}"
    ".tile b{display:block;font-size:24px;line-height:1.2}.tile span{font-size:14px;color:#4d5661}"
    "figcaption{font-size:14px;color:#4d5661;margin-top:4px}"
    "svg{display:block;width:100%;height:auto;font-size:12px}"
    "svg text{fill:#333b45}.end{text-anchor:end}.middle{text-anchor:middle}svg text.inside{fill:#fff}"
    ".grid{stroke:#e3e6ea}.axis{stroke:#59636e}"
    "polyline{fill:none;stroke-width:2.5}polyline.main{stroke:#0072b2}polyline.second{stroke:#b34700;stroke-"
    "dasharray:7 4}"
    "polyline.reference{stroke:#59636e;stroke-width:1.5;stroke-dasharray:2 4}"
    ".mark.main{fill:#0072b2}.mark.second{fill:#fff;stroke:#b34700;stroke-width:2}"
    ".bar.main{fill:#0072b2}.bar.second{fill:#fff;stroke:#b34700;stroke-width:2}"
    ".whisker{stroke:#59636e;stroke-width:1.5}.box{fill:#9ecae8;stroke:#0072b2}.median{stroke:#1b1f24;stroke-"
    "width:2.5}"
    ".key{display:inline-block;margin-right:14px;font-size:14px}.key "
    "svg{display:inline-block;width:34px;height:14px;"
    "vertical-align:middle;margin-right:4px}"
    ".wide{overflow-x:auto;background:#fff;border:1px solid #d5d9df}"
    "table{border-collapse:collapse;font-size:14px;width:100%}th,td{padding:5px "
    "10px;text-align:left;border-bottom:1px solid "
    "#e3e6ea;vertical-align:top}th{background:#eef0f3}td.n,th.n{text-align:right;white-space:nowrap;"
    "font-variant-numeric:tabular-nums}td.name{overflow-wrap:anywhere;min-width:132px}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:2px "
    "14px;font-size:14px;margin:0;background:#fff;"
    "border:1px solid #d5d9df;padding:10px 12px}dt{color:#4d5661}dd{margin:0;overflow-wrap:anywhere}"
    "@media(max-width:520px){body{font-size:15px}h1{font-size:22px}main{padding:10px}th,td{padding:4px 6px}}"
    "@media print{body{background:#fff}figure,.tile{break-inside:avoid}}";

/* ---- asking --------------------------------------------------------------------------- */

/* Rows about the version, whose id is $1. Texts and doubles only. */
static uint64
ask(const Report *page, const char *sql)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {page->version_id};

	pe_owner_execute(sql, 1, types, values, NULL, true, 0);
	return SPI_processed;
}

static char *
text_at(uint64 row, int column)
{
	char *text = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return text != NULL ? text : "";
}

static double
number_at(uint64 row, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? NAN : DatumGetFloat8(value);
}

/* Rows of a column into an array; rows beyond most are thinned out evenly, the last one stays. */
static int
numbers(uint64 rows, int column, double *out, int most)
{
	int n = rows < (uint64) most ? (int) rows : most;

	for (int i = 0; i < n; i++)
		out[i] = number_at(n > 1 ? (uint64) i * (rows - 1) / (n - 1) : 0, column);
	return n;
}

/* ---- the parts of the page -------------------------------------------------------------- */

static void
put(Report *page, const char *html)
{
	appendStringInfoString(&page->html, html);
}

static void
put_text(Report *page, const char *text)
{
	pe_html_text(&page->html, text);
}

static void
figure_begin(Report *page, const char *title)
{
	put(page, "<figure><h3>");
	put_text(page, title);
	put(page, "</h3>\n");
}

static void
figure_end(Report *page, const char *caption)
{
	put(page, "<figcaption>");
	put_text(page, caption);
	put(page, "</figcaption></figure>\n");
}

/* What the two series are, with their strokes as they are drawn. */
static void
put_key(Report *page, const char *first, const char *second, bool lines)
{
	const char *names[] = {first, second};
	const char *shapes[2][2] = {
	    {"<rect class=\"bar main\" x=\"6\" y=\"2\" width=\"20\" height=\"10\"/>",
	     "<rect class=\"bar second\" x=\"6\" y=\"2\" width=\"20\" height=\"10\"/>"},
	    {"<polyline class=\"main\" points=\"0,7 34,7\"/><circle class=\"mark main\" cx=\"17\" cy=\"7\" "
	     "r=\"4\"/>",
	     "<polyline class=\"second\" points=\"0,7 34,7\"/><rect class=\"mark second\" x=\"13.5\" y=\"3.5\" "
	     "width=\"7\" height=\"7\"/>"}};

	for (int i = 0; i < 2; i++)
	{
		appendStringInfo(&page->html,
		                 "<span class=\"key\"><svg viewBox=\"0 0 34 14\" aria-hidden=\"true\">%s</svg>",
		                 shapes[lines][i]);
		put_text(page, names[i]);
		put(page, "</span>");
	}
	put(page, "\n");
}

static void
put_head(Report *page)
{
	char *name, *quality;
	bool good;

	ask(page, "SELECT v.model, v.version::text, v.quality, v.verdict, v.algorithm, v.task, v.target,"
	          " to_char(v.trained_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC'"
	          " FROM profenrich.model_version v WHERE v.version_id = $1");
	name = text_at(0, 1);
	quality = text_at(0, 3);
	good = strcmp(quality, "good") == 0 || strcmp(quality, "excellent") == 0 ||
	       strcmp(quality, "fair") == 0 || strcmp(quality, "beats popularity") == 0;
	put(page, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
	          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
	          "'unsafe-inline'\">\n"
	          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
	put_text(page, name);
	appendStringInfo(&page->html, " v%s</title>\n<style>%s</style></head>\n<body><main>\n<h1>", text_at(0, 2),
	                 style);
	put_text(page, name);
	appendStringInfo(&page->html, " <span class=\"quiet\">version %s</span></h1>\n<p class=\"quiet\">",
	                 text_at(0, 2));
	put_text(page, text_at(0, 5));
	put(page, " for ");
	put_text(page, text_at(0, 6));
	if (text_at(0, 7)[0] != '\0')
	{
		put(page, ", target ");
		put_text(page, text_at(0, 7));
	}
	put(page, ", trained ");
	put_text(page, text_at(0, 8));
	/* The sign says it as well as the colour does. */
	appendStringInfo(&page->html, "</p>\n<div class=\"verdict%s\"><strong>%s ", good ? "" : " warn",
	                 good ? "&#10003;" : "&#9888;");
	put_text(page, quality);
	put(page, "</strong><p>");
	put_text(page, text_at(0, 4));
	put(page, "</p></div>\n");
}

static void
put_tiles(Report *page)
{
	uint64 rows = ask(page, "SELECT r.row->>'metric', (r.row->>'value')::float8, r.row->>'meaning'"
	                        " FROM profenrich.model_version v, jsonb_array_elements(v.evaluation->'rows') "
	                        "WITH ORDINALITY AS r(row, n)"
	                        " WHERE v.version_id = $1 AND r.row->>'value' IS NOT NULL ORDER BY r.n");

	if (rows == 0)
		return;
	put(page, "<h2>In figures</h2>\n<div class=\"tiles\">\n");
	for (uint64 i = 0; i < rows && i < MOST_TILES; i++)
	{
		appendStringInfo(&page->html, "<div class=\"tile\"><b>%s</b>", pe_short_number(number_at(i, 2)));
		put_text(page, text_at(i, 1));
		put(page, "<br><span>");
		put_text(page, text_at(i, 3));
		put(page, "</span></div>\n");
	}
	put(page, "</div>\n");
}

static void
put_roc(Report *page)
{
	double x[MOST_POINTS], y[MOST_POINTS], ends[] = {0, 1};
	PeChart chart = {.x_high = 1, .y_high = 1};
	int n = numbers(
	    ask(page, "SELECT d.x, d.y FROM profenrich.model_version v, jsonb_to_recordset(v.evaluation->'roc')"
	              " AS r(false_positive_rate float8, true_positive_rate float8),"
	              " LATERAL (SELECT false_positive_rate AS x, true_positive_rate AS y) AS d"
	              " WHERE v.version_id = $1 ORDER BY 1, 2"),
	    1, x, MOST_POINTS);

	if (n < 2)
		return;
	numbers(SPI_processed, 2, y, MOST_POINTS);
	figure_begin(page, "ROC curve");
	pe_chart_begin(&chart, &page->html,
	               "ROC curve: share of positives found against share of negatives taken along");
	pe_chart_axes(&chart, PE_SCALE_PERCENT, "negatives taken along", PE_SCALE_PERCENT, "positives found");
	pe_chart_line(&chart, ends, ends, 2, PE_SERIES_REFERENCE, false);
	pe_chart_line(&chart, x, y, n, PE_SERIES_MAIN, false);
	pe_chart_end(&chart);
	figure_end(page, "The further the line is above the dotted one (guessing), the better the order.");
}

/* Gains, and lift or means by tenth. */
static void
put_deciles(Report *page)
{
	double gain[11] = {0}, share[11] = {0}, lift[10], actual[10], predicted[10], tenth[10], highest = 0,
	       lowest = 0;
	PeChart gains = {.x_high = 1, .y_high = 1}, bars = {.x_low = 0.5, .x_high = 10.5};
	double ends[] = {0, 1};
	bool binary = page->task == PE_TASK_PROPENSITY;
	int n = numbers(ask(page, "SELECT r.cumulative_gain, r.lift, r.mean_target, r.mean_prediction, r.rows"
	                          " FROM profenrich.model_version v, jsonb_to_recordset(v.evaluation->'deciles')"
	                          " AS r(decile int, cumulative_gain float8, lift float8, mean_target float8, "
	                          "mean_prediction float8,"
	                          " rows float8) WHERE v.version_id = $1 ORDER BY r.decile"),
	                1, gain + 1, 10);

	if (n < 2)
		return;
	numbers(SPI_processed, 2, lift, 10);
	numbers(SPI_processed, 3, actual, 10);
	numbers(SPI_processed, 4, predicted, 10);
	numbers(SPI_processed, 5, share + 1, 10);
	for (int i = 1; i <= n; i++)
		share[i] += share[i - 1];
	for (int i = 0; i < n; i++)
	{
		share[i + 1] /= share[n];
		tenth[i] = i + 1;
		highest = fmax(highest, binary ? lift[i] : fmax(actual[i], predicted[i]));
		lowest = fmin(lowest, binary ? 0 : fmin(actual[i], predicted[i]));
	}
	if (isfinite(gain[n]))
	{
		figure_begin(page, "Cumulative gains");
		pe_chart_begin(&gains, &page->html,
		               "Cumulative gains: share of the target reached by taking the best scores first");
		pe_chart_axes(&gains, PE_SCALE_PERCENT, "rows taken, best scores first", PE_SCALE_PERCENT,
		              binary ? "positives reached" : "value reached");
		pe_chart_line(&gains, ends, ends, 2, PE_SERIES_REFERENCE, false);
		pe_chart_line(&gains, share, gain, n + 1, PE_SERIES_MAIN, true);
		pe_chart_end(&gains);
		figure_end(page, "How much is reached by taking only the best scored rows; dotted: taken at random.");
	}
	if (!(highest > 0))
		return;
	bars.y_low = lowest * 1.05;
	bars.y_high = highest * 1.05;
	figure_begin(page, binary ? "Lift by tenth" : "Actual and predicted by tenth");
	if (!binary)
		put_key(page, "actual", "predicted", true);
	pe_chart_begin(&bars, &page->html,
	               binary ? "Lift by tenth of the rows"
	                      : "Mean actual and predicted value by tenth of the rows");
	pe_chart_axes(&bars, PE_SCALE_NUMBER, "tenth of the rows, best scores first", PE_SCALE_NUMBER,
	              binary ? "lift" : "mean");
	if (binary)
	{
		double one[] = {1, 1}, across[] = {0.5, 10.5};

		for (int i = 0; i < n; i++)
			pe_chart_column(&bars, i + 0.6, i + 1.4, lift[i], PE_SERIES_MAIN);
		pe_chart_line(&bars, across, one, 2, PE_SERIES_REFERENCE, false);
	}
	else
	{
		pe_chart_line(&bars, tenth, actual, n, PE_SERIES_MAIN, true);
		pe_chart_line(&bars, tenth, predicted, n, PE_SERIES_SECOND, true);
	}
	pe_chart_end(&bars);
	figure_end(page, binary ? "How many times the average rate each tenth has; dotted: the average."
	                        : "The two lines should fall together.");
}

static void
put_calibration(Report *page)
{
	double x[MOST_POINTS], y[MOST_POINTS], highest = 0, ends[2] = {0};
	PeChart chart = {0};
	int n = numbers(ask(page, "SELECT r.mean_prediction, r.mean_target FROM profenrich.model_version v,"
	                          " jsonb_to_recordset(v.evaluation->'calibration') AS r(bin int, "
	                          "mean_prediction float8, mean_target float8)"
	                          " WHERE v.version_id = $1 ORDER BY r.bin"),
	                1, x, MOST_POINTS);

	if (n < 2)
		return;
	numbers(SPI_processed, 2, y, MOST_POINTS);
	for (int i = 0; i < n; i++)
		highest = fmax(highest, fmax(x[i], y[i]));
	if (!(highest > 0))
		return;
	chart.x_high = chart.y_high = ends[1] = fmin(1, highest * 1.08);
	figure_begin(page, "Calibration");
	pe_chart_begin(&chart, &page->html, "Calibration: observed rate against predicted probability, by bin");
	pe_chart_axes(&chart, PE_SCALE_PERCENT, "predicted probability", PE_SCALE_PERCENT, "observed rate");
	pe_chart_line(&chart, ends, ends, 2, PE_SERIES_REFERENCE, false);
	pe_chart_line(&chart, x, y, n, PE_SERIES_MAIN, true);
	pe_chart_end(&chart);
	figure_end(page, "On the dotted line a predicted 10 % came true for 10 % of the rows.");
}

/* What treating the best first gains, against treating at random, along the rows. */
static void
put_qini(Report *page)
{
	double share[MOST_POINTS], gain[MOST_POINTS], random[MOST_POINTS];
	PeChart chart = {.x_high = 1};
	int n = numbers(ask(page, "SELECT q.share, q.gain, q.random FROM profenrich.model_version v,"
	                          " jsonb_to_recordset(v.evaluation->'qini') AS q(share float8, gain float8,"
	                          " random float8) WHERE v.version_id = $1 ORDER BY q.share"),
	                1, share, MOST_POINTS);

	if (n < 2)
		return;
	numbers(SPI_processed, 2, gain, MOST_POINTS);
	numbers(SPI_processed, 3, random, MOST_POINTS);
	for (int i = 0; i < n; i++)
	{
		chart.y_low = fmin(chart.y_low, fmin(gain[i], random[i]) * 1.08);
		chart.y_high = fmax(chart.y_high, fmax(gain[i], random[i]) * 1.08);
	}
	if (!(chart.y_high > chart.y_low))
		return;
	figure_begin(page, "Qini curve");
	pe_chart_begin(&chart, &page->html,
	               "Qini curve: positives that the treatment gains by treating the best scores first");
	pe_chart_axes(&chart, PE_SCALE_PERCENT, "rows treated, best scores first", PE_SCALE_NUMBER,
	              "positives gained");
	pe_chart_line(&chart, share, random, n, PE_SERIES_REFERENCE, false);
	pe_chart_line(&chart, share, gain, n, PE_SERIES_MAIN, false);
	pe_chart_end(&chart);
	figure_end(page, "What the treatment adds when the best scores are treated first; dotted: at random.");
}

/* What the treatment changed, and what was predicted that it would, by tenth. */
static void
put_uplift(Report *page)
{
	double tenth[10], uplift[10], predicted[10], across[] = {0.5, 10.5}, zero[] = {0, 0};
	PeChart chart = {.x_low = 0.5, .x_high = 10.5};
	int n = numbers(ask(page, "SELECT u.uplift, u.predicted FROM profenrich.model_version v,"
	                          " jsonb_to_recordset(v.evaluation->'uplift') AS u(decile int, uplift float8,"
	                          " predicted float8) WHERE v.version_id = $1 AND u.uplift IS NOT NULL"
	                          " ORDER BY u.decile"),
	                1, uplift, 10);

	/* A tenth without treated rows or without others shows nothing: then there is no picture. */
	if (n < 10)
		return;
	numbers(SPI_processed, 2, predicted, 10);
	for (int i = 0; i < n; i++)
	{
		tenth[i] = i + 1;
		chart.y_low = fmin(chart.y_low, fmin(uplift[i], predicted[i]) * 1.1);
		chart.y_high = fmax(chart.y_high, fmax(uplift[i], predicted[i]) * 1.1);
	}
	if (!(chart.y_high > chart.y_low))
		return;
	figure_begin(page, "Uplift by tenth");
	put_key(page, "actual", "predicted", true);
	pe_chart_begin(&chart, &page->html, "Actual and predicted uplift by tenth of the rows");
	pe_chart_axes(&chart, PE_SCALE_NUMBER, "tenth of the rows, best scores first", PE_SCALE_PERCENT,
	              "uplift");
	pe_chart_line(&chart, across, zero, 2, PE_SERIES_REFERENCE, false);
	pe_chart_line(&chart, tenth, uplift, n, PE_SERIES_MAIN, true);
	pe_chart_line(&chart, tenth, predicted, n, PE_SERIES_SECOND, true);
	pe_chart_end(&chart);
	figure_end(page,
	           "How much the treatment changed the rate of each tenth, in points; below the dotted line "
	           "it did harm.");
}

/* What the predictions are, from the stored quantiles. */
static void
put_distribution(Report *page, const pe_model *core)
{
	double counts[COLUMNS] = {0}, lowest = pe_model_quantile(core, 0),
	       highest = pe_model_quantile(core, 0.995);
	PeChart chart = {0};
	bool share =
	    page->task == PE_TASK_PROPENSITY || page->task == PE_TASK_AFFINITY || page->task == PE_TASK_UPLIFT;

	if (!(highest > lowest) || !isfinite(highest - lowest))
		return;
	for (int i = 0; i <= 1000; i++)
	{
		/* The largest may be as far off as a double goes: held to the last column before it is a number of
		 * one. */
		double at = (pe_model_quantile(core, i / 1000.0) - lowest) / (highest - lowest) * COLUMNS;

		counts[at < COLUMNS ? (int) at : COLUMNS - 1] += 1 / 1001.0;
	}
	chart.x_low = lowest;
	chart.x_high = highest;
	for (int i = 0; i < COLUMNS; i++)
		chart.y_high = fmax(chart.y_high, counts[i] * 1.05);
	figure_begin(page, "Score distribution");
	pe_chart_begin(&chart, &page->html, "Score distribution: share of the rows by prediction");
	pe_chart_axes(&chart, share ? PE_SCALE_PERCENT : PE_SCALE_NUMBER, "prediction", PE_SCALE_PERCENT,
	              "share of the rows");
	for (int i = 0; i < COLUMNS; i++)
		pe_chart_column(&chart, lowest + (highest - lowest) * i / COLUMNS,
		                lowest + (highest - lowest) * (i + 1) / COLUMNS, counts[i], PE_SERIES_MAIN);
	pe_chart_end(&chart);
	figure_end(page, "The last column holds the highest half percent as well.");
}

static void
put_importances(Report *page)
{
	PeChart chart = {0};
	uint64 rows = ask(page, "SELECT f.name, f.gain FROM profenrich.model_version v,"
	                        " jsonb_to_recordset(v.features) AS f(name text, gain float8)"
	                        " WHERE v.version_id = $1 AND f.gain > 0 ORDER BY f.gain DESC, f.name LIMIT 12");

	if (rows == 0)
		return;
	figure_begin(page, "What it looks at");
	pe_chart_begin(&chart, &page->html, "Importance of the features, by share of the gain");
	chart.left = 150;
	chart.bottom = 240;
	chart.x_high = number_at(0, 2);
	for (int i = 0; i < (int) rows; i++)
	{
		pe_chart_row_name(&chart, i, (int) rows, text_at(i, 1));
		pe_chart_row_bar(&chart, i, (int) rows, number_at(i, 2), pe_percent(number_at(i, 2)));
	}
	pe_chart_end(&chart);
	figure_end(page, "Share of the improvement that the model owes to each feature.");
}

/* Where the contributions of each feature lie: SHAP values on held-out rows. */
static void
put_contributions(Report *page)
{
	PeChart chart = {.y_high = 1};
	double ends[2] = {0, 0}, whole[2] = {0, 1};
	uint64 rows =
	    ask(page,
	        "SELECT f.name, q[1], q[2], q[3], q[4], q[5] FROM profenrich.model_version v,"
	        " jsonb_to_recordset(v.features) AS f(name text, mean_contribution float8, contributions jsonb),"
	        " LATERAL (SELECT array_agg(e::float8 ORDER BY n) FROM jsonb_array_elements_text(f.contributions)"
	        " WITH ORDINALITY AS a(e, n)) AS s(q)"
	        " WHERE v.version_id = $1 AND f.mean_contribution > 0 AND jsonb_typeof(f.contributions) = 'array'"
	        " ORDER BY f.mean_contribution DESC, f.name LIMIT 12");

	for (uint64 i = 0; i < rows; i++)
	{
		chart.x_low = fmin(chart.x_low, number_at(i, 2));
		chart.x_high = fmax(chart.x_high, number_at(i, 6));
	}
	if (!(chart.x_high > chart.x_low))
		return;
	figure_begin(page, "How it pushes scores (SHAP)");
	pe_chart_begin(
	    &chart, &page->html,
	    "Contributions of each feature to the margin: 5th to 95th percentile, quartiles and median");
	chart.left = 150;
	chart.bottom = 240;
	pe_chart_line(&chart, ends, whole, 2, PE_SERIES_REFERENCE, false);
	for (int i = 0; i < (int) rows; i++)
	{
		double quantiles[5];

		for (int q = 0; q < 5; q++)
			quantiles[q] = number_at(i, 2 + q);
		pe_chart_row_name(&chart, i, (int) rows, text_at(i, 1));
		pe_chart_row_box(&chart, i, (int) rows, quantiles);
	}
	pe_chart_end(&chart);
	figure_end(page, "Left of the dotted line a feature lowers the score of a row, right of it it raises it: "
	                 "box, the middle "
	                 "half of the rows; whiskers, 90 % of them.");
}

/* Rows of a table: n columns of text, from column numeric on right-aligned. */
static void
put_table(Report *page, const char *const *titles, int n, int numeric, uint64 rows)
{
	put(page, "<div class=\"wide\"><table><tr>");
	for (int column = 0; column < n; column++)
	{
		put(page, column >= numeric ? "<th class=\"n\">" : "<th>");
		put_text(page, titles[column]);
		put(page, "</th>");
	}
	put(page, "</tr>\n");
	for (uint64 row = 0; row < rows; row++)
	{
		put(page, "<tr>");
		for (int column = 0; column < n; column++)
		{
			bool isnull;
			bool is_number = SPI_gettypeid(SPI_tuptable->tupdesc, column + 1) == FLOAT8OID;

			put(page, column >= numeric ? "<td class=\"n\">" : column == 0 ? "<td class=\"name\">" : "<td>");
			SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column + 1, &isnull);
			if (!isnull)
				put_text(page,
				         is_number ? pe_short_number(number_at(row, column + 1)) : text_at(row, column + 1));
			put(page, "</td>");
		}
		put(page, "</tr>\n");
	}
	put(page, "</table></div>\n");
}

static void
put_figures(Report *page)
{
	static const char *const titles[] = {"figure", "meaning", "value"};
	uint64 rows = ask(page, "SELECT r.row->>'metric', r.row->>'meaning', (r.row->>'value')::float8"
	                        " FROM profenrich.model_version v, jsonb_array_elements(v.evaluation->'rows') "
	                        "WITH ORDINALITY AS r(row, n)"
	                        " WHERE v.version_id = $1 AND r.row->>'metric' <> 'verdict' ORDER BY r.n");

	if (rows == 0)
		return;
	put(page, "<h2>All figures and notes</h2>\n");
	put_table(page, titles, 3, 2, rows);
}

static void
put_classes(Report *page)
{
	static const char *const titles[] = {"class", "rows", "share", "AUC"};
	uint64 rows = ask(
	    page,
	    "SELECT r.class, r.rows, r.share, r.auc FROM profenrich.model_version v,"
	    " jsonb_to_recordset(v.evaluation->'classes') AS r(class text, rows float8, share float8, auc float8)"
	    " WHERE v.version_id = $1 AND jsonb_typeof(v.evaluation->'classes') = 'array'"
	    " ORDER BY r.rows DESC, r.class");

	if (rows == 0)
		return;
	put(page, "<h2>Classes</h2>\n");
	put_table(page, titles, 4, 1, rows);
}

static void
put_candidates(Report *page)
{
	static const char *const titles[] = {"tried",     "chosen",       "neighbours", "regularization",
	                                     "recall@10", "precision@10", "NDCG@10",    "MAP@10"};
	uint64 rows = ask(
	    page, "SELECT r.algorithm, CASE WHEN r.chosen THEN 'yes' END, r.neighbours, r.regularization,"
	          " r.recall_at_10, r.precision_at_10, r.ndcg_at_10, r.map_at_10"
	          " FROM profenrich.model_version v, jsonb_to_recordset(v.evaluation->'candidates')"
	          " AS r(candidate int, algorithm text, chosen boolean, neighbours text, regularization float8,"
	          " recall_at_10 float8, precision_at_10 float8, ndcg_at_10 float8, map_at_10 float8)"
	          " WHERE v.version_id = $1 ORDER BY r.candidate");

	if (rows == 0)
		return;
	put(page, "<h2>What was tried</h2>\n");
	put_table(page, titles, lengthof(titles), 2, rows);
}

static void
put_data(Report *page)
{
	static const char *const facts[] = {"source",     "rows",         "positives", "key",     "features",
	                                    "trained in", "memory bound", "options",   "checksum"};
	static const char *const titles[] = {"feature", "treatment", "typical", "missing",
	                                     "lowest",  "mean",      "highest"};
	uint64 rows;

	put(page, "<h2>What it learnt from</h2>\n<dl>\n");
	ask(page,
	    "SELECT v.source, v.rows::text, v.positives::text, v.key, jsonb_array_length(v.features)::text,"
	    " round((v.seconds->>'total')::numeric, 2) || ' s', pg_size_pretty(v.memory_bytes), v.options::text,"
	    " v.artifact_checksum FROM profenrich.model_version v WHERE v.version_id = $1");
	for (int i = 0; i < lengthof(facts); i++)
	{
		if (text_at(0, i + 1)[0] == '\0')
			continue;
		appendStringInfo(&page->html, "<dt>%s</dt><dd>", facts[i]);
		put_text(page, text_at(0, i + 1));
		put(page, "</dd>\n");
	}
	put(page, "</dl>\n");
	rows = ask(
	    page,
	    "SELECT f.name, f.treatment, CASE WHEN f.top_share > 0 THEN"
	    " f.top || ' (' || round((100 * f.top_share)::numeric) || ' %), ' || f.\"distinct\" || ' levels' END,"
	    " round((100 * f.missing)::numeric, 1) || ' %', f.lowest, f.mean, f.highest"
	    " FROM profenrich.model_version v, jsonb_to_recordset(v.features)"
	    " AS f(name text, treatment text, gain float8, missing float8, lowest float8, mean float8,"
	    " highest float8, \"distinct\" int, top text, top_share float8)"
	    " WHERE v.version_id = $1 ORDER BY f.gain DESC NULLS LAST, f.name");
	if (rows == 0)
		return;
	put(page, "<h2>Features</h2>\n");
	put_table(page, titles, 7, 3, rows);
}

/* ---- the whole ------------------------------------------------------------------------ */

static void
write_page(Report *page, const pe_model *core)
{
	put_head(page);
	put_tiles(page);
	/* Which items a model recommends is nothing that one of these charts could show. */
	if (core != NULL)
	{
		put(page, "<h2>In pictures</h2>\n<div class=\"charts\">\n");
		put_roc(page);
		put_deciles(page);
		put_calibration(page);
		put_qini(page);
		put_uplift(page);
		put_importances(page);
		put_contributions(page);
		put_distribution(page, core);
		put(page, "</div>\n");
	}
	put_classes(page);
	put_candidates(page);
	put_figures(page);
	put_data(page);
	put(page, "<p class=\"quiet\">Figures are of rows that the model did not learn from, where some were "
	          "held out.</p>\n"
	          "</main></body></html>\n");
}

PG_FUNCTION_INFO_V1(pe_report);

/* report(model, version) -> an HTML page. */
Datum
pe_report(PG_FUNCTION_ARGS)
{
	Report page = {0};
	const PeModel *model;
	text *result;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	model = pe_version_open(text_to_cstring(PG_GETARG_TEXT_PP(0)), pe_version_argument(fcinfo, 1),
	                        CurrentMemoryContext);
	page.version_id = Int64GetDatum(model->version_id);
	page.task = model->task;
	initStringInfo(&page.html);
	SPI_connect();
	write_page(&page, model->core);
	/* The page was built in the caller's memory; a copy would double it. */
	SPI_finish();
	result = cstring_to_text_with_len(page.html.data, page.html.len);
	PG_RETURN_TEXT_P(result);
}
