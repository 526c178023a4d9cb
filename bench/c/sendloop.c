/* The floor of fan-out: a loop of send() over all connections, and nothing else.
 *
 * `sendloop` takes a free port and says which; takes WebSocket connections; and for every byte that comes on stdin
 * sends the next notification to all of them. Each send goes into the kernel's buffer or the run has failed: the one
 * who writes to stdin waits until the last notification has come everywhere.
 */
#include "common.h"

static int *members;
static size_t count, room;

static void add(int fd) {
    if (count == room) {
        room = room ? 2 * room : 1024;
        members = realloc(members, room * sizeof *members);
        if (!members) fail("out of memory");
    }
    members[count++] = fd;
}

static void publish(void) {
    static uint32_t number;
    unsigned char frame[MAX_HEAD + FAN_OUT_BYTES];
    size_t head = put_head(frame, 0x81, FAN_OUT_BYTES, NULL);
    put_hex(frame + head, ++number, 8);
    put_filler(frame + head + 8, FAN_OUT_BYTES - 8);
    ssize_t size = (ssize_t)head + FAN_OUT_BYTES;
    for (size_t i = 0; i < count; i++)
        if (send(members[i], frame, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) != size)
            fail("a receiver does not read: %s", strerror(errno));
}

/* A connection's only message to us is its request, and that comes in one piece. */
static void greet(int epoll, int fd) {
    char request[4096];
    ssize_t got = read(fd, request, sizeof request - 1);
    epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
    if (got > 0) request[got] = 0;
    if (got > 0 && strstr(request, "\r\n\r\n") && answer_handshake(fd, request) == 0)
        add(fd);
    else
        close(fd);
}

int main(void) {
    raise_descriptor_limit();
    int epoll = epoll_create1(0), listener = listen_on_loopback();
    watch(epoll, listener, EPOLLIN, (void *)(intptr_t)listener);
    watch(epoll, STDIN_FILENO, EPOLLIN, (void *)(intptr_t)STDIN_FILENO);
    struct epoll_event events[256];
    for (;;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = (int)(intptr_t)events[i].data.ptr;
            if (fd == STDIN_FILENO) {
                char bytes[16];
                ssize_t got = read(fd, bytes, sizeof bytes);
                if (got <= 0) return 0;
                while (got--) publish();
            } else if (fd == listener) {
                int accepted;
                while ((accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    set_nodelay(accepted);
                    watch(epoll, accepted, EPOLLIN, (void *)(intptr_t)accepted);
                }
            } else {
                greet(epoll, fd);
            }
        }
    }
}
