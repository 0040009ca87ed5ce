#include "nexus/snapshot_rebuild.h"

#include <fmt/format.h>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "nexus/geometry.h"
#include "nexus/nexus_port.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using runtime::Task;

namespace {

constexpr std::string_view kClaim = "snapshot rebuild";

}  // namespace

// Keeps both devices, and its claim of the destination, until the copying has ended, which it does when one of them is
// removed.
class SnapshotRebuilds::Job final : public std::enable_shared_from_this<Job>, private RebuildJob::Owner {
 public:
  // The destination is claimed and the source open for it.
  Job(SnapshotRebuilds& rebuilds, SnapshotRebuildRequest request, std::shared_ptr<block::Device> source)
      : rebuilds_(rebuilds),
        request_(std::move(request)),
        source_(std::move(source)),
        source_watch_(*this),
        destination_watch_(*this) {}

  void start(const RebuildOptions& options) {
    auto map =
        std::make_shared<DirtyMap>(source_->num_blocks(), static_cast<uint32_t>(kSegmentBytes / source_->block_size()));
    map->set_all();
    source_->add_listener(source_watch_);
    request_.destination->add_listener(destination_watch_);
    copying_ = std::make_unique<RebuildJob>(static_cast<RebuildJob::Owner&>(*this), request_.uuid.to_string(),
                                            request_.destination, std::move(map), source_->num_blocks(), 0, options);
    copying_->start();
  }
  // Returns when the devices have been let go.
  Task<> stop() {
    if (copying_ != nullptr) static_cast<void>(copying_->stop());  // it may be over already
    static_cast<void>(co_await ended_.wait_uninterrupted());
  }
  SnapshotRebuildInfo info() const {
    const RebuildRecord record = copying_ != nullptr ? copying_->record() : record_;
    return {.uuid = request_.uuid,
            .replica_uuid = request_.replica_uuid,
            .snapshot_uuid = request_.snapshot_uuid,
            .replica_uri = request_.replica_uri,
            .snapshot_uri = request_.snapshot_uri,
            .state = record.state,
            .statistics = record.statistics};
  }

 private:
  struct Watch final : block::DeviceListener {
    explicit Watch(Job& its_job) : job(its_job) {}
    ~Watch() { unlink(); }
    void on_removed(block::Device&) override {
      unlink();
      if (job.copying_ != nullptr) job.copying_->abandon();
    }
    Job& job;
  };

  std::span<const std::unique_ptr<NexusPort>> rebuild_ports() override { return {}; }
  std::vector<RebuildJob::Source> rebuild_sources() override { return {{request_.snapshot_uri, source_}}; }
  void on_source_failed(const std::string&) override {}
  void on_conflict(const std::string&) override {
    if (copying_ != nullptr) copying_->abandon();
  }
  Task<bool> promote(RebuildJob& job) override {
    if (co_await job.flush()) co_return true;
    job.abandon();
    co_return false;
  }
  CopyWatch* copy_watch() override { return nullptr; }
  void on_rebuild_ended(RebuildJob& job) override {
    record_ = job.record();
    request_.destination->release_claim();
    log::info("snapshot rebuild of {} from {}: {}", request_.uuid.to_string(), request_.snapshot_uri,
              to_text(record_.state));
    // The task of the copying has not ended yet.
    runtime::Reactor::current().spawn("end snapshot rebuild", end(shared_from_this()));
  }
  static Task<> end(std::shared_ptr<Job> job) {
    job->copying_.reset();
    job->source_watch_.unlink();
    job->destination_watch_.unlink();
    job->request_.destination.reset();
    job->source_.reset();
    co_await job->rebuilds_.close_source(job->request_.snapshot_uri);
    job->ended_.set();
  }

  SnapshotRebuilds& rebuilds_;
  SnapshotRebuildRequest request_;
  std::shared_ptr<block::Device> source_;
  Watch source_watch_;
  Watch destination_watch_;
  std::unique_ptr<RebuildJob> copying_;  // until it has ended
  RebuildRecord record_;                 // from then on
  runtime::Event ended_;
};

SnapshotRebuilds::SnapshotRebuilds(block::Registry& devices, const RebuildOptions& options)
    : devices_(devices), options_(options) {}

SnapshotRebuilds::~SnapshotRebuilds() {
  CAIRN_CHECK(jobs_.empty() || abandoning());
}

Task<Result<std::shared_ptr<block::Device>>> SnapshotRebuilds::open_source(std::string uri) {
  auto& entry = sources_[uri];
  if (entry == nullptr) entry = std::make_shared<Source>();
  const std::shared_ptr<Source> source = entry;
  ++source->num_users;
  std::optional<Error> problem;
  const uint64_t failures = source->num_failures;
  {
    const auto turn = co_await source->changing.lock();
    if (!turn) {
      problem = turn.error();
    } else if (source->num_failures != failures) {
      problem = source->failure;  // the attempt that was waited for was as good as another one
    } else if (source->device == nullptr) {
      auto opened = co_await devices_.create(uri);
      source->made = opened.has_value();
      if (source->made) {
        source->device = std::move(*opened);
      } else if (const auto name = devices_.device_name(uri)) {
        source->device = devices_.find(*name);  // somebody else's
      }
      if (source->device == nullptr) {
        problem = source->failure = std::move(opened.error());
        ++source->num_failures;
      }
    } else if (source->device->removed()) {
      problem = Error(Code::kUnavailable, "it is being removed");
    }
    if (!problem) co_return source->device;
    if (--source->num_users == 0 && turn) sources_.erase(uri);
  }
  co_return fail(Error(Code::kNotFound, fmt::format("the snapshot {} cannot be opened", uri), std::move(*problem)));
}

Task<> SnapshotRebuilds::close_source(std::string uri) {
  const std::shared_ptr<Source> source = sources_.at(uri);
  const auto turn = co_await source->changing.lock();
  if (--source->num_users > 0) co_return;
  const bool made = source->made && source->device != nullptr;
  // A namespace that is gone announces its removal itself, and nobody else takes it from the registry.
  const bool was_removed = made && source->device->removed();
  source->device.reset();
  if (made) {
    if (auto gone = co_await devices_.destroy(uri); !gone && !was_removed) {
      log::warn("snapshot rebuild: {}", gone.error().to_string());
    }
  }
  if (source->num_users == 0) sources_.erase(uri);
}

Task<Result<SnapshotRebuildInfo>> SnapshotRebuilds::create(SnapshotRebuildRequest request) {
  if (auto existing = find(request.uuid)) co_return std::move(*existing);
  auto opened = co_await open_source(request.snapshot_uri);
  if (!opened) co_return fail(std::move(opened.error()));
  std::shared_ptr<block::Device> source = std::move(*opened);
  std::optional<Error> problem;
  if (source == request.destination) {
    problem = Error(Code::kInvalidArgument, "the snapshot and the replica are the same device");
  } else if (source->block_size() != request.destination->block_size() || source->num_blocks() == 0 ||
             source->num_blocks() > request.destination->num_blocks()) {
    problem =
        Error(Code::kOutOfRange, fmt::format("a snapshot of {} blocks of {} bytes does not fit into a replica of "
                                             "{} blocks of {} bytes",
                                             source->num_blocks(), source->block_size(),
                                             request.destination->num_blocks(), request.destination->block_size()));
  }
  // Another call may have been faster.
  auto existing = find(request.uuid);
  if (!problem && !existing) {
    if (auto claimed = request.destination->claim(std::string(kClaim)); !claimed) {
      problem = Error(Code::kFailedPrecondition, fmt::format("replica {} is in use", request.destination->name()),
                      std::move(claimed.error()));
    }
  }
  if (problem || existing) {
    source.reset();
    co_await close_source(request.snapshot_uri);
    if (existing) co_return std::move(*existing);
    co_return fail(std::move(*problem));
  }
  const Uuid uuid = request.uuid;
  auto job = std::make_shared<Job>(*this, std::move(request), std::move(source));
  jobs_.emplace(uuid, job);
  job->start(options_);
  co_return job->info();
}

Task<Result<>> SnapshotRebuilds::destroy(Uuid uuid) {
  const auto found = jobs_.find(uuid);
  if (found == jobs_.end()) {
    co_return fail(Code::kNotFound, fmt::format("snapshot rebuild {} not found", uuid.to_string()));
  }
  const auto job = found->second;
  co_await job->stop();
  // It may have been destroyed, and made again, meanwhile.
  if (const auto again = jobs_.find(uuid); again != jobs_.end() && again->second == job) jobs_.erase(again);
  co_return Result<>{};
}

Task<> SnapshotRebuilds::stop() {
  while (!jobs_.empty()) static_cast<void>(co_await destroy(jobs_.begin()->first));
}

std::optional<SnapshotRebuildInfo> SnapshotRebuilds::find(const Uuid& uuid) const {
  const auto found = jobs_.find(uuid);
  if (found == jobs_.end()) return std::nullopt;
  return found->second->info();
}

std::vector<SnapshotRebuildInfo> SnapshotRebuilds::list() const {
  std::vector<SnapshotRebuildInfo> all;
  for (const auto& [uuid, job] : jobs_) all.push_back(job->info());
  return all;
}

}  // namespace cairn::nexus
