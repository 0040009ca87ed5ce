// An NVMe/TCP host for tests: one association (admin queue and I/O queues) with a subsystem. See TestHostQueue.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nvme/nvm_command.h"
#include "nvme/reservation.h"
#include "nvmf/target/namespace_view.h"
#include "nvmf/target/test_host_queue.h"

namespace cairn::nvmf::target {

struct TestHostOptions {
  runtime::SocketAddress address;
  std::string subsystem_nqn;
  uint8_t number = 1;  // of the host: the last byte of its identifier, the end of its NQN, its reservation key
  uint16_t num_io_queues = 1;
  uint16_t queue_entries = 32;
  uint32_t kato_ms = 0;  // 0: no keep-alive
  TestHostQueueOptions queue = {};
};

// Used on the reactor it was connected on; close() before it is destroyed, unless its node has crashed.
class TestHost {
 public:
  using Answer = TestHostQueue::Answer;

  // Connects the admin queue, enables the controller, connects the I/O queues and begins to send Keep Alive. On an
  // error nothing is left.
  static runtime::Task<Result<std::unique_ptr<TestHost>>> connect(TestHostOptions options);
  static HostId host_id(uint8_t number);

  explicit TestHost(TestHostOptions options) : options_(std::move(options)) {}

  TestHostQueue& admin() { return *admin_; }
  TestHostQueue& io(size_t index = 0) { return *io_.at(index); }
  size_t num_io_queues() const { return io_.size(); }
  uint16_t cntlid() const { return cntlid_; }
  uint8_t number() const { return options_.number; }
  // Stops sending Keep Alive.
  void fall_silent() { silent_ = true; }

  // Every connection is closed when it returns.
  runtime::Task<> close();
  bool any_closed() const;
  // The first fault of a queue; empty: the target did nothing wrong.
  std::string fault() const;

  // ---- Commands (namespace 1). The caller adds flags.
  static nvme::Sqe io_sqe(nvme::NvmOpcode opcode);
  static nvme::Sqe range_sqe(nvme::NvmOpcode opcode, uint64_t slba, uint32_t num_blocks);
  runtime::Task<Result<Answer>> register_key(nvme::ChangePtpl ptpl = nvme::ChangePtpl::kNoChange, size_t queue = 0);
  runtime::Task<Result<Answer>> acquire(nvme::ReservationType type,
                                        nvme::AcquireAction action = nvme::AcquireAction::kAcquire, uint64_t prkey = 0,
                                        size_t queue = 0);
  // The whole reservation status, with extended structures.
  runtime::Task<Result<Answer>> report(size_t queue = 0);

 private:
  runtime::Task<bool> start();
  runtime::Task<std::unique_ptr<TestHostQueue>> connect_queue(uint16_t qid);
  runtime::Task<> send_keep_alive();

  TestHostOptions options_;
  uint16_t cntlid_ = 0xffff;
  std::unique_ptr<TestHostQueue> admin_;
  std::vector<std::unique_ptr<TestHostQueue>> io_;
  runtime::TaskHandle keep_alive_;
  bool keep_alive_running_ = false;
  bool silent_ = false;
  runtime::Event keep_alive_ended_;
};

}  // namespace cairn::nvmf::target
