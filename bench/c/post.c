/* The publisher of a peer that takes notifications by HTTP: a POST for each byte on stdin.
 *
 *   post --port P --path P [--members N]
 *
 * With --members it first asks that path, by GET, until it says "active subscribers: N", and prints {"joined": N}: that
 * is Nchan's way. Then every byte on stdin posts the next notification; the next byte is not read before the answer
 * is there. One connection, kept.
 */
#include "common.h"
#include <getopt.h>

static int server;
static const char *path;

/* Send a request, wait for the whole answer, which has a Content-Length. Returns it, until the next call. */
static const char *ask(const char *request, size_t size) {
    static char answer[16384];
    size_t got = 0;
    if (!send_all(server, (const unsigned char *)request, size)) fail("the server takes no request");
    for (;;) {
        ssize_t more = read(server, answer + got, sizeof answer - 1 - got);
        if (more <= 0) fail("the server has closed: %s", more ? strerror(errno) : "end of file");
        got += (size_t)more;
        answer[got] = 0;
        char *body = strstr(answer, "\r\n\r\n"), *length = strcasestr(answer, "\r\nContent-Length:");
        if (!body) continue;
        if (!length) fail("an answer without a length: %s", answer);
        if (got - (size_t)(body + 4 - answer) >= strtoul(length + 17, NULL, 10)) return answer;
    }
}

static void wait_members(unsigned members) {
    static const char key[] = "active subscribers: ";
    char request[512];
    int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: bench\r\nAccept: text/plain\r\n\r\n", path);
    struct timespec moment = {0, 20000000};
    for (;;) { /* 404 while there is no subscriber at all */
        const char *found = strstr(ask(request, (size_t)size), key);
        if (found && strtoul(found + sizeof key - 1, NULL, 10) == members) break;
        nanosleep(&moment, NULL);
    }
    printf("{\"joined\": %u}\n", members);
    fflush(stdout);
}

static void publish(void) {
    static uint32_t number;
    char request[1024];
    int head = snprintf(request, sizeof request - FAN_OUT_BYTES,
                        "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", path,
                        FAN_OUT_BYTES);
    unsigned char *payload = (unsigned char *)request + head;
    put_hex(payload, ++number, 8);
    put_filler(payload + 8, FAN_OUT_BYTES - 8);
    const char *answer = ask(request, (size_t)head + FAN_OUT_BYTES);
    if (strncmp(answer, "HTTP/1.1 201 ", 13)) fail("not delivered: %s", answer);
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"port", 1, 0, 'p'}, {"path", 1, 0, 'u'}, {"members", 1, 0, 'm'}, {0, 0, 0, 0}};
    unsigned port = 0, members = 0;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'p') port = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'u') path = optarg;
        else if (option == 'm') members = (unsigned)strtoul(optarg, NULL, 10);
        else exit(2);
    }
    if (!port || !path || strlen(path) > 256) fail("needs --port and --path");
    server = dial(port);
    if (members) wait_members(members);
    char bytes[16];
    for (ssize_t got; (got = read(STDIN_FILENO, bytes, sizeof bytes)) > 0;)
        while (got--) publish();
    return 0;
}
