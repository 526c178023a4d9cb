/* A storm of clients: WebSocket connections to one port, all asked for at the same moment.
 *
 *   storm --port P --connections N
 *
 * Does what it is told on stdin, one line each, printing one line of JSON:
 *
 *   open    asks for N connections at once, and ends when every handshake has been answered as it must be. The times
 *           are from connect() to the answer.
 *   close   closes them all.
 *
 * The kernel repeats a SYN that finds the listener's queue full, after 1 s, 3 s, 7 s; so does this.
 */
#include "times.h"
#include <getopt.h>

#define PATIENCE 15000 /* ms without anything: longer than the kernel waits for a third SYN */

struct connection {
    int fd;
    uint32_t number;
    uint64_t asked_at;
    size_t size;
    char answer[512]; /* what has come of it */
};

static unsigned port, connections;
static struct connection *all;
static int epoll;
static unsigned answered;
static const char request[] = UPGRADE("/");

static void start(struct connection *connection) {
    int fd = connection->fd = stream_socket(SOCK_NONBLOCK);
    connection->asked_at = now_ns();
    connection->size = 0;
    connect_to(fd, port);
    watch(epoll, fd, EPOLLOUT, connection);
}

static void ask(struct connection *connection) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (write(connection->fd, request, sizeof request - 1) != sizeof request - 1)
        fail("connection %u: %s", connection->number, strerror(errno));
    epoll_ctl(epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

static void take(struct connection *connection) {
    char *answer = connection->answer;
    ssize_t got = read(connection->fd, answer + connection->size, sizeof connection->answer - 1 - connection->size);
    if (got <= 0) fail("connection %u was closed: %s", connection->number, got ? strerror(errno) : "end of file");
    connection->size += (size_t)got;
    answer[connection->size] = 0;
    if (strncmp(answer, "HTTP/1.1 101 ", connection->size < 13 ? connection->size : 13) ||
        connection->size + 1 == sizeof connection->answer)
        fail("connection %u was not upgraded: %s", connection->number, answer);
    if (!strstr(answer, "\r\n\r\n")) return;
    if (!strstr(answer, ACCEPT)) fail("connection %u got another's answer: %s", connection->number, answer);
    count_time(now_ns() - connection->asked_at);
    answered++;
}

static void step(void) {
    struct epoll_event events[256];
    int count = epoll_wait(epoll, events, 256, PATIENCE);
    if (!count) fail("nothing came for %d s: %u of %u connected", PATIENCE / 1000, answered, connections);
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) ask(connection);
        else take(connection);
    }
}

static void open_all(void) {
    uint64_t began = now_ns();
    answered = 0;
    for (unsigned i = 0; i < connections; i++) start(&all[i]);
    while (answered < connections) step();
    print_result(connections, now_ns() - began);
}

static void close_all(void) {
    for (unsigned i = 0; i < connections; i++) close(all[i].fd);
    printf("{\"closed\": %u}\n", connections);
    fflush(stdout);
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"port", 1, 0, 'p'}, {"connections", 1, 0, 'c'}, {0, 0, 0, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'p') port = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'c') connections = (unsigned)strtoul(optarg, NULL, 10);
        else exit(2);
    }
    if (!port || !connections) fail("needs --port and --connections");
    if (raise_descriptor_limit() < connections + 16)
        fail("too few descriptors for %u connections: see ulimit -n", connections);
    epoll = epoll_create1(0);
    all = allocate(connections, sizeof *all);
    for (unsigned i = 0; i < connections; i++) all[i].number = i;
    for (char line[64]; fgets(line, sizeof line, stdin);) {
        if (!strcmp(line, "open\n")) open_all();
        else if (!strcmp(line, "close\n")) close_all();
        else fail("not a command here: %s", line);
    }
    return 0;
}
