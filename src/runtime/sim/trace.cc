#include "runtime/sim/trace.h"

#include <fmt/format.h>

#include <iterator>

namespace cairn::runtime::sim {

void Trace::mix(TimePoint at, int node, uint64_t value) {
  hash_ = internal::fnv1a(hash_, static_cast<uint64_t>(at.time_since_epoch().count()));
  hash_ = internal::fnv1a(hash_, static_cast<uint64_t>(node) << 32 ^ value);
}

void Trace::record(TimePoint at, int node, std::string_view node_name, const TraceEvent& event,
                   std::string_view subject, uint64_t first, uint64_t second, uint64_t third) {
  ++num_events_;
  mix(at, node, event.hash);
  hash_ = internal::fnv1a(hash_, subject);
  for (const uint64_t value : {first, second, third}) hash_ = internal::fnv1a(hash_, value);
  if (!keep_text_) return;
  const auto ns = at.time_since_epoch().count();
  fmt::format_to(std::back_inserter(text_), "{:6}.{:09} {:8} {:14} {}", ns / 1'000'000'000, ns % 1'000'000'000,
                 node_name, event.name, subject);
  const uint64_t values[] = {first, second, third};
  for (int i = 0; i < 3; ++i) {
    if (!event.labels[i].empty()) fmt::format_to(std::back_inserter(text_), " {} {}", event.labels[i], values[i]);
  }
  text_ += '\n';
}

}  // namespace cairn::runtime::sim
