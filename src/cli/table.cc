#include "cli/table.h"

#include <algorithm>

#include "base/check.h"

namespace cairn::cli {
namespace {

size_t width_of(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

Columns::Columns(const std::vector<std::string_view>& headers) : widths_(headers.size(), 0) {
  for (std::string_view header : headers) {
    right_.push_back(header.starts_with('>'));
    if (right_.back()) header.remove_prefix(1);
    titles_.emplace_back(header);
  }
}

void Columns::fit(const Row& row) {
  CAIRN_CHECK(row.size() == widths_.size());
  for (size_t i = 0; i < row.size(); ++i) widths_[i] = std::max(widths_[i], width_of(row[i]));
}

std::string Columns::line(const Row& row, std::string_view separator) const {
  CAIRN_CHECK(row.size() == widths_.size());
  std::string text;
  for (size_t i = 0; i < row.size(); ++i) {
    if (i > 0) text += separator;
    const std::string padding(widths_[i] - std::min(widths_[i], width_of(row[i])), ' ');
    text += right_[i] ? padding + row[i] : row[i] + padding;
  }
  return text;
}

std::string render_table(const std::vector<std::string_view>& headers, const std::vector<Row>& rows, bool with_header) {
  Columns columns(headers);
  if (with_header) columns.fit_headers();
  for (const Row& row : rows) columns.fit(row);
  std::string text;
  if (with_header) text += columns.header_line(" ") + "\n";
  for (const Row& row : rows) text += columns.line(row, " ") + "\n";
  return text;
}

}  // namespace cairn::cli
