#include "nvmf/target/tcp_listener.h"

#include <fmt/format.h>

#include "base/log.h"
#include "nvmf/target/target.h"
#include "runtime/backend.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::target {

Result<std::unique_ptr<TcpListener>> TcpListener::open(Target& target, std::vector<TcpGroup*> groups,
                                                       const runtime::SocketAddress& address) {
  std::unique_ptr<TcpListener> self(new TcpListener(target, std::move(groups)));
  auto listener = target.primary().backend().listen(
      address,
      [raw = self.get()](std::unique_ptr<runtime::AcceptedStream> accepted) { raw->accept(std::move(accepted)); });
  if (!listener) {
    return fail(
        Error(listener.error().code(), fmt::format("cannot listen on {}", address.to_string()), listener.error()));
  }
  self->listener_ = std::move(*listener);
  return self;
}

void TcpListener::accept(std::unique_ptr<runtime::AcceptedStream> accepted) {
  if (target_.num_connections() >= target_.options().max_connections) {
    log::warn("nvmf: connection refused: the target has its {} connections (max_connections)",
              target_.options().max_connections);
    return;
  }
  TcpGroup& group = *groups_[next_group_];
  next_group_ = (next_group_ + 1) % groups_.size();
  // The accepted stream crosses over inside a task: a Task's frame carries it to the group's reactor.
  target_.primary().spawn("nvmf accept",
                          [](TcpGroup& to, std::unique_ptr<runtime::AcceptedStream> stream) -> runtime::Task<> {
                            co_await runtime::call_on(to.reactor(), [&]() -> runtime::Task<> {
                              to.serve(std::move(stream));
                              co_return;
                            });
                          }(group, std::move(accepted)));
}

}  // namespace cairn::nvmf::target
