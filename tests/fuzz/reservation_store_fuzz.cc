// The reservation file, which anybody may have edited: what is taken from it is a state that could have been written,
// and is read back as it is.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "nvmf/target/reservation_store.h"

namespace cairn::nvmf::target {
namespace {

const Uuid kDevice = *Uuid::parse("0a1b2c3d-1111-4222-8333-444455556666");

void run(std::string_view text) {
  const auto state = decode_reservation(text, kDevice);
  if (!state) {
    CAIRN_CHECK(state.error().code() == Code::kDataLoss || state.error().code() == Code::kInvalidArgument);
    return;
  }
  CAIRN_CHECK(state->registrants.size() <= Reservation::kMaxRegistrants);
  CAIRN_CHECK(state->persist || *state == Reservation::State{});
  for (const auto& [host, registrant] : state->registrants) CAIRN_CHECK(registrant.key != 0);
  CAIRN_CHECK(state->holder.has_value() == (state->type != nvme::ReservationType::kNone));
  if (state->holder) CAIRN_CHECK(state->registrants.at(*state->holder).key == state->holder_key);

  const std::string again = encode_reservation(*state, kDevice);
  CAIRN_CHECK(again.size() <= ReservationStore::kMaxFileSize);
  const auto second = decode_reservation(again, kDevice);
  CAIRN_CHECK(second && *second == *state);

  // The state machine can go on from it.
  Reservation reservation(true);
  reservation.restore(*state);
  static_cast<void>(reservation.access());
  CAIRN_CHECK(reservation.set_persist(false).status.is_success());
}

}  // namespace
}  // namespace cairn::nvmf::target

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cairn::nvmf::target::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
