#include "nvmf/target/subsystem.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>

#include "base/abandonment.h"
#include "base/log.h"
#include "base/seeded_bug.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/target.h"

namespace cairn::nvmf::target {

namespace {

constexpr std::string_view kClaim = "NVMe-oF Target";
constexpr uint32_t kNsid = 1;

// As the original makes it (nvmf-target.md, section 2).
std::string make_serial_number(std::span<const std::byte> identity) {
  constexpr size_t kDigits = 17;
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  const int ok = EVP_Digest(identity.data(), identity.size(), digest.data(), &size, EVP_sha256(), nullptr);
  CAIRN_CHECK(ok == 1);
  std::string digits;
  for (unsigned i = 0; i < size; ++i) digits += fmt::format("{:02X}", digest[i]);
  return "DCS" + digits.substr(0, kDigits);
}

std::string_view name_of(std::string_view nqn) {
  const size_t colon = nqn.find(':');
  return colon == std::string_view::npos ? nqn : nqn.substr(colon + 1);
}

runtime::Task<Result<std::unique_ptr<NamespaceView>>> open_view(uint32_t nsid, std::shared_ptr<block::Device> device,
                                                                NamespaceView::Decision decision) {
  auto channel = co_await device->open_channel();
  if (!channel) co_return fail(std::move(channel.error()));
  auto view = std::make_unique<NamespaceView>(nsid, std::move(*channel));
  co_await view->apply(std::move(decision));
  co_return view;
}

}  // namespace

Subsystem::Subsystem(Target& target, SubsystemOptions options)
    : target_(target),
      options_(std::move(options)),
      allowed_hosts_(options_.allowed_hosts.begin(), options_.allowed_hosts.end()),
      serial_number_(options_.serial_number),
      next_cntlid_(options_.min_cntlid) {
  if (serial_number_.empty()) serial_number_ = make_serial_number(std::as_bytes(std::span(name_of(options_.nqn))));
}

Subsystem::~Subsystem() {
  CAIRN_CHECK((controllers_.empty() && namespaces_.empty() && views_.empty() && num_uses_ == 0) || abandoning());
}

// ---- Hosts and controllers ----

bool Subsystem::allows(const std::string& host_nqn) const {
  return options_.allow_any_host || allowed_hosts_.contains(host_nqn);
}

void Subsystem::set_allowed_hosts(bool allow_any, std::vector<std::string> hosts) {
  options_.allow_any_host = allow_any;
  options_.allowed_hosts = std::move(hosts);
  allowed_hosts_ = {options_.allowed_hosts.begin(), options_.allowed_hosts.end()};
  for (const auto& [cntlid, controller] : controllers_) {
    if (!allows(controller->host_nqn()) && !seeded(SeededBug::kForgetToFence))
      controller->terminate("the host is no longer allowed");
  }
  target_.discovery_log_changed();
}

std::optional<uint16_t> Subsystem::allocate_cntlid() {
  const unsigned range = options_.max_cntlid - options_.min_cntlid + 1u;
  for (unsigned tried = 0; tried < range; ++tried) {
    const uint16_t candidate = next_cntlid_;
    next_cntlid_ = candidate == options_.max_cntlid ? options_.min_cntlid : static_cast<uint16_t>(candidate + 1);
    if (!controllers_.contains(candidate)) return candidate;
  }
  return std::nullopt;
}

// ---- Namespaces ----

Namespace* Subsystem::find_namespace(uint32_t nsid) {
  for (const auto& each : namespaces_) {
    if (each->nsid() == nsid && !each->removed()) return each.get();
  }
  return nullptr;
}

void Subsystem::announce_namespace(uint32_t nsid) {
  for (const auto& [cntlid, controller] : controllers_) controller->namespace_changed(nsid);
}

runtime::Task<Result<>> Subsystem::add_namespace(std::shared_ptr<block::Device> device) {
  const Use use(*this);
  if (auto claimed = device->claim(std::string(kClaim)); !claimed) co_return claimed;
  auto added = co_await open_namespace(std::make_shared<Namespace>(*this, kNsid, device));
  if (!added) device->release_claim();
  co_return added;
}

runtime::Task<Result<>> Subsystem::open_namespace(std::shared_ptr<Namespace> added) {
  if (added->store_) {
    auto stored = co_await added->store_->load();
    if (!stored) co_return fail(std::move(stored.error()));
    added->reservation_.restore(std::move(*stored));
  }
  const auto turn = co_await views_mutex_.lock();
  if (!turn) co_return fail(turn.error());
  if (stopping_) co_return fail(Code::kUnavailable, fmt::format("{} is being removed", nqn()));
  if (!namespaces_.empty()) co_return fail(Code::kAlreadyExists, fmt::format("{} has a namespace", nqn()));

  Result<> opened;
  for (const ReactorView& each : views_) {
    auto view = co_await runtime::call_on(*each.reactor, [&]() -> runtime::Task<Result<>> {
      auto made = co_await open_view(kNsid, added->device_ptr(), added->decision());
      if (!made) co_return fail(std::move(made.error()));
      each.view->add(std::move(*made));
      co_return Result<>();
    });
    if (!view && opened) opened = std::move(view);
  }
  if (opened && added->device().removed()) {
    opened = fail(Code::kUnavailable, fmt::format("device {} was removed", added->device().name()));
  }
  if (!opened) {
    co_await remove_from_views(kNsid);
    co_return opened;
  }
  namespaces_.push_back(added);
  if (options_.serial_number.empty()) {
    serial_number_ = make_serial_number(std::as_bytes(std::span(added->device().uuid().bytes())));
  }
  announce_namespace(kNsid);
  co_return opened;
}

runtime::Task<> Subsystem::remove_namespace(std::shared_ptr<Namespace> removed) {
  const auto change = co_await removed->changing_.lock();
  if (!change || removed->removed_) co_return;
  removed->removed_ = true;
  co_await apply_to_views(*removed);
  const auto turn = co_await views_mutex_.lock();
  co_await remove_from_views(removed->nsid());
  if (std::erase(namespaces_, removed) == 0) co_return;
  removed->unlink();
  removed->device().release_claim();
  log::info("nvmf: {}: namespace {} removed", nqn(), removed->nsid());
  announce_namespace(removed->nsid());
}

// ---- Views ----

runtime::Task<> Subsystem::apply_to_views(Namespace& changed) {
  const auto turn = co_await views_mutex_.lock();
  for (const ReactorView& each : views_) {
    co_await runtime::call_on(
        *each.reactor,
        [view = each.view.get(), nsid = changed.nsid(), decision = changed.decision()]() -> runtime::Task<> {
          if (NamespaceView* found = view->find(nsid)) co_await found->apply(decision);
        });
  }
}

runtime::Task<> Subsystem::remove_from_views(uint32_t nsid) {
  for (const ReactorView& each : views_) {
    co_await runtime::call_on(*each.reactor, [view = each.view.get(), nsid]() -> runtime::Task<> {
      view->remove(nsid);
      co_return;
    });
  }
}

runtime::Task<Result<std::shared_ptr<SubsystemView>>> Subsystem::view_on(runtime::Reactor& reactor) {
  using Made = Result<std::shared_ptr<SubsystemView>>;
  const auto turn = co_await views_mutex_.lock();
  if (!turn) co_return fail(turn.error());
  if (stopping_) co_return fail(Code::kUnavailable, fmt::format("{} is being removed", nqn()));
  for (const ReactorView& each : views_) {
    if (each.reactor == &reactor) co_return each.view;
  }
  struct Wanted {
    uint32_t nsid;
    std::shared_ptr<block::Device> device;
    NamespaceView::Decision decision;
  };
  std::vector<Wanted> wanted;
  for (const auto& each : namespaces_) wanted.push_back({each->nsid(), each->device_ptr(), each->decision()});
  Made made = co_await runtime::call_on(reactor, [&wanted]() -> runtime::Task<Made> {
    auto view = std::make_shared<SubsystemView>();
    for (Wanted& each : wanted) {
      auto opened = co_await open_view(each.nsid, std::move(each.device), std::move(each.decision));
      if (!opened) co_return fail(std::move(opened.error()));
      view->add(std::move(*opened));
    }
    co_return view;
  });
  if (made) views_.push_back({&reactor, *made});
  co_return made;
}

// ---- The end ----

runtime::Task<> Subsystem::stop(std::function<runtime::Task<>()> when_disconnected) {
  CAIRN_CHECK(!stopping_);
  stopping_ = true;
  target_.discovery_log_changed();
  if (when_disconnected) {
    std::vector<std::shared_ptr<Controller>> connected;
    for (const auto& [cntlid, each] : controllers_) connected.push_back(each);
    for (const auto& each : connected) co_await each->terminate_now("its subsystem is being removed");
    connected.clear();
    co_await when_disconnected();
  }
  while (!controllers_.empty()) {
    const std::shared_ptr<Controller> controller = controllers_.begin()->second;
    for (const auto& [cntlid, each] : controllers_) each->terminate("its subsystem is being removed");
    co_await controller->gone().wait_uninterrupted();
  }
  while (num_uses_ > 0) co_await use_ended_.wait_uninterrupted();
  while (!namespaces_.empty()) co_await remove_namespace(namespaces_.front());
  while (!views_.empty()) {
    ReactorView last = std::move(views_.back());
    views_.pop_back();
    co_await runtime::call_on(*last.reactor, [view = std::move(last.view)]() mutable -> runtime::Task<> {
      view.reset();
      co_return;
    });
  }
}

}  // namespace cairn::nvmf::target
