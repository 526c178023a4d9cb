/* A Holdfast node in C, from docs/node-protocol.md alone: it echoes, has the items of http.h, and publishes on command.
 *
 *   node --join tcp://127.0.0.1:7510 [--capacity N] [--channel NAME --members N] [--tell N]
 *
 * Prints {"ready": true} when it has said so. With --channel, every client joins that channel, {"joined": N} is printed
 * when so many have, and each byte on stdin publishes the next notification there. --tell (twice at most): print
 * {"clients": N} whenever it comes to know just so many. SIGTERM: says bye and ends.
 *
 * It may be elected master and never acts as one: nothing here proposes a change of the state.
 */
#include "http.h"
#include "msgpack.h"
#include <getopt.h>
#include <signal.h>
#include <sys/random.h>
#include <zmq.h>

enum type {
    HEARTBEAT = 1, BYE = 2, HELLO = 10, READY = 11, JOIN = 20, NOTIFY = 22, EFFECTS = 26, REPLY = 30, HTTP_REPLY = 31,
    ENTRY = 41, WELCOME = 50, REFUSED = 51, CLIENTS = 52, OPENED = 53, CLOSED = 54, ACK = 55, MUTE = 56, UNMUTE = 57,
    REQUEST = 60, HTTP_REQUEST = 61, CANCEL = 62, CHANGES = 63, MASTER = 70, PEERS = 71, STATE = 72, PROPOSED = 73, PROPOSAL_REFUSED = 74, WANT_STATE = 75
};

static const char *address, *channel;
static unsigned capacity = 65536, members;
static void *dealer;

/* The batch under way: its number and how many frames it has are filled in when it is sent. */
#define BATCH_HEAD 15
#define LARGE_BATCH_BYTES (1u << 20) /* then another is begun: nothing should wait behind many megabytes */
static struct writer batch;
static uint32_t frames;
static uint64_t sent, received;

static bool is_welcome, has_clients, has_state, is_ready;
static double heartbeat_interval = 0.5, heartbeat_timeout = 10.0;
static uint64_t clients_sequence, clients, joined;
static uint64_t told[2]; /* how many clients are worth a word */
static volatile sig_atomic_t is_ending;

static double now(void) { return (double)now_ns() / 1e9; }

static struct writer *begin(enum type type, unsigned fields) {
    frames++;
    put_array(&batch, 1 + fields);
    put_uint(&batch, type);
    return &batch;
}

/* Effects of one effect, which follows. Numbered; whoever publishes here waits for what came of the former. */
static struct writer *begin_effect(enum type type, unsigned fields) {
    static uint64_t number;
    struct writer *effects = begin(EFFECTS, 2);
    put_uint(effects, ++number);
    put_array(effects, 1);
    put_array(effects, 1 + fields);
    put_uint(effects, type);
    return effects;
}

static void flush(void) {
    if (!frames) return;
    batch.data[0] = 0x92;
    batch.data[1] = 0xcf;
    put_big_endian(batch.data + 2, ++sent, 8);
    batch.data[10] = 0xdd;
    put_big_endian(batch.data + 11, frames, 4);
    if (zmq_send(dealer, batch.data, batch.size, 0) < 0 && errno != EINTR) fail("zmq_send: %s", zmq_strerror(errno));
    batch.size = BATCH_HEAD;
    frames = 0;
}

static void say_hello(void) {
    char id[32];
    snprintf(id, sizeof id, "bench-%d", getpid());
    struct writer *hello = begin(HELLO, 8);
    put_uint(hello, 1); /* version */
    put_text(hello, id);
    put_text(hello, "bench");
    put_uint(hello, now_ns()); /* incarnation */
    put_uint(hello, capacity);
    put_float(hello, 1.0);      /* weight */
    *reserve(hello, 1) = 0x80;  /* no labels */
    put_uint(hello, (uint64_t)getpid());
    flush();
}

/* --- clients ------------------------------------------------------------------------------------------------------ */

static void count_clients(int change) {
    clients += (uint64_t)(int64_t)change;
    if (clients && (clients == told[0] || clients == told[1])) {
        printf("{\"clients\": %llu}\n", (unsigned long long)clients);
        fflush(stdout);
    }
}

static void client_came(struct reader *reader) {
    uint64_t fields = get_array(reader), id = get_uint(reader);
    while (--fields) skip(reader);
    count_clients(1);
    if (!channel) return;
    struct writer *join = begin_effect(JOIN, 2);
    put_uint(join, id);
    put_text(join, channel);
    if (++joined == members) {
        flush();
        printf("{\"joined\": %u}\n", members);
        fflush(stdout);
    }
}

static void next_delta(uint64_t sequence) {
    if (sequence != ++clients_sequence)
        fail("delta %llu of the clients is missing", (unsigned long long)clients_sequence);
}

static void changes(struct reader *reader) {
    uint64_t sequence = get_uint(reader), count = get_array(reader);
    while (count--) {
        uint64_t fields = get_array(reader) - 1, type = get_uint(reader);
        next_delta(sequence++);
        if (type == OPENED) {
            client_came(reader);
            fields--;
        } else
            count_clients(-1);
        while (fields--) skip(reader);
    }
}

static void publish(void) {
    static uint32_t number;
    unsigned char payload[FAN_OUT_BYTES];
    put_hex(payload, ++number, 8);
    put_filler(payload + 8, FAN_OUT_BYTES - 8);
    struct writer *notify = begin_effect(NOTIFY, 3);
    put_binary(notify, payload, sizeof payload);
    put_bool(notify, true);
    put_array(notify, 1);
    put_text(notify, channel);
    flush();
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

static void request(struct reader *reader) {
    uint64_t id = get_uint(reader);
    get_uint(reader); /* client */
    uint64_t attempt = get_uint(reader);
    get_uint(reader); /* timeout */
    size_t size;
    const unsigned char *payload = get_data(reader, &size);
    struct writer *reply = begin(REPLY, 4);
    put_uint(reply, id);
    put_uint(reply, attempt);
    put_binary(reply, payload, size);
    size_t at = sizeof ATTEMPT - 1;
    if (size > at && !memcmp(payload, ATTEMPT, at))
        reply->data[reply->size - size + at] = (unsigned char)('0' + attempt);
    put_bool(reply, get_bool(reader));
}

static void http_request(struct reader *reader) {
    uint64_t id = get_uint(reader);
    skip(reader); /* client */
    uint64_t attempt = get_uint(reader);
    get_uint(reader); /* timeout */
    size_t size, length;
    const unsigned char *payload = get_data(reader, &size);
    skip(reader); /* method */
    const char *target = (const char *)get_data(reader, &length);
    if (!size && !(payload = find_item(target, length, &size))) fail("not a request of ours: %.*s", (int)length, target);
    struct writer *reply = begin(HTTP_REPLY, 5);
    put_uint(reply, id);
    put_uint(reply, attempt);
    put_binary(reply, payload, size);
    put_uint(reply, 200);
    put_array(reply, 2);
    put_array(reply, 2), put_text(reply, "Content-Type"), put_text(reply, "application/json");
    put_array(reply, 2), put_text(reply, "Cache-Control"), put_text(reply, "no-store");
}

static void welcome(struct reader *reader) {
    uint64_t version = get_uint(reader);
    if (version != 1) fail("the proxy speaks version %llu", (unsigned long long)version);
    skip(reader); /* its id */
    heartbeat_interval = get_float(reader);
    heartbeat_timeout = get_float(reader);
    clients_sequence = get_uint(reader);
    is_welcome = true;
}

static void take_frame(struct reader *reader) {
    uint64_t fields = get_array(reader) - 1, type = get_uint(reader), pages;
    size_t size = 0;
    const unsigned char *text;
    switch (type) {
    case REQUEST:
        request(reader);
        fields -= 6;
        break;
    case HTTP_REQUEST:
        http_request(reader);
        fields -= 7;
        break;
    case WELCOME:
        welcome(reader);
        fields -= 5;
        break;
    case CLIENTS:
        for (pages = get_array(reader); pages--;) client_came(reader);
        has_clients |= get_bool(reader);
        fields -= 2;
        break;
    case CHANGES:
        changes(reader);
        fields -= 2;
        break;
    case STATE:
        skip(reader), skip(reader), skip(reader);
        has_state |= get_bool(reader);
        fields -= 4;
        break;
    case REFUSED:
    case BYE:
        text = fields ? get_data(reader, &size) : (const unsigned char *)"";
        if (type == REFUSED) fail("refused: %.*s", (int)size, text);
        exit(0);
    case HEARTBEAT:
    case ACK:
    case MUTE:
    case UNMUTE:
    case CANCEL:
    case MASTER:
    case PEERS:
    case ENTRY:
    case PROPOSED:
    case PROPOSAL_REFUSED:
    case WANT_STATE:
        break; /* nothing that concerns us */
    default:
        fail("a frame of type %llu came", (unsigned long long)type);
    }
    while (fields--) skip(reader);
}

static void take_batch(const unsigned char *data, size_t size) {
    struct reader reader = {data, data + size};
    if (!size) return; /* a probe */
    if (get_array(&reader) < 2) fail("not a batch");
    uint64_t number = get_uint(&reader);
    if (number && number != ++received)
        fail("batch %llu was expected, %llu came", (unsigned long long)received, (unsigned long long)number);
    for (uint64_t count = get_array(&reader); count--;) {
        take_frame(&reader);
        if (batch.size > LARGE_BATCH_BYTES) flush();
    }
}

/* --- the session -------------------------------------------------------------------------------------------------- */

static void dial_proxy(void) {
    unsigned char id[16];
    int zero = 0, never = -1, no_limit = 0;
    do {
        if (getrandom(id, sizeof id, 0) != sizeof id) fail("getrandom: %s", strerror(errno));
    } while (!id[0]); /* ZeroMQ keeps such ids for itself */
    dealer = zmq_socket(zmq_ctx_new(), ZMQ_DEALER);
    zmq_setsockopt(dealer, ZMQ_ROUTING_ID, id, sizeof id);
    zmq_setsockopt(dealer, ZMQ_RECONNECT_IVL, &never, sizeof never);
    zmq_setsockopt(dealer, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(dealer, ZMQ_SNDHWM, &no_limit, sizeof no_limit); /* our capacity bounds what we can owe */
    zmq_setsockopt(dealer, ZMQ_RCVHWM, &no_limit, sizeof no_limit);
    if (zmq_connect(dealer, address)) fail("can't dial %s: %s", address, zmq_strerror(errno));
}

/* Take all that has come. The replies to it leave as one batch. */
static bool drain(void) {
    bool any = false;
    zmq_msg_t part;
    zmq_msg_init(&part);
    while (zmq_msg_recv(&part, dealer, ZMQ_DONTWAIT) >= 0) {
        any = true;
        take_batch(zmq_msg_data(&part), zmq_msg_size(&part));
    }
    zmq_msg_close(&part);
    if (is_welcome && has_clients && has_state && !is_ready) {
        is_ready = true;
        begin(READY, 0);
        printf("{\"ready\": true}\n");
        fflush(stdout);
    }
    flush();
    return any;
}

static void run(void) {
    double heard = now(), beat = heard;
    bool reads_commands = channel != NULL;
    say_hello();
    while (!is_ending) {
        zmq_pollitem_t items[2] = {{dealer, 0, ZMQ_POLLIN, 0}, {NULL, STDIN_FILENO, ZMQ_POLLIN, 0}};
        zmq_poll(items, reads_commands ? 2 : 1, (long)(heartbeat_interval * 250));
        double time = now();
        if (drain()) heard = time;
        if (time - heard > heartbeat_timeout) fail("the proxy said nothing for %.1f s", heartbeat_timeout);
        if (is_welcome && time - beat >= heartbeat_interval) {
            beat = time;
            put_float(begin(HEARTBEAT, 1), time);
            flush();
        }
        if (reads_commands && items[1].revents) {
            char bytes[64];
            ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);
            if (got <= 0) reads_commands = false;
            while (got-- > 0) publish();
        }
    }
    put_text(begin(BYE, 1), "stopped");
    flush();
    struct timespec moment = {0, 50000000}; /* for libzmq to write it */
    nanosleep(&moment, NULL);
}

static void end(int signal) {
    (void)signal;
    is_ending = 1;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"join", 1, 0, 'j'},    {"capacity", 1, 0, 'c'}, {"channel", 1, 0, 'n'},
        {"members", 1, 0, 'm'}, {"tell", 1, 0, 't'},     {0, 0, 0, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'j') address = optarg;
        else if (option == 'c') capacity = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'n') channel = optarg;
        else if (option == 't') told[told[0] != 0] = strtoul(optarg, NULL, 10);
        else if (option == 'm') members = (unsigned)strtoul(optarg, NULL, 10);
        else exit(2);
    }
    if (!address || !capacity || !channel != !members) fail("needs --join ADDRESS, and --channel with --members");
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    reserve(&batch, BATCH_HEAD);
    dial_proxy();
    run();
    return 0;
}
