#include "pool/check/metadata_area.h"

#include <algorithm>

namespace cairn::pool::check {
namespace {

using format::kPageSize;

constexpr uint32_t kPagesAtATime = 256;

PageState state_of(format::PageView page, uint32_t md_page) {
  if (format::is_blank(page)) return PageState::kBlank;
  const format::MetadataPageHeader header = format::read_md_header(page);
  const bool root = header.sequence == 0 && header.blob_id == format::blob_id_of(md_page);
  if (!format::crc_matches(page)) return root ? PageState::kDamagedRoot : PageState::kDamaged;
  if (root) return PageState::kRoot;
  return header.sequence != 0 ? PageState::kChain : PageState::kExtent;
}

}  // namespace

std::string_view page_state_name(PageState state) {
  switch (state) {
    case PageState::kBlank:
      return "blank";
    case PageState::kUnreadable:
      return "unreadable";
    case PageState::kDamaged:
      return "damaged";
    case PageState::kDamagedRoot:
      return "damaged root";
    case PageState::kRoot:
      return "root";
    case PageState::kChain:
      return "chain";
    case PageState::kExtent:
      break;
  }
  return "extent";
}

MetadataArea::MetadataArea(DeviceReader& device, const format::Layout& layout)
    : states_(layout.md_len, PageState::kBlank) {
  std::vector<format::Page> buffer(std::min(kPagesAtATime, layout.md_len));
  for (uint32_t first = 0; first < layout.md_len; first += kPagesAtATime) {
    const uint32_t count = std::min(kPagesAtATime, layout.md_len - first);
    const std::span<std::byte> bytes(buffer[0].bytes.data(), count * kPageSize);
    const bool whole = device.read(layout.md_page_offset(first), bytes).has_value();
    for (uint32_t i = 0; i < count; ++i) {
      if (!whole && !device.read(layout.md_page_offset(first + i), buffer[i].span())) {
        states_[first + i] = PageState::kUnreadable;
        continue;
      }
      add(first + i, buffer[i].view());
    }
  }
}

void MetadataArea::add(uint32_t md_page, format::PageView page) {
  const PageState state = state_of(page, md_page);
  states_[md_page] = state;
  if (state != PageState::kRoot && state != PageState::kChain && state != PageState::kExtent) return;
  auto copy = std::make_unique<format::Page>();
  std::ranges::copy(page, copy->bytes.begin());
  pages_.emplace(md_page, std::move(copy));
}

const format::Page* MetadataArea::page(uint32_t md_page) const {
  const auto found = pages_.find(md_page);
  return found == pages_.end() ? nullptr : found->second.get();
}

}  // namespace cairn::pool::check
