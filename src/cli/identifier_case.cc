#include "cli/identifier_case.h"

namespace cairn::cli {
namespace {

bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
char to_lower(char c) {
  return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c;
}
char to_upper(char c) {
  return is_lower(c) ? static_cast<char>(c - 'a' + 'A') : c;
}

}  // namespace

std::string snake_case(std::string_view identifier) {
  std::string text;
  for (size_t i = 0; i < identifier.size(); ++i) {
    const char c = identifier[i];
    const bool after_word = i > 0 && identifier[i - 1] != '_' && !is_upper(identifier[i - 1]);
    // The last capital of a run belongs to the next word: "IOError" is io_error.
    const bool ends_run =
        i > 0 && is_upper(identifier[i - 1]) && i + 1 < identifier.size() && is_lower(identifier[i + 1]);
    if (is_upper(c) && (after_word || ends_run)) text += '_';
    text += to_lower(c);
  }
  return text;
}

std::string pascal_case(std::string_view identifier) {
  std::string text;
  bool starts_word = true;
  for (const char c : snake_case(identifier)) {
    if (c == '_') {
      starts_word = true;
      continue;
    }
    text += starts_word ? to_upper(c) : c;
    starts_word = false;
  }
  return text;
}

}  // namespace cairn::cli
