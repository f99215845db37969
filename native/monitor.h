/*
 * Listens to what the kernel tells of namespaces (rtnetlink, nftables), whoever changed something in them.
 *
 * Theory of operation. A netlink socket keeps its namespace alive, so there is none in the namespaces that are watched. The
 * monitor has a thread in a namespace of its own, which has no name, and two sockets there that hear all namespaces to which
 * that one has given a number (NETLINK_LISTEN_ALL_NSID, RTM_NEWNSID). A number holds nothing: it goes with what it names.
 * Nothing here knows JavaScript, nor which of what is told matters.
 */
#ifndef VPCCTL_MONITOR_H_
#define VPCCTL_MONITOR_H_

#include <pthread.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "sys.h"

namespace vpcctl {

/** What was told since the last time, each kind once. */
struct News {
  struct Item {
    int32_t nsid;
    /** nlmsg_type: RTM_*, or of nftables NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_*. */
    uint16_t type;
  };
  std::vector<Item> items;
  /** Some of it was lost. */
  bool overrun = false;
};

class Monitor {
 public:
  /** Takes news, on the monitor's thread; at most one in 50 ms. */
  using Tell = void (*)(void* context, std::unique_ptr<News> news);

  Monitor(Tell tell, void* context) : tell_(tell), context_(context) {}
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;
  ~Monitor() { close(); }

  /** Starts the thread and waits until it listens. Once. */
  sys::Status open();

  /** Gives the namespace at `path` (empty: the caller's) a number that no other has, or had. EEXIST: it has one. */
  sys::Status follow(const std::string& path, int32_t nsid);

  /** Ends the thread; nothing is told afterwards. */
  void close();

 private:
  static void* entry(void* self);
  sys::Status begin();
  void loop();

  Tell tell_;
  void* context_;
  pthread_t thread_{};
  bool running_ = false;
  std::mutex mutex_;
  std::condition_variable begun_;
  bool ready_ = false;
  sys::Status born_;
  sys::UniqueFd home_;
  sys::UniqueFd stop_;
  sys::UniqueFd route_;
  sys::UniqueFd netfilter_;
  sys::UniqueFd control_;
  uint32_t seq_ = 1;
};

}  // namespace vpcctl

#endif  // VPCCTL_MONITOR_H_
