#include "pool/format/blob_metadata.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "nvme/wire.h"

namespace cairn::pool::format {

const std::string* XattrList::find(std::string_view name) const {
  const auto found = std::ranges::find(all_, name, &Xattr::name);
  return found == all_.end() ? nullptr : &found->value;
}

Result<> XattrList::set(std::string_view name, std::string_view value) {
  if (name.empty() || name.size() + value.size() > kMaxXattrBytes) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("xattr '{}': name of {} and value of {} bytes, accepted are a name of at least 1 and {} together",
                    name, name.size(), value.size(), kMaxXattrBytes));
  }
  const auto found = std::ranges::find(all_, name, &Xattr::name);
  if (found == all_.end()) {
    all_.push_back({.name = std::string(name), .value = std::string(value)});
  } else {
    found->value = value;
  }
  return {};
}

bool XattrList::remove(std::string_view name) {
  return std::erase_if(all_, [name](const Xattr& xattr) { return xattr.name == name; }) > 0;
}

void BlobMetadata::set_clear_method(ClearMethod method) {
  flags.md_ro = (flags.md_ro & ~BlobFlags::kClearMethodMask) | static_cast<uint64_t>(method);
}

Result<std::optional<BlobId>> BlobMetadata::link(std::string_view name) const {
  const std::string* value = internal_xattrs.find(name);
  if (value == nullptr) return std::nullopt;
  if (value->size() != sizeof(BlobId)) {
    return fail(Code::kDataLoss, fmt::format("blob {:#x}: internal xattr {} has {} bytes, not {}", id, name,
                                             value->size(), sizeof(BlobId)));
  }
  return nvme::load<BlobId>(std::as_bytes(std::span(*value)));
}

void BlobMetadata::set_link(std::string_view name, BlobId target) {
  const auto bytes = nvme::bytes_of(target);
  const auto done = internal_xattrs.set(name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  CAIRN_CHECK(done.has_value());
  flags.invalid |= BlobFlags::kInternalXattrs;
}

void BlobMetadata::remove_link(std::string_view name) {
  internal_xattrs.remove(name);
  if (internal_xattrs.empty()) flags.invalid &= ~BlobFlags::kInternalXattrs;
}

Result<> check_openable(const BlobFlags& flags) {
  if ((flags.invalid & ~BlobFlags::kKnownInvalid) != 0) {
    return fail(Code::kFailedPrecondition, fmt::format("invalid_flags are {:#x}, known are the bits of {:#x}",
                                                       flags.invalid, BlobFlags::kKnownInvalid));
  }
  if ((flags.invalid & BlobFlags::kExternalSnapshot) != 0) {
    return fail(Code::kFailedPrecondition, "clones of snapshots outside the pool are not supported");
  }
  return {};
}

}  // namespace cairn::pool::format
