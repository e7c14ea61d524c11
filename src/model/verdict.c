/*
 * verdict.c
 *		An evaluation in words, with its cause.
 */
#include "model/internal.h"
#include "model/selection.h"

/* Below these nothing can be said (10), or only with this warning (50). */
#define LEAST_POSITIVES  50
#define LEAST_CLASS_ROWS 20
#define LEAST_VALUE_ROWS 100
#define LEAKAGE_AUC      0.99
#define LEAKAGE_R2       0.99

const char *
pe_verdict_name(pe_verdict verdict)
{
	switch (verdict)
	{
		case PE_VERDICT_NOT_EVALUATED:
			return "not evaluated";
		case PE_VERDICT_TOO_FEW:
			return "too few rows to tell";
		case PE_VERDICT_LEAKAGE:
			return "leakage suspected";
		case PE_VERDICT_POOR:
			return "poor";
		case PE_VERDICT_FAIR:
			return "fair";
		case PE_VERDICT_GOOD:
			return "good";
		case PE_VERDICT_EXCELLENT:
			return "excellent";
	}
	return NULL;
}

const char *
pe_evaluation_headline(const pe_evaluation *evaluation, double *value)
{
	if (evaluation->task == PE_TASK_PROPENSITY)
	{
		*value = evaluation->auc;
		return "auc";
	}
	if (evaluation->task == PE_TASK_AFFINITY)
	{
		*value = evaluation->macro_auc;
		return "macro_auc";
	}
	*value = evaluation->gini;
	return "gini";
}

static pe_verdict
grade(double figure, double fair, double good, double excellent)
{
	if (!(figure >= fair))
		return PE_VERDICT_POOR;
	return figure < good ? PE_VERDICT_FAIR : figure < excellent ? PE_VERDICT_GOOD : PE_VERDICT_EXCELLENT;
}

static const char *
grade_word(pe_verdict verdict)
{
	return verdict == PE_VERDICT_POOR   ? "Poor"
	       : verdict == PE_VERDICT_FAIR ? "Fair"
	       : verdict == PE_VERDICT_GOOD ? "Good"
	                                    : "Excellent";
}

static void
judge_propensity(pe_evaluation *e)
{
	int64_t negatives = e->rows - e->positives;
	int64_t fewer = e->positives < negatives ? e->positives : negatives;

	e->verdict = grade(e->auc, 0.65, 0.75, 0.9);
	if (fewer < LEAST_POSITIVES)
	{
		e->verdict = PE_VERDICT_TOO_FEW;
		snprintf(
		    e->sentence, sizeof(e->sentence),
		    "Too few to tell: %lld of the %lld evaluated rows are %s, and at least %d of each are needed for "
		    "figures to rely on.",
		    (long long) fewer, (long long) e->rows, fewer == e->positives ? "positive" : "negative",
		    LEAST_POSITIVES);
		return;
	}
	snprintf(e->sentence, sizeof(e->sentence),
	         "%s: AUC is %.3f on %lld evaluated rows, of which %lld are positive. The highest tenth of the "
	         "predictions holds %.0f %% of all positives (lift %.1f).%s",
	         grade_word(e->verdict), e->auc, (long long) e->rows, (long long) e->positives,
	         100 * e->deciles[0].cumulative_gain, e->deciles[0].lift,
	         e->verdict == PE_VERDICT_POOR ? " Below 0.65 the order of profiles is hardly better than chance."
	                                       : "");
}

static void
judge_value(pe_evaluation *e)
{
	/* R squared hangs on a few large spenders, so the order is judged; without an order R squared is. */
	double figure = isnan(e->gini) ? e->r2 : e->gini;
	char gini[32], r2[32];

	e->verdict = grade(figure, 0.2, 0.4, 0.7);
	if (e->rows < LEAST_VALUE_ROWS)
	{
		e->verdict = PE_VERDICT_TOO_FEW;
		snprintf(
		    e->sentence, sizeof(e->sentence),
		    "Too few to tell: %lld rows were evaluated, and at least %d are needed for figures to rely on.",
		    (long long) e->rows, LEAST_VALUE_ROWS);
		return;
	}
	(void) snprintf(gini, sizeof(gini), isnan(e->gini) ? "undefined" : "%.3f", e->gini);
	(void) snprintf(r2, sizeof(r2), isnan(e->r2) ? "undefined" : "%.3f", e->r2);
	snprintf(e->sentence, sizeof(e->sentence),
	         "%s: the normalised Gini is %s and R squared %s on %lld evaluated rows; the mean error is "
	         "%.6g, the "
	         "mean value %.6g.%s",
	         grade_word(e->verdict), gini, r2, (long long) e->rows, e->mae, e->base_rate,
	         e->verdict == PE_VERDICT_POOR ? " The order of profiles is hardly better than chance." : "");
}

static void
judge_affinity(pe_evaluation *e)
{
	int scarce = 0, fewest = 0;

	e->verdict = grade(e->macro_auc, 0.65, 0.75, 0.9);
	for (int c = 0; c < e->n_classes; c++)
	{
		scarce += e->classes[c].rows < LEAST_CLASS_ROWS;
		fewest = e->classes[c].rows < e->classes[fewest].rows ? c : fewest;
	}
	/* A few rare classes among many do not spoil what the others show. */
	if (scarce * 2 > e->n_classes || e->rows < LEAST_VALUE_ROWS)
	{
		e->verdict = PE_VERDICT_TOO_FEW;
		snprintf(e->sentence, sizeof(e->sentence),
		         "Too few to tell: of the %lld evaluated rows \"%s\" has %lld, and at least %d of most "
		         "classes are needed for figures to rely on.",
		         (long long) e->rows, e->classes[fewest].name, (long long) e->classes[fewest].rows,
		         LEAST_CLASS_ROWS);
		return;
	}
	snprintf(e->sentence, sizeof(e->sentence),
	         "%s: the mean AUC of the %d classes is %.3f on %lld evaluated rows. The most probable class is "
	         "right for %.0f %% of the rows; always naming the most frequent one would be for %.0f %%.%s",
	         grade_word(e->verdict), e->n_classes, e->macro_auc, (long long) e->rows, 100 * e->accuracy,
	         100 * e->base_rate,
	         e->verdict == PE_VERDICT_POOR ? " Below 0.65 the classes are hardly told apart." : "");
}

bool
pe_is_suspicious(pe_task task, double strength)
{
	return strength > (task == PE_TASK_VALUE ? LEAKAGE_R2 : LEAKAGE_AUC);
}

/*
 * strongest: AUC (affinity: mean of the classes'; value: share of variance) of the feature that alone tells
 * most; NaN when that was not looked at.
 */
void
pe_judge(pe_evaluation *e, double strongest, const char *feature)
{
	bool value = e->task == PE_TASK_VALUE;

	e->strongest_auc = strongest;
	if (feature == NULL)
		feature = "";
	snprintf(e->strongest_feature, sizeof(e->strongest_feature), "%.*s",
	         pe_clipped(feature, sizeof(e->strongest_feature) - 1), feature);
	if (strongest > (value ? LEAKAGE_R2 : LEAKAGE_AUC))
	{
		e->verdict = PE_VERDICT_LEAKAGE;
		snprintf(e->sentence, sizeof(e->sentence),
		         "Leakage suspected: \"%s\" alone %s, so it probably restates the target or was filled "
		         "in after "
		         "the fact. Exclude it and train again.",
		         e->strongest_feature,
		         value ? "explains more than 99 % of the target's variance"
		               : "orders the rows with an AUC above 0.99");
		return;
	}
	if (!e->evaluated)
	{
		e->verdict = PE_VERDICT_NOT_EVALUATED;
		snprintf(e->sentence, sizeof(e->sentence), "Not evaluated: no row was held out.");
		return;
	}
	if (value)
		judge_value(e);
	else if (e->task == PE_TASK_AFFINITY)
		judge_affinity(e);
	else
		judge_propensity(e);
}
