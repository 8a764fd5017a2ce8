#ifndef GRANARY_CDEFLATE_H
#define GRANARY_CDEFLATE_H

#include <stddef.h>
#include <stdint.h>

// Raw deflate streams (RFC 1951) by the zlib beside this, whose bytes never change: see README.md.

typedef struct granary_stream granary_stream;

/// NULL when there is no memory. `level` is 1-9, `memory_level` 8 or 9; the window is 32 KiB, the strategy zlib's default.
granary_stream *granary_deflate_new(int level, int memory_level);
granary_stream *granary_inflate_new(void);
void granary_stream_free(granary_stream *stream);

/// What a step came to: it can go on, the stream has ended, or it is none.
enum { granary_stream_open = 0, granary_stream_ended = 1, granary_stream_damaged = -1 };

/// Takes `*used` of the bytes and makes `*made`. Goes on until there is nothing to take or no room. `is_last`: no bytes follow these.
int granary_deflate_step(
    granary_stream *stream, const uint8_t *bytes, size_t count, size_t *used, uint8_t *room, size_t capacity, size_t *made, int is_last);

/// As above; a stream's end is in its bytes.
int granary_inflate_step(
    granary_stream *stream, const uint8_t *bytes, size_t count, size_t *used, uint8_t *room, size_t capacity, size_t *made);

#endif
