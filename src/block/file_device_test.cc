// File devices on every variant of the kernel back-end.
#include "block/file_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "block/model_runner.h"
#include "block/test_world.h"
#include "runtime/kernel_reactor_test.h"

namespace cairn::block {
namespace {

class FileDeviceTest : public runtime::KernelReactorTest {
 protected:
  FileDeviceTest() {
    add_aio_scheme(registry_);
    add_uring_scheme(registry_);
    std::string pattern = testing::TempDir() + "block-XXXXXX";
    CAIRN_CHECK(mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
  }
  ~FileDeviceTest() override {
    channel_.reset();
    await(registry_.remove_all());
    EXPECT_TRUE(registry_.empty());
    std::string command = "rm -rf " + directory_;
    EXPECT_EQ(std::system(command.c_str()), 0);
  }

  std::string make_file(const std::string& name, uint64_t size) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path).flush();
    CAIRN_CHECK(::truncate(path.c_str(), static_cast<off_t>(size)) == 0);
    return path;
  }
  Result<std::shared_ptr<Device>> create(std::string uri) { return await(registry_.create(std::move(uri))); }
  Device& open(std::string uri) {
    const auto device = create(std::move(uri));
    CAIRN_CHECK(device.has_value());
    channel_ = *await((*device)->open_channel());
    return channel_->device();
  }
  nvme::Status run(TestIo& io) { return run_io(reactor(), *channel_, io); }
  nvme::Status transfer(IoType type, uint64_t lba, std::vector<std::byte>& data) {
    TestIo io;
    iovec piece{data.data(), data.size()};
    io.type = type;
    io.lba = lba;
    io.num_blocks = data.size() / channel_->device().block_size();
    io.data = {&piece, 1};
    return run(io);
  }
  void expect_refused(const std::string& uri, Code code, const std::string& text) {
    const auto result = create(uri);
    ASSERT_FALSE(result) << uri;
    EXPECT_EQ(result.error().code(), code) << uri;
    EXPECT_EQ(result.error().to_string(), text) << uri;
  }

  Registry registry_;
  std::string directory_;
  std::unique_ptr<Channel> channel_;
};

INSTANTIATE_TEST_SUITE_P(Backends, FileDeviceTest, testing::ValuesIn(runtime::kernel_backend_variants()),
                         [](const auto& info) { return info.param.name; });

TEST_P(FileDeviceTest, Model) {
  for (const char* const scheme : {"aio", "uring"}) {
    for (const uint32_t block_size : {512u, 4096u}) {
      SCOPED_TRACE(fmt::format("{} {}", scheme, block_size));
      const std::string path = make_file(fmt::format("{}{}", scheme, block_size), 4 << 20);
      open(fmt::format("{}://{}?blk_size={}", scheme, path, block_size));
      ModelRunner(*channel_, [this](const auto& done) { run_until(done); }, {.num_operations = 500}).run();
    }
  }
}

TEST_P(FileDeviceTest, Properties) {
  const std::string path = make_file("disk with blank", (1 << 20) + 700);
  auto& device = open("aio://" + directory_ + "/disk%20with%20blank?uuid=9e9f8f53-8a3b-4c3b-9c39-1b1f5d0b9a01");
  EXPECT_EQ(device.name(), path);
  EXPECT_EQ(device.product_name(), "AIO disk");
  EXPECT_EQ(device.driver_name(), "aio");
  EXPECT_EQ(device.block_size(), 512u);
  EXPECT_EQ(device.num_blocks(), 2049u);  // the rest is less than a block
  EXPECT_EQ(device.uuid().to_string(), "9e9f8f53-8a3b-4c3b-9c39-1b1f5d0b9a01");
  EXPECT_TRUE(device.has_volatile_cache());
  EXPECT_TRUE(device.readable_memory(0, 1).empty());
  const auto other = *create("uring://" + make_file("u", 8192) + "?blk_size=4096");
  EXPECT_EQ(other->product_name(), "URING bdev");
  EXPECT_EQ(other->driver_name(), "uring");
  EXPECT_EQ(other->num_blocks(), 2u);
  expect_refused("uring://" + other->name(), Code::kInternal,
                 "Failed to create a BDEV: name '" + other->name() + "' already exists");
}

TEST_P(FileDeviceTest, SameUuidWheneverItIsOpened) {
  const std::string file = make_file("a", 1 << 20);
  const std::string other = make_file("b", 1 << 20);
  const auto uuid_of = [&](const std::string& path) {
    auto device = await(registry_.create("aio://" + path));
    CAIRN_CHECK(device.has_value());
    const Uuid uuid = (*device)->uuid();
    device->reset();
    EXPECT_TRUE(await(registry_.destroy("aio://" + path)));
    return uuid;
  };
  EXPECT_NE(uuid_of(file), uuid_of(file));  // the node is not known
  registry_.set_node_identity("node-1");
  const Uuid here = uuid_of(file);
  EXPECT_EQ(here, uuid_of(file));
  EXPECT_NE(here, uuid_of(other));
  registry_.set_node_identity("node-2");
  EXPECT_NE(here, uuid_of(file));
}

TEST_P(FileDeviceTest, RefusedUris) {
  const std::string d = directory_;
  expect_refused("aio:///", Code::kInvalidArgument, "Invalid URI 'aio:///': no path segments");
  expect_refused("aio:disk", Code::kInvalidArgument, "Invalid URI 'aio:disk': no path segments");
  expect_refused("aio:///a%00b", Code::kInvalidArgument,
                 "Invalid URI 'aio:///a%00b': the path contains a NUL character");
  expect_refused("uring:///a?rescan", Code::kInvalidArgument,
                 "Invalid URI 'uring:///a?rescan': unrecognized parameter(s): rescan=");
  expect_refused("aio://" + d + "/none", Code::kNotFound,
                 fmt::format("Failed to create a BDEV '{0}/none': open {0}/none: No such file or directory", d));
  expect_refused("uring://" + d + "/none", Code::kNotFound,
                 fmt::format("BDEV '{0}/none' could not be found: open {0}/none: No such file or directory", d));
  expect_refused("aio://" + d, Code::kInvalidArgument,
                 fmt::format("Failed to create a BDEV '{0}': open {0}: Is a directory", d));
  const std::string path = make_file("f", 8192);
  const std::string small = make_file("small", 511);
  expect_refused(
      "aio://" + small, Code::kInvalidArgument,
      fmt::format("Failed to create a BDEV '{0}': {0}: 511 bytes, less than one block: Invalid argument", small));
  expect_refused("aio://" + path + "?blk_size=1024", Code::kInvalidArgument,
                 fmt::format("Failed to create a BDEV '{0}': {0}: blocks of 1024 bytes (512 or 4096 are possible): "
                             "Invalid argument",
                             path));
  EXPECT_TRUE(registry_.empty());
}

TEST_P(FileDeviceTest, DataIsInTheFile) {
  const std::string path = make_file("f", 1 << 20);
  open("aio://" + path);
  std::vector<std::byte> data(1000 * 512, std::byte{0x42});
  ASSERT_TRUE(transfer(IoType::kWrite, 7, data).is_success());
  TestIo flush;
  flush.type = IoType::kFlush;
  ASSERT_TRUE(run(flush).is_success());
  std::ifstream file(path, std::ios::binary);
  std::string content((std::istreambuf_iterator<char>(file)), {});
  EXPECT_EQ(content, std::string(7 * 512, '\0') + std::string(data.size(), '\x42') +
                         std::string(content.size() - data.size() - 7 * 512, '\0'));
  const auto statistics = channel_->device().statistics();
  EXPECT_EQ(statistics.write.bytes, data.size());
  EXPECT_GT(statistics.write.latency_min_ns, 0u);
}

TEST_P(FileDeviceTest, UnmapGivesSpaceBack) {
  const std::string path = make_file("f", 1 << 20);
  Device& device = open("aio://" + path);
  std::vector<std::byte> data(1 << 20, std::byte{0x42});
  ASSERT_TRUE(transfer(IoType::kWrite, 0, data).is_success());
  TestIo io;
  io.type = IoType::kUnmap;
  io.num_blocks = device.num_blocks();
  io.fua = true;
  ASSERT_TRUE(run(io).is_success());
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_LT(status.st_blocks, 64);
  ASSERT_TRUE(transfer(IoType::kRead, 0, data).is_success());
  EXPECT_EQ(data, std::vector<std::byte>(data.size()));
}

TEST_P(FileDeviceTest, ResizeIsSeen) {
  struct Listener final : DeviceListener {
    void on_resized(Device& device) override { sizes.push_back(device.num_blocks()); }
    std::vector<uint64_t> sizes;
  } listener;
  const std::string path = make_file("f", 8192);
  Device& device = open("aio://" + path);
  device.add_listener(listener);
  ASSERT_EQ(::truncate(path.c_str(), 16384), 0);
  EXPECT_EQ((*create("aio://" + path + "?rescan")).get(), &device);
  EXPECT_EQ(device.num_blocks(), 32u);
  std::vector<std::byte> data(512, std::byte{1});
  EXPECT_TRUE(transfer(IoType::kWrite, 31, data).is_success());
  ASSERT_EQ(::truncate(path.c_str(), 4096), 0);
  run_until([&] { return device.num_blocks() == 8; });  // without being asked
  EXPECT_TRUE(transfer(IoType::kRead, 31, data).is(nvme::GenericStatus::kLbaOutOfRange));
  EXPECT_THAT(listener.sizes, testing::ElementsAre(32, 8));
  listener.unlink();
}

TEST_P(FileDeviceTest, ReadBeyondATruncatedFileFails) {
  struct Listener final : DeviceListener {
    void on_media_error(Device&, uint64_t lba, uint64_t num_blocks) override { errors.emplace_back(lba, num_blocks); }
    std::vector<std::pair<uint64_t, uint64_t>> errors;
  } listener;
  const std::string path = make_file("f", 8192);
  Device& device = open("aio://" + path);
  device.add_listener(listener);
  ASSERT_EQ(::truncate(path.c_str(), 4096), 0);
  std::vector<std::byte> data(2 * 512);
  EXPECT_TRUE(transfer(IoType::kRead, 8, data).is(nvme::MediaStatus::kUnrecoveredReadError));
  run_until([&] { return !listener.errors.empty(); });
  EXPECT_THAT(listener.errors, testing::ElementsAre(testing::Pair(8, 2)));
  EXPECT_EQ(device.statistics().read.errors, 1u);
  listener.unlink();
}

TEST_P(FileDeviceTest, NoSpaceIsCapacityExceeded) {
  const std::string mount_point = directory_ + "/small";
  ASSERT_EQ(::mkdir(mount_point.c_str(), 0700), 0);
  if (::mount("tmpfs", mount_point.c_str(), "tmpfs", 0, "size=256k") != 0) GTEST_SKIP() << "may not mount";
  make_file("small/f", 1 << 20);  // sparse
  open("aio://" + mount_point + "/f");
  std::vector<std::byte> data(512 << 10, std::byte{1});
  const auto status = transfer(IoType::kWrite, 0, data);
  EXPECT_TRUE(status.is(nvme::GenericStatus::kCapacityExceeded)) << status.to_string();
  EXPECT_TRUE(status.do_not_retry());
  channel_.reset();
  await(registry_.remove_all());
  EXPECT_EQ(::umount(mount_point.c_str()), 0);
}

TEST_P(FileDeviceTest, FlushesAreShared) {
  const std::string path = make_file("f", 1 << 20);
  open("aio://" + path);
  std::vector<TestIo> flushes(100);
  for (TestIo& io : flushes) {
    io.type = IoType::kFlush;
    channel_->submit(io);
  }
  run_until([&] { return std::ranges::all_of(flushes, &TestIo::done); });
  for (const TestIo& io : flushes) EXPECT_TRUE(io.status.is_success());
  EXPECT_EQ(channel_->device().statistics().flush.operations, 100u);
}

TEST_P(FileDeviceTest, RemovalWaitsForIoInFlight) {
  const std::string path = make_file("f", 1 << 20);
  struct User final : DeviceListener {
    void on_removed(Device&) override {
      unlink();
      removed = true;
      leave_when_idle();
    }
    void leave_when_idle() {
      if (removed && channel->in_flight() == 0) channel.reset();
    }
    std::unique_ptr<Channel> channel;
    bool removed = false;
  } user;
  struct UserIo : Io {
    User* user = nullptr;
    int* completed = nullptr;
    std::array<std::byte, 4096 * 3> memory;
    iovec piece;
  };
  std::vector<std::unique_ptr<UserIo>> ios;
  int completed = 0;
  {
    auto device = *create("aio://" + path);
    device->add_listener(user);
    user.channel = *await(device->open_channel());
  }
  const auto removal = reactor().spawn("remove", [](Registry& registry, std::string name) -> runtime::Task<> {
    EXPECT_TRUE(co_await registry.remove(std::move(name)));
  }(registry_, path));
  for (int i = 0; i < 40; ++i) {
    auto io = std::make_unique<UserIo>();
    io->user = &user;
    io->completed = &completed;
    io->type = i % 2 == 0 ? IoType::kWrite : IoType::kCompare;  // compares go through the emulation
    io->lba = 16;
    io->num_blocks = 4096 * 2 / 512;
    io->memory.fill(std::byte{9});
    io->piece = {io->memory.data() + 1, 4096 * 2};  // not aligned
    io->data = {&io->piece, 1};
    io->complete = [](Io& self) {
      auto& own = static_cast<UserIo&>(self);
      ++*own.completed;
      own.user->leave_when_idle();
    };
    user.channel->submit(*io);
    ios.push_back(std::move(io));
  }
  run_until([&] { return removal.done(); });
  EXPECT_EQ(completed, 40);
  EXPECT_EQ(user.channel, nullptr);
}

// Whoever submits I/O may hold all buffers of the pool meanwhile: waiting for one would be waiting for itself.
TEST_P(FileDeviceTest, NeedsNoBufferOfThePool) {
  const std::string path = make_file("f", 16 << 20);
  open("aio://" + path + "?blk_size=4096");
  std::vector<std::byte*> held;
  while (std::byte* buffer = reactor().buffers().allocate(4096)) held.push_back(buffer);
  std::vector<std::vector<std::byte>> memory(40);
  std::vector<iovec> pieces(40);
  std::vector<TestIo> ios(40);
  for (size_t i = 0; i < ios.size(); ++i) {
    memory[i].assign((200 << 10) + 1, static_cast<std::byte>(i));
    pieces[i] = {memory[i].data() + 1, 200 << 10};
    ios[i].type = i % 3 == 2 ? IoType::kCopy : IoType::kWrite;
    ios[i].lba = i * 50;
    ios[i].source_lba = 3000;
    ios[i].num_blocks = 50;
    ios[i].data = {&pieces[i], 1};
    channel_->submit(ios[i]);
  }
  run_until([&] { return std::ranges::all_of(ios, &TestIo::done); });
  for (std::byte* buffer : held) reactor().buffers().release(buffer);
  for (size_t i = 0; i < ios.size(); ++i) {
    EXPECT_TRUE(ios[i].status.is_success());
    std::vector<std::byte> data(200 << 10, std::byte{0xff});
    ASSERT_TRUE(transfer(IoType::kRead, i * 50, data).is_success());
    const std::byte expected = ios[i].type == IoType::kCopy ? std::byte{0} : static_cast<std::byte>(i);
    EXPECT_EQ(data, std::vector<std::byte>(data.size(), expected));
  }
  EXPECT_EQ(reactor().buffers().bytes_in_use(), 0u);
}

// Emulated compare-and-write of two reactors on two threads: no update is lost.
TEST_P(FileDeviceTest, CompareAndWriteAcrossReactors) {
  const std::string path = make_file("f", 1 << 20);
  Device& device = open("aio://" + path);
  std::atomic<int> increments{0};
  auto work = [&](runtime::Reactor& on, Channel& channel, uint64_t count) {
    std::vector<std::byte> counter(512), next(512);
    iovec old_piece{counter.data(), 512};
    iovec new_piece{next.data(), 512};
    for (uint64_t round = 0; round < count; ++round) {
      uint64_t value;
      std::memcpy(&value, counter.data(), sizeof value);
      ++value;
      std::memcpy(next.data(), &value, sizeof value);
      TestIo swap;
      swap.type = IoType::kCompareAndWrite;
      swap.num_blocks = 1;
      swap.data = {&old_piece, 1};
      swap.write_data = {&new_piece, 1};
      if (run_io(on, channel, swap).is_success()) ++increments;
      TestIo load;
      load.num_blocks = 1;
      load.data = {&old_piece, 1};
      ASSERT_TRUE(run_io(on, channel, load).is_success());
    }
  };
  std::thread other([&] {
    runtime::Reactor reactor({.index = 1, .random_seed = 7, .buffer_pool_bytes = 1 << 20}, GetParam().make());
    const runtime::Reactor::Scope scope(reactor);
    auto channel = *run_task(reactor, device.open_channel());
    work(reactor, *channel, 300);
    channel.reset();
  });
  work(reactor(), *channel_, 300);
  other.join();
  std::vector<std::byte> data(512);
  ASSERT_TRUE(transfer(IoType::kRead, 0, data).is_success());
  uint64_t value;
  std::memcpy(&value, data.data(), sizeof value);
  EXPECT_EQ(value, static_cast<uint64_t>(increments.load()));
}

}  // namespace
}  // namespace cairn::block
