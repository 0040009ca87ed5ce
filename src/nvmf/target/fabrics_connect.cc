// The fabrics Connect command (NVMe Base 2.0, section 6.3): decoded on the queue pair's reactor, judged on the primary
// one.
//
// Order of the checks: record format, subsystem, host NQN, host allowed, queue size, then those of the kind of queue. A
// refusal that may pass with time (no such subsystem yet, host not allowed yet, controller busy) never has "do not
// retry": Linux stops reconnecting for good when it sees that bit.
#include <algorithm>

#include "base/log.h"
#include "base/seeded_bug.h"
#include "nvme/fabrics.h"
#include "nvme/nqn.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/queue_pair.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/target/target.h"

namespace cairn::nvmf::target {

using nvme::Connect;
using nvme::ConnectData;
using nvme::Dnr;
using nvme::FabricsStatus;
using nvme::Status;

namespace {

std::optional<std::string> name_in(const char (&field)[nvme::kNqnFieldSize]) {
  const auto name = nvme::nqn_from_field(field);
  // Hosts without a name exist (load generators); only a subsystem that takes any host lets them in.
  if (!name && name.error() == nvme::NqnError::kEmpty) return std::string();
  // Names go to logs and lists: control characters are no part of one.
  constexpr auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (!name || std::ranges::any_of(*name, is_control)) return std::nullopt;
  return std::string(*name);
}

ConnectOutcome invalid_data(size_t offset) {
  return {.status = Status::fabrics(FabricsStatus::kInvalidParameters),
          .dw0 = nvme::ConnectRefusal{.offset = static_cast<uint16_t>(offset), .in_data = true}.encode()};
}

ConnectOutcome invalid_command(uint16_t offset) {
  return {.status = Status::fabrics(FabricsStatus::kInvalidParameters),
          .dw0 = nvme::ConnectRefusal{.offset = offset, .in_data = false}.encode()};
}

ConnectOutcome refuse(Status status) {
  return {.status = status};
}

}  // namespace

runtime::Task<> QueuePair::execute_connect(Request& request) {
  const Connect command = Connect::decode(request.command);
  if (command.record_format != 0) {
    finish(request, Status::fabrics(FabricsStatus::kIncompatibleFormat, Dnr::kYes));
    co_return;
  }
  ConnectData data;
  request.copy_from_data(0, std::as_writable_bytes(std::span(&data, 1)));
  ConnectParameters parameters{.cntlid = data.cntlid,
                               .subsystem_nqn = name_in(data.subnqn),
                               .host_nqn = name_in(data.hostnqn),
                               .qid = command.qid,
                               .sqsize = command.sqsize,
                               .kato_ms = command.keep_alive_timeout_ms,
                               .local_address = connection_.local_address()};
  std::ranges::copy(data.hostid, parameters.host_id.begin());
  const HostId host_id = parameters.host_id;

  Target& target = target_;
  ConnectOutcome outcome = co_await runtime::call_on(
      target.primary(), [&target, parameters = std::move(parameters), handle = handle_]() mutable {
        return target.connect(std::move(parameters), std::move(handle));
      });
  if (outcome.status.is_success()) {
    controller_ = std::move(outcome.controller);
    view_ = std::move(outcome.view);
    host_id_ = host_id;
    rewrite_status_ = outcome.rewrite_status;
    qid_ = command.qid;
    queue_depth_ = static_cast<uint16_t>(command.sqsize + 1);
    if (state_ == QueuePairState::kConnecting) {
      state_ = qid_ == nvme::kAdminQueueId ? QueuePairState::kAdmin : QueuePairState::kIo;
      connection_.set_queue_depth(queue_depth_);
    }
  } else {
    log::info("nvmf: Connect from {} (queue {}, {} entries) refused: {} ({:#x})",
              connection_.peer_address().to_string(), command.qid, command.sqsize + 1,
              nvme::status_name(outcome.status, true), outcome.dw0);
  }
  finish(request, outcome.status, outcome.dw0);
}

runtime::Task<ConnectOutcome> Target::connect(ConnectParameters parameters,
                                              std::shared_ptr<QueuePairHandle> queue_pair) {
  if (stopping_) co_return refuse(Status::fabrics(FabricsStatus::kControllerBusy));
  if (!parameters.subsystem_nqn) co_return invalid_data(offsetof(ConnectData, subnqn));
  const bool discovery = *parameters.subsystem_nqn == nvme::kDiscoveryNqn;
  Subsystem* subsystem = discovery ? nullptr : find_subsystem(*parameters.subsystem_nqn);
  if (!discovery && (subsystem == nullptr || subsystem->stopping())) {
    log::debug("nvmf: Connect to {}, which is not served here", *parameters.subsystem_nqn);
    co_return invalid_data(offsetof(ConnectData, subnqn));
  }
  if (!parameters.host_nqn) co_return invalid_data(offsetof(ConnectData, hostnqn));
  if (subsystem != nullptr && !subsystem->allows(*parameters.host_nqn)) {
    log::warn("nvmf: host {} is not allowed to connect to {}", *parameters.host_nqn, subsystem->nqn());
    co_return refuse(Status::fabrics(FabricsStatus::kInvalidHost));
  }
  const bool admin = parameters.qid == nvme::kAdminQueueId;
  const uint16_t max_depth = admin ? options_.max_admin_queue_depth : options_.max_queue_depth;
  if (parameters.sqsize == 0 || parameters.sqsize >= max_depth) co_return invalid_command(Connect::kSqsizeOffset);
  if (admin) {
    if (subsystem != nullptr && !co_await wait_for_predecessors(*subsystem, parameters.host_id)) {
      co_return refuse(Status::fabrics(FabricsStatus::kControllerBusy));
    }
    co_return connect_admin(parameters, subsystem, std::move(queue_pair));
  }
  // Discovery controllers have no I/O queues.
  if (subsystem == nullptr) co_return invalid_command(Connect::kQidOffset);
  co_return co_await connect_io(parameters, *subsystem, std::move(queue_pair));
}

// A host that has lost its controller and comes back sends again what was not answered. The commands of controllers of
// it that are ending must not outlive what it then writes. False: cancelled, or the subsystem is being stopped.
runtime::Task<bool> Target::wait_for_predecessors(Subsystem& subsystem, HostId host_id) {
  const Subsystem::Use use(subsystem);
  for (;;) {
    const auto& all = subsystem.controllers();
    const auto ending = std::ranges::find_if(
        all, [&](const auto& entry) { return entry.second->terminating() && entry.second->host_id() == host_id; });
    if (ending == all.end() || seeded(SeededBug::kForgetPredecessors)) co_return !subsystem.stopping() && !stopping_;
    const std::shared_ptr<Controller> controller = ending->second;
    if (!co_await controller->gone().wait()) co_return false;
  }
}

ConnectOutcome Target::connect_admin(const ConnectParameters& parameters, Subsystem* subsystem,
                                     std::shared_ptr<QueuePairHandle> queue_pair) {
  // Dynamic controllers only.
  if (parameters.cntlid != nvme::kDynamicControllerId) return invalid_data(offsetof(ConnectData, cntlid));
  const std::optional<uint16_t> cntlid =
      subsystem != nullptr ? subsystem->allocate_cntlid() : allocate_discovery_cntlid();
  if (!cntlid) {
    log::warn("nvmf: no free controller identifier for host {}", *parameters.host_nqn);
    return refuse(Status::fabrics(FabricsStatus::kControllerBusy));
  }
  auto controller = std::make_shared<Controller>(*this, subsystem,
                                                 ControllerIdentity{.cntlid = *cntlid,
                                                                    .host_nqn = *parameters.host_nqn,
                                                                    .host_id = parameters.host_id,
                                                                    .kato_ms = parameters.kato_ms,
                                                                    .local_address = parameters.local_address});
  (subsystem != nullptr ? subsystem->controllers() : discovery_controllers_).emplace(*cntlid, controller);
  controller->add_queue_pair(nvme::kAdminQueueId, std::move(queue_pair));
  return {.dw0 = nvme::ConnectAccept{.cntlid = *cntlid}.encode(),
          .controller = std::move(controller),
          .rewrite_status = subsystem != nullptr ? subsystem->options().rewrite_status : nullptr};
}

namespace {

// Whether `controller` takes an I/O queue pair of this host; nothing: it does.
std::optional<ConnectOutcome> io_refusal(const ConnectParameters& parameters, Controller& controller) {
  if (controller.host_nqn() != *parameters.host_nqn) return invalid_data(offsetof(ConnectData, hostnqn));
  if (controller.host_id() != parameters.host_id) return invalid_data(offsetof(ConnectData, hostid));
  constexpr uint8_t kSqeSizeLog2 = 6, kCqeSizeLog2 = 4;
  const nvme::ControllerConfiguration& config = controller.configuration();
  if (controller.terminating() || !controller.ready() || config.iosqes != kSqeSizeLog2 ||
      config.iocqes != kCqeSizeLog2) {
    return invalid_command(Connect::kQidOffset);
  }
  if (parameters.qid >= controller.target().options().max_queue_pairs) {
    return refuse(Status::command(nvme::CommandStatus::kInvalidQueueIdentifier));
  }
  return std::nullopt;
}

}  // namespace

runtime::Task<ConnectOutcome> Target::connect_io(const ConnectParameters& parameters, Subsystem& subsystem,
                                                 std::shared_ptr<QueuePairHandle> queue_pair) {
  const auto found = subsystem.controllers().find(parameters.cntlid);
  if (found == subsystem.controllers().end()) co_return invalid_data(offsetof(ConnectData, cntlid));
  const Subsystem::Use use(subsystem);
  const std::shared_ptr<Controller> controller = found->second;
  if (auto refusal = io_refusal(parameters, *controller)) co_return std::move(*refusal);
  // A host that reconnects a queue may be faster than the news of its old connection's end.
  constexpr auto kOldConnectionGrace = std::chrono::milliseconds(10);
  const Status duplicate = Status::command(nvme::CommandStatus::kInvalidQueueIdentifier, Dnr::kYes);
  if (controller->has_queue_pair(parameters.qid)) {
    if (!co_await runtime::sleep_for(kOldConnectionGrace)) {
      co_return refuse(Status::fabrics(FabricsStatus::kControllerBusy));
    }
    if (controller->has_queue_pair(parameters.qid)) co_return refuse(duplicate);
  }
  auto view = co_await subsystem.view_on(queue_pair->reactor);
  if (auto refusal = io_refusal(parameters, *controller)) co_return std::move(*refusal);
  if (controller->has_queue_pair(parameters.qid)) co_return refuse(duplicate);
  if (!view) {
    log::error("nvmf: {}: queue {} of host {} refused: {}", subsystem.nqn(), parameters.qid, *parameters.host_nqn,
               view.error().to_string());
    co_return refuse(Status::fabrics(FabricsStatus::kControllerBusy));
  }
  controller->add_queue_pair(parameters.qid, std::move(queue_pair));
  co_return ConnectOutcome{.dw0 = nvme::ConnectAccept{.cntlid = controller->cntlid()}.encode(),
                           .controller = controller,
                           .view = std::move(*view),
                           .rewrite_status = subsystem.options().rewrite_status};
}

}  // namespace cairn::nvmf::target
