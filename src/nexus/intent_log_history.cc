#include "nexus/intent_log_history.h"

#include <algorithm>

#include "base/check.h"

namespace cairn::nexus {

bool was_last_in(const LogState::Member& member, const LogImage& image) {
  return image.super && !image.super->is_void && image.super->tag != 0 &&
         std::ranges::find(member.tags, image.super->tag) != member.tags.end();
}

LogState::Member* LogState::find(const Uuid& child) {
  const auto found = std::ranges::find(members, child, &Member::uuid);
  return found == members.end() ? nullptr : &*found;
}
const LogState::Member* LogState::find(const Uuid& child) const {
  return const_cast<LogState*>(this)->find(child);
}

LogState verdict_on(std::span<const Uuid> children, std::span<const LogImage> images, const LogGeometry& geometry,
                    uint64_t tag) {
  CAIRN_CHECK(children.size() == images.size());
  const LogImage* latest = nullptr;
  size_t latest_child = 0;
  for (size_t i = 0; i < images.size(); ++i) {
    if (!images[i].super) continue;
    if (latest != nullptr && images[i].super->generation <= latest->super->generation) continue;
    latest = &images[i];
    latest_child = i;
  }
  LogState state{.generation = latest != nullptr ? latest->super->generation + 1 : 1,
                 .tag = tag,
                 .previous_tag = latest != nullptr ? latest->super->tag : 0,
                 .members = {},
                 .intents = RegionMap(geometry.num_regions)};
  const LogMember* self = latest != nullptr ? latest->find(children[latest_child]) : nullptr;
  // A child that the log has never heard of: somebody without a log has had the volume since.
  const bool trusted = latest != nullptr && !latest->super->is_void && self != nullptr && self->in_sync &&
                       std::ranges::all_of(children, [&](const Uuid& child) { return latest->find(child) != nullptr; });
  if (!trusted) {
    for (const Uuid& child : children)
      state.members.push_back({.uuid = child, .in_sync = true, .missed = {}, .slot = {}, .tags = {}});
    return state;
  }

  auto own_size = [&](const RegionMap& map, const LogImage& image) {
    return converted(map, image.region_bytes, geometry.region_bytes, geometry.num_regions);
  };
  for (const LogMember& member : latest->super->members) {
    LogState::Member entry{
        .uuid = member.uuid, .in_sync = member.in_sync, .missed = {}, .slot = member.slot, .tags = member.tags};
    const auto listed = std::ranges::find(children, member.uuid);
    const LogImage* image =
        listed != children.end() ? &images[static_cast<size_t>(listed - children.begin())] : nullptr;
    if (member.in_sync) {
      // Its log may still show the generation before: it was being told of this one.
      const std::array<uint64_t, 2> tags = {latest->super->tag, latest->super->previous_tag};
      const bool has_log = image != nullptr && image->super && !image->super->is_void &&
                           std::ranges::find(tags, image->super->tag) != tags.end();
      entry.in_sync = has_log;
      if (has_log) state.intents.add(own_size(image->intents, *image));
      if (!has_log) {
        entry.tags = tags;
        entry.missed = RegionMap(geometry.num_regions);
      }
    } else if (member.slot) {
      entry.missed = RegionMap(geometry.num_regions);
      for (const LogImage& other : images) {
        const LogMember* same = other.find(member.uuid);
        if (other.super && other.super->tag == latest->super->tag && same != nullptr && same->slot == member.slot) {
          entry.missed->add(own_size(*other.missed[*member.slot], other));
        }
      }
    }
    state.members.push_back(std::move(entry));
  }
  // What those that are away have missed: also what is under way, and what lies behind the end of the last nexus, of
  // which its log says nothing; the one before may have been larger.
  const uint64_t told_bytes = latest->super->num_blocks * latest->super->block_size;
  const uint64_t first_untold =
      told_bytes < geometry.num_bytes ? told_bytes / geometry.region_bytes : geometry.num_regions;
  for (LogState::Member& member : state.members) {
    if (!member.missed) continue;
    member.missed->add(state.intents);
    for (uint64_t region = first_untold; region < geometry.num_regions; ++region) member.missed->set(region);
  }
  return state;
}

std::optional<RegionMap> missed_by(const LogState& state, const Uuid& child, const LogImage& image,
                                   const LogGeometry& geometry) {
  const LogState::Member* member = state.find(child);
  if (member == nullptr || member->in_sync || !member->missed || !was_last_in(*member, image)) return std::nullopt;
  RegionMap missed = *member->missed;
  missed.resize(geometry.num_regions);
  missed.add(state.intents);
  missed.add(converted(image.intents, image.region_bytes, geometry.region_bytes, geometry.num_regions));
  return missed;
}

}  // namespace cairn::nexus
