#include "nvmf/host/io_command.h"

#include <algorithm>

#include "base/check.h"
#include "nvmf/host/nvme_channel.h"

namespace cairn::nvmf::host {

using block::IoType;
using nvme::DataDirection;

namespace {

constexpr nvme::NvmOpcode opcode_of(IoType type) {
  switch (type) {
    case IoType::kRead:
      return nvme::NvmOpcode::kRead;
    case IoType::kWrite:
      return nvme::NvmOpcode::kWrite;
    case IoType::kUnmap:
      return nvme::NvmOpcode::kDatasetManagement;
    case IoType::kWriteZeroes:
      return nvme::NvmOpcode::kWriteZeroes;
    case IoType::kCompare:
    case IoType::kCompareAndWrite:
      return nvme::NvmOpcode::kCompare;
    case IoType::kCopy:
      return nvme::NvmOpcode::kCopy;
    case IoType::kFlush:
    case IoType::kReset:
      return nvme::NvmOpcode::kFlush;
  }
  return nvme::NvmOpcode::kFlush;
}

}  // namespace

IoCommand::IoCommand(NvmeChannel& owner, block::Io& request, uint32_t timeout, uint8_t prinfo)
    : channel(owner), io(request), prinfo_(prinfo) {
  Command::build = &IoCommand::build;
  complete = &IoCommand::came_back;
  timeout_ms = timeout;
  if (!is_fused()) return;
  auto* second = new (extra_) Second();
  second->owner = this;
  second->build = &IoCommand::build_second;
  second->complete = &IoCommand::second_came_back;
  second->timeout_ms = timeout;
}

IoCommand::~IoCommand() {
  if (is_fused()) second_part().~Second();
}

Command& IoCommand::second() {
  return second_part();
}

bool IoCommand::prepare(const NamespaceInfo& ns) {
  nsid_ = ns.nsid;
  const uint64_t left = io.num_blocks - done_;
  auto set_data = [&](DataDirection towards) {
    num_blocks_ = static_cast<uint32_t>(std::min<uint64_t>(left, ns.max_transfer_blocks));
    data = io.data;
    data_offset = static_cast<uint32_t>(done_ * ns.block_size);
    data_size = num_blocks_ * ns.block_size;
    direction = towards;
  };
  auto set_range = [&](size_t size) {
    Range& range = *reinterpret_cast<Range*>(extra_);
    range.piece = {&range.unmap, size};
    data = {&range.piece, 1};
    data_offset = 0;
    data_size = static_cast<uint32_t>(size);
    direction = DataDirection::kHostToController;
  };
  switch (io.type) {
    case IoType::kRead:
      set_data(DataDirection::kControllerToHost);
      return true;
    case IoType::kWrite:
    case IoType::kCompare:
      set_data(DataDirection::kHostToController);
      return true;
    case IoType::kCompareAndWrite: {
      set_data(DataDirection::kHostToController);
      Second& second = second_part();
      second.data = io.write_data;
      second.data_offset = data_offset;
      second.data_size = data_size;
      second.direction = direction;
      return true;
    }
    case IoType::kWriteZeroes:
      num_blocks_ = static_cast<uint32_t>(std::min<uint64_t>(left, ns.max_write_zeroes_blocks));
      deallocate_ = io.may_deallocate && ns.write_zeroes_may_deallocate;
      direction = DataDirection::kNone;
      return true;
    case IoType::kUnmap: {
      if (flushing_) {
        data_size = 0;
        direction = DataDirection::kNone;
        return true;
      }
      num_blocks_ = static_cast<uint32_t>(std::min<uint64_t>(left, UINT32_MAX));
      auto* range = new (extra_) Range{};
      range->unmap = {.num_blocks = num_blocks_, .slba = io.lba + done_};
      set_range(sizeof(nvme::DatasetRange));
      return true;
    }
    case IoType::kCopy: {
      num_blocks_ = static_cast<uint32_t>(std::min<uint64_t>(left, ns.max_copy_blocks));
      auto* range = new (extra_) Range{};
      range->copy = {.slba = io.source_lba + done_, .nlb = static_cast<uint16_t>(num_blocks_ - 1)};
      set_range(sizeof(nvme::CopyRange));
      return true;
    }
    case IoType::kFlush:
      direction = DataDirection::kNone;
      return true;  // whatever Identify says: the controllers of other paths may differ
    case IoType::kReset:
      return false;
  }
  return false;
}

bool IoCommand::advance() {
  if (io.type == IoType::kFlush || flushing_) return true;
  done_ += num_blocks_;
  if (done_ < io.num_blocks) return false;
  flushing_ = io.type == IoType::kUnmap && io.fua;
  return !flushing_;
}

void IoCommand::build(const Command& command, nvme::Sqe& sqe) {
  const auto& self = static_cast<const IoCommand&>(command);
  const block::Io& io = self.io;
  const uint64_t lba = io.lba + self.done_;
  sqe.opcode = static_cast<uint8_t>(self.flushing_ ? nvme::NvmOpcode::kFlush : opcode_of(io.type));
  sqe.nsid = self.nsid_;
  switch (io.type) {
    case IoType::kRead:
    case IoType::kWrite:
      nvme::BlockRange{.slba = lba, .num_blocks = self.num_blocks_}.encode(sqe);
      sqe.cdw12 |= uint32_t{io.fua} << 30 | uint32_t{self.prinfo_ & 0xfu} << 26;
      if (io.type == IoType::kRead) sqe.cdw12 |= io.read_flags & (3u << 21);
      break;
    case IoType::kCompareAndWrite:
      sqe.set_flags(nvme::Fuse::kFirst, nvme::Psdt::kPrp);
      [[fallthrough]];
    case IoType::kCompare:
      nvme::BlockRange{.slba = lba, .num_blocks = self.num_blocks_}.encode(sqe);
      break;
    case IoType::kWriteZeroes:
      nvme::BlockRange{.slba = lba, .num_blocks = self.num_blocks_}.encode(sqe);
      nvme::BlockFlags{.force_unit_access = io.fua, .deallocate = self.deallocate_}.encode(sqe);
      break;
    case IoType::kUnmap:
      if (!self.flushing_) nvme::DatasetManagement{.num_ranges = 1, .deallocate = true}.encode(sqe);
      break;
    case IoType::kCopy:
      nvme::Copy{.destination = lba, .num_ranges = 1, .force_unit_access = io.fua}.encode(sqe);
      break;
    case IoType::kFlush:
    case IoType::kReset:
      break;
  }
}

void IoCommand::build_second(const Command& command, nvme::Sqe& sqe) {
  const IoCommand& self = *static_cast<const Second&>(command).owner;
  sqe.opcode = static_cast<uint8_t>(nvme::NvmOpcode::kWrite);
  sqe.nsid = self.nsid_;
  nvme::BlockRange{.slba = self.io.lba + self.done_, .num_blocks = self.num_blocks_}.encode(sqe);
  nvme::BlockFlags{.force_unit_access = self.io.fua}.encode(sqe);
  sqe.set_flags(nvme::Fuse::kSecond, nvme::Psdt::kPrp);
}

void IoCommand::came_back(Command& command) {
  auto& self = static_cast<IoCommand&>(command);
  self.lost |= command.outcome == Outcome::kLost;
  if (--self.commands_left == 0) self.channel.lane().ended(self);
}

void IoCommand::second_came_back(Command& command) {
  IoCommand& self = *static_cast<Second&>(command).owner;
  self.lost |= command.outcome == Outcome::kLost;
  if (--self.commands_left == 0) self.channel.lane().ended(self);
}

}  // namespace cairn::nvmf::host
