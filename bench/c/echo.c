/* A WebSocket echo, as cheap as epoll allows: what nginx and HAProxy proxy to. `echo` takes a free port and says which.
 *
 * Replies to what one read gave leave in one write. Knows only the nonce that `load` sends, no fragments and no limits:
 * it is a tool, not a server.
 */
#include "common.h"

struct connection {
    int fd;
    bool is_open;        /* the handshake is over */
    unsigned char *rest; /* an unfinished frame or request */
    size_t rest_size;
};

#define READ_BYTES (256u << 10)
static unsigned char input[MAX_MESSAGE + MAX_HEAD + READ_BYTES], output[2 * sizeof input];

static void end(struct connection *connection) {
    close(connection->fd);
    free(connection->rest);
    free(connection);
}

static void keep(struct connection *connection, const unsigned char *data, size_t size) {
    free(connection->rest);
    connection->rest = NULL;
    connection->rest_size = size;
    if (size) {
        connection->rest = allocate(1, size);
        memcpy(connection->rest, data, size);
    }
}

/* False: the connection is over. */
static bool take(struct connection *connection) {
    size_t size = connection->rest_size, at = 0, out = 0;
    if (size) memcpy(input, connection->rest, size);
    ssize_t got = read(connection->fd, input + size, READ_BYTES);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    size += (size_t)got;
    if (!connection->is_open) {
        input[size] = 0;
        char *request_end = strstr((char *)input, "\r\n\r\n");
        if (request_end) {
            if (answer_handshake(connection->fd, (char *)input)) return false;
            connection->is_open = true;
            at = (size_t)(request_end + 4 - (char *)input);
        }
    }
    struct frame frame;
    while (connection->is_open && read_frame(input + at, size - at, &frame) && at + frame.head + frame.size <= size) {
        if (frame.first == 0x88 || !frame.mask) return false;
        unsigned char first = frame.first == 0x89 ? 0x8A : frame.first; /* a ping's pong */
        out += put_head(output + out, first, frame.size, NULL);
        apply_mask(output + out, input + at + frame.head, frame.size, frame.mask);
        out += frame.size;
        at += frame.head + frame.size;
    }
    if (at < size || connection->rest) keep(connection, input + at, size - at);
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
