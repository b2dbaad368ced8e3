// What a chat server says.

#ifndef chat_h
#define chat_h

#include "pool.h"

/// Takes the payload of a text frame.
void chat_receive(
    struct pool *pool, uint32_t client, const char *text, size_t bytes, int64_t now);

#endif
