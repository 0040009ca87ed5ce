// The NVMe-oF target: subsystems, discovery, connections spread over reactors. Primary reactor only, except where said.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nvme/discovery.h"
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
  HostId host_id{};
  uint16_t cntlid = 0xffff;
  // As in the connect data; nothing when malformed (not terminated, empty, too long, not UTF-8).
  std::optional<std::string> subsystem_nqn;
  std::optional<std::string> host_nqn;
  uint16_t qid = 0;
  uint16_t sqsize = 0;  // 0-based, as sent
  uint32_t kato_ms = 0;
  runtime::SocketAddress local_address;
};
struct ConnectOutcome {
  nvme::Status status{};
  uint32_t dw0 = 0;  // IPO and IATTR of the offending field, or the controller id
  std::shared_ptr<Controller> controller{};
  std::shared_ptr<SubsystemView> view{};  // I/O queues
  nvme::Status (*rewrite_status)(nvme::Status status) = nullptr;
};

struct QueuePairHandle;
class TcpGroup;
class TcpListener;

class Target {
 public:
  // `reactors`: where connections may live; [0] is the primary reactor, on which this is made.
  Target(Options options, std::vector<runtime::Reactor*> reactors);
  ~Target();  // stopped

  const Options& options() const { return options_; }               // any reactor
  runtime::Reactor& primary() const { return *reactors_.front(); }  // any reactor
  std::span<runtime::Reactor* const> reactors() const { return reactors_; }

  // Begins to accept TCP connections on `address`; ALREADY_EXISTS when in use. With `advertise`, the address stands in
  // the discovery log.
  Result<runtime::SocketAddress> listen_tcp(const runtime::SocketAddress& address, bool advertise);
  // Puts an address into the discovery log (listen_tcp does it itself).
  void advertise(const runtime::SocketAddress& address);
  const std::vector<ListenAddress>& advertised() const { return advertised_; }

  // ALREADY_EXISTS, INVALID_ARGUMENT (malformed NQN), RESOURCE_EXHAUSTED.
  Result<Subsystem*> add_subsystem(SubsystemOptions options);
  Subsystem* find_subsystem(const std::string& nqn);
  const std::map<std::string, std::unique_ptr<Subsystem>>& subsystems() const { return subsystems_; }
  // NOT_FOUND. I/O under way is waited for; `when_disconnected` runs before that, when no answer reaches a host any
  // more.
  runtime::Task<Result<>> remove_subsystem(std::string nqn, std::function<runtime::Task<>()> when_disconnected = {});

  // For a Connect command. On success the controller has `queue_pair`.
  runtime::Task<ConnectOutcome> connect(ConnectParameters parameters, std::shared_ptr<QueuePairHandle> queue_pair);

  // Discovery: counts changes of the log; tells discovery controllers.
  uint64_t discovery_generation() const { return discovery_generation_; }
  void discovery_log_changed();
  // The discovery log for a host: its size, and its bytes from `offset` on (zero beyond the end). `via`: the address by
  // which the host reached us, what it gets to see for a listener on "any" address.
  uint64_t discovery_log_size(const std::string& host_nqn, const runtime::SocketAddress& via) const;
  void fill_discovery_log(const std::string& host_nqn, const runtime::SocketAddress& via, uint64_t offset,
                          std::span<std::byte> into) const;
  std::map<uint16_t, std::shared_ptr<Controller>>& discovery_controllers() { return discovery_controllers_; }

  // Closes listeners, disconnects every host, stops every subsystem.
  runtime::Task<> stop();

  // Any reactor: connections that exist.
  uint32_t num_connections() const { return num_connections_.load(std::memory_order_relaxed); }
  TimePoint started_at() const { return started_at_; }

 private:
  // fabrics_connect.cc
  runtime::Task<bool> wait_for_predecessors(Subsystem& subsystem, HostId host_id);
  ConnectOutcome connect_admin(const ConnectParameters& parameters, Subsystem* subsystem,
                               std::shared_ptr<QueuePairHandle> queue_pair);
  runtime::Task<ConnectOutcome> connect_io(const ConnectParameters& parameters, Subsystem& subsystem,
                                           std::shared_ptr<QueuePairHandle> queue_pair);
  std::optional<uint16_t> allocate_discovery_cntlid();
  std::vector<nvme::DiscoveryLogEntry> advertised_entries(const runtime::SocketAddress& via) const;
  std::vector<const Subsystem*> visible_subsystems(const std::string& host_nqn) const;

  friend class TcpListener;
  friend class TcpConnection;
  Options options_;
  std::vector<runtime::Reactor*> reactors_;
  std::map<std::string, std::unique_ptr<Subsystem>> subsystems_;
  std::vector<ListenAddress> advertised_;
  std::vector<std::unique_ptr<TcpGroup>> tcp_groups_;  // one a reactor
  std::vector<std::unique_ptr<TcpListener>> listeners_;
  std::map<uint16_t, std::shared_ptr<Controller>> discovery_controllers_;
  uint16_t next_discovery_cntlid_ = 1;
  uint64_t discovery_generation_ = 0;
  TimePoint started_at_;
  std::atomic<uint32_t> num_connections_{0};
  runtime::Event subsystem_removed_;  // pulsed
  bool stopping_ = false;
};

}  // namespace cairn::nvmf::target
