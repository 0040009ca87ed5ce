// A stream of the io_uring back-end: at most one receive and one send in the kernel.
//
// A receive takes a shared buffer (see UringReceiveBuffers), or goes straight into the handler's window when that is
// large. Without buffer rings it waits for readability and then reads into the window and the back-end's scratch buffer
// by itself.
#pragma once

#include "runtime/kernel_stream.h"
#include "runtime/uring_backend.h"

namespace cairn::runtime {

class UringStream final : public KernelStream {
 public:
  UringStream(UringBackend& backend, IntrusiveList<KernelStream>& attention, FileDescriptor socket);

  size_t service() override;

 private:
  struct Op : UringOp {
    UringStream* stream = nullptr;
    bool in_kernel = false;
    bool cancelled = false;
  };
  enum class ReceiveKind : uint8_t { kBuffer, kWindow, kReadable };

  void start_receive();
  void start_send();
  void receive_done(int result, unsigned flags);
  void send_done(int result);
  void cancel(Op& op);

  UringBackend& backend_;
  Op receive_;
  Op send_;
  ReceiveKind receive_kind_ = ReceiveKind::kBuffer;
  bool more_is_there_ = true;  // whether the socket probably holds unread input
};

}  // namespace cairn::runtime
