// Identify Controller, CNS 01h (NVMe Base 2.0, figure 276) and the NVM command set's addition, CNS 06h (NVM Command
// Set 1.0, figure 102). Members have the specification's names.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nvme/wire.h"

namespace cairn::nvme {

struct PowerStateDescriptor {
  uint16_t mp = 0;
  uint8_t reserved2 = 0;
  uint8_t flags = 0;  // MXPS 0, NOPS 1
  uint32_t enlat = 0;
  uint32_t exlat = 0;
  uint8_t rrt = 0;
  uint8_t rrl = 0;
  uint8_t rwt = 0;
  uint8_t rwl = 0;
  uint16_t idlp = 0;
  uint8_t ips = 0;  // scale in 7:6
  uint8_t reserved19 = 0;
  uint16_t actp = 0;
  uint8_t apw = 0;  // workload 2:0, scale 7:6
  uint8_t reserved23[9] = {};
};
static_assert(kIsWire<PowerStateDescriptor> && sizeof(PowerStateDescriptor) == 32);
static_assert(offsetof(PowerStateDescriptor, idlp) == 16 && offsetof(PowerStateDescriptor, actp) == 20);

enum class ControllerType : uint8_t { kNotReported = 0, kIo = 1, kDiscovery = 2, kAdministrative = 3 };

struct IdentifyController {
  uint16_t vid = 0;
  uint16_t ssvid = 0;
  char sn[20] = {};  // ASCII, set_ascii()
  char mn[40] = {};
  char fr[8] = {};
  uint8_t rab = 0;
  uint8_t ieee[3] = {};  // OUI, little endian
  uint8_t cmic = 0;
  uint8_t mdts = 0;  // 2^n pages of CAP.MPSMIN; 0 = no limit
  uint16_t cntlid = 0;
  uint32_t ver = 0;
  uint32_t rtd3r = 0;
  uint32_t rtd3e = 0;
  uint32_t oaes = 0;  // kEvent… of feature.h
  uint32_t ctratt = 0;
  uint16_t rrls = 0;
  uint8_t reserved102[9] = {};
  ControllerType cntrltype = ControllerType::kNotReported;
  uint8_t fguid[16] = {};
  uint16_t crdt[3] = {};  // CRDT1 to CRDT3, 100 ms
  uint8_t reserved134[106] = {};
  uint8_t reserved240[13] = {};  // NVMe-MI
  uint8_t nvmsr = 0;
  uint8_t vwci = 0;
  uint8_t mec = 0;
  uint16_t oacs = 0;
  uint8_t acl = 0;   // 0's based
  uint8_t aerl = 0;  // 0's based
  uint8_t frmw = 0;
  uint8_t lpa = 0;
  uint8_t elpe = 0;  // 0's based
  uint8_t npss = 0;  // 0's based
  uint8_t avscc = 0;
  uint8_t apsta = 0;
  uint16_t wctemp = 0;
  uint16_t cctemp = 0;
  uint16_t mtfa = 0;
  uint32_t hmpre = 0;
  uint32_t hmmin = 0;
  Uint128 tnvmcap{};
  Uint128 unvmcap{};
  uint32_t rpmbs = 0;
  uint16_t edstt = 0;
  uint8_t dsto = 0;
  uint8_t fwug = 0;
  uint16_t kas = 0;  // 100 ms
  uint16_t hctma = 0;
  uint16_t mntmt = 0;
  uint16_t mxtmt = 0;
  uint32_t sanicap = 0;
  uint32_t hmminds = 0;
  uint16_t hmmaxd = 0;
  uint16_t nsetidmax = 0;
  uint16_t endgidmax = 0;
  uint8_t anatt = 0;  // seconds
  uint8_t anacap = 0;
  uint32_t anagrpmax = 0;
  uint32_t nanagrpid = 0;
  uint32_t pels = 0;
  uint16_t domain_identifier = 0;
  uint8_t reserved358[10] = {};
  Uint128 megcap{};
  uint8_t reserved384[128] = {};
  uint8_t sqes = 0;  // minimum 3:0, maximum 7:4, powers of two
  uint8_t cqes = 0;
  uint16_t maxcmd = 0;
  uint32_t nn = 0;
  uint16_t oncs = 0;
  uint16_t fuses = 0;
  uint8_t fna = 0;
  uint8_t vwc = 0;
  uint16_t awun = 0;   // 0's based blocks
  uint16_t awupf = 0;  // 0's based blocks
  uint8_t icsvscc = 0;
  uint8_t nwpc = 0;
  uint16_t acwu = 0;  // 0's based blocks
  uint16_t ocfs = 0;  // CDFS: copy descriptor formats, bit n = format n
  uint32_t sgls = 0;
  uint32_t mnan = 0;
  Uint128 maxdna{};
  uint32_t maxcna = 0;
  uint8_t reserved564[204] = {};
  char subnqn[256] = {};
  uint8_t reserved1024[768] = {};
  uint32_t ioccsz = 0;  // 16 bytes: I/O command capsule, at least 4
  uint32_t iorcsz = 0;  // 16 bytes: I/O response capsule, at least 1
  uint16_t icdoff = 0;  // 16 bytes; NVMe/TCP: 0
  uint8_t fcatt = 0;    // bit 0: dynamic controller model when clear
  uint8_t msdbd = 0;    // SGL data block descriptors in a command
  uint16_t ofcs = 0;    // bit 0: Disconnect
  uint8_t reserved1806[242] = {};
  PowerStateDescriptor psd[32]{};
  char vendor3072[64] = {};  // a C string; of Cairn: kPredecessorsEnd
  uint8_t boot_id[16] = {};  // of Cairn, with that string: of the node's kernel, 0: not told. While it stays the same,
                             // disks of that node have what they acknowledged, whatever became of the process.
  uint8_t vendor3152[944] = {};

  // Connect of an admin queue waits until controllers of the same host that are ending have no command left.
  static constexpr std::string_view kPredecessorsEnd = "cairn:predecessors-end";

  static constexpr uint8_t kCmicMultiplePorts = 1u << 0;
  static constexpr uint8_t kCmicMultipleControllers = 1u << 1;
  static constexpr uint8_t kCmicVirtualFunction = 1u << 2;
  static constexpr uint8_t kCmicAnaReporting = 1u << 3;

  static constexpr uint32_t kCtrattHostId128 = 1u << 0;
  static constexpr uint32_t kCtrattNonOperationalPowerState = 1u << 1;
  static constexpr uint32_t kCtrattNvmSets = 1u << 2;
  static constexpr uint32_t kCtrattReadRecoveryLevels = 1u << 3;
  static constexpr uint32_t kCtrattEnduranceGroups = 1u << 4;
  static constexpr uint32_t kCtrattPredictableLatency = 1u << 5;
  static constexpr uint32_t kCtrattTrafficBasedKeepAlive = 1u << 6;
  static constexpr uint32_t kCtrattNamespaceGranularity = 1u << 7;
  static constexpr uint32_t kCtrattSqAssociations = 1u << 8;
  static constexpr uint32_t kCtrattUuidList = 1u << 9;
  static constexpr uint32_t kCtrattMultiDomain = 1u << 10;
  static constexpr uint32_t kCtrattFixedCapacity = 1u << 11;
  static constexpr uint32_t kCtrattVariableCapacity = 1u << 12;
  static constexpr uint32_t kCtrattDeleteEnduranceGroup = 1u << 13;
  static constexpr uint32_t kCtrattDeleteNvmSet = 1u << 14;
  static constexpr uint32_t kCtrattExtendedLbaFormats = 1u << 15;

  static constexpr uint16_t kOacsSecurity = 1u << 0;
  static constexpr uint16_t kOacsFormat = 1u << 1;
  static constexpr uint16_t kOacsFirmware = 1u << 2;
  static constexpr uint16_t kOacsNamespaceManagement = 1u << 3;
  static constexpr uint16_t kOacsSelfTest = 1u << 4;
  static constexpr uint16_t kOacsDirectives = 1u << 5;
  static constexpr uint16_t kOacsNvmeMi = 1u << 6;
  static constexpr uint16_t kOacsVirtualization = 1u << 7;
  static constexpr uint16_t kOacsDoorbellBuffer = 1u << 8;
  static constexpr uint16_t kOacsGetLbaStatus = 1u << 9;
  static constexpr uint16_t kOacsLockdown = 1u << 10;

  static constexpr uint8_t kFrmwSlot1ReadOnly = 1u << 0;
  static constexpr unsigned kFrmwSlotsShift = 1;  // 3:1, number of slots
  static constexpr uint8_t kFrmwActivateWithoutReset = 1u << 4;
  static constexpr uint8_t kFrmwOverlapDetection = 1u << 5;

  static constexpr uint8_t kLpaSmartPerNamespace = 1u << 0;
  static constexpr uint8_t kLpaCommandEffects = 1u << 1;
  static constexpr uint8_t kLpaExtendedData = 1u << 2;
  static constexpr uint8_t kLpaTelemetry = 1u << 3;
  static constexpr uint8_t kLpaPersistentEvent = 1u << 4;
  static constexpr uint8_t kLpaSupportedLogPages = 1u << 5;
  static constexpr uint8_t kLpaTelemetryArea4 = 1u << 6;

  static constexpr uint8_t kAnacapOptimized = 1u << 0;
  static constexpr uint8_t kAnacapNonOptimized = 1u << 1;
  static constexpr uint8_t kAnacapInaccessible = 1u << 2;
  static constexpr uint8_t kAnacapPersistentLoss = 1u << 3;
  static constexpr uint8_t kAnacapChange = 1u << 4;
  static constexpr uint8_t kAnacapGroupIdFixed = 1u << 6;
  static constexpr uint8_t kAnacapGroupIdNonZero = 1u << 7;  // Namespace Management accepts a group

  static constexpr uint16_t kOncsCompare = 1u << 0;
  static constexpr uint16_t kOncsWriteUncorrectable = 1u << 1;
  static constexpr uint16_t kOncsDatasetManagement = 1u << 2;
  static constexpr uint16_t kOncsWriteZeroes = 1u << 3;
  static constexpr uint16_t kOncsSaveSelect = 1u << 4;
  static constexpr uint16_t kOncsReservations = 1u << 5;
  static constexpr uint16_t kOncsTimestamp = 1u << 6;
  static constexpr uint16_t kOncsVerify = 1u << 7;
  static constexpr uint16_t kOncsCopy = 1u << 8;

  static constexpr uint16_t kFusesCompareAndWrite = 1u << 0;

  static constexpr uint8_t kFnaFormatAll = 1u << 0;
  static constexpr uint8_t kFnaEraseAll = 1u << 1;
  static constexpr uint8_t kFnaCryptoErase = 1u << 2;
  static constexpr uint8_t kFnaNoBroadcast = 1u << 3;

  static constexpr uint8_t kVwcPresent = 1u << 0;
  static constexpr uint8_t kVwcFlushBroadcastUnsupported = 2u << 1;  // 2:1
  static constexpr uint8_t kVwcFlushBroadcastSupported = 3u << 1;

  static constexpr uint32_t kSglsSupported = 1u << 0;              // 1:0 = 1: any alignment
  static constexpr uint32_t kSglsSupportedDwordAligned = 2u << 0;  // 1:0 = 2
  static constexpr uint32_t kSglsKeyed = 1u << 2;
  static constexpr uint32_t kSglsBitBucket = 1u << 16;
  static constexpr uint32_t kSglsByteAlignedMetadata = 1u << 17;
  static constexpr uint32_t kSglsLargerThanData = 1u << 18;
  static constexpr uint32_t kSglsMptrSgl = 1u << 19;
  static constexpr uint32_t kSglsOffset = 1u << 20;
  static constexpr uint32_t kSglsTransportDataBlock = 1u << 21;

  static constexpr uint8_t kFcattStaticController = 1u << 0;
  static constexpr uint16_t kOfcsDisconnect = 1u << 0;
};
static_assert(kIsWire<IdentifyController> && sizeof(IdentifyController) == 4096);
static_assert(offsetof(IdentifyController, sn) == 4 && offsetof(IdentifyController, mn) == 24 &&
              offsetof(IdentifyController, fr) == 64);
static_assert(offsetof(IdentifyController, rab) == 72 && offsetof(IdentifyController, cmic) == 76);
static_assert(offsetof(IdentifyController, mdts) == 77 && offsetof(IdentifyController, ver) == 80);
static_assert(offsetof(IdentifyController, oaes) == 92 && offsetof(IdentifyController, ctratt) == 96);
static_assert(offsetof(IdentifyController, cntrltype) == 111 && offsetof(IdentifyController, crdt) == 128);
static_assert(offsetof(IdentifyController, nvmsr) == 253 && offsetof(IdentifyController, oacs) == 256);
static_assert(offsetof(IdentifyController, lpa) == 261 && offsetof(IdentifyController, tnvmcap) == 280);
static_assert(offsetof(IdentifyController, kas) == 320 && offsetof(IdentifyController, sanicap) == 328);
static_assert(offsetof(IdentifyController, anatt) == 342 && offsetof(IdentifyController, anacap) == 343);
static_assert(offsetof(IdentifyController, pels) == 352 && offsetof(IdentifyController, megcap) == 368);
static_assert(offsetof(IdentifyController, sqes) == 512 && offsetof(IdentifyController, nn) == 516);
static_assert(offsetof(IdentifyController, oncs) == 520 && offsetof(IdentifyController, vwc) == 525);
static_assert(offsetof(IdentifyController, acwu) == 532 && offsetof(IdentifyController, sgls) == 536);
static_assert(offsetof(IdentifyController, mnan) == 540 && offsetof(IdentifyController, maxcna) == 560);
static_assert(offsetof(IdentifyController, subnqn) == 768 && offsetof(IdentifyController, ioccsz) == 1792);
static_assert(offsetof(IdentifyController, msdbd) == 1803 && offsetof(IdentifyController, ofcs) == 1804);
static_assert(offsetof(IdentifyController, psd) == 2048 && offsetof(IdentifyController, vendor3072) == 3072);
static_assert(offsetof(IdentifyController, boot_id) == 3136 && sizeof(IdentifyController) == 4096);

// CNS 06h, CSI 00h. Sizes are 2^n pages of CAP.MPSMIN; 0 = no limit.
struct IdentifyNvmController {
  uint8_t vsl = 0;     // Verify
  uint8_t wzsl = 0;    // Write Zeroes
  uint8_t wusl = 0;    // Write Uncorrectable
  uint8_t dmrl = 0;    // Dataset Management: ranges
  uint32_t dmrsl = 0;  // blocks of a range
  uint64_t dmsl = 0;   // blocks of a command
  uint8_t reserved16[4080] = {};
};
static_assert(kIsWire<IdentifyNvmController> && sizeof(IdentifyNvmController) == 4096);
static_assert(offsetof(IdentifyNvmController, dmrsl) == 4 && offsetof(IdentifyNvmController, dmsl) == 8);

}  // namespace cairn::nvme
