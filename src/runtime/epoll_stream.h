// A stream and a listener of the epoll back-end.
#pragma once

#include "runtime/epoll_backend.h"
#include "runtime/kernel_socket.h"
#include "runtime/timer.h"

namespace cairn::runtime {

class EpollStream final : public KernelStream, public EpollSource {
 public:
  EpollStream(EpollBackend& backend, IntrusiveList<KernelStream>& attention, FileDescriptor socket);
  ~EpollStream() override;

  size_t service() override;
  void on_events(uint32_t events) override;

 private:
  void send_now();

  EpollBackend& backend_;
  bool readable_ = true;  // as far as we know: until the kernel says EAGAIN
  bool writable_ = true;
  bool ended_ = false;  // the kernel announced an end or error, which no further edge will repeat: read until it shows
};

class EpollAcceptor final : public Listener, public EpollSource, public ListLink<> {
 public:
  EpollAcceptor(EpollBackend& backend, ListeningSocket socket, AcceptHandler accept);
  ~EpollAcceptor() override;

  const SocketAddress& local_address() const override { return socket_.local_address(); }
  void on_events(uint32_t events) override;
  // Accepts what waits. Returns how many. May destroy the acceptor (its handler may).
  size_t service();

 private:
  EpollBackend& backend_;
  ListeningSocket socket_;
  AcceptHandler accept_;
  Timer retry_;
  bool* destroyed_ = nullptr;  // of the service() that runs
};

}  // namespace cairn::runtime
