/*
 * vpcctl-launch [--hold] [--drop-caps] NETNS -- PROGRAM [ARG...]
 * vpcctl-launch [--hold] [--drop-caps] --private -- PROGRAM [ARG...]
 *
 * Enters the network namespace pinned at NETNS ('' stays where it is), or with --private makes a network and a mount namespace with an
 * empty /run, which end with PROGRAM, as this ends with whoever started it; without root by way of a user namespace. Then becomes PROGRAM, which keeps descriptors 0, 1
 * and 2 and no other. Files of /etc/netns/NAME, NAME being the last part of NETNS, stand for those of /etc, as ip-netns(8) has it. With --drop-caps it keeps at most the capabilities that a container has by default, and can gain
 * none. With --hold it first waits for a byte on descriptor 3, and ends if there comes none: who starts a program records
 * it before it runs, and when that one dies in between there is no program. Exit status: 125 the launcher failed, 126 PROGRAM cannot be executed, 127 PROGRAM was not found; otherwise
 * PROGRAM's own.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "errno-name.h"

enum { kFailed = 125, kNotExecutable = 126, kNotFound = 127 };

#define CAP(name) (UINT64_C(1) << (name))

/* Docker's default set: without NET_ADMIN and SYS_ADMIN a workload cannot touch what surrounds it. */
static const uint64_t kKept = CAP(CAP_CHOWN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_FSETID) | CAP(CAP_FOWNER) |
                              CAP(CAP_MKNOD) | CAP(CAP_NET_RAW) | CAP(CAP_SETGID) | CAP(CAP_SETUID) | CAP(CAP_SETFCAP) |
                              CAP(CAP_SETPCAP) | CAP(CAP_NET_BIND_SERVICE) | CAP(CAP_SYS_CHROOT) | CAP(CAP_KILL) |
                              CAP(CAP_AUDIT_WRITE);

static int fail(int status, const char* what, const char* object) {
  const int error = errno;
  fprintf(stderr, "vpcctl-launch: %s%s%s: %s (%s)\n", what, *object == '\0' ? "" : " ", object,
          errno_name(error, "unknown error"), strerror(error));
  return status;
}

/*
 * What ip-netns(8) does for /etc/netns/NAME: its files are bound over those of /etc, in a mount namespace of the program's own. What is unmounted outside is
 * unmounted in there too, so that no namespace lives longer for it. A file that /etc lacks is left out.
 */
static int bind_etc(const char* netns) {
  const char* slash = strrchr(netns, '/');
  char dir[PATH_MAX];
  if (snprintf(dir, sizeof dir, "/etc/netns/%s", slash == NULL ? netns : slash + 1) >= (int)sizeof dir) return 0;
  DIR* files = opendir(dir);
  if (files == NULL) return 0;
  int status = 0;
  int own = 0;
  for (const struct dirent* entry; status == 0 && (entry = readdir(files)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (!own) {
      if (unshare(CLONE_NEWNS) != 0) status = fail(kFailed, "unshare", "a mount namespace");
      else if (mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) != 0) status = fail(kFailed, "mount", "/");
      own = 1;
      if (status != 0) break;
    }
    char from[PATH_MAX];
    char to[PATH_MAX];
    if (snprintf(from, sizeof from, "%s/%s", dir, entry->d_name) >= (int)sizeof from) continue;
    if (snprintf(to, sizeof to, "/etc/%s", entry->d_name) >= (int)sizeof to) continue;
    if (mount(from, to, NULL, MS_BIND, NULL) != 0 && errno != ENOENT) status = fail(kFailed, "mount", to);
  }
  closedir(files);
  return status;
}

static int enter(const char* path) {
  if (*path == '\0') return 0;
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail(kFailed, "open", path);
  if (setns(fd, CLONE_NEWNET) != 0) return fail(kFailed, "setns", path);
  close(fd);
  return bind_etc(path);
}

static int write_text(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return fail(kFailed, "open", path);
  const ssize_t length = (ssize_t)strlen(text);
  if (write(fd, text, (size_t)length) != length) return fail(kFailed, "write", path);
  close(fd);
  return 0;
}

/* Whoever has no privilege is root in a user namespace of its own. */
static int become_root(void) {
  char user[64];
  char group[64];
  snprintf(user, sizeof user, "0 %u 1", (unsigned)geteuid());
  snprintf(group, sizeof group, "0 %u 1", (unsigned)getegid());
  if (unshare(CLONE_NEWUSER) != 0) return fail(kFailed, "unshare", "a user namespace");
  int status = write_text("/proc/self/setgroups", "deny");
  if (status == 0) status = write_text("/proc/self/uid_map", user);
  if (status == 0) status = write_text("/proc/self/gid_map", group);
  return status;
}

/* Nothing that happens in here reaches the machine's mounts, because they are private first. */
static int make_private(void) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return fail(kFailed, "prctl", "PR_SET_PDEATHSIG");
  if (geteuid() != 0) {
    const int status = become_root();
    if (status != 0) return status;
  }
  if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return fail(kFailed, "unshare", "a network and a mount namespace");
  if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return fail(kFailed, "mount", "/");
  if (mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") != 0) return fail(kFailed, "mount", "/run");
  if (mkdir("/run/netns", 0755) != 0) return fail(kFailed, "mkdir", "/run/netns");
  return 0;
}

/* Bounding first, while SETPCAP is certain; capset then lowers what the process has; exec can give back only what is
 * bounded. */
static int drop_caps(void) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail(kFailed, "prctl", "PR_SET_NO_NEW_PRIVS");
  for (int cap = 0; cap < 64; cap += 1) {
    if ((kKept & CAP(cap)) != 0) continue;
    const int bounded = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
    if (bounded < 0) break; /* past the kernel's last capability */
    if (bounded == 1 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0) return fail(kFailed, "prctl", "PR_CAPBSET_DROP");
  }
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) {
    return fail(kFailed, "prctl", "PR_CAP_AMBIENT_CLEAR_ALL");
  }
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct sets[2];
  if (syscall(SYS_capget, &header, sets) != 0) return fail(kFailed, "capget", "");
  for (int word = 0; word < 2; word += 1) {
    const uint32_t kept = (uint32_t)(kKept >> (32 * word));
    sets[word].permitted &= kept;
    sets[word].effective &= kept;
    sets[word].inheritable &= kept;
  }
  if (syscall(SYS_capset, &header, sets) != 0) return fail(kFailed, "capset", "");
  return 0;
}

static int wait_for_leave(void) {
  char byte;
  ssize_t got;
  do {
    got = read(3, &byte, 1);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail(kFailed, "read", "descriptor 3");
  return got == 1 ? 0 : kFailed;
}

/* Kernels before 5.9 have no close_range. */
static int close_others(void) {
#ifdef SYS_close_range
  if (syscall(SYS_close_range, 3U, ~0U, 0U) == 0) return 0;
#endif
  DIR* open_files = opendir("/proc/self/fd");
  if (open_files == NULL) return fail(kFailed, "opendir", "/proc/self/fd");
  for (const struct dirent* entry; (entry = readdir(open_files)) != NULL;) {
    const int fd = atoi(entry->d_name);
    if (fd > 2 && fd != dirfd(open_files)) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  closedir(open_files);
  return 0;
}

int main(int argc, char** argv) {
  const int hold = argc > 1 && strcmp(argv[1], "--hold") == 0;
  const int drop = argc > 1 + hold && strcmp(argv[1 + hold], "--drop-caps") == 0;
  char** rest = argv + 1 + hold + drop;
  if (argc - hold - drop < 4 || strcmp(rest[1], "--") != 0) {
    fputs("usage: vpcctl-launch [--hold] [--drop-caps] NETNS|--private -- PROGRAM [ARG...]\n", stderr);
    return kFailed;
  }
  int status = hold ? wait_for_leave() : 0;
  if (status == 0) status = strcmp(rest[0], "--private") == 0 ? make_private() : enter(rest[0]);
  if (status == 0 && drop) status = drop_caps();
  if (status == 0) status = close_others();
  if (status != 0) return status;
  execvp(rest[2], rest + 2);
  return fail(errno == ENOENT ? kNotFound : kNotExecutable, "exec", rest[2]);
}
