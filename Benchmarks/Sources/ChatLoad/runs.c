#include "runs.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/// What had been used and counted at one moment.
struct sample {
    int64_t time;
    struct counts counts;
    double own;
    double watched[4];
    /// Of all processes of the machine.
    double all;
};

/// CPU seconds of a process, those of children that have ended included.
static double process_seconds(int process) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    size_t bytes = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[bytes] = 0;
    unsigned long user = 0, kernel = 0, child_user = 0, child_kernel = 0;
    const char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest + 2,
                        "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu", &user,
                        &kernel, &child_user, &child_kernel) != 4)
        return 0;
    return (double)(user + kernel + child_user + child_kernel) / (double)sysconf(_SC_CLK_TCK);
}

static double family_seconds(int process) {
    char path[64];
    double seconds = process_seconds(process);
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", process, process);
    FILE *file = fopen(path, "r");
    if (!file) return seconds;
    for (int child; fscanf(file, "%d", &child) == 1;) seconds += process_seconds(child);
    fclose(file);
    return seconds;
}

/// CPU seconds of everything on the machine: neither idle nor waiting for a disk.
static double all_seconds(void) {
    FILE *file = fopen("/proc/stat", "r");
    if (!file) return 0;
    unsigned long user, nice, kernel, idle, waiting, hard, soft, stolen;
    int count = fscanf(file, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", &user, &nice, &kernel, &idle,
                       &waiting, &hard, &soft, &stolen);
    fclose(file);
    if (count != 8) return 0;
    return (double)(user + nice + kernel + hard + soft + stolen) / (double)sysconf(_SC_CLK_TCK);
}

static double own_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static struct sample sample(const struct runs *runs) {
    struct sample sample = {.time = monotonic_now(), .counts = runs->pool->ledger.counts};
    sample.own = own_seconds();
    sample.all = all_seconds();
    for (int place = 0; place < runs->watched_count; place++) {
        const struct watched *watched = &runs->watched[place];
        for (int index = 0; index < watched->count; index++)
            sample.watched[place] += family_seconds(watched->processes[index]);
    }
    return sample;
}

static void begin(struct ledger *ledger, int64_t first, int64_t last) {
    ledger->begin = first;
    ledger->end = last;
    memset(&ledger->delivery, 0, sizeof ledger->delivery);
    memset(&ledger->stored, 0, sizeof ledger->stored);
    memset(&ledger->lateness, 0, sizeof ledger->lateness);
    ledger->complaint[0] = 0;
}

static void print_times(const char *name, const struct histogram *times) {
    printf("\"%s\":{\"count\":%lu,\"p50\":%lu,\"p99\":%lu,\"max\":%lu},", name,
           (unsigned long)times->total, (unsigned long)histogram_percentile(times, 0.5),
           (unsigned long)histogram_percentile(times, 0.99), (unsigned long)times->longest);
}

static void print_text(const char *name, const char *text) {
    printf("\"%s\":\"", name);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') printf("\\%c", *text);
        else if ((unsigned char)*text < 0x20) printf("\\u%04x", *text);
        else putchar(*text);
    }
    printf("\"");
}

/// Counts of the window between the samples, of the whole run since `start`, and of all its times.
static void print_result(
    const struct runs *runs, const struct sample *start, const struct sample *first,
    const struct sample *last) {
    const struct ledger *ledger = &runs->pool->ledger;
    const struct counts *now = &ledger->counts, *before = &start->counts;
#define window(field) (unsigned long)(last->counts.field - first->counts.field)
#define whole(field) (unsigned long)(now->field - before->field)
    printf("{\"seconds\":%.6f,\"joined\":%u,\"frameBytes\":%zu,",
           (double)(last->time - first->time) / 1e9, runs->pool->joined, ledger->frame_bytes);
    printf("\"window\":{\"sent\":%lu,\"stored\":%lu,\"deliveries\":%lu,\"beats\":%lu,"
           "\"reads\":%lu,\"bytes\":%lu},",
           window(sent), window(stored), window(deliveries), window(beats), window(reads),
           window(bytes));
    printf("\"whole\":{\"sent\":%lu,\"stored\":%lu,\"queued\":%lu,\"owed\":%lu,"
           "\"deliveries\":%lu,\"skipped\":%lu,\"healed\":%lu,\"late\":%lu,\"duplicates\":%lu,"
           "\"foreign\":%lu,\"renumbered\":%lu,\"unknown\":%lu,\"errors\":%lu,\"byes\":%lu,"
           "\"closed\":%lu,\"failed\":%lu,\"syncs\":%lu,\"wants\":%lu,\"joins\":%lu,"
           "\"beats\":%lu},",
           whole(sent), whole(stored), whole(queued), whole(owed), whole(deliveries),
           whole(skipped), whole(healed), whole(late), whole(duplicates), whole(foreign),
           whole(renumbered), whole(unknown), whole(errors), whole(byes), whole(closed),
           whole(failed), whole(syncs), whole(wants), whole(joins), whole(beats));
    print_times("delivery", &ledger->delivery);
    print_times("ack", &ledger->stored);
    print_times("lateness", &ledger->lateness);
    printf("\"cpu\":{\"load\":%.3f,\"all\":%.3f", last->own - first->own, last->all - first->all);
    for (int place = 0; place < runs->watched_count; place++)
        printf(",\"%s\":%.3f", runs->watched[place].name,
               last->watched[place] - first->watched[place]);
    printf("},");
    print_text("complaint", ledger->complaint);
#undef window
#undef whole
}

static void finish(void) {
    printf("}\n");
    fflush(stdout);
}

static int64_t after(double seconds) { return monotonic_now() + (int64_t)(seconds * 1e9); }

static void turn_until(struct pool *pool, int64_t time) {
    while (monotonic_now() < time) pool_turn(pool, time);
}

static uint64_t answered(const struct counts *counts) {
    return counts->stored + counts->queued + counts->errors;
}

/// Whether everybody has everything that was sent since `start`, as far as it was not refused.
static bool is_settled(const struct pool *pool, const struct sample *start) {
    const struct counts *now = &pool->ledger.counts, *before = &start->counts;
    return now->deliveries - before->deliveries == now->owed - before->owed &&
        answered(now) - answered(before) >= now->sent - before->sent;
}

static void settle(struct pool *pool, const struct sample *start, double drain) {
    int64_t limit = after(drain);
    while (!is_settled(pool, start) && monotonic_now() < limit) pool_turn(pool, limit);
}

void run_join(struct runs *runs, uint32_t count, uint32_t rooms, uint32_t opening) {
    struct pool *pool = runs->pool;
    begin(&pool->ledger, 0, 0);
    struct sample start = sample(runs);
    uint32_t next = pool->client_count, last = next + count;
    pool_add(pool, count, rooms);
    int64_t limit = after(120);
    while (pool->joined < last && monotonic_now() < limit) {
        while (next < last && pool->opening < opening) pool_open(pool, next++);
        pool_turn(pool, limit);
    }
    struct sample end = sample(runs);
    print_result(runs, &start, &start, &end);
    finish();
}

void run_open(struct runs *runs, double rate, double warm, double seconds, double drain) {
    struct pool *pool = runs->pool;
    int64_t first = monotonic_now() + 1000000;
    int64_t from = first + (int64_t)(warm * 1e9), until = from + (int64_t)(seconds * 1e9);
    begin(&pool->ledger, from, until);
    struct sample start = sample(runs), opening = start;
    bool is_open = false;
    static uint64_t sender;
    for (uint64_t number = 0;;) {
        int64_t now = monotonic_now();
        if (!is_open && now >= from) {
            opening = sample(runs);
            is_open = true;
        }
        if (now >= until) break;
        int64_t due = first + (int64_t)((double)number * 1e9 / rate);
        // Not all at once when it is late: what comes in is read in between.
        for (int burst = 0; due <= now && due < until && burst < 64; burst++) {
            for (uint32_t tries = 0; tries < pool->client_count; tries++)
                if (pool_send(pool, (uint32_t)(sender++ % pool->client_count), due, now)) break;
            due = first + (int64_t)((double)++number * 1e9 / rate);
        }
        int64_t edge = is_open ? until : from;
        pool_turn(pool, due < edge ? due : edge);
    }
    struct sample end = sample(runs);
    settle(pool, &start, drain);
    print_result(runs, &start, &opening, &end);
    printf(",\"settleSeconds\":%.3f", (double)(monotonic_now() - end.time) / 1e9);
    finish();
}

static void send_next(struct pool *pool, uint32_t client, int64_t now) {
    pool_send(pool, client, now, now);
}

void run_closed(struct runs *runs, double warm, double seconds, double drain) {
    struct pool *pool = runs->pool;
    int64_t first = monotonic_now();
    int64_t from = first + (int64_t)(warm * 1e9), until = from + (int64_t)(seconds * 1e9);
    begin(&pool->ledger, from, until);
    struct sample start = sample(runs);
    pool->turn = send_next;
    for (uint32_t client = 0; client < pool->client_count; client++) {
        pool->clients[client].is_in_turn = true;
        send_next(pool, client, monotonic_now());
        if (client % 64 == 63) pool_turn(pool, 0);
    }
    turn_until(pool, from);
    struct sample opening = sample(runs);
    turn_until(pool, until);
    struct sample end = sample(runs);
    pool->turn = NULL;
    settle(pool, &start, drain);
    print_result(runs, &start, &opening, &end);
    printf(",\"settleSeconds\":%.3f", (double)(monotonic_now() - end.time) / 1e9);
    finish();
}

void run_idle(struct runs *runs, double seconds) {
    struct pool *pool = runs->pool;
    begin(&pool->ledger, 0, 0);
    struct sample start = sample(runs);
    turn_until(pool, after(seconds));
    struct sample end = sample(runs);
    print_result(runs, &start, &start, &end);
    finish();
}

/// Clients that are in their rooms and have everything that was said there.
static uint32_t whole_clients(const struct pool *pool, uint32_t count) {
    uint32_t whole = 0;
    for (uint32_t index = 0; index < count; index++) {
        const struct client *client = &pool->clients[index];
        whole += client->phase == phase_joined &&
            reader_up_to(&client->reader) >= pool->ledger.rooms[client->room].head;
    }
    return whole;
}

void run_storm(struct runs *runs, uint32_t count, double patience) {
    struct pool *pool = runs->pool;
    struct counts *counts = &pool->ledger.counts;
    begin(&pool->ledger, 0, INT64_MAX);
    struct sample start = sample(runs);
    for (uint32_t index = 0; index < count; index++) {
        pool_cut(pool, index);
        int64_t wait = pool_random(pool, pool->reconnect_min, pool->reconnect_max);
        wheel_set(&pool->wheel, index, start.time + wait * 1000000, monotonic_now());
    }
    for (uint32_t index = count; index < pool->client_count; index++)
        pool_send(pool, index, monotonic_now(), monotonic_now());
    int64_t limit = start.time + (int64_t)(patience * 1e9), check = 0, joined = 0;
    uint32_t whole = 0;
    while (monotonic_now() < limit) {
        pool_turn(pool, limit);
        int64_t now = monotonic_now();
        if (!joined && pool->joined == pool->client_count) joined = now;
        // Looking at all of them is not for every turn.
        if (now < check || counts->stored - start.counts.stored < pool->client_count - count)
            continue;
        whole = whole_clients(pool, count);
        if (joined && whole == count) break;
        check = monotonic_now() + 5000000;
    }
    struct sample end = sample(runs);
    print_result(runs, &start, &start, &end);
    printf(",\"cut\":%u,\"wholeClients\":%u,\"joinedSeconds\":%.3f,\"wholeSeconds\":%.3f", count,
           whole, joined ? (double)(joined - start.time) / 1e9 : -1,
           whole == count ? (double)(end.time - start.time) / 1e9 : -1);
    finish();
}
