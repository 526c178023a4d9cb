/* The load generator of HTTP: keep-alive connections to one port, driven by commands on stdin, every reply checked.
 *
 *   http_load --port P --connections N [--size S] [--post]
 *
 * connects N times, prints {"connected": N}, and then does what it is told, one line each, printing one line of JSON:
 *
 *   echo SECONDS   one request in flight on each connection, the next when its reply is whole, for so long; then waits
 *                  for all that is in flight. GET asks for an item of S bytes (http.h); with --post one is sent, and
 *                  comes back. Every request has its own name. A reply must be 200 and JSON, as long as it says, keep
 *                  the connection open, and its body must be the item, byte for byte, on the connection that asked.
 *
 * A request has the headers of a browser's, its cookie is its connection's own. Between commands nothing may come. End
 * of file ends it. One thread, one epoll.
 */
#include "http.h"
#include "times.h"
#include <getopt.h>

#define READ_BYTES (256u << 10)
#define MAX_REPLY_HEAD 4096
#define MAX_REQUEST_HEAD 1024
#define CONNECTING 128 /* at once: under nginx's backlog of 511 */
#define PATIENCE 10000 /* ms without anything: the run has failed */

static const char REQUEST[] =
    "%s " ITEMS "cccccccc-qqqqqqqq?bytes=%08zx HTTP/1.1\r\n"
    "Host: bench.example\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: application/json\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=0123456789abcdef-cccccccc\r\n";
static const char REQUEST_BODY[] = "Content-Type: application/json\r\nContent-Length: %zu\r\n";

struct connection {
    int fd;
    uint32_t number, sequence;
    uint64_t sent_at;     /* 0: nothing in flight */
    unsigned char *reply; /* what has come of it, when it came in parts */
    size_t got;
};

static unsigned port, connections = 1;
static size_t size = 64;
static bool posts;

static struct connection *all;
static int epoll;
static uint64_t connected, in_flight, replies, stop_at;

static unsigned char request[MAX_REQUEST_HEAD + MAX_MESSAGE], *item;
static size_t request_size, name_at, cookie_at, body_at;
static unsigned char input[MAX_REPLY_HEAD + MAX_MESSAGE + READ_BYTES];

static void prepare(void) {
    char *text = (char *)request;
    size_t at = (size_t)sprintf(text, REQUEST, posts ? "POST" : "GET", size);
    name_at = (size_t)(strstr(text, ITEMS) - text) + sizeof ITEMS - 1;
    cookie_at = at - 2 - 8;
    if (posts) at += (size_t)sprintf(text + at, REQUEST_BODY, size);
    memcpy(text + at, "\r\n", 2);
    body_at = request_size = at + 2;
    if (posts) {
        prepare_item(request + body_at, size);
        request_size += size;
    }
    item = allocate(1, size);
    prepare_item(item, size);
}

/* --- requests and replies ----------------------------------------------------------------------------------------- */

static void put_name(unsigned char *out, const struct connection *connection) {
    put_hex(out, connection->number, 8);
    out[8] = '-';
    put_hex(out + 9, connection->sequence, 8);
}

static void ask(struct connection *connection, uint64_t now) {
    connection->sequence++;
    put_name(request + name_at, connection);
    put_hex(request + cookie_at, connection->number, 8);
    if (posts) put_name(request + body_at + ITEM_NAME_AT, connection);
    connection->sent_at = now;
    in_flight++;
    if (!send_all(connection->fd, request, request_size))
        fail("connection %u: %s", connection->number, strerror(errno));
}

/* The value of a header of the reply, whose head ends at `end`; NULL: it has none of that name. */
static const char *header(const char *reply, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *line = reply; (line = memchr(line, '\n', (size_t)(end - line))) != NULL;) {
        const char *value = ++line + length + 1;
        if (!strncasecmp(line, name, length) && value[-1] == ':') return value + strspn(value, " ");
    }
    return NULL;
}

/* Whether all of a reply is there, which must be the right one then. */
static bool check_reply(const struct connection *connection, const unsigned char *data, size_t got) {
    const char *reply = (const char *)data;
    const char *end = memmem(reply, got, "\r\n\r\n", 4);
    if (!end) {
        if (got >= MAX_REPLY_HEAD) fail("connection %u: no end of a reply's head: %.200s", connection->number, reply);
        return false;
    }
    const char *length = header(reply, end, "Content-Length"), *type = header(reply, end, "Content-Type");
    const char *kept = header(reply, end, "Connection");
    if (strncmp(reply, "HTTP/1.1 200 ", 13) || !type || strncmp(type, "application/json\r", 17) || !length ||
        strtoull(length, NULL, 10) != size || (kept && strncasecmp(kept, "keep-alive\r", 11)))
        fail("connection %u: another reply than was expected: %.500s", connection->number, reply);
    size_t head = (size_t)(end - reply) + 4;
    if (got < head + size) return false;
    put_name(item + ITEM_NAME_AT, connection);
    if (got != head + size || memcmp(data + head, item, size))
        fail("connection %u: the body is not the item that was asked for: %.500s", connection->number, reply);
    return true;
}

static void take(struct connection *connection) {
    unsigned char *data = connection->got ? connection->reply : input;
    ssize_t more = read(connection->fd, data + connection->got, READ_BYTES);
    if (more < 0 && errno == EAGAIN) return;
    if (more <= 0) fail("connection %u was closed: %s", connection->number, more ? strerror(errno) : "end of file");
    if (!connection->sent_at) fail("connection %u: something that nobody waits for", connection->number);
    size_t got = connection->got + (size_t)more;
    data[got] = 0;
    if (!check_reply(connection, data, got)) {
        if (got > MAX_REPLY_HEAD + size) fail("connection %u: too long a reply", connection->number);
        if (!connection->reply) connection->reply = allocate(1, MAX_REPLY_HEAD + size + READ_BYTES + 1);
        if (!connection->got) memcpy(connection->reply, data, got);
        connection->got = got;
        return;
    }
    uint64_t now = now_ns();
    count_time(now - connection->sent_at);
    connection->got = 0;
    connection->sent_at = 0;
    in_flight--;
    replies++;
    if (now < stop_at) ask(connection, now);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void start_connection(struct connection *connection) {
    int fd = connection->fd = stream_socket(SOCK_NONBLOCK);
    set_nodelay(fd);
    connect_to(fd, port);
    watch(epoll, fd, EPOLLOUT, connection);
}

static void end_connecting(struct connection *connection) {
    int error = 0;
    socklen_t length = sizeof error;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length) || error)
        fail("connection %u: %s", connection->number, strerror(error ? error : errno));
    epoll_ctl(epoll, EPOLL_CTL_MOD, connection->fd, &event);
    connected++;
}

/* Handle what is ready, after waiting for so many ms at most. Returns whether stdin is. */
static bool step(int patience) {
    struct epoll_event events[256];
    bool has_command = false;
    int count = epoll_wait(epoll, events, 256, patience);
    if (count == 0)
        fail("nothing came for %d s: %llu of %u connected, %llu replies missing", PATIENCE / 1000,
             (unsigned long long)connected, connections, (unsigned long long)in_flight);
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;
        if (!connection)
            has_command = true;
        else if (events[i].events & EPOLLOUT)
            end_connecting(connection);
        else
            take(connection);
    }
    return has_command;
}

static void connect_all(void) {
    all = allocate(connections, sizeof *all);
    for (unsigned started = 0; connected < connections; step(PATIENCE))
        for (; started < connections && started < connected + CONNECTING; started++) {
            all[started].number = started;
            start_connection(&all[started]);
        }
    printf("{\"connected\": %u}\n", connections);
    fflush(stdout);
}

static void echo(double seconds) {
    uint64_t started = now_ns();
    stop_at = started + (uint64_t)(seconds * 1e9);
    replies = 0;
    for (unsigned i = 0; i < connections; i++) ask(&all[i], now_ns());
    while (in_flight) step(PATIENCE);
    print_result(replies, now_ns() - started);
}

static void read_arguments(int argc, char **argv) {
    static const struct option options[] = {
        {"port", 1, 0, 'p'}, {"connections", 1, 0, 'c'}, {"size", 1, 0, 's'}, {"post", 0, 0, 'o'}, {0, 0, 0, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'p') port = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'c') connections = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 's') size = strtoul(optarg, NULL, 10);
        else if (option == 'o') posts = true;
        else exit(2);
    }
    if (!port || !connections || size < LEAST_ITEM || size > MAX_MESSAGE)
        fail("needs --port, --connections, --size %zu to %u", LEAST_ITEM, MAX_MESSAGE);
}

int main(int argc, char **argv) {
    read_arguments(argc, argv);
    if (raise_descriptor_limit() < connections + 16)
        fail("too few descriptors for %u connections: see ulimit -n", connections);
    prepare();
    epoll = epoll_create1(0);
    connect_all();
    watch(epoll, STDIN_FILENO, EPOLLIN, NULL);
    for (char line[64];;) {
        while (!step(-1)) {
        }
        ssize_t got = read(STDIN_FILENO, line, sizeof line - 1);
        if (got <= 0) return 0;
        line[got] = 0;
        if (strncmp(line, "echo ", 5)) fail("not a command here: %s", line);
        echo(atof(line + 5));
    }
}
