// Messages between reactors, and from other threads to a reactor.
//
// The link lives in the message and the message belongs to its sender until its function has run, so posting never allocates, never fails,
// and the number of messages on their way is bounded by the number of senders.
#pragma once

#include <atomic>
#include <functional>

namespace cairn::runtime {

class Message {
 public:
  explicit Message(std::function<void()> function) : function_(std::move(function)) {}
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

 private:
  friend class MessageQueue;
  std::function<void()> function_;
  Message* next_ = nullptr;
};

// Many producers, one consumer. Messages of one producer run in the order they were posted.
class MessageQueue {
 public:
  // Any thread. The message must stay alive and must not be posted again until its function was called.
  void push(Message& message) {
    Message* head = head_.load(std::memory_order_relaxed);
    do {
      message.next_ = head;
    } while (!head_.compare_exchange_weak(head, &message, std::memory_order_seq_cst, std::memory_order_relaxed));
  }
  bool empty() const { return head_.load(std::memory_order_seq_cst) == nullptr; }

  // Consumer only: runs all messages that were posted before the call. A function may destroy or re-post its message. Returns how many ran.
  size_t run_all() {
    if (head_.load(std::memory_order_relaxed) == nullptr) return 0;
    Message* newest = head_.exchange(nullptr, std::memory_order_acquire);
    Message* oldest = nullptr;
    while (newest != nullptr) {
      Message* next = newest->next_;
      newest->next_ = oldest;
      oldest = newest;
      newest = next;
    }
    size_t count = 0;
    while (oldest != nullptr) {
      Message* message = oldest;
      oldest = message->next_;
      // A copy: the function may destroy its own message.
      const auto function = message->function_;
      function();
      ++count;
    }
    return count;
  }

 private:
  std::atomic<Message*> head_{nullptr};
};

}  // namespace cairn::runtime
