// The core's side of a connection: takes commands from the transport, in order, and executes them.
//
// Life: made with the connection (state kNew, only fabrics Connect is accepted), bound to a controller by Connect (kAdmin or kIo), closing when the
// transport or the controller ends it (kClosing), done when no request is outstanding and the controller has forgotten it.
// Lives on one reactor; the controller (primary reactor) knows it by QueuePairHandle and reaches it by messages only.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "nvmf/target/request.h"
#include "nvmf/target/transport.h"
#include "runtime/reactor.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::target {

class Controller;
class NamespaceView;
class SubsystemView;
class Target;

enum class QueuePairState : uint8_t { kNew, kConnecting, kAdmin, kIo, kClosing };

class QueuePair {
 public:
  QueuePair(Target& target, Connection& connection);
  ~QueuePair();  // after closed()
  QueuePair(const QueuePair&) = delete;
  QueuePair& operator=(const QueuePair&) = delete;

  runtime::Reactor& reactor() const { return reactor_; }
  QueuePairState state() const { return state_; }
  uint16_t qid() const { return qid_; }
  uint16_t queue_depth() const { return queue_depth_; }  // entries; 0 before Connect
  // The command sets: how an opcode of this queue is to be read.
  bool is_admin() const { return state_ != QueuePairState::kIo; }

  // The transport received a command capsule into request.command. Checks it as far as possible without data and sets direction and
  // data_length, or completes it. Called in the order of arrival. `sgl_in_capsule` is the number of bytes of data the capsule carries.
  void begin(Request& request);
  // The request's data() is in place (host-to-controller data has arrived).
  void execute(Request& request);

  // The transport's connection is gone (once, after the last begin/execute). Tells the controller, waits for outstanding requests; co_await it, then
  // destroy the queue pair.
  runtime::Task<> close();

  uint32_t outstanding() const { return outstanding_; }

  // Completes a request with a status. Used by everything that executes commands; on this queue pair's reactor.
  void finish(Request& request, nvme::Status status, uint32_t dw0 = 0, uint32_t dw1 = 0);

 private:
  friend class QueuePairHandle;

  // fabrics.cc
  void begin_fabrics(Request& request);
  runtime::Task<> execute_connect(Request& request);
  // admin: lent to the primary reactor (Controller::execute_admin)
  void begin_admin(Request& request);
  runtime::Task<> execute_on_primary(Request& request);
  // io_command.cc
  void begin_io(Request& request);
  void execute_io(Request& request);
  void begin_fused(Request& request);
  void on_io_complete(Request& request);

  Target& target_;
  Connection& connection_;
  runtime::Reactor& reactor_;
  QueuePairState state_ = QueuePairState::kNew;
  uint16_t qid_ = 0;
  uint16_t queue_depth_ = 0;
  uint32_t outstanding_ = 0;  // requests between begin() and finish()
  runtime::Event drained_;
  std::shared_ptr<Controller> controller_;
  std::shared_ptr<SubsystemView> view_;  // I/O queues only
  Request* fused_first_ = nullptr;
  std::array<uint8_t, 16> host_id_{};
};

}  // namespace cairn::nvmf::target
