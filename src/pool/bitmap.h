// A set of small numbers, one bit each.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/check.h"

namespace cairn::pool {

class Bitmap {
 public:
  explicit Bitmap(uint32_t size = 0) { resize(size); }

  uint32_t size() const { return size_; }
  uint32_t count() const { return count_; }
  std::span<const uint64_t> words() const { return words_; }

  // New bits are clear. Shrinking never cuts off a set bit.
  void resize(uint32_t size) {
    size_ = size;
    words_.resize((size_t{size} + 63) / 64);
  }
  bool test(uint32_t index) const {
    CAIRN_CHECK(index < size_);
    return (words_[index / 64] >> (index % 64) & 1) != 0;
  }
  void set(uint32_t index) {
    CAIRN_CHECK(!test(index));
    words_[index / 64] |= uint64_t{1} << (index % 64);
    ++count_;
  }
  void clear(uint32_t index) {
    CAIRN_CHECK(test(index));
    words_[index / 64] &= ~(uint64_t{1} << (index % 64));
    --count_;
    if (index < first_clear_hint_) first_clear_hint_ = index;
  }
  // Replaces the content; bits beyond size() must be clear.
  void assign(std::vector<uint64_t> words) {
    CAIRN_CHECK(words.size() == words_.size());
    words_ = std::move(words);
    count_ = 0;
    for (const uint64_t word : words_) count_ += static_cast<uint32_t>(std::popcount(word));
    first_clear_hint_ = 0;
  }

  // The lowest clear bit that is `from` or more. Amortised constant for from == 0.
  std::optional<uint32_t> first_clear(uint32_t from = 0) {
    const bool hinted = from <= first_clear_hint_;
    if (hinted) from = first_clear_hint_;
    for (size_t word = from / 64; word < words_.size(); ++word) {
      uint64_t clear = ~words_[word];
      if (word == from / 64) clear &= ~uint64_t{0} << (from % 64);
      if (clear == 0) continue;
      const auto index = static_cast<uint32_t>(word * 64 + static_cast<size_t>(std::countr_zero(clear)));
      if (index >= size_) break;
      if (hinted) first_clear_hint_ = index;
      return index;
    }
    if (hinted) first_clear_hint_ = size_;
    return std::nullopt;
  }
  // One more than the highest set bit, 0 when none is set.
  uint32_t end_of_set() const {
    for (size_t word = words_.size(); word > 0; --word) {
      if (words_[word - 1] != 0) {
        return static_cast<uint32_t>(word * 64 - static_cast<size_t>(std::countl_zero(words_[word - 1])));
      }
    }
    return 0;
  }

 private:
  uint32_t size_ = 0;
  uint32_t count_ = 0;
  uint32_t first_clear_hint_ = 0;  // no bit below it is clear
  std::vector<uint64_t> words_;
};

}  // namespace cairn::pool
