/* The load generator for large messages: WebSocket connections with one message in flight each, every byte checked.
 *
 *   large --port P --connections N --size S [--kind text|ascii|binary]
 *
 * connects N times, prints {"connected": N}, and then does what it is told on stdin, one line each:
 *
 *   echo SECONDS   a message of S bytes on each connection, sent anew when its reply is there, for so long; then waits
 *                  for all that is in flight. Prints one line of JSON. Every reply must be the message, byte for byte.
 *
 * It copies nothing: what is sent is masked beforehand, and what comes is compared as it comes. It never waits for one
 * connection: a proxy that waits for its backend, and that for us, would wait for ever. A message numbers its connection
 * and its turn, as hex digits at fixed places near its beginning. `text` has a letter of two bytes in each line of 64.
 */
#include "times.h"
#include <getopt.h>
#include <signal.h>
#include <sys/uio.h>

#define READ_BYTES (256u << 10)
#define PATIENCE 10000 /* ms without anything: the run has failed */
#define NUMBER_AT 16   /* of the connection, then of the message: eight hex digits each */
#define PART_BYTES 64  /* of a message, from its beginning: the part that differs between messages */

struct connection {
    int fd;
    uint32_t number, sequence;
    bool is_open, waits_for_room;
    size_t unsent, missing; /* bytes of the frame, and of its reply */
    uint64_t sent_at;
    unsigned char part[MAX_HEAD + PART_BYTES]; /* of the frame, masked */
};

static unsigned port, connections = 1;
static size_t size;
static bool is_binary, is_ascii;
static struct connection *all;
static int epoll;
static unsigned opened, in_flight;
static uint64_t stop_at, messages;

static unsigned char frame[MAX_HEAD + MAX_MESSAGE], reply[MAX_HEAD + MAX_MESSAGE], input[READ_BYTES];
static size_t frame_head, reply_head;

static void prepare(void) {
    unsigned char first = is_binary ? 0x82 : 0x81;
    frame_head = put_head(frame, first, size, MASK);
    reply_head = put_head(reply, first, size, NULL);
    unsigned char *message = reply + reply_head;
    put_filler(message, size);
    for (size_t at = PART_BYTES; !is_ascii && at + 64 <= size; at += 64)
        memcpy(message + at, is_binary ? "\xff\xfe" : "\xc3\xa9", 2);
    apply_mask(frame + frame_head, message, size, MASK);
}

static void set_numbers(const struct connection *connection) {
    put_hex(reply + reply_head + NUMBER_AT, connection->number, 8);
    put_hex(reply + reply_head + NUMBER_AT + 8, connection->sequence, 8);
}

static void wait_for_room(struct connection *connection, bool wanted) {
    if (connection->waits_for_room == wanted) return;
    connection->waits_for_room = wanted;
    struct epoll_event event = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = connection};
    epoll_ctl(epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

static void send_rest(struct connection *connection) {
    size_t part = frame_head + PART_BYTES, whole = frame_head + size;
    while (connection->unsent) {
        size_t sent = whole - connection->unsent;
        struct iovec parts[2] = {{connection->part + sent, sent < part ? part - sent : 0},
                                 {frame + (sent > part ? sent : part), whole - (sent > part ? sent : part)}};
        ssize_t taken = writev(connection->fd, parts, 2);
        if (taken < 0 && errno != EAGAIN) fail("connection %u: %s", connection->number, strerror(errno));
        if (taken < 0) break;
        connection->unsent -= (size_t)taken;
    }
    wait_for_room(connection, connection->unsent);
}

static void start_message(struct connection *connection, uint64_t now) {
    connection->sequence++;
    set_numbers(connection);
    memcpy(connection->part, frame, frame_head);
    apply_mask(connection->part + frame_head, reply + reply_head, PART_BYTES, MASK);
    connection->unsent = frame_head + size;
    connection->missing = reply_head + size;
    connection->sent_at = now;
    in_flight++;
    send_rest(connection);
}

static void open_connection(struct connection *connection, size_t got) {
    if (got < 16 || strncmp((char *)input, "HTTP/1.1 101", 12) || memcmp(input + got - 4, "\r\n\r\n", 4))
        fail("connection %u was not upgraded: %.*s", connection->number, (int)got, input);
    connection->is_open = true;
    opened++;
}

static void take(struct connection *connection) {
    ssize_t got = read(connection->fd, input, READ_BYTES);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) fail("connection %u was closed: %s", connection->number, got ? strerror(errno) : "end of file");
    if (!connection->is_open) {
        open_connection(connection, (size_t)got);
        return;
    }
    set_numbers(connection);
    size_t at = reply_head + size - connection->missing;
    if ((size_t)got > connection->missing || memcmp(input, reply + at, (size_t)got))
        fail("connection %u got what is not the reply to message %u, at or after byte %zu", connection->number,
             connection->sequence, at);
    connection->missing -= (size_t)got;
    if (connection->missing) return;
    if (connection->unsent) fail("connection %u got a reply before its message was sent", connection->number);
    uint64_t now = now_ns();
    count_time(now - connection->sent_at);
    messages++;
    in_flight--;
    if (now < stop_at) start_message(connection, now);
}

static void step(void) {
    struct epoll_event events[256];
    int count = epoll_wait(epoll, events, 256, PATIENCE);
    if (!count) fail("nothing came for %d s: %u of %u connected, %u replies missing", PATIENCE / 1000, opened,
                     connections, in_flight);
    for (int i = 0; i < count; i++) {
        if (events[i].events & EPOLLOUT) send_rest(events[i].data.ptr);
        if (events[i].events & ~(unsigned)EPOLLOUT) take(events[i].data.ptr);
    }
}

static void connect_all(void) {
    static const char request[] = UPGRADE("/");
    all = allocate(connections, sizeof *all);
    for (unsigned i = 0; i < connections; i++) {
        int fd = all[i].fd = dial(port);
        all[i].number = i;
        fcntl(fd, F_SETFL, O_NONBLOCK);
        if (write(fd, request, sizeof request - 1) != sizeof request - 1) fail("connect: %s", strerror(errno));
        watch(epoll, fd, EPOLLIN, &all[i]);
        while (opened <= i) step();
    }
    printf("{\"connected\": %u}\n", connections);
    fflush(stdout);
}

static void echo(double seconds) {
    uint64_t started = now_ns();
    stop_at = started + (uint64_t)(seconds * 1e9);
    messages = 0;
    for (unsigned i = 0; i < connections; i++) start_message(&all[i], now_ns());
    while (in_flight) step();
    print_result(messages, now_ns() - started);
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"port", 1, 0, 'p'}, {"connections", 1, 0, 'c'}, {"size", 1, 0, 's'}, {"kind", 1, 0, 'k'}, {0, 0, 0, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'p') port = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'c') connections = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 's') size = strtoul(optarg, NULL, 10);
        else if (option == 'k') is_binary = !strcmp(optarg, "binary"), is_ascii = !strcmp(optarg, "ascii");
        else exit(2);
    }
    if (!port || !connections || size < 2 * PART_BYTES || size > MAX_MESSAGE)
        fail("needs --port, --connections, --size %d to %u", 2 * PART_BYTES, MAX_MESSAGE);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    prepare();
    epoll = epoll_create1(0);
    connect_all();
    for (char line[64]; fgets(line, sizeof line, stdin);) {
        if (strncmp(line, "echo ", 5)) fail("not a command here: %s", line);
        echo(atof(line + 5));
    }
}
