// Preloaded into the server under test: counts the calls that change files below one folder, and at the n-th does what it was told.
//
// SHIM_CONTROL names a file of one page, mapped by the server and by the script that tortures it, so that the script arms it at the moment it
// wants to count from; SHIM_ROOT is the folder. Until it is armed, every call goes straight on. Calls by glibc itself (stdio), by `syscall`
// and by io_uring would escape; `scripts/torture calls` compares its count with strace's to see that none does.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// The page, read and written by shim.py: the order of its fields is theirs together.
enum action { COUNT, KILL_BEFORE, KILL_AFTER, KILL_TORN, FAIL, SHORT };
enum class { WRITE = 1, SYNC = 2, NAME = 4, SIZE = 8, OPEN = 16, CLOSE = 32, READ = 64, HINT = 128 };
enum { SEEN_MAX = 2048, SEEN_BYTES = 96 };

struct control {
    _Atomic uint32_t armed;
    uint32_t action;
    uint32_t number;   // errno of FAIL
    uint32_t classes;  // which calls count
    uint64_t first;    // the first call it strikes, from 1
    uint64_t last;     // and the last; UINT64_MAX: from then on
    _Atomic uint64_t count;
    _Atomic uint64_t struck;
    _Atomic int64_t clock_offset_seconds;
    char only[64];   // counts only what has this in its path, if anything
    uint64_t every;  // of those from first to last only every so many-th; 0 and 1: all
    char unused[4096 - 128];
    char seen[SEEN_MAX][SEEN_BYTES];  // "name path" of each call counted
};

static struct control *control;
static char root[PATH_MAX];
static size_t root_bytes;

#define REAL(result, name, ...)                     \
    static result (*real_##name)(__VA_ARGS__);      \
    static result (*get_##name(void))(__VA_ARGS__) { \
        if (!real_##name) real_##name = dlsym(RTLD_NEXT, #name); \
        return real_##name;                         \
    }

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIM_CONTROL"), *folder = getenv("SHIM_ROOT");
    if (!path || !folder || !realpath(folder, root)) return;
    root_bytes = strlen(root);
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int descriptor = real_open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return;
    void *page = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (page != MAP_FAILED) control = page;
}

static int armed(void) { return control && atomic_load(&control->armed); }

static int below(const char *path) {
    return strncmp(path, root, root_bytes) == 0 && (path[root_bytes] == '/' || path[root_bytes] == 0);
}

// The path as the kernel would see it; 0 when it is not below the root.
static int path_at(int folder, const char *path, char *found) {
    if (!path) return 0;
    if (path[0] == '/') {
        snprintf(found, PATH_MAX, "%s", path);
    } else {
        char link[64];
        if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, found, PATH_MAX - 1);
        if (length < 0) return 0;
        snprintf(found + length, PATH_MAX - length, "/%s", path);
    }
    return below(found);
}

static int path_of(int descriptor, char *found) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, found, PATH_MAX - 1);
    if (length < 0) return 0;
    found[length] = 0;
    return below(found);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

// Counts the call; what is to be done with it. `COUNT` when it is to go on as if nothing were.
static enum action strike(enum class kind, const char *name, const char *path) {
    if (!(control->classes & kind) || (control->only[0] && !strstr(path, control->only))) return COUNT;
    uint64_t number = atomic_fetch_add(&control->count, 1) + 1;
    if (number <= SEEN_MAX) snprintf(control->seen[number - 1], SEEN_BYTES, "%s %s", name, path + root_bytes);
    if (number < control->first || number > control->last || control->action == COUNT) return COUNT;
    if (control->every > 1 && (number - control->first) % control->every) return COUNT;
    atomic_fetch_add(&control->struck, 1);
    if (control->action == KILL_BEFORE || (control->action == KILL_TORN && kind != WRITE)) die();
    return control->action;
}

// A call by descriptor, or by path: struck, made (`torn` is how it is made in part), and what follows.
#define PERFORM(kind, name, inside, failure, call, torn)                                 \
    do {                                                                                 \
        int keep = errno;                                                                \
        char path[PATH_MAX * 2];                                                         \
        if (!armed() || !(inside)) {                                                     \
            errno = keep;                                                                \
            return call;                                                                 \
        }                                                                                \
        enum action what = strike(kind, name, path);                                     \
        errno = keep;                                                                    \
        if (what == FAIL) {                                                              \
            errno = (int)control->number;                                                \
            return failure;                                                              \
        }                                                                                \
        if (what == SHORT) return torn;                                                  \
        if (what == KILL_TORN) {                                                         \
            (void)!(torn);                                                               \
            die();                                                                       \
        }                                                                                \
        __typeof__(call) result = call;                                                  \
        if (what == KILL_AFTER) die();                                                   \
        return result;                                                                   \
    } while (0)

static size_t half(size_t count) { return count > 1 ? count / 2 : count; }

REAL(ssize_t, write, int, const void *, size_t)
ssize_t write(int fd, const void *bytes, size_t count) {
    PERFORM(WRITE, "write", path_of(fd, path), -1, get_write()(fd, bytes, count), get_write()(fd, bytes, half(count)));
}
REAL(ssize_t, pwrite, int, const void *, size_t, off_t)
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    PERFORM(WRITE, "pwrite", path_of(fd, path), -1, get_pwrite()(fd, bytes, count, at), get_pwrite()(fd, bytes, half(count), at));
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) { return pwrite(fd, bytes, count, at); }
REAL(ssize_t, writev, int, const struct iovec *, int)
ssize_t writev(int fd, const struct iovec *parts, int count) {
    PERFORM(WRITE, "writev", path_of(fd, path), -1, get_writev()(fd, parts, count), get_write()(fd, parts[0].iov_base, half(parts[0].iov_len)));
}
REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t)
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    PERFORM(WRITE, "pwritev", path_of(fd, path), -1, get_pwritev()(fd, parts, count, at),
            get_pwrite()(fd, parts[0].iov_base, half(parts[0].iov_len), at));
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) { return pwritev(fd, parts, count, at); }
REAL(ssize_t, pwritev2, int, const struct iovec *, int, off_t, int)
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    PERFORM(WRITE, "pwritev2", path_of(fd, path), -1, get_pwritev2()(fd, parts, count, at, flags),
            get_pwrite()(fd, parts[0].iov_base, half(parts[0].iov_len), at));
}
REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned)
ssize_t copy_file_range(int from, off64_t *source, int to, off64_t *target, size_t count, unsigned flags) {
    PERFORM(WRITE, "copy_file_range", path_of(to, path), -1, get_copy_file_range()(from, source, to, target, count, flags),
            get_copy_file_range()(from, source, to, target, half(count), flags));
}

REAL(int, fsync, int)
int fsync(int fd) { PERFORM(SYNC, "fsync", path_of(fd, path), -1, get_fsync()(fd), get_fsync()(fd)); }
REAL(int, fdatasync, int)
int fdatasync(int fd) { PERFORM(SYNC, "fdatasync", path_of(fd, path), -1, get_fdatasync()(fd), get_fdatasync()(fd)); }
REAL(int, sync_file_range, int, off64_t, off64_t, unsigned)
int sync_file_range(int fd, off64_t at, off64_t count, unsigned flags) {
    PERFORM(HINT, "sync_file_range", path_of(fd, path), -1, get_sync_file_range()(fd, at, count, flags),
            get_sync_file_range()(fd, at, count, flags));
}

REAL(int, rename, const char *, const char *)
int rename(const char *from, const char *to) {
    PERFORM(NAME, "rename", path_at(AT_FDCWD, to, path), -1, get_rename()(from, to), get_rename()(from, to));
}
REAL(int, renameat, int, const char *, int, const char *)
int renameat(int a, const char *from, int b, const char *to) {
    PERFORM(NAME, "renameat", path_at(b, to, path), -1, get_renameat()(a, from, b, to), get_renameat()(a, from, b, to));
}
REAL(int, renameat2, int, const char *, int, const char *, unsigned)
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    PERFORM(NAME, "renameat2", path_at(b, to, path), -1, get_renameat2()(a, from, b, to, flags), get_renameat2()(a, from, b, to, flags));
}
REAL(int, link, const char *, const char *)
int link(const char *from, const char *to) {
    PERFORM(NAME, "link", path_at(AT_FDCWD, to, path), -1, get_link()(from, to), get_link()(from, to));
}
REAL(int, linkat, int, const char *, int, const char *, int)
int linkat(int a, const char *from, int b, const char *to, int flags) {
    PERFORM(NAME, "linkat", path_at(b, to, path), -1, get_linkat()(a, from, b, to, flags), get_linkat()(a, from, b, to, flags));
}
REAL(int, symlink, const char *, const char *)
int symlink(const char *from, const char *to) {
    PERFORM(NAME, "symlink", path_at(AT_FDCWD, to, path), -1, get_symlink()(from, to), get_symlink()(from, to));
}
REAL(int, unlink, const char *)
int unlink(const char *name) { PERFORM(NAME, "unlink", path_at(AT_FDCWD, name, path), -1, get_unlink()(name), get_unlink()(name)); }
REAL(int, unlinkat, int, const char *, int)
int unlinkat(int a, const char *name, int flags) {
    PERFORM(NAME, "unlinkat", path_at(a, name, path), -1, get_unlinkat()(a, name, flags), get_unlinkat()(a, name, flags));
}
REAL(int, remove, const char *)
int remove(const char *name) { PERFORM(NAME, "remove", path_at(AT_FDCWD, name, path), -1, get_remove()(name), get_remove()(name)); }
REAL(int, mkdir, const char *, mode_t)
int mkdir(const char *name, mode_t mode) {
    PERFORM(NAME, "mkdir", path_at(AT_FDCWD, name, path), -1, get_mkdir()(name, mode), get_mkdir()(name, mode));
}
REAL(int, mkdirat, int, const char *, mode_t)
int mkdirat(int a, const char *name, mode_t mode) {
    PERFORM(NAME, "mkdirat", path_at(a, name, path), -1, get_mkdirat()(a, name, mode), get_mkdirat()(a, name, mode));
}
REAL(int, rmdir, const char *)
int rmdir(const char *name) { PERFORM(NAME, "rmdir", path_at(AT_FDCWD, name, path), -1, get_rmdir()(name), get_rmdir()(name)); }

REAL(int, ftruncate, int, off_t)
int ftruncate(int fd, off_t length) { PERFORM(SIZE, "ftruncate", path_of(fd, path), -1, get_ftruncate()(fd, length), get_ftruncate()(fd, length)); }
int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }
REAL(int, truncate, const char *, off_t)
int truncate(const char *name, off_t length) {
    PERFORM(SIZE, "truncate", path_at(AT_FDCWD, name, path), -1, get_truncate()(name, length), get_truncate()(name, length));
}
REAL(int, fallocate, int, int, off_t, off_t)
int fallocate(int fd, int mode, off_t at, off_t count) {
    PERFORM(SIZE, "fallocate", path_of(fd, path), -1, get_fallocate()(fd, mode, at, count), get_fallocate()(fd, mode, at, count));
}
int fallocate64(int fd, int mode, off_t at, off_t count) { return fallocate(fd, mode, at, count); }
REAL(int, posix_fallocate, int, off_t, off_t)
int posix_fallocate(int fd, off_t at, off_t count) {  // gives the error number
    PERFORM(SIZE, "posix_fallocate", path_of(fd, path), (int)control->number, get_posix_fallocate()(fd, at, count),
            get_posix_fallocate()(fd, at, count));
}
REAL(int, futimens, int, const struct timespec *)
int futimens(int fd, const struct timespec times[2]) {
    PERFORM(SIZE, "futimens", path_of(fd, path), -1, get_futimens()(fd, times), get_futimens()(fd, times));
}

static enum class open_kind(int flags) {
    return flags & (O_CREAT | O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE ? OPEN : READ;
}
REAL(int, openat, int, const char *, int, ...)
static int opened(int folder, const char *name, int flags, mode_t mode) {
    PERFORM(open_kind(flags), open_kind(flags) == OPEN ? "open to create" : "open", path_at(folder, name, path), -1,
            get_openat()(folder, name, flags, mode), get_openat()(folder, name, flags, mode));
}
#define MODE(mode, flags)        \
    va_list rest;                \
    va_start(rest, flags);       \
    mode_t mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0; \
    va_end(rest);
int open(const char *name, int flags, ...) { MODE(mode, flags) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(mode, flags) return opened(AT_FDCWD, name, flags, mode); }
int openat(int folder, const char *name, int flags, ...) { MODE(mode, flags) return opened(folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { MODE(mode, flags) return opened(folder, name, flags, mode); }
int creat(const char *name, mode_t mode) { return opened(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

// Only of what may have been written. A descriptor is gone even when its close fails.
static int is_written(int fd) {
    int keep = errno, flags = fcntl(fd, F_GETFL);
    errno = keep;
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}
REAL(int, close, int)
int close(int fd) {
    PERFORM(CLOSE, "close", is_written(fd) && path_of(fd, path), (get_close()(fd), errno = (int)control->number, -1), get_close()(fd),
            get_close()(fd));
}

REAL(ssize_t, read, int, void *, size_t)
ssize_t read(int fd, void *bytes, size_t count) {
    PERFORM(READ, "read", path_of(fd, path), -1, get_read()(fd, bytes, count), get_read()(fd, bytes, half(count)));
}
REAL(ssize_t, pread, int, void *, size_t, off_t)
ssize_t pread(int fd, void *bytes, size_t count, off_t at) {
    PERFORM(READ, "pread", path_of(fd, path), -1, get_pread()(fd, bytes, count, at), get_pread()(fd, bytes, half(count), at));
}
ssize_t pread64(int fd, void *bytes, size_t count, off_t at) { return pread(fd, bytes, count, at); }
REAL(ssize_t, preadv2, int, const struct iovec *, int, off_t, int)
ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    PERFORM(READ, "preadv2", path_of(fd, path), -1, get_preadv2()(fd, parts, count, at, flags),
            get_pread()(fd, parts[0].iov_base, half(parts[0].iov_len), at));
}
ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off_t at, int flags) { return preadv2(fd, parts, count, at, flags); }
REAL(ssize_t, sendfile, int, int, off_t *, size_t)
ssize_t sendfile(int to, int from, off_t *at, size_t count) {
    PERFORM(READ, "sendfile", path_of(from, path), -1, get_sendfile()(to, from, at, count), get_sendfile()(to, from, at, half(count)));
}
ssize_t sendfile64(int to, int from, off_t *at, size_t count) { return sendfile(to, from, at, count); }

// The wall clock jumps; the monotonic one does not, as it is on a machine. Who waits until a time of the wall clock waits as long as before.

static int64_t jump(void) { return control ? atomic_load(&control->clock_offset_seconds) : 0; }

REAL(int, clock_gettime, clockid_t, struct timespec *)
int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = get_clock_gettime()(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += jump();
    return result;
}
REAL(int, gettimeofday, struct timeval *, void *)
int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    int result = get_gettimeofday()(time, zone);
    if (result == 0) time->tv_sec += jump();
    return result;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
static struct timespec shifted(const struct timespec *time) {
    struct timespec shifted = *time;
    // The monotonic clock of a machine that has been up for thirty years would look like the wall clock.
    if (shifted.tv_sec > 1000000000) shifted.tv_sec -= jump();
    return shifted;
}
REAL(int, pthread_cond_timedwait, pthread_cond_t *, pthread_mutex_t *, const struct timespec *)
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, const struct timespec *restrict time) {
    struct timespec until = shifted(time);
    return get_pthread_cond_timedwait()(condition, mutex, &until);
}
REAL(int, pthread_cond_clockwait, pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *)
int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *time) {
    struct timespec until = clock == CLOCK_REALTIME ? shifted(time) : *time;
    return get_pthread_cond_clockwait()(condition, mutex, clock, &until);
}
