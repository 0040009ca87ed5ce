#include "cli/pool-inspect/report_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/pool-inspect/report_json.h"
#include "cli/table.h"

namespace cairn::cli {
namespace {

using pool::check::BlobReport;
using pool::check::PoolReport;
using pool::check::Severity;

std::string bytes_text(uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  while (bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{} {}", bytes, kUnits[unit]);
}

std::string mask_text(std::string_view name, const std::optional<pool::check::MaskReport>& mask) {
  if (!mask) return fmt::format("  {:<14}not valid\n", name);
  return fmt::format("  {:<14}{} of {} bits set\n", name, mask->set, mask->length);
}

std::string state_text(const BlobReport& blob) {
  if (!blob.live) return "ghost";
  if (!blob.readable) return "damaged";
  if (blob.snapshot_origin) return "snapshot unfinished";
  if (blob.removal_clone) return "removal unfinished";
  return blob.metadata.read_only() ? "read-only" : "";
}

}  // namespace

std::string findings_summary(std::span<const pool::check::Finding> findings) {
  const auto count = [&](Severity severity) {
    return std::ranges::count(findings, severity, &pool::check::Finding::severity);
  };
  const auto errors = count(Severity::kError);
  const auto warnings = count(Severity::kWarning);
  const auto notes = count(Severity::kNote);
  return fmt::format("{} error{}, {} warning{}, {} note{}", errors, errors == 1 ? "" : "s", warnings,
                     warnings == 1 ? "" : "s", notes, notes == 1 ? "" : "s");
}

std::string report_text(const PoolReport& report) {
  if (!report.super || !report.layout) return "";
  const pool::format::Layout& layout = *report.layout;
  std::string out;
  out += fmt::format("Pool {}, uuid {}, format version {}, {}\n", report.identity ? report.identity->name : "(unknown)",
                     report.identity ? report.identity->uuid.to_string() : "(unknown)", report.super->version,
                     report.super->clean ? "exported" : "not exported");
  out += fmt::format("  size          {}, {} clusters of {}, can grow to {} clusters\n", bytes_text(layout.size),
                     layout.total_clusters, bytes_text(layout.cluster_size), pool::format::max_clusters(layout));
  out += fmt::format("  data          {} clusters, {} in use\n", layout.data_clusters(),
                     report.clusters_in_use - std::min<uint64_t>(report.clusters_in_use, layout.md_clusters));
  out += fmt::format("  metadata      {} pages from page {} on, {} in use\n", layout.md_len, layout.md_start,
                     report.pages_in_use);
  out += "Masks\n";
  out += mask_text("used pages", report.used_pages);
  out += mask_text("used clusters", report.used_clusters);
  out += mask_text("used blob ids", report.used_blobids);
  std::vector<Row> rows;
  for (const BlobReport& blob : report.blobs) {
    rows.push_back({fmt::format("{:#x}", blob.id), std::string(blob_kind(report, blob)),
                    blob.lvol ? blob.lvol->name : "", blob.metadata.flags.thin() ? "thin" : "thick",
                    std::to_string(blob.metadata.num_clusters), std::to_string(blob.allocated_clusters),
                    blob.parent ? fmt::format("{:#x}", *blob.parent) : "", state_text(blob)});
  }
  out += "Blobs\n";
  return out + render_table({"ID", "KIND", "NAME", "SPACE", ">CLUSTERS", ">ALLOCATED", "PARENT", "STATE"}, rows, true);
}

std::string blob_text(const PoolReport& report, const BlobReport& blob) {
  const auto line = [](std::string_view name, std::string_view value) {
    return fmt::format("{:<20}{}\n", name, value);
  };
  const pool::format::BlobMetadata& metadata = blob.metadata;
  std::string out = fmt::format("Blob {:#x} ({})\n", blob.id, blob_kind(report, blob));
  out += line("state", state_text(blob));
  out += line("flags", fmt::format("invalid {:#x}, data_ro {:#x}, md_ro {:#x}", metadata.flags.invalid,
                                   metadata.flags.data_ro, metadata.flags.md_ro));
  out += line("clusters", fmt::format("{}, {} allocated", metadata.num_clusters, blob.allocated_clusters));
  out += line("metadata pages", fmt::format("{}", fmt::join(blob.chain, " ")));
  if (metadata.flags.uses_extent_table()) {
    out += line("extent pages", fmt::format("{}", fmt::join(metadata.extent_table, " ")));
  }
  if (blob.parent) out += line("parent", fmt::format("{:#x}", *blob.parent));
  const nlohmann::ordered_json json = blob_json(report, blob);
  for (const char* list : {"xattrs", "internal_xattrs"}) {
    for (const auto& xattr : json[list]) {
      const std::string value =
          xattr.contains("text") ? xattr["text"].get<std::string>() : "0x" + xattr["hex"].get<std::string>();
      out += line(
          list == std::string_view("xattrs") ? "xattr" : "internal xattr",
          fmt::format("{} = {} ({} bytes)", xattr["name"].get<std::string>(), value, xattr["length"].get<size_t>()));
    }
  }
  uint64_t index = 0;
  for (const pool::format::ClusterRun& run : blob.map) {
    if (run.first != pool::format::kNoCluster) {
      out += line("map",
                  fmt::format("{}-{} -> {}-{}", index, index + run.length - 1, run.first, run.first + run.length - 1));
    }
    index += run.length;
  }
  return out;
}

}  // namespace cairn::cli
