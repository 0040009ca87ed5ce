// What one reactor knows of a namespace and its subsystem: the channel to the device and copies of the primary
// reactor's decisions (reservation access, ANA state), so that an I/O needs nobody else.
//
// The primary reactor changes a view by running apply() on the view's reactor and waiting for it: when that has
// returned, every I/O that was admitted under the old decision has finished (epochs), so a host that lost its access
// writes nothing more.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "block/device.h"
#include "nvmf/target/request.h"
#include "runtime/reactor.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::target {

using HostId = std::array<uint8_t, 16>;  // 128-bit host identifier

enum class AnaState : uint8_t {
  kOptimized = 1,
  kNonOptimized = 2,
  kInaccessible = 3,
  kPersistentLoss = 4,
  kChange = 15
};

// Which host may do what, derived from the reservation (NVMe Base 2.0, section 8.19, figure "Command Behavior in the
// Presence of a Reservation").
struct AccessTable {
  struct Rights {
    bool read = true;   // read, compare, verify, copy source
    bool write = true;  // write, write zeroes, flush, dataset management, copy destination
  };
  bool reserved = false;  // false: everybody may do everything
  Rights others;          // hosts that are not in `hosts`
  std::map<HostId, Rights> hosts;
  Rights rights_of(const HostId& host) const {
    if (!reserved) return {};
    auto found = hosts.find(host);
    return found == hosts.end() ? others : found->second;
  }
};

class NamespaceView {
 public:
  NamespaceView(uint32_t nsid, std::unique_ptr<block::Channel> channel);
  ~NamespaceView();  // drained

  uint32_t nsid() const { return nsid_; }
  block::Channel& channel() { return *channel_; }
  block::Device& device() { return channel_->device(); }

  // Asked for each I/O.
  AccessTable::Rights rights_of(const HostId& host) const { return access_->rights_of(host); }
  // Changes with every apply() and is never that of another view: lets a queue pair cache its rights. Not 0.
  uint64_t access_version() const { return access_version_; }
  AnaState ana_state() const { return ana_state_; }
  bool removed() const { return removed_; }

  // Every executing I/O is counted in the epoch it was admitted in.
  void enter(Request& request);
  void leave(Request& request);

  struct Decision {
    std::shared_ptr<const AccessTable> access;  // never nullptr
    AnaState ana_state = AnaState::kOptimized;
    bool removed = false;  // I/O is refused with INVALID NAMESPACE
  };
  // On the view's reactor: from now on decides by `decision`; returns when all I/O of before has left, also in a
  // cancelled task. A call waits for the one before it; who needs an order among decisions makes one call at a time.
  runtime::Task<> apply(Decision decision);

 private:
  uint32_t nsid_;
  std::unique_ptr<block::Channel> channel_;
  std::shared_ptr<const AccessTable> access_;
  uint64_t access_version_;
  AnaState ana_state_ = AnaState::kOptimized;
  bool removed_ = false;
  uint32_t epoch_ = 0;
  std::array<uint32_t, 2> in_epoch_{};  // I/O in the present and the previous epoch, by the epoch's lowest bit
  runtime::Event epoch_left_;
  bool applying_ = false;
  runtime::Event applied_;
};

// All namespaces of one subsystem on one reactor, shared by the reactor's I/O queue pairs of that subsystem. Made and
// dropped on the reactor.
class SubsystemView {
 public:
  // nullptr when there is no such namespace here.
  NamespaceView* find(uint32_t nsid) {
    for (auto& view : namespaces_) {
      if (view->nsid() == nsid) return view.get();
    }
    return nullptr;
  }
  void add(std::unique_ptr<NamespaceView> view) { namespaces_.push_back(std::move(view)); }
  // The view must be drained (apply with removed).
  void remove(uint32_t nsid);

 private:
  std::vector<std::unique_ptr<NamespaceView>> namespaces_;
};

}  // namespace cairn::nvmf::target
