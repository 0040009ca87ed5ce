// Names and identifiers from the other end: NQN fields and namespace identification descriptor lists.
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "nvme/identify.h"
#include "nvme/nqn.h"

namespace cairn::nvme {
namespace {

void run(std::span<const std::byte> input) {
  const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
  std::array<char, kNqnFieldSize> field{};
  std::copy_n(text.begin(), std::min(text.size(), field.size()), field.begin());
  const auto name = nqn_from_field(field);
  if (name) CAIRN_CHECK(!name->empty() && name->size() <= kMaxNqnSize && text.starts_with(*name));
  if (check_nqn(text)) CAIRN_CHECK(name && *name == text);  // a good name passes through a field unchanged

  for (int type = 0; type < 8; ++type) {
    const auto id = find_namespace_id(input, static_cast<NamespaceIdType>(type));
    if (id)
      CAIRN_CHECK(id->size() == namespace_id_size(static_cast<NamespaceIdType>(type)) &&
                  id->data() >= input.data() + 4);
  }
}

}  // namespace
}  // namespace cairn::nvme

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cairn::nvme::run(std::as_bytes(std::span(data, size)));
  return 0;
}
