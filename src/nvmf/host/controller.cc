#include "nvmf/host/controller.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "base/abandonment.h"
#include "base/log.h"
#include "nvme/admin_command.h"
#include "nvme/async_event.h"
#include "nvme/feature.h"
#include "nvmf/host/name_lookup.h"
#include "runtime/reactor.h"

namespace cairn::nvmf::host {

using runtime::Task;

namespace {

constexpr uint16_t kAdminEntries = 32;
constexpr uint16_t kMaxIoQueues = 128;
constexpr Duration kReadyPollPeriod = std::chrono::milliseconds(10);
constexpr Duration kShutdownLimit = std::chrono::seconds(2);
constexpr Duration kSettleMargin = std::chrono::seconds(1);

}  // namespace

Controller::Controller(const ConnectionOptions& options, PathAddress path)
    : options_(options), path_(std::move(path)) {}

Controller::~Controller() {
  CAIRN_CHECK(admin_ == nullptr || abandoning());
}

// ---- Connecting ----

Task<Result<>> Controller::connect() {
  CAIRN_CHECK(admin_ == nullptr);
  lost_.reset();
  namespace_missing_ = false;
  announced_ = false;
  limit_ = std::min(options_.admin_timeout, options_.connect_timeout);
  Result<> connected;
  {
    const runtime::Deadline deadline(co_await runtime::current_context(), options_.connect_timeout);
    connected = co_await try_connect();
    if (connected && !admin_->is_open())
      connected = fail(lost_.value_or(Error(Code::kUnavailable, "the connection was lost")));
    if (!connected && deadline.fired() && connected.error().code() == Code::kDeadlineExceeded) {
      connected = fail(Code::kDeadlineExceeded, "the controller does not answer");
    }
  }
  if (!connected) {
    co_await disconnect(false);
    co_return fail(
        Error(connected.error().code(), fmt::format("cannot connect to {}", path_.to_string()), connected.error()));
  }
  announced_ = true;
  limit_ = options_.admin_timeout;
  begin_background();
  co_return Result<>{};
}

Task<Result<>> Controller::try_connect() {
  if (auto opened = co_await open_admin_queue(); !opened) co_return opened;
  if (auto enabled = co_await enable(); !enabled) co_return enabled;
  if (auto identified = co_await identify_controller(); !identified) co_return identified;
  if (auto set = co_await set_features(); !set) co_return set;
  auto found = co_await identify_namespace();
  namespace_missing_ = !found && found.error().code() == Code::kNotFound;
  if (!found) co_return fail(std::move(found.error()));
  namespace_ = *found;
  co_return Result<>{};
}

Task<Result<>> Controller::open_admin_queue() {
  const auto addresses = co_await look_up(path_);
  if (!addresses) co_return fail(addresses.error());
  Error failure(Code::kUnavailable, "no address");
  for (const runtime::SocketAddress& address : *addresses) {
    auto queue = co_await QueuePair::open(
        address,
        {.header_digest = options_.header_digest, .data_digest = options_.data_digest, .entries = kAdminEntries},
        *this);
    if (queue) {
      address_ = address;
      admin_ = std::move(*queue);
      break;
    }
    failure = std::move(queue.error());
  }
  if (admin_ == nullptr) co_return fail(std::move(failure));
  info_ = {};
  info_.cntlid = nvme::kDynamicControllerId;
  const nvme::Connect command{.sqsize = kAdminEntries - 1,
                              .keep_alive_timeout_ms = static_cast<uint32_t>(
                                  std::chrono::duration_cast<std::chrono::milliseconds>(options_.keep_alive).count())};
  const auto cntlid = co_await admin_->connect(command, connect_data(), limit_);
  if (!cntlid) co_return fail(cntlid.error());
  info_.cntlid = *cntlid;
  co_return Result<>{};
}

nvme::ConnectData Controller::connect_data() const {
  nvme::ConnectData data;
  std::ranges::copy(options_.host.id.bytes(), data.hostid);
  data.cntlid = info_.cntlid;
  nvme::set_c_string(data.subnqn, options_.subsystem_nqn);
  nvme::set_c_string(data.hostnqn, options_.host.nqn);
  return data;
}

Task<Result<>> Controller::enable() {
  const auto cap = co_await get_property(nvme::Property::kCap);
  if (!cap) co_return fail(cap.error());
  capabilities_ = nvme::ControllerCapabilities::decode(*cap);
  const nvme::ControllerConfiguration configuration{.en = true, .iosqes = 6, .iocqes = 4};
  if (auto set = co_await set_property(nvme::Property::kCc, configuration.encode()); !set) co_return set;
  const Duration limit = std::chrono::milliseconds(500) * std::max<int>(capabilities_.to, 1);
  co_return co_await wait_for_status(true, limit);
}

Task<Result<>> Controller::wait_for_status(bool ready, Duration limit) {
  const TimePoint end = runtime::Reactor::current().now() + limit;
  for (;;) {
    const auto value = co_await get_property(nvme::Property::kCsts);
    if (!value) co_return fail(value.error());
    const auto status = nvme::ControllerStatus::decode(static_cast<uint32_t>(*value));
    if (status.cfs) co_return fail(Code::kUnavailable, "the controller reports a fatal status");
    if (status.rdy == ready) co_return Result<>{};
    if (runtime::Reactor::current().now() >= end) {
      co_return fail(Code::kDeadlineExceeded, "the controller does not become ready");
    }
    if (auto slept = co_await runtime::sleep_for(kReadyPollPeriod); !slept) co_return fail(slept.error());
  }
}

Task<Result<>> Controller::identify_controller() {
  auto data = std::make_unique<nvme::IdentifyController>();
  auto bytes = std::as_writable_bytes(std::span(data.get(), 1));
  if (auto done = co_await identify(nvme::Cns::kController, 0, 0, bytes); !done) co_return done;
  info_.serial_number = nvme::get_ascii(data->sn);
  info_.model = nvme::get_ascii(data->mn);
  info_.firmware = nvme::get_ascii(data->fr);
  info_.ana = (data->cmic & nvme::IdentifyController::kCmicAnaReporting) != 0;
  info_.max_ana_groups = data->anagrpmax;
  info_.reservations = (data->oncs & nvme::IdentifyController::kOncsReservations) != 0;
  oncs_ = data->oncs;
  acwu_ = data->acwu;
  fused_ = (data->fuses & nvme::IdentifyController::kFusesCompareAndWrite) != 0;
  predecessors_end_ = nvme::get_c_string(data->vendor3072) == nvme::IdentifyController::kPredecessorsEnd;
  info_.boot_id = predecessors_end_ ? Uuid(std::to_array(data->boot_id)) : Uuid();
  volatile_cache_ = (data->vwc & nvme::IdentifyController::kVwcPresent) != 0;
  max_transfer_shift_ = data->mdts;
  kas_ = std::chrono::milliseconds(100) * data->kas;

  uint32_t entries = capabilities_.mqes + 1u;
  if (data->maxcmd > 1) entries = std::min<uint32_t>(entries, data->maxcmd);
  entries = std::min<uint32_t>(entries, QueuePair::kMaxEntries);
  if (entries < 2) co_return fail(Code::kFailedPrecondition, "the controller's queues have one entry");
  info_.max_queue_entries = static_cast<uint16_t>(entries);
  // In 16 bytes, the command's 64 among them. NVMe/TCP has no offset between them.
  const uint64_t capsule = uint64_t{data->ioccsz} * 16;
  if (capsule < sizeof(nvme::Sqe)) {
    co_return fail(Code::kFailedPrecondition, fmt::format("IOCCSZ is {}, at least 4 is possible", data->ioccsz));
  }
  info_.max_capsule_data =
      data->icdoff == 0 ? static_cast<uint32_t>(std::min<uint64_t>(capsule - sizeof(nvme::Sqe), 1u << 20)) : 0;

  write_zeroes_limit_bytes_ = 0;
  auto nvm = std::make_unique<nvme::IdentifyNvmController>();
  auto nvm_bytes = std::as_writable_bytes(std::span(nvm.get(), 1));
  if (data->ver >= nvme::kVersion2_0) {
    // Optional: without it there is no limit.
    const auto limits = co_await identify(nvme::Cns::kCommandSetController, 0, 0, nvm_bytes);
    if (limits && nvm->wzsl > 0 && nvm->wzsl + 12u + capabilities_.mpsmin < 32) {
      write_zeroes_limit_bytes_ = 1u << (nvm->wzsl + 12u + capabilities_.mpsmin);
    }
    if (!limits && !connected()) co_return limits;
  }
  const uint32_t events = data->oaes & (nvme::kEventNamespaceAttribute | nvme::kEventAnaChange);
  nvme::Sqe sqe;
  nvme::SetFeatures{.fid = static_cast<uint8_t>(nvme::FeatureId::kAsyncEventConfiguration), .cdw11 = events}.encode(
      sqe);
  const auto configured = co_await admin_->run(sqe, limit_);
  if (!configured) co_return fail(configured.error());
  info_.async_events = events != 0 && configured->status.is_success();
  co_return Result<>{};
}

Task<Result<>> Controller::set_features() {
  nvme::Sqe sqe;
  const nvme::NumberOfQueues wanted{.submission = kMaxIoQueues - 1, .completion = kMaxIoQueues - 1};
  nvme::SetFeatures{.fid = static_cast<uint8_t>(nvme::FeatureId::kNumberOfQueues), .cdw11 = wanted.encode()}.encode(
      sqe);
  const auto answer = co_await admin_->run(sqe, limit_);
  if (!answer) co_return fail(answer.error());
  if (!answer->status.is_success()) {
    co_return fail(Code::kFailedPrecondition,
                   fmt::format("the controller grants no I/O queue: {}", answer->status.to_string()));
  }
  const auto granted = nvme::NumberOfQueues::decode(answer->dw0);
  info_.num_io_queues = static_cast<uint16_t>(
      std::min<uint32_t>({granted.submission + 1u, granted.completion + 1u, uint32_t{kMaxIoQueues}}));
  co_return Result<>{};
}

// ---- The namespace ----

Task<Result<NamespaceInfo>> Controller::identify_namespace() {
  auto list = std::make_unique<nvme::NamespaceList>();
  auto list_bytes = std::as_writable_bytes(std::span(list.get(), 1));
  if (auto done = co_await identify(nvme::Cns::kActiveNamespaceList, 0, 0, list_bytes); !done) {
    co_return fail(std::move(done.error()));
  }
  const uint32_t nsid = list->nsid[0];
  if (nsid == 0) co_return fail(Code::kNotFound, "the subsystem has no active namespace");

  auto ns = std::make_unique<nvme::IdentifyNamespace>();
  auto ns_bytes = std::as_writable_bytes(std::span(ns.get(), 1));
  if (auto done = co_await identify(nvme::Cns::kNamespace, nsid, 0, ns_bytes); !done) {
    co_return fail(std::move(done.error()));
  }
  if (ns->nsze == 0) co_return fail(Code::kNotFound, fmt::format("namespace {} has no blocks", nsid));
  const nvme::LbaFormat format = ns->lbaf[ns->format_index()];
  if ((format.lbads != 9 && format.lbads != 12) || format.ms != 0) {
    co_return fail(Code::kFailedPrecondition,
                   fmt::format("namespace {} has blocks of 2^{} bytes with {} bytes of metadata; 512 and 4096 without "
                               "metadata can be used",
                               nsid, format.lbads, format.ms));
  }
  NamespaceInfo info;
  info.nsid = nsid;
  info.num_blocks = ns->nsze;
  info.block_size = 1u << format.lbads;
  info.physical_block_size = info.block_size;
  if ((ns->nsfeat & nvme::IdentifyNamespace::kNsfeatOptimalPerformance) != 0 && std::has_single_bit(ns->npwg + 1u)) {
    info.physical_block_size = info.block_size * (ns->npwg + 1u);
  }
  info.optimal_io_boundary = ns->noiob;
  info.ana_group = ns->anagrpid;
  info.persistent_reservations = (ns->rescap & nvme::kRescapPersist) != 0;

  // Commands carry 65,536 blocks at most; a namespace without a limit gets one that keeps buffers small.
  constexpr uint32_t kMaxTransfer = 4u << 20;
  constexpr uint32_t kMaxBlocks = 65536;
  const unsigned shift = max_transfer_shift_ + 12u + capabilities_.mpsmin;
  const uint32_t transfer = max_transfer_shift_ > 0 && shift < 32 ? std::min(1u << shift, kMaxTransfer) : kMaxTransfer;
  info.max_transfer_blocks = std::min(std::max(transfer / info.block_size, 1u), kMaxBlocks);
  auto oncs = [&](uint16_t bit) { return (oncs_ & bit) != 0; };
  info.compare = oncs(nvme::IdentifyController::kOncsCompare);
  info.unmap = oncs(nvme::IdentifyController::kOncsDatasetManagement);
  info.volatile_cache = volatile_cache_;
  if (oncs(nvme::IdentifyController::kOncsWriteZeroes)) {
    info.max_write_zeroes_blocks = kMaxBlocks;
    if (write_zeroes_limit_bytes_ > 0) {
      info.max_write_zeroes_blocks = std::clamp(write_zeroes_limit_bytes_ / info.block_size, 1u, kMaxBlocks);
    }
    info.write_zeroes_may_deallocate = (ns->dlfeat & nvme::IdentifyNamespace::kDlfeatWriteZeroesDeallocates) != 0;
  }
  if (oncs(nvme::IdentifyController::kOncsCopy)) info.max_copy_blocks = std::min<uint32_t>(ns->mssrl, ns->mcl);
  const bool room_for_pairs = std::min(options_.queue_entries, info_.max_queue_entries) > 2;
  if (fused_ && info.compare && room_for_pairs) {
    const bool own = (ns->nsfeat & nvme::IdentifyNamespace::kNsfeatAtomicBoundaries) != 0 && ns->nacwu > 0;
    info.max_fused_blocks = std::min((own ? ns->nacwu : acwu_) + 1u, info.max_transfer_blocks);
  }
  auto uuid = co_await identify_uuid(*ns, nsid);
  if (!uuid) co_return fail(std::move(uuid.error()));
  info.uuid = *uuid;
  co_return info;
}

Task<Result<Uuid>> Controller::identify_uuid(const nvme::IdentifyNamespace& ns, uint32_t nsid) {
  std::array<uint8_t, 16> id{};
  auto list = std::make_unique<std::array<std::byte, nvme::kIdentifySize>>();
  const auto listed = co_await identify(nvme::Cns::kNamespaceDescriptorList, nsid, 0, *list);
  if (!listed && !admin_->is_open()) co_return fail(listed.error());
  if (listed) {
    for (const auto type : {nvme::NamespaceIdType::kUuid, nvme::NamespaceIdType::kNguid}) {
      const auto found = nvme::find_namespace_id(*list, type);
      if (!found || found->size() != id.size()) continue;
      std::memcpy(id.data(), found->data(), id.size());
      if (!Uuid(id).is_nil()) co_return Uuid(id);
    }
  }
  std::ranges::copy(ns.nguid, id.begin());
  if (Uuid(id).is_nil()) std::ranges::copy(ns.eui64, id.begin());
  co_return Uuid(id);
}

// ---- Admin commands ----

Task<Result<uint64_t>> Controller::get_property(nvme::Property property) {
  nvme::Sqe sqe;
  nvme::PropertyGet{.eight_bytes = nvme::property_size(property) == 8, .offset = static_cast<uint32_t>(property)}
      .encode(sqe);
  const auto answer = co_await admin_->run(sqe, limit_);
  if (!answer) co_return fail(lost_.value_or(answer.error()));
  if (!answer->status.is_success()) {
    co_return fail(Code::kUnavailable, fmt::format("Property Get of {:#x}: {}", static_cast<uint32_t>(property),
                                                   answer->status.to_string()));
  }
  co_return answer->value64();
}

Task<Result<>> Controller::set_property(nvme::Property property, uint64_t value) {
  nvme::Sqe sqe;
  nvme::PropertySet{.offset = static_cast<uint32_t>(property), .value = value}.encode(sqe);
  const auto answer = co_await admin_->run(sqe, limit_);
  if (!answer) co_return fail(lost_.value_or(answer.error()));
  if (!answer->status.is_success()) {
    co_return fail(Code::kUnavailable, fmt::format("Property Set of {:#x}: {}", static_cast<uint32_t>(property),
                                                   answer->status.to_string()));
  }
  co_return Result<>{};
}

Task<Result<>> Controller::identify(nvme::Cns cns, uint32_t nsid, uint8_t csi, std::span<std::byte> out) {
  nvme::Sqe sqe;
  nvme::Identify{.cns = static_cast<uint8_t>(cns), .csi = csi}.encode(sqe);
  sqe.nsid = nsid;
  const auto answer = co_await admin_->run_receiving(sqe, out, limit_);
  if (!answer) co_return fail(lost_.value_or(answer.error()));
  if (answer->status.is_success()) co_return Result<>{};
  const bool gone = answer->status.is(nvme::GenericStatus::kInvalidNamespaceOrFormat);
  co_return fail(
      gone ? Code::kNotFound : Code::kUnavailable,
      fmt::format("Identify {:#x} of namespace {}: {}", static_cast<unsigned>(cns), nsid, answer->status.to_string()));
}

Task<Result<>> Controller::read_log(nvme::LogPageId page, std::span<std::byte> out) {
  nvme::Sqe sqe;
  nvme::GetLogPage{.lid = static_cast<uint8_t>(page), .num_dwords = static_cast<uint32_t>(out.size() / 4)}.encode(sqe);
  sqe.nsid = 0xffffffff;
  const auto answer = co_await admin_->run_receiving(sqe, out, limit_);
  if (!answer) co_return fail(lost_.value_or(answer.error()));
  if (answer->status.is_success()) co_return Result<>{};
  co_return fail(Code::kUnavailable,
                 fmt::format("log page {:#x}: {}", static_cast<unsigned>(page), answer->status.to_string()));
}

Task<Result<nvme::AnaState>> Controller::read_ana_state() {
  if (!info_.ana || namespace_.ana_group == 0) co_return nvme::AnaState::kOptimized;
  // One namespace in each group is the most that matters here; the page may hold the groups of others.
  constexpr uint32_t kMaxGroups = 1024;
  const size_t groups = std::clamp<uint32_t>(info_.max_ana_groups, 1, kMaxGroups);
  std::vector<std::byte> page(sizeof(nvme::AnaLogHeader) +
                              groups * (sizeof(nvme::AnaGroupDescriptor) + sizeof(uint32_t)) + 4096);
  page.resize(page.size() / 4 * 4);
  if (auto read = co_await read_log(nvme::LogPageId::kAna, page); !read) co_return fail(std::move(read.error()));
  const auto header = nvme::load<nvme::AnaLogHeader>(page);
  std::span<const std::byte> rest = std::span(page).subspan(sizeof(header));
  for (unsigned i = 0; i < header.num_groups && rest.size() >= sizeof(nvme::AnaGroupDescriptor); ++i) {
    const auto group = nvme::load<nvme::AnaGroupDescriptor>(rest);
    if (group.anagrpid == namespace_.ana_group) {
      co_return static_cast<nvme::AnaState>(static_cast<uint8_t>(group.state) & 0x0f);
    }
    rest = rest.subspan(sizeof(group));
    rest = rest.subspan(std::min<uint64_t>(uint64_t{group.num_nsids} * sizeof(uint32_t), rest.size()));
  }
  co_return fail(Code::kNotFound, fmt::format("the ANA log page lacks group {}", namespace_.ana_group));
}

Task<> Controller::abort(uint16_t sqid, uint16_t cid) {
  if (!connected()) co_return;
  nvme::Sqe sqe;
  nvme::Abort{.sqid = sqid, .cid = cid}.encode(sqe);
  const auto answer = co_await admin_->run(sqe, limit_);
  if (!answer) co_return;
  log::warn("{}: command {:#x} of queue {} took too long: {}", options_.device_name, cid, sqid,
            answer->status.is_success() && (answer->dw0 & nvme::Abort::kNotAborted) == 0 ? "aborted" : "not aborted");
}

Task<Result<QueuePair::Answer>> Controller::run(nvme::Sqe sqe, std::span<std::byte> data) {
  if (!connected()) co_return fail(Code::kUnavailable, "no connection");
  const auto direction =
      sqe.is_fabrics() ? nvme::data_direction(nvme::fabrics_type(sqe)) : nvme::data_direction(sqe.opcode);
  if (data.empty()) co_return co_await admin_->run(sqe, limit_);
  if (direction == nvme::DataDirection::kControllerToHost) {
    co_return co_await admin_->run_receiving(sqe, data, limit_);
  }
  co_return co_await admin_->run_sending(sqe, data, limit_);
}

// ---- In the background ----

void Controller::begin_background() {
  background_ended_.reset();
  runtime::Reactor& reactor = runtime::Reactor::current();
  num_background_ = 0;
  if (options_.keep_alive > Duration{}) {
    ++num_background_;
    keep_alive_task_ = reactor.spawn("nvmf host keep alive", send_keep_alive());
  }
  if (info_.async_events != 0) {
    ++num_background_;
    event_task_ = reactor.spawn("nvmf host events", watch_events());
  }
  if (num_background_ == 0) background_ended_.set();
}

Task<> Controller::send_keep_alive() {
  nvme::Sqe sqe;
  sqe.opcode = static_cast<uint8_t>(nvme::AdminOpcode::kKeepAlive);
  while (co_await runtime::sleep_for(options_.keep_alive / 2)) {
    if (!co_await admin_->run(sqe, std::min(limit_, options_.keep_alive))) break;
  }
  if (--num_background_ == 0) background_ended_.set();
}

Task<> Controller::watch_events() {
  nvme::Sqe sqe;
  sqe.opcode = static_cast<uint8_t>(nvme::AdminOpcode::kAsyncEventRequest);
  for (;;) {
    const auto answer = co_await admin_->run(sqe, Duration{});
    if (!answer) break;
    if (!answer->status.is_success()) {
      log::warn("{}: no asynchronous events: {}", options_.device_name, answer->status.to_string());
      break;
    }
    co_await handle_event(answer->dw0);
  }
  if (--num_background_ == 0) background_ended_.set();
}

Task<> Controller::handle_event(uint32_t dw0) {
  const auto event = nvme::AsyncEvent::decode(dw0);
  const bool namespace_changed = event.type == nvme::AsyncEventType::kNotice &&
                                 event.information == nvme::AsyncEvent::namespace_changed().information;
  const bool ana_changed =
      event.type == nvme::AsyncEventType::kNotice && event.information == nvme::AsyncEvent::ana_changed().information;
  if (namespace_changed) {
    // Reading the page arms the event again; what is in it is asked for anyway.
    std::vector<std::byte> page(sizeof(nvme::ChangedNamespaceList));
    const auto read = co_await read_log(nvme::LogPageId::kChangedNamespaceList, page);
    if (!read) log::warn("{}: {}", options_.device_name, read.error().to_string());
    if (listener_ != nullptr) listener_->on_namespace_changed(*this);
  } else if (ana_changed) {
    if (listener_ != nullptr) listener_->on_ana_changed(*this);
  } else {
    log::info("{}: asynchronous event, type {}, information {:#x}", options_.device_name,
              static_cast<unsigned>(event.type), event.information);
    std::vector<std::byte> page(512);
    if (event.log_page != 0) static_cast<void>(co_await read_log(static_cast<nvme::LogPageId>(event.log_page), page));
  }
}

bool Controller::on_timeout(QueuePair&, uint16_t) {
  return false;
}

void Controller::on_closed(QueuePair&, const Error& reason) {
  lost_ = reason;
  lost_at_ = runtime::Reactor::current().now();
  if (std::exchange(announced_, false) && listener_ != nullptr) listener_->on_controller_lost(*this, reason);
}

// ---- Disconnecting ----

Task<bool> Controller::settle() {
  if (admin_ != nullptr) settled_at_ = co_await end_commands();
  if (settled_at_ == kNever) co_return false;
  if (settled_at_ <= runtime::Reactor::current().now()) co_return true;
  co_return (co_await runtime::sleep_until(settled_at_)).has_value();
}

// Gives the time from which on the controller executes nothing that was sent before; kNever when there is none.
Task<TimePoint> Controller::end_commands() {
  limit_ = std::min(limit_, kShutdownLimit);
  if (connected()) {
    const nvme::ControllerConfiguration disabled{.en = false, .iosqes = 6, .iocqes = 4};
    const auto set = co_await set_property(nvme::Property::kCc, disabled.encode());
    if (set && co_await wait_for_status(false, kShutdownLimit)) co_return TimePoint{};
  }
  announced_ = false;
  co_await admin_->close();
  const int error = lost_ ? lost_->errno_value() : 0;
  const bool peer_closed =
      lost_ && (error == ECONNRESET || error == EPIPE || (error == 0 && lost_->code() == Code::kUnavailable));
  if (peer_closed && predecessors_end_ && options_.paths.size() == 1) co_return TimePoint{};
  if (options_.keep_alive == Duration{}) co_return kNever;
  // The controller counts its keep-alive in units of its own.
  const Duration unit = std::max<Duration>(kas_, std::chrono::milliseconds(100));
  const Duration rounded = (options_.keep_alive + unit - Duration(1)) / unit * unit;
  co_return lost_at_ + rounded + kSettleMargin;
}

Task<> Controller::disconnect(bool orderly) {
  if (admin_ == nullptr) co_return;
  announced_ = false;
  limit_ = std::min(limit_, kShutdownLimit);
  if (orderly && connected()) {
    const nvme::ControllerConfiguration down{
        .en = true, .shn = nvme::ShutdownNotification::kNormal, .iosqes = 6, .iocqes = 4};
    static_cast<void>(co_await set_property(nvme::Property::kCc, down.encode()));
  }
  keep_alive_task_.cancel();
  event_task_.cancel();
  co_await admin_->close();
  if (num_background_ > 0) static_cast<void>(co_await background_ended_.wait_uninterrupted());
  keep_alive_task_ = event_task_ = {};
  admin_.reset();
}

}  // namespace cairn::nvmf::host
