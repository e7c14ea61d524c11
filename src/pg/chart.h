/*
 * chart.h
 *		Small charts as SVG, for pages that people look at: no script, no font, no colour
 *		that carries meaning alone (series also differ in dash, marker or pattern).
 *
 * A chart is 360 by 250 units, so that its text keeps its size in a column of a
 * phone's width. Coordinates given to these functions are the data's own.
 */
#ifndef PE_CHART_H
#define PE_CHART_H

#include "postgres.h"

#include "lib/stringinfo.h"

typedef enum PeChartScale
{
	PE_SCALE_NUMBER,
	PE_SCALE_PERCENT /* data are shares, shown in percent */
} PeChartScale;

typedef struct PeChart
{
	StringInfo out;
	double x_low;
	double x_high;
	double y_low;
	double y_high;
	double left; /* of the plot, in units of the picture; names of bars need room */
	double bottom;
} PeChart;

typedef enum PeSeries
{
	PE_SERIES_MAIN,     /* solid, round markers */
	PE_SERIES_SECOND,   /* dashed, square markers */
	PE_SERIES_REFERENCE /* thin, dotted, no markers */
} PeSeries;

/* Text made safe for HTML, also within quotes. */
extern void pe_html_text(StringInfo out, const char *text);
/* A figure in at most 4 digits: 0.0812, 12.3 k, 1.05 M. */
extern char *pe_short_number(double value);
extern char *pe_percent(double share);

/* description says in words what the chart shows, for screen readers. Ranges may not be empty. */
extern void pe_chart_begin(PeChart *chart, StringInfo out, const char *description);
extern void pe_chart_end(PeChart *chart);
/* Ticks, grid lines and what the axes mean. */
extern void pe_chart_axes(PeChart *chart, PeChartScale x_scale, const char *x_title, PeChartScale y_scale,
                          const char *y_title);
extern void pe_chart_line(PeChart *chart, const double *x, const double *y, int n, PeSeries series,
                          bool markers);
/* From x_low to x_high, standing on 0. */
extern void pe_chart_column(PeChart *chart, double from, double to, double height, PeSeries series);

/*
 * Rows of a horizontal chart with names at their left: row of rows, counted from the
 * top. The x range counts, the y range does not.
 */
extern void pe_chart_row_name(PeChart *chart, int row, int rows, const char *name);
extern void pe_chart_row_bar(PeChart *chart, int row, int rows, double value, const char *label);
/* Five quantiles: whiskers at the outer, a box between the second and fourth, a stroke in the middle. */
extern void pe_chart_row_box(PeChart *chart, int row, int rows, const double quantiles[5]);

#endif /* PE_CHART_H */
