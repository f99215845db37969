/*
 * The traffic of the suite dataplane. Compiled on demand by suites/dataplane.mjs.
 *
 *   dataplane serve PORT SILENT           until its parent ends: on PORT an echo, a sink (TCP) and a counter (UDP); on SILENT
 *                                         connections are taken and nothing more
 *   dataplane KIND ADDRESS PORT MS        one slice of MS milliseconds; prints one line of JSON
 *
 * KIND: `roundtrip`, one byte there and back on one TCP connection; `connect`, a TCP connection, one byte there and back,
 * closed, then the next; `stream`, one TCP connection, as much as it takes; `packets`, UDP datagrams of 64 bytes.
 *
 * Round trips and connections have both ends on one processor, so that waking the other end costs the same each time. What is
 * sent one way has its receiver on another, where there is one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sock_diag.h>
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
enum { WARM_UP_MS = 40, DATAGRAM = 64, CHUNK = 1 << 17, MAX_SAMPLES = 1 << 22 };

static const char SINK = 's';
static const char ECHO = 'e';
static const char BEGIN = 'b';
static const char END = 'x';

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

/* Datagrams that reached the socket: the ones that it had no room for are the receiver's matter, not the path's. */
static uint64_t refused(int fd) {
  uint32_t info[SK_MEMINFO_VARS];
  socklen_t size = sizeof info;
  checked(getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size), "SO_MEMINFO");
  return info[SK_MEMINFO_DROPS];
}

static void serve_udp(int fd) {
  uint64_t taken = 0, refused_before = 0;
  pin(0);
  for (;;) {
    char data[DATAGRAM];
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    checked((int)recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &size), "recvfrom");
    if (data[0] == BEGIN) {
      taken = 0;
      refused_before = refused(fd);
    } else if (data[0] != END) {
      taken += 1;
      continue;
    }
    const uint64_t arrived = taken + refused(fd) - refused_before;
    sendto(fd, &arrived, sizeof arrived, 0, (struct sockaddr *)&from, size);
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

static void print_samples(uint64_t elapsed) {
  if (sampled == 0) {
    errno = ETIMEDOUT;
    die("nothing came back");
  }
  qsort(samples, sampled, sizeof samples[0], compare);
  printf("{\"count\": %zu, \"perSecond\": %.1f, \"median\": %.3f, \"p99\": %.3f}\n", sampled,
         (double)sampled * 1e9 / (double)elapsed, microseconds(0.5), microseconds(0.99));
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
  print_samples(now() - start);
}

static void connections(const struct sockaddr_in *to, uint64_t start, uint64_t end) {
  for (uint64_t before = now(), after; before < end; before = after) {
    const int fd = connected(to);
    there_and_back(fd);
    close(fd);
    after = now();
    if (before >= start) sample(after - before);
  }
  print_samples(now() - start);
}

static void stream(const struct sockaddr_in *to, uint64_t start, uint64_t end) {
  static char buffer[CHUNK];
  const int fd = connected(to);
  uint64_t sent = 0, began = 0, at;
  if (send(fd, &SINK, 1, MSG_NOSIGNAL) != 1) die("send");
  while ((at = now()) < end) {
    if (began == 0 && at >= start) began = at, sent = 0;
    const ssize_t more = send(fd, buffer, sizeof buffer, MSG_NOSIGNAL);
    if (more < 0) die("send");
    sent += (uint64_t)more;
  }
  printf("{\"bytes\": %llu, \"bitsPerSecond\": %.0f}\n", (unsigned long long)sent,
         (double)sent * 8e9 / (double)(at - began));
}

/* Sends `kind` until the number comes back: of datagrams that have arrived since the last BEGIN. */
static uint64_t ask(int fd, char kind) {
  char data[DATAGRAM] = {kind};
  for (int attempt = 0; attempt < 100; attempt += 1) {
    uint64_t arrived;
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    if (send(fd, data, sizeof data, 0) < 0) die("send");
    if (poll(&readable, 1, 20) == 1 && recv(fd, &arrived, sizeof arrived, 0) == sizeof arrived) return arrived;
  }
  errno = ETIMEDOUT;
  die("no answer to a datagram");
  return 0;
}

static uint64_t blast(int fd, uint64_t end) {
  const char data[DATAGRAM] = {0};
  uint64_t sent = 0;
  /* The clock is looked at seldom: it would be a part of what is measured. */
  for (; sent % 64 != 0 || now() < end; sent += 1) {
    if (send(fd, data, sizeof data, 0) < 0) die("send");
  }
  return sent;
}

/* An answer to the first datagram makes the connection an established one for whoever tracks it. */
static void packets(const struct sockaddr_in *to, uint64_t start, uint64_t end) {
  const int fd = checked(socket(AF_INET, SOCK_DGRAM, 0), "socket");
  checked(connect(fd, (const struct sockaddr *)to, sizeof *to), "connect");
  ask(fd, BEGIN);
  blast(fd, start);
  ask(fd, BEGIN);
  const uint64_t began = now();
  const uint64_t sent = blast(fd, end);
  const uint64_t took = now() - began;
  const uint64_t arrived = ask(fd, END);
  printf("{\"sent\": %llu, \"arrived\": %llu, \"perSecond\": %.0f}\n", (unsigned long long)sent,
         (unsigned long long)arrived, (double)arrived * 1e9 / (double)took);
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
