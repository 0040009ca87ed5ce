// Identify: the CNS values and the lists (NVMe Base 2.0, section 5.17). The large structures: identify_controller.h,
// identify_namespace.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "nvme/wire.h"

namespace cairn::nvme {

inline constexpr size_t kIdentifySize = 4096;  // every structure and list of Identify

enum class Cns : uint8_t {
  kNamespace = 0x00,
  kController = 0x01,
  kActiveNamespaceList = 0x02,
  kNamespaceDescriptorList = 0x03,
  kNvmSetList = 0x04,
  kCommandSetNamespace = 0x05,   // by CSI
  kCommandSetController = 0x06,  // by CSI
  kCommandSetActiveNamespaceList = 0x07,
  kIndependentNamespace = 0x08,
  kUserDataFormatNamespace = 0x09,
  kCommandSetUserDataFormatNamespace = 0x0a,
  kAllocatedNamespaceList = 0x10,
  kAllocatedNamespace = 0x11,
  kControllersAttachedToNamespace = 0x12,
  kControllerList = 0x13,
  kPrimaryControllerCapabilities = 0x14,
  kSecondaryControllerList = 0x15,
  kNamespaceGranularityList = 0x16,
  kUuidList = 0x17,
  kDomainList = 0x18,
  kEnduranceGroupList = 0x19,
  kCommandSetAllocatedNamespaceList = 0x1a,
  kCommandSetAllocatedNamespace = 0x1b,
  kCommandSetCombinations = 0x1c,
};

enum class CommandSet : uint8_t { kNvm = 0x00, kKeyValue = 0x01, kZoned = 0x02 };

// CNS 02h, 07h, 10h, 1Ah: ascending, zero-terminated unless full.
struct NamespaceList {
  static constexpr size_t kMaxEntries = 1024;
  uint32_t nsid[kMaxEntries] = {};
};
static_assert(kIsWire<NamespaceList> && sizeof(NamespaceList) == kIdentifySize);

// CNS 12h, 13h: ascending.
struct ControllerList {
  static constexpr size_t kMaxEntries = 2047;
  uint16_t count = 0;
  uint16_t cntlid[kMaxEntries] = {};
};
static_assert(kIsWire<ControllerList> && sizeof(ControllerList) == kIdentifySize);

// CNS 1Ch: combinations of I/O command sets; bit n of a vector stands for the command set with CSI n. Zero ends the
// list.
struct CommandSetCombinations {
  static constexpr uint64_t kNvm = 1u << 0;
  static constexpr uint64_t kKeyValue = 1u << 1;
  static constexpr uint64_t kZoned = 1u << 2;
  uint64_t vector[512] = {};
};
static_assert(kIsWire<CommandSetCombinations> && sizeof(CommandSetCombinations) == kIdentifySize);

// CNS 03h: descriptors of 4 bytes and the identifier itself, ended by a zero length.
enum class NamespaceIdType : uint8_t { kEui64 = 1, kNguid = 2, kUuid = 3, kCommandSet = 4 };

// The length that the type has to have; 0 for reserved types.
constexpr size_t namespace_id_size(NamespaceIdType type) {
  switch (type) {
    case NamespaceIdType::kEui64:
      return 8;
    case NamespaceIdType::kNguid:
    case NamespaceIdType::kUuid:
      return 16;
    case NamespaceIdType::kCommandSet:
      return 1;
  }
  return 0;
}

struct NamespaceDescriptorHeader {
  NamespaceIdType type{};  // NIDT
  uint8_t length = 0;      // NIDL
  uint8_t reserved2[2] = {};
};
static_assert(kIsWire<NamespaceDescriptorHeader> && sizeof(NamespaceDescriptorHeader) == 4);

// Builds the list: add what exists, then take data().
class NamespaceDescriptorList {
 public:
  // `id` has the type's size. Each type at most once, so that the list never overflows.
  void add(NamespaceIdType type, std::span<const uint8_t> id);
  std::span<const std::byte, kIdentifySize> data() const { return data_; }

 private:
  std::array<std::byte, kIdentifySize> data_{};
  size_t used_ = 0;
};

// The identifier of `type` in a received list, nothing when the list has none or breaks off. The span lies in `list`.
std::optional<std::span<const std::byte>> find_namespace_id(std::span<const std::byte> list, NamespaceIdType type);

}  // namespace cairn::nvme
