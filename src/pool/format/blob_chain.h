// A blob's metadata as the chain of pages that holds it: root, then further pages linked by `next`
// (docs/pool-format.md, "Blobs").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "pool/format/blob_metadata.h"
#include "pool/format/layout.h"

namespace cairn::pool::format {

// The largest blob that is read: sixteen times the pool's clusters, and at least 65536. Volumes of the API are never
// larger than their pool; the rest is for thin ones of other tools. Bounds the memory that a damaged number can ask
// for.
uint64_t max_blob_clusters(const Layout& layout);

// Pages of the chain, root included; at least 1.
size_t chain_length(const BlobMetadata& blob);

// Writes the chain with links and CRCs: `further_pages` are the metadata pages of all but the root (chain_length - 1 of
// them), `out` has room for chain_length pages and gets root first. Extent pages are written separately.
void encode_chain(const BlobMetadata& blob, std::span<const uint32_t> further_pages, std::span<std::byte> out);

// Puts a blob together from its pages, given in the order of the chain, checking everything that can be checked without
// other blobs: CRC, id, sequence, descriptors, that pages and clusters lie where the layout has them, that a thick blob
// has all of its clusters. Errors are DATA_LOSS and name page (position in the chain), field, value and range. Unknown
// flags are no error (check_openable), unknown descriptors are kept.
class ChainDecoder {
 public:
  ChainDecoder(BlobId id, const Layout& layout);

  // The metadata page that continues the chain, kNoPage after the last one.
  Result<uint32_t> add(PageView page);
  // Call once, after add() returned kNoPage.
  Result<BlobMetadata> finish();
  // What has been read so far, good for looking at a blob that is damaged further on.
  const BlobMetadata& partial() const { return blob_; }

 private:
  Result<> add_descriptor(const Descriptor& descriptor);
  Result<> add_runs(std::span<const std::byte> body);
  Result<> add_table(std::span<const std::byte> body);
  Result<> check_clusters() const;
  std::string where() const;

  BlobMetadata blob_;
  Layout layout_;
  uint32_t pages_ = 0;
  bool has_flags_ = false;
  bool has_table_ = false;
  bool has_absent_ = false;  // clusters or extent pages
  bool complete_ = false;
};

}  // namespace cairn::pool::format
