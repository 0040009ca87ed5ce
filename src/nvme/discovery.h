// Discovery log page (NVMe Base 2.0, section 5.16.1.23).
#pragma once

#include <cstddef>
#include <cstdint>

#include "nvme/wire.h"

namespace cairn::nvme {

enum class TransportType : uint8_t { kRdma = 1, kFibreChannel = 2, kTcp = 3, kIntraHost = 254 };
enum class AddressFamily : uint8_t {
  kNone = 0,
  kIpv4 = 1,
  kIpv6 = 2,
  kInfiniBand = 3,
  kFibreChannel = 4,
  kIntraHost = 254
};
enum class SubsystemType : uint8_t { kDiscoveryReferral = 1, kNvm = 2, kCurrentDiscovery = 3 };

// TREQ: bits 1:0 secure channel, bit 2 the controller can disable SQ flow control.
inline constexpr uint8_t kTreqSecureChannelNotSpecified = 0;
inline constexpr uint8_t kTreqSecureChannelRequired = 1;
inline constexpr uint8_t kTreqSecureChannelNotRequired = 2;
inline constexpr uint8_t kTreqSqFlowControlDisable = 1u << 2;

// EFLAGS
inline constexpr uint16_t kEntryDuplicateReturnedInformation = 1u << 0;
inline constexpr uint16_t kEntryExplicitPersistentConnection = 1u << 1;

// TSAS of TCP: security type.
enum class TcpSecurity : uint8_t { kNone = 0, kTls1_2 = 1, kTls1_3 = 2 };

struct DiscoveryLogEntry {
  TransportType trtype = TransportType::kTcp;
  AddressFamily adrfam = AddressFamily::kNone;
  SubsystemType subtype = SubsystemType::kNvm;
  uint8_t treq = 0;
  uint16_t portid = 0;
  uint16_t cntlid = 0;
  uint16_t asqsz = 0;  // admin queue entries, at least 32
  uint16_t eflags = 0;
  uint8_t reserved12[20] = {};
  char trsvcid[32] = {};  // ASCII, padded with spaces or NULs: the port
  uint8_t reserved64[192] = {};
  char subnqn[256] = {};
  char traddr[256] = {};
  uint8_t tsas[256] = {};  // TCP: TcpSecurity in its first byte
};
static_assert(kIsWire<DiscoveryLogEntry> && sizeof(DiscoveryLogEntry) == 1024);
static_assert(offsetof(DiscoveryLogEntry, portid) == 4 && offsetof(DiscoveryLogEntry, eflags) == 10);
static_assert(offsetof(DiscoveryLogEntry, trsvcid) == 32 && offsetof(DiscoveryLogEntry, subnqn) == 256);
static_assert(offsetof(DiscoveryLogEntry, traddr) == 512 && offsetof(DiscoveryLogEntry, tsas) == 768);

// Followed by `numrec` entries.
struct DiscoveryLogHeader {
  uint64_t genctr = 0;
  uint64_t numrec = 0;
  uint16_t recfmt = 0;
  uint8_t reserved18[1006] = {};
};
static_assert(kIsWire<DiscoveryLogHeader> && sizeof(DiscoveryLogHeader) == 1024 &&
              offsetof(DiscoveryLogHeader, recfmt) == 16);

inline constexpr uint16_t kDiscoveryTcpPort = 8009;  // assigned by IANA to discovery controllers

}  // namespace cairn::nvme
