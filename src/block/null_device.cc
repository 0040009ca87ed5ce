#include "block/null_device.h"

#include <cstring>
#include <limits>

#include "block/device.h"
#include "block/device_error.h"
#include "block/registry.h"
#include "runtime/reactor.h"

namespace cairn::block {

using runtime::Task;

namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

// For readable_memory(): never touched, so it costs no memory.
constexpr size_t kZeroBytes = size_t{1} << 20;
alignas(4096) const std::byte zeroes[kZeroBytes] = {};

class NullDevice final : public Device {
 public:
  using Device::Device;

  bool has_volatile_cache() const override { return false; }
  std::span<const std::byte> readable_memory(uint64_t, uint64_t num_blocks) override {
    if (num_blocks > kZeroBytes / block_size()) return {};
    return {zeroes, num_blocks * block_size()};
  }
  Task<Result<>> rescan() override { co_return Result<>{}; }
  Task<> stop() override { co_return; }

 protected:
  bool supports_natively(IoType type) const override {
    return type != IoType::kCompare && type != IoType::kCompareAndWrite;
  }
  Task<Result<std::unique_ptr<Channel>>> make_channel() override;
};

class NullChannel final : public Channel {
 public:
  using Channel::Channel;

 protected:
  void start(Io& io) override {
    if (io.type == IoType::kRead) {
      // Never the buffer as it was: it may hold somebody else's data.
      for (const iovec& piece : io.data) std::memset(piece.iov_base, 0, piece.iov_len);
    }
    finish(io, nvme::Status::success());
  }
};

Task<Result<std::unique_ptr<Channel>>> NullDevice::make_channel() {
  co_return std::make_unique<NullChannel>(shared_from_this());
}

class NullRequest final : public DeviceRequest {
 public:
  NullRequest(std::string name, const Geometry& geometry, std::optional<Uuid> uuid)
      : DeviceRequest(std::move(name)), geometry_(geometry), uuid_(uuid) {}

  Task<Result<std::shared_ptr<Device>>> create() override {
    const Uuid uuid = uuid_ ? *uuid_ : runtime::Reactor::current().random().uuid();
    co_return std::make_shared<NullDevice>(DeviceIdentity{name(), uuid, "Null disk", "null"}, geometry_);
  }

 private:
  Geometry geometry_;
  std::optional<Uuid> uuid_;
};

Result<std::unique_ptr<DeviceRequest>> parse_null(const Uri& uri) {
  auto invalid = [&](std::string_view message) { return fail(device_error::invalid_uri(uri.text(), message)); };
  if (uri.segments().empty()) return invalid("empty path");
  UriParameters query(uri);

  const auto block_size = query.take_u32("blk_size");
  if (!block_size) return fail(block_size.error());
  Geometry geometry;
  geometry.block_size = block_size->value_or(512);
  geometry.physical_block_size = geometry.block_size;
  if (geometry.block_size != 512 && geometry.block_size != 4096) {
    return invalid("invalid blk_size specified must be one of 512 or 4096");
  }
  const auto size_mb = query.take_u32("size_mb");
  if (!size_mb) return fail(size_mb.error());
  const auto num_blocks = query.take_u64("num_blocks");
  if (!num_blocks) return fail(num_blocks.error());
  const auto uuid = query.take_uuid();
  if (!uuid) return fail(uuid.error());
  if (auto rest = query.finish(); !rest) return fail(std::move(rest.error()));

  if (size_mb->value_or(0) != 0 && num_blocks->value_or(0) != 0) {
    return invalid("conflicting parameters num_blocks and size_mb are mutually exclusive");
  }
  if (num_blocks->value_or(0) > std::numeric_limits<uint64_t>::max() / geometry.block_size) {
    return invalid("'num_blocks' is too large: the size in bytes must fit 64 bits");
  }
  geometry.num_blocks = num_blocks->value_or(0) != 0 ? **num_blocks : size_mb->value_or(0) * kMiB / geometry.block_size;
  return std::make_unique<NullRequest>(uri.decoded_name(), geometry, *uuid);
}

}  // namespace

void add_null_scheme(Registry& registry) {
  registry.add_scheme("null", {"null", parse_null});
}

}  // namespace cairn::block
