// Times in microseconds, counted in buckets that are at most 3 % wide.

#ifndef histogram_h
#define histogram_h

#include <stdint.h>

enum { histogram_buckets = 1024 };

struct histogram {
    uint64_t counts[histogram_buckets];
    uint64_t total;
    uint64_t longest;
};

void histogram_add(struct histogram *histogram, int64_t nanoseconds);
/// The smallest bound that `share` of the times keep to.
uint64_t histogram_percentile(const struct histogram *histogram, double share);

#endif
