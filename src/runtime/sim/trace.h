// What happened in a simulated run: always a hash over every event, and the events as text when asked for. Holds
// nothing that differs between two runs of one seed: no addresses, no wall clock, no thread ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/duration.h"

namespace cairn::runtime::sim {

namespace internal {
// FNV-1a, 64 bits (draft-eastlake-fnv).
constexpr uint64_t fnv1a(uint64_t state, std::string_view bytes) {
  for (const char byte : bytes) state = (state ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return state;
}
constexpr uint64_t fnv1a(uint64_t state, uint64_t value) {
  return (state ^ value) * 0x100000001b3;
}
inline constexpr uint64_t kFnvStart = 0xcbf29ce484222325;
}  // namespace internal

// A kind of event and the names of its numbers; defined once, as a constant.
struct TraceEvent {
  constexpr explicit TraceEvent(std::string_view name, std::string_view first = {}, std::string_view second = {},
                                std::string_view third = {})
      : name(name), labels{first, second, third}, hash(internal::fnv1a(internal::kFnvStart, name)) {}
  std::string_view name;
  std::string_view labels[3];
  uint64_t hash;
};

class Trace {
 public:
  explicit Trace(bool keep_text) : keep_text_(keep_text) {}

  // `node`: index and name of the node, -1 and "world" for what no node did. `subject`: a path, a connection, words.
  void record(TimePoint at, int node, std::string_view node_name, const TraceEvent& event, std::string_view subject,
              uint64_t first = 0, uint64_t second = 0, uint64_t third = 0);
  // Counts into the hash only: for what is too frequent to read.
  void mix(TimePoint at, int node, uint64_t value);

  bool keeps_text() const { return keep_text_; }
  uint64_t hash() const { return hash_; }
  uint64_t num_events() const { return num_events_; }
  // "     0.001234567 n1       disk.write     /dev/sda offset 0 length 4096 crc 123". Empty unless text is kept.
  const std::string& text() const { return text_; }

 private:
  bool keep_text_;
  uint64_t hash_ = internal::kFnvStart;
  uint64_t num_events_ = 0;
  std::string text_;
};

}  // namespace cairn::runtime::sim
