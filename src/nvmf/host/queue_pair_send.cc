// The sending half of QueuePair: capsules and data.
#include <algorithm>

#include "base/check.h"
#include "base/crc32c.h"
#include "nvmf/host/queue_pair.h"

namespace cairn::nvmf::host {

void QueuePair::send_ic_req() {
  const uint8_t digests = static_cast<uint8_t>((options_.header_digest ? nvme::kDigestHeaderEnable : 0) |
                                               (options_.data_digest ? nvme::kDigestDataEnable : 0));
  std::span<std::byte, nvme::kMaxHeaderSize> buffer(control_pdu_.data(), nvme::kMaxHeaderSize);
  const size_t size = nvme::encode_ic_req(buffer, receive_rules_.data_alignment, digests, 0);
  control_piece_ = {control_pdu_.data(), size};
  control_op_.pieces = {&control_piece_, 1};
  control_op_.complete = [](runtime::SendOp&, int) {};
  stream_->send(control_op_);
}

void QueuePair::send_capsule(Slot& slot) {
  const Command& command = *slot.command;
  nvme::Sqe sqe;
  command.build(command, sqe);
  sqe.cid = slot.cid;
  sqe.set_flags(sqe.fuse(), nvme::Psdt::kSglMptrAddress);
  uint32_t in_capsule = 0;
  if (command.direction == nvme::DataDirection::kHostToController && command.data_size > 0 &&
      command.data_size <= options_.max_capsule_data) {
    in_capsule = command.data_size;
    sqe.sgl = nvme::SglDescriptor::in_capsule(0, in_capsule);
    slot.transferred = in_capsule;
  } else {
    sqe.sgl = nvme::SglDescriptor::transport(command.data_size);
  }
  const size_t size = nvme::encode_capsule_cmd(slot.header, sqe, in_capsule, send_rules_);
  slot.pieces[0] = {slot.header.data(), size};
  size_t count = 1;
  if (in_capsule > 0) {
    count = append_data(slot, count, 0, in_capsule);
  } else if (command.direction == nvme::DataDirection::kControllerToHost && command.data_size > 0) {
    slot.piece = 0;
    slot.piece_offset = 0;
    advance(slot, command.data_offset);
  }
  send(slot, count);
}

// The next H2CData of the R2T that the slot is to answer.
void QueuePair::send_h2c_data(Slot& slot) {
  const uint32_t size = std::min(slot.r2t_left, max_h2c_data_);
  const nvme::DataPdu data{
      .cccid = slot.cid, .ttag = slot.ttag, .offset = slot.r2t_offset, .size = size, .last = size == slot.r2t_left};
  slot.pieces[0] = {slot.header.data(), nvme::encode_h2c_data(slot.header, data, send_rules_)};
  const size_t count = append_data(slot, 1, slot.r2t_offset, size);
  slot.r2t_offset += size;
  slot.r2t_left -= size;
  send(slot, count);
}

// Describes bytes [offset, offset + size) of the command's data behind the first `count` pieces, and their digest.
// Gives the number of pieces.
size_t QueuePair::append_data(Slot& slot, size_t count, uint32_t offset, uint32_t size) {
  size_t skip = size_t{slot.command->data_offset} + offset;
  size_t left = size;
  uint32_t crc = kCrc32cInit;
  for (const iovec& piece : slot.command->data) {
    if (left == 0) break;
    if (skip >= piece.iov_len) {
      skip -= piece.iov_len;
      continue;
    }
    const size_t length = std::min(left, piece.iov_len - skip);
    std::byte* const begin = static_cast<std::byte*>(piece.iov_base) + skip;
    skip = 0;
    left -= length;
    if (send_rules_.data_digest) crc = crc32c_update(crc, {begin, length});
    CAIRN_CHECK(count < kMaxPieces);
    slot.pieces[count++] = {begin, length};
  }
  CAIRN_CHECK(left == 0);
  if (send_rules_.data_digest) {
    nvme::encode_digest(slot.digest, crc32c_finish(crc));
    CAIRN_CHECK(count < kMaxPieces);
    slot.pieces[count++] = {slot.digest.data(), slot.digest.size()};
  }
  return count;
}

void QueuePair::send(Slot& slot, size_t num_pieces) {
  const size_t first = std::min<size_t>(num_pieces, runtime::SendOp::kMaxPieces);
  slot.sends_in_flight = num_pieces > first ? 2 : 1;
  slot.outputs[0].pieces = {slot.pieces.data(), first};
  stream_->send(slot.outputs[0]);
  if (num_pieces == first) return;
  slot.outputs[1].pieces = {slot.pieces.data() + first, num_pieces - first};
  stream_->send(slot.outputs[1]);
}

void QueuePair::output_done(Slot& slot, int result) {
  CAIRN_CHECK(slot.sends_in_flight > 0);
  if (--slot.sends_in_flight > 0) return;
  if (slot.answered) {
    release(slot, Command::Outcome::kAnswered);
  } else if (result == 0 && slot.r2t_left > 0 && state_ == State::kOpen) {
    send_h2c_data(slot);
  }
}

}  // namespace cairn::nvmf::host
