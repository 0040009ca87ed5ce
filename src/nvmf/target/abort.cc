// The Abort command (NVMe Base 2.0, section 5.1). What waits can be ended: an Asynchronous Event Request, a command
// whose data has not come. What a device is working on runs to its end, and the host is told so.
#include "nvme/admin_command.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/queue_pair.h"

namespace cairn::nvmf::target {

runtime::Task<nvme::Status> Controller::abort(Request& request) {
  if (num_aborts_ >= kMaxAborts) {
    co_return nvme::Status::command(nvme::CommandStatus::kAbortCommandLimitExceeded);
  }
  ++num_aborts_;
  const auto command = nvme::Abort::decode(request.command);
  bool aborted = command.sqid == nvme::kAdminQueueId && events_.abort(command.cid);
  const auto found = queue_pairs_.find(command.sqid);
  if (!aborted && found != queue_pairs_.end()) {
    const std::shared_ptr<QueuePairHandle> handle = found->second;
    aborted = co_await runtime::call_on(handle->reactor, [handle, cid = command.cid]() -> runtime::Task<bool> {
      co_return handle->queue_pair != nullptr && handle->queue_pair->abort(cid);
    });
  }
  --num_aborts_;
  if (!aborted) request.completion.dw0 = nvme::Abort::kNotAborted;
  co_return nvme::Status::success();
}

}  // namespace cairn::nvmf::target
