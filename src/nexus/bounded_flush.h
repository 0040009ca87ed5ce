// A flush of a device that is waited for no longer than a limit: a child may keep it for ever, and then others must not
// wait with it. What does not end in time ends by itself.
#pragma once

#include <memory>
#include <utility>

#include "block/device.h"
#include "block/io_wait.h"
#include "runtime/task_waits.h"

namespace cairn::nexus {

class BoundedFlush {
 public:
  // For a task of its own, which keeps the device until the flush has ended.
  static runtime::Task<> run(std::shared_ptr<BoundedFlush> flush, std::shared_ptr<block::Device> device) {
    if (auto channel = co_await device->open_channel(); channel) {
      flush->status_ = co_await block::perform(**channel, {.type = block::IoType::kFlush});
    }
    device.reset();
    flush->ended_.set();
  }
  // Internal Error when it could not be begun, or has not ended in time.
  runtime::Task<nvme::Status> wait(Duration limit) {
    const runtime::Deadline deadline(co_await runtime::current_context(), limit);
    static_cast<void>(co_await ended_.wait());
    co_return status_;
  }

 private:
  nvme::Status status_ = nvme::Status::generic(nvme::GenericStatus::kInternalError);
  runtime::Event ended_;
};

}  // namespace cairn::nexus
