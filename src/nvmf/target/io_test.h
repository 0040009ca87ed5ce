// What the tests of I/O commands share: a simulated node with a target that exports a TestDevice, and hosts with one
// admin and one I/O queue each, in the test's own hands. The target's primary reactor is 0, the I/O queues live on
// reactor 1.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "nvme/fabrics.h"
#include "nvme/nvm_command.h"
#include "nvme/property.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/target.h"
#include "nvmf/target/test_connection.h"
#include "nvmf/target/test_device.h"
#include "runtime/sim/world.h"

namespace cairn::nvmf::target {

class IoTest : public testing::Test {
 public:
  using Command = TestConnection::Command;
  static constexpr uint64_t kNumBlocks = 1024;
  static constexpr uint32_t kBlockSize = TestDevice::kBlockSize;
  static constexpr const char* kNqn = "nqn.2019-05.io.openebs:test";

  struct Host {
    uint8_t number = 0;
    std::shared_ptr<Controller> controller;
    std::unique_ptr<TestConnection> admin;
    std::unique_ptr<TestConnection> io;
  };

 protected:
  IoTest() : node_(world_.add_node({.num_reactors = 2})) { node_.start(); }

  // With another device than the usual one: `prepare(device)` before it is exported.
  template <typename Prepare>
  void build(Prepare prepare) {
    const runtime::Reactor::Scope scope(primary());
    device_ = std::make_shared<TestDevice>(kNumBlocks);
    prepare(*device_);
    target_ = std::make_unique<Target>(options_, std::vector{&node_.reactor(0), &node_.reactor(1)});
    SubsystemOptions options;
    options.nqn = kNqn;
    options.ana_reporting = true;
    options.ptpl_path = "/ptpl/test.json";
    subsystem_ = *target_->add_subsystem(options);
    run([](Subsystem& subsystem, std::shared_ptr<TestDevice> device) -> runtime::Task<> {
      const auto added = co_await subsystem.add_namespace(std::move(device));
      CAIRN_CHECK(added.has_value());
    }(*subsystem_, device_));
  }
  void build() {
    build([](TestDevice&) {});
  }
  void TearDown() override {
    if (target_ == nullptr) return;
    device_->hold = false;
    while (device_->num_held() > 0) device_->release();
    for (auto& host : hosts_) {
      close(*host->io);
      close(*host->admin);
    }
    for (auto& host : hosts_) {
      host->controller.reset();
      destroy(host->io);
      destroy(host->admin);
    }
    const runtime::Reactor::Scope scope(primary());
    run(target_->stop());
    target_.reset();
    device_.reset();
    node_.stop();
  }

  runtime::Reactor& primary() { return node_.reactor(0); }
  void run(runtime::Task<> task) {
    CAIRN_CHECK(world_.run_task(node_, "test", std::move(task), std::chrono::seconds(60)) ==
                runtime::sim::RunResult::kDone);
  }
  // A second of virtual time: nothing but the timers of controllers takes longer.
  void settle() { world_.run_for(std::chrono::seconds(1)); }

  // Connects host `number` (its host identifier ends with it).
  Host& connect(uint8_t number) {
    Host& host = *hosts_.emplace_back(std::make_unique<Host>());
    host.number = number;
    host.admin = make_connection(node_.reactor(0));
    const uint16_t cntlid = connect_queue(*host.admin, number, 0, nvme::kDynamicControllerId);
    host.controller = subsystem_->controllers().at(cntlid);
    nvme::Sqe sqe = command_sqe();
    nvme::PropertySet{.offset = static_cast<uint32_t>(nvme::Property::kCc),
                      .value = nvme::ControllerConfiguration{.en = true, .iosqes = 6, .iocqes = 4}.encode()}
        .encode(sqe);
    EXPECT_TRUE(finish(*host.admin, sqe).status().is_success());
    host.io = make_connection(node_.reactor(1));
    connect_queue(*host.io, number, 1, cntlid);
    return host;
  }

  // Sends a command and waits for its end.
  Command& finish(TestConnection& connection, const nvme::Sqe& sqe, std::span<const std::byte> data = {}) {
    Command& command = connection.send(sqe, data);
    settle();
    EXPECT_TRUE(command.completed);
    return command;
  }
  Command& finish(Host& host, const nvme::Sqe& sqe, std::span<const std::byte> data = {}) {
    return finish(*host.io, sqe, data);
  }
  void close(TestConnection& connection) {
    {
      const runtime::Reactor::Scope scope(connection.reactor());
      connection.disconnect();
    }
    settle();
    EXPECT_TRUE(connection.closed());
  }

  // ---- Commands, with the SGL a host would send

  static nvme::Sqe command_sqe(uint32_t data_size = 0) {
    nvme::Sqe sqe;
    sqe.set_flags(nvme::Fuse::kNormal, nvme::Psdt::kSglMptrAddress);
    sqe.sgl = nvme::SglDescriptor::transport(data_size);
    return sqe;
  }
  static nvme::Sqe io_sqe(nvme::NvmOpcode opcode, uint32_t data_size = 0) {
    nvme::Sqe sqe = command_sqe(data_size);
    sqe.opcode = static_cast<uint8_t>(opcode);
    sqe.nsid = 1;
    return sqe;
  }
  // Read, Write, Compare, Write Zeroes.
  static nvme::Sqe range_sqe(nvme::NvmOpcode opcode, uint64_t slba, uint32_t num_blocks) {
    const bool no_data = opcode == nvme::NvmOpcode::kWriteZeroes;
    nvme::Sqe sqe = io_sqe(opcode, no_data ? 0 : num_blocks * kBlockSize);
    nvme::BlockRange{.slba = slba, .num_blocks = num_blocks}.encode(sqe);
    return sqe;
  }
  static nvme::Sqe with_fuse(nvme::Sqe sqe, nvme::Fuse fuse) {
    sqe.set_flags(fuse, nvme::Psdt::kSglMptrAddress);
    return sqe;
  }
  static nvme::Sqe with_fua(nvme::Sqe sqe) {
    sqe.cdw12 |= 1u << 30;
    return sqe;
  }
  static nvme::Sqe deallocate_sqe(uint32_t num_ranges) {
    nvme::Sqe sqe = io_sqe(nvme::NvmOpcode::kDatasetManagement, num_ranges * 16);
    nvme::DatasetManagement{.num_ranges = num_ranges, .deallocate = true}.encode(sqe);
    return sqe;
  }
  static nvme::Sqe copy_sqe(uint64_t destination, uint32_t num_ranges) {
    nvme::Sqe sqe = io_sqe(nvme::NvmOpcode::kCopy, num_ranges * 32);
    nvme::Copy{.destination = destination, .num_ranges = num_ranges}.encode(sqe);
    return sqe;
  }
  template <typename T>
  static std::vector<std::byte> bytes(const std::vector<T>& structures) {
    std::vector<std::byte> all(structures.size() * sizeof(T));
    std::memcpy(all.data(), structures.data(), all.size());
    return all;
  }
  // Blocks filled with a pattern that differs by `seed` and block.
  static std::vector<std::byte> blocks(uint32_t count, uint8_t seed) {
    std::vector<std::byte> data(count * kBlockSize);
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(seed + i * 7 + i / kBlockSize);
    return data;
  }

  // Reservation commands of a host whose key is its number.
  Command& register_key(Host& host) {
    nvme::Sqe sqe = io_sqe(nvme::NvmOpcode::kReservationRegister, 16);
    nvme::ReservationRegister{}.encode(sqe);
    return finish(host, sqe, nvme::bytes_of(nvme::ReservationRegisterData{.nrkey = host.number}));
  }
  Command& send_acquire(Host& host, nvme::ReservationType type,
                        nvme::AcquireAction action = nvme::AcquireAction::kAcquire, uint64_t prkey = 0) {
    nvme::Sqe sqe = io_sqe(nvme::NvmOpcode::kReservationAcquire, 16);
    nvme::ReservationAcquire{.action = action, .type = type}.encode(sqe);
    return host.io->send(sqe, nvme::bytes_of(nvme::ReservationAcquireData{.crkey = host.number, .prkey = prkey}));
  }
  Command& release(Host& host, nvme::ReservationType type) {
    nvme::Sqe sqe = io_sqe(nvme::NvmOpcode::kReservationRelease, 8);
    nvme::ReservationRelease{.type = type}.encode(sqe);
    return finish(host, sqe, nvme::bytes_of(nvme::ReservationReleaseData{.crkey = host.number}));
  }

  runtime::sim::World world_{{.seed = 3}};
  runtime::sim::Node& node_;
  Options options_;
  std::shared_ptr<TestDevice> device_;
  std::unique_ptr<Target> target_;
  Subsystem* subsystem_ = nullptr;
  std::vector<std::unique_ptr<Host>> hosts_;

 private:
  std::unique_ptr<TestConnection> make_connection(runtime::Reactor& reactor) {
    const runtime::Reactor::Scope scope(reactor);
    return std::make_unique<TestConnection>(*target_);
  }
  void destroy(std::unique_ptr<TestConnection>& connection) {
    const runtime::Reactor::Scope scope(connection->reactor());
    connection.reset();
  }
  uint16_t connect_queue(TestConnection& connection, uint8_t number, uint16_t qid, uint16_t cntlid) {
    nvme::ConnectData data;
    data.hostid[15] = number;
    data.cntlid = cntlid;
    nvme::set_c_string(data.subnqn, kNqn);
    nvme::set_c_string(data.hostnqn, "nqn.2014-08.org.example:host" + std::to_string(number));
    nvme::Sqe sqe = command_sqe(sizeof(data));
    nvme::Connect{.qid = qid, .sqsize = 31}.encode(sqe);
    const Command& connected = finish(connection, sqe, nvme::bytes_of(data));
    CAIRN_CHECK(connected.status().is_success());
    return nvme::ConnectAccept::decode(connected.completion.dw0).cntlid;
  }
};

}  // namespace cairn::nvmf::target
