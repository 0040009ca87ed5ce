#include "engine/snapshot_command.h"

#include "base/log.h"
#include "engine/snapshot_time.h"
#include "pool/pool.h"

namespace cairn::engine {

namespace {

using nvme::Dnr;
using nvme::GenericStatus;
using nvme::Status;

runtime::Task<Status> create_snapshot(block::Device& device, std::vector<std::byte> data, uint32_t& dw0) {
  auto message = nvme::decode_snapshot_message(data);
  if (!message) co_return Status::generic(GenericStatus::kInvalidOpcode, Dnr::kYes);
  const auto taken = co_await take_replica_snapshot(device.shared_from_this(), std::move(*message));
  if (taken) co_return Status::success();
  log::warn("replica '{}': a host's snapshot failed: {}", device.name(), taken.error().to_string());
  dw0 = nvme::snapshot_errno(taken.error());
  co_return Status::generic(GenericStatus::kInternalError);
}

}  // namespace

runtime::Task<Result<>> take_replica_snapshot(std::shared_ptr<block::Device> device, nvme::SnapshotMessage message) {
  const auto replica = std::dynamic_pointer_cast<pool::Replica>(std::move(device));
  if (replica == nullptr) co_return fail(Code::kUnimplemented, "it is no replica");
  std::string create_time = message.create_time.value_or("");
  if (create_time.empty()) create_time = snapshot_time_now();
  auto snapshot = co_await replica->pool().create_snapshot(replica, {.name = message.name.value_or(""),
                                                                     .uuid = message.uuid.value_or(""),
                                                                     .entity_id = message.entity_id.value_or(""),
                                                                     .txn_id = message.txn_id.value_or(""),
                                                                     .create_time = std::move(create_time)});
  if (!snapshot) co_return fail(std::move(snapshot.error()));
  co_return Result<>{};
}

nvmf::target::VendorCommand snapshot_command() {
  return {nvme::kCreateSnapshotOpcode, nvme::kMaxSnapshotMessageSize, create_snapshot};
}

}  // namespace cairn::engine
