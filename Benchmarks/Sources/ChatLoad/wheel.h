// One timer for each client, with a precision of a millisecond, at most 16 seconds ahead.

#ifndef wheel_h
#define wheel_h

#include <stdint.h>

enum { wheel_slots = 16384 };

struct wheel {
    int32_t first[wheel_slots];
    /// For each client its neighbours in its slot and the slot, -1 for none.
    int32_t *next, *previous, *slot;
    /// The slot that is looked at next, counted on for ever.
    int64_t cursor;
};

void wheel_make(struct wheel *wheel, uint32_t clients, int64_t now);
void wheel_set(struct wheel *wheel, uint32_t client, int64_t time, int64_t now);
void wheel_clear(struct wheel *wheel, uint32_t client);
/// Takes out one whose time has come; -1 when there is none.
int32_t wheel_take(struct wheel *wheel, int64_t now);

#endif
