#include "pool/format/metadata_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "nvme/wire.h"

namespace cairn::pool::format {
namespace {

struct [[gnu::packed]] PageHeaderOnDisk {
  uint64_t id;
  uint32_t sequence_num;
  uint32_t reserved12;
};
static_assert(nvme::kIsWire<PageHeaderOnDisk> && sizeof(PageHeaderOnDisk) == kDescriptorsOffset);
static_assert(offsetof(PageHeaderOnDisk, sequence_num) == 8 && offsetof(PageHeaderOnDisk, reserved12) == 12);

constexpr size_t kNextOffset = kDescriptorsOffset + kDescriptorsSize;
static_assert(kNextOffset == 4088 && kNextOffset + sizeof(uint32_t) == kCrcOffset);

struct [[gnu::packed]] DescriptorHeader {
  uint8_t type;
  uint32_t length;
};
static_assert(nvme::kIsWire<DescriptorHeader> && sizeof(DescriptorHeader) == kDescriptorHeaderSize);
static_assert(offsetof(DescriptorHeader, length) == 1);

struct [[gnu::packed]] FlagsBody {
  uint64_t invalid_flags;
  uint64_t data_ro_flags;
  uint64_t md_ro_flags;
};
static_assert(nvme::kIsWire<FlagsBody> && sizeof(FlagsBody) == 24);
static_assert(offsetof(FlagsBody, data_ro_flags) == 8 && offsetof(FlagsBody, md_ro_flags) == 16);

struct [[gnu::packed]] XattrLengths {
  uint16_t name_length;
  uint16_t value_length;
};
static_assert(nvme::kIsWire<XattrLengths> && sizeof(XattrLengths) == 4);
static_assert(offsetof(XattrLengths, value_length) == 2);
static_assert(kMaxXattrBytes == 4063);

}  // namespace

MetadataPageHeader read_md_header(PageView page) {
  const auto disk = nvme::load<PageHeaderOnDisk>(page);
  return {.blob_id = disk.id, .sequence = disk.sequence_num, .next = nvme::load<uint32_t>(page.subspan<kNextOffset>())};
}

Result<MetadataPageHeader> decode_md_header(PageView page) {
  if (!crc_matches(page)) {
    return fail(Code::kDataLoss, fmt::format("metadata page: crc is {:#010x}, the page's contents give {:#010x}",
                                             stored_crc(page), computed_crc(page)));
  }
  return read_md_header(page);
}

bool is_valid_md_page(PageView page, uint32_t md_page) {
  const MetadataPageHeader header = read_md_header(page);
  return (header.sequence != 0 || header.blob_id == blob_id_of(md_page)) && crc_matches(page);
}

std::string_view descriptor_name(uint8_t type) {
  static constexpr std::array<std::string_view, 7> kNames = {"PADDING",        "EXTENT_RLE",   "XATTR",      "FLAGS",
                                                             "XATTR_INTERNAL", "EXTENT_TABLE", "EXTENT_PAGE"};
  return type < kNames.size() ? kNames[type] : "unknown";
}

Result<std::optional<Descriptor>> DescriptorReader::next() {
  while (kDescriptorsSize - at_ >= kDescriptorHeaderSize) {
    const auto header = nvme::load<DescriptorHeader>(area_.subspan(at_));
    const bool is_padding = header.type == static_cast<uint8_t>(DescriptorType::kPadding);
    const uint32_t length = header.length;
    if (is_padding && length == 0) break;
    const size_t start = at_ + kDescriptorHeaderSize;
    if (length > kDescriptorsSize - start) {
      return fail(Code::kDataLoss,
                  fmt::format("descriptor {} ({}) at byte {} of the page: length is {}, accepted are 0 to {}",
                              descriptor_name(header.type), header.type, kDescriptorsOffset + at_, length,
                              kDescriptorsSize - start));
    }
    const size_t header_at = at_;
    at_ = start + length;
    if (is_padding) continue;
    return Descriptor{
        .type = header.type, .offset = kDescriptorsOffset + header_at, .body = area_.subspan(start, length)};
  }
  at_ = kDescriptorsSize;
  return std::nullopt;
}

Result<BlobFlags> decode_flags(std::span<const std::byte> body) {
  if (body.size() != sizeof(FlagsBody)) {
    return fail(Code::kDataLoss, fmt::format("FLAGS: length is {}, not {}", body.size(), sizeof(FlagsBody)));
  }
  const auto disk = nvme::load<FlagsBody>(body);
  return BlobFlags{.invalid = disk.invalid_flags, .data_ro = disk.data_ro_flags, .md_ro = disk.md_ro_flags};
}

Result<XattrView> decode_xattr(std::span<const std::byte> body) {
  if (body.size() < sizeof(XattrLengths)) {
    return fail(Code::kDataLoss,
                fmt::format("XATTR: length is {}, at least {} expected", body.size(), sizeof(XattrLengths)));
  }
  const auto lengths = nvme::load<XattrLengths>(body);
  const uint32_t name_length = lengths.name_length;
  const uint32_t value_length = lengths.value_length;
  body = body.subspan(sizeof(XattrLengths));
  if (name_length + value_length != body.size()) {
    return fail(Code::kDataLoss,
                fmt::format("XATTR: name_length {} and value_length {} make {}, the descriptor holds {}", name_length,
                            value_length, name_length + value_length, body.size()));
  }
  return XattrView{.name = {reinterpret_cast<const char*>(body.data()), name_length},
                   .value = body.subspan(name_length)};
}

U32Pair U32PairsView::operator[](size_t i) const {
  CAIRN_CHECK(i < size());
  return {.first = nvme::load<uint32_t>(bytes_.subspan(i * 8)),
          .second = nvme::load<uint32_t>(bytes_.subspan(i * 8 + 4))};
}

Result<U32PairsView> decode_extent_rle(std::span<const std::byte> body) {
  if (body.empty() || body.size() % 8 != 0) {
    return fail(Code::kDataLoss, fmt::format("EXTENT_RLE: length is {}, not a positive multiple of 8", body.size()));
  }
  return U32PairsView(body);
}

Result<ExtentTableView> decode_extent_table(std::span<const std::byte> body) {
  if (body.size() < 8 || body.size() % 8 != 0) {
    return fail(Code::kDataLoss, fmt::format("EXTENT_TABLE: length is {}, not a positive multiple of 8", body.size()));
  }
  return ExtentTableView{.num_clusters = nvme::load<uint64_t>(body), .entries = U32PairsView(body.subspan(8))};
}

MetadataPageWriter::MetadataPageWriter(PageSpan page) : page_(page) {
  std::ranges::fill(page_, std::byte{0});
}

std::span<std::byte> MetadataPageWriter::add(uint8_t type, size_t body_size) {
  CAIRN_CHECK(body_size + kDescriptorHeaderSize <= room());
  const std::span<std::byte> out = page_.subspan(kDescriptorsOffset + used_, kDescriptorHeaderSize + body_size);
  nvme::store(out, DescriptorHeader{.type = type, .length = static_cast<uint32_t>(body_size)});
  used_ += out.size();
  return out.subspan(kDescriptorHeaderSize);
}

void MetadataPageWriter::finish(const MetadataPageHeader& header) {
  nvme::store(page_, PageHeaderOnDisk{.id = header.blob_id, .sequence_num = header.sequence, .reserved12 = 0});
  nvme::store(page_.subspan<kNextOffset>(), header.next);
  seal(page_);
}

}  // namespace cairn::pool::format
