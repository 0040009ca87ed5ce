// Byte streams (TCP and unix sockets) and listeners, as seen by protocol code. Implemented by each back-end.
//
// Everything here belongs to one reactor. Callbacks run in the reactor's loop, never inside a call of the protocol code.
#pragma once

#include <sys/uio.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/error.h"
#include "base/intrusive_list.h"
#include "runtime/address.h"

namespace cairn::runtime {

// The receiving side of a stream. Must outlive the stream's on_closed.
class StreamHandler {
 public:
  // Where the next bytes of the stream should be placed, when the handler knows (the rest of a payload): saves a copy. Asked before each
  // receive. The memory must stay valid until on_window_filled or on_closed. Empty: bytes come through on_receive. Once a non-empty
  // window was given, the same window (less what was filled) must be given until it is full.
  virtual std::span<std::byte> receive_window() { return {}; }
  // The next `size` bytes of the stream were placed at the start of the window.
  virtual void on_window_filled(size_t size) { (void)size; }
  // The next bytes of the stream; valid during the call only. All of them are consumed by the call. A handler whose receive_window() is not
  // empty may still be given bytes here (a fall-back that cannot place them): it must put them where they belong.
  virtual void on_receive(std::span<const std::byte> data) = 0;
  // The stream has ended: peer closed (UNAVAILABLE), an error of the system, or close() (CANCELLED). The last call; no buffer given to the stream
  // is in use any more. The handler may destroy the stream from here.
  virtual void on_closed(const Error& reason) = 0;

 protected:
  ~StreamHandler() = default;
};

// A piece of output. Owned by the sender, untouched by it until `complete` is called.
class SendOp : public ListLink<> {
 public:
  static constexpr unsigned kMaxPieces = 40;

  // The bytes, in order; the array and the memory stay valid until completion. At most kMaxPieces pieces.
  std::span<const iovec> pieces;
  // Result 0: every byte was handed to the transport. Negative: -errno (-ECANCELED after close()); the stream is about to end.
  void (*complete)(SendOp& op, int result) = nullptr;
};

class Stream {
 public:
  virtual ~Stream() = default;  // only before start() or after on_closed

  // Begins to receive. Once.
  virtual void start(StreamHandler& handler) = 0;
  // Stops and resumes receiving (back-pressure). At most one on_receive or on_window_filled may still come after pause().
  virtual void pause() = 0;
  virtual void resume() = 0;
  // Queues output; ops complete in order. It is collected, and sent in the next round of the reactor's loop at the latest.
  virtual void send(SendOp& op) = 0;
  // Ends the stream: waiting output is dropped (completes with -ECANCELED), then on_closed comes. May be called again without effect.
  virtual void close() = 0;
  // Like close(), and the peer is told by a reset: what it has not received yet is not sent any more, as far as the transport can prevent it.
  virtual void reset() = 0;
  // Ends the stream after the output queued so far was sent, or after `linger` at the latest.
  virtual void close_after_send(std::chrono::nanoseconds linger) = 0;

  virtual const SocketAddress& local_address() const = 0;
  virtual const SocketAddress& peer_address() const = 0;
};

// A connection that was accepted and not yet given to a reactor. May be moved to another thread; closes the connection if dropped.
class AcceptedStream {
 public:
  virtual ~AcceptedStream() = default;
};

// Accepts until destroyed.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual const SocketAddress& local_address() const = 0;  // with the real port
};

using AcceptHandler = std::function<void(std::unique_ptr<AcceptedStream>)>;

}  // namespace cairn::runtime
