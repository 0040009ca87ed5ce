#include "nvmf/target/block_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ranges>

#include "base/check.h"

namespace cairn::nvmf::target {

BlockHistory::Write BlockHistory::begin_write(uint64_t lba, uint64_t num_blocks, bool zero, bool fua) {
  const Write write{
      .lba = lba, .num_blocks = num_blocks, .tag = zero ? 0 : ++last_tag_, .begin = ++clock_, .zero = zero, .fua = fua};
  for (uint64_t i = lba; i < lba + num_blocks; ++i) {
    blocks_.at(i).push_back({write.tag, write.begin, kRunning, false, false});
  }
  return write;
}

std::vector<std::byte> BlockHistory::data_of(const Write& write) {
  std::vector<std::byte> data(write.num_blocks * kBlockSize);
  if (write.zero) return data;
  for (uint64_t i = 0; i < write.num_blocks; ++i) {
    fill(std::span(data).subspan(i * kBlockSize, kBlockSize), write.tag, write.lba + i);
  }
  return data;
}

// The tag in the first word, and in every word something that tells tag, block and place.
void BlockHistory::fill(std::span<std::byte> block, uint64_t tag, uint64_t lba) {
  std::array<uint64_t, kBlockSize / 8> words;
  words[0] = tag;
  for (size_t i = 1; i < words.size(); ++i) words[i] = (tag * 0x9e3779b97f4a7c15 + lba) * 0x100000001b3 + i;
  std::memcpy(block.data(), words.data(), kBlockSize);
}

uint64_t BlockHistory::tag_in(std::span<const std::byte> block) {
  uint64_t tag;
  std::memcpy(&tag, block.data(), sizeof(tag));
  return tag;
}

BlockHistory::Version& BlockHistory::version_of(std::vector<Version>& versions, uint64_t begin) {
  const auto found =
      std::find_if(versions.rbegin(), versions.rend(), [&](const Version& version) { return version.begin <= begin; });
  CAIRN_CHECK(found != versions.rend() && found->begin == begin);
  return *found;
}

void BlockHistory::end(const Write& write, bool certain) {
  const uint64_t now = ++clock_;
  // The answer was still on its way when the target lost power.
  if (write.begin < last_power_loss_ && !write.fua) certain = false;
  for (uint64_t i = write.lba; i < write.lba + write.num_blocks; ++i) {
    Version& version = version_of(blocks_[i], write.begin);
    version.end = now;
    version.certain = certain;
    version.durable = certain && write.fua;
  }
  if (certain && !write.fua) volatile_.push_back(write);
}

void BlockHistory::acknowledge(const Write& write) {
  ++num_writes_;
  end(write, true);
}

void BlockHistory::fail(const Write& write) {
  end(write, false);
}

std::string BlockHistory::check_read(uint64_t begin, uint64_t lba, std::span<const std::byte> data) {
  ++num_reads_;
  const uint64_t now = ++clock_;
  CAIRN_CHECK(data.size() % kBlockSize == 0);
  std::array<std::byte, kBlockSize> expected;
  for (uint64_t i = lba; !data.empty(); ++i, data = data.subspan(kBlockSize)) {
    const auto block = data.first(kBlockSize);
    const uint64_t tag = tag_in(block);
    expected.fill(std::byte{0});
    if (tag != 0) fill(expected, tag, i);
    if (!std::ranges::equal(block, expected))
      return fmt::format("block {}: no block that was ever written (tag {})", i, tag);

    // The latest begin of a certain write that was over before the read began rules out what ended before it.
    const auto newest_first = blocks_.at(i) | std::views::reverse;
    const auto newest = std::ranges::find_if(newest_first, [&](const Version& version) {
      return (version.certain && version.end < begin) || (version.seen != 0 && version.seen < begin);
    });
    const uint64_t newest_certain = newest == newest_first.end() ? 0 : newest->begin;
    const bool untouched = tag == 0 && newest_certain == 0;
    size_t num_possible = 0;
    Version* read = nullptr;
    for (Version& version : blocks_[i]) {
      if (version.tag != tag || (version.end != kRunning && version.end < newest_certain)) continue;
      ++num_possible;
      read = &version;
    }
    // While it is under way, it may be in one place and not yet in another.
    if (num_possible == 1 && !untouched && read->seen == 0 && read->end < begin) read->seen = now;
    if (num_possible == 0 && !untouched) {
      return fmt::format(
          "block {}: the write {}, older than one that was acknowledged or read (begun at {}, read at {})", i, tag,
          newest_certain, begin);
    }
  }
  return {};
}

void BlockHistory::acknowledge_flush(uint64_t begin) {
  std::erase_if(volatile_, [&](const Write& write) {
    bool done = false;  // all versions of a write end and are made durable together
    for (uint64_t i = write.lba; i < write.lba + write.num_blocks; ++i) {
      Version& version = version_of(blocks_[i], write.begin);
      if (version.certain && version.end < begin) version.durable = true;
      done = version.durable || !version.certain;
    }
    return done;
  });
}

void BlockHistory::crash(bool power_loss) {
  const uint64_t now = ++clock_;
  if (power_loss) last_power_loss_ = now;
  for (auto& versions : blocks_) {
    for (Version& version : versions) {
      if (version.end == kRunning) version.end = now;
      if (power_loss && !version.durable) version.certain = false, version.seen = 0;
    }
  }
}

void BlockHistory::lose_volatile() {
  last_power_loss_ = ++clock_;
  for (auto& versions : blocks_) {
    for (Version& version : versions) {
      if (!version.durable) version.certain = false, version.seen = 0;
    }
  }
}

}  // namespace cairn::nvmf::target
