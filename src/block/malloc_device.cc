#include "block/malloc_device.h"

#include <fmt/format.h>

#include <limits>

#include "block/device.h"
#include "block/device_error.h"
#include "block/malloc_memory.h"
#include "block/registry.h"
#include "runtime/reactor.h"

namespace cairn::block {

using runtime::Task;

namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class MallocDevice final : public Device {
 public:
  MallocDevice(DeviceIdentity identity, const Geometry& geometry, std::unique_ptr<MallocMemory> memory)
      : Device(std::move(identity), geometry), memory_(std::move(memory)) {}

  MallocMemory& memory() { return *memory_; }

  Result<> resize(uint64_t num_blocks) {
    const bool grows = num_blocks > this->num_blocks();
    // Nobody may reach blocks that have no memory yet, or that are being given up.
    if (!grows) set_num_blocks(num_blocks);
    if (auto resized = memory_->resize(num_blocks * block_size()); !resized) return resized;
    if (grows) set_num_blocks(num_blocks);
    return {};
  }

  bool has_volatile_cache() const override { return false; }
  std::span<const std::byte> readable_memory(uint64_t lba, uint64_t num_blocks) override {
    return memory_->view(lba * block_size(), num_blocks * block_size());
  }
  Task<Result<>> rescan() override { co_return Result<>{}; }
  Task<> stop() override { co_return; }

 protected:
  bool supports_natively(IoType) const override { return true; }
  Task<Result<std::unique_ptr<Channel>>> make_channel() override;

 private:
  std::unique_ptr<MallocMemory> memory_;
};

class MallocChannel final : public Channel {
 public:
  explicit MallocChannel(std::shared_ptr<Device> device)
      : Channel(std::move(device)), memory_(static_cast<MallocDevice&>(Channel::device()).memory()) {}

 protected:
  void start(Io& io) override { finish(io, run(io)); }

 private:
  nvme::Status run(Io& io) {
    constexpr nvme::Status kMiscompare = nvme::Status::media(nvme::MediaStatus::kCompareFailure, nvme::Dnr::kYes);
    const uint64_t offset = io.lba * device().block_size();
    const uint64_t size = io.num_blocks * device().block_size();
    switch (io.type) {
      case IoType::kRead:
        memory_.read(offset, size, io.data);
        break;
      case IoType::kWrite:
        memory_.write(offset, size, io.data);
        break;
      case IoType::kUnmap:
      case IoType::kWriteZeroes:
        memory_.erase(offset, size);
        break;
      case IoType::kCompare:
        return memory_.equals(offset, size, io.data) ? nvme::Status::success() : kMiscompare;
      case IoType::kCompareAndWrite:
        return memory_.compare_and_write(offset, size, io.data, io.write_data) ? nvme::Status::success() : kMiscompare;
      case IoType::kCopy:
        memory_.copy(offset, io.source_lba * device().block_size(), size);
        break;
      case IoType::kFlush:
      case IoType::kReset:
        break;
    }
    return nvme::Status::success();
  }

  MallocMemory& memory_;
};

Task<Result<std::unique_ptr<Channel>>> MallocDevice::make_channel() {
  co_return std::make_unique<MallocChannel>(shared_from_this());
}

struct MallocParameters {
  uint32_t block_size = 512;
  uint64_t size_bytes = 0;
  std::optional<Uuid> uuid;
  bool resize = false;
};

class MallocRequest final : public DeviceRequest {
 public:
  MallocRequest(std::string name, const MallocParameters& parameters)
      : DeviceRequest(std::move(name)), parameters_(parameters) {}

  Task<Result<std::shared_ptr<Device>>> create() override {
    auto memory = std::make_unique<MallocMemory>();
    if (auto sized = memory->resize(parameters_.size_bytes); !sized) {
      co_return fail(device_error::create_failed(name(), std::move(sized.error())));
    }
    const Uuid uuid = parameters_.uuid ? *parameters_.uuid : runtime::Reactor::current().random().uuid();
    const Geometry geometry{.block_size = parameters_.block_size,
                            .physical_block_size = parameters_.block_size,
                            .num_blocks = parameters_.size_bytes / parameters_.block_size};
    co_return std::make_shared<MallocDevice>(DeviceIdentity{name(), uuid, "Malloc disk", "malloc"}, geometry,
                                             std::move(memory));
  }

  Task<Result<>> apply_to_existing(Device& device) override {
    if (!parameters_.resize) co_return fail(device_error::exists(device.name()));
    if (parameters_.size_bytes % device.block_size() != 0) {
      co_return fail(device_error::resize_failed(
          device.name(), Error(Code::kInvalidArgument, fmt::format("{} bytes are not a multiple of the block size {}",
                                                                   parameters_.size_bytes, device.block_size()))));
    }
    auto resized = static_cast<MallocDevice&>(device).resize(parameters_.size_bytes / device.block_size());
    if (!resized) co_return fail(device_error::resize_failed(device.name(), std::move(resized.error())));
    co_return Result<>{};
  }

 private:
  MallocParameters parameters_;
};

Result<std::unique_ptr<DeviceRequest>> parse_malloc(const Uri& uri) {
  auto invalid = [&](std::string_view message) { return fail(device_error::invalid_uri(uri.text(), message)); };
  if (uri.segments().empty()) return invalid("empty path");
  UriParameters query(uri);
  MallocParameters parameters;

  const auto block_size = query.take_u32("blk_size");
  if (!block_size) return fail(block_size.error());
  parameters.block_size = block_size->value_or(512);
  if (parameters.block_size != 512 && parameters.block_size != 4096) {
    return invalid("'blk_size' must be one of: 512, 4096");
  }
  const auto size_mb = query.take_u32("size_mb");
  if (!size_mb) return fail(size_mb.error());
  const auto num_blocks = query.take_u32("num_blocks");
  if (!num_blocks) return fail(num_blocks.error());
  const auto uuid = query.take_uuid();
  if (!uuid) return fail(uuid.error());
  parameters.uuid = *uuid;
  parameters.resize = query.take_presence("resize");
  if (auto rest = query.finish(); !rest) return fail(std::move(rest.error()));

  const uint64_t from_mb = size_mb->value_or(0) * kMiB;
  const uint64_t from_blocks = uint64_t{num_blocks->value_or(0)} * parameters.block_size;
  if (from_mb != 0 && from_blocks != 0) return invalid("'num_blocks' and 'size_mb' are mutually exclusive");
  if (from_mb == 0 && from_blocks == 0) return invalid("either 'num_blocks' or 'size_mb' must be specified");
  parameters.size_bytes = from_mb + from_blocks;

  return std::make_unique<MallocRequest>(uri.decoded_name(), parameters);
}

}  // namespace

void add_malloc_scheme(Registry& registry) {
  registry.add_scheme("malloc", {"malloc", parse_malloc});
}

}  // namespace cairn::block
