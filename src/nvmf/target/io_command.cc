// The I/O commands of a queue pair (NVM Command Set 1.0, section 3.2; NVMe Base 2.0, section 7), from the capsule to
// the block device and back.
//
// begin_io() checks a command as far as its capsule allows, so that nobody sends data for a command that is refused.
// execute_io() has the data: it asks again whether the host may (that can have changed while the data was on its way),
// enters the namespace's epoch and submits one Io after the other, each filled by start_io() or next_io() from the one
// before. A device may complete inside submit(): on_io_complete() then only takes note and run_io() goes on, so that
// the stack does not grow with the number of steps.
#include "nvme/nvm_command.h"
#include "nvme/reservation.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/queue_pair.h"
#include "nvmf/target/target.h"

namespace cairn::nvmf::target {

namespace {

using nvme::CommandStatus;
using nvme::Dnr;
using nvme::GenericStatus;
using nvme::NvmOpcode;
using nvme::PathStatus;
using nvme::Status;

constexpr Status kSuccess = Status::success();
constexpr Status kInvalidField = Status::generic(GenericStatus::kInvalidField, Dnr::kYes);
constexpr Status kInvalidOpcode = Status::generic(GenericStatus::kInvalidOpcode, Dnr::kYes);
constexpr Status kLbaOutOfRange = Status::generic(GenericStatus::kLbaOutOfRange);

// The "unwritten read" flags of the original; reserved bits of a Read in the specification.
constexpr uint32_t kReadFlags = 3u << 21;

bool is_reservation_command(NvmOpcode opcode) {
  return opcode == NvmOpcode::kReservationRegister || opcode == NvmOpcode::kReservationAcquire ||
         opcode == NvmOpcode::kReservationRelease || opcode == NvmOpcode::kReservationReport;
}

bool is_supported(NvmOpcode opcode, const block::Device& device) {
  switch (opcode) {
    case NvmOpcode::kRead:
    case NvmOpcode::kFlush:
    case NvmOpcode::kReservationRegister:
    case NvmOpcode::kReservationReport:
    case NvmOpcode::kReservationAcquire:
    case NvmOpcode::kReservationRelease:
      return true;
    case NvmOpcode::kWrite:
      return device.supports(block::IoType::kWrite);
    case NvmOpcode::kCompare:
      return device.supports(block::IoType::kCompare);
    case NvmOpcode::kWriteZeroes:
      return device.supports(block::IoType::kWriteZeroes);
    case NvmOpcode::kDatasetManagement:
      return device.supports(block::IoType::kUnmap);
    case NvmOpcode::kCopy:
      return device.supports(block::IoType::kCopy);
    case NvmOpcode::kWriteUncorrectable:
    case NvmOpcode::kVerify:
    case NvmOpcode::kFabrics:
      return false;
  }
  return false;
}

// The rights a command needs under a reservation (NVMe Base 2.0, section 8.19, figure "Command Behavior in the Presence
// of a Reservation"). Copy is in neither of the original's groups; it reads and writes. Reservation commands are judged
// by the reservation itself.
AccessTable::Rights needed_rights(NvmOpcode opcode) {
  switch (opcode) {
    case NvmOpcode::kRead:
    case NvmOpcode::kCompare:
    case NvmOpcode::kVerify:
      return {.read = true, .write = false};
    case NvmOpcode::kFlush:
    case NvmOpcode::kWrite:
    case NvmOpcode::kWriteUncorrectable:
    case NvmOpcode::kWriteZeroes:
    case NvmOpcode::kDatasetManagement:
      return {.read = false, .write = true};
    case NvmOpcode::kCopy:
      return {.read = true, .write = true};
    default:
      return {.read = false, .write = false};
  }
}

// Bytes that the command itself says it moves.
uint64_t payload_size(const nvme::Sqe& command, uint32_t block_size) {
  switch (command.nvm_opcode()) {
    case NvmOpcode::kRead:
    case NvmOpcode::kWrite:
    case NvmOpcode::kCompare:
      return uint64_t{nvme::BlockRange::decode(command).num_blocks} * block_size;
    case NvmOpcode::kDatasetManagement:
      return uint64_t{nvme::DatasetManagement::decode(command).num_ranges} * sizeof(nvme::DatasetRange);
    case NvmOpcode::kCopy:
      return uint64_t{nvme::Copy::decode(command).num_ranges} * sizeof(nvme::CopyRange);
    case NvmOpcode::kReservationRegister:
      return sizeof(nvme::ReservationRegisterData);
    case NvmOpcode::kReservationAcquire:
      return sizeof(nvme::ReservationAcquireData);
    case NvmOpcode::kReservationRelease:
      return sizeof(nvme::ReservationReleaseData);
    case NvmOpcode::kReservationReport:
      return nvme::ReservationReport::decode(command).size_bytes;
    default:
      return 0;
  }
}

bool addresses_blocks(NvmOpcode opcode) {
  return opcode == NvmOpcode::kRead || opcode == NvmOpcode::kWrite || opcode == NvmOpcode::kCompare ||
         opcode == NvmOpcode::kWriteZeroes;
}

bool in_range(const block::Device& device, uint64_t slba, uint64_t num_blocks) {
  const uint64_t size = device.num_blocks();
  return slba <= size && num_blocks <= size - slba;
}

// ---- The ranges of Dataset Management and Copy, in the host's data ----

template <typename Range>
Range range_at(const Request& request, uint32_t index) {
  std::array<std::byte, sizeof(Range)> bytes;
  request.copy_from_data(index * sizeof(Range), bytes);
  return nvme::load<Range>(bytes);
}

Status check_dataset_ranges(const Request& request, const block::Device& device) {
  const auto command = nvme::DatasetManagement::decode(request.command);
  for (uint32_t i = 0; i < command.num_ranges; ++i) {
    const auto range = range_at<nvme::DatasetRange>(request, i);
    if (!in_range(device, range.slba, range.num_blocks)) return kLbaOutOfRange;
  }
  return kSuccess;
}

Status check_copy_ranges(const Request& request, const block::Device& device) {
  const auto command = nvme::Copy::decode(request.command);
  uint64_t total = 0;
  for (uint32_t i = 0; i < command.num_ranges; ++i) {
    const auto range = range_at<nvme::CopyRange>(request, i);
    if (range.num_blocks() > kMaxCopyRangeBlocks) {
      return Status::command(CommandStatus::kCommandSizeLimitExceeded, Dnr::kYes);
    }
    if (!in_range(device, range.slba, range.num_blocks())) return kLbaOutOfRange;
    total += range.num_blocks();
  }
  if (total > kMaxCopyBlocks) return Status::command(CommandStatus::kCommandSizeLimitExceeded, Dnr::kYes);
  return in_range(device, command.destination, total) ? kSuccess : kLbaOutOfRange;
}

// ---- The Ios of a command ----

void reset(block::Io& io, block::IoType type, uint64_t lba = 0, uint64_t num_blocks = 0) {
  io.type = type;
  io.fua = false;
  io.may_deallocate = false;
  io.lba = lba;
  io.num_blocks = num_blocks;
  io.source_lba = 0;
  io.data = {};
  io.write_data = {};
  io.read_flags = 0;
  io.status = kSuccess;
}

// `write_through`: the host has disabled the volatile write cache.
void fill_transfer(Request& request, bool write_through) {
  const nvme::Sqe& command = request.command;
  const auto range = nvme::BlockRange::decode(command);
  const auto flags = nvme::BlockFlags::decode(command);
  block::Io& io = request.io;
  switch (command.nvm_opcode()) {
    case NvmOpcode::kRead:
      reset(io, block::IoType::kRead, range.slba, range.num_blocks);
      io.data = request.data();
      io.read_flags = command.cdw12 & kReadFlags;
      break;
    case NvmOpcode::kCompare:
      reset(io, block::IoType::kCompare, range.slba, range.num_blocks);
      io.data = request.data();
      break;
    case NvmOpcode::kWrite:
      reset(io, block::IoType::kWrite, range.slba, range.num_blocks);
      io.data = request.data();
      io.fua = flags.force_unit_access || write_through;
      break;
    case NvmOpcode::kWriteZeroes:
      reset(io, block::IoType::kWriteZeroes, range.slba, range.num_blocks);
      io.fua = flags.force_unit_access || write_through;
      io.may_deallocate = flags.deallocate;
      break;
    default:
      CAIRN_CHECK(!"a command that transfers blocks");
  }
}

// From range request.step on: the next one that is not empty. False when there is none.
bool fill_unmap(Request& request) {
  const auto command = nvme::DatasetManagement::decode(request.command);
  for (; request.step < command.num_ranges; ++request.step) {
    const auto range = range_at<nvme::DatasetRange>(request, request.step);
    if (range.num_blocks == 0) continue;
    reset(request.io, block::IoType::kUnmap, range.slba, range.num_blocks);
    return true;
  }
  return false;
}

void fill_copy(Request& request, uint64_t destination, bool write_through) {
  const auto range = range_at<nvme::CopyRange>(request, request.step);
  reset(request.io, block::IoType::kCopy, destination, range.num_blocks());
  request.io.source_lba = range.slba;
  request.io.fua = nvme::Copy::decode(request.command).force_unit_access || write_through;
}

// After a successful Io: fills the next one of the command. False when that was the last.
bool next_io(Request& request, bool write_through) {
  const block::Io& io = request.io;
  switch (request.command.nvm_opcode()) {
    case NvmOpcode::kRead:
    case NvmOpcode::kCompare:
      if (io.type != block::IoType::kFlush) return false;
      fill_transfer(request, write_through);
      return true;
    case NvmOpcode::kDatasetManagement:
      ++request.step;
      return fill_unmap(request);
    case NvmOpcode::kCopy: {
      if (++request.step == nvme::Copy::decode(request.command).num_ranges) return false;
      fill_copy(request, io.lba + io.num_blocks, write_through);
      return true;
    }
    default:
      return false;
  }
}

}  // namespace

// ---- Before the data ----

void QueuePair::begin_io(Request& request) {
  request.direction = nvme::DataDirection::kNone;
  request.data_length = 0;
  request.transfer_length = 0;
  request.in_place = false;
  request.view = nullptr;
  request.step = 0;
  request.fused_partner = nullptr;
  request.fused_ready = false;
  request.fused_abort = kSuccess;
  if (fused_first_ != nullptr || fused_first_refused_ || request.command.fuse() != nvme::Fuse::kNormal) {
    begin_fused(request);
    return;
  }
  if (request.command.is_fabrics()) {
    begin_fabrics(request);
    return;
  }
  Payload payload;
  if (const Status status = check_io(request.command, payload); !status.is_success()) {
    finish(request, status);
    return;
  }
  prepare(request, payload.direction, payload.size_bytes);
}

// All that can be said without the data, but for the SGL, which prepare() checks against `payload`.
Status QueuePair::check_io(const nvme::Sqe& command, Payload& payload) {
  const NvmOpcode opcode = command.nvm_opcode();
  NamespaceView* view = view_->find(command.nsid);
  if (view == nullptr || view->removed()) {
    // Also Flush with the broadcast NSID: VWC says that it is not supported.
    return Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes);
  }
  const block::Device& device = view->device();
  if (!is_supported(opcode, device)) return kInvalidOpcode;

  const uint64_t size = payload_size(command, device.block_size());
  if (command.psdt() == nvme::Psdt::kReserved || (size > 0 && command.psdt() == nvme::Psdt::kPrp)) return kInvalidField;
  if (size > target_.options().max_io_size) return kInvalidField;
  if (opcode == NvmOpcode::kCopy) {
    const auto copy = nvme::Copy::decode(command);
    if (copy.format != nvme::kCopyFormat0) return kInvalidField;
    if (copy.num_ranges > kMaxCopyRanges) {
      return Status::command(CommandStatus::kCommandSizeLimitExceeded, Dnr::kYes);
    }
  }
  // As the original answers; the other commands get Data SGL Length Invalid from prepare().
  if (is_reservation_command(opcode) && command.sgl.length < size) return kInvalidField;
  if (const Status status = admit(*view, needed_rights(opcode)); !status.is_success()) return status;
  if (addresses_blocks(opcode)) {
    const auto range = nvme::BlockRange::decode(command);
    if (!in_range(device, range.slba, range.num_blocks)) return kLbaOutOfRange;
  }

  payload.size_bytes = static_cast<uint32_t>(size);
  payload.direction = nvme::data_direction(command.opcode);
  return kSuccess;
}

// Whether the namespace, its ANA state and its reservation let this host do something that needs these rights.
Status QueuePair::admit(NamespaceView& view, AccessTable::Rights needed) {
  if (view.removed()) return Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes);
  switch (view.ana_state()) {
    case AnaState::kOptimized:
    case AnaState::kNonOptimized:
      break;
    case AnaState::kInaccessible:
      return Status::path(PathStatus::kAnaInaccessible);
    case AnaState::kPersistentLoss:
      return Status::path(PathStatus::kAnaPersistentLoss);
    case AnaState::kChange:
      return Status::path(PathStatus::kAnaTransition);
  }
  if (rights_version_ != view.access_version()) {
    rights_ = view.rights_of(host_id_);
    rights_version_ = view.access_version();
  }
  if ((needed.read && !rights_.read) || (needed.write && !rights_.write)) {
    return Status::generic(GenericStatus::kReservationConflict);
  }
  return kSuccess;
}

// ---- With the data ----

void QueuePair::execute_io(Request& request) {
  request.state = RequestState::kExecuting;
  if (request.command.fuse() != nvme::Fuse::kNormal) {
    execute_fused(request);
    return;
  }
  const NvmOpcode opcode = request.command.nvm_opcode();
  if (is_reservation_command(opcode)) {
    reactor_.spawn("nvmf reservation command", execute_on_primary(request));
    return;
  }
  NamespaceView* view = view_->find(request.command.nsid);
  if (view == nullptr) {
    finish(request, Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes));
    return;
  }
  if (const Status status = admit(*view, needed_rights(opcode)); !status.is_success()) {
    finish(request, status);
    return;
  }
  view->enter(request);
  start_io(request);
}

// Fills the first Io of a command that has entered its view; finishes a command that needs none.
void QueuePair::start_io(Request& request) {
  const block::Device& device = request.view->device();
  const bool write_through = controller_->write_through();
  block::Io& io = request.io;
  io.status = kSuccess;
  switch (request.command.nvm_opcode()) {
    case NvmOpcode::kRead:
    case NvmOpcode::kCompare:
      // With FUA, what is compared or handed out has to be on stable storage first.
      if (nvme::BlockFlags::decode(request.command).force_unit_access && device.has_volatile_cache()) {
        reset(io, block::IoType::kFlush);
      } else {
        fill_transfer(request, write_through);
      }
      return run_io(request);
    case NvmOpcode::kWrite:
    case NvmOpcode::kWriteZeroes:
      fill_transfer(request, write_through);
      return run_io(request);
    case NvmOpcode::kFlush:
      if (!device.supports(block::IoType::kFlush)) return finish_io(request);
      reset(io, block::IoType::kFlush);
      return run_io(request);
    case NvmOpcode::kDatasetManagement:
      io.status = check_dataset_ranges(request, device);
      // Without AD the ranges are hints, of which nothing here makes use.
      if (!io.status.is_success() || !nvme::DatasetManagement::decode(request.command).deallocate ||
          !fill_unmap(request)) {
        return finish_io(request);
      }
      return run_io(request);
    case NvmOpcode::kCopy:
      io.status = check_copy_ranges(request, device);
      if (!io.status.is_success()) return finish_io(request);
      fill_copy(request, nvme::Copy::decode(request.command).destination, write_through);
      return run_io(request);
    default:
      CAIRN_CHECK(!"check_io() lets through what is supported only");
  }
}

void QueuePair::run_io(Request& request) {
  request.io.complete = [](block::Io& io) {
    Request& done = static_cast<Request::DeviceIo&>(io).request;
    done.queue_pair->on_io_complete(done);
  };
  for (;;) {
    request.io_done = false;
    request.submitting = true;
    request.view->channel().submit(request.io);
    request.submitting = false;
    if (!request.io_done) return;
    if (!request.io.status.is_success() || !next_io(request, controller_->write_through())) return finish_io(request);
  }
}

void QueuePair::on_io_complete(Request& request) {
  if (request.submitting) {
    request.io_done = true;
  } else if (request.io.status.is_success() && next_io(request, controller_->write_through())) {
    run_io(request);
  } else {
    finish_io(request);
  }
}

void QueuePair::finish_io(Request& request) {
  const Status status = request.io.status;
  request.view->leave(request);
  if (request.fused_partner != nullptr) return finish_fused(request);
  uint32_t dw0 = 0;
  if (status.is_success()) {
    if (request.direction == nvme::DataDirection::kControllerToHost) request.transfer_length = request.data_length;
  } else if (request.command.nvm_opcode() == NvmOpcode::kCopy) {
    dw0 = request.step;  // the lowest range that was not copied
  }
  finish(request, status, dw0);
}

}  // namespace cairn::nvmf::target
