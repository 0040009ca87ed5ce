// Scrubs of a nexus: one at a time; the report of the last one stays.
#include <fmt/format.h>

#include "nexus/nexus.h"
#include "nexus/nexus_error.h"

namespace cairn::nexus {

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

Result<> Nexus::pause_scrub() {
  if (scrub_ == nullptr) return fail(Code::kNotFound, fmt::format("nexus {} has no scrub", name()));
  return scrub_->pause();
}

Result<> Nexus::resume_scrub() {
  if (scrub_ == nullptr) return fail(Code::kNotFound, fmt::format("nexus {} has no scrub", name()));
  return scrub_->resume();
}

Result<> Nexus::stop_scrub() {
  if (scrub_ == nullptr || scrub_->ended()) return {};
  return scrub_->stop();
}

std::optional<ScrubReport> Nexus::scrub_report() const {
  if (scrub_ == nullptr) return std::nullopt;
  return scrub_->report();
}

}  // namespace cairn::nexus
