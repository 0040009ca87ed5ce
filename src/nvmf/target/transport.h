// The seam between the target's core and its transports (TCP; RDMA and TLS later).
#pragma once

#include "nvmf/target/request.h"
#include "runtime/address.h"

namespace cairn::nvmf::target {

// One transport connection = one queue pair. Implemented by the transport, used by the core on the connection's
// reactor.
class Connection {
 public:
  // Sends the data of a successful command (transfer_length bytes of data()) and the completion, then frees the
  // request.
  virtual void complete(Request& request) = 0;
  // Starts to close the connection: no further commands are received; requests in execution still come back through
  // complete(), which then only frees them. Does nothing when already closing.
  virtual void disconnect() = 0;
  // The Connect command was accepted with this queue size (entries): the transport sizes its resources.
  virtual void set_queue_depth(uint16_t entries) = 0;
  // The request that holds command identifier `cid` and is not free, or nullptr. For Abort.
  virtual Request* find_request(uint16_t cid) = 0;
  // Ends a request that waits in the transport for buffers or for the host's data (Prepared): completes it with ABORT
  // REQUESTED. False when it is past that.
  virtual bool abort_waiting(Request& request) = 0;
  virtual const runtime::SocketAddress& local_address() const = 0;
  virtual const runtime::SocketAddress& peer_address() const = 0;

 protected:
  ~Connection() = default;
};

}  // namespace cairn::nvmf::target
