#include "simulation/neighbours.h"

#include <algorithm>
#include <cstring>

#include "block/io_wait.h"

namespace cairn::simulation {

using block::IoType;

namespace {

constexpr uint64_t kClusterBytes = 1 << 20;
constexpr uint64_t kBlockBytes = 512;
constexpr size_t kMostVolumes = 3;
constexpr uint64_t kPiecesRead = 4;

}  // namespace

Neighbours::Neighbours(uint64_t seed, std::function<void(size_t)> on_change)
    : on_change_(std::move(on_change)), random_(seed) {}

void Neighbours::begin(sim::World& world, std::vector<sim::Node*> storage, Duration pause) {
  world_ = &world;
  storage_ = std::move(storage);
  sites_.resize(storage_.size());
  for (size_t i = 0; i < storage_.size(); ++i) tick(i, pause);
}

bool Neighbours::idle() const {
  for (size_t i = 0; i < sites_.size(); ++i) {
    if (!storage_[i]->running()) continue;
    if (storage_[i]->program<EngineProgram>().boot() == sites_[i].busy_boot) return false;
  }
  return true;
}

void Neighbours::tick(size_t node, Duration pause) {
  if (stopped_) return;
  if (storage_[node]->running()) {
    auto& engine = storage_[node]->program<EngineProgram>();
    if (sites_[node].busy_boot != engine.boot() && engine.pools->find(kPoolName) != nullptr) {
      sites_[node].busy_boot = engine.boot();
      const runtime::Reactor::Scope scope(storage_[node]->reactor(0));
      storage_[node]->reactor(0).spawn("neighbour", operate(engine, node));
    }
  }
  world_->after(Duration(random_.below(2 * static_cast<uint64_t>(pause.count()))),
                [this, node, pause] { tick(node, pause); });
}

Task<> Neighbours::operate(EngineProgram& engine, size_t node) {
  Site& site = sites_[node];
  look_for(engine, node);
  if (site.volumes.empty() || (site.volumes.size() < kMostVolumes && random_.one_in(6))) {
    co_await make(engine, node);
  } else {
    const auto chosen = std::next(site.volumes.begin(), static_cast<ptrdiff_t>(random_.below(site.volumes.size())));
    const std::string name = chosen->first;
    if (chosen->second.state == State::kGoing || random_.one_in(8)) {
      co_await destroy(engine, node, name);
    } else if (random_.one_in(3)) {
      co_await read(engine, node, name, false);
    } else {
      co_await write(engine, node, name);
    }
  }
  site.busy_boot = 0;
}

void Neighbours::look_for(EngineProgram& engine, size_t node) {
  for (auto each = sites_[node].volumes.begin(); each != sites_[node].volumes.end();) {
    Volume& volume = each->second;
    const bool there = engine.pools->find_volume(each->first) != nullptr;
    if (volume.state == State::kThere && !there) {
      note_failure(fmt::format("{}, which was made on {}, is gone", each->first, storage_[node]->name()));
    }
    if (volume.state == State::kMaking && there) volume.state = State::kThere;
    each = there ? std::next(each) : sites_[node].volumes.erase(each);
  }
}

Task<> Neighbours::make(EngineProgram& engine, size_t node) {
  const auto pool = engine.pools->find(kPoolName);
  if (pool == nullptr) co_return;
  const std::string name = fmt::format("neighbour{}", next_number_++);
  Volume& volume = sites_[node].volumes[name];
  // Small ones are allocated when they are made, whether thin or not; large ones are not, behind the first 8 clusters.
  volume.num_clusters = random_.one_in(2) ? 2 + random_.below(4) : 9 + random_.below(5);
  on_change_(node);
  const auto made = co_await pool->create_replica({.name = name,
                                                   .uuid = Uuid::of_name(Uuid(), name),
                                                   .size_bytes = volume.num_clusters * kClusterBytes,
                                                   .thin = random_.below(4) != 0,
                                                   .entity_id = {}});
  if (!made) co_return;  // looked for next time
  volume.state = State::kThere;
  ++num_made_;
}

Task<> Neighbours::destroy(EngineProgram& engine, size_t node, std::string name) {
  sites_[node].volumes[name].state = State::kGoing;
  on_change_(node);
  const auto destroyed = co_await engine.destroy_replica(name);
  if (!destroyed) co_return;
  sites_[node].volumes.erase(name);
  ++num_destroyed_;
}

uint64_t Neighbours::place_of(uint64_t piece) const {
  return piece / kPiecesOfCluster * (kClusterBytes / kBlockBytes) + piece % kPiecesOfCluster * kPieceBlocks;
}

Task<> Neighbours::write(EngineProgram& engine, size_t node, std::string name) {
  const auto device = engine.devices.find(name);
  if (device == nullptr) co_return;
  auto channel = co_await device->open_channel();
  if (!channel) co_return;
  Volume& volume = sites_[node].volumes[name];
  const uint64_t lba = place_of(random_.below(volume.num_clusters * kPiecesOfCluster));
  auto& holds = volume.pieces.try_emplace(lba, std::vector<uint64_t>{0}).first->second;
  const uint64_t number = next_number_++;
  holds.push_back(number);
  std::vector<std::byte> data(kPieceBlocks * kBlockBytes);
  for (size_t at = 0; at < data.size(); at += sizeof number) std::memcpy(&data[at], &number, sizeof number);
  iovec piece{data.data(), data.size()};
  on_change_(node);
  const auto status = co_await block::perform(
      **channel, {.type = IoType::kWrite, .lba = lba, .num_blocks = kPieceBlocks, .data = {&piece, 1}, .fua = true});
  if (!status.is_success()) co_return;
  holds = {number};
  ++num_writes_;
}

// Some pieces, or all; then errors are failures.
Task<> Neighbours::read(EngineProgram& engine, size_t node, std::string name, bool all) {
  const auto device = engine.devices.find(name);
  if (device == nullptr) co_return;
  auto channel = co_await device->open_channel();
  if (!channel) co_return;
  const Volume& volume = sites_[node].volumes[name];
  std::vector<std::byte> data(kPieceBlocks * kBlockBytes);
  const uint64_t num_pieces = volume.num_clusters * kPiecesOfCluster;
  for (uint64_t i = 0; i < (all ? num_pieces : kPiecesRead); ++i) {
    const uint64_t lba = place_of(all ? i : random_.below(num_pieces));
    iovec piece{data.data(), data.size()};
    const auto status =
        co_await block::perform(**channel, {.lba = lba, .num_blocks = kPieceBlocks, .data = {&piece, 1}});
    if (!status.is_success()) {
      if (all) note_failure(fmt::format("{} cannot be read: {}", name, status.to_string()));
      co_return;
    }
    const auto written = volume.pieces.find(lba);
    const std::vector<uint64_t> holds = written != volume.pieces.end() ? written->second : std::vector<uint64_t>{0};
    for (size_t at = 0; at < data.size(); at += sizeof(uint64_t)) {
      uint64_t number = 0;
      std::memcpy(&number, &data[at], sizeof number);
      if (std::ranges::find(holds, number) != holds.end()) continue;
      note_failure(fmt::format("{} on {}: block {} holds {} instead of {}", name, storage_[node]->name(),
                               lba + at / kBlockBytes, number, holds.back()));
      co_return;
    }
  }
  if (all) co_await read_unwritten(**channel, node, name);
}

// A place in each cluster to which nothing was ever written.
Task<> Neighbours::read_unwritten(block::Channel& channel, size_t node, std::string name) {
  constexpr uint64_t kClusterBlocks = kClusterBytes / kBlockBytes;
  constexpr uint64_t kWritten = kPiecesOfCluster * kPieceBlocks;
  std::vector<std::byte> data(kPieceBlocks * kBlockBytes);
  for (uint64_t cluster = 0; cluster < sites_[node].volumes[name].num_clusters; ++cluster) {
    const uint64_t lba =
        cluster * kClusterBlocks + kWritten + random_.below(kClusterBlocks - kWritten - kPieceBlocks + 1);
    iovec piece{data.data(), data.size()};
    const auto status = co_await block::perform(channel, {.lba = lba, .num_blocks = kPieceBlocks, .data = {&piece, 1}});
    if (!status.is_success()) {
      note_failure(fmt::format("{} cannot be read: {}", name, status.to_string()));
    } else if (std::ranges::any_of(data, [](std::byte byte) { return byte != std::byte{0}; })) {
      note_failure(fmt::format("{} on {}: blocks {} to {} hold something, and nobody wrote there", name,
                               storage_[node]->name(), lba, lba + kPieceBlocks - 1));
    }
  }
}

Task<> Neighbours::verify(EngineProgram& engine, size_t node) {
  if (sites_.empty()) co_return;
  look_for(engine, node);
  std::vector<std::string> names;
  for (const auto& [name, volume] : sites_[node].volumes) {
    if (volume.state == State::kThere) names.push_back(name);
  }
  for (const std::string& name : names) co_await read(engine, node, name, true);
}

}  // namespace cairn::simulation
