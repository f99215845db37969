/*
 * vpcctl-probe: sends probes from the network namespace it is started in, answers those of others, and tells what has arrived.
 *
 * It says `ready ID` and then answers lines of standard input; ID, 16 hexadecimal digits, is in each of its answers to the network.
 *
 *   listen tcp|udp|icmp PORT          listen ok|ERRNO
 *       Answers probes there (icmp, port 0: the kernel does) and takes account of what arrives, whoever has the port. Of both families.
 *   probe NUMBER tcp|udp|icmp ADDRESS PORT MS [SOURCE]
 *       result NUMBER VERDICT MICROSECONDS SOURCEPORT TOKEN ADDRESS|- PORT|- ID|-|ERRNO
 *       When it is decided. `answered`: by a vpcctl-probe, which saw ADDRESS and PORT and is ID; by the kernel (icmp). `open`: by another program.
 *       `refused`, `unreachable`, `timeout`, `error`. Every attempt has a source port (icmp: an identifier) of its own, by turns.
 *   arrivals                          arrival PROTOCOL ADDRESS SOURCEPORT PORT TOKEN|-, each once; then arrivals LOST
 *       Since this was asked last. Of TCP the first segments, to ports of `listen`.
 *
 * Addresses are of either family; between IPv6 ones, icmp is ICMPv6. A kernel without IPv6 has the other one only.
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
#include <netinet/icmp6.h>
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
  kLine = 192,
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

/* An IPv4 address is kept as IPv6 maps it (::ffff:0:0/96). */
enum Family { kIp4, kIp6, kFamilies };
static const int kDomains[kFamilies] = {AF_INET, AF_INET6};

/* What epoll gives back: what it is about, and which. */
enum About { kInput, kRaw, kListener, kGuest, kProbe, kProbeAgain };

struct Probe {
  int used;
  uint32_t number;
  enum Protocol protocol;
  struct in6_addr to;
  /* `::`: the kernel's choice. */
  struct in6_addr from;
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
  int fds[kFamilies];
  enum Protocol protocol;
  uint16_t port;
};

struct Guest {
  int fd;
  int64_t since;
};

struct Arrival {
  uint64_t token;
  struct in6_addr source;
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
static int raw[kFamilies][kProtocols];
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

static struct in6_addr mapped(struct in_addr address) {
  struct in6_addr found = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
  memcpy(found.s6_addr + 12, &address, sizeof address);
  return found;
}

static enum Family family_of(const struct in6_addr* address) { return IN6_IS_ADDR_V4MAPPED(address) ? kIp4 : kIp6; }

static int take_address(const char** at, struct in6_addr* address) {
  char word[INET6_ADDRSTRLEN];
  const size_t length = strspn(*at, "0123456789abcdef.:");
  if (length == 0 || length >= sizeof word) return 0;
  memcpy(word, *at, length);
  word[length] = '\0';
  *at += length;
  struct in_addr v4;
  if (inet_pton(AF_INET, word, &v4) == 1) {
    *address = mapped(v4);
    return 1;
  }
  return inet_pton(AF_INET6, word, address) == 1 && !IN6_IS_ADDR_V4MAPPED(address);
}

static const char* address_text(const struct in6_addr* address, char text[INET6_ADDRSTRLEN]) {
  if (family_of(address) == kIp4) return inet_ntop(AF_INET, address->s6_addr + 12, text, INET6_ADDRSTRLEN);
  return inet_ntop(AF_INET6, address, text, INET6_ADDRSTRLEN);
}

union Socket {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

/* The socket's address, and how long it is. `::` is the any address of the family. */
static socklen_t make_socket(union Socket* made, enum Family family, const struct in6_addr* address, uint16_t port) {
  memset(made, 0, sizeof *made);
  if (family == kIp4) {
    made->v4.sin_family = AF_INET;
    made->v4.sin_port = htons(port);
    memcpy(&made->v4.sin_addr, address->s6_addr + 12, sizeof made->v4.sin_addr);
    return sizeof made->v4;
  }
  made->v6.sin6_family = AF_INET6;
  made->v6.sin6_port = htons(port);
  made->v6.sin6_addr = *address;
  return sizeof made->v6;
}

static struct in6_addr address_in(const union Socket* socket) {
  return socket->any.sa_family == AF_INET ? mapped(socket->v4.sin_addr) : socket->v6.sin6_addr;
}

/* In the same place for both. */
static uint16_t port_in(const union Socket* socket) { return ntohs(socket->v4.sin_port); }

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

static int make_saw(char text[kLine], const union Socket* peer, uint64_t token) {
  char address[INET6_ADDRSTRLEN];
  const struct in6_addr from = address_in(peer);
  return snprintf(text, kLine, "%s%016" PRIx64 " %s %u %016" PRIx64 "\n", kSaw, own_id, address_text(&from, address), port_in(peer),
                  token);
}

struct Saw {
  uint64_t id;
  struct in6_addr address;
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

/* What a raw socket of IPv6 gets begins behind the headers of that. */
static struct sock_filter kTcpFilter6[] = {
    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    BPF_STMT(BPF_RET | BPF_K, 0),
};
static struct sock_filter kUdpFilter6[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 8),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x76706363 /* vpcc */, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    BPF_STMT(BPF_RET | BPF_K, 0),
};

static int filter_raw6(int fd, enum Protocol protocol) {
  if (protocol == kIcmp) {
    struct icmp6_filter wanted;
    ICMP6_FILTER_SETBLOCKALL(&wanted);
    ICMP6_FILTER_SETPASS(ICMP6_ECHO_REQUEST, &wanted);
    ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &wanted);
    ICMP6_FILTER_SETPASS(ICMP6_DST_UNREACH, &wanted);
    ICMP6_FILTER_SETPASS(ICMP6_TIME_EXCEEDED, &wanted);
    return setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &wanted, sizeof wanted);
  }
  const struct sock_fprog program = protocol == kTcp
                                        ? (struct sock_fprog){sizeof kTcpFilter6 / sizeof *kTcpFilter6, kTcpFilter6}
                                        : (struct sock_fprog){sizeof kUdpFilter6 / sizeof *kUdpFilter6, kUdpFilter6};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

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

static int open_raw_of(enum Family family) {
  for (int one = 0; one < kProtocols; one += 1) {
    const int number = family == kIp6 && one == kIcmp ? IPPROTO_ICMPV6 : kNumbers[one];
    const int fd = socket(kDomains[family], SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, number);
    raw[family][one] = fd;
    if (fd < 0 && family == kIp6 && errno == EAFNOSUPPORT) continue;
    if (fd < 0) return fail("a raw socket");
    if ((family == kIp4 ? filter_raw : filter_raw6)(fd, (enum Protocol)one) != 0) return fail("the filter of a raw socket");
    /* Most that anybody may have; it may be less. */
    const int size = 1 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (watch(fd, EPOLLIN, kRaw, (uint32_t)(family * kProtocols + one), EPOLL_CTL_ADD) != 0) return fail("epoll");
  }
  return 0;
}

static int open_raw(void) {
  const int status = open_raw_of(kIp4);
  return status == 0 ? open_raw_of(kIp6) : status;
}

/* --- arrivals -------------------------------------------------------------------------------------------------------- */

static int is_watched(enum Protocol protocol, uint16_t port) {
  for (int one = 0; one < listener_count; one += 1) {
    if (listeners[one].protocol == protocol && listeners[one].port == port) return 1;
  }
  return 0;
}

static void note_arrival(struct Arrival found) {
  uint64_t halves[2];
  memcpy(halves, &found.source, sizeof halves);
  uint64_t hash = found.token ^ halves[0] ^ halves[1] ^ (uint64_t)found.source_port << 16 ^ found.port ^ found.protocol;
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
    if (one->token == found.token && IN6_ARE_ADDR_EQUAL(&one->source, &found.source) && one->source_port == found.source_port &&
        one->port == found.port && one->protocol == found.protocol)
      return;
  }
}

static void tell_arrivals(void) {
  for (uint32_t at = 0; at < kArrivals && arrival_count > 0; at += 1) {
    const struct Arrival* one = &arrivals[at];
    if (!one->used) continue;
    char address[INET6_ADDRSTRLEN];
    say("arrival %s %s %u %u ", kNames[one->protocol], address_text(&one->source, address), one->source_port, one->port);
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
    char address[INET6_ADDRSTRLEN];
    say("%s %" PRIu32 " %016" PRIx64 "\n", address_text(&saw->address, address), saw->port, saw->id);
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
    union Socket own;
    const socklen_t size = make_socket(&own, family_of(&probe->to), &probe->from, *port);
    if (bind(fd, &own.any, size) == 0) return 0;
    if (errno != EADDRINUSE) return -1;
  }
  return -1;
}

/* Opens the attempt's socket and connects it; an errno when that fails. */
static int open_attempt(struct Probe* probe, int attempt) {
  const int type = probe->protocol == kTcp ? SOCK_STREAM : SOCK_DGRAM;
  const enum Family family = family_of(&probe->to);
  const int fd = socket(kDomains[family], type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  probe->fds[attempt] = fd;
  const uint32_t which = (uint32_t)(probe - probes);
  union Socket to;
  const socklen_t size = make_socket(&to, family, &probe->to, probe->port);
  const int told = family == kIp4 ? turn_on(fd, IPPROTO_IP, IP_RECVERR) : turn_on(fd, IPPROTO_IPV6, IPV6_RECVERR);
  if (probe->protocol == kUdp && told != 0) return errno;
  if (bind_own(fd, probe, &probe->ports[attempt]) != 0) return errno;
  if (connect(fd, &to.any, size) != 0 && errno != EINPROGRESS) return errno;
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

/* Which address a message is sent from, or was sent to. */
union Control {
  struct cmsghdr header;
  char v4[CMSG_SPACE(sizeof(struct in_pktinfo))];
  char v6[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static void send_from(struct msghdr* message, union Control* control, const struct in6_addr* own) {
  memset(control, 0, sizeof *control);
  message->msg_control = control;
  if (family_of(own) == kIp4) {
    struct in_pktinfo info = {.ipi_ifindex = 0};
    memcpy(&info.ipi_spec_dst, own->s6_addr + 12, sizeof info.ipi_spec_dst);
    message->msg_controllen = sizeof control->v4;
    control->header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof info), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO};
    memcpy(CMSG_DATA(&control->header), &info, sizeof info);
    return;
  }
  const struct in6_pktinfo info = {.ipi6_addr = *own};
  message->msg_controllen = sizeof control->v6;
  control->header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof info), .cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO};
  memcpy(CMSG_DATA(&control->header), &info, sizeof info);
}

static int send_echo(const struct Probe* probe) {
  const enum Family family = family_of(&probe->to);
  struct {
    struct icmphdr header;
    char ask[kAskLength];
  } packet = {.header = {.type = family == kIp4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST}};
  packet.header.un.echo.id = htons(probe->ports[0]);
  packet.header.un.echo.sequence = htons((uint16_t)(probe->sent + 1));
  make_ask(packet.ask, probe->token);
  /* Of ICMPv6 the kernel makes it. */
  if (family == kIp4) packet.header.checksum = checksum(&packet, sizeof packet);
  union Socket to;
  const socklen_t size = make_socket(&to, family, &probe->to, 0);
  struct iovec part = {&packet, sizeof packet};
  union Control control;
  struct msghdr message = {.msg_name = &to, .msg_namelen = size, .msg_iov = &part, .msg_iovlen = 1};
  if (!IN6_IS_ADDR_UNSPECIFIED(&probe->from)) send_from(&message, &control, &probe->from);
  return sendmsg(raw[family][kIcmp], &message, 0) < 0 ? errno : 0;
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
static struct Probe* echo_of(uint16_t identifier, const struct in6_addr* to) {
  for (int one = 0; one < kInFlight; one += 1) {
    struct Probe* probe = &probes[one];
    if (probe->used && probe->protocol == kIcmp && probe->ports[0] == identifier && IN6_ARE_ADDR_EQUAL(&probe->to, to))
      return probe;
  }
  return NULL;
}

/* The length of an IPv4 header that is whole, with at least 8 bytes behind it; else 0. */
static size_t header_length(const uint8_t* packet, size_t length) {
  if (length < 20 || packet[0] >> 4 != 4) return 0;
  const size_t header = (size_t)(packet[0] & 15) * 4;
  return header >= 20 && length >= header + 8 ? header : 0;
}

/* An echo request that came. */
static void on_asked(const uint8_t* echo, size_t length, const struct in6_addr* source) {
  uint64_t token = 0;
  if (!is_watched(kIcmp, 0) || !read_ask(echo + 8, length - 8, &token)) return;
  note_arrival((struct Arrival){.token = token, .source = *source, .source_port = word_at(echo + 4), .protocol = kIcmp});
}

static void on_reply(const uint8_t* echo, size_t length, const struct in6_addr* source) {
  uint64_t token = 0;
  struct Probe* probe = echo_of(word_at(echo + 4), source);
  if (probe == NULL || !read_ask(echo + 8, length - 8, &token) || token != probe->token) return;
  tell_result(probe, "answered", 0, now_us(), NULL, "-");
}

/* An error about the echo request to this address. */
static void on_error(const uint8_t* echo, const struct in6_addr* to) {
  struct Probe* probe = echo_of(word_at(echo + 4), to);
  if (probe != NULL) tell_failure(probe, 0, EHOSTUNREACH);
}

static void on_icmp(const uint8_t* packet, size_t length, const struct in6_addr* source) {
  switch (packet[0]) {
    case ICMP_ECHO:
      on_asked(packet, length, source);
      return;
    case ICMP_ECHOREPLY:
      on_reply(packet, length, source);
      return;
    default: {
      const uint8_t* about = packet + 8;
      const size_t header = header_length(about, length - 8);
      if (header == 0 || about[9] != IPPROTO_ICMP || about[header] != ICMP_ECHO) return;
      struct in_addr v4;
      memcpy(&v4, about + 16, sizeof v4);
      const struct in6_addr to = mapped(v4);
      on_error(about + header, &to);
    }
  }
}

static void on_icmp6(const uint8_t* packet, size_t length, const struct in6_addr* source) {
  switch (packet[0]) {
    case ICMP6_ECHO_REQUEST:
      on_asked(packet, length, source);
      return;
    case ICMP6_ECHO_REPLY:
      on_reply(packet, length, source);
      return;
    default: {
      /* An IPv6 header without others behind it, and what an echo request begins with: ours has no more. */
      const uint8_t* about = packet + 8;
      if (length < 8 + 40 + 8 || about[0] >> 4 != 6 || about[6] != IPPROTO_ICMPV6 || about[40] != ICMP6_ECHO_REQUEST) return;
      struct in6_addr to;
      memcpy(&to, about + 24, sizeof to);
      on_error(about + 40, &to);
    }
  }
}

static void on_packet(enum Family family, enum Protocol protocol, const uint8_t* inner, size_t length, const struct in6_addr* source) {
  if (protocol == kIcmp) {
    (family == kIp4 ? on_icmp : on_icmp6)(inner, length, source);
    return;
  }
  struct Arrival found = {
      .source = *source, .source_port = word_at(inner), .port = word_at(inner + 2), .protocol = (uint8_t)protocol};
  if (!is_watched(protocol, found.port)) return;
  if (protocol == kUdp && !read_ask(inner + 8, length - 8, &found.token)) return;
  note_arrival(found);
}

static void on_raw(enum Family family, enum Protocol protocol) {
  if (raw[family][protocol] < 0) return;
  for (int count = 0; count < kBatch; count += 1) {
    uint8_t packet[2048];
    union Socket peer;
    socklen_t size = sizeof peer;
    const ssize_t got = recvfrom(raw[family][protocol], packet, sizeof packet, 0, &peer.any, &size);
    if (got < 0) return;
    const size_t length = (size_t)got;
    /* IPv4 comes with its header; of both, 8 bytes at least are there behind it. */
    const size_t header = family == kIp4 ? header_length(packet, length) : 0;
    if (family == kIp4 ? header == 0 : length < 8) continue;
    const struct in6_addr source = address_in(&peer);
    on_packet(family, protocol, packet + header, length - header, &source);
  }
}

/* --- listeners ------------------------------------------------------------------------------------------------------- */

static int is_told_address(int fd, enum Family family) {
  return family == kIp4 ? turn_on(fd, IPPROTO_IP, IP_PKTINFO) : turn_on(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
}

static int open_listener(enum Family family, enum Protocol protocol, uint16_t port, uint32_t which) {
  const int type = protocol == kTcp ? SOCK_STREAM : SOCK_DGRAM;
  const int fd = socket(kDomains[family], type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  union Socket own;
  const socklen_t size = make_socket(&own, family, &in6addr_any, port);
  const int ready = (family == kIp4 || turn_on(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0) &&
                    (protocol == kTcp ? turn_on(fd, SOL_SOCKET, SO_REUSEADDR) : is_told_address(fd, family)) == 0 &&
                    bind(fd, &own.any, size) == 0 && (protocol != kTcp || listen(fd, kGuests) == 0) &&
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
  *one = (struct Listener){{-1, -1}, protocol, port};
  int error = 0;
  for (int family = 0; family < kFamilies && protocol != kIcmp; family += 1) {
    one->fds[family] = open_listener((enum Family)family, protocol, port, (uint32_t)(family * kListeners + listener_count));
    const int is_absent = family == kIp6 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL);
    if (one->fds[family] < 0 && error == 0 && !is_absent) error = errno;
  }
  say("listen %s\n", error == 0 ? "ok" : errno_name(error, kUnnamed));
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
    union Socket peer;
    socklen_t size = sizeof peer;
    int guest = accept4(fd, &peer.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
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

/* The address that a message was sent to; false when the kernel does not tell. */
static int asked_address(struct msghdr* message, struct in6_addr* asked) {
  struct cmsghdr* header = CMSG_FIRSTHDR(message);
  if (header == NULL) return 0;
  if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
    struct in_pktinfo info;
    memcpy(&info, CMSG_DATA(header), sizeof info);
    *asked = mapped(info.ipi_addr);
    return 1;
  }
  if (header->cmsg_level != IPPROTO_IPV6 || header->cmsg_type != IPV6_PKTINFO) return 0;
  struct in6_pktinfo info;
  memcpy(&info, CMSG_DATA(header), sizeof info);
  *asked = info.ipi6_addr;
  return 1;
}

/* Answers from the address that was asked, not from the one that the route back prefers. */
static void answer_datagrams(int fd) {
  for (int count = 0; count < kBatch; count += 1) {
    union Socket peer;
    char text[kLine];
    struct iovec part = {text, sizeof text};
    union Control control;
    struct msghdr message = {.msg_name = &peer,
                             .msg_namelen = sizeof peer,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    const ssize_t got = recvmsg(fd, &message, 0);
    if (got < 0) return;
    uint64_t token;
    struct in6_addr asked;
    if ((message.msg_flags & MSG_TRUNC) != 0 || !read_ask(text, (size_t)got, &token) || !asked_address(&message, &asked)) continue;
    send_from(&message, &control, &asked);
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
  if (!IN6_IS_ADDR_UNSPECIFIED(&asked.from) && family_of(&asked.from) != family_of(&asked.to)) return 0;
  if (*at != '\0' || asked.timeout_ms == 0 || (asked.protocol == kIcmp) != (port == 0)) return 0;
  asked.port = (uint16_t)port;
  asked.token = random_number();
  begin_probe(asked);
  return 1;
}

static void take_line(const char* line) {
  if (strcmp(line, "arrivals") == 0) {
    /* What has come before it was asked belongs to the answer. */
    for (int family = 0; family < kFamilies; family += 1) {
      for (int one = 0; one < kProtocols; one += 1) on_raw((enum Family)family, (enum Protocol)one);
    }
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
      on_raw((enum Family)(which / kProtocols), (enum Protocol)(which % kProtocols));
      return;
    case kListener:
    {
      const struct Listener* one = &listeners[which % kListeners];
      (one->protocol == kTcp ? accept_guests : answer_datagrams)(one->fds[which / kListeners]);
      return;
    }
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
