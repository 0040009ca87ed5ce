#include "nvmf/target/namespace_view.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "runtime/sim/world.h"

namespace cairn::nvmf::target {
namespace {

using runtime::sim::Node;
using runtime::sim::RunResult;
using runtime::sim::World;
using std::chrono::microseconds;
using std::chrono::seconds;

HostId host(uint8_t number) {
  HostId id{};
  id[0] = number;
  return id;
}

// A device that nobody does I/O to.
class IdleChannel final : public block::Channel {
 public:
  using Channel::Channel;

 private:
  void start(block::Io& io) override { finish(io, nvme::Status::success()); }
};
class IdleDevice final : public block::Device {
 public:
  IdleDevice() : Device({.name = "idle", .uuid = {}, .product_name = {}, .driver_name = {}}, {.num_blocks = 8}) {}
  bool has_volatile_cache() const override { return false; }
  runtime::Task<Result<>> rescan() override { co_return Result<>{}; }
  runtime::Task<> stop() override { co_return; }

 private:
  bool supports_natively(block::IoType) const override { return true; }
  runtime::Task<Result<std::unique_ptr<block::Channel>>> make_channel() override {
    co_return std::make_unique<IdleChannel>(shared_from_this());
  }
};

NamespaceView::Decision write_exclusive(const HostId& holder) {
  auto table = std::make_shared<AccessTable>();
  table->reserved = true;
  table->others = {.read = true, .write = false};
  table->hosts[holder] = {};
  return {.access = table};
}

// The primary reactor 0 decides, the view lives on reactor 1.
class NamespaceViewTest : public testing::Test {
 protected:
  NamespaceViewTest() : node_(world_.add_node({.num_reactors = 2})) {
    node_.start();
    run([this]() -> runtime::Task<> {
      device_ = std::make_shared<IdleDevice>();
      co_await runtime::call_on(view_reactor(), [this]() -> runtime::Task<> {
        view_ = std::make_unique<NamespaceView>(1, *co_await device_->open_channel());
      });
    });
  }
  ~NamespaceViewTest() override {
    run([this]() -> runtime::Task<> {
      co_await runtime::call_on(view_reactor(), [this]() -> runtime::Task<> {
        view_.reset();
        co_return;
      });
      device_.reset();
    });
    node_.stop();
  }

  runtime::Reactor& view_reactor() { return node_.reactor(1); }
  template <typename MakeTask>
  void run(MakeTask make_task) {
    ASSERT_EQ(world_.run_task(node_, "test", make_task(), seconds(10)), RunResult::kDone) << world_.waiting_tasks();
  }
  // As the primary reactor does it: returns at once, `done` counts the decisions that have taken effect.
  void apply(NamespaceView::Decision decision, int& done) {
    runtime::Reactor::Scope scope(node_.reactor(0));
    node_.reactor(0).spawn(
        "apply", [](NamespaceViewTest& test, NamespaceView::Decision decision, int& done) -> runtime::Task<> {
          co_await runtime::call_on(test.view_reactor(),
                                    [&test, &decision] { return test.view_->apply(std::move(decision)); });
          ++done;
        }(*this, std::move(decision), done));
  }
  void settle() { EXPECT_EQ(world_.run_until_idle(seconds(10)), RunResult::kDeadlock); }
  void enter(Request& request) {
    runtime::Reactor::Scope scope(view_reactor());
    view_->enter(request);
  }
  void leave(Request& request) {
    runtime::Reactor::Scope scope(view_reactor());
    view_->leave(request);
  }

  World world_{{.seed = 7}};
  Node& node_;
  std::shared_ptr<IdleDevice> device_;
  std::unique_ptr<NamespaceView> view_;
};

TEST_F(NamespaceViewTest, EverybodyMayAtFirst) {
  EXPECT_TRUE(view_->rights_of(host(1)).read);
  EXPECT_TRUE(view_->rights_of(host(1)).write);
  EXPECT_EQ(view_->ana_state(), AnaState::kOptimized);
  EXPECT_FALSE(view_->removed());
}

TEST_F(NamespaceViewTest, DecisionsTakeEffectAtOnceWithoutIo) {
  const uint64_t version = view_->access_version();
  int done = 0;
  NamespaceView::Decision decision = write_exclusive(host(1));
  decision.ana_state = AnaState::kInaccessible;
  apply(decision, done);
  settle();
  EXPECT_EQ(done, 1);
  EXPECT_NE(view_->access_version(), version);
  EXPECT_TRUE(view_->rights_of(host(1)).write);
  EXPECT_FALSE(view_->rights_of(host(2)).write);
  EXPECT_TRUE(view_->rights_of(host(2)).read);
  EXPECT_EQ(view_->ana_state(), AnaState::kInaccessible);
}

TEST_F(NamespaceViewTest, ApplyReturnsAfterOlderIoHasLeft) {
  std::array<Request, 3> old;
  for (Request& request : old) enter(request);
  int done = 0;
  apply(write_exclusive(host(1)), done);
  settle();
  EXPECT_FALSE(view_->rights_of(host(2)).write) << "new I/O is judged by the new decision already";
  EXPECT_EQ(done, 0);
  leave(old[1]);
  leave(old[0]);
  settle();
  EXPECT_EQ(done, 0);

  Request admitted_since;
  enter(admitted_since);
  leave(old[2]);
  settle();
  EXPECT_EQ(done, 1) << "I/O admitted under the new decision does not delay it";
  leave(admitted_since);
}

TEST_F(NamespaceViewTest, DecisionsQueueUp) {
  Request first;
  enter(first);
  int done = 0;
  apply(write_exclusive(host(1)), done);
  settle();
  Request second;
  enter(second);
  apply(write_exclusive(host(2)), done);
  settle();
  EXPECT_EQ(done, 0);
  EXPECT_TRUE(view_->rights_of(host(1)).write) << "the second decision waits for the first";
  leave(second);
  settle();
  EXPECT_EQ(done, 0);
  leave(first);
  settle();
  EXPECT_EQ(done, 2);
  EXPECT_FALSE(view_->rights_of(host(1)).write);
  EXPECT_TRUE(view_->rights_of(host(2)).write);
}

TEST_F(NamespaceViewTest, SecondDecisionWaitsForIoOfTheFirst) {
  Request first;
  enter(first);
  int done = 0;
  apply(write_exclusive(host(1)), done);
  settle();
  Request second;
  enter(second);
  apply(write_exclusive(host(2)), done);
  settle();
  leave(first);
  settle();
  EXPECT_EQ(done, 1);
  leave(second);
  settle();
  EXPECT_EQ(done, 2);
}

TEST_F(NamespaceViewTest, CancellationDoesNotShortenTheWait) {
  Request request;
  enter(request);
  bool done = false;
  runtime::TaskHandle task;
  {
    runtime::Reactor::Scope scope(view_reactor());
    task = view_reactor().spawn("apply", [](NamespaceView& view, bool& done) -> runtime::Task<> {
      co_await view.apply(write_exclusive(host(1)));
      done = true;
    }(*view_, done));
  }
  settle();
  {
    runtime::Reactor::Scope scope(view_reactor());
    task.cancel();
  }
  settle();
  EXPECT_FALSE(done);
  leave(request);
  settle();
  EXPECT_TRUE(done);
}

TEST_F(NamespaceViewTest, VersionsNameTheirView) {
  std::unique_ptr<NamespaceView> other;
  run([&]() -> runtime::Task<> { other = std::make_unique<NamespaceView>(2, *co_await device_->open_channel()); });
  EXPECT_NE(other->access_version(), view_->access_version());
  EXPECT_NE(other->access_version(), 0u);
  int done = 0;
  apply(write_exclusive(host(1)), done);
  settle();
  EXPECT_NE(other->access_version(), view_->access_version());
  runtime::Reactor::Scope scope(node_.reactor(0));
  other.reset();
}

TEST_F(NamespaceViewTest, SubsystemViewFindsByNsid) {
  SubsystemView views;
  run([&]() -> runtime::Task<> {
    views.add(std::make_unique<NamespaceView>(3, *co_await device_->open_channel()));
    EXPECT_EQ(views.find(1), nullptr);
    EXPECT_EQ(views.find(0xffffffff), nullptr);
    CAIRN_CHECK(views.find(3) != nullptr);
    EXPECT_EQ(views.find(3)->nsid(), 3u);
    views.remove(3);
    EXPECT_EQ(views.find(3), nullptr);
  });
}

// I/O of random length goes in and out while decisions are made at random: whoever was admitted before a decision has
// left when it has returned.
TEST_F(NamespaceViewTest, RandomIoAndDecisions) {
  int executing = 0;
  int admitted_before = 0;  // and still executing, when a decision took effect
  uint64_t decisions = 0;
  int io_tasks = 8;
  runtime::Reactor::Scope scope(view_reactor());
  const auto io_task = [&]() -> runtime::Task<> {
    for (int i = 0; i < 200; ++i) {
      Request request;
      view_->enter(request);
      const uint64_t version = view_->access_version();
      ++executing;
      (void)co_await runtime::sleep_for(microseconds(view_reactor().random().below(50)));
      // At most one decision can have been made since: the next one would have waited for this I/O.
      EXPECT_LE(view_->access_version() - version, 1u);
      --executing;
      view_->leave(request);
      (void)co_await runtime::sleep_for(microseconds(view_reactor().random().below(50)));
    }
    --io_tasks;
  };
  for (int i = 0; i < 8; ++i) view_reactor().spawn("io", io_task());
  view_reactor().spawn(
      "decide", [](auto& self, int& executing, uint64_t& decisions, int& io_tasks, int& waited) -> runtime::Task<> {
        while (io_tasks > 0) {
          const int before = executing;
          co_await self.view_->apply(write_exclusive(host(1)));
          waited += before;
          ++decisions;
          (void)co_await runtime::sleep_for(microseconds(self.view_reactor().random().below(200)));
        }
      }(*this, executing, decisions, io_tasks, admitted_before));
  settle();
  EXPECT_EQ(io_tasks, 0);
  EXPECT_GT(decisions, 20u);
  EXPECT_GT(admitted_before, 0);
}

}  // namespace
}  // namespace cairn::nvmf::target
