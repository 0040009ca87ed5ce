// The wire contract of package mayastor.v1, written down a second time: a number, name or type that changes in a .proto
// file breaks clients in the field, so it has to be changed here as well.
#include <bdev.pb.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>
#include <host.pb.h>
#include <json.pb.h>
#include <nexus.pb.h>
#include <pool.pb.h>
#include <registration.pb.h>
#include <replica.pb.h>
#include <snapshot-rebuild.pb.h>
#include <snapshot.pb.h>
#include <stats.pb.h>
#include <test.pb.h>

#include <map>
#include <string>

namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::ServiceDescriptor;

using Table = std::map<std::string, std::string>;

const char* const kFiles[] = {"bdev.proto",         "common.proto",  "host.proto",
                              "json.proto",         "nexus.proto",   "pool.proto",
                              "registration.proto", "replica.proto", "snapshot-rebuild.proto",
                              "snapshot.proto",     "stats.proto",   "test.proto"};

// Message -> its fields in the order of their declaration. Types of packages mayastor.v1 and google.protobuf stand
// without the package; [name] marks a member of oneof `name`.
const Table kMessages = {
    // common
    {"MayastorFeatures",
     "bool asymmetricNamespaceAccess=1; optional bool logicalVolumeManager=2; optional bool snapshotRebuild=3; "
     "optional bool rdmaCapableIoEngine=4"},
    {"MayastorBugFixes", "bool nexusRebuildReplicaAncestry=1"},
    // pool
    {"PoolTypeValue", "PoolType value=1"},
    {"CreatePoolRequest",
     "string name=1; StringValue uuid=2; repeated string disks=3; PoolType pooltype=4; optional uint32 cluster_size=5; "
     "optional PoolMetadataArgs md_args=6; bool overwrite=100"},  // 100: ours (docs/compatibility.md)
    {"PoolMetadataArgs", "optional float md_resv_ratio=1"},
    {"ImportPoolRequest", "string name=1; StringValue uuid=2; repeated string disks=3; PoolType pooltype=4"},
    {"Pool",
     "string uuid=1; string name=2; repeated string disks=3; PoolState state=4; uint64 capacity=5; uint64 used=6; "
     "PoolType pooltype=7; uint64 committed=8; uint32 cluster_size=9; optional uint32 page_size=10; uint64 "
     "disk_capacity=11; "
     "optional PoolMetadataInfo md_info=12"},
    {"PoolMetadataInfo", "uint32 md_page_size=1; uint64 md_pages=2; uint64 md_used_pages=3"},
    {"DestroyPoolRequest", "string name=1; StringValue uuid=2"},
    {"ExportPoolRequest", "string name=1; StringValue uuid=2"},
    {"GrowPoolRequest", "string name=1; StringValue uuid=2"},
    {"ListPoolOptions", "StringValue name=1; PoolTypeValue pooltype=2; StringValue uuid=3"},
    {"ListPoolsResponse", "repeated Pool pools=1"},
    {"GrowPoolResponse", "Pool previous_pool=1; Pool current_pool=2"},
    // replica
    {"CreateReplicaRequest",
     "string name=1; string uuid=2; string pooluuid=3; uint64 size=4; bool thin=5; ShareProtocol share=6; "
     "repeated string allowed_hosts=7; optional string entity_id=8"},
    {"DestroyReplicaRequest", "string uuid=1; [pool] string pool_name=2; [pool] string pool_uuid=3"},
    {"ShareReplicaRequest", "string uuid=1; ShareProtocol share=2; repeated string allowed_hosts=3"},
    {"UnshareReplicaRequest", "string uuid=1"},
    {"ResizeReplicaRequest", "string uuid=1; uint64 requested_size=2"},
    {"SetReplicaEntityIdRequest", "string uuid=1; string entity_id=2"},
    {"ListReplicaOptions",
     "StringValue name=1; StringValue poolname=2; StringValue uuid=3; StringValue pooluuid=4; ListReplicaOptions.Query "
     "query=5; "
     "repeated PoolType pooltypes=6"},
    {"ListReplicaOptions.Query", "bool replica=1; bool snapshot=2; bool clone=3"},
    {"ListReplicasResponse", "repeated Replica replicas=1"},
    {"Replica",
     "string name=1; string uuid=2; string pooluuid=3; uint64 size=4; bool thin=5; ShareProtocol share=6; string "
     "uri=7; "
     "string poolname=8; ReplicaSpaceUsage usage=9; repeated string allowed_hosts=10; bool is_snapshot=11; bool "
     "is_clone=12; "
     "optional string snapshot_uuid=13; optional string entity_id=14; PoolType pooltype=15"},
    {"ReplicaSpaceUsage",
     "uint64 capacity_bytes=1; uint64 allocated_bytes=2; uint64 cluster_size=3; uint64 num_clusters=4; "
     "uint64 num_allocated_clusters=5; uint64 allocated_bytes_snapshots=6; uint64 num_allocated_clusters_snapshots=7; "
     "optional uint64 allocated_bytes_snapshot_from_clone=8"},
    // nexus
    {"CreateNexusRequest",
     "string name=1; string uuid=2; uint64 size=3; uint32 minCntlId=4; uint32 maxCntlId=5; uint64 resvKey=6; "
     "uint64 preemptKey=7; repeated string children=8; string nexusInfoKey=9; optional NvmeReservation resvType=10; "
     "NexusNvmePreemption preemptPolicy=11"},
    {"Child",
     "string uri=1; ChildState state=2; ChildStateReason state_reason=3; int32 rebuild_progress=4; "
     "optional string device_name=5; Timestamp fault_timestamp=6; bool has_io_log=7"},
    {"Nexus",
     "string name=1; string uuid=2; uint64 size=3; NexusState state=4; repeated Child children=5; string device_uri=6; "
     "uint32 rebuilds=7; NvmeAnaState ana_state=8; repeated string allowed_hosts=9"},
    {"CreateNexusResponse", "Nexus nexus=1"},
    {"AddChildNexusResponse", "Nexus nexus=1"},
    {"RemoveChildNexusResponse", "Nexus nexus=1"},
    {"UnpublishNexusResponse", "Nexus nexus=1"},
    {"SetNvmeAnaStateResponse", "Nexus nexus=1"},
    {"ResizeNexusResponse", "Nexus nexus=1"},
    {"ShutdownNexusResponse", "Nexus nexus=1"},
    {"FaultNexusChildResponse", "Nexus nexus=1"},
    {"PublishNexusResponse", "Nexus nexus=1"},
    {"ChildOperationResponse", "Nexus nexus=1"},
    {"StartRebuildResponse", "Nexus nexus=1"},
    {"StopRebuildResponse", "Nexus nexus=1"},
    {"PauseRebuildResponse", "Nexus nexus=1"},
    {"ResumeRebuildResponse", "Nexus nexus=1"},
    {"ListNexusOptions", "StringValue name=1; StringValue uuid=2"},
    {"ListNexusResponse", "repeated Nexus nexus_list=1"},
    {"DestroyNexusRequest", "string uuid=1"},
    {"ShutdownNexusRequest", "string uuid=1"},
    {"UnpublishNexusRequest", "string uuid=1"},
    {"GetNvmeAnaStateRequest", "string uuid=1"},
    {"RebuildHistoryRequest", "string uuid=1"},
    {"ResizeNexusRequest", "string uuid=1; uint64 requested_size=2"},
    {"AddChildNexusRequest", "string uuid=1; string uri=2; bool norebuild=3"},
    {"RemoveChildNexusRequest", "string uuid=1; string uri=2"},
    {"FaultNexusChildRequest", "string uuid=1; string uri=2"},
    {"PublishNexusRequest", "string uuid=1; string key=2; ShareProtocol share=3; repeated string allowed_hosts=4"},
    {"GetNvmeAnaStateResponse", "NvmeAnaState ana_state=1"},
    {"SetNvmeAnaStateRequest", "string uuid=1; NvmeAnaState ana_state=2"},
    {"ChildOperationRequest", "string nexus_uuid=1; string uri=2; ChildAction action=3"},
    {"StartRebuildRequest", "string nexus_uuid=1; string uri=2"},
    {"StopRebuildRequest", "string nexus_uuid=1; string uri=2"},
    {"PauseRebuildRequest", "string nexus_uuid=1; string uri=2"},
    {"ResumeRebuildRequest", "string nexus_uuid=1; string uri=2"},
    {"RebuildStateRequest", "string nexus_uuid=1; string uri=2"},
    {"RebuildStatsRequest", "string nexus_uuid=1; string uri=2"},
    {"RebuildStateResponse", "string state=1"},
    {"RebuildStatsResponse",
     "uint64 blocks_total=1; uint64 blocks_recovered=2; uint64 progress=3; uint64 blocks_per_task=4; uint64 "
     "block_size=5; "
     "uint64 tasks_total=6; uint64 tasks_active=7; uint64 blocks_transferred=8; uint64 blocks_remaining=9; "
     "bool is_partial=10; Timestamp start_time=11"},
    {"RebuildHistoryRecord",
     "string child_uri=1; string src_uri=2; RebuildJobState state=3; uint64 blocks_total=4; uint64 blocks_recovered=5; "
     "uint64 blocks_transferred=6; uint64 blocks_remaining=7; uint64 blocks_per_task=8; uint64 block_size=9; "
     "bool is_partial=10; Timestamp start_time=11; Timestamp end_time=12"},
    {"RebuildHistoryResponse", "string uuid=1; repeated RebuildHistoryRecord records=2; string name=3"},
    {"ListRebuildHistoryRequest", "optional uint32 count=1; optional Timestamp since_end_time=2"},
    {"ListRebuildHistoryResponse", "map<string, RebuildHistoryResponse> histories=1; Timestamp end_time=2"},
    // bdev
    {"ListBdevOptions", "StringValue name=1"},
    {"CreateBdevRequest", "string uri=1"},
    {"DestroyBdevRequest", "string uri=1"},
    {"CreateBdevResponse", "Bdev bdev=1"},
    {"BdevShareResponse", "Bdev bdev=1"},
    {"ListBdevResponse", "repeated Bdev bdevs=1"},
    {"Bdev",
     "string name=1; string uuid=2; uint64 num_blocks=3; uint32 blk_size=5; bool claimed=6; string claimed_by=7; "
     "string aliases=8; string uri=9; string product_name=10; string share_uri=11"},
    {"BdevShareRequest", "string name=1; ShareProtocol protocol=2; repeated string allowed_hosts=3"},
    {"BdevUnshareRequest", "string name=1"},
    // host
    {"BackCompatMayastorFeatures", "bool asymmetricNamespaceAccess=1"},
    {"MayastorInfoResponse",
     "string version=1; BackCompatMayastorFeatures previous_features=2; RegisterRequest registration_info=3"},
    {"BlockDevice",
     "string devname=1; string devtype=2; uint32 devmajor=3; uint32 devminor=4; string model=5; string devpath=6; "
     "repeated string devlinks=7; uint64 size=8; BlockDevice.Partition partition=9; BlockDevice.Filesystem "
     "filesystem=10; "
     "bool available=11; string connection_type=12; optional bool is_rotational=13"},
    {"BlockDevice.Partition",
     "string parent=1; uint32 number=2; string name=3; string scheme=4; string typeid=5; string uuid=6"},
    {"BlockDevice.Filesystem", "string fstype=1; string label=2; string uuid=3; repeated string mountpoints=4"},
    {"ListBlockDevicesRequest", "bool all=1"},
    {"ListBlockDevicesResponse", "repeated BlockDevice devices=1"},
    {"ResourceUsage",
     "int64 soft_faults=1; int64 hard_faults=2; int64 swaps=3; int64 in_block_ops=4; int64 out_block_ops=5; "
     "int64 ipc_msg_send=6; int64 ipc_msg_rcv=7; int64 signals=8; int64 vol_csw=9; int64 invol_csw=10"},
    {"GetMayastorResourceUsageResponse", "ResourceUsage usage=1"},
    {"NvmeControllerIoStats",
     "uint64 num_read_ops=1; uint64 num_write_ops=2; uint64 bytes_read=3; uint64 bytes_written=4; uint64 "
     "num_unmap_ops=5; "
     "uint64 bytes_unmapped=6"},
    {"NvmeController", "string name=1; NvmeControllerState state=2; uint64 size=3; uint32 blk_size=4"},
    {"ListNvmeControllersResponse", "repeated NvmeController controllers=1"},
    {"StatNvmeControllerRequest", "string name=1"},
    {"StatNvmeControllerResponse", "NvmeControllerIoStats stats=1"},
    // registration
    {"RegisterRequest",
     "string id=1; string grpc_endpoint=2; StringValue instance_uuid=3; repeated APIVersion api_version=4; "
     "StringValue hostnqn=5; optional MayastorFeatures features=6; optional MayastorBugFixes bugfixes=7; "
     "optional string version=8"},
    {"DeregisterRequest", "string id=1"},
    // json
    {"JsonRpcRequest", "string method=1; string params=2"},
    {"JsonRpcResponse", "string result=1"},
    // snapshot
    {"SnapshotInfo",
     "string snapshot_uuid=1; string snapshot_name=2; uint64 snapshot_size=3; uint64 num_clones=4; Timestamp "
     "timestamp=5; "
     "string source_uuid=6; uint64 source_size=7; string pool_uuid=8; string pool_name=9; string entity_id=10; "
     "string txn_id=11; bool valid_snapshot=12; bool ready_as_source=13; uint64 referenced_bytes=14; "
     "bool discarded_snapshot=15"},
    {"ListSnapshotsRequest",
     "optional string source_uuid=1; optional string snapshot_uuid=2; ListSnapshotsRequest.Query query=3"},
    {"ListSnapshotsRequest.Query", "optional bool invalid=1; optional bool discarded=2"},
    {"ListSnapshotsResponse", "repeated SnapshotInfo snapshots=1"},
    {"DestroySnapshotRequest", "string snapshot_uuid=1; [pool] string pool_name=2; [pool] string pool_uuid=3"},
    {"CreateReplicaSnapshotRequest",
     "string replica_uuid=1; string snapshot_uuid=2; string snapshot_name=3; string entity_id=4; string txn_id=5"},
    {"CreateReplicaSnapshotResponse", "string replica_uuid=1; SnapshotInfo snapshot=2"},
    {"NexusCreateSnapshotRequest",
     "string nexus_uuid=1; string entity_id=2; string txn_id=3; string snapshot_name=4; "
     "repeated NexusCreateSnapshotReplicaDescriptor replicas=5"},
    {"NexusCreateSnapshotReplicaDescriptor", "string replica_uuid=1; optional string snapshot_uuid=2; bool skip=3"},
    {"NexusCreateSnapshotResponse",
     "Nexus nexus=1; Timestamp snapshot_timestamp=2; repeated NexusCreateSnapshotReplicaStatus replicas_done=3; "
     "repeated string replicas_skipped=4"},
    {"NexusCreateSnapshotReplicaStatus", "string replica_uuid=1; uint32 status_code=2"},
    {"CreateSnapshotCloneRequest", "string snapshot_uuid=1; string clone_name=2; string clone_uuid=3"},
    {"ListSnapshotCloneRequest", "optional string snapshot_uuid=1"},
    {"ListSnapshotCloneResponse", "repeated Replica replicas=1"},
    // snapshot-rebuild
    {"CreateSnapshotRebuildRequest",
     "string uuid=1; string replica_uuid=2; string snapshot_uuid=3; string replica_uri=4; string snapshot_uri=5; "
     "bool resume=6; optional SnapshotRebuildBitmap bitmap=7; bool use_bitmap=8; "
     "optional CreateSnapshotRebuildRequest.RebuildPolicy error_policy=9"},
    {"CreateSnapshotRebuildRequest.RebuildPolicy", "Duration error_period=1; Duration fail_period=2"},
    {"SnapshotRebuild",
     "string uuid=1; string replica_uuid=2; string snapshot_uuid=3; string replica_uri=4; string snapshot_uri=5; "
     "SnapshotRebuild.RebuildStatus status=6; uint64 total=7; uint64 rebuilt=8; uint64 remaining=9; "
     "uint64 persisted_checkpoint=10; Timestamp start_timestamp=11; Timestamp end_timestamp=12; bool target_remote=13"},
    {"SnapshotRebuildBitmap", "uint64 bit_size=1; repeated uint64 bit_map=2"},
    {"ListSnapshotRebuildRequest",
     "optional string uuid=1; optional string replica_uuid=2; optional string snapshot_uuid=3"},
    {"ListSnapshotRebuildResponse", "repeated SnapshotRebuild rebuilds=1"},
    {"DestroySnapshotRebuildRequest", "string uuid=1"},
    // stats
    {"ListStatsOption", "optional string name=1"},
    {"PoolIoStatsResponse", "repeated IoStats stats=1"},
    {"NexusIoStatsResponse", "repeated IoStats stats=1"},
    {"ReplicaIoStatsResponse", "repeated ReplicaIoStats stats=1"},
    {"ReplicaIoStats", "optional string entity_id=1; IoStats stats=2"},
    {"IoStats",
     "string name=1; string uuid=2; uint64 num_read_ops=3; uint64 bytes_read=4; uint64 num_write_ops=5; "
     "uint64 bytes_written=6; uint64 num_unmap_ops=7; uint64 bytes_unmapped=8; uint64 read_latency_ticks=9; "
     "uint64 write_latency_ticks=10; uint64 unmap_latency_ticks=11; uint64 max_read_latency_ticks=12; "
     "uint64 min_read_latency_ticks=13; uint64 max_write_latency_ticks=14; uint64 min_write_latency_ticks=15; "
     "uint64 max_unmap_latency_ticks=16; uint64 min_unmap_latency_ticks=17; uint64 tick_rate=18"},
    // test
    {"TestFeatures",
     "repeated WipeOptions.WipeMethod wipe_methods=1; repeated WipeOptions.CheckSumAlgorithm cksum_algs=2"},
    {"WipeReplicaRequest",
     "string uuid=1; [pool] string pool_name=2; [pool] string pool_uuid=3; StreamWipeOptions wipe_options=4"},
    {"WipeOptions",
     "WipeOptions.WipeMethod wipe_method=1; optional uint32 write_pattern=2; WipeOptions.CheckSumAlgorithm "
     "cksum_alg=3"},
    {"StreamWipeOptions", "WipeOptions options=1; uint64 chunk_size=2"},
    {"WipeReplicaResponse",
     "string uuid=1; uint64 total_bytes=2; uint64 chunk_size=3; uint64 last_chunk_size=4; uint64 total_chunks=5; "
     "uint64 wiped_bytes=6; uint64 wiped_chunks=7; uint64 remaining_bytes=8; Duration since=9; [checksum] uint32 "
     "crc32=10"},
    {"FaultInjection", "string uri=1; string device_name=2; bool is_active=3"},
    {"AddFaultInjectionRequest", "string uri=1"},
    {"RemoveFaultInjectionRequest", "string uri=1"},
    {"ListFaultInjectionsRequest", ""},
    {"ListFaultInjectionsReply", "repeated FaultInjection injections=1"},
};

const Table kEnums = {
    {"ShareProtocol", "NONE=0 NVMF=1 ISCSI=2"},
    {"PoolType", "Lvs=0 Lvm=1"},
    {"PoolState", "POOL_UNKNOWN=0 POOL_ONLINE=1 POOL_DEGRADED=2 POOL_FAULTED=3"},
    {"NexusNvmePreemption", "ArgKey=0 Holder=1"},
    {"NvmeReservation",
     "Reserved=0 WriteExclusive=1 ExclusiveAccess=2 WriteExclusiveRegsOnly=3 ExclusiveAccessRegsOnly=4 "
     "WriteExclusiveAllRegs=5 ExclusiveAccessAllRegs=6"},
    {"ChildState", "CHILD_STATE_UNKNOWN=0 CHILD_STATE_ONLINE=1 CHILD_STATE_DEGRADED=2 CHILD_STATE_FAULTED=3"},
    {"ChildStateReason",
     "CHILD_STATE_REASON_NONE=0 CHILD_STATE_REASON_INIT=1 CHILD_STATE_REASON_CLOSED=2 CHILD_STATE_REASON_CANNOT_OPEN=3 "
     "CHILD_STATE_REASON_CONFIG_INVALID=4 CHILD_STATE_REASON_REBUILD_FAILED=5 CHILD_STATE_REASON_IO_FAILURE=6 "
     "CHILD_STATE_REASON_BY_CLIENT=7 CHILD_STATE_REASON_OUT_OF_SYNC=8 CHILD_STATE_REASON_NO_SPACE=9 "
     "CHILD_STATE_REASON_TIMED_OUT=10 CHILD_STATE_REASON_ADMIN_FAILED=11"},
    {"NexusState",
     "NEXUS_UNKNOWN=0 NEXUS_ONLINE=1 NEXUS_DEGRADED=2 NEXUS_FAULTED=3 NEXUS_SHUTTING_DOWN=4 NEXUS_SHUTDOWN=5"},
    {"NvmeAnaState",
     "NVME_ANA_INVALID_STATE=0 NVME_ANA_OPTIMIZED_STATE=1 NVME_ANA_NON_OPTIMIZED_STATE=2 NVME_ANA_INACCESSIBLE_STATE=3 "
     "NVME_ANA_PERSISTENT_LOSS_STATE=4 NVME_ANA_CHANGE_STATE=15"},
    {"ChildAction", "Offline=0 Online=1 FaultIOError=2 OfflinePermanent=3"},
    {"RebuildJobState", "Init=0 Rebuilding=1 Stopped=2 Paused=3 Failed=4 Completed=5"},
    {"NvmeControllerState", "NEW=0 INITIALIZING=1 RUNNING=2 FAULTED=3 UNCONFIGURING=4 UNCONFIGURED=5"},
    {"APIVersion", "V0=0 V1=1"},
    {"SnapshotRebuild.RebuildStatus", "Unknown=0 Created=1 Running=2 Paused=3 Successful=4 Failed=5"},
    {"WipeOptions.WipeMethod", "NONE=0 WRITE_ZEROES=1 UNMAP=2 WRITE_PATTERN=3 CHECKSUM=4"},
    {"WipeOptions.CheckSumAlgorithm", "Crc32c=0"},
};

const Table kMethods = {
    {"PoolRpc/CreatePool", "CreatePoolRequest -> Pool"},
    {"PoolRpc/DestroyPool", "DestroyPoolRequest -> Empty"},
    {"PoolRpc/ExportPool", "ExportPoolRequest -> Empty"},
    {"PoolRpc/ImportPool", "ImportPoolRequest -> Pool"},
    {"PoolRpc/ListPools", "ListPoolOptions -> ListPoolsResponse"},
    {"PoolRpc/GrowPool", "GrowPoolRequest -> GrowPoolResponse"},
    {"ReplicaRpc/CreateReplica", "CreateReplicaRequest -> Replica"},
    {"ReplicaRpc/DestroyReplica", "DestroyReplicaRequest -> Empty"},
    {"ReplicaRpc/ListReplicas", "ListReplicaOptions -> ListReplicasResponse"},
    {"ReplicaRpc/ShareReplica", "ShareReplicaRequest -> Replica"},
    {"ReplicaRpc/UnshareReplica", "UnshareReplicaRequest -> Replica"},
    {"ReplicaRpc/ResizeReplica", "ResizeReplicaRequest -> Replica"},
    {"ReplicaRpc/SetReplicaEntityId", "SetReplicaEntityIdRequest -> Replica"},
    {"NexusRpc/CreateNexus", "CreateNexusRequest -> CreateNexusResponse"},
    {"NexusRpc/DestroyNexus", "DestroyNexusRequest -> Empty"},
    {"NexusRpc/ResizeNexus", "ResizeNexusRequest -> ResizeNexusResponse"},
    {"NexusRpc/ListNexus", "ListNexusOptions -> ListNexusResponse"},
    {"NexusRpc/AddChildNexus", "AddChildNexusRequest -> AddChildNexusResponse"},
    {"NexusRpc/RemoveChildNexus", "RemoveChildNexusRequest -> RemoveChildNexusResponse"},
    {"NexusRpc/FaultNexusChild", "FaultNexusChildRequest -> FaultNexusChildResponse"},
    {"NexusRpc/ShutdownNexus", "ShutdownNexusRequest -> ShutdownNexusResponse"},
    {"NexusRpc/PublishNexus", "PublishNexusRequest -> PublishNexusResponse"},
    {"NexusRpc/UnpublishNexus", "UnpublishNexusRequest -> UnpublishNexusResponse"},
    {"NexusRpc/GetNvmeAnaState", "GetNvmeAnaStateRequest -> GetNvmeAnaStateResponse"},
    {"NexusRpc/SetNvmeAnaState", "SetNvmeAnaStateRequest -> SetNvmeAnaStateResponse"},
    {"NexusRpc/ChildOperation", "ChildOperationRequest -> ChildOperationResponse"},
    {"NexusRpc/StartRebuild", "StartRebuildRequest -> StartRebuildResponse"},
    {"NexusRpc/StopRebuild", "StopRebuildRequest -> StopRebuildResponse"},
    {"NexusRpc/PauseRebuild", "PauseRebuildRequest -> PauseRebuildResponse"},
    {"NexusRpc/ResumeRebuild", "ResumeRebuildRequest -> ResumeRebuildResponse"},
    {"NexusRpc/GetRebuildState", "RebuildStateRequest -> RebuildStateResponse"},
    {"NexusRpc/GetRebuildStats", "RebuildStatsRequest -> RebuildStatsResponse"},
    {"NexusRpc/GetRebuildHistory", "RebuildHistoryRequest -> RebuildHistoryResponse"},
    {"NexusRpc/ListRebuildHistory", "ListRebuildHistoryRequest -> ListRebuildHistoryResponse"},
    {"BdevRpc/Create", "CreateBdevRequest -> CreateBdevResponse"},
    {"BdevRpc/Destroy", "DestroyBdevRequest -> Empty"},
    {"BdevRpc/List", "ListBdevOptions -> ListBdevResponse"},
    {"BdevRpc/Share", "BdevShareRequest -> BdevShareResponse"},
    {"BdevRpc/Unshare", "BdevUnshareRequest -> Empty"},
    {"HostRpc/GetMayastorInfo", "Empty -> MayastorInfoResponse"},
    {"HostRpc/ListBlockDevices", "ListBlockDevicesRequest -> ListBlockDevicesResponse"},
    {"HostRpc/GetMayastorResourceUsage", "Empty -> GetMayastorResourceUsageResponse"},
    {"HostRpc/ListNvmeControllers", "Empty -> ListNvmeControllersResponse"},
    {"HostRpc/StatNvmeController", "StatNvmeControllerRequest -> StatNvmeControllerResponse"},
    {"Registration/Register", "RegisterRequest -> Empty"},
    {"Registration/Deregister", "DeregisterRequest -> Empty"},
    {"JsonRpc/JsonRpcCall", "JsonRpcRequest -> JsonRpcResponse"},
    {"SnapshotRpc/CreateReplicaSnapshot", "CreateReplicaSnapshotRequest -> CreateReplicaSnapshotResponse"},
    {"SnapshotRpc/CreateNexusSnapshot", "NexusCreateSnapshotRequest -> NexusCreateSnapshotResponse"},
    {"SnapshotRpc/ListSnapshot", "ListSnapshotsRequest -> ListSnapshotsResponse"},
    {"SnapshotRpc/DestroySnapshot", "DestroySnapshotRequest -> Empty"},
    {"SnapshotRpc/CreateSnapshotClone", "CreateSnapshotCloneRequest -> Replica"},
    {"SnapshotRpc/ListSnapshotClone", "ListSnapshotCloneRequest -> ListSnapshotCloneResponse"},
    {"SnapshotRebuildRpc/CreateSnapshotRebuild", "CreateSnapshotRebuildRequest -> SnapshotRebuild"},
    {"SnapshotRebuildRpc/ListSnapshotRebuild", "ListSnapshotRebuildRequest -> ListSnapshotRebuildResponse"},
    {"SnapshotRebuildRpc/DestroySnapshotRebuild", "DestroySnapshotRebuildRequest -> Empty"},
    {"StatsRpc/GetPoolIoStats", "ListStatsOption -> PoolIoStatsResponse"},
    {"StatsRpc/GetNexusIoStats", "ListStatsOption -> NexusIoStatsResponse"},
    {"StatsRpc/GetReplicaIoStats", "ListStatsOption -> ReplicaIoStatsResponse"},
    {"StatsRpc/ResetIoStats", "Empty -> Empty"},
    {"TestRpc/GetFeatures", "Empty -> TestFeatures"},
    {"TestRpc/WipeReplica", "WipeReplicaRequest -> stream WipeReplicaResponse"},
    {"TestRpc/AddFaultInjection", "AddFaultInjectionRequest -> Empty"},
    {"TestRpc/RemoveFaultInjection", "RemoveFaultInjectionRequest -> Empty"},
    {"TestRpc/ListFaultInjections", "ListFaultInjectionsRequest -> ListFaultInjectionsReply"},
};

std::string short_name(std::string full_name) {
  for (const std::string package : {"mayastor.v1.", "google.protobuf."}) {
    if (full_name.starts_with(package)) return full_name.substr(package.size());
  }
  return full_name;
}

std::string type_name(const FieldDescriptor& field) {
  if (field.message_type() != nullptr) return short_name(field.message_type()->full_name());
  if (field.enum_type() != nullptr) return short_name(field.enum_type()->full_name());
  return field.type_name();
}

std::string describe(const FieldDescriptor& field) {
  const std::string tail = " " + field.name() + "=" + std::to_string(field.number());
  if (field.is_map()) {
    return "map<" + type_name(*field.message_type()->map_key()) + ", " + type_name(*field.message_type()->map_value()) +
           ">" + tail;
  }
  if (field.real_containing_oneof() != nullptr) {
    return "[" + field.real_containing_oneof()->name() + "] " + type_name(field) + tail;
  }
  if (field.is_repeated()) return "repeated " + type_name(field) + tail;
  // A message always knows whether it is there; "optional" on one is only visible in the declaration.
  return (field.has_optional_keyword() ? "optional " : "") + type_name(field) + tail;
}

void describe(const EnumDescriptor& type, Table& enums) {
  std::string values;
  for (int i = 0; i < type.value_count(); ++i) {
    values += (i == 0 ? "" : " ") + type.value(i)->name() + "=" + std::to_string(type.value(i)->number());
  }
  enums[short_name(type.full_name())] = values;
}

void describe(const Descriptor& type, Table& messages, Table& enums) {
  if (type.options().map_entry()) return;
  std::string fields;
  for (int i = 0; i < type.field_count(); ++i) fields += (i == 0 ? "" : "; ") + describe(*type.field(i));
  messages[short_name(type.full_name())] = fields;
  for (int i = 0; i < type.nested_type_count(); ++i) describe(*type.nested_type(i), messages, enums);
  for (int i = 0; i < type.enum_type_count(); ++i) describe(*type.enum_type(i), enums);
}

void describe(const ServiceDescriptor& service, Table& methods) {
  for (int i = 0; i < service.method_count(); ++i) {
    const auto& method = *service.method(i);
    methods[short_name(service.full_name()) + "/" + method.name()] =
        (method.client_streaming() ? "stream " : "") + short_name(method.input_type()->full_name()) + " -> " +
        (method.server_streaming() ? "stream " : "") + short_name(method.output_type()->full_name());
  }
}

class ContractV1 : public testing::Test {
 protected:
  void SetUp() override {
    // All message code is one object of the library: using one type links it, and each file in it registers itself.
    ASSERT_NE(mayastor::v1::Bdev::descriptor(), nullptr);
    for (const char* name : kFiles) {
      const FileDescriptor* file = google::protobuf::DescriptorPool::generated_pool()->FindFileByName(name);
      ASSERT_NE(file, nullptr) << name;
      EXPECT_EQ(file->package(), "mayastor.v1") << name;
      EXPECT_EQ(file->syntax(), FileDescriptor::SYNTAX_PROTO3) << name;
      for (int i = 0; i < file->message_type_count(); ++i) describe(*file->message_type(i), messages_, enums_);
      for (int i = 0; i < file->enum_type_count(); ++i) describe(*file->enum_type(i), enums_);
      for (int i = 0; i < file->service_count(); ++i) describe(*file->service(i), methods_);
    }
  }

  // Both ways, so that an addition has to be written down as well.
  static void expect_same(const Table& compiled, const Table& contract) {
    for (const auto& [name, text] : contract) {
      const auto found = compiled.find(name);
      if (found == compiled.end()) {
        ADD_FAILURE() << name << " is missing";
        continue;
      }
      EXPECT_EQ(found->second, text) << "in " << name;
    }
    for (const auto& [name, text] : compiled) EXPECT_TRUE(contract.contains(name)) << name << " is not in the contract";
  }

  Table messages_;
  Table enums_;
  Table methods_;
};

TEST_F(ContractV1, Messages) {
  expect_same(messages_, kMessages);
}

TEST_F(ContractV1, Enums) {
  expect_same(enums_, kEnums);
}

TEST_F(ContractV1, Methods) {
  expect_same(methods_, kMethods);
}

}  // namespace
