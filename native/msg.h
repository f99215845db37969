/*
 * rtnetlink as bytes. Nothing here knows a descriptor, a system call or JavaScript: buffers in, facts out, every length
 * checked, so that the fuzzer can feed it anything. The kernel's answers are host-endian and 4-byte aligned; the
 * buffers of callers need not be, so all loads and stores go through memcpy.
 */
#ifndef VPCCTL_MSG_H_
#define VPCCTL_MSG_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vpcctl::msg {

/** Where one message lies in a buffer; `length` is its nlmsg_len, without padding. */
struct Extent {
  size_t offset;
  size_t length;
};

/** The kernel's answer to one message. `error` is a positive errno, 0 for success (which may carry a warning text). */
struct Ack {
  int error = 0;
  std::string text;
  std::optional<uint32_t> offset;
};

/** What is wrong with a buffer of requests: the number of the offending message. */
struct Malformed {
  size_t message;
};

/**
 * Finds the `count` messages of a buffer. Each must have a whole header, a length that fits, and begin where the one
 * before it, padded to 4, ended; nothing may follow the last but its padding. On failure `extents` is untouched.
 */
std::optional<Malformed> split(const uint8_t* data, size_t size, size_t count, std::vector<Extent>* extents);

/** Whose messages they are: rtnetlink's, or those of connection tracking (ctnetlink). */
enum class Protocol { kRoute, kConntrack };

/** True for a message that would start a dump: a GET with a bit of NLM_F_DUMP. Such a request is answered by no ack. */
bool isDump(const uint8_t* data, const Extent& message, Protocol protocol);

/** True for a request of the GET kind; any other with the bits of NLM_F_DUMP is a *change* (they mean REPLACE|EXCL
 * there). */
bool isGet(const uint8_t* data, const Extent& message, Protocol protocol);

/** Makes a message a request that is acknowledged under the sequence number `seq`. */
void requestAck(uint8_t* data, const Extent& message, uint32_t seq);

/** Makes a message a dump request under the sequence number `seq`. */
void requestDump(uint8_t* data, const Extent& message, uint32_t seq);

/** Stores a 32-bit number at `offset`, which must lie in the payload of a message; false (nothing stored) otherwise. */
bool patch(uint8_t* data, const std::vector<Extent>& extents, size_t offset, uint32_t value);

/** Index of the last message that begins at or before `offset`; 0 when none does. */
size_t messageAt(const std::vector<Extent>& extents, size_t offset);

/** True when 4 bytes at `offset` lie inside one message's payload. */
bool inPayload(const std::vector<Extent>& extents, size_t offset);

/** RTM_NEWNSID: the namespace of this descriptor gets this number in the namespace of the socket. */
std::vector<uint8_t> nsidRequest(int fd, int32_t nsid);

/** RTM_GETNSID: asks for the namespace of this number; ENOENT from the moment when nobody holds it. */
std::vector<uint8_t> nsidQuery(int32_t nsid);

/** Gathers the acks of messages numbered consecutively from `first`, and any other answers to them. */
class AckCollector {
 public:
  AckCollector(uint32_t first, size_t count);

  /** Takes one datagram; false when it is not a sequence of whole messages. Answers to other requests are passed over.
   */
  bool feed(const uint8_t* data, size_t size);

  bool complete() const { return missing_ == 0; }
  bool failed() const { return failed_; }
  /** Whether message `i` of this collector has been acknowledged. */
  bool answered(size_t i) const { return answered_[i]; }
  std::vector<Ack>& acks() { return acks_; }
  /** Whole answer messages that were no acks (a GET's answer, NLM_F_ECHO), padded to 4. */
  std::vector<uint8_t>& replies() { return replies_; }

 private:
  uint32_t first_;
  size_t missing_;
  bool failed_ = false;
  std::vector<Ack> acks_;
  std::vector<bool> answered_;
  std::vector<uint8_t> replies_;
};

/** Gathers the answer to one dump request, which may come in many datagrams. */
class DumpCollector {
 public:
  explicit DumpCollector(uint32_t seq) : seq_(seq) {}

  /** Takes one datagram; false when it is not a sequence of whole messages. */
  bool feed(const uint8_t* data, size_t size);

  bool done() const { return done_; }
  /** The kernel saw the table change under the dump (NLM_F_DUMP_INTR): what was gathered may lack or repeat entries. */
  bool interrupted() const { return interrupted_; }
  /** How the dump ended, with the kernel's words. */
  const Ack& end() const { return end_; }
  /** Answer messages, each padded to 4, without the closing NLMSG_DONE. */
  std::vector<uint8_t>& data() { return data_; }

 private:
  uint32_t seq_;
  bool done_ = false;
  bool interrupted_ = false;
  Ack end_;
  std::vector<uint8_t> data_;
};

}  // namespace vpcctl::msg

#endif  // VPCCTL_MSG_H_
