// Identify Namespace: NVM command set, CNS 00h and 05h (NVM Command Set 1.0, figures 97 and 100) and independent of the
// command set, CNS 08h (NVMe Base 2.0, figure 280). Members have the specification's names.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nvme/wire.h"

namespace cairn::nvme {

struct LbaFormat {
  uint16_t ms = 0;    // metadata bytes
  uint8_t lbads = 0;  // 2^n bytes, at least 9
  uint8_t rp = 0;     // 1:0 relative performance
};
static_assert(kIsWire<LbaFormat> && sizeof(LbaFormat) == 4);

// Meanings that the namespace structures share.
inline constexpr uint8_t kNmicShared = 1u << 0;
inline constexpr uint8_t kNsattrWriteProtected = 1u << 0;
inline constexpr uint8_t kNstatReady = 1u << 0;

inline constexpr uint8_t kRescapPersist = 1u << 0;
inline constexpr uint8_t kRescapWriteExclusive = 1u << 1;
inline constexpr uint8_t kRescapExclusiveAccess = 1u << 2;
inline constexpr uint8_t kRescapWriteExclusiveRegistrantsOnly = 1u << 3;
inline constexpr uint8_t kRescapExclusiveAccessRegistrantsOnly = 1u << 4;
inline constexpr uint8_t kRescapWriteExclusiveAllRegistrants = 1u << 5;
inline constexpr uint8_t kRescapExclusiveAccessAllRegistrants = 1u << 6;
inline constexpr uint8_t kRescapIgnoreExistingKey = 1u << 7;  // as NVMe 1.3 defines it
inline constexpr uint8_t kRescapAllTypes = 0x7e;

struct IdentifyNamespace {
  uint64_t nsze = 0;
  uint64_t ncap = 0;
  uint64_t nuse = 0;
  uint8_t nsfeat = 0;
  uint8_t nlbaf = 0;  // 0's based
  uint8_t flbas = 0;  // format index 3:0 and 6:5, extended LBA 4
  uint8_t mc = 0;
  uint8_t dpc = 0;
  uint8_t dps = 0;
  uint8_t nmic = 0;
  uint8_t rescap = 0;
  uint8_t fpi = 0;
  uint8_t dlfeat = 0;
  uint16_t nawun = 0;  // all atomic units and boundaries: 0's based blocks
  uint16_t nawupf = 0;
  uint16_t nacwu = 0;
  uint16_t nabsn = 0;
  uint16_t nabo = 0;
  uint16_t nabspf = 0;
  uint16_t noiob = 0;  // blocks, 0 = none reported
  Uint128 nvmcap{};
  uint16_t npwg = 0;  // NPWG to NPDA, NOWS: 0's based blocks
  uint16_t npwa = 0;
  uint16_t npdg = 0;
  uint16_t npda = 0;
  uint16_t nows = 0;
  uint16_t mssrl = 0;  // Copy: blocks of a source range
  uint32_t mcl = 0;    // Copy: blocks of a command
  uint8_t msrc = 0;    // Copy: ranges, 0's based
  uint8_t reserved81[11] = {};
  uint32_t anagrpid = 0;
  uint8_t reserved96[3] = {};
  uint8_t nsattr = 0;
  uint16_t nvmsetid = 0;
  uint16_t endgid = 0;
  uint8_t nguid[16] = {};  // big endian
  uint8_t eui64[8] = {};   // big endian
  LbaFormat lbaf[64]{};
  uint8_t vendor384[3712] = {};

  static constexpr uint8_t kNsfeatThin = 1u << 0;
  static constexpr uint8_t kNsfeatAtomicBoundaries = 1u << 1;  // NSABP: NAWUN, NAWUPF, NACWU are valid
  static constexpr uint8_t kNsfeatDeallocatedError = 1u << 2;  // DAE
  static constexpr uint8_t kNsfeatIdentifiersNotReused = 1u << 3;
  static constexpr uint8_t kNsfeatOptimalPerformance = 1u << 4;  // OPTPERF: NPWG to NOWS are valid

  // DLFEAT 2:0: what a deallocated block reads as.
  static constexpr uint8_t kDlfeatReadsNotReported = 0;
  static constexpr uint8_t kDlfeatReadsZeroes = 1;
  static constexpr uint8_t kDlfeatReadsOnes = 2;
  static constexpr uint8_t kDlfeatWriteZeroesDeallocates = 1u << 3;  // DEAC bit supported
  static constexpr uint8_t kDlfeatGuardIsCrc = 1u << 4;

  constexpr uint8_t format_index() const { return static_cast<uint8_t>((flbas & 0xf) | (flbas >> 5 & 3) << 4); }
};
static_assert(kIsWire<IdentifyNamespace> && sizeof(IdentifyNamespace) == 4096);
static_assert(offsetof(IdentifyNamespace, nsfeat) == 24 && offsetof(IdentifyNamespace, rescap) == 31);
static_assert(offsetof(IdentifyNamespace, dlfeat) == 33 && offsetof(IdentifyNamespace, nawun) == 34);
static_assert(offsetof(IdentifyNamespace, noiob) == 46 && offsetof(IdentifyNamespace, nvmcap) == 48);
static_assert(offsetof(IdentifyNamespace, npwg) == 64 && offsetof(IdentifyNamespace, mssrl) == 74);
static_assert(offsetof(IdentifyNamespace, msrc) == 80 && offsetof(IdentifyNamespace, anagrpid) == 92);
static_assert(offsetof(IdentifyNamespace, nsattr) == 99 && offsetof(IdentifyNamespace, nguid) == 104);
static_assert(offsetof(IdentifyNamespace, eui64) == 120 && offsetof(IdentifyNamespace, lbaf) == 128);
static_assert(offsetof(IdentifyNamespace, vendor384) == 384);

// CNS 05h, CSI 00h.
struct IdentifyNvmNamespace {
  uint64_t lbstm = 0;  // logical block storage tag mask
  uint8_t pic = 0;
  uint8_t reserved9[3] = {};
  uint32_t elbaf[64] = {};
  uint8_t reserved268[3828] = {};
};
static_assert(kIsWire<IdentifyNvmNamespace> && sizeof(IdentifyNvmNamespace) == 4096);
static_assert(offsetof(IdentifyNvmNamespace, elbaf) == 12 && offsetof(IdentifyNvmNamespace, reserved268) == 268);

// CNS 08h.
struct IdentifyIndependentNamespace {
  uint8_t nsfeat = 0;  // bit 3 identifiers not reused, bit 4 rotational media
  uint8_t nmic = 0;
  uint8_t rescap = 0;
  uint8_t fpi = 0;
  uint32_t anagrpid = 0;
  uint8_t nsattr = 0;
  uint8_t reserved9 = 0;
  uint16_t nvmsetid = 0;
  uint16_t endgid = 0;
  uint8_t nstat = 0;
  uint8_t reserved15[4081] = {};
};
static_assert(kIsWire<IdentifyIndependentNamespace> && sizeof(IdentifyIndependentNamespace) == 4096);
static_assert(offsetof(IdentifyIndependentNamespace, anagrpid) == 4 &&
              offsetof(IdentifyIndependentNamespace, nstat) == 14);

}  // namespace cairn::nvme
