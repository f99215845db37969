/* libFuzzer over msg.*: whatever the bytes, no walk reads outside of them, and what is reported is consistent. */
#include <cstdlib>

#include "msg.h"

using vpcctl::msg::AckCollector;
using vpcctl::msg::DumpCollector;
using vpcctl::msg::Extent;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void fuzzRequests(const uint8_t* data, size_t size, size_t count) {
  std::vector<Extent> extents;
  if (vpcctl::msg::split(data, size, count, &extents)) {
    require(extents.empty());
    return;
  }
  require(extents.size() == count);
  std::vector<uint8_t> bytes(data, data + size);
  for (size_t i = 0; i < count; i += 1) {
    require(extents[i].length >= 16 && extents[i].offset + extents[i].length <= size);
    for (const auto protocol : {vpcctl::msg::Protocol::kRoute, vpcctl::msg::Protocol::kConntrack}) {
      if (vpcctl::msg::isDump(data, extents[i], protocol)) require(vpcctl::msg::isGet(data, extents[i], protocol));
    }
    vpcctl::msg::requestAck(bytes.data(), extents[i], static_cast<uint32_t>(i));
    vpcctl::msg::requestDump(bytes.data(), extents[i], static_cast<uint32_t>(i));
  }
  for (size_t offset = 0; offset < size + 8; offset += 1) vpcctl::msg::patch(bytes.data(), extents, offset, 0xffffffff);
  /* Neither rewriting headers nor patching payloads may move a message. */
  std::vector<Extent> again;
  require(!vpcctl::msg::split(bytes.data(), size, count, &again));
}

void fuzzAnswers(const uint8_t* data, size_t size, uint32_t seq) {
  AckCollector acks(seq, 3);
  const bool whole = acks.feed(data, size);
  acks.feed(data, size);
  size_t answered = 0;
  bool failed = false;
  for (size_t i = 0; i < 3; i += 1) {
    answered += acks.answered(i) ? 1 : 0;
    require(acks.acks()[i].error >= 0);
    failed = failed || (acks.answered(i) && acks.acks()[i].error != 0);
  }
  require(acks.complete() == (answered == 3));
  require(acks.failed() == failed);
  require(acks.replies().size() % 4 == 0);
  DumpCollector dump(seq);
  require(dump.feed(data, size) || !whole || dump.done());
  require(dump.end().error >= 0);
  require(dump.data().size() % 4 == 0 && dump.data().size() <= size + 3);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  fuzzRequests(data + 1, size - 1, data[0] & 15);
  fuzzAnswers(data + 1, size - 1, data[0] >> 4);
  return 0;
}
