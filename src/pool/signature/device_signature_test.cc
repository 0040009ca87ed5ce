#include "pool/signature/device_signature.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "block/test_world.h"
#include "nvme/wire.h"
#include "pool/format/blob_chain.h"
#include "pool/format/layout.h"

namespace cairn::pool {
namespace {

using Kind = Signature::Kind;

constexpr size_t kDeviceBytes = 32u << 20;

// A device in memory onto which tests write magic bytes.
class Disk {
 public:
  Disk() : bytes_(kDeviceBytes) {}
  void text(size_t offset, std::string_view value) { std::memcpy(bytes_.data() + offset, value.data(), value.size()); }
  template <typename T>
  void put(size_t offset, T value) {
    nvme::store(std::span(bytes_).subspan(offset), value);
  }
  std::span<std::byte> at(size_t offset, size_t size) { return std::span(bytes_).subspan(offset, size); }
  std::vector<std::byte>& bytes() { return bytes_; }

  std::vector<Signature> signatures(uint32_t block_size = 512) {
    const auto found =
        find_signatures(at(0, kSignatureHeadBytes), at(kDeviceBytes - kSignatureTailBytes, kSignatureTailBytes),
                        kDeviceBytes, block_size);
    EXPECT_TRUE(found) << found.error().to_string();
    return found.value_or(std::vector<Signature>());
  }
  // The only one.
  Signature signature() {
    const auto found = signatures();
    EXPECT_EQ(found.size(), 1u) << describe(found);
    return found.empty() ? Signature{.kind = Kind::kOther, .type = "nothing"} : found.front();
  }
  bool blank() { return signatures().empty(); }

 private:
  std::vector<std::byte> bytes_;
};

// CRC-32 as GPT has it (UEFI 2.10, section 5.3.2), bit by bit.
uint32_t gpt_crc(std::span<const std::byte> data) {
  uint32_t crc = 0xffffffff;
  for (const std::byte byte : data) {
    crc ^= std::to_integer<uint32_t>(byte);
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
  }
  return ~crc;
}

void put_gpt(Disk& disk, uint64_t header_lba, uint64_t other_lba, uint64_t entries_lba) {
  const uint64_t last = kDeviceBytes / 512 - 1;
  const size_t at = header_lba * 512;
  disk.text(at, "EFI PART");
  disk.put<uint32_t>(at + 8, 0x00010000);
  disk.put<uint32_t>(at + 12, 92);
  disk.put<uint64_t>(at + 24, header_lba);
  disk.put<uint64_t>(at + 32, other_lba);
  disk.put<uint64_t>(at + 40, 34);
  disk.put<uint64_t>(at + 48, last - 33);
  disk.put<uint64_t>(at + 72, entries_lba);
  disk.put<uint32_t>(at + 80, 128);
  disk.put<uint32_t>(at + 84, 128);
  disk.put<uint32_t>(at + 88, gpt_crc(disk.at(entries_lba * 512, 128 * 128)));
  disk.put<uint32_t>(at + 16, gpt_crc(disk.at(at, 92)));
}

void put_ext(Disk& disk) {
  disk.put<uint32_t>(1024, 64);        // inodes
  disk.put<uint32_t>(1024 + 4, 8192);  // blocks
  disk.put<uint16_t>(1024 + 56, 0xef53);
  disk.put<uint32_t>(1024 + 76, 1);  // revision
  disk.text(1024 + 120, "data");     // label
}

TEST(DeviceSignature, OfABlankDisk) {
  Disk disk;
  EXPECT_TRUE(disk.blank());
  // Contents without a signature are blank, too.
  std::ranges::fill(disk.at(0, 4u << 20), std::byte{0x5a});
  EXPECT_TRUE(disk.blank());
}

TEST(DeviceSignature, PoolsWholeAndDamaged) {
  Disk disk;
  format::SuperBlock super =
      format::make_super_block(format::plan_layout({.device_bytes = kDeviceBytes, .cluster_size = 1u << 20}).value());
  format::encode_super_block(super, disk.at(0, format::kPageSize).first<format::kPageSize>());
  EXPECT_EQ(disk.signature().kind, Kind::kPool);
  disk.at(2000, 1)[0] = std::byte{1};
  EXPECT_EQ(disk.signature().kind, Kind::kDamagedPool);
  EXPECT_THAT(disk.signature().describe(), testing::HasSubstr("crc"));
  disk.at(2000, 1)[0] = std::byte{0};
  disk.text(56, "OTHERTYPE");
  format::seal(disk.at(0, format::kPageSize).first<format::kPageSize>());
  EXPECT_EQ(disk.signature().kind, Kind::kForeignStore);

  super.size = kDeviceBytes * 2;
  format::encode_super_block(super, disk.at(0, format::kPageSize).first<format::kPageSize>());
  EXPECT_EQ(disk.signature().kind, Kind::kDamagedPool);
}

TEST(DeviceSignature, APoolWithoutItsSuperBlock) {
  Disk disk;
  format::BlobMetadata blob;
  blob.id = format::blob_id_of(0);
  format::encode_chain(blob, {}, disk.at(20 * format::kPageSize, format::kPageSize));
  EXPECT_EQ(disk.signature().kind, Kind::kPoolRemains);
  EXPECT_EQ(disk.signature().offset, 20 * format::kPageSize);
  disk.at(20 * format::kPageSize, 1)[0] = std::byte{9};
  EXPECT_TRUE(disk.blank());
}

TEST(DeviceSignature, FileSystemsAndOthers) {
  Disk ext;
  put_ext(ext);
  EXPECT_EQ(ext.signature(), (Signature{.kind = Kind::kFileSystem, .type = "ext2", .label = "data", .offset = 1080}));
  EXPECT_EQ(ext.signature().describe(), "ext2 file system, label data, at byte 1080");

  Disk luks;
  luks.text(0, std::string_view("LUKS\xba\xbe\0\1", 8));
  EXPECT_EQ(luks.signature().kind, Kind::kEncryption);
  EXPECT_EQ(luks.signature().type, "crypto_LUKS");

  Disk lvm;
  lvm.text(512, "LABELONE");
  lvm.put<uint64_t>(512 + 8, 1);
  lvm.put<uint32_t>(512 + 20, 32);
  lvm.text(512 + 24, "LVM2 001");
  EXPECT_EQ(lvm.signature().kind, Kind::kRaid);
  EXPECT_EQ(lvm.signature().type, "LVM2_member");

  Disk swap;
  swap.put<uint32_t>(1024, 1);
  swap.put<uint32_t>(1028, 100);
  swap.text(4086, "SWAPSPACE2");
  EXPECT_EQ(swap.signature().kind, Kind::kOther);
  EXPECT_EQ(swap.signature().type, "swap");
}

TEST(DeviceSignature, AtTheEndOfTheDisk) {
  Disk raid;  // metadata 0.90: in the last whole 64 KiB
  raid.put<uint32_t>(kDeviceBytes - (64u << 10), 0xa92b4efc);
  raid.put<uint32_t>(kDeviceBytes - (64u << 10) + 8, 90);
  EXPECT_EQ(raid.signature().kind, Kind::kRaid);
  EXPECT_EQ(raid.signature().type, "linux_raid_member");
}

TEST(DeviceSignature, PartitionTables) {
  Disk mbr;
  mbr.put<uint8_t>(446 + 4, 0x83);
  mbr.put<uint32_t>(446 + 8, 2048);
  mbr.put<uint32_t>(446 + 12, 4096);
  mbr.put<uint16_t>(510, 0xaa55);
  EXPECT_EQ(mbr.signature().kind, Kind::kPartitionTable);
  EXPECT_EQ(mbr.signature().type, "dos");

  const uint64_t last = kDeviceBytes / 512 - 1;
  Disk gpt;
  put_gpt(gpt, 1, last, 2);
  EXPECT_EQ(gpt.signature().kind, Kind::kPartitionTable);
  EXPECT_EQ(gpt.signature().type, "gpt");

  Disk backup;  // the first one is gone
  put_gpt(backup, last, 1, last - 32);
  EXPECT_EQ(backup.signature().type, "gpt");
}

TEST(DeviceSignature, SeveralAtOnce) {
  Disk disk;
  put_ext(disk);
  const uint64_t last = kDeviceBytes / 512 - 1;
  put_gpt(disk, last, 1, last - 32);
  std::vector<std::string> types;
  for (const Signature& signature : disk.signatures()) types.push_back(signature.type);
  EXPECT_THAT(types, testing::UnorderedElementsAre("ext2", "gpt"));
}

// Through a device.
class DeviceSignatureOnDevice : public testing::TestWithParam<uint32_t> {
 protected:
  DeviceSignatureOnDevice() { block::add_malloc_scheme(registry_); }
  ~DeviceSignatureOnDevice() override {
    channel_.reset();
    block::run_task(*reactor_, registry_.remove_all());
  }
  void open(uint64_t mebibytes) {
    const std::string uri = fmt::format("malloc:///m?blk_size={}&size_mb={}", GetParam(), mebibytes);
    channel_ = *block::run_task(*reactor_, (*block::run_task(*reactor_, registry_.create(uri)))->open_channel());
  }
  void write(uint64_t offset, std::span<const std::byte> bytes) {
    block::TestIo io;
    const iovec piece = {.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
    io.type = block::IoType::kWrite;
    io.lba = offset / GetParam();
    io.num_blocks = bytes.size() / GetParam();
    io.data = std::span(&piece, 1);
    EXPECT_TRUE(block::run_io(*reactor_, *channel_, io).is_success());
  }
  std::vector<Signature> find() {
    auto found = block::run_task(*reactor_, find_signatures(*channel_));
    EXPECT_TRUE(found) << found.error().to_string();
    return found.value_or(std::vector<Signature>());
  }

  std::unique_ptr<runtime::Reactor> reactor_ = block::make_bare_reactor();
  runtime::Reactor::Scope scope_{*reactor_};
  block::Registry registry_;
  std::unique_ptr<block::Channel> channel_;
};

INSTANTIATE_TEST_SUITE_P(BlockSizes, DeviceSignatureOnDevice, testing::Values(512, 4096));

TEST_P(DeviceSignatureOnDevice, HeadAndTailAreRead) {
  open(64);
  EXPECT_TRUE(find().empty());
  std::vector<std::byte> block(4096);
  nvme::store(std::span(block), uint32_t{0xa92b4efc});
  nvme::store(std::span(block).subspan(8), uint32_t{90});
  write((64u << 20) - (64u << 10), block);
  ASSERT_EQ(find().size(), 1u);
  EXPECT_EQ(find()[0].type, "linux_raid_member");

  Disk disk;
  put_ext(disk);
  write(0, disk.at(0, 4096));
  EXPECT_EQ(find().size(), 2u);
}

TEST_P(DeviceSignatureOnDevice, SmallDevices) {
  open(1);
  EXPECT_TRUE(find().empty());
  Disk disk;
  put_ext(disk);
  write(0, disk.at(0, 4096));
  EXPECT_EQ(find().size(), 1u);
}

}  // namespace
}  // namespace cairn::pool
