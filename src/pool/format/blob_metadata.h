// What a chain of metadata pages says about a blob (docs/pool-format.md, "Blobs").
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "pool/format/extent_page.h"
#include "pool/format/metadata_page.h"

namespace cairn::pool::format {

struct Xattr {
  std::string name{};
  std::string value{};  // any bytes
  friend bool operator==(const Xattr&, const Xattr&) = default;
};

// Attributes in the order in which they were first set, which is their order on disk.
class XattrList {
 public:
  const std::vector<Xattr>& all() const { return all_; }
  bool empty() const { return all_.empty(); }
  const std::string* find(std::string_view name) const;  // nullptr when absent
  // Replaces the value in its place or appends. INVALID_ARGUMENT if the name is empty or both together have more than
  // kMaxXattrBytes.
  Result<> set(std::string_view name, std::string_view value);
  bool remove(std::string_view name);  // whether it was there
  void append_decoded(Xattr xattr) { all_.push_back(std::move(xattr)); }
  friend bool operator==(const XattrList&, const XattrList&) = default;

 private:
  std::vector<Xattr> all_;
};

enum class ClearMethod : uint8_t { kDefault = 0, kNone = 1, kUnmap = 2, kWriteZeroes = 3 };

// `length` consecutive clusters of a blob: consecutive ones of the device from `first` on, or unallocated (first ==
// kNoCluster).
struct ClusterRun {
  uint32_t first = kNoCluster;
  uint32_t length = 0;
  friend bool operator==(const ClusterRun&, const ClusterRun&) = default;
};

// A descriptor of a type that we do not know; kept and written back.
struct UnknownDescriptor {
  uint8_t type = 0;
  std::string body{};
  friend bool operator==(const UnknownDescriptor&, const UnknownDescriptor&) = default;
};

struct BlobMetadata {
  BlobId id = kNoBlob;
  BlobFlags flags;
  XattrList xattrs;
  XattrList internal_xattrs;
  std::vector<UnknownDescriptor> unknown;
  uint64_t num_clusters = 0;
  // With flags.uses_extent_table(): the metadata page of each extent page, kNoExtentPage where absent;
  // extent_pages_for(num_clusters) entries. Otherwise empty.
  std::vector<uint32_t> extent_table;
  // Without: the clusters themselves, num_clusters altogether. Otherwise empty.
  std::vector<ClusterRun> runs;

  bool read_only() const { return (flags.data_ro & BlobFlags::kReadOnly) != 0; }
  ClearMethod clear_method() const { return static_cast<ClearMethod>(flags.md_ro & BlobFlags::kClearMethodMask); }
  void set_clear_method(ClearMethod method);

  // Links in internal xattrs (kParentLink ...). DATA_LOSS when the value is not 8 bytes.
  Result<std::optional<BlobId>> link(std::string_view name) const;
  // Both keep the flag "has internal xattrs" true.
  void set_link(std::string_view name, BlobId id);
  void remove_link(std::string_view name);

  friend bool operator==(const BlobMetadata&, const BlobMetadata&) = default;
};

// Internal xattrs whose value is a blob id.
inline constexpr std::string_view kParentLink = "SNAP";                 // clone or snapshot: its parent snapshot
inline constexpr std::string_view kSnapshotInProgressLink = "SNAPTMP";  // new snapshot: the blob it is taken from
inline constexpr std::string_view kSnapshotRemovalLink = "SNAPRM";      // snapshot being deleted: its only clone
inline constexpr std::string_view kExternalSnapshotXattr = "EXTSNAP";   // not a link; written by nobody here

// Whether all flags are known, as opening demands (and no external snapshot): FAILED_PRECONDITION names the bits
// otherwise.
Result<> check_openable(const BlobFlags& flags);

}  // namespace cairn::pool::format
