// A device on which changes are tried without touching it.
#pragma once

#include <cstring>
#include <map>

#include "pool/check/device_reader.h"
#include "pool/format/page.h"

namespace cairn::pool::check {

class OverlayDevice final : public DeviceWriter {
 public:
  explicit OverlayDevice(DeviceReader& below) : below_(below) {}
  uint64_t size_bytes() const override { return below_.size_bytes(); }

  Result<> read(uint64_t offset, std::span<std::byte> out) override {
    if (auto done = below_.read(offset, out); !done) {
      // What was replaced as a whole need not be readable below.
      if (out.size() != format::kPageSize || !pages_.contains(offset)) return done;
    }
    for (auto page = pages_.lower_bound(offset); page != pages_.end() && page->first < offset + out.size(); ++page) {
      std::memcpy(out.data() + (page->first - offset), page->second.bytes.data(), format::kPageSize);
    }
    return {};
  }

  Result<> write(uint64_t offset, std::span<const std::byte> from) override {
    CAIRN_CHECK(offset % format::kPageSize == 0 && from.size() % format::kPageSize == 0);
    for (size_t i = 0; i < from.size(); i += format::kPageSize) {
      std::memcpy(pages_[offset + i].bytes.data(), from.data() + i, format::kPageSize);
    }
    return {};
  }
  Result<> flush() override { return {}; }

  const std::map<uint64_t, format::Page>& pages() const { return pages_; }  // by their offset

 private:
  DeviceReader& below_;
  std::map<uint64_t, format::Page> pages_;
};

}  // namespace cairn::pool::check
