// One change of a pool's metadata while it is put together: what it takes from the free space, the pages it writes and
// erases. Home reactor.
//
// What was taken is given back when the change is given up or fails before anything was written in place; after that
// the disk may refer to it, and it stays taken until the pool is loaded again (or written cleanly, which counts anew).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "pool/disk_space.h"
#include "pool/format/blob_chain.h"
#include "pool/metadata_store.h"
#include "pool/volume.h"

namespace cairn::pool {

class MetadataChange {
 public:
  MetadataChange(DiskSpace& space, MetadataStore& store) : space_(space), store_(store) {}
  MetadataChange(const MetadataChange&) = delete;
  MetadataChange& operator=(const MetadataChange&) = delete;
  ~MetadataChange();

  // Errors have an errno_value(): ENOSPC no cluster; ENOSPC (extent page), EMFILE (root), ENOMEM (chain) no metadata
  // page.
  Result<uint32_t> take_cluster();
  // A cluster that has been taken already.
  void adopt_cluster(uint32_t cluster) { taken_clusters_.push_back(cluster); }
  // One of them is not needed after all: it is free again.
  void give_back_cluster(uint32_t cluster);
  Result<uint32_t> take_root_page();
  Result<uint32_t> take_extent_page();

  // Clusters were cleared or copied for this change: they are made stable before it.
  void flush_data_first() { write_.flush_data_first = true; }

  // The root and the further pages of a volume's new metadata; `old_chain` (its present further pages) is erased and
  // freed. Gives the new further pages.
  Result<std::vector<uint32_t>> put_chain(const format::BlobMetadata& metadata, std::span<const uint32_t> old_chain);
  // `fresh`: the page is not referred to yet (take_extent_page()).
  void put_extent_page(format::BlobId owner, uint32_t md_page, uint64_t start_cluster,
                       std::span<const uint32_t> clusters, bool fresh);
  // Commits the removal of a volume: its root is zeroed and freed.
  void erase_root(uint32_t md_page);
  // Nothing on the disk refers to the page when the change is complete: it is zeroed and freed.
  void erase_page(uint32_t md_page) { write_.erased.push_back(md_page); }

  // Once, last. When it fails, the caller's state in memory must be what it was; except that no write may go any more
  // where the disk may_show() the new state and would lose it then.
  runtime::Task<Result<>> commit();
  // After a commit() that failed.
  bool may_show() const { return may_show_; }

 private:
  DiskSpace& space_;
  MetadataStore& store_;
  MetadataWrite write_;
  std::vector<uint32_t> taken_clusters_;
  std::vector<uint32_t> taken_pages_;
  std::vector<uint32_t> erased_roots_;
  bool may_show_ = false;
};

// A map as it will be: `base` with some entries changed, and perhaps another size.
struct FutureMap {
  const ClusterMap& base;
  uint64_t size;
  const std::map<uint64_t, uint32_t>& changes;

  uint32_t at(uint64_t index) const;
  std::vector<uint32_t> extent_entries(uint64_t extent_page) const;
};

}  // namespace cairn::pool
