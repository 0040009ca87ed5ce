#include "nvmf/host/host_identity.h"

#include <array>
#include <cstdint>

#include "nvme/nqn.h"

namespace cairn::nvmf::host {

namespace {

constexpr std::string_view kAnonymousNqn = "nqn.2019-05.io.openebs:host";

}  // namespace

// FNV-1a with 128 bits (Fowler, Noll, Vo): the names are ours, nobody wants to make two of them collide.
Uuid host_id_of(std::string_view nqn) {
  constexpr unsigned __int128 kPrime = (static_cast<unsigned __int128>(1) << 88) + 0x13b;
  unsigned __int128 hash = (static_cast<unsigned __int128>(0x6c62272e07bb0142) << 64) | 0x62b821756295c58d;
  for (const char c : nqn) hash = (hash ^ static_cast<uint8_t>(c)) * kPrime;
  std::array<uint8_t, 16> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(hash >> (120 - 8 * i));
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | 0x80);
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
  return Uuid(bytes);
}

HostIdentity make_host_identity(std::string_view configured_nqn, const std::optional<std::string>& configured_id) {
  std::optional<Uuid> id;
  if (configured_id) {
    if (auto parsed = Uuid::parse(*configured_id)) id = *parsed;
  }
  std::string nqn(configured_nqn);
  if (nqn.empty()) nqn = id ? std::string(nvme::kUuidNqnPrefix) + id->to_string() : std::string(kAnonymousNqn);
  const Uuid final_id = id ? *id : host_id_of(nqn);
  return {.nqn = std::move(nqn), .id = final_id};
}

}  // namespace cairn::nvmf::host
