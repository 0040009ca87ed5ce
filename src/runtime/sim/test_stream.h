// For tests: a Stream with waits. Collects what arrives, through windows and without, and sends whole buffers.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/stream.h"
#include "runtime/task_waits.h"

namespace cairn::runtime::sim {

class TestStream final : private StreamHandler {
 public:
  explicit TestStream(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) { stream_->start(*this); }

  Stream& operator*() { return *stream_; }
  Stream* operator->() { return stream_.get(); }
  const std::optional<Error>& closed() const { return closed_; }
  std::string& received() { return received_; }
  size_t placed() const { return placed_; }

  // 0 or -errno.
  Task<int> send(std::string text) {
    struct Op : SendOp {
      Event done;
      int result = 0;
    } op;
    iovec piece{text.data(), text.size()};
    op.pieces = {&piece, 1};
    op.complete = [](SendOp& base, int result) {
      static_cast<Op&>(base).result = result;
      static_cast<Op&>(base).done.set();
    };
    stream_->send(op);
    (void)co_await op.done.wait_uninterrupted();  // the transport owns the memory until then
    co_return op.result;
  }

  // The next `size` bytes, or fewer when the stream ends first.
  Task<std::string> receive(size_t size) {
    while (received_.size() < size && !closed_) {
      changed_.reset();
      if (!co_await changed_.wait()) break;
    }
    std::string result = received_.substr(0, size);
    received_.erase(0, result.size());
    co_return result;
  }
  Task<> wait_closed() {
    while (!closed_) {
      changed_.reset();
      if (!co_await changed_.wait()) co_return;
    }
  }

 private:
  std::span<std::byte> receive_window() override { return std::span(window_).subspan(filled_); }
  void on_window_filled(size_t size) override {
    placed_ += size;
    received_.append(reinterpret_cast<const char*>(window_) + filled_, size);
    filled_ = (filled_ + size) % sizeof window_;
    changed_.set();
  }
  void on_receive(std::span<const std::byte> data) override {
    received_.append(reinterpret_cast<const char*>(data.data()), data.size());
    filled_ = (filled_ + data.size()) % sizeof window_;
    changed_.set();
  }
  void on_closed(const Error& reason) override {
    closed_ = reason;
    changed_.set();
  }

  std::unique_ptr<Stream> stream_;
  std::byte window_[4096];
  size_t filled_ = 0;
  size_t placed_ = 0;
  std::string received_;
  std::optional<Error> closed_;
  Event changed_;
};

}  // namespace cairn::runtime::sim
