// Protobuf messages as the JSON that scripts around the original client parse.
//
//   field        snake_case of its name, in the order of declaration; every field is there, defaults too
//   number       JSON number, 64-bit ones as well; NaN and infinity null
//   enum         its number
//   bytes        array of numbers
//   message      object; absent: null. google.protobuf types: StringValue and its kin are the bare value,
//                Timestamp "2024-10-23T16:46:38.123456Z" (0, 3, 6 or 9 decimals), Duration {"seconds", "nanos"}, Empty
//                null
//   optional     the value, absent: null
//   oneof        a field with the oneof's name after all others: {"VariantName": value}, none: null
//   map          object
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace google::protobuf {
class Message;
}

namespace cairn::cli {

nlohmann::ordered_json message_to_json(const google::protobuf::Message& message);

}  // namespace cairn::cli
