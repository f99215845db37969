/*
 * vpcctl-client [ARG...]: the command `vpcctl`, answered by the daemon of the state directory if there is one, else by Node.
 *
 * Theory of operation. The daemon runs the command; this process lends it what is its own: it writes to its descriptors 1
 * and 2 what the daemon says, reads descriptor 0 and files when the daemon asks, passes signals on, and ends with the exit
 * status it is told. Whatever the daemon does not answer (no daemon, another user's, another installation of vpcctl, a command that
 * needs a process or a terminal of its own) becomes `node dist/cli/main.cjs` in this very process. Until the daemon has
 * heard kGo it does nothing, so up to then that is safe whatever happened; afterwards the daemon alone knows what was
 * done, and its silence is a failure. src/cli/wire.ts has the other end of the protocol.
 *
 * The package's root is two folders above this program, wherever it lies: dist/cli, prebuilds/linux-*, build/Release.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "errno-name.h"

/* The same in src/cli/wire.ts. */
static const char kProtocol[] = "vpcctl 1";
enum Frame {
  kRequest = 'R',
  kGo = 'G',
  kSignal = 'S',
  kFileStatus = 'O',
  kInput = 'I',
  kInputFailed = 'F',
  kReady = 'A',
  kHandBack = 'B',
  kStdout = '1',
  kStderr = '2',
  kStatFile = 'o',
  kPull = 'p',
  kExit = 'X',
};
enum { kHeader = 5, kMaxRequest = 1 << 20, kChunk = 64 << 10 };

static const char kDefaultState[] = "/var/lib/vpcctl";
/* The part of the environment that the command itself looks at. */
static const char* const kEnvironment[] = {"NO_COLOR", "TERM", "VPCCTL_DEBUG", "VPCCTL_STATE"};

/* A daemon that says nothing for so long is not waited for. */
enum { kPatienceMs = 2000 };

static char** arguments;
static char main_cjs[PATH_MAX];
static int daemon_fd = -1;
static int signals[2] = {-1, -1};
static volatile sig_atomic_t signalled;

/* What the daemon reads: standard input, or the file it named last; opened with the first pull. */
static char input_path[PATH_MAX];
static int input_fd = STDIN_FILENO;
static int input_wanted;

static int unwritable[3];
static int lost;

/* --- Node ---------------------------------------------------------------------------------------------------------- */

static void say(const char* text) {
  /* Nothing can be done where standard error is closed. */
  if (write(STDERR_FILENO, text, strlen(text)) < 0) return;
}

static const int kForwarded[] = {SIGINT, SIGTERM, SIGHUP};

_Noreturn static void become_node(void) {
  if (signals[0] >= 0) {
    for (size_t i = 0; i < sizeof kForwarded / sizeof *kForwarded; i += 1) signal(kForwarded[i], SIG_DFL);
    if (signalled != 0) raise(signalled);
  }
  signal(SIGPIPE, SIG_DFL);
  arguments[0] = (char*)"node";
  execvp("node", arguments);
  char text[128];
  snprintf(text, sizeof text, "vpcctl: cannot start node: %s (%s)\n", errno_name(errno, "unknown error"),
           strerror(errno));
  say(text);
  _exit(errno == ENOENT ? 127 : 126);
}

/* Makes `arguments`: those of Node. */
static int find_node_arguments(int argc, char** argv) {
  const ssize_t length = readlink("/proc/self/exe", main_cjs, sizeof main_cjs - 1);
  if (length <= 0) return -1;
  main_cjs[length] = '\0';
  for (int up = 0; up < 3; up += 1) {
    char* slash = strrchr(main_cjs, '/');
    if (slash == NULL) return -1;
    *slash = '\0';
  }
  static const char kMain[] = "/dist/cli/main.cjs";
  if (strlen(main_cjs) + sizeof kMain > sizeof main_cjs) return -1;
  strcat(main_cjs, kMain);
  arguments = calloc((size_t)argc + 2, sizeof *arguments);
  if (arguments == NULL) return -1;
  arguments[1] = main_cjs;
  for (int i = 1; i < argc; i += 1) arguments[i + 1] = argv[i];
  return 0;
}

/* --- the daemon ---------------------------------------------------------------------------------------------------- */

/* A guess, which the daemon checks: it knows the options of every command. */
static const char* state_directory(int argc, char** argv) {
  const char* state = getenv("VPCCTL_STATE");
  for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i += 1) {
    const char* named = NULL;
    if (strncmp(argv[i], "--state=", 8) == 0) named = argv[i] + 8;
    if (strcmp(argv[i], "--state") == 0) named = argv[i + 1];
    if (named != NULL && *named != '\0') state = named;
  }
  if (state == NULL) return kDefaultState;
  return *state == '\0' ? "." : state;
}

/* Who listens may ask for any file that we can read: it must be ourselves, or root. */
static int is_trusted(int fd) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return 0;
  return peer.uid == 0 || peer.uid == geteuid();
}

static int connect_daemon(const char* state) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/daemon/socket", state);
  if (length < 0 || (size_t)length >= sizeof address.sun_path) return -1;
  /* Without waiting for one whose queue is full. */
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  if (connect(fd, (const struct sockaddr*)&address, sizeof address) != 0 || !is_trusted(fd)) {
    close(fd);
    return -1;
  }
  return fd;
}

static void put_length(char* header, char kind, size_t length) {
  header[0] = kind;
  for (int i = 0; i < 4; i += 1) header[1 + i] = (char)(length >> (8 * i));
}

_Noreturn static void give_up(void) {
  say("vpcctl: the daemon ended before the command did; what is half done the next command undoes\n");
  _exit(1);
}

static void pass_signals_on(void);

/* Waits until one of the two can be used (`second` -1: there is none), and passes signals on meanwhile. */
static void wait_for(int first, short events, int second) {
  while (1) {
    struct pollfd any[] = {{first, events, 0}, {second, POLLIN, 0}, {signals[0], POLLIN, 0}};
    if (poll(any, 3, -1) < 0 && errno != EINTR) give_up();
    if (any[2].revents != 0) pass_signals_on();
    if (any[0].revents != 0 || any[1].revents != 0) return;
  }
}

/* Whole, or not at all: then the daemon is gone. Waits without passing signals on, because it sends them too. */
static int send_all(const char* data, size_t size) {
  while (size > 0) {
    const ssize_t sent = send(daemon_fd, data, size, MSG_NOSIGNAL);
    if (sent >= 0) {
      data += sent;
      size -= (size_t)sent;
    } else if (errno == EAGAIN) {
      struct pollfd one = {daemon_fd, POLLOUT, 0};
      poll(&one, 1, -1);
    } else if (errno != EINTR) {
      return -1;
    }
  }
  return 0;
}

static void tell(char kind, const void* data, size_t size) {
  char frame[kHeader + kChunk];
  put_length(frame, kind, size);
  if (size > 0) memcpy(frame + kHeader, data, size);
  if (send_all(frame, kHeader + size) != 0) give_up();
}

static void tell_errno(int error) {
  const unsigned char number[] = {(unsigned char)error, (unsigned char)(error >> 8)};
  tell(kInputFailed, number, sizeof number);
}

static void hear_all(char* data, size_t size) {
  while (size > 0) {
    const ssize_t got = recv(daemon_fd, data, size, 0);
    if (got > 0) {
      data += got;
      size -= (size_t)got;
    } else if (got < 0 && errno == EAGAIN) {
      wait_for(daemon_fd, POLLIN, -1);
    } else if (got == 0 || errno != EINTR) {
      give_up();
    }
  }
}

/* --- signals ------------------------------------------------------------------------------------------------------- */

static void on_signal(int number) {
  /* The first one undoes what was begun; whoever sends a second one wants out. */
  if (signalled != 0) _exit(128 + number);
  signalled = number;
  const int error = errno;
  const unsigned char byte = (unsigned char)number;
  if (write(signals[1], &byte, 1) < 0) _exit(128 + number);
  errno = error;
}

static void catch_signals(void) {
  if (pipe2(signals, O_CLOEXEC | O_NONBLOCK) != 0) become_node();
  /* Not restarted: what waits must end to be passed on. */
  const struct sigaction action = {.sa_handler = on_signal};
  for (size_t i = 0; i < sizeof kForwarded / sizeof *kForwarded; i += 1) sigaction(kForwarded[i], &action, NULL);
  signal(SIGPIPE, SIG_IGN);
}

static void pass_signals_on(void) {
  unsigned char number;
  while (read(signals[0], &number, 1) == 1) tell(kSignal, &number, 1);
}

/* --- lending ------------------------------------------------------------------------------------------------------- */

/* A reader that has seen enough is no failure. What else keeps text from being written is one, told once. */
static void write_failed(int fd) {
  unwritable[fd] = 1;
  if (errno == EPIPE) return;
  lost = 1;
  if (fd != STDOUT_FILENO) return;
  char text[128];
  snprintf(text, sizeof text, "vpcctl: standard output cannot be written (%s)\n", errno_name(errno, "unknown error"));
  say(text);
}

static void print(int fd, const char* data, size_t size) {
  while (size > 0 && !unwritable[fd]) {
    wait_for(fd, POLLOUT, -1);
    /* So much fits into a pipe that can be written to: a write does not wait, and signals are heard. */
    const ssize_t written = write(fd, data, size < PIPE_BUF ? size : PIPE_BUF);
    if (written >= 0) {
      data += written;
      size -= (size_t)written;
    } else if (errno != EINTR && errno != EAGAIN) {
      write_failed(fd);
    }
  }
}

static void pass_output(int fd, size_t size) {
  char chunk[kChunk];
  while (size > 0) {
    const size_t part = size < sizeof chunk ? size : sizeof chunk;
    hear_all(chunk, part);
    print(fd, chunk, part);
    size -= part;
  }
}

/* Replies size and whether it is an ordinary file; it is opened when it is read. */
static void stat_file(size_t size) {
  if (size >= sizeof input_path) give_up();
  hear_all(input_path, size);
  input_path[size] = '\0';
  if (input_fd > STDERR_FILENO) close(input_fd);
  input_fd = -1;
  struct stat found;
  if (stat(input_path, &found) != 0) return tell_errno(errno);
  unsigned char reply[9];
  for (int i = 0; i < 8; i += 1) reply[i] = (unsigned char)((uint64_t)found.st_size >> (8 * i));
  reply[8] = S_ISREG(found.st_mode);
  tell(kFileStatus, reply, sizeof reply);
}

static void pull(void) {
  if (input_fd >= 0) {
    input_wanted = 1;
    return;
  }
  while ((input_fd = open(input_path, O_RDONLY | O_CLOEXEC)) < 0) {
    if (errno != EINTR) return tell_errno(errno);
    pass_signals_on();
  }
  input_wanted = 1;
}

static void lend_input(void) {
  char chunk[kChunk];
  const ssize_t got = read(input_fd, chunk, sizeof chunk);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  input_wanted = 0;
  if (got < 0) return tell_errno(errno);
  tell(kInput, chunk, (size_t)got);
}

static int can_read(int fd) {
  struct pollfd one = {fd, POLLIN, 0};
  return poll(&one, 1, 0) > 0;
}

_Noreturn static void serve(void) {
  while (1) {
    wait_for(daemon_fd, POLLIN, input_wanted ? input_fd : -1);
    if (input_wanted && can_read(input_fd)) lend_input();
    if (!can_read(daemon_fd)) continue;
    char header[kHeader];
    hear_all(header, sizeof header);
    size_t size = 0;
    for (int i = 0; i < 4; i += 1) size |= (size_t)(unsigned char)header[1 + i] << (8 * i);
    char status;
    switch (header[0]) {
      case kStdout:
        pass_output(STDOUT_FILENO, size);
        break;
      case kStderr:
        pass_output(STDERR_FILENO, size);
        break;
      case kStatFile:
        stat_file(size);
        break;
      case kPull:
        pull();
        break;
      case kHandBack:
        become_node();
      case kExit:
        hear_all(&status, 1);
        _exit(status == 0 && lost ? 1 : (unsigned char)status);
      default:
        give_up();
    }
  }
}

/* --- asking -------------------------------------------------------------------------------------------------------- */

struct Request {
  char* text;
  size_t size;
};

/* One more string, with its end. */
static void add(struct Request* request, const char* text) {
  const size_t size = strlen(text) + 1;
  if (size > kMaxRequest - request->size) become_node();
  memcpy(request->text + kHeader + request->size, text, size);
  request->size += size;
}

static void add_number(struct Request* request, int number) {
  char text[16];
  snprintf(text, sizeof text, "%d", number);
  add(request, text);
}

/* Which installation of vpcctl this is, and that nobody has replaced it since the daemon started. */
static void add_identity(struct Request* request) {
  struct stat found;
  if (stat(main_cjs, &found) != 0) become_node();
  char text[128];
  const uint64_t changed = (uint64_t)found.st_mtim.tv_sec * 1000000000U + (uint64_t)found.st_mtim.tv_nsec;
  snprintf(text, sizeof text, "%" PRIu64 ":%" PRIu64 ":%" PRIu64 ":%" PRIu64, (uint64_t)found.st_dev,
           (uint64_t)found.st_ino, changed, (uint64_t)found.st_size);
  add(request, text);
}

static void ask(int argc, char** argv) {
  struct Request request = {malloc(kHeader + kMaxRequest), 0};
  char cwd[PATH_MAX];
  if (request.text == NULL || getcwd(cwd, sizeof cwd) == NULL || cwd[0] != '/') become_node();
  add(&request, kProtocol);
  add_identity(&request);
  add(&request, cwd);
  const char terminals[] = {(char)('0' + isatty(0)), (char)('0' + isatty(1)), (char)('0' + isatty(2)), '\0'};
  add(&request, terminals);
  struct winsize window = {0};
  const int known = isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0;
  add_number(&request, known ? window.ws_col : -1);
  for (size_t i = 0; i < sizeof kEnvironment / sizeof *kEnvironment; i += 1) {
    const char* value = getenv(kEnvironment[i]);
    if (value == NULL) continue;
    char variable[PATH_MAX];
    if (snprintf(variable, sizeof variable, "%s=%s", kEnvironment[i], value) >= (int)sizeof variable) become_node();
    add(&request, variable);
  }
  add(&request, "");
  for (int i = 1; i < argc; i += 1) add(&request, argv[i]);
  put_length(request.text, kRequest, request.size);
  if (send_all(request.text, kHeader + request.size) != 0) become_node();
  free(request.text);
}

/* Before this the daemon has done nothing. */
static int is_ready(void) {
  char header[kHeader];
  size_t size = 0;
  while (size < sizeof header) {
    struct pollfd one = {daemon_fd, POLLIN, 0};
    const int found = poll(&one, 1, kPatienceMs);
    if (found < 0 && errno == EINTR) continue;
    if (found <= 0) return 0;
    const ssize_t got = recv(daemon_fd, header + size, sizeof header - size, 0);
    if (got <= 0) return 0;
    size += (size_t)got;
  }
  return header[0] == kReady;
}

/* As Node does: what is opened later must not get one of these numbers. */
static void have_standard_descriptors(void) {
  for (int fd = 0; fd < 3; fd += 1) {
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) _exit(126);
  }
}

int main(int argc, char** argv) {
  have_standard_descriptors();
  if (argc < 1 || find_node_arguments(argc, argv) != 0) {
    say("vpcctl: cannot tell where it is installed: is /proc mounted?\n");
    return 126;
  }
  const char* nft = getenv("VPCCTL_NFT");
  if (nft != NULL && *nft != '\0') become_node(); /* the daemon has chosen for itself */
  daemon_fd = connect_daemon(state_directory(argc, argv));
  if (daemon_fd < 0) become_node();
  ask(argc, argv);
  if (!is_ready()) become_node();
  catch_signals();
  tell(kGo, NULL, 0);
  serve();
}
