#include "pool/format/lvol_attributes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace cairn::pool::format {
namespace {

constexpr size_t kUuidBytes = 37;  // 36 characters and NUL

// What 64 bits of nanoseconds can hold, in whole years.
constexpr int kFirstYear = 1678;
constexpr int kLastYear = 2261;

std::string_view without_nuls(std::string_view value) {
  const size_t last = value.find_last_not_of('\0');
  return last == std::string_view::npos ? std::string_view() : value.substr(0, last + 1);
}

std::string with_nul(std::string_view text) {
  std::string value(text);
  value.push_back('\0');
  return value;
}

Result<> check_text(std::string_view what, std::string_view text) {
  if (text.contains('\0')) return fail(Code::kInvalidArgument, fmt::format("{}: contains a NUL character", what));
  return {};
}

Result<> check_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxNameLength) {
    return fail(Code::kInvalidArgument,
                fmt::format("name '{}' has {} bytes, accepted are 1 to {}", name, name.size(), kMaxNameLength));
  }
  return check_text("name", name);
}

Result<> set_text(XattrList& xattrs, std::string_view name, std::string_view text) {
  if (auto checked = check_text(name, text); !checked) return checked;
  return xattrs.set(name, text);
}

Result<> set_text_with_nul(XattrList& xattrs, std::string_view name, std::string_view text) {
  if (auto checked = check_text(name, text); !checked) return checked;
  return xattrs.set(name, with_nul(text));
}

std::vector<std::string> split_hosts(std::string_view list) {
  std::vector<std::string> hosts;
  while (!list.empty()) {
    const size_t comma = list.find(',');
    if (comma != 0) hosts.emplace_back(list.substr(0, comma));
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return hosts;
}

std::optional<SnapshotAttributes> decode_snapshot(const XattrList& xattrs) {
  const auto create_time = text_of(xattrs, kSnapshotTimeXattr);
  if (!create_time) return std::nullopt;
  SnapshotAttributes snapshot{.create_time = std::string(*create_time)};
  const auto read = [&](std::string_view name, std::string& out) {
    const auto text = text_of(xattrs, name);
    if (text) out = *text;
    if (!text) snapshot.complete = false;
  };
  read(kSnapshotTxIdXattr, snapshot.tx_id);
  read(kSnapshotEntityIdXattr, snapshot.entity_id);
  read(kSnapshotParentXattr, snapshot.parent_id);
  std::string discarded;
  read(kSnapshotDiscardedXattr, discarded);
  snapshot.discarded = discarded == "true";
  if (!text_of(xattrs, kUuidXattr)) snapshot.complete = false;
  return snapshot;
}

// A decimal number of exactly the field's width.
bool parse_field(std::string_view text, int& out) {
  if (!std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; })) return false;
  return std::from_chars(text.data(), text.data() + text.size(), out).ec == std::errc();
}

}  // namespace

std::optional<std::string_view> text_of(const XattrList& xattrs, std::string_view name) {
  const std::string* value = xattrs.find(name);
  if (value == nullptr) return std::nullopt;
  const std::string_view text = without_nuls(*value);
  if (text.empty()) return std::nullopt;
  return text;
}

Result<PoolIdentity> decode_pool_identity(const XattrList& xattrs) {
  const std::string* uuid = xattrs.find(kUuidXattr);
  if (uuid == nullptr || uuid->size() != kUuidBytes || uuid->back() != '\0') {
    return fail(Code::kDataLoss, fmt::format("super blob: xattr uuid has {} bytes, not {} with a NUL at the end",
                                             uuid == nullptr ? 0 : uuid->size(), kUuidBytes));
  }
  const auto parsed = Uuid::parse(std::string_view(*uuid).substr(0, kUuidBytes - 1));
  if (!parsed) return fail(Error(Code::kDataLoss, "super blob: xattr uuid", parsed.error()));
  const std::string* name = xattrs.find(kNameXattr);
  const auto text = text_of(xattrs, kNameXattr);
  if (!text || name->size() > kNameBufferSize || text->size() > kMaxNameLength || text->contains('\0')) {
    return fail(Code::kDataLoss, fmt::format("super blob: xattr name has {} bytes, accepted are 1 to {} and NUL",
                                             name == nullptr ? 0 : name->size(), kMaxNameLength));
  }
  return PoolIdentity{.name = std::string(*text), .uuid = *parsed};
}

Result<> set_pool_identity(XattrList& xattrs, const PoolIdentity& identity) {
  if (auto checked = check_name(identity.name); !checked) return checked;
  if (auto done = xattrs.set(kUuidXattr, with_nul(identity.uuid.to_string())); !done) return done;
  return xattrs.set(kNameXattr, with_nul(identity.name));
}

Result<LvolAttributes> decode_lvol_attributes(const XattrList& xattrs) {
  const std::string* name = xattrs.find(kNameXattr);
  const auto text = text_of(xattrs, kNameXattr);
  if (!text || name->size() > kNameBufferSize) {
    return fail(Code::kDataLoss, fmt::format("xattr name has {} bytes, accepted are 1 to {}",
                                             name == nullptr ? 0 : name->size(), kNameBufferSize));
  }
  LvolAttributes lvol{.name = std::string(text->substr(0, text->find('\0')))};
  if (const auto uuid = text_of(xattrs, kUuidXattr)) lvol.uuid = Uuid::parse(*uuid).value_or(Uuid());
  if (const auto shared = text_of(xattrs, kSharedXattr)) lvol.shared = *shared == "true";
  if (const auto hosts = text_of(xattrs, kAllowedHostsXattr)) lvol.allowed_hosts = split_hosts(*hosts);
  if (const auto entity_id = text_of(xattrs, kEntityIdXattr)) lvol.entity_id = *entity_id;
  lvol.snapshot = decode_snapshot(xattrs);
  if (const auto source = text_of(xattrs, kCloneSourceXattr)) {
    lvol.clone = CloneAttributes{.source_uuid = std::string(*source),
                                 .create_time = std::string(text_of(xattrs, kCloneTimeXattr).value_or(""))};
  }
  return lvol;
}

Result<> set_lvol_identity(XattrList& xattrs, std::string_view name, const Uuid& uuid) {
  if (auto checked = check_name(name); !checked) return checked;
  std::string buffer(name);
  buffer.resize(kNameBufferSize);
  if (auto done = xattrs.set(kNameXattr, buffer); !done) return done;
  return xattrs.set(kUuidXattr, with_nul(uuid.to_string()));
}

Result<> set_lvol_name(XattrList& xattrs, std::string_view name) {
  if (auto checked = check_name(name); !checked) return checked;
  return xattrs.set(kNameXattr, with_nul(name));
}

Result<> set_shared(XattrList& xattrs, bool shared) {
  return set_text_with_nul(xattrs, kSharedXattr, shared ? "true" : "false");
}

Result<> set_allowed_hosts(XattrList& xattrs, std::span<const std::string> hosts) {
  std::string list;
  for (const std::string& host : hosts) {
    if (host.empty() || host.contains(',')) {
      return fail(Code::kInvalidArgument, fmt::format("allowed host '{}' is empty or contains a comma", host));
    }
    if (!list.empty()) list += ',';
    list += host;
  }
  return set_text_with_nul(xattrs, kAllowedHostsXattr, list);
}

Result<> set_entity_id(XattrList& xattrs, std::string_view entity_id) {
  return set_text_with_nul(xattrs, kEntityIdXattr, entity_id);
}

Result<> set_snapshot_attributes(XattrList& xattrs, const SnapshotAttributes& snapshot) {
  if (auto done = set_text(xattrs, kSnapshotTxIdXattr, snapshot.tx_id); !done) return done;
  if (auto done = set_text(xattrs, kSnapshotEntityIdXattr, snapshot.entity_id); !done) return done;
  if (auto done = set_text(xattrs, kSnapshotParentXattr, snapshot.parent_id); !done) return done;
  if (auto done = set_text(xattrs, kSnapshotTimeXattr, snapshot.create_time); !done) return done;
  return set_discarded(xattrs, snapshot.discarded);
}

Result<> set_discarded(XattrList& xattrs, bool discarded) {
  return set_text(xattrs, kSnapshotDiscardedXattr, discarded ? "true" : "false");
}

Result<> set_clone_attributes(XattrList& xattrs, const CloneAttributes& clone) {
  if (auto done = set_text(xattrs, kCloneSourceXattr, clone.source_uuid); !done) return done;
  return set_text(xattrs, kCloneTimeXattr, clone.create_time);
}

std::string format_timestamp(Timestamp time) {
  using namespace std::chrono;
  const auto days = floor<std::chrono::days>(time);
  const year_month_day date(days);
  const hh_mm_ss<nanoseconds> clock(time - days);
  const int64_t fraction = clock.subseconds().count();
  std::string text = fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", static_cast<int>(date.year()),
                                 static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                                 clock.hours().count(), clock.minutes().count(), clock.seconds().count());
  if (fraction % 1000 != 0) {
    text += fmt::format(".{:09}", fraction);
  } else if (fraction % 1'000'000 != 0) {
    text += fmt::format(".{:06}", fraction / 1000);
  } else if (fraction != 0) {
    text += fmt::format(".{:03}", fraction / 1'000'000);
  }
  return text + " UTC";
}

Result<Timestamp> parse_timestamp(std::string_view text) {
  using namespace std::chrono;
  const auto bad = [text] {
    return fail(Code::kInvalidArgument, fmt::format("time '{}' is not YYYY-MM-DD HH:MM:SS[.fraction] UTC", text));
  };
  constexpr std::string_view kShape = "dddd-dd-dd dd:dd:dd";
  constexpr std::string_view kZone = " UTC";
  if (text.size() < kShape.size() + kZone.size() || !text.ends_with(kZone)) return bad();
  std::array<int, 6> field{};
  constexpr std::array<std::pair<size_t, size_t>, 6> kFields = {{{0, 4}, {5, 2}, {8, 2}, {11, 2}, {14, 2}, {17, 2}}};
  for (size_t i = 0; i < kShape.size(); ++i) {
    if (kShape[i] != 'd' && text[i] != kShape[i]) return bad();
  }
  for (size_t i = 0; i < kFields.size(); ++i) {
    if (!parse_field(text.substr(kFields[i].first, kFields[i].second), field[i])) return bad();
  }
  const year_month_day date(year(field[0]), month(static_cast<unsigned>(field[1])),
                            day(static_cast<unsigned>(field[2])));
  if (!date.ok() || field[3] > 23 || field[4] > 59 || field[5] > 60) return bad();
  if (field[0] < kFirstYear || field[0] > kLastYear) return bad();

  std::string_view fraction = text.substr(kShape.size(), text.size() - kShape.size() - kZone.size());
  int nanos = 0;
  if (!fraction.empty()) {
    if (fraction.front() != '.' || fraction.size() < 2 || fraction.size() > 10) return bad();
    std::string digits(fraction.substr(1));
    digits.resize(9, '0');
    if (!parse_field(digits, nanos)) return bad();
  }
  return Timestamp(sys_days(date)) + hours(field[3]) + minutes(field[4]) + seconds(field[5]) + nanoseconds(nanos);
}

}  // namespace cairn::pool::format
