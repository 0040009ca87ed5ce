// The host's end of one NVMe/TCP connection (NVMe/TCP Transport 1.0): one queue pair. Turns commands into capsules,
// moves their data and judges everything that the controller sends.
//
// States: kInitializing (ICReq sent) -> kOpen -> kClosing (being closed; commands may still come back) -> kClosed.
// Whatever breaks the protocol leads to kClosing: a termination request where the specification asks for one, then the
// connection is cut. Lives on one reactor.
//
// A command's way: submit() takes one of a fixed number of slots -> capsule, with its data where that fits -> R2T and
// H2CData, or C2HData -> response, or the SUCCESS flag of the data -> slot free -> `complete`. A command comes back
// only when nothing refers to its memory any more: after its output was handed to the kernel, and when the connection
// is lost, after the stream has ended. Steady state: no allocation, no timer for a command, output of a round of the
// reactor in one system call.
//
// A CID is the slot's number and how often that was used (modulo 64), so that answers to commands of the past are
// recognized.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/duration.h"
#include "base/error.h"
#include "nvme/data_digest_reader.h"
#include "nvme/fabrics.h"
#include "nvme/tcp_pdu_reader.h"
#include "nvmf/host/command.h"
#include "runtime/address.h"
#include "runtime/stream.h"
#include "runtime/task_waits.h"
#include "runtime/timer.h"

namespace cairn::nvmf::host {

class QueuePair final : private runtime::StreamHandler {
 public:
  static constexpr uint16_t kMaxEntries = 1024;
  // How often the age of commands is looked at.
  static constexpr Duration kTimeoutResolution = std::chrono::milliseconds(250);

  struct Options {
    bool header_digest = false;
    bool data_digest = false;
    uint16_t entries = 32;                                // of the queue: one less than that can be outstanding
    uint32_t max_capsule_data = nvme::kAdminCapsuleData;  // of commands that write
  };

  // Called on the reactor of the queue pair.
  class Owner {
   public:
    // The command with this CID has taken its time. Once for a command: when it has taken half as long again, the
    // connection is ended. False: end it now.
    virtual bool on_timeout(QueuePair& queue, uint16_t cid) = 0;
    // The connection has ended, every command has come back. The owner may destroy the queue pair, but not in here.
    virtual void on_closed(QueuePair& queue, const Error& reason) = 0;

   protected:
    ~Owner() = default;
  };

  // Connects and exchanges ICReq and ICResp. Errors: of the network; digests refused; the peer speaks no NVMe/TCP.
  static runtime::Task<Result<std::unique_ptr<QueuePair>>> open(runtime::SocketAddress address, Options options,
                                                                Owner& owner);
  QueuePair(std::unique_ptr<runtime::Stream> stream, const Options& options, Owner& owner);
  ~QueuePair();  // closed

  bool is_open() const { return state_ == State::kOpen; }
  // Whether `count` more commands can be submitted; tasks in run() that wait for a slot go first.
  bool has_room(size_t count = 1) const {
    return state_ == State::kOpen && free_slots_.size() >= count + num_waiting_tasks_;
  }
  size_t outstanding() const { return slots_.size() - free_slots_.size(); }

  // has_room(): starts the command. Not open: comes back as lost, within the call.
  void submit(Command& command);
  // Of a fused pair, both come back on their own. has_room(2).
  void submit_fused(Command& first, Command& second) {
    submit(first);
    submit(second);
  }

  struct Answer {
    nvme::Status status;
    uint32_t dw0 = 0;
    uint32_t dw1 = 0;
    uint64_t value64() const { return dw0 | uint64_t{dw1} << 32; }
  };
  // Runs a command to its end; waits for a slot first. A cancelled caller waits all the same: bounded by the time-out.
  // The error: the connection was lost (UNAVAILABLE).
  runtime::Task<Result<Answer>> run(nvme::Sqe sqe, Duration timeout);
  runtime::Task<Result<Answer>> run_sending(nvme::Sqe sqe, std::span<const std::byte> data, Duration timeout);
  runtime::Task<Result<Answer>> run_receiving(nvme::Sqe sqe, std::span<std::byte> data, Duration timeout);

  // Fabrics Connect. Gives the controller's identifier.
  runtime::Task<Result<uint16_t>> connect(const nvme::Connect& command, const nvme::ConnectData& data,
                                          Duration timeout);

  // Ends the connection with this reason; on_closed follows.
  void fail(Error reason);
  // The same, and waits until it has ended.
  runtime::Task<> close();

 private:
  enum class State : uint8_t { kInitializing, kOpen, kClosing, kClosed };
  enum class Expect : uint8_t { kHeader, kData, kDataDigest };

  struct Slot;
  struct Output : runtime::SendOp {
    Slot* slot = nullptr;
  };
  static constexpr size_t kMaxPieces = runtime::SendOp::kMaxPieces + 2;  // header, an I/O's data, digest
  struct Slot {
    Command* command = nullptr;  // nullptr: free
    QueuePair* queue = nullptr;
    TimePoint started_at{};
    uint16_t index = 0;
    uint16_t cid = 0;
    uint8_t sends_in_flight = 0;
    bool answered = false;
    bool damaged = false;  // a data digest was wrong
    bool timeout_told = false;
    uint32_t transferred = 0;  // bytes of data received, or that were asked for
    // Where the next byte of data lies: receiving only.
    uint16_t piece = 0;
    size_t piece_offset = 0;
    // An R2T being answered.
    uint16_t ttag = 0;
    uint32_t r2t_offset = 0;
    uint32_t r2t_left = 0;

    Output outputs[2];
    std::array<std::byte, nvme::kPduDigestSize> digest;
    std::array<std::byte, nvme::kMaxHeaderSize> header;
    std::array<iovec, kMaxPieces> pieces;
  };
  struct TaskCommand;
  class RunAwaiter;
  runtime::Task<Result<Answer>> run_command(nvme::Sqe sqe, iovec memory, nvme::DataDirection direction,
                                            Duration timeout);

  std::span<std::byte> receive_window() override;
  void on_window_filled(size_t size) override;
  void on_receive(std::span<const std::byte> data) override;
  void on_closed(const Error& reason) override;

  // queue_pair_receive.cc
  std::optional<size_t> take_header_at_once(std::span<const std::byte> data);
  void take_header(std::span<const std::byte> header);
  void take_ic_resp(std::span<const std::byte> header);
  void take_c2h_data(std::span<const std::byte> header);
  void take_r2t(std::span<const std::byte> header);
  void take_response(std::span<const std::byte> header);
  void take_term_req(std::span<const std::byte> header);
  void take_data(std::span<const std::byte> data);
  std::span<std::byte> place_for_data() const;
  void advance(Slot& slot, size_t size);
  void note_data(size_t size);
  void end_of_data();
  void terminate(nvme::TermReqError error, std::span<const std::byte> header, std::string_view what);

  // queue_pair_send.cc
  void send_ic_req();
  void send_capsule(Slot& slot);
  void send_h2c_data(Slot& slot);
  size_t append_data(Slot& slot, size_t count, uint32_t offset, uint32_t size);
  void send(Slot& slot, size_t num_pieces);
  void output_done(Slot& slot, int result);

  Slot* find(uint16_t cid);
  void answer(Slot& slot, nvme::Status status, uint32_t dw0, uint32_t dw1);
  void release(Slot& slot, Command::Outcome outcome);
  void check_timeouts();

  std::unique_ptr<runtime::Stream> stream_;
  runtime::Reactor& reactor_;
  Owner& owner_;
  const Options options_;
  State state_ = State::kInitializing;
  std::optional<Error> reason_;  // in kClosing
  runtime::Event initialized_;
  runtime::Event closed_;
  runtime::Event room_;  // pulsed when tasks wait for a slot
  size_t num_waiting_tasks_ = 0;
  runtime::Timer timer_;

  std::vector<Slot> slots_;
  std::vector<uint16_t> free_slots_;  // a stack: the warmest on top

  nvme::ReceiveRules receive_rules_;
  nvme::SendRules send_rules_;
  uint32_t max_h2c_data_ = 0;
  nvme::PduHeaderReader reader_;
  bool reading_header_ = false;  // reader_ holds a part of one
  Expect expect_ = Expect::kHeader;
  nvme::PduLayout layout_;
  Slot* data_slot_ = nullptr;
  bool in_window_ = false;  // the stream fills the memory of data_slot_: that stays its window until it is full
  uint32_t data_left_ = 0;
  nvme::DataDigestReader digest_;

  runtime::SendOp control_op_;  // ICReq or termination request
  std::array<std::byte, nvme::kMaxTermReqSize> control_pdu_{};
  iovec control_piece_{};
};

}  // namespace cairn::nvmf::host
