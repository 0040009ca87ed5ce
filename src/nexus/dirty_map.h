// The segments in which a child may differ from the healthy ones: what a rebuild has to copy.
//
// Any reactor sets bits, with one atomic operation; only a rebuild that holds the segment's range lock takes them away.
// Costs one bit for 64 KiB of the nexus.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>

namespace cairn::nexus {

class DirtyMap {
 public:
  // In blocks of the nexus. Clean.
  DirtyMap(uint64_t num_blocks, uint32_t segment_blocks)
      : segment_blocks_(segment_blocks),
        num_segments_((num_blocks + segment_blocks - 1) / segment_blocks),
        words_(std::make_unique<std::atomic<uint64_t>[]>(num_words())) {}

  uint64_t num_segments() const { return num_segments_; }
  uint32_t segment_blocks() const { return segment_blocks_; }

  // What lies beyond the map (the nexus has grown since) makes it useless: see outgrown().
  void set(uint64_t lba, uint64_t num_blocks) {
    if (num_blocks == 0) return;
    const uint64_t last = (lba + num_blocks - 1) / segment_blocks_;
    for (uint64_t segment = lba / segment_blocks_; segment <= last; ++segment) {
      if (segment >= num_segments_) {
        outgrown_.store(true, std::memory_order_release);
        return;
      }
      const uint64_t bit = uint64_t{1} << (segment % 64);
      std::atomic<uint64_t>& word = words_[segment / 64];
      if ((word.load(std::memory_order_seq_cst) & bit) == 0) word.fetch_or(bit, std::memory_order_seq_cst);
    }
  }
  void set_all() {
    for (uint64_t segment = 0; segment < num_segments_; ++segment) {
      words_[segment / 64].fetch_or(uint64_t{1} << (segment % 64), std::memory_order_acq_rel);
    }
  }
  // Beyond the end: not set.
  bool test(uint64_t segment) const {
    return segment < num_segments_ && (words_[segment / 64].load(std::memory_order_acquire) >> (segment % 64) & 1) != 0;
  }
  // Whether any of these was set; none is any more.
  bool take(uint64_t first, uint64_t count = 1) {
    bool was_set = false;
    for (uint64_t segment = first; segment < first + count; ++segment) {
      const uint64_t bit = uint64_t{1} << (segment % 64);
      was_set |= (words_[segment / 64].fetch_and(~bit, std::memory_order_acq_rel) & bit) != 0;
    }
    return was_set;
  }
  // What is set here, there too; the other one is not smaller.
  void copy_to(DirtyMap& other) const {
    for (uint64_t word = 0; word < num_words(); ++word) {
      other.words_[word].fetch_or(words_[word].load(std::memory_order_seq_cst), std::memory_order_seq_cst);
    }
    if (outgrown()) other.outgrown_.store(true, std::memory_order_release);
  }
  void clear() {
    for (uint64_t word = 0; word < num_words(); ++word) words_[word].store(0, std::memory_order_seq_cst);
  }
  // The first set segment from there on; num_segments() when there is none.
  uint64_t next(uint64_t from) const {
    for (uint64_t word = from / 64; word < num_words(); ++word) {
      uint64_t bits = words_[word].load(std::memory_order_acquire);
      if (word == from / 64) bits &= ~uint64_t{0} << (from % 64);
      if (bits != 0) return word * 64 + static_cast<uint64_t>(std::countr_zero(bits));
    }
    return num_segments_;
  }
  uint64_t count() const {
    uint64_t sum = 0;
    for (uint64_t word = 0; word < num_words(); ++word) {
      sum += static_cast<uint64_t>(std::popcount(words_[word].load(std::memory_order_acquire)));
    }
    return sum;
  }
  // Something was set beyond the end: take a new, full map instead.
  bool outgrown() const { return outgrown_.load(std::memory_order_acquire); }

 private:
  uint64_t num_words() const { return (num_segments_ + 63) / 64; }

  const uint32_t segment_blocks_;
  const uint64_t num_segments_;
  std::unique_ptr<std::atomic<uint64_t>[]> words_;
  std::atomic<bool> outgrown_{false};
};

}  // namespace cairn::nexus
