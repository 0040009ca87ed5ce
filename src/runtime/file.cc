#include "runtime/file.h"

#include <cerrno>

#include "runtime/reactor.h"

namespace cairn::runtime {

namespace {

// Waits for one operation. Cancellation waits for the operation: the kernel may own the buffer.
class FileOpAwaiter final : public Suspension, private FileOp {
 public:
  FileOpAwaiter(File& file, Kind kind, uint64_t offset, iovec piece) : file_(file), piece_(piece) {
    this->kind = kind;
    this->offset = offset;
    length = piece.iov_len;
    pieces = {&piece_, 1};
    complete = [](FileOp& op, int64_t result) {
      auto& self = static_cast<FileOpAwaiter&>(op);
      self.outcome_ = result;
      self.finish();
    };
  }
  bool await_ready() const { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> task) {
    begin(task);
    file_.submit(*this);
  }
  int64_t await_resume() const { return outcome_; }

 private:
  void on_cancel() override {}
  File& file_;
  iovec piece_;
  int64_t outcome_ = 0;
};

}  // namespace

Task<Result<size_t>> File::read(uint64_t offset, std::span<std::byte> into) {
  const int64_t result = co_await FileOpAwaiter(*this, FileOp::Kind::kRead, offset, {into.data(), into.size()});
  if (result < 0) co_return fail(Error::from_errno(static_cast<int>(-result), "read"));
  co_return static_cast<size_t>(result);
}

Task<Result<>> File::write(uint64_t offset, std::span<const std::byte> from) {
  iovec piece{const_cast<std::byte*>(from.data()), from.size()};
  const int64_t result = co_await FileOpAwaiter(*this, FileOp::Kind::kWrite, offset, piece);
  if (result < 0) co_return fail(Error::from_errno(static_cast<int>(-result), "write"));
  if (static_cast<size_t>(result) != from.size()) co_return fail(Error::from_errno(EIO, "short write"));
  co_return Result<>{};
}

Task<Result<>> File::flush() {
  const int64_t result = co_await FileOpAwaiter(*this, FileOp::Kind::kFlush, 0, {});
  if (result < 0) co_return fail(Error::from_errno(static_cast<int>(-result), "flush"));
  co_return Result<>{};
}

}  // namespace cairn::runtime
