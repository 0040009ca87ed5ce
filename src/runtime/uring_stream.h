// A stream of the io_uring back-end: at most one receive and one send in the kernel.
//
// A receive takes a shared buffer (see UringReceiveBuffers), or goes straight into the handler's window when that is
// large. Without buffer rings it waits for readability and then reads into the window and the back-end's scratch buffer
// by itself.
#pragma once

#include "runtime/kernel_stream.h"
#include "runtime/uring_backend.h"

namespace cairn::runtime {

struct HotTag;

class UringStream final : public KernelStream, public ListLink<HotTag> {
 public:
  UringStream(UringBackend& backend, IntrusiveList<KernelStream>& attention, FileDescriptor socket);

  size_t service() override;
  void send_early() override;

  // For the back-end, on hot streams: reads what is there. Returns how many callbacks ran.
  size_t receive_hot();
  // No longer hot: the ring receives.
  void cool_down();

 private:
  struct Op : UringOp {
    UringStream* stream = nullptr;
    bool in_kernel = false;
  };
  enum class ReceiveKind : uint8_t { kBuffer, kWindow, kReadable };

  void start_receive();
  void heat_up();
  bool is_hot() const { return ListLink<HotTag>::is_linked(); }
  // Returns how many callbacks ran, at least whether some did.
  size_t start_send();
  // Returns whether all of it was sent.
  bool send_directly(std::span<iovec> pieces, size_t size);
  void receive_done(int result, unsigned flags);
  void send_done(int result);

  UringBackend& backend_;
  Op receive_;
  Op send_;
  ReceiveKind receive_kind_ = ReceiveKind::kBuffer;
  TimePoint last_input_{};
  bool shut_down_ = false;
  bool more_is_there_ = true;  // whether the socket probably holds unread input
};

}  // namespace cairn::runtime
