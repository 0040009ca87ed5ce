#include "engine/config_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace cairn::engine {
namespace {

class ConfigFile : public testing::Test {
 protected:
  ConfigFile()
      : path_(std::filesystem::temp_directory_path() / ("cairn-config-" + std::to_string(getpid()) + ".yaml")) {}
  ~ConfigFile() override { std::filesystem::remove(path_); }

  Result<> apply(const std::string& text) {
    std::ofstream(path_) << text;
    return apply_config_file(path_, options_);
  }

  std::filesystem::path path_;
  EngineOptions options_;
};

TEST_F(ConfigFile, MissingAndEmptyChangeNothing) {
  EXPECT_TRUE(apply_config_file(path_.string() + ".missing", options_).has_value());
  EXPECT_TRUE(apply("").has_value());
  EXPECT_EQ(options_.replica_port, 8420);
}

TEST_F(ConfigFile, ValuesAreTaken) {
  ASSERT_TRUE(apply(
      "source: x\n"
      "nexus_opts:\n  nvmf_replica_port: 9000\n  nvmf_nexus_port: 9001\n  nvmf_enable: true\n"
      "nvmf_tgt_conf:\n  max_namespaces: 10\n  crdt: [1, 2, 3]\n  interface: ip:127.0.0.1\n"
      "  opts_tcp:\n    max_queue_depth: 64\n    max_io_size: 262144\n    in_capsule_data_size: 4096\n    zcopy: true\n"
      "eal_opts:\n  core_list: '0,1'\n"
      "socket_opts:\n  recv_buf_size: 1\n"));
  EXPECT_EQ(options_.replica_port, 9000);
  EXPECT_EQ(options_.nexus_port, 9001);
  EXPECT_EQ(options_.target.max_subsystems, 10);
  EXPECT_EQ(options_.target.command_retry_delay, (std::array<uint16_t, 3>{1, 2, 3}));
  EXPECT_EQ(options_.target_interface, "ip:127.0.0.1");
  EXPECT_EQ(options_.target.max_queue_depth, 64);
  EXPECT_EQ(options_.target.max_io_size, 262144u);
  EXPECT_EQ(options_.target.in_capsule_data_size, 4096u);
  EXPECT_EQ(options_.reactors.cores, (std::vector<unsigned>{0, 1}));
}

TEST_F(ConfigFile, WhatIsWrongIsNamedAndChangesNothing) {
  const std::pair<const char*, const char*> table[] = {
      {"no_such: 1\n", "no_such"},
      {"nexus_opts:\n  no_such: 1\n", "no_such"},
      {"nexus_opts:\n  nvmf_replica_port: 9000\n  nvmf_nexus_port: 70000\n", "70000"},
      {"nexus_opts: 7\n", "nexus_opts"},
      {"nvmf_tgt_conf:\n  crdt: [1]\n", "three"},
      {"nvmf_tgt_conf:\n  opts_tcp:\n    max_io_size: 5000\n", "power of two"},
      {"nvmf_tgt_conf:\n  opts_tcp:\n    in_capsule_data_size: 17\n", "multiple of 16"},
      {"eal_opts:\n  reactor_mask: qq\n", "qq"},
      {"a: [", "line"},
  };
  for (const auto& [text, says] : table) {
    const auto applied = apply(text);
    ASSERT_FALSE(applied.has_value()) << text;
    EXPECT_NE(applied.error().to_string().find(says), std::string::npos) << applied.error().to_string();
    EXPECT_NE(applied.error().to_string().find(path_.string()), std::string::npos);
    EXPECT_EQ(options_.replica_port, 8420);
  }
}

TEST_F(ConfigFile, ExportIsAFileThatApplies) {
  options_.replica_port = 9000;
  options_.target.command_retry_delay = {4, 5, 6};
  options_.target.max_queue_depth = 77;
  options_.reactors.cores = {0, 3};
  const std::string text = export_config(options_);
  options_ = EngineOptions();
  ASSERT_TRUE(apply(text).has_value()) << text;
  EXPECT_EQ(options_.replica_port, 9000);
  EXPECT_EQ(options_.target.command_retry_delay, (std::array<uint16_t, 3>{4, 5, 6}));
  EXPECT_EQ(options_.target.max_queue_depth, 77);
  EXPECT_EQ(options_.reactors.cores, (std::vector<unsigned>{0, 3}));
}

}  // namespace
}  // namespace cairn::engine
