#include "runtime/sim/file_system.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/check.h"
#include "base/crc32c.h"
#include "runtime/sim/node.h"
#include "runtime/sim/sim_backend.h"
#include "runtime/sim/world.h"

namespace cairn::runtime::sim {

namespace {

constexpr TraceEvent kReadEvent("disk.read", "offset", "length", "errno");
constexpr TraceEvent kWriteEvent("disk.write", "offset", "length", "crc");
constexpr TraceEvent kWriteFailed("disk.fail", "offset", "length", "errno");
constexpr TraceEvent kFlushEvent("disk.flush", "errno");
constexpr TraceEvent kUnmapEvent("disk.zero", "offset", "length", "errno");
constexpr TraceEvent kResizeEvent("disk.resize", "size");
constexpr TraceEvent kLostEvent("disk.lost", "offset", "length");
constexpr TraceEvent kMisdirected("disk.misdirect", "offset", "length", "to");
constexpr TraceEvent kInterrupted("disk.interrupt", "offset", "length", "kept");
constexpr TraceEvent kNameEvent("disk.name", "kept", "lost");
constexpr TraceEvent kRotEvent("disk.rot", "offset", "mask");

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

std::vector<std::byte> gather(const FileOp& op) {
  std::vector<std::byte> data;
  data.reserve(op.length);
  for (const iovec& piece : op.pieces) {
    const auto* start = static_cast<const std::byte*>(piece.iov_base);
    data.insert(data.end(), start, start + piece.iov_len);
  }
  return data;
}

}  // namespace

FileSystem::FileSystem(Node& node, const DiskOptions& root, uint64_t seed) : node_(node), random_(seed) {
  disks_.push_back(std::make_unique<Disk>(*this, "root", root, random_.next()));
  names_["/"] = stable_names_["/"] = std::make_shared<Inode>(Inode::Type::kDirectory, root_disk());
}

FileSystem::~FileSystem() {
  while (Operation* operation = operations_.pop_front()) delete operation;
}

std::string FileSystem::normal(const std::string& path) {
  std::string result = (std::filesystem::path("/") / path).lexically_normal().string();
  if (result.size() > 1 && result.back() == '/') result.pop_back();
  return result;
}

FileSystem::InodeRef FileSystem::find(const std::string& path) const {
  const auto found = names_.find(path);
  return found == names_.end() ? nullptr : found->second;
}

// --- names

void FileSystem::apply(Names& names, const NameChange& change) {
  switch (change.kind) {
    case NameChange::Kind::kLink:
      names[change.path] = change.inode;
      return;
    case NameChange::Kind::kUnlink:
      names.erase(change.path);
      return;
    case NameChange::Kind::kRename: {
      auto node = names.extract(change.path);
      if (node.empty()) return;
      names.insert_or_assign(change.to, node.mapped());
      const std::string prefix = change.path + "/";
      for (auto it = names.lower_bound(prefix); it != names.end() && it->first.starts_with(prefix);) {
        InodeRef inode = it->second;
        std::string moved = change.to + "/" + it->first.substr(prefix.size());
        it = names.erase(it);
        names.insert_or_assign(std::move(moved), std::move(inode));
      }
      return;
    }
  }
}

void FileSystem::change_names(NameChange change) {
  apply(names_, change);
  if (change.kind == NameChange::Kind::kLink) change.inode->last_link = journal_start_ + journal_.size();
  journal_.push_back(std::move(change));
}

void FileSystem::commit_names(uint64_t until) {
  size_t count = 0;
  while (count < journal_.size() && journal_start_ + count <= until) apply(stable_names_, journal_[count++]);
  journal_.erase(journal_.begin(), journal_.begin() + static_cast<ptrdiff_t>(count));
  journal_start_ += count;
}

int FileSystem::make_parent(const std::string& path) const {
  const InodeRef parent = find(parent_of(path));
  if (parent == nullptr) return -ENOENT;
  return parent->type == Inode::Type::kDirectory ? 0 : -ENOTDIR;
}

FileSystem::Opened FileSystem::open(const std::string& path, const FileOptions& options) {
  InodeRef inode = find(path);
  if (inode == nullptr) {
    if (!options.create) return {-ENOENT, nullptr};
    if (const int error = make_parent(path)) return {error, nullptr};
    inode = std::make_shared<Inode>(Inode::Type::kFile, root_disk());
    change_names({NameChange::Kind::kLink, path, {}, inode});
  }
  if (inode->type == Inode::Type::kDirectory) return {-EISDIR, nullptr};
  if (options.exclusive && inode->in_use) return {-EBUSY, nullptr};
  if (options.truncate && inode->type == Inode::Type::kFile) resize(*inode, path, 0);
  return {0, std::move(inode)};
}

int FileSystem::rename(const std::string& from, const std::string& to) {
  const InodeRef source = find(from);
  if (source == nullptr) return -ENOENT;
  if (const int error = make_parent(to)) return error;
  if (to.starts_with(from + "/")) return -EINVAL;
  if (const InodeRef target = find(to); target != nullptr && target != source) {
    const bool from_directory = source->type == Inode::Type::kDirectory;
    const bool to_directory = target->type == Inode::Type::kDirectory;
    if (from_directory != to_directory) return to_directory ? -EISDIR : -ENOTDIR;
    if (to_directory && !list(to + "/").empty()) return -ENOTEMPTY;
  }
  if (from != to) change_names({NameChange::Kind::kRename, from, to, nullptr});
  return 0;
}

void FileSystem::commit_all_names() {
  commit_names(journal_start_ + journal_.size());
}

int FileSystem::remove(const std::string& path) {
  const InodeRef inode = find(path);
  if (inode == nullptr) return -ENOENT;
  if (inode->type == Inode::Type::kDirectory) return -EISDIR;
  change_names({NameChange::Kind::kUnlink, path, {}, nullptr});
  return 0;
}

int FileSystem::make_directories(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    const InodeRef inode = find(part);
    if (inode == nullptr) {
      change_names({NameChange::Kind::kLink, part, {}, std::make_shared<Inode>(Inode::Type::kDirectory, root_disk())});
    } else if (inode->type != Inode::Type::kDirectory) {
      return end == std::string::npos ? -EEXIST : -ENOTDIR;
    }
    if (end == std::string::npos) return 0;
  }
}

// --- for the author of a world

Disk& FileSystem::add_block_device(const std::string& path, const BlockDeviceOptions& options) {
  const std::string name = normal(path);
  CAIRN_CHECK(find(name) == nullptr);
  CAIRN_CHECK(make_directories(parent_of(name)) == 0);
  disks_.push_back(std::make_unique<Disk>(*this, name, options.disk, random_.next()));
  const auto inode = std::make_shared<Inode>(Inode::Type::kBlockDevice, *disks_.back());
  inode->logical_block_size = options.logical_block_size;
  inode->in_use = options.in_use;
  inode->store.resize(options.size_bytes);
  inode->store.make_stable(inode->store.mark());
  change_names({NameChange::Kind::kLink, name, {}, inode});
  commit_all_names();
  return *disks_.back();
}

Disk& FileSystem::disk_of(const std::string& path) {
  const InodeRef inode = find(normal(path));
  CAIRN_CHECK(inode != nullptr);
  return inode->disk;
}

void FileSystem::fail_reads(const std::string& path, uint64_t offset, uint64_t length) {
  const InodeRef inode = find(normal(path));
  CAIRN_CHECK(inode != nullptr && length > 0);
  clear_bad(*inode, offset, length);
  inode->bad[offset] = offset + length;
}

void FileSystem::mend_reads(const std::string& path) {
  const InodeRef inode = find(normal(path));
  CAIRN_CHECK(inode != nullptr);
  inode->bad.clear();
}

void FileSystem::flip_bits(const std::string& path, uint64_t offset, std::byte mask) {
  const InodeRef inode = find(normal(path));
  CAIRN_CHECK(inode != nullptr && offset < inode->store.size());
  const uint64_t before = inode->store.allocated_bytes();
  inode->store.rot(offset, mask);
  inode->disk.used_bytes_ += inode->store.allocated_bytes() - before;
  node_.trace(kRotEvent, normal(path), offset, static_cast<uint64_t>(mask));
}

std::optional<std::vector<std::byte>> FileSystem::content(const std::string& path) const {
  const InodeRef inode = find(normal(path));
  if (inode == nullptr) return std::nullopt;
  std::vector<std::byte> bytes(inode->store.size());
  inode->store.read(0, bytes);
  return bytes;
}

void FileSystem::read_content(const std::string& path, uint64_t offset, std::span<std::byte> into) const {
  const InodeRef inode = find(normal(path));
  CAIRN_CHECK(inode != nullptr && offset + into.size() <= inode->store.size());
  inode->store.read(offset, into);
}

void FileSystem::resize_device(const std::string& path, uint64_t size_bytes) {
  const InodeRef inode = find(normal(path));
  CAIRN_CHECK(inode != nullptr && inode->type == Inode::Type::kBlockDevice);
  inode->store.resize(size_bytes);
  inode->store.make_stable(inode->store.mark());
}

void FileSystem::put_content(const std::string& path, std::span<const std::byte> bytes) {
  const std::string name = normal(path);
  CAIRN_CHECK(make_directories(parent_of(name)) == 0);
  Opened opened = open(name, {.create = true, .truncate = true});
  CAIRN_CHECK(opened.error == 0);
  VolatileStore& store = opened.inode->store;
  const uint64_t before = store.allocated_bytes();
  store.write(0, {bytes.begin(), bytes.end()});
  store.make_stable(store.mark());
  opened.inode->disk.used_bytes_ += store.allocated_bytes() - before;
  commit_all_names();
}

std::vector<std::string> FileSystem::list(std::string_view prefix) const {
  std::vector<std::string> found;
  for (auto it = names_.lower_bound(std::string(prefix)); it != names_.end() && it->first.starts_with(prefix); ++it) {
    found.push_back(it->first);
  }
  return found;
}

void FileSystem::clear_bad(Inode& inode, uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  auto it = inode.bad.lower_bound(offset);
  if (it != inode.bad.begin()) --it;
  while (it != inode.bad.end() && it->first < end) {
    const auto [start, stop] = *it;
    if (stop <= offset) {
      ++it;
      continue;
    }
    it = inode.bad.erase(it);
    if (start < offset) inode.bad[start] = offset;
    if (stop > end) it = inode.bad.emplace(end, stop).first;
  }
}

// --- operations

int FileSystem::resize(Inode& inode, const std::string& path, uint64_t size) {
  if (inode.type == Inode::Type::kBlockDevice) return -EINVAL;
  const uint64_t before = inode.store.allocated_bytes();
  inode.store.resize(size);
  inode.disk.used_bytes_ += inode.store.allocated_bytes() - before;
  node_.trace(kResizeEvent, path, size);
  return 0;
}

void FileSystem::submit(SimBackend& backend, const InodeRef& inode, const std::string& path, FileOp& op) {
  auto* operation = new Operation;
  operation->op = &op;
  operation->backend = &backend;
  operation->inode = inode;
  operation->path = path;
  operation->mark = inode->store.mark();
  operations_.push_back(*operation);
  operation->event =
      node_.world().schedule(inode->disk.latency(op.kind, op.length), [this, operation] { finish(*operation); });
}

void FileSystem::finish(Operation& operation) {
  if (operation.inode->disk.faults().hang) {
    operation.held = true;
    return;
  }
  const int64_t result = perform(operation);
  if (result < 0) ++operation.inode->disk.counters_.failed;
  operation.unlink();
  operation.backend->complete(*operation.op, result);
  delete &operation;
}

void FileSystem::release_held(Disk& disk) {
  for (Operation* operation = operations_.first(); operation != nullptr; operation = operations_.next(*operation)) {
    if (&operation->inode->disk != &disk || !std::exchange(operation->held, false)) continue;
    operation->event = node_.world().schedule(disk.latency(operation->op->kind, operation->op->length),
                                              [this, operation] { finish(*operation); });
  }
}

int64_t FileSystem::perform(Operation& operation) {
  FileOp& op = *operation.op;
  Inode& inode = *operation.inode;
  const uint64_t size = inode.store.size();
  const uint64_t inside = op.offset >= size ? 0 : std::min(op.length, size - op.offset);
  const int error = inode.disk.draw_error(op.kind);
  switch (op.kind) {
    case FileOp::Kind::kRead: {
      int64_t result = error;
      if (error == 0) {
        auto bad = inode.bad.lower_bound(op.offset + inside);
        result = bad != inode.bad.begin() && std::prev(bad)->second > op.offset ? -EIO : static_cast<int64_t>(inside);
      }
      if (result > 0) {
        uint64_t done = 0;
        for (const iovec& piece : op.pieces) {
          const uint64_t part = std::min<uint64_t>(piece.iov_len, inside - done);
          inode.store.read(op.offset + done, {static_cast<std::byte*>(piece.iov_base), part});
          done += part;
        }
      }
      node_.trace(kReadEvent, operation.path, op.offset, op.length, result < 0 ? static_cast<uint64_t>(-result) : 0);
      return result;
    }
    case FileOp::Kind::kWrite: {
      const uint64_t length = inode.type == Inode::Type::kBlockDevice ? inside : op.length;
      const uint64_t capacity = inode.disk.options().capacity_bytes;
      int64_t result = error;
      if (result == 0 && length == 0 && op.length > 0) result = -ENOSPC;
      if (result == 0 && inode.type == Inode::Type::kFile && capacity > 0 &&
          inode.disk.used_bytes_ + inode.store.missing_bytes(op.offset, length) > capacity) {
        result = -ENOSPC;
      }
      if (result == 0) return perform_write(operation, length);
      if (error != 0 && inode.disk.faults().dirty_errors) perform_in_part(operation, inode.disk.random_);
      node_.trace(kWriteFailed, operation.path, op.offset, op.length, static_cast<uint64_t>(-result));
      return result;
    }
    case FileOp::Kind::kFlush:
      if (error == 0) {
        inode.store.make_stable(operation.mark);
        commit_names(inode.last_link);
      }
      node_.trace(kFlushEvent, operation.path, static_cast<uint64_t>(-error));
      return error;
    case FileOp::Kind::kUnmap:
    case FileOp::Kind::kWriteZeroes:
      node_.trace(kUnmapEvent, operation.path, op.offset, op.length, static_cast<uint64_t>(-error));
      if (error != 0) {
        if (inode.disk.faults().dirty_errors) perform_in_part(operation, inode.disk.random_);
        return error;
      }
      const uint64_t before = inode.store.allocated_bytes();
      // Zeroes may be written beyond the end of a file, as fallocate does; holes are only punched inside.
      if (op.kind == FileOp::Kind::kWriteZeroes && inode.type == Inode::Type::kFile && op.offset + op.length > size) {
        inode.store.resize(op.offset + op.length);
        inode.store.zero(op.offset, op.length);
      } else if (inside > 0) {
        inode.store.zero(op.offset, inside);
      }
      inode.disk.used_bytes_ += inode.store.allocated_bytes() - before;
      clear_bad(inode, op.offset, op.length);
      return 0;
  }
  return -EINVAL;
}

int64_t FileSystem::perform_write(Operation& operation, uint64_t length) {
  Inode& inode = *operation.inode;
  Disk& disk = inode.disk;
  std::vector<std::byte> data = gather(*operation.op);
  data.resize(length);
  uint64_t offset = operation.op->offset;
  const auto one_in = [&](uint32_t n) { return n != 0 && disk.random_.one_in(n); };
  if (one_in(disk.faults().lose_write_one_in)) {
    ++disk.counters_.lost_writes;
    node_.trace(kLostEvent, operation.path, offset, length);
    return static_cast<int64_t>(length);
  }
  if (one_in(disk.faults().misdirect_write_one_in) && inode.store.size() > length) {
    const uint64_t block = inode.logical_block_size;
    offset = disk.faults().misdirect_to.value_or(disk.random_.below((inode.store.size() - length) / block + 1) * block);
    ++disk.counters_.misdirected_writes;
    node_.trace(kMisdirected, operation.path, operation.op->offset, length, offset);
  }
  const uint64_t before = inode.store.allocated_bytes();
  const uint32_t crc = crc32c(data);
  inode.store.write(offset, std::move(data));
  inode.store.write_back(disk.options().max_unflushed_bytes);
  disk.used_bytes_ += inode.store.allocated_bytes() - before;
  clear_bad(inode, offset, length);
  node_.trace(kWriteEvent, operation.path, offset, length, crc);
  return static_cast<int64_t>(length);
}

// --- crashes

// An operation whose process or machine died.
void FileSystem::interrupt(Operation& operation) {
  perform_in_part(operation, random_);
  operation.unlink();
  delete &operation;
}

// What writes or zeroes, and did not end well, may have happened all the same, whole or up to some place.
void FileSystem::perform_in_part(const Operation& operation, Random& random) {
  const FileOp& op = *operation.op;
  Inode& inode = *operation.inode;
  if (op.kind == FileOp::Kind::kRead || op.kind == FileOp::Kind::kFlush || op.length == 0 || random.one_in(3)) return;
  const bool writes = op.kind == FileOp::Kind::kWrite;
  const uint32_t unit = inode.disk.options().tear_unit;
  uint64_t length = op.length;
  if (inode.type == Inode::Type::kBlockDevice || !writes) {
    length = op.offset >= inode.store.size() ? 0 : std::min(length, inode.store.size() - op.offset);
  }
  uint64_t kept = length;
  if (random.one_in(2)) {
    const uint64_t end_unit = (op.offset + random.below(length + 1)) / unit * unit;
    kept = end_unit > op.offset ? end_unit - op.offset : 0;
  }
  const uint64_t before = inode.store.allocated_bytes();
  if (kept > 0 && writes) {
    std::vector<std::byte> data = gather(op);
    data.resize(kept);
    inode.store.write(op.offset, std::move(data));
  } else if (kept > 0) {
    inode.store.zero(op.offset, kept);
  }
  inode.disk.used_bytes_ += inode.store.allocated_bytes() - before;
  node_.trace(kInterrupted, operation.path, op.offset, op.length, kept);
}

void FileSystem::crash(CrashKind kind) {
  while (Operation* operation = operations_.first()) interrupt(*operation);
  if (kind == CrashKind::kKill) return;

  const size_t kept = random_.below(journal_.size() + 1);
  const size_t lost = journal_.size() - kept;
  if (kept + lost > 0) node_.trace(kNameEvent, "journal", kept, lost);
  commit_names(journal_start_ + kept - 1);
  journal_start_ += lost;
  journal_.clear();
  names_ = stable_names_;
  // By name, so that every run draws in the same order; a file has one name.
  for (const auto& [path, inode] : names_) {
    if (inode->type == Inode::Type::kDirectory) continue;
    const uint64_t before = inode->store.allocated_bytes();
    inode->store.lose_power(random_,
                            std::max(inode->disk.options().tear_unit,
                                     inode->type == Inode::Type::kBlockDevice ? inode->logical_block_size : 1));
    inode->disk.used_bytes_ += inode->store.allocated_bytes() - before;
  }
}

}  // namespace cairn::runtime::sim
