// stats pool, nexus, replica, reset.
#include <fmt/format.h>
#include <google/protobuf/empty.pb.h>
#include <stats.pb.h>

#include <CLI/App.hpp>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;

// Whole microseconds; "-" from an engine that does not tell how long a tick is.
std::string latency_us(uint64_t ticks, uint64_t ticks_per_second) {
  if (ticks_per_second == 0) return "-";
  using Wide = unsigned __int128;
  const Wide microseconds = Wide(ticks) * 1'000'000 / ticks_per_second;
  return microseconds > UINT64_MAX ? "-" : std::to_string(static_cast<uint64_t>(microseconds));
}

Row row_of(const v1::IoStats& stats, const Output& output) {
  const auto latency = [&](uint64_t ticks) { return latency_us(ticks, stats.tick_rate()); };
  return {stats.name(),
          std::to_string(stats.num_read_ops()),
          output.size(stats.bytes_read()),
          std::to_string(stats.num_write_ops()),
          output.size(stats.bytes_written()),
          std::to_string(stats.num_unmap_ops()),
          output.size(stats.bytes_unmapped()),
          latency(stats.read_latency_ticks()),
          latency(stats.write_latency_ticks()),
          latency(stats.unmap_latency_ticks()),
          latency(stats.max_read_latency_ticks()),
          latency(stats.min_read_latency_ticks()),
          latency(stats.max_write_latency_ticks()),
          latency(stats.min_write_latency_ticks())};
}

const v1::IoStats& io_stats(const v1::IoStats& stats) {
  return stats;
}
const v1::IoStats& io_stats(const v1::ReplicaIoStats& replica) {
  return replica.stats();
}

template <typename Response>
Result<> show(const std::string& method, const std::string& name, std::string_view when_empty, EngineChannel& engine,
              Output& output) {
  v1::ListStatsOption request;
  if (!name.empty()) request.set_name(name);
  Response response;
  output.detail(fmt::format("Reading the I/O counters{}{}", name.empty() ? "" : " of ", name));
  if (auto called = engine.call(method, request, response); !called) return called;
  output.result(response, [&] {
    std::vector<Row> rows;
    for (const auto& entry : response.stats()) rows.push_back(row_of(io_stats(entry), output));
    output.table({"NAME", "NUM_RD_OPS", "TOTAL_RD", "NUM_WR_OPS", "TOTAL_WR", "NUM_UNMAP_OPS", "TOTAL_UNMAPPED",
                  "RD_LAT", "WR_LAT", "UNMAP_LATENCY", "MAX_RD_LAT", "MIN_RD_LAT", "MAX_WR_LAT", "MIN_WR_LAT"},
                 rows, when_empty);
  });
  return {};
}

Result<> reset(EngineChannel& engine, Output& output) {
  google::protobuf::Empty response;
  output.detail("Resetting the I/O counters");
  if (auto called = engine.call("mayastor.v1.StatsRpc/ResetIoStats", google::protobuf::Empty(), response); !called)
    return called;
  output.result(response, [&] { output.note("Stats Reset Completed"); });
  return {};
}

template <typename Response>
void add_show(CommandLine& line, CLI::App& group, const std::string& kind, const std::string& description,
              const std::string& method, const std::string& when_empty) {
  auto name = std::make_shared<std::string>();
  line.command(
          group, kind, description,
          [=](EngineChannel& engine, Output& output) {
            return show<Response>(method, *name, when_empty, engine, output);
          },
          fmt::format("io-engine-client -u i stats {}", kind))
      .add_option("name", *name, "Show only the one of this name");
}

}  // namespace

void add_stats_commands(CommandLine& line) {
  CLI::App& group = line.group("stats", "I/O counters: operations, bytes, and latencies in microseconds");
  add_show<v1::PoolIoStatsResponse>(line, group, "pool", "Show the counters of pools",
                                    "mayastor.v1.StatsRpc/GetPoolIoStats", "No pools found");
  add_show<v1::NexusIoStatsResponse>(line, group, "nexus", "Show the counters of nexuses",
                                     "mayastor.v1.StatsRpc/GetNexusIoStats", "No nexus found");
  add_show<v1::ReplicaIoStatsResponse>(line, group, "replica", "Show the counters of replicas",
                                       "mayastor.v1.StatsRpc/GetReplicaIoStats", "No replicas have been created");
  line.command(group, "reset", "Set all counters to zero", reset, "io-engine-client stats reset");
}

}  // namespace cairn::cli
