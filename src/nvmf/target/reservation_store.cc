#include "nvmf/target/reservation_store.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "runtime/backend.h"
#include "runtime/reactor.h"

namespace cairn::nvmf::target {

namespace {

using nlohmann::json;
using State = Reservation::State;

std::unexpected<Error> damaged(std::string what) {
  return fail(Code::kDataLoss, std::move(what));
}

Result<const json*> member(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) return damaged(fmt::format("\"{}\" is missing", name));
  return &*found;
}

Result<uint64_t> number_member(const json& object, const char* name, uint64_t max) {
  const auto value = member(object, name);
  if (!value) return std::unexpected(value.error());
  if (!(*value)->is_number_unsigned() || (*value)->get<uint64_t>() > max) {
    return damaged(fmt::format("\"{}\" is {}, not a number of 0 to {}", name, (*value)->dump(), max));
  }
  return (*value)->get<uint64_t>();
}

Result<std::string> text_member(const json& object, const char* name) {
  const auto value = member(object, name);
  if (!value) return std::unexpected(value.error());
  if (!(*value)->is_string()) return damaged(fmt::format("\"{}\" is {}, not a text", name, (*value)->dump()));
  return (*value)->get<std::string>();
}

Result<Uuid> uuid_member(const json& object, const char* name) {
  const auto text = text_member(object, name);
  if (!text) return std::unexpected(text.error());
  const auto uuid = Uuid::parse(*text);
  if (!uuid) return damaged(fmt::format("\"{}\" is \"{}\", not a UUID", name, *text));
  return *uuid;
}

Result<> decode_registrants(const json& object, State& state) {
  const auto list = member(object, "registrants");
  if (!list) return std::unexpected(list.error());
  if (!(*list)->is_array()) return damaged("\"registrants\" is not a list");
  if ((*list)->size() > Reservation::kMaxRegistrants) {
    return damaged(fmt::format("{} registrants, {} are possible", (*list)->size(), Reservation::kMaxRegistrants));
  }
  for (const json& entry : **list) {
    if (!entry.is_object()) return damaged("an entry of \"registrants\" is not an object");
    const auto key = number_member(entry, "rkey", UINT64_MAX);
    if (!key) return std::unexpected(key.error());
    if (*key == 0) return damaged("an entry of \"registrants\" has the key 0");
    const auto host = uuid_member(entry, "host_uuid");
    if (!host) return std::unexpected(host.error());
    if (!state.registrants.emplace(host->bytes(), Reservation::Registrant{*key}).second) {
      return damaged(fmt::format("the host {} is registered twice", host->to_string()));
    }
  }
  return {};
}

Result<> decode_holder(const json& object, State& state) {
  const auto type =
      number_member(object, "rtype", static_cast<uint64_t>(nvme::ReservationType::kExclusiveAccessAllRegistrants));
  if (!type) return std::unexpected(type.error());
  const auto key = number_member(object, "crkey", UINT64_MAX);
  if (!key) return std::unexpected(key.error());
  // The original leaves a type behind when the reservation was released.
  if (*key == 0) return {};

  const auto holder = uuid_member(object, "holder_uuid");
  if (!holder) return std::unexpected(holder.error());
  const auto registrant = state.registrants.find(holder->bytes());
  if (registrant == state.registrants.end()) {
    return damaged(fmt::format("the holder {} is not among the registrants", holder->to_string()));
  }
  if (registrant->second.key != *key) {
    return damaged(
        fmt::format("\"crkey\" is {:#x}, the holder is registered with {:#x}", *key, registrant->second.key));
  }
  if (*type == 0) return damaged("there is a holder, but \"rtype\" is 0");
  state.type = static_cast<nvme::ReservationType>(*type);
  state.holder = holder->bytes();
  state.holder_key = *key;
  return {};
}

}  // namespace

std::string encode_reservation(const State& state, const Uuid& device) {
  if (!state.persist) return {};
  json registrants = json::array();
  for (const auto& [host, registrant] : state.registrants) {
    registrants.push_back({{"rkey", registrant.key}, {"host_uuid", Uuid(host).to_string()}});
  }
  const json object = {{"ptpl", true},
                       {"rtype", static_cast<uint8_t>(state.type)},
                       {"crkey", state.holder_key},
                       {"bdev_uuid", device.to_string()},
                       {"holder_uuid", state.holder ? Uuid(*state.holder).to_string() : ""},
                       {"registrants", std::move(registrants)}};
  return object.dump(2) + "\n";
}

Result<State> decode_reservation(std::string_view text, const Uuid& device) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return State{};
  const json object = json::parse(text, nullptr, false);
  if (object.is_discarded()) return damaged("not JSON");
  if (!object.is_object()) return damaged("not a JSON object");

  const auto persist = member(object, "ptpl");
  if (!persist) return std::unexpected(persist.error());
  if (!(*persist)->is_boolean()) return damaged(fmt::format("\"ptpl\" is {}, not true or false", (*persist)->dump()));
  const auto owner = uuid_member(object, "bdev_uuid");
  if (!owner) return std::unexpected(owner.error());
  if (*owner != device) {
    return fail(Code::kInvalidArgument,
                fmt::format("it is of the device {}, not of {}", owner->to_string(), device.to_string()));
  }
  if (!(*persist)->get<bool>()) return State{};

  State state;
  state.persist = true;
  if (auto decoded = decode_registrants(object, state); !decoded) return std::unexpected(decoded.error());
  if (auto decoded = decode_holder(object, state); !decoded) return std::unexpected(decoded.error());
  return state;
}

Error ReservationStore::describe(Error error, std::string_view what) const {
  const Code code = error.code();
  return Error(code, fmt::format("reservation file {}: {}", path_, what), std::move(error));
}

runtime::Task<Result<State>> ReservationStore::load() {
  auto& backend = runtime::Reactor::current().backend();
  auto file = co_await backend.open_file(path_, {.read_only = true});
  if (!file && file.error().code() == Code::kNotFound) {
    known_empty_ = true;
    co_return State{};
  }
  if (!file) co_return std::unexpected(describe(std::move(file.error()), "cannot be opened"));
  const uint64_t size = (*file)->info().size_bytes;
  if (size > kMaxFileSize) {
    co_return fail(Code::kDataLoss, fmt::format("reservation file {}: {} bytes are too many, {} are possible", path_,
                                                size, kMaxFileSize));
  }
  std::string text(size, '\0');
  auto read = co_await (*file)->read(0, std::as_writable_bytes(std::span(text)));
  if (!read) co_return std::unexpected(describe(std::move(read.error()), "cannot be read"));
  text.resize(*read);

  auto state = decode_reservation(text, device_);
  if (!state) co_return std::unexpected(describe(std::move(state.error()), "cannot be restored"));
  known_empty_ = text.empty();
  co_return std::move(*state);
}

runtime::Task<Result<>> ReservationStore::save(const State& state) {
  const std::string text = encode_reservation(state, device_);
  if (text.empty() && known_empty_) co_return Result<>{};
  known_empty_ = false;
  auto replaced = co_await replace(text);
  if (!replaced) co_return std::unexpected(describe(std::move(replaced.error()), "cannot be written"));
  known_empty_ = text.empty();
  co_return Result<>{};
}

runtime::Task<Result<>> ReservationStore::replace(const std::string& text) {
  auto& backend = runtime::Reactor::current().backend();
  if (const size_t slash = path_.rfind('/'); slash != std::string::npos && slash > 0) {
    if (auto made = co_await backend.make_directories(path_.substr(0, slash)); !made) co_return made;
  }
  const std::string temporary = path_ + ".new";
  {
    auto file = co_await backend.open_file(temporary, {.create = true, .truncate = true});
    if (!file) co_return std::unexpected(std::move(file.error()));
    if (!text.empty()) {
      if (auto written = co_await (*file)->write(0, std::as_bytes(std::span(text))); !written) co_return written;
    }
    if (auto flushed = co_await (*file)->flush(); !flushed) co_return flushed;
  }
  co_return co_await backend.rename_file(temporary, path_);
}

}  // namespace cairn::nvmf::target
