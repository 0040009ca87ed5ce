#include "pool/check/torn_pages.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/crc32c.h"
#include "pool/format/page_journal.h"

namespace cairn::pool::check {
namespace {

using format::kPageSize;
using format::Page;
using format::PageJournalEntry;

struct Journal {
  format::PageJournalPlace place;
  std::vector<PageJournalEntry> entries;
};

Journal read_journal(DeviceReader& device, const format::Layout& layout) {
  Journal journal{.place = format::page_journal_place(layout), .entries = {}};
  Page header;
  if (journal.place.capacity == 0 || (journal.place.first_page + 1) * kPageSize > device.size_bytes() ||
      !device.read(journal.place.first_page * kPageSize, header.span())) {
    return journal;
  }
  if (auto entries = format::decode_page_journal(header.view(), journal.place.capacity)) journal.entries = *entries;
  return journal;
}

// The copy of an entry, if it is whole.
std::optional<Page> read_copy(DeviceReader& device, const Journal& journal, size_t index) {
  const uint64_t offset = (journal.place.first_page + 1 + index) * kPageSize;
  Page copy;
  if (offset + kPageSize > device.size_bytes() || !device.read(offset, copy.span())) return std::nullopt;
  if (crc32c(copy.view()) != journal.entries[index].crc) return std::nullopt;
  return copy;
}

}  // namespace

bool mend_super_block(DeviceReader& device, format::PageSpan page) {
  if (!format::mend_clean_flag(page)) {
    const format::SuperBlock fields = format::read_super_block_fields(page);
    if (!format::validate_super_block(fields, device.size_bytes())) return false;
    const Journal journal = read_journal(device, format::layout_of(fields));
    if (journal.entries.size() != 1 || journal.entries[0].md_page != format::kJournaledSuperBlock) return false;
    const auto copy = read_copy(device, journal, 0);
    if (!copy) return false;
    std::ranges::copy(copy->bytes, page.begin());
  }
  auto super = format::decode_super_block(page, device.size_bytes());
  if (!super) return false;
  super->clean = false;
  format::encode_super_block(*super, page);
  return true;
}

void mend_metadata_pages(OverlayDevice& device, const format::Layout& layout, std::vector<Finding>& findings) {
  const Journal journal = read_journal(device, layout);
  for (size_t i = 0; i < journal.entries.size(); ++i) {
    const uint32_t md_page = journal.entries[i].md_page;
    if (!layout.is_md_page(md_page)) continue;
    const auto copy = read_copy(device, journal, i);
    Page present;
    if (!copy || !device.read(layout.md_page_offset(md_page), present.span()) || !format::is_torn(present.view()))
      continue;
    if (!device.write(layout.md_page_offset(md_page), copy->bytes)) continue;
    findings.push_back(
        {.problem = Problem::kTornPage,
         .severity = Severity::kNote,
         .message = fmt::format("metadata page {} was torn by a crash; the page journal has a copy", md_page),
         .md_page = md_page});
  }
}

}  // namespace cairn::pool::check
