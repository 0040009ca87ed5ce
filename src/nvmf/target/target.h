// The NVMe-oF target: subsystems, discovery, connections spread over reactors. Primary reactor only, except where said.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nvmf/target/options.h"
#include "nvmf/target/subsystem.h"
#include "runtime/address.h"
#include "runtime/reactor.h"

namespace cairn::nvmf::target {

class Controller;

// Where the discovery log says a subsystem can be reached.
struct ListenAddress {
  runtime::SocketAddress address;
  uint16_t port_id = 0;
};

// The outcome of a Connect on the primary reactor.
struct ConnectParameters {
  std::array<uint8_t, 16> host_id{};
  uint16_t cntlid = 0xffff;
  std::string subsystem_nqn;
  std::string host_nqn;
  uint16_t qid = 0;
  uint16_t sqsize = 0;  // 0-based, as sent
  uint32_t kato_ms = 0;
  uint16_t record_format = 0;
  uint8_t attributes = 0;
  runtime::SocketAddress local_address;
};
struct ConnectOutcome {
  nvme::Status status;
  uint32_t dw0 = 0;  // IPO and IATTR of the offending field, or the controller id
  std::shared_ptr<Controller> controller;
  std::shared_ptr<SubsystemView> view;  // I/O queues
};

class QueuePair;

class Target {
 public:
  // `reactors`: where connections may live; [0] is the primary reactor, on which this is made.
  Target(Options options, std::vector<runtime::Reactor*> reactors);
  ~Target();  // stopped

  const Options& options() const { return options_; }           // any reactor
  runtime::Reactor& primary() const { return *reactors_.front(); }  // any reactor
  std::span<runtime::Reactor* const> reactors() const { return reactors_; }

  // Begins to accept TCP connections on `address`; ALREADY_EXISTS when in use. With `advertise`, the address stands in the discovery log.
  Result<runtime::SocketAddress> listen_tcp(const runtime::SocketAddress& address, bool advertise);
  const std::vector<ListenAddress>& advertised() const { return advertised_; }

  // ALREADY_EXISTS, INVALID_ARGUMENT (malformed NQN), RESOURCE_EXHAUSTED.
  Result<Subsystem*> add_subsystem(SubsystemOptions options);
  Subsystem* find_subsystem(const std::string& nqn);
  const std::map<std::string, std::unique_ptr<Subsystem>>& subsystems() const { return subsystems_; }
  runtime::Task<Result<>> remove_subsystem(std::string nqn);  // NOT_FOUND

  // For a Connect command; `queue_pair` stays on its own reactor.
  runtime::Task<ConnectOutcome> connect(ConnectParameters parameters, QueuePair& queue_pair);

  // Discovery: counts changes of the log; tells discovery controllers.
  uint64_t discovery_generation() const { return discovery_generation_; }
  void discovery_log_changed();
  // The discovery log for a host, from byte `offset`, as much as fits.
  void fill_discovery_log(const std::string& host_nqn, uint64_t offset, std::span<std::byte> into) const;

  // Closes listeners, disconnects every host, stops every subsystem.
  runtime::Task<> stop();

  // Any reactor: connections that exist.
  uint32_t num_connections() const { return num_connections_.load(std::memory_order_relaxed); }

 private:
  friend class TcpListener;
  friend class TcpConnection;
  Options options_;
  std::vector<runtime::Reactor*> reactors_;
  std::map<std::string, std::unique_ptr<Subsystem>> subsystems_;
  std::vector<ListenAddress> advertised_;
  std::vector<std::unique_ptr<class TcpListener>> listeners_;
  std::map<uint16_t, std::shared_ptr<Controller>> discovery_controllers_;
  uint64_t discovery_generation_ = 0;
  std::atomic<uint32_t> num_connections_{0};
  bool stopping_ = false;
};

}  // namespace cairn::nvmf::target
