#include "engine/node_identity.h"

#include <gtest/gtest.h>

#include <fstream>

namespace cairn::engine {
namespace {

TEST(NodeIdentity, OfMachineAndName) {
  const std::string path = testing::TempDir() + "machine-id";
  std::ofstream(path) << "0123456789abcdef0123456789abcdef\n";
  EXPECT_EQ(node_identity("node-1", path), "0123456789abcdef0123456789abcdef/node-1");
  EXPECT_EQ(node_identity("mayastor-node", path), "0123456789abcdef0123456789abcdef/mayastor-node");
}

TEST(NodeIdentity, WithoutMachineId) {
  EXPECT_EQ(node_identity("node-1", "/nonexistent"), "/node-1");
  EXPECT_EQ(node_identity("mayastor-node", "/nonexistent"), "");  // the default tells nothing
}

TEST(BootId, OfThisKernel) {
  EXPECT_FALSE(boot_id().is_nil());
  EXPECT_EQ(boot_id(), boot_id());
}

TEST(BootId, WithoutOne) {
  EXPECT_TRUE(boot_id("/nonexistent").is_nil());
  const std::string path = testing::TempDir() + "boot-id";
  std::ofstream(path) << "not an id\n";
  EXPECT_TRUE(boot_id(path).is_nil());
}

}  // namespace
}  // namespace cairn::engine
