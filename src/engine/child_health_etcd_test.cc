// Records of nexuses in a real etcd.
#include "engine/child_health_etcd.h"

#include <gtest/gtest.h>

#include "etcd/test_etcd.h"
#include "runtime/external_call.h"
#include "runtime/reactor_group.h"

namespace cairn::engine {
namespace {

using nexus::HealthRecord;

constexpr const char* kKey = "/openebs.io/mayastor/volume/v/nexus/n/info";

class ChildHealthInEtcd : public testing::Test {
 protected:
  void SetUp() override {
    runtime::ReactorGroupOptions options;
    options.buffer_pool_bytes = size_t{1} << 20;
    auto started = runtime::ReactorGroup::start(options);
    ASSERT_TRUE(started.has_value()) << started.error().to_string();
    reactors_ = std::move(*started);
    etcd_.start();
    const std::vector<std::string> endpoints{etcd_.endpoint()};
    store_ = std::make_unique<ChildHealthEtcd>(etcd::ClientOptions{.endpoints = endpoints, .timeout = timeout_});
    client_ = std::make_unique<etcd::Client>(etcd::ClientOptions{.endpoints = endpoints});
  }
  void TearDown() override {
    store_.reset();
    client_.reset();
    reactors_->stop();
  }

  Result<> save(const HealthRecord& record) {
    return runtime::run_on(reactors_->primary(), "save", [&] { return store_->save(kKey, record); }).get();
  }
  etcd::KeyValue stored() {
    auto got = runtime::run_on(reactors_->primary(), "get", [&] { return client_->get(kKey); }).get();
    EXPECT_TRUE(got.has_value()) << got.error().to_string();
    return got.value_or(etcd::KeyValue{});
  }
  etcd::ConditionalPut put_if(std::string value, int64_t revision) {
    return *runtime::run_on(reactors_->primary(), "put", [&] { return client_->put_if(kKey, value, revision); }).get();
  }
  static HealthRecord record(bool first_healthy, bool clean = false) {
    return {.clean_shutdown = clean, .children = {{"a", first_healthy}, {"b", true}}};
  }

  Duration timeout_ = std::chrono::seconds(20);
  std::unique_ptr<runtime::ReactorGroup> reactors_;
  etcd::TestEtcd etcd_;
  std::unique_ptr<ChildHealthEtcd> store_;
  std::unique_ptr<etcd::Client> client_;
};

TEST_F(ChildHealthInEtcd, KeyAndValueAreThoseThatOthersRead) {
  ASSERT_TRUE(save(record(true)).has_value());
  EXPECT_EQ(stored().value,
            R"({"clean_shutdown":false,"children":[{"uuid":"a","healthy":true},{"uuid":"b","healthy":true}]})");
  ASSERT_TRUE(save(record(false)).has_value());
  ASSERT_TRUE(save(record(false, true)).has_value());
  EXPECT_EQ(stored().value,
            R"({"clean_shutdown":true,"children":[{"uuid":"a","healthy":false},{"uuid":"b","healthy":true}]})");
  ASSERT_TRUE(save(record(true)).has_value());  // a nexus of the same key, made again
  EXPECT_EQ(stored().value, to_json(record(true)));
}

TEST_F(ChildHealthInEtcd, WhatWasThereBeforeOrComesBetweenIsReplaced) {
  ASSERT_TRUE(put_if("before", 0).done);
  ASSERT_TRUE(save(record(true)).has_value());
  EXPECT_EQ(stored().value, to_json(record(true)));
  ASSERT_TRUE(put_if("between", stored().revision).done);
  ASSERT_TRUE(save(record(false)).has_value());
  EXPECT_EQ(stored().value, to_json(record(false)));
}

TEST_F(ChildHealthInEtcd, AWriteThatComesLateChangesNothing) {
  ASSERT_TRUE(save(record(true)).has_value());
  const int64_t before = stored().revision;
  ASSERT_TRUE(save(record(false)).has_value());
  const etcd::ConditionalPut late = put_if(to_json(record(true)), before);
  EXPECT_FALSE(late.done);
  EXPECT_EQ(stored().value, to_json(record(false)));
}

class ChildHealthInSlowEtcd : public ChildHealthInEtcd {
 protected:
  ChildHealthInSlowEtcd() { timeout_ = std::chrono::milliseconds(200); }
};

TEST_F(ChildHealthInSlowEtcd, AnErrorInTimeAndTheNewestRecordInTheEnd) {
  ASSERT_TRUE(save(record(true)).has_value());
  for (int i = 0; i < 3; ++i) {
    etcd_.pause();
    EXPECT_FALSE(save(record(false)).has_value());  // it may still be done
    etcd_.resume();
    while (!save(record(true)).has_value()) {
    }
    EXPECT_EQ(stored().value, to_json(record(true)));
  }
}

}  // namespace
}  // namespace cairn::engine
