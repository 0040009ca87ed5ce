#include "runtime/timer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "runtime/random.h"

namespace cairn::runtime {
namespace {

using testing::ElementsAre;

TimePoint at(int64_t time) {
  return TimePoint(Duration(time));
}

TEST(Timer, ExpiresOnceInOrderOfTimeThenOfArming) {
  TimerQueue queue;
  std::vector<int> order;
  Timer a([&] { order.push_back(1); });
  Timer b([&] { order.push_back(2); });
  Timer c([&] { order.push_back(3); });
  queue.arm(a, at(20));
  queue.arm(b, at(10));
  queue.arm(c, at(20));
  EXPECT_EQ(queue.next_expiry(), at(10));
  EXPECT_EQ(queue.run_expired(at(9)), 0u);
  EXPECT_EQ(queue.run_expired(at(20)), 3u);
  EXPECT_THAT(order, ElementsAre(2, 1, 3));
  EXPECT_FALSE(a.armed());
  EXPECT_EQ(queue.run_expired(at(100)), 0u);
  EXPECT_EQ(queue.next_expiry(), kNever);
}

TEST(Timer, MayBeRearmedDisarmedAndDestroyedFromItsFunction) {
  TimerQueue queue;
  int ran = 0;
  std::optional<Timer> self;
  self.emplace([&] {
    if (++ran < 3) {
      queue.arm(*self, at(ran));
    } else {
      self.reset();
    }
  });
  Timer other([] { FAIL(); });
  Timer killer([&] { other.disarm(); });
  queue.arm(killer, at(0));
  queue.arm(other, at(0));
  queue.arm(*self, at(0));
  EXPECT_EQ(queue.run_expired(at(5)), 4u);
  EXPECT_EQ(ran, 3);
  EXPECT_FALSE(self.has_value());
  EXPECT_FALSE(other.armed());
}

TEST(Timer, DisarmsItselfWhenDestroyed) {
  TimerQueue queue;
  {
    Timer timer([] { FAIL(); });
    queue.arm(timer, at(1));
  }
  EXPECT_EQ(queue.run_expired(at(2)), 0u);
}

// Random arming, re-arming, disarming and time against a sorted map.
TEST(Timer, BehavesLikeASortedMap) {
  struct Entry {
    std::unique_ptr<Timer> timer;
    std::optional<std::pair<int64_t, uint64_t>> key;  // time and arming order
  };
  Random random(7);
  TimerQueue queue;
  std::vector<Entry> entries(200);
  std::map<std::pair<int64_t, uint64_t>, size_t> model;
  std::vector<size_t> ran;
  for (size_t i = 0; i < entries.size(); ++i)
    entries[i].timer = std::make_unique<Timer>([&ran, i] { ran.push_back(i); });
  int64_t now = 0;
  uint64_t order = 0;
  for (int step = 0; step < 50000; ++step) {
    const size_t i = random.below(entries.size());
    Entry& entry = entries[i];
    switch (random.below(5)) {
      case 0:
      case 1:
      case 2: {
        if (entry.key) model.erase(*entry.key);
        entry.key = {now + static_cast<int64_t>(random.below(100)), order++};
        model[*entry.key] = i;
        queue.arm(*entry.timer, at(entry.key->first));
        break;
      }
      case 3:
        if (entry.key) model.erase(*entry.key);
        entry.key.reset();
        entry.timer->disarm();
        break;
      default: {
        now += static_cast<int64_t>(random.below(20));
        std::vector<size_t> expected;
        while (!model.empty() && model.begin()->first.first <= now) {
          expected.push_back(model.begin()->second);
          entries[model.begin()->second].key.reset();
          model.erase(model.begin());
        }
        ran.clear();
        ASSERT_EQ(queue.run_expired(at(now)), expected.size());
        ASSERT_EQ(ran, expected);
      }
    }
    ASSERT_EQ(entry.timer->armed(), entry.key.has_value());
    ASSERT_EQ(queue.next_expiry(), model.empty() ? kNever : at(model.begin()->first.first));
  }
}

}  // namespace
}  // namespace cairn::runtime
