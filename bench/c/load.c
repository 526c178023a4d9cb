/* The load generator: WebSocket connections to one port, driven by commands on stdin, every byte of a reply checked.
 *
 *   load --port P --connections N [--depth D] [--size S] [--path P] [--trigger FD]
 *
 * connects N times, prints {"connected": N}, and then does what it is told, one line each, printing one line of JSON:
 *
 *   echo SECONDS   D messages of S bytes in flight on each connection, each answered message sent anew, for so long;
 *                  then waits for all that is in flight. Every reply must be the message, byte for byte, on the
 *                  connection that sent it, once.
 *   pace RATE SECONDS
 *                  an open loop: RATE messages a second, evenly spread over time and connections, whether or not the
 *                  former ones have been answered. The time of each counts from the moment at which it was due, also
 *                  when it could not leave then because D messages of its connection were in flight.
 *   turn           one message on each connection, one connection after another.
 *   fan ROUNDS     writes a byte to FD, waits until one notification has come on every connection, and so on. Each must
 *                  be the next in order, whole and once.
 *
 * Between commands the connections are idle, and anything but a ping is an error. End of file ends it. One thread, one
 * epoll; the frames are masked beforehand but for the few bytes that number them.
 */
#include "times.h"
#include <getopt.h>
#include <sched.h>

#define READ_BYTES (256u << 10)
#define MAX_DEPTH 256
#define HANDSHAKES 128 /* at once: under nginx's backlog of 511 */
#define PATIENCE 10000 /* ms without anything: the run has failed */
#define PATIENCE_NS (PATIENCE * 1000000ull)
/* From one address to one port there are some 28,000 ports of our own: connections beyond so many have a second one. */
#define CONNECTIONS_PER_ADDRESS 25000

/* What a message numbers, as hex digits at fixed places: connection, slot (one of those in flight), sequence. */
#define CONNECTION_AT 43
#define SLOT_AT 52
#define SEQUENCE_AT 55
#define LEAST_SIZE 80
static const char HEAD[] = "{\"controller\":\"bench\",\"requestId\":\"request-cccccccc-ss-qqqqqqqq\",\"body\":\"";

struct slot {
    uint64_t sent_at; /* or when it was due; 0: nothing in flight */
    uint32_t sequence;
};

struct connection {
    int fd;
    uint32_t number;
    bool is_open;
    bool has_notification; /* of this round */
    unsigned char *rest;   /* an unfinished frame */
    size_t rest_size;
    struct slot *slots;
    uint64_t paced; /* messages sent in this pace */
};

static unsigned port, connections = 1, depth = 1;
static size_t size = 160;
static int trigger = -1;
static const char *path = "/";

static struct connection *all;
static int epoll;
static uint64_t opened, in_flight, messages, stop_at;
static enum { IDLE, ECHO, PACE, FAN } work;
static uint64_t pace_started, pace_count;
static double pace_interval; /* ns */
static uint32_t notification; /* number of the one that is awaited */
static uint64_t missing;      /* connections that do not have it */

static unsigned char *message, *frames;  /* a message in plain; frames of one write */
static unsigned char masked[MAX_HEAD + MAX_MESSAGE]; /* a frame whose numbers are still to be set */
static size_t masked_head;
static unsigned char input[MAX_MESSAGE + MAX_HEAD + READ_BYTES];
static unsigned char expected_notification[FAN_OUT_BYTES];

/* --- messages ----------------------------------------------------------------------------------------------------- */

static void prepare_messages(void) {
    size_t head = sizeof HEAD - 1;
    message = allocate(1, size);
    put_filler(message, size);
    memcpy(message, HEAD, head);
    memcpy(message + size - 2, "\"}", 2);
    masked_head = put_head(masked, 0x81, size, MASK);
    apply_mask(masked + masked_head, message, size, MASK);
    frames = allocate(depth, masked_head + size);
    put_filler(expected_notification + 8, FAN_OUT_BYTES - 8);
}

static void mask_at(unsigned char *payload, size_t at, size_t count) {
    for (size_t i = at; i < at + count; i++) payload[i] ^= MASK[i & 3];
}

/* Put the slot's next message behind what is in `frames`. Returns its end. */
static size_t put_message(struct connection *connection, unsigned slot, size_t at, uint64_t now) {
    struct slot *s = &connection->slots[slot];
    unsigned char *payload = frames + at + masked_head;
    memcpy(frames + at, masked, masked_head + size);
    put_hex(payload + CONNECTION_AT, connection->number, 8);
    put_hex(payload + SLOT_AT, slot, 2);
    put_hex(payload + SEQUENCE_AT, ++s->sequence, 8);
    mask_at(payload, CONNECTION_AT, 8);
    mask_at(payload, SLOT_AT, 2);
    mask_at(payload, SEQUENCE_AT, 8);
    s->sent_at = now;
    in_flight++;
    return at + masked_head + size;
}

/* Message n of a pace belongs to connection n % connections. */
static uint64_t due_at(uint64_t n) { return pace_started + (uint64_t)((double)n * pace_interval); }

/* Put what is due on this connection, as far as it has free slots. Returns its end. */
static size_t put_due(struct connection *connection, size_t at, uint64_t now) {
    for (unsigned slot = 0; slot < depth; slot++) {
        if (connection->slots[slot].sent_at) continue;
        uint64_t n = connection->paced * connections + connection->number;
        if (n >= pace_count || due_at(n) > now) break;
        connection->paced++;
        at = put_message(connection, slot, at, due_at(n));
    }
    return at;
}

static void send_frames(struct connection *connection, size_t bytes) {
    if (bytes && !send_all(connection->fd, frames, bytes))
        fail("connection %u: %s", connection->number, strerror(errno));
}

static unsigned check_reply(struct connection *connection, const unsigned char *payload, size_t length, uint64_t now) {
    int64_t named = length == size ? read_hex(payload + SLOT_AT, 2) : -1;
    if (named < 0 || named >= depth)
        fail("connection %u got no reply of ours: %.*s", connection->number, (int)length, payload);
    struct slot *s = &connection->slots[named];
    put_hex(message + CONNECTION_AT, connection->number, 8);
    put_hex(message + SLOT_AT, (uint32_t)named, 2);
    put_hex(message + SEQUENCE_AT, s->sequence, 8);
    if (!s->sent_at || memcmp(payload, message, size))
        fail("connection %u got a wrong reply, or one twice: %.*s", connection->number, (int)length, payload);
    count_time(now - s->sent_at);
    s->sent_at = 0;
    in_flight--;
    messages++;
    return (unsigned)named;
}

static void check_notification(struct connection *connection, const unsigned char *payload, size_t length) {
    if (length != FAN_OUT_BYTES || connection->has_notification || memcmp(payload, expected_notification, length))
        fail("connection %u: notification %u, whole and once, was expected, and this came: %.*s", connection->number,
             notification, (int)length, payload);
    connection->has_notification = true;
    missing--;
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void start_connection(struct connection *connection) {
    int fd = connection->fd = stream_socket(SOCK_NONBLOCK);
    set_nodelay(fd);
    if (connection->number >= CONNECTIONS_PER_ADDRESS) {
        struct sockaddr_in source = loopback(0);
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + connection->number / CONNECTIONS_PER_ADDRESS);
        int one = 1;
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one); /* connect() chooses the port */
        if (bind(fd, (struct sockaddr *)&source, sizeof source)) fail("bind: %s", strerror(errno));
    }
    connect_to(fd, port);
    watch(epoll, fd, EPOLLOUT, connection);
}

static void ask(struct connection *connection) {
    char request[512];
    int length = snprintf(request, sizeof request, UPGRADE("%s"), path);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (length >= (int)sizeof request || write(connection->fd, request, (size_t)length) != length)
        fail("connection %u: %s", connection->number, strerror(errno));
    epoll_ctl(epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

/* Returns how much of the input was the answer to the handshake; 0: it is not all there. */
static size_t open_connection(struct connection *connection, size_t got) {
    input[got] = 0;
    char *end = strstr((char *)input, "\r\n\r\n");
    if (!end) return 0;
    if (strncmp((char *)input, "HTTP/1.1 101", 12) || !strstr((char *)input, ACCEPT))
        fail("connection %u was not upgraded: %.200s", connection->number, input);
    connection->is_open = true;
    opened++;
    return (size_t)(end + 4 - (char *)input);
}

static void take(struct connection *connection) {
    size_t got = connection->rest_size, at = 0, out = 0;
    if (got) memcpy(input, connection->rest, got);
    ssize_t more = read(connection->fd, input + got, READ_BYTES);
    if (more < 0 && errno == EAGAIN) return;
    if (more <= 0) fail("connection %u was closed: %s", connection->number, more ? strerror(errno) : "end of file");
    got += (size_t)more;
    if (!connection->is_open) at = open_connection(connection, got);
    uint64_t now = now_ns();
    struct frame frame;
    while (connection->is_open && read_frame(input + at, got - at, &frame) && at + frame.head + frame.size <= got) {
        unsigned char *payload = input + at + frame.head;
        at += frame.head + frame.size;
        if (frame.first == 0x89 && frame.size < 126) {
            unsigned char pong[MAX_HEAD + 125];
            size_t head = put_head(pong, 0x8A, frame.size, MASK);
            apply_mask(pong + head, payload, frame.size, MASK);
            send_all(connection->fd, pong, head + frame.size);
        } else if (frame.first != 0x81 || frame.mask || work == IDLE) {
            fail("connection %u: a frame that nobody waits for: %02x %.*s", connection->number, frame.first,
                 (int)frame.size, payload);
        } else if (work == FAN) {
            check_notification(connection, payload, frame.size);
        } else {
            unsigned slot = check_reply(connection, payload, frame.size, now);
            if (now < stop_at) out = put_message(connection, slot, out, now);
        }
    }
    if (work == PACE) out = put_due(connection, out, now);
    free(connection->rest);
    connection->rest = NULL;
    connection->rest_size = got - at;
    if (at < got) {
        connection->rest = allocate(1, got - at);
        memcpy(connection->rest, input + at, got - at);
    }
    send_frames(connection, out);
}

static void give_up(void) {
    fail("nothing came for %d s: %llu of %u connected, %llu replies and %llu notifications missing", PATIENCE / 1000,
         (unsigned long long)opened, connections, (unsigned long long)in_flight, (unsigned long long)missing);
}

/* Handle what is ready, after waiting for so many ms at most. Returns whether stdin is. */
static bool step(int patience) {
    struct epoll_event events[256];
    bool has_command = false;
    int count = epoll_wait(epoll, events, 256, patience);
    if (count == 0 && patience) give_up();
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;
        if (!connection)
            has_command = true;
        else if (events[i].events & EPOLLOUT)
            ask(connection);
        else
            take(connection);
    }
    return has_command;
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static void connect_all(void) {
    all = allocate(connections, sizeof *all);
    for (unsigned started = 0; opened < connections; step(PATIENCE))
        for (; started < connections && started < opened + HANDSHAKES; started++) {
            all[started].number = started;
            all[started].slots = allocate(depth, sizeof(struct slot));
            start_connection(&all[started]);
        }
    printf("{\"connected\": %u}\n", connections);
    fflush(stdout);
}

static void start_messages(struct connection *connection, unsigned count) {
    uint64_t now = now_ns();
    size_t out = 0;
    for (unsigned slot = 0; slot < count; slot++) out = put_message(connection, slot, out, now);
    send_frames(connection, out);
}

static void turn(void) {
    uint64_t started = now_ns();
    work = ECHO;
    stop_at = 0;
    messages = 0;
    for (unsigned i = 0; i < connections; i++) {
        start_messages(&all[i], 1);
        while (in_flight) step(PATIENCE);
    }
    work = IDLE;
    print_result(messages, now_ns() - started);
}

static void echo(double seconds) {
    uint64_t started = now_ns();
    work = ECHO;
    stop_at = started + (uint64_t)(seconds * 1e9);
    messages = 0;
    for (unsigned i = 0; i < connections; i++) start_messages(&all[i], depth);
    while (in_flight) step(PATIENCE);
    work = IDLE;
    print_result(messages, now_ns() - started);
}

static void pace(double rate, double seconds) {
    work = PACE;
    stop_at = 0; /* nothing is sent because of an answer */
    messages = 0;
    pace_interval = 1e9 / rate;
    pace_count = (uint64_t)(rate * seconds);
    for (unsigned i = 0; i < connections; i++) all[i].paced = 0;
    pace_started = now_ns();
    for (uint64_t next = 0; messages < pace_count;) {
        uint64_t now = now_ns();
        for (; next < pace_count && due_at(next) <= now; next++) {
            struct connection *connection = &all[next % connections];
            send_frames(connection, put_due(connection, 0, now));
        }
        /* Without sleeping: to be woken costs more than to send, and its time would count as the proxy's. */
        step(0);
        sched_yield(); /* the backend is on this CPU */
        if (now > due_at(pace_count) + PATIENCE_NS) give_up();
    }
    work = IDLE;
    print_result(messages, now_ns() - pace_started);
}

static void fan(unsigned rounds) {
    uint64_t started = now_ns();
    work = FAN;
    for (unsigned round = 0; round < rounds; round++) {
        uint64_t asked = now_ns();
        put_hex(expected_notification, ++notification, 8);
        for (unsigned i = 0; i < connections; i++) all[i].has_notification = false;
        missing = connections;
        if (write(trigger, ".", 1) != 1) fail("trigger: %s", strerror(errno));
        /* Without sleeping: else the sender pays for waking us, the more often the slower it is. */
        while (missing) {
            step(0);
            sched_yield(); /* the publisher may be on this CPU */
            if (now_ns() - asked > PATIENCE_NS) give_up();
        }
        count_time(now_ns() - asked);
    }
    work = IDLE;
    print_result((uint64_t)rounds * connections, now_ns() - started);
}

static void read_arguments(int argc, char **argv) {
    static const struct option options[] = {{"port", 1, 0, 'p'}, {"connections", 1, 0, 'c'}, {"depth", 1, 0, 'd'},
                                            {"size", 1, 0, 's'}, {"trigger", 1, 0, 't'},     {"path", 1, 0, 'u'},
                                            {0, 0, 0, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        unsigned value = option == '?' ? 0 : (unsigned)strtoul(optarg, NULL, 10);
        if (option == 'p') port = value;
        else if (option == 'c') connections = value;
        else if (option == 'd') depth = value;
        else if (option == 's') size = value;
        else if (option == 'u') path = optarg;
        else if (option == 't') trigger = (int)value;
        else exit(2);
    }
    if (!port || !connections || !depth || depth > MAX_DEPTH || size < LEAST_SIZE || size > MAX_MESSAGE)
        fail("needs --port, --connections, --depth 1 to %d, --size %d to %u", MAX_DEPTH, LEAST_SIZE, MAX_MESSAGE);
}

int main(int argc, char **argv) {
    read_arguments(argc, argv);
    if (raise_descriptor_limit() < connections + 16)
        fail("too few descriptors for %u connections: see ulimit -n", connections);
    prepare_messages();
    epoll = epoll_create1(0);
    connect_all();
    watch(epoll, STDIN_FILENO, EPOLLIN, NULL);
    for (char line[64];;) {
        while (!step(-1)) {
        }
        ssize_t got = read(STDIN_FILENO, line, sizeof line - 1);
        if (got <= 0) return 0;
        line[got] = 0;
        double rate, seconds;
        if (!strncmp(line, "echo ", 5)) echo(atof(line + 5));
        else if (sscanf(line, "pace %lf %lf", &rate, &seconds) == 2 && rate > 0) pace(rate, seconds);
        else if (!strcmp(line, "turn\n")) turn();
        else if (!strncmp(line, "fan ", 4) && trigger >= 0) fan((unsigned)atoi(line + 4));
        else fail("not a command here: %s", line);
    }
}
