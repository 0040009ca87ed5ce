#include "block/file_device.h"

#include <fmt/format.h>

#include <cerrno>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "block/device_error.h"
#include "block/file_channel.h"
#include "block/registry.h"
#include "runtime/backend.h"
#include "runtime/reactor.h"

namespace cairn::block {

using runtime::FileOptions;
using runtime::Task;

Task<Result<std::shared_ptr<FileDevice>>> FileDevice::open(DeviceIdentity identity, uint32_t block_size) {
  const std::string& path = identity.name;
  runtime::Backend& backend = runtime::Reactor::current().backend();
  auto file = co_await backend.open_file(path, FileOptions{.direct = true, .exclusive = true});
  if (!file) co_return fail(std::move(file.error()));

  auto refused = [&](std::string why) { return fail(Error::from_errno(EINVAL, fmt::format("{}: {}", path, why))); };
  const uint32_t disk_block_size = (*file)->info().logical_block_size;
  if (block_size == 0) block_size = disk_block_size;
  if (block_size != 512 && block_size != 4096) {
    co_return refused(fmt::format("blocks of {} bytes (512 or 4096 are possible)", block_size));
  }
  if ((*file)->info().is_block_device && block_size < disk_block_size) {
    co_return refused(fmt::format("blocks of {} bytes, smaller than the disk's {}", block_size, disk_block_size));
  }
  if ((*file)->info().direct && block_size % (*file)->info().memory_alignment != 0) {
    // Direct I/O could not reach a single block.
    file->reset();
    file = co_await backend.open_file(path, FileOptions{.exclusive = true});
    if (!file) co_return fail(std::move(file.error()));
  }
  const Geometry geometry{.block_size = block_size,
                          .physical_block_size = block_size,
                          .num_blocks = (*file)->info().size_bytes / block_size};
  if (geometry.num_blocks == 0) {
    co_return refused(fmt::format("{} bytes, less than one block", (*file)->info().size_bytes));
  }
  co_return std::make_shared<FileDevice>(std::move(identity), geometry, std::move(*file));
}

FileDevice::FileDevice(DeviceIdentity identity, const Geometry& geometry, std::unique_ptr<runtime::File> control)
    : Device(std::move(identity), geometry),
      direct_(control->info().direct),
      can_unmap_(control->info().can_unmap),
      control_(std::move(control)),
      size_watch_(home().spawn("watch the size of a file device", watch_size())) {}

FileDevice::~FileDevice() {
  CAIRN_CHECK(control_ == nullptr || abandoning());
}

bool FileDevice::supports_natively(IoType type) const {
  switch (type) {
    case IoType::kRead:
    case IoType::kWrite:
    case IoType::kFlush:
    case IoType::kReset:
      return true;
    case IoType::kUnmap:
      return can_unmap_.load(std::memory_order_relaxed);
    case IoType::kWriteZeroes:
      return can_write_zeroes_.load(std::memory_order_relaxed);
    case IoType::kCompare:
    case IoType::kCompareAndWrite:
    case IoType::kCopy:
      return false;
  }
  return false;
}

Task<Result<std::unique_ptr<Channel>>> FileDevice::make_channel() {
  auto self = std::static_pointer_cast<FileDevice>(shared_from_this());
  auto file = co_await runtime::Reactor::current().backend().open_file(name(), FileOptions{.direct = direct_});
  if (!file) co_return fail(std::move(file.error()));
  co_return std::make_unique<FileChannel>(std::move(self), std::move(*file));
}

Task<Result<>> FileDevice::rescan() {
  auto info = co_await control_->refresh();
  if (!info) co_return fail(std::move(info.error()));
  const uint64_t before = num_blocks();
  set_num_blocks(info->size_bytes / block_size());
  if (num_blocks() != before) log::info("bdev '{}': size changed from {} to {} blocks", name(), before, num_blocks());
  co_return Result<>{};
}

Task<> FileDevice::watch_size() {
  bool failing = false;
  while (co_await runtime::sleep_for(kSizeCheckPeriod)) {
    const auto scanned = co_await rescan();
    if (!scanned && !failing) log::warn("bdev '{}': cannot read its size: {}", name(), scanned.error().to_string());
    failing = !scanned;
  }
  size_watch_ended_.set();
}

Task<> FileDevice::stop() {
  size_watch_.cancel();
  static_cast<void>(co_await size_watch_ended_.wait_uninterrupted());
  control_.reset();
}

namespace {

// The name space of the UUIDs that files and disks get when their URI has none.
constexpr Uuid kFileUuids({0x5f, 0x6e, 0x0b, 0x57, 0x9c, 0x1f, 0x4d, 0x0a, 0x8e, 0x2b, 0x61, 0x3d, 0x70, 0xc4, 0xa2,
                           0x19});

struct FileParameters {
  uint32_t block_size = 0;
  std::optional<Uuid> uuid;
  bool rescan = false;
};

Result<FileParameters> parse_parameters(const Uri& uri, bool takes_rescan) {
  auto invalid = [&](std::string_view message) { return fail(device_error::invalid_uri(uri.text(), message)); };
  if (uri.segments().empty() || !uri.path().starts_with('/')) return invalid("no path segments");
  if (uri.decoded_path().find('\0') != std::string::npos) return invalid("the path contains a NUL character");
  UriParameters query(uri);
  FileParameters parameters;
  const auto block_size = query.take_u32("blk_size");
  if (!block_size) return fail(block_size.error());
  parameters.block_size = block_size->value_or(0);
  const auto uuid = query.take_uuid();
  if (!uuid) return fail(uuid.error());
  parameters.uuid = *uuid;
  parameters.rescan = takes_rescan && query.take_presence("rescan");
  if (auto rest = query.finish(); !rest) return fail(std::move(rest.error()));
  return parameters;
}

class FileRequest : public DeviceRequest {
 public:
  FileRequest(std::string path, const FileParameters& parameters, const std::string& node_identity)
      : DeviceRequest(std::move(path)), parameters_(parameters), node_identity_(node_identity) {}

 protected:
  Task<Result<std::shared_ptr<FileDevice>>> open(std::string product_name, std::string driver_name) {
    const Uuid uuid = parameters_.uuid ? *parameters_.uuid : default_uuid(driver_name);
    return FileDevice::open(DeviceIdentity{name(), uuid, std::move(product_name), std::move(driver_name)},
                            parameters_.block_size);
  }

  const FileParameters parameters_;

 private:
  // A host that reconnects after a restart of the process finds the namespace it knows.
  Uuid default_uuid(const std::string& driver_name) const {
    if (node_identity_.empty()) return runtime::Reactor::current().random().uuid();
    return Uuid::of_name(kFileUuids, fmt::format("{}\n{}\n{}", node_identity_, driver_name, name()));
  }

  const std::string node_identity_;
};

class AioRequest final : public FileRequest {
 public:
  using FileRequest::FileRequest;

  Task<Result<std::shared_ptr<Device>>> create() override {
    auto device = co_await open("AIO disk", "aio");
    if (!device) co_return fail(device_error::create_failed(name(), std::move(device.error())));
    co_return std::move(*device);
  }

  Task<Result<>> apply_to_existing(Device& device) override {
    if (!parameters_.rescan) co_return fail(device_error::exists(device.name()));
    auto scanned = co_await device.rescan();
    if (!scanned) co_return fail(device_error::resize_failed(device.name(), std::move(scanned.error())));
    co_return Result<>{};
  }
};

class UringRequest final : public FileRequest {
 public:
  using FileRequest::FileRequest;

  Task<Result<std::shared_ptr<Device>>> create() override {
    auto device = co_await open("URING bdev", "uring");
    if (!device) co_return fail(device_error::not_found(name(), std::move(device.error())));
    co_return std::move(*device);
  }
};

template <typename Request>
Scheme scheme_of(const Registry& registry, std::string driver_name, bool takes_rescan) {
  return {std::move(driver_name), [&registry, takes_rescan](const Uri& uri) -> Result<std::unique_ptr<DeviceRequest>> {
            auto parameters = parse_parameters(uri, takes_rescan);
            if (!parameters) return fail(std::move(parameters.error()));
            return std::make_unique<Request>(uri.decoded_path(), *parameters, registry.node_identity());
          }};
}

}  // namespace

void add_aio_scheme(Registry& registry) {
  registry.add_scheme("aio", scheme_of<AioRequest>(registry, "aio", true));
}
void add_uring_scheme(Registry& registry) {
  registry.add_scheme("uring", scheme_of<UringRequest>(registry, "uring", false));
}

}  // namespace cairn::block
