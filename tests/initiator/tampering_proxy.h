// A process between initiator and target that changes what the target says: PDU by PDU, as a test wants it.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "nvme/tcp_pdu.h"
#include "runtime/backend.h"
#include "runtime/reactor.h"
#include "runtime/sim/node.h"

namespace cairn::nvmf {

using Pdu = std::vector<std::byte>;

struct Tampering {
  std::vector<Pdu> send;  // instead of the PDU
  bool cut = false;       // then end the connection
};

class TamperingProxy final : public runtime::sim::NodeProgram {
 public:
  // Asked for every PDU of the target.
  using Tamper = std::function<Tampering(Pdu pdu)>;

  TamperingProxy(runtime::SocketAddress own, runtime::SocketAddress target) : target_(std::move(target)) {
    auto listener = runtime::Reactor::current().backend().listen(
        own, [this](std::unique_ptr<runtime::AcceptedStream> accepted) { accept(std::move(accepted)); });
    CAIRN_CHECK(listener.has_value());
    listener_ = std::move(*listener);
  }

  Tamper tamper;  // none: everything passes
  size_t num_connections() const { return num_connections_; }

 private:
  struct Session;
  struct Output : runtime::SendOp {
    Pdu bytes;
    iovec piece{};
  };
  struct End final : runtime::StreamHandler {
    void on_receive(std::span<const std::byte> data) override { session->received(*this, data); }
    void on_closed(const Error&) override {
      open = false;
      session->ended();
    }
    void send(Pdu bytes) {
      if (!open || bytes.empty()) return;
      auto* output = new Output();
      output->bytes = std::move(bytes);
      output->piece = {output->bytes.data(), output->bytes.size()};
      output->pieces = {&output->piece, 1};
      output->complete = [](runtime::SendOp& op, int) { delete static_cast<Output*>(&op); };
      stream->send(*output);
    }
    Session* session = nullptr;
    std::unique_ptr<runtime::Stream> stream;
    bool open = true;
  };
  struct Session {
    TamperingProxy* proxy = nullptr;
    End host, target;
    Pdu pending;  // of the target, less than a PDU

    void received(End& from, std::span<const std::byte> data) {
      if (&from == &host) return target.send({data.begin(), data.end()});
      pending.insert(pending.end(), data.begin(), data.end());
      while (pending.size() >= nvme::kCommonHeaderSize) {
        const size_t size = nvme::load<nvme::PduCommonHeader>(pending).plen;
        if (pending.size() < size) return;
        Pdu pdu(pending.begin(), pending.begin() + static_cast<ptrdiff_t>(size));
        pending.erase(pending.begin(), pending.begin() + static_cast<ptrdiff_t>(size));
        Tampering result;
        if (proxy->tamper) {
          result = proxy->tamper(std::move(pdu));
        } else {
          result.send.push_back(std::move(pdu));
        }
        for (Pdu& each : result.send) host.send(std::move(each));
        if (result.cut && host.open) host.stream->close_after_send(std::chrono::seconds(1));
      }
    }
    void ended() {
      if (host.open) host.stream->close();
      if (target.open) target.stream->close();
    }
  };

  void accept(std::unique_ptr<runtime::AcceptedStream> accepted) {
    ++num_connections_;
    runtime::Reactor::current().spawn("proxy", serve(runtime::Reactor::current().backend().adopt(std::move(accepted))));
  }

  runtime::Task<> serve(std::unique_ptr<runtime::Stream> stream) {
    auto target = co_await runtime::Reactor::current().backend().connect(target_);
    if (!target) co_return;
    Session& session = sessions_.emplace_back();
    session.proxy = this;
    session.host.session = session.target.session = &session;
    session.host.stream = std::move(stream);
    session.target.stream = std::move(*target);
    session.target.stream->start(session.target);
    session.host.stream->start(session.host);
  }

  const runtime::SocketAddress target_;
  std::unique_ptr<runtime::Listener> listener_;
  std::list<Session> sessions_;  // ended ones stay
  size_t num_connections_ = 0;
};

}  // namespace cairn::nvmf
