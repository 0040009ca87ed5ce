// The library as its users see it, but for a look inside to break a child and to hold I/O back.
#include <cairn/runtime.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "embed/runtime_state.h"

namespace cairn::embed {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class EmbedTest : public testing::Test {
 protected:
  EmbedTest() {
    auto started = Runtime::start({.log_level = LogLevel::kOff});
    EXPECT_TRUE(started.has_value());
    runtime_.emplace(std::move(*started));
  }
  ~EmbedTest() override {
    runtime_.reset();
    for (const std::string& file : files_) std::filesystem::remove(file);
  }
  static std::string malloc_child(int number) {
    return fmt::format("malloc:///embed{}?size_mb=24&uuid={:08x}-0000-4000-8000-000000000000", number, number);
  }
  std::string file_child(int number) {
    const std::string path =
        (std::filesystem::temp_directory_path() / fmt::format("embed_test_{}_{}", ::getpid(), number)).string();
    std::ofstream{path};
    std::filesystem::resize_file(path, 24 * kMiB);
    files_.push_back(path);
    return fmt::format("aio://{}?blk_size=512&uuid={:08x}-0000-4000-8000-000000000000", path, number);
  }
  static NexusOptions options(std::vector<std::string> children) {
    return {.name = "n",
            .size_bytes = 16 * kMiB,
            .children = std::move(children),
            .uuid = "11111111-2222-4333-8444-555555555555"};
  }
  static Buffer filled(size_t size, int value) {
    Buffer buffer = *Buffer::allocate(size);
    std::memset(buffer.data(), value, size);
    return buffer;
  }
  static bool holds(const Buffer& buffer, int value) {
    for (const std::byte byte : buffer.span()) {
      if (byte != static_cast<std::byte>(value)) return false;
    }
    return true;
  }
  static std::string text(const Result<>& result) {
    return result ? "" : fmt::format("{}: {}", code_name(result.error().code), result.error().message);
  }

  std::optional<Runtime> runtime_;
  std::vector<std::string> files_;
};

TEST_F(EmbedTest, WritesReachEveryChildAndAreReadBack) {
  const std::vector<std::string> children = {file_child(1), file_child(2)};
  {
    auto nexus = *runtime_->create_nexus(options(children));
    EXPECT_EQ(nexus.name(), "n");
    EXPECT_EQ(nexus.uuid(), "11111111-2222-4333-8444-555555555555");
    EXPECT_EQ(nexus.size_bytes(), 16 * kMiB - 512);
    EXPECT_EQ(nexus.block_size(), 512u);
    const Buffer data = filled(8192, 'x');
    EXPECT_EQ(text(nexus.write(kMiB, data.span()).get()), "");
    EXPECT_EQ(text(nexus.flush().get()), "");
    const Buffer back = filled(8192, 0);
    EXPECT_EQ(text(nexus.read(kMiB, back.span()).get()), "");
    EXPECT_TRUE(holds(back, 'x'));
    EXPECT_EQ(nexus.info()->state, "online");
    EXPECT_EQ(text(nexus.close()), "");
  }
  for (const std::string& path : files_) {
    std::ifstream file(path, std::ios::binary);
    file.seekg(6 * kMiB);  // data begins at 5 MiB
    std::string bytes(8192, ' ');
    file.read(bytes.data(), 8192);
    EXPECT_EQ(bytes, std::string(8192, 'x')) << path;
  }
}

TEST_F(EmbedTest, RefusalsSayWhatIsWrong) {
  auto refused = [this](NexusOptions wrong) {
    auto nexus = runtime_->create_nexus(wrong);
    return nexus ? "" : fmt::format("{}: {}", code_name(nexus.error().code), nexus.error().message);
  };
  EXPECT_EQ(refused(options({"floppy:///a"})),
            "INVALID_ARGUMENT: Failed to create child of nexus n: Unsupported URI scheme: 'floppy'");
  EXPECT_THAT(refused(options({})), testing::HasSubstr("it has no children"));
  NexusOptions unnamed = options({malloc_child(1)});
  unnamed.name = "";
  EXPECT_EQ(refused(unnamed), "INVALID_ARGUMENT: nexus \"\": it needs a name");
  NexusOptions strange = options({malloc_child(1)});
  strange.uuid = "u";
  EXPECT_EQ(refused(strange), "INVALID_ARGUMENT: nexus \"n\": \"u\" is no UUID");
  EXPECT_THAT(refused(options({"aio:///nowhere/file?uuid=00000001-0000-4000-8000-000000000000"})),
              testing::ContainsRegex("INVALID_ARGUMENT.*No such file or directory"));
  EXPECT_THAT(refused(options({malloc_child(1), "aio:///nowhere/file"})),
              testing::HasSubstr("needs a \"uuid=\" in its URI"));

  EXPECT_THAT(refused(options({"uring:///nowhere/file"})), testing::HasSubstr("needs a \"uuid=\" in its URI"));

  auto nexus = *runtime_->create_nexus(options({malloc_child(1)}));
  EXPECT_THAT(refused(options({malloc_child(2)})), testing::StartsWith("ALREADY_EXISTS"));
  const Buffer buffer = filled(2 * kMiB, 0);
  EXPECT_EQ(text(nexus.read(0, {}).get()), "INVALID_ARGUMENT: read of 0 bytes at 0 of nexus n: no memory");
  EXPECT_EQ(text(nexus.read(100, buffer.span().first(512)).get()),
            "INVALID_ARGUMENT: read of 512 bytes at 100 of nexus n: the offset is not a multiple of 512");
  EXPECT_EQ(text(nexus.write(0, buffer.span().first(100)).get()),
            "INVALID_ARGUMENT: write of 100 bytes at 0 of nexus n: the size is not a multiple of 512");
  EXPECT_THAT(text(nexus.write(0, buffer.span().subspan(8, 512)).get()), testing::HasSubstr("is not aligned to 512"));
  EXPECT_THAT(text(nexus.write(0, buffer.span()).get()), testing::HasSubstr("larger than 1048576 bytes"));
  EXPECT_EQ(text(nexus.write(16 * kMiB - 1024, buffer.span().first(1024)).get()),
            "OUT_OF_RANGE: write of 1024 bytes at 16776192 of nexus n: it has 16776704 bytes");
  EXPECT_EQ(text(nexus.read(UINT64_MAX - 511, buffer.span().first(512)).get()).substr(0, 12), "OUT_OF_RANGE");
  EXPECT_EQ(text(nexus.write(16 * kMiB - 1024, buffer.span().first(512)).get()), "");
  EXPECT_THAT(text(nexus.remove_child(malloc_child(1))), testing::StartsWith("FAILED_PRECONDITION"));
  EXPECT_THAT(text(nexus.add_child("floppy:///a")), testing::StartsWith("INVALID_ARGUMENT"));

  auto unstarted = Runtime::start({.cores = {99999}});
  ASSERT_FALSE(unstarted.has_value());
  EXPECT_EQ(unstarted.error().code, Code::kInvalidArgument);
  EXPECT_EQ(Buffer::allocate(0).error().code, Code::kInvalidArgument);
  EXPECT_EQ(Buffer::allocate(SIZE_MAX).error().code, Code::kResourceExhausted);
}

TEST_F(EmbedTest, NothingGoesOnAfterItsEnd) {
  const Buffer buffer = filled(512, 0);
  const std::string closed = "FAILED_PRECONDITION: nexus n has been closed";
  auto nexus = *runtime_->create_nexus(options({malloc_child(1)}));
  EXPECT_EQ(text(nexus.close()), "");
  EXPECT_EQ(text(nexus.close()), "");
  EXPECT_EQ(text(nexus.read(0, buffer.span()).get()), closed);
  EXPECT_EQ(text(nexus.flush().get()), closed);
  EXPECT_EQ(nexus.info().error().message, "nexus n has been closed");

  auto next = *runtime_->create_nexus(options({malloc_child(1)}));  // name, UUID and child are free again
  runtime_->stop();
  runtime_->stop();
  EXPECT_EQ(text(next.write(0, buffer.span()).get()), closed);
  EXPECT_EQ(text(next.add_child(malloc_child(2))), closed);
  EXPECT_EQ(text(next.close()), "");
  EXPECT_EQ(runtime_->create_nexus(options({malloc_child(1)})).error().message, "the runtime has been stopped");

  Nexus nobody;
  EXPECT_EQ(text(nobody.read(0, buffer.span()).get()).substr(0, 19), "FAILED_PRECONDITION");
  EXPECT_EQ(nobody.size_bytes(), 0u);
}

TEST_F(EmbedTest, CompletionsMayGoOnButNotWait) {
  auto nexus = *runtime_->create_nexus(options({malloc_child(1)}));
  const Buffer buffer = filled(4096, 'c');
  std::promise<std::string> refused;
  std::function<void(int)> go_on = [&](int left) {
    nexus.write(static_cast<uint64_t>(left) * 4096, buffer.span(), [&, left](Result<> written) {
      ASSERT_TRUE(written.has_value());
      if (left > 0) return go_on(left - 1);
      refused.set_value(text(nexus.close()));
    });
  };
  go_on(3000);  // each from the completion before: the stack must not grow
  EXPECT_EQ(refused.get_future().get(), "FAILED_PRECONDITION: close in a completion, which must not wait");
}

TEST_F(EmbedTest, WhatAChildCannotReadComesFromAnother) {
  auto nexus = *runtime_->create_nexus(options({file_child(1), file_child(2)}));
  const Buffer data = filled(4096, 'd');
  ASSERT_EQ(text(nexus.write(0, data.span()).get()), "");
  std::filesystem::resize_file(files_[1], 0);
  const Buffer back = filled(4096, 0);
  for (int i = 0; i < 4; ++i) {
    std::memset(back.data(), 0, back.size());
    ASSERT_EQ(text(nexus.read(0, back.span()).get()), "");
    ASSERT_TRUE(holds(back, 'd'));
  }
}

TEST_F(EmbedTest, AChildLeavesAndComesBack) {
  const std::string staying = file_child(1), leaving = file_child(2);
  auto nexus = *runtime_->create_nexus(options({staying, leaving}));
  ASSERT_EQ(text(nexus.remove_child(leaving)), "");
  const Buffer data = filled(4096, 'e');
  ASSERT_EQ(text(nexus.write(2 * kMiB, data.span()).get()), "");
  ASSERT_EQ(nexus.info()->children.size(), 1u);
  ASSERT_EQ(text(nexus.add_child(leaving)), "");
  while (nexus.info()->state != "online") std::this_thread::yield();
  const NexusInfo info = *nexus.info();
  ASSERT_EQ(info.children.size(), 2u);
  EXPECT_EQ(info.children[1].uri, leaving);
  EXPECT_EQ(info.children[1].state, "open");
  EXPECT_TRUE(info.children[1].healthy);
  EXPECT_FALSE(info.children[1].rebuilding);
  ASSERT_EQ(text(nexus.remove_child(staying)), "");
  const Buffer back = filled(4096, 0);
  ASSERT_EQ(text(nexus.read(2 * kMiB, back.span()).get()), "");
  EXPECT_TRUE(holds(back, 'e'));
}

// Known by nothing that stays, it could come back stale: what it missed would be noted under an identity that nobody
// has the next time.
TEST_F(EmbedTest, WhatIsAddedToAVolumeNeedsAnIdentity) {
  const std::string known = file_child(1), other = file_child(2);
  const std::string anonymous = other.substr(0, other.find("&uuid="));
  {
    auto nexus = *runtime_->create_nexus(options({known}));
    const std::string refusal = text(nexus.add_child(anonymous));
    EXPECT_THAT(refusal, testing::StartsWith("INVALID_ARGUMENT: child \"" + anonymous + "\" needs a \"uuid=\""));
    EXPECT_EQ(nexus.info()->children.size(), 1u);
    EXPECT_EQ(text(nexus.add_child(other)), "");
  }
  // Of a volume that nobody opens again nothing need be known.
  NexusOptions passing = options({anonymous});
  passing.uuid = "";
  auto nexus = *runtime_->create_nexus(passing);
  const std::string second = known.substr(0, known.find("&uuid="));
  EXPECT_EQ(text(nexus.add_child(second)), "");
}

TEST_F(EmbedTest, AFileHasOneUser) {
  const std::string child = file_child(1);
  auto nexus = *runtime_->create_nexus(options({child}));
  auto other = *Runtime::start({.log_level = LogLevel::kOff});
  const auto refused = other.create_nexus(options({child}));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("busy"));
}

TEST_F(EmbedTest, ThreadsShareANexus) {
  constexpr int kThreads = 4;
  constexpr int kWrites = 500;
  NexusOptions narrow = options({malloc_child(1), malloc_child(2)});
  narrow.max_in_flight = 8;
  auto nexus = *runtime_->create_nexus(narrow);
  std::atomic<int> written{0}, refused{0}, completed{0};
  std::vector<std::thread> threads;
  const Buffer buffer = filled(512, 't');
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kWrites; ++i) {
        nexus.write(static_cast<uint64_t>(thread * kWrites + i) * 512, buffer.span(), [&](Result<> result) {
          result ? ++written : ++refused;
          if (!result) EXPECT_EQ(result.error().code, Code::kResourceExhausted);
          ++completed;
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(text(nexus.close()), "");
  EXPECT_EQ(completed, kThreads * kWrites);
  EXPECT_EQ(written + refused, kThreads * kWrites);
  EXPECT_GE(written, 8);
}

TEST_F(EmbedTest, CloseWaitsForEveryCompletion) {
  for (int round = 0; round < 50; ++round) {
    auto nexus = *runtime_->create_nexus(options({malloc_child(1)}));
    const Buffer buffer = filled(512, round);
    std::atomic<int> completed{0};
    std::thread writer([&] {
      for (int i = 0; i < 100; ++i) nexus.write(0, buffer.span(), [&](Result<>) { ++completed; });
    });
    EXPECT_EQ(text(nexus.close()), "");
    const int before = completed;
    writer.join();  // what came after the close was refused on its thread
    EXPECT_EQ(completed, 100);
    EXPECT_LE(before, 100);
  }
}

}  // namespace
}  // namespace cairn::embed
