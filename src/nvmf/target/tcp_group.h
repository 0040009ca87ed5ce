// The TCP connections of one reactor.
#pragma once

#include <memory>

#include "base/intrusive_list.h"
#include "runtime/reactor.h"
#include "runtime/stream.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::target {

class Target;
class TcpConnection;

// Made anywhere, then used on its reactor only (except reactor()).
class TcpGroup {
 public:
  TcpGroup(Target& target, runtime::Reactor& reactor) : target_(target), reactor_(reactor) {}
  ~TcpGroup();  // stopped, or never used

  runtime::Reactor& reactor() const { return reactor_; }

  // Serves a connection until it ends. Closed at once when the group is stopping.
  void serve(std::unique_ptr<runtime::AcceptedStream> accepted);
  // Disconnects everything and returns when the last connection is gone. Later connections are refused.
  runtime::Task<> stop();

 private:
  runtime::Task<> run(std::unique_ptr<runtime::AcceptedStream> accepted);

  Target& target_;
  runtime::Reactor& reactor_;
  IntrusiveList<TcpConnection> connections_;
  uint32_t num_running_ = 0;
  bool stopping_ = false;
  runtime::Event ended_;
};

}  // namespace cairn::nvmf::target
