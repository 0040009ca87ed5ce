#include "runtime/sim/sim_backend.h"

#include <fmt/format.h>

#include <cerrno>

#include "base/check.h"
#include "runtime/sim/delay.h"
#include "runtime/sim/node.h"
#include "runtime/sim/sim_file.h"
#include "runtime/sim/world.h"

namespace cairn::runtime::sim {

SimBackend::~SimBackend() {
  CAIRN_CHECK((ready_.empty() && completed_.empty() && streams_.empty()) || abandoning());
}

TimePoint SimBackend::now() {
  return node_.clock(node_.world().now());
}

void SimBackend::consider() {
  node_.consider(*node_.slots_[index_]);
}

void SimBackend::make_ready(Wakeup& wakeup) {
  if (!wakeup.is_linked()) ready_.push_back(wakeup);
  consider();
}

void SimBackend::complete(FileOp& op, int64_t result) {
  FileOpState::result(op) = result;
  completed_.push_back(op);
  consider();
}

size_t SimBackend::poll(TimePoint wake_at) {
  CAIRN_CHECK(wake_at == TimePoint::min());
  size_t count = 0;
  IntrusiveList<FileOp> completed;
  completed.splice_back(completed_);
  IntrusiveList<Wakeup> ready;
  ready.splice_back(ready_);
  while (FileOp* op = completed.pop_front()) {
    static_cast<SimFile*>(FileOpState::backend(*op))->ended();
    op->complete(*op, FileOpState::result(*op));
    ++count;
  }
  while (Wakeup* wakeup = ready.pop_front()) {
    wakeup->run();
    ++count;
  }
  return count;
}

void SimBackend::abandon() {
  while (completed_.pop_front() != nullptr) {
  }
  while (ready_.pop_front() != nullptr) {
  }
  while (SimStream* stream = streams_.pop_front()) stream->abandon();
}

Task<Result<std::unique_ptr<File>>> SimBackend::open_file(std::string path, FileOptions options) {
  FileSystem& files = node_.files();
  const std::string name = FileSystem::normal(path);
  co_await Delay(*this, files.metadata_latency(files.root_disk()));
  FileSystem::Opened opened = files.open(name, options);
  if (opened.error != 0) co_return fail(Error::from_errno(-opened.error, fmt::format("open {}", path)));
  co_return std::unique_ptr<File>(std::make_unique<SimFile>(*this, name, std::move(opened.inode), options));
}

Task<Result<>> SimBackend::rename_file(std::string from, std::string to) {
  FileSystem& files = node_.files();
  co_await Delay(*this, files.metadata_latency(files.root_disk()));
  const int error = files.rename(FileSystem::normal(from), FileSystem::normal(to));
  if (error != 0) co_return fail(Error::from_errno(-error, fmt::format("rename {} to {}", from, to)));
  co_await Delay(*this, files.metadata_latency(files.root_disk()));
  files.commit_all_names();
  co_return Result<>{};
}

Task<Result<>> SimBackend::remove_file(std::string path) {
  FileSystem& files = node_.files();
  co_await Delay(*this, files.metadata_latency(files.root_disk()));
  const int error = files.remove(FileSystem::normal(path));
  if (error != 0) co_return fail(Error::from_errno(-error, fmt::format("remove {}", path)));
  co_return Result<>{};
}

Task<Result<>> SimBackend::make_directories(std::string path) {
  FileSystem& files = node_.files();
  co_await Delay(*this, files.metadata_latency(files.root_disk()));
  const int error = files.make_directories(FileSystem::normal(path));
  if (error != 0) co_return fail(Error::from_errno(-error, fmt::format("make directories {}", path)));
  co_return Result<>{};
}

Result<std::unique_ptr<Listener>> SimBackend::listen(const SocketAddress& address, AcceptHandler accept) {
  auto listener = std::make_unique<SimListener>(*this, std::move(accept));
  if (const int error = listener->open(address)) {
    return fail(Error::from_errno(-error, fmt::format("listen on {}", address.to_string())));
  }
  return std::unique_ptr<Listener>(std::move(listener));
}

std::unique_ptr<Stream> SimBackend::adopt(std::unique_ptr<AcceptedStream> accepted) {
  return std::make_unique<SimStream>(*this, static_cast<SimAccepted&>(*accepted).take(), 1);
}

Task<Result<std::unique_ptr<Stream>>> SimBackend::connect(SocketAddress address) {
  auto attempt = std::make_shared<ConnectAttempt>(*this, std::move(address));
  auto connection = co_await ConnectAwaiter(node_.world().network(), std::move(attempt));
  if (!connection) co_return fail(std::move(connection.error()));
  co_return std::unique_ptr<Stream>(std::make_unique<SimStream>(*this, std::move(*connection), 0));
}

}  // namespace cairn::runtime::sim
