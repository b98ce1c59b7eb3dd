/* A reference for benchmarks/peers.py: the collectives as a plain exchange through shared memory.
 *
 * Inputs and results lie in memory that all ranks have mapped, so each rank reads the inputs of the others and
 * writes results where they belong: one flag barrier before, one after, nothing in between. No library has its
 * arrays there unless it allocates them itself, and nothing is checked: a mark to look at, not a strict bound.
 *
 * Compiled by peers.py; used through ctypes by exchange.py. The order of `enum operation` is that of COLLECTIVES
 * in results.py. */

#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { LINE = 128, CHUNK = 512, SPINS = 20000, YIELDS_PER_LOOK = 1000 };
static const double PATIENCE = 60.0; /* seconds before a wait gives up: a dead peer must not hang the run */

enum operation { BARRIER, BCAST, SCATTER, GATHER, ALLGATHER, ALLTOALL, REDUCE, ALLREDUCE, REDUCE_SCATTER, SCAN, EXSCAN };

typedef struct {
    char *base;    /* a line per rank with its flag, from `start` on an input and a result per rank */
    long rank, ranks;
    long start;    /* bytes */
    long capacity; /* bytes of an input, and of a result */
    long spins;    /* before a wait yields its core; few where ranks outnumber cores */
    long epoch;
} room;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static inline void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int wait_for(const atomic_long *flag, long epoch, long spins)
{
    for (long i = 0; i < spins; i++) {
        if (atomic_load_explicit(flag, memory_order_acquire) >= epoch)
            return 0;
        pause_briefly();
    }
    double begin = now();
    while (now() - begin < PATIENCE)
        for (int i = 0; i < YIELDS_PER_LOOK; i++) {
            if (atomic_load_explicit(flag, memory_order_acquire) >= epoch)
                return 0;
            sched_yield();
        }
    return -1;
}

/* A flag barrier; -1 if a rank did not come. */
int meet(room *r)
{
    long epoch = ++r->epoch;
    atomic_store_explicit((atomic_long *)(r->base + r->rank * LINE), epoch, memory_order_release);
    for (long other = 0; other < r->ranks; other++)
        if (wait_for((atomic_long *)(r->base + other * LINE), epoch, r->spins))
            return -1;
    return 0;
}

static double *input(const room *r, long rank) { return (double *)(r->base + r->start + 2 * rank * r->capacity); }

static double *result(const room *r, long rank) { return (double *)(r->base + r->start + (2 * rank + 1) * r->capacity); }

/* Where block `rank` of n elements begins, the first n % ranks being longer by one. */
static long edge(const room *r, long n, long rank)
{
    return rank * (n / r->ranks) + (rank < n % r->ranks ? rank : n % r->ranks);
}

static void add(double *restrict sum, const double *restrict x, long n)
{
    for (long i = 0; i < n; i++)
        sum[i] += x[i];
}

/* The results of a reduction in elements [low, high), on all ranks. `shift` is where a result begins. */
static void reduce_part(const room *r, enum operation op, long low, long high, long shift)
{
    double sum[CHUNK];
    for (long i = low; i < high; i += CHUNK) {
        long n = high - i < CHUNK ? high - i : CHUNK;
        size_t bytes = n * sizeof(double);
        memset(sum, 0, bytes);
        for (long k = 0; k < r->ranks; k++) {
            if (op == EXSCAN)
                memcpy(result(r, k) + i, sum, bytes);
            if (k == 0)
                memcpy(sum, input(r, k) + i, bytes);
            else
                add(sum, input(r, k) + i, n);
            if (op == SCAN)
                memcpy(result(r, k) + i, sum, bytes);
        }
        if (op == REDUCE)
            memcpy(result(r, 0) + i, sum, bytes);
        if (op == REDUCE_SCATTER)
            memcpy(result(r, r->rank) + i - shift, sum, bytes);
        if (op == ALLREDUCE)
            for (long k = 0; k < r->ranks; k++)
                memcpy(result(r, k) + i, sum, bytes);
    }
}

/* One collective on messages of n elements, with root 0. */
static int exchange(room *r, enum operation op, long n)
{
    long low = edge(r, n, r->rank), high = edge(r, n, r->rank + 1);
    size_t bytes = n * sizeof(double);
    if (meet(r))
        return -1;
    switch (op) {
    case BARRIER:
        return 0;
    case BCAST:
        if (r->rank)
            memcpy(result(r, r->rank), input(r, 0), bytes);
        break;
    case SCATTER:
        memcpy(result(r, r->rank), input(r, 0) + r->rank * n, bytes);
        break;
    case GATHER:
        memcpy(result(r, 0) + r->rank * n, input(r, r->rank), bytes);
        break;
    case ALLGATHER:
        for (long k = 0; k < r->ranks; k++)
            memcpy(result(r, k) + r->rank * n, input(r, r->rank), bytes);
        break;
    case ALLTOALL:
        for (long k = 0; k < r->ranks; k++)
            memcpy(result(r, k) + r->rank * n, input(r, r->rank) + k * n, bytes);
        break;
    default:
        reduce_part(r, op, low, high, low);
    }
    return meet(r);
}

/* Seconds of a call, the mean over `calls`, after a tenth as many that do not count; each starts from a flag barrier
 * that is not timed, and with `fresh` from an input of `elements` written just before. Negative if a rank did not come. */
double run(room *r, int op, long n, long elements, long calls, int fresh)
{
    double elapsed = 0.0, overhead = 1.0;
    for (int i = 0; i < 100; i++) {
        double start = now(), passed = now() - start;
        overhead = passed < overhead ? passed : overhead;
    }
    for (long i = -(1 + calls / 10); i < calls; i++) {
        if (fresh)
            for (long k = 0; k < elements; k++)
                input(r, r->rank)[k] = 1.0;
        if (meet(r))
            return -1.0;
        double start = now();
        if (exchange(r, op, n))
            return -1.0;
        if (i >= 0)
            elapsed += now() - start - overhead;
    }
    return elapsed / calls;
}
