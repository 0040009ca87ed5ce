// The groups of commands; each has a file of its name.
#pragma once

namespace CLI {
class App;
}

namespace cairn::cli {

class CommandLine;

void add_bdev_commands(CommandLine& line);
void add_call_command(CommandLine& line);
void add_controller_commands(CommandLine& line);
void add_device_commands(CommandLine& line);
void add_jsonrpc_command(CommandLine& line);
void add_nexus_commands(CommandLine& line);
void add_perf_commands(CommandLine& line);
void add_pool_commands(CommandLine& line);
void add_rebuild_commands(CommandLine& line);
void add_replica_commands(CommandLine& line);
void add_scrub_commands(CommandLine& line, CLI::App& nexus);  // a group of that of nexuses
void add_snapshot_commands(CommandLine& line);
void add_snapshot_rebuild_commands(CommandLine& line);
void add_stats_commands(CommandLine& line);
void add_test_commands(CommandLine& line);

}  // namespace cairn::cli
