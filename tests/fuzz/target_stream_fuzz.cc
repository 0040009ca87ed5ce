// Bytes from a host into a connection of the target, cut as the input says. See seeds/target_stream_fuzz.txt.
//
// Input: a byte for the state of the connection (bits 1:0: 0 nothing was said, 1 nothing but ICReq, 2 an admin queue of
// an enabled controller, 3 an I/O queue; bit 2: header digests, bit 3: data digests, bit 4: receive windows are filled
// in place), then chunks: a word (bits 13:0 size, bit 14: time passes afterwards, bit 15: the chunk is one PDU whose
// digests are to be made right), then the bytes.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/crc32c.h"
#include "base/intrusive_list.h"
#include "nvme/fabrics.h"
#include "nvme/property.h"
#include "nvme/tcp_pdu.h"
#include "nvmf/target/tcp_connection.h"
#include "target_under_fuzz.h"

namespace cairn::nvmf::target {
namespace {

// A connection whose other end is the fuzzer: everything happens in pump(), outside of the target's code.
class FuzzStream final : public runtime::Stream {
 public:
  explicit FuzzStream(bool in_place) : in_place_(in_place) {}

  void start(runtime::StreamHandler& handler) override { handler_ = &handler; }
  void pause() override { paused_ = true; }
  void resume() override { paused_ = false; }
  void send(runtime::SendOp& op) override { output_.push_back(op); }
  void close() override { closing_ = true; }
  void reset() override { closing_ = true; }
  void close_after_send(std::chrono::nanoseconds) override { closing_after_send_ = true; }
  const runtime::SocketAddress& local_address() const override { return address_; }
  const runtime::SocketAddress& peer_address() const override { return address_; }

  bool ended() const { return ended_; }
  // The other end sends `data` and takes what there is.
  void pump(std::span<const std::byte> data) {
    if (ended_) return;
    complete_output(0);
    while (!data.empty() && !closing_ && !closing_after_send_ && handler_ != nullptr) {
      CAIRN_CHECK(!paused_);
      const auto window = in_place_ ? handler_->receive_window() : std::span<std::byte>{};
      const size_t size = window.empty() ? data.size() : std::min(window.size(), data.size());
      if (window.empty()) {
        handler_->on_receive(data);
      } else {
        std::copy_n(data.begin(), size, window.begin());
        handler_->on_window_filled(size);
      }
      data = data.subspan(size);
    }
    if (closing_after_send_) complete_output(0);
    if (closing_ || closing_after_send_) end(Error(Code::kCancelled, "closed here"));
  }
  void end(const Error& reason) {
    if (ended_) return;
    complete_output(-ECANCELED);
    ended_ = true;
    if (handler_ != nullptr) handler_->on_closed(reason);
  }

 private:
  void complete_output(int result) {
    // Every byte is looked at, as the kernel would.
    IntrusiveList<runtime::SendOp> sent;
    sent.splice_back(output_);
    while (runtime::SendOp* op = sent.pop_front()) {
      CAIRN_CHECK(op->pieces.size() <= runtime::SendOp::kMaxPieces);
      uint32_t crc = kCrc32cInit;
      for (const iovec& piece : op->pieces) {
        crc = crc32c_update(crc, {static_cast<const std::byte*>(piece.iov_base), piece.iov_len});
      }
      checksum_ ^= crc;
      op->complete(*op, result);
    }
  }

  bool in_place_;
  runtime::StreamHandler* handler_ = nullptr;
  IntrusiveList<runtime::SendOp> output_;
  bool paused_ = false;
  bool closing_ = false;
  bool closing_after_send_ = false;
  bool ended_ = false;
  uint32_t checksum_ = 0;
  runtime::SocketAddress address_ = *runtime::SocketAddress::ip("10.0.0.1", 8420);
};

// One connection of the target, as TcpGroup would serve it.
class Link {
 public:
  Link(TargetUnderFuzz& site, bool in_place, uint8_t digests) : site_(site), digests_(digests) {
    begin(in_place);
    settle();
  }
  ~Link() {
    if (!ended_) {
      const runtime::Reactor::Scope scope(site_.reactor());
      stream_->end(Error(Code::kUnavailable, "closed by the fuzzer"));
    }
    CAIRN_CHECK(site_.world().run_until([this] { return ended_; }, std::chrono::minutes(5)) ==
                runtime::sim::RunResult::kDone);
  }

  void settle() { site_.world().run_for(std::chrono::microseconds(50)); }
  void receive(std::span<const std::byte> bytes) {
    if (ended_) return;
    const runtime::Reactor::Scope scope(site_.reactor());
    stream_->pump(bytes);
  }

  void initialize() {
    std::array<std::byte, nvme::kMaxHeaderSize> pdu;
    const size_t size = nvme::encode_ic_req(pdu, 0, digests_, 0);
    receive(std::span(pdu).first(size));
    settle();
  }
  void send_command(const nvme::Sqe& sqe, std::span<const std::byte> data = {}) {
    nvme::Sqe sent = sqe;
    sent.set_flags(nvme::Fuse::kNormal, nvme::Psdt::kSglMptrAddress);
    sent.sgl = nvme::SglDescriptor::in_capsule(0, static_cast<uint32_t>(data.size()));
    const nvme::SendRules rules{.header_digest = (digests_ & nvme::kDigestHeaderEnable) != 0,
                                .data_digest = (digests_ & nvme::kDigestDataEnable) != 0};
    std::array<std::byte, nvme::kMaxHeaderSize> header;
    const size_t size = nvme::encode_capsule_cmd(header, sent, static_cast<uint32_t>(data.size()), rules);
    receive(std::span(header).first(size));
    receive(data);
    if (rules.data_digest && !data.empty()) {
      std::array<std::byte, nvme::kPduDigestSize> digest;
      nvme::encode_digest(digest, crc32c(data));
      receive(digest);
    }
    settle();
    receive({});
  }
  void connect(uint16_t qid, uint16_t cntlid) {
    nvme::ConnectData data;
    data.hostid[15] = 1;
    data.cntlid = cntlid;
    nvme::set_c_string(data.subnqn, TargetUnderFuzz::kNqn);
    nvme::set_c_string(data.hostnqn, TargetUnderFuzz::kHostNqn);
    nvme::Sqe sqe;
    nvme::Connect{.qid = qid, .sqsize = 7}.encode(sqe);
    send_command(sqe, nvme::bytes_of(data));
  }
  void enable() {
    nvme::Sqe sqe;
    nvme::PropertySet{.offset = static_cast<uint32_t>(nvme::Property::kCc),
                      .value = nvme::ControllerConfiguration{.en = true, .iosqes = 6, .iocqes = 4}.encode()}
        .encode(sqe);
    send_command(sqe);
  }

 private:
  void begin(bool in_place) {
    auto stream = std::make_unique<FuzzStream>(in_place);
    stream_ = stream.get();
    const runtime::Reactor::Scope scope(site_.reactor());
    site_.reactor().spawn("fuzzed connection",
                          [](Target& target, std::unique_ptr<runtime::Stream> stream, bool& ended) -> runtime::Task<> {
                            {
                              TcpConnection connection(target, std::move(stream));
                              co_await connection.run();
                            }
                            ended = true;
                          }(site_.target(), std::move(stream), ended_));
  }

  TargetUnderFuzz& site_;
  uint8_t digests_;
  FuzzStream* stream_ = nullptr;
  bool ended_ = false;
};

// Gives the PDU that `bytes` are the digests it ought to have.
void repair_digests(std::span<std::byte> bytes) {
  if (bytes.size() < nvme::kCommonHeaderSize) return;
  const auto header = nvme::load<nvme::PduCommonHeader>(bytes);
  if ((header.flags & nvme::kPduHeaderDigest) != 0 && bytes.size() >= header.hlen + nvme::kPduDigestSize) {
    nvme::store(bytes.subspan(header.hlen), crc32c(bytes.first(header.hlen)));
  }
  if ((header.flags & nvme::kPduDataDigest) != 0 && header.plen <= bytes.size() &&
      header.plen >= header.pdo + nvme::kPduDigestSize) {
    const size_t digest_at = header.plen - nvme::kPduDigestSize;
    nvme::store(bytes.subspan(digest_at), crc32c(bytes.subspan(header.pdo, digest_at - header.pdo)));
  }
}

void run(std::span<const std::byte> bytes) {
  FuzzInput input(bytes);
  const uint8_t mode = input.byte();
  const auto digests = static_cast<uint8_t>(mode >> 2 & 3);
  const bool in_place = (mode & 16) != 0;
  TargetUnderFuzz site;
  std::optional<Link> admin;
  if ((mode & 3) == 3) {
    admin.emplace(site, false, uint8_t{0});
    admin->initialize();
    admin->connect(0, nvme::kDynamicControllerId);
    admin->enable();
  }
  Link link(site, in_place, digests);
  if ((mode & 3) != 0) link.initialize();
  if ((mode & 3) == 2) {
    link.connect(0, nvme::kDynamicControllerId);
    link.enable();
  }
  if ((mode & 3) == 3) link.connect(1, 1);

  while (!input.empty()) {
    const uint16_t control = input.word();
    const auto chunk = input.bytes(control & 0x3fff);
    std::vector<std::byte> sent(chunk.begin(), chunk.end());
    if ((control & 0x8000) != 0) repair_digests(sent);
    link.receive(sent);
    if ((control & 0x4000) != 0) link.settle();
  }
  link.settle();
  link.receive({});
}

}  // namespace
}  // namespace cairn::nvmf::target

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  cairn::log::set_level(cairn::log::Level::kOff);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cairn::nvmf::target::run(std::as_bytes(std::span(data, size)));
  return 0;
}
