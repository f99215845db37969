#include "monitor.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "msg.h"

namespace vpcctl {
namespace {

/* In this time what comes is left in the sockets: a burst costs one wake, and a flood overruns them, which costs us nothing. */
constexpr int kPauseMs = 50;
constexpr size_t kBuffer = 64 << 10;
/* Of one drain: who floods us is not to keep us here. */
constexpr int kMostMessages = 8192;

constexpr uint32_t bit(int group) {
  return 1U << (group - 1);
}
constexpr uint32_t kRouteGroups = bit(RTNLGRP_LINK) | bit(RTNLGRP_NEIGH) | bit(RTNLGRP_TC) | bit(RTNLGRP_IPV4_IFADDR) |
                                  bit(RTNLGRP_IPV4_ROUTE) | bit(RTNLGRP_IPV4_RULE) | bit(RTNLGRP_IPV4_NETCONF);
constexpr uint32_t kNetfilterGroups = bit(NFNLGRP_NFTABLES);

using Kinds = std::set<std::pair<int32_t, uint16_t>>;

void read(const std::vector<uint8_t>& buffer, size_t size, int32_t nsid, Kinds* kinds) {
  size_t at = 0;
  while (at + sizeof(nlmsghdr) <= size) {
    nlmsghdr header{};
    std::memcpy(&header, buffer.data() + at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > size - at) return;
    kinds->emplace(nsid, header.nlmsg_type);
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
}

void drain(int socket, std::vector<uint8_t>* buffer, Kinds* kinds, bool* overrun) {
  for (int i = 0; i < kMostMessages; i += 1) {
    size_t size = 0;
    int32_t nsid = -1;
    const sys::Status status = sys::receiveNews(socket, buffer->data(), buffer->size(), &size, &nsid);
    if (status.error == EAGAIN) return;
    /* ENOBUFS, or what nobody foresaw: either way something was not heard. */
    if (!status.ok()) {
      *overrun = true;
      if (status.error != ENOBUFS) return;
    } else if (nsid >= 0) {
      read(*buffer, size, nsid, kinds);
    }
  }
}

}  // namespace

sys::Status Monitor::open() {
  stop_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!stop_.valid()) return sys::Status::fromErrno("eventfd");
  if (sys::Status status = sys::openThreadNetns(&home_); !status.ok()) return status;
  const int error = sys::startThread(&thread_, entry, this);
  if (error != 0) return {error, "thread"};
  running_ = true;
  std::unique_lock<std::mutex> lock(mutex_);
  begun_.wait(lock, [this] { return ready_; });
  return born_;
}

sys::Status Monitor::follow(const std::string& path, int32_t nsid) {
  if (!running_ || !born_.ok()) return {EBADF, "monitor"};
  sys::UniqueFd fd;
  if (!path.empty()) {
    if (sys::Status status = sys::openNetns(path, &fd); !status.ok()) return status;
  }
  std::vector<uint8_t> request = msg::nsidRequest(path.empty() ? home_.get() : fd.get(), nsid);
  const uint32_t seq = seq_++;
  msg::requestAck(request.data(), {0, request.size()}, seq);
  if (sys::Status status = sys::sendAll(control_.get(), request.data(), request.size()); !status.ok()) return status;
  msg::AckCollector collector(seq, 1);
  std::vector<uint8_t> buffer(kBuffer);
  while (!collector.complete()) {
    size_t size = 0;
    sys::Status status = sys::receive(control_.get(), buffer.data(), buffer.size(), &size);
    if (status.ok() && !collector.feed(buffer.data(), size)) status = {EBADMSG, "recv"};
    if (!status.ok()) return status;
  }
  const int error = collector.acks()[0].error;
  return error == 0 ? sys::Status{} : sys::Status{error, "nsid " + path};
}

void Monitor::close() {
  if (!std::exchange(running_, false)) return;
  const uint64_t one = 1;
  /* Cannot fail: the counter is 0. */
  static_cast<void>(::write(stop_.get(), &one, sizeof one) == 0);
  ::pthread_join(thread_, nullptr);
  for (sys::UniqueFd* fd : {&route_, &netfilter_, &control_, &home_, &stop_}) fd->reset();
}

void* Monitor::entry(void* self) {
  ::pthread_setname_np(::pthread_self(), "vpcctl-monitor");
  auto* monitor = static_cast<Monitor*>(self);
  sys::Status born = monitor->begin();
  const bool ok = born.ok();
  {
    const std::lock_guard<std::mutex> lock(monitor->mutex_);
    monitor->born_ = std::move(born);
    monitor->ready_ = true;
    monitor->begun_.notify_one();
  }
  if (ok) monitor->loop();
  return nullptr;
}

sys::Status Monitor::begin() {
  if (sys::Status status = sys::enterUnnamedNetns(); !status.ok()) return status;
  if (sys::Status status = sys::openNetlink(NETLINK_ROUTE, &control_); !status.ok()) return status;
  if (sys::Status status = sys::openNetlink(NETLINK_ROUTE, &route_); !status.ok()) return status;
  if (sys::Status status = sys::openNetlink(NETLINK_NETFILTER, &netfilter_); !status.ok()) return status;
  if (sys::Status status = sys::hearAll(route_.get(), kRouteGroups); !status.ok()) return status;
  return sys::hearAll(netfilter_.get(), kNetfilterGroups);
}

void Monitor::loop() {
  std::vector<uint8_t> buffer(kBuffer);
  while (true) {
    pollfd any[] = {{stop_.get(), POLLIN, 0}, {route_.get(), POLLIN, 0}, {netfilter_.get(), POLLIN, 0}};
    if (::poll(any, 3, -1) < 0 && errno != EINTR) return;
    if (any[0].revents != 0) return;
    Kinds kinds;
    auto news = std::make_unique<News>();
    drain(route_.get(), &buffer, &kinds, &news->overrun);
    drain(netfilter_.get(), &buffer, &kinds, &news->overrun);
    for (const auto& [nsid, type] : kinds) news->items.push_back({nsid, type});
    if (!news->items.empty() || news->overrun) tell_(context_, std::move(news));
    if (::poll(any, 1, kPauseMs) > 0) return;
  }
}

}  // namespace vpcctl
