// mayastor.v1.HostRpc (shared reference: grpc-v1.md section 7). Registration with a core agent is not part of this
// version; its data is reported.
#include <fmt/format.h>
#include <host.grpc.pb.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

#include "engine/block_devices.h"
#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/services.h"
#include "engine/version.h"
#include "nvmf/host/nvme_device.h"

namespace cairn::engine {

namespace {

namespace api = mayastor::v1;

class HostService final : public api::HostRpc::CallbackService {
 public:
  explicit HostService(Engine& engine) : engine_(engine) {}

  grpc::ServerUnaryReactor* GetMayastorInfo(grpc::CallbackServerContext* context, const google::protobuf::Empty*,
                                            api::MayastorInfoResponse* response) override {
    const EngineOptions& options = engine_.options();
    response->set_version(version_text());
    response->mutable_previous_features()->set_asymmetricnamespaceaccess(options.ana_enabled);
    auto& registration = *response->mutable_registration_info();
    registration.set_id(options.node_name);
    registration.set_grpc_endpoint(engine_.grpc_address().to_string());
    registration.mutable_instance_uuid()->set_value(engine_.instance_uuid().to_string());
    registration.add_api_version(api::V1);
    registration.mutable_hostnqn()->set_value(options.host_nqn);
    auto& features = *registration.mutable_features();
    features.set_asymmetricnamespaceaccess(options.ana_enabled);
    features.set_logicalvolumemanager(false);
    features.set_snapshotrebuild(options.snapshot_rebuild);
    features.set_rdmacapableioengine(false);
    registration.mutable_bugfixes()->set_nexusrebuildreplicaancestry(true);
    registration.set_version(version_text());
    return answer_now(context, grpc::Status::OK);
  }

  grpc::ServerUnaryReactor* ListBlockDevices(grpc::CallbackServerContext* context,
                                             const api::ListBlockDevicesRequest* request,
                                             api::ListBlockDevicesResponse* response) override {
    auto devices = list_block_devices(request->all());
    if (!devices) return answer_now(context, to_status(devices.error()));
    for (const BlockDevice& device : *devices) fill(device, *response->add_devices());
    return answer_now(context, grpc::Status::OK);
  }

  grpc::ServerUnaryReactor* GetMayastorResourceUsage(grpc::CallbackServerContext* context,
                                                     const google::protobuf::Empty*,
                                                     api::GetMayastorResourceUsageResponse* response) override {
    rusage usage{};
    if (getrusage(RUSAGE_SELF, &usage) != 0)
      return answer_now(context, to_status(Error::from_errno(errno, "getrusage")));
    auto& out = *response->mutable_usage();
    out.set_soft_faults(usage.ru_minflt);
    out.set_hard_faults(usage.ru_majflt);
    out.set_swaps(usage.ru_nswap);
    out.set_in_block_ops(usage.ru_inblock);
    out.set_out_block_ops(usage.ru_oublock);
    out.set_ipc_msg_send(usage.ru_msgsnd);
    out.set_ipc_msg_rcv(usage.ru_msgrcv);
    out.set_signals(usage.ru_nsignals);
    out.set_vol_csw(usage.ru_nvcsw);
    out.set_invol_csw(usage.ru_nivcsw);
    return answer_now(context, grpc::Status::OK);
  }

  grpc::ServerUnaryReactor* ListNvmeControllers(grpc::CallbackServerContext* context, const google::protobuf::Empty*,
                                                api::ListNvmeControllersResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "list controllers",
                            [this, response]() -> runtime::Task<Result<>> {
                              for (const auto& device : engine_.registry().list()) {
                                if (const auto* remote = dynamic_cast<const nvmf::host::NvmeDevice*>(device.get()))
                                  fill(*remote, *response->add_controllers());
                              }
                              co_return Result<>{};
                            });
  }

  grpc::ServerUnaryReactor* StatNvmeController(grpc::CallbackServerContext* context,
                                               const api::StatNvmeControllerRequest* request,
                                               api::StatNvmeControllerResponse* response) override {
    return UnaryCall::start(
        context, engine_.primary(), "controller stats", [this, request, response]() -> runtime::Task<Result<>> {
          const auto device = engine_.registry().find(request->name());
          if (dynamic_cast<const nvmf::host::NvmeDevice*>(device.get()) == nullptr)
            co_return fail(Code::kInternal, fmt::format("NVMe controller '{}' not found", request->name()));
          const block::IoStatistics counted = device->statistics();
          auto& out = *response->mutable_stats();
          out.set_num_read_ops(counted.read.operations);
          out.set_num_write_ops(counted.write.operations);
          out.set_bytes_read(counted.read.bytes);
          out.set_bytes_written(counted.write.bytes);
          out.set_num_unmap_ops(counted.unmap.operations);
          out.set_bytes_unmapped(counted.unmap.bytes);
          co_return Result<>{};
        });
  }

 private:
  // A device is one controller to clients, whatever the number of its paths: it runs while one of them is connected.
  static void fill(const nvmf::host::NvmeDevice& device, api::NvmeController& out) {
    out.set_name(device.name());
    const auto paths = device.paths();
    const bool connected = std::ranges::any_of(paths, [](const auto& path) { return path.connected; });
    out.set_state(connected ? api::RUNNING : api::FAULTED);
    out.set_size(device.size_bytes());
    out.set_blk_size(device.block_size());
  }

  static void fill(const BlockDevice& device, api::BlockDevice& out) {
    out.set_devname(device.devname);
    out.set_devtype(device.devtype);
    out.set_devmajor(device.devmajor);
    out.set_devminor(device.devminor);
    out.set_model(device.model);
    out.set_devpath(device.devpath);
    for (const std::string& link : device.devlinks) out.add_devlinks(link);
    out.set_size(device.size_sectors);
    if (device.partition) {
      auto& partition = *out.mutable_partition();
      partition.set_parent(device.partition->parent);
      partition.set_number(device.partition->number);
      partition.set_name(device.partition->name);
      partition.set_scheme(device.partition->scheme);
      partition.set_typeid_(device.partition->type_id);
      partition.set_uuid(device.partition->uuid);
    }
    if (device.filesystem) {
      auto& filesystem = *out.mutable_filesystem();
      filesystem.set_fstype(device.filesystem->type);
      filesystem.set_label(device.filesystem->label);
      filesystem.set_uuid(device.filesystem->uuid);
      for (const std::string& mountpoint : device.filesystem->mountpoints) filesystem.add_mountpoints(mountpoint);
    }
    out.set_available(device.available);
    out.set_connection_type(device.connection_type);
    if (device.is_rotational) out.set_is_rotational(*device.is_rotational);
  }

  Engine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_host_service(Engine& engine) {
  return std::make_unique<HostService>(engine);
}

}  // namespace cairn::engine
