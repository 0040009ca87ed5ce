// The discovery log (NVMe Base 2.0, section 5.16.1.23): an entry for each subsystem that the host may use at each
// address that is advertised.
#include "nvme/discovery.h"

#include <fmt/format.h>

#include <algorithm>

#include "nvme/fabrics.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/target.h"

namespace cairn::nvmf::target {

namespace {

bool is_any_address(const runtime::SocketAddress& address) {
  return address.host == "0.0.0.0" || address.host == "::";
}

std::optional<nvme::AddressFamily> family_of(const runtime::SocketAddress& address) {
  switch (address.family) {
    case runtime::AddressFamily::kIpv4:
      return nvme::AddressFamily::kIpv4;
    case runtime::AddressFamily::kIpv6:
      return nvme::AddressFamily::kIpv6;
    case runtime::AddressFamily::kUnix:
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

void Target::discovery_log_changed() {
  ++discovery_generation_;
  for (const auto& [cntlid, controller] : discovery_controllers_) controller->discovery_log_changed();
}

// An entry of each address, without its subsystem. A listener on "any" address is shown as the address by which the
// host came, if that is of its family.
std::vector<nvme::DiscoveryLogEntry> Target::advertised_entries(const runtime::SocketAddress& via) const {
  std::vector<nvme::DiscoveryLogEntry> entries;
  for (const ListenAddress& listener : advertised_) {
    const bool any = is_any_address(listener.address);
    const auto family = family_of(listener.address);
    if (!family || (any && via.family != listener.address.family)) continue;
    nvme::DiscoveryLogEntry entry;
    entry.trtype = nvme::TransportType::kTcp;
    entry.adrfam = *family;
    entry.subtype = nvme::SubsystemType::kNvm;
    entry.treq = nvme::kTreqSecureChannelNotRequired;
    entry.portid = listener.port_id;
    entry.cntlid = nvme::kDynamicControllerId;
    entry.asqsz = options_.max_admin_queue_depth;
    nvme::set_c_string(entry.trsvcid, fmt::to_string(listener.address.port));
    nvme::set_c_string(entry.traddr, any ? via.host : listener.address.host);
    entries.push_back(entry);
  }
  return entries;
}

std::vector<const Subsystem*> Target::visible_subsystems(const std::string& host_nqn) const {
  std::vector<const Subsystem*> visible;
  for (const auto& [nqn, subsystem] : subsystems_) {
    if (!subsystem->stopping() && subsystem->allows(host_nqn)) visible.push_back(subsystem.get());
  }
  return visible;
}

uint64_t Target::discovery_log_size(const std::string& host_nqn, const runtime::SocketAddress& via) const {
  const uint64_t num_entries = visible_subsystems(host_nqn).size() * advertised_entries(via).size();
  return sizeof(nvme::DiscoveryLogHeader) + num_entries * sizeof(nvme::DiscoveryLogEntry);
}

void Target::fill_discovery_log(const std::string& host_nqn, const runtime::SocketAddress& via, uint64_t offset,
                                std::span<std::byte> into) const {
  constexpr uint64_t kEntrySize = sizeof(nvme::DiscoveryLogEntry);
  static_assert(sizeof(nvme::DiscoveryLogHeader) == kEntrySize);
  const std::vector<const Subsystem*> visible = visible_subsystems(host_nqn);
  const std::vector<nvme::DiscoveryLogEntry> addresses = advertised_entries(via);
  const uint64_t num_entries = visible.size() * addresses.size();
  // Record 0 is the header, record n entry n - 1.
  while (!into.empty()) {
    const uint64_t record = offset / kEntrySize;
    const uint64_t within = offset % kEntrySize;
    const std::span<std::byte> part = into.first(std::min<size_t>(into.size(), kEntrySize - within));
    if (record == 0) {
      nvme::DiscoveryLogHeader header;
      header.genctr = discovery_generation_;
      header.numrec = num_entries;
      nvme::store_window(part, header, within);
    } else if (record <= num_entries) {
      nvme::DiscoveryLogEntry entry = addresses[(record - 1) % addresses.size()];
      nvme::set_c_string(entry.subnqn, visible[(record - 1) / addresses.size()]->nqn());
      nvme::store_window(part, entry, within);
    } else {
      std::ranges::fill(part, std::byte{0});
    }
    into = into.subspan(part.size());
    offset += part.size();
  }
}

}  // namespace cairn::nvmf::target
