/*
 * A program is a list of operations on namespaces; an Executor carries programs out on the thread that owns it.
 *
 * Theory of operation. The thread is at home (the namespace it was born in) whenever no program runs, because a thread
 * that sits in a namespace keeps it alive. During a program it goes where an operation needs it: to create a namespace,
 * to open a socket, to open a sysctl. A netlink socket stays in the namespace it was opened in, so the thread enters a
 * namespace seldom and keeps descriptors and sockets of a few of them, until the program ends. Nothing outlives the program but
 * the contexts of libnftables (firewall.h), which rest() closes, and the register.
 *
 * Whether a namespace lives on without its name is asked by number. Numbers (RTM_NEWNSID) are given in a namespace of our own
 * that has no name, the register; they hold nothing, and nobody else sees them. The kernel finds a namespace by its number exactly as long as
 * somebody holds it: not from the moment when the last one lets go, though its end comes later.
 */
#ifndef VPCCTL_PROGRAM_H_
#define VPCCTL_PROGRAM_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "firewall.h"
#include "msg.h"
#include "sys.h"

namespace vpcctl {

/** A 32-bit slot of a message, filled with a descriptor of a namespace or the index of a link. */
struct Fixup {
  enum class Kind { kNetns, kLink };
  Kind kind;
  size_t offset;
  std::string name;
};

struct Op {
  enum class Kind {
    kNetnsCreate,
    kNetnsDelete,
    kNetnsLiving,
    kNetlink,
    kDump,
    kSysctlWrite,
    kSysctlRead,
    kNft,
    kNftRest,
    kSpareMake,
    kSpareDrop,
    kSocketOpen
  };
  Kind kind;
  /** Path of the namespace that is created, deleted, or worked in; empty is home, kRegister the register. */
  std::string netns;
  /** The spare that is made, dropped, or to become the namespace that is created. */
  std::optional<size_t> spare;
  msg::Protocol protocol = msg::Protocol::kRoute;
  std::vector<uint8_t> data;
  size_t count = 0;
  std::vector<Fixup> fixups;
  std::string key;
  std::string value;
  /** A sysctl that may be missing. */
  bool optional = false;
  /** A document that is not to stay. */
  bool check = false;
  /** A dump of what somebody changes and fills as he likes. */
  bool partial = false;
  /** Numbers that are not asked for again. */
  bool release = false;
  /** The socket that is opened. */
  sys::Service service;
};

/** No path of a namespace: messages to it name theirs by number (IFLA_TARGET_NETNSID). */
constexpr char kRegister[] = "#register";

struct Socket {
  sys::UniqueFd fd;
  uint32_t seq = 1;
};

/** A socket in a namespace without a name, which lives by it, and the numbers given there. */
struct Register {
  Socket socket;
  int32_t next = 0;
  /** Of namespaces that were deleted and lived on, until they are released or found dead: the numbers must stay. */
  std::set<int32_t> lingering;

  bool open() const { return socket.fd.valid(); }
  /** Numbers of another socket would mean nothing. */
  void close() { *this = Register{}; }
};

struct Result {
  sys::Status status;
  std::optional<std::vector<msg::Ack>> acks;
  std::optional<std::vector<uint8_t>> data;
  std::optional<std::string> value;

  /** The operation failed, or one of its messages did. */
  bool failed() const;
};

/**
 * Namespaces that are made and have no name yet, by numbers that the caller chose. They live in this process alone: when it dies, they
 * go. Any thread may call.
 */
class Spares {
 public:
  void put(size_t number, sys::UniqueFd netns);

  /** Out of the stock; not valid when there is none of that number. */
  sys::UniqueFd take(size_t number);

 private:
  std::mutex mutex_;
  std::unordered_map<size_t, sys::UniqueFd> stock_;
};

/** Carries out programs on the calling thread, which must be the same one from begin() on and nobody else's. */
class Executor {
 public:
  explicit Executor(Spares* spares) : spares_(*spares) {}

  /** Remembers where home is. */
  sys::Status begin();

  /** Runs to the first failure, or to the end with `keepGoing`; between two operations it gives up when `stop` is set.
   */
  std::vector<Result> run(std::vector<Op>& ops, bool keepGoing, const std::atomic<bool>& stop);

  /** Closes what programs left for the next one; nothing is left when resting(). */
  void rest() {
    firewall_.rest();
    if (register_.lingering.empty()) register_.close();
  }
  bool resting() const { return firewall_.resting() && !(register_.open() && register_.lingering.empty()); }

  /** The thread could not return home: it must not be used again. */
  bool lost() const { return lost_; }

 private:
  Spares& spares_;
  sys::UniqueFd home_;
  std::vector<uint8_t> buffer_;
  Firewall firewall_;
  Register register_;
  bool lost_ = false;
};

}  // namespace vpcctl

#endif  // VPCCTL_PROGRAM_H_
