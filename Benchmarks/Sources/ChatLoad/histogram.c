#include "histogram.h"

/// Exact below 64, then 32 buckets for each doubling.
static int bucket_of(uint64_t value) {
    if (value < 64) return (int)value;
    int shift = 58 - __builtin_clzll(value);
    int bucket = shift * 32 + (int)(value >> shift);
    return bucket < histogram_buckets ? bucket : histogram_buckets - 1;
}

static uint64_t upper_bound(int bucket) {
    if (bucket < 64) return (uint64_t)bucket;
    int shift = bucket / 32 - 1;
    return ((uint64_t)(bucket - shift * 32 + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, int64_t nanoseconds) {
    uint64_t value = nanoseconds < 0 ? 0 : (uint64_t)nanoseconds / 1000;
    histogram->counts[bucket_of(value)]++;
    histogram->total++;
    if (value > histogram->longest) histogram->longest = value;
}

uint64_t histogram_percentile(const struct histogram *histogram, double share) {
    uint64_t wanted = (uint64_t)((double)histogram->total * share), seen = 0;
    for (int bucket = 0; bucket < histogram_buckets; bucket++) {
        seen += histogram->counts[bucket];
        if (seen <= wanted) continue;
        uint64_t bound = upper_bound(bucket);
        return bound < histogram->longest ? bound : histogram->longest;
    }
    return histogram->longest;
}
