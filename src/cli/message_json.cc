#include "cli/message_json.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/message.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/identifier_case.h"

namespace cairn::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;
using Json = nlohmann::ordered_json;

constexpr int64_t kFirstSecond = -62'135'596'800;  // 0001-01-01T00:00:00Z
constexpr int64_t kLastSecond = 253'402'300'799;   // 9999-12-31T23:59:59Z

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

// Shortest text that reads back as the same float; as a double it would show the noise of the conversion.
Json number(float value) {
  return std::isfinite(value) ? Json(std::stod(fmt::format("{}", value))) : Json(nullptr);
}

Json bytes(const std::string& value) {
  Json array = Json::array();
  for (const char c : value) array.push_back(static_cast<unsigned char>(c));
  return array;
}

std::string timestamp(int64_t seconds, int32_t nanos) {
  const std::chrono::sys_time<std::chrono::seconds> time{std::chrono::seconds(seconds)};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  std::string text = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                                 static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                                 clock.hours().count(), clock.minutes().count(), clock.seconds().count());
  if (nanos % 1'000 != 0) {
    text += fmt::format(".{:09}", nanos);
  } else if (nanos % 1'000'000 != 0) {
    text += fmt::format(".{:06}", nanos / 1'000);
  } else if (nanos != 0) {
    text += fmt::format(".{:03}", nanos / 1'000'000);
  }
  return text + "Z";
}

// `index` is that of an element, -1 for a field that is not repeated.
Json value_of(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& r = *message.GetReflection();
  const bool element = index >= 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return element ? r.GetRepeatedInt32(message, &field, index) : r.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_INT64:
      return element ? r.GetRepeatedInt64(message, &field, index) : r.GetInt64(message, &field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return element ? r.GetRepeatedUInt32(message, &field, index) : r.GetUInt32(message, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return element ? r.GetRepeatedUInt64(message, &field, index) : r.GetUInt64(message, &field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return number(element ? r.GetRepeatedDouble(message, &field, index) : r.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return number(element ? r.GetRepeatedFloat(message, &field, index) : r.GetFloat(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return element ? r.GetRepeatedBool(message, &field, index) : r.GetBool(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return element ? r.GetRepeatedEnumValue(message, &field, index) : r.GetEnumValue(message, &field);
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string text = element ? r.GetRepeatedString(message, &field, index) : r.GetString(message, &field);
      return field.type() == FieldDescriptor::TYPE_BYTES ? bytes(text) : Json(std::move(text));
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return message_to_json(element ? r.GetRepeatedMessage(message, &field, index) : r.GetMessage(message, &field));
  }
  return nullptr;
}

std::string map_key(const Message& entry, const FieldDescriptor& key) {
  const Json value = value_of(entry, key, -1);
  return value.is_string() ? value.get<std::string>() : value.dump();
}

Json field_value(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (field.is_map()) {
    Json object = Json::object();
    const Descriptor& entry_type = *field.message_type();
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
      object[map_key(entry, *entry_type.map_key())] = value_of(entry, *entry_type.map_value(), -1);
    }
    return object;
  }
  if (field.is_repeated()) {
    Json array = Json::array();
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) array.push_back(value_of(message, field, i));
    return array;
  }
  if (field.has_presence() && !reflection.HasField(message, &field)) return nullptr;
  return value_of(message, field, -1);
}

Json well_known(const Message& message, const std::string& name) {
  const Descriptor& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  if (name == "Empty") return nullptr;
  if (name == "Timestamp") {
    const int64_t seconds = reflection.GetInt64(message, type.FindFieldByNumber(1));
    const int32_t nanos = reflection.GetInt32(message, type.FindFieldByNumber(2));
    // Out of the range of the type it is shown as it came, like a Duration.
    if (seconds >= kFirstSecond && seconds <= kLastSecond && nanos >= 0 && nanos < 1'000'000'000)
      return timestamp(seconds, nanos);
  }
  if (name.ends_with("Value") && type.field_count() == 1) return value_of(message, *type.field(0), -1);
  Json object = Json::object();
  for (int i = 0; i < type.field_count(); ++i) object[type.field(i)->name()] = field_value(message, *type.field(i));
  return object;
}

}  // namespace

Json message_to_json(const Message& message) {
  const Descriptor& type = *message.GetDescriptor();
  if (type.file()->package() == "google.protobuf") return well_known(message, type.name());
  Json object = Json::object();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.real_containing_oneof() == nullptr) object[snake_case(field.name())] = field_value(message, field);
  }
  for (int i = 0; i < type.real_oneof_decl_count(); ++i) {
    const OneofDescriptor& oneof = *type.oneof_decl(i);
    const FieldDescriptor* variant = message.GetReflection()->GetOneofFieldDescriptor(message, &oneof);
    Json& value = object[snake_case(oneof.name())];
    value = variant == nullptr ? Json(nullptr) : Json{{pascal_case(variant->name()), value_of(message, *variant, -1)}};
  }
  return object;
}

}  // namespace cairn::cli
