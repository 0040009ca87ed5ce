// A namespace of an NVMe-oF subsystem as a block device: nvmf://host:port/subnqn (nvmf+tcp://...).
//
// On the home reactor: a Controller for each path, and a task that connects it, again and again when it is lost, with a
// back-off that doubles from 100 ms to 5 s. On each reactor with channels: a Lane with the I/O queues. A controller
// that is lost, or one queue of it, is given up as a whole: its queues are closed, its commands are settled
// (Controller::settle), then it is connected anew. When the node of every path has done nothing but refuse that for the
// refusal window, the device is unreachable (Device::unreachable) until one of them is connected.
//
// What I/O gets to see of it: nothing, as long as a path comes back within the retry window. See lane.h.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/device.h"
#include "nvme/reservation.h"
#include "nvmf/host/controller.h"
#include "nvmf/host/lane.h"

namespace cairn::nvmf::host {

struct ReservationStatus {
  struct Holder {
    std::array<uint8_t, 16> host_id{};
    uint64_t key = 0;
    uint16_t cntlid = 0;
    bool holds_reservation = false;
  };
  uint32_t generation = 0;
  nvme::ReservationType type = nvme::ReservationType::kNone;
  bool persists = false;
  std::vector<Holder> registrants;
};

class NvmeDevice final : public block::Device, private Controller::Listener, private Lane::Home {
 public:
  // Connects the first path that answers; the others follow in the background. Errors as Controller::connect.
  static runtime::Task<Result<std::shared_ptr<NvmeDevice>>> open(ConnectionOptions options);

  NvmeDevice(std::unique_ptr<const ConnectionOptions> options, std::vector<std::unique_ptr<Controller>> controllers,
             size_t connected);
  ~NvmeDevice() override;

  bool is_remote() const override { return true; }
  bool has_volatile_cache() const override { return volatile_cache_.load(std::memory_order_acquire); }
  runtime::Task<Result<>> rescan() override;
  runtime::Task<> stop() override;
  // Ends all I/O, for a user who does not wait for it any longer; the removal must have been announced. Returns when no
  // controller executes any of it any more, as far as that can be known (Controller::settle). stop() may follow.
  runtime::Task<> abort_io();

  // Home reactor. Runs whenever a way to the namespace that was lost is there again, before any I/O goes over it but
  // for io_command() and the reservations, for one way at a time: the peer may have been started anew, and not know of
  // reservations any more. `cache_lost`: nor may it have what was acknowledged and not flushed, for its node is not
  // known to have been up all the time. With an error the way is given up and tried again later. Ends when its task is
  // cancelled, which it is when its way is lost again; another way waits until then.
  using ReconnectHook = std::function<runtime::Task<Result<>>(bool cache_lost)>;
  void set_reconnect_hook(ReconnectHook hook) { reconnect_hook_ = std::move(hook); }

  // Home reactor only from here. UNAVAILABLE: no path at present, or the connection was lost with the command, which
  // may have been executed all the same: none of these is sent twice.

  struct PathState {
    std::string address;
    bool connected = false;
    nvme::AnaState ana = nvme::AnaState::kOptimized;
    uint16_t cntlid = 0;
  };
  std::vector<PathState> paths() const;
  bool is_connected() const;  // I/O goes out by one of the paths
  const ConnectionOptions& options() const { return *options_; }
  const NamespaceInfo& namespace_info() const { return namespace_; }

  // Any admin or I/O command, by its entry without CID and SGL, for vendor opcodes and the like. `data` goes where the
  // opcode's lowest bits say; the namespace of an I/O command is filled in.
  runtime::Task<Result<QueuePair::Answer>> admin_command(nvme::Sqe sqe, std::span<std::byte> data = {});
  runtime::Task<Result<QueuePair::Answer>> io_command(nvme::Sqe sqe, std::span<std::byte> data = {});

  runtime::Task<Result<nvme::Status>> register_key(nvme::ReservationRegister command,
                                                   nvme::ReservationRegisterData keys);
  runtime::Task<Result<nvme::Status>> acquire_reservation(nvme::ReservationAcquire command,
                                                          nvme::ReservationAcquireData keys);
  runtime::Task<Result<nvme::Status>> release_reservation(nvme::ReservationRelease command, uint64_t key);
  runtime::Task<Result<ReservationStatus>> report_reservation();

 protected:
  bool supports_natively(block::IoType type) const override;
  runtime::Task<Result<std::unique_ptr<block::Channel>>> make_channel() override;

 private:
  // Work for the task of a path.
  runtime::Task<> end(bool settle);

  struct Path {
    size_t index = 0;
    std::unique_ptr<Controller> controller;
    bool connected = false;  // lanes use it
    bool was_connected = false;
    bool lost = false;
    bool lanes_to_bind = false;
    bool rescan = false;
    bool ana_changed = false;
    bool gone = false;  // has no such namespace any more; lanes do not use it
    nvme::AnaState ana = nvme::AnaState::kOptimized;
    std::optional<TimePoint> refused_since;               // every attempt to connect since then was
    std::vector<std::pair<uint16_t, uint16_t>> to_abort;  // QID, CID
    runtime::Event changed;
    runtime::Event ended;
    runtime::TaskHandle task;
  };

  // Lane::Home and Controller::Listener
  runtime::Reactor& reactor() override { return home(); }
  void on_queue_lost(size_t path) override;
  void on_ana_doubt(size_t path) override;
  void on_slow_command(size_t path, uint16_t qid, uint16_t cid) override;
  void on_controller_lost(Controller& controller, const Error& reason) override;
  void on_namespace_changed(Controller& controller) override;
  void on_ana_changed(Controller& controller) override;
  Path& path_of(const Controller& controller);

  runtime::Task<> run_path(Path& path);
  runtime::Task<> serve_path(Path& path);
  runtime::Task<Result<>> connect_path(Path& path);
  runtime::Task<Result<>> bring_into_use(Path& path);
  runtime::Task<Result<>> look(Path& path, Uuid boot_id);
  runtime::Task<Result<>> run_hook(Uuid boot_id);
  runtime::Task<> abort_slow(Path& path);
  runtime::Task<> give_up(Path& path);
  void note_refusal(Path& path, const Error& error);
  Duration pause_before_retry(const Path& path, Duration back_off) const;
  runtime::Task<> refresh_namespace(Path& path);
  runtime::Task<> refresh_ana(Path& path);
  runtime::Task<> tell_lanes(Path& path);
  void note_gone(Path& path);
  runtime::Task<Result<Lane*>> lane_on(runtime::Reactor& reactor);
  runtime::Task<Result<>> connect_lane(Lane& lane, Path& path);
  Result<> check_same(const NamespaceInfo& found);
  Path* connected_path();

  const std::unique_ptr<const ConnectionOptions> options_;
  const NamespaceInfo namespace_;  // as it was found first; the size is Device's
  std::vector<std::unique_ptr<Path>> paths_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  // Lanes are added, connected and disconnected by one task at a time, which cancelling does not keep from waiting.
  class LanesGuard;
  runtime::Task<LanesGuard> lock_lanes();
  bool lanes_locked_ = false;
  runtime::Event lanes_unlocked_;     // pulsed
  std::atomic<bool> volatile_cache_;  // of any of the controllers
  ReconnectHook reconnect_hook_;
  runtime::Mutex looking_;  // at a way that is there again
  // Of the node: what was lost before is known to the hook, or was before the device was opened. Where ways lead to
  // several nodes it changes with each that is looked at, and the hook hears of a loss too often rather than too
  // seldom.
  Uuid boot_looked_at_;
  bool stopping_ = false;
};

}  // namespace cairn::nvmf::host
