#include "cli/initiator/actions.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <vector>

#include "block/io_wait.h"
#include "block/page_memory.h"
#include "nvme/admin_command.h"
#include "nvmf/host/nvme_device.h"
#include "runtime/task_waits.h"

namespace cairn::cli {

using runtime::Task;

namespace {

constexpr uint64_t kChunk = uint64_t{1} << 20;  // of a transfer
constexpr size_t kIdentifySize = 4096;
constexpr uint8_t kIdentifyController = 1;

Result<std::vector<std::byte>> read_file(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream.is_open()) return fail(Error::from_errno(errno, "open " + file));
  // In large pieces: the reactor that sends keep-alives waits meanwhile.
  constexpr size_t kPiece = size_t{4} << 20;
  std::vector<std::byte> bytes;
  while (stream) {
    const size_t before = bytes.size();
    bytes.resize(before + kPiece);
    stream.read(reinterpret_cast<char*>(bytes.data() + before), kPiece);
    bytes.resize(before + static_cast<size_t>(stream.gcount()));
  }
  if (stream.bad()) return fail(Error::from_errno(errno, "read " + file));
  return bytes;
}

Result<> write_file(const std::string& file, std::span<const std::byte> content) {
  std::ofstream stream(file, std::ios::binary | std::ios::trunc);
  stream.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
  stream.close();
  if (!stream) return fail(Error::from_errno(errno, "write " + file));
  return {};
}

Result<> check_range(const block::Device& device, uint64_t offset, uint64_t length) {
  if (offset % device.block_size() != 0 || length % device.block_size() != 0) {
    return fail(Code::kInvalidArgument,
                fmt::format("{} bytes at {} are no whole blocks of {} bytes", length, offset, device.block_size()));
  }
  if (length == 0) return fail(Code::kInvalidArgument, "there is nothing to transfer");
  if (offset > device.size_bytes() || length > device.size_bytes() - offset) {
    return fail(Code::kOutOfRange, fmt::format("{} bytes at {} do not lie within the device's {} bytes", length, offset,
                                               device.size_bytes()));
  }
  return {};
}

// Reads into `data` or writes from it, which is whole blocks.
Task<Result<>> transfer(block::Device& device, block::IoType type, uint64_t offset, std::span<std::byte> data) {
  auto channel = co_await device.open_channel();
  if (!channel) co_return fail(std::move(channel.error()));
  const block::PageMemory memory = block::allocate_pages(std::min<uint64_t>(kChunk, data.size()));
  while (!data.empty()) {
    const auto part = data.first(std::min<uint64_t>(kChunk, data.size()));
    iovec piece{memory.get(), part.size()};
    if (type == block::IoType::kWrite) std::memcpy(memory.get(), part.data(), part.size());
    const nvme::Status status = co_await block::perform(**channel, {.type = type,
                                                                    .lba = offset / device.block_size(),
                                                                    .num_blocks = part.size() / device.block_size(),
                                                                    .data = {&piece, 1}});
    if (!status.is_success()) {
      co_return fail(Code::kInternal,
                     fmt::format("{} of {} bytes at {}: {}", type == block::IoType::kRead ? "read" : "write",
                                 part.size(), offset, status.to_string()));
    }
    if (type == block::IoType::kRead) std::memcpy(part.data(), memory.get(), part.size());
    offset += part.size();
    data = data.subspan(part.size());
  }
  co_return Result<>{};
}

Result<nvmf::host::NvmeDevice*> remote(block::Device& device) {
  auto* const nvme = dynamic_cast<nvmf::host::NvmeDevice*>(&device);
  if (nvme == nullptr) {
    return fail(Code::kInvalidArgument,
                fmt::format("'{}' is no NVMe-oF device: it takes no admin commands", device.name()));
  }
  return nvme;
}

Task<Result<nvmf::host::QueuePair::Answer>> run_admin(block::Device& device, nvme::Sqe sqe,
                                                      std::span<std::byte> data = {}) {
  auto nvme = remote(device);
  if (!nvme) co_return fail(std::move(nvme.error()));
  auto answer = co_await (*nvme)->admin_command(sqe, data);
  if (answer && !answer->status.is_success()) {
    co_return fail(Code::kInternal, fmt::format("admin command {:02x}h: {}, dword 0 {:#x}", sqe.opcode,
                                                answer->status.to_string(), answer->dw0));
  }
  co_return answer;
}

}  // namespace

std::string describe_device(block::Device& device) {
  std::string text = fmt::format("{}\n  uuid {}\n  {} blocks of {} bytes\n", device.name(), device.uuid().to_string(),
                                 device.num_blocks(), device.block_size());
  if (const auto nvme = remote(device)) {
    for (const auto& path : (*nvme)->paths()) {
      text += fmt::format("  path {}: {}, controller {}\n", path.address,
                          path.connected ? "connected" : "not connected", path.cntlid);
    }
  }
  return text;
}

Task<Result<std::string>> read_to_file(block::Device& device, uint64_t offset, uint64_t length, std::string file) {
  if (length == 0) length = device.block_size();
  if (auto checked = check_range(device, offset, length); !checked) co_return fail(std::move(checked.error()));
  std::vector<std::byte> data(length);
  if (auto done = co_await transfer(device, block::IoType::kRead, offset, data); !done) {
    co_return fail(std::move(done.error()));
  }
  if (auto written = write_file(file, data); !written) co_return fail(std::move(written.error()));
  co_return fmt::format("{} bytes read\n", length);
}

Task<Result<std::string>> write_from_file(block::Device& device, uint64_t offset, std::string file) {
  auto data = read_file(file);
  if (!data) co_return fail(std::move(data.error()));
  const uint64_t block_size = device.block_size();
  data->resize((data->size() + block_size - 1) / block_size * block_size);
  if (auto checked = check_range(device, offset, data->size()); !checked) co_return fail(std::move(checked.error()));
  if (auto done = co_await transfer(device, block::IoType::kWrite, offset, *data); !done) {
    co_return fail(std::move(done.error()));
  }
  co_return fmt::format("{} bytes written\n", data->size());
}

Task<Result<std::string>> send_admin_command(block::Device& device, uint8_t opcode) {
  nvme::Sqe sqe;
  sqe.opcode = opcode;
  const auto answer = co_await run_admin(device, sqe);
  if (!answer) co_return fail(answer.error());
  co_return fmt::format("admin command {:02x}h: success, dword 0 {:#x}\n", opcode, answer->dw0);
}

Task<Result<std::string>> identify_controller(block::Device& device, std::string file) {
  nvme::Sqe sqe;
  nvme::Identify{.cns = kIdentifyController}.encode(sqe);
  std::vector<std::byte> data(kIdentifySize);
  const auto answer = co_await run_admin(device, sqe, data);
  if (!answer) co_return fail(answer.error());
  if (auto written = write_file(file, data); !written) co_return fail(std::move(written.error()));
  co_return fmt::format("identify controller: {} bytes\n", data.size());
}

Task<Result<std::string>> create_snapshot(block::Device& device, nvme::SnapshotMessage message) {
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
  const auto seconds = static_cast<uint64_t>(now.count());
  nvme::Sqe sqe;
  sqe.opcode = nvme::kCreateSnapshotOpcode;
  sqe.nsid = 1;
  sqe.cdw10 = static_cast<uint32_t>(seconds);
  sqe.cdw11 = static_cast<uint32_t>(seconds >> 32);
  std::vector<std::byte> data = nvme::encode_snapshot_message(message);
  data.resize((data.size() + 3) / 4 * 4);  // NVMe data is whole dwords
  const auto answer = co_await run_admin(device, sqe, data);
  if (!answer) co_return fail(answer.error());
  co_return std::string("snapshot created\n");
}

}  // namespace cairn::cli
