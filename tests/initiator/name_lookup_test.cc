// With the resolver of the system.
#include "nvmf/host/name_lookup.h"

#include <gtest/gtest.h>

#include "runtime/external_call.h"
#include "runtime/reactor_group.h"

namespace cairn::nvmf::host {
namespace {

auto look_up_now(const std::string& host) {
  auto group = runtime::ReactorGroup::start({});
  EXPECT_TRUE(group);
  auto found =
      runtime::run_on((*group)->reactor(0), "look up", [&] { return look_up({.host = host, .port = 4420}); }).get();
  (*group)->stop();
  return found;
}

TEST(NameLookup, AddressesAndNames) {
  for (const char* host : {"192.0.2.7", "localhost"}) {
    const auto found = look_up_now(host);
    ASSERT_TRUE(found) << found.error().to_string();
    EXPECT_FALSE(found->empty());
  }
}

// It is no refusal, which is an error without a number, or one of three: a node that nobody finds may be well.
TEST(NameLookup, ANameThatNobodyKnows) {
  const auto found = look_up_now("nowhere.invalid");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), Code::kNotFound);
  EXPECT_EQ(found.error().errno_value(), ENXIO);
  EXPECT_NE(found.error().message().find("nowhere.invalid"), std::string::npos);
}

}  // namespace
}  // namespace cairn::nvmf::host
