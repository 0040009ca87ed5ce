#include "cli/initiator/snapshot_message.h"

namespace cairn::cli {

namespace {

void append_number(std::vector<std::byte>& out, uint64_t value, unsigned size) {
  for (unsigned i = 0; i < size; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

}  // namespace

std::vector<std::byte> encode_snapshot_message(const SnapshotMessage& message) {
  std::vector<std::byte> out;
  append_number(out, 0, 4);
  for (const auto* text :
       {&message.entity_id, &message.parent_id, &message.txn_id, &message.name, &message.uuid, &message.create_time}) {
    append_number(out, text->has_value() ? 1 : 0, 1);
    if (!text->has_value()) continue;
    append_number(out, (*text)->size(), 8);
    for (const char each : **text) out.push_back(static_cast<std::byte>(each));
  }
  append_number(out, message.discarded ? 1 : 0, 1);
  return out;
}

}  // namespace cairn::cli
