// The host's end of one NVMe/TCP connection, for tests: speaks the protocol over a runtime::Stream, takes commands from
// any number of tasks and sends raw bytes when asked to. Not a product: it gives up where a real host would recover.
//
// States: connecting -> initializing (ICReq sent) -> open -> closed. What the target does against the protocol is kept
// in fault() and ends the connection. Lives on one reactor.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "nvme/data_digest_reader.h"
#include "nvme/tcp_pdu_reader.h"
#include "runtime/address.h"
#include "runtime/stream.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::target {

struct TestHostQueueOptions {
  bool header_digest = false;
  bool data_digest = false;
  uint8_t alignment = 0;  // HPDA: of the data that the target sends, 0's based dwords
  // Writes of at most so many bytes go within the capsule; 0: everything by R2T.
  uint32_t in_capsule_size = 8192;
  // An R2T is answered with H2CData of at most so many bytes each (and what the target allows).
  uint32_t h2c_size = 65536;
  bool answers_r2t = true;
  // A command that takes longer ends the connection, as a host's error recovery would.
  Duration command_timeout = std::chrono::seconds(60);
};

class TestHostQueue final : private runtime::StreamHandler {
 public:
  struct Answer {
    nvme::Cqe completion{};
    std::vector<std::byte> data{};  // what came from the target
    nvme::Status status() const { return completion.status(); }
  };

  // Connects and exchanges ICReq and ICResp.
  static runtime::Task<Result<std::unique_ptr<TestHostQueue>>> open(runtime::SocketAddress address,
                                                                    TestHostQueueOptions options);
  // A connection on which nothing has been said yet: for raw bytes.
  TestHostQueue(std::unique_ptr<runtime::Stream> stream, const TestHostQueueOptions& options);
  ~TestHostQueue();  // closed, or the node has crashed

  // Sends a command and waits for its end; first for a free entry of the queue. `data`: what the host sends, valid
  // until then. `read_size`: bytes that it accepts. Fills in CID, PSDT and SGL. An error: the connection ended before.
  runtime::Task<Result<Answer>> run(nvme::Sqe sqe, std::span<const std::byte> data = {}, uint32_t read_size = 0);
  // A fused pair: two commands right behind each other.
  runtime::Task<Result<std::array<Answer, 2>>> run_fused(nvme::Sqe first, std::span<const std::byte> first_data,
                                                         nvme::Sqe second, std::span<const std::byte> second_data);
  void set_entries(uint16_t entries) { entries_ = entries; }
  size_t outstanding() const { return pending_.size(); }
  uint64_t num_r2ts() const { return num_r2ts_; }

  void send_raw(std::vector<std::byte> bytes);
  bool closed() const { return closed_.is_set(); }
  runtime::Event& closed_event() { return closed_; }
  runtime::Task<> close();
  void begin_close() { stream_->close(); }
  // Takes nothing more from the target.
  void pause_receiving() { stream_->pause(); }

  // What the target did against the protocol; empty: nothing.
  const std::string& fault() const { return fault_; }
  // The termination request that the target sent.
  const std::optional<nvme::TermReq>& terminated() const { return terminated_; }

 private:
  struct Pending {
    nvme::Sqe sqe;
    std::span<const std::byte> data;
    uint32_t requested = 0;  // bytes of `data` that were asked for
    uint32_t expected = 0;   // bytes from the target
    Answer answer{};
    bool ended = false;
    bool lost = false;  // the connection ended first
    runtime::Event changed{};
  };
  struct Output : runtime::SendOp {
    TestHostQueue* owner = nullptr;
    std::list<Output>::iterator self;
    std::vector<std::byte> bytes;
    iovec piece{};
  };
  enum class Expect : uint8_t { kHeader, kData, kDataDigest };

  std::span<std::byte> receive_window() override;
  void on_window_filled(size_t size) override;
  void on_receive(std::span<const std::byte> data) override;
  void on_closed(const Error& reason) override;

  void take_header();
  void take_ic_resp();
  void take_r2t();
  void take_c2h_data();
  void take_response();
  void data_arrived(size_t size);
  void end_of_data();
  void end(Pending& pending, const nvme::Cqe& completion);
  void blame(std::string what);
  // False: the connection ended or the time is up.
  runtime::Task<bool> wait_for_entries(size_t count);
  void send_command(Pending& pending);
  // To the end of a command that was sent, which a time-out hastens by closing the connection.
  runtime::Task<> wait_for_end(Pending& pending);
  Pending* find(uint16_t cid);

  std::unique_ptr<runtime::Stream> stream_;
  TestHostQueueOptions options_;
  uint16_t entries_ = 32;
  uint32_t max_h2c_data_ = 0;
  nvme::ReceiveRules receive_rules_;
  nvme::SendRules send_rules_;
  nvme::PduHeaderReader reader_;
  Expect expect_ = Expect::kHeader;
  nvme::PduLayout layout_;
  Pending* data_pending_ = nullptr;  // nullptr: the data is thrown away
  size_t data_offset_ = 0;
  uint32_t data_left_ = 0;
  nvme::DataDigestReader digest_;

  std::map<uint16_t, Pending*> pending_;
  uint16_t next_cid_ = 0;
  uint64_t num_r2ts_ = 0;
  std::list<Output> outputs_;
  runtime::Event entry_free_;  // pulsed
  runtime::Event initialized_;
  runtime::Event closed_;
  std::string fault_;
  std::optional<nvme::TermReq> terminated_;
};

}  // namespace cairn::nvmf::target
