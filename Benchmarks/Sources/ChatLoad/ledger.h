// What was sent, and whether every reader gets each message once and in the order of its room.

#ifndef ledger_h
#define ledger_h

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

/// Everything that is counted. A run is the difference of two of these.
struct counts {
    /// Messages sent, and acknowledged as stored or as queued.
    uint64_t sent, stored, queued;
    /// Messages that a reader got for the first time, and how many there will be.
    uint64_t deliveries, owed;
    /// Messages that were passed over when a later one came, and those of them that came after all:
    /// in a `sync`, or – too late – by themselves.
    uint64_t skipped, healed, late;
    /// What must not be: a message a second time, a message that nobody sent or of another room,
    /// two numbers for one message, a frame that is not known.
    uint64_t duplicates, foreign, renumbered, unknown;
    uint64_t errors, byes, closed, failed;
    uint64_t syncs, wants, beats, joins;
    uint64_t reads, bytes;
};

struct room {
    /// The highest number that anybody has heard of.
    int64_t head;
    uint32_t readers;
};

/// Numbers that a reader lacks, both ends included.
struct hole {
    int64_t first, last;
};

/// What one reader has: everything below `expected` but the holes.
struct reader {
    int64_t expected;
    struct hole *holes;
    uint32_t hole_count, hole_room;
};

struct message {
    /// When it was to be sent, in nanoseconds.
    int64_t due;
    /// 0 while it is not known.
    int64_t seq;
    uint32_t room;
};

struct ledger {
    struct counts counts;
    struct room *rooms;
    uint32_t room_count;
    struct message *messages;
    uint64_t message_count, message_room;
    /// Messages that were due within these bounds are measured.
    int64_t begin, end;
    struct histogram delivery, stored, lateness;
    /// Bytes of the payload of the last `message`.
    size_t frame_bytes;
    /// The first complaints, for people.
    char complaint[512];
};

/// A new message for `room`: its number, which its id ends with.
uint64_t ledger_send(struct ledger *ledger, uint32_t room, int64_t due, int64_t now);
/// - Parameter is_sync: whether the message came in a `sync`.
void ledger_deliver(
    struct ledger *ledger, struct reader *reader, uint32_t room, uint64_t number, int64_t seq,
    bool is_sync, int64_t now);
void ledger_stored(
    struct ledger *ledger, uint32_t room, uint64_t number, int64_t seq, int64_t now);
/// Everything up to here has been received without a hole.
int64_t reader_up_to(const struct reader *reader);
/// Keeps the first words that are given.
void ledger_complain(struct ledger *ledger, const char *text, size_t bytes);

#endif
