// What the lvolstore and io-engine keep in xattrs: the pool's identity in the super blob, and of every other blob (an
// lvol) its identity, share, owner, and where it comes from (docs/pool-format.md, "Attributes").
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/uuid.h"
#include "pool/format/blob_metadata.h"

namespace cairn::pool::format {

inline constexpr size_t kMaxNameLength = 63;  // of pools and lvols, without NUL
inline constexpr size_t kNameBufferSize = 64;

inline constexpr std::string_view kNameXattr = "name";
inline constexpr std::string_view kUuidXattr = "uuid";
inline constexpr std::string_view kSharedXattr = "shared";
inline constexpr std::string_view kAllowedHostsXattr = "allowed-hosts";
inline constexpr std::string_view kEntityIdXattr = "entity_id";
inline constexpr std::string_view kSnapshotTxIdXattr = "io-engine.tx_id";
inline constexpr std::string_view kSnapshotEntityIdXattr = "io-engine.entity_id";
inline constexpr std::string_view kSnapshotParentXattr = "io-engine.parent_id";
inline constexpr std::string_view kSnapshotTimeXattr = "io-engine.snapshot_create_time";
inline constexpr std::string_view kSnapshotDiscardedXattr = "io-engine.discarded_snapshot";
inline constexpr std::string_view kCloneSourceXattr = "io-engine.source_uuid";
inline constexpr std::string_view kCloneTimeXattr = "io-engine.clone_create_time";

// The text of a value: without trailing NULs. nullopt when absent or nothing but NULs.
std::optional<std::string_view> text_of(const XattrList& xattrs, std::string_view name);

// --- the pool (xattrs of the super blob) ---

struct PoolIdentity {
  std::string name{};
  Uuid uuid{};
  friend bool operator==(const PoolIdentity&, const PoolIdentity&) = default;
};
// DATA_LOSS as the original's loader is strict: uuid of exactly 37 bytes with NUL, name of 1 to 64 bytes with NUL.
Result<PoolIdentity> decode_pool_identity(const XattrList& xattrs);
// INVALID_ARGUMENT unless the name has 1 to 63 bytes without NUL.
Result<> set_pool_identity(XattrList& xattrs, const PoolIdentity& identity);

// --- lvols ---

using Timestamp = std::chrono::sys_time<std::chrono::nanoseconds>;
// "2024-10-09 11:22:33.123456789 UTC"; 0, 3, 6 or 9 digits of fraction, whichever is exact.
std::string format_timestamp(Timestamp time);
Result<Timestamp> parse_timestamp(std::string_view text);  // INVALID_ARGUMENT; years 1678 to 2261

// Of a snapshot. A blob is one when the creation time is there; `parent_id` is the uuid of the replica it was taken
// from.
struct SnapshotAttributes {
  std::string tx_id{};
  std::string entity_id{};
  std::string parent_id{};
  std::string create_time{};  // as stored (format_timestamp)
  bool discarded = false;
  bool complete = true;  // all of them (and a uuid) are there, which the API calls a valid snapshot
  friend bool operator==(const SnapshotAttributes&, const SnapshotAttributes&) = default;
};

struct CloneAttributes {
  std::string source_uuid{};  // of the snapshot
  std::string create_time{};
  friend bool operator==(const CloneAttributes&, const CloneAttributes&) = default;
};

struct LvolAttributes {
  std::string name{};
  Uuid uuid{};  // nil when the stored one is missing or no uuid
  std::optional<bool> shared{};
  std::vector<std::string> allowed_hosts{};
  std::optional<std::string> entity_id{};
  std::optional<SnapshotAttributes> snapshot{};
  std::optional<CloneAttributes> clone{};
  friend bool operator==(const LvolAttributes&, const LvolAttributes&) = default;
};
// DATA_LOSS when there is no name or one of more than 64 bytes; everything else has a reading.
Result<LvolAttributes> decode_lvol_attributes(const XattrList& xattrs);

// Writers, each in the original's form. To be called in the original's order: identity first, then snapshot or clone,
// then the rest as it is set. INVALID_ARGUMENT: bad name; text with NUL; too long.
Result<> set_lvol_identity(XattrList& xattrs, std::string_view name, const Uuid& uuid);  // name in its 64-byte buffer
Result<> set_lvol_name(XattrList& xattrs, std::string_view name);  // after a rename: as long as it is
Result<> set_shared(XattrList& xattrs, bool shared);
Result<> set_allowed_hosts(XattrList& xattrs, std::span<const std::string> hosts);
Result<> set_entity_id(XattrList& xattrs, std::string_view entity_id);
Result<> set_snapshot_attributes(XattrList& xattrs, const SnapshotAttributes& snapshot);
Result<> set_discarded(XattrList& xattrs, bool discarded);
Result<> set_clone_attributes(XattrList& xattrs, const CloneAttributes& clone);

}  // namespace cairn::pool::format
