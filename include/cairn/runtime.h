// The data plane of Cairn inside the caller's process: reactors (a thread each, with its own I/O), and nexuses on them.
#pragma once

#include <cairn/buffer.h>
#include <cairn/error.h>
#include <cairn/nexus.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace cairn::embed {

enum class LogLevel : uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff };

struct RuntimeOptions {
  // A reactor each, pinned to the core. Empty: one that runs where the kernel puts it.
  std::vector<unsigned> cores = {};
  // How long a reactor polls for work before it sleeps. 0: not at all.
  std::chrono::microseconds spin_budget{50};
  // To standard error. One for the whole process.
  LogLevel log_level = LogLevel::kWarn;
  // As whom nvmf:// children know this process. Empty: as all such hosts without a name.
  std::string host_nqn = {};
};

// Any thread; functions that are called at the same time take turns. Not from completions. A process may have several
// runtimes; they share nothing but the log level. Installs no signal handler, and does nothing in a child after fork().
class [[gnu::visibility("default")]] Runtime {
 public:
  // INVALID_ARGUMENT: a core that this process may not run on, or twice the same.
  static Result<Runtime> start(const RuntimeOptions& options = {});

  Runtime(Runtime&&) noexcept;
  Runtime& operator=(Runtime&&) noexcept;
  ~Runtime();  // stop()

  // Makes the children and opens them; all must be there. What had gone on when the volume was last used comes to its
  // end in the background, and I/O waits where it has to: a child that has missed something is rebuilt, a crash is made
  // good. info() tells.
  //   INVALID_ARGUMENT     a field of the options; a URI, its scheme, its parameters, no uuid= where one is needed; a
  //                        child that is not there, cannot be reached or opened, or is in use: a file or disk also by
  //                        another runtime or process that opened it like this; children too small or with unlike block
  //                        sizes
  //   ALREADY_EXISTS       the name is taken
  //   INTERNAL             a child of the scheme bdev is in use; one cannot be read; the UUID is taken
  //   FAILED_PRECONDITION  the runtime has been stopped
  Result<Nexus> create_nexus(const NexusOptions& options);

  // Closes all nexuses, whoever has them, then ends the threads. Again: nothing to do.
  void stop();

 private:
  explicit Runtime(std::shared_ptr<RuntimeState> state);
  std::shared_ptr<RuntimeState> state_;
};

}  // namespace cairn::embed
