// The contract of file.h on every kernel back-end.
#include "runtime/file.h"

#include <sys/stat.h>
#include <unistd.h>

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

}  // namespace

}  // namespace cairn::runtime
