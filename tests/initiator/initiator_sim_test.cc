// The initiator against our target, in the simulator: what a block device has to do, whatever the parameters.
#include <gtest/gtest.h>

#include "block/model_runner.h"
#include "initiator_site.h"

namespace cairn::nvmf {
namespace {

using block::IoType;
using target::SimSiteOptions;

TEST(Initiator, Model) {
  const std::string variants[] = {
      "", "hdgst=1", "ddgst=1", "hdgst=1&ddgst=1", "queue_entries=2", "queue_entries=5&ddgst=1"};
  uint64_t seed = 1;
  for (const std::string& parameters : variants) {
    for (const bool aio : {false, true}) {
      SCOPED_TRACE(fmt::format("{} {}", parameters, aio));
      InitiatorSite site({.seed = seed++, .aio = aio, .num_blocks = 4096});
      ASSERT_TRUE(site.open(InitiatorSite::uri(parameters)));
      {
        const runtime::Reactor::Scope scope(site.node().reactor(0));
        block::ModelRunner(site.channel(), [&](const auto& done) { site.run_until(done); },
                           {.seed = seed, .num_operations = 600})
            .run();
      }
      site.end();
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace cairn::nvmf
