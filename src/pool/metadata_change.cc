#include "pool/metadata_change.h"

#include <cerrno>

#include "base/abandonment.h"
#include "base/check.h"

namespace cairn::pool {

using format::kPageSize;
using format::Page;
using runtime::Task;

MetadataChange::~MetadataChange() {
  if (abandoning()) return;
  for (const uint32_t cluster : taken_clusters_) space_.free_cluster(cluster);
  for (const uint32_t page : taken_pages_) space_.free_page(page);
}

Result<uint32_t> MetadataChange::take_cluster() {
  const auto cluster = space_.take_cluster();
  if (!cluster) return fail(Error::from_errno(ENOSPC, "no free cluster"));
  taken_clusters_.push_back(*cluster);
  return *cluster;
}

void MetadataChange::give_back_cluster(uint32_t cluster) {
  CAIRN_CHECK(std::erase(taken_clusters_, cluster) == 1);
  space_.free_cluster(cluster);
}

Result<uint32_t> MetadataChange::take_root_page() {
  const auto page = space_.take_page();
  if (!page) return fail(Error::with_errno(EMFILE, "no free metadata page"));
  taken_pages_.push_back(*page);
  return *page;
}

Result<uint32_t> MetadataChange::take_extent_page() {
  const auto page = space_.take_page(1);
  if (!page) return fail(Error::with_errno(ENOSPC, "no free metadata page for an extent page"));
  taken_pages_.push_back(*page);
  return *page;
}

Result<std::vector<uint32_t>> MetadataChange::put_chain(const format::BlobMetadata& metadata,
                                                        std::span<const uint32_t> old_chain) {
  const size_t length = format::chain_length(metadata);
  std::vector<uint32_t> further(length - 1);
  for (uint32_t& page : further) {
    const auto taken = space_.take_page();
    if (!taken) return fail(Error::with_errno(ENOMEM, "no free metadata page for a chain"));
    taken_pages_.push_back(*taken);
    page = *taken;
  }
  std::vector<Page> pages(length);
  format::encode_chain(metadata, further, std::as_writable_bytes(std::span(pages)));
  write_.in_place.push_back({format::root_page_of(metadata.id), std::make_unique<Page>(pages[0])});
  for (size_t i = 0; i < further.size(); ++i) {
    write_.fresh.push_back({further[i], std::make_unique<Page>(pages[i + 1])});
  }
  for (const uint32_t page : old_chain) erase_page(page);
  return further;
}

void MetadataChange::put_extent_page(format::BlobId owner, uint32_t md_page, uint64_t start_cluster,
                                     std::span<const uint32_t> clusters, bool fresh) {
  auto page = std::make_unique<Page>();
  format::encode_extent_page(owner, static_cast<uint32_t>(start_cluster), clusters, page->span());
  (fresh ? write_.fresh : write_.in_place).push_back({md_page, std::move(page)});
}

void MetadataChange::erase_root(uint32_t md_page) {
  write_.in_place.push_back({md_page, std::make_unique<Page>()});
  erased_roots_.push_back(md_page);
}

Task<Result<>> MetadataChange::commit() {
  auto done = co_await store_.commit(write_);
  if (done) {
    for (const uint32_t page : write_.erased) space_.free_page(page);
    for (const uint32_t page : erased_roots_) space_.free_page(page);
  }
  may_show_ = !done && store_.last_commit_reached_in_place();
  if (done || may_show_) {
    taken_clusters_.clear();
    taken_pages_.clear();
  }
  co_return done;
}

uint32_t FutureMap::at(uint64_t index) const {
  if (const auto change = changes.find(index); change != changes.end()) return change->second;
  return index < base.size() ? base.at(index) : format::kNoCluster;
}

std::vector<uint32_t> FutureMap::extent_entries(uint64_t extent_page) const {
  std::vector<uint32_t> entries(format::clusters_in_extent_page(size, extent_page));
  const uint64_t start = extent_page * format::kClustersPerExtentPage;
  for (uint64_t i = 0; i < entries.size() && start + i < base.size(); ++i) entries[i] = base.at(start + i);
  for (auto change = changes.lower_bound(start); change != changes.end() && change->first < start + entries.size();
       ++change) {
    entries[change->first - start] = change->second;
  }
  return entries;
}

}  // namespace cairn::pool
