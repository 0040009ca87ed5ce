// The commands of nexuses and rebuilds: what each sends and prints, seen from outside of the client's process.
#include <gmock/gmock.h>
#include <google/protobuf/empty.pb.h>
#include <gtest/gtest.h>
#include <nexus.pb.h>

#include <nlohmann/json.hpp>

#include "cli/io-engine-client/client_case.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kUuid = "11111111-2222-4333-8444-555555555555";
const std::string kUri = "bdev:///r0?uuid=22222222-2222-4333-8444-555555555555";

const std::string kNexus = R"(
    name: "nexus0" uuid: "11111111-2222-4333-8444-555555555555" size: 67108864 state: NEXUS_DEGRADED rebuilds: 1
    device_uri: "nvmf+tcp://10.0.0.7:8420/nqn.2019-05.io.openebs:nexus0" ana_state: NVME_ANA_OPTIMIZED_STATE
    children { uri: "bdev:///r0" state: CHILD_STATE_ONLINE rebuild_progress: -1 }
    children { uri: "bdev:///r1" state: CHILD_STATE_DEGRADED state_reason: CHILD_STATE_REASON_OUT_OF_SYNC
               rebuild_progress: 40 }
    children { uri: "bdev:///r2" state: CHILD_STATE_FAULTED state_reason: CHILD_STATE_REASON_IO_FAILURE
               rebuild_progress: -1 fault_timestamp { seconds: 1700000000 } has_io_log: true })";

class NexusClient : public ClientCase {
 protected:
  template <typename Response>
  void answer(const std::string& method, const std::string& text = "") {
    engine_.answer("NexusRpc/" + method, from_text<Response>(text));
  }
  void answer_list() { answer<v1::ListNexusResponse>("ListNexus", "nexus_list {" + kNexus + "}"); }
};

TEST_F(NexusClient, Create) {
  answer<v1::CreateNexusResponse>("CreateNexus", "nexus {" + kNexus + "}");
  expect({"nexus", "create", kUuid, "64MiB", "bdev:///r0 bdev:///r1", "bdev:///r2"}, kUuid + "\n");
  answer<v1::CreateNexusResponse>("CreateNexus", "nexus {" + kNexus + "}");
  expect({"nexus", "create", kUuid, "1000", kUri, "--name", "n", "--min-cntlid", "7", "--max-cntlid", "9", "--resv-key",
          "11", "--preempt-key", "12", "--resv-type", "ExclusiveAccess", "--nexus-info-key", "/k"},
         kUuid + "\n");
  EXPECT_THAT(engine_.take_requests(),
              ElementsAre("NexusRpc/CreateNexus name: \"" + kUuid + "\" uuid: \"" + kUuid +
                              "\" size: 67108864 minCntlId: 1 maxCntlId: 65519 children: \"bdev:///r0\" children: "
                              "\"bdev:///r1\" children: \"bdev:///r2\"",
                          "NexusRpc/CreateNexus name: \"n\" uuid: \"" + kUuid +
                              "\" size: 1000 minCntlId: 7 maxCntlId: 9 resvKey: 11 preemptKey: 12 children: \"" + kUri +
                              "\" nexusInfoKey: \"/k\" resvType: ExclusiveAccess"));
  expect_usage_error({"nexus", "create", kUuid, "64MiB"}, "children");
  expect_usage_error({"nexus", "create", kUuid, "64MiB", kUri, "--resv-type", "Some"}, "Some");
  const Finished bad = run({"nexus", "create", kUuid, "much", kUri});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_THAT(bad.err, HasSubstr("Bad size 'much'"));
}

TEST_F(NexusClient, List) {
  answer_list();
  expect({"nexus", "list"},
         "NAME   UUID                                     SIZE STATE    REBUILDS "
         "PATH                                                  \n"
         "nexus0 11111111-2222-4333-8444-555555555555 67108864 degraded        1 "
         "nvmf+tcp://10.0.0.7:8420/nqn.2019-05.io.openebs:nexus0\n");
  answer_list();
  const Finished with_children = run({"-u", "i", "nexus", "list", "-c"});
  EXPECT_THAT(with_children.out, HasSubstr("64.00 MiB"));
  EXPECT_THAT(with_children.out, HasSubstr("bdev:///r0,bdev:///r1,bdev:///r2"));
  answer<v1::ListNexusResponse>("ListNexus");
  expect({"nexus", "list"}, "No nexus found\n");
}

TEST_F(NexusClient, Children) {
  answer_list();
  const Finished table = run({"-q", "nexus", "children", kUuid});
  EXPECT_THAT(table.out, testing::MatchesRegex("bdev:///r0 online   - +- *\nbdev:///r1 degraded out of sync +- *\n"
                                               "bdev:///r2 faulted  I/O failure 2023-11-14T22:13:20Z *\n"));
  answer_list();
  const Finished json = run({"-o", "json", "nexus", "children", kUuid});
  const auto children = nlohmann::json::parse(json.out)["nexus_list"][0]["children"];
  EXPECT_EQ(children[2]["fault_timestamp"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(children[2]["has_io_log"], true);
  EXPECT_EQ(children[1]["rebuild_progress"], 40);
  EXPECT_THAT(engine_.take_requests(), ElementsAre("NexusRpc/ListNexus uuid { value: \"" + kUuid + "\" }",
                                                   "NexusRpc/ListNexus uuid { value: \"" + kUuid + "\" }"));
}

TEST_F(NexusClient, ExportAndEnd) {
  answer<v1::PublishNexusResponse>("PublishNexus", "nexus {" + kNexus + "}");
  expect({"nexus", "publish", kUuid, "--allowed-host", "nqn.a", "--allowed-host", "nqn.b"},
         "Nexus published over: nvmf+tcp://10.0.0.7:8420/nqn.2019-05.io.openebs:nexus0\n");
  answer<v1::UnpublishNexusResponse>("UnpublishNexus");
  expect({"nexus", "unpublish", kUuid}, kUuid + "\n");
  answer<v1::GetNvmeAnaStateResponse>("GetNvmeAnaState", "ana_state: NVME_ANA_NON_OPTIMIZED_STATE");
  expect({"nexus", "ana_state", kUuid}, "non_optimized\n");
  answer<v1::GetNvmeAnaStateResponse>("GetNvmeAnaState", "ana_state: NVME_ANA_NON_OPTIMIZED_STATE");
  expect({"-q", "nexus", "ana_state", kUuid}, "");
  answer<v1::SetNvmeAnaStateResponse>("SetNvmeAnaState");
  expect({"nexus", "ana_state", kUuid, "inaccessible"}, kUuid + "\n");
  answer<v1::ResizeNexusResponse>("ResizeNexus");
  expect({"nexus", "resize", kUuid, "1MiB"}, "Resized nexus " + kUuid + " to 1048576\n");
  answer<v1::ShutdownNexusResponse>("ShutdownNexus");
  expect({"nexus", "shutdown", kUuid}, kUuid + "\n");
  engine_.answer("NexusRpc/DestroyNexus", google::protobuf::Empty());
  expect({"nexus", "destroy", kUuid}, kUuid + "\n");
  const std::string uuid = " uuid: \"" + kUuid + "\"";
  EXPECT_THAT(
      engine_.take_requests(),
      ElementsAre("NexusRpc/PublishNexus" + uuid + " share: NVMF allowed_hosts: \"nqn.a\" allowed_hosts: \"nqn.b\"",
                  "NexusRpc/UnpublishNexus" + uuid, "NexusRpc/GetNvmeAnaState" + uuid,
                  "NexusRpc/GetNvmeAnaState" + uuid,
                  "NexusRpc/SetNvmeAnaState" + uuid + " ana_state: NVME_ANA_INACCESSIBLE_STATE",
                  "NexusRpc/ResizeNexus" + uuid + " requested_size: 1048576", "NexusRpc/ShutdownNexus" + uuid,
                  "NexusRpc/DestroyNexus" + uuid));
  expect_usage_error({"nexus", "ana_state", kUuid, "best"}, "best");
  engine_.refuse("NexusRpc/DestroyNexus", 5, "Nexus x does not exist");
  EXPECT_EQ(run({"nexus", "destroy", kUuid}).err, "error: NOT_FOUND: Nexus x does not exist\n");
}

TEST_F(NexusClient, ChangesOfChildren) {
  answer<v1::AddChildNexusResponse>("AddChildNexus");
  answer<v1::AddChildNexusResponse>("AddChildNexus");
  expect({"nexus", "add", kUuid, kUri}, kUuid + "\n");
  expect({"nexus", "add", kUuid, kUri, "true"}, kUuid + "\n");
  answer<v1::RemoveChildNexusResponse>("RemoveChildNexus");
  expect({"nexus", "remove", kUuid, kUri}, "Removed " + kUri + " from specified nexus\n");
  answer<v1::FaultNexusChildResponse>("FaultNexusChild");
  expect({"nexus", "child", "fault", kUuid, kUri}, kUri + "\n");
  for (const char* verb : {"offline", "online", "retire"}) {
    answer<v1::ChildOperationResponse>("ChildOperation");
    expect({"nexus", "child", verb, kUuid, kUri}, kUri + "\n");
  }
  const std::string child = "uuid: \"" + kUuid + "\" uri: \"" + kUri + "\"";
  EXPECT_THAT(engine_.take_requests(),
              ElementsAre("NexusRpc/AddChildNexus " + child, "NexusRpc/AddChildNexus " + child + " norebuild: true",
                          "NexusRpc/RemoveChildNexus " + child, "NexusRpc/FaultNexusChild " + child,
                          "NexusRpc/ChildOperation nexus_" + child,
                          "NexusRpc/ChildOperation nexus_" + child + " action: Online",
                          "NexusRpc/ChildOperation nexus_" + child + " action: FaultIOError"));
  expect_usage_error({"nexus", "add", kUuid, kUri, "maybe"}, "maybe");
}

TEST_F(NexusClient, Rebuilds) {
  answer<v1::StartRebuildResponse>("StartRebuild");
  answer<v1::StopRebuildResponse>("StopRebuild");
  answer<v1::PauseRebuildResponse>("PauseRebuild");
  answer<v1::ResumeRebuildResponse>("ResumeRebuild");
  for (const char* verb : {"start", "stop", "pause", "resume"}) expect({"rebuild", verb, kUuid, kUri}, kUri + "\n");
  answer<v1::RebuildStateResponse>("GetRebuildState", "state: \"running\"");
  expect({"rebuild", "state", kUuid, kUri}, "state  \nrunning\n");
  const std::string statistics =
      "blocks_total: 100 blocks_recovered: 40 blocks_transferred: 30 blocks_remaining: 60 progress: 40 "
      "blocks_per_task: 128 block_size: 512 tasks_total: 16 tasks_active: 4 is_partial: true";
  answer<v1::RebuildStatsResponse>("GetRebuildStats", statistics);
  expect({"rebuild", "stats", kUuid, kUri},
         "TOTAL RECOVERED TRANSFERRED REMAINING PROGRESS (%) BLK_PER_TASK BLK_SIZE PARTIAL TASKS_TOTAL TASKS_ACTIVE\n"
         "  100        40          30        60           40          128      512    true          16            4\n");
  answer<v1::RebuildStatsResponse>("GetRebuildStats", statistics);
  expect({"-q", "rebuild", "progress", kUuid, kUri}, "40\n");
  answer<v1::RebuildHistoryResponse>("GetRebuildHistory");
  expect({"rebuild", "history", kUuid}, "No rebuilds found\n");
  answer<v1::RebuildHistoryResponse>(
      "GetRebuildHistory",
      "records { child_uri: 'a' src_uri: 'b' state: Completed blocks_total: 100 blocks_transferred: 30 "
      "blocks_per_task: 128 block_size: 512 is_partial: true start_time { seconds: 1700000000 } "
      "end_time { seconds: 1700000001 } }");
  expect({"rebuild", "history", kUuid},
         "CHILD SOURCE TOTAL TRANSFERRED     STATE BLK_PER_TASK BLK_SIZE PARTIAL START                END              "
         "   \n"
         "a     b        100          30 completed          128      512    true 2023-11-14T22:13:20Z "
         "2023-11-14T22:13:21Z\n");
}

}  // namespace
}  // namespace cairn::cli
