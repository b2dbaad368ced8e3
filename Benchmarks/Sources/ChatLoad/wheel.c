#include "wheel.h"

#include <stdlib.h>
#include <string.h>

enum { slot_nanoseconds = 1000000 };

void wheel_make(struct wheel *wheel, uint32_t clients, int64_t now) {
    memset(wheel->first, -1, sizeof wheel->first);
    int32_t **lists[] = {&wheel->next, &wheel->previous, &wheel->slot};
    for (int index = 0; index < 3; index++) {
        int32_t *list = malloc(clients * sizeof *list);
        if (!list) abort();
        memset(list, -1, clients * sizeof *list);
        *lists[index] = list;
    }
    wheel->cursor = now / slot_nanoseconds;
}

void wheel_clear(struct wheel *wheel, uint32_t client) {
    int32_t slot = wheel->slot[client];
    if (slot < 0) return;
    int32_t next = wheel->next[client], previous = wheel->previous[client];
    if (next >= 0) wheel->previous[next] = previous;
    if (previous >= 0) wheel->next[previous] = next;
    else wheel->first[slot] = next;
    wheel->slot[client] = -1;
}

void wheel_set(struct wheel *wheel, uint32_t client, int64_t time, int64_t now) {
    wheel_clear(wheel, client);
    int64_t tick = time / slot_nanoseconds, last = now / slot_nanoseconds + wheel_slots - 2;
    if (tick < wheel->cursor) tick = wheel->cursor;
    if (tick > last) tick = last;
    int32_t slot = (int32_t)(tick % wheel_slots), first = wheel->first[slot];
    wheel->slot[client] = slot;
    wheel->next[client] = first;
    wheel->previous[client] = -1;
    if (first >= 0) wheel->previous[first] = (int32_t)client;
    wheel->first[slot] = (int32_t)client;
}

int32_t wheel_take(struct wheel *wheel, int64_t now) {
    int64_t last = now / slot_nanoseconds;
    while (wheel->cursor < last) {
        int32_t client = wheel->first[wheel->cursor % wheel_slots];
        if (client >= 0) {
            wheel_clear(wheel, (uint32_t)client);
            return client;
        }
        wheel->cursor++;
    }
    return -1;
}
