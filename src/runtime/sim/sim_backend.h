// The simulator behind one reactor of a simulated process.
#pragma once

#include <memory>
#include <string>

#include "runtime/backend.h"
#include "runtime/random.h"
#include "runtime/sim/file_system.h"
#include "runtime/sim/sim_stream.h"
#include "runtime/sim/wakeup.h"

namespace cairn::runtime::sim {

class Node;

class SimBackend final : public Backend {
 public:
  SimBackend(Node& node, unsigned index, uint64_t seed) : node_(node), index_(index), random_(seed) {}
  ~SimBackend() override;

  std::string description() const override { return "simulator"; }
  TimePoint now() override;
  // Never waits: the world drives its reactors by run_round(). Checked.
  size_t poll(TimePoint wake_at) override;
  void wake() override {}

  Task<Result<std::unique_ptr<File>>> open_file(std::string path, FileOptions options) override;
  Task<Result<>> rename_file(std::string from, std::string to) override;
  Task<Result<>> remove_file(std::string path) override;
  Task<Result<>> make_directories(std::string path) override;

  Result<std::unique_ptr<Listener>> listen(const SocketAddress& address, AcceptHandler accept) override;
  std::unique_ptr<Stream> adopt(std::unique_ptr<AcceptedStream> accepted) override;
  Task<Result<std::unique_ptr<Stream>>> connect(SocketAddress address) override;
  void use_buffer_region(std::span<std::byte>) override {}

  // --- for the simulator
  Node& node() { return node_; }
  Random& random() { return random_; }
  bool has_ready() const { return !ready_.empty() || !completed_.empty(); }
  void make_ready(Wakeup& wakeup);
  void complete(FileOp& op, int64_t result);  // in the next round
  void add(SimStream& stream) { streams_.push_back(stream); }
  void consider();  // a task of this reactor may have become ready
  // The process has crashed: no completion or callback may reach it any more.
  void abandon();

 private:
  Node& node_;
  unsigned index_;
  Random random_;
  IntrusiveList<Wakeup> ready_;
  IntrusiveList<FileOp> completed_;
  IntrusiveList<SimStream, StreamList> streams_;
};

}  // namespace cairn::runtime::sim
