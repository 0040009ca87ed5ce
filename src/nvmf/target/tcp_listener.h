// Accepts NVMe/TCP connections on one address and spreads them over the reactors in turn. Primary reactor.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/error.h"
#include "nvmf/target/tcp_group.h"
#include "runtime/address.h"
#include "runtime/stream.h"

namespace cairn::nvmf::target {

class TcpListener {
 public:
  // `groups`: one a reactor; they outlive the listener. ALREADY_EXISTS when the address is in use.
  static Result<std::unique_ptr<TcpListener>> open(Target& target, std::vector<TcpGroup*> groups,
                                                   const runtime::SocketAddress& address);

  const runtime::SocketAddress& address() const { return listener_->local_address(); }

 private:
  TcpListener(Target& target, std::vector<TcpGroup*> groups) : target_(target), groups_(std::move(groups)) {}
  void accept(std::unique_ptr<runtime::AcceptedStream> accepted);

  Target& target_;
  std::vector<TcpGroup*> groups_;
  size_t next_group_ = 0;
  std::unique_ptr<runtime::Listener> listener_;
};

}  // namespace cairn::nvmf::target
