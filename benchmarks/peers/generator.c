/* A load generator for the comparison: keep-alive connections that POST prepared requests and look at every answer.
 *
 *   generator PORT FILE CONNECTIONS SECONDS START
 *
 * One thread, one epoll. Each connection sends its next request when it has its answer. FILE is written by generator.py:
 * for each request its bytes, the class its answer has to name, and where a number may be put that makes the picture one
 * that nobody has sent yet. START is the number of the first request. Prints one JSON object; the first wrong answer goes to
 * standard error.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define DIGITS 32            /* length of the number that makes a picture unique */
#define PATIENCE 60.0        /* seconds after which a request counts as unanswered */
#define MOST_FAILURES 10000  /* a server that is gone: say so instead of trying for ever */

struct request { char *bytes; size_t size, unique; char expected[64]; };
struct connection {
    int fd;
    struct request *request;
    char number[DIGITS + 1];
    size_t sent, have, room;
    int blocked;  /* the socket takes no more of the request for now */
    char *answer;
    double since;
};

static struct request *requests;
static size_t count, next, connections;
static int epoll, port;
static double until;
static float *latencies;  /* milliseconds of right answers */
static size_t right, room, in_window, bytes_in;
static long wrong_status, wrong_class, broken, unanswered, reconnects, refused;
static long statuses[600];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fatal(const char *what) {
    fprintf(stderr, "generator: %s: %s\n", what, errno ? strerror(errno) : "");
    exit(2);
}

static void *need(void *memory) {
    if (!memory) fatal("memory");
    return memory;
}

static uint32_t number(FILE *file) {
    uint32_t value;
    if (fread(&value, sizeof value, 1, file) != 1) fatal("the file of requests is too short");
    return value;
}

static void read_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fatal(path);
    count = number(file);
    requests = need(calloc(count, sizeof *requests));
    for (size_t i = 0; i < count; i++) {
        struct request *r = &requests[i];
        r->size = number(file);
        r->unique = number(file);
        size_t length = number(file);
        if (length >= sizeof r->expected) fatal("a class with so long a name");
        r->bytes = need(malloc(r->size));
        if (fread(r->expected, 1, length, file) != length || fread(r->bytes, 1, r->size, file) != r->size)
            fatal("the file of requests is too short");
    }
    fclose(file);
}

static void watch(struct connection *c, int operation, int blocked) {
    struct epoll_event event = {.events = blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, operation, c->fd, &event)) fatal("epoll_ctl");
    c->blocked = blocked;
}

static void open_connection(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    for (;;) {
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0) fatal("socket");
        if (!connect(c->fd, (struct sockaddr *)&address, sizeof address)) break;
        close(c->fd);
        if (++refused > MOST_FAILURES) fatal("connect");
        usleep(1000);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(c, EPOLL_CTL_ADD, 0);
}

/* What is left of the request: up to three pieces, the unique number in the middle. */
static void send_more(struct connection *c) {
    struct request *r = c->request;
    size_t a = r->unique ? r->unique : r->size, b = r->unique ? a + DIGITS : r->size;
    while (c->sent < r->size) {
        struct iovec pieces[3];
        int n = 0;
        if (c->sent < a) pieces[n++] = (struct iovec){r->bytes + c->sent, a - c->sent};
        if (c->sent < b && b > a) {
            size_t from = c->sent > a ? c->sent - a : 0;
            pieces[n++] = (struct iovec){c->number + from, DIGITS - from};
        }
        if (b < r->size) {
            size_t from = c->sent > b ? c->sent : b;
            pieces[n++] = (struct iovec){r->bytes + from, r->size - from};
        }
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = n};
        ssize_t done = sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN && !c->blocked) watch(c, EPOLL_CTL_MOD, 1);
            return; /* any other error shows when the answer is read */
        }
        c->sent += done;
    }
    if (c->blocked) watch(c, EPOLL_CTL_MOD, 0);
}

static void begin(struct connection *c) {
    c->request = &requests[next % count];
    snprintf(c->number, sizeof c->number, "%0*zu", DIGITS, next);
    next++;
    c->sent = c->have = 0;
    c->since = now();
    send_more(c);
}

static void wrong(struct connection *c, const char *what) {
    static int told;
    if (!told++) fprintf(stderr, "%s (expected %s): %.*s\n", what, c->request->expected, (int)(c->have > 600 ? 600 : c->have), c->answer);
}

/* Start over on a new connection; the request under way is lost, which its caller has counted. */
static void again(struct connection *c) {
    close(c->fd);
    c->fd = -1;
    reconnects++;
    if (broken + unanswered > MOST_FAILURES) fatal("too many requests failed");
    if (now() < until) {
        open_connection(c);
        begin(c);
    }
}

/* The value of a header in the head of `length` bytes, or NULL. */
static const char *header(const char *head, size_t length, const char *name) {
    size_t n = strlen(name);
    for (const char *line = head; line && line + n < head + length; line = memchr(line, '\n', head + length - line)) {
        if (*line == '\n') line++;
        if (line + n < head + length && !strncasecmp(line, name, n) && line[n] == ':') {
            for (line += n + 1; *line == ' '; line++) {}
            return line;
        }
    }
    return NULL;
}

/* Join the chunks in place. Returns the size of the body, or -1 as long as it is not complete. */
static long join_chunks(char *body, size_t have) {
    char *scan = body;
    for (int write = 0; write < 2; write++) { /* first look, then move */
        char *to = body;
        for (scan = body;;) {
            char *line = memmem(scan, body + have - scan, "\r\n", 2);
            if (!line) return -1;
            long size = strtol(scan, NULL, 16);
            if (line + 2 + size + 2 > body + have) return -1;
            if (size == 0) {
                if (write) return to - body;
                break;
            }
            if (write) memmove(to, line + 2, size);
            to += size;
            scan = line + 2 + size + 2;
        }
    }
    return -1;
}

static int names_class(const char *body, size_t size, const char *expected) {
    static const char key[] = "\"predicted_class\":";
    const char *found = memmem(body, size, key, sizeof key - 1), *end = body + size;
    if (!found) return 0;
    for (found += sizeof key - 1; found < end && *found == ' '; found++) {}
    size_t n = strlen(expected);
    return found + n + 2 <= end && found[0] == '"' && !memcmp(found + 1, expected, n) && found[n + 1] == '"';
}

/* Look at what has come. Returns 1 when the answer is complete, and counts it. */
static int complete(struct connection *c, int *keep) {
    char *end = memmem(c->answer, c->have, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = end + 4 - c->answer, body = c->have - head, size;
    const char *length = header(c->answer, head, "content-length"), *coding = header(c->answer, head, "transfer-encoding");
    if (coding && !strncasecmp(coding, "chunked", 7)) {
        long joined = join_chunks(c->answer + head, body);
        if (joined < 0) return 0;
        size = joined;
    } else {
        size = length ? strtoul(length, NULL, 10) : 0;
        if (body < size) return 0;
    }
    const char *closing = header(c->answer, head, "connection");
    *keep = !(closing && !strncasecmp(closing, "close", 5)) && c->sent == c->request->size;
    double at = now();
    int status = atoi(c->answer + 9);
    if (status > 0 && status < 600) statuses[status]++;
    if (status != 200) {
        wrong_status++;
        wrong(c, "wrong status");
    } else if (!names_class(c->answer + head, size, c->request->expected)) {
        wrong_class++;
        wrong(c, "wrong class");
    } else {
        if (right == room) latencies = need(realloc(latencies, (room = room * 2 + 4096) * sizeof *latencies));
        latencies[right++] = (at - c->since) * 1000;
        in_window += at <= until;
    }
    return 1;
}

static void receive(struct connection *c) {
    if (c->room - c->have < 4096) c->answer = need(realloc(c->answer, c->room = c->room * 2 + 16384));
    ssize_t got = recv(c->fd, c->answer + c->have, c->room - c->have, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        broken++;
        wrong(c, "closed in the middle");
        again(c);
        return;
    }
    bytes_in += got;
    c->have += got;
    int keep = 1;
    if (!complete(c, &keep)) return;
    if (now() >= until) {
        close(c->fd);
        c->fd = -1;
    } else if (keep) {
        begin(c);
    } else {
        again(c);
    }
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(double percent) {
    if (!right) return 0;
    size_t i = right * percent / 100;
    return latencies[i < right ? i : right - 1];
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: generator PORT FILE CONNECTIONS SECONDS START\n");
        return 2;
    }
    port = atoi(argv[1]);
    read_requests(argv[2]);
    connections = strtoul(argv[3], NULL, 10);
    double seconds = atof(argv[4]);
    next = strtoul(argv[5], NULL, 10);
    if (!count || !connections || seconds <= 0) fatal("nothing to do");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct connection *all = need(calloc(connections, sizeof *all));
    size_t first = next;
    double started = now();
    until = started + seconds;
    for (size_t i = 0; i < connections; i++) {
        open_connection(&all[i]);
        begin(&all[i]);
    }
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, 100);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) send_more(c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
        }
        size_t open = 0;
        double at = now();
        for (size_t i = 0; i < connections; i++) {
            if (all[i].fd >= 0 && at - all[i].since > PATIENCE) {
                unanswered++;
                again(&all[i]);
            }
            open += all[i].fd >= 0;
        }
        if (!open && at >= until) break;
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    qsort(latencies, right, sizeof *latencies, ascending);
    printf("{\"sent\": %zu, \"right\": %zu, \"in_window\": %zu, \"seconds\": %.3f, ", next - first, right, in_window, seconds);
    printf("\"elapsed\": %.3f, \"bytes_in\": %zu, ", now() - started, bytes_in);
    printf("\"wrong_status\": %ld, \"wrong_class\": %ld, \"broken\": %ld, \"unanswered\": %ld, ", wrong_status, wrong_class, broken, unanswered);
    printf("\"reconnects\": %ld, \"refused\": %ld, \"statuses\": {", reconnects, refused);
    for (int i = 0, some = 0; i < 600; i++)
        if (statuses[i]) printf("%s\"%d\": %ld", some++ ? ", " : "", i, statuses[i]);
    printf("}, \"p50_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, ", percentile(50), percentile(90), percentile(99), percentile(100));
    printf("\"client_cpu_s\": %.3f}\n", used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    return 0;
}
