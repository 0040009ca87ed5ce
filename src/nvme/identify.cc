#include "nvme/identify.h"

namespace cairn::nvme {

void NamespaceDescriptorList::add(NamespaceIdType type, std::span<const uint8_t> id) {
  CAIRN_CHECK(!id.empty() && id.size() == namespace_id_size(type));
  CAIRN_CHECK(used_ + sizeof(NamespaceDescriptorHeader) + id.size() <= data_.size());
  const std::span<std::byte> out = std::span(data_).subspan(used_);
  store(out, NamespaceDescriptorHeader{.type = type, .length = static_cast<uint8_t>(id.size())});
  std::memcpy(out.data() + sizeof(NamespaceDescriptorHeader), id.data(), id.size());
  used_ += sizeof(NamespaceDescriptorHeader) + id.size();
}

std::optional<std::span<const std::byte>> find_namespace_id(std::span<const std::byte> list, NamespaceIdType type) {
  while (list.size() >= sizeof(NamespaceDescriptorHeader)) {
    const auto header = load<NamespaceDescriptorHeader>(list);
    list = list.subspan(sizeof(NamespaceDescriptorHeader));
    if (header.length == 0 || header.length > list.size()) return std::nullopt;
    if (header.type == type) {
      if (header.length != namespace_id_size(type)) return std::nullopt;
      return list.first(header.length);
    }
    list = list.subspan(header.length);
  }
  return std::nullopt;
}

}  // namespace cairn::nvme
