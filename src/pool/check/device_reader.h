// The bytes of a pool's device while nobody changes them: a file or device node, an image in memory, a simulated disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/error.h"

namespace cairn::pool::check {

class DeviceReader {
 public:
  virtual ~DeviceReader() = default;
  virtual uint64_t size_bytes() const = 0;
  // Offset and length are multiples of 4096; the range lies within the device.
  virtual Result<> read(uint64_t offset, std::span<std::byte> out) = 0;
};

class DeviceWriter : public DeviceReader {
 public:
  virtual Result<> write(uint64_t offset, std::span<const std::byte> from) = 0;  // as read()
  virtual Result<> flush() = 0;
};

// An image in memory, zero beyond what it holds.
class MemoryDevice final : public DeviceWriter {
 public:
  explicit MemoryDevice(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  std::span<std::byte> bytes() { return bytes_; }
  uint64_t size_bytes() const override { return bytes_.size(); }
  Result<> read(uint64_t offset, std::span<std::byte> out) override {
    CAIRN_CHECK(offset + out.size() <= bytes_.size());
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }
  Result<> write(uint64_t offset, std::span<const std::byte> from) override {
    CAIRN_CHECK(offset + from.size() <= bytes_.size());
    std::memcpy(bytes_.data() + offset, from.data(), from.size());
    return {};
  }
  Result<> flush() override { return {}; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace cairn::pool::check
