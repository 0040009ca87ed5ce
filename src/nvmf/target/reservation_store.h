// Reservations that persist through power loss: a JSON file per namespace.
//
//   {"ptpl":true, "rtype":1..6 or 0, "crkey":n, "bdev_uuid":"...", "holder_uuid":"...",
//    "registrants":[{"rkey":n, "host_uuid":"..."}]}
//
// As the original's (nvmf-target.md, section 6): host identifiers are written like UUIDs; without a holder crkey is 0
// and holder_uuid is missing or empty; while persistence is off the file is empty. It is replaced as a whole (temporary
// file, flush, rename), so a power loss leaves the old or the new one.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/uuid.h"
#include "nvmf/target/reservation.h"
#include "runtime/task.h"

namespace cairn::nvmf::target {

// The file's content for `state`: empty unless state.persist.
std::string encode_reservation(const Reservation::State& state, const Uuid& device);
// The state that `text` describes; empty text, or one that says ptpl is off, is the state without reservations. Errors:
// DATA_LOSS when it is not such a description (says what is wrong), INVALID_ARGUMENT when it is one of another device
// than `device`.
Result<Reservation::State> decode_reservation(std::string_view text, const Uuid& device);

// Primary reactor; one call at a time.
class ReservationStore {
 public:
  // More than the largest description of Reservation::kMaxRegistrants.
  static constexpr uint64_t kMaxFileSize = 64 << 10;

  ReservationStore(std::string path, const Uuid& device) : path_(std::move(path)), device_(device) {}

  const std::string& path() const { return path_; }

  // A missing file is an empty one. Errors name the file and what is wrong with it; the file stays as it is.
  runtime::Task<Result<Reservation::State>> load();
  // When it has returned without an error, the state is on stable storage. After an error the file holds this state or
  // the one before.
  runtime::Task<Result<>> save(const Reservation::State& state);

 private:
  runtime::Task<Result<>> replace(const std::string& text);
  Error describe(Error error, std::string_view what) const;

  std::string path_;
  Uuid device_;
  bool known_empty_ = false;  // nothing is stored and no save failed since
};

}  // namespace cairn::nvmf::target
