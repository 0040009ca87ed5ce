// Commands of NvmeDevice that are no block I/O: admin and vendor commands, reservations.
#include <fmt/format.h>

#include "nvmf/host/nvme_device.h"
#include "runtime/reactor.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::host {

using runtime::Task;

Task<Result<QueuePair::Answer>> NvmeDevice::admin_command(nvme::Sqe sqe, std::span<std::byte> data) {
  Path* path = connected_path();
  if (path == nullptr) co_return fail(Code::kUnavailable, fmt::format("{}: no path", name()));
  co_return co_await path->controller->run(sqe, data);
}

Task<Result<QueuePair::Answer>> NvmeDevice::io_command(nvme::Sqe sqe, std::span<std::byte> data) {
  const auto lane = co_await lane_on(home());
  if (!lane) co_return fail(lane.error());
  co_return co_await (*lane)->run(sqe, data);
}

Task<Result<nvme::Status>> NvmeDevice::register_key(nvme::ReservationRegister command,
                                                    nvme::ReservationRegisterData keys) {
  nvme::Sqe sqe;
  command.encode(sqe);
  const auto answer = co_await io_command(sqe, std::as_writable_bytes(std::span(&keys, 1)));
  if (!answer) co_return fail(answer.error());
  co_return answer->status;
}

Task<Result<nvme::Status>> NvmeDevice::acquire_reservation(nvme::ReservationAcquire command,
                                                           nvme::ReservationAcquireData keys) {
  nvme::Sqe sqe;
  command.encode(sqe);
  const auto answer = co_await io_command(sqe, std::as_writable_bytes(std::span(&keys, 1)));
  if (!answer) co_return fail(answer.error());
  co_return answer->status;
}

Task<Result<nvme::Status>> NvmeDevice::release_reservation(nvme::ReservationRelease command, uint64_t key) {
  nvme::Sqe sqe;
  command.encode(sqe);
  nvme::ReservationReleaseData data{.crkey = key};
  const auto answer = co_await io_command(sqe, std::as_writable_bytes(std::span(&data, 1)));
  if (!answer) co_return fail(answer.error());
  co_return answer->status;
}

Task<Result<ReservationStatus>> NvmeDevice::report_reservation() {
  constexpr size_t kSize = 4096;
  std::vector<std::byte> data(kSize);
  nvme::Sqe sqe;
  nvme::ReservationReport{.size_bytes = kSize, .extended = true}.encode(sqe);
  const auto answer = co_await io_command(sqe, data);
  if (!answer) co_return fail(answer.error());
  if (!answer->status.is_success()) {
    const bool by_the_way = answer->status.type() == nvme::StatusCodeType::kPath;
    co_return fail(by_the_way ? Code::kUnavailable : Code::kInternal,
                   fmt::format("Reservation Report: {}", answer->status.to_string()));
  }
  const auto header = nvme::load<nvme::ReservationStatusHeaderExtended>(data).base;
  ReservationStatus status{
      .generation = header.gen, .type = header.rtype, .persists = header.ptpls != 0, .registrants = {}};
  std::span<const std::byte> rest = std::span(data).subspan(sizeof(nvme::ReservationStatusHeaderExtended));
  const unsigned count = header.num_registrants;
  for (unsigned i = 0; i < count && rest.size() >= sizeof(nvme::RegistrantExtended); ++i) {
    const auto entry = nvme::load<nvme::RegistrantExtended>(rest);
    ReservationStatus::Holder holder{.host_id = {},
                                     .key = entry.rkey,
                                     .cntlid = entry.cntlid,
                                     .holds_reservation = (entry.rcsts & nvme::kRegistrantHoldsReservation) != 0};
    std::ranges::copy(entry.hostid, holder.host_id.begin());
    status.registrants.push_back(holder);
    rest = rest.subspan(sizeof(nvme::RegistrantExtended));
  }
  co_return status;
}

}  // namespace cairn::nvmf::host
