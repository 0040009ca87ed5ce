#include "engine/nexus_messages.h"

#include <fmt/format.h>

#include <utility>

#include "engine/engine.h"
#include "nexus/nexus_error.h"
#include "runtime/reactor.h"

namespace cairn::engine {

namespace api = mayastor::v1;

namespace {

api::NexusState state_of(nexus::NexusStatus status) {
  switch (status) {
    case nexus::NexusStatus::kOnline:
      return api::NEXUS_ONLINE;
    case nexus::NexusStatus::kDegraded:
      return api::NEXUS_DEGRADED;
    case nexus::NexusStatus::kFaulted:
      return api::NEXUS_FAULTED;
    case nexus::NexusStatus::kShuttingDown:
      return api::NEXUS_SHUTTING_DOWN;
    case nexus::NexusStatus::kShutdown:
      return api::NEXUS_SHUTDOWN;
  }
  return api::NEXUS_UNKNOWN;
}

api::ChildStateReason reason_of(nexus::FaultReason reason) {
  switch (reason) {
    case nexus::FaultReason::kUnknown:
      return api::CHILD_STATE_REASON_NONE;
    case nexus::FaultReason::kCantOpen:
      return api::CHILD_STATE_REASON_CANNOT_OPEN;
    case nexus::FaultReason::kNoSpace:
      return api::CHILD_STATE_REASON_NO_SPACE;
    case nexus::FaultReason::kTimedOut:
      return api::CHILD_STATE_REASON_TIMED_OUT;
    case nexus::FaultReason::kIoError:
      return api::CHILD_STATE_REASON_IO_FAILURE;
    case nexus::FaultReason::kRebuildFailed:
      return api::CHILD_STATE_REASON_REBUILD_FAILED;
    case nexus::FaultReason::kAdminCommandFailed:
      return api::CHILD_STATE_REASON_ADMIN_FAILED;
    case nexus::FaultReason::kOffline:
    case nexus::FaultReason::kOfflinePermanent:
      return api::CHILD_STATE_REASON_BY_CLIENT;
  }
  return api::CHILD_STATE_REASON_NONE;
}

// Section 16 of the reference.
std::pair<api::ChildState, api::ChildStateReason> state_of(const nexus::ChildInfo& child) {
  switch (child.state) {
    case nexus::ChildState::kInit:
      return {api::CHILD_STATE_DEGRADED, api::CHILD_STATE_REASON_INIT};
    case nexus::ChildState::kConfigInvalid:
      return {api::CHILD_STATE_FAULTED, api::CHILD_STATE_REASON_CONFIG_INVALID};
    case nexus::ChildState::kOpen:
      if (child.in_sync) return {api::CHILD_STATE_ONLINE, api::CHILD_STATE_REASON_NONE};
      return {api::CHILD_STATE_DEGRADED, api::CHILD_STATE_REASON_OUT_OF_SYNC};
    case nexus::ChildState::kClosed:
      return {api::CHILD_STATE_DEGRADED, api::CHILD_STATE_REASON_CLOSED};
    case nexus::ChildState::kFaulted:
      break;
  }
  const api::ChildStateReason reason = reason_of(child.reason);
  if (child.faulting) return {api::CHILD_STATE_UNKNOWN, reason};
  const bool may_come_back =
      child.reason == nexus::FaultReason::kNoSpace || child.reason == nexus::FaultReason::kOffline;
  return {may_come_back ? api::CHILD_STATE_DEGRADED : api::CHILD_STATE_FAULTED, reason};
}

api::RebuildJobState state_of(nexus::RebuildState state) {
  switch (state) {
    case nexus::RebuildState::kInit:
      return api::Init;
    case nexus::RebuildState::kRunning:
      return api::Rebuilding;
    case nexus::RebuildState::kPaused:
      return api::Paused;
    case nexus::RebuildState::kStopped:
      return api::Stopped;
    case nexus::RebuildState::kFailed:
      return api::Failed;
    case nexus::RebuildState::kCompleted:
      return api::Completed;
  }
  return api::Init;
}

}  // namespace

google::protobuf::Timestamp to_timestamp(std::chrono::system_clock::time_point moment) {
  const auto since_epoch = std::chrono::duration_cast<std::chrono::nanoseconds>(moment.time_since_epoch());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  google::protobuf::Timestamp out;
  out.set_seconds(seconds.count());
  out.set_nanos(static_cast<int32_t>((since_epoch - seconds).count()));
  return out;
}

google::protobuf::Timestamp time_of_day(TimePoint moment) {
  using std::chrono::system_clock;
  constexpr Duration kClockStep = std::chrono::seconds(1);
  // The same moment has to give the same time again, so the difference of the clocks is kept while they agree.
  static Duration difference{};
  const Duration present =
      system_clock::now().time_since_epoch() - runtime::Reactor::current().now().time_since_epoch();
  if (std::chrono::abs(present - difference) > kClockStep) difference = present;
  return to_timestamp(system_clock::time_point(
      std::chrono::duration_cast<system_clock::duration>(moment.time_since_epoch() + difference)));
}

void fill_child(const nexus::ChildInfo& child, api::Child& out) {
  const auto [state, reason] = state_of(child);
  out.set_uri(child.uri);
  out.set_state(state);
  out.set_state_reason(reason);
  out.set_rebuild_progress(child.rebuild_progress ? static_cast<int32_t>(*child.rebuild_progress) : -1);
  if (!child.device_name.empty()) out.set_device_name(child.device_name);
  if (child.fault_time) *out.mutable_fault_timestamp() = time_of_day(*child.fault_time);
  out.set_has_io_log(child.has_log);
}

void fill_nexus(Engine& engine, const nexus::Nexus& nexus, api::Nexus& out) {
  out.set_name(nexus.name());
  out.set_uuid(nexus.nexus_uuid().to_string());
  out.set_size(nexus.requested_bytes());
  out.set_state(state_of(nexus.status()));
  for (const nexus::ChildInfo& child : nexus.children()) fill_child(child, *out.add_children());
  out.set_rebuilds(static_cast<uint32_t>(nexus.num_rebuilds()));
  nvmf::target::Subsystem* subsystem = engine.shares().find(nexus.name());
  if (subsystem == nullptr) return;
  out.set_device_uri(engine.shares().share_uri(nexus));
  for (const std::string& host : subsystem->options().allowed_hosts) out.add_allowed_hosts(host);
  if (!subsystem->namespaces().empty())
    out.set_ana_state(static_cast<api::NvmeAnaState>(subsystem->namespaces().front()->ana_state()));
}

void fill_statistics(const nexus::RebuildStatistics& statistics, api::RebuildStatsResponse& out) {
  out.set_blocks_total(statistics.blocks_total);
  out.set_blocks_recovered(statistics.blocks_recovered);
  out.set_progress(statistics.progress);
  out.set_blocks_per_task(statistics.blocks_per_task);
  out.set_block_size(statistics.block_size);
  out.set_tasks_total(statistics.tasks_total);
  out.set_tasks_active(statistics.tasks_active);
  out.set_blocks_transferred(statistics.blocks_transferred);
  out.set_blocks_remaining(statistics.blocks_remaining);
  out.set_is_partial(statistics.is_partial);
  *out.mutable_start_time() = time_of_day(statistics.start_time);
}

void fill_record(const nexus::RebuildRecord& record, api::RebuildHistoryRecord& out) {
  const nexus::RebuildStatistics& statistics = record.statistics;
  out.set_child_uri(record.child_uri);
  out.set_src_uri(record.source_uri);
  out.set_state(state_of(record.state));
  out.set_blocks_total(statistics.blocks_total);
  out.set_blocks_recovered(statistics.blocks_recovered);
  out.set_blocks_transferred(statistics.blocks_transferred);
  out.set_blocks_remaining(statistics.blocks_remaining);
  out.set_blocks_per_task(statistics.blocks_per_task);
  out.set_block_size(statistics.block_size);
  out.set_is_partial(statistics.is_partial);
  *out.mutable_start_time() = time_of_day(statistics.start_time);
  if (statistics.end_time) *out.mutable_end_time() = time_of_day(*statistics.end_time);
}

Result<std::shared_ptr<nexus::Nexus>> find_nexus(Engine& engine, const std::string& uuid) {
  if (const auto parsed = Uuid::parse(uuid); parsed && parsed->to_string() == uuid) {
    if (auto found = engine.nexuses().find(*parsed); found != nullptr) return found;
  }
  return fail(nexus::nexus_error::not_found(uuid));
}

Result<nexus::NexusRequest> nexus_request(const api::CreateNexusRequest& request) {
  namespace error = nexus::nexus_error;
  const std::string& name = request.name();
  auto uuid = Uuid::parse(request.uuid());
  if (!uuid) return fail(error::invalid_uuid(request.uuid()));
  if (name.empty()) return fail(error::invalid_arguments(request.uuid(), "it has no name"));
  // Out of range it stays when it is cut.
  if (request.mincntlid() > UINT16_MAX || request.maxcntlid() > UINT16_MAX)
    return fail(error::invalid_cntlid_range(name, request.mincntlid(), request.maxcntlid()));
  if (request.has_resvtype() && !api::NvmeReservation_IsValid(request.resvtype())) {
    return fail(error::invalid_arguments(
        name, fmt::format("reservation type {}: expected 0 to 6", static_cast<int>(request.resvtype()))));
  }
  if (!api::NexusNvmePreemption_IsValid(request.preemptpolicy())) {
    return fail(error::invalid_arguments(
        name, fmt::format("preemption policy {}: expected 0 or 1", static_cast<int>(request.preemptpolicy()))));
  }
  nexus::NexusRequest out{.name = name,
                          .uuid = *uuid,
                          .size_bytes = request.size(),
                          .children = {request.children().begin(), request.children().end()},
                          .health_key = request.nexusinfokey(),
                          .nvme = {}};
  out.nvme.min_cntlid = static_cast<uint16_t>(request.mincntlid());
  out.nvme.max_cntlid = static_cast<uint16_t>(request.maxcntlid());
  out.nvme.reservation_key = request.resvkey();
  out.nvme.preempt_key = request.preemptkey();
  out.nvme.preempt_holder = request.preemptpolicy() == api::Holder;
  if (request.has_resvtype()) out.nvme.reservation_type = static_cast<nvme::ReservationType>(request.resvtype());
  return out;
}

}  // namespace cairn::engine
