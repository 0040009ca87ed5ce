#include "nexus/child_health_file.h"

#include <fmt/format.h>

#include "runtime/backend.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using runtime::Reactor;
using runtime::Task;

namespace {

std::string file_name(std::string_view key) {
  std::string name;
  for (const char c : key) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '_' || (c == '.' && !name.empty());
    if (plain) {
      name += c;
    } else {
      name += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return name;
}

}  // namespace

Result<std::string> ChildHealthFile::path_of(const std::string& key) const {
  const std::string name = file_name(key);
  if (name.empty() || name.size() > kMaxNameBytes) {
    return fail(Code::kInvalidArgument,
                fmt::format("key '{}' of a nexus: expected 1 to {} bytes, those but letters, digits, '-', '_' and '.' "
                            "count for three",
                            key, kMaxNameBytes));
  }
  return fmt::format("{}/{}.json", directory_, name);
}

Task<Result<>> ChildHealthFile::save(std::string key, HealthRecord record) {
  const auto path = path_of(key);
  if (!path) co_return fail(path.error());
  runtime::Backend& backend = Reactor::current().backend();
  if (auto made = co_await backend.make_directories(directory_); !made) co_return fail(std::move(made.error()));
  const std::string fresh = *path + ".new";
  const std::string text = to_json(record);
  {
    auto file = co_await backend.open_file(fresh, {.create = true, .truncate = true});
    if (!file) co_return fail(std::move(file.error()));
    if (auto written = co_await (*file)->write(0, std::as_bytes(std::span(text))); !written) co_return written;
    if (auto flushed = co_await (*file)->flush(); !flushed) co_return flushed;
  }
  co_return co_await backend.rename_file(fresh, *path);
}

Task<Result<HealthRecord>> ChildHealthFile::load(std::string key) const {
  const auto path = path_of(key);
  if (!path) co_return fail(path.error());
  auto file = co_await Reactor::current().backend().open_file(*path, {.read_only = true});
  if (!file) co_return fail(std::move(file.error()));
  const uint64_t size = (*file)->info().size_bytes;
  if (size > kMaxBytes) co_return fail(Code::kDataLoss, fmt::format("{}: {} bytes", *path, size));
  std::string text(size, '\0');
  const auto got = co_await (*file)->read(0, std::as_writable_bytes(std::span(text)));
  if (!got) co_return fail(got.error());
  text.resize(*got);
  co_return parse_health_record(text);
}

}  // namespace cairn::nexus
