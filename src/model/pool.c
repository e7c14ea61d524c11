/*
 * pool.c
 *		A few threads that share the items of a run by an atomic counter.
 *
 * In a database the partner thread is often descheduled, so nothing here waits for
 * a thread that has not begun: the caller takes items itself, and at the end waits
 * only for those who are inside the run. Idle threads spin for some microseconds,
 * since the next run mostly follows at once, then sleep.
 *
 * The threads touch nothing but the memory that their work points to: they neither
 * allocate nor tick nor raise.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "model/pool.h"

#define SPINS            400 /* of a pause each: about 2 to 8 microseconds */
#define TICK_NANOSECONDS 5000000
#define STACK_BYTES      (512 * 1024)

struct pe_team
{
	const pe_env *env;
	int threads; /* that exist, the caller included */
	const char *phase;
	uint64_t done;
	uint64_t total;
	int64_t last_tick;

	/* the run: written only while it is closed and nobody is inside */
	pe_work work;
	void *ctx;
	uint32_t items;
	_Atomic uint32_t next;
	_Atomic uint32_t generation; /* grows with every run */
	_Atomic bool open;
	_Atomic int inside;
	_Atomic bool stop;
	_Atomic bool quit;

	_Atomic int sleepers;
	_Atomic bool caller_waits;
	pthread_mutex_t mutex;
	pthread_cond_t wake; /* a run began, or quit */
	pthread_cond_t left; /* the last one went out */
	pthread_t handles[PE_MAX_THREADS];
	struct worker
	{
		pe_team *pool;
		int thread;
	} workers[PE_MAX_THREADS];
};

static inline void
relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#else
	atomic_signal_fence(memory_order_seq_cst);
#endif
}

static int64_t
now_nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

bool
pe_team_poll(pe_team *pool, int thread)
{
	if (thread == 0 && pool->env->tick != NULL)
	{
		int64_t now = now_nanoseconds();

		if (now - pool->last_tick >= TICK_NANOSECONDS)
		{
			pool->last_tick = now;
			if (pe_stopped(pool->env, pool->phase, pool->done, pool->total))
				atomic_store(&pool->stop, true);
		}
	}
	return atomic_load_explicit(&pool->stop, memory_order_relaxed);
}

static void
take_items(pe_team *pool, int thread)
{
	for (;;)
	{
		uint32_t item;

		if (pe_team_poll(pool, thread))
			return;
		item = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
		if (item >= pool->items)
			return;
		pool->work(pool->ctx, item, thread);
	}
}

/* Wait until a run other than the seen one begins; false when the pool ends. */
static bool
await_run(pe_team *pool, uint32_t seen)
{
	for (int i = 0; i < SPINS; i++)
	{
		if (atomic_load(&pool->quit))
			return false;
		if (atomic_load(&pool->generation) != seen)
			return true;
		relax();
	}
	pthread_mutex_lock(&pool->mutex);
	atomic_fetch_add(&pool->sleepers, 1);
	while (!atomic_load(&pool->quit) && atomic_load(&pool->generation) == seen)
		pthread_cond_wait(&pool->wake, &pool->mutex);
	atomic_fetch_sub(&pool->sleepers, 1);
	pthread_mutex_unlock(&pool->mutex);
	return !atomic_load(&pool->quit);
}

static void *
worker_main(void *arg)
{
	struct worker *self = arg;
	pe_team *pool = self->pool;
	uint32_t seen = 0;

	while (await_run(pool, seen))
	{
		seen = atomic_load(&pool->generation);
		/* Enter first and look then: the caller closes first and counts then. */
		atomic_fetch_add(&pool->inside, 1);
		if (atomic_load(&pool->open))
			take_items(pool, self->thread);
		if (atomic_fetch_sub(&pool->inside, 1) == 1 && atomic_load(&pool->caller_waits))
		{
			pthread_mutex_lock(&pool->mutex);
			pthread_cond_signal(&pool->left);
			pthread_mutex_unlock(&pool->mutex);
		}
	}
	return NULL;
}

/* After closing: wait until everybody is out, ticking meanwhile. */
static void
await_others(pe_team *pool)
{
	for (int i = 0; i < SPINS; i++)
	{
		if (atomic_load(&pool->inside) == 0)
			return;
		relax();
	}
	pthread_mutex_lock(&pool->mutex);
	atomic_store(&pool->caller_waits, true);
	while (atomic_load(&pool->inside) != 0)
	{
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += TICK_NANOSECONDS;
		if (until.tv_nsec >= 1000000000)
		{
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&pool->left, &pool->mutex, &until);
		(void) pe_team_poll(pool, 0);
	}
	atomic_store(&pool->caller_waits, false);
	pthread_mutex_unlock(&pool->mutex);
}

void
pe_team_begin(pe_team *pool, pe_work work, void *ctx, uint32_t items)
{
	if (atomic_load(&pool->stop))
		return;
	pool->work = work;
	pool->ctx = ctx;
	pool->items = items;
	atomic_store(&pool->next, 0);
	if (pool->threads == 1 || items == 0)
		return;
	atomic_store(&pool->open, true);
	atomic_fetch_add(&pool->generation, 1);
	if (atomic_load(&pool->sleepers) > 0)
	{
		pthread_mutex_lock(&pool->mutex);
		pthread_cond_broadcast(&pool->wake);
		pthread_mutex_unlock(&pool->mutex);
	}
}

bool
pe_team_end(pe_team *pool)
{
	if (atomic_load(&pool->stop) && !atomic_load(&pool->open))
		return false;
	take_items(pool, 0);
	if (atomic_load(&pool->open))
	{
		atomic_store(&pool->open, false);
		await_others(pool);
	}
	return !atomic_load(&pool->stop);
}

bool
pe_team_run(pe_team *pool, pe_work work, void *ctx, uint32_t items)
{
	if (atomic_load(&pool->stop))
		return false;
	if (items > 1)
	{
		pe_team_begin(pool, work, ctx, items);
		return pe_team_end(pool);
	}
	pool->work = work; /* one item wakes nobody */
	pool->ctx = ctx;
	pool->items = items;
	atomic_store(&pool->next, 0);
	take_items(pool, 0);
	return !atomic_load(&pool->stop);
}

static void
start_threads(pe_team *pool, int threads)
{
	pthread_attr_t attributes;
	sigset_t all, before;

	if (threads <= 1 || pthread_attr_init(&attributes) != 0)
		return;
	(void) pthread_attr_setstacksize(&attributes, STACK_BYTES);
	/* Threads inherit the mask of their maker, and signal handlers belong to the caller alone. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (pool->threads < threads)
	{
		struct worker *worker = &pool->workers[pool->threads];

		worker->pool = pool;
		worker->thread = pool->threads;
		if (pthread_create(&pool->handles[pool->threads], &attributes, worker_main, worker) != 0)
			break; /* do with what there is */
		pool->threads++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
}

pe_team *
pe_team_create(const pe_env *env, int threads)
{
	pe_team *pool = pe_calloc(env, 1, sizeof(*pool));
	pthread_condattr_t monotonic;

	if (pool == NULL)
		return NULL;
	pool->env = env;
	pool->threads = 1;
	pool->phase = "fit";
	pool->last_tick = now_nanoseconds();
	pthread_mutex_init(&pool->mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->wake, &monotonic);
	pthread_cond_init(&pool->left, &monotonic);
	pthread_condattr_destroy(&monotonic);
	start_threads(pool, threads > PE_MAX_THREADS ? PE_MAX_THREADS : threads);
	return pool;
}

void
pe_team_free(pe_team *pool)
{
	if (pool == NULL)
		return;
	atomic_store(&pool->stop, true); /* a run that began and never ended is cut short */
	pthread_mutex_lock(&pool->mutex);
	atomic_store(&pool->quit, true);
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->mutex);
	for (int i = 1; i < pool->threads; i++)
		pthread_join(pool->handles[i], NULL);
	pthread_cond_destroy(&pool->wake);
	pthread_cond_destroy(&pool->left);
	pthread_mutex_destroy(&pool->mutex);
	pe_free(pool->env, pool);
}

int
pe_team_threads(const pe_team *pool)
{
	return pool->threads;
}

void
pe_team_phase(pe_team *pool, const char *phase, uint64_t done, uint64_t total)
{
	pool->phase = phase;
	pool->done = done;
	pool->total = total;
}
