#include "program.h"

#include <linux/netlink.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <unordered_map>

namespace vpcctl {
namespace {

/* rtnetlink dumps in pieces of at most 32 KiB; other answers are smaller. */
constexpr size_t kReceiveBuffer = 128 << 10;
constexpr size_t kChunkBytes = 32 << 10;
/* What an unread ack with an extended text costs of the receive buffer, generously: sk_buff, shared info and the data.
 */
constexpr size_t kAckRoom = 2048;
constexpr int kDumpAttempts = 10;
/* Of a namespace that is changed all the time, and filled: a try more gains nothing, and memory is ours. */
constexpr int kPartialAttempts = 3;
constexpr size_t kPartialBytes = 1 << 20;
/*
 * Namespaces that a program keeps open from one operation to the next. Few: when a descriptor does not fit into the
 * process's table of 64 (256, …), the kernel enlarges it and waits an RCU grace period first, about 15 ms.
 */
constexpr size_t kMostOpen = 8;
/* Deleted namespaces that are held at once by a descriptor in the table, of which libnftables cannot wait for one of 1024 or more. */
constexpr size_t kMostDying = 512;

struct Netns {
  sys::UniqueFd fd;
  Socket route;
  Socket conntrack;
};

/* What one program keeps open, and where its thread is. */
class Session {
 public:
  Session(int home, std::vector<uint8_t>* buffer, Firewall* firewall, Spares* spares, Register* numbers, bool keepGoing)
      : home_(home),
        buffer_(*buffer),
        firewall_(*firewall),
        spares_(*spares),
        register_(*numbers),
        keepGoing_(keepGoing),
        current_(&atHome_) {}

  /* `at`: the number of its result. */
  Result run(Op& op, size_t at) {
    switch (op.kind) {
      case Op::Kind::kNetnsCreate:
        return op.spare ? adopt(op) : create(op);
      case Op::Kind::kNetnsDelete:
        return remove(op, at);
      case Op::Kind::kNetnsLiving:
        return living(op);
      case Op::Kind::kNetlink:
        return netlink(op);
      case Op::Kind::kDump:
        return dump(op);
      case Op::Kind::kSysctlRead:
      case Op::Kind::kSysctlWrite:
        return sysctl(op);
      case Op::Kind::kNft:
        return nft(op);
      case Op::Kind::kNftRest:
        firewall_.rest();
        return {};
      case Op::Kind::kSpareMake:
        return makeSpare(op);
      case Op::Kind::kSpareDrop:
        spares_.take(*op.spare);
        return {};
      case Op::Kind::kSocketOpen:
        return openSocket(op);
    }
    return failure({ENOSYS, "op"});
  }

  /*
   * Lets go of namespaces that were deleted. The kernel destroys what is dead in one go, and begins with the first that dies: held until the names
   * of all are gone, they die within microseconds. Each batch waits for several RCU grace periods: 1,100 in one go are gone after 130 ms, in three after 290.
   */
  void bury(std::vector<Result>* results) {
    held_.clear();
    flight_.land();
    for (Dying& one : dying_) {
      const sys::Status lives = ask(msg::nsidQuery(one.nsid));
      if (one.nsid >= 0 && lives.error == ENOENT) continue;
      if (!lives.ok()) one.nsid = -1;
      if (one.nsid >= 0) register_.lingering.insert(one.nsid);
      (*results)[one.at].value = std::to_string(one.nsid) + " " + std::to_string(one.inode);
    }
    dying_.clear();
  }

  bool crowded() const { return held_.size() >= kMostDying; }

  /* Closes what was opened, but for the namespace that the thread is in, when it is much. */
  void trim() {
    if (known_.size() <= kMostOpen) return;
    for (auto netns = known_.begin(); netns != known_.end();) {
      netns = netns->second.get() == current_ ? std::next(netns) : known_.erase(netns);
    }
  }

  sys::Status goHome() {
    if (current_ == &atHome_) return {};
    sys::Status status = sys::enterNetns(home_, "");
    if (status.ok()) current_ = &atHome_;
    return status;
  }

 private:
  static Result failure(sys::Status status) {
    Result result;
    result.status = std::move(status);
    return result;
  }

  int fdOf(const Netns& netns) const { return &netns == &atHome_ ? home_ : netns.fd.get(); }

  sys::Status find(const std::string& path, Netns** out) {
    if (path.empty()) {
      *out = &atHome_;
      return {};
    }
    std::unique_ptr<Netns>& slot = known_[path];
    if (slot == nullptr) {
      auto netns = std::make_unique<Netns>();
      if (sys::Status status = sys::openNetns(path, &netns->fd); !status.ok()) {
        known_.erase(path);
        return status;
      }
      slot = std::move(netns);
    }
    *out = slot.get();
    return {};
  }

  sys::Status enter(const std::string& path, Netns** out) {
    Netns* netns = nullptr;
    if (sys::Status status = find(path, &netns); !status.ok()) return status;
    if (current_ != netns) {
      if (sys::Status status = sys::enterNetns(fdOf(*netns), path); !status.ok()) return status;
      current_ = netns;
    }
    *out = netns;
    return {};
  }

  sys::Status connect(const Op& op, Socket** out) {
    if (op.netns == kRegister) {
      *out = &register_.socket;
      return register_.open() ? sys::Status{} : sys::Status{EBADF, "register"};
    }
    Netns* netns = nullptr;
    if (sys::Status status = find(op.netns, &netns); !status.ok()) return status;
    const bool route = op.protocol == msg::Protocol::kRoute;
    Socket& socket = route ? netns->route : netns->conntrack;
    if (!socket.fd.valid()) {
      if (sys::Status status = enter(op.netns, &netns); !status.ok()) return status;
      sys::Status status = sys::openNetlink(route ? NETLINK_ROUTE : NETLINK_NETFILTER, &socket.fd);
      if (!status.ok()) return status;
    }
    *out = &socket;
    return {};
  }

  Result create(const Op& op) {
    auto netns = std::make_unique<Netns>();
    bool moved = false;
    sys::Status status = sys::createNetns(op.netns, &netns->fd, &moved);
    if (moved) current_ = nullptr;
    if (!status.ok()) {
      /* Failing here too is found out at the program's end, where the thread is given up. */
      static_cast<void>(goHome());
      return failure(std::move(status));
    }
    current_ = netns.get();
    known_[op.netns] = std::move(netns);
    return {};
  }

  Result adopt(const Op& op) {
    auto netns = std::make_unique<Netns>();
    netns->fd = spares_.take(*op.spare);
    if (!netns->fd.valid()) return failure({ENOENT, "spare"});
    sys::Status status = sys::adoptNetns(netns->fd.get(), op.netns);
    if (status.ok()) known_[op.netns] = std::move(netns);
    return failure(std::move(status));
  }

  /* With a document: its firewall is in force when the namespace gets its name. */
  Result makeSpare(const Op& op) {
    sys::UniqueFd netns;
    bool moved = false;
    sys::Status status = sys::makeNetns(&netns, &moved);
    if (moved) current_ = nullptr;
    bool taken = true;
    std::string text;
    if (status.ok() && !op.value.empty()) {
      status = firewall_.run(netns.get(), op.value, false, &taken, &text);
      /* What is kept for a namespace keeps it alive, and this one will be another thread's. */
      firewall_.rest();
    }
    if (sys::Status home = goHome(); status.ok()) status = std::move(home);
    Result result;
    result.status = std::move(status);
    if (result.status.ok() && !taken) {
      result.status = {EBADMSG, "nft"};
      result.value = std::move(text);
    }
    if (result.status.ok()) spares_.put(*op.spare, std::move(netns));
    return result;
  }

  /*
   * Whatever this program still holds of the namespace goes too, or it would outlive its name. Does it for other reasons, the result's value is
   * its number in the register and its inode; a number of -1: it may, and nothing can be asked.
   */
  Result remove(const Op& op, size_t at) {
    const auto held = known_.find(op.netns);
    if (held != known_.end()) {
      if (current_ == held->second.get()) {
        if (sys::Status status = goHome(); !status.ok()) return failure(std::move(status));
      }
      known_.erase(held);
    }
    sys::UniqueFd fd;
    /* What is no namespace, deleteNetns() judges. */
    if (!sys::openNetns(op.netns, &fd).ok()) return failure(sys::deleteNetns(op.netns));
    uint64_t inode = 0;
    if (sys::Status status = sys::inodeOf(fd.get(), &inode); !status.ok()) return failure(std::move(status));
    int32_t nsid = -1;
    if (!number(fd.get(), &nsid).ok()) nsid = -1;
    Result result = failure(sys::deleteNetns(op.netns));
    if (!result.status.ok()) return result;
    dying_.push_back({at, nsid, inode});
    if (!flight_.take(&fd).ok()) held_.push_back(std::move(fd));
    return result;
  }

  /* Gives a namespace the next number of the register. */
  sys::Status number(int fd, int32_t* nsid) {
    if (!register_.open()) {
      if (sys::Status status = sys::enterUnnamedNetns(); !status.ok()) return status;
      current_ = nullptr;
      sys::Status status = sys::openNetlink(NETLINK_ROUTE, &register_.socket.fd);
      if (sys::Status home = goHome(); !home.ok()) return home;
      if (!status.ok()) return status;
    }
    const int32_t next = register_.next++;
    sys::Status status = ask(msg::nsidRequest(fd, next));
    if (status.ok()) *nsid = next;
    return status;
  }

  sys::Status ask(std::vector<uint8_t> request) {
    if (!register_.open()) return {EBADF, "register"};
    Socket& socket = register_.socket;
    const uint32_t seq = socket.seq++;
    msg::requestAck(request.data(), {0, request.size()}, seq);
    msg::AckCollector collector(seq, 1);
    if (sys::Status status = transact(socket, request.data(), request.size(), &collector); !status.ok()) return status;
    return {collector.acks()[0].error, "nsid"};
  }

  /* Which of these numbers still have their namespace. */
  Result living(const Op& op) {
    if (op.data.size() % sizeof(int32_t) != 0) return failure({EINVAL, "nsids"});
    if (!register_.open()) return failure({EBADF, "register"});
    Result result;
    result.data.emplace();
    for (size_t at = 0; at < op.data.size(); at += sizeof(int32_t)) {
      int32_t nsid = 0;
      std::memcpy(&nsid, op.data.data() + at, sizeof nsid);
      const bool alive = ask(msg::nsidQuery(nsid)).ok();
      if (alive) result.data->insert(result.data->end(), op.data.begin() + at, op.data.begin() + at + sizeof nsid);
      if (!alive || op.release) register_.lingering.erase(nsid);
    }
    return result;
  }

  Result netlink(Op& op) {
    std::vector<msg::Extent> extents;
    if (const auto malformed = msg::split(op.data.data(), op.data.size(), op.count, &extents)) {
      return failure({EINVAL, "message " + std::to_string(malformed->message)});
    }
    for (size_t i = 0; i < extents.size(); i += 1) {
      /* A dump is answered by no ack: it has its own operation. */
      if (msg::isDump(op.data.data(), extents[i], op.protocol)) return failure({EINVAL, "message " + std::to_string(i)});
    }
    for (size_t i = 0; i < op.fixups.size(); i += 1) {
      if (!msg::inPayload(extents, op.fixups[i].offset)) return failure({EINVAL, "fixup " + std::to_string(i)});
    }
    Socket* socket = nullptr;
    if (sys::Status status = connect(op, &socket); !status.ok()) return failure(std::move(status));
    /* Messages that are not sent: a link that they speak of is not there. */
    std::map<size_t, msg::Ack> unsendable;
    for (const Fixup& fixup : op.fixups) {
      uint32_t value = 0;
      sys::Status status = resolve(*socket, fixup, &value);
      if (status.ok()) {
        msg::patch(op.data.data(), extents, fixup.offset, value);
      } else if (keepGoing_ && fixup.kind == Fixup::Kind::kLink && status.error == ENODEV) {
        msg::Ack& ack = unsendable[msg::messageAt(extents, fixup.offset)];
        ack.error = status.error;
        ack.text = std::move(status.where);
      } else {
        return failure(std::move(status));
      }
    }

    Result result;
    std::vector<uint8_t> replies;
    result.acks.emplace();
    result.acks->reserve(extents.size());
    bool failed = false;
    size_t next = 0;
    while (next < extents.size() && result.status.ok() && !(failed && !keepGoing_)) {
      const auto skipped = unsendable.lower_bound(next);
      if (skipped != unsendable.end() && skipped->first == next) {
        result.acks->push_back(skipped->second);
        next += 1;
        continue;
      }
      const size_t sendable = skipped == unsendable.end() ? extents.size() : skipped->first;
      const size_t count = std::min(chunk(*socket, extents, next), sendable - next);
      const uint32_t seq = socket->seq;
      socket->seq += static_cast<uint32_t>(count);
      for (size_t i = 0; i < count; i += 1) {
        msg::requestAck(op.data.data(), extents[next + i], seq + static_cast<uint32_t>(i));
      }
      const size_t begin = extents[next].offset;
      const size_t end = next + count < extents.size() ? extents[next + count].offset : op.data.size();
      msg::AckCollector collector(seq, count);
      result.status = transact(*socket, op.data.data() + begin, end - begin, &collector);
      for (size_t i = 0; i < count; i += 1) {
        msg::Ack& ack = collector.acks()[i];
        if (!collector.answered(i)) ack.error = result.status.where == "send" ? ECANCELED : result.status.error;
        result.acks->push_back(std::move(ack));
      }
      failed = failed || collector.failed();
      replies.insert(replies.end(), collector.replies().begin(), collector.replies().end());
      next += count;
    }
    msg::Ack unsent;
    unsent.error = ECANCELED;
    result.acks->resize(extents.size(), unsent);
    if (!replies.empty()) result.data = std::move(replies);
    return result;
  }

  Result dump(Op& op) {
    std::vector<msg::Extent> extents;
    if (msg::split(op.data.data(), op.data.size(), 1, &extents) || !msg::isGet(op.data.data(), extents[0], op.protocol)) {
      return failure({EINVAL, "message 0"});
    }
    Socket* socket = nullptr;
    if (sys::Status status = connect(op, &socket); !status.ok()) return failure(std::move(status));
    for (int attempt = 1; attempt <= kDumpAttempts; attempt += 1) {
      const uint32_t seq = socket->seq++;
      msg::requestDump(op.data.data(), extents[0], seq);
      if (sys::Status status = sys::sendAll(socket->fd.get(), op.data.data(), op.data.size()); !status.ok()) {
        return failure(std::move(status));
      }
      msg::DumpCollector collector(seq);
      while (!collector.done()) {
        sys::Status status = receive(*socket, &collector);
        if (!status.ok()) return failure(std::move(status));
        if (op.partial && collector.data().size() > kPartialBytes) {
          /* The rest is under way, so the socket is not used again. */
          socket->fd.reset();
          break;
        }
      }
      Result result;
      if (collector.end().error != 0) {
        result.status = {collector.end().error, "dump"};
        result.acks = {collector.end()};
        return result;
      }
      const bool enough = op.partial && (attempt == kPartialAttempts || !collector.done());
      if (collector.interrupted() && !enough) continue;
      result.data = std::move(collector.data());
      return result;
    }
    return failure({EINTR, "dump"});
  }

  Result sysctl(const Op& op) {
    Netns* netns = nullptr;
    /* Entries of /proc/sys/net are looked up in the namespace of the thread that opens them. */
    if (sys::Status status = enter(op.netns, &netns); !status.ok()) return failure(std::move(status));
    Result result;
    if (op.kind == Op::Kind::kSysctlWrite) {
      result.status = sys::writeSysctl(op.key, op.value);
      if (op.optional && result.status.error == ENOENT) result.status = {};
    } else {
      std::string value;
      result.status = sys::readSysctl(op.key, &value);
      if (result.status.ok()) result.value = std::move(value);
    }
    return result;
  }

  /* The value is the descriptor, which is the caller's from then on. */
  Result openSocket(const Op& op) {
    Netns* netns = nullptr;
    if (sys::Status status = enter(op.netns, &netns); !status.ok()) return failure(std::move(status));
    sys::UniqueFd socket;
    if (sys::Status status = sys::openService(op.service, &socket); !status.ok()) return failure(std::move(status));
    Result result;
    result.value = std::to_string(socket.release());
    return result;
  }

  /* Refused: EBADMSG, with nftables' words as the value. */
  Result nft(const Op& op) {
    Netns* netns = nullptr;
    if (sys::Status status = enter(op.netns, &netns); !status.ok()) return failure(std::move(status));
    bool taken = false;
    std::string text;
    sys::Status status = firewall_.run(fdOf(*netns), op.value, op.check, &taken, &text);
    if (!status.ok()) return failure(std::move(status));
    Result result;
    if (!taken) result.status = {EBADMSG, "nft"};
    result.value = std::move(text);
    return result;
  }

  sys::Status resolve(Socket& socket, const Fixup& fixup, uint32_t* value) {
    if (fixup.kind == Fixup::Kind::kNetns) {
      Netns* target = nullptr;
      if (sys::Status status = find(fixup.name, &target); !status.ok()) return status;
      *value = static_cast<uint32_t>(fdOf(*target));
      return {};
    }
    uint32_t index = 0;
    if (sys::Status status = sys::linkIndex(socket.fd.get(), fixup.name, &index); !status.ok()) return status;
    if (index == 0) return {ENODEV, "link " + fixup.name};
    *value = index;
    return {};
  }

  /* How many messages from `first` on go into one send: their bytes, and the room for their acks, are bounded. */
  static size_t chunk(const Socket& socket, const std::vector<msg::Extent>& extents, size_t first) {
    const size_t most = std::max<size_t>(1, sys::receiveRoom(socket.fd.get()) / kAckRoom);
    size_t count = 1;
    while (count < most && first + count < extents.size()) {
      const msg::Extent& last = extents[first + count];
      if (last.offset + last.length - extents[first].offset > kChunkBytes) break;
      count += 1;
    }
    return count;
  }

  sys::Status transact(Socket& socket, const uint8_t* data, size_t size, msg::AckCollector* collector) {
    if (sys::Status status = sys::sendAll(socket.fd.get(), data, size); !status.ok()) return status;
    while (!collector->complete()) {
      if (sys::Status status = receive(socket, collector); !status.ok()) return status;
    }
    return {};
  }

  /* After a failure answers may still be under way, so the socket is not used again. */
  template <typename Collector>
  sys::Status receive(Socket& socket, Collector* collector) {
    size_t size = 0;
    sys::Status status = sys::receive(socket.fd.get(), buffer_.data(), buffer_.size(), &size);
    if (status.ok() && !collector->feed(buffer_.data(), size)) status = {EBADMSG, "recv"};
    if (!status.ok()) socket.fd.reset();
    return status;
  }

  struct Dying {
    size_t at;
    int32_t nsid;
    uint64_t inode;
  };

  /* Deleted namespaces; what keeps them until bury(): most are in flight, those that do not fit are held. */
  std::vector<Dying> dying_;
  sys::Flight flight_;
  std::vector<sys::UniqueFd> held_;
  int home_;
  std::vector<uint8_t>& buffer_;
  Firewall& firewall_;
  Spares& spares_;
  Register& register_;
  bool keepGoing_;
  Netns atHome_;
  std::unordered_map<std::string, std::unique_ptr<Netns>> known_;
  /* nullptr: in a namespace that has no name. */
  const Netns* current_;
};

}  // namespace

bool Result::failed() const {
  if (!status.ok()) return true;
  return acks && std::any_of(acks->begin(), acks->end(), [](const msg::Ack& ack) { return ack.error != 0; });
}

void Spares::put(size_t number, sys::UniqueFd netns) {
  const std::lock_guard<std::mutex> lock(mutex_);
  stock_[number] = std::move(netns);
}

sys::UniqueFd Spares::take(size_t number) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = stock_.find(number);
  if (found == stock_.end()) return {};
  sys::UniqueFd netns = std::move(found->second);
  stock_.erase(found);
  return netns;
}

sys::Status Executor::begin() {
  buffer_.resize(kReceiveBuffer);
  return sys::openThreadNetns(&home_);
}

std::vector<Result> Executor::run(std::vector<Op>& ops, bool keepGoing, const std::atomic<bool>& stop) {
  std::vector<Result> results;
  results.reserve(ops.size());
  Session session(home_.get(), &buffer_, &firewall_, &spares_, &register_, keepGoing);
  for (Op& op : ops) {
    if (stop.load(std::memory_order_relaxed)) break;
    results.push_back(session.run(op, results.size()));
    session.trim();
    if (session.crowded()) session.bury(&results);
    if (results.back().failed() && !keepGoing) break;
  }
  session.bury(&results);
  lost_ = !session.goHome().ok();
  return results;
}

}  // namespace vpcctl
