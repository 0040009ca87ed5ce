// A transport without a wire, for tests of the target's core: the test is the host and decides when a command arrives
// and when its data does.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/abandonment.h"
#include "nvmf/target/queue_pair.h"
#include "nvmf/target/transport.h"
#include "runtime/reactor.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::target {

// Made and destroyed on its reactor. Requests stay valid as long as the connection.
class TestConnection final : public Connection {
 public:
  struct Command : Request {
    std::vector<std::byte> host_data;  // what the host sends, and what it got
    std::vector<std::byte> memory;     // the transport's buffers
    bool delivered = false;
    bool completed = false;
    int completion_order = 0;  // within the connection, from 1
    runtime::Event done;       // for a host that is a task

    nvme::Status status() const {
      CAIRN_CHECK(completed);
      return completion.status();
    }
  };

  explicit TestConnection(Target& target, runtime::SocketAddress local = *runtime::SocketAddress::ip("10.0.0.1", 8420))
      : reactor_(runtime::Reactor::current()), queue_pair_(target, *this), local_(std::move(local)) {}
  ~TestConnection() { CAIRN_CHECK(closed_.is_set() || abandoning()); }

  runtime::Reactor& reactor() { return reactor_; }
  QueuePair& queue_pair() { return queue_pair_; }
  bool closing() const { return closing_; }
  bool closed() const { return closed_.is_set(); }
  runtime::Event& closed_event() { return closed_; }
  uint16_t queue_depth() const { return queue_depth_; }

  // A capsule arrives. `data`: what the host would send; for data to the host its size only.
  Command& receive(const nvme::Sqe& sqe, std::span<const std::byte> data = {}) {
    const runtime::Reactor::Scope scope(reactor_);
    Command& command = *commands_.emplace_back(std::make_unique<Command>());
    command.command = sqe;
    command.command.cid = static_cast<uint16_t>(commands_.size());
    command.host_data.assign(data.begin(), data.end());
    queue_pair_.begin(command);
    return command;
  }

  // The command has its buffers and, if it wants some, the host's data: three pieces of odd sizes.
  void deliver(Command& command) {
    CAIRN_CHECK(command.state == RequestState::kPrepared && !command.delivered);
    const runtime::Reactor::Scope scope(reactor_);
    command.delivered = true;
    command.memory.assign(command.data_length, std::byte{0xa5});
    if (command.direction == nvme::DataDirection::kHostToController) {
      CAIRN_CHECK(command.host_data.size() >= command.data_length);
      std::copy_n(command.host_data.begin(), command.data_length, command.memory.begin());
    }
    const size_t first = command.memory.size() / 3;
    const size_t second = std::min<size_t>(7, command.memory.size() - first);
    std::byte* const start = command.memory.data();
    const std::array<iovec, 3> pieces = {
        {{start, first}, {start + first, second}, {start + first + second, command.memory.size() - first - second}}};
    command.set_data(pieces);
    queue_pair_.execute(command);
  }

  // The usual way of a command through a transport.
  Command& send(const nvme::Sqe& sqe, std::span<const std::byte> data = {}) {
    Command& command = receive(sqe, data);
    if (command.state == RequestState::kPrepared) deliver(command);
    return command;
  }

  // The transport gives a command up that waits for data (a digest was wrong).
  void give_up(Command& command, nvme::Status status) {
    CAIRN_CHECK(command.state == RequestState::kPrepared && !command.delivered);
    const runtime::Reactor::Scope scope(reactor_);
    queue_pair_.finish(command, status);
  }

  void complete(Request& request) override {
    auto& command = static_cast<Command&>(request);
    CAIRN_CHECK(!command.completed && runtime::Reactor::current_or_null() == &reactor_);
    command.completed = true;
    command.completion_order = ++completions_;
    if (request.transfer_length > 0) {
      command.host_data.resize(request.transfer_length);
      request.copy_from_data(0, command.host_data);
    }
    command.done.set();
  }
  void disconnect() override {
    if (std::exchange(closing_, true)) return;
    reactor_.spawn("test connection", close());
  }
  void set_queue_depth(uint16_t entries) override { queue_depth_ = entries; }
  Request* find_request(uint16_t cid) override {
    return cid == 0 || cid > commands_.size() || commands_[cid - 1]->completed ? nullptr : commands_[cid - 1].get();
  }
  bool abort_waiting(Request& request) override {
    if (request.state != RequestState::kPrepared) return false;
    queue_pair_.finish(request, nvme::Status::generic(nvme::GenericStatus::kAbortRequested));
    return true;
  }
  const runtime::SocketAddress& local_address() const override { return local_; }
  const runtime::SocketAddress& peer_address() const override { return peer_; }

 private:
  runtime::Task<> close() {
    for (const auto& command : commands_) {
      if (command->completed || command->delivered) continue;
      queue_pair_.finish(*command, nvme::Status::generic(nvme::GenericStatus::kAbortedSqDeletion));
    }
    co_await queue_pair_.close();
    closed_.set();
  }

  runtime::Reactor& reactor_;
  QueuePair queue_pair_;
  std::vector<std::unique_ptr<Command>> commands_;
  runtime::SocketAddress local_;
  runtime::SocketAddress peer_ = *runtime::SocketAddress::ip("10.0.0.9", 4000);
  uint16_t queue_depth_ = 0;
  int completions_ = 0;
  bool closing_ = false;
  runtime::Event closed_;
};

}  // namespace cairn::nvmf::target
