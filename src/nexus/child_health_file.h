// Health records as files of one machine: <directory>/<key>.json, replaced as a whole. What cannot be in a file's name
// stands there as %XX.
#pragma once

#include "nexus/child_health.h"

namespace cairn::nexus {

class ChildHealthFile final : public ChildHealthStore {
 public:
  explicit ChildHealthFile(std::string directory) : directory_(std::move(directory)) {}

  // INVALID_ARGUMENT: a key that is empty or too long for a file's name.
  runtime::Task<Result<>> save(std::string key, HealthRecord record) override;
  // NOT_FOUND, DATA_LOSS. On any reactor.
  runtime::Task<Result<HealthRecord>> load(std::string key) const;

 private:
  static constexpr size_t kMaxBytes = size_t{1} << 20;
  static constexpr size_t kMaxNameBytes = 240;  // of 255, for suffixes
  Result<std::string> path_of(const std::string& key) const;
  const std::string directory_;
};

}  // namespace cairn::nexus
