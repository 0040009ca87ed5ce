#include "runtime/sim/network.h"

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "runtime/sim/connection.h"
#include "runtime/sim/node.h"
#include "runtime/sim/sim_backend.h"
#include "runtime/sim/sim_stream.h"
#include "runtime/sim/world.h"

namespace cairn::runtime::sim {

namespace {

constexpr TraceEvent kCut("net.cut");
constexpr TraceEvent kHeal("net.heal");
constexpr TraceEvent kListen("net.listen");
constexpr TraceEvent kConnect("net.connect");
constexpr TraceEvent kRefused("net.refused");
constexpr TraceEvent kUnreached("net.unreached", "retry_ns");

bool is_wildcard(const SocketAddress& address) {
  return address.host == "0.0.0.0" || address.host == "::";
}
bool is_loopback(const SocketAddress& address) {
  return address.host == "127.0.0.1" || address.host == "::1";
}

}  // namespace

Network::Network(World& world, const NetworkOptions& options, uint64_t seed)
    : world_(world), options_(options), random_(seed) {}

Network::~Network() = default;

// --- links

Network::Link& Network::link(const Node& from, const Node& to) {
  return links_[{from.index(), to.index()}];
}

void Network::change_link(const Node& from, const Node& to, bool cut) {
  Link& changed = link(from, to);
  if (changed.cut == cut) return;
  changed.cut = cut;
  world_.trace().record(world_.now(), from.index(), from.name(), cut ? kCut : kHeal, to.name());
}

void Network::cut(const Node& from, const Node& to) {
  change_link(from, to, true);
}
void Network::heal(const Node& from, const Node& to) {
  change_link(from, to, false);
}

void Network::cut_both(const Node& a, const Node& b) {
  cut(a, b);
  cut(b, a);
}

void Network::heal_both(const Node& a, const Node& b) {
  heal(a, b);
  heal(b, a);
}

void Network::isolate(const Node& node) {
  for (size_t i = 0; i < world_.num_nodes(); ++i) {
    if (&world_.node(i) != &node) cut_both(node, world_.node(i));
  }
}

void Network::partition(std::span<const Node* const> group) {
  const auto inside = [&](const Node& node) { return std::find(group.begin(), group.end(), &node) != group.end(); };
  for (size_t a = 0; a < world_.num_nodes(); ++a) {
    for (size_t b = 0; b < world_.num_nodes(); ++b) {
      if (a != b) change_link(world_.node(a), world_.node(b), inside(world_.node(a)) != inside(world_.node(b)));
    }
  }
}

void Network::heal_all() {
  for (auto& [nodes, link] : links_) {
    heal(world_.node(static_cast<size_t>(nodes.first)), world_.node(static_cast<size_t>(nodes.second)));
    link = Link{};
  }
}

void Network::set_loss(const Node& from, const Node& to, uint32_t one_in) {
  link(from, to).loss_one_in = one_in;
}
void Network::set_slowness(const Node& from, const Node& to, uint32_t factor) {
  link(from, to).slowness = factor;
}

bool Network::passes(const Node& from, const Node& to) {
  if (!from.powered() || !to.powered()) return false;
  if (&from == &to || links_.empty()) return true;
  const auto found = links_.find({from.index(), to.index()});
  if (found == links_.end()) return true;
  const Link& link = found->second;
  return !link.cut && (link.loss_one_in == 0 || !random_.one_in(link.loss_one_in));
}

Duration Network::delay(const Node& from, const Node& to) {
  if (&from == &to) return options_.local_delay.draw(random_);
  const Duration delay = options_.delay.draw(random_);
  const auto found = links_.find({from.index(), to.index()});
  return found == links_.end() ? delay : delay * found->second.slowness;
}

void Network::reset_connections(const Node& a, const Node& b) {
  for (const auto& [id, connection] : std::map(connections_)) {
    const Node& client = connection->node(0);
    const Node& server = connection->node(1);
    if ((&client != &a || &server != &b) && (&client != &b || &server != &a)) continue;
    connection->fail(0, ECONNRESET);
    connection->fail(1, ECONNRESET);
  }
  world_.consider_all();
}

// --- listeners

int Network::listen(SimListener& listener, Node& node, SocketAddress& address) {
  if (address.family != AddressFamily::kUnix) {
    if (!is_wildcard(address) && !is_loopback(address) && !node.owns_address(address.host)) return -EADDRNOTAVAIL;
    if (address.port == 0) {
      do {
        address.port = next_port_ = next_port_ == UINT16_MAX ? 32768 : next_port_ + 1;
      } while (listeners_.contains({node.index(), address.to_string()}));
    }
  }
  if (!listeners_.try_emplace({node.index(), address.to_string()}, &listener).second) return -EADDRINUSE;
  node.trace(kListen, address.to_string());
  return 0;
}

void Network::unlisten(SimListener& listener) {
  std::erase_if(listeners_, [&](const auto& entry) { return entry.second == &listener; });
}

SimListener* Network::find_listener(const Node& node, const SocketAddress& address) {
  const auto find = [&](const std::string& text) -> SimListener* {
    const auto found = listeners_.find({node.index(), text});
    return found == listeners_.end() ? nullptr : found->second;
  };
  if (SimListener* exact = find(address.to_string())) return exact;
  SocketAddress any = address;
  any.host = "::";
  any.family = AddressFamily::kIpv6;
  if (address.family == AddressFamily::kUnix) return nullptr;
  if (SimListener* wildcard = find(any.to_string())) return wildcard;
  if (address.family != AddressFamily::kIpv4) return nullptr;
  any.host = "0.0.0.0";
  any.family = AddressFamily::kIpv4;
  return find(any.to_string());
}

// --- connecting

Node* Network::owner(const Node& from, const SocketAddress& address) {
  if (address.family == AddressFamily::kUnix || is_loopback(address)) {
    return &world_.node(static_cast<size_t>(from.index()));
  }
  for (size_t i = 0; i < world_.num_nodes(); ++i) {
    if (world_.node(i).owns_address(address.host)) return &world_.node(i);
  }
  return nullptr;
}

void Network::connect(const std::shared_ptr<ConnectAttempt>& attempt) {
  Node& from = attempt->backend().node();
  Node* to = owner(from, attempt->to());
  attempt->retry_after = options_.connect_retry;
  world_.after(delay(from, to == nullptr ? from : *to), [this, attempt] { arrive(attempt); });
}

void Network::retry(const std::shared_ptr<ConnectAttempt>& attempt, Node& from) {
  if (attempt->waited >= options_.connect_limit) return attempt->finish(ETIMEDOUT, nullptr);
  from.trace(kUnreached, attempt->to().to_string(), static_cast<uint64_t>(attempt->retry_after.count()));
  attempt->waited += attempt->retry_after;
  world_.after(attempt->retry_after, [this, attempt] { arrive(attempt); });
  attempt->retry_after *= 2;
}

// A connection request reaches the machine it was meant for, or does not.
void Network::arrive(const std::shared_ptr<ConnectAttempt>& attempt) {
  if (!attempt->wanted()) return;
  Node& from = attempt->backend().node();
  Node* to = owner(from, attempt->to());
  if (to == nullptr || !passes(from, *to) || !passes(*to, from)) return retry(attempt, from);
  SimListener* listener = find_listener(*to, attempt->to());
  const bool local = attempt->to().family == AddressFamily::kUnix;
  if (listener == nullptr) {
    ++counters_.refused;
    from.trace(kRefused, attempt->to().to_string());
    world_.after(delay(*to, from), [attempt, local] { attempt->finish(local ? ENOENT : ECONNREFUSED, nullptr); });
    return;
  }
  if (listener->backlog() >= options_.accept_backlog) return retry(attempt, from);
  SocketAddress client{AddressFamily::kUnix, "", 0};
  if (!local) {
    next_port_ = next_port_ == UINT16_MAX ? 32768 : next_port_ + 1;
    client = {attempt->to().family, is_loopback(attempt->to()) ? attempt->to().host : from.addresses().front(),
              next_port_};
  }
  ++counters_.connections;
  const uint64_t id = next_connection_++;
  auto connection = std::make_shared<Connection>(*this, id, from, *to, std::move(client), attempt->to());
  connections_.emplace(id, connection);
  from.trace(kConnect, connection->label());
  listener->arrive(connection);
  world_.after(delay(*to, from), [attempt, connection] { attempt->finish(0, connection); });
}

void Network::forget(uint64_t connection) {
  connections_.erase(connection);
}

void Network::crash(Node& node, CrashKind kind) {
  std::erase_if(listeners_, [&](const auto& entry) { return entry.first.first == node.index(); });
  // A copy: ends that go may take their connection with them.
  for (const auto& [id, connection] : std::map(connections_)) {
    for (const int side : {0, 1}) {
      if (&connection->node(side) != &node) continue;
      if (kind == CrashKind::kPowerLoss) {
        connection->vanish(side);
      } else {
        connection->close(side);
      }
    }
  }
}

}  // namespace cairn::runtime::sim
