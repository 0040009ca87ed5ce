// Other volumes on the pools of the storage nodes: replicas that somebody makes, writes to, reads and destroys all the
// time, so that the metadata of the pools is in change when something happens to them.
//
// What was acknowledged is remembered here, outside of the nodes, and checked: a replica that was made is there until
// it is destroyed, and holds what was written to it with FUA.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "simulation/engine_program.h"

namespace cairn::simulation {

class Neighbours {
 public:
  // `on_change`: a pool is about to change its metadata, on that node.
  Neighbours(uint64_t seed, std::function<void(size_t node)> on_change);

  // An operation on each node every `pause`, on average.
  void begin(sim::World& world, std::vector<sim::Node*> storage, Duration pause);
  void stop() { stopped_ = true; }
  // Reads everything once more. Errors are failures.
  Task<> verify(EngineProgram& engine, size_t node);

  const std::string& failure() const { return failure_; }
  uint64_t num_made() const { return num_made_; }
  uint64_t num_destroyed() const { return num_destroyed_; }
  uint64_t num_writes() const { return num_writes_; }
  bool idle() const;

 private:
  static constexpr uint64_t kPieceBlocks = 8;
  static constexpr uint64_t kPiecesOfCluster = 4;  // that are ever used
  enum class State : uint8_t { kMaking, kThere, kGoing };
  struct Volume {
    State state = State::kMaking;
    uint64_t num_clusters = 0;
    // By their first block: what each block of it may hold. Others hold zeroes.
    std::map<uint64_t, std::vector<uint64_t>> pieces;
  };
  struct Site {
    std::map<std::string, Volume> volumes;
    uint64_t busy_boot = 0;  // the process that does an operation; 0: none
  };

  void tick(size_t node, Duration pause);
  Task<> operate(EngineProgram& engine, size_t node);
  Task<> make(EngineProgram& engine, size_t node);
  Task<> destroy(EngineProgram& engine, size_t node, std::string name);
  Task<> write(EngineProgram& engine, size_t node, std::string name);
  Task<> read(EngineProgram& engine, size_t node, std::string name, bool all);
  Task<> read_unwritten(block::Channel& channel, size_t node, std::string name);
  uint64_t place_of(uint64_t piece) const;
  // After a crash or an error it may be there or not.
  void look_for(EngineProgram& engine, size_t node);
  void note_failure(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }

  sim::World* world_ = nullptr;
  std::vector<sim::Node*> storage_;
  const std::function<void(size_t)> on_change_;
  runtime::Random random_;
  std::vector<Site> sites_;
  bool stopped_ = false;
  std::string failure_;
  uint64_t next_number_ = 1;  // of names and of what is written
  uint64_t num_made_ = 0;
  uint64_t num_destroyed_ = 0;
  uint64_t num_writes_ = 0;
};

}  // namespace cairn::simulation
