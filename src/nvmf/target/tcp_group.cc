#include "nvmf/target/tcp_group.h"

#include "base/abandonment.h"
#include "nvmf/target/tcp_connection.h"
#include "runtime/backend.h"

namespace cairn::nvmf::target {

TcpGroup::~TcpGroup() {
  CAIRN_CHECK(num_running_ == 0 || abandoning());
}

void TcpGroup::serve(std::unique_ptr<runtime::AcceptedStream> accepted) {
  if (stopping_) return;
  ++num_running_;
  reactor_.spawn("nvmf tcp connection", run(std::move(accepted)));
}

runtime::Task<> TcpGroup::run(std::unique_ptr<runtime::AcceptedStream> accepted) {
  {
    TcpConnection connection(target_, reactor_.backend().adopt(std::move(accepted)));
    connections_.push_back(connection);
    if (stopping_) connection.disconnect();
    co_await connection.run();
    connection.unlink();
  }
  --num_running_;
  ended_.pulse();
}

runtime::Task<> TcpGroup::stop() {
  stopping_ = true;
  for (TcpConnection* connection = connections_.first(); connection != nullptr;
       connection = connections_.next(*connection)) {
    connection->disconnect();
  }
  while (num_running_ > 0) co_await ended_.wait_uninterrupted();
}

}  // namespace cairn::nvmf::target
