#include "nvmf/target/test_host.h"

#include <algorithm>

#include "nvme/admin_command.h"
#include "nvme/fabrics.h"
#include "nvme/property.h"
#include "runtime/reactor.h"

namespace cairn::nvmf::target {

using runtime::Task;

HostId TestHost::host_id(uint8_t number) {
  HostId id{};
  id[15] = number;
  return id;
}

Task<Result<std::unique_ptr<TestHost>>> TestHost::connect(TestHostOptions options) {
  auto host = std::make_unique<TestHost>(std::move(options));
  if (co_await host->start()) co_return host;
  co_await host->close();
  co_return fail(Code::kUnavailable, "the target did not let the host in");
}

Task<bool> TestHost::start() {
  admin_ = co_await connect_queue(0);
  if (admin_ == nullptr) co_return false;
  nvme::Sqe enable;
  nvme::PropertySet{.offset = static_cast<uint32_t>(nvme::Property::kCc),
                    .value = nvme::ControllerConfiguration{.en = true, .iosqes = 6, .iocqes = 4}.encode()}
      .encode(enable);
  const auto enabled = co_await admin_->run(enable);
  if (!enabled || !enabled->status().is_success()) co_return false;
  for (uint16_t qid = 1; qid <= options_.num_io_queues; ++qid) {
    auto queue = co_await connect_queue(qid);
    if (queue == nullptr) co_return false;
    io_.push_back(std::move(queue));
  }
  if (options_.kato_ms > 0) {
    keep_alive_running_ = true;
    keep_alive_ = runtime::Reactor::current().spawn("test host keep alive", send_keep_alive());
  }
  co_return true;
}

Task<std::unique_ptr<TestHostQueue>> TestHost::connect_queue(uint16_t qid) {
  auto opened = co_await TestHostQueue::open(options_.address, options_.queue);
  if (!opened) co_return nullptr;
  TestHostQueue& queue = **opened;
  queue.set_entries(options_.queue_entries);
  nvme::ConnectData data;
  const HostId id = host_id(options_.number);
  std::ranges::copy(id, data.hostid);
  data.cntlid = cntlid_;
  nvme::set_c_string(data.subnqn, options_.subsystem_nqn);
  nvme::set_c_string(data.hostnqn, "nqn.2014-08.org.example:host" + std::to_string(options_.number));
  nvme::Sqe sqe;
  nvme::Connect{.qid = qid,
                .sqsize = static_cast<uint16_t>(options_.queue_entries - 1),
                .keep_alive_timeout_ms = qid == 0 ? options_.kato_ms : 0}
      .encode(sqe);
  const auto connected = co_await queue.run(sqe, nvme::bytes_of(data));
  if (connected && connected->status().is_success()) {
    if (qid == 0) cntlid_ = nvme::ConnectAccept::decode(connected->completion.dw0).cntlid;
    co_return std::move(*opened);
  }
  co_await queue.close();
  co_return nullptr;
}

Task<> TestHost::send_keep_alive() {
  const Duration period = std::chrono::milliseconds(options_.kato_ms) / 2;
  nvme::Sqe sqe;
  sqe.opcode = static_cast<uint8_t>(nvme::AdminOpcode::kKeepAlive);
  while (co_await runtime::sleep_for(period)) {
    if (silent_ || !co_await admin_->run(sqe)) break;
  }
  keep_alive_running_ = false;
  keep_alive_ended_.set();
}

Task<> TestHost::close() {
  for (auto& queue : io_) co_await queue->close();
  if (admin_ != nullptr) co_await admin_->close();
  keep_alive_.cancel();
  if (keep_alive_running_) static_cast<void>(co_await keep_alive_ended_.wait_uninterrupted());
}

bool TestHost::any_closed() const {
  return admin_->closed() || std::ranges::any_of(io_, [](const auto& queue) { return queue->closed(); });
}

std::string TestHost::fault() const {
  if (!admin_->fault().empty()) return "admin queue: " + admin_->fault();
  for (const auto& queue : io_) {
    if (!queue->fault().empty()) return queue->fault();
  }
  return {};
}

nvme::Sqe TestHost::io_sqe(nvme::NvmOpcode opcode) {
  nvme::Sqe sqe;
  sqe.opcode = static_cast<uint8_t>(opcode);
  sqe.nsid = 1;
  return sqe;
}

nvme::Sqe TestHost::range_sqe(nvme::NvmOpcode opcode, uint64_t slba, uint32_t num_blocks) {
  nvme::Sqe sqe = io_sqe(opcode);
  nvme::BlockRange{.slba = slba, .num_blocks = num_blocks}.encode(sqe);
  return sqe;
}

Task<Result<TestHost::Answer>> TestHost::register_key(nvme::ChangePtpl ptpl, size_t queue) {
  nvme::Sqe sqe = io_sqe(nvme::NvmOpcode::kReservationRegister);
  nvme::ReservationRegister{.change_ptpl = ptpl}.encode(sqe);
  const nvme::ReservationRegisterData data{.nrkey = options_.number};
  co_return co_await io(queue).run(sqe, nvme::bytes_of(data));
}

Task<Result<TestHost::Answer>> TestHost::acquire(nvme::ReservationType type, nvme::AcquireAction action, uint64_t prkey,
                                                 size_t queue) {
  nvme::Sqe sqe = io_sqe(nvme::NvmOpcode::kReservationAcquire);
  nvme::ReservationAcquire{.action = action, .type = type}.encode(sqe);
  const nvme::ReservationAcquireData data{.crkey = options_.number, .prkey = prkey};
  co_return co_await io(queue).run(sqe, nvme::bytes_of(data));
}

Task<Result<TestHost::Answer>> TestHost::report(size_t queue) {
  constexpr uint32_t kSize = 4096;
  nvme::Sqe sqe = io_sqe(nvme::NvmOpcode::kReservationReport);
  nvme::ReservationReport{.size_bytes = kSize, .extended = true}.encode(sqe);
  co_return co_await io(queue).run(sqe, {}, kSize);
}

}  // namespace cairn::nvmf::target
