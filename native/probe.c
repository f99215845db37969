/*
 * vpcctl-probe: sends probes from the network namespace it is started in, answers those of others, and tells what has arrived.
 *
 * It says `ready ID` and then answers lines of standard input; ID, 16 hexadecimal digits, is in each of its answers to the network.
 *
 *   listen tcp|udp|icmp PORT          listen ok|ERRNO
 *       Answers probes there (icmp, port 0: the kernel does) and takes account of what arrives, whoever has the port.
 *   probe NUMBER tcp|udp|icmp ADDRESS PORT MS [SOURCE]
 *       result NUMBER VERDICT MICROSECONDS SOURCEPORT TOKEN ADDRESS|- PORT|- ID|-|ERRNO
 *       When it is decided. `answered`: by a vpcctl-probe, which saw ADDRESS and PORT and is ID; by the kernel (icmp). `open`: by another program.
 *       `refused`, `unreachable`, `timeout`, `error`. Every attempt has a source port (icmp: an identifier) of its own, by turns.
 *   arrivals                          arrival PROTOCOL ADDRESS SOURCEPORT PORT TOKEN|-, each once; then arrivals LOST
 *       Since this was asked last. Of TCP the first segments, to ports of `listen`.
 *
 * A line that is none of these ends it with 2, and so does nothing from the network. It ends with standard input, or with its parent. It opens
 * no file, and of its capabilities it keeps the one for ports below 1024 once its raw sockets are open. Exit status 125: it could not begin.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/icmp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "errno-name.h"

enum {
  kFailed = 125,
  kNoRequest = 2,
  /* The same in src/kernel/prober.ts. */
  kInFlight = 512,
  kListeners = 64,
  /* Connections that wait for the other side to close. */
  kGuests = 1024,
  kGuestMs = 2000,
  /* A power of two. */
  kArrivals = 1 << 15,
  kMaxTimeoutMs = 60000,
  kLine = 128,
  kBatch = 64,
  kAttempts = 2,
  kSends = 3,
  /* The kernel repeats a connection's first segment after a second. */
  kOwnRetryBelowMs = 2000,
  kFirstPort = 32768,
  kLastPort = 60999,
  kPortTries = 256,
};

enum Protocol { kTcp, kUdp, kIcmp, kProtocols };
static const char* const kNames[kProtocols] = {"tcp", "udp", "icmp"};
static const int kNumbers[kProtocols] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP};

static const char kUnnamed[] = "EUNNAMED";

/* What epoll gives back: what it is about, and which. */
enum About { kInput, kRaw, kListener, kGuest, kProbe, kProbeAgain };

struct Probe {
  int used;
  uint32_t number;
  enum Protocol protocol;
  struct in_addr to;
  struct in_addr from;
  uint16_t port;
  uint32_t timeout_ms;
  uint64_t token;
  int64_t begun;
  int sent;
  int fds[kAttempts];
  uint16_t ports[kAttempts];
  int64_t sent_at[kAttempts];
  /* Index of the attempt that is connected, and when it became so. */
  int connected;
  int64_t connected_at;
};

struct Listener {
  int fd;
  enum Protocol protocol;
  uint16_t port;
};

struct Guest {
  int fd;
  int64_t since;
};

struct Arrival {
  uint64_t token;
  uint32_t source;
  uint16_t source_port;
  uint16_t port;
  uint8_t protocol;
  uint8_t used;
};

static struct Probe probes[kInFlight];
static struct Listener listeners[kListeners];
static int listener_count;
static struct Guest guests[kGuests];
static struct Arrival arrivals[kArrivals];
static uint32_t arrival_count;
static uint32_t arrivals_lost;
static int raw[kProtocols];
static int epoll = -1;
static uint64_t own_id;
static uint16_t next_port;
static uint16_t next_echo;

/* A probe's words to whoever it reaches, and the answer, which is no longer. */
static const char kAsk[] = "vpcctl-probe ask ";
static const char kSaw[] = "vpcctl-probe saw ";
enum { kToken = 16, kAskLength = 72 };

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static uint64_t random_number(void) {
  uint64_t number;
  if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) _exit(kFailed);
  return number;
}

static int fail(const char* what) {
  const int error = errno;
  fprintf(stderr, "vpcctl-probe: %s: %s (%s)\n", what, errno_name(error, kUnnamed), strerror(error));
  return kFailed;
}

/* --- what it says -------------------------------------------------------------------------------------------------- */

static char output[1 << 16];
static size_t output_length;

static void flush_output(void) {
  for (size_t at = 0; at < output_length;) {
    const ssize_t done = write(STDOUT_FILENO, output + at, output_length - at);
    if (done < 0 && errno == EINTR) continue;
    /* Nobody listens any more. */
    if (done <= 0) _exit(0);
    at += (size_t)done;
  }
  output_length = 0;
}

__attribute__((format(printf, 1, 2))) static void say(const char* format, ...) {
  if (sizeof output - output_length < 2 * kLine) flush_output();
  va_list values;
  va_start(values, format);
  const int length = vsnprintf(output + output_length, sizeof output - output_length, format, values);
  va_end(values);
  if (length > 0) output_length += (size_t)length;
}

/* --- text ------------------------------------------------------------------------------------------------------------ */

/* Takes a number in digits without leading zeros, up to `most`. */
static int take_number(const char** at, uint32_t most, uint32_t* number) {
  const char* digit = *at;
  uint64_t value = 0;
  for (; *digit >= '0' && *digit <= '9'; digit += 1) {
    if (digit - *at >= 10 || (value == 0 && digit != *at)) return 0;
    value = value * 10 + (uint64_t)(*digit - '0');
  }
  if (digit == *at || value > most) return 0;
  *number = (uint32_t)value;
  *at = digit;
  return 1;
}

static int take_text(const char** at, const char* text) {
  const size_t length = strlen(text);
  if (strncmp(*at, text, length) != 0) return 0;
  *at += length;
  return 1;
}

static int take_address(const char** at, struct in_addr* address) {
  char word[INET_ADDRSTRLEN];
  const size_t length = strspn(*at, "0123456789.");
  if (length == 0 || length >= sizeof word) return 0;
  memcpy(word, *at, length);
  word[length] = '\0';
  *at += length;
  return inet_pton(AF_INET, word, address) == 1;
}

static int take_protocol(const char** at, enum Protocol* protocol) {
  for (int one = 0; one < kProtocols; one += 1) {
    if (!take_text(at, kNames[one])) continue;
    *protocol = (enum Protocol)one;
    return 1;
  }
  return 0;
}

/* 16 hexadecimal digits of lower case. */
static int take_token(const char** at, uint64_t* token) {
  uint64_t value = 0;
  for (int digit = 0; digit < kToken; digit += 1) {
    const char one = (*at)[digit];
    if (one >= '0' && one <= '9') {
      value = value << 4 | (uint64_t)(one - '0');
    } else if (one >= 'a' && one <= 'f') {
      value = value << 4 | (uint64_t)(one - 'a' + 10);
    } else {
      return 0;
    }
  }
  *token = value;
  *at += kToken;
  return 1;
}

static void make_ask(char* text, uint64_t token) {
  memset(text, ' ', kAskLength);
  char words[sizeof kAsk + kToken];
  snprintf(words, sizeof words, "%s%016" PRIx64, kAsk, token);
  memcpy(text, words, sizeof words - 1);
}

/* `data` need not end with a zero. */
static int read_ask(const void* data, size_t length, uint64_t* token) {
  if (length != kAskLength) return 0;
  char text[kAskLength + 1];
  memcpy(text, data, kAskLength);
  text[kAskLength] = '\0';
  const char* at = text;
  return take_text(&at, kAsk) && take_token(&at, token);
}

static int make_saw(char text[kLine], const struct sockaddr_in* peer, uint64_t token) {
  char address[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &peer->sin_addr, address, sizeof address);
  return snprintf(text, kLine, "%s%016" PRIx64 " %s %u %016" PRIx64 "\n", kSaw, own_id, address, ntohs(peer->sin_port), token);
}

struct Saw {
  uint64_t id;
  struct in_addr address;
  uint32_t port;
};

static int read_saw(const char* text, uint64_t token, struct Saw* saw) {
  uint64_t of;
  return take_text(&text, kSaw) && take_token(&text, &saw->id) && take_text(&text, " ") && take_address(&text, &saw->address) &&
         take_text(&text, " ") && take_number(&text, UINT16_MAX, &saw->port) && take_text(&text, " ") && take_token(&text, &of) &&
         of == token && strcmp(text, "\n") == 0;
}

/* --- sockets --------------------------------------------------------------------------------------------------------- */

static int watch(int fd, uint32_t events, enum About about, uint32_t which, int operation) {
  struct epoll_event event = {.events = events, .data.u64 = (uint64_t)about << 32 | which};
  return epoll_ctl(epoll, operation, fd, &event);
}

/* Nothing of it stays in the kernel: a socket that closes in its own time would keep the namespace alive. */
static void close_now(int* fd) {
  if (*fd < 0) return;
  const struct linger at_once = {1, 0};
  setsockopt(*fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(*fd);
  *fd = -1;
}

static int turn_on(int fd, int level, int option) {
  const int on = 1;
  return setsockopt(fd, level, option, &on, sizeof on);
}

/* First segments of connections, and datagrams that begin as ours do: all else is left out in the kernel. */
static struct sock_filter kTcpFilter[] = {
    BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
    BPF_STMT(BPF_LD | BPF_B | BPF_IND, 13),
    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    BPF_STMT(BPF_RET | BPF_K, 0),
};
static struct sock_filter kUdpFilter[] = {
    BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
    BPF_STMT(BPF_LD | BPF_W | BPF_IND, 8),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x76706363 /* vpcc */, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    BPF_STMT(BPF_RET | BPF_K, 0),
};

static int filter_raw(int fd, enum Protocol protocol) {
  if (protocol == kIcmp) {
    const struct icmp_filter unwanted = {
        ~(1U << ICMP_ECHOREPLY | 1U << ICMP_DEST_UNREACH | 1U << ICMP_ECHO | 1U << ICMP_TIME_EXCEEDED)};
    return setsockopt(fd, SOL_RAW, ICMP_FILTER, &unwanted, sizeof unwanted);
  }
  const struct sock_fprog program = protocol == kTcp
                                        ? (struct sock_fprog){sizeof kTcpFilter / sizeof *kTcpFilter, kTcpFilter}
                                        : (struct sock_fprog){sizeof kUdpFilter / sizeof *kUdpFilter, kUdpFilter};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static int open_raw(void) {
  for (int one = 0; one < kProtocols; one += 1) {
    raw[one] = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, kNumbers[one]);
    if (raw[one] < 0) return fail("a raw socket");
    if (filter_raw(raw[one], (enum Protocol)one) != 0) return fail("the filter of a raw socket");
    /* Most that anybody may have; it may be less. */
    const int size = 1 << 20;
    setsockopt(raw[one], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (watch(raw[one], EPOLLIN, kRaw, (uint32_t)one, EPOLL_CTL_ADD) != 0) return fail("epoll");
  }
  return 0;
}

/* --- arrivals -------------------------------------------------------------------------------------------------------- */

static int is_watched(enum Protocol protocol, uint16_t port) {
  for (int one = 0; one < listener_count; one += 1) {
    if (listeners[one].protocol == protocol && listeners[one].port == port) return 1;
  }
  return 0;
}

static void note_arrival(struct Arrival found) {
  uint64_t hash = found.token ^ (uint64_t)found.source << 32 ^ (uint64_t)found.source_port << 16 ^ found.port ^ found.protocol;
  hash = (hash ^ hash >> 31) * UINT64_C(0x9e3779b97f4a7c15);
  found.used = 1;
  for (uint32_t at = (uint32_t)(hash >> 40) % kArrivals;; at = (at + 1) % kArrivals) {
    struct Arrival* one = &arrivals[at];
    if (!one->used) {
      if (arrival_count == kArrivals / 2) {
        arrivals_lost += 1;
        return;
      }
      *one = found;
      arrival_count += 1;
      return;
    }
    if (one->token == found.token && one->source == found.source && one->source_port == found.source_port &&
        one->port == found.port && one->protocol == found.protocol)
      return;
  }
}

static void tell_arrivals(void) {
  for (uint32_t at = 0; at < kArrivals && arrival_count > 0; at += 1) {
    const struct Arrival* one = &arrivals[at];
    if (!one->used) continue;
    char address[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &one->source, address, sizeof address);
    say("arrival %s %s %u %u ", kNames[one->protocol], address, one->source_port, one->port);
    if (one->protocol == kTcp) {
      say("-\n");
    } else {
      say("%016" PRIx64 "\n", one->token);
    }
  }
  say("arrivals %" PRIu32 "\n", arrivals_lost);
  memset(arrivals, 0, sizeof arrivals);
  arrival_count = 0;
  arrivals_lost = 0;
}

/* --- probes ---------------------------------------------------------------------------------------------------------- */

static void tell_result(struct Probe* probe, const char* verdict, int attempt, int64_t at, const struct Saw* saw, const char* error) {
  say("result %" PRIu32 " %s %" PRId64 " %u %016" PRIx64 " ", probe->number, verdict, at - probe->sent_at[attempt],
      probe->ports[attempt], probe->token);
  if (saw != NULL) {
    char address[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &saw->address, address, sizeof address);
    say("%s %" PRIu32 " %016" PRIx64 "\n", address, saw->port, saw->id);
  } else {
    say("- - %s\n", error);
  }
  for (int one = 0; one < kAttempts; one += 1) close_now(&probe->fds[one]);
  probe->used = 0;
}

static void tell_failure(struct Probe* probe, int attempt, int error) {
  const char* verdict = "error";
  if (error == ECONNREFUSED) verdict = "refused";
  if (error == EHOSTUNREACH || error == ENETUNREACH || error == EHOSTDOWN) verdict = "unreachable";
  if (error == ETIMEDOUT) verdict = "timeout";
  tell_result(probe, verdict, attempt, now_us(), NULL, errno_name(error, kUnnamed));
}

/* Every port has its turn before one comes again, so that no attempt is taken for a part of what was before. */
static uint16_t take_port(void) {
  const uint16_t port = next_port;
  next_port = port == kLastPort ? kFirstPort : (uint16_t)(port + 1);
  return port;
}

static int bind_own(int fd, const struct Probe* probe, uint16_t* port) {
  for (int tries = 0; tries < kPortTries; tries += 1) {
    *port = take_port();
    const struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(*port), .sin_addr = probe->from};
    if (bind(fd, (const struct sockaddr*)&own, sizeof own) == 0) return 0;
    if (errno != EADDRINUSE) return -1;
  }
  return -1;
}

/* Opens the attempt's socket and connects it; an errno when that fails. */
static int open_attempt(struct Probe* probe, int attempt) {
  const int type = probe->protocol == kTcp ? SOCK_STREAM : SOCK_DGRAM;
  const int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  probe->fds[attempt] = fd;
  const uint32_t which = (uint32_t)(probe - probes);
  const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(probe->port), .sin_addr = probe->to};
  if (probe->protocol == kUdp && turn_on(fd, IPPROTO_IP, IP_RECVERR) != 0) return errno;
  if (bind_own(fd, probe, &probe->ports[attempt]) != 0) return errno;
  if (connect(fd, (const struct sockaddr*)&to, sizeof to) != 0 && errno != EINPROGRESS) return errno;
  const uint32_t events = probe->protocol == kTcp ? EPOLLOUT : EPOLLIN;
  return watch(fd, events, attempt == 0 ? kProbe : kProbeAgain, which, EPOLL_CTL_ADD) == 0 ? 0 : errno;
}

static uint16_t checksum(const void* data, size_t length) {
  const uint8_t* bytes = data;
  uint32_t sum = 0;
  for (size_t at = 0; at + 1 < length; at += 2) sum += (uint32_t)bytes[at] << 8 | bytes[at + 1];
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return htons((uint16_t)~sum);
}

static int send_echo(const struct Probe* probe) {
  struct {
    struct icmphdr header;
    char ask[kAskLength];
  } packet = {.header = {.type = ICMP_ECHO}};
  packet.header.un.echo.id = htons(probe->ports[0]);
  packet.header.un.echo.sequence = htons((uint16_t)(probe->sent + 1));
  make_ask(packet.ask, probe->token);
  packet.header.checksum = checksum(&packet, sizeof packet);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = probe->to};
  struct iovec part = {&packet, sizeof packet};
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(struct in_pktinfo))];
  } control = {.space = {0}};
  struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1};
  if (probe->from.s_addr != 0) {
    message.msg_control = &control;
    message.msg_controllen = sizeof control.space;
    control.header.cmsg_level = IPPROTO_IP;
    control.header.cmsg_type = IP_PKTINFO;
    control.header.cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    const struct in_pktinfo own = {.ipi_spec_dst = probe->from};
    memcpy(CMSG_DATA(&control.header), &own, sizeof own);
  }
  return sendmsg(raw[kIcmp], &message, 0) < 0 ? errno : 0;
}

/* Sends the next attempt; false when the probe is decided. What the kernel has no room for now is as good as lost. */
static int send_attempt(struct Probe* probe) {
  int error = 0;
  const int attempt = probe->protocol == kTcp ? probe->sent : 0;
  /* Before it is sent: on this machine the answer may be there when that returns. */
  if (probe->protocol == kTcp || probe->sent == 0) probe->sent_at[attempt] = now_us();
  switch (probe->protocol) {
    case kTcp:
      error = open_attempt(probe, attempt);
      break;
    case kUdp:
      if (probe->sent == 0) error = open_attempt(probe, 0);
      if (error == 0) {
        char ask[kAskLength];
        make_ask(ask, probe->token);
        if (send(probe->fds[0], ask, sizeof ask, 0) < 0) error = errno;
      }
      break;
    default:
      error = send_echo(probe);
  }
  probe->sent += 1;
  if (error == 0 || error == ENOBUFS || error == EAGAIN) return 1;
  /* The first attempt is under way. */
  if (attempt > 0) {
    close_now(&probe->fds[attempt]);
    return 1;
  }
  tell_failure(probe, attempt, error);
  return 0;
}

static int64_t deadline_of(const struct Probe* probe) { return probe->begun + (int64_t)probe->timeout_ms * 1000; }

/* When the next attempt is due; after the deadline when there is none. */
static int64_t retry_of(const struct Probe* probe) {
  const int all = probe->protocol != kTcp ? kSends : probe->timeout_ms < kOwnRetryBelowMs ? kAttempts : 1;
  if (probe->sent >= all || probe->connected >= 0) return INT64_MAX;
  return probe->begun + (int64_t)probe->timeout_ms * 1000 * probe->sent / all;
}

static void begin_probe(struct Probe asked) {
  struct Probe* probe = NULL;
  for (int one = 0; one < kInFlight && probe == NULL; one += 1) {
    if (!probes[one].used) probe = &probes[one];
  }
  if (probe == NULL) {
    say("result %" PRIu32 " error 0 0 %016" PRIx64 " - - ENOBUFS\n", asked.number, asked.token);
    return;
  }
  *probe = asked;
  probe->used = 1;
  probe->begun = now_us();
  probe->connected = -1;
  for (int one = 0; one < kAttempts; one += 1) {
    probe->fds[one] = -1;
    probe->sent_at[one] = probe->begun;
  }
  if (probe->protocol == kIcmp) probe->ports[0] = next_echo++;
  send_attempt(probe);
}

static void on_connecting(struct Probe* probe, int attempt) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(probe->fds[attempt], SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) {
    tell_failure(probe, attempt, error);
    return;
  }
  probe->connected = attempt;
  probe->connected_at = now_us();
  close_now(&probe->fds[1 - attempt]);
  if (watch(probe->fds[attempt], EPOLLIN, attempt == 0 ? kProbe : kProbeAgain, (uint32_t)(probe - probes), EPOLL_CTL_MOD) != 0) {
    tell_result(probe, "open", attempt, probe->connected_at, NULL, "-");
  }
}

static void on_probe(struct Probe* probe, int attempt) {
  if (!probe->used || probe->fds[attempt] < 0) return;
  if (probe->protocol == kTcp && probe->connected != attempt) {
    on_connecting(probe, attempt);
    return;
  }
  const int64_t at = probe->protocol == kTcp ? probe->connected_at : now_us();
  char text[kLine + 1];
  const ssize_t got = recv(probe->fds[attempt], text, kLine, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got < 0 && probe->protocol == kUdp) {
    tell_failure(probe, attempt, errno);
    return;
  }
  text[got < 0 ? 0 : got] = '\0';
  struct Saw saw;
  if (got > 0 && read_saw(text, probe->protocol == kTcp ? 0 : probe->token, &saw)) {
    tell_result(probe, "answered", attempt, at, &saw, "-");
  } else {
    tell_result(probe, "open", attempt, at, NULL, "-");
  }
}

static void on_time(int64_t now) {
  for (int one = 0; one < kInFlight; one += 1) {
    struct Probe* probe = &probes[one];
    if (!probe->used) continue;
    if (now >= deadline_of(probe)) {
      if (probe->connected >= 0) {
        tell_result(probe, "open", probe->connected, probe->connected_at, NULL, "-");
      } else {
        tell_failure(probe, 0, ETIMEDOUT);
      }
    } else if (now >= retry_of(probe)) {
      send_attempt(probe);
    }
  }
  for (int one = 0; one < kGuests; one += 1) {
    if (guests[one].fd >= 0 && now >= guests[one].since + kGuestMs * 1000) close_now(&guests[one].fd);
  }
}

/* Milliseconds until something is due, rounded up; -1: nothing is. */
static int patience(int64_t now) {
  int64_t due = INT64_MAX;
  for (int one = 0; one < kInFlight; one += 1) {
    if (!probes[one].used) continue;
    const int64_t next = retry_of(&probes[one]) < deadline_of(&probes[one]) ? retry_of(&probes[one]) : deadline_of(&probes[one]);
    if (next < due) due = next;
  }
  for (int one = 0; one < kGuests; one += 1) {
    if (guests[one].fd >= 0 && guests[one].since + kGuestMs * 1000 < due) due = guests[one].since + kGuestMs * 1000;
  }
  if (due == INT64_MAX) return -1;
  return due <= now ? 0 : (int)((due - now + 999) / 1000);
}

/* --- raw sockets ----------------------------------------------------------------------------------------------------- */

static uint16_t word_at(const uint8_t* bytes) { return (uint16_t)(bytes[0] << 8 | bytes[1]); }

/* The echo request that this identifier and address are of, if it is ours. */
static struct Probe* echo_of(uint16_t identifier, struct in_addr to) {
  for (int one = 0; one < kInFlight; one += 1) {
    struct Probe* probe = &probes[one];
    if (probe->used && probe->protocol == kIcmp && probe->ports[0] == identifier && probe->to.s_addr == to.s_addr) return probe;
  }
  return NULL;
}

/* The length of an IPv4 header that is whole, with at least 8 bytes behind it; else 0. */
static size_t header_length(const uint8_t* packet, size_t length) {
  if (length < 20 || packet[0] >> 4 != 4) return 0;
  const size_t header = (size_t)(packet[0] & 15) * 4;
  return header >= 20 && length >= header + 8 ? header : 0;
}

static void on_icmp(const uint8_t* packet, size_t length, struct in_addr source) {
  uint64_t token = 0;
  switch (packet[0]) {
    case ICMP_ECHO:
      if (!is_watched(kIcmp, 0) || !read_ask(packet + 8, length - 8, &token)) return;
      note_arrival((struct Arrival){.token = token, .source = source.s_addr, .source_port = word_at(packet + 4), .protocol = kIcmp});
      return;
    case ICMP_ECHOREPLY: {
      struct Probe* probe = echo_of(word_at(packet + 4), source);
      if (probe == NULL || !read_ask(packet + 8, length - 8, &token) || token != probe->token) return;
      tell_result(probe, "answered", 0, now_us(), NULL, "-");
      return;
    }
    default: {
      const uint8_t* about = packet + 8;
      const size_t header = header_length(about, length - 8);
      if (header == 0 || about[9] != IPPROTO_ICMP || about[header] != ICMP_ECHO) return;
      struct in_addr to;
      memcpy(&to, about + 16, sizeof to);
      struct Probe* probe = echo_of(word_at(about + header + 4), to);
      if (probe != NULL) tell_failure(probe, 0, EHOSTUNREACH);
    }
  }
}

static void on_raw(enum Protocol protocol) {
  for (int count = 0; count < kBatch; count += 1) {
    uint8_t packet[2048];
    const ssize_t got = recv(raw[protocol], packet, sizeof packet, 0);
    if (got < 0) return;
    const size_t header = header_length(packet, (size_t)got);
    if (header == 0) continue;
    const uint8_t* inner = packet + header;
    const size_t length = (size_t)got - header;
    struct in_addr source;
    memcpy(&source, packet + 12, sizeof source);
    if (protocol == kIcmp) {
      on_icmp(inner, length, source);
      continue;
    }
    struct Arrival found = {
        .source = source.s_addr, .source_port = word_at(inner), .port = word_at(inner + 2), .protocol = (uint8_t)protocol};
    if (!is_watched(protocol, found.port)) continue;
    if (protocol == kUdp && !read_ask(inner + 8, length - 8, &found.token)) continue;
    note_arrival(found);
  }
}

/* --- listeners ------------------------------------------------------------------------------------------------------- */

static int open_listener(enum Protocol protocol, uint16_t port, uint32_t which) {
  const int type = protocol == kTcp ? SOCK_STREAM : SOCK_DGRAM;
  const int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
  const int ready = (protocol == kTcp ? turn_on(fd, SOL_SOCKET, SO_REUSEADDR) : turn_on(fd, IPPROTO_IP, IP_PKTINFO)) == 0 &&
                    bind(fd, (const struct sockaddr*)&own, sizeof own) == 0 && (protocol != kTcp || listen(fd, kGuests) == 0) &&
                    watch(fd, EPOLLIN, kListener, which, EPOLL_CTL_ADD) == 0;
  if (ready) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

static void begin_listening(enum Protocol protocol, uint16_t port) {
  if (is_watched(protocol, port)) {
    say("listen EALREADY\n");
    return;
  }
  if (listener_count == kListeners) {
    say("listen ENOBUFS\n");
    return;
  }
  struct Listener* one = &listeners[listener_count];
  *one = (struct Listener){-1, protocol, port};
  errno = 0;
  if (protocol != kIcmp) one->fd = open_listener(protocol, port, (uint32_t)listener_count);
  say("listen %s\n", protocol == kIcmp || one->fd >= 0 ? "ok" : errno_name(errno, kUnnamed));
  listener_count += 1;
}

/* A place for one more; the guest that has been here longest goes when all are taken. */
static uint32_t place_for_guest(void) {
  uint32_t oldest = 0;
  for (uint32_t one = 0; one < kGuests; one += 1) {
    if (guests[one].fd < 0) return one;
    if (guests[one].since < guests[oldest].since) oldest = one;
  }
  close_now(&guests[oldest].fd);
  return oldest;
}

static void accept_guests(int fd) {
  for (int count = 0; count < kBatch; count += 1) {
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    int guest = accept4(fd, (struct sockaddr*)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (guest < 0) return;
    const uint32_t place = place_for_guest();
    char text[kLine];
    const int length = make_saw(text, &peer, 0);
    /* The other side closes first: what is sent cannot be lost by our closing, nor does the kernel have to go on with it. */
    if (send(guest, text, (size_t)length, MSG_NOSIGNAL) != length ||
        watch(guest, EPOLLIN | EPOLLRDHUP, kGuest, place, EPOLL_CTL_ADD) != 0) {
      close_now(&guest);
      continue;
    }
    guests[place] = (struct Guest){guest, now_us()};
  }
}

/* Answers from the address that was asked, not from the one that the route back prefers. */
static void answer_datagrams(int fd) {
  for (int count = 0; count < kBatch; count += 1) {
    struct sockaddr_in peer;
    char text[kLine];
    struct iovec part = {text, sizeof text};
    union {
      struct cmsghdr header;
      char space[CMSG_SPACE(sizeof(struct in_pktinfo))];
    } control;
    struct msghdr message = {.msg_name = &peer,
                             .msg_namelen = sizeof peer,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.space};
    const ssize_t got = recvmsg(fd, &message, 0);
    if (got < 0) return;
    uint64_t token;
    if ((message.msg_flags & MSG_TRUNC) != 0 || !read_ask(text, (size_t)got, &token)) continue;
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == NULL || header->cmsg_level != IPPROTO_IP || header->cmsg_type != IP_PKTINFO) continue;
    struct in_pktinfo asked;
    memcpy(&asked, CMSG_DATA(header), sizeof asked);
    const struct in_pktinfo own = {.ipi_spec_dst = asked.ipi_addr};
    memcpy(CMSG_DATA(header), &own, sizeof own);
    part.iov_len = (size_t)make_saw(text, &peer, token);
    /* What cannot be sent is asked for again. */
    (void)!sendmsg(fd, &message, MSG_NOSIGNAL);
  }
}

static void on_guest(struct Guest* guest) {
  char ignored[256];
  if (guest->fd < 0) return;
  const ssize_t got = recv(guest->fd, ignored, sizeof ignored, 0);
  if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) return;
  close_now(&guest->fd);
}

/* --- standard input -------------------------------------------------------------------------------------------------- */

static int take_listen(const char* at) {
  enum Protocol protocol;
  uint32_t port;
  if (!take_text(&at, "listen ") || !take_protocol(&at, &protocol) || !take_text(&at, " ") || !take_number(&at, UINT16_MAX, &port) ||
      *at != '\0' || (protocol == kIcmp) != (port == 0))
    return 0;
  begin_listening(protocol, (uint16_t)port);
  return 1;
}

static int take_probe(const char* at) {
  struct Probe asked = {.used = 0};
  uint32_t port;
  if (!take_text(&at, "probe ") || !take_number(&at, UINT32_MAX, &asked.number) || !take_text(&at, " ") ||
      !take_protocol(&at, &asked.protocol) || !take_text(&at, " ") || !take_address(&at, &asked.to) || !take_text(&at, " ") ||
      !take_number(&at, UINT16_MAX, &port) || !take_text(&at, " ") || !take_number(&at, kMaxTimeoutMs, &asked.timeout_ms))
    return 0;
  if (*at != '\0' && (!take_text(&at, " ") || !take_address(&at, &asked.from))) return 0;
  if (*at != '\0' || asked.timeout_ms == 0 || (asked.protocol == kIcmp) != (port == 0)) return 0;
  asked.port = (uint16_t)port;
  asked.token = random_number();
  begin_probe(asked);
  return 1;
}

static void take_line(const char* line) {
  if (strcmp(line, "arrivals") == 0) {
    /* What has come before it was asked belongs to the answer. */
    for (int one = 0; one < kProtocols; one += 1) on_raw((enum Protocol)one);
    tell_arrivals();
    return;
  }
  if (take_listen(line) || take_probe(line)) return;
  fprintf(stderr, "vpcctl-probe: no request: %.40s\n", line);
  flush_output();
  _exit(kNoRequest);
}

static char input[1 << 14];
static size_t input_length;

static void on_input(void) {
  const ssize_t got = read(STDIN_FILENO, input + input_length, sizeof input - input_length);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (got <= 0) _exit(0);
  input_length += (size_t)got;
  size_t begin = 0;
  for (char* end; (end = memchr(input + begin, '\n', input_length - begin)) != NULL;) {
    *end = '\0';
    /* A zero inside of a line would hide what is behind it. */
    const size_t length = (size_t)(end - input) - begin;
    take_line(length < kLine && strlen(input + begin) == length ? input + begin : "");
    begin += length + 1;
  }
  input_length -= begin;
  memmove(input, input + begin, input_length);
  if (input_length >= kLine) take_line("");
}

/* --- the whole ------------------------------------------------------------------------------------------------------- */

static int drop_caps(void) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail("PR_SET_NO_NEW_PRIVS");
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct sets[2];
  if (syscall(SYS_capget, &header, sets) != 0) return fail("capget");
  const uint32_t kept = sets[0].permitted & UINT32_C(1) << CAP_NET_BIND_SERVICE;
  sets[0] = (struct __user_cap_data_struct){.effective = kept, .permitted = kept};
  sets[1] = (struct __user_cap_data_struct){.effective = 0};
  return syscall(SYS_capset, &header, sets) != 0 ? fail("capset") : 0;
}

static int begin(void) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return fail("PR_SET_PDEATHSIG");
  /* Others that are root in the namespace must not trace it. */
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return fail("PR_SET_DUMPABLE");
  signal(SIGPIPE, SIG_IGN);
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return fail("epoll");
  int status = open_raw();
  if (status == 0) status = drop_caps();
  if (status != 0) return status;
  if (watch(STDIN_FILENO, EPOLLIN, kInput, 0, EPOLL_CTL_ADD) != 0) return fail("standard input");
  for (int one = 0; one < kGuests; one += 1) guests[one].fd = -1;
  own_id = random_number();
  next_port = (uint16_t)(kFirstPort + random_number() % (kLastPort - kFirstPort + 1));
  next_echo = (uint16_t)random_number();
  say("ready %016" PRIx64 "\n", own_id);
  return 0;
}

static void on_event(enum About about, uint32_t which) {
  switch (about) {
    case kRaw:
      on_raw((enum Protocol)which);
      return;
    case kListener:
      (listeners[which].protocol == kTcp ? accept_guests : answer_datagrams)(listeners[which].fd);
      return;
    case kGuest:
      on_guest(&guests[which]);
      return;
    case kProbe:
    case kProbeAgain:
      on_probe(&probes[which], about == kProbe ? 0 : 1);
      return;
    case kInput:
      return;
  }
}

int main(void) {
  const int status = begin();
  if (status != 0) return status;
  for (;;) {
    flush_output();
    struct epoll_event events[kBatch];
    const int count = epoll_wait(epoll, events, kBatch, patience(now_us()));
    if (count < 0 && errno != EINTR) return fail("epoll");
    int is_asked = 0;
    for (int one = 0; one < count; one += 1) {
      const enum About about = (enum About)(events[one].data.u64 >> 32);
      if (about == kInput) is_asked = 1;
      on_event(about, (uint32_t)events[one].data.u64);
    }
    on_time(now_us());
    /* Last: a place that has become free in this turn is not taken again before all that was told of it is dealt with. */
    if (is_asked) on_input();
  }
}
