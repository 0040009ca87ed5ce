// consumer <child> <child>: what a program does with the installed library, and what it is told when it does it wrong.
// Waits for a line on standard input after it has said "written"; the second child is to be gone then.
#include <cairn/runtime.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <iostream>
#include <string>

namespace {

using namespace cairn::embed;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr size_t kIoBytes = 4096;
constexpr int kIos = 256;

void require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what.c_str());
  std::exit(1);
}

void expect_success(const Result<>& result, const std::string& what) {
  require(result.has_value(), what + (result ? "" : ": " + result.error().message));
}

template <typename T>
void expect_error(const Result<T>& result, Code code, const std::string& part) {
  require(!result.has_value(), "an error about \"" + part + '"');
  require(result.error().code == code,
          std::string(code_name(code)) + ", not " + std::string(code_name(result.error().code)));
  require(result.error().message.find(part) != std::string::npos, '"' + part + "\" in: " + result.error().message);
}

// All of them at the same time.
void write_all(Nexus& nexus, const Buffer& data) {
  std::promise<void> ended;
  std::atomic<int> left{kIos}, failed{0};
  for (int i = 0; i < kIos; ++i) {
    nexus.write(static_cast<uint64_t>(i) * kIoBytes, data.span(), [&](Result<> written) {
      if (!written) ++failed;
      if (--left == 0) ended.set_value();
    });
  }
  ended.get_future().wait();
  require(failed == 0, "every write succeeds");
}

void read_all(Nexus& nexus, const Buffer& expected) {
  const Buffer back = *Buffer::allocate(kIoBytes);
  for (int i = 0; i < kIos; ++i) {
    expect_success(nexus.read(static_cast<uint64_t>(i) * kIoBytes, back.span()).get(), "a read");
    require(std::memcmp(back.data(), expected.data(), kIoBytes) == 0, "what is read is what was written");
  }
}

}  // namespace

int main(int argc, char** argv) {
  require(argc == 3, "two children");
  auto runtime = Runtime::start({.host_nqn = "nqn.2019-05.io.openebs:consumer"});
  require(runtime.has_value(), "the runtime starts");

  NexusOptions options{.name = "volume", .size_bytes = 32 * kMiB, .children = {argv[1], argv[2]}};
  NexusOptions unknown = options;
  unknown.children = {"floppy:///a"};
  expect_error(runtime->create_nexus(unknown), Code::kInvalidArgument, "Unsupported URI scheme: 'floppy'");
  unknown.children = {"aio:///no/such/file"};
  expect_error(runtime->create_nexus(unknown), Code::kInvalidArgument, "No such file or directory");

  auto created = runtime->create_nexus(options);
  require(created.has_value(), created ? "" : created.error().message);
  Nexus nexus = std::move(*created);
  Buffer data = *Buffer::allocate(kIoBytes);
  std::memset(data.data(), 'a', data.size());
  write_all(nexus, data);
  read_all(nexus, data);
  expect_success(nexus.flush().get(), "a flush");

  expect_error(nexus.write(0, data.span().subspan(1, 512)).get(), Code::kInvalidArgument,
               "is not aligned to 512 bytes");
  expect_error(nexus.write(1, data.span()).get(), Code::kInvalidArgument, "the offset is not a multiple of 512");
  expect_error(nexus.read(nexus.size_bytes(), data.span()).get(), Code::kOutOfRange, "it has 33553920 bytes");
  require(nexus.info()->state == "online", "both children are healthy");

  std::puts("written");
  std::fflush(stdout);
  std::string line;
  std::getline(std::cin, line);
  std::memset(data.data(), 'b', data.size());
  write_all(nexus, data);
  read_all(nexus, data);
  const NexusInfo info = *nexus.info();
  require(info.state == "degraded", "degraded, not " + info.state);
  require(info.children[0].healthy && !info.children[1].healthy, "the second child is not healthy");
  std::printf("degraded: %s is %s\n", info.children[1].uri.c_str(), info.children[1].state.c_str());

  expect_success(nexus.close(), "close");
  expect_error(nexus.read(0, data.span()).get(), Code::kFailedPrecondition, "has been closed");
  runtime->stop();
  expect_error(runtime->create_nexus(options), Code::kFailedPrecondition, "the runtime has been stopped");
  std::puts("done");
  return 0;
}
