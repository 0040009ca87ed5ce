#include "runtime/sim/volatile_store.h"

#include <algorithm>

namespace cairn::runtime::sim {

void VolatileStore::add(Change change) {
  change.order = next_order_++;
  pending_bytes_ += change.data.size();
  pending_.push_back(std::move(change));
}

void VolatileStore::write(uint64_t offset, std::vector<std::byte> data) {
  current_.write(offset, data);
  size_ = std::max(size_, offset + data.size());
  const uint64_t length = data.size();
  add({0, Kind::kWrite, offset, length, 0, std::move(data)});
}

void VolatileStore::zero(uint64_t offset, uint64_t length) {
  current_.zero(offset, length);
  add({0, Kind::kZero, offset, length, 0, {}});
}

void VolatileStore::resize(uint64_t size) {
  if (size == size_) return;
  const uint64_t smaller = std::min(size, size_);
  const uint64_t difference = std::max(size, size_) - smaller;
  if (size < size_) current_.zero(size, difference);
  size_ = size;
  add({0, Kind::kResize, smaller, difference, size, {}});
}

void VolatileStore::apply_part(const Change& change, uint64_t from, uint64_t to) {
  if (from >= to) return;
  if (change.kind == Kind::kWrite) {
    stable_.write(from, std::span(change.data).subspan(from - change.offset, to - from));
    stable_size_ = std::max(stable_size_, to);
  } else {
    stable_.zero(from, to - from);
  }
}

void VolatileStore::apply(const Change& change) {
  if (change.kind != Kind::kResize) return apply_part(change, change.offset, change.offset + change.length);
  if (change.size < stable_size_) stable_.zero(change.size, stable_size_ - change.size);
  stable_size_ = change.size;
}

void VolatileStore::make_stable(uint64_t mark) {
  while (!pending_.empty() && pending_.front().order < mark) {
    apply(pending_.front());
    pending_bytes_ -= pending_.front().data.size();
    pending_.pop_front();
  }
}

void VolatileStore::write_back(uint64_t limit) {
  while (pending_bytes_ > limit) make_stable(pending_.front().order + 1);
}

void VolatileStore::lose_power(Random& random, uint32_t unit) {
  const std::deque<Change> lost = std::move(pending_);
  pending_.clear();
  pending_bytes_ = 0;
  const uint64_t size_before = size_;
  for (const Change& change : lost) {
    const uint64_t fate = random.below(8);
    if (fate < 3) {
      apply(change);
    } else if (fate < 6 || change.kind == Kind::kResize || change.length == 0) {
      continue;
    } else {
      const uint64_t end = change.offset + change.length;
      const uint64_t first_unit = change.offset / unit;
      const uint64_t num_units = (end - 1) / unit - first_unit + 1;
      const auto apply_units = [&](uint64_t from, uint64_t to) {
        apply_part(change, std::max(change.offset, (first_unit + from) * unit),
                   std::min(end, (first_unit + to) * unit));
      };
      if (fate == 6 || change.kind == Kind::kZero) {  // interrupted in the middle
        apply_units(0, random.below(num_units + 1));
      } else {
        for (uint64_t i = 0; i < num_units; ++i) {
          if (random.one_in(2)) apply_units(i, i + 1);
        }
      }
    }
  }
  size_ = stable_size_;
  for (const Change& change : lost) current_.copy_range(stable_, change.offset, change.length);
  if (size_before > size_) current_.zero(size_, size_before - size_);
}

void VolatileStore::rot(uint64_t offset, std::byte mask) {
  current_.xor_byte(offset, mask);
  stable_.xor_byte(offset, mask);
}

}  // namespace cairn::runtime::sim
