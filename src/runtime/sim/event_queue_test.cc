#include "runtime/sim/event_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/random.h"

namespace cairn::runtime::sim {
namespace {

using Key = std::pair<TimePoint, uint64_t>;  // equal times in the order they were scheduled

TEST(EventQueue, IsASortedMap) {
  Random random(3);
  EventQueue queue;
  std::map<Key, EventQueue::Id> model;
  std::vector<EventQueue::Id> ended;
  std::optional<uint64_t> ran;
  TimePoint now{};
  for (uint64_t order = 0; order < 100'000; ++order) {
    const uint64_t choice = random.below(8);
    // Fewer and fewer at last, so that every size is seen.
    if (choice < 4 && (order < 80'000 || model.size() < 3)) {
      const TimePoint at = now + Duration(random.below(50));
      model[{at, order}] = queue.schedule(at, [&ran, order] { ran = order; });
    } else if (choice < 6 && !model.empty()) {
      const auto chosen = std::next(model.begin(), static_cast<ptrdiff_t>(random.below(model.size())));
      queue.cancel(chosen->second);
      ended.push_back(chosen->second);
      model.erase(chosen);
    } else if (!model.empty()) {
      const auto first = model.begin();
      ASSERT_EQ(queue.next_time(), first->first.first);
      EventQueue::Event event = queue.pop();
      event.function();
      ASSERT_EQ(event.at, first->first.first);
      ASSERT_EQ(ran, first->first.second);
      now = event.at;
      ended.push_back(first->second);
      model.erase(first);
    }
    // Nothing that is over can be cancelled, whoever has its slot now.
    if (!ended.empty()) queue.cancel(ended[random.below(ended.size())]);
    ASSERT_EQ(queue.empty(), model.empty());
  }
  queue.clear();
  EXPECT_EQ(queue.next_time(), kNever);
}

TEST(EventQueue, WhatAFunctionOwnsMayCancelOthers) {
  EventQueue queue;
  const auto target = queue.schedule(TimePoint(Duration(2)), [] {});
  const auto owned = [&queue](EventQueue::Id id) {
    return std::shared_ptr<void>(nullptr, [&queue, id](void*) { queue.cancel(id); });
  };
  const auto owner = queue.schedule(TimePoint(Duration(1)), [guard = owned(target)] {});
  queue.cancel(owner);
  EXPECT_TRUE(queue.empty());
  const auto left = queue.schedule(TimePoint(Duration(3)), [] {});
  queue.schedule(TimePoint(Duration(1)), [guard = owned(left)] {});
  queue.clear();
  EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace cairn::runtime::sim
