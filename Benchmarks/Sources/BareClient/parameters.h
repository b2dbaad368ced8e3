#ifndef BARE_PARAMETERS_H
#define BARE_PARAMETERS_H

#include <stddef.h>
#include <stdint.h>

enum { room_bytes = 36, text_bytes = 100, parameter_count = 10 };

struct buffer {
    char *bytes;
    size_t length;
    size_t capacity;
};

/// The values of one statement in PostgreSQL's binary format.
struct parameters {
    struct buffer buffers[parameter_count];
    const char *values[parameter_count];
    int lengths[parameter_count];
    int formats[parameter_count];
    int count;
    uint64_t random;
};

/// The rooms that one connection writes to or reads.
struct rooms {
    char (*names)[room_bytes + 1];
    int count;
};

/// Fills in `batch` messages of different rooms as six arrays.
void parameters_fill_batch(struct parameters *parameters, const struct rooms *rooms, int batch);

/// Fills in the same messages as `shard.append_new` takes them: each room once in order and how many
/// messages it gets, then for each message its room's position, its place there, and the six arrays.
void parameters_fill_new(struct parameters *parameters, const struct rooms *rooms, int batch);

/// Fills in one message as six values.
void parameters_fill_row(struct parameters *parameters, const struct rooms *rooms);

/// Fills in a room, the highest border and `limit`.
void parameters_fill_page(struct parameters *parameters, const struct rooms *rooms, int limit);

#endif
