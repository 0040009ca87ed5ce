// Reads and writes keys of an etcd cluster (version 3).
//
// Every operation is bounded in time. Members are tried one after the other, beginning with the one that answered last;
// each gets its share of what is left of the time. A member that does not answer in its share gets a new connection.
// The calls run in threads of gRPC; the reactor only waits.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/duration.h"
#include "base/error.h"
#include "runtime/task.h"

namespace cairn::etcd {

struct ClientOptions {
  std::vector<std::string> endpoints;           // host:port of the members, at least one
  Duration timeout = std::chrono::seconds(10);  // of an operation, all members together
};

struct KeyValue {
  std::string value;
  int64_t revision = 0;  // changes with every write of the key
};

// What became of a write that was to happen only at a certain revision.
struct ConditionalPut {
  bool done = false;
  // The key's: after the write, or, when it was not done, at present. 0: there is no such key.
  int64_t revision = 0;
  std::string value;  // the present one when it was not done
};

// All on one reactor. Operations may overlap.
class Client {
 public:
  explicit Client(ClientOptions options);
  ~Client();  // no operation is under way
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // All operations: UNAVAILABLE, DEADLINE_EXCEEDED naming the member that was tried last; CANCELLED; etcd's own errors
  // with its text. After an error a write may have been done or may be done later, but never once another write of the
  // key has come before it.

  // NOT_FOUND
  runtime::Task<Result<KeyValue>> get(std::string key);
  // Writes when the key's revision is `expected` (0: there is no such key).
  runtime::Task<Result<ConditionalPut>> put_if(std::string key, std::string value, int64_t expected);

 private:
  struct Member;
  template <typename Request, typename Response, typename Start>
  runtime::Task<Result<>> call(const Request& request, Response& response, Start start);
  void connect(Member& member);

  const ClientOptions options_;
  std::vector<std::unique_ptr<Member>> members_;
  size_t preferred_ = 0;
};

}  // namespace cairn::etcd
