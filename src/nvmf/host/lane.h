// The part of a remote namespace that lives on one reactor: an I/O queue pair for each path, the I/O that runs on them
// and the I/O that waits.
//
// Which path: an optimized one before a non-optimized one, the one in use before others that are as good. With none,
// I/O waits for the connection's retry window, counted from when the last path went; then it fails with Host Pathing
// Error, and so does at once what comes later, until there is a path again.
//
//   of a path: unused -> connect() -> live -- connection ends --> lost -> disconnect() -> unused
// What a lost connection takes along is sent again: reads on any path at once, everything else when settle() says that
// the old controller executes nothing any more. A compare-and-write is not sent again.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "nvme/log_page.h"
#include "nvmf/host/io_command.h"
#include "nvmf/host/queue_pair.h"
#include "runtime/message.h"
#include "runtime/timer.h"

namespace cairn::nvmf::host {

// What a lane has to know to connect its queue on a path.
struct PathConnection {
  runtime::SocketAddress address;
  nvme::ConnectData connect_data;
  uint16_t entries = 0;
  uint32_t max_capsule_data = 0;
  nvme::AnaState ana = nvme::AnaState::kOptimized;
};

class Lane final : private QueuePair::Owner {
 public:
  // What the home reactor is told; each runs there.
  class Home {
   public:
    virtual runtime::Reactor& reactor() = 0;
    virtual void on_queue_lost(size_t path) = 0;
    virtual void on_ana_doubt(size_t path) = 0;
    virtual void on_slow_command(size_t path, uint16_t qid, uint16_t cid) = 0;

   protected:
    ~Home() = default;
  };

  // On the home reactor. `qid`: of its queues.
  Lane(Home& home, runtime::Reactor& reactor, const ConnectionOptions& options, const NamespaceInfo& ns, uint16_t qid,
       size_t num_paths);
  ~Lane();  // stopped

  runtime::Reactor& reactor() const { return reactor_; }
  const NamespaceInfo& namespace_info() const { return namespace_; }
  uint32_t io_timeout_ms() const { return io_timeout_ms_; }
  uint8_t prinfo() const { return options_.prinfo; }

  // Everything from here on the lane's reactor.
  void start(IoCommand& command);
  // Every command of an I/O has come back.
  void ended(IoCommand& command);

  // Opens the queue of a path. Does nothing when it is open.
  runtime::Task<Result<>> connect(size_t path, PathConnection connection);
  // Closes it, if there is one. What was on it waits.
  runtime::Task<> disconnect(size_t path);
  // The controller of that path executes nothing any more that was sent before: what the path took along is sent again.
  void settle(size_t path);
  // That cannot be known: it fails.
  void fail_held(size_t path);
  void set_ana_state(size_t path, nvme::AnaState state);
  // Closes all queues; I/O that still waits fails.
  runtime::Task<> stop();

  // A command on the queue of the best path. UNAVAILABLE: there is none, or it was lost.
  runtime::Task<Result<QueuePair::Answer>> run(nvme::Sqe sqe, std::span<std::byte> data);

 private:
  static constexpr size_t kMaxSlow = 8;  // commands to be aborted at once; others end with the connection
  static constexpr uint32_t kSlowCid = 1u << 16;
  struct Path {
    Lane* lane = nullptr;
    size_t index = 0;
    std::unique_ptr<QueuePair> queue;
    nvme::AnaState ana = nvme::AnaState::kOptimized;
    bool disconnecting = false;
    size_t num_users = 0;         // tasks in run()
    IntrusiveList<Command> held;  // lost, and not to be sent again before settle()

    // For the home reactor; bits of Notice.
    std::atomic<uint32_t> notices{0};
    std::array<std::atomic<uint32_t>, kMaxSlow> slow_cids{};  // 0: free, else with kSlowCid
    std::unique_ptr<runtime::Message> message;
  };
  enum Notice : uint32_t { kLost = 1, kAnaDoubt = 2, kSlow = 4 };

  bool on_timeout(QueuePair& queue, uint16_t cid) override;
  void on_closed(QueuePair& queue, const Error& reason) override;

  Path* path_of(const QueuePair& queue);
  void tell_home(Path& path, Notice notice);
  void deliver(Path& path);  // home
  void send(IoCommand& command);
  void wait(IoCommand& command, bool first = false);
  void arm_patience();
  void send_waiting();
  void choose_path();
  bool out_of_patience() const;
  void fail_waiting();
  void fail_all(IntrusiveList<Command>& commands);
  void take_back(IoCommand& command);
  void judge(IoCommand& command, nvme::Status status);

  Home& home_;
  runtime::Reactor& reactor_;
  const ConnectionOptions& options_;
  const NamespaceInfo namespace_;
  const uint16_t qid_;
  const uint32_t io_timeout_ms_;
  std::vector<Path> paths_;
  Path* best_ = nullptr;            // live
  QueuePair* queue_ = nullptr;      // of best_
  TimePoint without_path_since_;    // when best_ is nullptr
  IntrusiveList<Command> waiting_;  // IoCommands
  IntrusiveList<Command> resting_;  // until rest_ fires
  bool stopped_ = false;
  runtime::Timer patience_;
  runtime::Timer rest_;
  runtime::Event user_left_;  // pulsed
};

}  // namespace cairn::nvmf::host
