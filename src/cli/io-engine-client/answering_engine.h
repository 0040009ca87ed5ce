// A gRPC server with the services that the client calls: fixed answers, and the requests kept for the test to look at.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace google::protobuf {
class Message;
}

namespace cairn::cli {

class AnsweringEngine {
 public:
  AnsweringEngine();  // listens on an ephemeral port of the loopback address
  ~AnsweringEngine();

  std::string address() const;  // "127.0.0.1:<port>"

  // The next call of this method ("BdevRpc/List") gets this answer; several are given in turn. WipeReplica sends all of
  // them. A call without an answer gets INTERNAL.
  void answer(const std::string& method, const google::protobuf::Message& response);
  // The next call of this method gets this status; a stream ends with it after its answers.
  void refuse(const std::string& method, int grpc_status, const std::string& message);

  // "<method> <request as text>" of every call so far, and forgets them.
  std::vector<std::string> take_requests();

 private:
  struct Server;
  std::unique_ptr<Server> server_;
};

}  // namespace cairn::cli
