#include "pool/check/mask_check.h"

#include <fmt/format.h>

#include <bit>

#include "pool/check/ownership.h"
#include "pool/format/mask.h"

namespace cairn::pool::check {
namespace {

using format::MaskType;
using format::PageRange;

std::optional<std::vector<uint64_t>> read_mask(DeviceReader& device, MaskType type, const PageRange& range,
                                               uint32_t bits, std::optional<MaskReport>& summary,
                                               std::vector<Finding>& findings) {
  std::vector<format::Page> pages(range.length);
  const std::span<std::byte> bytes(pages[0].bytes.data(), pages.size() * format::kPageSize);
  if (auto done = device.read(uint64_t{range.start} * format::kPageSize, bytes); !done) {
    findings.push_back(
        {.problem = Problem::kReadError, .severity = Severity::kError, .message = done.error().to_string()});
    return std::nullopt;
  }
  const auto length = format::decode_mask_length(pages[0].view(), type, bits, range.length);
  if (!length) {
    findings.push_back(
        {.problem = Problem::kMask, .severity = Severity::kError, .message = length.error().to_string()});
    return std::nullopt;
  }
  std::vector<uint64_t> words(format::mask_words(bits));
  for (uint32_t i = 0; i < pages.size(); ++i) format::decode_mask_page(pages[i].view(), i, bits, words);
  summary = MaskReport{.length = *length};
  for (const uint64_t word : words) summary->set += std::popcount(word);
  return words;
}

struct Wording {
  std::string_view what;  // plural
  Problem leaked;
  Severity leaked_severity;
  std::string_view leaked_text;
  Problem unmarked;
  std::string_view unmarked_text;
  bool is_cluster;
};

// Rows of bits that are set in `more` and not in `less`.
template <typename Report>
void for_each_row(std::span<const uint64_t> more, std::span<const uint64_t> less, uint32_t bits, Report report) {
  uint32_t start = 0;
  uint32_t count = 0;
  for (uint32_t i = 0; i < bits; ++i) {
    if (i % 64 == 0 && count == 0 && (more[i / 64] & ~less[i / 64]) == 0) {
      i += 63;
      continue;
    }
    if (bit_of(more, i) && !bit_of(less, i)) {
      if (count++ == 0) start = i;
    } else if (count > 0) {
      report(start, count);
      count = 0;
    }
  }
  if (count > 0) report(start, count);
}

void compare(std::span<const uint64_t> marked, std::span<const uint64_t> used, uint32_t bits, const Wording& wording,
             std::vector<Finding>& findings) {
  const auto add = [&](Problem problem, Severity severity, uint32_t first, uint32_t count, std::string_view text) {
    Finding finding = {.problem = problem,
                       .severity = severity,
                       .message = fmt::format("{} {} to {}: {}", wording.what, first, first + count - 1, text)};
    (wording.is_cluster ? finding.cluster : finding.md_page) = first;
    findings.push_back(std::move(finding));
  };
  for_each_row(marked, used, bits, [&](uint32_t first, uint32_t count) {
    add(wording.leaked, wording.leaked_severity, first, count, wording.leaked_text);
  });
  for_each_row(used, marked, bits, [&](uint32_t first, uint32_t count) {
    add(wording.unmarked, Severity::kError, first, count, wording.unmarked_text);
  });
}

constexpr std::string_view kLeakedText = "marked as used, but nobody uses them";
constexpr std::string_view kUnmarkedText = "in use, but marked as free";

}  // namespace

MasksOnDisk read_masks(DeviceReader& device, PoolReport& report) {
  const format::Layout& layout = *report.layout;
  MasksOnDisk masks;
  masks.pages =
      read_mask(device, MaskType::kUsedPages, layout.used_page_mask, layout.md_len, report.used_pages, report.findings);
  masks.clusters = read_mask(device, MaskType::kUsedClusters, layout.used_cluster_mask, layout.total_clusters,
                             report.used_clusters, report.findings);
  masks.blobids = read_mask(device, MaskType::kUsedBlobIds, layout.used_blobid_mask, layout.md_len, report.used_blobids,
                            report.findings);
  return masks;
}

void compare_masks(const MasksOnDisk& masks, const Usage& usage, PoolReport& report) {
  const format::Layout& layout = *report.layout;
  if (masks.pages) {
    compare(*masks.pages, usage.pages, layout.md_len,
            {.what = "metadata pages",
             .leaked = Problem::kPageLeaked,
             .leaked_severity = Severity::kWarning,
             .leaked_text = kLeakedText,
             .unmarked = Problem::kPageUnmarked,
             .unmarked_text = kUnmarkedText,
             .is_cluster = false},
            report.findings);
  }
  if (masks.clusters) {
    compare(*masks.clusters, usage.clusters, layout.total_clusters,
            {.what = "clusters",
             .leaked = Problem::kClusterLeaked,
             .leaked_severity = Severity::kWarning,
             .leaked_text = kLeakedText,
             .unmarked = Problem::kClusterUnmarked,
             .unmarked_text = kUnmarkedText,
             .is_cluster = true},
            report.findings);
  }
}

}  // namespace cairn::pool::check
