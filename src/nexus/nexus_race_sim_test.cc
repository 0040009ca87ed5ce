// Decisions of a nexus that meet I/O, a slow store, hanging children and each other.
#include <gtest/gtest.h>

#include "block/test_world.h"
#include "nexus/test_site.h"

namespace cairn::nexus {
namespace {

using block::IoType;
using nvme::GenericStatus;
using nvme::MediaStatus;
using runtime::Task;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kSegment = 128;  // blocks

// An I/O that nobody waits for.
struct Pending {
  Pending(NexusSite& site, IoType type, uint64_t lba, uint64_t num_blocks, uint8_t value = 0, size_t reactor = 0)
      : data(num_blocks * 512, std::byte{value}), piece{data.data(), data.size()} {
    io.type = type;
    io.lba = lba;
    io.num_blocks = num_blocks;
    if (type == IoType::kRead || type == IoType::kWrite) io.data = {&piece, 1};
    io.may_deallocate = type == IoType::kWriteZeroes;
    const runtime::Reactor::Scope scope(site.node().reactor(static_cast<unsigned>(reactor)));
    site.channel(reactor).submit(io);
  }
  std::vector<std::byte> data;
  iovec piece;
  block::TestIo io;
};

// Reads that begin again when they end.
struct Load {
  explicit Load(NexusSite& its_site, size_t depth) : site(its_site) {
    const runtime::Reactor::Scope scope(site.node().reactor(1));
    for (size_t i = 0; i < depth; ++i) {
      ios.push_back(std::make_unique<Read>(*this));
      site.channel(1).submit(*ios.back());
    }
  }
  void stop() {
    stopping = true;
    site.run_until([&] { return num_ended == ios.size(); });
  }
  struct Read : block::Io {
    explicit Read(Load& its_load) : load(its_load), data(512), piece{data.data(), data.size()} {
      type = IoType::kRead;
      num_blocks = 1;
      block::Io::data = {&piece, 1};
      complete = [](block::Io& io) {
        auto& read = static_cast<Read&>(io);
        if (read.load.stopping) {
          ++read.load.num_ended;
        } else {
          read.load.site.channel(1).submit(io);
        }
      };
    }
    Load& load;
    std::vector<std::byte> data;
    iovec piece;
  };
  NexusSite& site;
  std::vector<std::unique_ptr<Read>> ios;
  bool stopping = false;
  size_t num_ended = 0;
};

// An operation that nobody waits for.
struct Call {
  Call(NexusSite& site, Task<Result<>> task) {
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    site.node().reactor(0).spawn("operation", [](Task<Result<>> body, std::optional<Result<>>& out) -> Task<> {
      out.emplace(co_await std::move(body));
    }(std::move(task), result));
  }
  std::optional<Result<>> result;
};

// One segment a second, one after the other.
NexusOptions slow_rebuild() {
  NexusOptions options;
  options.rebuild.num_copiers = 1;
  options.rebuild.limits.max_bytes_per_second = kSegment * 512;
  options.intent_log.enabled = false;
  return options;
}

uint64_t transferred(NexusSite& site, size_t disk) {
  return site.nexus().rebuild_statistics(NexusSite::uri(disk)).value_or(RebuildStatistics{}).blocks_transferred;
}

// What a copier waits for is a write that its source misses: the source has left when the copier goes on.
TEST(NexusRace, ARebuildDoesNotReadASourceThatHasLeft) {
  NexusSite site({.nexus = slow_rebuild()});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 6000, 1).is_success());
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), true)));
  site.run_until([&] { return transferred(site, 2) >= 2 * kSegment; });
  site.store().blocked = true;
  Call fault(site, site.nexus().fault_child(NexusSite::uri(0), FaultReason::kOffline));
  site.run_until([&] { return site.child(0).state == ChildState::kFaulted; });
  site.world().run_for(milliseconds(10));
  Pending write(site, IoType::kWrite, 6 * kSegment, kSegment, 2, 1);
  site.world().run_for(seconds(20));  // its segment has been come to
  EXPECT_FALSE(write.io.done);
  EXPECT_LE(transferred(site, 2), 6 * kSegment);
  site.store().open();
  site.wait_healthy(2);
  EXPECT_TRUE(write.io.done);
  EXPECT_TRUE(write.io.status.is_success());
  EXPECT_TRUE(site.identical(1, 2));
  EXPECT_EQ(site.content(2)[(NexusSite::kDataStart + 6 * kSegment) * 512], std::byte{2});
  site.end();
}

}  // namespace
}  // namespace cairn::nexus
