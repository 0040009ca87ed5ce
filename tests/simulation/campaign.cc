#include "simulation/campaign.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "simulation/cluster.h"

namespace cairn::simulation {

namespace {

struct Outcome {
  std::string failure;
  Coverage coverage;
  double virtual_s = 0;
  uint64_t events = 0;
  uint64_t hash = 0;
};

// Of a processor's time; a run takes a tenth of one, under sanitizers a few.
constexpr time_t kLongestSeconds = 300;

// A reactor that spins stops the virtual clock: this ends the process. 0: no limit.
void limit_processor_time(time_t seconds) {
  const itimerval limit{.it_interval = {}, .it_value = {.tv_sec = seconds, .tv_usec = 0}};
  CAIRN_CHECK(setitimer(ITIMER_VIRTUAL, &limit, nullptr) == 0);
}

Cluster* running = nullptr;

std::vector<Fault> plan_of(const CampaignOptions& options, uint64_t seed) {
  std::vector<Fault> plan = make_plan({.seed = seed,
                                       .num_storage = Cluster::kNumStorage,
                                       .num_nodes = Cluster::kNumNodes,
                                       .trouble = std::chrono::seconds(options.trouble_s),
                                       .excluded = options.excluded,
                                       .scene = options.scene});
  if (options.only.empty()) return plan;
  std::vector<Fault> chosen;
  for (const size_t index : options.only) {
    if (index < plan.size()) chosen.push_back(plan[index]);
  }
  return chosen;
}

Outcome run(const CampaignOptions& options, uint64_t seed, std::vector<Fault> plan) {
  Cluster cluster({.seed = seed,
                   .trace_text = options.trace,
                   .trouble = std::chrono::seconds(options.trouble_s),
                   .plan = std::move(plan)});
  Outcome outcome;
  running = &cluster;
  limit_processor_time(kLongestSeconds);
  outcome.failure = cluster.run();
  limit_processor_time(0);
  running = nullptr;
  outcome.coverage = cluster.coverage();
  outcome.virtual_s = std::chrono::duration<double>(cluster.world().now().time_since_epoch()).count();
  outcome.events = cluster.world().num_events();
  outcome.hash = cluster.world().trace().hash();
  if (options.trace) fmt::print("{}", cluster.world().trace().text());
  return outcome;
}

// Runs in a process of its own. Its failure: what it says, or how it died.
Outcome run_apart(const CampaignOptions& options, uint64_t seed, const std::vector<Fault>& plan) {
  int pipes[2];
  CAIRN_CHECK(pipe(pipes) == 0);
  std::fflush(nullptr);
  const pid_t child = fork();
  CAIRN_CHECK(child >= 0);
  if (child == 0) {
    close(pipes[0]);
    const Outcome outcome = run(options, seed, plan);
    const size_t written = outcome.failure.empty() ? 0 : std::min<size_t>(outcome.failure.size(), 4000);
    if (written > 0 && write(pipes[1], outcome.failure.data(), written) < 0) _exit(3);
    _exit(0);
  }
  close(pipes[1]);
  Outcome outcome;
  char text[4096];
  for (ssize_t got; (got = read(pipes[0], text, sizeof text)) > 0;)
    outcome.failure.append(text, static_cast<size_t>(got));
  close(pipes[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) outcome.failure = fmt::format("killed by signal {}", WTERMSIG(status));
  return outcome;
}

// Leaves out faults as long as the run still fails: halves first, then smaller parts, at last single ones.
std::vector<Fault> shrink(const CampaignOptions& options, uint64_t seed, std::vector<Fault> plan) {
  for (size_t part = std::max<size_t>(plan.size() / 2, 1); part > 0; part /= 2) {
    for (size_t begin = 0; begin < plan.size();) {
      std::vector<Fault> fewer(plan.begin(), plan.begin() + static_cast<ptrdiff_t>(begin));
      fewer.insert(fewer.end(), plan.begin() + static_cast<ptrdiff_t>(std::min(begin + part, plan.size())), plan.end());
      if (run_apart(options, seed, fewer).failure.empty()) {
        begin += part;
      } else {
        plan = std::move(fewer);
        fmt::print("{} faults left\n", plan.size());
      }
    }
  }
  return plan;
}

uint64_t seed_at(const CampaignOptions& options, uint64_t place) {
  return options.seeds.empty() ? options.first_seed + place : options.seeds.at(place);
}
uint64_t count_of(const CampaignOptions& options) {
  return options.seeds.empty() ? options.num_seeds : options.seeds.size();
}

// A process that runs every jobs-th seed, by its place among all, and tells about each in lines:
//   begin <place> | count <times> <what> | text <line of the failure> | end <place> <virtual ms> <events> <failed>
//   <KiB> <bytes>
class Worker {
 public:
  Worker(const CampaignOptions& options, uint64_t first) : next(first) {
    int pipes[2];
    CAIRN_CHECK(pipe(pipes) == 0);
    std::fflush(nullptr);
    pid = fork();
    CAIRN_CHECK(pid >= 0);
    if (pid == 0) {
      close(pipes[0]);
      work(options, pipes[1]);
    }
    close(pipes[1]);
    in = pipes[0];
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    close(in);
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }

  uint64_t next;  // place that is under way or will be
  pid_t pid = 0;
  int in = -1;
  std::string unread;
  std::string failure;
  uint64_t first_kib = 0;  // resident after its first seeds
  uint64_t num_ended = 0;
  uint64_t early_bytes = 0;  // in use on the heap between two seeds, when kWarmUp of them had ended

 private:
  [[noreturn]] void work(const CampaignOptions& options, int to) const {
    FILE* out = fdopen(to, "w");
    for (uint64_t place = next; place < count_of(options); place += options.jobs) {
      const uint64_t seed = seed_at(options, place);
      fmt::print(out, "begin {}\n", place);
      std::fflush(out);
      const Outcome outcome = run(options, seed, plan_of(options, seed));
      for (const auto& [what, times] : outcome.coverage.counts) fmt::print(out, "count {} {}\n", times, what);
      for (size_t at = 0; at < outcome.failure.size();) {
        const size_t line_end = std::min(outcome.failure.find('\n', at), outcome.failure.size());
        fmt::print(out, "text {}\n", outcome.failure.substr(at, line_end - at));
        at = line_end + 1;
      }
      rusage usage{};
      getrusage(RUSAGE_SELF, &usage);
      fmt::print(out, "end {} {} {} {} {} {}\n", place, static_cast<uint64_t>(outcome.virtual_s * 1000), outcome.events,
                 outcome.failure.empty() ? 0 : 1, usage.ru_maxrss, mallinfo2().uordblks);
      std::fflush(out);
    }
    _exit(0);
  }
};

class Campaign {
  static constexpr uint64_t kWarmUp = 20;
  static constexpr uint64_t kMostGrowth = 1024;  // bytes that a seed may leave behind, on average

 public:
  explicit Campaign(const CampaignOptions& options) : options_(options), began_(std::chrono::steady_clock::now()) {}

  int run() {
    for (unsigned i = 0; i < options_.jobs; ++i) begin(i);
    while (!workers_.empty() && !enough()) {
      std::vector<pollfd> waits;
      for (const auto& worker : workers_) waits.push_back({.fd = worker->in, .events = POLLIN, .revents = 0});
      if (poll(waits.data(), waits.size(), 1000) < 0) break;
      for (size_t i = waits.size(); i-- > 0;) {
        if (waits[i].revents != 0) read_from(i);
      }
    }
    workers_.clear();
    print_summary();
    return failures_.empty() && num_done_ > 0 && heap_growth_ <= kMostGrowth ? 0 : 1;
  }

 private:
  double elapsed() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count(); }
  bool enough() const {
    if (!failures_.empty() && !options_.keep_going) return true;
    return options_.time_limit_s > 0 && elapsed() >= static_cast<double>(options_.time_limit_s);
  }
  void begin(uint64_t place) {
    if (place < count_of(options_)) workers_.push_back(std::make_unique<Worker>(options_, place));
  }

  void read_from(size_t index) {
    Worker& worker = *workers_[index];
    char text[65536];
    const ssize_t got = read(worker.in, text, sizeof text);
    if (got > 0) {
      worker.unread.append(text, static_cast<size_t>(got));
      size_t at = 0;
      for (size_t line_end; (line_end = worker.unread.find('\n', at)) != std::string::npos; at = line_end + 1) {
        take(worker, std::string_view(worker.unread).substr(at, line_end - at));
      }
      worker.unread.erase(0, at);
      return;
    }
    int status = 0;
    waitpid(worker.pid, &status, 0);
    const uint64_t place = worker.next;
    workers_.erase(workers_.begin() + static_cast<ptrdiff_t>(index));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    note_failure(seed_at(options_, place), WIFSIGNALED(status) ? fmt::format("killed by signal {}\n", WTERMSIG(status))
                                                               : fmt::format("exit status {}\n", WEXITSTATUS(status)));
    ++num_done_;
    begin(place + options_.jobs);
  }

  void take(Worker& worker, std::string_view line) {
    const size_t space = std::min(line.find(' '), line.size());
    const std::string_view word = line.substr(0, space);
    const std::string rest(line.substr(std::min(space + 1, line.size())));
    if (word == "begin") {
      worker.next = std::strtoull(rest.c_str(), nullptr, 10);
      worker.failure.clear();
    } else if (word == "count") {
      char* what = nullptr;
      const uint64_t times = std::strtoull(rest.c_str(), &what, 10);
      coverage_.count(what + 1, times);
    } else if (word == "text") {
      worker.failure += rest + "\n";
    } else if (word == "end") {
      unsigned long long place = 0, milliseconds = 0, events = 0, failed = 0, kib = 0, bytes = 0;
      CAIRN_CHECK(std::sscanf(rest.c_str(), "%llu %llu %llu %llu %llu %llu", &place, &milliseconds, &events, &failed,
                              &kib, &bytes) == 6);
      note_memory(worker, bytes);
      ++num_done_;
      virtual_s_ += static_cast<double>(milliseconds) / 1000;
      events_ += events;
      if (worker.first_kib == 0) worker.first_kib = kib;
      most_growth_kib_ = std::max<uint64_t>(most_growth_kib_, kib - worker.first_kib);
      if (failed != 0) note_failure(seed_at(options_, place), worker.failure);
    }
  }
  // Nothing of a run outlives it.
  void note_memory(Worker& worker, uint64_t bytes) {
    if (++worker.num_ended == kWarmUp) worker.early_bytes = bytes;
    if (worker.num_ended < 2 * kWarmUp || bytes < worker.early_bytes) return;
    heap_growth_ = std::max(heap_growth_, (bytes - worker.early_bytes) / (worker.num_ended - kWarmUp));
  }
  void note_failure(uint64_t seed, std::string text) {
    fmt::print("seed {} FAILED: {}", seed, text);
    std::fflush(stdout);
    failures_.emplace(seed, std::move(text));
  }

  void print_summary() const {
    if (!options_.quiet) {
      for (const auto& [what, times] : coverage_.counts) fmt::print("{:10} {}\n", times, what);
      for (const std::string& what : coverage_.missing()) fmt::print("     never {}\n", what);
    }
    fmt::print(
        "{} seeds from {} on, {} failed; {:.0f} virtual seconds and {} events in {:.1f} s: {:.0f} times faster than "
        "real time with {} processes; a process grew by {} KiB after its first seed, "
        "its heap by {} bytes a seed\n",
        num_done_, seed_at(options_, 0), failures_.size(), virtual_s_, events_, elapsed(), virtual_s_ / elapsed(),
        options_.jobs, most_growth_kib_, heap_growth_);
    if (heap_growth_ > kMostGrowth)
      fmt::print("memory that runs leave behind: more than {} bytes a seed\n", kMostGrowth);
    for (const auto& [seed, text] : failures_) {
      fmt::print("failed: cairn-sim --seed {}   {}\n", seed, text.substr(0, text.find('\n')));
    }
  }

  const CampaignOptions options_;
  const std::chrono::steady_clock::time_point began_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::map<uint64_t, std::string> failures_;
  Coverage coverage_;
  uint64_t num_done_ = 0;
  double virtual_s_ = 0;
  uint64_t events_ = 0;
  uint64_t most_growth_kib_ = 0;
  uint64_t heap_growth_ = 0;  // most bytes for each seed
};

}  // namespace

std::string log_stamp() {
  if (running == nullptr) return "";
  sim::World& world = running->world();
  std::string where = "world";
  for (size_t i = 0; i < world.num_nodes(); ++i) {
    sim::Node& node = world.node(i);
    for (unsigned r = 0; node.running() && r < node.num_reactors(); ++r) {
      if (&node.reactor(r) == runtime::Reactor::current_or_null()) where = fmt::format("{}/{}", node.name(), r);
    }
  }
  return fmt::format("{:.6f} {} ", std::chrono::duration<double>(world.now().time_since_epoch()).count(), where);
}

int run_campaign(const CampaignOptions& options) {
  return Campaign(options).run();
}

int run_one(const CampaignOptions& options) {
  const uint64_t seed = options.first_seed;
  std::vector<Fault> plan = plan_of(options, seed);
  if (options.shrink) {
    if (run_apart(options, seed, plan).failure.empty()) {
      fmt::print("seed {} does not fail\n", seed);
      return 0;
    }
    plan = shrink(options, seed, std::move(plan));
  }
  if (options.print_plan || options.shrink) {
    for (const Fault& fault : plan) fmt::print("{:3} {}\n", fault.place, fault.to_string());
    std::vector<size_t> places;
    for (const Fault& fault : plan) places.push_back(fault.place);
    if (options.shrink) fmt::print("cairn-sim --seed {} --only {}\n", seed, fmt::join(places, ","));
    std::fflush(nullptr);
  }
  const Outcome outcome = run(options, seed, std::move(plan));
  if (!options.quiet) {
    for (const auto& [what, times] : outcome.coverage.counts) fmt::print("{:8} {}\n", times, what);
  }
  fmt::print("seed {}: {:.0f} virtual seconds, {} events, trace {:016x}\n", seed, outcome.virtual_s, outcome.events,
             outcome.hash);
  if (outcome.failure.empty()) return 0;
  fmt::print("FAILED: {}\n", outcome.failure);
  return 1;
}

}  // namespace cairn::simulation
