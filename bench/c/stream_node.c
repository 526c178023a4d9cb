/* The node with a plain stream where libzmq is: node.c itself, and as much of libzmq's interface as it uses, over one TCP
 * or unix socket. Each message is a length in four bytes, little-endian, and so many bytes; the proxy's end is
 * stream_link.py. It has no thread of its own, and a write waits until the kernel has taken it.
 */
#include "node.c"
#include <sys/un.h>

struct message { /* what is in a zmq_msg_t here */
    unsigned char *data;
    size_t size;
};

static int stream = -1;
static struct writer outgoing;  /* one message */
static unsigned char *unread; /* what was read and not taken yet */
static size_t unread_size, unread_room;

void *zmq_ctx_new(void) { return &stream; }
void *zmq_socket(void *context, int type) { return type == ZMQ_DEALER ? context : NULL; }
const char *zmq_strerror(int number) { return strerror(number); }

int zmq_setsockopt(void *socket, int option, const void *value, size_t size) {
    (void)socket, (void)option, (void)value, (void)size;
    return 0;
}

int zmq_connect(void *unused, const char *endpoint) {
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in host = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    unsigned short port;
    (void)unused;
    if (sscanf(endpoint, "ipc://%107s", path.sun_path) == 1) {
        stream = socket(AF_UNIX, SOCK_STREAM, 0);
        return connect(stream, (struct sockaddr *)&path, sizeof path);
    }
    if (sscanf(endpoint, "tcp://127.0.0.1:%hu", &port) != 1) return errno = EINVAL, -1;
    host.sin_port = htons(port);
    stream = socket(AF_INET, SOCK_STREAM, 0);
    set_nodelay(stream);
    return connect(stream, (struct sockaddr *)&host, sizeof host);
}

int zmq_send(void *unused, const void *data, size_t size, int flags) {
    uint32_t length = (uint32_t)size;
    (void)unused, (void)flags;
    outgoing.size = 0;
    memcpy(reserve(&outgoing, sizeof length), &length, sizeof length);
    memcpy(reserve(&outgoing, size), data, size);
    return send_all(stream, outgoing.data, outgoing.size) ? (int)size : -1;
}

int zmq_msg_init(zmq_msg_t *message) { return memset(message, 0, sizeof *message), 0; }
void *zmq_msg_data(zmq_msg_t *message) { return ((struct message *)message)->data; }
size_t zmq_msg_size(const zmq_msg_t *message) { return ((const struct message *)message)->size; }

int zmq_msg_close(zmq_msg_t *message) {
    free(((struct message *)message)->data);
    return zmq_msg_init(message);
}

/* Move the first message out of what was read. False: it is not all there. */
static bool take_message(struct message *message) {
    uint32_t size;
    if (unread_size < sizeof size) return false;
    memcpy(&size, unread, sizeof size);
    size_t whole = sizeof size + size;
    if (unread_size < whole) return false;
    free(message->data);
    *message = (struct message){allocate(1, (size_t)size + 1), size};
    memcpy(message->data, unread + sizeof size, size);
    memmove(unread, unread + whole, unread_size -= whole);
    return true;
}

int zmq_msg_recv(zmq_msg_t *message, void *unused, int flags) {
    struct message *taken = (struct message *)message;
    (void)unused, (void)flags;
    if (!take_message(taken)) {
        if (unread_room < unread_size + 65536) {
            unread = realloc(unread, unread_room = 2 * unread_size + 65536);
            if (!unread) fail("out of memory");
        }
        ssize_t got = recv(stream, unread + unread_size, unread_room - unread_size, MSG_DONTWAIT);
        if (!got) fail("the proxy has closed the stream");
        if (got > 0) unread_size += (size_t)got;
        if (!take_message(taken)) return errno = EAGAIN, -1;
    }
    return (int)taken->size;
}

int zmq_poll(zmq_pollitem_t *items, int count, long timeout) {
    struct pollfd polled[2] = {{stream, POLLIN, 0}, {count == 2 ? items[1].fd : -1, POLLIN, 0}};
    int ready = poll(polled, 2, (int)timeout);
    for (int i = 0; i < count; i++) items[i].revents = polled[i].revents ? ZMQ_POLLIN : 0;
    return ready;
}
