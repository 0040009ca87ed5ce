#include "nexus/child_reservation.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::nexus {

using nvme::GenericStatus;
using nvme::ReservationType;
using nvmf::host::NvmeDevice;
using nvmf::host::ReservationStatus;
using runtime::Task;

namespace {

// Others may change it between our steps.
constexpr unsigned kMaxRounds = 6;

bool is_for_all_registrants(ReservationType type) {
  return type == ReservationType::kWriteExclusiveAllRegistrants ||
         type == ReservationType::kExclusiveAccessAllRegistrants;
}

// One child's reservation, seen from here.
class Claim {
 public:
  Claim(NvmeDevice& child, const ReservationParameters& parameters) : child_(child), parameters_(parameters) {}

  Task<Result<>> read() {
    auto status = co_await child_.report_reservation();
    if (!status) co_return fail(std::move(status.error()));
    status_ = std::move(*status);
    co_return Result<>{};
  }
  bool is_ours(const ReservationStatus::Holder& registrant) const {
    return std::ranges::equal(registrant.host_id, child_.options().host.id.bytes());
  }
  bool registered() const {
    return std::ranges::any_of(status_.registrants, [this](const auto& registrant) {
      return is_ours(registrant) && registrant.key == parameters_.key;
    });
  }
  const std::vector<ReservationStatus::Holder>& registrants() const { return status_.registrants; }
  bool reserved() const { return status_.type != ReservationType::kNone; }
  ReservationType type() const { return status_.type; }
  // Of one that is not for all registrants.
  const ReservationStatus::Holder* holder() const {
    const auto found = std::ranges::find(status_.registrants, true, &ReservationStatus::Holder::holds_reservation);
    return found == status_.registrants.end() ? nullptr : &*found;
  }
  // What was asked for.
  bool satisfied() const {
    if (!registered()) return false;
    const bool for_all = is_for_all_registrants(parameters_.type);
    if (for_all && is_for_all_registrants(status_.type)) return true;
    if (status_.type != parameters_.type) return false;
    return for_all || (holder() != nullptr && is_ours(*holder()));
  }
  std::string describe() const {
    const auto* who = holder();
    if (!reserved() || who == nullptr) return "nobody holds a reservation";
    return fmt::format("the reservation is of type {} and held with key {:#x}", static_cast<unsigned>(type()),
                       who->key);
  }

  Task<Result<nvme::Status>> enter() {
    return child_.register_key(
        {.action = nvme::RegisterAction::kReplace,
         .ignore_existing_key = true,
         .change_ptpl =
             child_.namespace_info().persistent_reservations ? nvme::ChangePtpl::kSet : nvme::ChangePtpl::kClear},
        {.crkey = 0, .nrkey = parameters_.key});
  }
  Task<Result<nvme::Status>> leave() {
    return child_.register_key({.action = nvme::RegisterAction::kUnregister}, {.crkey = parameters_.key, .nrkey = 0});
  }
  Task<Result<nvme::Status>> acquire() {
    return child_.acquire_reservation({.action = nvme::AcquireAction::kAcquire, .type = parameters_.type},
                                      {.crkey = parameters_.key, .prkey = 0});
  }
  Task<Result<nvme::Status>> preempt(uint64_t key) {
    return child_.acquire_reservation({.action = nvme::AcquireAction::kPreempt, .type = parameters_.type},
                                      {.crkey = parameters_.key, .prkey = key});
  }
  Task<Result<nvme::Status>> release() {
    return child_.release_reservation({.action = nvme::ReleaseAction::kRelease, .type = status_.type}, parameters_.key);
  }

 private:
  NvmeDevice& child_;
  const ReservationParameters& parameters_;
  ReservationStatus status_;
};

// A conflict is no error: what follows from it is in the next report.
Result<> check(const Result<nvme::Status>& done, std::string_view what) {
  if (!done) return fail(done.error());
  if (done->is_success() || done->is(GenericStatus::kReservationConflict)) return {};
  const bool by_the_way = done->type() == nvme::StatusCodeType::kPath;
  return fail(by_the_way ? Code::kUnavailable : Code::kInternal, fmt::format("{}: {}", what, done->to_string()));
}

}  // namespace

Task<Result<>> reserve(NvmeDevice& child, const ReservationParameters& parameters) {
  Claim claim(child, parameters);
  Result<> done = check(co_await claim.enter(), "Reservation Register");
  // The one who is replaced may be a registrant without the reservation.
  if (done && parameters.preempt_key != 0) {
    done = check(co_await claim.preempt(parameters.preempt_key), "Reservation Acquire (preempt)");
  }
  for (unsigned round = 0; done && round < kMaxRounds; ++round) {
    if (done = co_await claim.read(); !done) break;
    if (claim.satisfied()) co_return Result<>{};
    if (!claim.registered()) {
      done = check(co_await claim.enter(), "Reservation Register");
    } else if (!claim.reserved()) {
      done = check(co_await claim.acquire(), "Reservation Acquire");
    } else if (!parameters.preempt_holder) {
      break;
    } else if (is_for_all_registrants(claim.type())) {
      done = check(co_await claim.release(), "Reservation Release");
    } else if (const auto* holder = claim.holder(); holder != nullptr) {
      done = check(co_await claim.preempt(holder->key), "Reservation Acquire (preempt)");
    }
  }
  if (!done) co_return done;
  co_return fail(Code::kFailedPrecondition, claim.describe());
}

Task<Result<ReservationState>> renew(NvmeDevice& child, const ReservationParameters& parameters) {
  Claim claim(child, parameters);
  if (auto done = co_await claim.read(); !done) co_return fail(std::move(done.error()));
  if (claim.satisfied()) co_return ReservationState::kOurs;
  auto is_stranger = [&](const auto& registrant) {
    const bool replaced = parameters.preempt_key != 0 && registrant.key == parameters.preempt_key;
    return !claim.is_ours(registrant) && !replaced;
  };
  if (std::ranges::any_of(claim.registrants(), is_stranger)) co_return ReservationState::kOthers;
  ReservationParameters gentle = parameters;
  gentle.preempt_holder = false;
  if (auto done = co_await reserve(child, gentle); !done) {
    if (done.error().code() == Code::kFailedPrecondition) co_return ReservationState::kOthers;
    co_return fail(std::move(done.error()));
  }
  // Somebody may have come between: then it is theirs.
  if (auto done = co_await claim.read(); !done) co_return fail(std::move(done.error()));
  if (!std::ranges::any_of(claim.registrants(), is_stranger)) co_return ReservationState::kOurs;
  if (auto done = check(co_await claim.leave(), "Reservation Register (unregister)"); !done) {
    co_return fail(std::move(done.error()));
  }
  co_return ReservationState::kOthers;
}

}  // namespace cairn::nexus
