/*
 * What JavaScript cannot bring about: answers that a kernel gives rarely, and system calls that fail. Linked with
 * --wrap, so that a call fails when its counter says so. Run it as root of a private network and mount namespace; its
 * argument is an empty directory.
 */
#include <dirent.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "msg.h"
#include "program.h"
#include "sys.h"
#include "worker.h"

namespace {

/** Which call (1 is the next) of each kind fails, 0 is none, and with which errno. */
struct Fault {
  std::atomic<int> countdown{0};
  std::atomic<int> error{0};

  bool fires() { return countdown.load() > 0 && countdown.fetch_sub(1) == 1; }
  void arm(int call, int with) {
    error = with;
    countdown = call;
  }
};

Fault setnsFault;
Fault unshareFault;
Fault mountFault;
Fault recvFault;
Fault threadFault;
/* Set: each recvmsg of a dump is marked interrupted. */
std::atomic<int> interruptions{0};
std::atomic<bool> smallBuffers{false};

}  // namespace

extern "C" {
int __real_setns(int fd, int type);
int __real_unshare(int flags);
int __real_mount(const char* source, const char* target, const char* type, unsigned long flags, const void* data);
ssize_t __real_recvmsg(int fd, msghdr* message, int flags);
int __real_setsockopt(int fd, int level, int option, const void* value, socklen_t size);
int __real_pthread_create(pthread_t* thread, const pthread_attr_t* attr, void* (*start)(void*), void* arg);

int __wrap_setns(int fd, int type) {
  if (!setnsFault.fires()) return __real_setns(fd, type);
  errno = setnsFault.error;
  return -1;
}

int __wrap_unshare(int flags) {
  if (!unshareFault.fires()) return __real_unshare(flags);
  errno = unshareFault.error;
  return -1;
}

int __wrap_mount(const char* source, const char* target, const char* type, unsigned long flags, const void* data) {
  if (!mountFault.fires()) return __real_mount(source, target, type, flags, data);
  errno = mountFault.error;
  return -1;
}

ssize_t __wrap_recvmsg(int fd, msghdr* message, int flags) {
  if (recvFault.fires()) {
    /* The kernel's ENOBUFS comes after answers were dropped. */
    if (recvFault.error == ENOBUFS) __real_recvmsg(fd, message, flags);
    if (recvFault.error == 0) {
      const ssize_t got = __real_recvmsg(fd, message, flags);
      message->msg_flags |= MSG_TRUNC;
      return got;
    }
    errno = recvFault.error;
    return -1;
  }
  const ssize_t got = __real_recvmsg(fd, message, flags);
  if (got >= static_cast<ssize_t>(sizeof(nlmsghdr)) && interruptions > 0) {
    auto* header = static_cast<nlmsghdr*>(message->msg_iov->iov_base);
    if (header->nlmsg_type == NLMSG_DONE) {
      header->nlmsg_flags |= NLM_F_DUMP_INTR;
      interruptions -= 1;
    }
  }
  return got;
}

/* As in a user namespace on a machine with the old default of net.core.rmem_max. */
int __wrap_setsockopt(int fd, int level, int option, const void* value, socklen_t size) {
  if (!smallBuffers || level != SOL_SOCKET) return __real_setsockopt(fd, level, option, value, size);
  if (option == SO_RCVBUFFORCE) {
    errno = EPERM;
    return -1;
  }
  if (option != SO_RCVBUF) return __real_setsockopt(fd, level, option, value, size);
  const int most = 212992;
  return __real_setsockopt(fd, level, option, &most, sizeof most);
}

int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attr, void* (*start)(void*), void* arg) {
  if (!threadFault.fires()) return __real_pthread_create(thread, attr, start, arg);
  return threadFault.error;
}
}

namespace {

using namespace vpcctl;

int failures = 0;

void check(bool condition, const char* text, int line) {
  if (condition) return;
  failures += 1;
  std::fprintf(stderr, "native_test.cc:%d: %s\n", line, text);
}

#define CHECK(condition) check((condition), #condition, __LINE__)

std::string dir;

Op createOp(const std::string& name) {
  Op op{};
  op.kind = Op::Kind::kNetnsCreate;
  op.netns = dir + "/" + name;
  return op;
}

Op deleteOp(const std::string& name) {
  Op op{};
  op.kind = Op::Kind::kNetnsDelete;
  op.netns = dir + "/" + name;
  return op;
}

Op readSysctl(const std::string& key) {
  Op op{};
  op.kind = Op::Kind::kSysctlRead;
  op.key = key;
  return op;
}

/* RTM_GETLINK of the link with this index; 0: of none. */
std::vector<uint8_t> linkRequest(int index) {
  nlmsghdr header{};
  header.nlmsg_len = sizeof(nlmsghdr) + sizeof(ifinfomsg);
  header.nlmsg_type = RTM_GETLINK;
  header.nlmsg_flags = NLM_F_REQUEST;
  ifinfomsg body{};
  body.ifi_index = index;
  std::vector<uint8_t> bytes(header.nlmsg_len);
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, &body, sizeof body);
  return bytes;
}

/* Without a namespace: at home. */
Op getLoopback(size_t times) {
  Op op{};
  op.kind = Op::Kind::kNetlink;
  for (size_t i = 0; i < times; i += 1) {
    const std::vector<uint8_t> one = linkRequest(1);
    op.data.insert(op.data.end(), one.begin(), one.end());
  }
  op.count = times;
  return op;
}

Op dumpLinks() {
  Op op{};
  op.kind = Op::Kind::kDump;
  op.data = linkRequest(0);
  op.count = 1;
  return op;
}

bool exists(const std::string& name) {
  struct stat found {};
  return ::lstat((dir + "/" + name).c_str(), &found) == 0;
}

size_t openFds() {
  size_t count = 0;
  DIR* fds = ::opendir("/proc/self/fd");
  while (::readdir(fds) != nullptr) count += 1;
  ::closedir(fds);
  return count;
}

/** A worker whose programs are waited for. */
class Harness {
 public:
  struct Waiting : Program {
    std::promise<std::vector<Result>> promise;
  };

  Harness()
      : worker_(
            [](void*, std::unique_ptr<Program> program) {
              auto* waiting = static_cast<Waiting*>(program.get());
              waiting->promise.set_value(std::move(waiting->results));
            },
            nullptr, &spares_) {}

  std::future<std::vector<Result>> start(std::vector<Op> ops, bool keepGoing = false) {
    auto program = std::make_unique<Waiting>();
    program->ops = std::move(ops);
    program->keepGoing = keepGoing;
    std::future<std::vector<Result>> future = program->promise.get_future();
    worker_.submit(std::move(program));
    return future;
  }

  std::vector<Result> run(std::vector<Op> ops, bool keepGoing = false) {
    std::vector<Result> results = start(std::move(ops), keepGoing).get();
    worker_.revive();
    return results;
  }

  Worker& worker() { return worker_; }

 private:
  Spares spares_;
  Worker worker_;
};

void failedCreationsLeaveNothing() {
  Harness harness;
  struct Case {
    Fault* fault;
    const char* where;
  };
  const std::string pinned = dir + "/a";
  const Case cases[] = {{&unshareFault, "unshare"}, {&mountFault, "mount"}};
  for (const Case& at : cases) {
    at.fault->arm(1, EPERM);
    const auto results = harness.run({createOp("a"), createOp("b")});
    CHECK(results.size() == 1);
    CHECK(results[0].status.error == EPERM);
    CHECK(results[0].status.where.rfind(at.where, 0) == 0);
    CHECK(!exists("a") && !exists("b"));
    /* The thread is home: what it reads there is the process's. */
    CHECK(harness.run({createOp("a"), deleteOp("a")}).size() == 2);
    CHECK(!exists("a"));
  }
}

void aThreadThatCannotComeHomeIsReplaced() {
  const std::string key = "net/ipv4/ip_default_ttl";
  CHECK(sys::writeSysctl(key, "77").ok());
  Harness harness;
  CHECK(harness.run({readSysctl(key)})[0].value == "77");
  /* The program's own work is done; the way home fails, now and at the next attempt. */
  setnsFault.arm(1, EPERM);
  auto lost = harness.start({createOp("a")});
  auto queued = harness.start({createOp("b"), deleteOp("b")});
  CHECK(lost.get()[0].status.ok());
  harness.worker().revive();
  CHECK(queued.get().size() == 2);
  CHECK(exists("a") && !exists("b"));
  /* The new thread was born in this thread's namespace, so its home is ours. */
  const auto results = harness.run({readSysctl(key), deleteOp("a")});
  CHECK(results.size() == 2 && results[0].value == "77");
  /* Lost as the last program, then asked again without revive(). */
  setnsFault.arm(1, EPERM);
  CHECK(harness.start({createOp("a")}).get()[0].status.ok());
  CHECK(harness.start({readSysctl(key), deleteOp("a")}).get()[0].value == "77");
  /* Lost and ended. */
  setnsFault.arm(1, EPERM);
  CHECK(harness.start({createOp("a")}).get()[0].status.ok());
  harness.worker().stop();
  CHECK(::umount2((dir + "/a").c_str(), MNT_DETACH) == 0);
  CHECK(::unlink((dir + "/a").c_str()) == 0);
}

void aThreadThatCannotBeStartedIsAnErrno() {
  Harness harness;
  threadFault.arm(1, EAGAIN);
  const auto results = harness.run({createOp("a"), createOp("b")}, true);
  CHECK(results.size() == 2);
  CHECK(results[1].status.error == EAGAIN && results[1].status.where == "thread");
  CHECK(harness.run({getLoopback(1)})[0].status.ok());
}

void lostAnswersAreReported() {
  Harness harness;
  recvFault.arm(2, ENOBUFS);
  auto results = harness.run({getLoopback(5), getLoopback(1)}, true);
  CHECK(results.size() == 2);
  CHECK(results[0].status.error == ENOBUFS && results[0].status.where == "recv");
  CHECK(results[0].acks && results[0].acks->size() == 5);
  CHECK(results[0].acks->back().error == ENOBUFS);
  /* A later operation of the same program gets a socket without old answers in it. */
  CHECK(results[1].status.ok() && results[1].acks->at(0).error == 0 && results[1].data);

  recvFault.arm(1, 0);
  results = harness.run({getLoopback(1)});
  CHECK(results[0].status.error == EMSGSIZE && results[0].status.where == "recv");

  recvFault.arm(1, EAGAIN);
  results = harness.run({dumpLinks()});
  CHECK(results[0].status.error == ETIMEDOUT && results[0].status.where == "recv");

  recvFault.arm(1, EINTR);
  CHECK(harness.run({getLoopback(1)})[0].status.ok());
}

/* Acks with a text, of as many messages as fit into one send by their bytes, take twice the room that there is. */
void smallBuffersHoldTheirAcks() {
  Harness harness;
  smallBuffers = true;
  Op op{};
  op.kind = Op::Kind::kNetlink;
  op.count = 4000;
  for (size_t i = 0; i < op.count; i += 1) {
    std::vector<uint8_t> one = linkRequest(1);
    /* Flags in the header of a strict GET are refused with a text. */
    one[sizeof(nlmsghdr) + offsetof(ifinfomsg, ifi_flags)] = 1;
    op.data.insert(op.data.end(), one.begin(), one.end());
  }
  const auto results = harness.run({op}, true);
  smallBuffers = false;
  CHECK(results[0].status.ok());
  CHECK(results[0].acks && results[0].acks->size() == 4000);
  for (const msg::Ack& ack : *results[0].acks) {
    if (ack.error == EINVAL && !ack.text.empty()) continue;
    CHECK(!"every message is refused in the kernel's words");
    break;
  }
}

void interruptedDumpsAreRepeated() {
  Harness harness;
  interruptions = 9;
  auto results = harness.run({dumpLinks()});
  CHECK(interruptions == 0);
  CHECK(results[0].status.ok());
  ifinfomsg first{};
  CHECK(results[0].data && results[0].data->size() >= sizeof(nlmsghdr) + sizeof first);
  std::memcpy(&first, results[0].data->data() + sizeof(nlmsghdr), sizeof first);
  CHECK(first.ifi_index == 1);

  interruptions = 10;
  results = harness.run({dumpLinks()});
  CHECK(interruptions == 0);
  CHECK(results[0].status.error == EINTR && results[0].status.where == "dump" && !results[0].data);
}

void stoppingEndsAProgramBetweenOperations() {
  const auto began = std::chrono::steady_clock::now();
  std::future<std::vector<Result>> running;
  {
    Harness harness;
    std::vector<Op> ops;
    for (int i = 0; i < 100'000; i += 1) ops.push_back(i % 2 == 0 ? createOp("a") : deleteOp("a"));
    running = harness.start(std::move(ops));
    ::usleep(20'000);
    harness.worker().stop();
  }
  const size_t done = running.get().size();
  CHECK(done > 0 && done < 100'000);
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(5));
  if (exists("a")) {
    Harness harness;
    CHECK(harness.run({deleteOp("a")})[0].status.ok());
  }
}

/* Builds an answer of the kernel. */
class Answer {
 public:
  void put(const void* data, size_t size) {
    const auto* bytes = static_cast<const uint8_t*>(data);
    bytes_.insert(bytes_.end(), bytes, bytes + size);
    bytes_.resize((bytes_.size() + 3) & ~size_t{3});
  }
  void attr(uint16_t type, const void* data, size_t size) {
    const nlattr head{static_cast<uint16_t>(sizeof(nlattr) + size), type};
    put(&head, sizeof head);
    put(data, size);
  }
  std::vector<uint8_t> finish(uint16_t type, uint16_t flags, uint32_t seq) const {
    const nlmsghdr header{static_cast<uint32_t>(sizeof(nlmsghdr) + bytes_.size()), type, flags, seq, 0};
    std::vector<uint8_t> out(sizeof header);
    std::memcpy(out.data(), &header, sizeof header);
    out.insert(out.end(), bytes_.begin(), bytes_.end());
    return out;
  }

 private:
  std::vector<uint8_t> bytes_;
};

/* Kernels before 4.12, and sockets where NETLINK_CAP_ACK could not be set, echo the whole request before the
 * attributes. */
void uncappedAcksAreUnderstood() {
  for (const bool capped : {true, false}) {
    Answer answer;
    const int32_t status = -EEXIST;
    answer.put(&status, sizeof status);
    const char payload[5] = "abcd";
    const nlmsghdr request{sizeof(nlmsghdr) + sizeof payload, RTM_NEWLINK, 0, 7, 0};
    answer.put(&request, sizeof request);
    if (!capped) answer.put(payload, sizeof payload);
    const char text[] = "taken";
    const uint32_t offset = 36;
    answer.attr(1, text, sizeof text);
    answer.attr(2, &offset, sizeof offset);
    const auto bytes = answer.finish(NLMSG_ERROR, static_cast<uint16_t>(0x200 | (capped ? 0x100 : 0)), 7);
    msg::AckCollector acks(6, 2);
    CHECK(acks.feed(bytes.data(), bytes.size()));
    CHECK(!acks.complete() && acks.failed() && !acks.answered(0) && acks.answered(1));
    CHECK(acks.acks()[1].error == EEXIST && acks.acks()[1].text == "taken" && acks.acks()[1].offset == 36U);
    /* Cut anywhere it is malformed, never a success. */
    for (size_t size = 1; size < bytes.size(); size += 1) {
      msg::AckCollector cut(6, 2);
      CHECK(!cut.feed(bytes.data(), size) && !cut.answered(1));
    }
  }
}

void numbersWrapAround() {
  Answer answer;
  const int32_t status = 0;
  answer.put(&status, sizeof status);
  const nlmsghdr request{sizeof(nlmsghdr), RTM_NEWLINK, 0, 0, 0};
  answer.put(&request, sizeof request);
  msg::AckCollector acks(0xffffffff, 2);
  for (const uint32_t seq : {0U, 0xffffffffU, 1U}) {
    const auto bytes = answer.finish(NLMSG_ERROR, 0, seq);
    CHECK(acks.feed(bytes.data(), bytes.size()));
  }
  CHECK(acks.complete() && !acks.failed());
}

void statusesThatAreNoErrnoAreNoSuccess() {
  for (const int32_t status : {1, INT32_MAX, INT32_MIN}) {
    Answer answer;
    answer.put(&status, sizeof status);
    const auto bytes = answer.finish(NLMSG_DONE, NLM_F_MULTI, 3);
    msg::DumpCollector dump(3);
    CHECK(dump.feed(bytes.data(), bytes.size()) && dump.done());
    CHECK(dump.end().error == EPROTO);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: native_test EMPTY-DIRECTORY\n", stderr);
    return 2;
  }
  dir = argv[1];
  uncappedAcksAreUnderstood();
  numbersWrapAround();
  statusesThatAreNoErrnoAreNoSuccess();
  const size_t before = openFds();
  failedCreationsLeaveNothing();
  aThreadThatCannotComeHomeIsReplaced();
  aThreadThatCannotBeStartedIsAnErrno();
  lostAnswersAreReported();
  smallBuffersHoldTheirAcks();
  interruptedDumpsAreRepeated();
  stoppingEndsAProgramBetweenOperations();
  CHECK(openFds() == before);
  std::printf("native_test: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
