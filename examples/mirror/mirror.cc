// A volume of two copies on two files, inside this program: mirror <file> <file>. The files are made if need be.
#include <cairn/runtime.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <vector>

namespace {

using cairn::embed::Buffer;
using cairn::embed::Nexus;
using cairn::embed::Result;
using cairn::embed::Runtime;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr size_t kIoBytes = 64 << 10;
constexpr size_t kNumIos = 16;
// Always the same: the copies know by it what each of them has missed.
constexpr const char* kVolume = "5e0d6e7c-3f0a-4a57-9d5e-0f6b1c2a7d10";
constexpr const char* kCopies[] = {"5e0d6e7c-3f0a-4a57-9d5e-0f6b1c2a7d11", "5e0d6e7c-3f0a-4a57-9d5e-0f6b1c2a7d12"};

// 16 writes at the same time. Waits for all, also when one has failed: the memory is theirs until then.
Result<> write_all(Nexus& nexus, const std::vector<Buffer>& buffers) {
  std::vector<std::future<Result<>>> writes;
  for (size_t i = 0; i < kNumIos; ++i) writes.push_back(nexus.write(i * kIoBytes, buffers[i].span()));
  Result<> outcome;
  for (auto& write : writes) {
    if (auto written = write.get(); !written) outcome = written;
  }
  return outcome;
}

Result<> run(const std::vector<std::string>& files) {
  auto runtime = Runtime::start();
  if (!runtime) return std::unexpected(runtime.error());

  cairn::embed::NexusOptions options{.name = "mirror", .size_bytes = 64 * kMiB, .uuid = kVolume};
  for (size_t i = 0; i < files.size(); ++i) {
    options.children.push_back("aio://" + files[i] + "?blk_size=512&uuid=" + kCopies[i]);
  }
  auto nexus = runtime->create_nexus(options);
  if (!nexus) return std::unexpected(nexus.error());
  std::printf("%s: %llu bytes in blocks of %u\n", nexus->name().c_str(),
              static_cast<unsigned long long>(nexus->size_bytes()), nexus->block_size());

  std::vector<Buffer> buffers;
  for (size_t i = 0; i < kNumIos; ++i) {
    auto buffer = Buffer::allocate(kIoBytes);
    if (!buffer) return std::unexpected(buffer.error());
    std::memset(buffer->data(), static_cast<int>('a' + i), buffer->size());
    buffers.push_back(std::move(*buffer));
  }
  if (auto written = write_all(*nexus, buffers); !written) return written;
  if (auto flushed = nexus->flush().get(); !flushed) return flushed;
  std::printf("wrote %zu KiB to both copies\n", kNumIos * kIoBytes >> 10);

  auto again = Buffer::allocate(kIoBytes);
  if (!again) return std::unexpected(again.error());
  for (size_t i = 0; i < kNumIos; ++i) {
    if (auto read = nexus->read(i * kIoBytes, again->span()).get(); !read) return read;
    if (std::memcmp(again->data(), buffers[i].data(), kIoBytes) != 0) {
      return std::unexpected(
          cairn::embed::Error{cairn::embed::Code::kDataLoss, "read something else than was written"});
    }
  }
  std::printf("read it back: the same\n");
  return nexus->close();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: mirror <file> <file>\n");
    return 2;
  }
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::filesystem::path file = std::filesystem::absolute(argv[i]);
    if (!std::filesystem::exists(file)) {
      std::ofstream{file};
      std::filesystem::resize_file(file, 72 * kMiB);  // 64 MiB of data, and what a copy needs besides
    }
    files.push_back(file.string());
  }
  const Result<> result = run(files);
  if (!result) {
    std::fprintf(stderr, "%s: %s\n", std::string(code_name(result.error().code)).c_str(),
                 result.error().message.c_str());
    return 1;
  }
  return 0;
}
