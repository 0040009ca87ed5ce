// The features of a controller that are plain values (NVMe Base 2.0, section 5.27.1). What a feature does beyond
// being kept is the controller's business (features.cc has both commands). Primary reactor, except the atomics.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>

#include "nvme/admin_command.h"
#include "nvme/feature.h"

namespace cairn::nvmf::target {

enum class FeatureScope : uint8_t { kController, kNamespace };

struct FeatureDescription {
  nvme::FeatureId id;
  FeatureScope scope;
  bool changeable;
  bool on_discovery;  // discovery controllers have it too
};

// nullptr when the target has no such feature.
const FeatureDescription* find_feature(uint8_t fid);

struct FeatureValues {
  uint32_t arbitration = 0;
  uint32_t power_management = 0;
  uint16_t over_temperature = 0xffff;  // kelvin: never
  uint16_t under_temperature = 0;
  uint32_t error_recovery = 0;
  uint32_t volatile_write_cache = nvme::kVolatileWriteCacheEnable;
  uint32_t write_atomicity = 0;
  nvme::HostBehavior host_behavior;
  std::map<uint32_t, uint32_t> reservation_mask;  // by namespace; missing: 0
};

class Features {
 public:
  FeatureValues values;

  // Controller Level Reset: everything back to its default.
  void reset();

  // Any reactor.
  bool retry_delay_enabled() const { return retry_delay_enabled_.load(std::memory_order_relaxed); }
  bool write_through() const { return write_through_.load(std::memory_order_relaxed); }
  // After a change of `values`: what other reactors ask for.
  void publish();

 private:
  std::atomic<bool> retry_delay_enabled_{false};
  std::atomic<bool> write_through_{false};
};

// How many bytes Get Features or Set Features of this feature moves.
uint32_t feature_data_size(const nvme::GetFeatures& command);
uint32_t feature_data_size(const nvme::SetFeatures& command);

}  // namespace cairn::nvmf::target
