#include "cli/message_json.h"

#include <bdev.pb.h>
#include <google/protobuf/empty.pb.h>
#include <gtest/gtest.h>
#include <host.pb.h>
#include <nexus.pb.h>
#include <pool.pb.h>
#include <replica.pb.h>
#include <test.pb.h>

#include <nlohmann/json.hpp>

#include "cli/identifier_case.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;

std::string json(const google::protobuf::Message& message) {
  return message_to_json(message).dump();
}

TEST(MessageJson, AllFieldsInOrderWithDefaults) {
  v1::Bdev bdev;
  bdev.set_name("m0");
  bdev.set_num_blocks(UINT64_MAX);
  bdev.set_claimed(true);
  EXPECT_EQ(json(bdev),
            R"({"name":"m0","uuid":"","num_blocks":18446744073709551615,"blk_size":0,"claimed":true,"claimed_by":"",)"
            R"("aliases":"","uri":"","product_name":"","share_uri":""})");
}

TEST(MessageJson, NamesAreSnakeCase) {
  v1::CreateNexusRequest request;
  request.set_mincntlid(1);
  const auto value = message_to_json(request);
  EXPECT_EQ(value["min_cntl_id"], 1);
  EXPECT_TRUE(value["resv_type"].is_null());
  EXPECT_EQ(value["preempt_policy"], 0);
  EXPECT_TRUE(value.contains("nexus_info_key"));
}

TEST(MessageJson, EnumsAreNumbersAndUnknownOnesStay) {
  v1::NvmeController controller;
  controller.set_state(v1::FAULTED);
  EXPECT_EQ(message_to_json(controller)["state"], 3);
  controller.set_state(static_cast<v1::NvmeControllerState>(77));
  EXPECT_EQ(message_to_json(controller)["state"], 77);
  v1::TestFeatures features;
  features.add_wipe_methods(v1::WipeOptions::CHECKSUM);
  EXPECT_EQ(json(features), R"({"wipe_methods":[4],"cksum_algs":[]})");
}

TEST(MessageJson, AbsentMessagesAndOptionalsAreNull) {
  v1::BlockDevice device;
  auto value = message_to_json(device);
  EXPECT_TRUE(value["partition"].is_null());
  EXPECT_TRUE(value["is_rotational"].is_null());
  device.set_is_rotational(false);
  device.mutable_partition();
  value = message_to_json(device);
  EXPECT_EQ(value["is_rotational"], false);
  EXPECT_EQ(value["partition"].dump(), R"({"parent":"","number":0,"name":"","scheme":"","typeid":"","uuid":""})");
}

TEST(MessageJson, TimestampsHaveTheDecimalsTheyNeed) {
  v1::Child child;
  EXPECT_TRUE(message_to_json(child)["fault_timestamp"].is_null());
  auto& time = *child.mutable_fault_timestamp();
  EXPECT_EQ(message_to_json(child)["fault_timestamp"], "1970-01-01T00:00:00Z");
  time.set_seconds(1729701998);
  time.set_nanos(123456000);
  EXPECT_EQ(message_to_json(child)["fault_timestamp"], "2024-10-23T16:46:38.123456Z");
  time.set_nanos(120000000);
  EXPECT_EQ(message_to_json(child)["fault_timestamp"], "2024-10-23T16:46:38.120Z");
  time.set_seconds(INT64_MAX);
  EXPECT_EQ(message_to_json(child)["fault_timestamp"].dump(), R"({"seconds":9223372036854775807,"nanos":120000000})");
  time.set_seconds(1729701998);
  time.set_nanos(1);
  EXPECT_EQ(message_to_json(child)["fault_timestamp"], "2024-10-23T16:46:38.000000001Z");
}

TEST(MessageJson, OneofsNameTheirVariant) {
  v1::DestroyReplicaRequest request;
  EXPECT_EQ(json(request), R"({"uuid":"","pool":null})");
  request.set_pool_name("p");
  EXPECT_EQ(json(request), R"({"uuid":"","pool":{"PoolName":"p"}})");
  v1::WipeReplicaResponse response;
  response.set_crc32(0);
  response.mutable_since()->set_nanos(5);
  EXPECT_EQ(message_to_json(response)["checksum"].dump(), R"({"Crc32":0})");
  EXPECT_EQ(message_to_json(response)["since"].dump(), R"({"seconds":0,"nanos":5})");
}

TEST(MessageJson, WrappersMapsFloatsAndEmpty) {
  v1::ListBdevOptions options;
  EXPECT_EQ(json(options), R"({"name":null})");
  options.mutable_name()->set_value("x");
  EXPECT_EQ(json(options), R"({"name":"x"})");
  v1::ListRebuildHistoryResponse history;
  (*history.mutable_histories())["n1"].set_name("one");
  EXPECT_EQ(json(history), R"({"histories":{"n1":{"uuid":"","records":[],"name":"one"}},"end_time":null})");
  v1::PoolMetadataArgs args;
  args.set_md_resv_ratio(0.1f);
  EXPECT_EQ(json(args), R"({"md_resv_ratio":0.1})");
  EXPECT_EQ(json(google::protobuf::Empty()), "null");
}

TEST(IdentifierCase, FollowsTheWords) {
  EXPECT_EQ(snake_case("asymmetricNamespaceAccess"), "asymmetric_namespace_access");
  EXPECT_EQ(snake_case("already_snake"), "already_snake");
  EXPECT_EQ(snake_case("FaultIOError"), "fault_io_error");
  EXPECT_EQ(pascal_case("crc32"), "Crc32");
  EXPECT_EQ(pascal_case("WRITE_ZEROES"), "WriteZeroes");
  EXPECT_EQ(pascal_case("pool_name"), "PoolName");
}

}  // namespace
}  // namespace cairn::cli
