#ifndef BARE_WORKER_H
#define BARE_WORKER_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"
#include "parameters.h"

/// One connection with its thread and what it measured.
struct worker {
    const struct options *options;
    pthread_barrier_t *start;
    pthread_t thread;
    const char *place;
    int number;  // Among the connections to its place.
    uint64_t seed;

    uint32_t *microseconds;  // Of each operation after the warm-up.
    size_t count;
    uint64_t rows;
    uint64_t all_rows;  // With those of the warm-up.
    double seconds;
};

/// The body of the thread; `argument` is a worker. Ends the process when anything fails.
void *worker_run(void *argument);

/// Seconds of a clock that only goes forward.
double monotonic_seconds(void);

#endif
