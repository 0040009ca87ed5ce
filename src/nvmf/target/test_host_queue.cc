#include "nvmf/target/test_host_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/abandonment.h"
#include "base/crc32c.h"
#include "nvme/fabrics.h"
#include "runtime/backend.h"
#include "runtime/reactor.h"

namespace cairn::nvmf::target {

using runtime::Task;

namespace {

nvme::DataDirection direction_of(const nvme::Sqe& sqe) {
  return sqe.is_fabrics() ? nvme::data_direction(nvme::fabrics_type(sqe)) : nvme::data_direction(sqe.opcode);
}

void append(std::vector<std::byte>& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void append_data(std::vector<std::byte>& to, std::span<const std::byte> data, bool with_digest) {
  append(to, data);
  if (!with_digest) return;
  std::array<std::byte, nvme::kPduDigestSize> digest;
  nvme::encode_digest(digest, crc32c(data));
  append(to, digest);
}

}  // namespace

Task<Result<std::unique_ptr<TestHostQueue>>> TestHostQueue::open(runtime::SocketAddress address,
                                                                 TestHostQueueOptions options) {
  const Duration timeout = options.command_timeout;
  std::unique_ptr<TestHostQueue> queue;
  {
    const runtime::Deadline deadline(co_await runtime::current_context(), timeout);
    auto stream = co_await runtime::Reactor::current().backend().connect(std::move(address));
    if (!stream) co_return fail(std::move(stream.error()));
    queue = std::make_unique<TestHostQueue>(std::move(*stream), options);
    std::array<std::byte, nvme::kMaxHeaderSize> ic_req;
    const auto digests = static_cast<uint8_t>((options.header_digest ? nvme::kDigestHeaderEnable : 0) |
                                              (options.data_digest ? nvme::kDigestDataEnable : 0));
    const size_t size = nvme::encode_ic_req(ic_req, options.alignment, digests, 0);
    queue->send_raw({ic_req.begin(), ic_req.begin() + static_cast<ptrdiff_t>(size)});
    if (co_await queue->initialized_.wait() && !queue->closed()) co_return queue;
  }
  co_await queue->close();
  co_return fail(Code::kUnavailable, "the connection ended before it was initialized");
}

TestHostQueue::TestHostQueue(std::unique_ptr<runtime::Stream> stream, const TestHostQueueOptions& options)
    : stream_(std::move(stream)), options_(options) {
  receive_rules_.receiver = nvme::PduReceiver::kHost;
  receive_rules_.data_alignment = options.alignment;
  stream_->start(*this);
}

TestHostQueue::~TestHostQueue() {
  CAIRN_CHECK((closed() && pending_.empty()) || abandoning());
}

Task<> TestHostQueue::close() {
  stream_->close();
  static_cast<void>(co_await closed_.wait_uninterrupted());
}

// ---- Sending ----

void TestHostQueue::send_raw(std::vector<std::byte> bytes) {
  if (closed()) return;
  Output& output = outputs_.emplace_back();
  output.owner = this;
  output.self = std::prev(outputs_.end());
  output.bytes = std::move(bytes);
  output.piece = {output.bytes.data(), output.bytes.size()};
  output.pieces = {&output.piece, 1};
  output.complete = [](runtime::SendOp& op, int) {
    auto& sent = static_cast<Output&>(op);
    sent.owner->outputs_.erase(sent.self);
  };
  stream_->send(output);
}

Task<Result<TestHostQueue::Answer>> TestHostQueue::run(nvme::Sqe sqe, std::span<const std::byte> data,
                                                       uint32_t read_size) {
  Pending pending{.sqe = sqe, .data = data, .expected = read_size};
  if (!co_await wait_for_entries(1)) co_return fail(Code::kUnavailable, "the connection has ended");
  send_command(pending);
  co_await wait_for_end(pending);
  if (pending.lost) co_return fail(Code::kUnavailable, "the connection ended before the command did");
  co_return std::move(pending.answer);
}

Task<Result<std::array<TestHostQueue::Answer, 2>>> TestHostQueue::run_fused(nvme::Sqe first,
                                                                            std::span<const std::byte> first_data,
                                                                            nvme::Sqe second,
                                                                            std::span<const std::byte> second_data) {
  first.set_flags(nvme::Fuse::kFirst, nvme::Psdt::kSglMptrAddress);
  second.set_flags(nvme::Fuse::kSecond, nvme::Psdt::kSglMptrAddress);
  Pending pendings[] = {{.sqe = first, .data = first_data}, {.sqe = second, .data = second_data}};
  if (!co_await wait_for_entries(2)) co_return fail(Code::kUnavailable, "the connection has ended");
  for (Pending& pending : pendings) send_command(pending);
  for (Pending& pending : pendings) co_await wait_for_end(pending);
  if (pendings[0].lost || pendings[1].lost) co_return fail(Code::kUnavailable, "the connection ended before the pair");
  co_return std::array{std::move(pendings[0].answer), std::move(pendings[1].answer)};
}

Task<bool> TestHostQueue::wait_for_entries(size_t count) {
  const runtime::Deadline deadline(co_await runtime::current_context(), options_.command_timeout);
  while (!closed() && pending_.size() + count >= entries_) {
    if (!co_await entry_free_.wait()) break;
  }
  co_return !closed() && pending_.size() + count < entries_;
}

Task<> TestHostQueue::wait_for_end(Pending& pending) {
  {
    const runtime::Deadline deadline(co_await runtime::current_context(), options_.command_timeout);
    while (!pending.ended) {
      if (!co_await pending.changed.wait()) break;
    }
  }
  if (pending.ended) co_return;
  stream_->close();
  while (!pending.ended) static_cast<void>(co_await pending.changed.wait_uninterrupted());
}

void TestHostQueue::send_command(Pending& pending) {
  while (pending_.contains(next_cid_)) ++next_cid_;
  nvme::Sqe& sqe = pending.sqe;
  sqe.cid = next_cid_++;
  pending_.emplace(sqe.cid, &pending);
  sqe.set_flags(sqe.fuse(), nvme::Psdt::kSglMptrAddress);
  const auto data_size = static_cast<uint32_t>(pending.data.size());
  const bool sends = direction_of(sqe) == nvme::DataDirection::kHostToController && data_size > 0;
  const bool in_capsule = sends && data_size <= options_.in_capsule_size;
  sqe.sgl = in_capsule ? nvme::SglDescriptor::in_capsule(0, data_size)
                       : nvme::SglDescriptor::transport(sends ? data_size : pending.expected);
  std::array<std::byte, nvme::kMaxHeaderSize> header;
  const size_t size = nvme::encode_capsule_cmd(header, sqe, in_capsule ? data_size : 0, send_rules_);
  std::vector<std::byte> bytes(header.begin(), header.begin() + static_cast<ptrdiff_t>(size));
  if (in_capsule) append_data(bytes, pending.data, send_rules_.data_digest);
  send_raw(std::move(bytes));
}

// ---- Receiving ----

std::span<std::byte> TestHostQueue::receive_window() {
  if (expect_ != Expect::kData || data_pending_ == nullptr) return {};
  return std::span(data_pending_->answer.data).subspan(data_offset_, data_left_);
}

void TestHostQueue::on_window_filled(size_t size) {
  data_arrived(size);
}

void TestHostQueue::on_receive(std::span<const std::byte> data) {
  while (!data.empty() && fault_.empty()) {
    switch (expect_) {
      case Expect::kHeader: {
        const auto taken = reader_.feed(data, receive_rules_);
        if (!taken) {
          return blame(
              fmt::format("a bad header: {} {}",
                          nvme::fatal_error_name(static_cast<uint16_t>(taken.error().fes), nvme::PduReceiver::kHost),
                          taken.error().fei));
        }
        data = data.subspan(*taken);
        if (reader_.done()) take_header();
        break;
      }
      case Expect::kData: {
        const auto part = data.first(std::min<size_t>(data.size(), data_left_));
        if (data_pending_ != nullptr)
          std::ranges::copy(part, data_pending_->answer.data.begin() + static_cast<ptrdiff_t>(data_offset_));
        data = data.subspan(part.size());
        data_arrived(part.size());
        break;
      }
      case Expect::kDataDigest:
        data = data.subspan(digest_.feed(data));
        if (digest_.done()) end_of_data();
        break;
    }
  }
}

void TestHostQueue::on_closed(const Error&) {
  closed_.set();
  initialized_.set();
  for (const auto& [cid, pending] : pending_) {
    pending->ended = pending->lost = true;
    pending->changed.set();
  }
  pending_.clear();
  data_pending_ = nullptr;
  entry_free_.pulse();
}

void TestHostQueue::take_header() {
  layout_ = reader_.layout();
  data_left_ = layout_.data_size;
  digest_.reset();
  data_pending_ = nullptr;
  switch (layout_.type) {
    case nvme::PduType::kIcResp:
      take_ic_resp();
      break;
    case nvme::PduType::kR2t:
      take_r2t();
      break;
    case nvme::PduType::kC2hData:
      take_c2h_data();
      break;
    case nvme::PduType::kCapsuleResp:
      take_response();
      break;
    case nvme::PduType::kC2hTermReq:
      terminated_ = reader_.as<nvme::TermReq>();
      stream_->close();
      break;
    default:
      return blame(fmt::format("a PDU that hosts do not get: {}", nvme::pdu_type_name(layout_.type)));
  }
  reader_.reset();
  expect_ = data_left_ > 0 ? Expect::kData : Expect::kHeader;
}

void TestHostQueue::take_ic_resp() {
  const auto pdu = reader_.as<nvme::IcResp>();
  const auto digests = static_cast<uint8_t>((options_.header_digest ? nvme::kDigestHeaderEnable : 0) |
                                            (options_.data_digest ? nvme::kDigestDataEnable : 0));
  if (!nvme::check_ic_resp(pdu, digests)) return blame("a bad ICResp");
  receive_rules_.initialized = true;
  receive_rules_.header_digest = send_rules_.header_digest = (pdu.dgst & nvme::kDigestHeaderEnable) != 0;
  receive_rules_.data_digest = send_rules_.data_digest = (pdu.dgst & nvme::kDigestDataEnable) != 0;
  send_rules_.data_alignment = pdu.cpda;
  max_h2c_data_ = pdu.maxh2cdata;
  initialized_.set();
}

TestHostQueue::Pending* TestHostQueue::find(uint16_t cid) {
  const auto found = pending_.find(cid);
  return found == pending_.end() ? nullptr : found->second;
}

void TestHostQueue::take_r2t() {
  const auto pdu = reader_.as<nvme::R2t>();
  Pending* pending = find(pdu.cccid);
  if (pending == nullptr || direction_of(pending->sqe) != nvme::DataDirection::kHostToController) {
    return blame("an R2T for no command that sends data");
  }
  const nvme::DataWindow window{.cccid = pdu.cccid,
                                .next_offset = pending->requested,
                                .remaining = static_cast<uint32_t>(pending->data.size()) - pending->requested};
  if (!nvme::check_r2t(pdu, window, 0, 0)) return blame("an R2T out of order");
  ++num_r2ts_;
  pending->requested += pdu.r2tl;
  if (!options_.answers_r2t) return;
  const uint32_t at_most = std::min(options_.h2c_size, max_h2c_data_);
  for (uint32_t sent = 0; sent < pdu.r2tl;) {
    const uint32_t size = std::min(at_most, pdu.r2tl - sent);
    std::array<std::byte, nvme::kMaxHeaderSize> header;
    const size_t header_size = nvme::encode_h2c_data(header,
                                                     {.cccid = pdu.cccid,
                                                      .ttag = pdu.ttag,
                                                      .offset = pdu.r2to + sent,
                                                      .size = size,
                                                      .last = sent + size == pdu.r2tl},
                                                     send_rules_);
    std::vector<std::byte> bytes(header.begin(), header.begin() + static_cast<ptrdiff_t>(header_size));
    append_data(bytes, pending->data.subspan(pdu.r2to + sent, size), send_rules_.data_digest);
    send_raw(std::move(bytes));
    sent += size;
  }
}

void TestHostQueue::take_c2h_data() {
  const auto pdu = reader_.as<nvme::C2hData>();
  Pending* pending = find(pdu.cccid);
  if (pending == nullptr || direction_of(pending->sqe) != nvme::DataDirection::kControllerToHost) {
    return blame("data for no command that wants some");
  }
  const auto received = static_cast<uint32_t>(pending->answer.data.size());
  const nvme::DataWindow window{.cccid = pdu.cccid, .next_offset = received, .remaining = pending->expected - received};
  if (!nvme::check_c2h_data(pdu, layout_, window)) return blame("data out of order");
  data_pending_ = pending;
  data_offset_ = received;
  pending->answer.data.resize(received + layout_.data_size);
}

void TestHostQueue::data_arrived(size_t size) {
  data_offset_ += size;
  data_left_ -= static_cast<uint32_t>(size);
  if (data_left_ > 0) return;
  if (layout_.data_digest) {
    expect_ = Expect::kDataDigest;
  } else {
    end_of_data();
  }
}

void TestHostQueue::end_of_data() {
  expect_ = Expect::kHeader;
  Pending* pending = std::exchange(data_pending_, nullptr);
  if (pending == nullptr) return;
  if (layout_.data_digest) {
    digest_.add_data(std::span(pending->answer.data).last(layout_.data_size));
    if (!digest_.matches()) return blame("a wrong data digest");
  }
  if (!layout_.success()) return;
  nvme::Cqe success;
  success.cid = pending->sqe.cid;
  end(*pending, success);
}

void TestHostQueue::take_response() {
  const auto completion = reader_.as<nvme::CapsuleResp>().cqe;
  Pending* pending = find(completion.cid);
  if (pending == nullptr) return blame(fmt::format("an answer to no command (CID {})", completion.cid));
  if (completion.status().is_success() && pending->requested < pending->data.size() &&
      pending->sqe.sgl.type() == nvme::SglType::kTransportDataBlock) {
    return blame("success without having asked for the data");
  }
  end(*pending, completion);
}

void TestHostQueue::end(Pending& pending, const nvme::Cqe& completion) {
  pending_.erase(pending.sqe.cid);
  pending.answer.completion = completion;
  pending.ended = true;
  pending.changed.set();
  entry_free_.pulse();
}

void TestHostQueue::blame(std::string what) {
  fault_ = std::move(what);
  stream_->close();
}

}  // namespace cairn::nvmf::target
