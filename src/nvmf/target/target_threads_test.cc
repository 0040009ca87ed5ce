// The core on real threads, for the thread sanitizer: hosts come, do I/O, quarrel about reservations and vanish, while
// the namespace changes under them and finally the target stops.
#include <atomic>
#include <thread>

#include "nvmf/target/target_test.h"
#include "runtime/blocking_pool.h"
#include "runtime/epoll_backend.h"

namespace cairn::nvmf::target {
namespace {

constexpr unsigned kNumReactors = 3;
constexpr int kNumHosts = 6;
constexpr int kRoundsOfAHost = 15;

class Machine {
 public:
  Machine() {
    auto pool = std::make_shared<runtime::BlockingPool>();
    for (unsigned i = 0; i < kNumReactors; ++i) {
      auto backend = runtime::EpollBackend::create(pool);
      EXPECT_TRUE(backend);
      reactors_.push_back(std::make_unique<runtime::Reactor>(
          runtime::ReactorOptions{
              .index = i, .random_seed = i + 1, .spin_budget = Duration(0), .buffer_pool_bytes = size_t{1} << 20},
          std::move(*backend)));
    }
    for (unsigned i = 1; i < kNumReactors; ++i) threads_.emplace_back([this, i] { reactors_[i]->run(); });
  }
  ~Machine() {
    for (unsigned i = 1; i < kNumReactors; ++i) reactors_[i]->stop();
    for (std::thread& thread : threads_) thread.join();
  }
  runtime::Reactor& reactor(unsigned i) { return *reactors_[i]; }
  std::vector<runtime::Reactor*> reactors() {
    std::vector<runtime::Reactor*> all;
    for (const auto& reactor : reactors_) all.push_back(reactor.get());
    return all;
  }
  void run(Task<> task) {
    runtime::TaskHandle handle;
    {
      const runtime::Reactor::Scope scope(reactor(0));
      handle = reactor(0).spawn("test", std::move(task));
    }
    reactor(0).run_until([&] { return handle.done(); });
  }

 private:
  std::vector<std::unique_ptr<runtime::Reactor>> reactors_;
  std::vector<std::thread> threads_;
};

Sqe range_command(nvme::NvmOpcode opcode, uint64_t slba) {
  Sqe command = encoded(nvme::BlockRange{.slba = slba, .num_blocks = 8}, 1);
  command.opcode = static_cast<uint8_t>(opcode);
  return command;
}

// Statuses are whatever the quarrel leads to: what counts is that every command is answered and every queue ends.
Task<> live_once(Target& target, Machine& machine, TestHost host, runtime::Random& random) {
  TestQueue admin(target, machine.reactor(static_cast<unsigned>(random.below(kNumReactors))));
  TestQueue first(target, machine.reactor(1));
  TestQueue other(target, machine.reactor(2));
  const Answer connected = co_await admin.connect(kDiskNqn, host, {.kato_ms = 60'000});
  if (connected.status.is_success()) {
    const auto cntlid = static_cast<uint16_t>(connected.dw0);
    co_await admin.property_set(nvme::Property::kCc, TestQueue::enabled_configuration().encode());
    co_await first.connect(kDiskNqn, host, {.qid = 1, .cntlid = cntlid});
    co_await other.connect(kDiskNqn, host, {.qid = 2, .cntlid = cntlid});
    TestCommand* const event = co_await admin.submit(with_data(admin_command(nvme::AdminOpcode::kAsyncEventRequest)));
    const uint64_t key = host.id[0] + 1;
    co_await first.run(encoded(nvme::ReservationRegister{.ignore_existing_key = true}, 1),
                       bytes_from(nvme::ReservationRegisterData{.nrkey = key}));
    for (int i = 0; i < 10; ++i) {
      TestQueue& queue = random.one_in(2) ? first : other;
      const uint64_t slba = random.below(1000);
      std::vector<TestCommand*> commands;
      for (int n = 0; n < 4; ++n) {
        const bool write = random.one_in(2);
        const auto opcode = write ? nvme::NvmOpcode::kWrite : nvme::NvmOpcode::kRead;
        commands.push_back(co_await queue.submit(with_data(range_command(opcode, slba + n * 8), 4096), Bytes(4096)));
      }
      switch (random.below(6)) {
        case 0:
          co_await first.run(encoded(nvme::ReservationAcquire{.type = nvme::ReservationType::kWriteExclusive}, 1),
                             bytes_from(nvme::ReservationAcquireData{.crkey = key}));
          break;
        case 1:
          co_await first.run(encoded(nvme::ReservationRelease{.type = nvme::ReservationType::kWriteExclusive}, 1),
                             bytes_from(nvme::ReservationReleaseData{.crkey = key}));
          break;
        case 2:
          co_await admin.log_page(nvme::LogPageId::kErrorInformation, 4096);
          break;
        case 3:
          co_await admin.identify(nvme::Cns::kNamespace, 1);
          break;
        case 4:
          co_await admin.run(encoded(nvme::Abort{.sqid = 1, .cid = commands[0]->command.cid}));
          break;
        default:
          break;
      }
      for (TestCommand* command : commands) co_await queue.answer(command);
    }
    if (random.one_in(3)) co_await admin.property_set(nvme::Property::kCc, 0);
    if (random.one_in(2)) co_await first.close();
    co_await admin.close();
    co_await admin.answer(event);
  }
  co_await admin.close();
  co_await first.close();
  co_await other.close();
}

Task<> live(Target& target, Machine& machine, int number, int& living) {
  runtime::Random random(static_cast<uint64_t>(number) + 100);
  const TestHost host{.nqn = "nqn.2014-08.org.example:host" + std::to_string(number),
                      .id = {static_cast<uint8_t>(number)}};
  for (int i = 0; i < kRoundsOfAHost; ++i) co_await live_once(target, machine, host, random);
  --living;
}

TEST(TargetOnThreads, HostsComeAndGoWhileTheNamespaceChanges) {
  log::set_level(log::Level::kOff);
  Machine machine;
  machine.run([](Machine& machine) -> Task<> {
    block::Registry registry;
    block::add_malloc_scheme(registry);
    Target target({}, machine.reactors());
    auto subsystem = target.add_subsystem({.nqn = kDiskNqn, .ana_reporting = true});
    auto device = co_await registry.create("malloc:///disk0?size_mb=8");
    EXPECT_TRUE(device && co_await (*subsystem)->add_namespace(std::move(*device)));

    int living = kNumHosts;
    for (int i = 0; i < kNumHosts; ++i) {
      machine.reactor(0).spawn("host", live(target, machine, i, living));
    }
    runtime::Random random(7);
    while (living > kNumHosts / 2) {
      co_await runtime::sleep_for(std::chrono::microseconds(200));  // the hosts' turn
      Namespace* space = (*subsystem)->find_namespace(1);
      co_await space->set_ana_state(random.one_in(2) ? AnaState::kOptimized : AnaState::kInaccessible);
      co_await registry.create("malloc:///disk0?resize&size_mb=" + std::to_string(8 + random.below(8)));
      if (random.one_in(8)) (*subsystem)->set_allowed_hosts(false, {"nqn.2014-08.org.example:host1"});
      if (random.one_in(4)) (*subsystem)->set_allowed_hosts(true, {});
    }
    // In the midst of it.
    co_await target.stop();
    while (living > 0) co_await runtime::sleep_for(std::chrono::milliseconds(1));
    co_await registry.remove_all();
    EXPECT_EQ(registry.find("disk0"), nullptr);
  }(machine));
}

}  // namespace
}  // namespace cairn::nvmf::target
