// Limits and defaults of the NVMe-oF target. Configuration names and the original's values: shared reference,
// nvmf-target.md section 1.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/duration.h"
#include "base/error.h"
#include "base/uuid.h"

namespace cairn::nvmf::target {

struct Options {
  // Entries of an I/O submission queue (CAP.MQES + 1, MAXCMD), 2..1024. Linux asks for 128. Memory: about 1.3 KiB an
  // entry and queue, allocated when a host connects, for the size it asked for.
  uint16_t max_queue_depth = 128;
  uint16_t max_admin_queue_depth = 128;  // entries, 2..1024; the original's 32 refuses hosts that ask for more
  // Queue pairs of a controller, the admin queue included, 2..1024.
  uint16_t max_queue_pairs = 128;
  // Bytes of one command's data, a power of two of at least 4096 (MDTS), at most 1 MiB. Buffers come from the reactor's
  // pool when a command needs them.
  uint32_t max_io_size = 1u << 20;
  // Bytes of data within a command capsule (IOCCSZ), a multiple of 16, at most 128 KiB; 4096 in the original. At least
  // 8192 on the admin queue by specification.
  uint32_t in_capsule_data_size = 8192;
  uint16_t max_subsystems = 2048;
  uint16_t max_connections = 4096;                          // of the whole target; further ones are closed at once
  uint8_t max_async_events = 4;                             // outstanding Asynchronous Event Requests (AERL + 1)
  std::array<uint16_t, 3> command_retry_delay = {0, 0, 0};  // CRDT1..3, 100 ms units
  // A controller whose host is gone (admin queue alive, not enabled) is dropped after this time.
  Duration association_timeout = std::chrono::seconds(120);
  Duration keep_alive_granularity = std::chrono::seconds(10);  // KAS; KATO is rounded up to it
  // A connection that has not completed ICReq and Connect by then is closed.
  Duration connect_timeout = std::chrono::seconds(10);
  // How long a host may keep buffers waiting, for data it was asked for or answers it does not take, while other
  // commands of the reactor wait for memory. Then its connection is closed; at the latest after twice this time.
  Duration buffer_patience = std::chrono::seconds(5);
  std::string firmware_revision = "1.0.0";  // FR, at most 8 characters
  Uuid boot_id{};                           // another one at each start of the kernel; nil: not known
};

// INVALID_ARGUMENT naming the option, its value and its range.
Result<> check_options(const Options& options);

// Limits of Copy, as Identify Namespace tells them (MSRC, MSSRL, MCL).
inline constexpr uint16_t kMaxCopyRanges = 128;
inline constexpr uint16_t kMaxCopyRangeBlocks = 65535;
inline constexpr uint32_t kMaxCopyBlocks = 1u << 18;

}  // namespace cairn::nvmf::target
