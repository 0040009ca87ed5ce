// Pseudo-random numbers of a reactor. Seeded by the operating system in a real process, by the seed in the simulator.
// Not for secrets.
#pragma once

#include <cstdint>

#include "base/check.h"
#include "base/uuid.h"

namespace cairn::runtime {

// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // Uniform in [0, bound); bound > 0.
  uint64_t below(uint64_t bound) {
    CAIRN_CHECK(bound > 0);
    return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
  // True once in `n` calls on average.
  bool one_in(uint64_t n) { return below(n) == 0; }
  Uuid uuid() {
    const uint64_t high = next();
    return Uuid::random_v4(high, next());
  }

 private:
  uint64_t state_;
};

}  // namespace cairn::runtime
