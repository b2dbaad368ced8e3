#include "parameters.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

enum { type_int4 = 23, type_text = 25, type_uuid = 2950, type_timestamptz = 1184, columns = 6 };

// PostgreSQL counts microseconds from 2000-01-01.
static const int64_t epoch_offset = 946684800000000;

static uint64_t next_random(struct parameters *parameters) {
    uint64_t value = parameters->random += 0x9e3779b97f4a7c15u;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

static void append(struct buffer *buffer, const void *bytes, size_t length) {
    if (buffer->length + length > buffer->capacity) {
        buffer->capacity = (buffer->length + length) * 2;
        buffer->bytes = realloc(buffer->bytes, buffer->capacity);
        if (!buffer->bytes) abort();
    }
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

static void append_number(struct buffer *buffer, int32_t number) {
    uint32_t big = htonl((uint32_t)number);
    append(buffer, &big, sizeof big);
}

static void append_element(struct buffer *buffer, const void *bytes, size_t length, int is_array) {
    if (is_array) append_number(buffer, (int32_t)length);
    append(buffer, bytes, length);
}

/// `buffers`: where the six columns of messages begin.
static void append_message(
    struct parameters *parameters, struct buffer *buffers, const struct rooms *rooms, uint64_t room,
    int is_array) {
    append_element(&buffers[0], rooms->names[room % (uint64_t)rooms->count], room_bytes, is_array);

    uint64_t id[2] = {next_random(parameters), next_random(parameters)};
    append_element(&buffers[1], id, sizeof id, is_array);

    append_element(&buffers[2], "somebody", 8, is_array);

    struct timeval now;
    gettimeofday(&now, NULL);
    int64_t time = htobe64((uint64_t)(now.tv_sec * 1000000 + now.tv_usec - epoch_offset));
    append_element(&buffers[3], &time, sizeof time, is_array);
    append_element(&buffers[4], &time, sizeof time, is_array);

    char text[text_bytes + 1];
    int length = snprintf(text, sizeof text, "%016lx", (unsigned long)id[0]);
    memset(text + length, 'x', (size_t)(text_bytes - length));
    append_element(&buffers[5], text, text_bytes, is_array);
}

static void finish(struct parameters *parameters, int count) {
    parameters->count = count;
    for (int index = 0; index < count; index++) {
        parameters->values[index] = parameters->buffers[index].bytes;
        parameters->lengths[index] = (int)parameters->buffers[index].length;
        parameters->formats[index] = 1;
    }
}

static void begin_array(struct buffer *buffer, int type, int count) {
    buffer->length = 0;
    append_number(buffer, 1);
    append_number(buffer, 0);
    append_number(buffer, type);
    append_number(buffer, count);
    append_number(buffer, 1);
}

static void begin_messages(struct buffer *buffers, int batch) {
    static const int types[columns] = {
        type_text, type_uuid, type_text, type_timestamptz, type_timestamptz, type_text};
    for (int index = 0; index < columns; index++) begin_array(&buffers[index], types[index], batch);
}

void parameters_fill_batch(struct parameters *parameters, const struct rooms *rooms, int batch) {
    begin_messages(parameters->buffers, batch);
    for (int index = 0; index < batch; index++)
        append_message(parameters, parameters->buffers, rooms, next_random(parameters), 1);
    finish(parameters, columns);
}

static int by_number(const void *one, const void *other) {
    uint64_t first = *(const uint64_t *)one, second = *(const uint64_t *)other;
    return first < second ? -1 : first > second;
}

static void append_int4(struct buffer *buffer, int32_t number) {
    append_number(buffer, sizeof number);
    append_number(buffer, number);
}

void parameters_fill_new(struct parameters *parameters, const struct rooms *rooms, int batch) {
    // The rooms are listed in the order of their names, so numbers in order are names in order.
    uint64_t *picked = malloc((size_t)batch * sizeof *picked);
    if (!picked) abort();
    int distinct = 0;
    for (int index = 0; index < batch; index++)
        picked[index] = next_random(parameters) % (uint64_t)rooms->count;
    qsort(picked, (size_t)batch, sizeof *picked, by_number);
    for (int index = 0; index < batch; index++)
        distinct += index == 0 || picked[index] != picked[index - 1];

    struct buffer *buffers = parameters->buffers;
    begin_array(&buffers[0], type_text, distinct);
    begin_array(&buffers[1], type_int4, distinct);
    begin_array(&buffers[2], type_int4, batch);
    begin_array(&buffers[3], type_int4, batch);
    begin_messages(&buffers[4], batch);
    for (int index = 0, room = 0, place = 0; index < batch; index++) {
        if (index == 0 || picked[index] != picked[index - 1]) {
            append_element(&buffers[0], rooms->names[picked[index]], room_bytes, 1);
            room++;
            place = 0;
        }
        place++;
        if (index + 1 == batch || picked[index] != picked[index + 1])
            append_int4(&buffers[1], place);
        append_int4(&buffers[2], room);
        append_int4(&buffers[3], place);
        append_message(parameters, &buffers[4], rooms, picked[index], 1);
    }
    free(picked);
    finish(parameters, 4 + columns);
}

void parameters_fill_row(struct parameters *parameters, const struct rooms *rooms) {
    for (int index = 0; index < columns; index++) parameters->buffers[index].length = 0;
    append_message(parameters, parameters->buffers, rooms, next_random(parameters), 0);
    finish(parameters, columns);
}

void parameters_fill_page(struct parameters *parameters, const struct rooms *rooms, int limit) {
    for (int index = 0; index < 3; index++) parameters->buffers[index].length = 0;
    uint64_t room = next_random(parameters) % (uint64_t)rooms->count;
    append(&parameters->buffers[0], rooms->names[room], room_bytes);
    append_number(&parameters->buffers[1], INT32_MAX);
    append_number(&parameters->buffers[1], -1);
    append_number(&parameters->buffers[2], limit);
    finish(parameters, 3);
}
