/* What the programs of the benchmark share: failing, the clock, sockets, WebSocket frames, the messages that are sent.
 *
 * Every program prints JSON objects, one per line, to stdout, and ends with status 1 after {"error": ...} when anything
 * is not as it must be.
 */
#ifndef COMMON_H
#define COMMON_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_MESSAGE (4u << 20)
#define MAX_HEAD 14

/* The nonce of RFC 6455 section 1.3, the only one that is used here, so that nobody needs SHA-1. */
#define NONCE "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
/* What opens a WebSocket. path: text in quotes. */
#define UPGRADE(path) \
    "GET " path " HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Key: " NONCE "\r\nSec-WebSocket-Version: 13\r\n\r\n"
static const unsigned char MASK[4] = {0x5A, 0xC3, 0x1E, 0x87}; /* of every client's frames */

/* Notifications: eight hex digits that count from 1, then filler. The publisher and every receiver make the same. */
#define FAN_OUT_BYTES 128

/* How the messages of `steady` begin. A node replaces the digit that follows by the attempt's. */
#define ATTEMPT "{\"attempt\":"

__attribute__((noreturn, format(printf, 1, 2))) static inline void fail(const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 32) *c = '\'';
    printf("{\"error\": \"%s\"}\n", text);
    fflush(stdout);
    exit(1);
}

static inline void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) fail("out of memory");
    return memory;
}

static inline uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Have as many descriptors as we may. Returns how many. */
static inline rlim_t raise_descriptor_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

static inline void watch(int epoll, int fd, uint32_t events, void *owner) {
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl: %s", strerror(errno));
}

static inline void set_nodelay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static inline struct sockaddr_in loopback(unsigned port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
}

static inline int stream_socket(int flags) {
    int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
    if (fd < 0) fail("socket: %s", strerror(errno));
    return fd;
}

/* Returns at once if the socket does not block. */
static inline void connect_to(int fd, unsigned port) {
    struct sockaddr_in address = loopback(port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
}

/* A connection, which blocks. */
static inline int dial(unsigned port) {
    int fd = stream_socket(0);
    connect_to(fd, port);
    set_nodelay(fd);
    return fd;
}

/* A non-blocking listener on a free port of 127.0.0.1. Says which: {"port": 12345}. */
static inline int listen_on_loopback(void) {
    int fd = stream_socket(SOCK_NONBLOCK);
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, size) || listen(fd, 4096)) fail("listen: %s", strerror(errno));
    getsockname(fd, (struct sockaddr *)&address, &size);
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

/* A server's side of the opening handshake, when all of the request is there; then -1 for what is not ours. */
static inline int answer_handshake(int fd, const char *request) {
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n";
    if (!strstr(request, NONCE)) return -1;
    return write(fd, answer, sizeof answer - 1) == sizeof answer - 1 ? 0 : -1;
}

/* One frame's header. head is how long it is, size its payload's; mask is NULL when it is not masked. */
struct frame {
    unsigned char first;
    size_t head;
    uint64_t size;
    const unsigned char *mask;
};

/* Read the header of the frame that begins at data. False: it is not all there yet. */
static inline bool read_frame(const unsigned char *data, size_t size, struct frame *frame) {
    if (size < 2) return false;
    bool masked = data[1] & 0x80;
    unsigned length = data[1] & 0x7F;
    size_t head = 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + (masked ? 4 : 0);
    if (size < head) return false;
    uint64_t payload = length;
    if (length >= 126) {
        payload = 0;
        for (int i = 0; i < (length == 126 ? 2 : 8); i++) payload = payload << 8 | data[2 + i];
    }
    if (payload > MAX_MESSAGE) fail("a frame of %llu bytes came", (unsigned long long)payload);
    *frame = (struct frame){data[0], head, payload, masked ? data + head - 4 : NULL};
    return true;
}

/* Write a header. Returns its length. */
static inline size_t put_head(unsigned char *out, unsigned char first, size_t size, const unsigned char *mask) {
    unsigned char masked = mask ? 0x80 : 0;
    size_t at = 2;
    out[0] = first;
    if (size < 126) {
        out[1] = masked | (unsigned char)size;
    } else {
        int bytes = size < 65536 ? 2 : 8;
        out[1] = masked | (bytes == 2 ? 126 : 127);
        for (int i = bytes - 1; i >= 0; i--) out[at++] = (unsigned char)((uint64_t)size >> (8 * i));
    }
    if (mask) {
        memcpy(out + at, mask, 4);
        at += 4;
    }
    return at;
}

static inline void apply_mask(unsigned char *out, const unsigned char *data, size_t size, const unsigned char *mask) {
    uint64_t wide, part;
    uint32_t narrow;
    memcpy(&narrow, mask, 4);
    wide = (uint64_t)narrow << 32 | narrow;
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        memcpy(&part, data + at, 8);
        part ^= wide;
        memcpy(out + at, &part, 8);
    }
    for (; at < size; at++) out[at] = data[at] ^ mask[at & 3];
}

/* Write all, and wait where the kernel takes only a part: large messages only. False: the connection is over. */
static inline bool send_all(int fd, const unsigned char *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            if (errno != EAGAIN || poll(&writable, 1, 10000) != 1) return false;
            continue;
        }
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

static inline void put_hex(unsigned char *out, uint32_t number, int digits) {
    for (int i = digits - 1; i >= 0; i--, number >>= 4) out[i] = (unsigned char)"0123456789abcdef"[number & 15];
}

/* Returns -1 if it is none. */
static inline int64_t read_hex(const unsigned char *data, int digits) {
    int64_t number = 0;
    for (int i = 0; i < digits; i++) {
        unsigned char c = data[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return -1;
        number = number << 4 | digit;
    }
    return number;
}

static inline void put_filler(unsigned char *out, size_t size) {
    for (size_t i = 0; i < size; i++) out[i] = (unsigned char)('a' + i % 26);
}

#endif
