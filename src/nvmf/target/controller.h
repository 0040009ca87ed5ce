// A controller: one host's association with a subsystem (or with discovery). Lives on the primary reactor, where every
// admin command is executed; its queue pairs live on their own reactors.
//
// States (NVMe Base 2.0, sections 3.5 and 3.6):
//   disabled      CC.EN=0, CSTS.RDY=0; the association timer runs
//   ready         CC.EN=1, CSTS.RDY=1; the keep-alive timer runs
//   resetting     CC.EN=0, CSTS.RDY=1 until all I/O queue pairs are gone; then disabled, or ready if EN was set
//   meanwhile shut down     CSTS.SHST=complete, either of the above; the association timer runs fatal CSTS.CFS=1, from
//   any: keep-alive expired, reset took too long; always terminating terminating   all queue pairs are being
//   disconnected; no new one is taken gone          the last queue pair was removed; the subsystem has forgotten the
//   controller
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "nvme/fabrics.h"
#include "nvme/property.h"
#include "nvme/reservation.h"
#include "nvmf/target/async_events.h"
#include "nvmf/target/error_log.h"
#include "nvmf/target/features.h"
#include "nvmf/target/namespace_view.h"
#include "nvmf/target/request.h"
#include "runtime/address.h"
#include "runtime/task_waits.h"
#include "runtime/timer.h"

namespace cairn::nvmf::target {

class Namespace;
struct QueuePairHandle;
class Subsystem;
struct VendorCommand;
class Target;

struct ControllerIdentity {
  uint16_t cntlid = 0;
  std::string host_nqn;
  HostId host_id{};
  uint32_t kato_ms = 0;                  // as the host asked for
  runtime::SocketAddress local_address;  // by which the admin queue came
};

class Controller : public std::enable_shared_from_this<Controller> {
 public:
  // Aborts that may be executed at a time (ACL + 1).
  static constexpr uint8_t kMaxAborts = 4;
  // A reset that has not got rid of the I/O queue pairs by then is fatal (CAP.TO is longer).
  static constexpr Duration kResetTimeout = std::chrono::milliseconds(12500);
  // CAP.TO and CRTO, in 500 ms.
  static constexpr uint8_t kReadyTimeout = 30;
  // Discovery controllers of hosts that ask for no keep-alive.
  static constexpr uint32_t kDiscoveryKatoMs = 120000;
  static constexpr size_t kMaxReservationNotices = 256;

  // `subsystem` nullptr: a discovery controller. Starts disabled.
  Controller(Target& target, Subsystem* subsystem, ControllerIdentity identity);
  ~Controller();  // gone

  // Immutable: any reactor.
  uint16_t cntlid() const { return identity_.cntlid; }
  const std::string& host_nqn() const { return identity_.host_nqn; }
  const HostId& host_id() const { return identity_.host_id; }
  bool is_discovery() const { return subsystem_ == nullptr; }
  // Any reactor: errors carry a command retry delay (Host Behavior Support, ACRE).
  bool retry_delay_enabled() const { return features_.retry_delay_enabled(); }
  // Any reactor: the host disabled the volatile write cache, every write is to be done with FUA.
  bool write_through() const { return features_.write_through(); }
  // Any reactor; not of a discovery controller.
  const VendorCommand& vendor_command() const;
  // Any reactor.
  ErrorLog& error_log() { return error_log_; }

  // Primary reactor from here.
  Target& target() { return target_; }
  Subsystem* subsystem() { return subsystem_; }
  const runtime::SocketAddress& local_address() const { return identity_.local_address; }
  bool ready() const { return status_.rdy && config_.en && !status_.cfs && !resetting_; }
  bool terminating() const { return terminating_; }
  const nvme::ControllerConfiguration& configuration() const { return config_; }
  uint32_t kato_ms() const { return kato_ms_; }  // rounded up; 0: no keep-alive

  // Adds a queue pair; the checks of Connect were done by Target::connect. qid 0 is the admin queue.
  void add_queue_pair(uint16_t qid, std::shared_ptr<QueuePairHandle> queue_pair);
  bool has_queue_pair(uint16_t qid) const { return queue_pairs_.contains(qid); }
  // The admin queue's connection is gone, its requests may still be executing. Ends the controller.
  void admin_queue_closing();
  // The queue pair has no request any more and will be destroyed.
  void remove_queue_pair(uint16_t qid);

  // Executes an admin or fabrics command (all but Connect); fills request.data() and completion dwords, gives the
  // status. The request is lent until then. AERs stay until an event comes.
  runtime::Task<nvme::Status> execute_admin(Request& request);
  // Executes a reservation command of an I/O queue.
  runtime::Task<nvme::Status> execute_reservation(Request& request);

  AsyncEvents& events() { return events_; }
  void namespace_changed(uint32_t nsid);  // attribute notice + changed namespace list
  void ana_changed() { events_.raise(EventKind::kAnaChange); }
  void discovery_log_changed() { events_.raise(EventKind::kDiscoveryLog); }
  void reservation_notice(uint32_t nsid, nvme::ReservationNotificationType type);

  // Disconnects everything; the controller disappears from its subsystem when the last queue pair has gone.
  void terminate(std::string_view reason);
  // The same, and when it returns nothing is sent to the host any more.
  runtime::Task<> terminate_now(std::string reason);
  // Until the controller has gone.
  runtime::Event& gone() { return gone_; }

 private:
  // property.cc
  nvme::Status property_get(Request& request);
  nvme::Status property_set(const Request& request);
  nvme::Status set_configuration(nvme::ControllerConfiguration config);
  void enable();
  void begin_reset();
  static runtime::Task<> finish_reset(std::shared_ptr<Controller> self);
  void update_timers();
  // controller.cc
  void disconnect_io_queue_pairs();
  void keep_alive_expired();
  uint32_t round_kato(uint32_t kato_ms) const;
  void restart_keep_alive();
  runtime::Task<nvme::Status> execute_vendor(Request& request);
  // abort.cc
  runtime::Task<nvme::Status> abort(Request& request);
  // identify.cc
  nvme::Status identify(Request& request);
  // features.cc
  nvme::Status get_features(Request& request);
  runtime::Task<nvme::Status> set_features(Request& request);
  nvme::Status set_controller_feature(Request& request, const nvme::SetFeatures& command);
  const FeatureDescription* available_feature(uint8_t fid) const;
  uint32_t granted_queues() const;
  // log_pages.cc
  nvme::Status get_log_page(Request& request);
  nvme::Status make_log_page(Request& request, const nvme::GetLogPage& command, nvme::LogPageId page, uint32_t nsid);
  std::vector<std::byte> ana_log(bool groups_only) const;
  nvme::HealthInformation health_log() const;
  nvme::ChangedNamespaceList changed_namespace_log() const;
  nvme::FeaturesSupportedAndEffects feature_effects() const;
  nvme::ReservationNotification reservation_log() const;

  Namespace* find_namespace(uint32_t nsid) const;
  size_t num_io_queue_pairs() const { return queue_pairs_.size() - queue_pairs_.count(nvme::kAdminQueueId); }

  Target& target_;
  Subsystem* subsystem_;
  ControllerIdentity identity_;

  nvme::ControllerConfiguration config_;
  nvme::ControllerStatus status_;
  bool resetting_ = false;
  bool terminating_ = false;

  uint32_t kato_ms_ = 0;
  runtime::Timer keep_alive_timer_;
  runtime::Timer association_timer_;

  Features features_;
  AsyncEvents events_;
  ErrorLog error_log_;
  std::set<uint32_t> changed_namespaces_;
  std::deque<nvme::ReservationNotification> reservation_notices_;
  uint64_t num_reservation_notices_ = 0;  // ever
  uint8_t num_aborts_ = 0;                // executing

  std::map<uint16_t, std::shared_ptr<QueuePairHandle>> queue_pairs_;
  runtime::Event queue_pairs_changed_;  // pulsed
  runtime::Event gone_;
};

}  // namespace cairn::nvmf::target
