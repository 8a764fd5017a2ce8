// The load of uploads and HEADs: blocking sockets, a thread for each connection, bodies that are all distinct. (wrk builds each body anew in Lua,
// takes the body of an answer to HEAD for late, and sends one request a connection: this one pushes as docker does, POST then PUT.)
//
// load put|push|head PORT CONNECTIONS SECONDS BYTES_MAX SIZE PATH AUTHORIZATION SALT
//     put: PUT PATH/SALT-n; push: POST PATH, then PUT to its Location with the digest; head: HEAD PATH.
//     Requests begin for SECONDS or until BYTES_MAX bytes are promised; the clock stops at the last acknowledgement.
// load sha256 MEBIBYTES
//     What hashing alone costs here: CPU seconds, in pieces of 1 MiB, through the same libcrypto.
//
// A body is the same noise throughout but for its last 32 bytes. Their prefix is hashed before the clock starts, so that a digest costs one block.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { TAIL = 32, BLOCK = 1 << 20 };
static unsigned char block[BLOCK];
static const char *mode, *path, *authorization, *salt;
static int port;
static long size, bytes_max;
static double seconds, began;
static EVP_MD_CTX *prefix;
static atomic_long promised, failures;
static pthread_barrier_t ready;

struct connection {
    pthread_t thread;
    int number, fd, filled;
    long count, room;
    double *took, ended;
    char input[16384], location[4096];
};

static double now(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void open_connection(struct connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->filled = 0;
}

static int send_all(int fd, struct iovec *parts, int count) {
    while (count > 0) {
        ssize_t sent = writev(fd, parts, count);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return -1;
        for (; count > 0 && (size_t)sent >= parts->iov_len; parts++, count--) sent -= parts->iov_len;
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + sent;
            parts->iov_len -= sent;
        }
    }
    return 0;
}

// The head, then SIZE - TAIL bytes of the block over and over, then the tail.
static int send_upload(int fd, char *head, int head_length, char *tail) {
    struct iovec parts[3] = {{head, head_length}};
    long left = size - TAIL;
    for (int first = 1;; first = 0) {
        long take = left < BLOCK ? left : BLOCK;
        left -= take;
        parts[1] = (struct iovec){block, take};
        parts[2] = (struct iovec){tail, left == 0 ? TAIL : 0};
        if (send_all(fd, first ? parts : parts + 1, first ? 3 : 2) != 0) return -1;
        if (left == 0) return 0;
    }
}

// Status of the answer, whose body is read and dropped; -1 when the connection ended. A Location is kept, as a path.
static int answer(struct connection *c, int has_body) {
    char *end;
    while (c->input[c->filled] = 0, (end = strstr(c->input, "\r\n\r\n")) == NULL) {
        ssize_t got = c->filled < (int)sizeof c->input - 1 ? read(c->fd, c->input + c->filled, sizeof c->input - 1 - c->filled) : 0;
        if (got <= 0) return -1;
        c->filled += got;
    }
    int status = atoi(c->input + 9);
    char *field = strcasestr(c->input, "\r\ncontent-length:");
    long body = has_body && field && field < end ? atol(field + 17) : 0;
    c->location[0] = 0;
    field = strcasestr(c->input, "\r\nlocation:");
    if (field && field < end) {
        field += strspn(field + 11, " ") + 11;
        if (strncmp(field, "http://", 7) == 0) field += 7 + strcspn(field + 7, "/");
        snprintf(c->location, sizeof c->location, "%.*s", (int)strcspn(field, "\r"), field);
    }
    long beyond = c->filled - (end + 4 - c->input);
    while (beyond < body) {
        ssize_t got = read(c->fd, c->input, sizeof c->input - 1 < (size_t)(body - beyond) ? sizeof c->input - 1 : (size_t)(body - beyond));
        if (got <= 0) return -1;
        beyond += got;
    }
    c->filled = 0;
    return status;
}

static void digest_of(const char *tail, char *text) {
    unsigned char sum[32];
    EVP_MD_CTX *whole = EVP_MD_CTX_new();
    EVP_MD_CTX_copy_ex(whole, prefix);
    EVP_DigestUpdate(whole, tail, TAIL);
    EVP_DigestFinal_ex(whole, sum, NULL);
    EVP_MD_CTX_free(whole);
    for (int i = 0; i < 32; i++) sprintf(text + 2 * i, "%02x", sum[i]);
}

static int request(struct connection *c) {
    char head[8192], tail[TAIL + 1], name[TAIL + 1], digest[65];
    int length;
    if (mode[0] == 'h') {
        length = snprintf(head, sizeof head, "HEAD %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, authorization);
        return send_all(c->fd, &(struct iovec){head, length}, 1) == 0 ? answer(c, 0) : -1;
    }
    snprintf(name, sizeof name, "%s-%d-%ld", salt, c->number, c->count);
    snprintf(tail, sizeof tail, "%32s", name);
    if (strcmp(mode, "put") == 0) {
        length = snprintf(head, sizeof head, "PUT %s/%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %ld\r\n\r\n", path, name, authorization, size);
    } else {
        length = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: 0\r\n\r\n", path, authorization);
        if (send_all(c->fd, &(struct iovec){head, length}, 1) != 0) return -1;
        int status = answer(c, 1);
        if (status != 202 || c->location[0] == 0) return status;
        digest_of(tail, digest);
        length = snprintf(head, sizeof head, "PUT %s%cdigest=sha256:%s HTTP/1.1\r\nHost: x\r\n%sContent-Type: application/octet-stream\r\n"
                          "Content-Length: %ld\r\n\r\n", c->location, strchr(c->location, '?') ? '&' : '?', digest, authorization, size);
    }
    return send_upload(c->fd, head, length, tail) == 0 ? answer(c, 1) : -1;
}

static void *work(void *argument) {
    struct connection *c = argument;
    open_connection(c);
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&ready);
    while (now(CLOCK_MONOTONIC) < began + seconds && atomic_fetch_add(&promised, size) < bytes_max) {
        double from = now(CLOCK_MONOTONIC);
        int status = request(c);
        c->ended = now(CLOCK_MONOTONIC);
        if (status != 200 && status != 201 && status != 204) {
            if (atomic_fetch_add(&failures, 1) == 0) fprintf(stderr, "status %d: %.300s\n", status, c->input);
            close(c->fd);
            open_connection(c);
            continue;
        }
        if (c->count == c->room) c->took = realloc(c->took, (c->room = c->room * 2 + 64) * sizeof *c->took);
        c->took[c->count++] = c->ended - from;
    }
    return NULL;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void hash_alone(long mebibytes) {
    unsigned char sum[32];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    double from = now(CLOCK_PROCESS_CPUTIME_ID);
    EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    for (long i = 0; i < mebibytes; i++) EVP_DigestUpdate(context, block, BLOCK);
    EVP_DigestFinal_ex(context, sum, NULL);
    printf("{\"cpu\": %.6f, \"first\": %d}\n", now(CLOCK_PROCESS_CPUTIME_ID) - from, sum[0]);
}

int main(int count, char **words) {
    unsigned long noise = 88172645463325252ul;
    for (long i = 0; i < BLOCK; i += 8) {
        noise ^= noise << 13, noise ^= noise >> 7, noise ^= noise << 17;
        memcpy(block + i, &noise, 8);
    }
    if (count == 3 && strcmp(words[1], "sha256") == 0) return hash_alone(atol(words[2])), 0;
    if (count != 10) return fprintf(stderr, "see the head of load.c\n"), 2;
    mode = words[1], port = atoi(words[2]), seconds = atof(words[4]), bytes_max = atol(words[5]), size = atol(words[6]);
    path = words[7], authorization = words[8], salt = words[9];
    int connections = atoi(words[3]);
    char *field = NULL;
    if (*authorization && asprintf(&field, "Authorization: %s\r\n", authorization) > 0) authorization = field;
    if (size < TAIL) size = TAIL;
    prefix = EVP_MD_CTX_new();
    EVP_DigestInit_ex(prefix, EVP_sha256(), NULL);
    for (long left = size - TAIL; left > 0; left -= BLOCK) EVP_DigestUpdate(prefix, block, left < BLOCK ? left : BLOCK);

    struct connection *all = calloc(connections, sizeof *all);
    pthread_barrier_init(&ready, NULL, connections + 1);
    for (int i = 0; i < connections; i++) {
        all[i].number = i;
        if (pthread_create(&all[i].thread, NULL, work, &all[i]) != 0) die("thread");
    }
    pthread_barrier_wait(&ready);
    began = now(CLOCK_MONOTONIC);
    pthread_barrier_wait(&ready);
    long total = 0;
    double ended = began, *took = NULL;
    for (int i = 0; i < connections; i++) {
        pthread_join(all[i].thread, NULL);
        took = realloc(took, (total + all[i].count + 1) * sizeof *took);
        if (all[i].count) memcpy(took + total, all[i].took, all[i].count * sizeof *took);
        total += all[i].count;
        if (all[i].ended > ended) ended = all[i].ended;
    }
    qsort(took, total, sizeof *took, by_value);
    printf("{\"requests\": %ld, \"errors\": %ld, \"seconds\": %.6f, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n", total, atomic_load(&failures),
           ended - began, total ? took[total / 2] * 1e3 : 0, total ? took[total * 99 / 100] * 1e3 : 0);
    return 0;
}
