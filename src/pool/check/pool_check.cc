#include "pool/check/pool_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "pool/check/blob_survey.h"
#include "pool/check/lineage.h"
#include "pool/check/mask_check.h"
#include "pool/check/ownership.h"
#include "pool/check/torn_pages.h"
#include "pool/format/mask.h"
#include "pool/format/page_journal.h"

namespace cairn::pool::check {
namespace {

using format::SuperBlock;
using format::SuperBlockFault;

void add(PoolReport& report, Problem problem, Severity severity, std::string message,
         std::optional<uint32_t> md_page = {}) {
  report.findings.push_back(
      {.problem = problem, .severity = severity, .message = std::move(message), .md_page = md_page});
}

// The super block on the device, or what it seems to say if it is damaged but makes sense otherwise.
void read_super_block(DeviceReader& device, PoolReport& report) {
  if (device.size_bytes() < format::kPageSize) {
    return add(report, Problem::kNoPool, Severity::kError,
               fmt::format("a device of {} bytes holds no pool", device.size_bytes()));
  }
  format::Page page;
  if (auto done = device.read(0, page.span()); !done) {
    return add(report, Problem::kReadError, Severity::kError, done.error().to_string());
  }
  auto super = format::decode_super_block(page.view(), device.size_bytes());
  if (super) {
    report.super = *super;
    return;
  }
  const bool none = super.error().kind == SuperBlockFault::Kind::kNoSignature;
  if (super.error().kind == SuperBlockFault::Kind::kChecksum && mend_super_block(device, page.span())) {
    report.super = *format::decode_super_block(page.view(), device.size_bytes());
    return add(report, Problem::kTornPage, Severity::kNote,
               "the super block was torn by a crash; the next import mends it");
  }
  add(report, none ? Problem::kNoPool : Problem::kSuperBlock, Severity::kError, super.error().message);
  if (super.error().kind != SuperBlockFault::Kind::kChecksum) return;
  const SuperBlock seeming = format::read_super_block_fields(page.view());
  if (format::validate_super_block(seeming, device.size_bytes())) report.super = seeming;
}

// The roots of a clean pool are those that its mask of blob ids names; of any other, those that are there.
void survey_blobs(const MetadataArea& area, const MasksOnDisk& masks, PoolReport& report) {
  for (uint32_t page = 0; page < area.size(); ++page) {
    const bool marked = masks.blobids && bit_of(*masks.blobids, page);
    const bool root = area.state(page) == PageState::kRoot;
    if (marked && !root) {
      add(report, Problem::kBlobMissing, Severity::kError,
          fmt::format("blob {:#x}: its root, metadata page {}, is {}", format::blob_id_of(page), page,
                      page_state_name(area.state(page))),
          page);
    }
    if (!root) continue;
    const bool live = marked || !masks.blobids;
    std::vector<Finding> unheeded;
    report.blobs.push_back(survey_blob(area, *report.layout, page, live ? report.findings : unheeded));
    report.blobs.back().live = live;
    if (live) continue;
    add(report, Problem::kGhostBlob, Severity::kError,
        fmt::format("blob {:#x}: its root, metadata page {}, was not erased; a recovery would bring it back",
                    format::blob_id_of(page), page),
        page);
  }
}

void check_unused_pages(const MetadataArea& area, const Usage& usage, PoolReport& report) {
  uint32_t orphans = 0;
  uint32_t first_orphan = 0;
  for (uint32_t page = 0; page < area.size(); ++page) {
    const PageState state = area.state(page);
    if (bit_of(usage.pages, page) || state == PageState::kBlank || state == PageState::kRoot) continue;
    switch (state) {
      case PageState::kUnreadable:
        add(report, Problem::kReadError, Severity::kError, fmt::format("metadata page {} cannot be read", page), page);
        break;
      case PageState::kDamagedRoot:
        add(report, Problem::kDamagedRoot, Severity::kWarning,
            fmt::format("metadata page {} looks like the root of blob {:#x}, but its CRC does not fit", page,
                        format::blob_id_of(page)),
            page);
        break;
      case PageState::kDamaged:
        add(report, Problem::kDamagedPage, Severity::kNote,
            fmt::format("metadata page {} is used by nobody, and damaged", page), page);
        break;
      default:
        if (orphans++ == 0) first_orphan = page;
    }
  }
  if (orphans > 0) {
    add(report, Problem::kOrphanPage, Severity::kNote,
        fmt::format("{} metadata pages, {} the first, have contents that nobody uses", orphans, first_orphan),
        first_orphan);
  }
}

// Nothing on the disk is of use to anybody, whatever is still there.
bool is_transient(DeviceReader& device) {
  format::Page page;
  return device.size_bytes() >= 2 * format::kPageSize && device.read(format::kPageSize, page.span()) &&
         format::is_transient_mark(page.view());
}

void survey(DeviceReader& device, PoolSurvey& survey) {
  PoolReport& report = survey.report;
  report.layout = format::layout_of(*report.super);
  OverlayDevice mended(device);
  if (!report.super->clean) {
    add(report, Problem::kUnclean, Severity::kNote, "the pool was not exported; the next import recovers it");
    mend_metadata_pages(mended, *report.layout, report.findings);
  }
  survey.area.emplace(mended, *report.layout);
  MasksOnDisk masks;
  if (report.super->masks_valid()) masks = read_masks(device, report);
  survey_blobs(*survey.area, masks, report);
  check_attributes(report);
  check_lineage(report);
  survey.usage = check_owners(*survey.area, report);
  compare_masks(masks, survey.usage, report);
  check_unused_pages(*survey.area, survey.usage, report);
}

}  // namespace

bool PoolReport::has(Severity severity) const {
  return std::ranges::any_of(findings, [severity](const Finding& finding) { return finding.severity >= severity; });
}

const BlobReport* PoolReport::blob(format::BlobId id) const {
  const auto found = std::ranges::lower_bound(blobs, id, {}, &BlobReport::id);
  return found != blobs.end() && found->id == id ? &*found : nullptr;
}

std::string PoolReport::text(Severity at_least) const {
  std::string out;
  for (const Finding& finding : findings) {
    if (finding.severity < at_least) continue;
    out += fmt::format("{}: {}: {}\n", severity_name(finding.severity), problem_name(finding.problem), finding.message);
  }
  return out;
}

PoolSurvey survey_pool(DeviceReader& device) {
  PoolSurvey result;
  if (is_transient(device)) {
    add(result.report, Problem::kTransient, Severity::kNote,
        "a pool was being made or destroyed; what is left of it is of no use");
    return result;
  }
  read_super_block(device, result.report);
  if (result.report.super) survey(device, result);
  return result;
}

PoolSurvey survey_pool(DeviceReader& device, const SuperBlock& super) {
  PoolSurvey result;
  result.report.super = super;
  if (auto valid = format::validate_super_block(super, device.size_bytes()); !valid) {
    add(result.report, Problem::kSuperBlock, Severity::kError, valid.error().message);
  } else {
    survey(device, result);
  }
  return result;
}

PoolReport check_pool(DeviceReader& device) {
  return survey_pool(device).report;
}

PoolReport check_pool(DeviceReader& device, const SuperBlock& super) {
  return survey_pool(device, super).report;
}

}  // namespace cairn::pool::check
