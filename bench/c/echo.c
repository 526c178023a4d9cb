/* A WebSocket echo, as cheap as epoll allows: what nginx and HAProxy proxy to. `echo` takes a free port and says which.
 *
 * Replies to what one read gave leave in one write. Knows only the nonce that `load` sends, no fragments and no limits:
 * it is a tool, not a server.
 */
#include "common.h"

struct connection {
    int fd;
    bool is_open;        /* the handshake is over */
    unsigned char *rest; /* an unfinished frame or request, and room for what it lacks */
    size_t rest_size, rest_room;
};

#define READ_BYTES (256u << 10)
static unsigned char input[READ_BYTES + 1], output[2 * (MAX_MESSAGE + MAX_HEAD + READ_BYTES)];

static void end(struct connection *connection) {
    close(connection->fd);
    free(connection->rest);
    free(connection);
}

/* Have `size` bytes for the next read to add to. whole: how long what they begin will be, as far as that is known. */
static void keep(struct connection *connection, const unsigned char *data, size_t size, size_t whole) {
    size_t room = (whole > size ? whole : size) + READ_BYTES + 1;
    if (data != connection->rest || room > connection->rest_room) {
        unsigned char *fresh = size ? malloc(room) : NULL;
        if (size && !fresh) fail("out of memory");
        if (size) memcpy(fresh, data, size);
        free(connection->rest);
        connection->rest = fresh;
        connection->rest_room = room;
    }
    connection->rest_size = size;
}

/* False: the connection is over. */
static bool take(struct connection *connection) {
    unsigned char *data = connection->rest ? connection->rest : input;
    size_t size = connection->rest ? connection->rest_size : 0, at = 0, out = 0, whole = 0;
    ssize_t got = read(connection->fd, data + size, READ_BYTES);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    size += (size_t)got;
    if (!connection->is_open) {
        data[size] = 0;
        char *request_end = strstr((char *)data, "\r\n\r\n");
        if (request_end) {
            if (answer_handshake(connection->fd, (char *)data)) return false;
            connection->is_open = true;
            at = (size_t)(request_end + 4 - (char *)data);
        }
    }
    struct frame frame;
    while (connection->is_open && read_frame(data + at, size - at, &frame)) {
        whole = frame.head + frame.size;
        if (at + whole > size) break;
        if (frame.first == 0x88 || !frame.mask) return false;
        unsigned char first = frame.first == 0x89 ? 0x8A : frame.first; /* a ping's pong */
        out += put_head(output + out, first, frame.size, NULL);
        apply_mask(output + out, data + at + frame.head, frame.size, frame.mask);
        out += frame.size;
        at += whole;
        whole = 0;
    }
    if (at < size || connection->rest) keep(connection, data + at, size - at, whole);
    return send_all(connection->fd, output, out);
}

int main(void) {
    raise_descriptor_limit();
    int epoll = epoll_create1(0), listener = listen_on_loopback();
    watch(epoll, listener, EPOLLIN, NULL);
    struct epoll_event events[256];
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection) {
                if (!take(connection)) end(connection);
                continue;
            }
            int fd;
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                set_nodelay(fd);
                connection = allocate(1, sizeof *connection);
                connection->fd = fd;
                watch(epoll, fd, EPOLLIN, connection);
            }
        }
    }
}
