#include "nexus/intent_log_format.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/crc32c.h"
#include "nvme/wire.h"

namespace cairn::nexus {

namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint64_t kMagic = 0x4c49576e72696143;  // "CairnWIL"
constexpr uint32_t kVersion = 1;
constexpr size_t kCrcOffset = 12;
constexpr size_t kContentOffset = 128;
constexpr size_t kMembersOffset = 256;
constexpr size_t kMemberSize = 64;
constexpr uint32_t kInSync = 1;
constexpr uint32_t kHasMap = 2;
constexpr uint32_t kVoid = 1;
constexpr uint64_t kWordsPerPage = kRegionsPerPage / 64;
static_assert(kMembersOffset + kMaxLogMembers * kMemberSize <= kLogPageSize);
static_assert(kRegionsPerPage % 64 == 0);

struct HeaderBytes {
  uint64_t magic;
  uint32_t version;
  uint32_t crc;
  uint32_t kind;
  uint32_t index;  // of a missed page: its slot in the upper half
  uint64_t sequence;
  std::array<uint8_t, 16> nexus;
  std::array<uint8_t, 16> child;
  std::array<uint8_t, 16> owner;
  uint64_t region_bytes;
};
static_assert(sizeof(HeaderBytes) == 88);

struct SuperBytes {
  uint64_t generation;
  uint64_t tag;
  uint64_t previous_tag;
  uint64_t num_blocks;
  uint32_t block_size;
  uint32_t num_members;
  uint32_t flags;
  uint32_t zero;
};
static_assert(sizeof(SuperBytes) == 48);

struct MemberBytes {
  std::array<uint8_t, 16> uuid;
  uint32_t flags;
  uint32_t slot;
  std::array<uint64_t, 2> tags;
};
static_assert(sizeof(MemberBytes) == 40);

uint32_t checksum(LogPageView page) {
  constexpr std::array<std::byte, 4> kZero{};
  uint32_t state = crc32c_update(kCrc32cInit, page.first(kCrcOffset));
  state = crc32c_update(state, kZero);
  return crc32c_finish(crc32c_update(state, page.subspan(kCrcOffset + 4)));
}

void seal(const LogPageHeader& header, LogPage page) {
  const HeaderBytes bytes{.magic = kMagic,
                          .version = kVersion,
                          .crc = 0,
                          .kind = static_cast<uint32_t>(header.id.kind),
                          .index = header.id.slot << 16 | header.id.index,
                          .sequence = header.sequence,
                          .nexus = header.nexus.bytes(),
                          .child = header.child.bytes(),
                          .owner = header.owner.bytes(),
                          .region_bytes = header.region_bytes};
  std::memcpy(page.data(), &bytes, sizeof bytes);
  const uint32_t crc = checksum(page);
  std::memcpy(page.data() + kCrcOffset, &crc, sizeof crc);
}

}  // namespace

void encode_super(const LogPageHeader& header, const LogSuper& super, LogPage page) {
  CAIRN_CHECK(super.members.size() <= kMaxLogMembers);
  std::memset(page.data(), 0, page.size());
  const SuperBytes bytes{.generation = super.generation,
                         .tag = super.tag,
                         .previous_tag = super.previous_tag,
                         .num_blocks = super.num_blocks,
                         .block_size = super.block_size,
                         .num_members = static_cast<uint32_t>(super.members.size()),
                         .flags = super.is_void ? kVoid : 0,
                         .zero = 0};
  std::memcpy(page.data() + kContentOffset, &bytes, sizeof bytes);
  for (size_t i = 0; i < super.members.size(); ++i) {
    const LogMember& member = super.members[i];
    const MemberBytes one{.uuid = member.uuid.bytes(),
                          .flags = (member.in_sync ? kInSync : 0) | (member.slot ? kHasMap : 0),
                          .slot = member.slot.value_or(0),
                          .tags = member.tags};
    std::memcpy(page.data() + kMembersOffset + i * kMemberSize, &one, sizeof one);
  }
  seal(header, page);
}

void encode_bitmap(const LogPageHeader& header, const RegionMap& map, LogPage page) {
  std::memset(page.data(), 0, page.size());
  const uint64_t first = header.id.index * kWordsPerPage;
  const auto& words = map.words();
  if (first < words.size()) {
    std::memcpy(page.data() + kContentOffset, words.data() + first,
                std::min<uint64_t>(kWordsPerPage, words.size() - first) * 8);
  }
  seal(header, page);
}

std::optional<LogPageHeader> decode_header(LogPageView page) {
  const auto bytes = nvme::load<HeaderBytes>(page);
  if (bytes.magic != kMagic || bytes.version != kVersion || bytes.crc != checksum(page)) return std::nullopt;
  LogPageHeader header{.id = {static_cast<LogPageId::Kind>(bytes.kind), bytes.index >> 16, bytes.index & 0xffff},
                       .sequence = bytes.sequence,
                       .nexus = Uuid(bytes.nexus),
                       .child = Uuid(bytes.child),
                       .owner = Uuid(bytes.owner),
                       .region_bytes = bytes.region_bytes};
  if (bytes.kind < 1 || bytes.kind > 3 || header.id.slot >= kMaxMissedMaps || header.id.index >= kMaxBitmapPages) {
    return std::nullopt;
  }
  if (!std::has_single_bit(header.region_bytes)) return std::nullopt;
  return header;
}

std::optional<LogSuper> decode_super(LogPageView page) {
  const auto bytes = nvme::load<SuperBytes>(page.subspan(kContentOffset));
  if (bytes.num_members > kMaxLogMembers || bytes.num_blocks == 0 || !std::has_single_bit(bytes.block_size) ||
      bytes.generation == UINT64_MAX || bytes.tag == 0) {
    return std::nullopt;
  }
  LogSuper super{.generation = bytes.generation,
                 .tag = bytes.tag,
                 .previous_tag = bytes.previous_tag,
                 .num_blocks = bytes.num_blocks,
                 .block_size = bytes.block_size,
                 .is_void = (bytes.flags & kVoid) != 0,
                 .members = {}};
  for (size_t i = 0; i < bytes.num_members; ++i) {
    const auto one = nvme::load<MemberBytes>(page.subspan(kMembersOffset + i * kMemberSize));
    LogMember member{
        .uuid = Uuid(one.uuid), .in_sync = (one.flags & kInSync) != 0, .slot = std::nullopt, .tags = one.tags};
    if ((one.flags & kHasMap) != 0) {
      if (one.slot >= kMaxMissedMaps || member.in_sync) return std::nullopt;
      member.slot = one.slot;
    }
    super.members.push_back(member);
  }
  return super;
}

void decode_bitmap(LogPageView page, uint32_t index, RegionMap& map) {
  const uint64_t first = index * kWordsPerPage;
  auto& words = map.words();
  for (uint64_t i = 0; i < kWordsPerPage && first + i < words.size(); ++i) {
    uint64_t word = nvme::load<uint64_t>(page.subspan(kContentOffset + i * 8));
    if (first + i + 1 == words.size() && map.size() % 64 != 0) word &= ~uint64_t{0} >> (64 - map.size() % 64);
    words[first + i] |= word;
  }
}

uint64_t region_bytes_for(uint64_t volume_bytes, uint64_t min_bytes) {
  uint64_t bytes = std::bit_ceil(min_bytes);
  while (volume_bytes / bytes > kMaxRegions / 2) bytes *= 2;
  return bytes;
}

RegionMap converted(const RegionMap& map, uint64_t from_bytes, uint64_t to_bytes, uint64_t num_regions) {
  RegionMap result(num_regions);
  if (from_bytes == to_bytes) {
    result.add(map);
    return result;
  }
  for (uint64_t region = map.next(0); region < map.size(); region = map.next(region + 1)) {
    const uint64_t last = ((region + 1) * from_bytes - 1) / to_bytes;
    for (uint64_t to = region * from_bytes / to_bytes; to <= last && to < num_regions; ++to) result.set(to);
  }
  return result;
}

}  // namespace cairn::nexus
