// cairn.v1.ScrubRpc: ours, beside the original's services.
#include <scrub.grpc.pb.h>

#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/nexus_messages.h"
#include "engine/services.h"

namespace cairn::engine {

namespace {

namespace api = cairn::v1;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using runtime::Task;

api::ScrubRepair repair_of(nexus::ScrubRepair repair) {
  switch (repair) {
    case nexus::ScrubRepair::kMajority:
      return api::SCRUB_MAJORITY;
    case nexus::ScrubRepair::kSource:
      return api::SCRUB_SOURCE;
    case nexus::ScrubRepair::kNone:
      break;
  }
  return api::SCRUB_REPORT;
}

Result<nexus::ScrubRequest> request_of(const api::StartScrubRequest& request) {
  nexus::ScrubRequest wanted{.repair = nexus::ScrubRepair::kNone,
                             .source_uri = request.source_uri(),
                             .max_bytes_per_second = request.max_bytes_per_second()};
  switch (request.repair()) {
    case api::SCRUB_REPORT:
      break;
    case api::SCRUB_MAJORITY:
      wanted.repair = nexus::ScrubRepair::kMajority;
      break;
    case api::SCRUB_SOURCE:
      wanted.repair = nexus::ScrubRepair::kSource;
      break;
    default:
      return fail(Code::kInvalidArgument,
                  "repair: expected 0 (report), 1 (by majority) or 2 (from the child source_uri)");
  }
  if (wanted.repair != nexus::ScrubRepair::kSource && !wanted.source_uri.empty()) {
    return fail(Code::kInvalidArgument, "source_uri is only for repair 2 (from that child)");
  }
  return wanted;
}

Result<> fill(const nexus::Nexus& nexus, api::Scrub& out) {
  const auto report = nexus.scrub_report();
  if (!report) return fail(Code::kNotFound, "Nexus " + nexus.name() + " has had no scrub");
  out.set_nexus_uuid(nexus.nexus_uuid().to_string());
  out.set_state(std::string(nexus::to_text(report->state)));
  out.set_repair(repair_of(report->request.repair));
  out.set_source_uri(report->request.source_uri);
  out.set_blocks_total(report->blocks_total);
  out.set_blocks_compared(report->blocks_compared);
  out.set_blocks_different(report->blocks_different);
  out.set_blocks_repaired(report->blocks_repaired);
  out.set_block_size(report->block_size);
  out.set_progress(report->progress);
  for (const nexus::ScrubDifference& difference : report->differences) {
    api::ScrubDifference& one = *out.add_differences();
    one.set_lba(difference.lba);
    one.set_num_blocks(difference.num_blocks);
    for (const std::string& uri : difference.deviating) one.add_deviating(uri);
    for (const std::string& uri : difference.unreadable) one.add_unreadable(uri);
    one.set_repaired(difference.repaired);
  }
  out.set_failure(report->failure);
  *out.mutable_start_time() = time_of_day(report->start_time);
  if (report->end_time) *out.mutable_end_time() = time_of_day(*report->end_time);
  return {};
}

class ScrubService final : public api::ScrubRpc::CallbackService {
 public:
  explicit ScrubService(Engine& engine) : engine_(engine) {}

  ServerUnaryReactor* StartScrub(CallbackServerContext* context, const api::StartScrubRequest* request,
                                 api::Scrub* response) override {
    return call(context, "scrub start", request->nexus_uuid(), response,
                [request](nexus::Nexus& nexus) -> Task<Result<>> {
                  auto wanted = request_of(*request);
                  if (!wanted) co_return fail(std::move(wanted.error()));
                  co_return nexus.start_scrub(std::move(*wanted));
                });
  }
  ServerUnaryReactor* PauseScrub(CallbackServerContext* context, const api::ScrubRequest* request,
                                 api::Scrub* response) override {
    return call(context, "scrub pause", request->nexus_uuid(), response,
                [](nexus::Nexus& nexus) -> Task<Result<>> { co_return nexus.pause_scrub(); });
  }
  ServerUnaryReactor* ResumeScrub(CallbackServerContext* context, const api::ScrubRequest* request,
                                  api::Scrub* response) override {
    return call(context, "scrub resume", request->nexus_uuid(), response,
                [](nexus::Nexus& nexus) -> Task<Result<>> { co_return nexus.resume_scrub(); });
  }
  ServerUnaryReactor* StopScrub(CallbackServerContext* context, const api::ScrubRequest* request,
                                api::Scrub* response) override {
    return call(context, "scrub stop", request->nexus_uuid(), response,
                [](nexus::Nexus& nexus) { return nexus.stop_scrub(); });
  }
  ServerUnaryReactor* GetScrub(CallbackServerContext* context, const api::ScrubRequest* request,
                               api::Scrub* response) override {
    return call(context, "scrub state", request->nexus_uuid(), response,
                [](nexus::Nexus&) -> Task<Result<>> { co_return Result<>{}; });
  }

 private:
  // Answers with the scrub as it is then.
  template <typename Change>
  ServerUnaryReactor* call(CallbackServerContext* context, const char* name, const std::string& uuid,
                           api::Scrub* response, Change change) {
    return UnaryCall::start(context, engine_.primary(), name, [this, &uuid, response, change]() -> Task<Result<>> {
      auto nexus = find_nexus(engine_, uuid);
      if (!nexus) co_return fail(std::move(nexus.error()));
      if (auto changed = co_await change(**nexus); !changed) co_return changed;
      co_return fill(**nexus, *response);
    });
  }

  Engine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_scrub_service(Engine& engine) {
  return std::make_unique<ScrubService>(engine);
}

}  // namespace cairn::engine
