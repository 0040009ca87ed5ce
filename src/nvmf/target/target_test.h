// For the tests of the target's core: hosts that are tasks, on the transport without a wire, and a target with devices
// in a simulated machine of two reactors.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "base/abandonment.h"
#include "base/log.h"
#include "block/malloc_device.h"
#include "block/null_device.h"
#include "block/registry.h"
#include "nvme/admin_command.h"
#include "nvme/fabrics.h"
#include "nvme/feature.h"
#include "nvme/identify.h"
#include "nvme/identify_controller.h"
#include "nvme/identify_namespace.h"
#include "nvme/log_page.h"
#include "nvme/nvm_command.h"
#include "nvme/property.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/queue_pair.h"
#include "nvmf/target/target.h"
#include "nvmf/target/test_connection.h"
#include "runtime/sim/world.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::target {

using nvme::Sqe;
using nvme::Status;
using runtime::Task;

using Bytes = std::vector<std::byte>;

struct Answer {
  Status status;
  uint32_t dw0 = 0;
  uint32_t dw1 = 0;
  Bytes data;

  uint64_t value64() const { return dw0 | uint64_t{dw1} << 32; }
  template <typename T>
  T as() const {
    EXPECT_GE(data.size(), sizeof(T));
    return data.size() >= sizeof(T) ? nvme::load<T>(data) : T{};
  }
};

using TestCommand = TestConnection::Command;

struct TestHost {
  std::string nqn = "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555";
  HostId id = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
};

// A command capsule with its SGL: `size` bytes from or to the host.
inline Sqe with_data(Sqe command, uint32_t size = 0) {
  command.set_flags(nvme::Fuse::kNormal, nvme::Psdt::kSglMptrAddress);
  const uint8_t opcode = command.is_fabrics() ? static_cast<uint8_t>(command.nsid) : command.opcode;
  const bool to_controller = nvme::data_direction(opcode) == nvme::DataDirection::kHostToController;
  command.sgl =
      to_controller && size > 0 ? nvme::SglDescriptor::in_capsule(0, size) : nvme::SglDescriptor::transport(size);
  return command;
}

template <typename Fields>
Sqe encoded(const Fields& fields, uint32_t nsid = 0) {
  Sqe command;
  command.nsid = nsid;
  fields.encode(command);
  return command;
}

inline Sqe admin_command(nvme::AdminOpcode opcode) {
  Sqe command;
  command.opcode = static_cast<uint8_t>(opcode);
  return command;
}

template <typename T>
Bytes bytes_from(const T& value) {
  const auto bytes = nvme::bytes_of(value);
  return {bytes.begin(), bytes.end()};
}

// The test's grip on a connection, from the primary reactor.
class TestQueue {
 public:
  TestQueue(Target& target, runtime::Reactor& reactor,
            runtime::SocketAddress local = *runtime::SocketAddress::ip("10.0.0.1", 8420)) {
    const runtime::Reactor::Scope scope(reactor);
    connection_ = std::make_unique<TestConnection>(target, std::move(local));
  }
  TestConnection& connection() { return *connection_; }

  // `hold`: the host's data does not come. The command lives as long as the queue.
  Task<TestCommand*> submit(Sqe command, Bytes data = {}, bool hold = false) {
    return runtime::call_on(connection_->reactor(), [=, this]() -> Task<TestCommand*> {
      TestCommand& received = connection_->receive(command, data);
      if (received.state == RequestState::kPrepared && !hold) connection_->deliver(received);
      co_return &received;
    });
  }
  // The data of a held command comes.
  Task<> deliver(TestCommand* command) {
    return runtime::call_on(connection_->reactor(), [=, this]() -> Task<> {
      connection_->deliver(*command);
      co_return;
    });
  }
  Task<Answer> answer(TestCommand* command) {
    return runtime::call_on(connection_->reactor(), [command]() -> Task<Answer> {
      co_await command->done.wait_uninterrupted();
      const nvme::Cqe& completion = command->completion;
      EXPECT_EQ(completion.cid, command->command.cid);
      const bool has_data = completion.status().is_success() && command->transfer_length > 0;
      co_return Answer{completion.status(), completion.dw0, completion.dw1, has_data ? command->host_data : Bytes()};
    });
  }
  // With exactly this SGL.
  Task<Answer> run_as_is(Sqe command, Bytes data = {}) {
    co_return co_await answer(co_await submit(command, std::move(data)));
  }
  // `size`: bytes to receive; to send: those of `data`.
  Task<Answer> run(Sqe command, uint32_t size = 0) { return run_as_is(with_data(command, size)); }
  Task<Answer> run(Sqe command, Bytes data) {
    return run_as_is(with_data(command, static_cast<uint32_t>(data.size())), std::move(data));
  }
  Task<> close() {
    return runtime::call_on(connection_->reactor(), [this]() -> Task<> {
      connection_->disconnect();
      co_await connection_->closed_event().wait_uninterrupted();
    });
  }
  Task<> closed() {
    return runtime::call_on(connection_->reactor(),
                            [this]() -> Task<> { co_await connection_->closed_event().wait_uninterrupted(); });
  }

  // ---- What hosts do ----

  struct ConnectOptions {
    uint16_t qid = 0;
    uint16_t sqsize = 31;
    uint32_t kato_ms = 0;
    uint16_t cntlid = nvme::kDynamicControllerId;
  };
  static nvme::ConnectData connect_data(const std::string& nqn, const TestHost& host, uint16_t cntlid) {
    nvme::ConnectData data;
    std::ranges::copy(host.id, std::begin(data.hostid));
    data.cntlid = cntlid;
    nvme::set_c_string(data.subnqn, nqn);
    nvme::set_c_string(data.hostnqn, host.nqn);
    return data;
  }
  Task<Answer> connect(std::string nqn, TestHost host = {}, ConnectOptions options = {0, 31, 0, 0xffff}) {
    const Sqe command =
        encoded(nvme::Connect{.qid = options.qid, .sqsize = options.sqsize, .keep_alive_timeout_ms = options.kato_ms});
    return run(command, bytes_from(connect_data(nqn, host, options.cntlid)));
  }
  Task<Answer> property_get(nvme::Property property) {
    return run(encoded(nvme::PropertyGet{.eight_bytes = nvme::property_size(property) == 8,
                                         .offset = static_cast<uint32_t>(property)}));
  }
  Task<Answer> property_set(nvme::Property property, uint64_t value) {
    return run(encoded(nvme::PropertySet{
        .eight_bytes = nvme::property_size(property) == 8, .offset = static_cast<uint32_t>(property), .value = value}));
  }
  static nvme::ControllerConfiguration enabled_configuration() {
    return {.en = true, .css = nvme::ControllerConfiguration::kCssAllSupported, .iosqes = 6, .iocqes = 4};
  }
  Task<> enable(uint8_t css = nvme::ControllerConfiguration::kCssAllSupported) {
    auto configuration = enabled_configuration();
    configuration.css = css;
    const Answer set = co_await property_set(nvme::Property::kCc, configuration.encode());
    EXPECT_TRUE(set.status.is_success()) << set.status.to_string();
  }
  Task<nvme::ControllerStatus> controller_status() {
    const Answer status = co_await property_get(nvme::Property::kCsts);
    EXPECT_TRUE(status.status.is_success());
    co_return nvme::ControllerStatus::decode(status.dw0);
  }
  // Connects the admin queue and enables the controller; gives its identifier.
  Task<uint16_t> start(std::string nqn, TestHost host = {}, uint32_t kato_ms = 0) {
    const Answer connected = co_await connect(nqn, host, {.kato_ms = kato_ms});
    EXPECT_TRUE(connected.status.is_success()) << connected.status.to_string();
    const bool discovery = nqn == "nqn.2014-08.org.nvmexpress.discovery";
    co_await enable(discovery ? nvme::ControllerConfiguration::kCssNvm
                              : nvme::ControllerConfiguration::kCssAllSupported);
    co_return static_cast<uint16_t>(connected.dw0);
  }
  Task<Answer> identify(nvme::Cns cns, uint32_t nsid = 0, uint8_t csi = 0) {
    return run(encoded(nvme::Identify{.cns = static_cast<uint8_t>(cns), .csi = csi}, nsid), nvme::kIdentifySize);
  }
  Task<Answer> log_page(nvme::LogPageId page, uint32_t size, uint64_t offset = 0, bool retain = false,
                        uint32_t nsid = nvme::kBroadcastNsid) {
    return run(
        encoded(
            nvme::GetLogPage{
                .lid = static_cast<uint8_t>(page), .retain_event = retain, .num_dwords = size / 4, .offset = offset},
            nsid),
        size);
  }
  Task<Answer> set_feature(nvme::FeatureId id, uint32_t cdw11, uint32_t nsid = 0) {
    return run(encoded(nvme::SetFeatures{.fid = static_cast<uint8_t>(id), .cdw11 = cdw11}, nsid));
  }
  Task<Answer> get_feature(nvme::FeatureId id, uint32_t cdw11 = 0, uint32_t nsid = 0,
                           nvme::FeatureSelect select = nvme::FeatureSelect::kCurrent) {
    return run(encoded(nvme::GetFeatures{.fid = static_cast<uint8_t>(id), .select = select, .cdw11 = cdw11}, nsid));
  }

 private:
  std::unique_ptr<TestConnection> connection_;
};

inline const std::string kDiskNqn = "nqn.2019-05.io.openebs:disk0";
inline const std::string kDiscovery = std::string("nqn.2014-08.org.nvmexpress.discovery");

class TargetTest : public testing::Test {
 public:
  static constexpr std::string_view kDiskUuid = "20000000-0000-4000-8000-00000000000d";

  TargetTest() {
    log::set_level(log::Level::kOff);
    node_ = &world_.add_node({.name = "engine", .num_reactors = 2, .buffer_pool_bytes = size_t{1} << 20});
    node_->start();
    const runtime::Reactor::Scope scope(primary());
    registry_ = std::make_unique<block::Registry>();
    block::add_malloc_scheme(*registry_);
    block::add_null_scheme(*registry_);
  }
  ~TargetTest() override {
    const runtime::Reactor::Scope scope(primary());
    if (finished_) {
      queues_.clear();
      target_.reset();
      registry_.reset();
    } else {
      // Something hangs: let go of everything.
      const AbandonScope abandon;
      node_->crash(runtime::sim::CrashKind::kKill);
      queues_.clear();
      target_.reset();
      registry_.reset();
    }
  }

  runtime::Reactor& primary() { return node_->reactor(0); }
  runtime::Reactor& second() { return node_->reactor(1); }
  Target& target() { return *target_; }
  Subsystem& subsystem() { return *target_->find_subsystem(kDiskNqn); }
  block::Registry& registry() { return *registry_; }
  Options options;
  SubsystemOptions subsystem_options{.nqn = kDiskNqn};

  // A connection that lives until the end of the test.
  TestQueue& queue(runtime::Reactor& reactor) {
    queues_.push_back(std::make_unique<TestQueue>(*target_, reactor));
    return *queues_.back();
  }
  TestQueue& queue() { return queue(primary()); }
  TestQueue& queue(const runtime::SocketAddress& local) {
    queues_.push_back(std::make_unique<TestQueue>(*target_, primary(), local));
    return *queues_.back();
  }

  Task<std::shared_ptr<block::Device>> make_device(std::string uri) {
    auto device = co_await registry_->create(std::move(uri));
    EXPECT_TRUE(device) << device.error().to_string();
    co_return device.value_or(nullptr);
  }
  Task<Subsystem*> add_subsystem(SubsystemOptions wanted, std::string uri) {
    auto added = target_->add_subsystem(std::move(wanted));
    EXPECT_TRUE(added) << added.error().to_string();
    const auto space = co_await (*added)->add_namespace(co_await make_device(std::move(uri)));
    EXPECT_TRUE(space) << space.error().to_string();
    co_return *added;
  }
  static std::string disk_uri() { return "malloc:///disk0?size_mb=16&blk_size=512&uuid=" + std::string(kDiskUuid); }

  // Runs `body` (a coroutine lambda) with a target that has one subsystem, kDiskNqn, on a disk of 32768 blocks; then
  // stops the target and checks that nothing is left.
  template <typename Body>
  void run(Body body, bool with_disk = true) {
    auto all = [&]() -> Task<> {
      target_ = std::make_unique<Target>(options, std::vector<runtime::Reactor*>{&primary(), &second()});
      if (with_disk) co_await add_subsystem(subsystem_options, disk_uri());
      co_await body();
      co_await target_->stop();
      for (const auto& each : queues_) co_await each->close();
      co_await registry_->remove_all();
    };
    const auto result = world_.run_task(*node_, "test", all(), std::chrono::hours(24));
    ASSERT_EQ(result, runtime::sim::RunResult::kDone) << world_.waiting_tasks();
    world_.run_for(std::chrono::seconds(1));
    EXPECT_EQ(primary().num_tasks() + second().num_tasks(), 0u) << world_.waiting_tasks();
    finished_ = true;
  }
  // Lets virtual time pass in a test body.
  static Task<> pass(Duration duration) {
    const auto slept = co_await runtime::sleep_for(duration);
    EXPECT_TRUE(slept);
  }

 private:
  runtime::sim::World world_{{.seed = 1}};
  runtime::sim::Node* node_ = nullptr;
  std::unique_ptr<block::Registry> registry_;
  std::unique_ptr<Target> target_;
  std::vector<std::unique_ptr<TestQueue>> queues_;
  bool finished_ = false;
};

inline void expect_success(const Answer& answer, std::source_location where = std::source_location::current()) {
  EXPECT_TRUE(answer.status.is_success()) << answer.status.to_string() << ", line " << where.line();
}

// A row of "Bad input: admin and fabrics commands" in docs/testing.md.
inline void print_refusal(const std::string& what, const Answer& answer, bool fabrics = false) {
  std::string text(nvme::status_name(answer.status, fabrics));
  text += fmt::format(" ({:x}/{:02x}h)", static_cast<unsigned>(answer.status.type()), answer.status.code());
  if (answer.status.do_not_retry()) text += ", do not retry";
  if (fabrics && answer.status.is(nvme::FabricsStatus::kInvalidParameters)) {
    const auto refusal = nvme::ConnectRefusal::decode(answer.dw0);
    text += fmt::format(", byte {} of the {}", refusal.offset, refusal.in_data ? "data" : "command");
  }
  fmt::print("| {} | {} |\n", what, text);
}

// What a refusal has to look like.
inline Status invalid_field() {
  return Status::generic(nvme::GenericStatus::kInvalidField, nvme::Dnr::kYes);
}
inline Status invalid_namespace() {
  return Status::generic(nvme::GenericStatus::kInvalidNamespaceOrFormat, nvme::Dnr::kYes);
}
inline Status sequence_error() {
  return Status::generic(nvme::GenericStatus::kCommandSequenceError, nvme::Dnr::kYes);
}

}  // namespace cairn::nvmf::target
