// Block-device URIs: the generic syntax of the WHATWG URL standard as far as device URIs need it, without I/O.
//
// Of the standard: the "basic URL parser" for URLs whose scheme is not special (no default ports, no host names in
// punycode): leading and trailing blanks and embedded tabs and line breaks vanish, dot segments are resolved, the
// fragment is dropped. The query is application/x-www-form-urlencoded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/uuid.h"

namespace cairn::block {

class Uri {
 public:
  static constexpr size_t kMaxLength = 16384;  // bytes: keeps what is derived from a URI small

  // INVALID_ARGUMENT "Error parsing URI '...'".
  static Result<Uri> parse(std::string_view text);

  const std::string& text() const { return text_; }      // as given
  const std::string& scheme() const { return scheme_; }  // lower case
  const std::string& host() const { return host_; }      // as written, IPv6 in brackets; empty: none
  std::optional<uint16_t> port() const { return port_; }
  // As written, dot segments resolved, still percent-encoded.
  const std::string& path() const { return path_; }
  // The path split at '/', without its first slash, still percent-encoded. Empty for the paths "" and "/".
  std::vector<std::string> segments() const;
  // The path percent-decoded.
  std::string decoded_path() const;
  // The same without its first slash: what most schemes take as a name.
  std::string decoded_name() const;

  // All query pairs in order, percent-decoded.
  const std::vector<std::pair<std::string, std::string>>& query() const { return query_; }
  bool has_query() const { return has_query_; }

 private:
  std::string text_;
  std::string scheme_;
  std::string host_;
  std::optional<uint16_t> port_;
  std::string path_;
  bool has_query_ = false;
  std::vector<std::pair<std::string, std::string>> query_;
};

// %41 to 'A'; what is not a percent sign with two hexadecimal digits stays.
std::string percent_decode(std::string_view text);

// Takes the query of a URI apart, key by key; of equal keys the last one counts. Errors are INVALID_ARGUMENT with the
// URI and the key.
class UriParameters {
 public:
  explicit UriParameters(const Uri& uri);

  std::optional<std::string> take(std::string_view key);
  bool take_presence(std::string_view key) { return take(key).has_value(); }
  Result<std::optional<uint32_t>> take_u32(std::string_view key);
  Result<std::optional<uint64_t>> take_u64(std::string_view key);
  // true, yes, on, false, no, off or a 32-bit number (0: false); an empty value is true.
  Result<std::optional<bool>> take_bool(std::string_view key);
  Result<std::optional<Uuid>> take_uuid(std::string_view key = "uuid");
  // Everything was taken, or an error that names the rest.
  Result<> finish() const;

 private:
  template <typename Integer>
  Result<std::optional<Integer>> take_integer(std::string_view key);
  const std::string& uri_text_;
  std::vector<std::pair<std::string, std::string>> left_;
};

}  // namespace cairn::block
