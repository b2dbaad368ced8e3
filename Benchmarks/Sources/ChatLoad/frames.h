// The frames of RFC 6455 as a client writes and reads them.

#ifndef frames_h
#define frames_h

#include <stddef.h>
#include <stdint.h>

enum { frame_text = 1, frame_close = 8, frame_ping = 9, frame_pong = 10 };
enum { frame_header_bytes = 14 };

struct frame {
    int opcode;
    const char *payload;
    size_t bytes;
};

/// Writes a masked frame.
///
/// - Parameter target: room for `bytes` and a header.
/// - Returns: the bytes that it takes.
size_t frame_write(
    char *target, int opcode, const char *payload, size_t bytes, uint32_t mask);
/// Reads the frame at the start of `source`.
///
/// - Returns: the bytes that it takes; 0 when it is not whole yet, -1 when it is none of a server.
long frame_read(const char *source, size_t bytes, struct frame *frame);

#endif
