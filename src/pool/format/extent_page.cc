#include "pool/format/extent_page.h"

#include <fmt/format.h>

#include "base/check.h"
#include "nvme/wire.h"

namespace cairn::pool::format {

uint32_t ExtentPageView::operator[](uint32_t i) const {
  CAIRN_CHECK(i < size());
  return nvme::load<uint32_t>(entries_.subspan(size_t{i} * 4));
}

Result<ExtentPageView> decode_extent_page_body(BlobId writer, std::span<const std::byte> body) {
  if (body.size() < 8 || body.size() % 4 != 0 || body.size() > 4 + size_t{kClustersPerExtentPage} * 4) {
    return fail(Code::kDataLoss, fmt::format("EXTENT_PAGE: length is {}, accepted are multiples of 4 from 8 to {}",
                                             body.size(), 4 + kClustersPerExtentPage * 4));
  }
  const auto start = nvme::load<uint32_t>(body);
  if (start % kClustersPerExtentPage != 0) {
    return fail(Code::kDataLoss, fmt::format("EXTENT_PAGE: start_cluster_idx is {}, not a multiple of {}", start,
                                             kClustersPerExtentPage));
  }
  return ExtentPageView(writer, start, body.subspan(4));
}

Result<ExtentPageView> decode_extent_page(PageView page) {
  auto header = decode_md_header(page);
  if (!header) return fail(std::move(header.error()));
  if (header->sequence != 0 || header->next != kNoPage) {
    return fail(Code::kDataLoss, fmt::format("extent page: sequence {} and next {:#x}, expected 0 and {:#x}",
                                             header->sequence, header->next, kNoPage));
  }
  DescriptorReader reader(page);
  auto descriptor = reader.next();
  if (!descriptor) return fail(std::move(descriptor.error()));
  if (!*descriptor || !(*descriptor)->is(DescriptorType::kExtentPage)) {
    return fail(Code::kDataLoss, fmt::format("extent page: its first descriptor is {}, not EXTENT_PAGE",
                                             *descriptor ? descriptor_name((*descriptor)->type) : "missing"));
  }
  auto further = reader.next();
  if (!further) return fail(std::move(further.error()));
  if (*further) {
    return fail(Code::kDataLoss, fmt::format("extent page: holds a second descriptor, {} at byte {}",
                                             descriptor_name((*further)->type), (*further)->offset));
  }
  return decode_extent_page_body(header->blob_id, (*descriptor)->body);
}

void encode_extent_page(BlobId writer, uint32_t start_cluster, std::span<const uint32_t> clusters, PageSpan page) {
  CAIRN_CHECK(!clusters.empty() && clusters.size() <= kClustersPerExtentPage);
  CAIRN_CHECK(start_cluster % kClustersPerExtentPage == 0);
  MetadataPageWriter out(page);
  const std::span<std::byte> body = out.add(DescriptorType::kExtentPage, 4 + clusters.size_bytes());
  nvme::store(body, start_cluster);
  std::memcpy(body.data() + 4, clusters.data(), clusters.size_bytes());
  out.finish({.blob_id = writer, .sequence = 0, .next = kNoPage});
}

}  // namespace cairn::pool::format
