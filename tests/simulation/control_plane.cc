#include "simulation/control_plane.h"

#include <algorithm>

#include "base/log.h"

namespace cairn::simulation {

ControlPlane::ControlPlane(sim::Node& node, const ControlSite& site)
    : node_(node),
      site_(site),
      volume_(*site.volume),
      store_(node, *site.store),
      ready_(site.volume->replicas.size()),
      imported_at_(ready_.size()) {
  started_ = runtime::Reactor::current().now();
  runtime::Reactor::current().spawn("control plane", run());
}

Task<> ControlPlane::run() {
  runtime::Random& random = runtime::Reactor::current().random();
  for (;;) {
    co_await look_after_left_behind();
    co_await prepare_replicas();
    co_await look_after_nexus();
    if (!volume_.target) co_await make_nexus();
    if (!co_await runtime::sleep_for(kRound + std::chrono::milliseconds(random.below(500)))) co_return;
  }
}

Task<Result<bool>> ControlPlane::ask(size_t node, Duration timeout,
                                     std::function<Task<Result<bool>>(EngineProgram&)> what) {
  return call<bool>(node_, *site_.storage[node], timeout,
                    [this_node = site_.storage[node], what] { return what(this_node->program<EngineProgram>()); });
}

Task<> ControlPlane::prepare_replicas() {
  for (size_t i = 0; i < volume_.replicas.size(); ++i) {
    const ReplicaEntry& replica = volume_.replicas[i];
    auto there = co_await ask(replica.node, kCallTimeout, [](EngineProgram& engine) { return engine.open_pool(); });
    if (there) {
      there =
          co_await ask(replica.node, kCallTimeout, [spec = volume_.spec, name = replica.name](EngineProgram& engine) {
            return engine.make_replica(spec, name);
          });
    }
    ready_[i] = there.has_value() && !volume_.left_behind.contains(replica.node);
    if (!there && there.error().code() == Code::kDataLoss) import_again(i);
    if (!there) log::debug("control: replica {}: {}", replica.name, there.error().to_string());
  }
}

// A disk error in the middle of a change has left the pool's metadata in doubt. It is in use: its process has to go.
void ControlPlane::import_again(size_t index) {
  const TimePoint now = node_.world().now();
  if (now - imported_at_[index] < kImportPatience) return;
  imported_at_[index] = now;
  ++site_.counters->pool_imports;
  site_.restart_process(volume_.replicas[index].node, true);
}

Task<> ControlPlane::look_after_nexus() {
  if (!volume_.target) co_return;
  const size_t target = *volume_.target;
  if (volume_.wanted_target && volume_.left_behind.contains(*volume_.wanted_target)) volume_.wanted_target.reset();
  auto view = co_await call<NexusView>(
      node_, *site_.storage[target], kCallTimeout,
      [node = site_.storage[target], spec = volume_.spec] { return node->program<EngineProgram>().view_nexus(spec); });
  const TimePoint now = runtime::Reactor::current().now();
  if (!view) {
    if (view.error().code() == Code::kNotFound || view.error().code() == Code::kUnavailable) {
      // It lived in a process that is gone.
      volume_.target.reset();
      unreachable_since_.reset();
    } else if (!unreachable_since_) {
      unreachable_since_ = now;
    } else if (now - *unreachable_since_ > kNodePatience) {
      co_await give_up_on(target);
      volume_.target.reset();
      unreachable_since_.reset();
    }
    co_return;
  }
  unreachable_since_.reset();
  if (view->instance == volume_.instance) note_view(*view);
  const bool useless = view->instance != volume_.instance || view->frozen ||
                       view->status == nexus::NexusStatus::kShutdown || view->status == nexus::NexusStatus::kFaulted;
  const bool moving = volume_.wanted_target && *volume_.wanted_target != target;
  if (!useless && !moving) {
    volume_.wanted_target.reset();
    co_await look_after_children(*view);
    co_return;
  }
  if (moving) ++site_.counters->moves;
  auto destroyed = co_await ask(target, kLongCallTimeout,
                                [spec = volume_.spec](EngineProgram& engine) { return engine.destroy_nexus(spec); });
  if (destroyed) volume_.target.reset();
}

// Its nexus may live on where no host asks it for anything. If that cannot be had, its machine is switched off.
Task<> ControlPlane::give_up_on(size_t target) {
  if (runtime::Reactor::current().random().one_in(2)) {
    volume_.left_behind.insert(target);
    if (co_await change_path(target, false)) {
      ++site_.counters->left_behind;
      co_return;
    }
    volume_.left_behind.erase(target);
    static_cast<void>(co_await change_path(target, true));
  }
  ++site_.counters->power_fences;
  site_.fence_by_power(target);
}

// False: nobody knows what the client does.
Task<bool> ControlPlane::change_path(size_t target, bool may) {
  site_.allow_path(target, may);
  const auto changed = co_await call<bool>(node_, *site_.client, kPathTimeout, site_.change_paths);
  co_return changed || changed.error().code() == Code::kUnavailable;  // it begins with what it may use
}

Task<> ControlPlane::look_after_left_behind() {
  for (const size_t node : std::set<size_t>(volume_.left_behind)) {
    const auto destroyed = co_await ask(
        node, kCallTimeout, [spec = volume_.spec](EngineProgram& engine) { return engine.destroy_nexus(spec); });
    if (!destroyed && destroyed.error().code() != Code::kUnavailable) continue;
    volume_.left_behind.erase(node);
    static_cast<void>(co_await change_path(node, true));
  }
}

void ControlPlane::note_view(const NexusView& view) {
  const TimePoint now = node_.world().now();
  for (ReplicaEntry& replica : volume_.replicas) {
    const auto child = std::ranges::find(view.children, child_uri(replica, *volume_.target), &nexus::ChildInfo::uri);
    const bool in_sync = child != view.children.end() && child->state == nexus::ChildState::kOpen && child->in_sync;
    if (in_sync) replica.in_sync_at = now;
  }
  site_.on_view(view);
}

std::string ControlPlane::child_uri(const ReplicaEntry& replica, size_t target) const {
  if (replica.node == target) return fmt::format("bdev:///{}?uuid={}", replica.name, replica.uuid.to_string());
  return fmt::format("nvmf+tcp://{}:{}/{}?uuid={}", site_.storage[replica.node]->addresses().front(), kTargetPort,
                     engine::Shares::nqn_of(replica.name), replica.uuid.to_string());
}

// Nobody but the nexus on that node reaches the replica any more; on its own node it is not exported at all.
Task<bool> ControlPlane::give_to(const ReplicaEntry& replica, size_t target) {
  std::vector<std::string> hosts;
  if (replica.node != target) hosts.push_back(EngineProgram::host_nqn(*site_.storage[target]));
  site_.on_given(replica, std::nullopt);
  const auto given = co_await ask(replica.node, kLongCallTimeout, [name = replica.name, hosts](EngineProgram& engine) {
    return engine.share_replica(name, hosts);
  });
  if (given) {
    site_.on_given(replica, hosts);
  } else {
    log::debug("control: replica {}: {}", replica.name, given.error().to_string());
  }
  co_return given.has_value();
}

Task<> ControlPlane::look_after_children(const NexusView& view) {
  const size_t target = *volume_.target;
  const TimePoint now = node_.world().now();
  for (size_t i = 0; i < volume_.replicas.size(); ++i) {
    ReplicaEntry& replica = volume_.replicas[i];
    const std::string uri = child_uri(replica, target);
    const auto child = std::ranges::find(view.children, uri, &nexus::ChildInfo::uri);
    std::optional<ChildChange> change;
    if (child == view.children.end()) {
      change = ChildChange::kAdd;
    } else if (child->state == nexus::ChildState::kFaulted) {
      if (child->faulting) continue;
      change = nexus::is_recoverable(child->reason) ? ChildChange::kOnline : ChildChange::kRemove;
    } else if (child->state != nexus::ChildState::kOpen) {
      change = ChildChange::kRemove;
    } else if (!child->in_sync && !child->rebuild_progress) {
      change = ChildChange::kRebuild;
    }
    if (child == view.children.end() || child->state != nexus::ChildState::kOpen) {
      if (now - replica.in_sync_at > kReplicaPatience && replica.node != target) {
        ++site_.counters->process_restarts;
        site_.restart_process(replica.node, false);
        replica.in_sync_at = now;
        continue;
      }
    }
    if (!change || (!ready_[i] && *change != ChildChange::kRemove)) continue;
    if (*change == ChildChange::kAdd || *change == ChildChange::kOnline) {
      if (!co_await give_to(replica, target)) continue;
    }
    auto changed = co_await ask(target, kLongCallTimeout, [spec = volume_.spec, change, uri](EngineProgram& engine) {
      return engine.change_child(spec, *change, uri);
    });
    if (!changed) {
      log::debug("control: child {}: {}", uri, changed.error().to_string());
      continue;
    }
    uint64_t& counter = *change == ChildChange::kAdd      ? site_.counters->children_added
                        : *change == ChildChange::kRemove ? site_.counters->children_removed
                                                          : site_.counters->children_onlined;
    ++counter;
  }
}

Task<> ControlPlane::make_nexus() {
  runtime::Random& random = runtime::Reactor::current().random();
  if (!volume_.instance_sealed) {
    const auto record = co_await store_.seal(volume_.health_key());
    if (!record) co_return;
    volume_.instance_sealed = true;
    if (*record) {
      volume_.healthy.clear();
      for (const auto& child : (*record)->children) {
        if (child.healthy) volume_.healthy.push_back(child.uuid);
      }
    }
  }
  std::vector<size_t> candidates;
  for (size_t i = 0; i < volume_.replicas.size(); ++i) {
    const bool healthy =
        volume_.healthy.empty() ||
        std::ranges::find(volume_.healthy, volume_.replicas[i].uuid.to_string()) != volume_.healthy.end();
    if (healthy && ready_[i]) candidates.push_back(i);
  }
  if (candidates.empty()) co_return;
  std::vector<ReplicaEntry*> first;
  for (const size_t index : candidates) first.push_back(&volume_.replicas[index]);
  std::swap(first.front(), first[random.below(first.size())]);
  if (random.one_in(2)) first.resize(1);
  std::vector<size_t> targets;
  for (size_t i = 0; i < site_.storage.size(); ++i) {
    if (!volume_.left_behind.contains(i)) targets.push_back(i);
  }
  const size_t target = volume_.wanted_target && !volume_.left_behind.contains(*volume_.wanted_target)
                            ? *volume_.wanted_target
                        : random.one_in(2) ? first.front()->node
                                           : targets[random.below(targets.size())];
  std::vector<std::string> uris;
  for (const ReplicaEntry* replica : first) {
    if (!co_await give_to(*replica, target)) {
      volume_.wanted_target.reset();
      co_return;
    }
    uris.push_back(child_uri(*replica, target));
  }
  volume_.target = target;
  ++volume_.instance;
  volume_.instance_sealed = false;
  const TimePoint now = node_.world().now();
  for (ReplicaEntry& replica : volume_.replicas) {
    replica.in_sync_at = now;
    if (std::ranges::find(first, &replica) == first.end()) replica.out_of_sync_since_loss = true;
  }
  site_.on_nexus_begins(first);
  auto made = co_await ask(target, kLongCallTimeout,
                           [spec = volume_.spec, instance = volume_.instance, key = volume_.health_key(),
                            uris](EngineProgram& engine) { return engine.make_nexus(spec, instance, key, uris); });
  volume_.wanted_target.reset();
  if (made) {
    ++site_.counters->nexuses_made;
    if (uris.size() > 1) ++site_.counters->nexuses_made_of_several;
  } else {
    log::debug("control: nexus on {}: {}", site_.storage[target]->name(), made.error().to_string());
  }
}

}  // namespace cairn::simulation
