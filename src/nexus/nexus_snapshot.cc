#include "nexus/nexus_snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/log.h"
#include "block/io_wait.h"
#include "nexus/nexus.h"
#include "nexus/nexus_error.h"
#include "nvmf/host/nvme_device.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using runtime::Task;

// Shared by the operation and the tasks of the replicas, which may outlast it.
struct Nexus::SnapshotRun {
  struct Part {
    ChildPtr child;
    nvme::SnapshotMessage message;
    uint32_t error = ETIMEDOUT;
  };
  uint64_t create_time_seconds = 0;
  std::vector<Part> parts;
  std::vector<std::string> skipped;
  size_t num_pending = 0;
  bool over = false;
  runtime::Event ended;  // pulsed when nothing is pending
};

namespace {

Task<Result<>> take_remotely(std::shared_ptr<nvmf::host::NvmeDevice> device, const nvme::SnapshotMessage& message,
                             uint64_t seconds) {
  std::vector<std::byte> data = nvme::encode_snapshot_message(message);
  if (data.size() > nvme::kMaxSnapshotMessageSize) {
    co_return fail(Error::from_errno(ENAMETOOLONG, "the parameters of the snapshot are too long"));
  }
  nvme::Sqe sqe;
  sqe.opcode = nvme::kCreateSnapshotOpcode;
  sqe.nsid = device->namespace_info().nsid;
  sqe.cdw10 = static_cast<uint32_t>(seconds);
  sqe.cdw11 = static_cast<uint32_t>(seconds >> 32);
  const auto answer = co_await device->admin_command(sqe, data);
  if (!answer) co_return fail(answer.error());
  if (answer->status.is_success()) co_return Result<>{};
  if (answer->status.is(nvme::GenericStatus::kInvalidOpcode)) {
    co_return fail(Code::kUnimplemented, "it is no replica that snapshots can be taken of");
  }
  if (answer->status.is(nvme::GenericStatus::kInternalError) && answer->dw0 != 0 && answer->dw0 < 4096) {
    co_return fail(Error::from_errno(static_cast<int>(answer->dw0), "the replica's node"));
  }
  co_return fail(Error::from_errno(EIO, answer->status.to_string()));
}

// Waits for a pulse of `event` until `done()`, at most `limit`.
template <typename Done>
Task<> wait_within(runtime::Event& event, Duration limit, Done done) {
  const runtime::Deadline deadline(co_await runtime::current_context(), limit);
  bool waiting = true;
  while (waiting && !done()) waiting = (co_await event.wait()).has_value();
}

}  // namespace

Result<std::shared_ptr<Nexus::SnapshotRun>> Nexus::plan_snapshot(const SnapshotRequest& request) const {
  auto refuse = [&](std::string_view why) { return fail(nexus_error::create_snapshot(name(), why)); };
  if (children_.empty()) return refuse("Nexus has no replicas");
  if (state_ != NexusState::kOpen) return refuse("Nexus is not opened");
  if (unequal_ != nullptr) return refuse("its replicas are being resynchronised after an unclean stop");
  if (request.replicas.size() != children_.size()) {
    return refuse(
        fmt::format("Nexus has {} replicas, the request names {}", children_.size(), request.replicas.size()));
  }
  auto run = std::make_shared<SnapshotRun>();
  run->create_time_seconds = request.create_time_seconds;
  std::set<std::string_view> seen;
  for (const SnapshotRequest::Replica& replica : request.replicas) {
    const std::string& uuid = replica.replica_uuid;
    const auto child =
        std::ranges::find(children_, uuid, [](const ChildPtr& each) -> const std::string& { return each->uuid; });
    if (child == children_.end()) return refuse(fmt::format("Replica {} is not a child", uuid));
    if (!seen.insert(uuid).second) return refuse(fmt::format("Duplicated replica {}", uuid));
    if (replica.skip) {
      run->skipped.push_back(uuid);
      continue;
    }
    if (!(*child)->healthy()) return refuse(fmt::format("Replica {} is not healthy", uuid));
    if (!replica.snapshot_uuid) return refuse(fmt::format("Snapshot UUID for replica {} is missing", uuid));
    run->parts.push_back({.child = *child,
                          .message = {.entity_id = request.entity_id,
                                      .parent_id = uuid,
                                      .txn_id = request.txn_id,
                                      .name = request.name,
                                      .uuid = *replica.snapshot_uuid,
                                      .create_time = request.create_time}});
  }
  return run;
}

Task<Result<SnapshotOutcome>> Nexus::create_snapshot(SnapshotRequest request) {
  const auto turn = co_await operations_.lock();
  if (!turn) co_return fail(turn.error());
  if (auto allowed = check_operation(); !allowed) co_return fail(std::move(allowed.error()));
  const auto run = plan_snapshot(request);
  if (!run) co_return fail(run.error());

  const Duration limit = options_.snapshot_limit;
  co_await flush_within(limit);
  const TimePoint begin = home().now();
  RangeLock everything(ports_);
  if (!co_await everything.acquire_within(0, UINT64_MAX, limit)) {
    co_return fail(nexus_error::create_snapshot(name(), "the I/O under way did not end in time"));
  }
  co_await take_within(*run, std::max(Duration{}, limit - (home().now() - begin)));
  (*run)->over = true;
  SnapshotOutcome outcome{.done = {}, .skipped = (*run)->skipped, .held = home().now() - begin};
  co_await everything.release();

  for (const SnapshotRun::Part& part : (*run)->parts) {
    outcome.done.push_back({*part.message.parent_id, part.error});
    if (part.error == ETIMEDOUT) {
      log::error("nexus {}: snapshot {} of {}: not in time", name(), request.name, part.child->uri);
    }
  }
  log::info("nexus {}: snapshot {}, writes held back for {} us", name(), request.name,
            std::chrono::duration_cast<std::chrono::microseconds>(outcome.held).count());
  co_return outcome;
}

// A flush as hosts do it: a child that fails it is retired. One that is slow is not waited for any longer.
Task<> Nexus::flush_within(Duration limit) {
  if (!has_volatile_cache()) co_return;
  struct Flush {
    bool done = false;
    runtime::Event ended;
  };
  auto flush = std::make_shared<Flush>();
  run_in_background("flush for snapshot", [flush](Nexus& nexus) -> Task<> {
    if (auto channel = co_await nexus.open_channel()) {
      static_cast<void>(co_await block::perform(**channel, {.type = block::IoType::kFlush}));
    }
    flush->done = true;
    flush->ended.pulse();
  });
  co_await wait_within(flush->ended, limit, [&] { return flush->done; });
}

Task<> Nexus::take_within(std::shared_ptr<SnapshotRun> run, Duration limit) {
  run->num_pending = run->parts.size();
  for (size_t i = 0; i < run->parts.size(); ++i) {
    run_in_background("snapshot", [run, i](Nexus& nexus) { return nexus.take_snapshot(run, i); });
  }
  co_await wait_within(run->ended, limit, [&] { return run->num_pending == 0; });
}

Task<> Nexus::take_snapshot(std::shared_ptr<SnapshotRun> run, size_t index) {
  SnapshotRun::Part& part = run->parts[index];
  Result<> taken;
  // One that was retired since the request was checked may miss a write that was acknowledged.
  if (!part.child->healthy() || part.child->device == nullptr) {
    taken = fail(Code::kUnavailable, "it is not healthy any more");
  } else if (!part.child->is_connected()) {
    // One that comes back may have lost writes, which nobody has looked at yet.
    taken = fail(Code::kUnavailable, "it cannot be reached");
  } else if (auto remote = std::dynamic_pointer_cast<nvmf::host::NvmeDevice>(part.child->device)) {
    taken = co_await take_remotely(std::move(remote), part.message, run->create_time_seconds);
  } else if (options_.local_snapshot) {
    taken = co_await options_.local_snapshot(part.child->device, part.message);
  } else {
    taken = fail(Code::kUnimplemented, "it is no replica");
  }
  if (taken && !part.child->healthy()) {
    taken = fail(Code::kUnavailable, "it has left meanwhile: the snapshot is to be destroyed");
  }
  if (!taken) {
    log::error("nexus {}: snapshot {} of {}: {}", name(), *part.message.name, part.child->uri,
               taken.error().to_string());
  } else if (run->over) {
    log::error("nexus {}: snapshot {} of {} was taken too late and is not of the same moment: it is to be destroyed",
               name(), *part.message.name, part.child->uri);
  }
  if (run->over) co_return;
  part.error = taken ? 0 : nvme::snapshot_errno(taken.error());
  if (--run->num_pending == 0) run->ended.pulse();
}

}  // namespace cairn::nexus
