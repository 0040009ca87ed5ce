// Streams, listeners and pending connections of a simulated process: what connects protocol code to Connection.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "runtime/sim/connection.h"
#include "runtime/sim/event_queue.h"
#include "runtime/sim/wakeup.h"
#include "runtime/stream.h"
#include "runtime/task.h"

namespace cairn::runtime::sim {

class Network;
class SimBackend;

struct StreamList;

class SimStream final : public Stream, public Wakeup, public ListLink<StreamList> {
 public:
  SimStream(SimBackend& backend, std::shared_ptr<Connection> connection, int side);
  ~SimStream() override;

  void start(StreamHandler& handler) override;
  void pause() override { paused_ = true; }
  void resume() override;
  void send(SendOp& op) override;
  void close() override;
  void reset() override;
  void close_after_send(std::chrono::nanoseconds linger) override;
  const SocketAddress& local_address() const override { return local_; }
  const SocketAddress& peer_address() const override { return peer_; }

  // Something happened at the connection: looks at it in the reactor's loop.
  void wake();
  void run() override;
  // The process has crashed: forgets everything.
  void abandon();

 private:
  void write_output();
  void complete_sent();
  void deliver_input();
  void end(Error reason, int send_error);

  SimBackend& backend_;
  std::shared_ptr<Connection> connection_;  // nullptr: ended or abandoned
  int side_;
  SocketAddress local_;
  SocketAddress peer_;
  StreamHandler* handler_ = nullptr;
  uint8_t placing_;  // 0: windows are used, 1: never, else now and then
  bool paused_ = false;
  bool close_wanted_ = false;
  bool reset_wanted_ = false;
  bool close_after_send_ = false;
  ScheduledEvent linger_;
  IntrusiveList<SendOp> waiting_;  // not yet wholly in the send buffer
  IntrusiveList<SendOp> sent_;     // to be completed
  size_t piece_ = 0;               // of the first that waits: where it goes on
  size_t piece_offset_ = 0;
  std::optional<Error> ended_;  // on_closed waits for start()
};

class SimAccepted final : public AcceptedStream {
 public:
  explicit SimAccepted(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}
  ~SimAccepted() override {
    if (connection_ != nullptr) connection_->close(1);
  }
  std::shared_ptr<Connection> take() { return std::move(connection_); }

 private:
  std::shared_ptr<Connection> connection_;
};

class SimListener final : public Listener, public Wakeup {
 public:
  SimListener(SimBackend& backend, AcceptHandler accept) : backend_(backend), accept_(std::move(accept)) {}
  ~SimListener() override;

  // 0 or -errno.
  int open(SocketAddress address);
  const SocketAddress& local_address() const override { return address_; }
  size_t backlog() const { return arrived_.size(); }
  void arrive(std::shared_ptr<Connection> connection);
  void run() override;

 private:
  SimBackend& backend_;
  AcceptHandler accept_;
  SocketAddress address_;
  std::deque<std::shared_ptr<Connection>> arrived_;
};

class ConnectAwaiter;

// Shared by the awaiting task and the network's events; the task may go first.
class ConnectAttempt {
 public:
  ConnectAttempt(SimBackend& backend, SocketAddress to) : backend_(&backend), to_(std::move(to)) {}
  bool wanted() const { return awaiter_ != nullptr; }
  SimBackend& backend() { return *backend_; }  // only while wanted
  const SocketAddress& to() const { return to_; }
  // Positive errno, or 0 with a connection.
  void finish(int error, std::shared_ptr<Connection> connection);

  Duration waited{};
  Duration retry_after{};

 private:
  friend class ConnectAwaiter;
  SimBackend* backend_;
  SocketAddress to_;
  ConnectAwaiter* awaiter_ = nullptr;
};

class ConnectAwaiter final : public Suspension {
 public:
  ConnectAwaiter(Network& network, std::shared_ptr<ConnectAttempt> attempt)
      : network_(network), attempt_(std::move(attempt)) {}
  ~ConnectAwaiter() override;
  bool await_ready() const { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> task) {
    if ((stopped_ = stop_error(task))) return false;
    context_ = task.promise().context;
    begin(task);
    begin_attempt();
    return true;
  }
  Result<std::shared_ptr<Connection>> await_resume();

 private:
  friend class ConnectAttempt;
  void begin_attempt();
  void on_cancel() override;
  void end() { finish(); }

  Network& network_;
  std::shared_ptr<ConnectAttempt> attempt_;
  TaskContext* context_ = nullptr;
  std::optional<Error> stopped_;
  int error_ = 0;
  std::shared_ptr<Connection> connection_;
};

}  // namespace cairn::runtime::sim
