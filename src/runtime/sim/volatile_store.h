// The content of one file or device as a program sees it, and what of it a power loss would leave.
//
// Invariants: every byte that is not touched by a pending change is equal in `current_` and `stable_`; pending changes
// apply to the stable content in the order they were made, so a newer version is never overwritten by an older one.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "runtime/random.h"
#include "runtime/sim/sparse_bytes.h"

namespace cairn::runtime::sim {

class VolatileStore {
 public:
  uint64_t size() const { return size_; }
  uint64_t allocated_bytes() const { return current_.allocated_bytes(); }
  uint64_t missing_bytes(uint64_t offset, uint64_t length) const { return current_.missing_bytes(offset, length); }
  uint64_t unflushed_bytes() const { return pending_bytes_; }

  void read(uint64_t offset, std::span<std::byte> into) const { current_.read(offset, into); }
  // Grows the store when it ends beyond it.
  void write(uint64_t offset, std::vector<std::byte> data);
  void zero(uint64_t offset, uint64_t length);  // never grows
  void resize(uint64_t size);

  // A flush: mark() when it begins, make_stable(mark) when it ends.
  uint64_t mark() const { return next_order_; }
  void make_stable(uint64_t mark);
  // Writes the oldest changes back until at most `limit` bytes are pending.
  void write_back(uint64_t limit);

  // Of each pending change, all, nothing or some units of `unit` bytes reach the stable content; the rest is gone.
  void lose_power(Random& random, uint32_t unit);
  // Damages the medium itself, below any cache.
  void rot(uint64_t offset, std::byte mask);

 private:
  enum class Kind : uint8_t { kWrite, kZero, kResize };
  struct Change {
    uint64_t order;
    Kind kind;
    uint64_t offset;  // of a resize: the smaller of both sizes
    uint64_t length;  // of a resize: the difference
    uint64_t size;    // of a resize: the new size
    std::vector<std::byte> data;
  };
  void add(Change change);
  void apply(const Change& change);
  void apply_part(const Change& change, uint64_t from, uint64_t to);

  SparseBytes current_;
  SparseBytes stable_;
  uint64_t size_ = 0;
  uint64_t stable_size_ = 0;
  std::deque<Change> pending_;
  uint64_t pending_bytes_ = 0;
  uint64_t next_order_ = 0;
};

}  // namespace cairn::runtime::sim
