#include "nexus/intent_log_image.h"

#include <algorithm>

#include "block/device.h"
#include "block/io_wait.h"
#include "block/page_memory.h"

namespace cairn::nexus {

using runtime::Task;

namespace {

constexpr size_t kPairSize = 2 * kLogPageSize;

// The two copies of `count` pages that lie one after the other. False: they cannot be read.
Task<bool> read_pairs(block::Channel& channel, size_t number, size_t count, std::byte* memory) {
  const uint32_t block_size = channel.device().block_size();
  iovec piece{memory, count * kPairSize};
  const auto status = co_await block::perform(channel, {.type = block::IoType::kRead,
                                                        .lba = page_offset(number, 0) / block_size,
                                                        .num_blocks = piece.iov_len / block_size,
                                                        .data = {&piece, 1}});
  co_return status.is_success();
}

struct Found {
  LogPageHeader header;
  LogPageView page;
};

// The newer one of two copies that is whole, and belongs here.
std::optional<Found> newest(const std::byte* pair, LogPageId id, const Uuid& nexus, const Uuid& child,
                            LogImage& image) {
  std::optional<Found> best;
  for (unsigned copy = 0; copy < 2; ++copy) {
    const LogPageView page(pair + copy * kLogPageSize, kLogPageSize);
    const auto header = decode_header(page);
    if (!header) continue;
    image.max_sequence = std::max(image.max_sequence, header->sequence);
    if (header->id != id || header->nexus != nexus || header->child != child) continue;
    if (best && best->header.sequence >= header->sequence) continue;
    best = Found{*header, page};
    image.next_copy[page_number(id)] = static_cast<uint8_t>(1 - copy);
  }
  return best;
}

}  // namespace

const LogMember* LogImage::find(const Uuid& child) const {
  if (!super) return nullptr;
  const auto found = std::ranges::find(super->members, child, &LogMember::uuid);
  return found == super->members.end() ? nullptr : &*found;
}

Task<LogImage> read_log(block::Channel& channel, Uuid nexus, Uuid child) {
  LogImage image;
  block::PageMemory memory = block::allocate_pages(kMaxBitmapPages * kPairSize);
  if (!co_await read_pairs(channel, 0, 1, memory.get())) co_return image;
  const auto found = newest(memory.get(), {}, nexus, child, image);
  if (!found) co_return image;
  auto super = decode_super(found->page);
  if (!super || super->block_size != channel.device().block_size()) co_return image;
  image.region_bytes = found->header.region_bytes;
  const uint64_t regions = (super->num_blocks * super->block_size + image.region_bytes - 1) / image.region_bytes;
  if (regions > kMaxRegions) co_return image;
  const size_t num_pages = (regions + kRegionsPerPage - 1) / kRegionsPerPage;

  auto read_map = [&](LogPageId first, Uuid owner) -> Task<RegionMap> {
    RegionMap map(regions);
    const bool readable = co_await read_pairs(channel, page_number(first), num_pages, memory.get());
    for (uint32_t i = 0; i < num_pages; ++i) {
      const LogPageId id{first.kind, first.slot, i};
      const auto page =
          readable ? newest(memory.get() + i * kPairSize, id, nexus, child, image) : std::optional<Found>();
      if (page && page->header.region_bytes == image.region_bytes && page->header.owner == owner) {
        decode_bitmap(page->page, i, map);
      } else {
        for (uint64_t region = i * kRegionsPerPage; region < std::min((i + 1) * kRegionsPerPage, regions); ++region) {
          map.set(region);
        }
      }
    }
    co_return map;
  };
  image.intents = co_await read_map({LogPageId::Kind::kIntent, 0, 0}, Uuid());
  for (const LogMember& member : super->members) {
    if (member.slot)
      image.missed[*member.slot] = co_await read_map({LogPageId::Kind::kMissed, *member.slot, 0}, member.uuid);
  }
  image.super = std::move(super);
  co_return image;
}

}  // namespace cairn::nexus
