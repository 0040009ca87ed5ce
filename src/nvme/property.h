// Controller properties, "registers" on PCIe (NVMe Base 2.0, section 3.1.3), as Property Get and Set see them.
#pragma once

#include <cstdint>

#include "nvme/wire.h"

namespace cairn::nvme {

// Byte offsets.
enum class Property : uint32_t {
  kCap = 0x00,    // 8 bytes
  kVs = 0x08,     // 4
  kIntms = 0x0c,  // PCIe only
  kIntmc = 0x10,  // PCIe only
  kCc = 0x14,     // 4
  kCsts = 0x1c,   // 4
  kNssr = 0x20,   // 4
  kAqa = 0x24,    // PCIe only
  kAsq = 0x28,    // PCIe only
  kAcq = 0x30,    // PCIe only
  kCmbloc = 0x38,
  kCmbsz = 0x3c,
  kBpinfo = 0x40,
  kBprsel = 0x44,
  kBpmbl = 0x48,
  kCmbmsc = 0x50,
  kCmbsts = 0x58,
  kNssd = 0x64,  // 4
  kCrto = 0x68,  // 4
};
// 8 for CAP and the other eight-byte properties, 4 for the rest.
constexpr uint32_t property_size(Property property) {
  switch (property) {
    case Property::kCap:
    case Property::kAsq:
    case Property::kAcq:
    case Property::kBpmbl:
    case Property::kCmbmsc:
      return 8;
    default:
      return 4;
  }
}

struct ControllerCapabilities {  // CAP
  uint16_t mqes = 0;             // 0's based entries of a queue
  bool cqr = false;              // queues contiguous; fabrics: set
  uint8_t ams = 0;
  uint8_t to = 0;  // ready time-out, 500 ms
  uint8_t dstrd = 0;
  bool nssrs = false;
  uint8_t css = 0;
  bool bps = false;
  uint8_t cps = 0;
  uint8_t mpsmin = 0;  // page size 2^(12 + n)
  uint8_t mpsmax = 0;
  bool pmrs = false;
  bool cmbs = false;
  bool nsss = false;
  uint8_t crms = 0;

  static constexpr uint8_t kCssNvm = 1u << 0;
  static constexpr uint8_t kCssIoCommandSets = 1u << 6;
  static constexpr uint8_t kCssNoIo = 1u << 7;
  static constexpr uint8_t kCrmsWithMedia = 1u << 0;
  static constexpr uint8_t kCrmsIndependentOfMedia = 1u << 1;

  static constexpr ControllerCapabilities decode(uint64_t v) {
    return {.mqes = static_cast<uint16_t>(v),
            .cqr = bit(v, 16),
            .ams = static_cast<uint8_t>(bits(v, 17, 2)),
            .to = static_cast<uint8_t>(bits(v, 24, 8)),
            .dstrd = static_cast<uint8_t>(bits(v, 32, 4)),
            .nssrs = bit(v, 36),
            .css = static_cast<uint8_t>(bits(v, 37, 8)),
            .bps = bit(v, 45),
            .cps = static_cast<uint8_t>(bits(v, 46, 2)),
            .mpsmin = static_cast<uint8_t>(bits(v, 48, 4)),
            .mpsmax = static_cast<uint8_t>(bits(v, 52, 4)),
            .pmrs = bit(v, 56),
            .cmbs = bit(v, 57),
            .nsss = bit(v, 58),
            .crms = static_cast<uint8_t>(bits(v, 59, 2))};
  }
  constexpr uint64_t encode() const {
    return mqes | uint64_t{cqr} << 16 | uint64_t{ams & 3u} << 17 | uint64_t{to} << 24 | uint64_t{dstrd & 0xfu} << 32 |
           uint64_t{nssrs} << 36 | uint64_t{css} << 37 | uint64_t{bps} << 45 | uint64_t{cps & 3u} << 46 |
           uint64_t{mpsmin & 0xfu} << 48 | uint64_t{mpsmax & 0xfu} << 52 | uint64_t{pmrs} << 56 | uint64_t{cmbs} << 57 |
           uint64_t{nsss} << 58 | uint64_t{crms & 3u} << 59;
  }
};

// VS, and VER of Identify Controller.
constexpr uint32_t make_version(uint16_t major, uint8_t minor, uint8_t tertiary) {
  return uint32_t{major} << 16 | uint32_t{minor} << 8 | tertiary;
}
inline constexpr uint32_t kVersion1_3 = make_version(1, 3, 0);
inline constexpr uint32_t kVersion1_4 = make_version(1, 4, 0);
inline constexpr uint32_t kVersion2_0 = make_version(2, 0, 0);

enum class ShutdownNotification : uint8_t { kNone = 0, kNormal = 1, kAbrupt = 2, kReserved = 3 };

struct ControllerConfiguration {  // CC
  bool en = false;
  uint8_t css = 0;  // 0 NVM, 6 all supported I/O command sets, 7 admin only
  uint8_t mps = 0;
  uint8_t ams = 0;
  ShutdownNotification shn = ShutdownNotification::kNone;
  uint8_t iosqes = 0;  // 2^n bytes; 6
  uint8_t iocqes = 0;  // 2^n bytes; 4
  bool crime = false;

  static constexpr uint8_t kCssNvm = 0;
  static constexpr uint8_t kCssAllSupported = 6;
  static constexpr uint8_t kCssAdminOnly = 7;

  static constexpr ControllerConfiguration decode(uint32_t v) {
    return {.en = bit(v, 0),
            .css = static_cast<uint8_t>(bits(v, 4, 3)),
            .mps = static_cast<uint8_t>(bits(v, 7, 4)),
            .ams = static_cast<uint8_t>(bits(v, 11, 3)),
            .shn = static_cast<ShutdownNotification>(bits(v, 14, 2)),
            .iosqes = static_cast<uint8_t>(bits(v, 16, 4)),
            .iocqes = static_cast<uint8_t>(bits(v, 20, 4)),
            .crime = bit(v, 24)};
  }
  constexpr uint32_t encode() const {
    return uint32_t{en} | uint32_t{css & 7u} << 4 | uint32_t{mps & 0xfu} << 7 | uint32_t{ams & 7u} << 11 |
           static_cast<uint32_t>(shn) << 14 | uint32_t{iosqes & 0xfu} << 16 | uint32_t{iocqes & 0xfu} << 20 |
           uint32_t{crime} << 24;
  }
};

enum class ShutdownStatus : uint8_t { kNormalOperation = 0, kInProgress = 1, kComplete = 2, kReserved = 3 };

struct ControllerStatus {  // CSTS
  bool rdy = false;
  bool cfs = false;  // controller fatal status
  ShutdownStatus shst = ShutdownStatus::kNormalOperation;
  bool nssro = false;
  bool pp = false;  // processing paused
  bool st = false;  // shutdown type: of the NVM subsystem

  static constexpr ControllerStatus decode(uint32_t v) {
    return {.rdy = bit(v, 0),
            .cfs = bit(v, 1),
            .shst = static_cast<ShutdownStatus>(bits(v, 2, 2)),
            .nssro = bit(v, 4),
            .pp = bit(v, 5),
            .st = bit(v, 6)};
  }
  constexpr uint32_t encode() const {
    return uint32_t{rdy} | uint32_t{cfs} << 1 | static_cast<uint32_t>(shst) << 2 | uint32_t{nssro} << 4 |
           uint32_t{pp} << 5 | uint32_t{st} << 6;
  }
};

inline constexpr uint32_t kSubsystemResetValue = 0x4e564d65;  // NSSR: "NVMe"

}  // namespace cairn::nvme
