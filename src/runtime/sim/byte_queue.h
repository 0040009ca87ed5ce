// Bytes in, bytes out, in order.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace cairn::runtime::sim {

class ByteQueue {
 public:
  size_t size() const { return bytes_.size() - head_; }
  bool empty() const { return size() == 0; }
  std::span<const std::byte> front(size_t at_most) const {
    return std::span(bytes_).subspan(head_, at_most < size() ? at_most : size());
  }
  void append(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  // The first `count` bytes of `other` leave it for the end of this one.
  void take(ByteQueue& other, size_t count) {
    if (empty() && count == other.size()) {
      std::swap(*this, other);
      other.clear();
    } else {
      append(other.front(count));
      other.consume(count);
    }
  }
  void consume(size_t count) {
    head_ += count;
    if (head_ == bytes_.size()) {
      bytes_.clear();
      head_ = 0;
    } else if (head_ > bytes_.size() / 2 && head_ > 4096) {
      bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(head_));
      head_ = 0;
    }
  }
  void clear() {
    bytes_.clear();
    head_ = 0;
  }

 private:
  std::vector<std::byte> bytes_;
  size_t head_ = 0;
};

}  // namespace cairn::runtime::sim
