#include "pool/metadata_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/seeded_bug.h"
#include "block/device.h"
#include "block/io_wait.h"
#include "block/page_memory.h"
#include "pool/format/mask.h"
#include "pool/format/page_journal.h"
#include "pool/io_batch.h"

namespace cairn::pool {

using block::IoType;
using format::kPageSize;
using format::Page;
using runtime::Task;

namespace {

constexpr uint64_t kMaxIoBytes = uint64_t{1} << 20;
constexpr uint64_t kZeroingStep = uint64_t{64} << 20;
constexpr uint32_t kWatermarkStep = 1024;         // pages: how often it moves when the pool fills
constexpr uint64_t kTransientOffset = kPageSize;  // the mask of used metadata pages always begins on page 1

std::unique_ptr<Page> make_transient_mark() {
  auto page = std::make_unique<Page>();
  format::encode_transient_mark(page->span());
  return page;
}

std::unique_ptr<Page> make_watermark(const format::Layout& layout, uint32_t pages_end) {
  const auto end = std::min<uint64_t>(layout.md_len, format::divide_up(pages_end, kWatermarkStep) * kWatermarkStep);
  auto page = std::make_unique<Page>();
  format::encode_watermark(static_cast<uint32_t>(end), page->span());
  return page;
}

Error disk_error(std::string_view what, nvme::Status status) {
  return Error(Code::kInternal, fmt::format("{}: {}", what, status.to_string()));
}
Result<> check(std::string_view what, nvme::Status status) {
  if (status.is_success()) return {};
  return fail(disk_error(what, status));
}

}  // namespace

MetadataStore::MetadataStore(block::Channel& disk, const format::SuperBlock& super, std::unique_ptr<Page> super_page,
                             bool super_is_damaged)
    : disk_(disk),
      layout_(format::layout_of(super)),
      super_(super),
      super_page_(std::move(super_page)),
      dirty_on_disk_(!super.clean && !super_is_damaged) {}

// ---- Finding and making ----

Task<MetadataStore::Finding> MetadataStore::find_super_block(block::Channel& disk) {
  Finding finding;
  const uint64_t device_bytes = disk.device().size_bytes();
  if (device_bytes < kPageSize) {
    finding.fault.emplace(format::SuperBlockFault::Kind::kNoSignature,
                          fmt::format("the disk has {} bytes, less than a page", device_bytes));
    co_return finding;
  }
  auto page = std::make_unique<Page>();
  IoBatch read(disk);
  read.add(IoType::kRead, 0, kPageSize, page->bytes.data());
  if (const auto status = co_await read.run(); !status.is_success()) {
    finding.disk_error = disk_error("reading the super block", status);
    co_return finding;
  }
  finding.blank = format::is_blank(page->view());
  if (device_bytes >= 2 * kPageSize) {
    auto second = std::make_unique<Page>();
    read.add(IoType::kRead, kTransientOffset, kPageSize, second->bytes.data());
    const auto status = co_await read.run();
    finding.transient = status.is_success() && format::is_transient_mark(second->view());
  }
  auto super = format::decode_super_block(page->view(), device_bytes);
  bool mended = false;
  if (!super && super.error().kind == format::SuperBlockFault::Kind::kChecksum) {
    if (format::mend_clean_flag(page->span())) {
      mended = true;
    } else if (const auto fields = format::read_super_block_fields(page->view());
               format::validate_super_block(fields, device_bytes)) {
      // A crash while the pool grew: the journal has the new super block.
      const auto place = format::page_journal_place(format::layout_of(fields));
      if (place.capacity > 0 && (place.first_page + 2) * kPageSize <= device_bytes) {
        auto journal = std::make_unique<std::array<Page, 2>>();
        read.add(IoType::kRead, place.first_page * kPageSize, 2 * kPageSize, (*journal)[0].bytes.data());
        const auto status = co_await read.run();
        const auto entries = status.is_success() ? format::decode_page_journal((*journal)[0].view(), 1) : std::nullopt;
        if (entries && entries->size() == 1 && entries->front().md_page == format::kJournaledSuperBlock &&
            entries->front().crc == crc32c((*journal)[1].view())) {
          *page = (*journal)[1];
          mended = true;
        }
      }
    }
    if (mended) {
      super = format::decode_super_block(page->view(), device_bytes);
      if (super) super->clean = false;
    }
  }
  if (super) {
    finding.found.emplace(*super, std::move(page), mended);
  } else {
    finding.fault = super.error();
  }
  co_return finding;
}

Task<Result<>> MetadataStore::write_empty_pool(block::Channel& disk, const format::Layout& layout,
                                               const format::SuperBlock& super,
                                               std::span<const MetadataWrite::Item> pages) {
  const auto mark = make_transient_mark();
  IoBatch batch(disk);
  batch.add(IoType::kWrite, kTransientOffset, kPageSize, mark->bytes.data());
  if (auto done = check("writing to the disk", co_await batch.run()); !done) co_return done;
  const block::IoRequest flush{.type = IoType::kFlush};
  if (auto done = check("flushing the disk", co_await block::perform(disk, flush)); !done) co_return done;

  // The rest of the masks, the metadata pages and the journal's header.
  const auto place = format::page_journal_place(layout);
  const uint64_t end = (uint64_t{layout.md_start} + layout.md_len + (place.capacity > 0 ? 1 : 0)) * kPageSize;
  for (uint64_t at = kTransientOffset + kPageSize; at < end; at += std::min(kZeroingStep, end - at)) {
    batch.add(IoType::kWriteZeroes, at, std::min(kZeroingStep, end - at));
  }
  if (auto done = check("clearing the metadata", co_await batch.run()); !done) co_return done;
  for (const auto& item : pages) {
    batch.add(IoType::kWrite, layout.md_page_offset(item.md_page), kPageSize, item.page->bytes.data());
  }
  if (auto done = check("writing the metadata", co_await batch.run()); !done) co_return done;

  auto page = std::make_unique<Page>();
  format::encode_super_block(super, page->span());
  const uint32_t block_size = disk.device().block_size();
  if (block_size < kPageSize) {
    batch.add(IoType::kWrite, block_size, kPageSize - block_size, page->bytes.data() + block_size);
    if (auto done = check("writing the super block", co_await batch.run()); !done) co_return done;
  }
  if (auto done = check("flushing the metadata", co_await block::perform(disk, flush)); !done) co_return done;
  batch.add(IoType::kWrite, 0, block_size, page->bytes.data());
  if (auto done = check("writing the super block", co_await batch.run()); !done) co_return done;
  if (auto done = check("flushing the super block", co_await block::perform(disk, flush)); !done) co_return done;

  const auto watermark = make_watermark(layout, 1);
  batch.add(IoType::kWrite, kTransientOffset, kPageSize, watermark->bytes.data());
  co_return check("writing the watermark", co_await batch.run());
}

// ---- Loading ----

bool MetadataStore::uses_journal() const {
  return disk_.device().has_volatile_cache() && disk_.device().physical_block_size() < kPageSize &&
         format::page_journal_place(layout_).capacity > 0;
}

Task<Result<>> MetadataStore::mend_torn_pages() {
  const auto place = format::page_journal_place(layout_);
  if (place.capacity == 0) co_return Result<>{};
  const size_t size = (size_t{place.capacity} + 1) * kPageSize;
  const auto memory = block::allocate_pages(size);
  const std::span<std::byte> journal(memory.get(), size);
  IoBatch batch(disk_);
  for (size_t at = 0; at < size; at += std::min<size_t>(kMaxIoBytes, size - at)) {
    batch.add(IoType::kRead, place.first_page * kPageSize + at, std::min<size_t>(kMaxIoBytes, size - at), &journal[at]);
  }
  if (auto done = check("reading the page journal", co_await batch.run()); !done) co_return done;
  const auto entries =
      format::decode_page_journal(format::page_at(std::span<const std::byte>(journal), 0), place.capacity);
  if (!entries) co_return Result<>{};
  auto present = std::make_unique<Page>();
  for (size_t i = 0; i < entries->size(); ++i) {
    const auto [md_page, crc] = (*entries)[i];
    const format::PageView copy = format::page_at(std::span<const std::byte>(journal), i + 1);
    if (md_page >= layout_.md_len || crc32c(copy) != crc) continue;
    if (auto read = co_await read_md_pages(md_page, present->bytes); !read) co_return read;
    if (!format::is_torn(present->view())) continue;
    log::warn("metadata page {} was torn by a crash and is mended", md_page);
    batch.add(IoType::kWrite, layout_.md_page_offset(md_page), kPageSize, &journal[(i + 1) * kPageSize]);
    if (auto done = check("mending a torn page", co_await batch.run()); !done) co_return done;
  }
  co_return co_await flush();
}

Task<Result<uint32_t>> MetadataStore::read_watermark() {
  auto page = std::make_unique<Page>();
  IoBatch batch(disk_);
  batch.add(IoType::kRead, uint64_t{layout_.used_page_mask.start} * kPageSize, kPageSize, page->bytes.data());
  if (auto done = check("reading the watermark", co_await batch.run()); !done) co_return fail(std::move(done.error()));
  const auto mark = format::decode_watermark(page->view(), layout_.md_len);
  if (mark) watermark_ = *mark;
  co_return mark.value_or(layout_.md_len);
}

Task<Result<std::vector<uint64_t>>> MetadataStore::read_mask(format::MaskType type, format::PageRange region,
                                                             uint32_t num_bits) {
  const size_t size = size_t{region.length} * kPageSize;
  const auto memory = block::allocate_pages(size);
  const std::span<std::byte> pages(memory.get(), size);
  IoBatch batch(disk_);
  for (size_t at = 0; at < size; at += std::min<size_t>(kMaxIoBytes, size - at)) {
    batch.add(IoType::kRead, uint64_t{region.start} * kPageSize + at, std::min<size_t>(kMaxIoBytes, size - at),
              &pages[at]);
  }
  if (auto done = check("reading a mask", co_await batch.run()); !done) co_return fail(std::move(done.error()));
  if (auto length = format::decode_mask_length(format::page_at(std::span<const std::byte>(pages), 0), type, num_bits,
                                               region.length);
      !length) {
    co_return fail(std::move(length.error()));
  }
  std::vector<uint64_t> words(format::mask_words(num_bits));
  for (uint32_t page = 0; page < region.length; ++page) {
    format::decode_mask_page(format::page_at(std::span<const std::byte>(pages), page), page, num_bits, words);
  }
  co_return words;
}

Task<Result<>> MetadataStore::read_md_pages(uint32_t first, std::span<std::byte> into) {
  IoBatch batch(disk_);
  for (size_t at = 0; at < into.size(); at += std::min<size_t>(kMaxIoBytes, into.size() - at)) {
    batch.add(IoType::kRead, layout_.md_page_offset(first) + at, std::min<size_t>(kMaxIoBytes, into.size() - at),
              &into[at]);
  }
  co_return check(fmt::format("reading metadata pages from {} on", first), co_await batch.run());
}

// ---- Changing ----

Task<Result<>> MetadataStore::flush() {
  if (!disk_.device().has_volatile_cache()) co_return Result<>{};
  co_return check("flushing metadata", co_await block::perform(disk_, {.type = IoType::kFlush}));
}

Task<Result<>> MetadataStore::write_super() {
  format::encode_super_block(super_, super_page_->span());
  IoBatch batch(disk_);
  batch.add(IoType::kWrite, 0, kPageSize, super_page_->bytes.data());
  if (auto done = check("writing the super block", co_await batch.run()); !done) co_return done;
  co_return co_await flush();
}

// The super block first: from then on the masks have no meaning, and the place of one serves the watermark.
Task<Result<>> MetadataStore::mark_dirty() {
  if (!dirty_on_disk_) {
    super_.clean = false;
    watermark_ = 0;
    if (auto done = co_await write_super(); !done) co_return done;
    dirty_on_disk_ = true;
  }
  if (pages_end_ <= watermark_) co_return Result<>{};
  const auto page = make_watermark(layout_, pages_end_);
  IoBatch batch(disk_);
  batch.add(IoType::kWrite, uint64_t{layout_.used_page_mask.start} * kPageSize, kPageSize, page->bytes.data());
  if (auto done = check("writing the watermark", co_await batch.run()); !done) co_return done;
  if (auto done = co_await flush(); !done) co_return done;
  watermark_ = format::decode_watermark(page->view(), layout_.md_len).value_or(0);
  co_return Result<>{};
}

// Neighbours go together: the extent pages of a volume usually are.
Task<Result<>> MetadataStore::write_pages(std::span<const MetadataWrite::Item> items) {
  std::vector<const MetadataWrite::Item*> in_order;
  for (const auto& item : items) in_order.push_back(&item);
  std::ranges::sort(in_order, {}, &MetadataWrite::Item::md_page);
  IoBatch batch(disk_);
  for (size_t i = 0; i < in_order.size();) {
    const uint32_t first = in_order[i]->md_page;
    std::vector<iovec> row;
    for (; i < in_order.size() && row.size() < block::Io::kMaxPieces && in_order[i]->md_page == first + row.size();
         ++i) {
      row.push_back({in_order[i]->page->bytes.data(), kPageSize});
    }
    batch.add(IoType::kWrite, layout_.md_page_offset(first), std::move(row));
  }
  co_return check("writing metadata", co_await batch.run());
}

Task<Result<>> MetadataStore::zero_pages(std::span<const uint32_t> md_pages) {
  const auto zeroes = std::make_unique<Page>();
  IoBatch batch(disk_);
  for (const uint32_t page : md_pages) {
    batch.add(IoType::kWrite, layout_.md_page_offset(page), kPageSize, zeroes->bytes.data());
  }
  co_return check("erasing metadata", co_await batch.run());
}

Task<Result<>> MetadataStore::write_journal(std::span<const MetadataWrite::Item> items) {
  const auto place = format::page_journal_place(layout_);
  CAIRN_CHECK(items.size() <= place.capacity);
  const size_t size = (items.size() + 1) * kPageSize;
  const auto memory = block::allocate_pages(size);
  const std::span<std::byte> pages(memory.get(), size);
  std::vector<format::PageJournalEntry> entries;
  for (size_t i = 0; i < items.size(); ++i) {
    entries.push_back({.md_page = items[i].md_page, .crc = crc32c(items[i].page->view())});
    std::memcpy(&pages[(i + 1) * kPageSize], items[i].page->bytes.data(), kPageSize);
  }
  format::encode_page_journal(entries, format::page_at(pages, 0));
  IoBatch batch(disk_);
  batch.add(IoType::kWrite, place.first_page * kPageSize, size, pages.data());
  if (auto done = check("writing the page journal", co_await batch.run()); !done) co_return done;
  if (seeded(SeededBug::kMetadataOutOfOrder)) co_return Result<>{};
  co_return co_await flush();
}

Result<> MetadataStore::check_certain() const {
  if (!uncertain_) return {};
  return fail(Code::kInternal,
              "an earlier change of the metadata failed on the disk half way: the pool has to be imported again");
}

void MetadataStore::set_uncertain() {
  if (uncertain_) return;
  log::error("metadata was written half way, it is not changed any more until the pool is imported again");
  uncertain_ = true;
}

Task<Result<>> MetadataStore::write_in_place(std::span<const MetadataWrite::Item> items) {
  reached_in_place_ = true;
  auto done = co_await write_pages(items);
  if (done) done = co_await flush();
  if (!done) set_uncertain();
  co_return done;
}

Task<Result<>> MetadataStore::commit(MetadataWrite& write) {
  reached_in_place_ = false;
  if (auto certain = check_certain(); !certain) co_return certain;
  for (const auto& item : write.fresh) pages_end_ = std::max(pages_end_, item.md_page + 1);
  for (const auto& item : write.in_place) pages_end_ = std::max(pages_end_, item.md_page + 1);
  if (auto done = co_await mark_dirty(); !done) co_return done;

  if (!write.fresh.empty()) {
    if (auto done = co_await write_pages(write.fresh); !done) co_return done;
  }
  if ((!write.fresh.empty() || write.flush_data_first) && !seeded(SeededBug::kMetadataOutOfOrder)) {
    if (auto done = co_await flush(); !done) co_return done;
  }
  const bool journaled = uses_journal() && !seeded(SeededBug::kSkipPageJournal);
  const size_t group_size =
      journaled ? format::page_journal_place(layout_).capacity : std::max<size_t>(write.in_place.size(), 1);
  for (size_t at = 0; at < write.in_place.size(); at += group_size) {
    const auto group = std::span(write.in_place).subspan(at, std::min(group_size, write.in_place.size() - at));
    if (journaled) {
      if (auto done = co_await write_journal(group); !done) {
        if (reached_in_place_) set_uncertain();  // an earlier group is there
        co_return done;
      }
    }
    if (auto done = co_await write_in_place(group); !done) co_return done;
  }
  // The change is complete; nothing refers to these pages, and none of them could be taken for a root.
  if (!write.erased.empty()) {
    if (auto done = co_await zero_pages(write.erased); !done) log::warn("{}", done.error().to_string());
  }
  co_return Result<>{};
}

Task<Result<>> MetadataStore::grow(const format::Layout& layout) {
  if (auto certain = check_certain(); !certain) co_return certain;
  if (auto done = co_await mark_dirty(); !done) co_return done;
  format::SuperBlock super = super_;
  super.size = layout.size;
  super.used_cluster_mask = layout.used_cluster_mask;
  if (uses_journal()) {
    std::vector<MetadataWrite::Item> item(1);
    item[0].md_page = format::kJournaledSuperBlock;
    item[0].page = std::make_unique<Page>(*super_page_);
    format::encode_super_block(super, item[0].page->span());
    if (auto done = co_await write_journal(item); !done) co_return done;
  }
  const format::SuperBlock before = std::exchange(super_, super);
  if (auto done = co_await write_super(); !done) {
    super_ = before;
    dirty_on_disk_ = false;  // to be written again before anything else
    co_return done;
  }
  layout_ = layout;
  co_return Result<>{};
}

Task<Result<>> MetadataStore::write_mask(format::MaskType type, format::PageRange region, const Bitmap& bits) {
  const size_t size = size_t{region.length} * kPageSize;
  const auto memory = block::allocate_pages(size);
  const std::span<std::byte> pages(memory.get(), size);
  for (uint32_t page = 0; page < region.length; ++page) {
    format::encode_mask_page(type, bits.words(), bits.size(), page, format::page_at(pages, page));
  }
  IoBatch batch(disk_);
  for (size_t at = 0; at < size; at += std::min<size_t>(kMaxIoBytes, size - at)) {
    batch.add(IoType::kWrite, uint64_t{region.start} * kPageSize + at, std::min<size_t>(kMaxIoBytes, size - at),
              &pages[at]);
  }
  co_return check("writing a mask", co_await batch.run());
}

Task<Result<>> MetadataStore::close_clean(const Bitmap& pages, const Bitmap& clusters, const Bitmap& blob_ids) {
  if (uncertain_) co_return Result<>{};
  if (!dirty_on_disk_ && super_.masks_valid()) co_return Result<>{};  // nothing was changed since it was loaded
  if (auto done = co_await mark_dirty(); !done) co_return done;
  watermark_ = 0;
  using format::MaskType;
  if (auto done = co_await write_mask(MaskType::kUsedPages, layout_.used_page_mask, pages); !done) co_return done;
  if (layout_.used_blobid_mask.length > 0) {
    if (auto done = co_await write_mask(MaskType::kUsedBlobIds, layout_.used_blobid_mask, blob_ids); !done) {
      co_return done;
    }
  }
  if (auto done = co_await write_mask(MaskType::kUsedClusters, layout_.used_cluster_mask, clusters); !done) {
    co_return done;
  }
  // The journal is of no use any more: its pages are stable, and what others make of them must not be mended with it.
  if (const auto place = format::page_journal_place(layout_); place.capacity > 0) {
    const auto zeroes = std::make_unique<Page>();
    IoBatch batch(disk_);
    batch.add(IoType::kWrite, place.first_page * kPageSize, kPageSize, zeroes->bytes.data());
    if (auto done = check("erasing the page journal", co_await batch.run()); !done) co_return done;
  }
  if (auto done = co_await flush(); !done) co_return done;
  super_.clean = true;
  auto done = co_await write_super();
  if (done) {
    dirty_on_disk_ = false;
  } else {
    super_.clean = false;
  }
  co_return done;
}

Task<Result<>> MetadataStore::erase() {
  if (auto done = co_await mark_dirty(); !done) co_return done;
  const auto mark = make_transient_mark();
  const auto zeroes = std::make_unique<Page>();
  IoBatch batch(disk_);
  batch.add(IoType::kWrite, kTransientOffset, kPageSize, mark->bytes.data());
  if (auto done = check("writing to the disk", co_await batch.run()); !done) co_return done;
  if (auto done = co_await flush(); !done) co_return done;
  batch.add(IoType::kWrite, 0, kPageSize, zeroes->bytes.data());
  if (auto done = check("erasing the super block", co_await batch.run()); !done) co_return done;
  if (auto done = co_await flush(); !done) co_return done;
  const uint64_t end = (uint64_t{layout_.md_start} + pages_end_) * kPageSize;
  for (uint64_t at = kTransientOffset + kPageSize; at < end; at += std::min(kZeroingStep, end - at)) {
    batch.add(IoType::kWriteZeroes, at, std::min(kZeroingStep, end - at));
  }
  if (auto done = check("erasing the metadata", co_await batch.run()); !done) co_return done;
  if (auto done = co_await flush(); !done) co_return done;
  batch.add(IoType::kWrite, kTransientOffset, kPageSize, zeroes->bytes.data());
  if (auto done = check("erasing the metadata", co_await batch.run()); !done) co_return done;
  co_return co_await flush();
}

}  // namespace cairn::pool
