// What the logs of its children tell a new nexus: who is in sync, where they may differ, what those that are away have
// missed. Pure.
//
// A generation begins whenever a child joins or leaves those in sync, and with every new nexus; it has a random tag.
// The log of the highest generation counts. Whoever it calls in sync has everything that was acknowledged; the children
// may differ where the log of any of them has an intent. A child that it calls away, or that should have a log and has
// none, is not in sync whatever the caller believes.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "nexus/intent_log_image.h"

namespace cairn::nexus {

// What the log of a nexus says at a moment; the maps of a nexus' own size.
struct LogState {
  struct Member {
    Uuid uuid;
    bool in_sync = false;
    std::optional<RegionMap> missed;    // of one that is away; nothing: anything
    std::optional<uint32_t> slot;       // as long as it has a map
    std::array<uint64_t, 2> tags = {};  // as LogMember
  };
  uint64_t generation = 0;
  uint64_t tag = 0;
  uint64_t previous_tag = 0;
  std::vector<Member> members;
  RegionMap intents;

  Member* find(const Uuid& child);
  const Member* find(const Uuid& child) const;
};

struct LogGeometry {
  uint64_t region_bytes = 0;
  uint64_t num_regions = 0;
  uint64_t num_bytes = 0;  // of the nexus
};

// `children` and their `images`: those whom the caller calls in sync. The generation of the result is a new one with
// `tag`; what its members are is the verdict, at least one of `children` is in sync.
LogState verdict_on(std::span<const Uuid> children, std::span<const LogImage> images, const LogGeometry& geometry,
                    uint64_t tag);
// Whether `image` is the log of a child as it was when the member left: what it has missed since is known.
bool was_last_in(const LogState::Member& member, const LogImage& image);
// Of a child that is added: where it may differ from those in sync. Nothing: anywhere.
std::optional<RegionMap> missed_by(const LogState& state, const Uuid& child, const LogImage& image,
                                   const LogGeometry& geometry);

}  // namespace cairn::nexus
