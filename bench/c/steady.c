/* A steady load: messages at a fixed rate on WebSocket connections, whatever becomes of the former ones.
 *
 *   steady --port P --connections N
 *
 * connects N times, prints {"connected": N}, and then does what it is told on stdin, one line each:
 *
 *   begin RATE   so many messages a second from now on, each on the next connection.
 *   kill PID     SIGKILL for this process, now: one that may have some of the messages.
 *   end          stops, waits for all replies, and prints one line of JSON with the times from sending to reply.
 *
 * Every reply must be its message, byte for byte, on the connection that sent it, once; but for one digit, which the
 * node sets to the attempt. Three groups of times: "all"; "near", those that were under way at a kill or were sent within
 * half a second after it; "redelivered", those that the killed node had, so that they took a second attempt: from the
 * kill, or from their sending if that was later.
 */
#include "common.h"
#include <getopt.h>
#include <signal.h>

#define PATIENCE 10000000000u /* ns without a reply: the run has failed */
#define NEAR 500000000u       /* ns */
#define MOST_KILLS 64

#define MESSAGE_BYTES 160
#define ATTEMPT_AT (sizeof ATTEMPT - 1)
#define NUMBER_AT 23 /* hex digits, as of the connection */
#define CONNECTION_AT 47
static const char HEAD[] = ATTEMPT "1,\"number\":\"nnnnnnnn\",\"connection\":\"cccccccc\",\"body\":\"";

struct connection {
    int fd;
    uint32_t number;
    bool is_open;
    size_t rest_size;
    unsigned char rest[512]; /* an unfinished frame, or answer to the handshake */
};

struct message {
    uint64_t sent_at, answered_at; /* 0: not yet */
    uint32_t connection, attempt;
};

static unsigned port, connections;
static struct connection *all;
static int epoll;
static unsigned opened;

static struct message *messages;
static size_t sent, answered, room;
static uint64_t kills[MOST_KILLS], last_answer;
static unsigned killed;

static bool is_running, is_ending;
static double rate;
static uint64_t began;
static size_t sent_before; /* messages of former runs */

static unsigned char message[MESSAGE_BYTES];
static unsigned char input[65536 + 512];

/* --- messages ----------------------------------------------------------------------------------------------------- */

static void set_numbers(size_t number, uint32_t connection, unsigned attempt) {
    put_hex(message + NUMBER_AT, (uint32_t)number, 8);
    put_hex(message + CONNECTION_AT, connection, 8);
    message[ATTEMPT_AT] = (unsigned char)('0' + attempt);
}

static void send_message(uint64_t now) {
    struct connection *connection = &all[sent % connections];
    if (sent == room) {
        room = 2 * room + 65536;
        messages = realloc(messages, room * sizeof *messages);
        if (!messages) fail("out of memory");
    }
    messages[sent] = (struct message){now, 0, connection->number, 0};
    unsigned char frame[MAX_HEAD + MESSAGE_BYTES];
    size_t head = put_head(frame, 0x81, MESSAGE_BYTES, MASK);
    set_numbers(sent++, connection->number, 1);
    apply_mask(frame + head, message, MESSAGE_BYTES, MASK);
    if (!send_all(connection->fd, frame, head + MESSAGE_BYTES))
        fail("connection %u: %s", connection->number, strerror(errno));
}

static void check_reply(const struct connection *connection, const unsigned char *payload, size_t size, uint64_t now) {
    int64_t number = size == MESSAGE_BYTES ? read_hex(payload + NUMBER_AT, 8) : -1;
    unsigned attempt = size == MESSAGE_BYTES ? payload[ATTEMPT_AT] - '0' : 0;
    if (number < 0 || (size_t)number >= sent || attempt < 1 || attempt > 9)
        fail("connection %u got no reply of ours: %.*s", connection->number, (int)size, payload);
    struct message *record = &messages[number];
    set_numbers((size_t)number, connection->number, attempt);
    if (record->answered_at || record->connection != connection->number || memcmp(payload, message, size))
        fail("connection %u got a wrong reply, or one twice: %.*s", connection->number, (int)size, payload);
    if (attempt > 1 && !killed) fail("a message was sent again, but no node has died");
    record->answered_at = last_answer = now;
    record->attempt = attempt;
    answered++;
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void connect_all(void) {
    static const char request[] = UPGRADE("/");
    all = allocate(connections, sizeof *all);
    for (unsigned i = 0; i < connections; i++) {
        int fd = all[i].fd = dial(port);
        all[i].number = i;
        if (write(fd, request, sizeof request - 1) != sizeof request - 1) fail("connect: %s", strerror(errno));
        fcntl(fd, F_SETFL, O_NONBLOCK);
        watch(epoll, fd, EPOLLIN, &all[i]);
    }
}

/* Returns how much of the input was the answer to the handshake; 0: it is not all there. */
static size_t open_connection(struct connection *connection, size_t got) {
    input[got] = 0;
    char *end = strstr((char *)input, "\r\n\r\n");
    if (!end) return 0;
    if (strncmp((char *)input, "HTTP/1.1 101", 12) || !strstr((char *)input, ACCEPT))
        fail("connection %u was not upgraded: %.200s", connection->number, input);
    connection->is_open = true;
    if (++opened == connections) {
        printf("{\"connected\": %u}\n", connections);
        fflush(stdout);
    }
    return (size_t)(end + 4 - (char *)input);
}

static void take(struct connection *connection) {
    size_t got = connection->rest_size, at = 0;
    memcpy(input, connection->rest, got);
    ssize_t more = read(connection->fd, input + got, sizeof input - 1 - got);
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
        } else if (frame.first != 0x81 || frame.mask) {
            fail("connection %u: a frame that nobody waits for: %02x", connection->number, frame.first);
        } else {
            check_reply(connection, payload, frame.size, now);
        }
    }
    connection->rest_size = got - at;
    if (got - at > sizeof connection->rest) fail("connection %u: a frame that is too long", connection->number);
    memcpy(connection->rest, input + at, got - at);
}

/* --- results ------------------------------------------------------------------------------------------------------ */

static int by_size(const void *one, const void *other) {
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return a < b ? -1 : a > b;
}

static void print_times(const char *name, uint64_t *times, size_t count) {
    static const struct {
        const char *name;
        double share;
    } figures[] = {{"p50_us", 0.5}, {"p99_us", 0.99}, {"p999_us", 0.999}, {"max_us", 1.0}};
    qsort(times, count, sizeof *times, by_size);
    printf("\"%s\": {\"messages\": %zu", name, count);
    for (unsigned i = 0; i < sizeof figures / sizeof *figures; i++) {
        size_t at = (size_t)((double)count * figures[i].share);
        printf(", \"%s\": %.1f", figures[i].name, count ? (double)times[at < count ? at : count - 1] / 1e3 : 0.0);
    }
    printf("}");
}

/* The last kill before a message was answered, if it met the message; 0: none did. */
static uint64_t kill_of(const struct message *record) {
    for (unsigned i = killed; i--;)
        if (kills[i] < record->answered_at) return record->sent_at < kills[i] + NEAR ? kills[i] : 0;
    return 0;
}

static void print_results(void) {
    size_t count = sent - sent_before, near = 0, redelivered = 0;
    uint64_t *times = allocate(3 * count + 1, sizeof *times), *near_times = times + count,
             *redelivered_times = near_times + count;
    for (size_t i = 0; i < count; i++) {
        const struct message *record = &messages[sent_before + i];
        uint64_t kill = kill_of(record);
        times[i] = record->answered_at - record->sent_at;
        if (kill) near_times[near++] = times[i];
        if (record->attempt == 1) continue;
        if (!kill) fail("message %zu was sent again, but no node had died", i);
        redelivered_times[redelivered++] = record->answered_at - (record->sent_at > kill ? record->sent_at : kill);
    }
    printf("{\"seconds\": %.6f, ", (double)(last_answer - began) / 1e9);
    print_times("all", times, count);
    printf(", ");
    print_times("near", near_times, near);
    printf(", ");
    print_times("redelivered", redelivered_times, redelivered);
    printf("}\n");
    fflush(stdout);
    free(times);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static void obey(char *line) {
    if (!strncmp(line, "begin ", 6) && answered == sent && opened == connections && (rate = atof(line + 6)) > 0) {
        is_running = true;
        sent_before = sent;
        killed = 0;
        began = last_answer = now_ns();
    } else if (!strncmp(line, "kill ", 5) && is_running && killed < MOST_KILLS) {
        kills[killed++] = now_ns();
        if (kill((pid_t)atoi(line + 5), SIGKILL)) fail("kill: %s", strerror(errno));
    } else if (!strcmp(line, "end") && is_running) {
        is_running = false;
        is_ending = true;
    } else {
        fail("not a command here: %s", line);
    }
}

static void read_commands(void) {
    char lines[1024];
    ssize_t got = read(STDIN_FILENO, lines, sizeof lines - 1);
    if (got <= 0) exit(0);
    lines[got] = 0;
    for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) obey(line);
}

/* Send what is due. Returns how long it is until the next, in ns; at most a second. */
static uint64_t send_due(void) {
    if (!is_running) return 1000000000u;
    for (;;) {
        uint64_t now = now_ns(), due = began + (uint64_t)((double)(sent - sent_before) * 1e9 / rate);
        if (due > now) return due - now < 1000000000u ? due - now : 1000000000u;
        send_message(now);
    }
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
    put_filler(message, sizeof message);
    memcpy(message, HEAD, sizeof HEAD - 1);
    memcpy(message + sizeof message - 2, "\"}", 2);
    epoll = epoll_create1(0);
    connect_all();
    watch(epoll, STDIN_FILENO, EPOLLIN, NULL);
    for (;;) {
        uint64_t left = send_due();
        struct timespec timeout = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
        struct epoll_event events[256];
        int count = epoll_pwait2(epoll, events, 256, &timeout, NULL);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr) take(events[i].data.ptr);
            else read_commands();
        }
        if (is_ending && answered == sent) {
            is_ending = false;
            print_results();
        }
        if (answered < sent && now_ns() > last_answer + PATIENCE)
            fail("nothing came for 10 s: %zu replies are missing", sent - answered);
    }
}
