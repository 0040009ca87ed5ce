#include "nvmf/target/sim_load.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace cairn::nvmf::target {

using nvme::NvmOpcode;
using runtime::Random;
using runtime::Reactor;
using runtime::Task;
using std::chrono::milliseconds;
using std::chrono::seconds;

// ---- The host's process ----

class SimLoadHost final : public runtime::sim::NodeProgram {
 public:
  SimLoadHost(SimLoad& load, uint8_t number) {
    ++load.num_running_;
    Reactor::current().spawn("load host", load.run_host(number));
  }
};

void SimLoad::start_host(runtime::sim::Node& node, uint8_t number) {
  node.start([this, number](runtime::sim::Node&) { return std::make_unique<SimLoadHost>(*this, number); });
}

Task<> SimLoad::run_host(uint8_t number) {
  Random& random = Reactor::current().random();
  while (!stopping_) {
    TestHostOptions options = site_.host_options(number);
    options.num_io_queues = static_cast<uint16_t>(1 + random.below(options_.max_io_queues));
    options.queue_entries = static_cast<uint16_t>(4 + random.below(28));
    options.kato_ms = options_.kato_ms;
    options.queue = site_.random_queue_options(random);
    options.queue.command_timeout = options_.command_timeout;
    auto connected = co_await TestHost::connect(options);
    if (!connected) {
      co_await runtime::sleep_for(milliseconds(1 + random.below(500)));
      continue;
    }
    ++num_connects_;
    TestHost& host = **connected;
    std::vector<runtime::TaskHandle> tasks;
    for (size_t i = 0; i < host.num_io_queues(); ++i) {
      const unsigned depth = 1 + static_cast<unsigned>(random.below(options_.max_depth));
      for (unsigned each = 0; each < depth; ++each) {
        tasks.push_back(Reactor::current().spawn("load commands", run_commands(host, i)));
      }
    }
    for (const auto& task : tasks) co_await task.join();
    co_await host.close();
    if (!host.fault().empty()) note_failure(fmt::format("host {}: the target: {}", number, host.fault()));
  }
  --num_running_;
}

Task<> SimLoad::run_commands(TestHost& host, size_t queue) {
  Random& random = Reactor::current().random();
  while (!stopping_ && failure_.empty() && !host.any_closed()) {
    co_await run_command(host.io(queue));
    if (quiet_) co_await runtime::sleep_for(seconds(5));
    if (options_.max_pause > Duration{}) {
      co_await runtime::sleep_for(Duration(random.below(static_cast<uint64_t>(options_.max_pause.count()))));
    }
  }
}

// ---- Commands ----

Task<> SimLoad::run_command(TestHostQueue& queue) {
  Random& random = Reactor::current().random();
  ++num_commands_;
  const uint64_t choice = random.below(100);
  if (choice < 45) {
    co_await write(queue, random);
  } else if (choice < 92) {
    const uint64_t count = 1 + random.below(random.one_in(4) ? options_.max_blocks : 8);
    // Half of all go to the same few blocks.
    const uint64_t lba = random.below(random.one_in(2) ? 16 : history_.num_blocks());
    co_await read(queue, std::min(lba, history_.num_blocks() - count), count);
  } else if (choice < 96) {
    if (options_.flushes) co_await flush(queue);
  } else if (options_.counter) {
    co_await increment(queue);
  }
}

bool SimLoad::succeeded(const Answer& answer, const char* command) {
  if (!answer) return false;
  if (answer->status().is_success()) return true;
  ++num_errors_;
  if (!options_.expect_io_errors) note_failure(fmt::format("{}: {}", command, answer->status().to_string()));
  return false;
}

Task<> SimLoad::write(TestHostQueue& queue, Random& random) {
  const uint64_t count = 1 + random.below(random.one_in(4) ? options_.max_blocks : 8);
  const uint64_t lba =
      std::min(random.below(random.one_in(2) ? 16 : history_.num_blocks()), history_.num_blocks() - count);
  const uint64_t kind = random.below(16);
  const bool fua = random.one_in(8);
  const bool zero = kind == 0;
  const bool unmap = kind == 1;
  const auto write = history_.begin_write(lba, count, zero || unmap, fua && !unmap);
  nvme::Sqe sqe =
      TestHost::range_sqe(zero ? NvmOpcode::kWriteZeroes : NvmOpcode::kWrite, lba, static_cast<uint32_t>(count));
  if (fua) sqe.cdw12 |= 1u << 30;
  std::vector<std::byte> data;
  if (unmap) {
    sqe = TestHost::io_sqe(NvmOpcode::kDatasetManagement);
    nvme::DatasetManagement{.num_ranges = 1, .deallocate = true}.encode(sqe);
    const nvme::DatasetRange range{.num_blocks = static_cast<uint32_t>(count), .slba = lba};
    const auto bytes = nvme::bytes_of(range);
    data.assign(bytes.begin(), bytes.end());
  } else if (!zero) {
    data = BlockHistory::data_of(write);
  }
  const auto answer = co_await queue.run(sqe, data);
  if (!answer) co_return;  // it may happen or not
  if (succeeded(answer, unmap ? "deallocate" : zero ? "write zeroes" : "write")) {
    history_.acknowledge(write);
  } else {
    history_.fail(write);
  }
}

Task<> SimLoad::read(TestHostQueue& queue, uint64_t lba, uint64_t count) {
  const uint64_t begin = history_.begin_read();
  const auto size = static_cast<uint32_t>(count * SimSite::kBlockSize);
  const auto answer =
      co_await queue.run(TestHost::range_sqe(NvmOpcode::kRead, lba, static_cast<uint32_t>(count)), {}, size);
  if (!succeeded(answer, "read")) co_return;
  if (answer->data.size() != size)
    co_return note_failure(fmt::format("read: {} of {} bytes", answer->data.size(), size));
  note_failure(history_.check_read(begin, lba, answer->data));
}

Task<> SimLoad::flush(TestHostQueue& queue) {
  const uint64_t begin = history_.begin_flush();
  if (succeeded(co_await queue.run(TestHost::io_sqe(NvmOpcode::kFlush)), "flush")) history_.acknowledge_flush(begin);
}

// ---- The counter ----

// Its block: the number, then zeroes.
Task<> SimLoad::increment(TestHostQueue& queue) {
  const auto compare_sqe = TestHost::range_sqe(NvmOpcode::kCompare, counter_lba(), 1);
  const auto write_sqe = TestHost::range_sqe(NvmOpcode::kWrite, counter_lba(), 1);
  const auto before =
      co_await queue.run(TestHost::range_sqe(NvmOpcode::kRead, counter_lba(), 1), {}, SimSite::kBlockSize);
  if (!succeeded(before, "read of the counter")) co_return;
  std::vector<std::byte> next = before->data;
  uint64_t value;
  std::memcpy(&value, next.data(), sizeof(value));
  ++value;
  std::memcpy(next.data(), &value, sizeof(value));
  ++counter_possible_;
  const uint64_t num_power_losses = num_power_losses_;
  const auto pair = co_await queue.run_fused(compare_sqe, before->data, write_sqe, next);
  if (!pair) co_return;
  const nvme::Status compared = (*pair)[0].status(), written = (*pair)[1].status();
  if (compared.is_success() && written.is_success()) {
    if (num_power_losses == num_power_losses_) ++counter_certain_;
    co_return;
  }
  if (compared.is(nvme::MediaStatus::kCompareFailure)) {
    --counter_possible_;
    if (!written.is(nvme::GenericStatus::kAbortedFailedFused))
      note_failure("compare failed, write: " + written.to_string());
    co_return;
  }
  ++num_errors_;
  if (!options_.expect_io_errors) note_failure(fmt::format("pair: {}, {}", compared.to_string(), written.to_string()));
}

std::string SimLoad::check_counter(std::span<const std::byte> block, uint64_t at_least) const {
  uint64_t value;
  std::memcpy(&value, block.data(), sizeof(value));
  if (value >= at_least && value <= counter_possible_) return {};
  return fmt::format("the counter is {}, incremented {} to {} times", value, at_least, counter_possible_);
}

void SimLoad::target_crashed(bool power_loss) {
  history_.crash(power_loss);
  if (!power_loss) return;
  counter_certain_ = 0;
  ++num_power_losses_;
}

Task<> SimLoad::verify(uint8_t host_number) {
  auto connected = co_await TestHost::connect(site_.host_options(host_number));
  if (!connected) co_return note_failure("a new host cannot connect: " + connected.error().to_string());
  TestHost& host = **connected;
  const uint64_t step = std::min<uint64_t>(64, history_.num_blocks());
  for (uint64_t lba = 0; lba < history_.num_blocks(); lba += step) {
    co_await read(host.io(), lba, std::min(step, history_.num_blocks() - lba));
  }
  const uint64_t at_least = counter_certain_;
  const auto counter =
      co_await host.io().run(TestHost::range_sqe(NvmOpcode::kRead, counter_lba(), 1), {}, SimSite::kBlockSize);
  if (succeeded(counter, "read of the counter")) note_failure(check_counter(counter->data, at_least));
  co_await flush(host.io());
  co_await host.close();
  note_failure(host.fault());
}

void SimLoad::note_failure(std::string what) {
  if (failure_.empty()) failure_ = std::move(what);
}

// ---- Faults ----

void SimFaults::run() {
  const TimePoint end = site_.world().now() + duration_;
  while (site_.world().now() < end && load_.failure().empty()) {
    site_.world().run_for(milliseconds(1 + site_.world().random().below(60)));
    next();
    ++num_faults_;
  }
  load_.set_quiet(true);
  site_.run_until([this] {
    return num_lasting_ == 0 && std::ranges::all_of(site_.hosts(), [](const auto* host) { return host->running(); });
  });
  site_.world().run_for(kLongest);
  load_.set_quiet(false);
}

// Does something when a fault is over.
void SimFaults::after(Duration lasting, std::function<void()> heal) {
  ++num_lasting_;
  site_.world().after(lasting, [this, heal = std::move(heal)] {
    --num_lasting_;
    heal();
  });
}

void SimFaults::next() {
  Random& random = site_.world().random();
  runtime::sim::Network& network = site_.world().network();
  runtime::sim::Node& target = site_.target_node();
  runtime::sim::Node& host = *site_.hosts()[random.below(site_.hosts().size())];
  // Some faults are over soon, some outlast every time-out.
  const Duration lasting = random.one_in(4)
                               ? Duration(seconds(5)) + kLongest / 200 * static_cast<int>(random.below(190))
                               : milliseconds(random.below(400));
  switch (random.below(8)) {
    case 0:
      network.cut_both(target, host);
      return after(lasting, [&] { network.heal_both(target, host); });
    case 1:
      network.cut(target, host);
      return after(lasting, [&] { network.heal(target, host); });
    case 2:
      network.cut(host, target);
      return after(lasting, [&] { network.heal(host, target); });
    case 3:
      return network.reset_connections(target, host);
    case 4:
      if (!host.running()) return;
      host.crash(random.one_in(2) ? runtime::sim::CrashKind::kKill : runtime::sim::CrashKind::kPowerLoss);
      load_.host_crashed();
      return after(lasting, [&] { host.restart(); });
    case 5:
      return target.pause(std::min<Duration>(lasting, seconds(2)));
    case 6:
      network.set_loss(target, host, 3);
      return after(lasting, [&] { network.set_loss(target, host, 0); });
    case 7:
      if (host.running()) host.pause(lasting);
      return;
  }
}

}  // namespace cairn::nvmf::target
