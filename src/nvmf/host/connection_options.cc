#include "nvmf/host/connection_options.h"

#include <fmt/format.h>

#include <charconv>

#include "block/device_error.h"
#include "nvme/nqn.h"
#include "nvmf/host/queue_pair.h"

namespace cairn::nvmf::host {

namespace {

constexpr uint32_t kMaxTimeoutMs = 3'600'000;
constexpr uint32_t kMinTimeoutMs = 100;
constexpr uint8_t kCheckReferenceTag = 1u << 0;  // PRCHK
constexpr uint8_t kCheckGuard = 1u << 2;

std::string without_brackets(std::string_view host) {
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return std::string(host);
}

// "host", "host:port", "[v6]", "[v6]:port"; empty when it is none of these.
std::optional<PathAddress> parse_path(std::string_view text) {
  PathAddress path{.host = {}, .port = ConnectionOptions::kDefaultPort};
  const size_t host_end = text.starts_with('[') ? text.find(']') + 1 : std::min(text.find(':'), text.size());
  path.host = without_brackets(text.substr(0, host_end));
  if (host_end == 0 || path.host.empty()) return std::nullopt;
  const std::string_view rest = text.substr(host_end);
  if (rest.empty()) return path;
  const char* const end = rest.data() + rest.size();
  const auto parsed = std::from_chars(rest.data() + 1, end, path.port);
  if (rest.front() != ':' || parsed.ec != std::errc() || parsed.ptr != end || path.port == 0) return std::nullopt;
  return path;
}

class Parser {
 public:
  Parser(const block::Uri& uri, ConnectionOptions options) : uri_(uri), query_(uri), options_(std::move(options)) {}

  Result<ConnectionOptions> parse() {
    Result<> result = parse_path_part();
    if (result) result = parse_identity();
    if (result) result = parse_paths();
    if (result) result = parse_flags();
    if (result) result = parse_entries();
    for (const auto& [key, field, minimum] :
         {std::tuple("io_timeout_ms", &options_.io_timeout, kMinTimeoutMs),
          std::tuple("admin_timeout_ms", &options_.admin_timeout, kMinTimeoutMs),
          std::tuple("connect_timeout_ms", &options_.connect_timeout, kMinTimeoutMs),
          std::tuple("keep_alive_ms", &options_.keep_alive, 0u),
          std::tuple("retry_window_ms", &options_.retry_window, 0u),
          std::tuple("refusal_window_ms", &options_.refusal_window, 0u)}) {
      if (result) result = parse_duration(key, *field, minimum);
    }
    if (!result) return fail(std::move(result.error()));
    return std::move(options_);
  }

 private:
  std::unexpected<Error> invalid(std::string_view message) const {
    return fail(block::device_error::invalid_uri(uri_.text(), message));
  }

  Result<> parse_path_part() {
    const auto segments = uri_.segments();
    if (uri_.host().empty()) return invalid("missing host");
    if (segments.empty()) return invalid("no path segments");
    if (segments.size() > 1) return invalid("too many path segments");
    options_.subsystem_nqn = block::percent_decode(segments.front());
    if (options_.subsystem_nqn.empty() || options_.subsystem_nqn.size() > nvme::kMaxNqnSize) {
      return invalid(fmt::format("a subsystem NQN has 1 to {} bytes, this one {}", nvme::kMaxNqnSize,
                                 options_.subsystem_nqn.size()));
    }
    if (uri_.port() == 0) return invalid("port 0");
    const std::string port = uri_.port() ? fmt::format(":{}", *uri_.port()) : "";
    options_.device_name = fmt::format("{}{}{}n1", uri_.host(), port, uri_.path());
    options_.paths = {{.host = without_brackets(uri_.host()), .port = uri_.port().value_or(options_.kDefaultPort)}};
    return {};
  }

  Result<> parse_identity() {
    if (auto nqn = query_.take("hostnqn")) {
      if (nqn->empty() || nqn->size() > nvme::kMaxNqnSize) {
        return invalid(fmt::format("'hostnqn' must have 1 to {} bytes", nvme::kMaxNqnSize));
      }
      options_.host.nqn = *nqn;
    }
    auto id = query_.take_uuid("hostid");
    if (!id) return fail(std::move(id.error()));
    if (*id) options_.host.id = **id;
    auto uuid = query_.take_uuid();
    if (!uuid) return fail(std::move(uuid.error()));
    options_.uuid = *uuid;
    return {};
  }

  Result<> parse_paths() {
    const auto list = query_.take("paths");
    if (!list) return {};
    std::string_view rest = *list;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(','), rest.size());
      const auto path = parse_path(rest.substr(0, end));
      if (!path) return invalid(fmt::format("'paths': '{}' is no host:port", rest.substr(0, end)));
      options_.paths.push_back(*path);
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    if (options_.paths.size() > ConnectionOptions::kMaxPaths) {
      return invalid(fmt::format("{} paths, {} are possible", options_.paths.size(), ConnectionOptions::kMaxPaths));
    }
    return {};
  }

  Result<> parse_flags() {
    bool reference_tag = false, guard = false;
    for (const auto& [key, flag] :
         {std::pair("hdgst", &options_.header_digest), std::pair("ddgst", &options_.data_digest),
          std::pair("reftag", &reference_tag), std::pair("guard", &guard)}) {
      auto value = query_.take_bool(key);
      if (!value) return fail(std::move(value.error()));
      if (*value) *flag = **value;
    }
    options_.prinfo = static_cast<uint8_t>((reference_tag ? kCheckReferenceTag : 0) | (guard ? kCheckGuard : 0));
    return {};
  }

  Result<> parse_entries() {
    auto entries = query_.take_u32("queue_entries");
    if (!entries) return fail(std::move(entries.error()));
    if (!*entries) return {};
    if (**entries < 2 || **entries > QueuePair::kMaxEntries) {
      return invalid(fmt::format("'queue_entries' must be 2 to {}", QueuePair::kMaxEntries));
    }
    options_.queue_entries = static_cast<uint16_t>(**entries);
    return {};
  }

  Result<> parse_duration(const char* key, Duration& field, uint32_t minimum) {
    auto value = query_.take_u32(key);
    if (!value) return fail(std::move(value.error()));
    if (!*value) return {};
    if (**value < minimum || **value > kMaxTimeoutMs) {
      return invalid(fmt::format("'{}' must be {} to {}", key, minimum, kMaxTimeoutMs));
    }
    field = std::chrono::milliseconds(**value);
    return {};
  }

  const block::Uri& uri_;
  block::UriParameters query_;
  ConnectionOptions options_;
};

}  // namespace

std::string PathAddress::to_string() const {
  return host.find(':') != std::string::npos ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

Result<ConnectionOptions> parse_connection_options(const block::Uri& uri, const ConnectionOptions& defaults) {
  return Parser(uri, defaults).parse();
}

}  // namespace cairn::nvmf::host
