// Thousands of chat clients in one thread: `ChatLoad PORT CLIENTS`. It is told what to do by lines
// at its standard input and answers each with a line of JSON; clients beat meanwhile.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runs.h"

static void answer_done(void) {
    printf("{}\n");
    fflush(stdout);
}

static bool watch(struct runs *runs, char *words) {
    struct watched *watched = &runs->watched[runs->watched_count];
    int used = 0;
    if (runs->watched_count == 4 || sscanf(words, "%15s%n", watched->name, &used) != 1)
        return false;
    watched->count = 0;
    for (int more; watched->count < 8; words += more) {
        if (!watched->count) words += used;
        if (sscanf(words, "%d%n", &watched->processes[watched->count], &more) != 1) break;
        watched->count++;
    }
    runs->watched_count++;
    answer_done();
    return true;
}

static bool is_done(struct runs *runs, char *line) {
    struct pool *pool = runs->pool;
    unsigned count, rooms, opening;
    double rate, warm, seconds, drain;
    int start = 0;
    if (sscanf(line, "join %u %u %u %31s", &count, &rooms, &opening, pool->room_prefix) == 4)
        run_join(runs, count, rooms, opening);
    else if (sscanf(line, "open %lf %lf %lf %lf", &rate, &warm, &seconds, &drain) == 4)
        run_open(runs, rate, warm, seconds, drain);
    else if (sscanf(line, "closed %lf %lf %lf", &warm, &seconds, &drain) == 3)
        run_closed(runs, warm, seconds, drain);
    else if (sscanf(line, "idle %lf", &seconds) == 1)
        run_idle(runs, seconds);
    else if (sscanf(line, "storm %u %lf", &count, &seconds) == 2)
        run_storm(runs, count, seconds);
    else if (sscanf(line, "text %u", &count) == 1 && count > 0 && count < sizeof pool->text) {
        memset(pool->text, 'x', count);
        pool->text[count] = 0;
        answer_done();
    } else if (sscanf(line, "beats %u", &count) == 1) {
        pool->beats = count;
        answer_done();
    } else if (sscanf(line, "watch %n", &start) == 0 && start)
        return watch(runs, line + start);
    else
        return false;
    return true;
}

/// Does the commands until the input ends.
static int serve(struct runs *runs) {
    static char lines[4096];
    size_t bytes = 0;
    while (true) {
        if (!pool_turn(runs->pool, monotonic_now() + 100000000)) continue;
        ssize_t count = read(STDIN_FILENO, lines + bytes, sizeof lines - 1 - bytes);
        if (count <= 0) return 0;
        bytes += (size_t)count;
        lines[bytes] = 0;
        for (char *end; (end = strchr(lines, '\n'));) {
            *end = 0;
            if (!is_done(runs, lines)) {
                fprintf(stderr, "ChatLoad: '%s' is not a command\n", lines);
                return 64;
            }
            bytes -= (size_t)(end + 1 - lines);
            memmove(lines, end + 1, bytes + 1);
        }
    }
}

int main(int count, char **words) {
    if (count != 3) {
        fprintf(stderr, "usage: ChatLoad PORT CLIENTS\n");
        return 64;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    static struct pool pool;
    pool_make(&pool, (uint32_t)atoi(words[2]), (uint16_t)atoi(words[1]));
    strcpy(pool.text, "hello");
    struct runs runs = {.pool = &pool};
    return serve(&runs);
}
