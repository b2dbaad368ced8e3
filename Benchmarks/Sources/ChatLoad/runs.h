// What the clients do together for a while, and what came of it, as a line of JSON.

#ifndef runs_h
#define runs_h

#include "pool.h"

/// Processes whose CPU time is measured, together with their children, under one name.
struct watched {
    char name[16];
    int processes[8];
    int count;
};

struct runs {
    struct pool *pool;
    struct watched watched[4];
    int watched_count;
};

/// Lets `count` more clients join, no more than `opening` at once.
void run_join(struct runs *runs, uint32_t count, uint32_t rooms, uint32_t opening);
/// Lets clients send in turn, `rate` messages a second, measured for `seconds` after `warm`.
///
/// - Parameter drain: how long the last messages are waited for.
void run_open(struct runs *runs, double rate, double warm, double seconds, double drain);
/// Lets every client send its next message as soon as the last one is stored.
void run_closed(struct runs *runs, double warm, double seconds, double drain);
/// Nobody sends but heartbeats.
void run_idle(struct runs *runs, double seconds);
/// Cuts the first `count` clients; the others write to them before they come back.
void run_storm(struct runs *runs, uint32_t count, double patience);

#endif
