// Scrubs of a nexus: one at a time; the report of the last one stays.
#include <fmt/format.h>

#include "nexus/nexus.h"
#include "nexus/nexus_error.h"
#include "runtime/task_waits.h"

namespace cairn::nexus {

using runtime::Task;

Result<> Nexus::start_scrub(ScrubRequest request) {
  if (auto allowed = check_operation(); !allowed) return allowed;
  if (state_ != NexusState::kOpen) return fail(nexus_error::operation_not_allowed("Nexus is not opened"));
  if (scrub_ != nullptr && !scrub_->ended()) {
    return fail(Code::kAlreadyExists, fmt::format("a scrub of nexus {} is under way", name()));
  }
  if (unequal_ != nullptr) {
    return fail(nexus_error::operation_not_allowed("its children are being resynchronised"));
  }
  if (num_healthy() < 2) {
    return fail(nexus_error::operation_not_allowed("there are no two healthy children to compare"));
  }
  if (request.repair == ScrubRepair::kSource) {
    const ChildPtr source = find_child(request.source_uri);
    if (source == nullptr) return fail(nexus_error::child_not_found(name(), request.source_uri));
    if (!source->healthy()) {
      return fail(nexus_error::operation_not_allowed(fmt::format("child {} is not healthy", source->uri)));
    }
  }
  scrub_ =
      std::make_shared<ScrubJob>(static_cast<Resync::Owner&>(*this), ports_, std::move(request), num_blocks(),
                                 data_start_, block_size(), [this] { --num_background_, background_ended_.pulse(); });
  ++num_background_;
  scrub_->start();
  look_for_unreachable();
  return {};
}

Result<> Nexus::check_scrub_goes_on() const {
  if (scrub_ == nullptr) return fail(Code::kNotFound, fmt::format("nexus {} has no scrub", name()));
  if (!scrub_->is_over()) return {};
  return fail(Code::kFailedPrecondition,
              fmt::format("the scrub of nexus {} is {}", name(), to_text(scrub_->report().state)));
}

Result<> Nexus::pause_scrub() {
  if (auto goes_on = check_scrub_goes_on(); !goes_on) return goes_on;
  scrub_->pause();
  return {};
}

Result<> Nexus::resume_scrub() {
  if (auto goes_on = check_scrub_goes_on(); !goes_on) return goes_on;
  scrub_->resume();
  return {};
}

Task<Result<>> Nexus::stop_scrub() {
  const std::shared_ptr<ScrubJob> scrub = scrub_;
  if (scrub == nullptr) co_return Result<>{};
  scrub->stop();
  // As long as others wait for copies to end. What hangs in a local disk does so for good.
  const runtime::Deadline deadline(co_await runtime::current_context(), end_patience());
  if (auto ended = co_await scrub->wait_ended(); !ended) {
    co_return fail(Error(ended.error().code(),
                         fmt::format("the scrub of nexus {} ends with what it waits for, which takes long: an I/O "
                                     "of a child, or of a host",
                                     name()),
                         std::move(ended.error())));
  }
  co_return Result<>{};
}

std::optional<ScrubReport> Nexus::scrub_report() const {
  if (scrub_ == nullptr) return std::nullopt;
  return scrub_->report();
}

}  // namespace cairn::nexus
