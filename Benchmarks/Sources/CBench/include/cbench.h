#ifndef BENCHMARKS_CBENCH_H
#define BENCHMARKS_CBENCH_H

#include <stdint.h>

/// Allocations that the calling thread has made so far.
uint64_t cbench_allocations(void);

/// Bytes that malloc has given out and not got back, all threads together.
uint64_t cbench_bytes_in_use(void);

#endif
