// Silent damage, once everything is healed: a few blocks of one replica rot on the medium, and its disk loses a write
// or puts it where another block lies. No read could tell; a scrub has to find all of them and nothing else, and to
// repair them by the majority.
#include <algorithm>
#include <cstring>
#include <set>

#include "simulation/cluster.h"

namespace cairn::simulation {

using std::chrono::seconds;

namespace {

constexpr uint64_t kBlockBytes = 512;
constexpr uint64_t kMostDamaged = 12;

// All of the volume; nothing is left in a cache.
Task<Result<std::vector<std::byte>>> flush_and_read(std::shared_ptr<nexus::Nexus> volume, uint64_t num_blocks) {
  auto channel = co_await volume->open_channel();
  if (!channel) co_return fail(std::move(channel.error()));
  auto status = co_await block::perform(**channel, {.type = block::IoType::kFlush});
  std::vector<std::byte> data(num_blocks * kBlockBytes);
  const uint64_t step = 256;
  for (uint64_t lba = 0; lba < num_blocks && status.is_success(); lba += step) {
    const uint64_t count = std::min(step, num_blocks - lba);
    iovec piece{data.data() + lba * kBlockBytes, count * kBlockBytes};
    status = co_await block::perform(**channel, {.lba = lba, .num_blocks = count, .data = {&piece, 1}});
  }
  if (!status.is_success()) co_return fail(Code::kInternal, status.to_string());
  co_return data;
}

// One block by a channel of its own.
Task<nvme::Status> write_block(std::shared_ptr<nexus::Nexus> volume, uint64_t lba, std::vector<std::byte> data) {
  auto channel = co_await volume->open_channel();
  if (!channel) co_return nvme::Status::generic(nvme::GenericStatus::kInternalError);
  iovec piece{data.data(), data.size()};
  co_return co_await block::perform(**channel,
                                    {.type = block::IoType::kWrite, .lba = lba, .num_blocks = 1, .data = {&piece, 1}});
}

// Where a disk holds one of these blocks.
std::vector<uint64_t> find_blocks(const sim::FileSystem& files, const std::vector<std::span<const std::byte>>& blocks) {
  std::vector<uint64_t> offsets;
  std::vector<std::byte> some(64 << 10);
  static_assert(Cluster::kDiskBytes % (64 << 10) == 0);
  for (uint64_t start = 0; start < Cluster::kDiskBytes; start += some.size()) {
    files.read_content(kDisk, start, some);
    for (uint64_t at = 0; at < some.size(); at += kBlockBytes) {
      const bool is_one = std::ranges::any_of(
          blocks, [&](const auto& block) { return std::memcmp(&some[at], block.data(), kBlockBytes) == 0; });
      if (is_one) offsets.push_back(start + at);
    }
  }
  return offsets;
}

}  // namespace

// Adds to `damaged` what one disk has not got, or has got where it does not belong. `data`: what the volume held.
std::string Cluster::misplace_writes(size_t node, const std::vector<std::byte>& data, std::set<uint64_t>& damaged) {
  runtime::Random& random = world_.random();
  // Until no region of the write-intent log is given back by itself: that would be lost as well.
  wait_until([] { return false; }, seconds(10));
  for (unsigned left = 2; left > 0; --left) {
    const uint64_t lba = random.below(num_blocks()), victim = random.below(num_blocks());
    const auto offsets =
        find_blocks(storage_[node]->files(), {std::span(data).subspan(victim * kBlockBytes, kBlockBytes)});
    const bool misdirected = victim != lba && !damaged.contains(victim) && offsets.size() == 1;
    for (const bool badly : {false, true}) {
      const auto write = client_state_.history.begin_write(lba, 1, false, false);
      const sim::DiskCounters before = disk(node).counters();
      if (badly && misdirected) {
        disk(node).set_faults({.misdirect_write_one_in = 1, .misdirect_to = offsets.front()});
      } else if (badly) {
        disk(node).set_faults({.lose_write_one_in = 1});
      }
      const auto written =
          run_on(*storage_[*volume_.target], write_block(current_nexus(), lba, BlockHistory::data_of(write)));
      disk(node).set_faults({});
      if (!written || !written->is_success()) return "scrub: a block cannot be written";
      client_state_.history.acknowledge(write);
      const sim::DiskCounters& after = disk(node).counters();
      const uint64_t num_bad =
          after.lost_writes - before.lost_writes + after.misdirected_writes - before.misdirected_writes;
      if (num_bad != (badly ? 1 : 0)) return fmt::format("scrub: {} writes instead of one were misplaced", num_bad);
    }
    damaged.insert(lba);
    if (misdirected) damaged.insert(victim);
    coverage_.count(misdirected ? "fault misdirected_write" : "fault lost_write");
  }
  return {};
}

std::string Cluster::damage_and_scrub() {
  runtime::Random& random = world_.random();
  sim::Node& target = *storage_[*volume_.target];
  const auto nexus = current_nexus();
  if (nexus == nullptr) return "scrub: no nexus";
  const auto data = run_on(target, flush_and_read(nexus, num_blocks()));
  if (!data || !*data) return fmt::format("scrub: {}", data ? data->error().to_string() : "a read takes for ever");
  const size_t damaged_node = random.below(kNumStorage);
  std::set<uint64_t> damaged;
  std::vector<std::span<const std::byte>> blocks;
  for (uint64_t left = 1 + random.below(kMostDamaged); left > 0; --left) {
    const uint64_t lba = random.below(num_blocks());
    const auto block = std::span(**data).subspan(lba * kBlockBytes, kBlockBytes);
    if (std::ranges::all_of(block, [](std::byte byte) { return byte == std::byte{0}; })) continue;  // it is everywhere
    if (damaged.insert(lba).second) blocks.push_back(block);
  }
  // Also where they were once: what is free now.
  sim::FileSystem& files = storage_[damaged_node]->files();
  for (const uint64_t offset : find_blocks(files, blocks)) {
    files.flip_bits(kDisk, offset + random.below(kBlockBytes), std::byte{0x10});
  }
  coverage_.count("fault bit_rot", damaged.size());
  if (auto wrong = misplace_writes(damaged_node, **data, damaged); !wrong.empty()) return wrong;
  {
    const runtime::Reactor::Scope scope(target.reactor(0));
    const auto started = nexus->start_scrub({.repair = nexus::ScrubRepair::kMajority, .source_uri = {}});
    if (!started) return "scrub: " + started.error().to_string();
  }
  if (!wait_until([&] { return nexus->scrub_report()->state != nexus::ScrubState::kRunning; }, kOperationLimit)) {
    return "the scrub does not end\n" + world_.waiting_tasks();
  }
  const nexus::ScrubReport report = *nexus->scrub_report();
  if (report.state != nexus::ScrubState::kCompleted) return "scrub: " + report.failure;
  // It compares and repairs in larger pieces.
  std::set<uint64_t> found;
  for (const nexus::ScrubDifference& difference : report.differences) {
    const auto begin = damaged.lower_bound(difference.lba),
               end = damaged.lower_bound(difference.lba + difference.num_blocks);
    found.insert(begin, end);
    const bool blamed = difference.deviating.size() == 1 && node_at(difference.deviating.front()) == damaged_node;
    if (begin != end && blamed && difference.repaired) continue;
    return fmt::format("scrub: blocks {} to {}: {}", difference.lba, difference.lba + difference.num_blocks - 1,
                       begin == end ? "they are not damaged"
                       : !blamed    ? "the wrong child is blamed"
                                    : "not repaired");
  }
  if (found != damaged) return fmt::format("scrub: of {} damaged blocks {} are found", damaged.size(), found.size());
  coverage_.count("scrubs of damaged replicas");
  coverage_.count("damaged blocks repaired", damaged.size());
  return {};
}

}  // namespace cairn::simulation
