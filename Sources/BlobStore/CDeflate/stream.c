#include "CDeflate.h"

#include <stdlib.h>

#include "zlib.h"

struct granary_stream {
    z_stream z;
    int deflates;
};

granary_stream *granary_deflate_new(int level, int memory_level) {
    granary_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) return NULL;
    stream->deflates = 1;
    if (deflateInit2(&stream->z, level, Z_DEFLATED, -15, memory_level, Z_DEFAULT_STRATEGY) == Z_OK) return stream;
    free(stream);
    return NULL;
}

granary_stream *granary_inflate_new(void) {
    granary_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) return NULL;
    if (inflateInit2(&stream->z, -15) == Z_OK) return stream;
    free(stream);
    return NULL;
}

void granary_stream_free(granary_stream *stream) {
    if (stream == NULL) return;
    if (stream->deflates)
        deflateEnd(&stream->z);
    else
        inflateEnd(&stream->z);
    free(stream);
}

static int step(
    granary_stream *stream, const uint8_t *bytes, size_t count, size_t *used, uint8_t *room, size_t capacity, size_t *made, int flush) {
    z_stream *z = &stream->z;
    *used = *made = 0;
    if (count > UINT32_MAX || capacity > UINT32_MAX) return granary_stream_damaged;
    z->next_in = (Bytef *)bytes;
    z->avail_in = (uInt)count;
    z->next_out = room;
    z->avail_out = (uInt)capacity;
    int result = stream->deflates ? deflate(z, flush) : inflate(z, flush);
    *used = count - z->avail_in;
    *made = capacity - z->avail_out;
    switch (result) {
    case Z_STREAM_END: return granary_stream_ended;
    case Z_OK:
    // Nothing to take, or no room: no harm done.
    case Z_BUF_ERROR: return granary_stream_open;
    default: return granary_stream_damaged;
    }
}

int granary_deflate_step(
    granary_stream *stream, const uint8_t *bytes, size_t count, size_t *used, uint8_t *room, size_t capacity, size_t *made, int is_last) {
    return step(stream, bytes, count, used, room, capacity, made, is_last ? Z_FINISH : Z_NO_FLUSH);
}

int granary_inflate_step(
    granary_stream *stream, const uint8_t *bytes, size_t count, size_t *used, uint8_t *room, size_t capacity, size_t *made) {
    return step(stream, bytes, count, used, room, capacity, made, Z_NO_FLUSH);
}
