#include "sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "errno-name.h"

namespace vpcctl::sys {
namespace {

constexpr char kThreadNetns[] = "/proc/thread-self/ns/net";
constexpr int kSocketBuffer = 2 << 20;
constexpr time_t kSilenceSeconds = 30;
constexpr int kMaxMountLayers = 64;

#ifndef NS_GET_NSTYPE
#define NS_GET_NSTYPE _IO(0xb7, 0x3)
#endif
#ifndef NSFS_MAGIC
#define NSFS_MAGIC 0x6e736673
#endif
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x00004000U
#endif
#ifndef NETLINK_GET_STRICT_CHK
#define NETLINK_GET_STRICT_CHK 12
#endif

template <typename Call>
auto retryOnSignal(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

Status openFd(const std::string& path, int flags, UniqueFd* out) {
  const int fd = retryOnSignal([&] { return ::open(path.c_str(), flags | O_CLOEXEC); });
  if (fd < 0) return Status::fromErrno("open " + path);
  out->reset(fd);
  return {};
}

void setOption(int socket, int level, int option, int value) {
  ::setsockopt(socket, level, option, &value, sizeof value);
}

/* The FORCE variants need CAP_NET_ADMIN in the initial user namespace; the others are bounded by net.core.*mem_max. */
void setBuffer(int socket, int force, int plain) {
  const int value = kSocketBuffer;
  if (::setsockopt(socket, SOL_SOCKET, force, &value, sizeof value) != 0) setOption(socket, SOL_SOCKET, plain, value);
}

Status checkSysctlKey(const std::string& key) {
  if (key.empty() || key.front() == '/' || key.find("..") != std::string::npos) return {EINVAL, "sysctl " + key};
  return {};
}

Status readAll(int fd, const std::string& path, std::string* out) {
  std::string text;
  char chunk[4096];
  while (true) {
    const ssize_t got = retryOnSignal([&] { return ::read(fd, chunk, sizeof chunk); });
    if (got < 0) return Status::fromErrno("read " + path);
    if (got == 0) break;
    text.append(chunk, static_cast<size_t>(got));
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  *out = std::move(text);
  return {};
}

/* Of the calling thread's namespace. */
Status raiseLoopback() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return Status::fromErrno("socket");
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", sizeof "lo");
  request.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) return Status::fromErrno("loopback");
  return {};
}

std::string parentOf(const std::string& dir) {
  const size_t slash = dir.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : dir.substr(0, slash);
}

std::string withoutTrailingSlashes(std::string dir) {
  while (dir.size() > 1 && dir.back() == '/') dir.pop_back();
  return dir;
}

/* mkdir -p; `*made` when the last component was made by this call. */
Status makeDirs(const std::string& dir, bool* made) {
  for (size_t slash = dir.find('/', 1);; slash = dir.find('/', slash + 1)) {
    const std::string part = dir.substr(0, slash);
    const bool last = slash == std::string::npos;
    if (::mkdir(part.c_str(), 0755) == 0) {
      *made = last;
    } else if (errno != EEXIST) {
      return Status::fromErrno("mkdir " + part);
    }
    if (last) return {};
  }
}

Status isEmptyDir(const std::string& dir, bool* empty) {
  DIR* stream = ::opendir(dir.c_str());
  if (stream == nullptr) return Status::fromErrno("opendir " + dir);
  *empty = true;
  while (const dirent* entry = ::readdir(stream)) {
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    *empty = false;
    break;
  }
  ::closedir(stream);
  return {};
}

Status reservePin(const std::string& path) {
  const UniqueFd file(retryOnSignal([&] { return ::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444); }));
  return file.valid() ? Status{} : Status::fromErrno("open " + path);
}

Status pin(int fd, const std::string& path) {
  const std::string source = "/proc/thread-self/fd/" + std::to_string(fd);
  if (::mount(source.c_str(), path.c_str(), "none", MS_BIND, nullptr) != 0) return Status::fromErrno("mount " + path);
  return {};
}

}  // namespace

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Status Status::fromErrno(std::string where) {
  /* A failed call that set no errno must not read as success. */
  return {errno == 0 ? EIO : errno, std::move(where)};
}

int startThread(pthread_t* thread, void* (*entry)(void*), void* argument) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = ::pthread_create(thread, nullptr, entry, argument);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

Status openThreadNetns(UniqueFd* out) {
  return openFd(kThreadNetns, O_RDONLY, out);
}

Status openNetns(const std::string& path, UniqueFd* out) {
  UniqueFd fd;
  /* O_NONBLOCK: a FIFO put at the path must not hang the thread. */
  if (Status status = openFd(path, O_RDONLY | O_NONBLOCK, &fd); !status.ok()) return status;
  const int type = ::ioctl(fd.get(), NS_GET_NSTYPE);
  /* ENOTTY is what a file outside nsfs answers. */
  if (type != CLONE_NEWNET) return {EINVAL, "netns " + path};
  *out = std::move(fd);
  return {};
}

Status inodeOf(int fd, uint64_t* inode) {
  struct stat file {};
  if (::fstat(fd, &file) != 0) return Status::fromErrno("fstat");
  *inode = file.st_ino;
  return {};
}

/*
 * CLONE_NEWNET asks for CAP_SYS_ADMIN over the namespace and in the caller's own user namespace, nothing else: unlike
 * CLONE_NEWNS it does not mind that the thread shares its fs_struct with all others, so the thread never unshares
 * CLONE_FS and keeps the process's working directory.
 */
Status enterNetns(int fd, const std::string& path) {
  if (::setns(fd, CLONE_NEWNET) != 0) return Status::fromErrno(path.empty() ? "setns" : "setns " + path);
  return {};
}

Status makeNetns(UniqueFd* out, bool* moved) {
  *moved = false;
  if (::unshare(CLONE_NEWNET) != 0) return Status::fromErrno("unshare");
  *moved = true;
  if (Status status = raiseLoopback(); !status.ok()) return status;
  return openThreadNetns(out);
}

Status createNetns(const std::string& path, UniqueFd* out, bool* moved) {
  *moved = false;
  if (Status status = reservePin(path); !status.ok()) return status;
  Status status = makeNetns(out, moved);
  if (status.ok()) status = pin(out->get(), path);
  if (!status.ok()) ::unlink(path.c_str());
  return status;
}

Status adoptNetns(int fd, const std::string& path) {
  if (Status status = reservePin(path); !status.ok()) return status;
  Status status = pin(fd, path);
  if (!status.ok()) ::unlink(path.c_str());
  return status;
}

Status deleteNetns(const std::string& path) {
  for (int layer = 0; layer < kMaxMountLayers; layer += 1) {
    struct stat file {};
    if (::lstat(path.c_str(), &file) != 0) return Status::fromErrno("lstat " + path);
    struct statfs fs {};
    if (S_ISREG(file.st_mode) && ::statfs(path.c_str(), &fs) != 0) return Status::fromErrno("statfs " + path);
    const bool pin = S_ISREG(file.st_mode) && fs.f_type == NSFS_MAGIC;
    if (!pin) {
      if (!S_ISREG(file.st_mode) || file.st_size != 0) return {EINVAL, "netns " + path};
      if (::unlink(path.c_str()) != 0) return Status::fromErrno("unlink " + path);
      return {};
    }
    if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) return Status::fromErrno("umount " + path);
  }
  return {EBUSY, "umount " + path};
}

Status Flight::take(UniqueFd* fd) {
  if (!in_.valid()) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return Status::fromErrno("socketpair");
    in_.reset(ends[0]);
    out_.reset(ends[1]);
    setBuffer(in_.get(), SO_SNDBUFFORCE, SO_SNDBUF);
  }
  char byte = 0;
  iovec slot{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &slot;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof(int));
  const int number = fd->get();
  std::memcpy(CMSG_DATA(part), &number, sizeof number);
  if (retryOnSignal([&] { return ::sendmsg(in_.get(), &message, MSG_NOSIGNAL); }) < 0) return Status::fromErrno("sendmsg");
  fd->reset();
  return {};
}

void Flight::land() {
  in_.reset();
  out_.reset();
}

Status openNetlink(int protocol, UniqueFd* out) {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd.valid()) return Status::fromErrno("socket");
  setOption(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, 1);
  setOption(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, 1);
  setOption(fd.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  setBuffer(fd.get(), SO_RCVBUFFORCE, SO_RCVBUF);
  setBuffer(fd.get(), SO_SNDBUFFORCE, SO_SNDBUF);
  /* The kernel answers inside sendmsg, so silence means an answer was lost; a lost answer must not hang the thread. */
  timeval silence{};
  silence.tv_sec = kSilenceSeconds;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
  *out = std::move(fd);
  return {};
}

size_t receiveRoom(int socket) {
  int room = 0;
  socklen_t size = sizeof room;
  if (::getsockopt(socket, SOL_SOCKET, SO_RCVBUF, &room, &size) != 0 || room < 0) return 0;
  return static_cast<size_t>(room);
}

Status sendAll(int socket, const uint8_t* data, size_t size) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  const ssize_t sent = retryOnSignal(
      [&] { return ::sendto(socket, data, size, 0, reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel); });
  if (sent < 0) return Status::fromErrno("send");
  if (static_cast<size_t>(sent) != size) return {EMSGSIZE, "send"};
  return {};
}

Status receive(int socket, uint8_t* buffer, size_t capacity, size_t* size) {
  while (true) {
    sockaddr_nl sender{};
    iovec slot{buffer, capacity};
    msghdr message{};
    message.msg_name = &sender;
    message.msg_namelen = sizeof sender;
    message.msg_iov = &slot;
    message.msg_iovlen = 1;
    const ssize_t got = retryOnSignal([&] { return ::recvmsg(socket, &message, 0); });
    if (got < 0) return errno == EAGAIN ? Status{ETIMEDOUT, "recv"} : Status::fromErrno("recv");
    if (message.msg_namelen == sizeof sender && sender.nl_pid != 0) continue;
    if ((message.msg_flags & MSG_TRUNC) != 0) return {EMSGSIZE, "recv"};
    *size = static_cast<size_t>(got);
    return {};
  }
}

Status openService(const Service& service, UniqueFd* out) {
  const int type = service.tcp ? SOCK_STREAM : SOCK_DGRAM;
  UniqueFd socket_fd(socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_fd.valid()) return Status::fromErrno("socket");
  const int on = 1;
  // Connections of one that was there before do not matter; of UDP, it would let two have the same address.
  if (service.tcp && setsockopt(socket_fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
    return Status::fromErrno("setsockopt SO_REUSEADDR");
  }
  if (service.broadcast && setsockopt(socket_fd.get(), SOL_SOCKET, SO_BROADCAST, &on, sizeof on) != 0) {
    return Status::fromErrno("setsockopt SO_BROADCAST");
  }
  if (!service.link.empty() && setsockopt(socket_fd.get(), SOL_SOCKET, SO_BINDTODEVICE, service.link.c_str(),
                                          static_cast<socklen_t>(service.link.size() + 1)) != 0) {
    return Status::fromErrno("link " + service.link);
  }
  sockaddr_in local{};
  local.sin_family = AF_INET;
  local.sin_port = htons(service.port);
  if (inet_pton(AF_INET, service.address.c_str(), &local.sin_addr) != 1) return {EINVAL, "address " + service.address};
  if (bind(socket_fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0) {
    return Status::fromErrno("bind " + service.address);
  }
  if (service.tcp && listen(socket_fd.get(), 64) != 0) return Status::fromErrno("listen");
  *out = std::move(socket_fd);
  return {};
}

Status enterUnnamedNetns() {
  if (::unshare(CLONE_NEWNET) != 0) return Status::fromErrno("unshare");
  return {};
}

Status hearAll(int socket, uint32_t groups) {
  const int on = 1;
  if (::setsockopt(socket, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, sizeof on) != 0) {
    return Status::fromErrno("NETLINK_LISTEN_ALL_NSID");
  }
  /* Bound and not only joined (NETLINK_ADD_MEMBERSHIP): a socket without an address of its own is passed over. */
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Status::fromErrno("bind");
  }
  return {};
}

Status receiveNews(int socket, uint8_t* buffer, size_t capacity, size_t* size, int32_t* nsid) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int32_t))];
  iovec slot{buffer, capacity};
  msghdr message{};
  message.msg_iov = &slot;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = retryOnSignal([&] { return ::recvmsg(socket, &message, MSG_DONTWAIT); });
  if (got < 0) return Status::fromErrno("recv");
  *size = static_cast<size_t>(got);
  *nsid = -1;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level == SOL_NETLINK && part->cmsg_type == NETLINK_LISTEN_ALL_NSID) {
      std::memcpy(nsid, CMSG_DATA(part), sizeof *nsid);
    }
  }
  return {};
}

Status linkIndex(int socket, const std::string& name, uint32_t* index) {
  *index = 0;
  /* The ioctl cuts a name at its colon (`br0:1`, an address label, would find br0); no link's name has one. */
  if (name.empty() || name.size() >= IFNAMSIZ || name.find(':') != std::string::npos) return {};
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), name.size());
  if (::ioctl(socket, SIOCGIFINDEX, &request) != 0) {
    return errno == ENODEV ? Status{} : Status::fromErrno("link " + name);
  }
  /* It finds altnames too, which whoever is root in a namespace gives to any link there. */
  ifreq found{};
  found.ifr_ifindex = request.ifr_ifindex;
  if (::ioctl(socket, SIOCGIFNAME, &found) != 0) {
    return errno == ENODEV ? Status{} : Status::fromErrno("link " + name);
  }
  if (name == std::string(found.ifr_name, ::strnlen(found.ifr_name, IFNAMSIZ))) {
    *index = static_cast<uint32_t>(request.ifr_ifindex);
  }
  return {};
}

Status readSysctl(const std::string& key, std::string* value) {
  if (Status status = checkSysctlKey(key); !status.ok()) return status;
  const std::string path = "/proc/sys/" + key;
  UniqueFd fd;
  if (Status status = openFd(path, O_RDONLY, &fd); !status.ok()) return status;
  return readAll(fd.get(), path, value);
}

Status writeSysctl(const std::string& key, const std::string& value) {
  if (Status status = checkSysctlKey(key); !status.ok()) return status;
  const std::string path = "/proc/sys/" + key;
  UniqueFd fd;
  if (Status status = openFd(path, O_WRONLY, &fd); !status.ok()) return status;
  const ssize_t put = retryOnSignal([&] { return ::write(fd.get(), value.data(), value.size()); });
  if (put < 0) return Status::fromErrno("write " + path);
  if (static_cast<size_t>(put) != value.size()) return {EINVAL, "write " + path};
  return {};
}

Status lockFile(int fd, LockMode mode, bool* taken) {
  const int operation = mode == LockMode::kExclusive ? LOCK_EX : mode == LockMode::kShared ? LOCK_SH : LOCK_UN;
  const int result = retryOnSignal([&] { return ::flock(fd, operation | LOCK_NB); });
  if (result != 0 && errno != EWOULDBLOCK) return Status::fromErrno("flock");
  *taken = result == 0;
  return {};
}

Status lockByte(int fd, int64_t at, ByteLock action, bool* done) {
  struct flock lock = {};
  lock.l_whence = SEEK_SET;
  lock.l_start = action == ByteLock::kFreeBefore ? 0 : at;
  lock.l_len = action == ByteLock::kFreeBefore ? at : 1;
  lock.l_type = action == ByteLock::kRelease ? F_UNLCK : F_WRLCK;
  /* A length of 0 would mean the whole file. */
  if (lock.l_len == 0) {
    *done = true;
    return {};
  }
  const int command = action == ByteLock::kFreeBefore ? F_OFD_GETLK : F_OFD_SETLK;
  const int result = retryOnSignal([&] { return ::fcntl(fd, command, &lock); });
  if (result != 0 && errno != EAGAIN && errno != EACCES) return Status::fromErrno("fcntl");
  *done = result == 0 && (action != ByteLock::kFreeBefore || lock.l_type == F_UNLCK);
  return {};
}

Status peerOf(int socket, Peer* out) {
  struct ucred found {};
  socklen_t size = sizeof found;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &found, &size) != 0) return Status::fromErrno("getsockopt SO_PEERCRED");
  if (size != sizeof found || found.uid == UINT32_MAX) return {ENOTCONN, "getsockopt SO_PEERCRED"};
  *out = {found.pid, found.uid};
  return {};
}

uint64_t mountAt(const std::string& dir) {
  struct statx file {};
  if (::statx(AT_FDCWD, dir.c_str(), AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_MNT_ID_UNIQUE, &file) != 0) return 0;
  const bool unique = (file.stx_mask & STATX_MNT_ID_UNIQUE) != 0;
  return unique && (file.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0 ? file.stx_mnt_id : 0;
}

/*
 * iproute2's steps before its first namespace (ip/ipnetns.c), so that either may come first: the directory is a shared
 * mount, and an unpinned namespace disappears from all mount namespaces at once. iproute2 takes the same flock, because
 * two processes that bind at the same time would stack mounts.
 */
Status prepareNetnsDir(const std::string& path, bool* changed) {
  const std::string dir = withoutTrailingSlashes(path);
  bool made = false;
  if (Status status = makeDirs(dir, &made); !status.ok()) return status;
  UniqueFd lock;
  if (Status status = openFd(dir, O_RDONLY | O_DIRECTORY, &lock); !status.ok()) return status;
  if (retryOnSignal([&] { return ::flock(lock.get(), LOCK_EX); }) != 0) return Status::fromErrno("flock " + dir);
  bool bound = false;
  while (::mount("", dir.c_str(), "none", MS_SHARED | MS_REC, nullptr) != 0) {
    if (errno != EINVAL || bound) return Status::fromErrno("mount --make-shared " + dir);
    if (::mount(dir.c_str(), dir.c_str(), "none", MS_BIND | MS_REC, nullptr) != 0) {
      return Status::fromErrno("mount --bind " + dir);
    }
    bound = true;
  }
  *changed = made || bound;
  return {};
}

Status releaseNetnsDir(const std::string& path, bool* changed) {
  const std::string dir = withoutTrailingSlashes(path);
  *changed = false;
  UniqueFd lock;
  if (Status status = openFd(dir, O_RDONLY | O_DIRECTORY, &lock); !status.ok()) {
    return status.error == ENOENT ? Status{} : status;
  }
  if (retryOnSignal([&] { return ::flock(lock.get(), LOCK_EX); }) != 0) return Status::fromErrno("flock " + dir);
  bool empty = false;
  if (Status status = isEmptyDir(dir, &empty); !status.ok()) return status;
  if (!empty) return {};
  /* A bind of the directory onto itself has its parent's device; a file system mounted there has its own and is not
   * ours. */
  struct stat self {};
  struct stat parent {};
  if (::stat(dir.c_str(), &self) != 0) return Status::fromErrno("stat " + dir);
  if (::stat(parentOf(dir).c_str(), &parent) != 0) return Status::fromErrno("stat " + parentOf(dir));
  if (self.st_dev != parent.st_dev) return {};
  if (::umount2(dir.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
    *changed = true;
  } else if (errno != EINVAL) {
    return Status::fromErrno("umount " + dir);
  }
  if (::rmdir(dir.c_str()) == 0) *changed = true;
  return {};
}

std::string errnoName(int error) { return errno_name(error, ("E" + std::to_string(error)).c_str()); }

}  // namespace vpcctl::sys
