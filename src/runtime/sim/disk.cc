#include "runtime/sim/disk.h"

#include <cerrno>

#include "runtime/sim/file_system.h"

namespace cairn::runtime::sim {

Duration Latency::draw(Random& random) const {
  const auto spread = static_cast<uint64_t>((max - min).count());
  Duration latency = min + Duration(static_cast<int64_t>(random.below(spread + 1)));
  if (tail_one_in > 0 && random.one_in(tail_one_in)) latency *= 10;
  return latency;
}

void Disk::set_faults(const DiskFaults& faults) {
  const bool released = faults_.hang && !faults.hang;
  faults_ = faults;
  if (released) owner_.release_held(*this);
}

Duration Disk::latency(FileOp::Kind kind, uint64_t length) {
  const Duration usual = usual_latency(kind, length);
  if (faults_.stall_one_in == 0 || !random_.one_in(faults_.stall_one_in)) return usual;
  return usual + Duration(random_.below(static_cast<uint64_t>(faults_.longest_stall.count()) + 1));
}

Duration Disk::usual_latency(FileOp::Kind kind, uint64_t length) {
  const auto draw = [&](const Latency& latency) { return latency.draw(random_); };
  Duration result{};
  switch (kind) {
    case FileOp::Kind::kRead:
      result = draw(options_.read);
      break;
    case FileOp::Kind::kWrite:
      result = draw(options_.write);
      break;
    case FileOp::Kind::kFlush:
      return draw(options_.flush) * faults_.slow_factor;
    case FileOp::Kind::kUnmap:
      return draw(options_.write) * faults_.slow_factor;
    case FileOp::Kind::kWriteZeroes:
      result = draw(options_.write);
      if (options_.can_unmap) return result * faults_.slow_factor;
      break;  // it has to write them
  }
  return (result + options_.per_mib * length / (1 << 20)) * faults_.slow_factor;
}

int Disk::draw_error(FileOp::Kind kind) {
  const auto pick = [&](int error, uint32_t one_in) {
    if (error != 0) return error;
    return one_in != 0 && random_.one_in(one_in) ? -EIO : 0;
  };
  switch (kind) {
    case FileOp::Kind::kRead:
      ++counters_.reads;
      return pick(faults_.read_error, faults_.read_error_one_in);
    case FileOp::Kind::kFlush:
      ++counters_.flushes;
      return pick(faults_.flush_error, faults_.flush_error_one_in);
    default:
      ++counters_.writes;
      return pick(faults_.write_error, faults_.write_error_one_in);
  }
}

}  // namespace cairn::runtime::sim
