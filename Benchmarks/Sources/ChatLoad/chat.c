#define _GNU_SOURCE
#include "chat.h"

#include <stdlib.h>
#include <string.h>

static const char message_start[] = "{\"type\":\"message\",\"id\":\"";
static const char ack_start[] = "{\"type\":\"ack\",\"id\":\"";
enum { id_bytes = 36, number_digits = 12 };

static bool begins(const char *text, size_t bytes, const char *start) {
    size_t length = strlen(start);
    return bytes >= length && !memcmp(text, start, length);
}

/// The integer behind `name`; -1 when it is not there.
static int64_t field(const char *text, size_t bytes, const char *name) {
    const char *place = memmem(text, bytes, name, strlen(name));
    if (!place) return -1;
    int64_t value = 0;
    for (place += strlen(name); place < text + bytes && *place >= '0' && *place <= '9'; place++)
        value = value * 10 + (*place - '0');
    return value;
}

/// The `seq` of a message or an ack: near the end, where only a receipt follows it.
static int64_t seq_of(const char *text, size_t bytes) {
    size_t tail = bytes < 110 ? bytes : 110;
    int64_t seq = field(text + bytes - tail, tail, "\"seq\":");
    return seq < 0 ? field(text, bytes, "\"seq\":") : seq;
}

/// What an id ends with, and whether it is one of this process.
static bool number_of(const struct pool *pool, const char *id, uint64_t *number) {
    uint64_t words[2] = {0, 0};
    int digits = 0;
    for (int index = 0; index < id_bytes; index++) {
        int digit = id[index];
        if (digit == '-') continue;
        digit = digit <= '9' ? digit - '0' : digit - 'a' + 10;
        uint64_t *word = &words[digits++ / 16];
        *word = *word << 4 | (uint64_t)digit;
    }
    *number = words[1] & (((uint64_t)1 << number_digits * 4) - 1);
    return words[0] >> 32 == pool->nonce;
}

/// One `message`, whose id begins behind `message_start`.
static void deliver(
    struct pool *pool, struct client *client, const char *text, size_t bytes, bool is_sync,
    int64_t now) {
    const char *id = text + sizeof message_start - 1;
    uint64_t number = 0;
    int64_t seq = seq_of(text, bytes);
    if (seq <= 0 || !number_of(pool, id, &number)) {
        pool->ledger.counts.foreign++;
        ledger_complain(&pool->ledger, text, bytes);
        return;
    }
    ledger_deliver(
        &pool->ledger, &client->reader, client->room, number, seq, is_sync, now);
}

static void sync(
    struct pool *pool, struct client *client, const char *text, size_t bytes, int64_t now) {
    pool->ledger.counts.syncs++;
    const char *end = text + bytes;
    const size_t length = sizeof message_start - 1;
    const char *place = memmem(text, bytes, message_start, length);
    while (place) {
        const char *next = memmem(
            place + length, (size_t)(end - place) - length, message_start, length);
        deliver(pool, client, place, (size_t)((next ? next : end) - place), true, now);
        place = next;
    }
}

static void ack(
    struct pool *pool, uint32_t index, const char *text, size_t bytes, int64_t now) {
    struct client *client = &pool->clients[index];
    const char *id = text + sizeof ack_start - 1;
    if (!memmem(text, bytes, "\"level\":\"stored\"", 16)) {
        pool->ledger.counts.queued++;
        return;
    }
    uint64_t number = 0;
    if (!number_of(pool, id, &number)) {
        pool->ledger.counts.foreign++;
        return;
    }
    ledger_stored(&pool->ledger, client->room, number, seq_of(text, bytes), now);
    if (client->is_in_turn && pool->turn) pool->turn(pool, index, now);
}

static void hello(
    struct pool *pool, uint32_t index, const char *text, size_t bytes, int64_t now) {
    struct client *client = &pool->clients[index];
    if (client->phase != phase_joining) return;
    client->phase = phase_joined;
    pool->opening--;
    pool->joined++;
    pool->ledger.counts.joins++;
    int64_t head = field(text, bytes, "\"head\":");
    const char *beat = memmem(text, bytes, "\"heartbeat\":", 12);
    const char *again = memmem(text, bytes, "\"reconnect\":", 12);
    if (beat) {
        pool->beat_min = field(beat, (size_t)(text + bytes - beat), "\"min\":");
        pool->beat_max = field(beat, (size_t)(text + bytes - beat), "\"max\":");
    }
    if (again) {
        pool->reconnect_min = field(again, (size_t)(text + bytes - again), "\"min\":");
        pool->reconnect_max = field(again, (size_t)(text + bytes - again), "\"max\":");
    }
    if (!client->is_known) client->reader.expected = head + 1;
    client->is_known = true;
    // The server knows more than the client: it is told at once and not at the next beat.
    if (head >= client->reader.expected) pool_beat(pool, index);
    wheel_set(
        &pool->wheel, index, now + pool_random(pool, 0, pool->beat_max) * 1000000, now);
}

void chat_receive(
    struct pool *pool, uint32_t index, const char *text, size_t bytes, int64_t now) {
    struct client *client = &pool->clients[index];
    struct counts *counts = &pool->ledger.counts;
    if (begins(text, bytes, message_start) && bytes > sizeof message_start + id_bytes) {
        pool->ledger.frame_bytes = bytes;
        deliver(pool, client, text, bytes, false, now);
    } else if (begins(text, bytes, ack_start) && bytes > sizeof ack_start + id_bytes) {
        ack(pool, index, text, bytes, now);
    } else if (begins(text, bytes, "{\"type\":\"sync\"")) {
        sync(pool, client, text, bytes, now);
    } else if (begins(text, bytes, "{\"type\":\"hello\"")) {
        hello(pool, index, text, bytes, now);
    } else if (begins(text, bytes, "{\"type\":\"presence\"")) {
        return;
    } else if (begins(text, bytes, "{\"type\":\"want\"")) {
        counts->wants++;
    } else if (begins(text, bytes, "{\"type\":\"error\"")) {
        counts->errors++;
        ledger_complain(&pool->ledger, text, bytes);
    } else if (begins(text, bytes, "{\"type\":\"bye\"")) {
        counts->byes++;
        ledger_complain(&pool->ledger, text, bytes);
    } else {
        counts->unknown++;
        ledger_complain(&pool->ledger, text, bytes < 120 ? bytes : 120);
    }
}
