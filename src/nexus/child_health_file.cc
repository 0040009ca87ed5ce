#include "nexus/child_health_file.h"

#include <fmt/format.h>

#include "runtime/backend.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using runtime::Reactor;
using runtime::Task;

Result<std::string> ChildHealthFile::path_of(const std::string& key) const {
  if (key.empty() || key.size() > 200 || key.front() == '.' || key.find('/') != std::string::npos ||
      key.find('\0') != std::string::npos) {
    return fail(Code::kInvalidArgument,
                fmt::format("key '{}' of a nexus: 1 to 200 bytes without '/', not beginning with '.'", key));
  }
  return fmt::format("{}/{}.json", directory_, key);
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
