// Against a real etcd.
#include "etcd/etcd_client.h"

#include <gtest/gtest.h>

#include "etcd/test_etcd.h"
#include "runtime/external_call.h"
#include "runtime/reactor_group.h"
#include "runtime/task_waits.h"

namespace cairn::etcd {
namespace {

using runtime::Task;

class EtcdClient : public testing::Test {
 protected:
  void SetUp() override {
    runtime::ReactorGroupOptions options;
    options.buffer_pool_bytes = size_t{1} << 20;
    auto started = runtime::ReactorGroup::start(options);
    ASSERT_TRUE(started.has_value()) << started.error().to_string();
    reactors_ = std::move(*started);
  }
  void TearDown() override {
    client_.reset();
    reactors_->stop();
  }

  void use(std::vector<std::string> endpoints, Duration timeout = std::chrono::seconds(20)) {
    client_ = std::make_unique<Client>(ClientOptions{.endpoints = std::move(endpoints), .timeout = timeout});
  }
  template <typename MakeTask>
  auto run(MakeTask make_task) {
    return runtime::run_on(reactors_->primary(), "test", std::move(make_task)).get();
  }
  Result<ConditionalPut> put_if(std::string key, std::string value, int64_t expected) {
    return run([&] { return client_->put_if(key, value, expected); });
  }
  Result<KeyValue> get(std::string key) {
    return run([&] { return client_->get(key); });
  }

  std::unique_ptr<runtime::ReactorGroup> reactors_;
  std::unique_ptr<Client> client_;
};

TEST_F(EtcdClient, WritesAtTheExpectedRevisionOnly) {
  TestEtcd etcd;
  etcd.start();
  use({etcd.endpoint()});
  EXPECT_EQ(get("a/key").error().code(), Code::kNotFound);
  const auto first = put_if("a/key", "one", 0);
  ASSERT_TRUE(first.has_value()) << first.error().to_string();
  EXPECT_TRUE(first->done);
  EXPECT_EQ(get("a/key")->value, "one");
  EXPECT_EQ(get("a/key")->revision, first->revision);

  const auto late = put_if("a/key", "two", 0);
  ASSERT_TRUE(late.has_value());
  EXPECT_FALSE(late->done);
  EXPECT_EQ(late->revision, first->revision);
  EXPECT_EQ(late->value, "one");
  EXPECT_EQ(get("a/key")->value, "one");

  const auto next = put_if("a/key", std::string("t\0o", 3), first->revision);
  ASSERT_TRUE(next.has_value());
  EXPECT_TRUE(next->done);
  EXPECT_EQ(get("a/key")->value, std::string("t\0o", 3));
  const auto absent = put_if("other", "x", next->revision);
  ASSERT_TRUE(absent.has_value());
  EXPECT_FALSE(absent->done);
  EXPECT_EQ(absent->revision, 0);
}

TEST_F(EtcdClient, AnEtcdThatStandsStillEndsTheCallAndIsUsedAgainLater) {
  TestEtcd etcd;
  etcd.start();
  use({etcd.endpoint()}, std::chrono::milliseconds(300));
  ASSERT_TRUE(put_if("key", "one", 0).has_value());
  etcd.pause();
  for (int i = 0; i < 3; ++i) {
    const auto refused = put_if("key", "late", 0);
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message().find(etcd.endpoint()), std::string::npos) << refused.error().message();
  }
  etcd.resume();
  Result<KeyValue> answer = get("key");
  while (!answer) answer = get("key");
  EXPECT_EQ(answer->value, "one");  // what came late was not for this revision
}

TEST_F(EtcdClient, AnEtcdThatIsKilledAndStartedAgain) {
  TestEtcd etcd;
  etcd.start();
  use({etcd.endpoint()}, std::chrono::seconds(2));
  ASSERT_TRUE(put_if("key", "one", 0).has_value());
  etcd.end(SIGKILL);
  const auto gone = get("key");
  ASSERT_FALSE(gone.has_value());
  EXPECT_EQ(gone.error().code(), Code::kUnavailable) << gone.error().to_string();
  etcd.start();
  Result<KeyValue> answer = get("key");
  while (!answer) {
    ASSERT_TRUE(etcd.running());
    answer = get("key");
  }
  EXPECT_EQ(answer->value, "one");
}

TEST_F(EtcdClient, FallsOverToAMemberThatAnswers) {
  TestEtcd stuck, etcd;
  stuck.start();
  etcd.start();
  const std::string nobody = fmt::format("127.0.0.1:{}", free_port());
  use({nobody, stuck.endpoint(), etcd.endpoint()}, std::chrono::seconds(6));
  stuck.pause();
  const auto done = put_if("key", "one", 0);
  ASSERT_TRUE(done.has_value()) << done.error().to_string();
  EXPECT_TRUE(done->done);
  EXPECT_EQ(get("key")->value, "one");
  stuck.resume();
}

TEST_F(EtcdClient, ATaskThatIsCancelledDoesNotWait) {
  TestEtcd etcd;
  etcd.start();
  use({etcd.endpoint()}, std::chrono::hours(1));
  ASSERT_TRUE(put_if("key", "one", 0).has_value());
  etcd.pause();
  const auto cancelled = run([&]() -> Task<Result<KeyValue>> {
    const runtime::Deadline deadline(co_await runtime::current_context(), std::chrono::milliseconds(100));
    co_return co_await client_->get("key");
  });
  ASSERT_FALSE(cancelled.has_value());
  EXPECT_EQ(cancelled.error().code(), Code::kDeadlineExceeded);
}

}  // namespace
}  // namespace cairn::etcd
