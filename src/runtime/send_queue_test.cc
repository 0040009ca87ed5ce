#include "runtime/send_queue.h"

#include <gmock/gmock.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "runtime/random.h"

namespace cairn::runtime {
namespace {

using testing::ElementsAre;

struct Op : SendOp {
  Op(SendQueue& queue, std::vector<std::string> content, std::vector<std::pair<Op*, int>>& completions)
      : text(std::move(content)), done(completions) {
    for (std::string& part : text) iovecs.push_back({part.data(), part.size()});
    pieces = iovecs;
    complete = [](SendOp& op, int result) {
      auto& self = static_cast<Op&>(op);
      self.done.emplace_back(&self, result);
    };
    queue.push(*this);
  }
  std::vector<std::string> text;
  std::vector<iovec> iovecs;
  std::vector<std::pair<Op*, int>>& done;
};

std::string gathered(SendQueue& queue, size_t max_pieces) {
  std::vector<iovec> pieces(max_pieces);
  const SendQueue::Batch batch = queue.gather(pieces);
  std::string text;
  for (size_t i = 0; i < batch.pieces; ++i) text.append(static_cast<char*>(pieces[i].iov_base), pieces[i].iov_len);
  EXPECT_EQ(text.size(), batch.bytes);
  return text;
}

TEST(SendQueue, GathersAcrossOperationsUpToTheRoom) {
  std::vector<std::pair<Op*, int>> done;
  SendQueue queue;
  EXPECT_EQ(gathered(queue, 4), "");
  Op first(queue, {"ab", "", "c"}, done);
  Op second(queue, {"def"}, done);
  Op third(queue, {"g", "h"}, done);
  EXPECT_EQ(gathered(queue, 3), "abcdef");
  EXPECT_EQ(gathered(queue, 10), "abcdefgh");
  queue.advance(8);
  EXPECT_THAT(done, ElementsAre(std::pair(&first, 0), std::pair(&second, 0), std::pair(&third, 0)));
  EXPECT_TRUE(queue.empty());
}

TEST(SendQueue, GoesOnInTheMiddleOfAPiece) {
  std::vector<std::pair<Op*, int>> done;
  SendQueue queue;
  Op op(queue, {"abcdefgh", "ij"}, done);
  queue.advance(3);
  EXPECT_EQ(gathered(queue, 4), "defghij");
  queue.advance(2);
  EXPECT_EQ(gathered(queue, 4), "fghij");
  queue.advance(4);
  EXPECT_EQ(gathered(queue, 4), "j");
  EXPECT_TRUE(done.empty());
  queue.advance(1);
  EXPECT_THAT(done, ElementsAre(std::pair(&op, 0)));
}

TEST(SendQueue, CompletesOperationsWithoutBytesInTheirTurn) {
  std::vector<std::pair<Op*, int>> done;
  SendQueue queue;
  Op empty(queue, {}, done);
  Op op(queue, {"a"}, done);
  Op hollow(queue, {"", ""}, done);
  queue.advance(0);
  EXPECT_THAT(done, ElementsAre(std::pair(&empty, 0)));
  queue.advance(1);
  EXPECT_THAT(done, ElementsAre(std::pair(&empty, 0), std::pair(&op, 0), std::pair(&hollow, 0)));
}

TEST(SendQueue, FailsAllInOrderAndStartsAfresh) {
  std::vector<std::pair<Op*, int>> done;
  SendQueue queue;
  Op first(queue, {"abc"}, done);
  Op second(queue, {"d"}, done);
  queue.advance(2);
  queue.fail_all(-ECANCELED);
  EXPECT_THAT(done, ElementsAre(std::pair(&first, -ECANCELED), std::pair(&second, -ECANCELED)));
  Op third(queue, {"xyz"}, done);
  EXPECT_EQ(gathered(queue, 4), "xyz");
  queue.advance(3);
}

// Random pieces, handed over in random portions, come out as they went in.
TEST(SendQueue, LosesAndRepeatsNothing) {
  Random random(11);
  std::vector<std::pair<Op*, int>> done;
  std::vector<std::unique_ptr<Op>> ops;
  SendQueue queue;
  std::string expected;
  std::string sent;
  for (int step = 0; step < 5000; ++step) {
    if (random.below(3) == 0) {
      std::vector<std::string> text;
      for (uint64_t i = random.below(4); i > 0; --i) {
        text.emplace_back(random.below(10), static_cast<char>('a' + random.below(26)));
        expected += text.back();
      }
      ops.push_back(std::make_unique<Op>(queue, std::move(text), done));
    } else {
      const std::string text = gathered(queue, 1 + random.below(6));
      const size_t portion = random.below(text.size() + 1);
      sent += text.substr(0, portion);
      queue.advance(portion);
    }
  }
  sent += gathered(queue, 100000);
  EXPECT_EQ(sent, expected);
  queue.fail_all(-ECANCELED);
  ASSERT_EQ(done.size(), ops.size());
  for (size_t i = 0; i < ops.size(); ++i) EXPECT_EQ(done[i].first, ops[i].get());
}

}  // namespace
}  // namespace cairn::runtime
