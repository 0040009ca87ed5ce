#include "block/fault_injection.h"

#include <gtest/gtest.h>

#include "block/test_world.h"

namespace cairn::block {
namespace {

using nvme::GenericStatus;
using nvme::Status;
using runtime::Task;
using std::chrono::milliseconds;

TEST(FaultInjectionUri, NamesTheDevice) {
  for (const auto& [uri, name] : {std::pair("inject://m0", "m0"), std::pair("inject:///dev/sda?op=w", "/dev/sda"),
                                  std::pair("inject://10.0.0.1:8420/nqn.2019-05.io.openebs:rn1?domain=child",
                                            "10.0.0.1:8420/nqn.2019-05.io.openebs:rn1")}) {
    const auto fault = FaultInjection::parse(uri);
    ASSERT_TRUE(fault) << fault.error().to_string();
    EXPECT_EQ((*fault)->device_name(), name);
    EXPECT_EQ((*fault)->uri(), uri);
  }
}

TEST(FaultInjectionUri, RefusesWhatItDoesNotKnow) {
  for (const char* uri :
       {"inject://", "aio:///dev/sda", "inject://m?x=1", "inject://m?domain=fabric", "inject://m?op=erase",
        "inject://m?stage=later", "inject://m?method=explode", "inject://m?method=status-nvme-9-1",
        "inject://m?method=status-nvme-0-0", "inject://m?method=status-nvme-0", "inject://m?method=status-nvme-0-1x",
        "inject://m?method=delay-", "inject://m?begin_at=x", "inject://m?begin_at=10&end_at=5", "inject://m?retries=-1",
        "inject://m?num_blk=1&num_blocks=2", "no uri"}) {
    const auto fault = FaultInjection::parse(uri);
    ASSERT_FALSE(fault) << uri;
    EXPECT_EQ(fault.error().code(), Code::kInvalidArgument) << uri;
  }
}

TEST(FaultInjectionUri, Methods) {
  auto status = [](std::string_view method) {
    return (*FaultInjection::parse(std::string("inject://m?method=") + std::string(method)))->status();
  };
  EXPECT_TRUE(status("status").is(GenericStatus::kDataTransferError));
  EXPECT_TRUE(status("status-lvol-nospace").is(GenericStatus::kCapacityExceeded));
  EXPECT_TRUE(status("status-submit-read").is(GenericStatus::kInternalError));
  EXPECT_TRUE(status("status-nvme-2-81").is(nvme::MediaStatus::kUnrecoveredReadError));
  EXPECT_TRUE(status("status-nvme-0-83").is(GenericStatus::kReservationConflict));
}

class FaultInjectionTest : public testing::Test {
 protected:
  FaultInjectionTest() : reactor_(make_bare_reactor()) {
    const runtime::Reactor::Scope scope(*reactor_);
    registry_ = std::make_unique<Registry>();
    add_malloc_scheme(*registry_);
  }
  ~FaultInjectionTest() override {
    {
      const runtime::Reactor::Scope scope(*reactor_);
      channel_.reset();
    }
    run_task(*reactor_, registry_->remove_all());
    const runtime::Reactor::Scope scope(*reactor_);
    registry_.reset();
  }
  void make() {
    auto made = run_task(*reactor_, registry_->create("malloc:///m0?size_mb=1"));
    ASSERT_TRUE(made);
    auto opened = run_task(*reactor_, (*made)->open_channel());
    ASSERT_TRUE(opened);
    channel_ = std::move(*opened);
  }
  void inject(const std::string& query) {
    const auto injected = registry_->inject_fault("inject://m0?" + query);
    ASSERT_TRUE(injected) << injected.error().to_string();
  }
  Status io(IoType type, uint64_t lba, std::byte* data, uint64_t num_blocks = 1) {
    TestIo io;
    iovec piece{data, num_blocks * 512};
    io.type = type;
    io.lba = lba;
    io.num_blocks = num_blocks;
    io.data = {&piece, 1};
    return run_io(*reactor_, *channel_, io);
  }
  Status write(uint64_t lba, uint8_t value) {
    std::array<std::byte, 512> data;
    data.fill(std::byte{value});
    const Status status = io(IoType::kWrite, lba, data.data());
    EXPECT_EQ(data.back(), std::byte{value});  // the writer's memory is not touched
    return status;
  }
  std::optional<uint8_t> read(uint64_t lba) {
    std::array<std::byte, 512> data{};
    if (!io(IoType::kRead, lba, data.data()).is_success()) return std::nullopt;
    return static_cast<uint8_t>(data.back());
  }
  void pass_time(Duration duration) {
    run_task(*reactor_, [](Duration for_so_long) -> Task<bool> {
      co_return (co_await runtime::sleep_for(for_so_long)).has_value();
    }(duration));
  }

  std::unique_ptr<runtime::Reactor> reactor_;
  std::unique_ptr<Registry> registry_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(FaultInjectionTest, InsteadOfTheIoOrAfterIt) {
  make();
  ASSERT_TRUE(write(1, 7).is_success());
  inject("op=write");
  EXPECT_TRUE(write(1, 8).is(GenericStatus::kDataTransferError));
  EXPECT_EQ(read(1), 7);
  ASSERT_TRUE(registry_->remove_fault("inject://m0?op=write"));
  EXPECT_TRUE(registry_->faults().empty());
  inject("op=write&stage=compl&method=status-nvme-0-6");
  EXPECT_TRUE(write(1, 9).is(GenericStatus::kInternalError));
  EXPECT_EQ(read(1), 9);
  inject("op=r&stage=c");
  EXPECT_EQ(read(1), std::nullopt);
  ASSERT_TRUE(registry_->remove_fault("inject://m0?op=write&stage=compl&method=status-nvme-0-6"));
  EXPECT_TRUE(write(1, 10).is_success());
  ASSERT_TRUE(registry_->remove_fault("inject://m0?op=r&stage=c"));
  ASSERT_TRUE(registry_->remove_fault("inject://m0?op=r&stage=c"));  // nothing to do
  EXPECT_EQ(read(1), 10);
  EXPECT_FALSE(registry_->remove_fault("inject://m0?op=x"));
}

TEST_F(FaultInjectionTest, Damage) {
  make();
  inject("op=write&method=data&retries=1");
  ASSERT_TRUE(write(1, 0x0f).is_success());
  EXPECT_EQ(read(1), 0xf0);
  ASSERT_TRUE(write(1, 0x0f).is_success());
  EXPECT_EQ(read(1), 0x0f);
  inject("op=read&method=data");
  EXPECT_EQ(read(1), 0xf0);
  EXPECT_EQ(read(1), 0xf0);
}

TEST_F(FaultInjectionTest, BlocksAndHits) {
  make();
  inject("op=read&offset=10&num_blk=4&retries=3");
  EXPECT_EQ(read(9), 0);
  EXPECT_EQ(read(14), 0);
  std::array<std::byte, 1024> two{};
  EXPECT_FALSE(io(IoType::kRead, 9, two.data(), 2).is_success());
  EXPECT_TRUE(registry_->faults().front()->is_active(reactor_->now()));
  EXPECT_EQ(read(10), std::nullopt);
  EXPECT_EQ(read(13), std::nullopt);
  EXPECT_EQ(read(13), 0);
  EXPECT_FALSE(registry_->faults().front()->is_active(reactor_->now()));
}

// Counted from the first I/O.
TEST_F(FaultInjectionTest, Window) {
  make();
  inject("op=read&begin_at=100&end_at=200");
  pass_time(milliseconds(150));
  EXPECT_FALSE(registry_->faults().front()->is_active(reactor_->now()));
  EXPECT_EQ(read(0), 0);
  pass_time(milliseconds(99));
  EXPECT_EQ(read(0), 0);
  pass_time(milliseconds(2));
  EXPECT_TRUE(registry_->faults().front()->is_active(reactor_->now()));
  EXPECT_EQ(read(0), std::nullopt);
  pass_time(milliseconds(98));
  EXPECT_EQ(read(0), std::nullopt);
  pass_time(milliseconds(2));
  EXPECT_EQ(read(0), 0);
}

TEST_F(FaultInjectionTest, Delay) {
  make();
  for (const char* stage : {"submit", "compl"}) {
    inject(std::string("op=write&method=delay-40&retries=1&stage=") + stage);
    const TimePoint begin = reactor_->now();
    EXPECT_TRUE(write(3, 5).is_success());
    EXPECT_GE(reactor_->now() - begin, milliseconds(40));
    EXPECT_EQ(read(3), 5);
  }
}

TEST_F(FaultInjectionTest, OnlyOfANexus) {
  make();
  inject("domain=child");
  EXPECT_EQ(read(0), 0);
  channel_->mark_nexus_child();
  EXPECT_EQ(read(0), std::nullopt);
}

// It may be there before the device.
TEST_F(FaultInjectionTest, BeforeTheDevice) {
  inject("op=read");
  make();
  EXPECT_EQ(read(0), std::nullopt);
  channel_->device().announce_removal();
  std::array<std::byte, 512> data{};
  EXPECT_TRUE(io(IoType::kRead, 0, data.data()).is(GenericStatus::kInvalidNamespaceOrFormat));
}

}  // namespace
}  // namespace cairn::block
