/* An HTTP backend, as cheap as epoll allows: what nginx and HAProxy proxy requests to. It has the items of http.h.
 *
 * Pushpin's too: a client's WebSocket messages come as events in the body of a POST, and the same events are the answer.
 *
 * `items` takes a free port and says which. Connections are kept, one request at a time on each. Knows only what
 * `http_load` asks, and no limits: it is a tool, not a server.
 */
#include "http.h"

#define MAX_REQUEST_HEAD 4096
#define EVENTS "application/websocket-events"
#define ROOM (MAX_REQUEST_HEAD + MAX_MESSAGE)

struct connection {
    int fd;
    unsigned char *rest; /* an unfinished request */
    size_t rest_size;
};

static unsigned char input[ROOM + 1], output[ROOM];

static void end(struct connection *connection) {
    close(connection->fd);
    free(connection->rest);
    free(connection);
}

/* Answer the request in `input`. False: it is not all there. */
static bool answer(int fd, size_t size) {
    static const char form[] = "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nCache-Control: no-store\r\n"
                               "Content-Length: %zu\r\n\r\n";
    const char *text = (const char *)input, *head_end = memmem(text, size, "\r\n\r\n", 4);
    if (!head_end) return false;
    size_t head = (size_t)(head_end - text) + 4, bytes = 0;
    const unsigned char *body = input + head;
    const char *type = "application/json";
    if (!memcmp(text, "POST ", 5)) {
        const char *length = strcasestr(text, "\r\nContent-Length:");
        if (!length || length > head_end) fail("a body without a length: %.500s", text);
        bytes = strtoull(length + 17, NULL, 10);
        if (size < head + bytes) return false;
        if (memmem(text, head, "Content-Type: " EVENTS, sizeof "Content-Type: " EVENTS - 1)) type = EVENTS;
    } else if (memcmp(text, "GET ", 4) || !(body = find_item(text + 4, strcspn(text + 4, " "), &bytes))) {
        fail("not a request of ours: %.500s", text);
    }
    size_t begin = (size_t)sprintf((char *)output, form, type, bytes);
    memcpy(output + begin, body, bytes);
    return send_all(fd, output, begin + bytes);
}

/* False: the connection is over. */
static bool take(struct connection *connection) {
    size_t size = connection->rest_size;
    if (size) memcpy(input, connection->rest, size);
    ssize_t got = read(connection->fd, input + size, ROOM - size);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    size += (size_t)got;
    input[size] = 0;
    bool is_answered = answer(connection->fd, size);
    free(connection->rest);
    connection->rest = NULL;
    connection->rest_size = is_answered ? 0 : size;
    if (!is_answered) {
        connection->rest = allocate(1, size);
        memcpy(connection->rest, input, size);
    }
    return true;
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
