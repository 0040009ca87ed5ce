// For tests: a real etcd of one member on loopback, in a folder of its own.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "base/check.h"

namespace cairn::etcd {

inline sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

// A port of loopback that nobody has, and none of our tests is given while this process lives, also when nobody listens
// for a while. As tests/harness/free_ports.py: not one of those that the kernel gives to whoever connects.
inline uint16_t free_port() {
  constexpr int kFirst = 10000;
  int end = 0;
  CAIRN_CHECK(std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> end && end > kFirst);
  std::random_device random;
  while (true) {
    const auto port = static_cast<uint16_t>(std::uniform_int_distribution(kFirst, end - 1)(random));
    sockaddr_un name{.sun_family = AF_UNIX, .sun_path = {}};
    const std::string text = fmt::format("cairn-test-port-{}", port);
    text.copy(name.sun_path + 1, sizeof name.sun_path - 1);
    const auto name_size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
    const int reservation = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);  // until the process ends
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(port);
    const bool is_free = bind(reservation, reinterpret_cast<const sockaddr*>(&name), name_size) == 0 &&
                         bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    close(server);
    if (is_free) return port;
    close(reservation);
  }
}

class TestEtcd {
 public:
  // Not started.
  TestEtcd() : client_port_(free_port()), peer_port_(free_port()) {
    std::string pattern = std::filesystem::temp_directory_path() / "cairn-etcd-XXXXXX";
    CAIRN_CHECK(mkdtemp(pattern.data()) != nullptr);
    folder_ = pattern;
  }
  ~TestEtcd() {
    end(SIGKILL);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  TestEtcd(const TestEtcd&) = delete;
  TestEtcd& operator=(const TestEtcd&) = delete;

  std::string endpoint() const { return fmt::format("127.0.0.1:{}", client_port_); }

  // On the main thread. Returns when it serves.
  void start() {
    launch();
    while (running() && !serves()) usleep(5000);
    if (!running()) {
      ADD_FAILURE() << "etcd (Debian package etcd-server) does not run";
      CAIRN_CHECK(!"no etcd");
    }
  }
  // Stands still, with its connections open; and goes on. Until all its threads have stopped it may still answer.
  void pause() {
    kill(process_, SIGSTOP);
    siginfo_t info;
    CAIRN_CHECK(waitid(P_PID, static_cast<id_t>(process_), &info, WSTOPPED | WEXITED | WNOWAIT) == 0);
    CAIRN_CHECK(info.si_code == CLD_STOPPED);
  }
  void resume() { kill(process_, SIGCONT); }
  void end(int signal) {
    if (process_ < 0) return;
    kill(process_, signal);
    kill(process_, SIGCONT);
    int status = 0;
    waitpid(process_, &status, 0);
    process_ = -1;
  }
  bool running() {
    int status = 0;
    if (process_ >= 0 && waitpid(process_, &status, WNOHANG) == process_) process_ = -1;
    return process_ >= 0;
  }

 private:
  void launch() {
    CAIRN_CHECK(process_ < 0);
    const std::string client = "http://" + endpoint();
    const std::string peer = fmt::format("http://127.0.0.1:{}", peer_port_);
    const std::string data = folder_ + "/data", log = folder_ + "/log", cluster = "default=" + peer;
    const char* const arguments[] = {"etcd",          "--data-dir",
                                     data.c_str(),    "--listen-client-urls",
                                     client.c_str(),  "--advertise-client-urls",
                                     client.c_str(),  "--listen-peer-urls",
                                     peer.c_str(),    "--initial-advertise-peer-urls",
                                     peer.c_str(),    "--initial-cluster",
                                     cluster.c_str(), nullptr};
    process_ = fork();
    CAIRN_CHECK(process_ >= 0);
    if (process_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      dup2(output, STDOUT_FILENO);
      dup2(output, STDERR_FILENO);
      execvp(arguments[0], const_cast<char* const*>(arguments));
      _exit(127);
    }
  }
  bool serves() const {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(client_port_);
    std::string answer;
    if (connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      constexpr std::string_view kAsk = "GET /health HTTP/1.0\r\n\r\n";
      static_cast<void>(send(socket, kAsk.data(), kAsk.size(), MSG_NOSIGNAL));
      char some[512];
      for (ssize_t got; (got = recv(socket, some, sizeof some, 0)) > 0;) answer.append(some, static_cast<size_t>(got));
    }
    close(socket);
    return answer.find("\"health\":\"true\"") != std::string::npos;
  }

  const uint16_t client_port_;
  const uint16_t peer_port_;
  std::string folder_;
  pid_t process_ = -1;
};

}  // namespace cairn::etcd
