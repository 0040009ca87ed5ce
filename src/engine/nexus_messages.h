// Nexuses and their rebuilds as the v1 API shows them, and how its requests name them. Primary reactor.
#pragma once

#include <nexus.pb.h>

#include <chrono>
#include <memory>
#include <string>

#include "base/error.h"
#include "nexus/nexus.h"

namespace cairn::engine {

class Engine;

// The time of day at a moment of the runtime's clock.
google::protobuf::Timestamp time_of_day(TimePoint moment);
google::protobuf::Timestamp to_timestamp(std::chrono::system_clock::time_point moment);

void fill_nexus(Engine& engine, const nexus::Nexus& nexus, mayastor::v1::Nexus& out);
void fill_child(const nexus::ChildInfo& child, mayastor::v1::Child& out);
void fill_statistics(const nexus::RebuildStatistics& statistics, mayastor::v1::RebuildStatsResponse& out);
void fill_record(const nexus::RebuildRecord& record, mayastor::v1::RebuildHistoryRecord& out);

// The nexus of that UUID, which is compared as text. NOT_FOUND.
Result<std::shared_ptr<nexus::Nexus>> find_nexus(Engine& engine, const std::string& uuid);

// What is to be made. INVALID_ARGUMENT for what no nexus can be made of; the rest is up to the nexus.
Result<nexus::NexusRequest> nexus_request(const mayastor::v1::CreateNexusRequest& request);

}  // namespace cairn::engine
