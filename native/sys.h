/*
 * System calls that Node cannot make, each as one function that says what failed. Nothing here knows JavaScript or
 * remembers anything; only enterNetns(), makeNetns(), createNetns() and enterUnnamedNetns() change the calling thread, and only the
 * threads of worker.cc and monitor.cc call them.
 */
#ifndef VPCCTL_SYS_H_
#define VPCCTL_SYS_H_

#include <pthread.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace vpcctl::sys {

/** A descriptor that closes itself. */
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  /** The descriptor is the caller's to close. */
  int release() { return std::exchange(fd_, -1); }
  bool valid() const { return fd_ >= 0; }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

/** Outcome of a call: a positive errno and which call it was, or 0. */
struct [[nodiscard]] Status {
  int error = 0;
  std::string where;

  bool ok() const { return error == 0; }
  /** The failure that errno names now. */
  static Status fromErrno(std::string where);
};

/**
 * Starts a thread; returns an errno. The process's signals are for its other threads: born with all blocked, this one is never interrupted
 * by them.
 */
int startThread(pthread_t* thread, void* (*entry)(void*), void* argument);

/** The namespace the calling thread is in, as a descriptor. */
Status openThreadNetns(UniqueFd* out);

/** Opens a pinned network namespace; EINVAL when the file is something else. */
Status openNetns(const std::string& path, UniqueFd* out);

/** The inode number of an open file: of a namespace, what the links below /proc/PID/ns name it by. */
Status inodeOf(int fd, uint64_t* inode);

/** Moves the calling thread. A failure leaves it where it was. */
Status enterNetns(int fd, const std::string& path);

/**
 * Creates a namespace with its loopback up and no name, and leaves the calling thread in it; it lives as long as the descriptor and the thread. `*moved` says
 * whether the thread has left its namespace (also set on success).
 */
Status makeNetns(UniqueFd* out, bool* moved);

/**
 * As makeNetns(), and pins it at `path` (exclusively). On failure nothing is left in the file system.
 */
Status createNetns(const std::string& path, UniqueFd* out, bool* moved);

/** Pins a namespace that has no name yet at `path` (exclusively). */
Status adoptNetns(int fd, const std::string& path);

/**
 * Unpins. Only a namespace or an empty regular file is touched, anything else is EINVAL. Layers of mounts are all taken
 * off: a directory that was once bound onto itself can hold the pin twice.
 */
Status deleteNetns(const std::string& path);

/*
 * Descriptors that stay open without a number in the process's table: in flight over a socket that nobody reads (unix(7), SCM_RIGHTS). Few
 * numbers, because the kernel enlarges a table that is full and waits an RCU grace period first, about 15 ms.
 */
class Flight {
 public:
  /* Takes the descriptor, or refuses when no more fit (EAGAIN, ETOOMANYREFS) and leaves it to the caller. */
  Status take(UniqueFd* fd);
  /* Closes all of them. */
  void land();

 private:
  UniqueFd in_;
  UniqueFd out_;
};

/** Opens a netlink socket (NETLINK_ROUTE, NETLINK_NETFILTER) in the calling thread's namespace. */
Status openNetlink(int protocol, UniqueFd* out);

/** Where a socket of IPv4 is bound, and by which link alone it hears and speaks (empty: any). */
struct Service {
  bool tcp = false;
  /** May send to 255.255.255.255. */
  bool broadcast = false;
  /** Dotted. */
  std::string address;
  uint16_t port = 0;
  std::string link;
};

/** Opens a socket in the calling thread's namespace that does not block, bound, and of TCP listening. */
Status openService(const Service& service, UniqueFd* out);

/** Moves the calling thread into a new namespace that is pinned nowhere: it lives as long as the thread and its sockets. */
Status enterUnnamedNetns();

/**
 * Joins groups 1 to 32, as bits from the lowest, for the socket's namespace and all that have a number in it. EPERM without
 * CAP_NET_BROADCAST.
 */
Status hearAll(int socket, uint32_t groups);

/**
 * Receives one datagram that was multicast, without waiting (EAGAIN), as far as it fits; `*nsid` is the number of its namespace, -1
 * for the socket's own. ENOBUFS: some were lost.
 */
Status receiveNews(int socket, uint8_t* buffer, size_t capacity, size_t* size, int32_t* nsid);

/** Room for unread answers of a socket, as the kernel accounts it; 0 when it cannot be told. */
size_t receiveRoom(int socket);

/** Sends to the kernel. */
Status sendAll(int socket, const uint8_t* data, size_t size);

/** Receives one datagram from the kernel; those of other senders are dropped. ETIMEDOUT after half a minute of silence.
 */
Status receive(int socket, uint8_t* buffer, size_t capacity, size_t* size);

/** Index of the link of the socket's namespace that has this name, and not only as an altname; `*index` 0: there is none. */
Status linkIndex(int socket, const std::string& name, uint32_t* index);

/** `/proc/sys/<key>` as the thread's namespace has it, without the newline at its end. */
Status readSysctl(const std::string& key, std::string* value);

Status writeSysctl(const std::string& key, const std::string& value);

enum class LockMode { kExclusive, kShared, kUnlock };

/** Non-blocking flock(2); `*taken` is false when another open file description holds it. */
Status lockFile(int fd, LockMode mode, bool* taken);

enum class ByteLock { kTake, kRelease, kFreeBefore };

/**
 * Non-blocking lock of the byte at an offset (F_OFD_SETLK), which belongs to the open file description and does not meet
 * flock(2). `*done`: taken, released, or nobody else has one of the bytes before it.
 */
Status lockByte(int fd, int64_t at, ByteLock action, bool* done);

/** Who connected the other end of a Unix socket, when it did (SO_PEERCRED). */
struct Peer {
  int pid;
  uint32_t uid;
};
Status peerOf(int socket, Peer* out);

/** A number that the mount with its root at `dir` alone ever has (kernel 6.8 and later); 0: it cannot be told, or `dir` is no such root. */
uint64_t mountAt(const std::string& dir);

/** Makes `dir` and its parents, and `dir` a shared mount; `*changed` when something was made or mounted. */
Status prepareNetnsDir(const std::string& dir, bool* changed);

/** When `dir` is empty: takes its bind mount off and removes it; `*changed` when either was done. */
Status releaseNetnsDir(const std::string& dir, bool* changed);

/** Symbolic name of an errno, `E<number>` for one nobody has named. */
std::string errnoName(int error);

}  // namespace vpcctl::sys

#endif  // VPCCTL_SYS_H_
