#include "frames.h"

#include <string.h>

size_t frame_write(
    char *target, int opcode, const char *payload, size_t bytes, uint32_t mask) {
    unsigned char *place = (unsigned char *)target;
    *place++ = (unsigned char)(0x80 | opcode);
    if (bytes < 126) {
        *place++ = (unsigned char)(0x80 | bytes);
    } else {
        *place++ = 0x80 | 126;
        *place++ = (unsigned char)(bytes >> 8);
        *place++ = (unsigned char)bytes;
    }
    unsigned char key[4];
    memcpy(key, &mask, sizeof key);
    memcpy(place, key, sizeof key);
    place += sizeof key;
    for (size_t index = 0; index < bytes; index++)
        place[index] = (unsigned char)payload[index] ^ key[index % 4];
    return (size_t)(place - (unsigned char *)target) + bytes;
}

long frame_read(const char *source, size_t bytes, struct frame *frame) {
    const unsigned char *place = (const unsigned char *)source;
    if (bytes < 2) return 0;
    // Whole, without extensions and without a mask; the server fragments nothing.
    if ((place[0] & 0xf0) != 0x80 || place[1] & 0x80) return -1;
    size_t header = 2, length = place[1];
    if (length == 126) {
        if (bytes < 4) return 0;
        header = 4;
        length = (size_t)place[2] << 8 | place[3];
    } else if (length == 127) {
        if (bytes < 10) return 0;
        header = 10;
        length = 0;
        for (int index = 2; index < 10; index++) length = length << 8 | place[index];
        if (length > 1 << 26) return -1;
    }
    if (bytes - header < length) return 0;
    *frame = (struct frame){place[0] & 0x0f, source + header, length};
    return (long)(header + length);
}
