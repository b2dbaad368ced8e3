// What PostgreSQL gives to a program of nothing but C and libpq: one thread and one prepared
// statement for each connection. Prints one line of JSON.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "options.h"
#include "worker.h"

static int ascending(const void *one, const void *other) {
    uint32_t first = *(const uint32_t *)one, second = *(const uint32_t *)other;
    return (first > second) - (first < second);
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/// Prints what all workers measured together.
static void report(const struct worker *workers, int count) {
    size_t operations = 0;
    uint64_t rows = 0, all_rows = 0;
    double rate = 0, seconds = 0;
    for (int index = 0; index < count; index++) {
        operations += workers[index].count;
        rows += workers[index].rows;
        all_rows += workers[index].all_rows;
        rate += (double)workers[index].rows / workers[index].seconds;
        if (workers[index].seconds > seconds) seconds = workers[index].seconds;
    }
    uint32_t *all = calloc(operations + 1, sizeof *all);
    size_t filled = 0;
    for (int index = 0; index < count; index++) {
        memcpy(all + filled, workers[index].microseconds, workers[index].count * sizeof *all);
        filled += workers[index].count;
    }
    qsort(all, operations, sizeof *all, ascending);
    printf("{\"rows\": %lu, \"allRows\": %lu, \"rowsPerSecond\": %.1f, \"seconds\": %.3f, \"cpuSeconds\": %.3f, "
           "\"p50\": %u, \"p99\": %u}\n",
           (unsigned long)rows, (unsigned long)all_rows, rate, seconds, cpu_seconds(),
           operations ? all[operations / 2] : 0, operations ? all[operations * 99 / 100] : 0);
    free(all);
}

int main(int count, char **words) {
    struct options options = options_read(count, words);
    int workers_count = options.place_count * options.connections;
    struct worker *workers = calloc((size_t)workers_count, sizeof *workers);
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, (unsigned)workers_count);
    FILE *source = fopen("/dev/urandom", "r");
    if (!source) return 1;
    for (int index = 0; index < workers_count; index++) {
        struct worker *worker = &workers[index];
        worker->options = &options;
        worker->start = &start;
        worker->place = options.places[index % options.place_count];
        worker->number = index / options.place_count;
        if (fread(&worker->seed, sizeof worker->seed, 1, source) != 1) return 1;
        if (pthread_create(&worker->thread, NULL, worker_run, worker)) return 1;
    }
    fclose(source);
    for (int index = 0; index < workers_count; index++) pthread_join(workers[index].thread, NULL);
    report(workers, workers_count);
    return 0;
}
