#include "cli/casperf/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/version.h"
#include "cli/json_text.h"
#include "cli/table.h"

namespace cairn::cli {

namespace {

using Json = nlohmann::ordered_json;

struct Quantile {
  const char* name;
  double share;
};
constexpr Quantile kQuantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}
double microseconds(Duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}
double per_second(uint64_t count, Duration elapsed) {
  return elapsed.count() > 0 ? static_cast<double>(count) / seconds(elapsed) : 0;
}

// All jobs together. The rates add up: jobs measure at the same time, but those that do a number of I/Os may end apart.
struct Total {
  explicit Total(const Load& load) {
    for (const Load::Member& member : load.members()) {
      const JobResult& result = member.job->result();
      reads += result.reads;
      writes += result.writes;
      ios_per_second += per_second(result.ios(), result.elapsed);
      errors += result.errors;
      late += result.late;
      not_started += result.not_started;
      blocks_checked += result.blocks_checked;
      faults += result.num_faults();
    }
  }
  LatencyHistogram reads, writes;
  double ios_per_second = 0;
  uint64_t errors = 0, late = 0, not_started = 0, blocks_checked = 0, faults = 0;
};

Row latency_row(const char* name, const LatencyHistogram& histogram) {
  auto cell = [](Duration latency) { return fmt::format("{:.1f}", microseconds(latency)); };
  Row row{name, fmt::format("{}", histogram.count()), cell(histogram.mean()), cell(histogram.min())};
  for (const Quantile& quantile : kQuantiles) row.push_back(cell(histogram.quantile(quantile.share)));
  row.push_back(cell(histogram.max()));
  return row;
}

Json latency_json(const LatencyHistogram& histogram) {
  Json json{{"count", histogram.count()},
            {"mean_us", microseconds(histogram.mean())},
            {"min_us", microseconds(histogram.min())}};
  for (const Quantile& quantile : kQuantiles) {
    json[fmt::format("{}_us", quantile.name)] = microseconds(histogram.quantile(quantile.share));
  }
  json["max_us"] = microseconds(histogram.max());
  return json;
}

Json result_json(const LatencyHistogram& reads, const LatencyHistogram& writes, double ios_per_second,
                 const LoadOptions& options) {
  return {{"ios", reads.count() + writes.count()},
          {"iops", ios_per_second},
          {"bytes_per_second", ios_per_second * static_cast<double>(options.io_size)},
          {"read", latency_json(reads)},
          {"write", latency_json(writes)}};
}

Json job_json(const Load::Member& member, const LoadOptions& options) {
  const JobResult& result = member.job->result();
  Json json{{"name", member.name}, {"reactor", member.reactor->index()}, {"seconds", seconds(result.elapsed)}};
  json.update(result_json(result.reads, result.writes, per_second(result.ios(), result.elapsed), options));
  json["errors"] = result.errors;
  if (!result.first_error.empty()) json["first_error"] = result.first_error;
  if (options.rate > 0) json["schedule"] = {{"late", result.late}, {"not_started", result.not_started}};
  if (options.verify) {
    Json faults;
    for (size_t i = 0; i < kNumBlockFaults; ++i) {
      faults[block_fault_name(static_cast<BlockFault>(i))] = result.faults[i];
    }
    json["verification"] = {
        {"blocks_checked", result.blocks_checked}, {"faults", faults}, {"first_faults", result.fault_texts}};
  }
  return json;
}

}  // namespace

std::string render_text_report(const LoadOptions& options, const Load& load) {
  const Total total(load);
  std::string text;
  std::vector<Row> jobs;
  auto add = [&](const std::string& name, double rate) {
    jobs.push_back(
        {name, fmt::format("{:.0f}", rate), fmt::format("{:.1f}", rate * static_cast<double>(options.io_size) / 1e6)});
  };
  for (const Load::Member& member : load.members()) {
    add(member.name, per_second(member.job->result().ios(), member.job->result().elapsed));
  }
  if (load.members().size() > 1) add("total", total.ios_per_second);
  text += render_table({fmt::format("{}, {} bytes, depth {}{}", options.type, options.io_size, options.depth,
                                    load.stopped() ? ", interrupted" : ""),
                        ">IO/s", ">MB/s"},
                       jobs, true);

  std::vector<Row> latencies;
  if (total.reads.count() > 0) latencies.push_back(latency_row("read", total.reads));
  if (total.writes.count() > 0) latencies.push_back(latency_row("write", total.writes));
  if (!latencies.empty()) {
    std::vector<std::string_view> header = {"latency, us", ">I/Os", ">mean", ">min"};
    const std::vector<std::string_view> quantiles = {">p50", ">p90", ">p99", ">p99.9", ">p99.99"};
    header.insert(header.end(), quantiles.begin(), quantiles.end());
    header.push_back(">max");
    text += "\n" + render_table(header, latencies, true);
  }
  if (options.rate > 0 && total.late + total.not_started > 0) {
    text += fmt::format("\n{} I/Os started late because {} were in flight, {} had not started at the end\n", total.late,
                        options.depth, total.not_started);
  }
  for (const Load::Member& member : load.members()) {
    const JobResult& result = member.job->result();
    if (result.errors > 0) {
      text += fmt::format("\n{}: {} I/Os failed, first: {}\n", member.name, result.errors, result.first_error);
    }
    if (result.num_faults() > 0) text += fmt::format("\n{}: {} wrong blocks\n", member.name, result.num_faults());
    for (const std::string& fault : result.fault_texts) text += "  " + fault + "\n";
  }
  if (options.verify) text += fmt::format("\n{} blocks checked, {} wrong\n", total.blocks_checked, total.faults);
  return text;
}

std::string render_json_report(const LoadOptions& options, const Load& load) {
  const Total total(load);
  Json jobs = Json::array();
  for (const Load::Member& member : load.members()) jobs.push_back(job_json(member, options));
  Json asked{{"type", options.type},       {"read_percent", options.workload.read_percent},
             {"io_size", options.io_size}, {"depth", options.depth},
             {"jobs", options.jobs},       {"rate", options.rate},
             {"verify", options.verify}};
  Json sum = result_json(total.reads, total.writes, total.ios_per_second, options);
  sum["errors"] = total.errors;
  sum["faults"] = total.faults;
  const Json report{
      {"casperf", version()}, {"options", asked}, {"interrupted", load.stopped()}, {"jobs", jobs}, {"total", sum}};
  return render_json(report, /*colour=*/false) + "\n";
}

bool has_errors(const Load& load) {
  return std::ranges::any_of(load.members(), [](const auto& each) { return each.job->result().errors > 0; });
}

bool has_faults(const Load& load) {
  return std::ranges::any_of(load.members(), [](const auto& each) { return each.job->result().num_faults() > 0; });
}

}  // namespace cairn::cli
