#include "nvme/snapshot_message.h"

#include <cerrno>

namespace cairn::nvme {

namespace {

void append_number(std::vector<std::byte>& out, uint64_t value, unsigned size) {
  for (unsigned i = 0; i < size; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

std::optional<uint64_t> take_number(std::span<const std::byte>& data, unsigned size) {
  if (data.size() < size) return std::nullopt;
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) value |= std::to_integer<uint64_t>(data[i]) << (8 * i);
  data = data.subspan(size);
  return value;
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

std::optional<SnapshotMessage> decode_snapshot_message(std::span<const std::byte> data) {
  SnapshotMessage message;
  if (take_number(data, 4) != 0) return std::nullopt;
  for (auto* text :
       {&message.entity_id, &message.parent_id, &message.txn_id, &message.name, &message.uuid, &message.create_time}) {
    const auto present = take_number(data, 1);
    if (!present || *present > 1) return std::nullopt;
    if (*present == 0) continue;
    const auto size = take_number(data, 8);
    if (!size || *size > data.size()) return std::nullopt;
    text->emplace(reinterpret_cast<const char*>(data.data()), *size);
    data = data.subspan(*size);
  }
  const auto discarded = take_number(data, 1);
  if (!discarded || *discarded > 1) return std::nullopt;
  message.discarded = *discarded == 1;
  return message;
}

uint32_t snapshot_errno(const Error& error) {
  for (const Error* cause = &error; cause != nullptr; cause = cause->cause()) {
    if (cause->errno_value() != 0) return static_cast<uint32_t>(cause->errno_value());
  }
  switch (error.code()) {
    case Code::kAlreadyExists:
      return EEXIST;
    case Code::kInvalidArgument:
    case Code::kInternal:  // of parameters that are missing, as gRPC has it too
      return EINVAL;
    case Code::kResourceExhausted:
      return ENOSPC;
    case Code::kUnimplemented:
      return EOPNOTSUPP;
    case Code::kUnavailable:
      return ENODEV;
    case Code::kDeadlineExceeded:
      return ETIMEDOUT;
    default:
      return EIO;
  }
}

}  // namespace cairn::nvme
