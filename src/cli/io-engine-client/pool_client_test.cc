// The commands of pools, replicas and snapshots: what each sends and prints, seen from outside of the client's process.
#include <gmock/gmock.h>
#include <google/protobuf/empty.pb.h>
#include <gtest/gtest.h>
#include <pool.pb.h>
#include <replica.pb.h>
#include <snapshot.pb.h>
#include <stats.pb.h>

#include "cli/io-engine-client/client_case.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;
using google::protobuf::Empty;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;

constexpr const char* kReplicaUuid = "11111111-2222-4333-8444-555555555555";
constexpr const char* kSnapshotUuid = "22222222-2222-4333-8444-555555555555";
constexpr const char* kPoolUuid = "99999999-2222-4333-8444-555555555555";

using PoolClient = ClientCase;

const char* const kPool = R"(
    name: "pool0" uuid: "99999999-2222-4333-8444-555555555555" disks: "aio:///dev/sdb?uuid=x" state: POOL_ONLINE
    capacity: 100663296 used: 25165824 committed: 25165824 cluster_size: 4194304 page_size: 4096 disk_capacity: 104857600
    md_info { md_page_size: 4096 md_pages: 24 md_used_pages: 3 })";

TEST_F(PoolClient, PoolCreate) {
  engine_.answer("PoolRpc/CreatePool", from_text<v1::Pool>(kPool));
  expect({"pool", "create", "pool0", "/dev/sdb"}, "pool0\n");
  EXPECT_THAT(engine_.take_requests(), ElementsAre(R"(PoolRpc/CreatePool name: "pool0" disks: "/dev/sdb")"));
  engine_.answer("PoolRpc/CreatePool", from_text<v1::Pool>(kPool));
  expect({"pool", "create", "pool0", "aio:///dev/sdb", "--uuid", kPoolUuid, "--cluster-size", "16MiB",
          "--md-resv-ratio", "0.5", "-t", "lvm", "--overwrite"},
         "pool0\n");
  EXPECT_THAT(
      engine_.take_requests(),
      ElementsAre(R"(PoolRpc/CreatePool name: "pool0" uuid { value: "99999999-2222-4333-8444-555555555555" } )"
                  R"(disks: "aio:///dev/sdb" pooltype: Lvm cluster_size: 16777216 md_args { md_resv_ratio: 0.5 } )"
                  R"(overwrite: true)"));
  expect_usage_error({"pool", "create", "pool0"}, "disk");
  expect_usage_error({"pool", "create", "pool0", "/dev/sdb", "-t", "zfs"}, "zfs");
  const Finished refused = run({"pool", "create", "pool0", "/dev/sdb", "--cluster-size", "8GiB"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("Bad size '8GiB'"));
}

TEST_F(PoolClient, PoolImportExportDestroy) {
  engine_.answer("PoolRpc/ImportPool", from_text<v1::Pool>(kPool));
  expect({"pool", "import", "pool0", "/dev/sdb", "-u", kPoolUuid}, "pool0\n");
  engine_.answer("PoolRpc/ExportPool", Empty());
  expect({"pool", "export", "pool0"}, "pool: pool0 is exported\n");
  engine_.answer("PoolRpc/DestroyPool", Empty());
  expect({"pool", "destroy", "pool0", "--uuid", kPoolUuid}, "pool: pool0 is deleted\n");
  EXPECT_THAT(
      engine_.take_requests(),
      ElementsAre(
          R"(PoolRpc/ImportPool name: "pool0" uuid { value: "99999999-2222-4333-8444-555555555555" } disks: "/dev/sdb")",
          R"(PoolRpc/ExportPool name: "pool0")",
          R"(PoolRpc/DestroyPool name: "pool0" uuid { value: "99999999-2222-4333-8444-555555555555" })"));
}

TEST_F(PoolClient, PoolGrow) {
  engine_.answer("PoolRpc/GrowPool", from_text<v1::GrowPoolResponse>(
                                         "previous_pool { capacity: 100663296 } current_pool { capacity: 100663296 }"));
  expect({"pool", "grow", "pool0"}, "Pool capacity did not change: 100663296 bytes\n");
  engine_.answer("PoolRpc/GrowPool", from_text<v1::GrowPoolResponse>(
                                         "previous_pool { capacity: 100663296 } current_pool { capacity: 201326592 }"));
  expect({"pool", "grow", "pool0"}, "Pool capacity was 100663296, now 201326592 bytes\n");
}

TEST_F(PoolClient, PoolList) {
  engine_.answer("PoolRpc/ListPools", from_text<v1::ListPoolsResponse>("pools {" + std::string(kPool) + "}"));
  expect({"pool", "list"},
         "NAME  UUID                                 STATE   CAPACITY     USED  USED% CLUSTER_SIZE PAGE_SIZE "
         "MD_PAGE_SIZE MD_PAGES MD_USED_PAGES MD_USED% DISKS                 DISK_CAPACITY\n"
         "pool0 99999999-2222-4333-8444-555555555555 online 100663296 25165824 25.00%      4194304      4096 "
         "        4096       24             3   12.50% aio:///dev/sdb?uuid=x 104857600    \n");
  engine_.answer("PoolRpc/ListPools", v1::ListPoolsResponse());
  expect({"pool", "list", "pool0", "-t", "lvs"}, "No pools found\n");
  EXPECT_THAT(engine_.take_requests(),
              ElementsAre("PoolRpc/ListPools", R"(PoolRpc/ListPools name { value: "pool0" } pooltype { })"));
}

const char* const kReplica = R"(
    name: "r0" uuid: "11111111-2222-4333-8444-555555555555" pooluuid: "p" size: 12582912 thin: true share: NVMF
    uri: "nvmf+tcp://10.0.0.7:8420/nqn.2019-05.io.openebs:r0?uuid=u" poolname: "pool0" is_clone: true
    usage { capacity_bytes: 12582912 allocated_bytes: 8388608 allocated_bytes_snapshots: 4194304 })";

TEST_F(PoolClient, ReplicaCreateInBothForms) {
  engine_.answer("ReplicaRpc/CreateReplica", from_text<v1::Replica>(kReplica));
  expect({"replica", "create", "r0", kReplicaUuid, kPoolUuid, "--size", "12MiB", "--thin", "-p", "nvmf",
          "--allowed-host", "nqn.a:b", "--allowed-host", "nqn.c:d"},
         "nvmf+tcp://10.0.0.7:8420/nqn.2019-05.io.openebs:r0?uuid=u\n");
  EXPECT_THAT(engine_.take_requests(),
              ElementsAre(R"(ReplicaRpc/CreateReplica name: "r0" uuid: "11111111-2222-4333-8444-555555555555" )"
                          R"(pooluuid: "99999999-2222-4333-8444-555555555555" size: 12582912 thin: true share: NVMF )"
                          R"(allowed_hosts: "nqn.a:b" allowed_hosts: "nqn.c:d")"));
  engine_.answer("ReplicaRpc/CreateReplica", from_text<v1::Replica>(kReplica));
  EXPECT_EQ(run({"replica", "create", "tpool", "replica1", "--size=10"}).exit_code, 0);
  EXPECT_THAT(engine_.take_requests(),
              ElementsAre(MatchesRegex(R"(ReplicaRpc/CreateReplica name: "replica1" uuid: "[0-9a-f-]+" )"
                                       R"(pooluuid: "tpool" size: 10)")));
  expect_usage_error({"replica", "create", "r0", kReplicaUuid, kPoolUuid}, "--size");
  expect_usage_error({"replica", "create", "r0", "--size", "1"}, "uuid");
}

TEST_F(PoolClient, ReplicaDestroyInBothForms) {
  engine_.answer("ReplicaRpc/DestroyReplica", Empty());
  expect({"replica", "destroy", kReplicaUuid, "--pool-name", "pool0"},
         std::string("replica: ") + kReplicaUuid + " is deleted\n");
  EXPECT_THAT(
      engine_.take_requests(),
      ElementsAre(R"(ReplicaRpc/DestroyReplica uuid: "11111111-2222-4333-8444-555555555555" pool_name: "pool0")"));
  engine_.answer("ReplicaRpc/ListReplicas",
                 from_text<v1::ListReplicasResponse>("replicas {" + std::string(kReplica) + "}"));
  engine_.answer("ReplicaRpc/DestroyReplica", Empty());
  expect({"replica", "destroy", "tpool", "r0"}, "replica: r0 is deleted\n");
  EXPECT_THAT(
      engine_.take_requests(),
      ElementsAre(R"(ReplicaRpc/ListReplicas name { value: "r0" } poolname { value: "tpool" })",
                  R"(ReplicaRpc/DestroyReplica uuid: "11111111-2222-4333-8444-555555555555" pool_name: "tpool")"));
  engine_.answer("ReplicaRpc/ListReplicas", v1::ListReplicasResponse());
  const Finished missing = run({"replica", "destroy", "tpool", "r9"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_EQ(missing.err, "error: NOT_FOUND: replica 'r9' could not be found on pool 'tpool'\n");
  engine_.take_requests();
  expect_usage_error({"replica", "destroy", kReplicaUuid, "--pool-name", "a", "--pool-uuid", "b"}, "excludes");
}

TEST_F(PoolClient, ReplicaShareResizeUnshare) {
  engine_.answer("ReplicaRpc/ShareReplica", from_text<v1::Replica>(kReplica));
  expect({"replica", "share", kReplicaUuid, "nvmf", "--allowed-host", "nqn.a:b"},
         "nvmf+tcp://10.0.0.7:8420/nqn.2019-05.io.openebs:r0?uuid=u\n");
  engine_.answer("ReplicaRpc/UnshareReplica", from_text<v1::Replica>(R"(uri: "bdev:///r0?uuid=u")"));
  expect({"replica", "unshare", kReplicaUuid}, "bdev:///r0?uuid=u\n");
  engine_.answer("ReplicaRpc/ResizeReplica", v1::Replica());
  expect({"replica", "resize", kReplicaUuid, "20MiB"}, std::string("replica ") + kReplicaUuid + " is resized\n");
  EXPECT_THAT(
      engine_.take_requests(),
      ElementsAre(
          R"(ReplicaRpc/ShareReplica uuid: "11111111-2222-4333-8444-555555555555" share: NVMF allowed_hosts: "nqn.a:b")",
          R"(ReplicaRpc/UnshareReplica uuid: "11111111-2222-4333-8444-555555555555")",
          R"(ReplicaRpc/ResizeReplica uuid: "11111111-2222-4333-8444-555555555555" requested_size: 20971520)"));
  expect_usage_error({"replica", "share", kReplicaUuid, "rdma"}, "rdma");
}

TEST_F(PoolClient, ReplicaList) {
  engine_.answer("ReplicaRpc/ListReplicas",
                 from_text<v1::ListReplicasResponse>("replicas {" + std::string(kReplica) + "}"));
  expect(
      {"-u", "i", "replica", "list"},
      "POOL  NAME UUID                                 THIN SHARE      SIZE       CAP    ALLOC URI                  "
      "                                     IS_SNAPSHOT IS_CLONE SNAP_ANCESTOR_SIZE CLONE_SNAP_ANCESTOR_SIZE\n"
      "pool0 r0   11111111-2222-4333-8444-555555555555 true  nvmf 12.00 MiB 12.00 MiB 8.00 MiB "
      "nvmf+tcp://10.0.0.7:8420/nqn.2019-05.io.openebs:r0?uuid=u false       true     4.00 MiB           0 B         "
      "            \n");
  engine_.answer("ReplicaRpc/ListReplicas", v1::ListReplicasResponse());
  expect({"replica", "list"}, "No replicas found\n");
}

TEST_F(PoolClient, ReplicaStats) {
  engine_.answer("StatsRpc/GetReplicaIoStats",
                 from_text<v1::ReplicaIoStatsResponse>(
                     R"(stats { stats { name: "r0" uuid: "11111111-2222-4333-8444-555555555555"
                        num_read_ops: 1 num_write_ops: 2 bytes_read: 512 bytes_written: 1024 } })"));
  engine_.answer("ReplicaRpc/ListReplicas",
                 from_text<v1::ListReplicasResponse>("replicas {" + std::string(kReplica) + "}"));
  expect({"replica", "stats"},
         "POOL  NAME RDCNT WRCNT RDBYTES WRBYTES\n"
         "pool0 r0   1     2     512     1024   \n");
}

const char* const kSnapshot = R"(
    snapshot_uuid: "22222222-2222-4333-8444-555555555555" snapshot_name: "monday" snapshot_size: 4194304 num_clones: 1
    timestamp { seconds: 1700000000 } source_uuid: "11111111-2222-4333-8444-555555555555" source_size: 12582912
    pool_uuid: "p" entity_id: "e" txn_id: "t" valid_snapshot: true referenced_bytes: 8388608)";

TEST_F(PoolClient, SnapshotCreateListDestroy) {
  engine_.answer("SnapshotRpc/CreateReplicaSnapshot",
                 from_text<v1::CreateReplicaSnapshotResponse>("snapshot {" + std::string(kSnapshot) + "}"));
  expect(
      {"snapshot", "create_for_replica", kReplicaUuid, "monday", "e", "t", kSnapshotUuid},
      "SNAP_UUID                            SNAP_NAME SNAP_SIZE CREATE_TIME          CLONES SOURCE_UUID               "
      "           SOURCE_SIZE POOL_UUID ENTITY_ID TXN_ID VALID_SNAPSHOT discarded_snapshot\n"
      "22222222-2222-4333-8444-555555555555 monday    4194304   2023-11-14T22:13:20Z 1      "
      "11111111-2222-4333-8444-555555555555 12582912    p         e         t      true           false             "
      "\n");
  engine_.answer("SnapshotRpc/ListSnapshot",
                 from_text<v1::ListSnapshotsResponse>("snapshots {" + std::string(kSnapshot) + "}"));
  expect({"-q", "snapshot", "list", kReplicaUuid},
         "22222222-2222-4333-8444-555555555555 monday 4194304 2023-11-14T22:13:20Z 1 "
         "11111111-2222-4333-8444-555555555555 12582912 p e t true false 8388608\n");
  engine_.answer("SnapshotRpc/DestroySnapshot", Empty());
  expect({"snapshot", "destroy", kSnapshotUuid, "--pool-uuid", kPoolUuid},
         std::string("snapshot: ") + kSnapshotUuid + " is deleted\n");
  EXPECT_THAT(
      engine_.take_requests(),
      ElementsAre(
          R"(SnapshotRpc/CreateReplicaSnapshot replica_uuid: "11111111-2222-4333-8444-555555555555" )"
          R"(snapshot_uuid: "22222222-2222-4333-8444-555555555555" snapshot_name: "monday" entity_id: "e" txn_id: "t")",
          R"(SnapshotRpc/ListSnapshot source_uuid: "11111111-2222-4333-8444-555555555555")",
          R"(SnapshotRpc/DestroySnapshot snapshot_uuid: "22222222-2222-4333-8444-555555555555" )"
          R"(pool_uuid: "99999999-2222-4333-8444-555555555555")"));
  engine_.answer("SnapshotRpc/ListSnapshot", v1::ListSnapshotsResponse());
  expect({"snapshot", "list"}, "No snapshots found\n");
}

TEST_F(PoolClient, Clones) {
  const std::string row =
      "CLONE_NAME CLONE_UUID                           CLONE_CAPACITY CLONE_ALLOC THIN POOL  IS_CLONE SNAPSHOT_UUID\n"
      "r0         11111111-2222-4333-8444-555555555555 12582912       8388608     true pool0 true                  \n";
  engine_.answer("SnapshotRpc/CreateSnapshotClone", from_text<v1::Replica>(kReplica));
  expect({"snapshot", "create_clone", kSnapshotUuid, "r0", kReplicaUuid}, row);
  engine_.answer("SnapshotRpc/ListSnapshotClone",
                 from_text<v1::ListSnapshotCloneResponse>("replicas {" + std::string(kReplica) + "}"));
  expect({"snapshot", "list_clone"}, row);
  engine_.answer("SnapshotRpc/ListSnapshotClone", v1::ListSnapshotCloneResponse());
  expect({"snapshot", "list_clone", kSnapshotUuid}, "No clones found\n");
}

}  // namespace
}  // namespace cairn::cli
