// A run of casperf: the devices behind its URIs and the jobs on them, spread over the reactors.
//
// Belongs to the primary reactor. open(), run() and close() follow each other; close() always.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "block/registry.h"
#include "cli/casperf/job.h"
#include "cli/casperf/options.h"
#include "runtime/reactor_group.h"

namespace cairn::cli {

class Load {
 public:
  struct Member {
    std::string name;  // the URI, and "#n" when it has several jobs
    runtime::Reactor* reactor = nullptr;
    block::Device* device = nullptr;
    std::unique_ptr<Job> job;
  };

  // `reactors`: the first is the primary one.
  Load(const LoadOptions& options, std::vector<runtime::Reactor*> reactors);

  // Adds what makes devices out of URIs.
  static void add_schemes(block::Registry& registry);
  // What each reactor's pool must hold for these options on so many reactors.
  static size_t buffer_pool_bytes(const LoadOptions& options, size_t num_reactors);

  runtime::Task<Result<>> open();
  runtime::Task<> run();
  // Ends the jobs early; their results are kept. An open() or a close() under way is cancelled.
  void stop();
  runtime::Task<> close();

  // After open(), never changed again: any thread.
  const std::vector<Member>& members() const { return members_; }
  bool stopped() const { return stopped_; }

 private:
  runtime::Task<Result<>> open_device(const std::string& uri, size_t index);
  Result<> add_jobs(block::Device& device, const std::string& uri, size_t index);
  // Runs `step` of every job on its reactor, all at the same time, and waits for them.
  runtime::Task<> on_all_jobs(std::function<runtime::Task<>(Job&)> step);

  const LoadOptions options_;
  const std::vector<runtime::Reactor*> reactors_;
  block::Registry registry_;
  std::vector<std::shared_ptr<block::Device>> devices_;
  std::vector<Member> members_;
  bool running_ = false;
  bool stopped_ = false;
};

}  // namespace cairn::cli
