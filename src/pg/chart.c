/*
 * chart.c
 *		Charts as SVG text.
 */
#include "postgres.h"

#include <math.h>

#include "pg/chart.h"

#define WIDTH  360.0
#define HEIGHT 250.0
#define RIGHT  350.0 /* of the plot */
#define TOP    10.0

/* ---- text ----------------------------------------------------------------------------- */

void
pe_html_text(StringInfo out, const char *text)
{
	for (; *text != '\0'; text++)
	{
		switch (*text)
		{
			case '<':
				appendStringInfoString(out, "&lt;");
				break;
			case '>':
				appendStringInfoString(out, "&gt;");
				break;
			case '&':
				appendStringInfoString(out, "&amp;");
				break;
			case '"':
				appendStringInfoString(out, "&quot;");
				break;
			case '\'':
				appendStringInfoString(out, "&#39;");
				break;
			default:
				/* Control characters have no place in HTML. */
				appendStringInfoChar(out, (unsigned char) *text < ' ' ? ' ' : *text);
		}
	}
}

char *
pe_short_number(double value)
{
	double size = fabs(value);

	if (isnan(value))
		return pstrdup("-");
	if (size >= 1e15)
		return psprintf("%.3g", value);
	if (size >= 999500000)
		return psprintf("%.4g bn", value / 1e9);
	if (size >= 999500)
		return psprintf("%.3g M", value / 1e6);
	if (size >= 10000)
		return psprintf("%.3g k", value / 1e3);
	if (size >= 1000)
		return psprintf("%.0f", value);
	return psprintf("%.3g", value);
}

char *
pe_percent(double share)
{
	double percent = share * 100;

	if (isnan(share))
		return pstrdup("-");
	if (percent != 0 && fabs(percent) < 0.1)
		return psprintf("%.2g %%", percent);
	return fabs(percent) < 10 && fabs(percent - rint(percent)) > 0.05 ? psprintf("%.1f %%", percent)
	                                                                  : psprintf("%.0f %%", percent);
}

static char *
tick_text(double value, PeChartScale scale)
{
	return scale == PE_SCALE_PERCENT ? pe_percent(value) : pe_short_number(value);
}

/* ---- the frame ------------------------------------------------------------------------ */

static double
x_at(const PeChart *chart, double x)
{
	return chart->left + (RIGHT - chart->left) * (x - chart->x_low) / (chart->x_high - chart->x_low);
}

static double
y_at(const PeChart *chart, double y)
{
	return chart->bottom - (chart->bottom - TOP) * (y - chart->y_low) / (chart->y_high - chart->y_low);
}

void
pe_chart_begin(PeChart *chart, StringInfo out, const char *description)
{
	chart->out = out;
	chart->left = 58;
	chart->bottom = HEIGHT - 45;
	appendStringInfo(out, "<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
	pe_html_text(out, description);
	appendStringInfoString(out, "\">\n");
}

void
pe_chart_end(PeChart *chart)
{
	appendStringInfoString(chart->out, "</svg>\n");
}

#define MOST_TICKS 12

/*
 * Where the ticks of an axis are, and how many: at multiples of 1, 2 or 5 times a power of
 * ten, three to six of them. Fewer, or none, where doubles of that size lie further apart.
 */
static int
place_ticks(double low, double high, double *at)
{
	double rough = (high - low) / 5, power = pow(10, floor(log10(rough)));
	double step = rough / power < 1.5   ? power
	              : rough / power < 3.5 ? 2 * power
	              : rough / power < 7.5 ? 5 * power
	                                    : 10 * power;
	double first = ceil(low / step - 1e-9);
	int n = 0;

	for (int i = 0; i < MOST_TICKS; i++)
	{
		double tick = (first + i) * step;

		if (!(tick <= high + step * 1e-6) || (n > 0 && tick <= at[n - 1]))
			break;
		at[n++] = fabs(tick) < step / 2 ? 0 : tick;
	}
	return n;
}

void
pe_chart_axes(PeChart *chart, PeChartScale x_scale, const char *x_title, PeChartScale y_scale,
              const char *y_title)
{
	StringInfo out = chart->out;
	double ticks[MOST_TICKS];
	int n = place_ticks(chart->y_low, chart->y_high, ticks);

	for (int i = 0; i < n; i++)
	{
		double at = y_at(chart, ticks[i]);

		appendStringInfo(out,
		                 "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
		                 "<text class=\"end\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
		                 chart->left, RIGHT, at, at, chart->left - 5, at + 4, tick_text(ticks[i], y_scale));
	}
	n = place_ticks(chart->x_low, chart->x_high, ticks);
	for (int i = 0; i < n; i++)
	{
		double at = x_at(chart, ticks[i]);

		appendStringInfo(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
		                 at > RIGHT - 12 ? "end" : "middle", at > RIGHT - 12 ? RIGHT + 8 : at,
		                 chart->bottom + 20, tick_text(ticks[i], x_scale));
	}
	appendStringInfo(out, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
	                 chart->left, RIGHT, chart->bottom, chart->bottom);
	appendStringInfo(out, "<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">", (chart->left + RIGHT) / 2,
	                 HEIGHT - 6);
	pe_html_text(out, x_title);
	appendStringInfo(out, "</text>\n<text class=\"middle\" transform=\"translate(11 %.1f) rotate(-90)\">",
	                 (TOP + chart->bottom) / 2);
	pe_html_text(out, y_title);
	appendStringInfoString(out, "</text>\n");
}

/* ---- series --------------------------------------------------------------------------- */

static const char *
series_class(PeSeries series)
{
	static const char *const names[] = {
	    [PE_SERIES_MAIN] = "main", [PE_SERIES_SECOND] = "second", [PE_SERIES_REFERENCE] = "reference"};

	return names[series];
}

void
pe_chart_line(PeChart *chart, const double *x, const double *y, int n, PeSeries series, bool markers)
{
	StringInfo out = chart->out;

	appendStringInfo(out, "<polyline class=\"%s\" points=\"", series_class(series));
	for (int i = 0; i < n; i++)
	{
		if (isfinite(x[i]) && isfinite(y[i]))
			appendStringInfo(out, "%.1f,%.1f ", x_at(chart, x[i]), y_at(chart, y[i]));
	}
	appendStringInfoString(out, "\"/>\n");
	for (int i = 0; i < n && markers; i++)
	{
		if (!isfinite(x[i]) || !isfinite(y[i]))
			continue;
		if (series == PE_SERIES_SECOND)
			appendStringInfo(out,
			                 "<rect class=\"mark second\" x=\"%.1f\" y=\"%.1f\" width=\"7\" height=\"7\"/>",
			                 x_at(chart, x[i]) - 3.5, y_at(chart, y[i]) - 3.5);
		else
			appendStringInfo(out, "<circle class=\"mark main\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>",
			                 x_at(chart, x[i]), y_at(chart, y[i]));
	}
	appendStringInfoChar(out, '\n');
}

void
pe_chart_column(PeChart *chart, double from, double to, double height, PeSeries series)
{
	double left = x_at(chart, from) + 0.75, right = x_at(chart, to) - 0.75, top = y_at(chart, height);

	appendStringInfo(chart->out,
	                 "<rect class=\"bar %s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
	                 series_class(series), left, top, right > left ? right - left : 0.5, chart->bottom - top);
}

/* ---- rows with names ------------------------------------------------------------------ */

static double
row_middle(const PeChart *chart, int row, int rows)
{
	return TOP + (chart->bottom - TOP) * (row + 0.5) / rows;
}

/* About how wide a character of common fonts is, in units; rather too wide than too narrow. */
static double
character_width(const char *character)
{
	if ((unsigned char) *character >= 0x80)
		return 12;
	if (strchr("iljtfI.,:;'|! ()[]", *character) != NULL)
		return 4.8;
	if (strchr("mwMW@%", *character) != NULL)
		return 11.7;
	return (*character >= 'A' && *character <= 'Z') || strchr("<>&+=~#", *character) != NULL ? 9.8 : 7.6;
}

/* Names are cut after whole characters. */
static void
append_cut(StringInfo out, const char *name, double room)
{
	double width = 0;
	const char *end = name;

	while (*end != '\0' && (width += character_width(end)) <= room)
	{
		end++;
		while (((unsigned char) *end & 0xC0) == 0x80)
			end++;
	}
	pe_html_text(out, pnstrdup(name, end - name));
	if (*end != '\0')
		appendStringInfoString(out, "&#8230;");
}

void
pe_chart_row_name(PeChart *chart, int row, int rows, const char *name)
{
	appendStringInfo(chart->out, "<text class=\"end\" x=\"%.1f\" y=\"%.1f\"><title>", chart->left - 6,
	                 row_middle(chart, row, rows) + 4);
	pe_html_text(chart->out, name);
	appendStringInfoString(chart->out, "</title>");
	append_cut(chart->out, name, chart->left - 20);
	appendStringInfoString(chart->out, "</text>\n");
}

void
pe_chart_row_bar(PeChart *chart, int row, int rows, double value, const char *label)
{
	double middle = row_middle(chart, row, rows), end = x_at(chart, value),
	       thick = (chart->bottom - TOP) / rows * 0.62;
	bool outside = end + 44 < RIGHT;

	appendStringInfo(chart->out,
	                 "<rect class=\"bar main\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>"
	                 "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
	                 chart->left, middle - thick / 2, end - chart->left, thick, outside ? "" : "end inside",
	                 outside ? end + 5 : end - 5, middle + 4, label);
}

void
pe_chart_row_box(PeChart *chart, int row, int rows, const double quantiles[5])
{
	double middle = row_middle(chart, row, rows), thick = (chart->bottom - TOP) / rows * 0.55;

	appendStringInfo(
	    chart->out,
	    "<line class=\"whisker\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
	    "<rect class=\"box\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>"
	    "<line class=\"median\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
	    x_at(chart, quantiles[0]), x_at(chart, quantiles[4]), middle, middle, x_at(chart, quantiles[1]),
	    middle - thick / 2, fmax(x_at(chart, quantiles[3]) - x_at(chart, quantiles[1]), 1), thick,
	    x_at(chart, quantiles[2]), x_at(chart, quantiles[2]), middle - thick / 2, middle + thick / 2);
}
