#include "block/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "block/test_world.h"

namespace cairn::block {
namespace {

constexpr const char* kUuid = "9e9f8f53-8a3b-4c3b-9c39-1b1f5d0b9a01";
constexpr const char* kOtherUuid = "9e9f8f53-8a3b-4c3b-9c39-1b1f5d0b9a02";

class RegistryTest : public testing::Test {
 protected:
  RegistryTest() {
    add_malloc_scheme(registry_);
    add_null_scheme(registry_);
  }
  ~RegistryTest() override {
    run_task(*reactor_, registry_.remove_all());
    EXPECT_TRUE(registry_.empty());  // nobody held on to a device
  }

  Result<std::shared_ptr<Device>> create(std::string uri) {
    return run_task(*reactor_, registry_.create(std::move(uri)));
  }
  Result<> destroy(std::string uri) { return run_task(*reactor_, registry_.destroy(std::move(uri))); }
  void expect_refused(const std::string& uri, Code code, const std::string& text) {
    const auto result = create(uri);
    ASSERT_FALSE(result) << uri;
    EXPECT_EQ(result.error().code(), code) << uri;
    EXPECT_EQ(result.error().to_string(), text) << uri;
  }

  std::unique_ptr<runtime::Reactor> reactor_ = make_bare_reactor();
  runtime::Reactor::Scope scope_{*reactor_};
  Registry registry_;
};

TEST_F(RegistryTest, RefusedUris) {
  const auto invalid = Code::kInvalidArgument;
  expect_refused("malloc", invalid, "Error parsing URI 'malloc'");
  expect_refused("ftl:///x", invalid, "Unsupported URI scheme: 'ftl'");
  expect_refused("malloc:///?size_mb=1", invalid, "Invalid URI 'malloc:///?size_mb=1': empty path");
  expect_refused("malloc:///a", invalid,
                 "Invalid URI 'malloc:///a': either 'num_blocks' or 'size_mb' must be specified");
  expect_refused(
      "malloc:///a?size_mb=0&num_blocks=0", invalid,
      "Invalid URI 'malloc:///a?size_mb=0&num_blocks=0': either 'num_blocks' or 'size_mb' must be specified");
  expect_refused("malloc:///a?size_mb=1&num_blocks=1", invalid,
                 "Invalid URI 'malloc:///a?size_mb=1&num_blocks=1': 'num_blocks' and 'size_mb' are mutually exclusive");
  expect_refused("malloc:///a?size_mb=1&blk_size=1024", invalid,
                 "Invalid URI 'malloc:///a?size_mb=1&blk_size=1024': 'blk_size' must be one of: 512, 4096");
  expect_refused("malloc:///a?size_mb=x", invalid,
                 "Invalid URI 'malloc:///a?size_mb=x': could not parse value of parameter 'size_mb': 'x' is given, an "
                 "integer expected");
  expect_refused("malloc:///a?size_mb=1&uuid=x", invalid,
                 "Invalid URI 'malloc:///a?size_mb=1&uuid=x': could not parse value of UUID parameter");
  expect_refused("malloc:///a?size_mb=1&foo=bar&x=", invalid,
                 "Invalid URI 'malloc:///a?size_mb=1&foo=bar&x=': unrecognized parameter(s): foo=bar, x=");
  expect_refused("null:///", invalid, "Invalid URI 'null:///': empty path");
  expect_refused("null:///a?blk_size=1", invalid,
                 "Invalid URI 'null:///a?blk_size=1': invalid blk_size specified must be one of 512 or 4096");
  expect_refused("null:///a?size_mb=1&num_blocks=1", invalid,
                 "Invalid URI 'null:///a?size_mb=1&num_blocks=1': conflicting parameters num_blocks and size_mb are "
                 "mutually exclusive");
  expect_refused("bdev:///", invalid, "Invalid URI 'bdev:///': empty path");
  expect_refused("bdev:///a?x=y", invalid, "Invalid URI 'bdev:///a?x=y': unrecognized parameter(s): x=y");
  expect_refused("bdev:///nobody", Code::kNotFound, "BDEV 'nobody' could not be found");
  EXPECT_TRUE(registry_.list().empty());
}

TEST_F(RegistryTest, NamesAndProperties) {
  const auto device = create(std::string("malloc:///d/0?size_mb=8&blk_size=4096&uuid=") + kUuid);
  ASSERT_TRUE(device) << device.error().to_string();
  EXPECT_EQ((*device)->name(), "d/0");
  EXPECT_EQ((*device)->uuid().to_string(), kUuid);
  EXPECT_EQ((*device)->driver_name(), "malloc");
  EXPECT_EQ((*device)->product_name(), "Malloc disk");
  EXPECT_EQ((*device)->block_size(), 4096u);
  EXPECT_EQ((*device)->num_blocks(), 2048u);
  EXPECT_FALSE((*device)->has_volatile_cache());

  EXPECT_EQ(registry_.find("d/0"), *device);
  EXPECT_EQ(registry_.find(std::string("malloc:///d/0?size_mb=8&blk_size=4096&uuid=") + kUuid), *device);
  EXPECT_EQ(registry_.find(kUuid), *device);
  EXPECT_EQ(registry_.find((*device)->uuid()), *device);
  EXPECT_EQ(registry_.find("d"), nullptr);
  EXPECT_EQ(*registry_.device_name("null:///x"), "x");
}

TEST_F(RegistryTest, BlockCounts) {
  EXPECT_EQ((*create("malloc:///big?size_mb=8192"))->size_bytes(), uint64_t{8} << 30);
  EXPECT_EQ((*create("malloc:///odd?num_blocks=3"))->num_blocks(), 3u);
  EXPECT_EQ((*create("null:///none"))->num_blocks(), 0u);
  EXPECT_EQ((*create("null:///many?num_blocks=1000000000000"))->num_blocks(), 1000000000000u);
  EXPECT_EQ((*create("null:///mb?size_mb=4294967295&blk_size=4096"))->num_blocks(), uint64_t{4294967295} * 256);
  EXPECT_FALSE((*create("null:///random"))->uuid().is_nil());
}

TEST_F(RegistryTest, NameTaken) {
  ASSERT_TRUE(create("malloc:///a?size_mb=1"));
  expect_refused("malloc:///a?size_mb=1", Code::kInternal, "Failed to create a BDEV: name 'a' already exists");
  expect_refused("null:///a", Code::kInternal, "Failed to create a BDEV: name 'a' already exists");
  // Another driver's URI of the same name is not this device.
  const auto destroyed = destroy("null:///a");
  ASSERT_FALSE(destroyed);
  EXPECT_EQ(destroyed.error().code(), Code::kNotFound);
}

TEST_F(RegistryTest, UuidTaken) {
  ASSERT_TRUE(create(std::string("null:///a?uuid=") + kUuid));
  const auto second = create(std::string("null:///b?uuid=") + kUuid);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Code::kAlreadyExists);
  EXPECT_EQ(second.error().message(), "Failed to create a BDEV 'b'");
  EXPECT_EQ(registry_.list().size(), 1u);
}

TEST_F(RegistryTest, ResizeMalloc) {
  struct Listener final : DeviceListener {
    void on_resized(Device& device) override { sizes.push_back(device.num_blocks()); }
    std::vector<uint64_t> sizes;
  } listener;
  const auto device = *create("malloc:///a?size_mb=1");
  device->add_listener(listener);
  EXPECT_EQ(*create("malloc:///a?size_mb=2&resize"), device);
  EXPECT_EQ(*create("malloc:///a?size_mb=2&resize"), device);
  EXPECT_EQ(*create("malloc:///a?num_blocks=8&resize"), device);
  EXPECT_THAT(listener.sizes, testing::ElementsAre(4096, 8));
  listener.unlink();
  ASSERT_TRUE(create("malloc:///b?blk_size=4096&size_mb=1"));
  expect_refused("malloc:///b?num_blocks=1&resize", Code::kInternal,
                 "Failed to resize a BDEV 'b': 512 bytes are not a multiple of the block size 4096");
}

TEST_F(RegistryTest, DeviceUri) {
  auto uri_of = [&](const std::string& uri) { return *registry_.device_uri(**create(uri)); };
  const std::string uuid_a = std::string("uuid=") + kUuid;
  EXPECT_EQ(uri_of("null:///a?" + uuid_a), "null:///a?" + uuid_a);
  const auto b = *create("null:///b");
  EXPECT_EQ(*registry_.device_uri(*b), "null:///b?uuid=" + b->uuid().to_string());
  const auto c = *create("null:///c?size_mb=1");
  EXPECT_EQ(*registry_.device_uri(*c), "null:///c?size_mb=1&uuid=" + c->uuid().to_string());

  // A loopback alias is not the device's own URI.
  registry_.remove_alias(*c, "null:///c?size_mb=1");
  ASSERT_TRUE(create("bdev:///c"));
  ASSERT_TRUE(registry_.add_alias(*c, "not a uri"));
  const auto none = registry_.device_uri(*c);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), Code::kInternal);
  EXPECT_EQ(none.error().message(), "No matching URI found for BDEV 'c' in aliases [\"bdev:///c\", \"not a uri\"]");
}

TEST_F(RegistryTest, Loopback) {
  struct Listener final : DeviceListener {
    void on_alias_removed(Device&, const std::string& alias) override { aliases.push_back(alias); }
    std::vector<std::string> aliases;
  } listener;
  const auto device = *create(std::string("malloc:///d/1?size_mb=1&uuid=") + kUuid);
  const std::string uri = std::string("bdev:///d/1?uuid=") + kUuid;
  EXPECT_EQ(*create(uri), device);
  EXPECT_EQ(*create("loopback:///d/1"), device);
  EXPECT_EQ(*create(uri), device);  // again
  EXPECT_EQ(device->aliases().size(), 3u);
  EXPECT_EQ(registry_.find(uri), device);
  expect_refused(std::string("bdev:///d/1?uuid=") + kOtherUuid, Code::kInvalidArgument,
                 std::string("Failed to create a BDEV: 'd/1' already exists with a different UUID: '") + kUuid + "'");

  device->add_listener(listener);
  EXPECT_TRUE(destroy(uri));
  EXPECT_THAT(listener.aliases, testing::ElementsAre(uri));
  EXPECT_EQ(registry_.find(uri), nullptr);
  EXPECT_EQ(registry_.find("d/1"), device);
  EXPECT_TRUE(destroy("bdev:///nobody"));
  listener.unlink();
}

TEST_F(RegistryTest, Destroy) {
  ASSERT_TRUE(create("malloc:///a?size_mb=1"));
  EXPECT_TRUE(destroy("malloc:///a?size_mb=1"));
  EXPECT_EQ(registry_.find("a"), nullptr);
  EXPECT_EQ(registry_.find("malloc:///a?size_mb=1"), nullptr);
  const auto again = destroy("malloc:///a?size_mb=1");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), Code::kNotFound);
  EXPECT_EQ(again.error().message(), "BDEV 'a' could not be found");
  ASSERT_TRUE(create("malloc:///a?size_mb=1"));
  EXPECT_TRUE(run_task(*reactor_, registry_.destroy_by_name("a")));
}

// A user that lets go of the device some time after it was told.
class SlowUser final : public DeviceListener {
 public:
  explicit SlowUser(std::shared_ptr<Device> device) : device_(std::move(device)) {
    device_->add_listener(*this);
    channel = *run_task(runtime::Reactor::current(), device_->open_channel());
  }
  void on_removed(Device& device) override {
    ++told;
    unlink();
    TestIo io;
    io.type = IoType::kFlush;
    channel->submit(io);
    EXPECT_TRUE(io.done && io.status.is(nvme::GenericStatus::kInvalidNamespaceOrFormat));
    EXPECT_TRUE(io.status.do_not_retry());
    device.home().spawn("slow user", leave());
  }
  runtime::Task<> leave() {
    if (stubborn) co_return;
    (void)co_await runtime::sleep_for(std::chrono::milliseconds(500));
    let_go();
  }
  void let_go() {
    channel.reset();
    device_.reset();
  }

  std::unique_ptr<Channel> channel;
  int told = 0;
  bool stubborn = false;

 private:
  std::shared_ptr<Device> device_;
};

TEST_F(RegistryTest, RemovalWaitsForUsers) {
  SlowUser user(*create("malloc:///a?size_mb=1"));
  EXPECT_TRUE(destroy("malloc:///a?size_mb=1"));
  EXPECT_EQ(user.told, 1);
  EXPECT_EQ(user.channel, nullptr);
}

TEST_F(RegistryTest, RemovalGivesUpAndMayBeRepeated) {
  const auto device = *create("malloc:///a?size_mb=1");
  SlowUser user(device);
  user.stubborn = true;
  const auto destroyed = destroy("malloc:///a?size_mb=1");
  ASSERT_FALSE(destroyed);
  EXPECT_EQ(destroyed.error().code(), Code::kInternal);
  EXPECT_EQ(destroyed.error().to_string(), "Failed to destroy a BDEV 'a': still in use after 10 s");
  EXPECT_EQ(registry_.find("a"), nullptr);
  expect_refused("malloc:///a?size_mb=1", Code::kInternal, "Failed to create a BDEV: name 'a' already exists");
  const auto channel = run_task(*reactor_, device->open_channel());
  ASSERT_FALSE(channel);
  EXPECT_EQ(channel.error().code(), Code::kUnavailable);

  user.let_go();
  const std::weak_ptr<Device> watch = device;
  const_cast<std::shared_ptr<Device>&>(device).reset();
  EXPECT_TRUE(destroy("malloc:///a?size_mb=1"));
  EXPECT_EQ(user.told, 1);
  EXPECT_TRUE(watch.expired());
}

TEST_F(RegistryTest, WhatWasGivenUpIsRemovedWhenItIsMadeAnew) {
  const std::string uri = "malloc:///a?size_mb=1";
  auto device = *create(uri);
  SlowUser user(device);
  user.stubborn = true;
  ASSERT_FALSE(destroy(uri));
  user.let_go();
  const std::weak_ptr<Device> watch = device;
  device.reset();
  const auto again = create(uri);
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_TRUE(watch.expired());
  EXPECT_FALSE((*again)->removed());
  EXPECT_EQ(registry_.find("a"), *again);
}

// A driver whose create() waits until the test lets it go on.
class GatedRequest final : public DeviceRequest {
 public:
  GatedRequest(runtime::Event& gate, std::unique_ptr<DeviceRequest> inner)
      : DeviceRequest(inner->name()), gate_(gate), inner_(std::move(inner)) {}
  runtime::Task<Result<std::shared_ptr<Device>>> create() override {
    if (auto waited = co_await gate_.wait(); !waited) co_return fail(waited.error());
    co_return co_await inner_->create();
  }

 private:
  runtime::Event& gate_;
  std::unique_ptr<DeviceRequest> inner_;
};

TEST_F(RegistryTest, ConcurrentCreatesOfOneName) {
  runtime::Event gate;
  Registry registry;
  add_null_scheme(registry);
  Registry plain;
  add_null_scheme(plain);
  std::vector<Code> outcomes;
  registry.add_scheme(
      "gated", {"null", [&](const Uri& uri) -> Result<std::unique_ptr<DeviceRequest>> {
                  class Inner final : public DeviceRequest {
                   public:
                    Inner(Registry& from, std::string name) : DeviceRequest(std::move(name)), from_(from) {}
                    runtime::Task<Result<std::shared_ptr<Device>>> create() override {
                      co_return co_await from_.create("null:///" + name());
                    }

                   private:
                    Registry& from_;
                  };
                  return std::make_unique<GatedRequest>(gate, std::make_unique<Inner>(plain, uri.decoded_name()));
                }});
  auto create = [](Registry& in, std::string uri, std::vector<Code>& out) -> runtime::Task<> {
    const auto result = co_await in.create(std::move(uri));
    out.push_back(result ? Code(0) : result.error().code());
  };
  const auto first = reactor_->spawn("first", create(registry, "gated:///n", outcomes));
  while (reactor_->run_round()) {
  }
  EXPECT_TRUE(outcomes.empty());
  EXPECT_EQ(registry.find("n"), nullptr);
  const auto second = reactor_->spawn("second", create(registry, "null:///n", outcomes));
  const auto third = reactor_->spawn("third", create(registry, "gated:///m", outcomes));
  reactor_->run_until([&] { return second.done(); });
  EXPECT_THAT(outcomes, testing::ElementsAre(Code::kInternal));
  third.cancel();
  reactor_->run_until([&] { return third.done(); });
  EXPECT_THAT(outcomes, testing::ElementsAre(Code::kInternal, Code::kCancelled));
  EXPECT_TRUE(run_task(*reactor_, registry.create("null:///m")));  // a failed create leaves the name free
  gate.set();
  reactor_->run_until([&] { return first.done(); });
  EXPECT_EQ(outcomes.back(), Code(0));
  EXPECT_NE(registry.find("n"), nullptr);
}

TEST_F(RegistryTest, Claims) {
  const auto device = *create("null:///a");
  EXPECT_TRUE(device->claim("NVMe-oF Target"));
  EXPECT_EQ(device->claimed_by(), "NVMe-oF Target");
  const auto second = device->claim("lvs");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Code::kFailedPrecondition);
  EXPECT_EQ(second.error().message(), "bdev 'a' is already claimed by 'NVMe-oF Target'");
  device->release_claim();
  EXPECT_TRUE(device->claim("lvs"));
}

TEST_F(RegistryTest, ListenersMayLeaveInTheCall) {
  struct Listener final : DeviceListener {
    void on_media_error(Device&, uint64_t lba, uint64_t num_blocks) override {
      calls += static_cast<int>(lba + num_blocks);
      if (victim != nullptr) victim->unlink();
    }
    DeviceListener* victim = nullptr;
    int calls = 0;
  } first, second, third;
  const auto device = *create("null:///a");
  for (auto* listener : {&first, &second, &third}) device->add_listener(*listener);
  first.victim = &first;
  second.victim = &third;
  device->announce_media_error(3, 4);
  device->announce_media_error(3, 4);
  EXPECT_EQ(first.calls, 7);
  EXPECT_EQ(second.calls, 14);
  EXPECT_EQ(third.calls, 0);
  second.unlink();
}

}  // namespace
}  // namespace cairn::block
