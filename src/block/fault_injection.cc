#include "block/fault_injection.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "block/device_error.h"
#include "block/uri.h"

namespace cairn::block {

using nvme::GenericStatus;
using nvme::Status;

namespace {

constexpr uint64_t kMaxMilliseconds = uint64_t{1000} * 60 * 60 * 24 * 365;

bool is_any(std::string_view text, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, text) != names.end();
}

template <typename Integer>
bool parse_number(std::string_view text, int base, Integer& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return error == std::errc() && end == text.data() + text.size();
}

Error wrong_value(std::string_view uri, std::string_view key, std::string_view value) {
  return {Code::kInvalidArgument, fmt::format("fault injection '{}': '{}' is no value of '{}'", uri, value, key)};
}

}  // namespace

Result<std::shared_ptr<FaultInjection>> FaultInjection::parse(std::string_view text) {
  auto uri = Uri::parse(text);
  if (!uri) return fail(std::move(uri.error()));
  if (uri->scheme() != "inject") return fail(device_error::uri_scheme_unsupported(uri->scheme()));
  auto fault = std::make_shared<FaultInjection>();
  fault->uri_ = text;
  fault->status_ = Status::generic(GenericStatus::kDataTransferError);
  fault->device_name_ = uri->host();
  if (uri->port()) fault->device_name_ += fmt::format(":{}", *uri->port());
  fault->device_name_ += uri->decoded_path();
  if (fault->device_name_.empty()) return fail(device_error::invalid_uri(text, "no device name"));

  UriParameters parameters(*uri);
  if (const auto domain = parameters.take("domain")) {
    fault->only_nexus_child_ = is_any(*domain, {"child", "nexus_child", "NexusChild"});
    if (!fault->only_nexus_child_ && !is_any(*domain, {"block", "block_device", "BlockDevice", "bdev_io", "BdevIo"})) {
      return fail(wrong_value(text, "domain", *domain));
    }
  }
  if (const auto op = parameters.take("op")) {
    fault->reads_ = is_any(*op, {"read", "r", "Read", "read_write", "rw", "ReadWrite"});
    fault->writes_ = is_any(*op, {"write", "w", "Write", "read_write", "rw", "ReadWrite"});
    if (!fault->reads_ && !fault->writes_) return fail(wrong_value(text, "op", *op));
  }
  if (const auto stage = parameters.take("stage")) {
    if (is_any(*stage, {"compl", "c", "completion", "Completion"})) {
      fault->stage_ = FaultStage::kCompletion;
    } else if (!is_any(*stage, {"submit", "s", "submission", "Submission"})) {
      return fail(wrong_value(text, "stage", *stage));
    }
  }
  if (const auto method = parameters.take("method")) {
    if (auto parsed = fault->parse_method(*method); !parsed) return fail(std::move(parsed.error()));
  }
  const auto begin = parameters.take_u64("begin_at"), end = parameters.take_u64("end_at");
  const auto offset = parameters.take_u64("offset"), retries = parameters.take_u64("retries");
  const auto short_count = parameters.take_u64("num_blk");
  const auto count = short_count && !short_count->has_value() ? parameters.take_u64("num_blocks") : short_count;
  for (const auto* number : {&begin, &end, &offset, &retries, &count}) {
    if (!*number) return fail(number->error());
  }
  if (auto rest = parameters.finish(); !rest) return fail(std::move(rest.error()));
  fault->begin_ = std::chrono::milliseconds(std::min(begin->value_or(0), kMaxMilliseconds));
  if (*end) fault->end_ = std::chrono::milliseconds(std::min(**end, kMaxMilliseconds));
  if (fault->begin_ > fault->end_) {
    return fail(Code::kInvalidArgument, fmt::format("fault injection '{}': it ends before it begins", text));
  }
  fault->first_block_ = offset->value_or(0);
  if (count->value_or(0) != 0 && **count < UINT64_MAX - fault->first_block_) {
    fault->end_block_ = fault->first_block_ + **count;
  }
  fault->max_hits_ = retries->value_or(UINT64_MAX);
  return fault;
}

Result<> FaultInjection::parse_method(const std::string& text) {
  constexpr std::string_view kNvme = "status-nvme-", kDelay = "delay-";
  if (text == "status") return {};
  if (text == "data") {
    method_ = FaultMethod::kDamage;
    return {};
  }
  if (text == "status-lvol-nospace") {
    status_ = Status::generic(GenericStatus::kCapacityExceeded);
    return {};
  }
  if (is_any(text, {"status-submit-read", "status-submit-write", "status-admin"})) {
    status_ = Status::generic(GenericStatus::kInternalError);
    return {};
  }
  const std::string_view view = text;
  if (view.starts_with(kNvme)) {
    const std::string_view numbers = view.substr(kNvme.size());
    const size_t dash = numbers.find('-');
    unsigned type = 0, code = 0;
    if (dash != std::string_view::npos && parse_number(numbers.substr(0, dash), 16, type) &&
        parse_number(numbers.substr(dash + 1), 16, code) && type <= 7 && code <= 0xff && (type | code) != 0) {
      status_ = Status::from_wire(static_cast<uint16_t>(type << 9 | code << 1));
      return {};
    }
  }
  if (uint64_t ms = 0; view.starts_with(kDelay) && parse_number(view.substr(kDelay.size()), 10, ms)) {
    method_ = FaultMethod::kDelay;
    delay_ = std::chrono::milliseconds(std::min(ms, kMaxMilliseconds));
    return {};
  }
  return fail(wrong_value(uri_, "method", text));
}

bool FaultInjection::in_time(TimePoint started, TimePoint now) const {
  return now - started >= begin_ && (end_ == Duration::max() || now - started < end_);
}

bool FaultInjection::hits(const Io& io, FaultStage stage, bool of_nexus_child, TimePoint now) {
  const bool is_read = io.type == IoType::kRead, is_write = io.type == IoType::kWrite;
  if (!(is_read && reads_) && !(is_write && writes_)) return false;
  if (only_nexus_child_ && !of_nexus_child) return false;
  // What is read can be damaged only afterwards, what is written only before.
  const FaultStage mine =
      method_ != FaultMethod::kDamage ? stage_ : (is_read ? FaultStage::kCompletion : FaultStage::kSubmission);
  if (stage != mine) return false;
  Duration::rep started = 0;
  if (started_.compare_exchange_strong(started, now.time_since_epoch().count())) {
    started = now.time_since_epoch().count();
  }
  if (!in_time(TimePoint(Duration(started)), now)) return false;
  if (io.lba >= end_block_ || io.lba + io.num_blocks <= first_block_) return false;
  if (hits_.fetch_add(1) < max_hits_) return true;
  hits_.fetch_sub(1);
  return false;
}

bool FaultInjection::is_active(TimePoint now) const {
  if (hits_.load() >= max_hits_) return false;
  const Duration::rep started = started_.load();
  return started == 0 ? begin_ == Duration{} : in_time(TimePoint(Duration(started)), now);
}

}  // namespace cairn::block
