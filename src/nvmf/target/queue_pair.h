// The core's side of a connection: takes commands from the transport, in order, and executes them.
//
// States: kNew (only fabrics Connect is accepted) -> kConnecting (a Connect is being worked on) -> kAdmin or kIo (bound
// to a controller) -> kClosing (the transport is gone). A refused Connect leads back to kNew. Closing is done when no
// request is outstanding and the controller has forgotten the queue pair. Lives on one reactor; the controller (primary
// reactor) knows it by a QueuePairHandle and reaches it by messages only.
#pragma once

#include <cstdint>
#include <memory>

#include "nvmf/target/namespace_view.h"
#include "nvmf/target/request.h"
#include "nvmf/target/transport.h"
#include "runtime/reactor.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::target {

class Controller;
class QueuePair;
class Target;

enum class QueuePairState : uint8_t { kNew, kConnecting, kAdmin, kIo, kClosing };

// How others refer to a queue pair that may go at any time. Shared; `queue_pair` is read and written on `reactor` only.
struct QueuePairHandle {
  runtime::Reactor& reactor;
  QueuePair* queue_pair;  // nullptr when it is gone
};

class QueuePair {
 public:
  QueuePair(Target& target, Connection& connection);
  ~QueuePair();  // after close()
  QueuePair(const QueuePair&) = delete;
  QueuePair& operator=(const QueuePair&) = delete;

  runtime::Reactor& reactor() const { return reactor_; }
  QueuePairState state() const { return state_; }
  uint16_t qid() const { return qid_; }
  uint16_t queue_depth() const { return queue_depth_; }  // entries; 0 before Connect
  // The command sets: how an opcode of this queue is to be read.
  bool is_admin() const { return qid_ == 0; }
  Connection& connection() { return connection_; }
  // Shared by all I/O queue pairs of the controller: nullptr before Connect.
  Controller* controller() { return controller_.get(); }

  // The transport received a command capsule into request.command. Checks it as far as possible without data, then
  // either completes it or leaves it in state kPrepared with direction and data_length set. Called in the order of
  // arrival. What only the transport can know of the SGL (where in the capsule, whether it is there) it checks itself.
  void begin(Request& request);
  // The request's data() is in place (host-to-controller data has arrived).
  void execute(Request& request);

  // The transport's connection is gone (once, after the last begin/execute). Tells the controller, waits for
  // outstanding requests; co_await it, then destroy the queue pair. A cancellation does not interrupt it.
  runtime::Task<> close();

  uint32_t outstanding() const { return outstanding_; }

  // Completes a request with a status: the one way out of the queue pair for every request that begin() took, also for
  // those that the transport gives up while they are Prepared. On this queue pair's reactor; the request may be free
  // and reused when it returns.
  void finish(Request& request, nvme::Status status, uint32_t dw0 = 0, uint32_t dw1 = 0);

  // For begin_...(): the command moves `length` bytes. Checks the SGL against it and leaves the request in kPrepared,
  // or completes it with the SGL's fault and returns false. An SGL may be longer than the data (SGLS bit 18).
  bool prepare(Request& request, nvme::DataDirection direction, uint32_t length);

  // Abort: ends a command that waits for its data or for its fused partner. False when it cannot be stopped any more or
  // there is none.
  bool abort(uint16_t cid);
  void disconnect() { connection_.disconnect(); }

 private:
  // fabrics_connect.cc
  runtime::Task<> execute_connect(Request& request);
  // queue_pair.cc
  void begin_fabrics(Request& request);
  void begin_admin(Request& request);
  // Lends the request to the primary reactor: Controller::execute_admin on the admin queue, execute_reservation on
  // others.
  runtime::Task<> execute_on_primary(Request& request);
  nvme::Status final_status(nvme::Status status) const;
  // io_command.cc: every command of an I/O queue, in order of arrival, fabrics commands included.
  void begin_io(Request& request);
  void execute_io(Request& request);
  struct Payload {
    nvme::DataDirection direction = nvme::DataDirection::kNone;
    uint32_t size_bytes = 0;
  };
  nvme::Status check_io(const nvme::Sqe& command, Payload& payload);
  nvme::Status admit(NamespaceView& view, AccessTable::Rights needed);
  void start_io(Request& request);
  void run_io(Request& request);
  void on_io_complete(Request& request);
  void finish_io(Request& request);
  // fused_command.cc
  void begin_fused(Request& request);
  void execute_fused(Request& request);
  void start_fused(Request& first);
  void finish_fused(Request& first);
  void abort_fused(Request& request, nvme::Status status);
  // finish() calls it for every request: one that leaves by another way than its own execution takes its other half
  // along.
  void leave_fused(Request& request);

  Target& target_;
  Connection& connection_;
  runtime::Reactor& reactor_;
  std::shared_ptr<QueuePairHandle> handle_;
  QueuePairState state_ = QueuePairState::kNew;
  uint16_t qid_ = 0;
  uint16_t queue_depth_ = 0;
  uint32_t outstanding_ = 0;       // requests between begin() and finish()
  Request* connecting_ = nullptr;  // the Connect that is being worked on
  runtime::Event drained_;
  std::shared_ptr<Controller> controller_;
  nvme::Status (*rewrite_status_)(nvme::Status status) = nullptr;  // the subsystem's
  std::shared_ptr<SubsystemView> view_;                            // I/O queues only
  Request* fused_first_ = nullptr;    // an accepted first half; the next command has to be its second
  bool fused_first_refused_ = false;  // the command before was a first half that was refused or has ended already
  HostId host_id_{};
  uint64_t rights_version_ = 0;  // NamespaceView::access_version() that rights_ were looked up at
  AccessTable::Rights rights_;
};

}  // namespace cairn::nvmf::target
