// A set of regions of a nexus: what the write-intent log is made of. Belongs to one reactor.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace cairn::nexus {

class RegionMap {
 public:
  RegionMap() = default;
  explicit RegionMap(uint64_t size) { resize(size); }

  uint64_t size() const { return size_; }
  // Grows; new regions are not set.
  void resize(uint64_t size) {
    size_ = size;
    words_.resize((size + 63) / 64);
  }
  // Beyond the end: not set.
  bool test(uint64_t region) const { return region < size_ && (words_[region / 64] >> (region % 64) & 1) != 0; }
  void set(uint64_t region) {
    if (region < size_) words_[region / 64] |= uint64_t{1} << (region % 64);
  }
  void set_all() {
    std::ranges::fill(words_, ~uint64_t{0});
    if (size_ % 64 != 0) words_.back() = ~uint64_t{0} >> (64 - size_ % 64);
  }
  void clear() { std::ranges::fill(words_, 0); }
  bool any() const {
    return std::ranges::any_of(words_, [](uint64_t word) { return word != 0; });
  }
  uint64_t count() const {
    uint64_t sum = 0;
    for (const uint64_t word : words_) sum += static_cast<uint64_t>(std::popcount(word));
    return sum;
  }
  // What is set in `other`, as far as this one reaches. Whether that changed anything.
  bool add(const RegionMap& other) {
    bool changed = false;
    for (size_t i = 0; i < std::min(words_.size(), other.words_.size()); ++i) {
      const uint64_t before = words_[i];
      words_[i] |= other.words_[i];
      if (i + 1 == words_.size() && size_ % 64 != 0) words_[i] &= ~uint64_t{0} >> (64 - size_ % 64);
      changed = changed || words_[i] != before;
    }
    return changed;
  }
  bool remove(const RegionMap& other) {
    bool changed = false;
    for (size_t i = 0; i < std::min(words_.size(), other.words_.size()); ++i) {
      const uint64_t before = words_[i];
      words_[i] &= ~other.words_[i];
      changed = changed || words_[i] != before;
    }
    return changed;
  }
  // The first set region from there on; size() when there is none.
  uint64_t next(uint64_t from) const {
    for (uint64_t word = from / 64; word < words_.size(); ++word) {
      uint64_t bits = words_[word];
      if (word == from / 64) bits &= ~uint64_t{0} << (from % 64);
      if (bits != 0) return word * 64 + static_cast<uint64_t>(std::countr_zero(bits));
    }
    return size_;
  }
  const std::vector<uint64_t>& words() const { return words_; }
  std::vector<uint64_t>& words() { return words_; }

 private:
  uint64_t size_ = 0;
  std::vector<uint64_t> words_;  // bits beyond the size are 0
};

}  // namespace cairn::nexus
