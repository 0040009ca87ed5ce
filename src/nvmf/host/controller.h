// One association with an NVMe-oF controller, seen from its admin queue: connecting, what the controller and its
// namespace are, keep-alive, asynchronous events, log pages, Abort. Home reactor of the device.
//
//   new / disconnected --connect()--> connected --admin connection ends--> lost
//   connected, lost --disconnect()--> disconnected
// connect() and disconnect() by one task at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/uuid.h"
#include "nvme/identify.h"
#include "nvme/identify_controller.h"
#include "nvme/identify_namespace.h"
#include "nvme/log_page.h"
#include "nvme/property.h"
#include "nvmf/host/connection_options.h"
#include "nvmf/host/queue_pair.h"

namespace cairn::nvmf::host {

// The namespace and what can be done with it, as a controller tells.
struct NamespaceInfo {
  uint32_t nsid = 0;
  Uuid uuid;  // or its NGUID, or one made of its EUI64, or nil
  uint64_t num_blocks = 0;
  uint32_t block_size = 0;
  uint32_t physical_block_size = 0;
  uint32_t optimal_io_boundary = 0;  // blocks, 0: none
  uint32_t ana_group = 0;
  uint32_t max_transfer_blocks = 0;      // of a command with data
  uint32_t max_write_zeroes_blocks = 0;  // 0: not supported
  uint32_t max_copy_blocks = 0;          // of a command with one range; 0: not supported
  uint32_t max_fused_blocks = 0;         // of Compare and Write; 0: not supported
  bool compare = false;
  bool unmap = false;
  bool write_zeroes_may_deallocate = false;
  bool volatile_cache = false;
  bool persistent_reservations = false;  // can keep them through a power loss
};

struct ControllerInfo {
  std::string serial_number, model, firmware;
  uint16_t cntlid = 0;
  uint16_t max_queue_entries = 0;  // CAP.MQES, MAXCMD
  uint16_t num_io_queues = 0;      // that may be connected
  uint32_t max_capsule_data = 0;   // of I/O queues
  bool ana = false;
  bool reservations = false;
  uint32_t max_ana_groups = 0;
  uint8_t async_events = 0;
  Uuid boot_id{};  // of its node (nvme::IdentifyController::boot_id); nil: not known
};

class Controller final : private QueuePair::Owner {
 public:
  class Listener {
   public:
    virtual void on_controller_lost(Controller& controller, const Error& reason) = 0;
    // Attributes, size or presence of the namespace have changed.
    virtual void on_namespace_changed(Controller& controller) = 0;
    virtual void on_ana_changed(Controller& controller) = 0;

   protected:
    ~Listener() = default;
  };

  Controller(const ConnectionOptions& options, PathAddress path);
  ~Controller();  // disconnected

  // Finds the address, connects and enables the controller, identifies it and its namespace. On an error nothing is
  // left. UNAVAILABLE, DEADLINE_EXCEEDED and so on: not at present. FAILED_PRECONDITION: what is there cannot be used.
  runtime::Task<Result<>> connect();
  // Ends the association: an orderly shutdown of the controller when `orderly` and it answers, then the connection.
  // Every I/O queue is closed already.
  runtime::Task<> disconnect(bool orderly);
  // Makes sure that the controller executes none of the commands that were lost with their I/O queues: disables it, or
  // when it does not answer, waits until it must have missed its keep-alives. A peer that has closed the connection
  // itself is not waited for when there is this one path, and Connect is known to wait there for what was sent before.
  // False: that cannot be known, or the wait was cancelled. May be called again, after disconnect() as well.
  runtime::Task<bool> settle();

  void set_listener(Listener& listener) { listener_ = &listener; }
  bool connected() const { return admin_ != nullptr && admin_->is_open(); }
  const PathAddress& path() const { return path_; }
  const runtime::SocketAddress& address() const { return address_; }
  const ControllerInfo& info() const { return info_; }
  const NamespaceInfo& namespace_info() const { return namespace_; }
  // The last connect() failed for there being none.
  bool namespace_missing() const { return namespace_missing_; }
  // Of this association, for Connect of I/O queues.
  nvme::ConnectData connect_data() const;

  // Asks again for the namespace: NOT_FOUND when it is gone.
  runtime::Task<Result<NamespaceInfo>> identify_namespace();
  // Of the namespace's group. kOptimized when the controller does not report ANA.
  runtime::Task<Result<nvme::AnaState>> read_ana_state();
  // Best effort.
  runtime::Task<> abort(uint16_t sqid, uint16_t cid);
  // Any admin command. `data` goes in the direction that the opcode says.
  runtime::Task<Result<QueuePair::Answer>> run(nvme::Sqe sqe, std::span<std::byte> data);

 private:
  bool on_timeout(QueuePair& queue, uint16_t cid) override;
  void on_closed(QueuePair& queue, const Error& reason) override;

  runtime::Task<Result<>> try_connect();
  runtime::Task<Result<>> open_admin_queue();
  runtime::Task<Result<>> enable();
  runtime::Task<Result<>> identify_controller();
  runtime::Task<Result<>> set_features();
  runtime::Task<Result<uint64_t>> get_property(nvme::Property property);
  runtime::Task<Result<>> set_property(nvme::Property property, uint64_t value);
  runtime::Task<Result<>> wait_for_status(bool ready, Duration limit);
  runtime::Task<Result<>> identify(nvme::Cns cns, uint32_t nsid, uint8_t csi, std::span<std::byte> out);
  runtime::Task<Result<>> read_log(nvme::LogPageId page, std::span<std::byte> out);
  runtime::Task<Result<Uuid>> identify_uuid(const nvme::IdentifyNamespace& ns, uint32_t nsid);
  runtime::Task<> send_keep_alive();
  runtime::Task<> watch_events();
  runtime::Task<> handle_event(uint32_t dw0);
  runtime::Task<TimePoint> end_commands();
  void begin_background();

  const ConnectionOptions& options_;
  const PathAddress path_;
  Listener* listener_ = nullptr;
  runtime::SocketAddress address_;
  std::unique_ptr<QueuePair> admin_;
  ControllerInfo info_;
  NamespaceInfo namespace_;
  nvme::ControllerCapabilities capabilities_;
  uint8_t max_transfer_shift_ = 0;  // MDTS
  uint16_t oncs_ = 0;
  uint16_t acwu_ = 0;
  bool fused_ = false;
  bool volatile_cache_ = false;
  uint32_t write_zeroes_limit_bytes_ = 0;
  Duration kas_{};
  Duration limit_{};           // of admin commands, at present
  std::optional<Error> lost_;  // why the admin connection ended
  bool announced_ = false;     // connected: its loss is told to the listener
  TimePoint lost_at_{};        // and when
  TimePoint settled_at_{};     // when its commands are over; kNever: unknown
  bool predecessors_end_ = false;
  bool namespace_missing_ = false;

  runtime::TaskHandle keep_alive_task_, event_task_;
  size_t num_background_ = 0;
  runtime::Event background_ended_;
};

}  // namespace cairn::nvmf::host
