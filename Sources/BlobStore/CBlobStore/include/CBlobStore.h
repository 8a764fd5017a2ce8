#ifndef GRANARY_CBLOBSTORE_H
#define GRANARY_CBLOBSTORE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// CRC-32C (Castagnoli, as in RFC 3720 appendix B.4) of `count` bytes, continuing `crc`; 0 begins. Uses the processor's instruction when it has one.
uint32_t granary_crc32c(uint32_t crc, const void *bytes, size_t count);

/// The same value, computed from tables: what `granary_crc32c` falls back to.
uint32_t granary_crc32c_tables(uint32_t crc, const void *bytes, size_t count);

/// Reserves disk space. 0, or the error number.
int granary_allocate(int descriptor, int64_t offset, int64_t count);

/// Starts writing dirty pages of the range to disk without waiting for them. A hint: its failure means nothing.
void granary_start_writing(int descriptor, int64_t offset, int64_t count);

/// As pread, but gives -1 (EAGAIN) instead of waiting for a disk.
ssize_t granary_read_cached(int descriptor, void *bytes, size_t count, int64_t offset);

#endif
