#include "runtime/sim/node.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/abandonment.h"
#include "runtime/sim/sim_backend.h"
#include "runtime/sim/world.h"

namespace cairn::runtime::sim {

namespace {

constexpr TraceEvent kStartEvent("node.start", "reactors");
constexpr TraceEvent kStopEvent("node.stop");
constexpr TraceEvent kKillEvent("node.kill", "tasks");
constexpr TraceEvent kPowerEvent("node.power_loss", "tasks");
constexpr TraceEvent kPauseEvent("node.pause", "ns");
constexpr TraceEvent kJumpEvent("node.clock_jump", "ns");

NodeOptions with_defaults(NodeOptions options, int index) {
  if (options.name.empty()) options.name = fmt::format("n{}", index);
  if (options.addresses.empty()) options.addresses.push_back(fmt::format("10.0.{}.{}", index / 250, index % 250 + 1));
  return options;
}

}  // namespace

Node::Node(World& world, int index, const NodeOptions& options, uint64_t seed)
    : world_(world),
      index_(index),
      options_(with_defaults(options, index)),
      random_(seed),
      clock_offset_(std::chrono::seconds(1 + random_.below(1'000'000)) + Duration(random_.below(1'000'000'000))),
      files_(*this, options_.root_disk, random_.next()) {
  CAIRN_CHECK(options_.num_reactors > 0);
}

Node::~Node() {
  if (running_) crash(CrashKind::kKill);
}

bool Node::owns_address(std::string_view host) const {
  return std::find(options_.addresses.begin(), options_.addresses.end(), host) != options_.addresses.end();
}

Uuid Node::boot_id() const {
  return Uuid::of_name(Uuid(), fmt::format("{} {}", options_.name, num_power_losses_));
}

void Node::trace(const TraceEvent& event, std::string_view subject, uint64_t first, uint64_t second, uint64_t third) {
  world_.trace().record(world_.now(), index_, options_.name, event, subject, first, second, third);
}

void Node::start(ProgramFactory factory) {
  CAIRN_CHECK(!running_);
  running_ = true;
  powered_ = true;
  factory_ = std::move(factory);
  trace(kStartEvent, "", options_.num_reactors);
  for (unsigned i = 0; i < options_.num_reactors; ++i) {
    slots_.push_back(std::make_unique<Slot>());
    Slot& slot = *slots_.back();
    auto backend = std::make_unique<SimBackend>(*this, i, random_.next());
    slot.backend = backend.get();
    slot.busy_until = world_.now();
    ReactorOptions reactor_options;
    reactor_options.index = i;
    reactor_options.random_seed = random_.next();
    reactor_options.spin_budget = Duration{};
    reactor_options.buffer_pool_bytes = options_.buffer_pool_bytes;
    slot.reactor = std::make_unique<Reactor>(reactor_options, std::move(backend));
  }
  {
    const Reactor::Scope scope(reactor(0));
    program_ = factory_(*this);
  }
  consider_all();
}

void Node::pause(Duration duration) {
  trace(kPauseEvent, "", static_cast<uint64_t>(duration.count()));
  for (const auto& slot : slots_) {
    slot->busy_until = std::max(slot->busy_until, world_.now()) + duration;
    slot->round_at = kNever;
    slot->round_for_work = false;
    slot->round.cancel();
  }
  consider_all();
}

void Node::jump_clock(Duration forward) {
  CAIRN_CHECK(forward >= Duration{} && !in_round_);
  trace(kJumpEvent, "", static_cast<uint64_t>(forward.count()));
  clock_offset_ += forward;
  consider_all();
}

void Node::consider(Slot& slot) {
  if (in_round_ || !running_) return;  // after the round
  const TimePoint now = world_.now();
  TimePoint at = kNever;
  if (slot.reactor->has_ready_work() || slot.backend->has_ready()) {
    if (slot.round_for_work) return;
    slot.round_for_work = true;
    at = std::max(now, slot.busy_until) + world_.options_.scheduling_delay.draw(world_.scheduler_random_);
  } else if (const TimePoint timer = slot.reactor->next_timer(); timer != kNever) {
    at = std::max({now, slot.busy_until, timer - clock_offset_});
  }
  if (at >= slot.round_at) return;
  slot.round_at = at;
  slot.round = world_.schedule(at - now, [this, &slot] { run_round(slot); });
}

void Node::consider_all() {
  for (const auto& slot : slots_) consider(*slot);
}

void Node::run_round(Slot& slot) {
  slot.round_at = kNever;
  slot.round_for_work = false;
  slot.busy_until = world_.now() + world_.options_.round_cost.draw(world_.scheduler_random_);
  in_round_ = true;
  const bool worked = slot.reactor->run_round();
  in_round_ = false;
  if (worked) world_.trace().mix(world_.now(), index_, slot.reactor->index());
  if (crash_wanted_) {
    crash(*std::exchange(crash_wanted_, std::nullopt));
    return;
  }
  consider_all();  // one reactor may have posted to another
}

void Node::crash(CrashKind kind) {
  if (in_round_) {
    crash_wanted_ = kind;
    return;
  }
  size_t tasks = 0;
  for (const auto& slot : slots_) tasks += slot->reactor->num_tasks();
  trace(kind == CrashKind::kKill ? kKillEvent : kPowerEvent, "", tasks);
  if (kind == CrashKind::kPowerLoss) {
    powered_ = false;
    ++num_power_losses_;
  }
  files_.crash(kind);
  world_.network().crash(*this, kind);
  if (running_) end_process(true);
}

void Node::stop() {
  CAIRN_CHECK(running_ && !in_round_);
  trace(kStopEvent, "");
  end_process(false);
}

void Node::end_process(bool abandon) {
  running_ = false;
  const Reactor::Scope scope(reactor(0));
  if (abandon) {
    const AbandonScope abandoning_scope;
    for (const auto& slot : slots_) slot->backend->abandon();
    std::vector<Reactor*> reactors;
    for (const auto& slot : slots_) reactors.push_back(slot->reactor.get());
    Reactor::abandon_tasks(reactors);
    program_.reset();
    Reactor::abandon_tasks(reactors);  // what destructors may have started
    slots_.clear();
  } else {
    program_.reset();
    slots_.clear();
  }
}

}  // namespace cairn::runtime::sim
