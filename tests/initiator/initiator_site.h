// A simulated site for tests of the initiator: our target on one node, a process with a device registry on another.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/io_wait.h"
#include "block/registry.h"
#include "nvmf/host/nvme_device.h"
#include "nvmf/host/nvmf_scheme.h"
#include "nvmf/target/sim_site.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf {

class InitiatorProcess final : public runtime::sim::NodeProgram {
 public:
  InitiatorProcess() {
    host::ConnectionOptions defaults;
    defaults.host = host::make_host_identity("nqn.2019-05.io.openebs:node-name:sim", {});
    host::add_nvmf_schemes(registry, defaults);
  }
  block::Registry registry;
  std::shared_ptr<block::Device> device;
  std::vector<std::unique_ptr<block::Channel>> channels;  // one on each reactor
};

class InitiatorSite {
 public:
  static constexpr Duration kLimit = std::chrono::minutes(30);

  explicit InitiatorSite(const target::SimSiteOptions& options, unsigned num_host_reactors = 1)
      : site_(options), node_(site_.world().add_node({.name = "initiator", .num_reactors = num_host_reactors})) {
    site_.start_target();
    node_.start([](runtime::sim::Node&) { return std::make_unique<InitiatorProcess>(); });
  }

  static std::string uri(const std::string& parameters = "", const std::string& address = "10.0.0.1:8420") {
    return fmt::format("nvmf://{}/{}{}{}", address, target::SimSite::kNqn, parameters.empty() ? "" : "?", parameters);
  }

  target::SimSite& site() { return site_; }
  runtime::sim::World& world() { return site_.world(); }
  runtime::sim::Node& node() { return node_; }
  InitiatorProcess& process() { return node_.program<InitiatorProcess>(); }
  block::Channel& channel(unsigned reactor = 0) { return *process().channels.at(reactor); }
  host::NvmeDevice& device() { return static_cast<host::NvmeDevice&>(*process().device); }

  void run_until(const std::function<bool()>& done) { site_.run_until(done, kLimit); }
  template <typename T>
  T run(runtime::Task<T> task) {
    std::optional<T> result;
    site_.run(
        node_,
        [](runtime::Task<T> body, std::optional<T>& out) -> runtime::Task<> { out.emplace(co_await std::move(body)); }(
                                                             std::move(task), result),
        kLimit);
    return std::move(*result);
  }
  void run_plain(runtime::Task<> task) { site_.run(node_, std::move(task), kLimit); }

  Result<> open(std::string uri) {
    auto created = run(process().registry.create(std::move(uri)));
    if (!created) return fail(std::move(created.error()));
    process().device = std::move(*created);
    for (unsigned i = 0; i < node_.num_reactors(); ++i) {
      auto channel = run(runtime::call_on(node_.reactor(i), [this] { return process().device->open_channel(); }));
      if (!channel) return fail(std::move(channel.error()));
      process().channels.push_back(std::move(*channel));
    }
    return {};
  }

  // Closes and removes the device, ends both processes and checks that the target has nothing left of us.
  void end() {
    close_device();
    node_.stop();
    site_.stop_target();
  }
  void close_device() {
    for (unsigned i = 0; i < process().channels.size(); ++i) {
      const runtime::Reactor::Scope scope(node_.reactor(i));
      process().channels[i].reset();
    }
    process().channels.clear();
    process().device.reset();
    run_plain(process().registry.remove_all());
    EXPECT_TRUE(process().registry.empty());
  }

  nvme::Status io(block::IoRequest request, std::vector<std::byte>* data = nullptr) {
    iovec piece{};
    if (data != nullptr) {
      piece = {data->data(), data->size()};
      request.data = {&piece, 1};
      request.num_blocks = data->size() / channel().device().block_size();
    }
    return run([](block::Channel& channel, block::IoRequest what) -> runtime::Task<nvme::Status> {
      co_return co_await block::perform(channel, what);
    }(channel(), request));
  }

 private:
  target::SimSite site_;
  runtime::sim::Node& node_;
};

}  // namespace cairn::nvmf
