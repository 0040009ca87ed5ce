// pool-inspect: what is on a pool's disk, whether it is right, and its repair. For devices that no engine uses.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <string>
#include <vector>

#include "base/byte_size.h"
#include "base/version.h"
#include "cli/json_text.h"
#include "cli/pool-inspect/file_device.h"
#include "cli/pool-inspect/report_json.h"
#include "cli/pool-inspect/report_text.h"
#include "cli/pool-inspect/undo_file.h"
#include "pool/check/pool_check.h"
#include "pool/check/repair.h"

namespace cairn::cli {
namespace {

using pool::check::PoolReport;
using pool::check::Severity;
using pool::format::BlobId;

// Exit codes.
constexpr int kGood = 0;      // for check and repair: nothing worse than notes (left)
constexpr int kProblems = 1;  // warnings or errors
constexpr int kUsage = 2;
constexpr int kFailed = 3;  // could not be done

struct Options {
  std::string device;
  bool json = false;
  bool notes = false;
  bool write = false;
  std::string blob;
  std::string undo_path;
  std::vector<std::string> drop_blobs;
  std::vector<std::string> detach_blobs;
  bool separate_shared = false;
  bool rebuild_super_block = false;
  std::string cluster_size = "4MiB";
  uint32_t md_ratio_percent = pool::format::kDefaultMdRatioPercent;
  uint32_t block_size = 512;
};

int fail_with(const Error& error, int code = kFailed) {
  fmt::print(stderr, "error: {}\n", error.to_string());
  return code;
}

void print_json(const nlohmann::ordered_json& json) {
  fmt::print("{}\n", render_json(json, stdout_takes_colour()));
}

// Hexadecimal with 0x, or decimal. The number of the root page is taken for the id, too.
Result<BlobId> parse_blob_id(std::string_view text) {
  const bool hexadecimal = text.starts_with("0x");
  const std::string_view digits = hexadecimal ? text.substr(2) : text;
  BlobId id = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), id, hexadecimal ? 16 : 10);
  if (digits.empty() || parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) {
    return fail(Code::kInvalidArgument, fmt::format("'{}' is no blob id; expected is a number like 0x100000001", text));
  }
  return id <= 0xffffffff ? pool::format::blob_id_of(static_cast<uint32_t>(id)) : id;
}

Result<std::vector<BlobId>> parse_blob_ids(const std::vector<std::string>& texts) {
  std::vector<BlobId> ids;
  for (const std::string& text : texts) {
    const auto id = parse_blob_id(text);
    if (!id) return fail(id.error());
    ids.push_back(*id);
  }
  return ids;
}

void print_findings(const std::vector<pool::check::Finding>& findings, bool notes) {
  for (const pool::check::Finding& finding : findings) {
    if (finding.severity == Severity::kNote && !notes) continue;
    fmt::print("{}: {}: {}\n", severity_name(finding.severity), problem_name(finding.problem), finding.message);
  }
  fmt::print("{}\n", findings_summary(findings));
}

int show(const Options& options) {
  auto device = FileDevice::open(options.device, FileDevice::Access::kRead);
  if (!device) return fail_with(device.error());
  const PoolReport report = pool::check::check_pool(**device);
  if (!options.blob.empty()) {
    const auto id = parse_blob_id(options.blob);
    if (!id) return fail_with(id.error(), kUsage);
    const pool::check::BlobReport* blob = report.blob(*id);
    if (blob == nullptr) return fail_with(Error(Code::kNotFound, fmt::format("no blob {:#x}", *id)));
    if (options.json) {
      print_json(blob_json(report, *blob));
    } else {
      fmt::print("{}", blob_text(report, *blob));
    }
    return kGood;
  }
  if (options.json) {
    print_json(report_json(report));
  } else {
    fmt::print("{}", report_text(report));
    print_findings(report.findings, true);
  }
  return report.layout ? kGood : kFailed;
}

int check(const Options& options) {
  auto device = FileDevice::open(options.device, FileDevice::Access::kRead);
  if (!device) return fail_with(device.error());
  const PoolReport report = pool::check::check_pool(**device);
  if (options.json) {
    nlohmann::ordered_json findings = nlohmann::ordered_json::array();
    for (const pool::check::Finding& finding : report.findings) findings.push_back(finding_json(finding));
    print_json({{"findings", findings}});
  } else {
    print_findings(report.findings, options.notes);
  }
  return report.has(Severity::kWarning) ? kProblems : kGood;
}

Result<pool::check::RepairOptions> repair_options(const Options& options) {
  pool::check::RepairOptions out;
  auto drop = parse_blob_ids(options.drop_blobs);
  if (!drop) return fail(drop.error());
  auto detach = parse_blob_ids(options.detach_blobs);
  if (!detach) return fail(detach.error());
  out.drop_blobs = std::move(*drop);
  out.detach_blobs = std::move(*detach);
  out.separate_shared = options.separate_shared;
  if (options.rebuild_super_block) {
    const auto cluster_size = parse_byte_size(options.cluster_size);
    if (!cluster_size || *cluster_size > 0xffffffff) {
      return fail(Code::kInvalidArgument, fmt::format("'{}' is no cluster size", options.cluster_size));
    }
    out.rebuild_super_block = pool::format::LayoutRequest{.device_bytes = 0,
                                                          .block_size = options.block_size,
                                                          .cluster_size = static_cast<uint32_t>(*cluster_size),
                                                          .md_ratio_percent = options.md_ratio_percent};
  }
  return out;
}

Result<> write_plan(FileDevice& device, const Options& options, const pool::check::RepairPlan& plan) {
  if (!options.undo_path.empty()) {
    pool::format::Page super;
    if (auto done = device.read(0, super.span()); !done) return done;
    if (auto done = save_undo_file(options.undo_path, plan, super); !done) return done;
  }
  return pool::check::apply_repair(device, plan);
}

int repair(const Options& options) {
  const auto wanted = repair_options(options);
  if (!wanted) return fail_with(wanted.error(), kUsage);
  auto device =
      FileDevice::open(options.device, options.write ? FileDevice::Access::kWrite : FileDevice::Access::kRead);
  if (!device) return fail_with(device.error());
  const auto plan = pool::check::plan_repair(**device, *wanted);
  if (!plan) return fail_with(plan.error(), plan.error().code() == Code::kInvalidArgument ? kUsage : kFailed);
  if (options.write && !plan->empty()) {
    if (auto done = write_plan(**device, options, *plan); !done) return fail_with(done.error());
  }
  if (options.json) {
    nlohmann::ordered_json json = plan_json(*plan);
    json["written"] = options.write && !plan->empty();
    print_json(json);
  } else {
    for (const std::string& step : plan->steps) fmt::print("{}: {}\n", options.write ? "done" : "to do", step);
    if (plan->empty()) fmt::print("nothing to repair{}\n", plan->left.empty() ? "" : " without further options");
    if (!plan->empty() && !options.write) fmt::print("nothing was written; add --write to do it\n");
    fmt::print("left: ");
    print_findings(plan->left, options.notes);
  }
  const bool left = std::ranges::any_of(
      plan->left, [](const pool::check::Finding& finding) { return finding.severity >= Severity::kWarning; });
  return left || (!options.write && !plan->empty()) ? kProblems : kGood;
}

int undo(const Options& options) {
  const auto pages = load_undo_file(options.undo_path);
  if (!pages) return fail_with(pages.error());
  auto device =
      FileDevice::open(options.device, options.write ? FileDevice::Access::kWrite : FileDevice::Access::kRead);
  if (!device) return fail_with(device.error());
  for (const UndoPage& page : *pages) {
    if (page.offset + pool::format::kPageSize > (*device)->size_bytes()) {
      return fail_with(Error(Code::kOutOfRange, fmt::format("byte {} is behind the end of the device", page.offset)));
    }
  }
  if (!options.write) {
    fmt::print("{} pages would be put back; add --write to do it\n", pages->size());
    return kProblems;
  }
  for (const UndoPage& page : *pages) {
    if (auto done = (*device)->write(page.offset, page.before.bytes); !done) return fail_with(done.error());
  }
  if (auto done = (*device)->flush(); !done) return fail_with(done.error());
  fmt::print("{} pages put back\n", pages->size());
  return kGood;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Looks into the disk of a pool that no engine uses, checks it, and repairs it when told to.",
               "pool-inspect");
  app.set_version_flag("-V,--version", fmt::format("pool-inspect {}", version()), "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.require_subcommand(1);
  const auto add_command = [&](const char* name, const char* about) {
    CLI::App* command = app.add_subcommand(name, about);
    command->add_option("device", options.device, "File or block device")->required();
    return command;
  };
  CLI::App& show_command = *add_command("show", "Print super block, masks, blobs, and what is wrong");
  show_command.add_flag("--json", options.json, "Print everything as JSON, cluster maps too");
  show_command.add_option("--blob", options.blob, "Print one blob: its id, or the number of its root page")
      ->option_text("ID");
  CLI::App& check_command = *add_command("check", "Check; ends with 1 if there are warnings or errors");
  check_command.add_flag("--json", options.json, "Print as JSON");
  check_command.add_flag("--notes", options.notes, "Print what is normal after a crash, too");

  CLI::App& repair_command = *add_command("repair", "Say what a repair would do; do it only with --write");
  repair_command.add_flag("--write", options.write, "Write the repair to the device");
  repair_command
      .add_option("--undo", options.undo_path, "Save what is overwritten (not copied clusters) to a new file")
      ->option_text("FILE");
  repair_command.add_option("--drop-blob", options.drop_blobs, "Give up a damaged blob and its data")
      ->option_text("ID");
  repair_command
      .add_option("--detach-blob", options.detach_blobs,
                  "Cut a blob from its missing parent; what it lacks reads as zeroes")
      ->option_text("ID");
  repair_command.add_flag("--separate-shared", options.separate_shared,
                          "Give blobs that share clusters copies of their own");
  repair_command.add_flag("--rebuild-super-block", options.rebuild_super_block,
                          "Make a lost super block anew, from the parameters of the pool's creation");
  repair_command.add_option("--cluster-size", options.cluster_size, "With --rebuild-super-block [default: 4MiB]")
      ->option_text("SIZE");
  repair_command.add_option("--md-ratio", options.md_ratio_percent, "With --rebuild-super-block [default: 100]")
      ->option_text("PERCENT");
  repair_command.add_option("--block-size", options.block_size, "With --rebuild-super-block [default: 512]")
      ->option_text("BYTES");
  repair_command.add_flag("--json", options.json, "Print as JSON");
  repair_command.add_flag("--notes", options.notes, "Print what is normal after a crash, too");

  CLI::App& undo_command = *add_command("undo", "Put back what a repair has overwritten");
  undo_command.add_option("file", options.undo_path, "File that repair --undo has saved")->required();
  undo_command.add_flag("--write", options.write, "Write to the device");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "error: {}\n\nFor more information, try 'pool-inspect --help'.\n", error.what());
    return kUsage;
  }
  if (show_command.parsed()) return show(options);
  if (check_command.parsed()) return check(options);
  if (repair_command.parsed()) return repair(options);
  return undo(options);
}

}  // namespace
}  // namespace cairn::cli

int main(int argc, char** argv) {
  return cairn::cli::run(argc, argv);
}
