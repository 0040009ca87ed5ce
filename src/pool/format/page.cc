#include "pool/format/page.h"

#include <cstring>

#include "base/crc32c.h"
#include "nvme/wire.h"

namespace cairn::pool::format {

bool is_blank(PageView page) {
  return page[0] == std::byte{0} && std::memcmp(page.data(), page.data() + 1, kPageSize - 1) == 0;
}

uint32_t stored_crc(PageView page) {
  return nvme::load<uint32_t>(page.subspan<kCrcOffset>());
}

uint32_t computed_crc(PageView page) {
  return crc32c(page.first<kCrcOffset>());
}

void seal(PageSpan page) {
  nvme::store(page.subspan<kCrcOffset>(), computed_crc(page));
}

}  // namespace cairn::pool::format
