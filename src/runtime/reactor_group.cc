#include "runtime/reactor_group.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <future>

#include "base/log.h"
#include "runtime/core_set.h"
#include "runtime/epoll_backend.h"
#include "runtime/uring_backend.h"

namespace cairn::runtime {

namespace {

uint64_t random_seed() {
  uint64_t seed = 0;
  CAIRN_CHECK(::getrandom(&seed, sizeof seed, 0) == sizeof seed);
  return seed;
}

Result<> pin_to(unsigned core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) {
    return fail(Error::from_errno(errno, fmt::format("run on core {}", core)));
  }
  return {};
}

Result<> check_cores(const std::vector<unsigned>& cores) {
  const std::vector<unsigned> allowed = allowed_cores();
  for (size_t i = 0; i < cores.size(); ++i) {
    if (std::ranges::find(allowed, cores[i]) == allowed.end()) {
      return fail(Code::kInvalidArgument,
                  fmt::format("core {} is not one that this process may run on ({})", cores[i], to_string(allowed)));
    }
    if (std::ranges::count(cores, cores[i]) > 1) {
      return fail(Code::kInvalidArgument, fmt::format("core {} is named twice", cores[i]));
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Backend>> make_kernel_backend(BackendChoice choice, const UringOptions& options,
                                                     std::shared_ptr<BlockingPool> pool) {
  if (choice != BackendChoice::kEpoll) {
    auto uring = UringBackend::create(options, pool);
    if (uring) return std::move(*uring);
    if (choice == BackendChoice::kUring) return fail(std::move(uring.error()));
    log::info("no io_uring ({}): using epoll", uring.error().to_string());
  }
  auto epoll = EpollBackend::create(std::move(pool));
  if (!epoll) return fail(std::move(epoll.error()));
  return std::move(*epoll);
}

Result<std::unique_ptr<ReactorGroup>> ReactorGroup::start(const ReactorGroupOptions& options) {
  if (auto checked = check_cores(options.cores); !checked) return fail(std::move(checked.error()));
  std::unique_ptr<ReactorGroup> group(new ReactorGroup(options));
  std::vector<std::promise<Result<>>> started(group->members_.size());
  for (size_t i = 0; i < started.size(); ++i) {
    group->members_[i]->thread = std::thread([&group = *group, i, &started] { group.run_member(i, started[i]); });
  }
  Result<> outcome;
  for (auto& promise : started) {
    if (auto result = promise.get_future().get(); !result && outcome) outcome = std::move(result);
  }
  if (!outcome) return fail(std::move(outcome.error()));
  const std::string cores = options.cores.empty() ? "any core" : fmt::format("cores {}", to_string(options.cores));
  log::info("reactors on {}: {}", cores, group->primary().backend().description());
  if (options.stall_limit > Duration(0)) {
    group->stall_detector_ = std::make_unique<StallDetector>(group->reactors(), options.stall_limit, options.on_stall);
  }
  return group;
}

ReactorGroup::ReactorGroup(const ReactorGroupOptions& options)
    : options_(options), pool_(std::make_shared<BlockingPool>()) {
  const size_t count = std::max<size_t>(options.cores.size(), 1);
  for (size_t i = 0; i < count; ++i) {
    auto& member = *members_.emplace_back(std::make_unique<Member>());
    member.pinned = !options.cores.empty();
    if (member.pinned) member.core = options.cores[i];
  }
  all_ended_ = std::make_unique<std::latch>(static_cast<std::ptrdiff_t>(count) + 1);
}

ReactorGroup::~ReactorGroup() {
  stop();
}

std::vector<Reactor*> ReactorGroup::reactors() {
  std::vector<Reactor*> all;
  for (const auto& member : members_) all.push_back(member->reactor.get());
  return all;
}

Result<std::unique_ptr<Reactor>> ReactorGroup::make_reactor(size_t index) {
  Member& member = *members_[index];
  const std::string name = member.pinned ? fmt::format("reactor-{}", member.core) : "reactor";
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
  if (member.pinned) {
    if (auto pinned = pin_to(member.core); !pinned) return fail(std::move(pinned.error()));
  }
  auto backend = make_kernel_backend(options_.backend, options_.uring, pool_);
  if (!backend) return fail(std::move(backend.error()));
  const ReactorOptions options{.index = static_cast<unsigned>(index),
                               .random_seed = random_seed(),
                               .spin_budget = options_.spin_budget,
                               .buffer_pool_bytes = options_.buffer_pool_bytes};
  return std::make_unique<Reactor>(options, std::move(*backend));
}

void ReactorGroup::run_member(size_t index, std::promise<Result<>>& started) {
  Member& member = *members_[index];
  auto made = make_reactor(index);
  if (!made) {
    started.set_value(fail(std::move(made.error())));
    all_ended_->count_down();
    return;
  }
  member.reactor = std::move(*made);
  Reactor& reactor = *member.reactor;
  started.set_value({});
  reactor.run_until([this, &member, &reactor] {
    if (draining_.load(std::memory_order_relaxed)) {
      reactor.cancel_all_tasks();  // also those that other reactors' clean-up has started since
      const bool quiet = reactor.num_tasks() == 0 && !reactor.has_ready_work();
      const std::lock_guard lock(mutex_);
      if (std::exchange(member.quiet, quiet) != quiet) quiet_changed_.notify_all();
    }
    return false;
  });
  all_ended_->arrive_and_wait();
  member.reactor.reset();
}

void ReactorGroup::stop() {
  stall_detector_.reset();
  const bool running = std::ranges::all_of(members_, [](const auto& member) { return member->reactor != nullptr; });
  if (running) {
    draining_ = true;
    wait_until_quiet();
  }
  for (const auto& member : members_) {
    if (member->reactor != nullptr) member->reactor->stop();
  }
  if (members_.front()->thread.joinable()) all_ended_->count_down();
  for (const auto& member : members_) {
    if (member->thread.joinable()) member->thread.join();
  }
}

void ReactorGroup::wait_until_quiet() {
  for (bool done = false; !done;) {
    // Wakes them all. A message that was on its way before ours has run when ours has.
    run_on_all([](Reactor&) {});
    std::unique_lock lock(mutex_);
    quiet_changed_.wait(lock, [this] { return all_quiet(); });
    lock.unlock();
    std::atomic<bool> still_quiet{true};
    run_on_all([&still_quiet](Reactor& reactor) {
      if (reactor.num_tasks() > 0) still_quiet = false;
    });
    lock.lock();
    done = still_quiet && all_quiet();
  }
}

bool ReactorGroup::all_quiet() const {
  return std::ranges::all_of(members_, [](const auto& member) { return member->quiet; });
}

void ReactorGroup::run_on_all(const std::function<void(Reactor&)>& function) {
  std::latch ran(static_cast<std::ptrdiff_t>(members_.size()));
  std::vector<std::unique_ptr<Message>> messages;
  for (const auto& member : members_) {
    messages.push_back(std::make_unique<Message>([&function, &ran, &reactor = *member->reactor] {
      function(reactor);
      ran.count_down();
    }));
    member->reactor->post(*messages.back());
  }
  ran.wait();
}

}  // namespace cairn::runtime
