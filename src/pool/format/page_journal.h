// What our engine keeps on a pool's disk besides the original's structures, in places that the original never looks at
// while a pool is not clean, or at all (docs/pool-format.md, "Additions").
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "pool/format/layout.h"
#include "pool/format/page.h"

namespace cairn::pool::format {

// --- the page journal: a header page and copies of the pages that are about to be written in place, in the rest of the
// last metadata cluster

inline constexpr uint32_t kMaxJournalEntries = 126;
inline constexpr uint32_t kJournaledSuperBlock = 0xffffffff;  // instead of a metadata page

struct PageJournalPlace {
  uint64_t first_page = 0;  // of the device: the header; copies follow
  uint32_t capacity = 0;    // copies; 0: there is no room for a journal
};
PageJournalPlace page_journal_place(const Layout& layout);

struct PageJournalEntry {
  uint32_t md_page = 0;
  uint32_t crc = 0;  // CRC-32C of the whole copy
  friend bool operator==(const PageJournalEntry&, const PageJournalEntry&) = default;
};
// At most kMaxJournalEntries.
void encode_page_journal(std::span<const PageJournalEntry> entries, PageSpan header);
// nullopt when the page is not the header of a journal of at most `capacity` copies.
std::optional<std::vector<PageJournalEntry>> decode_page_journal(PageView header, uint32_t capacity);

// Whether a copy in the journal is to replace the page: its CRC is wrong, and it was not erased on purpose.
inline bool is_torn(PageView page) {
  return !crc_matches(page) && !is_blank(page);
}

// A crash while the clean flag changes may leave a super block whose CRC belongs to the other value of the flag. Then
// sets that value and returns true.
bool mend_clean_flag(PageSpan super_block);

// --- the first page of the mask of used metadata pages while the pool is not clean

// The watermark: no metadata page from `pages_end` on is in use.
void encode_watermark(uint32_t pages_end, PageSpan page);
std::optional<uint32_t> decode_watermark(PageView page, uint32_t md_len);

// The mark of a pool that is being made or destroyed: what is on the disk is of no use to anybody.
void encode_transient_mark(PageSpan page);
bool is_transient_mark(PageView page);

}  // namespace cairn::pool::format
