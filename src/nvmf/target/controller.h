// A controller: one host's association with a subsystem (or with discovery). Lives on the primary reactor, where every admin command is
// executed; its queue pairs live on their own reactors.
//
// State machine (NVMe Base 2.0, section 3.5): Disabled (CC.EN=0) -> Ready (CC.EN=1, CSTS.RDY) -> ShuttingDown (CC.SHN) -> ShutDown;
// Disabled again by CC.EN=0 (I/O queue pairs are disconnected, AERs dropped); Fatal (CSTS.CFS) when keep-alive expires; Gone.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nvme/fabrics.h"
#include "nvmf/target/async_events.h"
#include "nvmf/target/features.h"
#include "nvmf/target/namespace_view.h"
#include "nvmf/target/request.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::target {

class QueuePair;
class Subsystem;
class Target;

class Controller : public std::enable_shared_from_this<Controller> {
 public:
  // `subsystem` nullptr: a discovery controller.
  Controller(Target& target, Subsystem* subsystem, uint16_t cntlid, std::string host_nqn, const HostId& host_id, uint32_t kato_ms);
  ~Controller();

  // Immutable: any reactor.
  uint16_t cntlid() const { return cntlid_; }
  const std::string& host_nqn() const { return host_nqn_; }
  const HostId& host_id() const { return host_id_; }
  bool is_discovery() const { return subsystem_ == nullptr; }
  // Any reactor: errors carry a command retry delay (Host Behavior Support, ACRE).
  bool retry_delay_enabled() const { return features_.acre.load(std::memory_order_relaxed); }

  // Primary reactor from here.
  Subsystem* subsystem() { return subsystem_; }
  bool enabled() const;
  // Adds a queue pair; the checks of Connect were done by Target::connect. qid 0 is the admin queue.
  void add_queue_pair(uint16_t qid, QueuePair& queue_pair);
  bool has_queue_pair(uint16_t qid) const { return queue_pairs_.contains(qid); }
  // The queue pair's connection is gone. The loss of the admin queue ends the controller.
  void remove_queue_pair(uint16_t qid);

  // Executes an admin or fabrics command (all but Connect); fills request.data() and completion dwords, gives the status. The
  // request is lent until then. AERs stay until an event comes.
  runtime::Task<nvme::Status> execute_admin(Request& request);

  AsyncEvents& events() { return events_; }
  void namespace_changed(uint32_t nsid);           // attribute notice + changed namespace list
  void ana_changed();
  void reservation_notice(uint32_t nsid, nvme::ReservationNotificationType type);

  // Disconnects everything; the controller disappears from its subsystem when the last queue pair has gone.
  void terminate(std::string_view reason);
  // Until the controller has gone.
  runtime::Event& gone() { return gone_; }

 private:
  Target& target_;
  Subsystem* subsystem_;
  uint16_t cntlid_;
  std::string host_nqn_;
  HostId host_id_;
  Features features_;
  AsyncEvents events_;
  std::map<uint16_t, QueuePair*> queue_pairs_;
  runtime::Event gone_;
};

}  // namespace cairn::nvmf::target
