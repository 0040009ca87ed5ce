// One I/O to a block device: what is born in a target, a nexus or a rebuild and travels down a stack of devices.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <utility>

#include "base/duration.h"
#include "base/intrusive_list.h"
#include "nvme/status.h"

namespace cairn::block {

class Channel;

enum class IoType : uint8_t {
  kRead,             // num_blocks at lba into `data`
  kWrite,            // `data` to num_blocks at lba
  kFlush,            // every write that completed before is on stable storage
  kUnmap,            // num_blocks at lba may lose their content; they read as zeroes afterwards
  kWriteZeroes,      // num_blocks at lba read as zeroes afterwards
  kCompare,          // COMPARE_FAILURE unless num_blocks at lba equal `data`
  kCompareAndWrite,  // compare with `data`, and when equal write `write_data`; atomic among all kCompareAndWrite of the
                     // device
  kCopy,             // num_blocks at source_lba to lba; the ranges may overlap
  kReset,            // aborts what can be aborted; completes when the device is usable again
};
inline constexpr size_t kNumIoTypes = 9;

// Owned by the submitter and untouched by it until `complete` is called, which may happen inside submit(), always on
// the reactor of the channel. Reusable: fill the fields again and submit again. The link belongs to whoever has the Io:
// between submit() and `complete` the device may queue it.
class Io : public ListLink<> {
 public:
  static constexpr size_t kDriverAreaSize = 256;
  static constexpr size_t kMaxPieces = 40;  // runtime::FileOp::kMaxPieces

  IoType type = IoType::kRead;
  bool fua = false;             // what the I/O writes is on stable storage when it completes (all writing types)
  bool may_deallocate = false;  // kWriteZeroes: space may be given back (DEAC)
  uint64_t lba = 0;             // in blocks of the device
  uint64_t num_blocks = 0;      // 0 only for kFlush and kReset
  uint64_t source_lba = 0;      // kCopy
  // Memory of num_blocks * block_size bytes; the array and the memory stay valid until completion. At most kMaxPieces
  // pieces, which may have any alignment and size: a driver that cannot take it copies.
  std::span<const iovec> data;
  std::span<const iovec> write_data;  // kCompareAndWrite
  uint32_t read_flags = 0;            // "unwritten read" flags of the original: bits 21 and 22 of an NVMe read's CDW12

  nvme::Status status;  // the outcome, valid in `complete`
  void (*complete)(Io& io) = nullptr;
  // When the channel took it and when it gave it back, for those who measure (Reactor::measured_now, not now). Valid in
  // `complete`.
  TimePoint submitted_at() const { return submitted_at_; }
  TimePoint completed_at() const { return completed_at_; }

 private:
  friend class Channel;
  friend class DriverArea;
  TimePoint submitted_at_{};
  TimePoint completed_at_{};
  enum class Part : uint8_t {
    kWhole,
    kStep,     // of an emulated I/O: not checked and not counted
    kWatched,  // its device had faults injected when it was submitted
  };
  Part part_ = Part::kWhole;
  // By Channel::pass_on(), while it is with another device than the one it was submitted to.
  struct PassedOn {
    Channel* by = nullptr;
    void (*complete)(Io& io) = nullptr;
    uint64_t lba = 0;
    uint8_t mark = 0;
  };
  PassedOn passed_on_;
  alignas(16) std::byte driver_area_[kDriverAreaSize];
};

// The driver's own state of an Io, in place: T must fit. Only the device the Io was submitted to (or the one that it
// was passed on to) may use it, between submit and complete.
class DriverArea {
 public:
  template <typename T, typename... Args>
  static T& construct(Io& io, Args&&... args) {
    static_assert(sizeof(T) <= Io::kDriverAreaSize && alignof(T) <= 16);
    return *new (io.driver_area_) T(std::forward<Args>(args)...);
  }
  template <typename T>
  static T& get(Io& io) {
    return *std::launder(reinterpret_cast<T*>(io.driver_area_));
  }
  template <typename T>
  static void destroy(Io& io) {
    get<T>(io).~T();
  }
};

}  // namespace cairn::block
