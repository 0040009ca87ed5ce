// Judges the data of a PDU that arrives in any pieces by the data digest behind it (NVMe/TCP Transport 1.0, section
// 3.3.1.1). Pure: no I/O, no allocation; both ends use it.
//
//   reset() -> add_data() for all data, in order, and feed() until done() -> matches()
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "base/check.h"
#include "base/crc32c.h"
#include "nvme/tcp_pdu.h"

namespace cairn::nvme {

class DataDigestReader {
 public:
  void reset() {
    crc_ = kCrc32cInit;
    filled_ = 0;
  }
  void add_data(std::span<const std::byte> data) { crc_ = crc32c_update(crc_, data); }

  // Consumes bytes up to the end of DDGST; returns how many. Everything of `bytes` unless it gets done.
  size_t feed(std::span<const std::byte> bytes) {
    const size_t taken = std::min(bytes.size(), received_.size() - filled_);
    std::copy_n(bytes.data(), taken, received_.data() + filled_);
    filled_ += taken;
    return taken;
  }
  bool done() const { return filled_ == received_.size(); }

  // Only when done().
  bool matches() const {
    CAIRN_CHECK(done());
    return decode_digest(received_) == crc32c_finish(crc_);
  }

 private:
  uint32_t crc_ = kCrc32cInit;
  size_t filled_ = 0;
  std::array<std::byte, kPduDigestSize> received_{};
};

}  // namespace cairn::nvme
