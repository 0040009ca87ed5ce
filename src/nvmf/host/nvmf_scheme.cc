#include "nvmf/host/nvmf_scheme.h"

#include "block/device_error.h"
#include "block/registry.h"
#include "nvmf/host/nvme_device.h"

namespace cairn::nvmf::host {

namespace {

class NvmfRequest final : public block::DeviceRequest {
 public:
  explicit NvmfRequest(ConnectionOptions options) : DeviceRequest(options.device_name), options_(std::move(options)) {}

  runtime::Task<Result<std::shared_ptr<block::Device>>> create() override {
    auto device = co_await NvmeDevice::open(options_);
    if (!device) co_return fail(block::device_error::create_failed(name(), std::move(device.error())));
    co_return std::move(*device);
  }

 private:
  const ConnectionOptions options_;
};

}  // namespace

void add_nvmf_schemes(block::Registry& registry, const ConnectionOptions& defaults) {
  for (const char* scheme : {"nvmf", "nvmf+tcp", "nvmf+rdma+tcp"}) {
    registry.add_scheme(scheme,
                        {.driver_name = "nvme",
                         .parse = [defaults](const block::Uri& uri) -> Result<std::unique_ptr<block::DeviceRequest>> {
                           auto options = parse_connection_options(uri, defaults);
                           if (!options) return fail(std::move(options.error()));
                           return std::make_unique<NvmfRequest>(std::move(*options));
                         }});
  }
}

}  // namespace cairn::nvmf::host
