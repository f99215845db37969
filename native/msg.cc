#include "msg.h"

#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <initializer_list>

namespace vpcctl::msg {
namespace {

constexpr size_t kHeader = sizeof(nlmsghdr);

/* linux/netlink.h of older distributions lacks these. */
constexpr uint16_t kExtackMsg = 1;
constexpr uint16_t kExtackOffs = 2;
constexpr uint16_t kFlagCapped = 0x100;
constexpr uint16_t kFlagAckTlvs = 0x200;

constexpr size_t align4(size_t size) {
  return (size + 3) & ~size_t{3};
}

template <typename T>
T load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <typename T>
void store(uint8_t* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

/* A kernel status is 0 or a negative errno; anything else is a malformed answer and must not read as success. */
int toErrno(int32_t status) {
  if (status == 0) return 0;
  return status > 0 || status == INT32_MIN ? EPROTO : -status;
}

/* Attributes from `offset` of a message to its end; a truncated one ends the walk (the text is a courtesy, never
 * needed). */
void readExtack(const uint8_t* message, size_t length, size_t offset, Ack* ack) {
  while (offset + sizeof(nlattr) <= length) {
    const auto attr = load<nlattr>(message + offset);
    if (attr.nla_len < sizeof(nlattr) || attr.nla_len > length - offset) return;
    const uint8_t* payload = message + offset + sizeof(nlattr);
    const size_t size = attr.nla_len - sizeof(nlattr);
    switch (attr.nla_type & NLA_TYPE_MASK) {
      case kExtackMsg: {
        const void* nul = size == 0 ? nullptr : std::memchr(payload, 0, size);
        const size_t end = nul == nullptr ? size : static_cast<size_t>(static_cast<const uint8_t*>(nul) - payload);
        ack->text.assign(reinterpret_cast<const char*>(payload), end);
        break;
      }
      case kExtackOffs:
        if (size >= sizeof(uint32_t)) ack->offset = load<uint32_t>(payload);
        break;
      default:
        break;
    }
    offset += align4(attr.nla_len);
  }
}

/*
 * NLMSG_ERROR: status, the request's header, the request's payload unless NLM_F_CAPPED, then with NLM_F_ACK_TLVS the
 * attributes. The payload is echoed only for a failure, and NETLINK_CAP_ACK turns that off; both forms are understood
 * because setting the option is best effort.
 */
bool readError(const uint8_t* message, size_t length, uint16_t flags, Ack* ack) {
  if (length < kHeader + sizeof(int32_t)) return false;
  *ack = Ack{};
  ack->error = toErrno(load<int32_t>(message + kHeader));
  constexpr size_t kFixed = kHeader + sizeof(nlmsgerr);
  if ((flags & kFlagAckTlvs) == 0 || length < kFixed) return true;
  size_t offset = kFixed;
  if ((flags & kFlagCapped) == 0) {
    const size_t echoed = load<nlmsghdr>(message + kHeader + sizeof(int32_t)).nlmsg_len;
    if (echoed > kHeader) offset += align4(echoed - kHeader);
  }
  if (offset < length) readExtack(message, length, offset, ack);
  return true;
}

/* Calls `visit(header, message, length)` for each message of a datagram; false when one is cut off. */
template <typename Visit>
bool walk(const uint8_t* data, size_t size, Visit visit) {
  size_t offset = 0;
  while (size - offset >= kHeader) {
    const auto header = load<nlmsghdr>(data + offset);
    if (header.nlmsg_len < kHeader || header.nlmsg_len > size - offset) return false;
    if (!visit(header, data + offset, size_t{header.nlmsg_len})) return false;
    offset += std::min(align4(header.nlmsg_len), size - offset);
  }
  return offset == size;
}

void append(std::vector<uint8_t>* to, const uint8_t* message, size_t length) {
  to->insert(to->end(), message, message + length);
  to->resize(align4(to->size()));
}

}  // namespace

std::optional<Malformed> split(const uint8_t* data, size_t size, size_t count, std::vector<Extent>* extents) {
  std::vector<Extent> found;
  found.reserve(std::min(count, size / kHeader));
  size_t offset = 0;
  while (found.size() < count) {
    if (size - offset < kHeader) return Malformed{found.size()};
    const size_t length = load<nlmsghdr>(data + offset).nlmsg_len;
    if (length < kHeader || length > size - offset) return Malformed{found.size()};
    found.push_back({offset, length});
    offset += std::min(align4(length), size - offset);
  }
  if (offset != size) return Malformed{count};
  *extents = std::move(found);
  return std::nullopt;
}

bool isGet(const uint8_t* data, const Extent& message, Protocol protocol) {
  const auto header = load<nlmsghdr>(data + message.offset);
  if (protocol == Protocol::kConntrack) return header.nlmsg_type == (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET);
  return header.nlmsg_type >= RTM_BASE && (header.nlmsg_type & 3) == (RTM_GETLINK & 3);
}

bool isDump(const uint8_t* data, const Extent& message, Protocol protocol) {
  return isGet(data, message, protocol) && (load<nlmsghdr>(data + message.offset).nlmsg_flags & NLM_F_DUMP) != 0;
}

void requestAck(uint8_t* data, const Extent& message, uint32_t seq) {
  auto header = load<nlmsghdr>(data + message.offset);
  header.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
  header.nlmsg_seq = seq;
  header.nlmsg_pid = 0;
  store(data + message.offset, header);
}

void requestDump(uint8_t* data, const Extent& message, uint32_t seq) {
  auto header = load<nlmsghdr>(data + message.offset);
  header.nlmsg_flags = static_cast<uint16_t>((header.nlmsg_flags & ~NLM_F_ACK) | NLM_F_REQUEST | NLM_F_DUMP);
  header.nlmsg_seq = seq;
  header.nlmsg_pid = 0;
  store(data + message.offset, header);
}

size_t messageAt(const std::vector<Extent>& extents, size_t offset) {
  const auto after = std::upper_bound(extents.begin(), extents.end(), offset,
                                      [](size_t at, const Extent& extent) { return at < extent.offset; });
  return after == extents.begin() ? 0 : static_cast<size_t>(after - extents.begin()) - 1;
}

bool inPayload(const std::vector<Extent>& extents, size_t offset) {
  if (extents.empty() || offset < extents[0].offset) return false;
  const Extent& extent = extents[messageAt(extents, offset)];
  const size_t inside = offset - extent.offset;
  return inside >= kHeader && inside <= extent.length && extent.length - inside >= sizeof(uint32_t);
}

bool patch(uint8_t* data, const std::vector<Extent>& extents, size_t offset, uint32_t value) {
  if (!inPayload(extents, offset)) return false;
  store(data + offset, value);
  return true;
}

namespace {

std::vector<uint8_t> nsidMessage(uint16_t type, std::initializer_list<std::pair<int, int32_t>> attrs) {
  constexpr size_t kBody = kHeader + align4(sizeof(rtgenmsg));
  constexpr size_t kAttr = sizeof(nlattr) + sizeof(uint32_t);
  std::vector<uint8_t> bytes(kBody + attrs.size() * kAttr, 0);
  nlmsghdr header{};
  header.nlmsg_len = static_cast<uint32_t>(bytes.size());
  header.nlmsg_type = type;
  header.nlmsg_flags = NLM_F_REQUEST;
  store(bytes.data(), header);
  uint8_t* at = bytes.data() + kBody;
  for (const auto& [kind, value] : attrs) {
    nlattr head{};
    head.nla_len = kAttr;
    head.nla_type = static_cast<uint16_t>(kind);
    store(at, head);
    store(at + sizeof head, value);
    at += kAttr;
  }
  return bytes;
}

}  // namespace

std::vector<uint8_t> nsidRequest(int fd, int32_t nsid) {
  return nsidMessage(RTM_NEWNSID, {{NETNSA_FD, fd}, {NETNSA_NSID, nsid}});
}

std::vector<uint8_t> nsidQuery(int32_t nsid) {
  return nsidMessage(RTM_GETNSID, {{NETNSA_NSID, nsid}});
}

AckCollector::AckCollector(uint32_t first, size_t count)
    : first_(first), missing_(count), acks_(count), answered_(count, false) {}

bool AckCollector::feed(const uint8_t* data, size_t size) {
  return walk(data, size, [this](const nlmsghdr& header, const uint8_t* message, size_t length) {
    const uint32_t index = header.nlmsg_seq - first_;
    if (index >= acks_.size()) return true;
    if (header.nlmsg_type == NLMSG_ERROR) {
      if (answered_[index]) return true;
      if (!readError(message, length, header.nlmsg_flags, &acks_[index])) return false;
      answered_[index] = true;
      missing_ -= 1;
      failed_ = failed_ || acks_[index].error != 0;
    } else if (header.nlmsg_type >= NLMSG_MIN_TYPE) {
      append(&replies_, message, length);
    }
    return true;
  });
}

bool DumpCollector::feed(const uint8_t* data, size_t size) {
  return walk(data, size, [this](const nlmsghdr& header, const uint8_t* message, size_t length) {
    if (header.nlmsg_seq != seq_ || done_) return true;
    if ((header.nlmsg_flags & NLM_F_DUMP_INTR) != 0) interrupted_ = true;
    if (header.nlmsg_type == NLMSG_ERROR) {
      done_ = true;
      return readError(message, length, header.nlmsg_flags, &end_);
    }
    if (header.nlmsg_type == NLMSG_DONE) {
      done_ = true;
      /* Kernels before 5.x may close with a bare header, which is success. */
      if (length < kHeader + sizeof(int32_t)) return true;
      end_.error = toErrno(load<int32_t>(message + kHeader));
      if ((header.nlmsg_flags & kFlagAckTlvs) != 0) readExtack(message, length, kHeader + sizeof(int32_t), &end_);
      return true;
    }
    if (header.nlmsg_type >= NLMSG_MIN_TYPE) append(&data_, message, length);
    return true;
  });
}

}  // namespace vpcctl::msg
