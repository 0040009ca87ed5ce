// Which child a rebuild reads.
#include <gtest/gtest.h>

#include "fault_site.h"

namespace cairn::nexus {
namespace {

void rebuild(FaultSite& site, size_t index) {
  site.run_until([&] { return !site.nexus().children().at(index).faulting; });
  EXPECT_TRUE(site.run(site.nexus().online_child(site.uri(index))));
  site.run_until([&] { return site.nexus().children().at(index).in_sync && site.nexus().num_rebuilds() == 0; });
}

nvme::Status write(FaultSite& site) {
  return site.run([](block::Channel& channel) -> Task<nvme::Status> {
    std::vector<std::byte> data(512, std::byte{1});
    iovec piece{data.data(), data.size()};
    co_return co_await block::perform(channel, {.type = block::IoType::kWrite, .num_blocks = 1, .data = {&piece, 1}});
  }(*site.process().channels[0]));
}

TEST(NexusRebuildSource, LocalChildrenFirst) {
  FaultSite site(1);
  EXPECT_TRUE(write(site).is_success());
  EXPECT_TRUE(site.run(site.nexus().fault_child(site.uri(2), FaultReason::kOffline)));
  EXPECT_TRUE(write(site).is_success());
  rebuild(site, 2);
  EXPECT_EQ(site.nexus().rebuild_history().back().source_uri, site.uri(0));
  // Without it, the first healthy one.
  for (const size_t away : {0, 2}) {
    EXPECT_TRUE(site.run(site.nexus().fault_child(site.uri(away), FaultReason::kOffline)));
  }
  EXPECT_TRUE(write(site).is_success());
  rebuild(site, 2);
  EXPECT_EQ(site.nexus().rebuild_history().back().source_uri, site.uri(1));
  rebuild(site, 0);
  EXPECT_EQ(site.nexus().rebuild_history().back().source_uri, site.uri(1));
  site.end();
}

}  // namespace
}  // namespace cairn::nexus
