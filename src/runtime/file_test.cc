// The contract of file.h on every kernel back-end.
#include "runtime/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "runtime/kernel_reactor_test.h"

namespace cairn::runtime {

namespace {

class FileTest : public KernelReactorTest {
 protected:
  FileTest() {
    std::string name = testing::TempDir() + "cairn-file-test-XXXXXX";
    CAIRN_CHECK(::mkdtemp(name.data()) != nullptr);
    directory_ = name;
  }
  ~FileTest() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::unique_ptr<File> open(const std::string& path, FileOptions options = {.create = true}) {
    auto file = await(backend().open_file(path, options));
    EXPECT_TRUE(file.has_value()) << file.error().to_string();
    return file ? std::move(*file) : nullptr;
  }
  // Submits one operation and gives its result.
  int64_t run(File& file, FileOp::Kind kind, uint64_t offset, std::vector<iovec> pieces, uint64_t length = 0) {
    struct Op : FileOp {
      std::optional<int64_t> outcome;
    } op;
    op.kind = kind;
    op.offset = offset;
    op.length = length;
    for (const iovec& piece : pieces) op.length += piece.iov_len;
    op.pieces = pieces;
    op.complete = [](FileOp& done, int64_t result) { static_cast<Op&>(done).outcome = result; };
    file.submit(op);
    EXPECT_FALSE(op.outcome.has_value());  // never inside submit()
    run_until([&op] { return op.outcome.has_value(); });
    return *op.outcome;
  }

 private:
  std::string directory_;
};

INSTANTIATE_TEST_SUITE_P(Kernel, FileTest, testing::ValuesIn(kernel_backend_variants()),
                         [](const auto& info) { return info.param.name; });

std::vector<std::byte> bytes_of(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

// Direct writes are completed by threads of the kernel, which a reactor that polls would keep from its core.
TEST_P(FileTest, PollingDoesNotPayWhileAFileIsChanged) {
  const bool in_ring = GetParam().name != "epoll";
  const auto file = open(path("file"));
  std::byte memory[512] = {};
  iovec piece{memory, sizeof memory};
  for (const auto kind : {FileOp::Kind::kWrite, FileOp::Kind::kFlush, FileOp::Kind::kRead}) {
    struct Op : FileOp {
      bool done = false;
    } op;
    op.kind = kind;
    if (kind != FileOp::Kind::kFlush) {
      op.length = sizeof memory;
      op.pieces = {&piece, 1};
    }
    op.complete = [](FileOp& done, int64_t) { static_cast<Op&>(done).done = true; };
    EXPECT_TRUE(backend().polling_pays());
    file->submit(op);
    EXPECT_EQ(backend().polling_pays(), !in_ring || kind == FileOp::Kind::kRead);
    run_until([&op] { return op.done; });
    EXPECT_TRUE(backend().polling_pays());
  }
}

TEST_P(FileTest, WritesAndReadsBack) {
  auto file = open(path("data"));
  const auto text = bytes_of("what is written is read");
  EXPECT_TRUE(await(file->write(5, text)).has_value());
  EXPECT_TRUE(await(file->flush()).has_value());
  std::vector<std::byte> read(text.size());
  EXPECT_EQ(await(file->read(5, read)).value(), text.size());
  EXPECT_EQ(read, text);
  EXPECT_EQ(await(file->refresh())->size_bytes, 5 + text.size());
}

// Memory that satisfies direct I/O.
class AlignedMemory {
 public:
  explicit AlignedMemory(size_t size) : memory_(static_cast<std::byte*>(std::aligned_alloc(4096, size))), size_(size) {}
  ~AlignedMemory() { std::free(memory_); }
  std::span<std::byte> span() { return {memory_, size_}; }

 private:
  std::byte* memory_;
  size_t size_;
};

void fill(std::span<std::byte> bytes, unsigned seed) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>((i * 31 + seed) * 2654435761U >> 11);
}
iovec piece(std::span<std::byte> bytes) {
  return {bytes.data(), bytes.size()};
}
bool all_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

TEST_P(FileTest, GathersAndScattersVectors) {
  auto file = open(path("data"));
  std::vector<std::vector<std::byte>> parts;
  std::vector<iovec> pieces;
  for (size_t i = 0; i < FileOp::kMaxPieces; ++i) {
    fill(parts.emplace_back(1 + i * 977), static_cast<unsigned>(i));
    pieces.push_back(piece(parts.back()));
  }
  size_t total = 0;
  for (const auto& part : parts) total += part.size();
  EXPECT_EQ(run(*file, FileOp::Kind::kWrite, 3, pieces), static_cast<int64_t>(total));
  auto expected = parts;
  for (auto& part : parts) std::ranges::fill(part, std::byte{0});
  EXPECT_EQ(run(*file, FileOp::Kind::kRead, 3, pieces), static_cast<int64_t>(total));
  EXPECT_TRUE(parts == expected);
}

TEST_P(FileTest, ReadsShortOnlyAtTheEnd) {
  auto file = open(path("data"));
  std::vector<std::byte> data(10000);
  fill(data, 1);
  ASSERT_TRUE(await(file->write(0, data)).has_value());
  std::vector<std::byte> head(6000);
  std::vector<std::byte> tail(9000);
  EXPECT_EQ(run(*file, FileOp::Kind::kRead, 0, {piece(head), piece(tail)}), 10000);
  EXPECT_TRUE(std::ranges::equal(std::span(tail).first(4000), std::span(data).subspan(6000)));
  EXPECT_EQ(run(*file, FileOp::Kind::kRead, 9999, {piece(head)}), 1);
  EXPECT_EQ(run(*file, FileOp::Kind::kRead, 10000, {piece(head)}), 0);
  EXPECT_EQ(run(*file, FileOp::Kind::kRead, 1 << 30, {piece(head)}), 0);
}

// Files of the kernel that give out a page at a time.
TEST_P(FileTest, ContinuesShortReads) {
  const char* source = "/proc/kallsyms";
  std::ifstream stream(source);
  std::string expected(100000, '\0');
  if (!stream.read(expected.data(), static_cast<std::streamsize>(expected.size())))
    GTEST_SKIP() << source << " is short";
  auto file = open(source, {.read_only = true});
  std::vector<std::byte> head(777);
  std::vector<std::byte> middle(60000);
  std::vector<std::byte> tail(expected.size() - head.size() - middle.size());
  EXPECT_EQ(run(*file, FileOp::Kind::kRead, 0, {piece(head), piece(middle), piece(tail)}),
            static_cast<int64_t>(expected.size()));
  EXPECT_EQ(std::memcmp(expected.data(), head.data(), head.size()), 0);
  EXPECT_EQ(std::memcmp(expected.data() + head.size(), middle.data(), middle.size()), 0);
  EXPECT_EQ(std::memcmp(expected.data() + head.size() + middle.size(), tail.data(), tail.size()), 0);
}

TEST_P(FileTest, AnEmptyTransferDoesNothing) {
  auto file = open(path("data"));
  EXPECT_EQ(run(*file, FileOp::Kind::kRead, 0, {}), 0);
  EXPECT_EQ(run(*file, FileOp::Kind::kWrite, 5, {}), 0);
  EXPECT_EQ(await(file->refresh())->size_bytes, 0u);
}

TEST_P(FileTest, UsesDirectIoWhereThereIsSuch) {
  auto file = open(path("data"), {.create = true, .direct = true});
  if (!file->info().direct) GTEST_SKIP() << "no direct I/O on " << testing::TempDir();
  const uint32_t alignment = file->info().memory_alignment;
  EXPECT_GE(alignment, 1u);
  EXPECT_LE(alignment, 4096u);
  AlignedMemory out(65536);
  AlignedMemory in(65536);
  fill(out.span(), 5);
  EXPECT_EQ(run(*file, FileOp::Kind::kWrite, 4096, {piece(out.span().first(4096)), piece(out.span().subspan(4096))}),
            65536);
  EXPECT_EQ(run(*file, FileOp::Kind::kRead, 4096, {piece(in.span())}), 65536);
  EXPECT_TRUE(std::ranges::equal(in.span(), out.span()));
  // The end of the file in the middle of a block.
  ASSERT_TRUE(await(file->resize(4096 + 5000)).has_value());
  EXPECT_EQ(run(*file, FileOp::Kind::kRead, 4096, {piece(in.span())}), 5000);
  // Memory of the reactor's pool: registered with the kernel where it can be.
  std::byte* pooled = reactor().buffers().allocate(16384);
  fill({pooled, 16384}, 9);
  EXPECT_EQ(run(*file, FileOp::Kind::kWrite, 0, {{pooled, 16384}}), 16384);
  EXPECT_EQ(run(*file, FileOp::Kind::kRead, 0, {piece(in.span().first(16384))}), 16384);
  EXPECT_TRUE(std::ranges::equal(in.span().first(16384), std::span(pooled, 16384)));
  std::memset(pooled, 0, 16384);
  EXPECT_EQ(run(*file, FileOp::Kind::kRead, 4096, {{pooled, 8192}}), 8192);
  EXPECT_TRUE(std::ranges::equal(std::span(pooled, 8192), in.span().subspan(4096, 8192)));
  reactor().buffers().release(pooled);
  if (alignment > 1) {
    EXPECT_EQ(run(*file, FileOp::Kind::kWrite, 1, {piece(out.span().first(512))}), -EINVAL);
  }
}

TEST_P(FileTest, RunsManyOperationsAtOnce) {
  auto file = open(path("data"));
  constexpr size_t kOps = 500;
  constexpr size_t kSize = 3000;
  struct Op : FileOp {
    std::vector<std::byte> bytes;
    iovec one{};
    size_t* done = nullptr;
  };
  size_t done = 0;
  std::vector<std::unique_ptr<Op>> ops;
  for (size_t i = 0; i < kOps; ++i) {
    auto& op = *ops.emplace_back(std::make_unique<Op>());
    op.bytes.resize(kSize);
    fill(op.bytes, static_cast<unsigned>(i));
    op.one = piece(op.bytes);
    op.kind = FileOp::Kind::kWrite;
    op.offset = i * kSize;
    op.length = kSize;
    op.pieces = {&op.one, 1};
    op.done = &done;
    op.complete = [](FileOp& finished, int64_t result) {
      EXPECT_EQ(result, static_cast<int64_t>(kSize));
      ++*static_cast<Op&>(finished).done;
    };
    file->submit(op);
  }
  EXPECT_EQ(done, 0u);
  run_until([&] { return done == kOps; });
  std::vector<std::byte> all(kOps * kSize);
  EXPECT_EQ(await(file->read(0, all)).value(), all.size());
  for (size_t i = 0; i < kOps; ++i) {
    EXPECT_TRUE(std::ranges::equal(std::span(all).subspan(i * kSize, kSize), ops[i]->bytes)) << i;
  }
}

TEST_P(FileTest, AnOperationMaySubmitTheNext) {
  auto file = open(path("data"));
  struct Chain : FileOp {
    File* file = nullptr;
    int left = 100;
    std::vector<std::byte> bytes = std::vector<std::byte>(100);
    iovec one{};
  } chain;
  chain.file = file.get();
  chain.kind = FileOp::Kind::kWrite;
  chain.one = piece(chain.bytes);
  chain.length = 100;
  chain.pieces = {&chain.one, 1};
  chain.complete = [](FileOp& op, int64_t result) {
    auto& self = static_cast<Chain&>(op);
    EXPECT_EQ(result, 100);
    self.offset += 100;
    if (--self.left > 0) self.file->submit(self);
  };
  file->submit(chain);
  run_until([&chain] { return chain.left == 0; });
  EXPECT_EQ(await(file->refresh())->size_bytes, 10000u);
}

TEST_P(FileTest, UnmapsAndWritesZeroes) {
  auto file = open(path("data"));
  std::vector<std::byte> data(65536);
  fill(data, 2);
  ASSERT_TRUE(await(file->write(0, data)).has_value());
  EXPECT_TRUE(file->info().can_unmap);
  const int64_t unmapped = run(*file, FileOp::Kind::kUnmap, 4096, {}, 8192);
  const int64_t zeroed = run(*file, FileOp::Kind::kWriteZeroes, 20480, {}, 4096);
  std::vector<std::byte> read(data.size());
  ASSERT_EQ(await(file->read(0, read)).value(), read.size());
  // Not every file system can: then it says so and leaves the file alone.
  EXPECT_TRUE(unmapped == 0 || unmapped == -EOPNOTSUPP) << unmapped;
  EXPECT_TRUE(zeroed == 0 || zeroed == -EOPNOTSUPP) << zeroed;
  if (unmapped == 0) std::memset(data.data() + 4096, 0, 8192);
  if (zeroed == 0) std::memset(data.data() + 20480, 0, 4096);
  EXPECT_TRUE(read == data);
  EXPECT_EQ(await(file->refresh())->size_bytes, 65536u);
  // On the file systems of developers and CI both are there.
  struct stat status{};
  ASSERT_EQ(::stat(path("data").c_str(), &status), 0);
  EXPECT_TRUE(all_zero(std::span(read).subspan(4096, unmapped == 0 ? 8192 : 0)));
}

TEST_P(FileTest, ReportsErrorsOfTheSystem) {
  {
    const std::ofstream make(path("data"));
  }
  auto file = open(path("data"), {.read_only = true});
  std::vector<std::byte> data(10);
  EXPECT_EQ(run(*file, FileOp::Kind::kWrite, 0, {piece(data)}), -EBADF);
  const auto written = await(file->write(0, data));
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().errno_value(), EBADF);
}

TEST_P(FileTest, ReportsThatTheDeviceIsFull) {
  auto file = open("/dev/full", {});
  std::vector<std::byte> data(10);
  EXPECT_EQ(run(*file, FileOp::Kind::kWrite, 0, {piece(data), piece(data)}), -ENOSPC);
}

TEST_P(FileTest, TellsWhyItCannotOpen) {
  const auto missing = await(backend().open_file(path("missing"), {}));
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code(), Code::kNotFound);
  EXPECT_NE(missing.error().message().find(path("missing")), std::string::npos);
  EXPECT_FALSE(await(backend().open_file(path("no/directory"), {.create = true})).has_value());
}

TEST_P(FileTest, IsHadByOneWhenExclusive) {
  auto first = open(path("data"), {.create = true, .exclusive = true});
  const auto second = await(backend().open_file(path("data"), {.exclusive = true}));
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().errno_value(), EBUSY);
  EXPECT_NE(second.error().message().find(path("data")), std::string::npos);
  static_cast<void>(open(path("data"), {}));  // who does not ask
  first.reset();
  static_cast<void>(open(path("data"), {.exclusive = true}));
}

TEST_P(FileTest, CreatesTruncatesAndResizes) {
  std::vector<std::byte> data(100);
  {
    auto file = open(path("data"));
    struct stat status{};
    ASSERT_EQ(::stat(path("data").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    ASSERT_TRUE(await(file->write(0, data)).has_value());
    EXPECT_EQ(file->info().size_bytes, 0u);  // as when opened
    EXPECT_EQ(await(file->refresh())->size_bytes, 100u);
    ASSERT_TRUE(await(file->resize(5000)).has_value());
    EXPECT_EQ(file->info().size_bytes, 5000u);
  }
  EXPECT_EQ(open(path("data"), {})->info().size_bytes, 5000u);
  EXPECT_EQ(open(path("data"), {.truncate = true})->info().size_bytes, 0u);
  EXPECT_FALSE(open(path("data"), {})->info().is_block_device);
}

TEST_P(FileTest, RenamesRemovesAndMakesDirectories) {
  EXPECT_TRUE(await(backend().make_directories(path("a/b/c"))).has_value());
  EXPECT_TRUE(await(backend().make_directories(path("a/b/c/"))).has_value());
  open(path("a/b/c/one"));
  open(path("a/two"));
  EXPECT_TRUE(await(backend().rename_file(path("a/b/c/one"), path("a/two"))).has_value());
  EXPECT_FALSE(std::filesystem::exists(path("a/b/c/one")));
  EXPECT_TRUE(std::filesystem::exists(path("a/two")));
  EXPECT_EQ(await(backend().rename_file(path("missing"), path("x"))).error().code(), Code::kNotFound);
  EXPECT_TRUE(await(backend().remove_file(path("a/two"))).has_value());
  EXPECT_EQ(await(backend().remove_file(path("a/two"))).error().code(), Code::kNotFound);
  open(path("file"));
  EXPECT_EQ(await(backend().make_directories(path("file/x"))).error().code(), Code::kInvalidArgument);
}

// Cancelled or not, a file operation of a task ends only when the kernel is done with the task's buffer.
TEST_P(FileTest, ACancelledTaskWaitsForItsOperation) {
  auto file = open(path("data"));
  bool finished = false;
  const TaskHandle handle = reactor().spawn("writer", [](File& target, bool& done) -> Task<> {
    std::vector<std::byte> data(1 << 20);
    fill(data, 3);
    EXPECT_TRUE((co_await target.write(0, data)).has_value());
    done = true;
  }(*file, finished));
  reactor().run_round();
  handle.cancel();
  run_until([&handle] { return handle.done(); });
  EXPECT_TRUE(finished);
}

}  // namespace

}  // namespace cairn::runtime
