#include "base/intrusive_list.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

struct Item : ListLink<> {
  explicit Item(int v) : value(v) {}
  int value;
};

TEST(IntrusiveList, KeepsOrderAndUnlinksAnywhere) {
  Item a(1), b(2), c(3);
  IntrusiveList<Item> list;
  list.push_back(b);
  list.push_back(c);
  list.push_front(a);
  EXPECT_EQ(list.size(), 3u);
  b.unlink();
  EXPECT_FALSE(b.is_linked());
  EXPECT_EQ(list.front().value, 1);
  EXPECT_EQ(list.back().value, 3);
  EXPECT_EQ(list.pop_front(), &a);
  EXPECT_EQ(list.pop_front(), &c);
  EXPECT_EQ(list.pop_front(), nullptr);
}

TEST(IntrusiveList, SpliceMovesEverything) {
  Item a(1), b(2), c(3);
  IntrusiveList<Item> list, other;
  list.push_back(a);
  other.push_back(b);
  other.push_back(c);
  list.splice_back(other);
  EXPECT_TRUE(other.empty());
  int expected = 1;
  for (Item& item : list) EXPECT_EQ(item.value, expected++);
  while (list.pop_front() != nullptr) {
  }
}

TEST(IntrusiveListDeathTest, RefusesDoubleInsertion) {
  EXPECT_DEATH(
      {
        Item a(1);
        IntrusiveList<Item> list;
        list.push_back(a);
        list.push_back(a);
      },
      "check failed");
}

}  // namespace
}  // namespace cairn
