// The client's contract: what each command sends, prints and returns, seen from outside of its process.
#include <bdev.pb.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <google/protobuf/empty.pb.h>
#include <gtest/gtest.h>
#include <host.pb.h>
#include <json.pb.h>
#include <stats.pb.h>
#include <test.pb.h>

#include "cli/io-engine-client/client_case.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;
using google::protobuf::Empty;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

using Client = ClientCase;

const char* const kTwoBdevs = R"(
    bdevs { name: "disk0" uuid: "5a1f6ee0-0000-4000-8000-000000000001" num_blocks: 131072 blk_size: 512 claimed: true
            claimed_by: "NVMe-oF Target" aliases: "malloc:///disk0" uri: "malloc:///disk0?size_mb=64" product_name: "Malloc disk"
            share_uri: "nvmf+tcp://10.0.0.7:8420/nqn.2019-05.io.openebs:disk0" }
    bdevs { name: "/dev/sdb" num_blocks: 3 blk_size: 4096 claimed_by: "Orphaned" share_uri: "bdev:////dev/sdb" })";

TEST_F(Client, BdevListIsATable) {
  engine_.answer("BdevRpc/List", from_text<v1::ListBdevResponse>(kTwoBdevs));
  expect({"bdev", "list"},
         "UUID                                 NUM_BLOCKS BLK_SIZE CAPACITY CLAIMED_BY     NAME     SHARE_URI          "
         "            "
         "                      \n"
         "5a1f6ee0-0000-4000-8000-000000000001 131072     512      67108864 NVMe-oF Target disk0    "
         "nvmf+tcp://10.0.0.7:8420/nqn.2019-05.io.openebs:disk0\n"
         "                                     3          4096     12288    Orphaned       /dev/sdb bdev:////dev/sdb   "
         "            "
         "                      \n");
  EXPECT_THAT(engine_.take_requests(), ElementsAre("BdevRpc/List"));
}

TEST_F(Client, UnitsChangeSizesAndQuietDropsTheHeader) {
  engine_.answer("BdevRpc/List",
                 from_text<v1::ListBdevResponse>(R"(bdevs { name: "a" num_blocks: 131072 blk_size: 512 })"));
  expect({"-u", "i", "-q", "bdev", "list"}, " 131072 512 64.00 MiB  a \n");
  engine_.answer("BdevRpc/List",
                 from_text<v1::ListBdevResponse>(R"(bdevs { name: "a" num_blocks: 131072 blk_size: 512 })"));
  expect({"-u", "d", "bdev", "list", "--quiet"}, " 131072 512 67.11 MB  a \n");
}

TEST_F(Client, EmptyListIsToldUnlessQuiet) {
  engine_.answer("BdevRpc/List", v1::ListBdevResponse());
  expect({"bdev", "list"}, "No bdevs found\n");
  engine_.answer("BdevRpc/List", v1::ListBdevResponse());
  expect({"bdev", "list", "-q"}, "");
}

TEST_F(Client, JsonIsTheAnswer) {
  engine_.answer("BdevRpc/List", from_text<v1::ListBdevResponse>(R"(bdevs { name: "a" num_blocks: 1 claimed: true })"));
  expect({"-o", "json", "bdev", "list"},
         "{\n"
         "  \"bdevs\": [\n"
         "    {\n"
         "      \"name\": \"a\",\n"
         "      \"uuid\": \"\",\n"
         "      \"num_blocks\": 1,\n"
         "      \"blk_size\": 0,\n"
         "      \"claimed\": true,\n"
         "      \"claimed_by\": \"\",\n"
         "      \"aliases\": \"\",\n"
         "      \"uri\": \"\",\n"
         "      \"product_name\": \"\",\n"
         "      \"share_uri\": \"\"\n"
         "    }\n"
         "  ]\n"
         "}\n");
}

TEST_F(Client, VerboseTellsWhatGoesOnOutsideOfTheJson) {
  engine_.answer("BdevRpc/List", v1::ListBdevResponse());
  expect({"-v", "bdev", "list"},
         "Connecting to http://" + engine_.address() + "/\nListing the block devices\nNo bdevs found\n");
  engine_.answer("BdevRpc/List", v1::ListBdevResponse());
  const Finished finished = run({"bdev", "list", "-vv", "-o", "json"});
  EXPECT_EQ(finished.exit_code, 0);
  EXPECT_EQ(finished.out, "{\n  \"bdevs\": []\n}\n");
  EXPECT_THAT(finished.err, StartsWith("Connecting to http://" + engine_.address() + "/\n"));
}

TEST_F(Client, BdevCreatePrintsTheName) {
  engine_.answer("BdevRpc/Create", from_text<v1::CreateBdevResponse>(R"(bdev { name: "disk0" })"));
  expect({"bdev", "create", "malloc:///disk0?size_mb=64&blk_size=512"}, "disk0\n");
  EXPECT_THAT(engine_.take_requests(), ElementsAre(R"(BdevRpc/Create uri: "malloc:///disk0?size_mb=64&blk_size=512")"));
}

TEST_F(Client, ErrorOfTheEngineGoesToStandardError) {
  engine_.refuse("BdevRpc/Create", 3, "Unsupported URI scheme: 'x'");
  const Finished finished = run({"bdev", "create", "x:///y"});
  EXPECT_EQ(finished.exit_code, 1);
  EXPECT_EQ(finished.out, "");
  EXPECT_EQ(finished.err, "error: INVALID_ARGUMENT: Unsupported URI scheme: 'x'\n");
}

TEST_F(Client, BdevDestroyFindsTheUri) {
  engine_.answer("BdevRpc/List",
                 from_text<v1::ListBdevResponse>(R"(bdevs { name: "disk0" uri: "malloc:///disk0?size_mb=64" })"));
  engine_.answer("BdevRpc/Destroy", Empty());
  expect({"bdev", "destroy", "disk0"}, "disk0\n");
  EXPECT_THAT(engine_.take_requests(), ElementsAre(R"(BdevRpc/List name { value: "disk0" })",
                                                   R"(BdevRpc/Destroy uri: "malloc:///disk0?size_mb=64")"));

  engine_.answer("BdevRpc/List", from_text<v1::ListBdevResponse>(R"(bdevs { name: "disk0" uri: "malloc:///disk0" })"));
  engine_.answer("BdevRpc/Destroy", Empty());
  expect({"bdev", "destroy", "disk0", "-o", "json"}, "null\n");
  engine_.take_requests();

  engine_.answer("BdevRpc/List", v1::ListBdevResponse());
  const Finished missing = run({"bdev", "destroy", "disk0"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_EQ(missing.err, "error: NOT_FOUND: block device 'disk0' could not be found\n");
  EXPECT_THAT(engine_.take_requests(), ElementsAre(HasSubstr("List")));
}

TEST_F(Client, BdevShareSendsTheHosts) {
  const auto response = from_text<v1::BdevShareResponse>(
      R"(bdev { name: "disk0" uri: "malloc:///disk0?uuid=u" share_uri: "nvmf+tcp://x" })");
  engine_.answer("BdevRpc/Share", response);
  expect({"bdev", "share", "--allowed-host", "nqn.a", "disk0", "--allowed-host", "nqn.b", "-p", "nvmf"},
         "malloc:///disk0?uuid=u\n");
  EXPECT_THAT(
      engine_.take_requests(),
      ElementsAre(R"(BdevRpc/Share name: "disk0" protocol: NVMF allowed_hosts: "nqn.a" allowed_hosts: "nqn.b")"));
  engine_.answer("BdevRpc/Share", response);
  expect({"bdev", "share", "disk0"}, "malloc:///disk0?uuid=u\n");
  EXPECT_THAT(engine_.take_requests(), ElementsAre(R"(BdevRpc/Share name: "disk0" protocol: NVMF)"));
  EXPECT_EQ(run({"bdev", "share", "disk0", "-p", "iscsi"}).exit_code, 2);
  EXPECT_THAT(engine_.take_requests(), IsEmpty());
}

TEST_F(Client, BdevUnsharePrintsTheName) {
  engine_.answer("BdevRpc/Unshare", Empty());
  expect({"bdev", "unshare", "disk0"}, "disk0\n");
  EXPECT_THAT(engine_.take_requests(), ElementsAre(R"(BdevRpc/Unshare name: "disk0")"));
}

TEST_F(Client, DeviceListShowsPartitionAndFilesystem) {
  const auto response = from_text<v1::ListBlockDevicesResponse>(R"(
      devices { devname: "/dev/sda" devtype: "disk" devmajor: 8 model: "QEMU" devpath: "/block/sda" devlinks: "/dev/disk/a"
                devlinks: "/dev/disk/b" size: 8 available: true }
      devices { devname: "/dev/sdb1" devtype: "partition" devmajor: 8 devminor: 17 devpath: "/p" size: 2048
                partition { scheme: "gpt" typeid: "0fc63daf" } filesystem { fstype: "ext4" uuid: "fs" mountpoints: "/" mountpoints: "/m" } })");
  engine_.answer("HostRpc/ListBlockDevices", response);
  expect({"device", "list"},
         "DEVNAME   DEVTYPE   MAJOR MINOR    SIZE AVAILABLE MODEL PARTTYPE     FSTYPE FSUUID MOUNTPOINTS DEVPATH    "
         "DEVLINKS      "
         "              \n"
         "/dev/sda  disk          8 0        4096 yes       QEMU                                         /block/sda "
         "\"/dev/disk/a\", \"/dev/disk/b\"\n"
         "/dev/sdb1 partition     8 17    1048576 no              gpt:0fc63daf ext4   fs     \"/\", \"/m\"   /p        "
         "               "
         "              \n");
  EXPECT_THAT(engine_.take_requests(), ElementsAre("HostRpc/ListBlockDevices"));
  engine_.answer("HostRpc/ListBlockDevices", v1::ListBlockDevicesResponse());
  expect({"device", "list", "-a"}, "No devices found\n");
  EXPECT_THAT(engine_.take_requests(), ElementsAre("HostRpc/ListBlockDevices all: true"));
}

TEST_F(Client, ControllerListAndStats) {
  engine_.answer("HostRpc/ListNvmeControllers", from_text<v1::ListNvmeControllersResponse>(R"(
      controllers { name: "h:8420/nqn.xn1" state: RUNNING size: 67108864 blk_size: 512 }
      controllers { name: "b" state: UNCONFIGURED }
      controllers { name: "c" state: INITIALIZING })"));
  expect({"-u", "i", "controller", "list"},
         "NAMEs          SIZE      STATE        BLKSIZE\n"
         "h:8420/nqn.xn1 64.00 MiB running      512    \n"
         "b              0 B       unconfigured 0      \n"
         "c              0 B       init         0      \n");
  engine_.answer("HostRpc/ListNvmeControllers", v1::ListNvmeControllersResponse());
  expect({"controller", "list"}, "No NVMe controllers found\n");
  engine_.take_requests();

  engine_.answer("HostRpc/StatNvmeController",
                 from_text<v1::StatNvmeControllerResponse>(
                     "stats { num_read_ops: 1 num_write_ops: 2 bytes_read: 4096 bytes_written: 8192 "
                     "num_unmap_ops: 3 bytes_unmapped: 512 }"));
  expect({"controller", "stats", "b"},
         "NAME READS WRITES READ/B WRITTEN/B NUM_UNMAPS BYTES_UNMAPPED\n"
         "b    1     2      4096   8192      3          512           \n");
  EXPECT_THAT(engine_.take_requests(), ElementsAre(R"(HostRpc/StatNvmeController name: "b")"));
}

TEST_F(Client, PerfResource) {
  engine_.answer("HostRpc/GetMayastorResourceUsage",
                 from_text<v1::GetMayastorResourceUsageResponse>(
                     "usage { soft_faults: 1234567890123 hard_faults: 2 vol_csw: 3 invol_csw: 4 }"));
  expect({"perf", "resource"},
         "  SOFT_FAULTS HARD_FAULTS VOLUNTARY_CSW INVOLUNTARY_CSW\n"
         "1234567890123           2             3               4\n");
}

TEST_F(Client, JsonRpcPassesTextThrough) {
  engine_.answer("JsonRpc/JsonRpcCall", from_text<v1::JsonRpcResponse>(R"(result: "[\n  1\n]")"));
  expect({"jsonrpc", "m", R"(["a b", {"x": 1}])"}, "[\n  1\n]\n");
  EXPECT_THAT(engine_.take_requests(),
              ElementsAre(R"(JsonRpc/JsonRpcCall method: "m" params: "[\"a b\", {\"x\": 1}]")"));
  engine_.answer("JsonRpc/JsonRpcCall", from_text<v1::JsonRpcResponse>(R"(result: "[]")"));
  expect({"jsonrpc", "m", "-o", "json"}, "{\n  \"result\": \"[]\"\n}\n");
  EXPECT_THAT(engine_.take_requests(), ElementsAre(R"(JsonRpc/JsonRpcCall method: "m")"));
}

TEST_F(Client, CallsAMethodByItsName) {
  engine_.answer("HostRpc/GetMayastorResourceUsage", v1::GetMayastorResourceUsageResponse());
  expect({"call", "HostRpc/GetMayastorResourceUsage"}, "{\n  \"usage\": null\n}\n");
  engine_.answer("JsonRpc/JsonRpcCall", from_text<v1::JsonRpcResponse>("result: 'r'"));
  expect({"call", "mayastor.v1.JsonRpc/JsonRpcCall", R"({"method": "m"})"}, "{\n  \"result\": \"r\"\n}\n");
  EXPECT_THAT(engine_.take_requests(),
              ElementsAre(HasSubstr("HostRpc/GetMayastorResourceUsage"), R"(JsonRpc/JsonRpcCall method: "m")"));
}

TEST_F(Client, ACallOfAStreamShowsEachResponse) {
  for (const char* uuid : {"u", "v"}) {
    engine_.answer("TestRpc/WipeReplica", from_text<v1::WipeReplicaResponse>(fmt::format("uuid: '{}'", uuid)));
  }
  const Finished finished = run({"call", "TestRpc/WipeReplica"});
  EXPECT_THAT(finished.out, AllOf(HasSubstr("\"uuid\": \"u\""), HasSubstr("\"uuid\": \"v\"")));
  engine_.take_requests();
}

TEST_F(Client, ACallThatCannotBeMade) {
  expect_usage_error({"call"}, "method is required");
  expect_usage_error({"call", "HostRpc/Reboot"}, "method: HostRpc/Reboot: there is none");
  for (const char* json : {"{\"methodd\": \"m\"}", "{\"method\": {}}", "{", "[]", ""}) {
    expect_usage_error({"call", "JsonRpc/JsonRpcCall", json}, "request: not a mayastor.v1.JsonRpcRequest as JSON: ");
  }
  engine_.refuse("JsonRpc/JsonRpcCall", 5, "none");
  EXPECT_EQ(run({"call", "JsonRpc/JsonRpcCall"}).err, "error: NOT_FOUND: none\n");
  engine_.take_requests();
}

const char* const kIoStats =
    R"(name: "n" num_read_ops: 1 bytes_read: 2048 num_write_ops: 3 bytes_written: 4 num_unmap_ops: 5
    bytes_unmapped: 6 read_latency_ticks: 7000 write_latency_ticks: 8000 unmap_latency_ticks: 9999 max_read_latency_ticks: 10000
    min_read_latency_ticks: 11000 max_write_latency_ticks: 12000 min_write_latency_ticks: 18446744073709551615 tick_rate: 1000000000)";

const char* const kStatsTable =
    "NAME NUM_RD_OPS TOTAL_RD NUM_WR_OPS TOTAL_WR NUM_UNMAP_OPS TOTAL_UNMAPPED RD_LAT WR_LAT UNMAP_LATENCY MAX_RD_LAT "
    "MIN_RD_LAT "
    "MAX_WR_LAT MIN_WR_LAT       \n"
    "n    1          2048     3          4        5             6              7      8      9             10         "
    "11         "
    "12         18446744073709551\n";

TEST_F(Client, StatsTables) {
  engine_.answer("StatsRpc/GetPoolIoStats",
                 from_text<v1::PoolIoStatsResponse>(std::string("stats {") + kIoStats + "}"));
  expect({"stats", "pool"}, kStatsTable);
  engine_.answer("StatsRpc/GetNexusIoStats",
                 from_text<v1::NexusIoStatsResponse>(std::string("stats {") + kIoStats + "}"));
  expect({"stats", "nexus", "n"}, kStatsTable);
  engine_.answer("StatsRpc/GetReplicaIoStats", from_text<v1::ReplicaIoStatsResponse>(
                                                   std::string("stats { entity_id: 'e' stats {") + kIoStats + "} }"));
  expect({"stats", "replica"}, kStatsTable);
  EXPECT_THAT(engine_.take_requests(), ElementsAre("StatsRpc/GetPoolIoStats", R"(StatsRpc/GetNexusIoStats name: "n")",
                                                   "StatsRpc/GetReplicaIoStats"));
}

TEST_F(Client, StatsWithoutRowsOrTickRate) {
  engine_.answer("StatsRpc/GetPoolIoStats", v1::PoolIoStatsResponse());
  expect({"stats", "pool"}, "No pools found\n");
  engine_.answer("StatsRpc/GetNexusIoStats", v1::NexusIoStatsResponse());
  expect({"stats", "nexus"}, "No nexus found\n");
  engine_.answer("StatsRpc/GetReplicaIoStats", v1::ReplicaIoStatsResponse());
  expect({"stats", "replica"}, "No replicas have been created\n");
  engine_.answer("StatsRpc/GetPoolIoStats",
                 from_text<v1::PoolIoStatsResponse>("stats { name: 'n' read_latency_ticks: 1 }"));
  expect({"-q", "stats", "pool"}, "n 0 0 0 0 0 0 - - - - - - -\n");
}

TEST_F(Client, StatsReset) {
  engine_.answer("StatsRpc/ResetIoStats", Empty());
  expect({"stats", "reset"}, "Stats Reset Completed\n");
  engine_.answer("StatsRpc/ResetIoStats", Empty());
  expect({"stats", "reset", "-q"}, "");
}

TEST_F(Client, TestFeatures) {
  const auto features = from_text<v1::TestFeatures>(
      "wipe_methods: NONE wipe_methods: WRITE_ZEROES wipe_methods: CHECKSUM cksum_algs: Crc32c");
  engine_.answer("TestRpc/GetFeatures", features);
  expect({"test", "features"}, "TestFeatures { wipe_methods: [None, WriteZeroes, Checksum], cksum_algs: [Crc32c] }\n");
  engine_.answer("TestRpc/GetFeatures", features);
  expect({"test", "features", "-o", "json"},
         "{\n  \"wipe_methods\": [\n    0,\n    1,\n    4\n  ],\n  \"cksum_algs\": [\n    0\n  ]\n}\n");
}

TEST_F(Client, TestInject) {
  engine_.answer("TestRpc/AddFaultInjection", Empty());
  engine_.answer("TestRpc/AddFaultInjection", Empty());
  engine_.answer("TestRpc/RemoveFaultInjection", Empty());
  expect({"test", "inject", "-a", "inject://a", "--add", "inject://b", "-r", "inject://c"},
         "Injection: 'inject://a'\nInjection: 'inject://b'\nRemoving injected fault: inject://c\n");
  EXPECT_THAT(engine_.take_requests(), ElementsAre(R"(TestRpc/AddFaultInjection uri: "inject://a")",
                                                   R"(TestRpc/AddFaultInjection uri: "inject://b")",
                                                   R"(TestRpc/RemoveFaultInjection uri: "inject://c")"));
  engine_.answer(
      "TestRpc/ListFaultInjections",
      from_text<v1::ListFaultInjectionsReply>(R"(injections { uri: "inject://a" device_name: "a" is_active: true })"));
  expect({"test", "inject"},
         "[\n  {\n    \"uri\": \"inject://a\",\n    \"device_name\": \"a\",\n    \"is_active\": true\n  }\n]\n");
  engine_.refuse("TestRpc/AddFaultInjection", 12, "Fault injection feature is disabled");
  const Finished refused = run({"test", "inject", "-a", "inject://a"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.out, "");
  EXPECT_EQ(refused.err, "error: UNIMPLEMENTED: Fault injection feature is disabled\n");
}

TEST_F(Client, WipeStreamsRows) {
  engine_.answer(
      "TestRpc/WipeReplica",
      from_text<v1::WipeReplicaResponse>("uuid: 'u' total_bytes: 96 chunk_size: 64 last_chunk_size: 32 total_chunks: 2 "
                                         "remaining_bytes: 96 since {}"));
  engine_.answer(
      "TestRpc/WipeReplica",
      from_text<v1::WipeReplicaResponse>("uuid: 'u' total_bytes: 96 chunk_size: 64 last_chunk_size: 32 total_chunks: 2 "
                                         "wiped_bytes: 96 wiped_chunks: 2 since { nanos: 500000000 } crc32: 0xabcdef"));
  expect({"test", "wipe", "replica", "u", "-m", "checksum", "-c", "64B", "--pool-name", "p"},
         "UUID  TOTAL_BYTES  CHUNK_SIZE  LAST_CHUNK_SIZE  TOTAL_CHUNKS  WIPED_BYTES  WIPED_CHUNKS  REMAINING_BYTES  "
         "BANDWIDTH  "
         "CHECKSUM\n"
         "u     96           64          32               2             0            0             96               -  "
         "        "
         "        \n"
         "u     96           64          32               2             96           2             0                "
         "192 B/s    "
         "0x00abcdef\n");
  EXPECT_THAT(
      engine_.take_requests(),
      ElementsAre("TestRpc/WipeReplica uuid: \"u\" pool_name: \"p\" wipe_options { options { wipe_method: CHECKSUM } "
                  "chunk_size: 64 }"));
}

TEST_F(Client, WipeThatFailsKeepsItsRows) {
  engine_.answer("TestRpc/WipeReplica", from_text<v1::WipeReplicaResponse>("uuid: 'u'"));
  engine_.refuse("TestRpc/WipeReplica", 10, "The wipe has been aborted");
  const Finished finished = run({"-q", "test", "wipe", "replica", "u"});
  EXPECT_EQ(finished.exit_code, 1);
  EXPECT_EQ(finished.out, "u  0  0  0  0  0  0  0  -  \n");
  EXPECT_EQ(finished.err, "error: ABORTED: The wipe has been aborted\n");
  EXPECT_THAT(engine_.take_requests(),
              ElementsAre("TestRpc/WipeReplica uuid: \"u\" wipe_options { options { wipe_method: WRITE_ZEROES } }"));
}

TEST_F(Client, WipeRefusesABadSize) {
  const Finished finished = run({"test", "wipe", "replica", "u", "-c", "12parsecs"});
  EXPECT_EQ(finished.exit_code, 1);
  EXPECT_EQ(finished.err, "error: INVALID_ARGUMENT: Bad size '12parsecs'\n");
  EXPECT_THAT(engine_.take_requests(), IsEmpty());
}

TEST_F(Client, ResultThatCannotBeWrittenIsAnError) {
  engine_.answer("BdevRpc/Create", from_text<v1::CreateBdevResponse>(R"(bdev { name: "disk0" })"));
  const Finished finished = run_client({"-b", engine_.address(), "bdev", "create", "malloc:///disk0"}, {}, "/dev/full");
  EXPECT_EQ(finished.exit_code, 1);
  EXPECT_THAT(finished.err, HasSubstr("could not be written"));
}

TEST_F(Client, AddressComesFromTheEnvironmentUnlessGiven) {
  engine_.answer("BdevRpc/List", v1::ListBdevResponse());
  EXPECT_EQ(run_client({"bdev", "list"}, {"MY_POD_IP=http://" + engine_.address() + "/"}).out, "No bdevs found\n");
  engine_.answer("BdevRpc/List", v1::ListBdevResponse());
  EXPECT_EQ(run_client({"bdev", "list", "-b", engine_.address()}, {"MY_POD_IP=127.0.0.1:1"}).out, "No bdevs found\n");
  engine_.answer("BdevRpc/List", v1::ListBdevResponse());
  EXPECT_EQ(run_client({"-b", engine_.address(), "bdev", "list"}, {"MY_POD_IP=127.0.0.1:1"}).out, "No bdevs found\n");
}

TEST_F(Client, ProxySettingsOfTheShellDoNotMatter) {
  engine_.answer("BdevRpc/List", v1::ListBdevResponse());
  EXPECT_EQ(run_client({"-b", engine_.address(), "bdev", "list"}, {"http_proxy=http://127.0.0.1:1"}).exit_code, 0);
}

TEST(ClientWithoutEngine, ExitsWith101) {
  std::string address;
  {
    const AnsweringEngine gone;
    address = gone.address();
  }
  const Finished finished = run_client({"-b", address, "bdev", "list"});
  EXPECT_EQ(finished.exit_code, 101);
  EXPECT_EQ(finished.out, "");
  EXPECT_THAT(finished.err, StartsWith("error: cannot reach io-engine at http://" + address + "/: "));
  EXPECT_THAT(finished.err, HasSubstr("Connection refused"));
}

TEST(ClientWithoutEngine, MistakesInUseExitWith2) {
  const std::vector<std::string> kMistakes[] = {
      {"nonsense"},
      {"bdev", "create"},
      {"bdev", "list", "extra"},
      {"bdev", "list", "-u", "i"},
      {"-u", "x", "bdev", "list"},
      {"-o", "yaml", "bdev", "list"},
      {"-q", "bdev", "list", "-v"},
      {"-b", "https://host", "bdev", "list"},
      {"-b", "host:0", "bdev", "list"},
      {"test", "wipe", "replica", "u", "--pool-name", "a", "--pool-uuid", "b"},
      {"test", "wipe", "replica", "u", "-m", "Burn"},
  };
  for (const auto& arguments : kMistakes) {
    const Finished finished = run_client(arguments);
    EXPECT_EQ(finished.exit_code, 2) << testing::PrintToString(arguments);
    EXPECT_EQ(finished.out, "");
    EXPECT_THAT(finished.err, StartsWith("error: "));
  }
}

TEST(ClientWithoutEngine, MissingCommandShowsTheHelp) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{}, {"bdev"}, {"test", "wipe"}}) {
    const Finished finished = run_client(arguments);
    EXPECT_EQ(finished.exit_code, 2);
    EXPECT_EQ(finished.out, "");
    EXPECT_THAT(finished.err, StartsWith("error: a command is missing\n"));
    EXPECT_THAT(finished.err, HasSubstr("Subcommands:"));
  }
}

TEST(ClientWithoutEngine, ApiVersionIsV1) {
  const Finished v0 = run_client({"bdev", "list"}, {"API_VERSION=v0"});
  EXPECT_EQ(v0.exit_code, 2);
  EXPECT_THAT(v0.err, HasSubstr("speaks v1 only"));
  EXPECT_EQ(run_client({"--help"}, {"API_VERSION=v7"}).exit_code, 2);
  EXPECT_EQ(run_client({"--help"}, {"API_VERSION=v1"}).exit_code, 0);
  EXPECT_EQ(run_client({"--help"}, {"API_VERSION="}).exit_code, 0);
}

TEST(ClientWithoutEngine, EveryCommandExplainsItself) {
  EXPECT_THAT(run_client({"--help"}).out, StartsWith("Mayastor CLI V1"));
  EXPECT_THAT(run_client({"-V"}).out, StartsWith("io-engine-client "));
  const std::vector<std::string> kCommands[] = {{"bdev", "list"},
                                                {"bdev", "create"},
                                                {"bdev", "destroy"},
                                                {"bdev", "share"},
                                                {"bdev", "unshare"},
                                                {"device", "list"},
                                                {"controller", "list"},
                                                {"controller", "stats"},
                                                {"perf", "resource"},
                                                {"jsonrpc"},
                                                {"call"},
                                                {"stats", "pool"},
                                                {"stats", "nexus"},
                                                {"stats", "replica"},
                                                {"stats", "reset"},
                                                {"test", "features"},
                                                {"test", "inject"},
                                                {"test", "wipe", "replica"}};
  for (std::vector<std::string> arguments : kCommands) {
    std::string name = "io-engine-client";
    for (const std::string& word : arguments) name += " " + word;
    arguments.push_back("--help");
    const Finished finished = run_client(arguments);
    EXPECT_EQ(finished.exit_code, 0) << name;
    EXPECT_THAT(finished.out, HasSubstr("Usage: " + name + " ")) << name;
    EXPECT_THAT(finished.out, HasSubstr("Examples:\n  io-engine-client ")) << name;
    EXPECT_EQ(finished.err, "") << name;
  }
}

}  // namespace
}  // namespace cairn::cli
