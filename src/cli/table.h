// Tables for terminals: columns padded to their widest cell.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cairn::cli {

using Row = std::vector<std::string>;

// Widths and alignment of the columns of one table. A header that starts with '>' makes its column right-aligned; the
// '>' is not printed. Widths count code points of UTF-8.
class Columns {
 public:
  explicit Columns(const std::vector<std::string_view>& headers);

  // Makes room for a row, which has one cell for each header, or for the headers themselves. Columns never shrink.
  void fit(const Row& row);
  void fit_headers() { fit(titles_); }

  // One line without line end. A cell wider than its column is printed whole.
  std::string line(const Row& row, std::string_view separator) const;
  std::string header_line(std::string_view separator) const { return line(titles_, separator); }

 private:
  Row titles_;
  std::vector<bool> right_;
  std::vector<size_t> widths_;
};

// All lines of a table, each with its line end.
std::string render_table(const std::vector<std::string_view>& headers, const std::vector<Row>& rows, bool with_header);

}  // namespace cairn::cli
