// The Linux calls that Swift's Glibc module hides.
#define _GNU_SOURCE
#include "CBlobStore.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

int granary_allocate(int descriptor, int64_t offset, int64_t count) {
#if defined(__linux__)
    while (fallocate(descriptor, 0, offset, count) != 0) {
        if (errno != EINTR) return errno;
    }
    return 0;
#else
    (void)descriptor, (void)offset, (void)count;
    return EOPNOTSUPP;
#endif
}

void granary_start_writing(int descriptor, int64_t offset, int64_t count) {
#if defined(__linux__)
    (void)sync_file_range(descriptor, offset, count, SYNC_FILE_RANGE_WRITE);
#else
    (void)descriptor, (void)offset, (void)count;
#endif
}

ssize_t granary_read_cached(int descriptor, void *bytes, size_t count, int64_t offset) {
#if defined(__linux__)
    struct iovec vector = {bytes, count};
    return preadv2(descriptor, &vector, 1, offset, RWF_NOWAIT);
#else
    errno = EAGAIN;
    (void)descriptor, (void)bytes, (void)count, (void)offset;
    return -1;
#endif
}
