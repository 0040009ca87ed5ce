#include "nvmf/target/queue_pair.h"

#include "base/abandonment.h"
#include "nvme/admin_command.h"
#include "nvme/fabrics.h"
#include "nvme/identify.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/target/target.h"

namespace cairn::nvmf::target {

using nvme::DataDirection;
using nvme::Dnr;
using nvme::GenericStatus;
using nvme::Status;

QueuePair::QueuePair(Target& target, Connection& connection)
    : target_(target),
      connection_(connection),
      reactor_(runtime::Reactor::current()),
      handle_(std::make_shared<QueuePairHandle>(reactor_, this)) {}

QueuePair::~QueuePair() {
  CAIRN_CHECK((outstanding_ == 0 && controller_ == nullptr && view_ == nullptr) || abandoning());
  handle_->queue_pair = nullptr;
}

// ---- Receiving ----

void QueuePair::begin(Request& request) {
  request.queue_pair = this;
  request.state = RequestState::kReceived;
  ++outstanding_;
  const nvme::Sqe& command = request.command;
  if (state_ == QueuePairState::kClosing) return finish(request, Status::generic(GenericStatus::kAbortedSqDeletion));
  if (state_ == QueuePairState::kIo) return begin_io(request);
  // Message-based transports address data by an SGL, and there is no metadata.
  if (command.psdt() != nvme::Psdt::kSglMptrAddress) {
    return finish(request, Status::generic(GenericStatus::kInvalidField, Dnr::kYes));
  }
  if (command.is_fabrics()) return begin_fabrics(request);
  if (state_ == QueuePairState::kAdmin) return begin_admin(request);
  finish(request, Status::generic(GenericStatus::kCommandSequenceError, Dnr::kYes));
}

bool QueuePair::prepare(Request& request, DataDirection direction, uint32_t length) {
  const nvme::SglDescriptor& sgl = request.command.sgl;
  request.direction = length == 0 ? DataDirection::kNone : direction;
  request.data_length = request.direction == DataDirection::kNone ? 0 : length;
  if (request.data_length > 0) {
    const bool by_transport = sgl.is(nvme::SglType::kTransportDataBlock, nvme::SglSubtype::kTransport);
    const bool in_capsule = sgl.is(nvme::SglType::kDataBlock, nvme::SglSubtype::kOffset);
    if (!by_transport && !(in_capsule && direction == DataDirection::kHostToController)) {
      finish(request, Status::generic(GenericStatus::kSglDescriptorTypeInvalid, Dnr::kYes));
      return false;
    }
    if (sgl.length < length) {
      finish(request, Status::generic(GenericStatus::kDataSglLengthInvalid, Dnr::kYes));
      return false;
    }
  }
  request.state = RequestState::kPrepared;
  return true;
}

void QueuePair::begin_fabrics(Request& request) {
  const nvme::Sqe& command = request.command;
  if (command.fuse() != nvme::Fuse::kNormal) {
    return finish(request, Status::generic(GenericStatus::kInvalidField, Dnr::kYes));
  }
  const nvme::FabricsType type = nvme::fabrics_type(command);
  if (type == nvme::FabricsType::kConnect && state_ == QueuePairState::kNew) {
    state_ = QueuePairState::kConnecting;
    connecting_ = &request;
    prepare(request, DataDirection::kHostToController, sizeof(nvme::ConnectData));
    return;
  }
  const bool connected = state_ == QueuePairState::kAdmin || state_ == QueuePairState::kIo;
  if (type == nvme::FabricsType::kConnect || !connected) {
    return finish(request, Status::generic(GenericStatus::kCommandSequenceError, Dnr::kYes));
  }
  const bool property = type == nvme::FabricsType::kPropertyGet || type == nvme::FabricsType::kPropertySet;
  if (!property || !is_admin()) {
    return finish(request, Status::generic(GenericStatus::kInvalidOpcode, Dnr::kYes));
  }
  prepare(request, DataDirection::kNone, 0);
}

void QueuePair::begin_admin(Request& request) {
  const nvme::Sqe& command = request.command;
  const Status invalid_field = Status::generic(GenericStatus::kInvalidField, Dnr::kYes);
  const Status invalid_opcode = Status::generic(GenericStatus::kInvalidOpcode, Dnr::kYes);
  if (command.fuse() != nvme::Fuse::kNormal) return finish(request, invalid_field);
  switch (command.admin_opcode()) {
    case nvme::AdminOpcode::kGetLogPage: {
      const uint64_t size = nvme::GetLogPage::decode(command).size_bytes();
      if (size > target_.options().max_io_size) return finish(request, invalid_field);
      prepare(request, DataDirection::kControllerToHost, static_cast<uint32_t>(size));
      return;
    }
    case nvme::AdminOpcode::kIdentify:
      prepare(request, DataDirection::kControllerToHost, nvme::kIdentifySize);
      return;
    case nvme::AdminOpcode::kGetFeatures:
      prepare(request, DataDirection::kControllerToHost, feature_data_size(nvme::GetFeatures::decode(command)));
      return;
    case nvme::AdminOpcode::kSetFeatures:
      prepare(request, DataDirection::kHostToController, feature_data_size(nvme::SetFeatures::decode(command)));
      return;
    case nvme::AdminOpcode::kAbort:
      if (controller_->is_discovery()) return finish(request, invalid_opcode);
      [[fallthrough]];
    case nvme::AdminOpcode::kAsyncEventRequest:
    case nvme::AdminOpcode::kKeepAlive:
      prepare(request, DataDirection::kNone, 0);
      return;
    default:
      break;
  }
  if (controller_->is_discovery()) return finish(request, invalid_opcode);
  const auto& vendor = controller_->vendor_command();
  if (!vendor.handle || command.opcode != vendor.opcode) return finish(request, invalid_opcode);
  if (command.sgl.length > vendor.max_data_size) return finish(request, invalid_field);
  prepare(request, DataDirection::kHostToController, command.sgl.length);
}

// ---- Executing ----

void QueuePair::execute(Request& request) {
  request.state = RequestState::kExecuting;
  if (state_ == QueuePairState::kIo) return execute_io(request);
  if (state_ == QueuePairState::kConnecting) {
    reactor_.spawn("nvmf connect", execute_connect(request));
  } else {
    reactor_.spawn("nvmf admin command", execute_on_primary(request));
  }
}

runtime::Task<> QueuePair::execute_on_primary(Request& request) {
  Controller* controller = controller_.get();
  const bool admin = is_admin();
  const Status status =
      co_await runtime::call_on(target_.primary(), [controller, admin, &request]() -> runtime::Task<Status> {
        return admin ? controller->execute_admin(request) : controller->execute_reservation(request);
      });
  finish(request, status, request.completion.dw0, request.completion.dw1);
}

// Command retry delays are sent only to hosts that understand them (Host Behavior Support, ACRE).
Status QueuePair::final_status(Status status) const {
  const bool with_delay = controller_ != nullptr && controller_->retry_delay_enabled();
  if (with_delay && !status.do_not_retry()) status = status.with_retry_delay(1);
  if (rewrite_status_ != nullptr) status = rewrite_status_(status);
  return with_delay ? status : status.with_retry_delay(0);
}

void QueuePair::finish(Request& request, Status status, uint32_t dw0, uint32_t dw1) {
  leave_fused(request);
  if (!status.is_success()) {
    status = final_status(status);
    request.transfer_length = 0;
    const bool closing = status.is(GenericStatus::kAbortedSqDeletion);
    if (controller_ != nullptr && !closing) controller_->error_log().add(qid_, request.command, status);
  }
  if (&request == connecting_) {
    connecting_ = nullptr;
    if (state_ == QueuePairState::kConnecting) state_ = QueuePairState::kNew;  // it was refused
  }
  request.completion.dw0 = dw0;
  request.completion.dw1 = dw1;
  request.completion.cid = request.command.cid;
  request.completion.set_status(status);
  request.state = RequestState::kCompleted;
  --outstanding_;
  connection_.complete(request);
  if (outstanding_ == 0 && state_ == QueuePairState::kClosing) drained_.set();
}

bool QueuePair::abort(uint16_t cid) {
  Request* request = connection_.find_request(cid);
  if (request == nullptr) return false;
  if (request->state == RequestState::kPrepared) return connection_.abort_waiting(*request);
  const Request* partner = request->fused_partner;
  if (request->state == RequestState::kExecuting && request->fused_ready &&
      (partner == nullptr || !partner->fused_ready)) {
    finish(*request, Status::generic(GenericStatus::kAbortRequested));
    return true;
  }
  return false;
}

// ---- Closing ----

runtime::Task<> QueuePair::close() {
  state_ = QueuePairState::kClosing;
  // What was in the transport's hands has ended: a first half that is left has its data and waits for the second.
  if (Request* first = std::exchange(fused_first_, nullptr)) {
    abort_fused(*first, Status::generic(GenericStatus::kAbortedSqDeletion));
  }
  // A Connect may still bind this queue pair.
  if (connecting_ != nullptr) co_await drained_.wait_uninterrupted();
  if (controller_ != nullptr) {
    Controller* controller = controller_.get();
    const uint16_t qid = qid_;
    if (qid == nvme::kAdminQueueId) {
      co_await runtime::call_on(target_.primary(), [controller]() -> runtime::Task<> {
        controller->admin_queue_closing();
        co_return;
      });
    }
    if (outstanding_ > 0) co_await drained_.wait_uninterrupted();
    view_.reset();
    // The last reference may be this one: a controller dies on the primary reactor.
    co_await runtime::call_on(target_.primary(),
                              [controller = std::move(controller_), qid]() mutable -> runtime::Task<> {
                                controller->remove_queue_pair(qid);
                                controller.reset();
                                co_return;
                              });
    controller_.reset();
  }
  if (outstanding_ > 0) co_await drained_.wait_uninterrupted();
  handle_->queue_pair = nullptr;
}

}  // namespace cairn::nvmf::target
