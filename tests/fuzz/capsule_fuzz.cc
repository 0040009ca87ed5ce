// Commands straight into queue pairs, without a wire: two hosts with an admin and an I/O queue each. See
// seeds/capsule_fuzz.txt.
//
// Input: records of a control byte (bits 1:0: admin or I/O queue of the first host, of the second; bits 3:2: the
// command gets its data at once, after the next command, at the end, or is given up; bit 4: time passes afterwards; bit
// 5: the connection ends), 64 bytes of command, a word for the size of the host's data (at most 16 KiB) and a byte that
// starts its pattern, or, with bit 6 of the control byte, the data itself.
#include <algorithm>
#include <optional>
#include <vector>

#include "nvme/fabrics.h"
#include "nvme/property.h"
#include "nvmf/target/test_connection.h"
#include "target_under_fuzz.h"

namespace cairn::nvmf::target {
namespace {

constexpr uint32_t kMaxData = 16 << 10;

class Host {
 public:
  Host(TargetUnderFuzz& site, uint8_t number) : site_(site), number_(number) {
    const runtime::Reactor::Scope scope(site.reactor());
    admin = std::make_unique<TestConnection>(site.target());
    io = std::make_unique<TestConnection>(site.target());
    cntlid_ = connect(*admin, 0, nvme::kDynamicControllerId);
    nvme::Sqe sqe;
    sqe.set_flags(nvme::Fuse::kNormal, nvme::Psdt::kSglMptrAddress);
    nvme::PropertySet{.offset = static_cast<uint32_t>(nvme::Property::kCc),
                      .value = nvme::ControllerConfiguration{.en = true, .iosqes = 6, .iocqes = 4}.encode()}
        .encode(sqe);
    admin->send(sqe);
    settle();
    connect(*io, 1, cntlid_);
  }
  ~Host() {
    for (auto* connection : {io.get(), admin.get()}) {
      {
        const runtime::Reactor::Scope scope(site_.reactor());
        connection->disconnect();
      }
      CAIRN_CHECK(site_.world().run_until([&] { return connection->closed(); }, std::chrono::minutes(5)) ==
                  runtime::sim::RunResult::kDone);
    }
    const runtime::Reactor::Scope scope(site_.reactor());
    io.reset();
    admin.reset();
  }

  std::unique_ptr<TestConnection> admin;
  std::unique_ptr<TestConnection> io;

 private:
  void settle() { site_.world().run_for(std::chrono::milliseconds(1)); }
  uint16_t connect(TestConnection& connection, uint16_t qid, uint16_t cntlid) {
    nvme::ConnectData data;
    data.hostid[15] = number_;
    data.cntlid = cntlid;
    nvme::set_c_string(data.subnqn, TargetUnderFuzz::kNqn);
    nvme::set_c_string(data.hostnqn, TargetUnderFuzz::kHostNqn);
    nvme::Sqe sqe;
    sqe.set_flags(nvme::Fuse::kNormal, nvme::Psdt::kSglMptrAddress);
    sqe.sgl = nvme::SglDescriptor::transport(sizeof(data));
    nvme::Connect{.qid = qid, .sqsize = 31}.encode(sqe);
    auto& connected = connection.send(sqe, nvme::bytes_of(data));
    settle();
    CAIRN_CHECK(connected.completed && connected.status().is_success());
    return nvme::ConnectAccept::decode(connected.completion.dw0).cntlid;
  }

  TargetUnderFuzz& site_;
  uint8_t number_;
  uint16_t cntlid_ = 0;
};

// A command that waits for its data.
struct Waiting {
  TestConnection* connection;
  TestConnection::Command* command;
};

// It may have ended since, by an Abort or because its other half did.
void deliver(const Waiting& waiting) {
  if (waiting.command->state != RequestState::kPrepared) return;
  const uint32_t needed = waiting.command->data_length;
  if (waiting.command->direction == nvme::DataDirection::kHostToController &&
      waiting.command->host_data.size() < needed) {
    waiting.command->host_data.resize(needed);
  }
  waiting.connection->deliver(*waiting.command);
}

void run(std::span<const std::byte> bytes) {
  FuzzInput input(bytes);
  TargetUnderFuzz site;
  Host first(site, 1);
  Host second(site, 2);
  TestConnection* const connections[] = {first.admin.get(), first.io.get(), second.admin.get(), second.io.get()};
  bool ended[4] = {};
  std::optional<Waiting> after_next;
  std::vector<Waiting> at_end;
  while (!input.empty()) {
    const uint8_t control = input.byte();
    const auto command_bytes = input.bytes(sizeof(nvme::Sqe));
    if (command_bytes.size() < sizeof(nvme::Sqe)) break;
    const auto sqe = nvme::load<nvme::Sqe>(command_bytes);
    const uint32_t size = input.word() % (kMaxData + 1);
    std::vector<std::byte> data;
    if ((control & 64) != 0) {
      const auto given = input.bytes(size);
      data.assign(given.begin(), given.end());
    } else {
      data.resize(size);
      uint8_t pattern = input.byte();
      for (std::byte& each : data) each = std::byte{pattern++};
    }
    TestConnection& connection = *connections[control & 3];
    if (!ended[control & 3] && connection.queue_pair().outstanding() < 64) {
      const Waiting waiting{&connection, &connection.receive(sqe, data)};
      const std::optional<Waiting> before = std::exchange(after_next, std::nullopt);
      if (waiting.command->state == RequestState::kPrepared) {
        switch (control >> 2 & 3) {
          case 0:
            deliver(waiting);
            break;
          case 1:
            after_next = waiting;
            break;
          case 2:
            at_end.push_back(waiting);
            break;
          case 3:
            connection.give_up(*waiting.command, nvme::Status::generic(nvme::GenericStatus::kTransientTransportError));
            break;
        }
      }
      if (before) deliver(*before);
    }
    if ((control & 16) != 0) site.world().run_for(std::chrono::milliseconds(1));
    if ((control & 32) != 0) {
      ended[control & 3] = true;
      const runtime::Reactor::Scope scope(site.reactor());
      connection.disconnect();
    }
  }
  if (after_next) deliver(*after_next);
  for (auto each = at_end.rbegin(); each != at_end.rend(); ++each) deliver(*each);
  site.world().run_for(std::chrono::milliseconds(10));
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
