// The files and block devices of a simulated node: names, content, and what a crash makes of both. Outlives the node's
// processes.
//
// Content lives in a VolatileStore: flush makes it stable. Names follow an ordered journal: creations and removals are
// kept in memory and reach the medium in their order, at the latest when a rename returns or a file they concern is
// flushed; a power loss keeps a random prefix of those that did not. A killed process loses nothing that had completed;
// what was in flight happens whole, in part or not at all.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/sim/disk.h"
#include "runtime/sim/event_queue.h"
#include "runtime/sim/volatile_store.h"

namespace cairn::runtime::sim {

class Node;
class SimBackend;

enum class CrashKind : uint8_t {
  kKill,       // the process dies (kill -9); the kernel and its caches live on
  kPowerLoss,  // the machine dies with everything volatile
};

struct BlockDeviceOptions {
  uint64_t size_bytes = uint64_t{1} << 30;
  uint32_t logical_block_size = 512;
  bool in_use = false;    // by the kernel: exclusive opens fail with EBUSY
  DiskOptions disk = {};  // capacity_bytes and direct_alignment do not matter: size and logical block size rule
};

// A file, a directory or a device.
struct Inode {
  enum class Type : uint8_t { kFile, kDirectory, kBlockDevice };

  Inode(Type type, Disk& disk) : type(type), disk(disk) {}
  Inode(const Inode&) = delete;
  Inode& operator=(const Inode&) = delete;
  ~Inode() { disk.used_bytes_ -= store.allocated_bytes(); }

  Type type;
  Disk& disk;
  VolatileStore store;
  uint32_t logical_block_size = 512;
  bool in_use = false;
  uint64_t last_link = 0;            // position in the journal of its creation
  std::map<uint64_t, uint64_t> bad;  // unreadable ranges: start -> end
};

class FileSystem {
 public:
  FileSystem(Node& node, const DiskOptions& root, uint64_t seed);
  ~FileSystem();

  // --- for the author of a simulated world
  Disk& root_disk() { return *disks_.front(); }
  // `path`: where it appears, like "/dev/sda". Its directories are made.
  Disk& add_block_device(const std::string& path, const BlockDeviceOptions& options);
  // Any path on it.
  Disk& disk_of(const std::string& path);
  // Reads that touch [offset, offset+length) fail with EIO until all of the bad range was written again.
  void fail_reads(const std::string& path, uint64_t offset, uint64_t length);
  // All of the file can be read again, with what it held before.
  void mend_reads(const std::string& path);
  // Latent damage on the medium: nobody is told.
  void flip_bits(const std::string& path, uint64_t offset, std::byte mask);
  bool exists(const std::string& path) const { return names_.contains(path); }
  // What a program would read now; nothing when there is no such file.
  std::optional<std::vector<std::byte>> content(const std::string& path) const;
  // A part of it; the file reaches so far.
  void read_content(const std::string& path, uint64_t offset, std::span<std::byte> into) const;
  // Another size for a block device (a grown LUN), at once and with everything on it stable.
  void resize_device(const std::string& path, uint64_t size_bytes);
  void put_content(const std::string& path, std::span<const std::byte> bytes);  // a stable file, its directories too
  std::vector<std::string> list(std::string_view prefix) const;

  // --- for the back-end; errors are -errno
  using InodeRef = std::shared_ptr<Inode>;
  struct Opened {
    int error = 0;
    InodeRef inode;
  };
  Opened open(const std::string& path, const FileOptions& options);
  int rename(const std::string& from, const std::string& to);  // at once; stable with commit_all_names()
  void commit_all_names();
  int remove(const std::string& path);
  int make_directories(const std::string& path);
  int resize(Inode& inode, const std::string& path, uint64_t size);
  Duration metadata_latency(Disk& disk) { return disk.options().metadata.draw(random_) * disk.faults().slow_factor; }
  // `path` for the trace.
  void submit(SimBackend& backend, const InodeRef& inode, const std::string& path, FileOp& op);

  void crash(CrashKind kind);
  void release_held(Disk& disk);
  static std::string normal(const std::string& path);

 private:
  using Names = std::map<std::string, InodeRef>;
  struct NameChange {
    enum class Kind : uint8_t { kLink, kUnlink, kRename } kind;
    std::string path;
    std::string to;
    InodeRef inode;
  };
  struct Operation : ListLink<> {
    FileOp* op = nullptr;
    SimBackend* backend = nullptr;
    InodeRef inode;
    std::string path;
    uint64_t mark = 0;
    bool held = false;
    ScheduledEvent event;
  };

  static void apply(Names& names, const NameChange& change);
  void change_names(NameChange change);
  void commit_names(uint64_t until);
  int make_parent(const std::string& path) const;
  void finish(Operation& operation);
  int64_t perform(Operation& operation);
  int64_t perform_write(Operation& operation, uint64_t length);
  void interrupt(Operation& operation);
  void perform_in_part(const Operation& operation, Random& random);
  void clear_bad(Inode& inode, uint64_t offset, uint64_t length);
  InodeRef find(const std::string& path) const;

  Node& node_;
  Random random_;
  std::vector<std::unique_ptr<Disk>> disks_;
  Names names_;
  Names stable_names_;
  std::vector<NameChange> journal_;      // not yet stable
  uint64_t journal_start_ = 1;           // position of journal_[0]
  IntrusiveList<Operation> operations_;  // in flight, in the order of submission
};

}  // namespace cairn::runtime::sim
