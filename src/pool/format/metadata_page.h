// A metadata page: a header, descriptors, the link to the next page of its chain, a CRC (docs/pool-format.md, "Metadata
// pages"). Readers here allocate nothing and hand out views into the page; blob_chain.h makes whole blobs of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/error.h"
#include "pool/format/page.h"

namespace cairn::pool::format {

inline constexpr uint32_t kNoPage = 0xffffffff;   // `next` of the last page of a chain
inline constexpr size_t kDescriptorsOffset = 16;  // in the page
inline constexpr size_t kDescriptorsSize = 4072;  // bytes
inline constexpr size_t kDescriptorHeaderSize = 5;
inline constexpr size_t kMaxXattrBytes = kDescriptorsSize - kDescriptorHeaderSize - 4;  // name and value together

struct MetadataPageHeader {
  BlobId blob_id = kNoBlob;
  uint32_t sequence = 0;  // 0: root or extent page; n: the n-th further page of a chain
  uint32_t next = kNoPage;
  friend bool operator==(const MetadataPageHeader&, const MetadataPageHeader&) = default;
};

MetadataPageHeader read_md_header(PageView page);            // as it stands there
Result<MetadataPageHeader> decode_md_header(PageView page);  // DATA_LOSS if the CRC does not fit

// Whether recovery takes the page (at index `md_page`) for one in use: its CRC fits, and it is the root of the blob it
// names or the continuation of a chain. Such a page is a root if its sequence is 0.
bool is_valid_md_page(PageView page, uint32_t md_page);

enum class DescriptorType : uint8_t {
  kPadding = 0,
  kExtentRle = 1,
  kXattr = 2,
  kFlags = 3,
  kXattrInternal = 4,
  kExtentTable = 5,
  kExtentPage = 6,
};
std::string_view descriptor_name(uint8_t type);  // "EXTENT_TABLE"; "unknown"

struct Descriptor {
  uint8_t type = 0;
  size_t offset = 0;  // of its header in the page
  std::span<const std::byte> body;
  bool is(DescriptorType other) const { return type == static_cast<uint8_t>(other); }
};

// The descriptors of a page in order, without padding. The page must outlive what it hands out.
class DescriptorReader {
 public:
  explicit DescriptorReader(PageView page) : area_(page.subspan<kDescriptorsOffset, kDescriptorsSize>()) {}
  // nullopt at the end. DATA_LOSS when a descriptor reaches beyond its page.
  Result<std::optional<Descriptor>> next();

 private:
  std::span<const std::byte, kDescriptorsSize> area_;
  size_t at_ = 0;
};

// Bodies. Each decoder returns DATA_LOSS, naming field, value and range, if the body is not a correct one of its type.

struct BlobFlags {
  uint64_t invalid = 0;  // a reader that does not know a bit must not open the blob
  uint64_t data_ro = 0;  // ... must open it read-only
  uint64_t md_ro = 0;    // ... must not change its metadata

  static constexpr uint64_t kThin = 1;
  static constexpr uint64_t kInternalXattrs = 2;
  static constexpr uint64_t kExtentTable = 4;
  static constexpr uint64_t kExternalSnapshot = 8;
  static constexpr uint64_t kKnownInvalid = 15;
  static constexpr uint64_t kReadOnly = 1;         // data_ro
  static constexpr uint64_t kClearMethodMask = 3;  // md_ro

  bool thin() const { return (invalid & kThin) != 0; }
  bool uses_extent_table() const { return (invalid & kExtentTable) != 0; }
  friend bool operator==(const BlobFlags&, const BlobFlags&) = default;
};
Result<BlobFlags> decode_flags(std::span<const std::byte> body);

struct XattrView {
  std::string_view name;
  std::span<const std::byte> value;
};
Result<XattrView> decode_xattr(std::span<const std::byte> body);

// Arrays of pairs and numbers at any alignment.
struct U32Pair {
  uint32_t first = 0;
  uint32_t second = 0;
};
class U32PairsView {
 public:
  explicit U32PairsView(std::span<const std::byte> bytes) : bytes_(bytes) {}
  size_t size() const { return bytes_.size() / 8; }
  U32Pair operator[](size_t i) const;

 private:
  std::span<const std::byte> bytes_;
};

// {first cluster, number of clusters}; first cluster 0: unallocated clusters.
Result<U32PairsView> decode_extent_rle(std::span<const std::byte> body);

struct ExtentTableView {
  uint64_t num_clusters = 0;  // of the whole blob, repeated in each piece
  U32PairsView entries;       // {metadata page, 1} or {0, number of absent extent pages}
};
Result<ExtentTableView> decode_extent_table(std::span<const std::byte> body);

// Composes a page.
class MetadataPageWriter {
 public:
  // Zeroes the page.
  explicit MetadataPageWriter(PageSpan page);
  size_t room() const { return kDescriptorsSize - used_; }  // bytes left, with descriptor headers
  // Appends a descriptor and returns its zeroed body to be filled. Room for header and body must be left.
  std::span<std::byte> add(DescriptorType type, size_t body_size) { return add(static_cast<uint8_t>(type), body_size); }
  std::span<std::byte> add(uint8_t type, size_t body_size);
  // Stores header and CRC; to be called last.
  void finish(const MetadataPageHeader& header);

 private:
  PageSpan page_;
  size_t used_ = 0;
};

}  // namespace cairn::pool::format
