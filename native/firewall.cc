#include "firewall.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <mutex>

namespace vpcctl {
namespace {

constexpr size_t kMostKept = 16;

/* From nftables/libnftables.h, soname libnftables.so.1. */
constexpr unsigned kJson = 1U << 4;
constexpr unsigned kNumericAll = 1U << 7 | 1U << 8 | 1U << 9 | 1U << 10;

struct Library {
  nft_ctx* (*create)(uint32_t flags) = nullptr;
  void (*destroy)(nft_ctx*) = nullptr;
  void (*setFlags)(nft_ctx*, unsigned) = nullptr;
  void (*setDryRun)(nft_ctx*, bool) = nullptr;
  int (*bufferOutput)(nft_ctx*) = nullptr;
  int (*bufferError)(nft_ctx*) = nullptr;
  const char* (*output)(nft_ctx*) = nullptr;
  const char* (*error)(nft_ctx*) = nullptr;
  int (*run)(nft_ctx*, const char*) = nullptr;
  bool loaded = false;

  Library() {
    void* handle = ::dlopen("libnftables.so.1", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return;
    loaded = symbol(handle, "nft_ctx_new", &create) && symbol(handle, "nft_ctx_free", &destroy) &&
             symbol(handle, "nft_ctx_output_set_flags", &setFlags) &&
             symbol(handle, "nft_ctx_set_dry_run", &setDryRun) &&
             symbol(handle, "nft_ctx_buffer_output", &bufferOutput) &&
             symbol(handle, "nft_ctx_buffer_error", &bufferError) &&
             symbol(handle, "nft_ctx_get_output_buffer", &output) &&
             symbol(handle, "nft_ctx_get_error_buffer", &error) && symbol(handle, "nft_run_cmd_from_buffer", &run);
  }

  template <typename Function>
  static bool symbol(void* handle, const char* name, Function* out) {
    *out = reinterpret_cast<Function>(::dlsym(handle, name));
    return *out != nullptr;
  }
};

const Library& library() {
  static const Library loaded;
  return loaded;
}

/* The library has tables of its own that contexts share without a lock (rt_realms and the like, its parser's state). */
std::mutex& oneAtATime() {
  static std::mutex mutex;
  return mutex;
}

/*
 * The library ends the process when it cannot open its socket; and glibc ends it when the library waits by select(2) for
 * a socket with a number that select does not know. The number that this one gets is the next one's too, about.
 */
sys::Status checkSocket(int* next) {
  constexpr int kRoom = 32;
  const sys::UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!socket.valid()) return sys::Status::fromErrno("socket");
  if (socket.get() >= FD_SETSIZE - kRoom) return {EMFILE, "libnftables"};
  *next = socket.get();
  return {};
}

/*
 * The library's socket outlives an exec: whatever program the process started would have a socket of the router's firewall, and keep its namespace
 * alive. It does not tell the number, which is the lowest that was free, unless another thread has taken that in between.
 */
void closeOnExec(int from) {
  for (int fd = from; fd < FD_SETSIZE; fd += 1) {
    int protocol = 0;
    socklen_t size = sizeof protocol;
    int domain = 0;
    socklen_t domainSize = sizeof domain;
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domainSize) != 0 || domain != AF_NETLINK) continue;
    if (::getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0 || protocol != NETLINK_NETFILTER) continue;
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags < 0 || (flags & FD_CLOEXEC) != 0) continue;
    ::fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
    return;
  }
}

}  // namespace

bool Firewall::available() {
  return library().loaded;
}

sys::Status Firewall::run(int netns, const std::string& document, bool check, bool* taken, std::string* text) {
  if (!available()) return {ENOSYS, "libnftables"};
  const std::lock_guard<std::mutex> lock(oneAtATime());
  nft_ctx* context = nullptr;
  if (sys::Status status = find(netns, &context); !status.ok()) return status;
  library().setDryRun(context, check);
  *taken = library().run(context, document.c_str()) == 0;
  /* Both, because asking for a buffer empties it: what is left would stand before the next document's words. */
  const char* output = library().output(context);
  const char* words = library().error(context);
  const char* said = *taken ? output : words;
  *text = said == nullptr ? "" : said;
  return {};
}

sys::Status Firewall::find(int netns, nft_ctx** context) {
  struct stat file {};
  if (::fstat(netns, &file) != 0) return sys::Status::fromErrno("fstat");
  for (auto kept = kept_.begin(); kept != kept_.end(); ++kept) {
    if (kept->device != file.st_dev || kept->inode != file.st_ino) continue;
    kept_.splice(kept_.begin(), kept_, kept);
    *context = kept_.front().context;
    return {};
  }
  int next = 0;
  if (sys::Status status = checkSocket(&next); !status.ok()) return status;
  nft_ctx* made = library().create(0);
  if (made == nullptr) return {ENOMEM, "nft_ctx_new"};
  closeOnExec(next);
  if (library().bufferOutput(made) != 0 || library().bufferError(made) != 0) {
    library().destroy(made);
    return {ENOMEM, "nft_ctx_buffer_output"};
  }
  library().setFlags(made, kJson | kNumericAll);
  kept_.push_front({file.st_dev, file.st_ino, made});
  if (kept_.size() > kMostKept) {
    close(kept_.back());
    kept_.pop_back();
  }
  *context = made;
  return {};
}

void Firewall::close(const Kept& kept) {
  library().destroy(kept.context);
}

void Firewall::rest() {
  if (kept_.empty()) return;
  const std::lock_guard<std::mutex> lock(oneAtATime());
  for (const Kept& kept : kept_) close(kept);
  kept_.clear();
}

}  // namespace vpcctl
