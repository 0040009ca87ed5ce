#include "cli/pool-inspect/report_json.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::cli {
namespace {

using Json = nlohmann::ordered_json;
using pool::check::BlobReport;
using pool::check::Finding;
using pool::check::MaskReport;
using pool::check::PoolReport;
using pool::format::BlobId;
using pool::format::ClearMethod;
using pool::format::kNoBlob;
using pool::format::PageRange;
using pool::format::Xattr;

std::string hex(BlobId id) {
  return fmt::format("{:#x}", id);
}

Json optional_id(const std::optional<BlobId>& id) {
  return id ? Json(hex(*id)) : Json(nullptr);
}

Json range_json(const PageRange& range) {
  return {{"start", range.start}, {"length", range.length}};
}

Json mask_json(const std::optional<MaskReport>& mask) {
  return mask ? Json{{"length", mask->length}, {"set", mask->set}} : Json(nullptr);
}

// Text without the NULs at its end where the value is text, otherwise hexadecimal.
Json xattr_json(const Xattr& xattr) {
  const size_t last = xattr.value.find_last_not_of('\0');
  const std::string text = last == std::string::npos ? std::string() : xattr.value.substr(0, last + 1);
  const bool printable = std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
  Json out = {{"name", xattr.name}, {"length", xattr.value.size()}};
  if (printable) {
    out["text"] = text;
  } else {
    std::string pairs;
    for (const char c : xattr.value) pairs += fmt::format("{:02x}", static_cast<uint8_t>(c));
    out["hex"] = pairs;
  }
  return out;
}

Json xattrs_json(const pool::format::XattrList& xattrs) {
  Json out = Json::array();
  for (const Xattr& xattr : xattrs.all()) out.push_back(xattr_json(xattr));
  return out;
}

std::string_view clear_method_name(ClearMethod method) {
  switch (method) {
    case ClearMethod::kNone:
      return "none";
    case ClearMethod::kUnmap:
      return "unmap";
    case ClearMethod::kWriteZeroes:
      return "write_zeroes";
    case ClearMethod::kDefault:
      break;
  }
  return "default";
}

Json super_block_json(const pool::format::SuperBlock& super) {
  return {{"version", super.version},
          {"clean", super.clean},
          {"super_blob", super.super_blob == kNoBlob ? Json(nullptr) : Json(hex(super.super_blob))},
          {"cluster_size", super.cluster_size},
          {"used_page_mask", range_json(super.used_page_mask)},
          {"used_cluster_mask", range_json(super.used_cluster_mask)},
          {"used_blobid_mask", range_json(super.used_blobid_mask)},
          {"md_start", super.md_start},
          {"md_len", super.md_len},
          {"size", super.size},
          {"io_unit_size", super.io_unit_size}};
}

Json layout_json(const pool::format::Layout& layout) {
  return {{"total_clusters", layout.total_clusters},
          {"md_clusters", layout.md_clusters},
          {"data_clusters", layout.data_clusters()},
          {"capacity", layout.capacity_bytes()},
          {"reserved_cluster_mask_pages", layout.reserved_cluster_mask_pages},
          {"max_clusters", pool::format::max_clusters(layout)}};
}

// Allocated runs only: [cluster of the blob, cluster of the device, length].
Json map_json(const BlobReport& blob) {
  Json out = Json::array();
  uint64_t index = 0;
  for (const pool::format::ClusterRun& run : blob.map) {
    if (run.first != pool::format::kNoCluster) out.push_back({index, run.first, run.length});
    index += run.length;
  }
  return out;
}

}  // namespace

std::string_view blob_kind(const PoolReport& report, const BlobReport& blob) {
  if (report.super && blob.id == report.super->super_blob) return "super";
  if (blob.lvol && blob.lvol->snapshot) return "snapshot";
  if (blob.lvol && blob.lvol->clone) return "clone";
  return "replica";
}

Json finding_json(const Finding& finding) {
  Json out = {{"severity", severity_name(finding.severity)},
              {"problem", problem_name(finding.problem)},
              {"message", finding.message}};
  if (finding.blob) out["blob"] = hex(*finding.blob);
  if (finding.md_page) out["md_page"] = *finding.md_page;
  if (finding.cluster) out["cluster"] = *finding.cluster;
  return out;
}

Json blob_json(const PoolReport& report, const BlobReport& blob) {
  const pool::format::BlobMetadata& metadata = blob.metadata;
  const bool by_table = metadata.flags.uses_extent_table();
  Json out = {{"id", hex(blob.id)},
              {"kind", blob_kind(report, blob)},
              {"name", blob.lvol ? Json(blob.lvol->name) : Json(nullptr)},
              {"uuid", blob.lvol ? Json(blob.lvol->uuid.to_string()) : Json(nullptr)},
              {"live", blob.live},
              {"readable", blob.readable},
              {"thin", metadata.flags.thin()},
              {"read_only", metadata.read_only()},
              {"clear_method", clear_method_name(metadata.clear_method())},
              {"invalid_flags", metadata.flags.invalid},
              {"data_ro_flags", metadata.flags.data_ro},
              {"md_ro_flags", metadata.flags.md_ro},
              {"num_clusters", metadata.num_clusters},
              {"allocated_clusters", blob.allocated_clusters},
              {"parent", optional_id(blob.parent)},
              {"snapshot_of", optional_id(blob.snapshot_origin)},
              {"removal_for", optional_id(blob.removal_clone)},
              {"chain", blob.chain},
              {"extent_pages", by_table ? Json(metadata.extent_table) : Json(nullptr)},
              {"xattrs", xattrs_json(metadata.xattrs)},
              {"internal_xattrs", xattrs_json(metadata.internal_xattrs)},
              {"map", map_json(blob)}};
  return out;
}

Json report_json(const PoolReport& report) {
  Json out;
  out["super_block"] = report.super ? super_block_json(*report.super) : Json(nullptr);
  out["layout"] = report.layout ? layout_json(*report.layout) : Json(nullptr);
  out["identity"] = report.identity ? Json{{"name", report.identity->name}, {"uuid", report.identity->uuid.to_string()}}
                                    : Json(nullptr);
  out["masks"] = {{"used_pages", mask_json(report.used_pages)},
                  {"used_clusters", mask_json(report.used_clusters)},
                  {"used_blobids", mask_json(report.used_blobids)}};
  out["usage"] = {{"pages", report.pages_in_use}, {"clusters", report.clusters_in_use}};
  out["blobs"] = Json::array();
  for (const BlobReport& blob : report.blobs) out["blobs"].push_back(blob_json(report, blob));
  out["findings"] = Json::array();
  for (const Finding& finding : report.findings) out["findings"].push_back(finding_json(finding));
  return out;
}

Json plan_json(const pool::check::RepairPlan& plan) {
  Json out = {{"steps", plan.steps},
              {"pages", plan.changes.size() + (plan.super ? 1 : 0)},
              {"cluster_copies", plan.copies.size()},
              {"left", Json::array()}};
  for (const Finding& finding : plan.left) out["left"].push_back(finding_json(finding));
  return out;
}

}  // namespace cairn::cli
