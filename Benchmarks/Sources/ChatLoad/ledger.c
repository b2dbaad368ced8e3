#include "ledger.h"

#include <stdlib.h>
#include <string.h>

static void *grown(void *place, size_t count, size_t size) {
    void *grown = realloc(place, count * size);
    if (!grown) abort();
    return grown;
}

static bool is_measured(const struct ledger *ledger, const struct message *message) {
    return message->due >= ledger->begin && message->due < ledger->end;
}

uint64_t ledger_send(struct ledger *ledger, uint32_t room, int64_t due, int64_t now) {
    if (ledger->message_count == ledger->message_room) {
        ledger->message_room = ledger->message_room ? ledger->message_room * 2 : 65536;
        ledger->messages = grown(
            ledger->messages, ledger->message_room, sizeof *ledger->messages);
    }
    struct message *message = &ledger->messages[ledger->message_count];
    *message = (struct message){.due = due, .room = room};
    if (is_measured(ledger, message)) histogram_add(&ledger->lateness, now - due);
    ledger->counts.sent++;
    ledger->counts.owed += ledger->rooms[room].readers;
    return ledger->message_count++;
}

/// The message of this number, if it belongs into `room` and has, or now gets, this `seq`.
static struct message *known(
    struct ledger *ledger, uint32_t room, uint64_t number, int64_t seq) {
    if (number >= ledger->message_count || ledger->messages[number].room != room) {
        ledger->counts.foreign++;
        return NULL;
    }
    struct message *message = &ledger->messages[number];
    if (!message->seq) message->seq = seq;
    if (message->seq != seq) {
        ledger->counts.renumbered++;
        return NULL;
    }
    if (seq > ledger->rooms[room].head) ledger->rooms[room].head = seq;
    return message;
}

static void open_hole(struct reader *reader, int64_t first, int64_t last) {
    if (reader->hole_count == reader->hole_room) {
        reader->hole_room = reader->hole_room ? reader->hole_room * 2 : 4;
        reader->holes = grown(reader->holes, reader->hole_room, sizeof *reader->holes);
    }
    reader->holes[reader->hole_count++] = (struct hole){first, last};
}

static void remove_hole(struct reader *reader, uint32_t index) {
    memmove(
        reader->holes + index, reader->holes + index + 1,
        (reader->hole_count - index - 1) * sizeof *reader->holes);
    if (--reader->hole_count) return;
    free(reader->holes);
    reader->holes = NULL;
    reader->hole_room = 0;
}

/// Whether `seq` was missing; then it is not any more.
static bool fill_hole(struct reader *reader, int64_t seq) {
    for (uint32_t index = 0; index < reader->hole_count; index++) {
        struct hole *hole = &reader->holes[index];
        if (seq < hole->first || seq > hole->last) continue;
        if (hole->first == hole->last) {
            remove_hole(reader, index);
        } else if (seq == hole->first) {
            hole->first++;
        } else if (seq == hole->last) {
            hole->last--;
        } else {
            int64_t last = hole->last;
            hole->last = seq - 1;
            // At the end: their order does not matter.
            open_hole(reader, seq + 1, last);
        }
        return true;
    }
    return false;
}

void ledger_deliver(
    struct ledger *ledger, struct reader *reader, uint32_t room, uint64_t number, int64_t seq,
    bool is_sync, int64_t now) {
    struct message *message = known(ledger, room, number, seq);
    if (!message) return;
    if (seq < reader->expected) {
        if (!fill_hole(reader, seq)) {
            ledger->counts.duplicates++;
            return;
        }
        if (is_sync) ledger->counts.healed++;
        else ledger->counts.late++;
    } else {
        if (seq > reader->expected) {
            open_hole(reader, reader->expected, seq - 1);
            ledger->counts.skipped += (uint64_t)(seq - reader->expected);
        }
        reader->expected = seq + 1;
    }
    ledger->counts.deliveries++;
    if (is_measured(ledger, message)) histogram_add(&ledger->delivery, now - message->due);
}

void ledger_stored(
    struct ledger *ledger, uint32_t room, uint64_t number, int64_t seq, int64_t now) {
    struct message *message = known(ledger, room, number, seq);
    if (!message) return;
    ledger->counts.stored++;
    if (is_measured(ledger, message)) histogram_add(&ledger->stored, now - message->due);
}

int64_t reader_up_to(const struct reader *reader) {
    int64_t lowest = reader->expected;
    for (uint32_t index = 0; index < reader->hole_count; index++)
        if (reader->holes[index].first < lowest) lowest = reader->holes[index].first;
    return lowest - 1;
}

void ledger_complain(struct ledger *ledger, const char *text, size_t bytes) {
    size_t used = strlen(ledger->complaint), room = sizeof ledger->complaint - 1 - used;
    if (bytes + 2 > room) return;
    if (used) ledger->complaint[used++] = '\n';
    memcpy(ledger->complaint + used, text, bytes);
    ledger->complaint[used + bytes] = 0;
}
