#include "simulation/cluster.h"

#include <algorithm>

#include "base/log.h"
#include "nexus/geometry.h"

namespace cairn::simulation {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

// The first 8 MiB of every replica are allocated when it is made; only of what lies behind them thin ones have holes.
uint64_t draw_replica_bytes(uint64_t seed) {
  return runtime::Random(seed + 2).one_in(2) ? 8 << 20 : 12 << 20;
}

uint64_t nexus_blocks(uint64_t replica_bytes) {
  constexpr uint32_t kBlockBytes = BlockHistory::kBlockSize;
  return *nexus::data_end(replica_bytes / kBlockBytes, kBlockBytes, replica_bytes) - nexus::data_start(kBlockBytes);
}

}  // namespace

Cluster::Cluster(const ClusterOptions& options)
    : options_(options),
      replica_bytes_(draw_replica_bytes(options.seed)),
      client_state_(nexus_blocks(replica_bytes_)),
      filled_(kNumStorage),
      snapshotted_(kNumStorage),
      num_by_hand_(kNumStorage),
      allocated_clusters_(kNumStorage),
      neighbours_(runtime::Random(options.seed + 1).next(), [this](size_t node) { give_cue(Cue::kPoolChanges, node); }),
      world_({.seed = options.seed, .trace_text = options.trace_text}) {
  for (size_t i = 0; i < kNumStorage; ++i) {
    storage_.push_back(&world_.add_node({.name = fmt::format("storage{}", i), .num_reactors = 2}));
    storage_.back()->files().add_block_device(
        kDisk, {.size_bytes = kDiskBytes, .disk = {.tear_unit = world_.random().one_in(2) ? 512u : 4096u}});
  }
  store_ = &world_.add_node({.name = "store", .num_reactors = 1, .buffer_pool_bytes = 1 << 20});
  control_ = &world_.add_node({.name = "control", .num_reactors = 1, .buffer_pool_bytes = 1 << 20});
  client_ = &world_.add_node({.name = "client", .num_reactors = 2, .buffer_pool_bytes = 1 << 20});

  volume_.spec = {.uuid = *Uuid::parse("11111111-2222-4333-8444-555555555555"),
                  .size_bytes = replica_bytes_,
                  .thin = !world_.random().one_in(4)};
  for (size_t i = 0; i < kNumStorage; ++i) {
    const std::string name = fmt::format("replica{}", i);
    volume_.replicas.push_back({.name = name, .uuid = Uuid::of_name(volume_.spec.uuid, name), .node = i});
  }
  // Some clients flush all the time, others never.
  constexpr uint64_t kFlushes[] = {8, 16, 100, 1000};
  constexpr uint64_t kFuas[] = {2, 8, 100};
  client_options_.flush_one_in = kFlushes[world_.random().below(std::size(kFlushes))];
  client_options_.fua_one_in = kFuas[world_.random().below(std::size(kFuas))];
  client_options_.write_percent = 30 + world_.random().below(50);
  constexpr uint64_t kHotBlocks[] = {0, 48, 48, 400};
  client_options_.hot_blocks = kHotBlocks[world_.random().below(std::size(kHotBlocks))];
  client_options_.hot_lba = world_.random().below(num_blocks() - client_options_.hot_blocks);
  // Rebuilds of no time, and of some seconds.
  constexpr uint64_t kRebuildRates[] = {0, 512 << 10, 3 << 20};
  engine_options_.rebuild_limits.max_bytes_per_second = kRebuildRates[world_.random().below(std::size(kRebuildRates))];
  // Of a hundred regions or of two.
  constexpr uint64_t kLogRegions[] = {64 << 10, 256 << 10, 4 << 20};
  engine_options_.log_region_bytes = kLogRegions[world_.random().below(std::size(kLogRegions))];
  // Zeroes in many small portions, or whole clusters, which are given back to the pool.
  engine_options_.first_zeroing_bytes = world_.random().one_in(2) ? 16 << 10 : 1 << 20;
  store_content_.refuses_sealed = world_.random().one_in(2);
  site_.storage = storage_;
  site_.store = store_;
  site_.volume = &volume_;
  site_.client = client_;
  site_.counters = &control_counters_;
  site_.allow_path = [this](size_t node, bool may) {
    ++client_state_.paths_version;
    if (may) {
      client_state_.shunned.erase(node);
    } else {
      client_state_.shunned.insert(node);
    }
  };
  site_.change_paths = [this] { return client_->program<ClientProgram>().change_paths(); };
  site_.fence_by_power = [this](size_t index) {
    note_late_remedy(fmt::format("{} had to be switched off", storage_[index]->name()));
    crash_storage(index, sim::CrashKind::kPowerLoss);
    const Duration off = milliseconds(500 + world_.random().below(15000));
    world_.after(off, [this, index] { start_storage(index); });
  };
  site_.restart_process = [this](size_t index, bool for_its_pool) {
    if (!for_its_pool) {
      note_late_remedy(fmt::format("the process of {} had to be started anew", storage_[index]->name()));
    }
    crash_storage(index, sim::CrashKind::kKill);
    world_.after(milliseconds(500), [this, index] { start_storage(index); });
  };
  site_.on_given = [this](const ReplicaEntry& replica, std::optional<std::vector<std::string>> hosts) {
    if (hosts) {
      given_to_[replica.name] = std::move(*hosts);
    } else {
      given_to_.erase(replica.name);
    }
  };
  // One that lost its cache may be the one that the others are made equal to.
  site_.on_nexus_begins = [this](const std::vector<ReplicaEntry*>& first) {
    give_cue(Cue::kNexusBegins, first.front()->node);
    // What a client that died had sent, it had sent to another nexus.
    client_state_.settle_limbo(world_.now());
    if (std::ranges::none_of(first, &ReplicaEntry::volatile_loss)) return;
    for (ReplicaEntry* replica : first) replica->volatile_loss = false;
    client_state_.history.lose_volatile();
    log::info("a nexus begins with a replica that lost its cache");
    coverage_.count("nexus begins with a replica that lost its cache");
  };
  store_content_.on_saved = [this](const std::string& key, const HealthRecord& record) {
    note_record(key, record);
    give_cue(Cue::kRecordSaved, volume_.target.value_or(0));
  };
  site_.on_view = [this](const NexusView& view) {
    const bool whole = view.status == nexus::NexusStatus::kOnline && view.num_rebuilds == 0 &&
                       view.children.size() == kNumStorage &&
                       (!volume_.wanted_target || volume_.wanted_target == volume_.target);
    if (!whole) {
      whole_since_.reset();
    } else if (!whole_since_) {
      whole_since_ = world_.now();
    }
  };
}

Cluster::~Cluster() = default;

void Cluster::start_storage(size_t index) {
  if (storage_[index]->running()) return;
  num_by_hand_[index] = 0;
  storage_[index]->start([this, boot = ++boots_](sim::Node& node) {
    return std::make_unique<EngineProgram>(node, *store_, boot, engine_options_);
  });
}

void Cluster::start_store() {
  if (store_->running()) return;
  store_->start([this](sim::Node&) { return std::make_unique<HealthStoreServer>(store_content_, store_delay_); });
}

void Cluster::start_control() {
  if (control_->running()) return;
  control_->start([this](sim::Node& node) { return std::make_unique<ControlPlane>(node, site_); });
}

void Cluster::start_client() {
  if (client_->running()) return;
  auto uri_of = [this](const std::set<size_t>& shunned) {
    std::string uri;
    for (size_t i = 0; i < kNumStorage; ++i) {
      if (shunned.contains(i)) continue;
      const std::string address = fmt::format("{}:{}", storage_[i]->addresses().front(), kTargetPort);
      uri += !uri.empty() ? address + ","
                          : fmt::format("nvmf+tcp://{}/{}?uuid={}&paths=", address,
                                        EngineProgram::nexus_nqn(volume_.spec), volume_.spec.uuid.to_string());
    }
    return uri.ends_with("paths=") ? uri.substr(0, uri.rfind('&')) : uri.substr(0, uri.empty() ? 0 : uri.size() - 1);
  };
  client_->start([this, uri_of](sim::Node& node) {
    return std::make_unique<ClientProgram>(node, client_state_, client_options_, uri_of);
  });
}

void Cluster::crash_storage(size_t index, sim::CrashKind kind) {
  const bool power = kind == sim::CrashKind::kPowerLoss;
  if (!storage_[index]->running() && !(power && storage_[index]->powered())) return;
  storage_[index]->crash(kind);
  if (power) {
    for (ReplicaEntry& replica : volume_.replicas) {
      if (replica.node != index) continue;
      replica.volatile_loss = true;
      replica.out_of_sync_since_loss = is_away(replica);
    }
    forget_volatile();
  }
  if (failure_.empty()) failure_ = check_pool_on_disk(index, false);
}

// When every replica that the nexus relies on has lost its cache, what was not flushed may be gone for good.
void Cluster::forget_volatile() {
  const auto found = store_content_.records.find(volume_.health_key());
  if (found == store_content_.records.end()) return;
  for (const auto& child : found->second.children) {
    const auto replica = std::ranges::find(volume_.replicas, child.uuid,
                                           [](const ReplicaEntry& entry) { return entry.uuid.to_string(); });
    if (child.healthy && !replica->volatile_loss) return;
  }
  client_state_.history.lose_volatile();
  log::info("all healthy replicas have lost their caches");
  coverage_.count("all healthy replicas have lost their caches");
}

// Where the control plane has it; nullptr: nowhere.
std::shared_ptr<nexus::Nexus> Cluster::current_nexus() {
  if (!volume_.target || !storage_[*volume_.target]->running()) return nullptr;
  return engine(*volume_.target).nexuses->find(EngineProgram::nexus_name(volume_.spec));
}

// By hand, or to be made equal to others: it was there, with all that it had.
bool Cluster::left_without_need(const ReplicaEntry& replica) {
  const auto nexus = current_nexus();
  if (nexus == nullptr) return false;
  return std::ranges::any_of(nexus->children(), [&](const nexus::ChildInfo& child) {
    return child.uri.ends_with("uuid=" + replica.uuid.to_string()) &&
           (child.state == nexus::ChildState::kOpen || child.reason == nexus::FaultReason::kOffline);
  });
}

// The record calls it unhealthy, and nobody is about to change that.
bool Cluster::is_away(const ReplicaEntry& replica) {
  const auto record = store_content_.records.find(volume_.health_key());
  const auto nexus = current_nexus();
  if (record == store_content_.records.end() || nexus == nullptr) return false;
  const auto recorded =
      std::ranges::find(record->second.children, replica.uuid.to_string(), &nexus::HealthRecord::Child::uuid);
  if (recorded != record->second.children.end() && recorded->healthy) return false;
  return std::ranges::none_of(nexus->children(), [&](const nexus::ChildInfo& child) {
    return child.uri.ends_with("uuid=" + replica.uuid.to_string()) && child.state == nexus::ChildState::kOpen;
  });
}

// A child fails while all others have lost their caches and the nexus has not noticed: what was not flushed goes with
// it. Without need it must not be let go then.
void Cluster::note_loss_by_leaving(const HealthRecord& before, const HealthRecord& record) {
  auto is_healthy = [](const HealthRecord& in, const ReplicaEntry& replica) {
    const auto child = std::ranges::find(in.children, replica.uuid.to_string(), &HealthRecord::Child::uuid);
    return child != in.children.end() && child->healthy;
  };
  bool cache_left = false;
  for (const ReplicaEntry& replica : volume_.replicas) {
    if (replica.volatile_loss) continue;
    if (is_healthy(record, replica)) return;
    cache_left |= is_healthy(before, replica) && !left_without_need(replica);
  }
  if (!cache_left) return;
  client_state_.history.lose_volatile();
  log::info("the last healthy replica with a cache has left");
  coverage_.count("the last healthy replica with a cache has left");
}

void Cluster::note_record(const std::string& key, const HealthRecord& record) {
  if (key != volume_.health_key()) return;
  if (const auto before = store_content_.records.find(key); before != store_content_.records.end()) {
    note_loss_by_leaving(before->second, record);
  }
  for (ReplicaEntry& replica : volume_.replicas) {
    const auto child = std::ranges::find(record.children, replica.uuid.to_string(), &HealthRecord::Child::uuid);
    if (child == record.children.end() || !child->healthy) {
      replica.out_of_sync_since_loss = true;
    } else if (replica.out_of_sync_since_loss) {
      replica.volatile_loss = false;
    }
  }
}

void Cluster::crash_client(sim::CrashKind kind) {
  if (!client_->running()) return;
  client_->crash(kind);
  client_state_.crash(world_.now());
}

// The stand-in for the control plane helps with means that a volume that heals by itself does not need.
void Cluster::note_late_remedy(std::string what) {
  if (!healed_at_ || world_.now() - *healed_at_ < kNoticed || !failure_.empty()) return;
  failure_ = what + "\n" + describe() + world_.waiting_tasks();
}

// A failure that is noticed on the way ends the wait.
bool Cluster::wait_until(const std::function<bool()>& done, Duration limit) {
  const auto result =
      world_.run_until([&] { return !failure_.empty() || !client_state_.failure.empty() || done(); }, limit);
  return result == sim::RunResult::kDone;
}

std::string Cluster::describe() {
  std::string text =
      fmt::format("at {:.3f} s\n", std::chrono::duration<double>(world_.now().time_since_epoch()).count());
  for (size_t i = 0; i < kNumStorage; ++i) {
    if (!storage_[i]->running()) {
      text += fmt::format("  {} is down\n", storage_[i]->name());
      continue;
    }
    for (const auto& nexus : engine(i).nexuses->list()) {
      text += fmt::format("  {} nexus {}{}\n", storage_[i]->name(), to_text(nexus->status()),
                          nexus->frozen() ? ", frozen" : "");
      for (const auto& child : nexus->children()) {
        text += fmt::format("    {} {} {} in sync {} faulting {} rebuild {}\n", child.uri, to_text(child.state),
                            to_text(child.reason), child.in_sync, child.faulting,
                            child.rebuild_progress ? fmt::format("{} %", *child.rebuild_progress) : "none");
      }
    }
  }
  text += fmt::format("  volume on {}, instance {}, client {} with {} operations\n",
                      volume_.target ? storage_[*volume_.target]->name() : "no node", volume_.instance,
                      client_state_.connected ? "connected" : "not connected", client_state_.operations.size());
  for (const auto& operation : client_state_.operations) {
    text += fmt::format("    {} of {} blocks at {} since {:.3f} s\n", operation.what, operation.num_blocks,
                        operation.lba, std::chrono::duration<double>(operation.since.time_since_epoch()).count());
  }
  return text;
}

std::string Cluster::set_up() {
  start_store();
  for (size_t i = 0; i < kNumStorage; ++i) start_storage(i);
  start_control();
  start_client();
  sample();
  if (!wait_until([this] { return whole_since_ && client_state_.history.num_writes() > 20; }, kHealingLimit)) {
    return "set-up: the volume does not come up\n" + describe();
  }
  return failure_;
}

std::string Cluster::make_trouble() {
  if (const auto busy = world_.random().below(3); busy > 0) {
    neighbours_.begin(world_, storage_, milliseconds(busy == 1 ? 150 : 600));
  }
  for (const Fault& fault : options_.plan) {
    world_.after(fault.at, [this, fault] { begin(fault); });
  }
  wait_until([] { return false; }, options_.trouble);
  trouble_over_ = true;
  return !client_state_.failure.empty() ? client_state_.failure : failure_;
}

// Nothing is wrong any more: the volume has to become whole, and serve.
std::string Cluster::heal() {
  world_.note("healed");
  log::info("healed");
  world_.network().heal_all();
  store_delay_ = {};
  start_store();
  start_control();
  for (size_t i = 0; i < kNumStorage; ++i) {
    disk(i).set_faults({});
    drop_snapshots(i);
    storage_[i]->files().mend_reads(kDisk);
    start_storage(i);
    empty_pool(i);
  }
  start_client();
  wait_until([] { return false; }, std::max(Duration{}, pauses_end_ - world_.now()));
  const TimePoint healed = world_.now();
  healed_at_ = healed;
  for (ReplicaEntry& replica : volume_.replicas) replica.in_sync_at = healed;
  const uint64_t writes = client_state_.history.num_writes();
  whole_since_.reset();
  auto served = [&] {
    return std::ranges::none_of(client_state_.operations, [&](const auto& each) { return each.since <= healed; });
  };
  auto whole = [&] {
    return volume_.left_behind.empty() && client_state_.shunned.empty() && whole_since_ &&
           world_.now() - *whole_since_ >= kStableTime && served() && client_state_.history.num_writes() > writes + 20;
  };
  if (!wait_until(whole, kHealingLimit)) {
    if (!client_state_.failure.empty()) return client_state_.failure;
    if (!failure_.empty()) return failure_;
    return "not whole again\n" + describe() + world_.waiting_tasks();
  }
  coverage_.count("healing took s",
                  static_cast<uint64_t>(std::chrono::duration_cast<seconds>(world_.now() - healed).count()));
  return !client_state_.failure.empty() ? client_state_.failure : failure_;
}

std::string Cluster::verify_volume() {
  auto& program = client_->program<ClientProgram>();
  if (world_.run_task(*client_, "verify", program.verify(), kOperationLimit) != sim::RunResult::kDone) {
    return "the volume cannot be read\n" + describe();
  }
  return client_state_.failure;
}

// The client and the neighbours stop; all is read once more.
std::string Cluster::settle() {
  client_state_.stopping = true;
  neighbours_.stop();
  if (!wait_until([this] { return client_state_.num_workers == 0; }, kOperationLimit)) {
    return "an operation of the client does not end\n" + describe() + world_.waiting_tasks();
  }
  client_state_.settle_limbo(world_.now());
  if (auto wrong = verify_volume(); !wrong.empty()) return wrong;
  if (!wait_until([this] { return neighbours_.idle(); }, kOperationLimit)) {
    return "an operation of a neighbour does not end\n" + world_.waiting_tasks();
  }
  for (size_t i = 0; i < kNumStorage; ++i) {
    if (world_.run_task(*storage_[i], "verify", neighbours_.verify(engine(i), i), kOperationLimit) !=
        sim::RunResult::kDone) {
      return "the neighbours cannot be read";
    }
  }
  if (!neighbours_.failure().empty() || !world_.random().one_in(4)) return neighbours_.failure();
  if (auto wrong = damage_and_scrub(); !wrong.empty()) return wrong;
  return verify_volume();
}

std::string Cluster::run() {
  std::string problem = set_up();
  if (problem.empty()) problem = make_trouble();
  if (problem.empty()) problem = heal();
  if (problem.empty()) problem = settle();
  if (problem.empty()) problem = check_replicas();
  if (problem.empty()) problem = shut_down();
  coverage_.count("writes", client_state_.history.num_writes());
  coverage_.count("reads", client_state_.history.num_reads());
  coverage_.count("flushes", client_state_.num_flushes);
  coverage_.count("zeroed or trimmed", client_state_.num_unmaps);
  coverage_.count("errors to the client", client_state_.num_errors);
  coverage_.count("client connected", client_state_.num_connects);
  coverage_.count("nexuses made", control_counters_.nexuses_made);
  coverage_.count("nexuses made of several children", control_counters_.nexuses_made_of_several);
  coverage_.count("moves", control_counters_.moves);
  coverage_.count("nodes fenced by power", control_counters_.power_fences);
  coverage_.count("nexuses left behind", control_counters_.left_behind);
  coverage_.count("children added", control_counters_.children_added);
  coverage_.count("children brought online", control_counters_.children_onlined);
  coverage_.count("children removed", control_counters_.children_removed);
  coverage_.count("processes restarted by the control plane", control_counters_.process_restarts);
  coverage_.count("neighbours made", neighbours_.num_made());
  coverage_.count("neighbours destroyed", neighbours_.num_destroyed());
  coverage_.count("neighbours' writes", neighbours_.num_writes());
  coverage_.count("pools imported again after an error", control_counters_.pool_imports);
  coverage_.count("records saved", store_content_.num_saves);
  coverage_.count("records refused", store_content_.num_refused);
  coverage_.count("records of nexuses left behind", store_content_.num_ignored);
  coverage_.count("records that came late", store_content_.num_outdated);
  return problem;
}

// Of the replica that is a child by this name.
size_t Cluster::node_at(const std::string& uri) const {
  const auto replica = std::ranges::find_if(
      volume_.replicas, [&](const auto& entry) { return uri.ends_with("uuid=" + entry.uuid.to_string()); });
  return replica != volume_.replicas.end() ? replica->node : 0;
}

// Snapshots take clusters too.
void Cluster::note_clusters(size_t index) {
  const auto replica = engine(index).pools->find_volume(volume_.replicas[index].name);
  if (replica == nullptr || snapshotted_[index]) return;
  const uint64_t now = replica->usage().num_allocated_clusters;
  uint64_t& last = allocated_clusters_[index];
  if (now < last) coverage_.count("clusters given back", last - now);
  last = now;
}

void Cluster::sample() {
  if (failure_.empty()) failure_ = check_fences();
  if (failure_.empty()) failure_ = neighbours_.failure();
  for (size_t i = 0; i < kNumStorage; ++i) {
    if (!storage_[i]->running()) continue;
    note_clusters(i);
    for (const auto& nexus : engine(i).nexuses->list()) {
      const std::string status(to_text(nexus->status()));
      auto note = [&](const std::string& of, const std::string& kind, const std::string& state) {
        std::string& last = last_states_[of];
        if (last == state) return;
        coverage_.count(fmt::format("{} {}", kind, state));
        if (!last.empty()) coverage_.count(fmt::format("{} {} -> {}", kind, last, state));
        last = state;
      };
      note("nexus", "nexus", status);
      for (const auto& child : nexus->children()) {
        const std::string state = child.state == nexus::ChildState::kFaulted
                                      ? fmt::format("faulted, {}", to_text(child.reason))
                                  : child.state != nexus::ChildState::kOpen ? "closed"
                                  : child.in_sync                           ? "healthy"
                                  : child.rebuild_progress                  ? "rebuilding"
                                                                            : "out of sync";
        if (state == "rebuilding" && last_states_[child.uri] != state)
          give_cue(Cue::kRebuildBegins, node_at(child.uri));
        note(child.uri, "child", state);
      }
      const auto& history = nexus->rebuild_history();
      uint64_t& seen = rebuilds_seen_[{engine(i).boot(), engine(i).instance_of(nexus->name())}];
      for (; seen < history.size(); ++seen) {
        const auto& record = history[seen];
        if (record.state == nexus::RebuildState::kCompleted) give_cue(Cue::kRebuildEnds, node_at(record.child_uri));
        coverage_.count(
            record.state == nexus::RebuildState::kCompleted
                ? fmt::format("rebuild {} completed", record.statistics.is_partial ? "partial" : "full")
                : fmt::format("rebuild {}", record.state == nexus::RebuildState::kFailed ? "failed" : "stopped"));
      }
    }
  }
  world_.after(milliseconds(50), [this] { sample(); });
}

}  // namespace cairn::simulation
