#include "pool/replica_channel.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "block/data_pieces.h"
#include "pool/pool.h"

namespace cairn::pool {

using block::IoType;
using nvme::Dnr;
using nvme::Status;

namespace {

// Reads may ask to be told about blocks that were never written (reference lvs-ondisk.md, section 11).
constexpr uint32_t kReadFlagCurrentUnwritten = 1u << 21;  // by this volume
constexpr uint32_t kReadFlagUnwritten = 1u << 22;         // by this volume or any ancestor

void fill_with_zeroes(std::span<const iovec> pieces) {
  for (const iovec& piece : pieces) std::memset(piece.iov_base, 0, piece.iov_len);
}

}  // namespace

// ---- ReplicaStep, ReplicaPort ----

ReplicaStep::ReplicaStep()
    : to_home([this] { port->home_accept(*this); }), to_channel([this] { channel->resume(*this); }) {}

void ReplicaPort::adopt(std::shared_ptr<const MapChain> chain, runtime::Message& ended, runtime::Reactor& home) {
  CAIRN_CHECK(ended_ == nullptr && under_way_[generation_ ^ 1] == 0);
  if (chain != nullptr) {
    chain_ = std::move(chain);
    own_ = chain_->own.get();
  }
  generation_ ^= 1;
  ended_ = &ended;
  home_ = &home;
  if (under_way_[generation_ ^ 1] == 0) announce_end();
}

void ReplicaPort::announce_end() {
  home_->post(*std::exchange(ended_, nullptr));
}

void ReplicaPort::home_accept(ReplicaStep& step) {
  replica_.pool().accept(step);
}

// ---- ReplicaChannel ----

ReplicaChannel::ReplicaChannel(std::shared_ptr<block::Device> device, ReplicaPort& port)
    : Channel(std::move(device)),
      port_(port),
      disk_(port.disk()),
      blocks_per_cluster_(replica().pool().layout().cluster_size / Channel::device().block_size()),
      shift_(std::has_single_bit(blocks_per_cluster_) ? static_cast<unsigned>(std::countr_zero(blocks_per_cluster_))
                                                      : 0),
      release_clusters_(replica().pool().options().unmap_releases_clusters),
      read_only_(replica().read_only_) {}

Replica& ReplicaChannel::replica() const {
  return static_cast<Replica&>(device());
}

void ReplicaChannel::start(block::Io& io) {
  switch (io.type) {
    case IoType::kRead:
      if (transfer_at_once(io)) return;
      break;
    case IoType::kWrite:
      if (transfer_at_once(io)) return;
      [[fallthrough]];
    case IoType::kWriteZeroes:
    case IoType::kUnmap:
      if (read_only_) {
        finish(io, Status::generic(nvme::GenericStatus::kNamespaceWriteProtected, Dnr::kYes));
        return;
      }
      break;
    case IoType::kFlush:
    case IoType::kReset: {
      ReplicaStep& step = make_step(io, 0, 0);
      block::DriverArea::construct<Whole>(io).under_way = 1;
      step.generation = port_.begin();
      step.type = io.type;
      disk_.channel->submit(step);
      return;
    }
    default:
      break;
  }
  block::DriverArea::construct<Whole>(io);
  advance(io);
}

bool ReplicaChannel::transfer_at_once(block::Io& io) {
  if (!may_pass_on(io)) return false;
  const uint64_t index = cluster_of(io.lba);
  const uint64_t first_block = io.lba - index * blocks_per_cluster_;
  if (io.num_blocks > blocks_per_cluster_ - first_block || index >= port_.own().size()) return false;
  uint32_t cluster = port_.own().at(index);
  if (io.type == IoType::kRead) {
    if (io.read_flags != 0) return false;  // what they ask for is this volume's business, not the disk's
    if (cluster == 0) cluster = port_.chain().inherited(index);
    if (cluster == 0) {
      fill_with_zeroes(io.data);
      finish(io, Status::success());
      return true;
    }
  } else if (cluster == 0 || read_only_) {
    return false;
  }
  pass_on(io, *disk_.channel, cluster * blocks_per_cluster_ + first_block, port_.begin(), came_back);
  return true;
}

void ReplicaChannel::came_back(block::Io& io) {
  const TakenBack taken = take_back(io);
  auto& channel = static_cast<ReplicaChannel&>(taken.channel);
  channel.port_.end(taken.mark);
  channel.finish(io, io.status);
}

// Hands out the parts of `io` that have not been, as long as not too many are under way; ends it after the last.
void ReplicaChannel::advance(block::Io& io) {
  auto& whole = block::DriverArea::get<Whole>(io);
  if (whole.advancing) return;  // a step ended inside dispatch(): the loop below goes on
  whole.advancing = true;
  const bool gives_back = io.type == IoType::kUnmap || (io.type == IoType::kWriteZeroes && io.may_deallocate);
  while (whole.next < io.num_blocks && whole.under_way < kMaxStepsOfOne && whole.status.is_success()) {
    const uint64_t lba = io.lba + whole.next;
    const uint64_t left = io.num_blocks - whole.next;
    const uint64_t in_cluster = lba - cluster_of(lba) * blocks_per_cluster_;
    uint64_t part = std::min(left, blocks_per_cluster_ - in_cluster);
    const bool row = gives_back && in_cluster == 0 && part == blocks_per_cluster_;
    if (row) part = std::min(left / blocks_per_cluster_, kMaxClustersOfRow) * blocks_per_cluster_;
    ReplicaStep& step = make_step(io, lba, part);
    step.num_clusters = row ? part / blocks_per_cluster_ : 0;
    whole.next += part;
    ++whole.under_way;
    dispatch(step);
  }
  whole.advancing = false;
  if (whole.under_way > 0) return;
  const Status status = whole.status;
  block::DriverArea::destroy<Whole>(io);
  finish(io, status);
}

ReplicaStep& ReplicaChannel::make_step(block::Io& io, uint64_t lba, uint64_t num_blocks) {
  ReplicaStep& step = disk_.take_step();
  step.channel = this;
  step.port = &port_;
  step.whole = &io;
  step.index = cluster_of(lba);
  step.num_clusters = 0;
  step.first_block = lba - step.index * blocks_per_cluster_;
  step.num_blocks = num_blocks;
  step.fua = io.fua;
  step.may_deallocate = io.may_deallocate;
  step.complete = on_disk_done;
  if (num_blocks == io.num_blocks) {
    step.data = io.data;
  } else if (!io.data.empty()) {
    const uint64_t block_size = device().block_size();
    size_t count = 0;
    block::for_each_part(io.data, (lba - io.lba) * block_size, num_blocks * block_size,
                         [&](std::span<std::byte> part) { step.pieces[count++] = {part.data(), part.size()}; });
    step.data = {step.pieces.data(), count};
  } else {
    step.data = {};
  }
  return step;
}

void ReplicaChannel::dispatch(ReplicaStep& step) {
  if (step.num_clusters > 0) {
    continue_row(step);
    return;
  }
  const MapChain& chain = port_.chain();
  // The device may have shrunk since the I/O was checked.
  if (step.index >= chain.own->size()) {
    end_step(step, Status::generic(nvme::GenericStatus::kLbaOutOfRange, Dnr::kYes));
    return;
  }
  const uint32_t own = chain.own->at(step.index);
  switch (step.whole->type) {
    case IoType::kRead: {
      if (own != 0) [[likely]] {
        submit(step, IoType::kRead, own);
        return;
      }
      const uint32_t inherited = chain.inherited(step.index);
      const uint32_t flags = step.whole->read_flags;
      if ((flags & kReadFlagCurrentUnwritten) != 0 || ((flags & kReadFlagUnwritten) != 0 && inherited == 0)) {
        end_step(step, Status::media(nvme::MediaStatus::kDeallocatedOrUnwrittenBlock));
      } else if (inherited != 0) {
        submit(step, IoType::kRead, inherited);
      } else {
        fill_with_zeroes(step.data);
        end_step(step, Status::success());
      }
      return;
    }
    case IoType::kWrite:
      if (own != 0) [[likely]] {
        submit(step, IoType::kWrite, own);
      } else {
        ask_home(step, ReplicaStep::Wish::kAllocate);
      }
      return;
    case IoType::kWriteZeroes:
    case IoType::kUnmap:
      if (own != 0) {
        submit(step, zeroing_type(*step.whole), own);
      } else if (chain.inherited(step.index) != 0) {
        ask_home(step, ReplicaStep::Wish::kAllocate);  // to hide what the snapshot holds
      } else {
        end_step(step, Status::success());
      }
      return;
    default:
      CAIRN_CHECK(!"a type that replicas take");
  }
}

// Whole clusters of an unmap, one after the other: what holds nothing is skipped, what can be given back goes to the
// home reactor together, the rest is zeroed in place.
void ReplicaChannel::continue_row(ReplicaStep& step) {
  const MapChain& chain = port_.chain();
  for (; step.num_clusters > 0; ++step.index, --step.num_clusters) {
    if (step.index >= chain.own->size()) {
      end_step(step, Status::generic(nvme::GenericStatus::kLbaOutOfRange, Dnr::kYes));
      return;
    }
    const uint32_t own = chain.own->at(step.index);
    const bool inherits = chain.inherited(step.index) != 0;
    if (own == 0 && !inherits) continue;
    if (own == 0) {
      ask_home(step, ReplicaStep::Wish::kAllocate);
    } else if (inherits || !chain.thin || !release_clusters_) {
      step.first_block = 0;
      step.num_blocks = blocks_per_cluster_;
      submit(step, zeroing_type(*step.whole), own);
    } else {
      ask_home(step, ReplicaStep::Wish::kRelease);
    }
    return;
  }
  end_step(step, Status::success());
}

IoType ReplicaChannel::zeroing_type(const block::Io& io) const {
  return io.type == IoType::kUnmap && disk_.channel->device().supports(IoType::kUnmap) ? IoType::kUnmap
                                                                                       : IoType::kWriteZeroes;
}

void ReplicaChannel::submit(ReplicaStep& step, IoType type, uint32_t cluster) {
  step.type = type;
  step.lba = cluster * blocks_per_cluster_ + step.first_block;
  step.generation = port_.begin();
  disk_.channel->submit(step);
}

void ReplicaChannel::ask_home(ReplicaStep& step, ReplicaStep::Wish wish) {
  step.wish = wish;
  step.written = false;
  device().home().post(step.to_home);
}

void ReplicaChannel::resume(ReplicaStep& step) {
  if (!step.answer.is_success()) {
    end_step(step, step.answer);
  } else if (step.written) {
    end_step(step, step.written_with);
  } else {
    dispatch(step);
  }
}

void ReplicaChannel::on_disk_done(block::Io& io) {
  auto& step = static_cast<ReplicaStep&>(io);
  ReplicaChannel& channel = *step.channel;
  step.port->end(step.generation);
  if (step.num_clusters > 0 && step.status.is_success()) {
    ++step.index;
    --step.num_clusters;
    channel.continue_row(step);
    return;
  }
  channel.end_step(step, step.status);
}

void ReplicaChannel::end_step(ReplicaStep& step, Status status) {
  block::Io& io = *step.whole;
  disk_.give_back(step);
  auto& whole = block::DriverArea::get<Whole>(io);
  --whole.under_way;
  if (!status.is_success() && whole.status.is_success()) whole.status = status;
  advance(io);
}

}  // namespace cairn::pool
