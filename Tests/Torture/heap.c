// Preloaded into the server under test: an allocator that notices what should not be touched. What is not small lies at the end of pages of its own,
// with a page behind it that nobody may touch, and nobody may touch it, ever again, once it is freed; the few bytes up to the page's end are looked at then.
// So an access past the end or after the free ends the process at once, in the function that made it. For glibc.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

// Smaller ones come and go by the million: they stay with glibc.
enum { GUARDED_MIN = 256, PAGE = 4096, MARK = 0xA5 };
// Addresses are never given twice. What is kept of each page: how large the allocation is that begins in it; its bit 63 says that it is freed.
static const uint64_t SPAN = 1ull << 43, FREED = 1ull << 63;
static uint8_t *base;
static uint64_t *sizes;
static _Atomic uint64_t next;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static size_t (*real_usable_size)(void *);

static void fail(const char *what) {
    ssize_t written = write(2, what, strlen(what));
    (void)written;
    abort();
}

static void reserve(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    base = mmap(NULL, SPAN, PROT_NONE, flags, -1, 0);
    sizes = mmap(NULL, SPAN / PAGE * sizeof *sizes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (base == MAP_FAILED || sizes == MAP_FAILED) fail("heap.c: no room to guard anything\n");
}

__attribute__((constructor)) static void begin(void) { real_usable_size = (size_t(*)(void *))dlsym(RTLD_NEXT, "malloc_usable_size"); }

static int is_guarded(const void *p) { return base && (const uint8_t *)p >= base && (const uint8_t *)p < base + SPAN; }
static uint64_t *size_of(void *p) { return &sizes[(size_t)((uint8_t *)p - base) / PAGE]; }
static size_t pages(size_t count) { return (count + PAGE - 1) / PAGE * PAGE; }

// NULL where the system has no more mappings for us: glibc takes over.
static void *guarded(size_t count, size_t alignment) {
    if (count < GUARDED_MIN || alignment > PAGE || count > SPAN / 16) return NULL;
    pthread_once(&once, reserve);
    uint64_t offset = atomic_fetch_add(&next, pages(count) + PAGE);
    if (offset + pages(count) + PAGE > SPAN) return NULL;
    uint8_t *start = base + offset, *end = start + pages(count);
    if (mprotect(start, pages(count), PROT_READ | PROT_WRITE) != 0) return NULL;
    uint8_t *p = (uint8_t *)((uintptr_t)(end - count) & ~(uintptr_t)((alignment < 16 ? 16 : alignment) - 1));
    memset(p + count, MARK, (size_t)(end - p) - count);
    *size_of(p) = count;
    return p;
}

static size_t checked_size(void *p) {
    uint64_t size = *size_of(p);
    if (size == 0 || size & FREED) fail("heap.c: freed twice, or never allocated\n");
    return size;
}

void *malloc(size_t count) {
    void *p = guarded(count, 16);
    return p ? p : __libc_malloc(count);
}

void *calloc(size_t number, size_t size) {
    size_t count;
    void *p = __builtin_mul_overflow(number, size, &count) ? NULL : guarded(count, 16);
    return p ? p : __libc_calloc(number, size);
}

void free(void *p) {
    if (!is_guarded(p)) return __libc_free(p);
    int error = errno;
    size_t count = checked_size(p);
    uint8_t *start = (uint8_t *)((uintptr_t)p & ~(uintptr_t)(PAGE - 1)), *end = start + pages(count);
    for (uint8_t *at = (uint8_t *)p + count; at < end; at++)
        if (*at != MARK) fail("heap.c: written behind the end\n");
    *size_of(p) |= FREED;
    mmap(start, pages(count), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    errno = error;
}

size_t malloc_usable_size(void *p) { return is_guarded(p) ? checked_size(p) : real_usable_size ? real_usable_size(p) : 0; }

void *realloc(void *p, size_t count) {
    if (p == NULL) return malloc(count);
    if (!is_guarded(p) && (count < GUARDED_MIN || !real_usable_size)) return __libc_realloc(p, count);
    if (count == 0) {
        free(p);
        return NULL;
    }
    size_t before = malloc_usable_size(p);
    void *moved = malloc(count);
    if (moved == NULL) return NULL;
    memcpy(moved, p, before < count ? before : count);
    free(p);
    return moved;
}

void *reallocarray(void *p, size_t number, size_t size) {
    size_t count;
    if (!__builtin_mul_overflow(number, size, &count)) return realloc(p, count);
    errno = ENOMEM;
    return NULL;
}

void *memalign(size_t alignment, size_t count) {
    void *p = guarded(count, alignment);
    return p ? p : __libc_memalign(alignment, count);
}

void *aligned_alloc(size_t alignment, size_t count) { return memalign(alignment, count); }

int posix_memalign(void **result, size_t alignment, size_t count) {
    void *p = memalign(alignment, count);
    if (p == NULL) return ENOMEM;
    *result = p;
    return 0;
}
