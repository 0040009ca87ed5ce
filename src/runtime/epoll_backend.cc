#include "runtime/epoll_backend.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "runtime/epoll_file.h"
#include "runtime/epoll_stream.h"
#include "runtime/kernel_clock.h"
#include "runtime/kernel_socket.h"

namespace cairn::runtime {

namespace {

constexpr size_t kScratchBufferBytes = size_t{256} << 10;
constexpr size_t kMaxPieces = 1024;  // of one sendmsg: the kernel's IOV_MAX
constexpr size_t kEventsPerCall = 256;

// Waits for a connect. Owns nothing: the socket is closed by the caller, cancelled or not.
class ConnectAwaiter final : public Suspension, public EpollSource {
 public:
  ConnectAwaiter(EpollBackend& backend, int socket, const KernelAddress& address)
      : backend_(backend), socket_(socket), address_(address) {}
  bool await_ready() const { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> task) {
    context_ = task.promise().context;
    if ((error_ = stop_error(task))) return false;
    if (::connect(socket_, address_.get(), address_.size) == 0) return false;
    if (errno != EINPROGRESS) {
      error_ = Error::from_errno(errno, "connect");
      return false;
    }
    backend_.watch(socket_, EPOLLOUT | EPOLLET, *this);
    begin(task);
    return true;
  }
  Result<> await_resume() {
    if (error_) return fail(std::move(*error_));
    return {};
  }
  void on_events(uint32_t) override {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) error_ = Error::from_errno(error, "connect");
    end();
  }

 private:
  void on_cancel() override {
    error_ = stop_error(*context_);
    end();
  }
  void end() {
    backend_.unwatch(socket_);
    finish();
  }

  EpollBackend& backend_;
  int socket_;
  const KernelAddress& address_;
  TaskContext* context_ = nullptr;
  std::optional<Error> error_;
};

}  // namespace

Result<std::unique_ptr<EpollBackend>> EpollBackend::create(std::shared_ptr<BlockingPool> pool) {
  std::unique_ptr<EpollBackend> backend(new EpollBackend(std::move(pool)));
  backend->epoll_ = FileDescriptor(::epoll_create1(EPOLL_CLOEXEC));
  backend->wake_event_ = FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!backend->epoll_.valid() || !backend->wake_event_.valid()) {
    return fail(Error::from_errno(errno, "create an epoll instance"));
  }
  backend->watch(backend->wake_event_.get(), EPOLLIN | EPOLLET, backend->wake_source_);
  return backend;
}

EpollBackend::EpollBackend(std::shared_ptr<BlockingPool> pool)
    : pool_(std::move(pool)), events_(kEventsPerCall), scratch_buffer_(kScratchBufferBytes), iovecs_(kMaxPieces) {}

EpollBackend::~EpollBackend() {
  pool_->drain();
  CAIRN_CHECK(attention_.empty() && ready_acceptors_.empty());
}

TimePoint EpollBackend::now() {
  return kernel_now();
}

size_t EpollBackend::poll(TimePoint wake_at) {
  size_t done = service();
  const bool wait = wake_at > TimePoint::min() && done == 0 && attention_.empty() && ready_acceptors_.empty();
  if (wait) {
    collect(wake_at == kNever ? Duration(-1) : std::max(wake_at - now(), Duration(0)));
    return 0;
  }
  collect(Duration(0));
  return done + service();
}

void EpollBackend::collect(Duration timeout) {
  // Rounded up: waking early would make the reactor spin until the timer is due.
  const auto timeout_ms =
      timeout.count() <= 0 ? timeout.count() : std::min<int64_t>((timeout.count() + 999'999) / 1'000'000, 1'000'000);
  const int count =
      ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()), static_cast<int>(timeout_ms));
  CAIRN_CHECK(count >= 0 || errno == EINTR);
  for (int i = 0; i < count; ++i) {
    static_cast<EpollSource*>(events_[static_cast<size_t>(i)].data.ptr)
        ->on_events(events_[static_cast<size_t>(i)].events);
  }
}

size_t EpollBackend::service() {
  size_t done = 0;
  IntrusiveList<KernelStream> streams;
  streams.splice_back(attention_);
  while (KernelStream* stream = streams.pop_front()) done += stream->service();
  IntrusiveList<EpollAcceptor> acceptors;
  acceptors.splice_back(ready_acceptors_);
  while (EpollAcceptor* acceptor = acceptors.pop_front()) done += acceptor->service();
  return done;
}

void EpollBackend::wake() {
  if (wake_source_.pending.exchange(true)) return;
  const uint64_t one = 1;
  CAIRN_CHECK(::write(wake_event_.get(), &one, sizeof one) == sizeof one);
}

void EpollBackend::watch(int fd, uint32_t events, EpollSource& source) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &source;
  CAIRN_CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0);
}

void EpollBackend::unwatch(int fd) {
  CAIRN_CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) == 0);
}

Task<Result<std::unique_ptr<File>>> EpollBackend::open_file(std::string path, FileOptions options) {
  auto opened = co_await KernelFile::open(*pool_, std::move(path), options);
  if (!opened) co_return fail(std::move(opened.error()));
  co_return std::make_unique<EpollFile>(*this, *pool_, std::move(*opened));
}

Task<Result<>> EpollBackend::rename_file(std::string from, std::string to) {
  return rename_kernel_file(*pool_, std::move(from), std::move(to));
}
Task<Result<>> EpollBackend::remove_file(std::string path) {
  return remove_kernel_file(*pool_, std::move(path));
}
Task<Result<>> EpollBackend::make_directories(std::string path) {
  return make_kernel_directories(*pool_, std::move(path));
}

EpollFileCall& EpollBackend::take_file_call() {
  if (idle_file_calls_.empty()) return *new EpollFileCall(*this, Reactor::current());
  EpollFileCall* call = idle_file_calls_.back().release();
  idle_file_calls_.pop_back();
  return *call;
}

void EpollBackend::give_back(EpollFileCall& call) {
  idle_file_calls_.emplace_back(&call);
}

Result<std::unique_ptr<Listener>> EpollBackend::listen(const SocketAddress& address, AcceptHandler accept) {
  auto socket = ListeningSocket::create(address, SOCK_NONBLOCK);
  if (!socket) return fail(std::move(socket.error()));
  return std::make_unique<EpollAcceptor>(*this, std::move(*socket), std::move(accept));
}

std::unique_ptr<Stream> EpollBackend::adopt(std::unique_ptr<AcceptedStream> accepted) {
  return std::make_unique<EpollStream>(*this, attention_, static_cast<AcceptedSocket&>(*accepted).take());
}

Task<Result<std::unique_ptr<Stream>>> EpollBackend::connect(SocketAddress address) {
  const auto kernel_address = to_kernel_address(address);
  if (!kernel_address) co_return fail(kernel_address.error());
  auto socket = create_stream_socket(address.family, SOCK_NONBLOCK);
  if (!socket) co_return fail(std::move(socket.error()));
  if (auto connected = co_await ConnectAwaiter(*this, socket->get(), *kernel_address); !connected) {
    const Error& error = connected.error();
    co_return fail(Error(error.code(), fmt::format("connect to {}", address.to_string()), error));
  }
  co_return std::make_unique<EpollStream>(*this, attention_, std::move(*socket));
}

}  // namespace cairn::runtime
