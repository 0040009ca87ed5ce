// Subsystems and their namespaces. Primary reactor only, except where said.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "block/device.h"
#include "nvmf/target/namespace_view.h"
#include "nvmf/target/reservation.h"
#include "nvmf/target/reservation_store.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::target {

class Controller;
class Target;

// A vendor's admin command that moves data from the host, at most max_data_size bytes. `handle` gets the bytes and the
// place for completion dword 0, on the primary reactor. Without it the opcode is invalid.
struct VendorCommand {
  uint8_t opcode = 0;
  uint32_t max_data_size = 0;
  std::function<runtime::Task<nvme::Status>(block::Device& device, std::vector<std::byte> data, uint32_t& dw0)>
      handle{};
};

struct SubsystemOptions {
  std::string nqn{};
  std::string serial_number{};  // at most 20 ASCII characters; empty: derived from the device uuid as the original does
  std::string model_number = "Mayastor NVMe controller";
  bool ana_reporting = false;
  bool allow_any_host = true;
  std::vector<std::string> allowed_hosts{};  // host NQNs
  uint16_t min_cntlid = 1;
  uint16_t max_cntlid = 0xffef;
  std::string ptpl_path{};  // file for reservations that persist through power loss; empty: not capable
  // Rewrites an error status before it is sent, by what the subsystem exports (CRD of nexus and replica; nvmf-target.md
  // section 5).
  nvme::Status (*rewrite_status)(nvme::Status status) = nullptr;
  VendorCommand vendor_command{};
};

class Subsystem;

// Changes of a namespace (reservation, ANA state, removal) come one after the other, each applied to all views before
// it is answered or announced.
class Namespace final : public block::DeviceListener, public std::enable_shared_from_this<Namespace> {
 public:
  // Listens to the device until it is destroyed.
  Namespace(Subsystem& subsystem, uint32_t nsid, std::shared_ptr<block::Device> device);
  ~Namespace();

  uint32_t nsid() const { return nsid_; }
  block::Device& device() { return *device_; }
  std::shared_ptr<block::Device> device_ptr() { return device_; }
  Reservation& reservation() { return reservation_; }
  AnaState ana_state() const { return ana_state_; }
  uint64_t ana_change_count() const { return ana_change_count_; }
  bool removed() const { return removed_; }

  // Executes a reservation command that arrived for `host`: state, file, views, notifications, in this order; then
  // answers. Gives the status. Report fills request.data().
  runtime::Task<nvme::Status> execute_reservation(const HostId& host, Request& request);
  // Set Features, Reservation Persistence.
  runtime::Task<nvme::Status> set_reservation_persistence(bool persist);
  // A new ANA state: applied to all views, then announced.
  runtime::Task<> set_ana_state(AnaState state);
  // What a view that is made now has to know.
  NamespaceView::Decision decision() const;

  void on_resized(block::Device& device) override;
  void on_removed(block::Device& device) override;

 private:
  friend class Subsystem;
  // Of a reservation's change: file, views, notifications. The state before is put back when the file cannot be
  // written.
  runtime::Task<nvme::Status> carry_out(Reservation::Outcome outcome, Reservation::State before);

  Subsystem& subsystem_;
  uint32_t nsid_;
  std::shared_ptr<block::Device> device_;
  Reservation reservation_;
  std::optional<ReservationStore> store_;  // when reservations can persist
  AnaState ana_state_ = AnaState::kOptimized;
  uint64_t ana_change_count_ = 0;
  runtime::Mutex changing_;
  bool removed_ = false;
};

class Subsystem {
 public:
  Subsystem(Target& target, SubsystemOptions options);
  ~Subsystem();  // stopped

  Target& target() { return target_; }
  const SubsystemOptions& options() const { return options_; }
  const std::string& nqn() const { return options_.nqn; }
  // What Identify reports: as configured, or "DCS" and 17 hexadecimal digits of the SHA-256 of the device's uuid
  // (before there is a device: of the name).
  const std::string& serial_number() const { return serial_number_; }

  // Namespaces of a subsystem. More than one would need views and hosts nothing new, only callers that want it.
  static constexpr uint32_t kMaxNamespaces = 1;

  // One namespace, NSID 1. Claims the device ("NVMe-oF Target"); restores reservations from the ptpl file. Errors:
  // device claimed; damaged file or one of another device (named).
  runtime::Task<Result<>> add_namespace(std::shared_ptr<block::Device> device);
  Namespace* find_namespace(uint32_t nsid);
  const std::vector<std::shared_ptr<Namespace>>& namespaces() const { return namespaces_; }

  // Replaces the rule of who may connect. Hosts that are connected and no longer allowed are disconnected.
  void set_allowed_hosts(bool allow_any, std::vector<std::string> hosts);
  bool allows(const std::string& host_nqn) const;

  // A free controller identifier of the configured range, or nothing.
  std::optional<uint16_t> allocate_cntlid();
  std::map<uint16_t, std::shared_ptr<Controller>>& controllers() { return controllers_; }

  // The view of this subsystem on `reactor`, made if missing (opens channels there). Called on the primary reactor; the
  // result is used on `reactor`.
  runtime::Task<Result<std::shared_ptr<SubsystemView>>> view_on(runtime::Reactor& reactor);
  // Views that exist, by reactor.
  struct ReactorView {
    runtime::Reactor* reactor;
    std::shared_ptr<SubsystemView> view;
  };
  const std::vector<ReactorView>& views() const { return views_; }

  // Held by a task that uses the subsystem while it waits for something: stop() waits for it.
  class Use {
   public:
    explicit Use(Subsystem& subsystem) : subsystem_(subsystem) { ++subsystem_.num_uses_; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      --subsystem_.num_uses_;
      subsystem_.use_ended_.pulse();
    }

   private:
    Subsystem& subsystem_;
  };

  // Disconnects all hosts, closes all channels, releases the device. Then the subsystem may be destroyed. I/O under way
  // is waited for; `when_disconnected` runs before that, when no answer reaches a host any more: it may make I/O end
  // that would not.
  runtime::Task<> stop(std::function<runtime::Task<>()> when_disconnected = {});
  bool stopping() const { return stopping_; }

 private:
  friend class Namespace;
  // The rest of add_namespace(), the device is claimed.
  runtime::Task<Result<>> open_namespace(std::shared_ptr<Namespace> added);
  // Refuses I/O, waits for what is executing, closes the channels, releases the device, tells the hosts.
  runtime::Task<> remove_namespace(std::shared_ptr<Namespace> removed);
  // Every view decides about the namespace as it is now, and no I/O admitted before is left.
  runtime::Task<> apply_to_views(Namespace& changed);
  runtime::Task<> remove_from_views(uint32_t nsid);
  void announce_namespace(uint32_t nsid);

  Target& target_;
  SubsystemOptions options_;
  std::set<std::string> allowed_hosts_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::map<uint16_t, std::shared_ptr<Controller>> controllers_;
  std::vector<ReactorView> views_;
  runtime::Mutex views_mutex_;
  std::string serial_number_;
  uint16_t next_cntlid_;
  bool stopping_ = false;
  uint32_t num_uses_ = 0;
  runtime::Event use_ended_;  // pulsed
};

}  // namespace cairn::nvmf::target
