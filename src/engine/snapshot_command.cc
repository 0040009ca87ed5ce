#include "engine/snapshot_command.h"

#include <cerrno>

#include "base/log.h"
#include "engine/snapshot_time.h"
#include "nvme/snapshot_message.h"
#include "pool/pool.h"

namespace cairn::engine {

namespace {

using nvme::Dnr;
using nvme::GenericStatus;
using nvme::Status;

// What hosts are told of a failure: an errno value.
uint32_t errno_of(const Error& error) {
  for (const Error* cause = &error; cause != nullptr; cause = cause->cause()) {
    if (cause->errno_value() != 0) return static_cast<uint32_t>(cause->errno_value());
  }
  switch (error.code()) {
    case Code::kAlreadyExists:
      return EEXIST;
    case Code::kInvalidArgument:
    case Code::kInternal:  // of parameters that are missing, as gRPC has it too
      return EINVAL;
    case Code::kResourceExhausted:
      return ENOSPC;
    default:
      return EIO;
  }
}

runtime::Task<Status> create_snapshot(block::Device& device, std::vector<std::byte> data, uint32_t& dw0) {
  const auto message = nvme::decode_snapshot_message(data);
  if (!message) co_return Status::generic(GenericStatus::kInvalidOpcode, Dnr::kYes);
  const auto replica = std::dynamic_pointer_cast<pool::Replica>(device.shared_from_this());
  if (replica == nullptr) {
    dw0 = ENOTSUP;
    co_return Status::generic(GenericStatus::kInternalError);
  }
  std::string create_time = message->create_time.value_or("");
  if (create_time.empty()) create_time = snapshot_time_now();
  auto snapshot = co_await replica->pool().create_snapshot(replica, {.name = message->name.value_or(""),
                                                                     .uuid = message->uuid.value_or(""),
                                                                     .entity_id = message->entity_id.value_or(""),
                                                                     .txn_id = message->txn_id.value_or(""),
                                                                     .create_time = std::move(create_time)});
  if (snapshot) co_return Status::success();
  log::warn("replica '{}': a host's snapshot failed: {}", replica->name(), snapshot.error().to_string());
  dw0 = errno_of(snapshot.error());
  co_return Status::generic(GenericStatus::kInternalError);
}

}  // namespace

nvmf::target::VendorCommand snapshot_command() {
  return {nvme::kCreateSnapshotOpcode, nvme::kMaxSnapshotMessageSize, create_snapshot};
}

}  // namespace cairn::engine
