#include "runtime/uring_backend.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "runtime/kernel_clock.h"
#include "runtime/kernel_socket.h"
#include "runtime/uring_file.h"
#include "runtime/uring_listener.h"
#include "runtime/uring_stream.h"

namespace cairn::runtime {

namespace {

constexpr size_t kScratchBufferBytes = size_t{256} << 10;     // where receives without buffer rings go
constexpr size_t kLargestRegisteredBuffer = size_t{1} << 30;  // the kernel's limit of one buffer

// File operations that are submitted together: at least so many, and at most this share of those in the kernel.
constexpr size_t kSmallestFileBatch = 2;
constexpr size_t kFileBatchShare = 8;

// The kernel release from which rings with deferred task work are known to take messages (6.7) is told by an operation
// that came with it.
constexpr unsigned kOpFutexWait = 51;

// The back-end that polls on this thread.
thread_local UringBackend* backend_of_thread = nullptr;

// Waits for a connect. Ends only when the kernel is done with the address and the socket.
class ConnectAwaiter final : public Suspension, private UringOp {
 public:
  ConnectAwaiter(UringBackend& backend, int socket, const KernelAddress& address)
      : backend_(backend), socket_(socket), address_(address) {
    complete = [](UringOp& op, int result, unsigned) {
      auto& self = static_cast<ConnectAwaiter&>(op);
      self.result_ = result;
      self.finish();
    };
  }
  bool await_ready() const { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> task) {
    context_ = task.promise().context;
    if (stop_error(task)) return false;
    begin(task);
    io_uring_prep_connect(&backend_.ring().next_sqe(this), socket_, address_.get(), address_.size);
    return true;
  }
  Result<> await_resume() {
    if (result_ == 0) return {};
    if (auto stopped = stop_error(*context_)) return fail(std::move(*stopped));
    return fail(Error::from_errno(-result_, "connect"));
  }

 private:
  void on_cancel() override { backend_.cancel(*this); }

  UringBackend& backend_;
  int socket_;
  const KernelAddress& address_;
  TaskContext* context_ = nullptr;
  int result_ = -ECANCELED;
};

}  // namespace

Result<std::unique_ptr<UringBackend>> UringBackend::create(const UringOptions& options,
                                                           std::shared_ptr<BlockingPool> pool) {
  auto ring = UringRing::create(options);
  if (!ring) return fail(std::move(ring.error()));
  std::unique_ptr<UringBackend> backend(new UringBackend(options, std::move(*ring), std::move(pool)));
  backend->wake_event_ = FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!backend->wake_event_.valid()) return fail(Error::from_errno(errno, "create an eventfd"));
  return backend;
}

UringBackend::UringBackend(const UringOptions& options, std::unique_ptr<UringRing> ring,
                           std::shared_ptr<BlockingPool> pool)
    : ring_(std::move(ring)),
      scratch_(*ring_),
      pool_(std::move(pool)),
      max_hot_streams_(options.hot_streams),
      register_buffers_(options.registered_buffers),
      // Came with the same kernel release as IORING_OP_SOCKET.
      multishot_accept_(options.multishot_accept && ring_->supports(IORING_OP_SOCKET)),
      ring_messages_(options.ring_messages && ring_->supports(IORING_OP_MSG_RING) && ring_->supports(kOpFutexWait)) {
  if (options.buffer_ring) {
    auto buffers = UringReceiveBuffers::create(*ring_, options.receive_buffers, options.receive_buffer_bytes);
    if (buffers) receive_buffers_ = std::move(*buffers);
  }
  scratch_buffer_.resize(kScratchBufferBytes);
  wake_op_.backend = message_op_.backend = message_failed_op_.backend = this;
  wake_op_.complete = [](UringOp& op, int, unsigned flags) {
    UringBackend& self = *static_cast<BackendOp&>(op).backend;
    self.wake_pending_.exchange(false);
    self.wake_watched_ = (flags & IORING_CQE_F_MORE) != 0;
  };
  message_op_.complete = [](UringOp& op, int, unsigned) {
    static_cast<BackendOp&>(op).backend->wake_pending_.exchange(false);
  };
  message_failed_op_.complete = [](UringOp& op, int, unsigned) {
    static_cast<BackendOp&>(op).backend->write_wake_event();
  };
}

UringBackend::~UringBackend() {
  if (backend_of_thread == this) backend_of_thread = nullptr;
  pool_->drain();
  CAIRN_CHECK(attention_.empty() && finished_files_.empty());
}

std::string UringBackend::description() const {
  std::vector<std::string_view> features;
  if (ring_->features().single_issuer) features.push_back("single_issuer, defer_taskrun");
  if (ring_->features().cooperative_task_work) features.push_back("coop_taskrun");
  if (ring_->features().submit_all) features.push_back("submit_all");
  if (receive_buffers_ != nullptr) features.push_back("buffer_ring");
  if (multishot_accept_) features.push_back("multishot_accept");
  if (ring_messages_) features.push_back("ring_messages");
  if (!registered_region_.empty()) features.push_back("registered_buffers");
  return fmt::format("io_uring ({})", fmt::join(features, ", "));
}

TimePoint UringBackend::now() {
  return kernel_now();
}

size_t UringBackend::poll(TimePoint wake_at) {
  backend_of_thread = this;
  size_t done = complete_files() + service_streams();
  if (!wake_watched_) watch_wake_event();
  if (wake_at > TimePoint::min() && done == 0 && attention_.empty() && finished_files_.empty() &&
      !ring_->has_completions()) {
    cool_down();
    const Duration timeout = wake_at == kNever ? Duration(-1) : std::max(wake_at - now(), Duration(0));
    ring_->submit_and_wait(timeout);
    return 0;
  }
  ring_->submit_and_collect();
  done += ring_->reap([this](uint64_t user_data, int result, unsigned flags) {
    if (user_data == 0) return;  // the answer to a cancellation
    if ((user_data & UringFile::kTag) != 0) {
      FileOp& op = *reinterpret_cast<FileOp*>(user_data & ~UringFile::kTag);
      --file_operations_;
      if (op.kind != FileOp::Kind::kRead) --file_changes_;
      UringFile::on_completion(op, result);
    } else {
      UringOp& op = *reinterpret_cast<UringOp*>(user_data);
      op.complete(op, result, flags);
    }
  });
  return done + receive_hot();
}

bool UringBackend::add_hot(UringStream& stream) {
  if (hot_streams_.size() >= max_hot_streams_) return false;
  hot_streams_.push_back(stream);
  return true;
}

size_t UringBackend::receive_hot() {
  size_t count = 0;
  // No stream is destroyed by receiving, but one may leave the list, or close another.
  for (UringStream* stream = hot_streams_.first(); stream != nullptr;) {
    UringStream& present = *stream;
    stream = hot_streams_.next(present);
    count += present.receive_hot();
  }
  return count;
}

void UringBackend::cool_down() {
  while (UringStream* stream = hot_streams_.first()) stream->cool_down();
}

size_t UringBackend::complete_files() {
  IntrusiveList<FileOp> finished;
  finished.splice_back(finished_files_);
  size_t count = 0;
  for (; FileOp* op = finished.pop_front(); ++count) UringFile::complete(*op);
  return count;
}

size_t UringBackend::service_streams() {
  IntrusiveList<KernelStream> streams;
  streams.splice_back(attention_);
  size_t count = 0;
  while (KernelStream* stream = streams.pop_front()) count += stream->service();
  return count;
}

void UringBackend::watch_wake_event() {
  io_uring_prep_poll_multishot(&ring_->next_sqe(&wake_op_), wake_event_.get(), POLLIN);
  wake_watched_ = true;
}

void UringBackend::wake() {
  if (wake_pending_.exchange(true)) return;
  if (ring_messages_ && backend_of_thread != nullptr && backend_of_thread != this) {
    backend_of_thread->wake_by_message(*this);
  } else {
    write_wake_event();
  }
}

void UringBackend::write_wake_event() {
  const uint64_t one = 1;
  CAIRN_CHECK(::write(wake_event_.get(), &one, sizeof one) == sizeof one);
}

void UringBackend::wake_by_message(UringBackend& target) {
  io_uring_sqe& sqe = ring_->next_sqe(&target.message_failed_op_);
  io_uring_prep_msg_ring(&sqe, target.ring_->fd(), 0, reinterpret_cast<uint64_t>(&target.message_op_), 0);
  sqe.flags |= IOSQE_CQE_SKIP_SUCCESS;
  ring_->submit();  // at once: this thread may have much to do before its next poll, or none at all
}

void UringBackend::cancel(UringOp& op) {
  io_uring_prep_cancel(&ring_->next_sqe(nullptr), &op, 0);
}

Task<Result<std::unique_ptr<File>>> UringBackend::open_file(std::string path, FileOptions options) {
  auto opened = co_await KernelFile::open(*pool_, std::move(path), options);
  if (!opened) co_return fail(std::move(opened.error()));
  co_return std::make_unique<UringFile>(*this, *pool_, std::move(*opened));
}

Task<Result<>> UringBackend::rename_file(std::string from, std::string to) {
  return rename_kernel_file(*pool_, std::move(from), std::move(to));
}
Task<Result<>> UringBackend::remove_file(std::string path) {
  return remove_kernel_file(*pool_, std::move(path));
}
Task<Result<>> UringBackend::make_directories(std::string path) {
  return make_kernel_directories(*pool_, std::move(path));
}

void UringBackend::keep_files_busy() {
  if (queued_since_ != ring_->submissions()) queued_files_ = 0;
  const size_t in_kernel = file_operations_ - queued_files_;
  if (queued_files_ >= std::max(kSmallestFileBatch, in_kernel / kFileBatchShare)) {
    ring_->submit();
    queued_files_ = 0;
  }
  queued_since_ = ring_->submissions();
}

io_uring_sqe& UringBackend::next_file_sqe(FileOp& op) {
  ++queued_files_;
  ++file_operations_;
  if (op.kind != FileOp::Kind::kRead) ++file_changes_;
  return ring_->next_sqe(reinterpret_cast<uint64_t>(&op) | UringFile::kTag);
}

Result<std::unique_ptr<Listener>> UringBackend::listen(const SocketAddress& address, AcceptHandler accept) {
  auto socket = ListeningSocket::create(address, 0);
  if (!socket) return fail(std::move(socket.error()));
  auto acceptor = std::make_unique<UringAcceptor>(*this, std::move(*socket), std::move(accept));
  acceptor->start();
  auto listener = std::make_unique<UringListener>(*acceptor);
  acceptors_.push_back(std::move(acceptor));
  return listener;
}

void UringBackend::drop(UringAcceptor& acceptor) {
  std::erase_if(acceptors_, [&acceptor](const auto& kept) { return kept.get() == &acceptor; });
}

std::unique_ptr<Stream> UringBackend::adopt(std::unique_ptr<AcceptedStream> accepted) {
  return std::make_unique<UringStream>(*this, attention_, static_cast<AcceptedSocket&>(*accepted).take());
}

Task<Result<std::unique_ptr<Stream>>> UringBackend::connect(SocketAddress address) {
  const auto kernel_address = to_kernel_address(address);
  if (!kernel_address) co_return fail(kernel_address.error());
  auto socket = create_stream_socket(address.family, 0);
  if (!socket) co_return fail(std::move(socket.error()));
  if (auto connected = co_await ConnectAwaiter(*this, socket->get(), *kernel_address); !connected) {
    const Error& error = connected.error();
    co_return fail(Error(error.code(), fmt::format("connect to {}", address.to_string()), error));
  }
  co_return std::make_unique<UringStream>(*this, attention_, std::move(*socket));
}

void UringBackend::use_buffer_region(std::span<std::byte> region) {
  if (!register_buffers_) return;
  std::vector<iovec> buffers;
  for (size_t start = 0; start < region.size(); start += kLargestRegisteredBuffer) {
    buffers.push_back({region.data() + start, std::min(kLargestRegisteredBuffer, region.size() - start)});
  }
  const int result = io_uring_register_buffers(&ring_->raw(), buffers.data(), static_cast<unsigned>(buffers.size()));
  if (result == 0) {
    registered_region_ = region;
  } else {
    log::info("I/O memory is not registered with the kernel ({}): a little more work per I/O",
              Error::from_errno(-result, "register buffers").message());
  }
}

int UringBackend::registered_buffer(const void* data, size_t size) const {
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(data) - registered_region_.data());
  if (offset >= registered_region_.size() || size > registered_region_.size() - offset) return -1;
  const size_t index = offset / kLargestRegisteredBuffer;
  return index == (offset + size - 1) / kLargestRegisteredBuffer ? static_cast<int>(index) : -1;
}

}  // namespace cairn::runtime
