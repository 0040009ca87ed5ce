// The write-intent log as it lies on a child: pages of 4 KiB in the space between the first partition's offset and the
// data, which the original keeps free and never reads. Pure.
//
//   byte 1 MiB of the child:
//     super block                    who was in sync when, and which map belongs to whom
//     intent pages, 0 to 31          regions that may be under way or differ: "intents"
//     missed pages, 8 times 0 to 31  for a child that is away: regions that it missed
//   each page in two copies, written in turn; the newer one that is whole counts.
//
// Page (little endian):
//     0 magic "CairnWIL"   8 version   12 CRC-32C of the page, this field as 0   16 kind   20 index
//    24 sequence          32 UUID of the nexus as a device: that of the volume, which all its nexuses share
//    48 UUID of the child it lies on   64 of the child it is about (missed)
//    80 bytes in a region 88 zero
//   128 content: a bitmap, region 0 in the lowest bit of the first byte; or the super block:
//   128 generation  136 its tag  144 tag of the generation before  152 blocks of the nexus  160 bytes in a block
//   164 number of members  168 flags (1: void)
//   256 members, 64 bytes each: 0 UUID  16 flags (1: in sync, 2: has a map)  20 slot of its map
//       24 two tags: generations that its own log may show if it has been in nobody's hands since it left
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/uuid.h"
#include "nexus/region_map.h"

namespace cairn::nexus {

inline constexpr uint64_t kLogOffset = 1 << 20;  // bytes
inline constexpr size_t kLogPageSize = 4096;
inline constexpr uint64_t kRegionsPerPage = (kLogPageSize - 128) * 8;
inline constexpr size_t kMaxBitmapPages = 32;
inline constexpr uint64_t kMaxRegions = kRegionsPerPage * kMaxBitmapPages;
inline constexpr size_t kMaxMissedMaps = 8;
inline constexpr size_t kMaxLogMembers = 60;
// With clusters of 4 MiB and more, a thin child allocates one of them for the log.
inline constexpr uint64_t kLogBytes = (1 + (1 + kMaxMissedMaps) * kMaxBitmapPages) * 2 * kLogPageSize;
static_assert(kLogOffset + kLogBytes <= 4 << 20);

struct LogPageId {
  enum class Kind : uint32_t { kSuper = 1, kIntent = 2, kMissed = 3 };
  Kind kind = Kind::kSuper;
  uint32_t slot = 0;   // of a missed map
  uint32_t index = 0;  // in its bitmap
  bool operator==(const LogPageId&) const = default;
};

// Number of a page in the area, and back.
constexpr size_t page_number(LogPageId id) {
  switch (id.kind) {
    case LogPageId::Kind::kSuper:
      return 0;
    case LogPageId::Kind::kIntent:
      return 1 + id.index;
    case LogPageId::Kind::kMissed:
      return 1 + kMaxBitmapPages * (1 + id.slot) + id.index;
  }
  return 0;
}
inline constexpr size_t kNumLogPages = 1 + (1 + kMaxMissedMaps) * kMaxBitmapPages;
// Byte on the child. `copy` is 0 or 1.
constexpr uint64_t page_offset(size_t number, unsigned copy) {
  return kLogOffset + (number * 2 + copy) * kLogPageSize;
}

struct LogMember {
  Uuid uuid;
  bool in_sync = false;
  std::optional<uint32_t> slot;       // of what it missed; nothing: it may have missed anything
  std::array<uint64_t, 2> tags = {};  // of a member that is away; 0: none
  bool operator==(const LogMember&) const = default;
};

struct LogSuper {
  uint64_t generation = 0;
  uint64_t tag = 0;
  uint64_t previous_tag = 0;
  uint64_t num_blocks = 0;
  uint32_t block_size = 0;
  bool is_void = false;  // whoever wrote this kept no log from then on
  std::vector<LogMember> members;
  bool operator==(const LogSuper&) const = default;
};

// What every page says about itself.
struct LogPageHeader {
  LogPageId id;
  uint64_t sequence = 0;
  Uuid nexus;
  Uuid child;
  Uuid owner;  // of a missed page
  uint64_t region_bytes = 0;
  bool operator==(const LogPageHeader&) const = default;
};

using LogPage = std::span<std::byte, kLogPageSize>;
using LogPageView = std::span<const std::byte, kLogPageSize>;

void encode_super(const LogPageHeader& header, const LogSuper& super, LogPage page);
// Page `header.id.index` of `map`.
void encode_bitmap(const LogPageHeader& header, const RegionMap& map, LogPage page);

// Nothing: not a page of a log, or a damaged one.
std::optional<LogPageHeader> decode_header(LogPageView page);
// Of a page whose header was decoded. Nothing: it says what cannot be.
std::optional<LogSuper> decode_super(LogPageView page);
// Sets in `map` what is set in this page of it.
void decode_bitmap(LogPageView page, uint32_t index, RegionMap& map);

// A power of two of at least `min_bytes`, so that there is room for the volume to double.
uint64_t region_bytes_for(uint64_t volume_bytes, uint64_t min_bytes);
// The same ranges in regions of another size.
RegionMap converted(const RegionMap& map, uint64_t from_bytes, uint64_t to_bytes, uint64_t num_regions);

}  // namespace cairn::nexus
