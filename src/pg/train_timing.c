/*
 * train_timing.c
 *		What a training costs by phase: each tick that names another phase, and the glue's
 *		own phases, close the one before.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "pg/env.h"
#include "pg/train.h"

void
pe_enter_phase(PeTiming *timing, const char *phase)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	if (timing->n > 0)
	{
		instr_time spent = now;

		INSTR_TIME_SUBTRACT(spent, timing->since);
		timing->seconds[timing->n - 1] += INSTR_TIME_GET_DOUBLE(spent);
	}
	else
		timing->started = now;
	timing->since = now;
	for (int i = 0; i < timing->n; i++)
		if (strcmp(timing->names[i], phase) == 0)
		{
			/* Met before: it goes to the end, where the running phase is. */
			double seconds = timing->seconds[i];

			for (int j = i + 1; j < timing->n; j++)
			{
				timing->names[j - 1] = timing->names[j];
				timing->seconds[j - 1] = timing->seconds[j];
			}
			timing->names[timing->n - 1] = phase;
			timing->seconds[timing->n - 1] = seconds;
			return;
		}
	if (timing->n < PE_TIMING_PHASES)
	{
		timing->seconds[timing->n] = 0;
		timing->names[timing->n++] = phase;
	}
}

static int
timing_tick(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	PeTiming *timing = (PeTiming *) ctx;

	if (timing->n == 0 || strcmp(timing->names[timing->n - 1], phase) != 0)
		pe_enter_phase(timing, phase);
	return timing->env.tick(timing->env.tick_ctx, phase, done, total);
}

double
pe_total_seconds(const PeTiming *timing)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, timing->started);
	return INSTR_TIME_GET_DOUBLE(now);
}

char *
pe_seconds_json(PeTiming *timing)
{
	StringInfoData json;

	pe_enter_phase(timing, timing->names[timing->n - 1]); /* counts the running phase up to now */
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < timing->n; i++)
		appendStringInfo(&json, "\"%s\": %.6f, ", timing->names[i], timing->seconds[i]);
	appendStringInfo(&json, "\"total\": %.6f}", pe_total_seconds(timing));
	return json.data;
}

pe_env
pe_timed_env(PeTiming *timing, MemoryContext context)
{
	pe_env env;

	timing->env = pe_server_env(context);
	env = timing->env;
	env.tick = timing_tick;
	env.tick_ctx = timing;
	return env;
}
