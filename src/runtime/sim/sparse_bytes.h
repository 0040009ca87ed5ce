// A long array of bytes of which most are zero: pages exist where something was written.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>

namespace cairn::runtime::sim {

class SparseBytes {
 public:
  static constexpr size_t kPageSize = 4096;

  void read(uint64_t offset, std::span<std::byte> into) const;
  void write(uint64_t offset, std::span<const std::byte> from);
  void zero(uint64_t offset, uint64_t length);
  // Makes [offset, offset+length) equal to the same range of `other`.
  void copy_range(const SparseBytes& other, uint64_t offset, uint64_t length);
  void xor_byte(uint64_t offset, std::byte mask);
  // How much writing to a range would add to allocated_bytes().
  uint64_t missing_bytes(uint64_t offset, uint64_t length) const;
  uint64_t allocated_bytes() const { return pages_.size() * kPageSize; }

 private:
  using Page = std::array<std::byte, kPageSize>;
  // Made when there is none: of zeroes, unless all of it is written now.
  Page& page(uint64_t index, bool overwritten = false);
  // Never iterated in a way that could be seen: the order of this map differs between runs.
  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages_;
};

}  // namespace cairn::runtime::sim
