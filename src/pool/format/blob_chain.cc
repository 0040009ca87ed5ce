#include "pool/format/blob_chain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "nvme/wire.h"

namespace cairn::pool::format {
namespace {

// Lays descriptors out over pages, starting a new page when one does not fit.
class ChainWriter {
 public:
  // Without `out` only counts pages.
  ChainWriter(BlobId id, std::span<const uint32_t> further_pages, std::span<std::byte> out)
      : id_(id), further_pages_(further_pages), out_(out), writer_(page(0)) {}

  size_t room() const { return writer_.room(); }

  std::span<std::byte> add(uint8_t type, size_t body_size) {
    if (room() < kDescriptorHeaderSize + body_size) start_page();
    return writer_.add(type, body_size);
  }
  std::span<std::byte> add(DescriptorType type, size_t body_size) { return add(static_cast<uint8_t>(type), body_size); }

  void start_page() {
    close_page(out_.empty() ? kNoPage : further_pages_[index_]);
    ++index_;
    writer_ = MetadataPageWriter(page(index_));
  }

  // The number of pages.
  size_t finish() {
    close_page(kNoPage);
    return index_ + 1;
  }

 private:
  PageSpan page(size_t index) { return out_.empty() ? scratch_.span() : page_at(out_, index); }
  void close_page(uint32_t next) {
    writer_.finish({.blob_id = id_, .sequence = static_cast<uint32_t>(index_), .next = next});
  }

  BlobId id_;
  std::span<const uint32_t> further_pages_;
  std::span<std::byte> out_;
  size_t index_ = 0;
  Page scratch_;
  MetadataPageWriter writer_;
};

void write_flags(const BlobFlags& flags, ChainWriter& out) {
  const std::span<std::byte> body = out.add(DescriptorType::kFlags, 24);
  nvme::store(body, flags.invalid);
  nvme::store(body.subspan(8), flags.data_ro);
  nvme::store(body.subspan(16), flags.md_ro);
}

void write_xattr(DescriptorType type, const Xattr& xattr, ChainWriter& out) {
  CAIRN_CHECK(xattr.name.size() + xattr.value.size() <= kMaxXattrBytes);
  const std::span<std::byte> body = out.add(type, 4 + xattr.name.size() + xattr.value.size());
  nvme::store(body, static_cast<uint16_t>(xattr.name.size()));
  nvme::store(body.subspan(2), static_cast<uint16_t>(xattr.value.size()));
  std::memcpy(body.data() + 4, xattr.name.data(), xattr.name.size());
  std::memcpy(body.data() + 4 + xattr.name.size(), xattr.value.data(), xattr.value.size());
}

// Writes pairs as descriptors of `type`, each with `prefix` before its pairs, as many to a page as fit.
void write_pairs(DescriptorType type, std::span<const std::byte> prefix, std::span<const U32Pair> pairs,
                 ChainWriter& out) {
  const size_t fixed = kDescriptorHeaderSize + prefix.size();
  while (!pairs.empty()) {
    if (out.room() < fixed + sizeof(U32Pair)) out.start_page();
    const size_t count = std::min(pairs.size(), (out.room() - fixed) / sizeof(U32Pair));
    const std::span<std::byte> body = out.add(type, prefix.size() + count * sizeof(U32Pair));
    std::ranges::copy(prefix, body.begin());
    std::memcpy(body.data() + prefix.size(), pairs.data(), count * sizeof(U32Pair));
    pairs = pairs.subspan(count);
  }
}
static_assert(sizeof(U32Pair) == 8 && nvme::kIsWire<U32Pair>);

void write_extent_table(const BlobMetadata& blob, ChainWriter& out) {
  CAIRN_CHECK(blob.extent_table.size() == extent_pages_for(blob.num_clusters) && blob.runs.empty());
  std::vector<U32Pair> entries;
  for (const uint32_t page : blob.extent_table) {
    if (page == kNoExtentPage && !entries.empty() && entries.back().first == kNoExtentPage) {
      ++entries.back().second;
    } else {
      entries.push_back({.first = page, .second = 1});
    }
  }
  const auto prefix = nvme::bytes_of(blob.num_clusters);
  if (entries.empty()) {
    std::ranges::copy(prefix, out.add(DescriptorType::kExtentTable, prefix.size()).begin());
  } else {
    write_pairs(DescriptorType::kExtentTable, prefix, entries, out);
  }
}

void write_extent_rle(const BlobMetadata& blob, ChainWriter& out) {
  CAIRN_CHECK(blob.extent_table.empty());
  std::vector<U32Pair> runs;
  uint64_t clusters = 0;
  for (const ClusterRun& run : blob.runs) {
    CAIRN_CHECK(run.length > 0);
    runs.push_back({.first = run.first, .second = run.length});
    clusters += run.length;
  }
  CAIRN_CHECK(clusters == blob.num_clusters);
  write_pairs(DescriptorType::kExtentRle, {}, runs, out);
}

size_t write_chain(const BlobMetadata& blob, std::span<const uint32_t> further_pages, std::span<std::byte> out) {
  ChainWriter writer(blob.id, further_pages, out);
  write_flags(blob.flags, writer);
  for (const Xattr& xattr : blob.xattrs.all()) write_xattr(DescriptorType::kXattr, xattr, writer);
  for (const Xattr& xattr : blob.internal_xattrs.all()) write_xattr(DescriptorType::kXattrInternal, xattr, writer);
  for (const UnknownDescriptor& unknown : blob.unknown) {
    const std::span<std::byte> body = writer.add(unknown.type, unknown.body.size());
    std::memcpy(body.data(), unknown.body.data(), unknown.body.size());
  }
  if (blob.flags.uses_extent_table()) {
    write_extent_table(blob, writer);
  } else {
    write_extent_rle(blob, writer);
  }
  return writer.finish();
}

}  // namespace

uint64_t max_blob_clusters(const Layout& layout) {
  return std::min(std::max(uint64_t{layout.total_clusters} * 16, uint64_t{65536}), kMaxClusters);
}

size_t chain_length(const BlobMetadata& blob) {
  return write_chain(blob, {}, {});
}

void encode_chain(const BlobMetadata& blob, std::span<const uint32_t> further_pages, std::span<std::byte> out) {
  const size_t pages = chain_length(blob);
  CAIRN_CHECK(further_pages.size() + 1 == pages && out.size() == pages * kPageSize);
  write_chain(blob, further_pages, out);
}

ChainDecoder::ChainDecoder(BlobId id, const Layout& layout) : layout_(layout) {
  blob_.id = id;
}

std::string ChainDecoder::where() const {
  return fmt::format("blob {:#x}, page {} of its chain", blob_.id, pages_);
}

Result<uint32_t> ChainDecoder::add(PageView page) {
  CAIRN_CHECK(!complete_);
  const auto header = decode_md_header(page);
  if (!header) return fail(Error(Code::kDataLoss, where(), header.error()));
  if (header->blob_id != blob_.id) {
    return fail(Code::kDataLoss, fmt::format("{}: id is {:#x}", where(), header->blob_id));
  }
  if (header->sequence != pages_) {
    return fail(Code::kDataLoss, fmt::format("{}: sequence_num is {}, not {}", where(), header->sequence, pages_));
  }
  if (header->next != kNoPage && !layout_.is_md_page(header->next)) {
    return fail(Code::kDataLoss, fmt::format("{}: next is {}, accepted are 0 to {} and {:#x}", where(), header->next,
                                             layout_.md_len - 1, kNoPage));
  }
  DescriptorReader reader(page);
  while (true) {
    auto descriptor = reader.next();
    if (!descriptor) return fail(Error(Code::kDataLoss, where(), descriptor.error()));
    if (!*descriptor) break;
    if (auto added = add_descriptor(**descriptor); !added) {
      return fail(Error(Code::kDataLoss, fmt::format("{}, byte {}", where(), (*descriptor)->offset), added.error()));
    }
  }
  ++pages_;
  complete_ = header->next == kNoPage;
  return header->next;
}

Result<> ChainDecoder::add_descriptor(const Descriptor& descriptor) {
  switch (static_cast<DescriptorType>(descriptor.type)) {
    case DescriptorType::kPadding:
      return {};
    case DescriptorType::kFlags: {
      auto flags = decode_flags(descriptor.body);
      if (!flags) return fail(std::move(flags.error()));
      if (has_flags_) return fail(Code::kDataLoss, "FLAGS: a second one");
      blob_.flags = *flags;
      has_flags_ = true;
      return {};
    }
    case DescriptorType::kXattr:
    case DescriptorType::kXattrInternal: {
      auto xattr = decode_xattr(descriptor.body);
      if (!xattr) return fail(std::move(xattr.error()));
      XattrList& list = descriptor.is(DescriptorType::kXattr) ? blob_.xattrs : blob_.internal_xattrs;
      list.append_decoded(
          {.name = std::string(xattr->name),
           .value = std::string(reinterpret_cast<const char*>(xattr->value.data()), xattr->value.size())});
      return {};
    }
    case DescriptorType::kExtentRle:
      return add_runs(descriptor.body);
    case DescriptorType::kExtentTable:
      return add_table(descriptor.body);
    case DescriptorType::kExtentPage:
      return fail(Code::kDataLoss, "EXTENT_PAGE: in the chain of a blob");
  }
  blob_.unknown.push_back(
      {.type = descriptor.type,
       .body = std::string(reinterpret_cast<const char*>(descriptor.body.data()), descriptor.body.size())});
  return {};
}

Result<> ChainDecoder::add_runs(std::span<const std::byte> body) {
  const auto pairs = decode_extent_rle(body);
  if (!pairs) return fail(pairs.error());
  for (size_t i = 0; i < pairs->size(); ++i) {
    const auto [first, length] = (*pairs)[i];
    const uint64_t end = uint64_t{first} + length;
    if (length == 0 || (first != kNoCluster && (!layout_.is_data_cluster(first) || end > layout_.total_clusters))) {
      return fail(Code::kDataLoss, fmt::format("EXTENT_RLE: {} clusters from {}, accepted are clusters {} to {}",
                                               length, first, layout_.md_clusters, layout_.total_clusters - 1));
    }
    if (first == kNoCluster) has_absent_ = true;
    blob_.num_clusters += length;
    if (const uint64_t limit = max_blob_clusters(layout_); blob_.num_clusters > limit) {
      return fail(Code::kDataLoss,
                  fmt::format("EXTENT_RLE: {} clusters, at most {} accepted", blob_.num_clusters, limit));
    }
    blob_.runs.push_back({.first = first, .length = length});
  }
  return {};
}

Result<> ChainDecoder::add_table(std::span<const std::byte> body) {
  const auto table = decode_extent_table(body);
  if (!table) return fail(table.error());
  const uint64_t limit = max_blob_clusters(layout_);
  if (table->num_clusters > limit || (has_table_ && table->num_clusters != blob_.num_clusters)) {
    return fail(Code::kDataLoss, fmt::format("EXTENT_TABLE: num_clusters is {}, accepted is {}", table->num_clusters,
                                             has_table_ ? fmt::format("{} as before", blob_.num_clusters)
                                                        : fmt::format("0 to {}", limit)));
  }
  has_table_ = true;
  blob_.num_clusters = table->num_clusters;
  const uint64_t wanted = extent_pages_for(table->num_clusters);
  for (size_t i = 0; i < table->entries.size(); ++i) {
    const auto [page, count] = table->entries[i];
    if (count == 0 || (page != kNoExtentPage && (count != 1 || !layout_.is_md_page(page)))) {
      return fail(Code::kDataLoss,
                  fmt::format("EXTENT_TABLE: {} pages at {}, accepted are 1 page at 1 to {} or a run at 0", count, page,
                              layout_.md_len - 1));
    }
    if (blob_.extent_table.size() + count > wanted) {
      return fail(Code::kDataLoss, fmt::format("EXTENT_TABLE: {} pages or more, {} clusters have {}",
                                               blob_.extent_table.size() + count, table->num_clusters, wanted));
    }
    if (page == kNoExtentPage) has_absent_ = true;
    blob_.extent_table.insert(blob_.extent_table.end(), count, page);
  }
  return {};
}

Result<> ChainDecoder::check_clusters() const {
  const bool by_table = blob_.flags.uses_extent_table();
  if (by_table && !blob_.runs.empty()) return fail(Code::kDataLoss, "EXTENT_RLE although the flags say extent table");
  if (!by_table && has_table_) return fail(Code::kDataLoss, "EXTENT_TABLE although the flags do not say so");
  if (by_table && !has_table_) return fail(Code::kDataLoss, "no EXTENT_TABLE although the flags say so");
  const uint64_t wanted = extent_pages_for(blob_.num_clusters);
  if (by_table && blob_.extent_table.size() != wanted) {
    return fail(Code::kDataLoss, fmt::format("EXTENT_TABLE: {} pages altogether, {} clusters have {}",
                                             blob_.extent_table.size(), blob_.num_clusters, wanted));
  }
  if (has_absent_ && !blob_.flags.thin()) return fail(Code::kDataLoss, "unallocated clusters although not thin");
  return {};
}

Result<BlobMetadata> ChainDecoder::finish() {
  CAIRN_CHECK(complete_);
  if (auto checked = check_clusters(); !checked) {
    return fail(Error(Code::kDataLoss, fmt::format("blob {:#x}", blob_.id), checked.error()));
  }
  return std::move(blob_);
}

}  // namespace cairn::pool::format
