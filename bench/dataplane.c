/*
 * The traffic of the suite dataplane. Compiled on demand by suites/dataplane.mjs.
 *
 *   dataplane serve PORT SILENT           until its parent ends: on PORT an echo, a sink (TCP) and a counter (UDP); on SILENT
 *                                         connections are taken and nothing more
 *   dataplane KIND ADDRESS PORT MS        one slice of MS milliseconds; prints one line of JSON
 *
 * KIND: `roundtrip`, one byte there and back on one TCP connection; `connect`, a TCP connection, one byte there and back,
 * closed, then the next; `packets`, UDP datagrams of 64 bytes, 64 at a time; `stream`, one TCP connection, as much as it takes.
 *
 * Both ends are on one processor, so that waking the other end costs the same each time; the receiver of a stream is on another,
 * where there is one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Slices begin with this long that does not count: neighbours are found, windows and caches grow. */
enum { WARM_UP_MS = 40, DATAGRAM = 64, WINDOW = 64, CHUNK = 1 << 17, STRETCH = 1 << 20, MAX_SAMPLES = 1 << 22 };

static const char SINK = 's';
static const char ECHO = 'e';

/* A datagram asks for the number of those that arrived since the last BEGIN, or is one of those. A question may be sent twice, and be late. */
enum { COUNTED, BEGIN, END };
struct question {
  uint64_t id;
  char kind;
};
struct answer {
  uint64_t id;
  uint64_t arrived;
};

static void die(const char *what) {
  fprintf(stderr, "Error: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int checked(int result, const char *what) {
  if (result < 0) die(what);
  return result;
}

static uint64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* The last processor that this process may use, or the first one. */
static void pin(int last) {
  static cpu_set_t allowed;
  static int known;
  if (!known) checked(sched_getaffinity(0, sizeof allowed, &allowed), "sched_getaffinity");
  known = 1;
  int chosen = -1;
  for (int cpu = 0; cpu < CPU_SETSIZE && (last || chosen < 0); cpu += 1) {
    if (CPU_ISSET(cpu, &allowed)) chosen = cpu;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(chosen, &one);
  checked(sched_setaffinity(0, sizeof one, &one), "sched_setaffinity");
}

static struct sockaddr_in address(const char *ip, const char *port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (inet_pton(AF_INET, ip, &to.sin_addr) != 1) {
    errno = EINVAL;
    die(ip);
  }
  return to;
}

static void set(int fd, int level, int option) {
  const int on = 1;
  checked(setsockopt(fd, level, option, &on, sizeof on), "setsockopt");
}

/* --- serve ------------------------------------------------------------------------------------------------------- */

static int bound(int type, const char *port) {
  const struct sockaddr_in any = address("0.0.0.0", port);
  const int fd = checked(socket(AF_INET, type, 0), "socket");
  set(fd, SOL_SOCKET, SO_REUSEADDR);
  checked(bind(fd, (const struct sockaddr *)&any, sizeof any), "bind");
  if (type == SOCK_STREAM) checked(listen(fd, 64), "listen");
  return fd;
}

static void sink(int fd) {
  static char buffer[CHUNK];
  pin(0);
  while (recv(fd, buffer, sizeof buffer, 0) > 0) continue;
  pin(1);
}

/* One connection after the other: a slice has one at a time. */
static void serve_tcp(int listener) {
  for (;;) {
    const int fd = checked(accept(listener, NULL, NULL), "accept");
    set(fd, IPPROTO_TCP, TCP_NODELAY);
    char byte;
    while (recv(fd, &byte, 1, 0) == 1) {
      if (byte == SINK) sink(fd);
      else if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1) break;
    }
    close(fd);
  }
}

static void serve_udp(int fd) {
  uint64_t taken = 0, begun = 0;
  for (;;) {
    char data[DATAGRAM];
    struct sockaddr_in from;
    struct question asked;
    socklen_t size = sizeof from;
    checked((int)recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &size), "recvfrom");
    memcpy(&asked, data, sizeof asked);
    if (asked.kind == COUNTED) {
      taken += 1;
      continue;
    }
    if (asked.kind == BEGIN && asked.id != begun) {
      begun = asked.id;
      taken = 0;
    }
    const struct answer answer = {.id = asked.id, .arrived = taken};
    sendto(fd, &answer, sizeof answer, 0, (struct sockaddr *)&from, size);
  }
}

static void end_with_parent(void) { checked(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl"); }

static void serve(const char *port, const char *silent) {
  end_with_parent();
  pin(1);
  bound(SOCK_STREAM, silent);
  const int tcp = bound(SOCK_STREAM, port);
  const int udp = bound(SOCK_DGRAM, port);
  if (checked(fork(), "fork") == 0) {
    end_with_parent();
    serve_udp(udp);
  }
  puts("ready");
  fflush(stdout);
  serve_tcp(tcp);
}

/* --- slices ------------------------------------------------------------------------------------------------------ */

static uint32_t samples[MAX_SAMPLES];
static size_t sampled;

static void sample(uint64_t nanoseconds) {
  if (sampled < MAX_SAMPLES) samples[sampled++] = nanoseconds > UINT32_MAX ? UINT32_MAX : (uint32_t)nanoseconds;
}

static int compare(const void *a, const void *b) {
  const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static double microseconds(double share) { return samples[(size_t)((double)(sampled - 1) * share)] / 1e3; }

static void sort_samples(void) {
  if (sampled == 0) {
    errno = ETIMEDOUT;
    die("the slice is too short");
  }
  qsort(samples, sampled, sizeof samples[0], compare);
}

static void print_latency(void) {
  sort_samples();
  printf("{\"count\": %zu, \"median\": %.3f, \"p99\": %.3f}\n", sampled, microseconds(0.5), microseconds(0.99));
}

/* The rate of the median stretch: a processor that others use for a while falls on few of them. */
static void print_rate(const char *name, double amount) {
  sort_samples();
  printf("{\"count\": %zu, \"%s\": %.0f}\n", sampled, name, amount * 1e6 / microseconds(0.5));
}

/* A path that swallows packets is an error, not a wait. */
static void limit_waiting(int fd) {
  const struct timeval patience = {.tv_sec = 5};
  checked(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), "SO_RCVTIMEO");
  checked(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), "SO_SNDTIMEO");
}

static int connected(const struct sockaddr_in *to) {
  const int fd = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
  set(fd, IPPROTO_TCP, TCP_NODELAY);
  limit_waiting(fd);
  checked(connect(fd, (const struct sockaddr *)to, sizeof *to), "connect");
  return fd;
}

static void there_and_back(int fd) {
  char byte = ECHO;
  if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1) die("send");
  if (recv(fd, &byte, 1, 0) != 1) die("recv");
}

static void roundtrip(const struct sockaddr_in *to, uint64_t start, uint64_t end) {
  const int fd = connected(to);
  for (uint64_t before = now(), after; before < end; before = after) {
    there_and_back(fd);
    after = now();
    if (before >= start) sample(after - before);
  }
  print_latency();
}

static void connections(const struct sockaddr_in *to, uint64_t start, uint64_t end) {
  for (uint64_t before = now(), after; before < end; before = after) {
    const int fd = connected(to);
    there_and_back(fd);
    close(fd);
    after = now();
    if (before >= start) sample(after - before);
  }
  print_latency();
}

static void stream(const struct sockaddr_in *to, uint64_t start, uint64_t end) {
  static char buffer[CHUNK];
  const int fd = connected(to);
  if (send(fd, &SINK, 1, MSG_NOSIGNAL) != 1) die("send");
  for (uint64_t before = now(), after; before < end; before = after) {
    for (size_t sent = 0; sent < STRETCH;) {
      const ssize_t more = send(fd, buffer, sizeof buffer, MSG_NOSIGNAL);
      if (more < 0) die("send");
      sent += (size_t)more;
    }
    after = now();
    if (before >= start) sample(after - before);
  }
  print_rate("bitsPerSecond", STRETCH * 8.0);
}

/* Asks until the answer to this very question comes. */
static uint64_t ask(int fd, char kind) {
  const struct question question = {.id = now(), .kind = kind};
  char data[DATAGRAM] = {0};
  memcpy(data, &question, sizeof question);
  for (int attempt = 0; attempt < 200; attempt += 1) {
    struct answer answer;
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    if (send(fd, data, sizeof data, 0) < 0) die("send");
    while (poll(&readable, 1, 20) == 1) {
      if (recv(fd, &answer, sizeof answer, 0) == sizeof answer && answer.id == question.id) return answer.arrived;
    }
  }
  errno = ETIMEDOUT;
  die("no answer to a datagram");
  return 0;
}

/*
 * A window full of datagrams, then the next when they have been taken: none is lost to a queue that is full. An answer to the first one
 * makes the connection an established one for whoever tracks it.
 */
static void packets(const struct sockaddr_in *to, uint64_t start, uint64_t end) {
  const char data[DATAGRAM] = {0};
  const int fd = checked(socket(AF_INET, SOCK_DGRAM, 0), "socket");
  checked(connect(fd, (const struct sockaddr *)to, sizeof *to), "connect");
  uint64_t sent = 0, arrived = ask(fd, BEGIN);
  for (uint64_t before = now(), after; before < end; before = after) {
    for (int at = 0; at < WINDOW; at += 1, sent += 1) {
      if (send(fd, data, sizeof data, 0) < 0) die("send");
    }
    arrived = ask(fd, END);
    after = now();
    if (before >= start) sample(after - before);
  }
  if (arrived != sent) {
    fprintf(stderr, "Error: %llu of %llu datagrams arrived\n", (unsigned long long)arrived, (unsigned long long)sent);
    exit(1);
  }
  print_rate("perSecond", WINDOW);
}

static const struct {
  const char *name;
  void (*run)(const struct sockaddr_in *to, uint64_t start, uint64_t end);
} kinds[] = {{"roundtrip", roundtrip}, {"connect", connections}, {"stream", stream}, {"packets", packets}};

int main(int argc, char **argv) {
  if (argc == 4 && strcmp(argv[1], "serve") == 0) serve(argv[2], argv[3]);
  for (size_t at = 0; argc == 5 && at < sizeof kinds / sizeof kinds[0]; at += 1) {
    if (strcmp(argv[1], kinds[at].name) != 0) continue;
    const struct sockaddr_in to = address(argv[2], argv[3]);
    pin(1);
    const uint64_t start = now() + (uint64_t)WARM_UP_MS * 1000000u;
    kinds[at].run(&to, start, start + (uint64_t)atoi(argv[4]) * 1000000u);
    return 0;
  }
  fputs("usage: dataplane serve PORT SILENT | KIND ADDRESS PORT MS\n", stderr);
  return 2;
}
