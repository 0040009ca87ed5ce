#include "pool/pool_disk.h"

#include "base/abandonment.h"
#include "base/check.h"
#include "pool/replica_channel.h"

namespace cairn::pool {

using runtime::Task;

DiskPort::~DiskPort() {
  while (free_.pop_front() != nullptr) {
  }
}

PoolDisk::~PoolDisk() {
  CAIRN_CHECK(ports_.empty() || abandoning());
}

Task<Result<DiskPort*>> PoolDisk::port_here() {
  runtime::Reactor& here = runtime::Reactor::current();
  auto find = [&]() -> DiskPort* {
    const std::lock_guard lock(mutex_);
    for (const auto& port : ports_) {
      if (&port->reactor == &here) return port.get();
    }
    return nullptr;
  };
  if (DiskPort* port = find()) co_return port;
  auto channel = co_await device_->open_channel();
  if (!channel) co_return fail(std::move(channel.error()));
  if (DiskPort* port = find()) co_return port;  // somebody was faster
  const std::lock_guard lock(mutex_);
  ports_.push_back(std::make_unique<DiskPort>(std::move(*channel)));
  co_return ports_.back().get();
}

Task<> PoolDisk::close() {
  std::vector<std::unique_ptr<DiskPort>> ports;
  {
    const std::lock_guard lock(mutex_);
    ports.swap(ports_);
  }
  for (auto& port : ports) {
    runtime::Reactor& reactor = port->reactor;
    co_await runtime::call_on(reactor, [&port]() -> Task<> {
      port.reset();
      co_return;
    });
  }
  device_.reset();
}

}  // namespace cairn::pool
