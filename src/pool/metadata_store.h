// The metadata of a pool on its disk: reading it, changing it in an order that survives a crash, the super block's
// clean flag. Home reactor; one change at a time.
//
// What is kept besides the original's structures, where the original never looks (docs/architecture.md, "Pools"):
//
// - The page journal, in the unused rest of the last metadata cluster: a copy of every page that is about to be written
// in
//   place. A disk that writes 512 bytes at a time may tear a page when the power goes; loading mends it from the copy.
//   Not used where a page cannot be torn (physical blocks of 4096 bytes) or nothing is volatile, or when there is no
//   room.
// - The watermark, in the first page of the mask of used metadata pages while the pool is not clean (the mask has no
// meaning
//   then): no metadata page from there on is in use, so recovery need not read them. The original's recovery overwrites
//   it with a mask, which shows that it is no longer true.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "block/channel.h"
#include "pool/bitmap.h"
#include "pool/format/layout.h"
#include "pool/format/mask.h"
#include "pool/format/page.h"
#include "runtime/task.h"

namespace cairn::pool {

// One change, in the order in which its parts are written; each part is stable before the next begins.
struct MetadataWrite {
  struct Item {
    uint32_t md_page = 0;
    std::unique_ptr<format::Page> page;
  };
  bool flush_data_first = false;  // clusters were cleared or copied for this change
  std::vector<Item> fresh;        // pages that nothing refers to yet
  std::vector<Item> in_place;     // pages in use, new roots, zeroes over old roots: the commit
  std::vector<uint32_t> erased;   // zeroed last, not awaited by anybody
};

// The super block of a disk as loading finds it.
struct FoundSuperBlock {
  format::SuperBlock super;
  std::unique_ptr<format::Page> page;
  bool mended = false;  // it was torn by a crash; `super` says not clean
};

class MetadataStore {
 public:
  MetadataStore(block::Channel& disk, const format::SuperBlock& super, std::unique_ptr<format::Page> super_page,
                bool super_is_damaged);

  // What page 0 holds: exactly one of `found`, `fault` (why it is not the super block of a pool) and `disk_error`.
  struct Finding {
    std::optional<FoundSuperBlock> found;
    std::optional<format::SuperBlockFault> fault;
    bool blank = false;               // page 0 holds nothing but zeroes
    bool transient = false;           // a pool was being made or destroyed: its remains are nobody's
    std::optional<Error> disk_error;  // page 0 could not be read
  };
  static runtime::Task<Finding> find_super_block(block::Channel& disk);

  // Writes an empty pool without its super block: zeroed masks and metadata pages. Then `pages` in place, then the
  // super block, whose first block makes the pool exist.
  static runtime::Task<Result<>> write_empty_pool(block::Channel& disk, const format::Layout& layout,
                                                  const format::SuperBlock& super,
                                                  std::span<const MetadataWrite::Item> pages);

  const format::Layout& layout() const { return layout_; }
  const format::SuperBlock& super() const { return super_; }

  // --- loading
  // Mends what a crash has torn. To be called first when the pool is not clean.
  runtime::Task<Result<>> mend_torn_pages();
  // No metadata page from here on is in use. md_len when that is not known.
  runtime::Task<Result<uint32_t>> read_watermark();
  // The mask in the region; bits beyond num_bits are dropped.
  runtime::Task<Result<std::vector<uint64_t>>> read_mask(format::MaskType type, format::PageRange region,
                                                         uint32_t num_bits);
  // Metadata pages [first, first + into.size()/4096).
  runtime::Task<Result<>> read_md_pages(uint32_t first, std::span<std::byte> into);

  // Loading is over, and these pages are in use.
  void set_used_pages(const Bitmap& pages) { pages_end_ = pages.end_of_set(); }

  // --- changing
  runtime::Task<Result<>> commit(MetadataWrite& write);
  // Whether a failed commit() may have written something in place. Then nobody knows which of it the disk will show,
  // and a change made of what memory says could contradict it: all further changes are refused, until the pool is
  // loaded again and recovery has read what is there.
  bool last_commit_reached_in_place() const { return reached_in_place_; }
  bool uncertain() const { return uncertain_; }
  // What the disk has and memory has not could not be removed: the same.
  void set_uncertain();
  // New size and mask length in the super block.
  runtime::Task<Result<>> grow(const format::Layout& layout);
  // Writes the masks and sets the clean flag: no change may follow. Not when uncertain(): the pool stays not clean.
  runtime::Task<Result<>> close_clean(const Bitmap& pages, const Bitmap& clusters, const Bitmap& blob_ids);
  // Ends the pool's existence, and removes its metadata.
  runtime::Task<Result<>> erase();

  runtime::Task<Result<>> flush();  // when the disk has a volatile cache

 private:
  bool uses_journal() const;
  Result<> check_certain() const;
  runtime::Task<Result<>> write_in_place(std::span<const MetadataWrite::Item> items);
  runtime::Task<Result<>> mark_dirty();
  runtime::Task<Result<>> write_super();
  runtime::Task<Result<>> write_journal(std::span<const MetadataWrite::Item> items);
  runtime::Task<Result<>> write_pages(std::span<const MetadataWrite::Item> items);
  runtime::Task<Result<>> zero_pages(std::span<const uint32_t> md_pages);
  runtime::Task<Result<>> write_mask(format::MaskType type, format::PageRange region, const Bitmap& bits);

  block::Channel& disk_;
  format::Layout layout_;
  format::SuperBlock super_;
  std::unique_ptr<format::Page> super_page_;  // as it is on the disk, but for what `super_` changes
  bool dirty_on_disk_;                        // the super block on the disk says so
  uint32_t pages_end_ = 0;                    // no metadata page from here on is or was in use
  uint32_t watermark_ = 0;                    // on the disk; 0: none is
  bool reached_in_place_ = false;             // by the last commit()
  bool uncertain_ = false;                    // a commit() has failed after that
};

}  // namespace cairn::pool
