#include "pool/format/page_journal.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/crc32c.h"
#include "nvme/wire.h"

namespace cairn::pool::format {
namespace {

using Magic = std::array<char, 8>;

constexpr Magic kJournalMagic = {'C', 'A', 'I', 'R', 'N', 'J', 'N', 'L'};
constexpr Magic kWatermarkMagic = {'C', 'A', 'I', 'R', 'N', 'W', 'M', 'K'};
constexpr Magic kTransientMagic = {'C', 'A', 'I', 'R', 'N', 'T', 'M', 'P'};

struct JournalHeader {
  Magic magic;
  uint32_t count;
  uint32_t reserved12;
  std::array<PageJournalEntry, kMaxJournalEntries> entries;
};
static_assert(nvme::kIsWire<JournalHeader> && sizeof(JournalHeader) == 16 + kMaxJournalEntries * 8);
static_assert(offsetof(JournalHeader, count) == 8 && offsetof(JournalHeader, entries) == 16);
static_assert(sizeof(PageJournalEntry) == 8 && offsetof(PageJournalEntry, crc) == 4);

// In one block of any disk, so it cannot be torn.
struct Watermark {
  Magic magic;
  uint32_t pages_end;
  uint32_t crc;  // of the bytes before
};
static_assert(nvme::kIsWire<Watermark> && sizeof(Watermark) == 16 && offsetof(Watermark, crc) == 12);

uint32_t watermark_crc(const Watermark& mark) {
  return crc32c(nvme::bytes_of(mark).first<offsetof(Watermark, crc)>());
}

}  // namespace

PageJournalPlace page_journal_place(const Layout& layout) {
  const uint64_t used = uint64_t{layout.md_start} + layout.md_len;
  const uint64_t end = uint64_t{layout.md_clusters} * (layout.cluster_size / kPageSize);
  if (end < used + 2) return {};
  return {.first_page = used,
          .capacity = static_cast<uint32_t>(std::min<uint64_t>(end - used - 1, kMaxJournalEntries))};
}

void encode_page_journal(std::span<const PageJournalEntry> entries, PageSpan header) {
  CAIRN_CHECK(entries.size() <= kMaxJournalEntries);
  std::ranges::fill(header, std::byte{0});
  JournalHeader out = {
      .magic = kJournalMagic, .count = static_cast<uint32_t>(entries.size()), .reserved12 = 0, .entries = {}};
  std::ranges::copy(entries, out.entries.begin());
  nvme::store(header, out);
  seal(header);
}

std::optional<std::vector<PageJournalEntry>> decode_page_journal(PageView header, uint32_t capacity) {
  const auto found = nvme::load<JournalHeader>(header);
  if (found.magic != kJournalMagic || !crc_matches(header) || found.count > std::min(capacity, kMaxJournalEntries)) {
    return std::nullopt;
  }
  return std::vector(found.entries.begin(), found.entries.begin() + found.count);
}

bool mend_clean_flag(PageSpan super_block) {
  constexpr size_t kCleanOffset = 16;
  const auto flag = super_block.subspan<kCleanOffset>();
  const auto clean = nvme::load<uint32_t>(flag);
  if (clean > 1) return false;
  nvme::store(flag, 1 - clean);
  if (crc_matches(super_block)) return true;
  nvme::store(flag, clean);
  return false;
}

void encode_watermark(uint32_t pages_end, PageSpan page) {
  Watermark mark = {.magic = kWatermarkMagic, .pages_end = pages_end, .crc = 0};
  mark.crc = watermark_crc(mark);
  std::ranges::fill(page, std::byte{0});
  nvme::store(page, mark);
}

std::optional<uint32_t> decode_watermark(PageView page, uint32_t md_len) {
  const auto mark = nvme::load<Watermark>(page);
  if (mark.magic != kWatermarkMagic || mark.crc != watermark_crc(mark) || mark.pages_end > md_len) return std::nullopt;
  return mark.pages_end;
}

void encode_transient_mark(PageSpan page) {
  std::ranges::fill(page, std::byte{0});
  nvme::store(page, kTransientMagic);
}

bool is_transient_mark(PageView page) {
  return nvme::load<Magic>(page) == kTransientMagic;
}

}  // namespace cairn::pool::format
