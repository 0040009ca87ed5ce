#include "simulation/client.h"

#include <algorithm>

#include "nvmf/host/nvme_device.h"
#include "nvmf/host/nvmf_scheme.h"

namespace cairn::simulation {

using block::IoType;

namespace {

// Of the pools; the data of a nexus begins at one.
constexpr uint64_t kClusterBlocks = (1 << 20) / BlockHistory::kBlockSize;

}  // namespace

bool ClientState::is_free(uint64_t lba, uint64_t num_blocks) const {
  auto overlaps = [&](const BlockHistory::Write& other) {
    return lba < other.lba + other.num_blocks && other.lba < lba + num_blocks;
  };
  return std::ranges::none_of(writing, overlaps) && std::ranges::none_of(limbo, overlaps, &Limbo::write);
}

void ClientState::crash(TimePoint now) {
  for (const auto& write : writing) limbo.push_back({write, now});
  writing.clear();
  operations.clear();
  num_workers = 0;
  connected = false;
}

void ClientState::settle_limbo(TimePoint before) {
  for (auto each = limbo.begin(); each != limbo.end();) {
    if (each->since > before) {
      ++each;
      continue;
    }
    history.fail(each->write);
    each = limbo.erase(each);
  }
}

ClientProgram::ClientProgram(sim::Node& node, ClientState& state, const ClientOptions& options,
                             std::function<std::string(const std::set<size_t>&)> uri)
    : node_(node), state_(state), options_(options), uri_of_(std::move(uri)) {
  nvmf::host::ConnectionOptions initiator;
  initiator.host = nvmf::host::make_host_identity("nqn.2014-08.org.nvmexpress:" + node.name(), {});
  nvmf::host::add_nvmf_schemes(devices_, initiator);
  runtime::Reactor::current().spawn("client", run());
}

void ClientProgram::on_removed(block::Device&) {
  unlink();
  gone_ = true;
}

// Connects; when the device is gone, connects again.
Task<> ClientProgram::run() {
  while (!state_.closing) {
    version_in_use_ = state_.paths_version;
    const std::string uri = uri_of_(state_.shunned);
    auto device = co_await devices_.create(uri);
    if (!device) {
      if (!co_await runtime::sleep_for(std::chrono::milliseconds(300))) co_return;
      continue;
    }
    device_ = std::move(*device);
    device_->add_listener(*this);
    gone_ = version_in_use_ != state_.paths_version;
    ++state_.num_connects;
    state_.connected = true;
    for (size_t i = 0; i < options_.workers && !state_.stopping && !gone_; ++i) {
      ++num_workers_;
      ++state_.num_workers;
      runtime::Reactor::current().spawn("client worker", work(i));
    }
    while (num_workers_ > 0 || aborting_ || (state_.stopping && !state_.closing && !gone_)) {
      static_cast<void>(co_await runtime::sleep_for(std::chrono::milliseconds(50)));
    }
    state_.connected = false;
    unlink();
    device_.reset();
    if (auto removed = co_await devices_.destroy(uri); !removed) {
      state_.note_failure("client: " + removed.error().to_string());
    }
  }
  state_.closed = true;
}

Task<Result<bool>> ClientProgram::change_paths() {
  if (auto volume = std::dynamic_pointer_cast<nvmf::host::NvmeDevice>(device_); volume != nullptr && !gone_) {
    aborting_ = true;  // as long as a controller that cannot be reached may execute what it was sent
    volume->announce_removal();
    co_await volume->abort_io();
    aborting_ = false;
  }
  while (version_in_use_ != state_.paths_version) {
    if (auto slept = co_await runtime::sleep_for(std::chrono::milliseconds(20)); !slept) co_return fail(slept.error());
  }
  co_return true;
}

Task<> ClientProgram::work(size_t index) {
  auto opened = co_await runtime::call_on(
      node_.reactor(static_cast<unsigned>(index) % node_.num_reactors()), [this]() -> Task<bool> {
        const std::shared_ptr<block::Device> device = device_;
        auto channel = co_await device->open_channel();
        if (!channel) co_return false;
        std::vector<std::byte> data;
        runtime::Random& random = runtime::Reactor::current().random();
        while (!state_.stopping && !gone_) {
          co_await do_one(**channel, data);
          const auto pause = Duration(random.below(static_cast<uint64_t>(options_.max_pause.count())));
          if (!co_await runtime::sleep_for(pause)) break;
        }
        co_return true;
      });
  if (!opened) static_cast<void>(co_await runtime::sleep_for(std::chrono::milliseconds(200)));
  --num_workers_;
  --state_.num_workers;
}

Task<> ClientProgram::do_one(block::Channel& channel, std::vector<std::byte>& data) {
  runtime::Random& random = runtime::Reactor::current().random();
  if (random.one_in(options_.flush_one_in)) {
    co_await flush(channel);
    co_return;
  }
  uint64_t num_blocks = 1 + random.below(random.one_in(6) ? options_.max_blocks : 8);
  uint64_t lba = random.below(state_.history.num_blocks() - num_blocks + 1);
  if (options_.hot_blocks > 0 && !random.one_in(4)) {
    num_blocks = std::min(num_blocks, options_.hot_blocks);
    lba = options_.hot_lba + random.below(options_.hot_blocks - num_blocks + 1);
  }
  if (random.below(100) < options_.write_percent) {
    const bool trims = random.one_in(options_.trim_one_in);
    if (trims) {
      lba = random.below((state_.history.num_blocks() + kClusterBlocks - 1) / kClusterBlocks) * kClusterBlocks;
      num_blocks = std::min(kClusterBlocks * (1 + random.below(3)), state_.history.num_blocks() - lba);
    }
    if (state_.is_free(lba, num_blocks)) co_await write(channel, data, lba, num_blocks, trims);
  } else {
    co_await read(channel, data, lba, num_blocks);
  }
}

Task<nvme::Status> ClientProgram::perform(block::Channel& channel, block::IoRequest request, const char* what) {
  const auto operation = state_.operations.insert(
      state_.operations.end(),
      {.what = what, .lba = request.lba, .num_blocks = request.num_blocks, .since = node_.world().now()});
  const nvme::Status status = co_await block::perform(channel, request);
  state_.longest = std::max(state_.longest, node_.world().now() - operation->since);
  state_.operations.erase(operation);
  if (!status.is_success()) ++state_.num_errors;
  co_return status;
}

Task<> ClientProgram::write(block::Channel& channel, std::vector<std::byte>& data, uint64_t lba, uint64_t num_blocks,
                            bool trims) {
  runtime::Random& random = runtime::Reactor::current().random();
  const bool zero = trims || random.one_in(8);
  const bool fua = random.one_in(options_.fua_one_in);
  const auto entry =
      state_.writing.insert(state_.writing.end(), state_.history.begin_write(lba, num_blocks, zero, fua));
  data = BlockHistory::data_of(*entry);
  iovec piece{data.data(), data.size()};
  block::IoRequest request{.type = IoType::kWrite, .lba = lba, .num_blocks = num_blocks, .fua = fua};
  if (zero) {
    request.type = (trims || random.one_in(2)) && !fua ? IoType::kUnmap : IoType::kWriteZeroes;
    ++state_.num_unmaps;
  } else {
    request.data = {&piece, 1};
  }
  const auto status = co_await perform(channel, request, zero ? "zero" : "write");
  if (status.is_success()) {
    state_.history.acknowledge(*entry);
  } else {
    state_.history.fail(*entry);
  }
  state_.writing.erase(entry);
}

Task<> ClientProgram::read(block::Channel& channel, std::vector<std::byte>& data, uint64_t lba, uint64_t num_blocks) {
  data.assign(num_blocks * BlockHistory::kBlockSize, std::byte{0xee});
  iovec piece{data.data(), data.size()};
  const uint64_t begin = state_.history.begin_read();
  const auto status = co_await perform(
      channel, {.type = IoType::kRead, .lba = lba, .num_blocks = num_blocks, .data = {&piece, 1}}, "read");
  if (status.is_success()) state_.note_failure(state_.history.check_read(begin, lba, data));
}

Task<> ClientProgram::flush(block::Channel& channel) {
  const uint64_t begin = state_.history.begin_flush();
  const auto status = co_await perform(channel, {.type = IoType::kFlush}, "flush");
  if (status.is_success()) {
    state_.history.acknowledge_flush(begin);
    ++state_.num_flushes;
  }
}

Task<> ClientProgram::verify() {
  const std::shared_ptr<block::Device> device = device_;
  if (device == nullptr) {
    state_.note_failure("the client is not connected at the end");
    co_return;
  }
  auto channel = co_await device->open_channel();
  if (!channel) {
    state_.note_failure("verify: " + channel.error().to_string());
    co_return;
  }
  std::vector<std::byte> data;
  const uint64_t step = 256;
  for (uint64_t lba = 0; lba < state_.history.num_blocks(); lba += step) {
    const uint64_t errors = state_.num_errors;
    co_await read(**channel, data, lba, std::min(step, state_.history.num_blocks() - lba));
    if (state_.num_errors != errors) state_.note_failure(fmt::format("verify: blocks from {} cannot be read", lba));
  }
}

}  // namespace cairn::simulation
