#include "cli/pool-inspect/undo_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <fstream>

#include "runtime/file_descriptor.h"

namespace cairn::cli {
namespace {

using pool::format::kPageSize;
using pool::format::Page;

void append_line(std::string& out, uint64_t offset, const Page& page) {
  out += fmt::format("{} ", offset);
  for (const std::byte byte : page.bytes) out += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  out += '\n';
}

bool parse_line(std::string_view line, UndoPage& out) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || line.size() != space + 1 + 2 * kPageSize) return false;
  const auto offset = std::from_chars(line.data(), line.data() + space, out.offset);
  if (offset.ec != std::errc() || offset.ptr != line.data() + space || out.offset % kPageSize != 0) return false;
  for (size_t i = 0; i < kPageSize; ++i) {
    const char* pair = line.data() + space + 1 + 2 * i;
    uint8_t value = 0;
    const auto parsed = std::from_chars(pair, pair + 2, value, 16);
    if (parsed.ec != std::errc() || parsed.ptr != pair + 2) return false;
    out.before.bytes[i] = std::byte{value};
  }
  return true;
}

}  // namespace

Result<> save_undo_file(const std::string& path, const pool::check::RepairPlan& plan, const Page& super) {
  std::string text;
  for (const pool::check::PageChange& change : plan.changes) append_line(text, change.offset, change.before);
  append_line(text, 0, super);
  const runtime::FileDescriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return fail(Error::from_errno(errno, path));
  std::string_view left = text;
  while (!left.empty()) {
    const ssize_t count = ::write(fd.get(), left.data(), left.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return fail(Error::from_errno(errno, path));
    left.remove_prefix(static_cast<size_t>(count));
  }
  if (::fsync(fd.get()) != 0) return fail(Error::from_errno(errno, path));
  return {};
}

Result<std::vector<UndoPage>> load_undo_file(const std::string& path) {
  std::ifstream in(path);
  if (!in) return fail(Error::from_errno(errno, path));
  std::vector<UndoPage> pages;
  std::string line;
  while (std::getline(in, line)) {
    if (!parse_line(line, pages.emplace_back())) {
      return fail(Code::kInvalidArgument, fmt::format("{}, line {}: not an offset and a page", path, pages.size()));
    }
  }
  return pages;
}

}  // namespace cairn::cli
