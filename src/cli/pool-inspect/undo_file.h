// What a repair has overwritten, so that it can be put back: one line of text a page, its byte offset and its old
// contents in hexadecimal.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "pool/check/repair.h"

namespace cairn::cli {

struct UndoPage {
  uint64_t offset = 0;
  pool::format::Page before;
};

// Writes a new file and makes it stable before returning. ALREADY_EXISTS (errno) when there is one.
Result<> save_undo_file(const std::string& path, const pool::check::RepairPlan& plan, const pool::format::Page& super);
// INVALID_ARGUMENT names the line that is none of ours.
Result<std::vector<UndoPage>> load_undo_file(const std::string& path);

}  // namespace cairn::cli
