// Device URIs: the generic syntax, the parameters, and what each driver makes of them.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "block/file_device.h"
#include "block/malloc_device.h"
#include "block/null_device.h"
#include "block/registry.h"
#include "block/uri.h"

namespace cairn::block {
namespace {

const Registry& registry() {
  static const Registry* const all = [] {
    auto* registry = new Registry;
    add_aio_scheme(*registry);
    add_malloc_scheme(*registry);
    add_null_scheme(*registry);
    add_uring_scheme(*registry);
    return registry;
  }();
  return *all;
}

void check_path(const Uri& uri) {
  const auto segments = uri.segments();
  std::string joined;
  for (const std::string& segment : segments) joined += "/" + segment;
  if (uri.path().starts_with('/')) {
    CAIRN_CHECK(segments.empty() ? uri.path() == "/" : joined == uri.path());
    for (const std::string& segment : segments) CAIRN_CHECK(segment != "." && segment != "..");
  }
  CAIRN_CHECK(uri.decoded_path().size() <= uri.path().size());
  CAIRN_CHECK(uri.path().find_first_of("?#\t\n\r") == std::string::npos);
}

// Host, port and path survive being written and read again.
void check_round_trip(const Uri& uri) {
  if (!uri.path().empty() && !uri.path().starts_with('/')) return;
  std::string text = uri.scheme() + "://" + uri.host();
  if (uri.port()) text += ":" + std::to_string(*uri.port());
  text += uri.path() + "?";
  if (text.size() > Uri::kMaxLength) return;
  const auto again = Uri::parse(text);
  CAIRN_CHECK(again && again->scheme() == uri.scheme() && again->host() == uri.host() && again->port() == uri.port() &&
              again->path() == uri.path() && again->query().empty());
}

void check_parameters(const Uri& uri) {
  UriParameters parameters(uri);
  static_cast<void>(parameters.take_u32("size_mb"));
  static_cast<void>(parameters.take_bool("reftag"));
  static_cast<void>(parameters.take_uuid());
  for (const auto& [key, value] : uri.query()) static_cast<void>(parameters.take(key));
  CAIRN_CHECK(parameters.finish().has_value());
}

void run(std::string_view text) {
  if (const auto uri = Uri::parse(text)) {
    check_path(*uri);
    check_round_trip(*uri);
    check_parameters(*uri);
  } else {
    CAIRN_CHECK(uri.error().code() == Code::kInvalidArgument);
    CAIRN_CHECK(!registry().device_name(text));
  }
  const auto name = registry().device_name(text);
  if (!name) CAIRN_CHECK(name.error().code() == Code::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::block

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cairn::block::run(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
