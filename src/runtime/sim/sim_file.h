// An open file or block device of a simulated process.
#pragma once

#include <memory>
#include <string>

#include "runtime/file.h"
#include "runtime/sim/file_system.h"

namespace cairn::runtime::sim {

class SimBackend;

class SimFile final : public File {
 public:
  SimFile(SimBackend& backend, std::string path, std::shared_ptr<Inode> inode, const FileOptions& options);
  ~SimFile() override;

  void submit(FileOp& op) override;
  const FileInfo& info() const override { return info_; }
  Task<Result<FileInfo>> refresh() override;
  Task<Result<>> resize(uint64_t size_bytes) override;

  // By the back-end, when an operation ends.
  void ended() { --in_flight_; }

 private:
  int refusal(const FileOp& op) const;

  SimBackend& backend_;
  std::string path_;
  std::shared_ptr<Inode> inode_;
  bool read_only_;
  FileInfo info_;
  size_t in_flight_ = 0;
};

}  // namespace cairn::runtime::sim
