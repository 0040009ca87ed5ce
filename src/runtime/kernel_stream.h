// What the streams of the kernel back-ends share: the life of a connection and its output queue. The back-end moves the
// bytes.
//
//   state      | receives            | sends | left by
//   -----------+---------------------+-------+----------------------------------------------------------------------------
//   kNew       | no                  | yes   | start() -> kOpen
//   kOpen      | yes, unless paused  | yes   | close_after_send() -> kDraining; close(), end of stream, error ->
//   kClosing kDraining  | and drops the bytes | yes   | all sent -> kLingering (kClosing if the peer has ended
//   already); close(), error, time -> kClosing kLingering | and drops the bytes | no    | end of stream, close(),
//   error, time -> kClosing kClosing   | no                  | no    | no operation left in the kernel -> kClosed
//   kClosed    | no                  | no    | end
//
// kLingering exists because a socket that is closed with unread input resets the connection, and the reset overtakes
// what was sent last.
#pragma once

#include <algorithm>
#include <cerrno>
#include <optional>

#include "runtime/file_descriptor.h"
#include "runtime/send_queue.h"
#include "runtime/stream.h"
#include "runtime/timer.h"

namespace cairn::runtime {

class KernelStream : public Stream, public ListLink<> {
 public:
  // `attention`: the back-end's list of streams to service in its next poll().
  KernelStream(IntrusiveList<KernelStream>& attention, FileDescriptor socket);
  ~KernelStream() override;

  void start(StreamHandler& handler) final;
  void pause() final { paused_ = true; }
  void resume() final;
  void send(SendOp& op) final;
  void close() final;
  void reset() final;
  void close_after_send(std::chrono::nanoseconds linger) final;
  const SocketAddress& local_address() const final { return local_address_; }
  const SocketAddress& peer_address() const final { return peer_address_; }

  // From the back-end's poll(): starts what is to be started. Returns how many callbacks ran. May destroy the stream.
  virtual size_t service() = 0;

 protected:
  enum class State : uint8_t { kNew, kOpen, kDraining, kLingering, kClosing, kClosed };

  int socket() const { return socket_.get(); }
  State state() const { return state_; }
  SendQueue& output() { return output_; }
  void need_attention() {
    if (!is_linked()) attention_.push_back(*this);
  }
  bool wants_input() const {
    return (state_ == State::kOpen && !paused_) ||
           ((state_ == State::kDraining || state_ == State::kLingering) && !peer_ended_);
  }
  bool wants_output() const { return state_ <= State::kDraining && !output_.empty(); }
  // A window from this size on is worth a receive of its own. Below it, the bytes are copied out of a buffer that
  // brings what follows as well.
  static constexpr size_t kSmallestWindow = size_t{8} << 10;
  // How much to receive beyond a window of `window` bytes (0: there is none), of `room`: in streams that bring large
  // windows only as much as tells of the next one, for what is read too far has to be copied into it.
  size_t read_ahead(size_t window, size_t room) {
    if (window >= kSmallestWindow) since_large_window_ = 0;
    if (since_large_window_ >= kBulkMemory) return room;
    ++since_large_window_;
    return std::min(room, kBulkReadAhead);
  }
  // Where input should go; empty: anywhere.
  std::span<std::byte> window() { return state_ == State::kOpen ? handler_->receive_window() : std::span<std::byte>{}; }

  // Events from the transport. They run callbacks but never destroy the stream.
  void received(std::span<const std::byte> data) {
    if (state_ == State::kOpen) handler_->on_receive(data);
  }
  // The same for all that the peer has sent so far, in two halves when it is more than a little: what the first leads
  // to is sent before the second is looked at. The peer may be waiting for it, and both sides would take turns instead
  // of working at the same time.
  void received_all(std::span<const std::byte> data);
  // Sends what waits, if it can be done at once.
  virtual void send_early() {}
  void window_filled(size_t size) {
    if (state_ == State::kOpen) handler_->on_window_filled(size);
  }
  void sent(size_t bytes);
  // Reads what is there, without waiting, into the window and then `rest`.
  enum class Read : uint8_t { kNothing, kDrained, kMore };  // kMore: perhaps
  Read receive_now(std::span<std::byte> rest);
  void end_of_input();
  void failed(int error, const char* action);

  // In kClosing, when nothing is left in the kernel: fails the output, closes the socket, calls on_closed. May destroy
  // the stream.
  void finish();

 private:
  static constexpr size_t kWorthHalving = 512;
  static constexpr unsigned kBulkMemory = 8;  // receives after a large window
  static constexpr size_t kBulkReadAhead = size_t{4} << 10;

  void enter_closing(Error reason, int output_result = -ECANCELED);
  void all_sent();

  IntrusiveList<KernelStream>& attention_;
  FileDescriptor socket_;
  SocketAddress local_address_;
  SocketAddress peer_address_;
  StreamHandler* handler_ = nullptr;
  State state_ = State::kNew;
  bool paused_ = false;
  bool peer_ended_ = false;
  unsigned since_large_window_ = kBulkMemory;  // receives
  SendQueue output_;
  std::optional<Error> reason_;
  int output_result_ = 0;  // what waiting output completes with
  Timer linger_timer_;
};

}  // namespace cairn::runtime
