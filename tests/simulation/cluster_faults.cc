// How each fault is done to the cluster, and taken back.
#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "simulation/cluster.h"

namespace cairn::simulation {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr const char* kFiller = "filler";
constexpr const char* kSnapshotPrefix = "snapshot";

// One node of the group (a bit each), one that is not in it.
std::vector<std::pair<size_t, size_t>> pairs_across(uint64_t group) {
  std::vector<std::pair<size_t, size_t>> pairs;
  for (size_t one = 0; one < Cluster::kNumNodes; ++one) {
    for (size_t another = 0; another < Cluster::kNumNodes; ++another) {
      if ((group >> one & 1) != 0 && (group >> another & 1) == 0) pairs.emplace_back(one, another);
    }
  }
  return pairs;
}

}  // namespace

void Cluster::lift_later(const Fault& fault, std::function<void()> lift) {
  world_.after(fault.lasting, [this, lift = std::move(lift)] {
    if (!trouble_over_) lift();  // else everything has been lifted at once
  });
}

void Cluster::change_disk(size_t index, std::function<void(sim::DiskFaults&)> change) {
  sim::DiskFaults faults = disk(index).faults();
  change(faults);
  disk(index).set_faults(faults);
}

void Cluster::begin_by_hand(size_t index, const char* name, Task<> task) {
  ++num_by_hand_[index];
  auto counted = [](Task<> begun, unsigned& count) -> Task<> {
    co_await std::move(begun);
    --count;
  };
  storage_[index]->reactor(0).spawn(name, counted(std::move(task), num_by_hand_[index]));
}

void Cluster::take_back(size_t index, std::vector<bool>& begun, const char* name,
                        Task<bool> (*undo)(EngineProgram& engine)) {
  if (!begun[index]) return;
  if (storage_[index]->running() && num_by_hand_[index] == 0) {
    const runtime::Reactor::Scope scope(storage_[index]->reactor(0));
    auto noted = [](Task<bool> undoing, std::vector<bool>::reference left, const unsigned& num_by_hand) -> Task<> {
      if (co_await std::move(undoing)) left = num_by_hand > 0;
    };
    storage_[index]->reactor(0).spawn(name, noted(undo(engine(index)), begun[index], num_by_hand_[index]));
  }
  world_.after(seconds(2), [this, index, &begun, name, undo] { take_back(index, begun, name, undo); });
}

// All but a little of the pool is taken by somebody else.
void Cluster::fill_pool(size_t index) {
  if (!storage_[index]->running()) return;
  filled_[index] = true;
  const runtime::Reactor::Scope scope(storage_[index]->reactor(0));
  auto fill = [](EngineProgram& engine) -> Task<> {
    const auto pool = engine.pools->find(kPoolName);
    if (pool == nullptr) co_return;
    const auto info = pool->info();
    const uint64_t free = info.capacity - info.used;
    if (free < info.cluster_size) co_return;
    static_cast<void>(co_await pool->create_replica(
        {.name = kFiller, .uuid = Uuid::of_name(Uuid(), kFiller), .size_bytes = free, .thin = false, .entity_id = {}}));
  };
  begin_by_hand(index, "fill pool", fill(engine(index)));
}

void Cluster::empty_pool(size_t index) {
  take_back(index, filled_, "empty pool", [](EngineProgram& engine) -> Task<bool> {
    if (engine.pools->find(kPoolName) == nullptr) co_return false;
    co_return (co_await engine.destroy_replica(kFiller)).has_value();
  });
}

// Of the replica, so that writes to it have to take new clusters; named so that they come one after the other.
void Cluster::take_snapshot(size_t index) {
  if (!storage_[index]->running()) return;
  snapshotted_[index] = true;
  const runtime::Reactor::Scope scope(storage_[index]->reactor(0));
  auto take = [](EngineProgram& engine, std::string of, std::string name) -> Task<> {
    const auto replica = engine.pools->find_volume(of);
    if (replica == nullptr) co_return;
    static_cast<void>(
        co_await replica->pool().create_snapshot(replica, {.name = name,
                                                           .uuid = Uuid::of_name(Uuid(), name).to_string(),
                                                           .entity_id = "somebody",
                                                           .txn_id = name,
                                                           .create_time = "2024-01-01 00:00:00 UTC"}));
  };
  begin_by_hand(
      index, "take snapshot",
      take(engine(index), volume_.replicas[index].name, fmt::format("{}{}", kSnapshotPrefix, ++num_snapshots_)));
}

void Cluster::drop_snapshots(size_t index) {
  take_back(index, snapshotted_, "drop snapshot", [](EngineProgram& engine) -> Task<bool> {
    for (;;) {
      const auto pool = engine.pools->find(kPoolName);
      if (pool == nullptr) co_return false;
      std::shared_ptr<pool::Replica> snapshot;
      for (const auto& volume : pool->volumes()) {
        if (volume->name().starts_with(kSnapshotPrefix)) snapshot = volume;
      }
      if (snapshot == nullptr) co_return true;
      if (!co_await pool->destroy_snapshot(std::move(snapshot))) co_return false;
    }
  });
}

// By hand; refused when it is the last one, or when nothing is wrong with it.
void Cluster::change_child(const Fault& fault, ChildChange change) {
  const auto nexus = current_nexus();
  if (nexus == nullptr) return;
  const auto children = nexus->children();
  const std::string uuid = volume_.replicas[fault.node].uuid.to_string();
  const auto child =
      fault.aim == Aim::kNode
          ? children.begin() + static_cast<ptrdiff_t>(fault.parameter % children.size())
          : std::ranges::find_if(children, [&](const auto& each) { return each.uri.ends_with("uuid=" + uuid); });
  if (child == children.end()) return;
  sim::Node& target = *storage_[*volume_.target];
  const runtime::Reactor::Scope scope(target.reactor(0));
  auto do_it = [](EngineProgram& engine, VolumeSpec spec, ChildChange what, std::string uri) -> Task<> {
    static_cast<void>(co_await engine.change_child(spec, what, uri));
  };
  target.reactor(0).spawn("change child", do_it(engine(*volume_.target), volume_.spec, change, child->uri));
}

size_t Cluster::node_of(Aim aim, size_t drawn) const {
  switch (aim) {
    case Aim::kNexus:
      if (volume_.target) return *volume_.target;
      break;
    case Aim::kOther:
      if (volume_.target) return (*volume_.target + 1 + drawn % (kNumStorage - 1)) % kNumStorage;
      break;
    case Aim::kCued:
      return cued_node_;
    case Aim::kNode:
      break;
  }
  return drawn;
}

void Cluster::begin(const Fault& fault) {
  if (trouble_over_) return;
  if (fault.cue == Cue::kNone) {
    apply(fault);
  } else {
    waiting_.push_back(fault);
  }
}

void Cluster::give_cue(Cue cue, size_t node) {
  for (size_t i = 0; i < waiting_.size();) {
    if (waiting_[i].cue != cue) {
      ++i;
      continue;
    }
    coverage_.count(fmt::format("cue {}", to_text(cue)));
    world_.after(waiting_[i].lag, [this, fault = waiting_[i], node] {
      cued_node_ = node;
      if (!trouble_over_) apply(fault);
    });
    waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(i));
  }
}

// Nobody can be killed twice.
bool Cluster::finds_its_object(const Fault& fault) {
  sim::Node& storage = *storage_[fault.node];
  switch (fault.kind) {
    case FaultKind::kKillProcess:
    case FaultKind::kClockJump:
      return storage.running();
    case FaultKind::kPowerLoss:
      return storage.powered();
    case FaultKind::kKillClient:
    case FaultKind::kPowerLossClient:
      return client_->running();
    case FaultKind::kKillControl:
      return control_->running();
    case FaultKind::kStoreDown:
      return store_->running();
    case FaultKind::kPause:
      return paused_by(fault).running();
    case FaultKind::kDiskFull:
    case FaultKind::kSnapshot:
      return storage.running() && engine(fault.node).pools->find(kPoolName) != nullptr;
    case FaultKind::kMoveVolume:
      return volume_.target != fault.node;
    case FaultKind::kFaultChild:
    case FaultKind::kOnlineChild:
      return current_nexus() != nullptr;
    default:
      return true;
  }
}

void Cluster::apply(const Fault& drawn) {
  Fault fault = drawn;
  fault.node = node_of(drawn.aim, drawn.node % kNumStorage);
  fault.other = drawn.other_aim == Aim::kNode ? drawn.other : node_of(drawn.other_aim, drawn.other % kNumStorage);
  if (fault.other == fault.node) fault.other = (fault.node + 1) % kNumStorage;
  const size_t index = fault.node;
  sim::Node& storage = *storage_[index];
  sim::Node& other = node(fault.other);
  sim::Network& network = world_.network();
  world_.note(fault.to_string());
  log::info("fault: {}", fault.to_string());
  coverage_.count(fmt::format("fault {}{}", to_text(fault.kind), finds_its_object(fault) ? "" : ", in vain"));
  if (!fault.scene.empty()) coverage_.count(fmt::format("faults of scene {}", fault.scene));
  switch (fault.kind) {
    case FaultKind::kKillProcess:
    case FaultKind::kPowerLoss:
      crash_storage(index, fault.kind == FaultKind::kKillProcess ? sim::CrashKind::kKill : sim::CrashKind::kPowerLoss);
      lift_later(fault, [this, index] { start_storage(index); });
      break;
    case FaultKind::kPowerLossAll:
      for (size_t i = 0; i < kNumStorage; ++i) {
        crash_storage(i, sim::CrashKind::kPowerLoss);
        // They do not start at the same time.
        world_.after(fault.lasting + milliseconds((fault.parameter >> 8 * i) % 2000), [this, i] {
          if (!trouble_over_) start_storage(i);
        });
      }
      break;
    case FaultKind::kKillClient:
    case FaultKind::kPowerLossClient:
      crash_client(fault.kind == FaultKind::kKillClient ? sim::CrashKind::kKill : sim::CrashKind::kPowerLoss);
      lift_later(fault, [this] { start_client(); });
      // By then neither its connections nor anything they carried is left.
      world_.after(seconds(180), [this, since = world_.now()] { client_state_.settle_limbo(since); });
      break;
    case FaultKind::kKillControl:
      if (control_->running()) control_->crash(sim::CrashKind::kKill);
      lift_later(fault, [this] { start_control(); });
      break;
    case FaultKind::kStoreDown:
      if (store_->running()) store_->crash(sim::CrashKind::kKill);
      lift_later(fault, [this] { start_store(); });
      break;
    case FaultKind::kStoreSlow:
      store_delay_ = milliseconds(100 + fault.parameter % 4000);
      lift_later(fault, [this] { store_delay_ = {}; });
      break;
    case FaultKind::kPause: {
      sim::Node& paused = paused_by(fault);
      if (paused.running()) {
        paused.pause(fault.lasting);
        pauses_end_ = std::max(pauses_end_, world_.now() + fault.lasting);
      }
      break;
    }
    case FaultKind::kClockJump:
      storage.jump_clock(milliseconds(fault.parameter % 60000));
      break;
    case FaultKind::kWriteErrors:
      change_disk(index, [&](sim::DiskFaults& disk) {
        disk.write_error = -EIO;
        disk.dirty_errors = fault.parameter % 2 == 0;
      });
      lift_later(fault, [this, index] { change_disk(index, [](sim::DiskFaults& disk) { disk.write_error = 0; }); });
      break;
    case FaultKind::kSomeErrors:
      change_disk(index, [&](sim::DiskFaults& disk) {
        disk.dirty_errors = fault.parameter / 5 % 2 == 0;
        disk.read_error_one_in = static_cast<uint32_t>(5 + fault.parameter % 50);
        disk.write_error_one_in = static_cast<uint32_t>(20 + fault.parameter % 500);
        disk.flush_error_one_in = static_cast<uint32_t>(fault.parameter % 3 * 20);
      });
      lift_later(fault, [this, index] {
        change_disk(index, [](sim::DiskFaults& disk) {
          disk.read_error_one_in = disk.write_error_one_in = disk.flush_error_one_in = 0;
        });
      });
      break;
    case FaultKind::kBadBlocks: {
      const uint64_t offset = (2 << 20) + fault.parameter % (14 << 20) / 512 * 512;
      storage.files().fail_reads(kDisk, offset, 512 + fault.parameter / 7 % 64 * 512);
      break;
    }
    case FaultKind::kDiskHangs:
      change_disk(index, [](sim::DiskFaults& disk) { disk.hang = true; });
      lift_later(fault, [this, index] { change_disk(index, [](sim::DiskFaults& disk) { disk.hang = false; }); });
      break;
    case FaultKind::kDiskSlow:
      change_disk(index,
                  [&](sim::DiskFaults& disk) { disk.slow_factor = static_cast<uint32_t>(2 + fault.parameter % 2000); });
      lift_later(fault, [this, index] { change_disk(index, [](sim::DiskFaults& disk) { disk.slow_factor = 1; }); });
      break;
    case FaultKind::kDiskStalls:
      change_disk(index, [&](sim::DiskFaults& disk) {
        disk.stall_one_in = static_cast<uint32_t>(4 + fault.parameter % 100);
        disk.longest_stall = milliseconds(200 + fault.parameter / 100 % 6000);
      });
      lift_later(fault, [this, index] { change_disk(index, [](sim::DiskFaults& disk) { disk.stall_one_in = 0; }); });
      break;
    case FaultKind::kSnapshot:
      take_snapshot(index);
      lift_later(fault, [this, index] { drop_snapshots(index); });
      break;
    case FaultKind::kDiskFull:
      fill_pool(index);
      lift_later(fault, [this, index] { empty_pool(index); });
      break;
    case FaultKind::kCutLink:
      network.cut_both(storage, other);
      lift_later(fault, [this, &storage, &other] { world_.network().heal_both(storage, other); });
      break;
    case FaultKind::kCutOneWay: {
      sim::Node& from = fault.parameter % 2 == 0 ? storage : other;
      sim::Node& to = fault.parameter % 2 == 0 ? other : storage;
      network.cut(from, to);
      lift_later(fault, [this, &from, &to] { world_.network().heal(from, to); });
      break;
    }
    case FaultKind::kIsolate:
      network.isolate(storage);
      lift_later(fault, [this, index] {
        for (size_t i = 0; i < kNumNodes; ++i) {
          if (&node(i) != storage_[index]) world_.network().heal_both(*storage_[index], node(i));
        }
      });
      break;
    case FaultKind::kPartition: {
      for (const auto& [one, another] : pairs_across(fault.parameter)) network.cut_both(node(one), node(another));
      lift_later(fault, [this, group = fault.parameter] {
        for (const auto& [one, another] : pairs_across(group)) world_.network().heal_both(node(one), node(another));
      });
      break;
    }
    case FaultKind::kLoss: {
      const auto one_in = static_cast<uint32_t>(2 + fault.parameter % 30);
      network.set_loss(storage, other, one_in);
      network.set_loss(other, storage, one_in);
      lift_later(fault, [this, &storage, &other] {
        world_.network().set_loss(storage, other, 0);
        world_.network().set_loss(other, storage, 0);
      });
      break;
    }
    case FaultKind::kSlowLink: {
      const auto factor = static_cast<uint32_t>(2 + fault.parameter % 300);
      network.set_slowness(storage, other, factor);
      network.set_slowness(other, storage, factor);
      lift_later(fault, [this, &storage, &other] {
        world_.network().set_slowness(storage, other, 1);
        world_.network().set_slowness(other, storage, 1);
      });
      break;
    }
    case FaultKind::kResetConnections:
      network.reset_connections(storage, other);
      break;
    case FaultKind::kMoveVolume:
      volume_.wanted_target = index;
      break;
    case FaultKind::kFaultChild:
      change_child(fault, ChildChange::kOffline);
      break;
    case FaultKind::kOnlineChild:
      change_child(fault, ChildChange::kOnline);
      break;
  }
}

}  // namespace cairn::simulation
