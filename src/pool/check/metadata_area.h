// All metadata pages of a pool, read and sorted by what they are.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "pool/check/device_reader.h"
#include "pool/format/layout.h"
#include "pool/format/metadata_page.h"

namespace cairn::pool::check {

enum class PageState : uint8_t {
  kBlank,
  kUnreadable,   // the device failed
  kDamaged,      // wrong CRC
  kDamagedRoot,  // wrong CRC; the header says root
  kRoot,         // of the blob named like the page
  kChain,        // sequence other than 0
  kExtent,       // sequence 0, but not a root here: an extent page
};
std::string_view page_state_name(PageState state);  // "blank"

class MetadataArea {
 public:
  // Reads the area in pieces of 1 MiB; of a piece that fails, page by page.
  MetadataArea(DeviceReader& device, const format::Layout& layout);

  uint32_t size() const { return static_cast<uint32_t>(states_.size()); }
  PageState state(uint32_t md_page) const { return states_[md_page]; }
  // nullptr unless the page has a correct CRC.
  const format::Page* page(uint32_t md_page) const;

 private:
  void add(uint32_t md_page, format::PageView page);

  std::vector<PageState> states_;
  std::unordered_map<uint32_t, std::unique_ptr<format::Page>> pages_;
};

}  // namespace cairn::pool::check
